// Package store keeps records under keys and changes them by compare-and-swap,
// which is all that issuing and brokering need from a database. There is no
// lock: a lease is a compare-and-swap write into the record that it protects.
//
// This package has the contract and the in-memory store; the packages below it
// adapt one database each, and storetest is the exam that every one passes.
package store

import (
	"context"
	"errors"
	"time"
)

// A Record is one value under one key.
type Record struct {
	// Key is a path of segments separated by slashes. A segment that comes
	// from outside is escaped with [Key].
	Key string

	// Version changes with every write and is never used again, not even
	// after the record was deleted and made anew. It is opaque. In a Put, the
	// empty version means "there must be no such record yet".
	Version string

	// Due is when something is to happen to the record: its expiry, or its
	// next refresh. Zero means never. The store only orders by it and never
	// deletes by it. It is kept as [RoundDue] says.
	Due time.Time

	Value []byte
}

// RoundDue returns t as every store keeps it: in UTC and to the microsecond
// below, so that all databases agree on the order of records.
func RoundDue(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}

var (
	// ErrNotFound says that there is no record under the key.
	ErrNotFound = errors.New("store: not found")

	// ErrConflict says that the record is not, or no longer, at the version
	// that the caller expects. The caller reads again and decides again.
	ErrConflict = errors.New("store: conflict")
)

// A Store keeps records. Every method may also fail with an error of its own
// kind, wrapped; that says nothing about whether a write took effect. Values
// that go in and come out belong to the caller. Stores are safe for concurrent
// use, and a write is durable when the method returns.
type Store interface {
	// Get returns the record under key, or ErrNotFound.
	Get(ctx context.Context, key string) (Record, error)

	// Put writes r if the stored record is at r.Version and returns it with
	// its new version. Otherwise, also where one of the two does not exist, it
	// changes nothing and returns ErrConflict.
	Put(ctx context.Context, r Record) (Record, error)

	// Delete removes the record if it is at r.Version, else ErrConflict;
	// ErrNotFound if there is none.
	Delete(ctx context.Context, r Record) error

	// List returns up to limit records whose keys begin with prefix and sort
	// after the key after, in byte order of their keys. An empty after starts
	// at the beginning. Here and in Due, a limit below 1 returns nothing.
	List(ctx context.Context, prefix, after string, limit int) ([]Record, error)

	// Due returns up to limit records under prefix whose Due is not zero and
	// not after t, the longest overdue first, ties in byte order of keys.
	Due(ctx context.Context, prefix string, t time.Time, limit int) ([]Record, error)
}

// A Watcher is a Store that can say when records change, also by other
// processes. Stores that cannot are polled. A [Follower] says which.
type Watcher interface {
	// Watch sends after a record under prefix may have changed; changes may be
	// merged, and a receiver reads the record to learn what it is now. The
	// channel is closed when ctx ends.
	Watch(ctx context.Context, prefix string) (<-chan struct{}, error)
}
