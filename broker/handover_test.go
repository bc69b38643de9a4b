package broker

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A fleet is brokers that share a store and an account at a single-active
// vendor, with callers at each of them. No call can be sent again: a token that
// a login ends under a call is a call that fails.
type fleet struct {
	t       *testing.T
	v       *vendor
	mem     *store.Memory
	brokers []*Broker
	faults  []*storetest.Faults // :: broker -> of its store
	delays  []*atomic.Int64     // :: broker -> one way to its store, in nanoseconds

	load   sync.WaitGroup
	stop   chan struct{}
	off    []chan struct{} // :: broker -> closed when its callers are to end
	calls  atomic.Int64    // answered
	failed atomic.Int64    // with anything but 200
}

// newFleet returns brokers whose stores are behind wrap, which may be nil. The
// first one has a token.
func newFleet(t *testing.T, n int, wrap func(i int, s store.Store) store.Store) *fleet {
	f := &fleet{t: t, v: newVendor(t, "altrata"), mem: store.NewMemory(), stop: make(chan struct{})}
	f.v.far = 4 * f.v.latency // or a login could not overtake a call
	for i := range n {
		faults, delay := new(storetest.Faults), new(atomic.Int64)
		delay.Store(int64(3 * time.Millisecond))
		st := storetest.Faulty(storetest.Slow(f.mem, func() time.Duration { return time.Duration(delay.Load()) }), faults)
		if wrap != nil {
			st = wrap(i, st)
		}
		b := f.v.broker(st, newCredentials())
		b.init() // so that it can die at any time
		f.brokers = append(f.brokers, b)
		f.faults, f.delays = append(f.faults, faults), append(f.delays, delay)
		f.off = append(f.off, make(chan struct{}))
	}
	if _, err := f.brokers[0].Token(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// call makes one call through a broker and reports whether it was answered
// with 200. The answer's body is read slowly.
func (f *fleet) call(ctx context.Context, b *Broker) bool {
	r, _ := http.NewRequestWithContext(ctx, "POST", "http://vendor.test/prefix/x", struct{ io.Reader }{strings.NewReader("b")})
	answer, err := b.Source("a", nil).RoundTrip(r)
	if err != nil {
		f.t.Logf("a call failed: %v", err)
		return false
	}
	time.Sleep(10 * time.Millisecond)
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode == 200
}

// loads has so many callers at each of the first n brokers call without a
// pause. A leader without calls of its own would log in at once.
func (f *fleet) loads(n, callers int) {
	for i, b := range f.brokers[:n] {
		off := f.off[i]
		for j := range callers {
			f.load.Go(func() {
				time.Sleep(time.Duration(7*i+11*j) * time.Millisecond)
				for {
					select {
					case <-f.stop:
						return
					case <-off:
						return
					default:
					}
					ok := f.call(f.t.Context(), b)
					select {
					case <-off: // its process is gone, and so is who asked it
						return
					default:
					}
					f.calls.Add(1)
					if !ok {
						f.failed.Add(1)
					}
				}
			})
		}
	}
}

// rotate swaps the token through a broker.
func (f *fleet) rotate(b *Broker) error {
	k, err := b.keeper(f.t.Context(), "a")
	if err != nil {
		return err
	}
	_ = k.read(f.t.Context())
	return k.wait(f.t.Context(), want{above: k.view.Load().Generation})
}

// die is kill -9: nothing that the broker does reaches anybody any more.
func (f *fleet) die(i int) {
	f.faults[i].Set(storetest.Down)
	close(f.off[i])
	f.brokers[i].stop()
	f.brokers[i].abort()
}

// close ends the callers, and then the brokers.
func (f *fleet) close() {
	close(f.stop)
	f.load.Wait()
	for _, b := range f.brokers {
		closeBroker(f.t, b)
	}
}

// present returns how many presences there are.
func (f *fleet) present() int {
	list, err := f.mem.List(f.t.Context(), "presence/", "", 100)
	if err != nil {
		f.t.Error(err)
	}
	return len(list)
}

// blindly hides that the store can watch.
func blindly(_ int, s store.Store) store.Store { return struct{ store.Store }{s} }

// TestHandOverOfAFleet: four brokers swap the token again and again, now one,
// now another, under the calls of all. None fails, and none was sent twice.
func TestHandOverOfAFleet(t *testing.T) {
	for name, wrap := range map[string]func(int, store.Store) store.Store{"watched": nil, "polled": blindly} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 5, wrap)
				f.loads(4, 5)
				const swaps = 100
				for n := range swaps {
					time.Sleep(400 * time.Millisecond)
					if err := f.rotate(f.brokers[n%5]); err != nil {
						t.Fatal(err)
					}
				}
				f.close()
				if logins, _, _ := f.v.count(); logins != swaps+1 || f.failed.Load() != 0 || f.calls.Load() < 1000 || int64(f.v.calls) != f.calls.Load() {
					t.Errorf("%d of %d calls failed over %d logins; the vendor saw %d", f.failed.Load(), f.calls.Load(), logins, f.v.calls)
				}
				if f.present() != 0 {
					t.Errorf("%d presences are left", f.present())
				}
			})
		})
	}
}

// TestFirstCallDuringHandOver: a broker without a presence, whose first call
// comes at any moment of a hand-over, loses no call.
func TestFirstCallDuringHandOver(t *testing.T) {
	if failed := firstCalls(t, nil); failed != 0 {
		t.Errorf("%d calls failed", failed)
	}
}

// firstCalls has the first call of a broker come at every other millisecond of a
// hand-over, and returns how many failed.
func firstCalls(t *testing.T, wrap func(int, store.Store) store.Store) (failed int) {
	for after := time.Duration(0); after < 250*time.Millisecond; after += 2 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 2, wrap)
			if _, err := f.brokers[1].Token(t.Context(), "a", 0); err != nil {
				t.Fatal(err)
			}
			var calls sync.WaitGroup
			calls.Go(func() { _ = f.rotate(f.brokers[0]) })
			time.Sleep(after)
			if !f.call(t.Context(), f.brokers[1]) {
				failed++
			}
			calls.Wait()
			f.close()
		})
	}
	return failed
}

// TestLeaderDiesInHandOver: a leader that dies at any step, before or after the
// store has heard of it, costs the others time and no call.
func TestLeaderDiesInHandOver(t *testing.T) {
	for _, c := range []struct {
		op    string
		n     int
		fault storetest.Fault
	}{
		{"put", 1, storetest.Down},       // nothing is in the record
		{"put", 1, storetest.LoseAnswer}, // calls are to end
		{"list", 1, storetest.Down},      // the same
		{"put", 2, storetest.Down},       // they have ended
		{"put", 2, storetest.LoseAnswer}, // a login is to leave
		{"put", 3, storetest.Down},       // it was executed
		{"put", 3, storetest.LoseAnswer}, // all is done
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 4, nil)
			f.loads(4, 3)
			time.Sleep(time.Second)
			var mu sync.Mutex
			n, dead := 0, false
			f.faults[0].Decide(func(op, key string) storetest.Fault {
				mu.Lock()
				defer mu.Unlock()
				if dead {
					return storetest.Down
				}
				if op == c.op && (op == "list" || strings.HasPrefix(key, "broker/")) {
					n++
				}
				if dead = n == c.n; dead {
					close(f.off[0])
					f.brokers[0].stop()
					f.brokers[0].abort()
					return c.fault
				}
				return storetest.Healthy
			})
			go func() { _ = f.rotate(f.brokers[0]) }()
			time.Sleep(time.Minute)
			before := f.calls.Load()
			time.Sleep(5 * time.Second)
			if f.calls.Load() == before || !dead {
				t.Errorf("%v: calls do not go on", c)
			}
			if err := f.rotate(f.brokers[1]); err != nil {
				t.Errorf("%v: %v", c, err)
			}
			f.close()
			if f.failed.Load() != 0 {
				t.Errorf("%v: %d of %d calls failed", c, f.failed.Load(), f.calls.Load())
			}
		})
	}
}

// TestPresentBrokerDies: the leader waits for a broker that died as long as for
// calls that do not end, once.
func TestPresentBrokerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		f.loads(3, 3)
		time.Sleep(time.Second)
		f.die(2)
		for n, most := range []time.Duration{11 * time.Second, time.Second} {
			began := time.Now()
			if err := f.rotate(f.brokers[0]); err != nil || time.Since(began) > most {
				t.Errorf("hand-over %d took %v: %v", n+1, time.Since(began), err)
			}
		}
		f.close()
		if f.failed.Load() != 0 {
			t.Errorf("%d of %d calls failed", f.failed.Load(), f.calls.Load())
		}
	})
}

// TestPartedBroker: a broker that cannot reach the store goes on, and when it
// can again takes part again. What fails meanwhile fails there only.
func TestPartedBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		f.loads(3, 3)
		time.Sleep(time.Second)
		f.faults[2].Set(storetest.Down)
		time.Sleep(time.Minute)
		if f.failed.Load() != 0 {
			t.Errorf("%d calls failed because of the store alone", f.failed.Load())
		}
		for _, off := range f.off {
			close(off)
		}
		if err := f.rotate(f.brokers[0]); err != nil {
			t.Fatal(err)
		}
		if f.call(t.Context(), f.brokers[2]) {
			t.Error("a broker that could not know of the login has its token")
		}
		if f.present() != 2 {
			t.Errorf("%d presences, want 2: the parted one is taken for dead", f.present())
		}
		f.faults[2].Set(storetest.Healthy)
		time.Sleep(10 * time.Second)
		if f.present() != 3 {
			t.Errorf("%d presences, want 3", f.present())
		}
		f.brokers[0], f.brokers[2], f.off[0] = f.brokers[2], f.brokers[0], make(chan struct{})
		f.loads(1, 3)
		for range 5 {
			time.Sleep(time.Second)
			if err := f.rotate(f.brokers[2]); err != nil {
				t.Fatal(err)
			}
		}
		f.close()
		if f.failed.Load() != 0 {
			t.Errorf("%d of %d calls failed", f.failed.Load(), f.calls.Load())
		}
	})
}

// TestSlowLeader: a leader that stands still for longer than its lease finds
// its hand-over ended, and sends nothing.
func TestSlowLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 4, nil)
		f.brokers[0], f.brokers[3] = f.brokers[3], f.brokers[0]
		f.loads(3, 3)
		time.Sleep(time.Second)
		time.AfterFunc(20*time.Millisecond, func() { f.delays[0].Store(int64(13 * time.Second)) })
		time.AfterFunc(12*time.Second, func() { f.delays[0].Store(int64(3 * time.Millisecond)) })
		began := time.Now()
		err := f.rotate(f.brokers[3])
		if logins, _, _ := f.v.count(); err == nil || logins != 1 || time.Since(began) < 15*time.Second {
			t.Errorf("%d logins after %v, %v; want 1", logins, time.Since(began), err)
		}
		f.close()
		if f.failed.Load() != 0 {
			t.Errorf("%d of %d calls failed", f.failed.Load(), f.calls.Load())
		}
	})
}

// TestPartedInHandOver: a broker that saw a hand-over begin and then loses the
// store lets its calls go on after the lease time.
func TestPartedInHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		slow, end := f.open(f.brokers[0]) // so that the hand-over takes its time
		defer slow()
		if !f.call(t.Context(), f.brokers[1]) {
			t.Fatal("the first call failed")
		}
		done := make(chan struct{})
		go func() { _ = f.rotate(f.brokers[0]); close(done) }()
		time.Sleep(time.Second)
		f.faults[0].Set(storetest.Down) // so that nothing ever comes of it
		f.faults[1].Set(storetest.Down)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if !f.call(ctx, f.brokers[1]) || time.Since(began) < 10*time.Second || time.Since(began) > 20*time.Second {
			t.Errorf("a call waited for %v", time.Since(began))
		}
		<-done
		end()
		f.faults[0].Set(storetest.Healthy)
		f.faults[1].Set(storetest.Healthy)
		f.close()
	})
}

// open begins a call that does not end before close is called, and checks then
// that it was answered.
func (f *fleet) open(b *Broker) (cleanup, end func()) {
	r, _ := http.NewRequest("GET", "http://vendor.test/prefix/x", nil)
	answer, err := b.Source("a", nil).RoundTrip(r)
	if err != nil || answer.StatusCode != 200 {
		f.t.Fatalf("%v %v", answer, err)
	}
	end = sync.OnceFunc(func() { _ = answer.Body.Close() })
	return end, end
}

// TestSlowCall: a call that does not end, at another broker, is waited for as
// long as Drain. Its broker is not taken for dead.
func TestSlowCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		_, end := f.open(f.brokers[1])
		var taken atomic.Int64
		f.faults[0].Decide(func(op, _ string) storetest.Fault {
			if op == "delete" {
				taken.Add(1)
			}
			return storetest.Healthy
		})
		f.loads(2, 2)
		time.Sleep(time.Second)
		began := time.Now()
		if err := f.rotate(f.brokers[0]); err != nil || time.Since(began) < 10*time.Second || time.Since(began) > 11*time.Second {
			t.Errorf("a hand-over took %v: %v", time.Since(began), err)
		}
		if taken.Load() != 0 {
			t.Error("a broker that lives was taken for dead")
		}
		end()
		for range 5 {
			time.Sleep(time.Second)
			began := time.Now()
			if err := f.rotate(f.brokers[0]); err != nil || time.Since(began) > time.Second {
				t.Errorf("a hand-over took %v: %v", time.Since(began), err)
			}
		}
		f.close()
		if f.failed.Load() != 0 {
			t.Errorf("%d of %d calls failed", f.failed.Load(), f.calls.Load())
		}
	})
}

// TestPresence: one is there while there are calls, is written once and not
// again, and a store that is down holds up no call.
func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		var puts atomic.Int64
		f.faults[1].Decide(func(op, _ string) storetest.Fault {
			if op == "put" {
				puts.Add(1)
			}
			return storetest.Healthy
		})
		for range 100 {
			if !f.call(t.Context(), f.brokers[1]) {
				t.Fatal("a call failed")
			}
			time.Sleep(time.Minute)
		}
		if f.present() != 1 || puts.Load() != 1 {
			t.Errorf("%d presences after %d writes, want 1 after 1", f.present(), puts.Load())
		}
		time.Sleep(unusedFor + time.Minute)
		if f.present() != 0 {
			t.Errorf("%d presences without calls", f.present())
		}
		f.faults[1].Set(storetest.Down)
		began := time.Now()
		if !f.call(t.Context(), f.brokers[1]) || time.Since(began) > 3*time.Second {
			t.Errorf("the store is down, and a call took %v", time.Since(began))
		}
		f.faults[1].Set(storetest.Healthy)
		time.Sleep(2 * time.Minute)
		if f.present() != 1 {
			t.Errorf("%d presences after the store is back, want 1", f.present())
		}
		_, end := f.open(f.brokers[1])
		time.Sleep(2 * unusedFor)
		if f.present() != 1 {
			t.Errorf("%d presences in a long call, want 1", f.present())
		}
		end()
		f.close()
		if f.present() != 0 {
			t.Errorf("%d presences after Close", f.present())
		}
	})
}

// TestStopWithCalls: a broker that stops is waited for until the calls that run
// have ended.
func TestStopWithCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		f.call(t.Context(), f.brokers[1])
		var calls sync.WaitGroup
		calls.Go(func() {
			if !f.call(t.Context(), f.brokers[1]) {
				t.Error("a call failed")
			}
		})
		time.Sleep(10 * time.Millisecond)
		calls.Go(func() { closeBroker(t, f.brokers[1]) })
		time.Sleep(10 * time.Millisecond)
		if err := f.rotate(f.brokers[0]); err != nil {
			t.Error(err)
		}
		calls.Wait()
		f.close()
	})
}
