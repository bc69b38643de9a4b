package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/jetonhq/jeton/vaultkv"
)

// A deletion has to be a compare-and-swap, and the server's own compares nothing:
// so it is a write that says "deleted". That would stay for ever, since what
// takes it away compares nothing either. It goes all the same, later:
//
//   - Not before remainsFor. A write may be on its way that read the record
//     before its deletion; the count that it names would come again.
//   - Only after a write that says "going", which one process wins. As long as
//     that stands nobody makes the record anew: the winner's request may be on
//     its way, and would take the new record along.
//   - One that says so for longer than remainsFor is of a process that died, and
//     a deletion like others.
//
// All three reckon on the server's clock, and on no request being on its way for
// as long. None of this store is sent later than patience after what it read,
// and a server closes a connection that says nothing for five minutes.
const (
	deleted = "deleted"
	stays   = "true"
	going   = "going"

	remainsFor = 10 * time.Minute
	patience   = 10 * time.Second // for an operation that writes
)

// settled waits for some time if what a deletion left is being taken away, and
// reports whether it is not.
func (s *Store) settled(ctx context.Context, key string, at vaultkv.Found) (bool, error) {
	if at.Data[deleted] != going || at.Age > remainsFor {
		return true, nil
	}
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, s.wrap(fmt.Errorf("what was deleted at %q is being taken away: %w", key, ctx.Err()))
	}
}

// forget takes away what a deletion left, and reports for how long it is to stay
// instead; 0: there is nothing to come back for.
func (s *Store) forget(ctx context.Context, key string) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	path := s.path(key)
	at, err := s.kv.Look(ctx, path)
	switch {
	case err != nil:
		return remainsFor // the server is away
	case at.Data[deleted] == "":
		return 0
	case at.Age < remainsFor:
		return remainsFor - at.Age
	}
	count, err := s.kv.Write(ctx, path, map[string]string{deleted: going}, at.Version)
	if errors.Is(err, vaultkv.ErrConflict) {
		return 0 // somebody else does it, or made the record anew
	}
	if err == nil {
		err = s.kv.Forget(ctx, path)
	}
	switch e, refused := errors.AsType[*vaultkv.Error](err); {
	case err == nil:
		return 0
	case refused && e.Status == http.StatusForbidden: // nothing is on its way
		_, _ = s.kv.Write(ctx, path, map[string]string{deleted: stays}, count)
		return 24 * time.Hour
	}
	return remainsFor // nobody knows
}

// mostLeft bounds what a tidier remembers. A list finds the rest again.
const mostLeft = 10_000

// A tidier remembers where deletions left something, and goes there in time.
type tidier struct {
	mu   sync.Mutex
	left map[string]time.Time // :: key -> when to go there

	stop    context.CancelFunc
	running sync.WaitGroup
}

// note remembers a deletion that is as old as age.
func (t *tidier) note(key string, age time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.left[key]; !known && len(t.left) < mostLeft {
		t.left[key] = time.Now().Add(remainsFor - age)
	}
}

// due takes a key whose time has come.
func (t *tidier) due(now time.Time) (key string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, at := range t.left {
		if !now.Before(at) {
			delete(t.left, key)
			return key, true
		}
	}
	return "", false
}

// start begins to go where forget is to be called.
func (t *tidier) start(forget func(ctx context.Context, key string) time.Duration) {
	var ctx context.Context
	ctx, t.stop = context.WithCancel(context.Background())
	t.left = map[string]time.Time{}
	t.running.Go(func() {
		tick := time.NewTicker(time.Minute)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for key, ok := t.due(time.Now()); ok && ctx.Err() == nil; key, ok = t.due(time.Now()) {
				if again := forget(ctx, key); again > 0 {
					t.note(key, remainsFor-again)
				}
			}
		}
	})
}

// end ends that.
func (t *tidier) end() {
	t.stop()
	t.running.Wait()
}
