package broker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store/storetest"
)

// TestRefreshTokenIsSentOnce: where it is not known whether the vendor took a
// refresh token, it is not presented again, because a vendor that watches for
// that ends the tokens that are good. One login follows.
func TestRefreshTokenIsSentOnce(t *testing.T) {
	for _, what := range []string{"answer lost", "no answer in time", "5xx after", "closed meanwhile"} {
		synctest.Test(t, func(t *testing.T) {
			v, st := newVendor(t, "oauth2"), slowStore()
			v.strict = true
			b := v.broker(st, newCredentials())
			first, err := b.Token(t.Context(), "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			inner, sent := b.HTTP, 0
			b.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
				if sent++; sent > 1 {
					return inner.RoundTrip(r)
				}
				answer, err := inner.RoundTrip(r)
				switch {
				case err != nil:
					t.Error(err)
				case what == "answer lost":
					return nil, errors.New("connection reset")
				case what == "no answer in time":
					<-r.Context().Done()
					return nil, r.Context().Err()
				case what == "closed meanwhile":
					b.stop()
					b.abort()
					<-r.Context().Done()
					return nil, r.Context().Err()
				default:
					answer.StatusCode, answer.Body = 502, http.NoBody
				}
				return answer, nil
			})
			time.Sleep(time.Until(first.Expiry) - 4*time.Minute)
			b.Token(t.Context(), "a", 0) // begins to refresh
			if what == "closed meanwhile" {
				time.Sleep(5 * time.Second)
				closeBroker(t, b)
				b = v.broker(st, newCredentials())
			}
			served(t, v, b, what, first.Expiry.Add(30*time.Minute))
			logins, refreshes, _ := v.count()
			if v.replays != 0 || logins != 2 || refreshes != 1 {
				t.Errorf("%s: %d logins, %d refreshes, %d replays; want 2, 1, 0", what, logins, refreshes, v.replays)
			}
			closeBroker(t, b)
		})
	}
}

// served reads until a time and demands a good token each second.
func served(t *testing.T, v *vendor, b *Broker, what string, until time.Time) {
	t.Helper()
	for ; time.Now().Before(until); time.Sleep(time.Second) {
		token, err := b.Token(t.Context(), "a", 0)
		if err == nil {
			err = v.check(token)
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// TestCrashInRefresh: a broker that dies at any step of a refresh has perhaps
// sent the refresh token. Who goes on does not, and logs in once.
func TestCrashInRefresh(t *testing.T) {
	for step := 1; step <= 3; step++ { // the lease, the word that follows it, the token
		synctest.Test(t, func(t *testing.T) {
			v, st, dying := newVendor(t, "oauth2"), slowStore(), new(storetest.Faults)
			v.strict, v.latency = true, 3*time.Second
			dead := v.broker(storetest.Faulty(st, dying), newCredentials())
			dead.Lease = 3 * time.Second
			first, err := dead.Token(t.Context(), "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			puts := 0
			dying.Decide(func(op, key string) storetest.Fault {
				mu.Lock()
				defer mu.Unlock()
				if op != "put" {
					return storetest.Healthy
				}
				if puts++; puts >= step {
					dead.stop()
					return storetest.Down
				}
				return storetest.Healthy
			})
			time.Sleep(time.Until(first.Expiry) - 4*time.Minute)
			dead.Token(t.Context(), "a", 0) // begins to refresh
			time.Sleep(10 * time.Second)
			dead.abort()
			other := v.broker(st, newCredentials())
			other.Lease = 3 * time.Second
			served(t, v, other, "a crash", first.Expiry.Add(10*time.Minute))
			if logins, refreshes, _ := v.count(); v.replays != 0 || logins+refreshes > 3 {
				t.Errorf("step %d: %d logins, %d refreshes, %d replays", step, logins, refreshes, v.replays)
			}
			closeBroker(t, other)
			closeBroker(t, dead)
		})
	}
}

// TestUnsentRefreshTokenIsKept: a refresh that never left leaves the refresh
// token as good as it was.
func TestUnsentRefreshTokenIsKept(t *testing.T) {
	for _, what := range []string{"dial", "429"} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "oauth2")
			v.strict = true
			b := v.broker(slowStore(), newCredentials())
			first, err := b.Token(t.Context(), "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			inner, failed := b.HTTP, 0
			b.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
				if failed++; failed > 3 {
					return inner.RoundTrip(r)
				}
				if what == "429" {
					return &http.Response{StatusCode: 429, Header: http.Header{}, Body: http.NoBody}, nil
				}
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route")}
			})
			time.Sleep(time.Until(first.Expiry) - 4*time.Minute)
			served(t, v, b, what, first.Expiry.Add(time.Minute))
			if logins, refreshes, _ := v.count(); logins != 1 || refreshes != 1 {
				t.Errorf("%s: %d logins, %d refreshes; want 1 and 1", what, logins, refreshes)
			}
			closeBroker(t, b)
		})
	}
}

// TestHugeRetryAfter: a Retry-After of years is a day.
func TestHugeRetryAfter(t *testing.T) {
	for _, text := range []string{"99999999999999999999", "4000000000", "Sat, 01 Jan 2099 00:00:00 GMT"} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			v.fault = func(*dialect.Exchange) (int, http.Header) { return 429, http.Header{"Retry-After": {text}} }
			b := v.broker(slowStore(), newCredentials())
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { b.Run(ctx); close(done) }()
			b.Token(ctx, "a", 0)
			time.Sleep(longestRetry - time.Minute)
			v.set(func() { v.fault = nil })
			if _, _, attempts := v.count(); attempts != 1 {
				t.Errorf("%s: %d attempts in a day, want 1", text, attempts)
			}
			time.Sleep(10 * time.Minute)
			if _, err := b.Token(ctx, "a", 0); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			cancel()
			<-done
		})
	}
}

// TestLongMinTTL: readers who want a token to live for nearly as long as one
// does, or for longer, bring about two logins in a lifetime.
func TestLongMinTTL(t *testing.T) {
	for _, minTTL := range []time.Duration{29 * time.Minute, 55 * time.Minute, 59*time.Minute + 59*time.Second, 2 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			v, st := newVendor(t, "iadvize"), slowStore()
			v.d.Lifetime = time.Hour
			a, b := v.broker(st, newCredentials()), v.broker(st, newCredentials())
			for end := time.Now().Add(10 * time.Hour); time.Now().Before(end); time.Sleep(20 * time.Second) {
				for _, b := range []*Broker{a, b} {
					token, err := b.Token(t.Context(), "a", minTTL)
					if err != nil || v.check(token) != nil {
						t.Fatalf("%v: %v", minTTL, err)
					}
					if left := time.Until(token.Expiry); left < min(minTTL, 29*time.Minute) {
						t.Fatalf("%v: a token with %v left", minTTL, left)
					}
				}
			}
			if logins, _, _ := v.count(); logins > 2*10 {
				t.Errorf("%v: %d logins in ten lifetimes, want 20 at most", minTTL, logins)
			}
			closeBroker(t, a)
			closeBroker(t, b)
		})
	}
}

// TestClockWasFarAhead: what a broker wrote whose clock was years ahead does not
// keep an account waiting for years.
func TestClockWasFarAhead(t *testing.T) {
	for _, what := range []string{"token", "Retry-After", "budget"} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			v.d.Lifetime = time.Hour
			v.d.Rate = map[string]dialect.Rate{"username": {Count: 1, Per: time.Minute}}
			b := v.broker(slowStore(), newCredentials())
			skew := off(b, 4*365*24*time.Hour)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { b.Run(ctx); close(done) }()
			if what == "Retry-After" {
				v.fault = func(*dialect.Exchange) (int, http.Header) { return 429, http.Header{"Retry-After": {"60"}} }
			}
			b.Token(ctx, "a", 0)
			v.set(func() { v.fault = nil })
			skew.Store(0)
			if what == "budget" {
				b.Report(ctx, "a", 1)
			}
			time.Sleep(3 * time.Minute)
			var token *jeton.Token
			var err error
			if token, err = b.Token(ctx, "a", 0); err != nil || v.check(token) != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if life := time.Until(token.Expiry); life > time.Hour {
				t.Errorf("%s: a token that lives for %v", what, life)
			}
			cancel()
			<-done
		})
	}
}
