package storetest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton/store"
)

// A hook runs around an operation of the store beneath: it calls do, or not,
// and returns what the caller is to see.
type hook func(ctx context.Context, op, key string, do func() error) error

// hooked is a store whose every operation goes through a hook.
type hooked struct {
	store.Store
	around hook
}

// wrap keeps a store that is a Watcher, a Follower or a Clock one.
func wrap(s store.Store, around hook) store.Store { return store.Like(&hooked{s, around}, s) }

// Now implements [store.Clock] where the store beneath does.
func (h *hooked) Now(ctx context.Context) (now time.Time, within time.Duration, err error) {
	err = h.around(ctx, "now", "", func() (err error) { now, within, err = h.Store.(store.Clock).Now(ctx); return err })
	return now, within, err
}

func (h *hooked) Get(ctx context.Context, key string) (r store.Record, err error) {
	err = h.around(ctx, "get", key, func() (err error) { r, err = h.Store.Get(ctx, key); return err })
	return only(r, err)
}

func (h *hooked) Put(ctx context.Context, r store.Record) (put store.Record, err error) {
	err = h.around(ctx, "put", r.Key, func() (err error) { put, err = h.Store.Put(ctx, r); return err })
	return only(put, err)
}

func (h *hooked) Delete(ctx context.Context, r store.Record) error {
	return h.around(ctx, "delete", r.Key, func() error { return h.Store.Delete(ctx, r) })
}

func (h *hooked) List(ctx context.Context, prefix, after string, limit int) (list []store.Record, err error) {
	err = h.around(ctx, "list", prefix, func() (err error) { list, err = h.Store.List(ctx, prefix, after, limit); return err })
	return only(list, err)
}

func (h *hooked) Due(ctx context.Context, prefix string, t time.Time, limit int) (due []store.Record, err error) {
	err = h.around(ctx, "due", prefix, func() (err error) { due, err = h.Store.Due(ctx, prefix, t, limit); return err })
	return only(due, err)
}

// only drops a result that came with an error.
func only[T any](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

// Slow returns a store that sleeps for delay() before and after each operation
// of s, as a database across a network does, so that races show that a store
// which answers at once hides. A context that ends while the answer is on its
// way loses the answer, not the write. It is a [store.Watcher], a
// [store.Follower] or a [store.Clock] if s is one.
func Slow(s store.Store, delay func() time.Duration) store.Store {
	sleep := func(ctx context.Context) error {
		t := time.NewTimer(delay())
		defer t.Stop()
		select {
		case <-t.C:
			return ctx.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return wrap(s, func(ctx context.Context, op, key string, do func() error) error {
		if err := sleep(ctx); err != nil {
			return err
		}
		err := do()
		if late := sleep(ctx); late != nil {
			return late
		}
		return err
	})
}

// A Fault is what befalls an operation of a [Faulty] store.
type Fault int32

// The faults.
const (
	Healthy    Fault = iota // the operation runs
	Down                    // it does not run and fails with ErrFault
	LoseAnswer              // it runs, and whatever it answered fails with ErrFault
)

// ErrFault is the error of an operation that a [Fault] hit.
var ErrFault = errors.New("storetest: fault")

// Faults decides which operations of a [Faulty] store fail. The zero value is
// healthy. It is safe for concurrent use and may change at any time.
type Faults struct {
	decide atomic.Pointer[func(op, key string) Fault]
}

// Set makes every operation from now on meet fault.
func (f *Faults) Set(fault Fault) { f.Decide(func(string, string) Fault { return fault }) }

// Decide asks decide, from many goroutines, about every operation from now on.
// The op is get, put, delete, list, due or now; the key of list and due is their
// prefix, and now has none.
func (f *Faults) Decide(decide func(op, key string) Fault) { f.decide.Store(&decide) }

// Faulty returns a store over s whose operations fail as faults says. It is a
// [store.Watcher], a [store.Follower] or a [store.Clock] if s is one; watching
// and following do not fail.
func Faulty(s store.Store, faults *Faults) store.Store {
	return wrap(s, func(_ context.Context, op, key string, do func() error) error {
		fault := Healthy
		if decide := faults.decide.Load(); decide != nil {
			fault = (*decide)(op, key)
		}
		if fault == Down {
			return ErrFault
		}
		err := do()
		if fault == LoseAnswer {
			return ErrFault
		}
		return err
	})
}

// Timed returns s with a clock, which says what now says. It is a
// [store.Watcher] or a [store.Follower] if s is one.
func Timed(s store.Store, now func() time.Time) store.Store {
	clock := clock(now)
	switch of := s.(type) {
	case store.Follower:
		return struct {
			store.Store
			store.Follower
			store.Clock
		}{s, of, clock}
	case store.Watcher:
		return struct {
			store.Store
			store.Watcher
			store.Clock
		}{s, of, clock}
	}
	return struct {
		store.Store
		store.Clock
	}{s, clock}
}

type clock func() time.Time

// Now implements [store.Clock].
func (c clock) Now(ctx context.Context) (time.Time, time.Duration, error) {
	return c(), 0, ctx.Err()
}
