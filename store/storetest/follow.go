package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
)

// A Ledger follows a store and holds it to its word: what it calls fresh has
// been told.
type Ledger struct {
	t testing.TB

	mu       sync.Mutex
	told     map[string]bool      // :: key -> told since its last write began
	returned map[string]time.Time // :: key -> when its last write had returned
	strange  []string             // keys that were told and never written
	all      int                  // how often any record may have changed
	fresh    time.Time            // the last one
	advanced chan struct{}        // closed at the next fresh
	ended    bool                 // nothing may come any more
}

// FollowStore follows what is under a prefix until the test ends.
func FollowStore(t testing.TB, s store.Follower, prefix string) *Ledger {
	t.Helper()
	l := &Ledger{t: t, told: map[string]bool{}, returned: map[string]time.Time{}, advanced: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Follow(ctx, prefix, l.changed, l.isFresh) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow returned %v", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ended = true
	})
	l.AwaitFresh(time.Now())
	return l
}

func (l *Ledger) changed(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		l.t.Error("a change after Follow has returned")
	}
	if key == "" {
		l.all++
		for key := range l.told {
			l.told[key] = true
		}
		return
	}
	if _, ok := l.told[key]; !ok {
		l.strange = append(l.strange, key)
		return
	}
	l.told[key] = true
}

func (l *Ledger) isFresh(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended:
		l.t.Error("fresh after Follow has returned")
	case l.all == 0:
		l.t.Error("fresh before any record may have changed")
	case at.After(time.Now()):
		l.t.Errorf("fresh at %v, which is yet to come", at)
	}
	for key, returned := range l.returned {
		if !l.told[key] && !returned.After(at) {
			l.t.Errorf("fresh, but %s was not told, whose write had returned %v before", key, at.Sub(returned))
		}
	}
	if at.After(l.fresh) {
		l.fresh = at
		close(l.advanced)
		l.advanced = make(chan struct{})
	}
}

// Write runs a write of a record.
func (l *Ledger) Write(key string, write func() error) {
	l.t.Helper()
	l.mu.Lock()
	l.told[key] = false
	delete(l.returned, key)
	l.mu.Unlock()
	err := write()
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.t.Errorf("write %s: %v", key, err)
		return
	}
	l.returned[key] = now
}

// AwaitFresh waits until everything up to an instant has been told.
func (l *Ledger) AwaitFresh(at time.Time) {
	l.t.Helper()
	patience := time.After(patient)
	for {
		l.mu.Lock()
		fresh, advanced := l.fresh, l.advanced
		l.mu.Unlock()
		if fresh.After(at) {
			return
		}
		select {
		case <-advanced:
		case <-patience:
			l.t.Fatalf("not fresh, for the last time %v before", at.Sub(fresh))
		}
	}
}

// Told reports whether the last write of a record was told, by its key or not.
func (l *Ledger) Told(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told[key]
}

// Zeros returns how often any record may have changed.
func (l *Ledger) Zeros() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// Fill makes, changes and deletes records under a prefix through s, by several
// writers at once, and waits until all of it was told.
func (l *Ledger) Fill(s store.Store, prefix string) {
	l.t.Helper()
	for _, err := range race(8, func(i int) error {
		for n := range 8 {
			r := store.Record{Key: fmt.Sprintf("%s/%d/%d", prefix, i, n)}
			l.Write(r.Key, func() (err error) { r, err = s.Put(l.t.Context(), r); return err })
			if n%2 == 0 {
				continue // this one is written once
			}
			l.Write(r.Key, func() (err error) { r, err = s.Put(l.t.Context(), r); return err })
			l.Write(r.Key, func() error { return s.Delete(l.t.Context(), r) })
		}
		return nil
	}) {
		if err != nil {
			l.t.Fatal(err)
		}
	}
	l.AwaitFresh(time.Now())
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, told := range l.told {
		if !told {
			l.t.Errorf("%s was not told", key)
		}
	}
	if len(l.strange) > 0 {
		l.t.Errorf("told, though nobody wrote it: %q", l.strange)
	}
}

func testFollow(t *testing.T, s store.Store) {
	f, ok := s.(store.Follower)
	if !ok {
		return // to be followed is optional
	}
	put(t, s, store.Record{Key: "before"})
	l := FollowStore(t, f, "a/")
	put(t, s, store.Record{Key: "b/not-under-it"})
	if _, err := s.Put(t.Context(), store.Record{Key: "b/not-under-it"}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Put: %v", err)
	}
	before := l.Zeros()
	l.Fill(s, "a")
	if l.Zeros() != before {
		t.Error("a write by this process was told as any")
	}
	for range 3 { // again and again, also when nothing happens
		l.AwaitFresh(time.Now())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Follow(ctx, "", func(string) {}, func(time.Time) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v, want context.Canceled", err)
	}
}
