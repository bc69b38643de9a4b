package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton/store"
)

// A nodeStore is the store as one broker reaches it: across a network that is
// slow, loses answers, and parts.
type nodeStore struct {
	*store.Memory // for what brokers do not use, which is Due
	n             *node
}

// store returns the store of a broker, with the mutant in it if there is one.
func (w *world) store(n *node) store.Store {
	own := nodeStore{w.mem, n}
	var st store.Store = own
	timed := len(w.skews) > 0
	if m := w.mutant; m != nil {
		st = mutantStore{st, m, n.id, new(atomic.Uint64)}
		timed = timed && !m.clockless
	}
	switch {
	case timed && w.polls:
		return struct {
			store.Store
			store.Clock
		}{st, own}
	case timed:
		return struct {
			store.Store
			store.Watcher
			store.Clock
		}{st, own, own}
	case w.polls:
		return struct{ store.Store }{st}
	}
	return struct {
		store.Store
		store.Watcher
	}{st, own}
}

var errStore = errors.New("the store cannot be reached")

// Get implements [store.Store].
func (s nodeStore) Get(ctx context.Context, key string) (r store.Record, err error) {
	err = s.n.operate(ctx, "get", key, func() error {
		r, err = s.Memory.Get(context.Background(), key)
		return err
	})
	return r, err
}

// Put implements [store.Store].
func (s nodeStore) Put(ctx context.Context, r store.Record) (put store.Record, err error) {
	had := s.n.lease
	err = s.n.operate(ctx, "put", r.Key, func() error {
		if put, err = s.Memory.Put(context.Background(), r); err == nil && r.Key == s.n.w.key {
			s.n.w.wrote(s.n, r.Value)
		}
		return err
	})
	if err != nil {
		s.n.w.mu.Lock()
		defer s.n.w.mu.Unlock()
		if r.Key == s.n.w.key && s.n.lease != had {
			s.n.lease.unheard = true
		}
	}
	return put, err
}

// Delete implements [store.Store].
func (s nodeStore) Delete(ctx context.Context, r store.Record) error {
	return s.n.operate(ctx, "delete", r.Key, func() error { return s.Memory.Delete(context.Background(), r) })
}

// List implements [store.Store].
func (s nodeStore) List(ctx context.Context, prefix, after string, limit int) (list []store.Record, err error) {
	err = s.n.operate(ctx, "list", prefix, func() error {
		list, err = s.Memory.List(context.Background(), prefix, after, limit)
		return err
	})
	return list, err
}

// Now implements [store.Clock]: the store's clock is right. It can be that the
// store tells everything but the time; a broker that never knew it would take
// the clock of its machine, of which nothing can be promised.
func (s nodeStore) Now(ctx context.Context) (now time.Time, within time.Duration, err error) {
	w := s.n.w
	w.mu.Lock()
	known := s.n.b.clock.known.Load()
	deaf := w.active("clock", s.n.slot) != nil && known != nil && known.jump(s.n.b.instant()).Abs() < leastJump
	w.mu.Unlock()
	if deaf {
		return time.Time{}, 0, errStore
	}
	err = s.n.operate(ctx, "now", "", func() error {
		now = time.Now()
		return nil
	})
	return now, 0, err
}

// Watch implements [store.Watcher]. What changes while the network is parted
// is told when it is whole again.
func (s nodeStore) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	changes, err := s.Memory.Watch(ctx, prefix)
	if err != nil {
		return nil, err
	}
	told, w := make(chan struct{}, 1), s.n.w
	go func() {
		defer close(told)
		for range changes {
			for {
				w.mu.Lock()
				wait := w.within(s.n.name("watch"), 0, w.latency)
				f := w.active("partition", s.n.slot)
				if f != nil {
					wait += time.Until(f.to)
				}
				w.mu.Unlock()
				if !sleep(ctx, wait) {
					return
				}
				if f == nil {
					break
				}
			}
			select {
			case told <- struct{}{}:
			default:
			}
		}
	}()
	return told, nil
}

func (n *node) name(what string) string { return what + " " + strconv.Itoa(n.id) }

// operate runs an operation of the store as the network allows.
func (n *node) operate(ctx context.Context, op, key string, do func() error) error {
	w := n.w
	w.mu.Lock()
	kind, _, _ := strings.Cut(key, "/") // the rest may be by chance
	name := n.name(op + " " + kind)
	to, from := w.within(name+" to", time.Microsecond, w.latency), w.within(name+" from", time.Microsecond, w.latency)
	down, loses := w.trouble(n, name, &to, &from)
	w.ops++
	most := 400_000 // sixty brokers that look at a latched account for a day take a third
	if w.mutant != nil {
		most = 25_000 // on plans that take half as many at most
	}
	if w.ops == most {
		w.violate("the brokers do not come to rest")
		w.end()
	}
	runaway := w.ops >= most
	w.mu.Unlock()
	if runaway {
		_ = pause(ctx, time.Minute)
		return errStore
	}
	if err := pause(ctx, to); err != nil {
		return err
	}
	w.mu.Lock()
	if n.cut {
		w.mu.Unlock()
		return errStore
	}
	if down {
		w.mu.Unlock()
		return errStore
	}
	phase := "put"
	if strings.HasPrefix(key, "budget/") {
		phase = "budget"
	}
	if op == "put" && w.dies(n, phase+"-before") {
		w.mu.Unlock()
		return errStore
	}
	err := do()
	if op == "put" && err == nil {
		w.dies(n, phase+"-after")
	}
	w.mu.Unlock()
	if late := pause(ctx, from); late != nil {
		return late
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n.cut {
		return errStore
	}
	if loses {
		return errStore
	}
	return err
}

// trouble decides what befalls an operation. The caller holds mu.
func (w *world) trouble(n *node, name string, to, from *time.Duration) (down, loses bool) {
	f := w.active("partition", n.slot)
	if f == nil {
		return false, false
	}
	switch f.text {
	case "lossy":
		down, loses = w.odds(name+" down", uint64(f.n)), w.odds(name+" loses", uint64(f.n))
	case "slow":
		if w.odds(name, uint64(f.n)) {
			*to, *from = w.within(name+" slow to", 0, w.lease), w.within(name+" slow from", 0, w.lease)
			n.slowUntil = later(n.slowUntil, time.Now().Add(*to+*from))
		}
	default:
		down = true
		*to = min(w.within(name, 0, 5*time.Second), time.Until(f.to))
	}
	return down, loses
}

// trouble returns when the broker was parted from the store last, which may be
// now. The caller holds mu.
func (n *node) trouble(now time.Time) time.Time {
	last := n.slowUntil
	for _, f := range n.w.faults {
		if f.kind == "partition" && !f.from.IsZero() && (f.slot < 0 || f.slot == n.slot) {
			last = later(last, f.to)
		}
	}
	if last.After(now) {
		return now
	}
	return last
}

// truth is what stands in the store, whoever can see it.
type truth struct {
	record      record
	written     time.Time         // when
	takenOver   time.Time         // when a lease was taken last whose holder had not given it back
	generations map[uint64]string // :: generation -> access token that had it
	vouch       *minted           // the token that readers may get by the record; nil: none
	since       time.Time         // when that came
}

// A leased is one lease that a broker took.
type leased struct {
	node  *node
	fence uint64
	at    time.Time
	over  record // what the record was before

	unheard bool          // it was taken, and the broker does not know
	unsure  time.Duration // how wrong the broker was of the time at most

	saved time.Time // when its result went into the record; zero: not

	secret string // that got a token under it
}

// observe decodes a record; one that is not there is the zero one.
func observe(value []byte) (r record) {
	if len(bytes.TrimSpace(value)) > 0 {
		_ = json.Unmarshal(value, &r)
	}
	return r
}
