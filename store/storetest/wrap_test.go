package storetest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A slow store is a store.
func TestSlowPasses(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return storetest.Slow(store.NewMemory(), func() time.Duration { return 0 })
	})
}

// So is one with a clock.
func TestTimedPasses(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return storetest.Timed(store.NewMemory(), time.Now) })
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := store.NewMemory()
		s := storetest.Slow(inner, func() time.Duration { return time.Second })
		start := time.Now()
		r, err := s.Put(t.Context(), store.Record{Key: "a"})
		if err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("Put took %v, %v; want 2s", time.Since(start), err)
		}
		for _, c := range []struct {
			patience time.Duration
			applied  bool
		}{{500 * time.Millisecond, false}, {1500 * time.Millisecond, true}} {
			ctx, cancel := context.WithTimeout(t.Context(), c.patience)
			_, err := s.Put(ctx, r)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Put within %v: %v", c.patience, err)
			}
			now, err := inner.Get(t.Context(), "a")
			if err != nil || (now.Version != r.Version) != c.applied {
				t.Errorf("within %v: applied %v, %v; want %v", c.patience, now.Version != r.Version, err, c.applied)
			}
		}
		// Two who read before either wrote: one of them loses.
		r, err = inner.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 2)
		for range 2 {
			go func() { _, err := s.Put(t.Context(), r); errs <- err }()
		}
		if a, b := <-errs, <-errs; (a == nil) == (b == nil) {
			t.Errorf("%v and %v, want one winner", a, b)
		}
	})
}

func TestFaulty(t *testing.T) {
	ctx := t.Context()
	inner, faults := store.NewMemory(), new(storetest.Faults)
	s := storetest.Faulty(inner, faults)
	if _, ok := s.(store.Watcher); !ok {
		t.Error("a Watcher is none any more")
	}
	if _, ok := storetest.Faulty(struct{ store.Store }{inner}, faults).(store.Watcher); ok {
		t.Error("what is no Watcher became one")
	}
	if _, ok := s.(store.Clock); ok {
		t.Error("what is no Clock became one")
	}
	timed, at := new(storetest.Faults), time.Unix(1, 0)
	c, ok := storetest.Faulty(storetest.Timed(inner, func() time.Time { return at }), timed).(store.Clock)
	if !ok {
		t.Fatal("a Clock is none any more")
	}
	if now, _, err := c.Now(ctx); err != nil || !now.Equal(at) {
		t.Errorf("the clock says %v, %v", now, err)
	}
	timed.Set(storetest.Down)
	if _, _, err := c.Now(ctx); !errors.Is(err, storetest.ErrFault) {
		t.Errorf("a clock that is down: %v", err)
	}
	all := func(version string) map[string]error {
		_, get := s.Get(ctx, "a")
		_, list := s.List(ctx, "", "", 1)
		_, due := s.Due(ctx, "", time.Now(), 1)
		_, put := s.Put(ctx, store.Record{Key: "a", Version: version})
		return map[string]error{"get": get, "list": list, "due": due, "put": put}
	}
	r, err := s.Put(ctx, store.Record{Key: "a"})
	if err != nil {
		t.Fatal(err)
	}
	for fault, applied := range map[storetest.Fault]bool{storetest.Down: false, storetest.LoseAnswer: true} {
		faults.Set(fault)
		before, _ := inner.Get(ctx, "a")
		for op, err := range all(before.Version) {
			if !errors.Is(err, storetest.ErrFault) {
				t.Errorf("fault %d: %s: %v", fault, op, err)
			}
		}
		after, err := inner.Get(ctx, "a")
		if err != nil || (after.Version != before.Version) != applied {
			t.Errorf("fault %d: the write was applied: %v, %v", fault, after.Version != before.Version, err)
		}
		r = after
	}
	if err := s.Delete(ctx, r); !errors.Is(err, storetest.ErrFault) {
		t.Errorf("delete: %v", err)
	}
	faults.Set(storetest.Healthy)
	faults.Decide(func(op, key string) storetest.Fault {
		if op == "get" && key == "a" {
			return storetest.Down
		}
		return storetest.Healthy
	})
	for op, err := range all("") {
		if (op == "get") != errors.Is(err, storetest.ErrFault) || op == "list" && err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
}
