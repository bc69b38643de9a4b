package broker

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
)

// TestReadsAllocateNothing: a read of a token costs no memory, also while the
// next token is being fetched.
func TestReadsAllocateNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		first, err := b.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		source := b.Source("a", nil)
		still := func(when string) {
			for name, read := range map[string]func() (*jeton.Token, error){
				"Broker.Token":          func() (*jeton.Token, error) { return b.Token(t.Context(), "a", 0) },
				"Broker.Token, min_ttl": func() (*jeton.Token, error) { return b.Token(t.Context(), "a", time.Second) },
				"Source.Token":          func() (*jeton.Token, error) { return source.Token(t.Context()) },
			} {
				if n := testing.AllocsPerRun(200, func() {
					if token, err := read(); err != nil || token.Generation != 1 {
						t.Fatalf("%s, %s: %v", when, name, err)
					}
				}); n != 0 {
					t.Errorf("%s, %s: %v allocations a read", when, name, n)
				}
			}
		}
		still("fresh")
		time.Sleep(time.Until(first.Expiry) - time.Minute)
		v.set(func() { v.latency = 10 * time.Second })
		if _, err := b.Token(t.Context(), "a", 0); err != nil { // begins the refresh
			t.Fatal(err)
		}
		still("due")
		closeBroker(t, b)
	})
}

// TestReadersWithoutPause: those who read so often that they do not look at the
// clock each time get no token that has expired, not even by a millisecond, and
// begin the refresh when it is due.
func TestReadersWithoutPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		k := b.known("a")
		first := k.view.Load()
		// reads in steps that meet at exactly.
		reads := func(exactly time.Time) (trusted bool) {
			time.Sleep(time.Until(exactly) - 20*time.Millisecond)
			for !time.Now().After(exactly) {
				for range 3 {
					if token := k.ready(0); token != nil && !time.Now().Before(token.Expiry) {
						t.Fatalf("a token that expired %v ago", time.Since(token.Expiry))
					}
					trusted = trusted || k.view.Load().sure.Load()
				}
				time.Sleep(time.Millisecond)
			}
			return trusted
		}
		v.set(func() { v.latency = time.Hour })
		if !reads(first.RefreshAt) {
			t.Error("readers without a pause looked at the clock each time")
		}
		if !k.flying.Load() {
			t.Error("the refresh did not begin when it was due")
		}
		if reads(first.parsed.Expiry); k.ready(0) != nil {
			t.Error("a token after its expiry")
		}
		closeBroker(t, b)
	})
}

// TestAnswerCountsDown: the answer of the token API is kept for a second and
// says what is true.
func TestAnswerCountsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		h := b.TokenAPI()
		for range 20 {
			w := ask(h, "GET", "/v1/tokens/a", "")
			var got struct {
				AccessToken string    `json:"access_token"`
				ExpiresAt   time.Time `json:"expires_at"`
				ExpiresIn   int64     `json:"expires_in"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.AccessToken != "token-1" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			expiry := b.known("a").view.Load().parsed.Expiry
			if want := int64(time.Until(expiry) / time.Second); got.ExpiresIn != want || !got.ExpiresAt.Equal(expiry.Truncate(time.Second)) {
				t.Errorf("expires_in %d, want %d; expires_at %v of %v", got.ExpiresIn, want, got.ExpiresAt, expiry)
			}
			time.Sleep(300 * time.Millisecond)
		}
		if other := (&jeton.Token{AccessToken: jeton.NewSecret("token-0")}); b.known("a").view.Load().answer(other, time.Now()) != nil {
			t.Error("a reader who got the token before this one is answered with this one")
		}
		if w := ask(h, "POST", "/v1/tokens/a/rejected", `{"generation":1}`); w.Code != 200 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		var next struct{ Generation uint64 }
		if err := json.Unmarshal(ask(h, "GET", "/v1/tokens/a", "").Body.Bytes(), &next); err != nil || next.Generation != 2 {
			t.Errorf("after a report: generation %d, %v", next.Generation, err)
		}
		closeBroker(t, b)
	})
}

// TestPaths: the paths of the token API, their methods, and how the name of an
// account is written in them.
func TestPaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		b.Accounts = append(b.Accounts, b.Accounts[0])
		b.Accounts[1].Name = "a/b ä"
		h := b.TokenAPI()
		for _, c := range []struct {
			method, target string
			status         int
			allow          string
		}{
			{"GET", "/v1/tokens/a%2Fb%20%C3%A4", 200, ""},
			{"GET", "/v1/tokens/%61", 200, ""},
			{"HEAD", "/v1/tokens/a", 200, ""},
			{"DELETE", "/v1/tokens/a", 405, "GET, HEAD"},
			{"GET", "/v1/tokens/a/rejected", 405, "POST"},
			{"POST", "/v1/tokens/a/stream", 405, "GET, HEAD"},
			{"POST", "/v1/accounts", 405, "GET, HEAD"},
			{"POST", "/metrics", 405, "GET, HEAD"},
			{"GET", "/metrics", 200, ""},
			{"GET", "/v1/accounts/a/history", 200, ""},
			{"GET", "/v1/accounts/a", 404, ""},
			{"GET", "/v1/accounts/", 404, ""},
			{"GET", "/v1/tokens/", 404, ""},
			{"GET", "/v1/tokens", 404, ""},
			{"GET", "/v1/tokens/a/", 404, ""},
			{"GET", "/v1/tokens/a/b", 404, ""},
			{"GET", "/v1/tokens//stream", 404, ""},
			{"GET", "/v1/tokens/stream", 404, ""}, // an account of that name
			{"GET", "//v1/tokens/a", 404, ""},
			{"GET", "/x/../v1/tokens/a", 404, ""},
		} {
			if w := ask(h, c.method, c.target, ""); w.Code != c.status || w.Header().Get("Allow") != c.allow {
				t.Errorf("%s %s: %d, Allow %q; want %d, %q", c.method, c.target, w.Code, w.Header().Get("Allow"), c.status, c.allow)
			}
		}
		closeBroker(t, b)
	})
}
