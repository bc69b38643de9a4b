package store

import (
	"context"
	"strings"
	"sync"
	"time"
)

// A Follower is a [Watcher] that can say which records change, also by other
// processes, and up to when it has said everything. Who keeps in memory what
// follows from records knows from it that nothing is missing there.
type Follower interface {
	Watcher

	// Follow calls changed after each write under prefix, with the key of the
	// record that was written or deleted. The empty key says that any may have
	// changed: Follow begins with it, as what was there before is for the caller
	// to read, and tells it again after it could not hear of changes for a while.
	// A write may be told twice, and in another order than those of other
	// records. What is told is a hint to read the record and proves nothing.
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
	Follow(ctx context.Context, prefix string, changed func(key string), fresh func(at time.Time)) error
}

// Followers are those who follow a store. The zero value has none. It is for
// those who write a [Follower], and safe for concurrent use.
type Followers struct {
	mu  sync.Mutex
	all map[*follower]bool // :: who follows
}

type follower struct {
	prefix  string
	changed func(key string)
	fresh   func(time.Time)
}

// Add makes somebody a follower, tells him that any record may have changed, and returns what
// ends that: nothing is told after leave has returned.
func (fs *Followers) Add(prefix string, changed func(key string), fresh func(time.Time)) (leave func()) {
	f := &follower{prefix, changed, fresh}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.all == nil {
		fs.all = map[*follower]bool{}
	}
	fs.all[f] = true
	changed("")
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

// Tell tells those whom it concerns that a record changed. The empty key
// concerns all.
func (fs *Followers) Tell(key string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.all {
		if key == "" || strings.HasPrefix(key, f.prefix) {
			f.changed(key)
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
