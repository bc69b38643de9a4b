package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// TestReadersDoNotWaitForDrain: until the login that ends it is sent, the old
// token of a single-active vendor is good, and readers get it.
func TestReadersDoNotWaitForDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "altrata")
		b := v.broker(slowStore(), newCredentials())
		r, _ := http.NewRequest("GET", "http://vendor.test/prefix/x", nil)
		answer, err := b.Source("a", nil).RoundTrip(r) // its body stays open
		if err != nil {
			t.Fatal(err)
		}
		k, _ := b.keeper(t.Context(), "a")
		k.join(t.Context(), want{above: 1})
		time.Sleep(time.Second)
		began := time.Now()
		token, err := b.Token(t.Context(), "a", 0)
		if err != nil || token.Generation != 1 || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		answer.Body.Close()
		closeBroker(t, b)
	})
}

// TestCloseEndsDrain: a broker that stops does not go on draining, and leaves
// no lease for the next to wait for.
func TestCloseEndsDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "altrata"), slowStore()
		b := v.broker(st, newCredentials())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		r, _ := http.NewRequest("GET", "http://vendor.test/prefix/x", nil)
		answer, err := b.Source("a", nil).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		k, _ := b.keeper(ctx, "a")
		k.join(t.Context(), want{above: 1})
		time.Sleep(time.Second)
		cancel()
		<-done
		next := v.broker(st, newCredentials())
		began := time.Now()
		if token, err := next.Token(t.Context(), "a", 0); err != nil || v.check(token) != nil || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		answer.Body.Close()
		closeBroker(t, next)
	})
}

// TestBornExpired: a vendor whose tokens have expired when they come, because
// of its clock or of ours, is not asked again and again.
func TestBornExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "alvys")
		v.d.Lifetime = time.Nanosecond
		b := v.broker(slowStore(), newCredentials())
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		for range 600 {
			if token, err := b.Token(ctx, "a", 0); err == nil {
				t.Fatalf("an expired token was served: %v", token.Expiry)
			}
			time.Sleep(time.Second)
			if _, _, attempts := v.count(); attempts > 12 {
				t.Fatalf("%d logins", attempts)
			}
		}
		cancel()
		wg.Wait()
	})
}

// TestReportOfStranger: a report of a generation that never was, such as one
// from before the store was emptied, gets the token that there is.
func TestReportOfStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "alvys")
		b := v.broker(slowStore(), newCredentials())
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		token, err := b.Report(t.Context(), "a", 999)
		if logins, _, attempts := v.count(); err != nil || token.Generation != 1 || logins != 1 || attempts != 1 {
			t.Errorf("%d logins, %d attempts, %v", logins, attempts, err)
		}
		closeBroker(t, b)
	})
}

// TestUnknownExpiry: where a report is how one learns of an expiry, each
// expiry leads to a login, and a missing permission still to no more than one
// in a while.
func TestUnknownExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "alvys")
		v.silent = true
		b := v.broker(slowStore(), newCredentials())
		for n := uint64(1); n <= 5; n++ {
			token, err := b.Token(t.Context(), "a", 0)
			if err != nil || token.Generation != n || !token.Expiry.IsZero() {
				t.Fatalf("%d: %v %v", n, token, err)
			}
			time.Sleep(time.Hour)
			if token, err = b.Report(t.Context(), "a", n); err != nil || token.Generation != n+1 {
				t.Fatalf("a report of %d: %v %v", n, token, err)
			}
			if token, err = b.Report(t.Context(), "a", n+1); err != nil || token.Generation != n+1 {
				t.Fatalf("a report of the fresh %d: %v %v", n+1, token, err)
			}
		}
		closeBroker(t, b)
	})
}

// TestIdentity: accounts that log in differently never share a record; those
// that differ in what only calls use, or in a secret, do.
func TestIdentity(t *testing.T) {
	key := func(name, src string, vars jeton.Vars) string {
		d, err := dialect.Parse("x.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		a := Account{Name: name, Dialect: d, Secrets: func(context.Context) (jeton.Vars, error) { return vars, nil }}
		vars, err = a.variables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return a.recordKey(vars)
	}
	if key("a", keyOnly, jeton.Vars{"api_key": "1"}) == key("b", keyOnly, jeton.Vars{"api_key": "2"}) {
		t.Error("two API keys share a token")
	}
	if key("a", keyOnly, jeton.Vars{"api_key": "1"}) != key("a", keyOnly, jeton.Vars{"api_key": "2"}) {
		t.Error("a changed key is another credential")
	}
	client := func(secret, region string) jeton.Vars {
		vars := jeton.Vars{"client_id": "c", "client_secret": secret}
		if region != "" {
			vars["region"] = region
		}
		return vars
	}
	if key("a", regions, client("s", "eu")) == key("b", regions, client("s", "us")) {
		t.Error("two regions share a token")
	}
	if key("a", regions, client("s", "eu")) != key("b", regions, client("t", "")) {
		t.Error("one client has two records")
	}
	altrata := newVendor(t, "altrata").d
	services := map[string]bool{}
	for _, service := range []string{"profile", "events"} {
		a := Account{Name: service, Dialect: altrata}
		services[a.recordKey(jeton.Vars{"username": "u", "service": service})] = true
	}
	if len(services) != 1 {
		t.Error("two services of one credential do not share its token")
	}
}

// TestLostBeat: a renewal of the lease whose answer is lost, and a word that
// somebody else writes into the record, do not end the lease.
func TestLostBeat(t *testing.T) {
	for _, what := range []string{"lost answer", "another writer"} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			v.latency = 13 * time.Second
			faults := new(storetest.Faults)
			st := storetest.Faulty(slowStore(), faults)
			a, b := v.broker(st, newCredentials()), v.broker(st, newCredentials())
			a.Lease, b.Lease = 3*time.Second, 3*time.Second
			time.AfterFunc(5*time.Second, func() {
				if what == "another writer" {
					if err := a.Release(t.Context(), "a"); err != nil {
						t.Error(err)
					}
					return
				}
				once := new(sync.Once)
				faults.Decide(func(op, key string) storetest.Fault {
					fault := storetest.Healthy
					if op == "put" && strings.HasPrefix(key, "broker/") {
						once.Do(func() { fault = storetest.LoseAnswer })
					}
					return fault
				})
			})
			var wg sync.WaitGroup
			for _, b := range []*Broker{a, b} {
				wg.Go(func() {
					if _, err := b.Token(t.Context(), "a", 0); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				})
			}
			wg.Wait()
			if _, _, attempts := v.count(); attempts != 1 {
				t.Errorf("%s: %d logins, want 1", what, attempts)
			}
			closeBroker(t, a)
			closeBroker(t, b)
		})
	}
}

// TestStoreDownAfterRefusal: a refusal that cannot be saved is not forgotten
// either: Retry-After holds, and a latch does.
func TestStoreDownAfterRefusal(t *testing.T) {
	for _, status := range []int{429, 401} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			faults := new(storetest.Faults)
			v.fault = func(*dialect.Exchange) (int, http.Header) {
				faults.Set(storetest.Down)
				return status, http.Header{"Retry-After": {"60"}}
			}
			b := v.broker(storetest.Faulty(slowStore(), faults), newCredentials())
			b.Token(t.Context(), "a", 0)
			time.Sleep(3 * time.Second)
			faults.Set(storetest.Healthy)
			for range 100 {
				b.Token(t.Context(), "a", 0)
				time.Sleep(500 * time.Millisecond)
			}
			if _, _, attempts := v.count(); attempts != 1 {
				t.Errorf("%d: %d logins, want 1", status, attempts)
			}
			closeBroker(t, b)
		})
	}
}

// TestLatchIsLookedAt: a secret that is put right while the old token is good
// still is seen by the broker itself, and no reader ever waits.
func TestLatchIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, c := newVendor(t, "iadvize"), newCredentials()
		b := v.broker(slowStore(), c)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		first, err := b.Token(ctx, "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		v.set(func() { v.password = "new" })
		time.Sleep(time.Until(first.Expiry) - 3*time.Minute)
		if s := b.Status(ctx)[0]; s.State != "latched" {
			t.Fatalf("%+v", s)
		}
		c.set("password", "new")
		time.Sleep(time.Minute)
		token, err := b.Token(ctx, "a", 0)
		if err != nil || token.Generation != 2 {
			t.Errorf("%v, %v: the new secret was not seen", token, err)
		}
		if _, _, attempts := v.count(); attempts != 3 {
			t.Errorf("%d logins, want 3", attempts)
		}
		cancel()
		wg.Wait()
	})
}

// TestNotSentEndsNothing: a login that never left, because the vendor's host
// or the store cannot be reached, leaves the token of a single-active vendor
// good.
func TestNotSentEndsNothing(t *testing.T) {
	for _, what := range []string{"dial", "budget"} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "altrata")
			v.d.Rate = map[string]dialect.Rate{"username": {Count: 10, Per: time.Minute}}
			faults := new(storetest.Faults)
			b := v.broker(storetest.Faulty(slowStore(), faults), newCredentials())
			inner, down := b.HTTP, false
			b.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
				if down {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
				}
				return inner.RoundTrip(r)
			})
			first, err := b.Token(t.Context(), "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			if what == "dial" {
				down = true
			} else {
				faults.Decide(func(op, key string) storetest.Fault {
					if strings.HasPrefix(key, "budget/") {
						return storetest.Down
					}
					return storetest.Healthy
				})
			}
			time.Sleep(time.Until(first.Expiry) - time.Minute)
			for range 50 {
				if token, err := b.Token(t.Context(), "a", 0); err != nil || v.check(token) != nil {
					t.Fatalf("%s: %v", what, err)
				}
				time.Sleep(time.Second)
			}
			closeBroker(t, b)
		})
	}
}

// TestWallClock: what is served lives by the wall clock, which goes on while a
// machine sleeps. A bubble has no monotonic clock, so this is outside of one.
func TestWallClock(t *testing.T) {
	v := newVendor(t, "iadvize")
	v.latency = 0
	b := v.broker(store.NewMemory(), newCredentials())
	token, err := b.Token(t.Context(), "a", 0)
	if err != nil || token.Expiry != token.Expiry.Round(0) {
		t.Errorf("%v: the expiry has a reading of the monotonic clock", err)
	}
	closeBroker(t, b)
}

// TestBudgetFoldsCase: one user, however it is typed, has one budget.
func TestBudgetFoldsCase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.d.Rate = map[string]dialect.Rate{"username": {Count: 1, Per: time.Minute}}
		st, lower, upper := slowStore(), newCredentials(), newCredentials()
		upper.set("username", "U@Example.com")
		a, b := v.broker(st, lower), v.broker(st, upper)
		_, first := a.Token(t.Context(), "a", 0)
		_, second := b.Token(t.Context(), "a", 0)
		if _, ok := errors.AsType[*UnavailableError](second); first != nil || !ok {
			t.Errorf("%v, %v; want one login a minute", first, second)
		}
		closeBroker(t, a)
		closeBroker(t, b)
	})
}

// TestFingerprintIsTheCredential: what only calls use neither releases a latch
// nor makes another credential.
func TestFingerprintIsTheCredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "altrata"), slowStore()
		v.password = "changed"
		for _, service := range []string{"profile", "events", "matching"} {
			c := newCredentials()
			c.set("service", service)
			b := v.broker(st, c)
			if _, err := b.Token(t.Context(), "a", 0); err == nil {
				t.Error("a token came for a wrong password")
			}
			closeBroker(t, b)
		}
		if _, _, attempts := v.count(); attempts != 1 {
			t.Errorf("%d logins with one wrong credential, want 1", attempts)
		}
	})
}

// TestCrashesInRenewal: a broker that dies at any step of a renewal, before or
// after the vendor executed it, leaves a record from which another goes on, and
// that one never serves a token which the vendor has ended.
func TestCrashesInRenewal(t *testing.T) {
	for _, name := range []string{"web1on1", "altrata"} {
		for step := 1; step <= 4; step++ {
			synctest.Test(t, func(t *testing.T) {
				v, st := newVendor(t, name), slowStore()
				dying := new(storetest.Faults)
				dead := v.broker(storetest.Faulty(st, dying), newCredentials())
				first, err := dead.Token(t.Context(), "a", 0)
				if err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				puts := 0
				dying.Decide(func(op, key string) storetest.Fault {
					mu.Lock()
					defer mu.Unlock()
					if op == "put" {
						puts++
					}
					if puts >= step {
						return storetest.Down
					}
					return storetest.Healthy
				})
				time.Sleep(time.Until(first.Expiry) - time.Minute)
				dead.Token(t.Context(), "a", 0) // begins to renew
				time.Sleep(time.Second)
				dead.stop()
				dead.abort()

				other := v.broker(st, newCredentials())
				for end := first.Expiry.Add(time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
					token, err := other.Token(t.Context(), "a", 0)
					if err != nil {
						t.Fatalf("%s, step %d: %v", name, step, err)
					}
					if err := v.check(token); err != nil {
						t.Fatalf("%s, step %d: %v", name, step, err)
					}
				}
				if logins, refreshes, _ := v.count(); logins+refreshes > 3 {
					t.Errorf("%s, step %d: %d logins and %d refreshes", name, step, logins, refreshes)
				}
				closeBroker(t, other)
				closeBroker(t, dead)
			})
		}
	}
}

// TestHungStore: a store that answers nobody costs readers nothing while their
// token is good.
func TestHungStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		var mu sync.Mutex
		delay := 3 * time.Millisecond
		st := storetest.Slow(store.NewMemory(), func() time.Duration {
			mu.Lock()
			defer mu.Unlock()
			return delay
		})
		b := v.broker(st, newCredentials())
		first, err := b.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		delay = 1000 * time.Hour
		mu.Unlock()
		time.Sleep(time.Until(first.Expiry) - time.Minute)
		began := time.Now()
		for range 50 {
			if token, err := b.Token(t.Context(), "a", 0); err != nil || v.check(token) != nil || time.Since(began) > time.Minute {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		began = time.Now()
		if _, err := b.Token(t.Context(), "a", 0); err == nil || time.Since(began) > b.Wait+time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		b.stop()
		closeBroker(t, b)
	})
}

// TestStoreIsNamed: a reader is told that the store is to blame, also where the
// store's own time-out reads like the reader's.
func TestStoreIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newVendor(t, "iadvize").broker(timedOut{}, newCredentials())
		_, err := b.Token(t.Context(), "a", 0)
		if out, ok := errors.AsType[*UnavailableError](err); !ok || !strings.Contains(out.Reason, "store") {
			t.Errorf("%v", err)
		}
		closeBroker(t, b)
	})
}

// timedOut is a store that does not answer in its own time.
type timedOut struct{ store.Store }

func (timedOut) Get(context.Context, string) (store.Record, error) {
	return store.Record{}, fmt.Errorf("redis: 127.0.0.1:6379: %w", context.DeadlineExceeded)
}
