package broker

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

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

// TestStoreLosesPresences: a store that comes back empty costs no call.
func TestStoreLosesPresences(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		f.loads(2, 3)
		time.Sleep(time.Second)
		all, err := f.mem.List(t.Context(), "", "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			if err := f.mem.Delete(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second)
		if f.present() != 2 {
			t.Errorf("%d presences, want 2", f.present())
		}
		if err := f.rotate(f.brokers[2]); err != nil {
			t.Error(err)
		}
		f.close()
		if f.failed.Load() != 0 {
			t.Errorf("%d of %d calls failed", f.failed.Load(), f.calls.Load())
		}
	})
}

// TestHandOverAfterExpiry: calls that left before the token expired are let end
// too. A vendor may look at the time when a call arrives, and not again.
func TestHandOverAfterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		token, err := f.brokers[1].Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		f.v.set(func() { f.v.live[token.AccessToken.Reveal()] = token.Expiry.Add(time.Minute) })
		var k *keeper
		if k, err = f.brokers[0].keeper(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := k.change(t.Context(), func(r *record) bool { r.RefreshAt = time.Time{}; return true }); err != nil {
			t.Fatal(err)
		}
		if err := f.read(1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(token.Expiry) - 20*time.Millisecond)
		var calls sync.WaitGroup
		calls.Go(func() {
			if !f.call(t.Context(), f.brokers[1]) {
				t.Error("a call failed")
			}
		})
		time.Sleep(30 * time.Millisecond)
		if token, err := f.brokers[0].Token(t.Context(), "a", 0); err != nil || token.Generation != 2 {
			t.Errorf("%v %v", token, err)
		}
		calls.Wait()
		f.close()
	})
}

// TestHandOverOfARefresh: a refresh that ends the token before it is a
// hand-over too, and so is the login where the refresh token is refused.
func TestHandOverOfARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		v.d.Active = 1
		f := newFleetAt(t, v, 3, nil)
		f.loads(2, 5)
		for n := range 20 {
			time.Sleep(400 * time.Millisecond)
			if n%4 == 3 {
				v.set(func() { clear(v.refresh) })
			}
			if err := f.rotate(f.brokers[n%3]); err != nil {
				t.Fatal(err)
			}
		}
		f.close()
		if logins, refreshes, _ := v.count(); logins != 6 || refreshes != 15 || f.failed.Load() != 0 {
			t.Errorf("%d of %d calls failed over %d logins and %d refreshes", f.failed.Load(), f.calls.Load(), logins, refreshes)
		}
	})
}

// TestPresenceKeys: brokers that come and go use the same few keys.
func TestPresenceKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 4, nil)
		calls := func(brokers ...int) {
			for _, i := range brokers {
				if !f.call(t.Context(), f.brokers[i]) {
					t.Error("a call failed")
				}
			}
		}
		keys := func() (last string) {
			list, err := f.mem.List(t.Context(), "presence/", "", 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				last += r.Key[strings.LastIndex(r.Key, "/"):]
			}
			return last
		}
		calls(0, 1, 2)
		if got := keys(); got != "/0/1/2" {
			t.Errorf("keys %s", got)
		}
		closeBroker(t, f.brokers[1])
		calls(3)
		if got := keys(); got != "/0/1/2" {
			t.Errorf("keys %s after another broker took the place of one", got)
		}
		time.Sleep(2 * unusedFor)
		calls(3, 2, 0)
		if got := keys(); got != "/0/1/2" {
			t.Errorf("keys %s after all had gone", got)
		}
		f.close()
	})
}
