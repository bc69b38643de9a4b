package e2e_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/broker"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/store"
)

// A wire carries requests to a handler in the same process. Each way takes a
// while, so that what can overtake does.
type wire struct {
	handler http.Handler

	mu   sync.Mutex
	sent []string // every request with its body; guarded by mu
}

const latency = 150 * time.Millisecond // one way

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	body := ""
	if r.Body != nil {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		_ = r.Body.Close()
		body = string(text)
	}
	w.mu.Lock()
	w.sent = append(w.sent, r.Method+" "+r.URL.String()+"\n"+body)
	w.mu.Unlock()
	time.Sleep(latency)
	in := httptest.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, r.URL.String(), strings.NewReader(body))
	in.Header = r.Header.Clone()
	out := httptest.NewRecorder()
	w.handler.ServeHTTP(out, in)
	time.Sleep(latency)
	return out.Result(), r.Context().Err()
}

// A vendor is a real realm, with the account of a broker in it.
type vendor struct {
	realm *issuer.Realm
	log   *audit.Memory
	wire  *wire
	vars  jeton.Vars
}

func openVendor(t *testing.T, name string) *vendor {
	t.Helper()
	d, err := dialects.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	st := store.NewMemory()
	v := &vendor{log: audit.NewMemory()}
	v.realm, err = issuer.OpenRealm(t.Context(), issuer.Config{
		Name: name, Dialect: d, Store: st, Audit: v.log, URL: "http://auth.test/" + name, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := issuer.NewServer(st, slog.New(slog.DiscardHandler))
	if err := server.Mount("/"+name, v.realm, nil); err != nil {
		t.Fatal(err)
	}
	v.wire = &wire{handler: server}
	v.populate(t)
	return v
}

// populate adds the broker's user or client, whichever the login asks for.
func (v *vendor) populate(t *testing.T) {
	t.Helper()
	ctx, d, login := t.Context(), v.realm.Directory(), v.realm.Dialect().Login
	d.Passwords = &directory.PasswordHasher{Memory: 8, Time: 1}
	v.vars = jeton.Vars{}
	tenant := ""
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if login.Has("tenant_id") {
		tenant, v.vars["tenant_id"] = "acme", "acme"
		_, err := d.AddTenant(ctx, "test", directory.Tenant{ID: "acme", Name: "Acme"})
		check(err)
	}
	if login.Has("client_id") {
		c, secret, err := d.AddClient(ctx, "test", directory.Client{Tenant: tenant, Name: "broker"}, jeton.Secret{})
		check(err)
		v.vars["client_id"], v.vars["client_secret"] = c.ID, secret.Reveal()
		return
	}
	v.vars["username"], v.vars["password"] = "broker@example.com", "p&ss=w%rd+ é:/"
	u, err := d.AddUser(ctx, "test", directory.User{Name: v.vars["username"], Scope: v.realm.Dialect().Scope.Order}, jeton.NewSecret(v.vars["password"]))
	check(err)
	if login.Has("api_key") {
		_, key, err := d.AddAPIKey(ctx, "test", directory.APIKey{Name: "broker", Owner: u.ID}, jeton.Secret{})
		check(err)
		v.vars["api_key"] = key.Reveal()
	}
}

func (v *vendor) broker(st store.Store) *broker.Broker {
	return &broker.Broker{Store: st, HTTP: v.wire, Accounts: []broker.Account{{
		Name: "account", Dialect: v.realm.Dialect(), Origin: &url.URL{Scheme: "http", Host: "auth.test", Path: "/" + v.realm.Name()},
		Secrets: func(context.Context) (jeton.Vars, error) { return v.vars.Clone(), nil },
	}}}
}

// count returns how often each kind of request got which outcome.
func (v *vendor) count(t *testing.T) map[string]int {
	t.Helper()
	entries, err := v.log.List(t.Context(), audit.Query{Realm: v.realm.Name(), Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, e := range entries {
		if e.Action == "login" || e.Action == "refresh" {
			counts[e.Action+" "+e.Outcome]++
		}
	}
	return counts
}

// read reads a token and holds it against the realm that issued it.
func (v *vendor) read(t *testing.T, b *broker.Broker, verify bool) {
	t.Helper()
	token, err := b.Token(t.Context(), "account", 0)
	if err != nil {
		t.Errorf("%v: %v", time.Now(), err)
		return
	}
	if !token.Valid(time.Now(), 0) {
		t.Errorf("%v: a reader gets a token that expired at %v", time.Now(), token.Expiry)
	}
	if !verify {
		return
	}
	if _, err := v.realm.Verify(t.Context(), token.AccessToken); err != nil {
		t.Errorf("%v: a reader gets a token that is not good: %v", time.Now(), err)
	}
}

// TestVirtualDay runs a broker against a real realm of each dialect for a day
// of virtual time, with two readers, and counts what reached the realm.
func TestVirtualDay(t *testing.T) {
	// A token is replaced 5 to 5.5 minutes before it expires; the counts hold
	// wherever in between.
	for name, want := range map[string]map[string]int{
		"iadvize": {"login ok": 2},                  // 24 h
		"altrata": {"login ok": 4},                  // 8 h
		"alvys":   {"login ok": 27},                 // 1 h
		"oauth2":  {"login ok": 27},                 // 1 h, and no refresh token for a client
		"web1on1": {"login ok": 1, "refresh ok": 1}, // 24 h
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := openVendor(t, name)
				b := v.broker(store.NewMemory())
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { b.Run(ctx) })
				end := time.Now().Add(24 * time.Hour)
				for _, every := range []time.Duration{10 * time.Second, time.Minute} {
					running.Go(func() {
						for time.Now().Before(end) {
							v.read(t, b, every == time.Minute)
							time.Sleep(every)
						}
					})
				}
				time.Sleep(time.Until(end))
				cancel()
				running.Wait()
				if err := b.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(want, v.count(t)); diff != "" {
					t.Errorf("requests in a day (-want +got):\n%s", diff)
				}
				for _, sent := range v.wire.sent {
					if strings.Contains(sent, "none") || name == "iadvize" && strings.Contains(sent, "refresh") {
						t.Errorf("a vendor without refresh tokens is sent one: %s", strings.SplitN(sent, "\n", 2)[0])
					}
				}
				if n := v.count(t); len(v.wire.sent) != n["login ok"]+n["refresh ok"] {
					t.Errorf("%d requests for %v", len(v.wire.sent), n)
				}
			})
		})
	}
}

// TestVirtualWeekend stops the broker past the expiry of its token. The vendor
// with another refresh exchange for that case is asked for no new login.
func TestVirtualWeekend(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"iadvize": {"login ok": 2},
		"web1on1": {"login ok": 1, "refresh ok": 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, st := openVendor(t, name), store.NewMemory()
				for range 2 {
					b := v.broker(st)
					v.read(t, b, true)
					if err := b.Close(t.Context()); err != nil {
						t.Error(err)
					}
					time.Sleep(60 * time.Hour)
				}
				if diff := cmp.Diff(want, v.count(t)); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
			})
		})
	}
}
