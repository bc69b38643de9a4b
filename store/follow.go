package store

import (
	"context"
	"strings"
	"sync"
	"time"
)

// A Change is one write, as a [Follower] tells it. The zero value says that any
// record may have changed.
type Change struct {
	Key  string
	Due  time.Time // of the record that was written or deleted
	Gone bool      // it was deleted
}

// A Follower is a [Watcher] that can say which records change, also by other
// processes, and up to when it has said everything. Who keeps in memory what
// follows from records knows from it that nothing is missing there.
type Follower interface {
	Watcher

	// Follow calls changed after each write under prefix, and begins with the
	// zero Change: what was there before is for the caller to read. It tells the
	// zero Change again after it could not hear of changes for a while. Nothing
	// is merged, but a write may be told twice, and in another order than the
	// writes of other records.
	//
	// It calls fresh again and again, with an instant on this process's clock:
	// every write that had returned by then, in whatever process, has been told.
	// While the database cannot be asked there is none.
	//
	// A write by this process is told before it returns, where the database is
	// in this process or on this machine. So changed and fresh must neither wait
	// nor use the store; they are called one at a time. Follow returns when ctx
	// ends, with its error, or when the store is closed. Nothing is called after
	// that.
	Follow(ctx context.Context, prefix string, changed func(Change), fresh func(at time.Time)) error
}

// Followers are those who follow a store. The zero value has none. It is for
// those who write a [Follower], and safe for concurrent use.
type Followers struct {
	mu  sync.Mutex
	all map[*follower]bool // :: who follows
}

type follower struct {
	prefix  string
	changed func(Change)
	fresh   func(time.Time)
}

// Add makes somebody a follower, tells him the zero Change, and returns what
// ends that: nothing is told after leave has returned.
func (fs *Followers) Add(prefix string, changed func(Change), fresh func(time.Time)) (leave func()) {
	f := &follower{prefix, changed, fresh}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.all == nil {
		fs.all = map[*follower]bool{}
	}
	fs.all[f] = true
	changed(Change{})
	return func() {
		fs.mu.Lock()
		defer fs.mu.Unlock()
		delete(fs.all, f)
	}
}

// Any reports whether somebody follows.
func (fs *Followers) Any() bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return len(fs.all) > 0
}

// Tell tells a change to those whom it concerns. The zero one concerns all.
func (fs *Followers) Tell(c Change) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.all {
		if c.Key == "" || strings.HasPrefix(c.Key, f.prefix) {
			f.changed(c)
		}
	}
}

// Fresh tells everybody that all changes up to an instant have been told.
func (fs *Followers) Fresh(at time.Time) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.all {
		f.fresh(at)
	}
}
