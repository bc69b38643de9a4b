package broker

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// timed is a slow store with a clock, which says the bubble's time.
func timed() store.Store {
	return storetest.Slow(storetest.Timed(store.NewMemory(), time.Now), func() time.Duration { return 3 * time.Millisecond })
}

// off makes a broker's machine have a clock that is wrong, and returns by how
// much, to be changed.
func off(b *Broker, by time.Duration) *atomic.Int64 {
	var skew atomic.Int64
	skew.Store(int64(by))
	b.skew = func() time.Duration { return time.Duration(skew.Load()) }
	return &skew
}

// TestSkewedReaders: brokers whose clocks are minutes apart share a token until
// it expires, and not longer; each says when by its own machine's clock.
func TestSkewedReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), timed()
		v.d.Lifetime = 15 * time.Minute
		skews := []time.Duration{0, 9 * time.Minute, -10 * time.Minute, time.Hour}
		var all []*Broker
		ctx, cancel := context.WithCancel(t.Context())
		for _, skew := range skews {
			b := v.broker(st, newCredentials())
			off(b, skew)
			all = append(all, b)
		}
		first, err := all[1].Token(ctx, "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		expiry := first.Expiry.Add(-skews[1])
		if life := time.Until(expiry); life < 14*time.Minute || life > 15*time.Minute {
			t.Errorf("the token lives for %v", life)
		}
		for i, b := range all {
			token, err := b.Token(ctx, "a", 0)
			if err != nil || token.Generation != 1 {
				t.Fatalf("broker %d: %v %v", i, token, err)
			}
			if off := token.Expiry.Add(-skews[i]).Sub(expiry).Abs(); off > 50*time.Millisecond {
				t.Errorf("broker %d: its token expires %v beside the others'", i, off)
			}
			s := b.Status(ctx)[0]
			if off := time.Until(s.ObtainedAt.Add(-skews[i])).Abs(); off > 5*time.Second {
				t.Errorf("broker %d shows a time that is %v off", i, off)
			}
			events, err := b.History(ctx, "a")
			if err != nil || len(events) != 1 || time.Until(events[0].At.Add(-skews[i])).Abs() > 5*time.Second {
				t.Errorf("broker %d: %v %v", i, events, err)
			}
		}
		for range 3600 {
			for i, b := range all {
				token, err := b.Token(ctx, "a", 0)
				if err != nil || v.check(token) != nil {
					t.Fatalf("broker %d: %v", i, err)
				}
			}
			time.Sleep(time.Second)
		}
		if logins, _, attempts := v.count(); logins != 5 && logins != 6 || logins != attempts {
			t.Errorf("%d logins in an hour, want one in 13 minutes", logins)
		}
		cancel()
		for _, b := range all {
			closeBroker(t, b)
		}
	})
}

// TestSkewedRetryAfter: what one broker was told to wait, the others wait too,
// and not longer.
func TestSkewedRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), timed()
		v.fault = func(*dialect.Exchange) (int, http.Header) { return 429, http.Header{"Retry-After": {"60"}} }
		slow, fast := v.broker(st, newCredentials()), v.broker(st, newCredentials())
		off(slow, -8*time.Minute)
		off(fast, 8*time.Minute)
		slow.Token(t.Context(), "a", 0)
		for range 110 {
			for _, b := range []*Broker{fast, slow} {
				_, err := b.Token(t.Context(), "a", 0)
				if e, ok := errors.AsType[*UnavailableError](err); !ok || e.RetryAfter > time.Minute {
					t.Fatalf("%v", err)
				}
			}
			time.Sleep(500 * time.Millisecond)
		}
		if _, _, attempts := v.count(); attempts != 1 {
			t.Errorf("%d logins within Retry-After, want 1", attempts)
		}
		v.set(func() { v.fault = nil })
		time.Sleep(8 * time.Second)
		for _, b := range []*Broker{fast, slow} {
			if _, err := b.Token(t.Context(), "a", 0); err != nil {
				t.Error(err)
			}
			closeBroker(t, b)
		}
	})
}

// TestSkewedBudget: brokers whose clocks are minutes apart count the same
// logins.
func TestSkewedBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), timed()
		v.d.Rate = map[string]dialect.Rate{"username": {Count: 2, Per: time.Minute}}
		var at []time.Time
		v.fault = func(*dialect.Exchange) (int, http.Header) { at = append(at, time.Now()); return 500, nil }
		slow, fast := v.broker(st, newCredentials()), v.broker(st, newCredentials())
		off(slow, -8*time.Minute)
		off(fast, 8*time.Minute)
		for range 600 {
			for _, b := range []*Broker{slow, fast} {
				b.Token(t.Context(), "a", 0)
				b.Release(t.Context(), "a") // no back-off
			}
			time.Sleep(500 * time.Millisecond)
		}
		for i := 2; i < len(at); i++ {
			if at[i].Sub(at[i-2]) < time.Minute {
				t.Fatalf("3 logins in %v", at[i].Sub(at[i-2]))
			}
		}
		if len(at) < 9 || len(at) > 12 {
			t.Errorf("%d logins in 5 minutes; the budget allows 10", len(at))
		}
		closeBroker(t, slow)
		closeBroker(t, fast)
	})
}

// TestClockSteps: a clock that is set, or that goes on while its machine sleeps,
// neither has a broker give out an expired token nor log in too early, whether
// or not the store has a clock.
func TestClockSteps(t *testing.T) {
	for _, step := range []time.Duration{-10 * time.Minute, 10 * time.Minute, -3 * time.Hour, 3 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			v.d.Lifetime = time.Hour
			b := v.broker(timed(), newCredentials())
			skew := off(b, time.Minute)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { b.Run(ctx); close(done) }()
			first, err := b.Token(ctx, "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			expiry := first.Expiry.Add(-time.Minute)
			time.Sleep(40 * time.Minute)
			skew.Add(int64(step))
			if step < 0 {
				back := time.Until(b.now()).Abs()
				if back > time.Second {
					t.Errorf("a clock that is set back by %v takes the broker back by %v", -step, back)
				}
			}
			time.Sleep(2 * time.Minute)
			token, err := b.Token(ctx, "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			if shown := token.Expiry.Add(-time.Minute - step); token.Generation == 1 && shown.Sub(expiry).Abs() > time.Second {
				t.Errorf("after a step of %v the expiry is shown %v off", step, shown.Sub(expiry))
			}
			for range 3 * 3600 {
				token, err := b.Token(ctx, "a", 0)
				if err != nil || v.check(token) != nil {
					t.Fatalf("after a step of %v: %v", step, err)
				}
				time.Sleep(time.Second)
			}
			if logins, _, _ := v.count(); logins > 5 {
				t.Errorf("after a step of %v: %d logins in 4 hours", step, logins)
			}
			cancel()
			<-done
		})
	}
}

// TestSleepingMachine: timers stand still while a machine sleeps. What fell due
// meanwhile is done soon after it wakes, and those who wait for it are told.
func TestSleepingMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.d.Lifetime = 4 * time.Hour
		b := v.broker(slowStore(), newCredentials()) // SQLite has no clock either
		skew := off(b, 0)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		if _, err := b.Token(ctx, "a", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		next := make(chan *jeton.Token, 1)
		go func() {
			token, _ := b.Next(ctx, "a", 1)
			next <- token
		}()
		synctest.Wait()
		skew.Add(int64(5 * time.Hour))
		time.Sleep(2 * time.Minute)
		select {
		case token := <-next:
			if token.Generation != 2 {
				t.Errorf("generation %d", token.Generation)
			}
		default:
			t.Error("the expired token was not replaced")
		}
		cancel()
		<-done
	})
}

// TestNoClock: a store's clock that cannot be read any more goes on as it was;
// one that was never read stops logins for seconds, not for good.
func TestNoClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, faults := newVendor(t, "iadvize"), new(storetest.Faults)
		v.d.Lifetime = time.Hour
		st := storetest.Faulty(timed(), faults)
		b := v.broker(st, newCredentials())
		off(b, 20*time.Minute)
		first, err := b.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		faults.Decide(func(op, key string) storetest.Fault {
			if op == "now" {
				return storetest.Down
			}
			return storetest.Healthy
		})
		time.Sleep(2 * time.Hour)
		token, err := b.Token(t.Context(), "a", 0)
		if err != nil || v.check(token) != nil {
			t.Fatal(err)
		}
		if life := token.Expiry.Sub(first.Expiry); life < 2*time.Hour-time.Minute || life > 2*time.Hour+time.Minute {
			t.Errorf("the second token expires %v after the first, want two hours", life)
		}
		closeBroker(t, b)

		other := v.broker(st, newCredentials())
		if _, err := other.Token(t.Context(), "a", 0); err == nil {
			t.Error("a broker knows what times mean whose clock was never read")
		}
		began := time.Now()
		for {
			if _, err = other.Token(t.Context(), "a", 0); err == nil || time.Since(began) > time.Minute {
				break
			}
			time.Sleep(time.Second)
		}
		if took := time.Since(began); err != nil || took < 5*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		closeBroker(t, other)
	})
}
