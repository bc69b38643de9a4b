package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A vendor is the other side of a dialect, in memory: it mints opaque tokens,
// counts logins and fails on demand. Every answer takes a while, or races
// would never happen.
type vendor struct {
	t       *testing.T
	d       *dialect.Dialect
	latency time.Duration
	far     time.Duration // how long a call is on its way; zero: the latency

	mu        sync.Mutex
	password  string // what it takes; "" is right until it is changed
	logins    int
	refreshes int
	attempts  int // at the token endpoint, refused ones included
	calls     int
	live      map[string]time.Time // :: access token -> expiry
	refresh   map[string]bool      // :: refresh token -> not spent
	fault     func(x *dialect.Exchange) (status int, header http.Header)
	loseNext  bool // execute the next exchange and lose its answer
	forbid    bool // refuse every call, whatever the token
	seen      []string
	silent    bool          // say nothing of a lifetime
	lifetime  time.Duration // instead of the dialect's, where the vendor says it; zero: the dialect's
	strict    bool          // a refresh token that is presented again ends all tokens
	replays   int           // how often that was so
	n         int
}

const rightPassword = "p&ss w+rd:/%é"

func newVendor(t *testing.T, name string) *vendor {
	d, err := dialects.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return &vendor{t: t, d: d, latency: 50 * time.Millisecond, password: rightPassword, live: map[string]time.Time{}, refresh: map[string]bool{}}
}

// RoundTrip answers a request to the token endpoint or to the API.
func (v *vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	way := v.latency
	if v.far > 0 && !strings.HasSuffix(r.URL.Path, "/token") {
		way = v.far
	}
	if !sleep(r.Context(), way) {
		return nil, r.Context().Err()
	}
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	w := httptest.NewRecorder()
	lost := v.serve(w, r, body)
	if !sleep(r.Context(), v.latency) {
		return nil, r.Context().Err()
	}
	if lost {
		return nil, errors.New("connection reset")
	}
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

func (v *vendor) serve(w http.ResponseWriter, r *http.Request, body []byte) (lost bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	x, vars, err := received(v.d.ReadRequest(r, body))
	if err != nil {
		v.call(w, r, body)
		return false
	}
	v.attempts++
	if v.fault != nil {
		if status, header := v.fault(x); status != 0 {
			for name, list := range header {
				w.Header()[name] = list
			}
			w.WriteHeader(status)
			return false
		}
	}
	if x.Kind == dialect.KindRefresh {
		if !v.refresh[vars["refresh_token"]] {
			if v.strict {
				v.replays++
				clear(v.live)
				clear(v.refresh)
			}
			v.d.WriteTokenError(w, "v", jeton.Refuse(jeton.InvalidGrant, ""))
			return false
		}
		delete(v.refresh, vars["refresh_token"])
		v.refreshes++
	} else {
		if vars["password"] != v.password && vars["client_secret"] != v.password {
			code := jeton.InvalidGrant
			if x.Basic() || vars["client_secret"] != "" {
				code = jeton.InvalidClient
			}
			v.d.WriteTokenError(w, "v", jeton.Refuse(code, ""))
			return false
		}
		v.logins++
	}
	if v.d.Active > 0 {
		clear(v.live)
	}
	v.n++
	token := fmt.Sprintf("token-%d", v.n)
	lifetime := v.d.Lifetime
	if lifetime == 0 {
		lifetime = time.Hour
	}
	if v.lifetime > 0 {
		lifetime = v.lifetime
	}
	v.live[token] = time.Now().Add(lifetime)
	v.refresh[fmt.Sprintf("refresh-%d", v.n)] = true
	answer := jeton.Vars{"access_token": token, "refresh_token": fmt.Sprintf("refresh-%d", v.n),
		"expires_in": fmt.Sprint(int(lifetime.Seconds())), "token_type": "Bearer", "user_id": "u", "scope": "admin"}
	if v.silent {
		delete(answer, "expires_in")
	}
	if err = v.d.WriteResponse(w, x, answer); err != nil {
		v.t.Error(err)
	}
	lost, v.loseNext = v.loseNext, false
	return lost
}

func (v *vendor) call(w http.ResponseWriter, r *http.Request, body []byte) {
	v.calls++
	v.seen = append(v.seen, fmt.Sprintf("%s %s %v", r.Method, r.URL, r.Header))
	vars, err := v.d.ReadCall(r)
	if err == nil && (!v.good(vars["access_token"]) || v.forbid) {
		err = jeton.Refuse(jeton.InvalidToken, "no")
	}
	if err != nil {
		v.d.WriteCallError(w, "v", err)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/redirect") {
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
		return
	}
	fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), body)
}

func (v *vendor) good(token string) bool { return time.Now().Before(v.live[token]) }

// check fails unless the token is good right now.
func (v *vendor) check(token *jeton.Token) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.good(token.AccessToken.Reveal()) {
		return fmt.Errorf("generation %d is not good", token.Generation)
	}
	return nil
}

func (v *vendor) count() (logins, refreshes, attempts int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.logins, v.refreshes, v.attempts
}

func (v *vendor) set(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
}

// credentials are what an account says; a test may change them.
type credentials struct {
	mu   sync.Mutex
	vars jeton.Vars
}

func (c *credentials) resolve(context.Context) (jeton.Vars, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.vars.Clone(), nil
}

func (c *credentials) set(name, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.vars[name] = value
}

func newCredentials() *credentials {
	return &credentials{vars: jeton.Vars{"username": "u@example.com", "password": rightPassword, "client_id": "c",
		"client_secret": rightPassword, "tenant_id": "acme", "api_key": "k"}}
}

func (v *vendor) broker(st store.Store, c *credentials) *Broker {
	origin, _ := url.Parse("http://vendor.test/prefix")
	strip := roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = strings.TrimPrefix(r.URL.Path, "/prefix"), strings.TrimPrefix(r.URL.RawPath, "/prefix")
		return v.RoundTrip(r)
	})
	return &Broker{Store: st, HTTP: strip, Accounts: []Account{{Name: "a", Dialect: v.d, Origin: origin, Secrets: c.resolve}}}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slowStore takes a while for everything, as a database across a network does.
func slowStore() store.Store {
	return storetest.Slow(store.NewMemory(), func() time.Duration { return 3 * time.Millisecond })
}

// close ends a broker inside a bubble.
func closeBroker(t *testing.T, b *Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// received is what a request was read as.
func received(m *dialect.Received, err error) (*dialect.Exchange, jeton.Vars, error) {
	if err != nil {
		return nil, nil, err
	}
	return m.Exchange, m.Vars, nil
}
