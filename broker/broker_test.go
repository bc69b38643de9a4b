package broker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// readers asks for a token n times at once and returns what went wrong.
func readers(t *testing.T, n int, ask func() (*jeton.Token, error)) (failed int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if token, err := ask(); err != nil || token.AccessToken.IsZero() {
				mu.Lock()
				failed++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed
}

// TestFirstCallers: 1,000 simultaneous first callers cause one login, of one
// broker and of four that share a store.
func TestFirstCallers(t *testing.T) {
	for _, name := range []string{"iadvize", "altrata", "alvys", "web1on1"} {
		for _, brokers := range []int{1, 4} {
			synctest.Test(t, func(t *testing.T) {
				v, st := newVendor(t, name), slowStore()
				var all []*Broker
				for range brokers {
					all = append(all, v.broker(st, newCredentials()))
				}
				next := 0
				var mu sync.Mutex
				failed := readers(t, 1000, func() (*jeton.Token, error) {
					mu.Lock()
					b := all[next%len(all)]
					next++
					mu.Unlock()
					return b.Token(t.Context(), "a", 0)
				})
				if logins, _, _ := v.count(); logins != 1 || failed != 0 {
					t.Errorf("%s, %d brokers: %d logins, %d callers failed", name, brokers, logins, failed)
				}
				for _, b := range all {
					closeBroker(t, b)
				}
			})
		}
	}
}

// TestDay: a day of virtual time for every dialect has exactly the expected
// logins and refreshes, and no reader ever gets a token that is not good.
func TestDay(t *testing.T) {
	for _, c := range []struct {
		name              string
		logins, refreshes int
	}{
		{"iadvize", 2, 0}, // 24 h less 5 minutes
		{"altrata", 4, 0}, // every 7 h 55 min
		{"alvys", 1, 26},  // an hour less 5 minutes, refreshed: its fake grants refresh tokens
		{"web1on1", 1, 1}, // refreshed before expiry
	} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, c.name)
			b := v.broker(slowStore(), newCredentials())
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { b.Run(ctx) })
			for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); time.Sleep(time.Minute) {
				token, err := b.Token(ctx, "a", 0)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				if err := v.check(token); err != nil {
					t.Fatalf("%s: a reader got a bad token: %v", c.name, err)
				}
			}
			cancel()
			wg.Wait()
			if logins, refreshes, _ := v.count(); logins != c.logins || refreshes != c.refreshes {
				t.Errorf("%s: %d logins and %d refreshes, want %d and %d", c.name, logins, refreshes, c.logins, c.refreshes)
			}
		})
	}
}

// TestReadersDoNotWait: while a slow refresh runs ahead of expiry, readers get
// the old token at once.
func TestReadersDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		first, err := b.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(first.Expiry) - time.Minute)
		v.set(func() { v.latency = 10 * time.Second })
		began := time.Now()
		token, err := b.Token(t.Context(), "a", 0)
		if err != nil || token.Generation != 1 || time.Since(began) != 0 {
			t.Fatalf("generation %v after %v, %v", token, time.Since(began), err)
		}
		time.Sleep(30 * time.Second)
		if token, err = b.Token(t.Context(), "a", 0); err != nil || token.Generation != 2 {
			t.Fatalf("the refresh did not come: %v", err)
		}
		closeBroker(t, b)
	})
}

// TestWrongPasswordLatches: 800 callers for a minute cause one login; another
// credential causes one more, and the first one none.
func TestWrongPasswordLatches(t *testing.T) {
	for _, name := range []string{"iadvize", "altrata", "alvys", "web1on1"} {
		synctest.Test(t, func(t *testing.T) {
			v, c := newVendor(t, name), newCredentials()
			secret := "password"
			if name == "alvys" {
				secret = "client_secret"
			}
			c.set(secret, "old")
			b := v.broker(slowStore(), c)
			for range 60 {
				readers(t, 800/60+1, func() (*jeton.Token, error) {
					token, err := b.Token(t.Context(), "a", 0)
					if _, ok := errors.AsType[*LatchedError](err); !ok {
						t.Errorf("%s: %v, want latched", name, err)
					}
					return token, err
				})
				time.Sleep(time.Second)
			}
			if _, _, attempts := v.count(); attempts != 1 {
				t.Errorf("%s: %d logins with the wrong password, want 1", name, attempts)
			}
			c.set(secret, rightPassword)
			if _, err := b.Token(t.Context(), "a", 0); err != nil {
				t.Errorf("%s: after the credential changed: %v", name, err)
			}
			if _, _, attempts := v.count(); attempts != 2 {
				t.Errorf("%s: %d logins, want 2", name, attempts)
			}
			closeBroker(t, b)
		})
	}
}

// TestMixedCredentials: brokers with an old and a new secret do not alternate.
func TestMixedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), slowStore()
		old, other, right := newCredentials(), newCredentials(), newCredentials()
		old.set("password", "old")
		other.set("password", "other")
		v.password = "neither"
		a, b, c := v.broker(st, old), v.broker(st, other), v.broker(st, right)
		for range 50 {
			a.Token(t.Context(), "a", 0)
			b.Token(t.Context(), "a", 0)
			c.Token(t.Context(), "a", 0)
			time.Sleep(time.Second)
		}
		if _, _, attempts := v.count(); attempts != 3 {
			t.Errorf("%d logins with three wrong credentials, want 3", attempts)
		}
		for _, b := range []*Broker{a, b, c} {
			closeBroker(t, b)
		}
	})
}

// TestRelease: an operator takes the latch off.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.password = "changed at the vendor"
		b := v.broker(slowStore(), newCredentials())
		if _, err := b.Token(t.Context(), "a", 0); err == nil {
			t.Fatal("a token came for a wrong password")
		}
		v.set(func() { v.password = rightPassword })
		if _, err := b.Token(t.Context(), "a", 0); err == nil {
			t.Fatal("the latch did not hold")
		}
		if err := b.Release(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		closeBroker(t, b)
	})
}

// TestRetryAfter: after 429 with Retry-After there is no login before the time
// is over, of any broker; then one.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), slowStore()
		v.fault = func(*dialect.Exchange) (int, http.Header) { return 429, http.Header{"Retry-After": {"60"}} }
		a, b := v.broker(st, newCredentials()), v.broker(st, newCredentials())
		began := time.Now()
		for time.Since(began) < 59*time.Second {
			for _, b := range []*Broker{a, b} {
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
		time.Sleep(2 * time.Second)
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Error(err)
		}
		closeBroker(t, a)
		closeBroker(t, b)
	})
}

// TestBackoff: 5xx and time-outs back off 1, 2, 4, 8 ... seconds, at most 5
// minutes, and recover by themselves.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.fault = func(*dialect.Exchange) (int, http.Header) { return 503, nil }
		b := v.broker(slowStore(), newCredentials())
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		for range 3600 {
			b.Token(ctx, "a", 0)
			time.Sleep(time.Second)
		}
		if _, _, attempts := v.count(); attempts < 15 || attempts > 22 {
			t.Errorf("%d logins in an hour of 503, want about 19", attempts)
		}
		v.set(func() { v.fault = nil })
		time.Sleep(6 * time.Minute)
		if _, err := b.Token(ctx, "a", 0); err != nil {
			t.Errorf("after the vendor is back: %v", err)
		}
		cancel()
		wg.Wait()
	})
}

// TestServedUntilExpiry: with the vendor down, or the store, or both, the old
// token is served until it expires, and not longer.
func TestServedUntilExpiry(t *testing.T) {
	for _, what := range []string{"vendor", "store", "both"} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			faults := new(storetest.Faults)
			b := v.broker(storetest.Faulty(slowStore(), faults), newCredentials())
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { b.Run(ctx) })
			first, err := b.Token(ctx, "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			if what != "store" {
				v.set(func() { v.fault = func(*dialect.Exchange) (int, http.Header) { return 500, nil } })
			}
			if what != "vendor" {
				faults.Set(storetest.Down)
			}
			time.Sleep(time.Until(first.Expiry) - time.Second)
			if token, err := b.Token(ctx, "a", 0); err != nil || v.check(token) != nil {
				t.Errorf("%s down, a second before expiry: %v", what, err)
			}
			time.Sleep(2 * time.Second)
			_, err = b.Token(ctx, "a", 0)
			if e, ok := errors.AsType[*UnavailableError](err); !ok || e.RetryAfter < time.Second {
				t.Errorf("%s down, after expiry: %v", what, err)
			}
			if logins, _, attempts := v.count(); what == "store" && attempts != 1 || logins != 1 {
				t.Errorf("%s down: %d logins, %d attempts", what, logins, attempts)
			}
			faults.Set(storetest.Healthy)
			v.set(func() { v.fault = nil })
			time.Sleep(6 * time.Minute)
			if failed := readers(t, 100, func() (*jeton.Token, error) { return b.Token(ctx, "a", 0) }); failed != 0 {
				t.Errorf("%s is back: %d readers failed", what, failed)
			}
			if logins, _, _ := v.count(); logins != 2 {
				t.Errorf("%s is back: %d logins, want 2", what, logins)
			}
			cancel()
			wg.Wait()
		})
	}
}

// TestStoreDownAfterLogin: a token that cannot be saved is served, and saved
// when the store is back.
func TestStoreDownAfterLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.latency = time.Second
		faults := new(storetest.Faults)
		st := storetest.Faulty(slowStore(), faults)
		b := v.broker(st, newCredentials())
		time.AfterFunc(time.Second, func() { faults.Set(storetest.Down) })
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatalf("what the vendor gave is not served: %v", err)
		}
		time.Sleep(time.Minute)
		faults.Set(storetest.Healthy)
		time.Sleep(10 * time.Second)
		other := v.broker(st, newCredentials())
		if _, err := other.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		if logins, _, _ := v.count(); logins != 1 {
			t.Errorf("%d logins; the token was not saved", logins)
		}
		closeBroker(t, b)
		closeBroker(t, other)
	})
}

// TestLostStoreAnswers: writes whose answers are lost are neither repeated as
// logins nor forgotten.
func TestLostStoreAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		faults := new(storetest.Faults)
		n := 0
		faults.Decide(func(op, key string) storetest.Fault {
			if op == "put" && strings.HasPrefix(key, "broker/") {
				if n++; n == 2 { // the save of the token
					return storetest.LoseAnswer
				}
			}
			return storetest.Healthy
		})
		st := storetest.Faulty(slowStore(), faults)
		b := v.broker(st, newCredentials())
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		other := v.broker(st, newCredentials())
		token, err := other.Token(t.Context(), "a", 0)
		if logins, _, _ := v.count(); err != nil || logins != 1 || token.Generation != 1 {
			t.Errorf("%d logins, %v", logins, err)
		}
		closeBroker(t, b)
		closeBroker(t, other)
	})
}

// TestSpentRefreshToken: a refused refresh falls back to one login.
func TestSpentRefreshToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		first, err := b.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		v.set(func() { clear(v.refresh) })
		time.Sleep(time.Until(first.Expiry) + time.Second)
		if failed := readers(t, 100, func() (*jeton.Token, error) { return b.Token(t.Context(), "a", 0) }); failed != 0 {
			t.Errorf("%d readers failed", failed)
		}
		if logins, refreshes, attempts := v.count(); logins != 2 || refreshes != 0 || attempts != 3 {
			t.Errorf("%d logins, %d refreshes, %d attempts; want 2, 0, 3", logins, refreshes, attempts)
		}
		closeBroker(t, b)
	})
}

// TestLostRefreshAnswer: the vendor spent the refresh token and the answer was
// lost. One login follows, and readers have the old token meanwhile.
func TestLostRefreshAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		first, err := b.Token(ctx, "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		v.set(func() { v.loseNext = true })
		for time.Now().Before(first.Expiry.Add(time.Hour)) {
			token, err := b.Token(ctx, "a", 0)
			if err != nil || v.check(token) != nil {
				t.Fatalf("%v", err)
			}
			time.Sleep(30 * time.Second)
		}
		if logins, refreshes, _ := v.count(); logins != 2 || refreshes != 1 {
			t.Errorf("%d logins, %d refreshes; want 2 and the lost 1", logins, refreshes)
		}
		cancel()
		wg.Wait()
	})
}

// TestCrashes: a broker that dies at any step leaves a record from which
// another goes on, with one login more at most.
func TestCrashes(t *testing.T) {
	for step := 1; step <= 4; step++ {
		synctest.Test(t, func(t *testing.T) {
			v, st := newVendor(t, "iadvize"), slowStore()
			dying := new(storetest.Faults)
			var n atomic.Int64
			dying.Decide(func(op, key string) storetest.Fault {
				if op == "put" && strings.HasPrefix(key, "broker/") {
					n.Add(1)
				}
				if n.Load() >= int64(step) {
					return storetest.Down // the process is gone as far as the store can tell
				}
				return storetest.Healthy
			})
			dead := v.broker(storetest.Faulty(st, dying), newCredentials())
			dead.Token(t.Context(), "a", 0)
			dead.stop()
			dead.abort()
			other := v.broker(st, newCredentials())
			if token, err := other.Token(t.Context(), "a", 0); err != nil || v.check(token) != nil {
				t.Errorf("step %d: %v", step, err)
			}
			if logins, _, _ := v.count(); logins > 2 {
				t.Errorf("step %d: %d logins", step, logins)
			}
			closeBroker(t, other)
			closeBroker(t, dead)
		})
	}
}

// TestSlowLogin: a login that takes longer than the lease is one login all the
// same, because its lease is renewed.
func TestSlowLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "altrata"), slowStore()
		v.latency = 13 * time.Second
		a, b := v.broker(st, newCredentials()), v.broker(st, newCredentials())
		for _, b := range []*Broker{a, b} {
			b.Lease = 3 * time.Second
		}
		var failed atomic.Int64
		var wg sync.WaitGroup
		for _, b := range []*Broker{a, b} {
			wg.Go(func() {
				failed.Add(int64(readers(t, 20, func() (*jeton.Token, error) { return b.Token(t.Context(), "a", 0) })))
			})
		}
		wg.Wait()
		if logins, _, _ := v.count(); logins != 1 || failed.Load() != 0 {
			t.Errorf("%d logins, %d readers failed", logins, failed.Load())
		}
		closeBroker(t, a)
		closeBroker(t, b)
	})
}

// TestReports: 500 callers whose token was refused cause one login; a fresh
// token that is refused too causes none.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		v.set(func() { clear(v.live) })
		report := func(generation, want uint64) {
			failed := readers(t, 500, func() (*jeton.Token, error) {
				token, err := b.Report(t.Context(), "a", generation)
				if err == nil && token.Generation != want {
					t.Errorf("a report of generation %d got %d, want %d", generation, token.Generation, want)
				}
				return token, err
			})
			if failed != 0 {
				t.Errorf("%d reports failed", failed)
			}
		}
		report(1, 2)
		report(1, 2)
		if logins, _, _ := v.count(); logins != 2 {
			t.Errorf("%d logins, want 2", logins)
		}
		report(2, 2)
		if logins, _, _ := v.count(); logins != 2 || !b.Status(t.Context())[0].PermissionProblem {
			t.Errorf("%d logins for a permission problem", logins)
		}
		closeBroker(t, b)
	})
}

// TestMinTTL: a token that does not live long enough is replaced, but not by
// one that cannot either.
func TestMinTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		b := v.broker(slowStore(), newCredentials())
		for range 3 {
			if token, err := b.Token(t.Context(), "a", 48*time.Hour); err != nil || token.Generation != 1 {
				t.Fatalf("%v %v", token, err)
			}
		}
		time.Sleep(20 * time.Hour)
		if token, err := b.Token(t.Context(), "a", 10*time.Hour); err != nil || token.Generation != 2 {
			t.Errorf("%v", err)
		}
		if logins, _, _ := v.count(); logins != 2 {
			t.Errorf("%d logins, want 2", logins)
		}
		closeBroker(t, b)
	})
}

// TestBudget: logins never exceed the vendor's rate, over accounts that share
// a user and brokers that share a store.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), slowStore()
		a, b := v.broker(st, newCredentials()), v.broker(st, newCredentials())
		began := time.Now()
		var at []time.Time
		v.fault = func(*dialect.Exchange) (int, http.Header) { at = append(at, time.Now()); return 0, nil }
		for time.Since(began) < 5*time.Minute {
			for _, b := range []*Broker{a, b} {
				if token, err := b.Token(t.Context(), "a", 0); err == nil {
					b.Report(t.Context(), "a", token.Generation)
					b.init()
					for _, k := range b.keepers { // as if each were a natural renewal
						k.change(t.Context(), func(r *record) bool { r.Ended = true; return true })
					}
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		for i := 10; i < len(at); i++ {
			if at[i].Sub(at[i-10]) < time.Minute {
				t.Fatalf("11 logins in %v", at[i].Sub(at[i-10]))
			}
		}
		if len(at) < 40 {
			t.Errorf("only %d logins in 5 minutes; the budget allows 50", len(at))
		}
		closeBroker(t, a)
		closeBroker(t, b)
	})
}

// TestReaderGivesUp: a reader's own context ends its wait and not the login.
func TestReaderGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.latency = 10 * time.Second
		b := v.broker(slowStore(), newCredentials())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Token(ctx, "a", 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if token, err := b.Token(t.Context(), "a", 0); err != nil || token.Generation != 1 {
			t.Errorf("%v", err)
		}
		if logins, _, _ := v.count(); logins != 1 {
			t.Errorf("%d logins", logins)
		}
		closeBroker(t, b)
	})
}

// TestCloseIsQuick: a broker stops within a second in the middle of a login,
// and the next one need not wait for its lease.
func TestCloseIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), store.NewMemory()
		v.latency = 20 * time.Second
		b := v.broker(st, newCredentials())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		go b.Token(ctx, "a", 0)
		time.Sleep(time.Second)
		began := time.Now()
		cancel()
		<-done
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v to stop", took)
		}
		v.set(func() { v.latency = 50 * time.Millisecond })
		next := v.broker(st, newCredentials())
		time.Sleep(2 * time.Second) // the back-off after an outcome that is unknown
		began = time.Now()
		if _, err := next.Token(t.Context(), "a", 0); err != nil || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		closeBroker(t, next)
	})
}

// blind is a store that has lost its compare-and-swap.
type blind struct{ store.Store }

func (b blind) Put(ctx context.Context, r store.Record) (store.Record, error) {
	for {
		now, err := b.Store.Get(ctx, r.Key)
		if errors.Is(err, store.ErrNotFound) {
			now = store.Record{}
		}
		r.Version = now.Version
		if r, err := b.Store.Put(ctx, r); !errors.Is(err, store.ErrConflict) {
			return r, err
		}
	}
}

// TestFirstCallersCanFail shows that it is compare-and-swap which makes one
// login of many: 1,000 callers of 50 brokers log in more often without it.
func TestFirstCallersCanFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), blind{slowStore()}
		var all []*Broker
		var wg sync.WaitGroup
		for range 50 {
			b := v.broker(st, newCredentials())
			all = append(all, b)
			for range 20 {
				wg.Go(func() { b.Token(t.Context(), "a", 0) })
			}
		}
		wg.Wait()
		if logins, _, _ := v.count(); logins < 2 {
			t.Errorf("%d logins without compare-and-swap; the tests of one login prove nothing", logins)
		}
		for _, b := range all {
			closeBroker(t, b)
		}
	})
}

// TestSingleFlight: 1,000 callers in one process cost the store what one does.
func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		faults, puts := new(storetest.Faults), 0
		var mu sync.Mutex
		faults.Decide(func(op, key string) storetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if op == "put" {
				puts++
			}
			return storetest.Healthy
		})
		b := v.broker(storetest.Faulty(slowStore(), faults), newCredentials())
		readers(t, 1000, func() (*jeton.Token, error) { return b.Token(t.Context(), "a", 0) })
		closeBroker(t, b) // which waits for what is still being written
		if puts != 6 {    // lease, two budgets, token, and the budgets again when the login has arrived
			t.Errorf("1000 callers cost %d writes, want 6", puts)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	t := &testing.T{}
	v := newVendor(t, "iadvize")
	v.latency = 0
	br := v.broker(store.NewMemory(), newCredentials())
	if _, err := br.Token(b.Context(), "a", 0); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := br.Token(b.Context(), "a", 0); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTokenParallel(b *testing.B) {
	v := newVendor(&testing.T{}, "iadvize")
	v.latency = 0
	br := v.broker(store.NewMemory(), newCredentials())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := br.Token(b.Context(), "a", 0); err != nil {
				b.Error(err)
			}
		}
	})
}
