package broker

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A losing store loses records at a word, as a Redis does that keeps nothing
// when it is restarted, or whose replica takes over too early.
type losing struct {
	memory *store.Memory
	store.Store
	then []store.Record // what goBack goes back to
}

func newLosing() *losing {
	memory := store.NewMemory()
	return &losing{memory: memory, Store: storetest.Slow(memory, func() time.Duration { return 3 * time.Millisecond })}
}

func (l *losing) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	return l.memory.Watch(ctx, prefix)
}

func (l *losing) all(t *testing.T) []store.Record {
	list, err := l.memory.List(t.Context(), "broker/", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (l *losing) remember(t *testing.T) { l.then = l.all(t) }

// goBack makes the records what they were at remember; none, if that was never
// called.
func (l *losing) goBack(t *testing.T) {
	for _, r := range l.all(t) {
		if err := l.memory.Delete(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	for _, r := range l.then {
		r.Version = ""
		if _, err := l.memory.Put(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
}

// fleet runs some brokers on the store until stop is called.
func (l *losing) fleet(t *testing.T, v *vendor, n int) (all []*Broker, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for range n {
		b := v.broker(l, newCredentials())
		all = append(all, b)
		running.Go(func() { b.Run(ctx) })
	}
	return all, func() { cancel(); running.Wait() }
}

// wantGeneration has each broker asked for a token.
func wantGeneration(t *testing.T, all []*Broker, generation uint64) {
	t.Helper()
	for _, b := range all {
		if token, err := b.Token(t.Context(), "a", 0); err != nil || token.Generation != generation {
			t.Errorf("%v %v, want generation %d", token, err, generation)
		}
	}
}

// TestStoreLosesTheToken: brokers that have a good token put it back, and log
// in for a lost record no more than for one that is there.
func TestStoreLosesTheToken(t *testing.T) {
	for _, remembers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v, st := newVendor(t, "iadvize"), newLosing()
			all, stop := st.fleet(t, v, 4)
			defer stop()
			wantGeneration(t, all, 1)
			if remembers {
				st.remember(t)
			}
			time.Sleep(23*time.Hour + 56*time.Minute) // the next one is there
			wantGeneration(t, all, 2)
			st.goBack(t)
			wantGeneration(t, all, 2)
			time.Sleep(time.Minute)
			newcomer := v.broker(st, newCredentials())
			wantGeneration(t, append(all, newcomer), 2)
			closeBroker(t, newcomer)
			if logins, _, attempts := v.count(); logins != 2 || attempts != 2 {
				t.Errorf("%d logins, %d attempts; want 2", logins, attempts)
			}
		})
	}
}

// TestStoreLosesTheLease: a login that runs while the record is lost stays the
// only one, whenever that is: its lease is put back by who follows it.
func TestStoreLosesTheLease(t *testing.T) {
	for _, after := range []time.Duration{50 * time.Millisecond, 4990 * time.Millisecond, 5 * time.Second, 9 * time.Second, 19990 * time.Millisecond, 20 * time.Second} {
		for _, remembers := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				v, st := newVendor(t, "alvys"), newLosing()
				all, stop := st.fleet(t, v, 4)
				defer stop()
				wantGeneration(t, all, 1)
				if remembers {
					st.remember(t)
				}
				time.Sleep(54 * time.Minute)
				v.set(func() { v.latency = 10 * time.Second }) // each way
				for _, b := range all {
					k, _ := b.keeper(t.Context(), "a")
					k.join(t.Context(), want{above: 1})
				}
				time.Sleep(after)
				st.goBack(t)
				wantGeneration(t, all, 1) // until the next is there
				time.Sleep(time.Minute)
				wantGeneration(t, all, 2)
				if logins, refreshes, attempts := v.count(); attempts != 2 {
					t.Errorf("lost after %v: %d logins, %d refreshes, %d attempts; want 2", after, logins, refreshes, attempts)
				}
			})
		}
	}
}

// TestStoreLosesTheLatch: what the vendor said of a credential, and how long it
// wants to be left alone, outlive the store.
func TestStoreLosesTheLatch(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusTooManyRequests} {
		synctest.Test(t, func(t *testing.T) {
			v, st := newVendor(t, "alvys"), newLosing()
			v.fault = func(*dialect.Exchange) (int, http.Header) {
				return status, http.Header{"Retry-After": {"3600"}}
			}
			if status == http.StatusUnauthorized {
				v.fault, v.password = nil, "another"
			}
			all, stop := st.fleet(t, v, 4)
			defer stop()
			for range 50 {
				for _, b := range all {
					if token, err := b.Token(t.Context(), "a", 0); err == nil {
						t.Fatalf("a token: %v", token)
					}
				}
				time.Sleep(time.Second)
				st.goBack(t)
			}
			if _, _, attempts := v.count(); attempts != 1 {
				t.Errorf("status %d: %d attempts", status, attempts)
			}
		})
	}
}

// TestStoreBegunAnew: a broker that knows nothing begins a record anew, before
// those who know the token look again. They keep it for their readers.
func TestStoreBegunAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), newLosing()
		all, stop := st.fleet(t, v, 4)
		defer stop()
		wantGeneration(t, all, 1)
		v.set(func() { v.latency = 10 * time.Second })
		stranger := v.broker(newLosing(), newCredentials())
		go func() { _, _ = stranger.Token(t.Context(), "a", 0) }()
		time.Sleep(time.Second)
		st.then = stranger.Store.(*losing).all(t) // it has the lease now
		st.goBack(t)
		time.Sleep(time.Second)
		wantGeneration(t, all, 1)
		for _, b := range all {
			if k, _ := b.keeper(t.Context(), "a"); k.read(t.Context()) != nil || k.view.Load().Token == nil {
				t.Error("a good token was thrown away for a record without one")
			}
		}
		closeBroker(t, stranger)
	})
}

// TestStoreLosesTheUnsaved: a result that could not be saved yet goes into the
// record, whether the store then has it as it was or as it was before the
// lease; and so does what the history says of it.
func TestStoreLosesTheUnsaved(t *testing.T) {
	for _, goesBack := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			faults := new(storetest.Faults)
			v, st := newVendor(t, "alvys"), newLosing()
			b := v.broker(storetest.Faulty(st, faults), newCredentials())
			wantGeneration(t, []*Broker{b}, 1)
			st.remember(t)
			k, _ := b.keeper(t.Context(), "a")
			k.join(t.Context(), want{above: 1})
			time.Sleep(50 * time.Millisecond) // it is with the vendor
			faults.Decide(func(op, _ string) storetest.Fault {
				if op == "put" {
					return storetest.Down
				}
				return storetest.Healthy
			})
			time.Sleep(10 * time.Second)
			if goesBack {
				st.goBack(t)
			}
			faults.Set(storetest.Healthy)
			if err := k.read(t.Context()); err != nil { // somebody looks meanwhile
				t.Error(err)
			}
			wantGeneration(t, []*Broker{b}, 2)
			time.Sleep(time.Minute)
			events, err := b.History(t.Context(), "a")
			if r := observe(st.all(t)[0].Value); err != nil || r.Generation != 2 || !goesBack && len(events) != 2 {
				t.Errorf("generation %d, %v, %v", r.Generation, events, err)
			}
			closeBroker(t, b)
		})
	}
}

// TestHungSave: who waits for a login gets the token soon after the vendor gave
// it, also where the store answers nobody.
func TestHungSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.latency = time.Second
		var hangs atomic.Bool
		st := storetest.Slow(store.NewMemory(), func() time.Duration {
			if hangs.Load() {
				return 1000 * time.Hour
			}
			return 3 * time.Millisecond
		})
		b := v.broker(st, newCredentials())
		time.AfterFunc(time.Second, func() { hangs.Store(true) }) // the request is with the vendor
		began := time.Now()
		if token, err := b.Token(t.Context(), "a", 0); err != nil || v.check(token) != nil || time.Since(began) > 4*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		hangs.Store(false)
		closeBroker(t, b)
	})
}

// TestStoreDownIsNotLost: a store that cannot be read has lost nothing.
func TestStoreDownIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(storetest.Faults)
		v := newVendor(t, "iadvize")
		b := v.broker(storetest.Faulty(slowStore(), faults), newCredentials())
		wantGeneration(t, []*Broker{b}, 1)
		k, _ := b.keeper(t.Context(), "a")
		rev := k.view.Load().Rev
		faults.Set(storetest.Down)
		if err := k.read(t.Context()); !errors.Is(err, storetest.ErrFault) {
			t.Error(err)
		}
		faults.Set(storetest.Healthy)
		if err := k.read(t.Context()); err != nil || k.view.Load().Rev != rev {
			t.Errorf("%v, %d writes", err, k.view.Load().Rev-rev)
		}
		closeBroker(t, b)
	})
}
