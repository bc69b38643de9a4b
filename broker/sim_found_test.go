package broker

import (
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store/storetest"
)

// What the simulation found, each as a test of its own.

// TestBudgetCountsArrivals: a vendor counts a login when it arrives. A first
// one that takes long on its way does not make the second one too many.
func TestBudgetCountsArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.d.Rate = map[string]dialect.Rate{"username": {Count: 1, Per: time.Minute}}
		v.latency = 12 * time.Second
		var at []time.Time
		v.fault = func(*dialect.Exchange) (int, http.Header) {
			at = append(at, time.Now())
			v.latency = time.Millisecond
			return 500, nil
		}
		b := v.broker(slowStore(), newCredentials())
		for range 200 {
			b.Token(t.Context(), "a", 0)
			time.Sleep(time.Second)
		}
		for i := 1; i < len(at); i++ {
			if apart := at[i].Sub(at[i-1]); apart < time.Minute {
				t.Errorf("two logins arrived within %v", apart)
			}
		}
		if len(at) < 3 {
			t.Errorf("%d logins in 200 seconds, want 3", len(at))
		}
		closeBroker(t, b)
	})
}

// TestRefusedCredentialStaysRefused: a broker that has an old password does not
// try it again because others log in with the new one, or fail to.
func TestRefusedCredentialStaysRefused(t *testing.T) {
	for _, broken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v, st, old := newVendor(t, "iadvize"), slowStore(), newCredentials()
			v.d.Lifetime = 10 * time.Minute
			old.set("password", "old")
			a, b := v.broker(st, old), v.broker(st, newCredentials())
			inner, sent := a.HTTP, 0
			a.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
				sent++
				return inner.RoundTrip(r)
			})
			a.Token(t.Context(), "a", 0)
			if broken { // those who know the new password have to try often
				v.fault = func(*dialect.Exchange) (int, http.Header) {
					if v.attempts%4 == 0 {
						return 0, nil
					}
					return 500, nil
				}
			}
			for range 3600 {
				a.Token(t.Context(), "a", 0)
				b.Token(t.Context(), "a", 0)
				time.Sleep(time.Second)
			}
			if logins, _, _ := v.count(); sent != 1 || logins < 6 {
				t.Errorf("broken %v: the old password was sent %d times, the new one led to %d logins", broken, sent, logins)
			}
			closeBroker(t, a)
			closeBroker(t, b)
		})
	}
}

// TestPasswordLearntTooEarly: a broker that knows the next password before the
// vendor does is refused once; when the vendor has changed it, and refuses the
// one that was right, the next one is tried again, and nobody has to come.
func TestPasswordLearntTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st, next := newVendor(t, "iadvize"), slowStore(), newCredentials()
		v.d.Lifetime = 10 * time.Minute
		next.set("password", "next")
		a, b := v.broker(st, newCredentials()), v.broker(st, next)
		if _, err := b.Token(t.Context(), "a", 0); err == nil {
			t.Fatal("the vendor takes a password that it does not have yet")
		}
		first, err := a.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		v.set(func() { v.password = "next" })
		time.Sleep(time.Until(first.Expiry) + time.Second)
		_, err = a.Token(t.Context(), "a", 0)
		if _, ok := errors.AsType[*LatchedError](err); !ok {
			t.Errorf("%v, want latched", err)
		}
		if token, err := b.Token(t.Context(), "a", 0); err != nil || token.Generation != 2 {
			t.Errorf("%v: the next password was not tried again", err)
		}
		if _, _, attempts := v.count(); attempts != 4 {
			t.Errorf("%d attempts, want 4", attempts)
		}
		closeBroker(t, a)
		closeBroker(t, b)
	})
}

// TestTakeOverKeepsWord: a broker of a single-active vendor dies when its login
// has been executed. Who takes the lease over lets running calls end first, and
// gives nobody the old token meanwhile: by the word in the record it may have
// been ended.
func TestTakeOverKeepsWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st, faults := newVendor(t, "altrata"), slowStore(), new(storetest.Faults)
		dead, other := v.broker(storetest.Faulty(st, faults), newCredentials()), v.broker(st, newCredentials())
		first, err := dead.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequest("GET", "http://vendor.test/prefix/x", nil)
		answer, err := other.Source("a", nil).RoundTrip(r) // runs until its body is closed
		if err != nil {
			t.Fatal(err)
		}
		inner := dead.HTTP
		dead.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
			answer, err := inner.RoundTrip(r)
			faults.Set(storetest.Down)
			return answer, err
		})
		time.Sleep(time.Until(first.Expiry) - 4*time.Minute)
		dead.Token(t.Context(), "a", 0) // begins to renew
		time.Sleep(time.Second)
		dead.stop()
		dead.abort()
		other.Status(t.Context()) // reads the record
		var reading sync.WaitGroup
		for range 60 {
			reading.Go(func() {
				token, err := other.Token(t.Context(), "a", 0)
				if err == nil {
					err = v.check(token)
				}
				if err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Second)
		}
		reading.Wait()
		answer.Body.Close()
		closeBroker(t, other)
		closeBroker(t, dead)
	})
}
