package issuer

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

func serverOf(t *testing.T, st store.Store, benches ...*bench) *Server {
	t.Helper()
	s := NewServer(st, slog.New(slog.NewTextHandler(io.Discard, nil)))
	for _, b := range benches {
		if err := s.Mount("/"+b.name, b.Realm, nil); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestServerMounts(t *testing.T) {
	st := store.NewMemory()
	var benches []*bench
	for _, name := range names {
		benches = append(benches, seeded(t, name, st, nil))
	}
	s := serverOf(t, st, benches...)
	for _, path := range []string{"/oauth2/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/oauth2"} {
		a := send(t, s, "GET", path, "", "")
		want(t, a, 200)
		if a.text("issuer") != "http://auth.test/oauth2" || a.text("token_endpoint") != "http://auth.test/oauth2/token" {
			t.Error(a.raw)
		}
	}
	a := send(t, s, "POST", "/iadvize/oauth2/token", "application/x-www-form-urlencoded", "grant_type=password&username=demo@example.com&password=demo-password")
	want(t, a, 200)
	for path, status := range map[string]int{
		"/": 404, "/iadvize": 404, "/iadvizeX/oauth2/token": 404, "/nothing": 404, "/oauth2/tokens": 404, "/oauth2/token/": 404,
		"/.well-known/oauth-authorization-server": 404, "/.well-known/oauth-authorization-server/nothing": 404,
		"/oauth2/token": 405, "/oauth2/introspect": 405, "/oauth2/.well-known/jwks.json": 200,
		"//oauth2/token": 400, "/oauth2//token": 400, "/oauth2/../oauth2/token": 400, "/oauth2/./token": 400, "/oauth2/%2e%2e/x": 400,
		"/oauth2/%2E/x": 400, "/oauth2%2ftoken": 400, "/oauth2/token%00": 400, "/oauth2/token;x=1": 400, "/oauth2/%5ctoken": 400,
		"/alvys/api/authentication/a%2fb/token": 400, "/oauth2/%252e%252e/x": 400,
	} {
		a := send(t, s, "GET", path, "", "")
		if a.status != status {
			t.Errorf("GET %s: %d, want %d", path, a.status, status)
		}
		if status != 200 && (a.text("error") == "" || a.header.Get("Content-Type") != "application/json") {
			t.Errorf("GET %s: no JSON error: %s", path, a.raw)
		}
		if status == 405 && a.header.Get("Allow") != "POST" {
			t.Errorf("GET %s: Allow is %q", path, a.header.Get("Allow"))
		}
	}
}

func TestMountRefuses(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	s := serverOf(t, b.store, b)
	for _, prefix := range []string{"oauth2", "/oauth2", "/oauth2/", "/a//b", "/..", "/a b", "/é"} {
		if err := s.Mount(prefix, b.Realm, nil); err == nil {
			t.Errorf("mounted at %q", prefix)
		}
	}
	if err := s.Mount("", b.Realm, nil); err != nil {
		t.Error(err)
	}
	want(t, send(t, s, "GET", "/.well-known/oauth-authorization-server", "", ""), 200)
}

// What the realm does not answer goes on to whatever shares its prefix.
func TestMountRest(t *testing.T) {
	b := seeded(t, "alvys", nil, nil)
	s := serverOf(t, b.store)
	rest := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Method+" "+r.URL.EscapedPath()+" "+r.URL.RawQuery)
	})
	if err := s.Mount("/alvys", b.Realm, rest); err != nil {
		t.Fatal(err)
	}
	for path, seen := range map[string]string{"/alvys": "GET / ", "/alvys/": "GET / ", "/alvys/v1/trucks/%C3%A9?x=1": "GET /v1/trucks/%C3%A9 x=1"} {
		if a := send(t, s, "GET", path, "", ""); a.status != http.StatusTeapot || a.raw != seen {
			t.Errorf("%s: %d %q", path, a.status, a.raw)
		}
	}
	want(t, send(t, s, "GET", "/alvys/api/authentication/acme/token", "", ""), 405)
	want(t, send(t, s, "GET", "/alvys/v1/me", "", ""), 401)
	want(t, send(t, s, "GET", "/alvysx", "", ""), 404)
}

func TestServerPanic(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	s := serverOf(t, b.store)
	lines := new(strings.Builder)
	s.logger = slog.New(slog.NewTextHandler(lines, nil))
	err := s.Mount("/x", b.Realm, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("canary secret") }))
	if err != nil {
		t.Fatal(err)
	}
	a := send(t, s, "GET", "/x/y", "", "")
	want(t, a, 500, jeton.ServerError)
	if strings.Count(lines.String(), "level=ERROR") != 1 || strings.Contains(lines.String()+a.raw, "canary") {
		t.Errorf("logged %s, answered %s", lines, a.raw)
	}
}

// Health fails when a login cannot complete.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults storetest.Faults
		st := storetest.Faulty(store.NewMemory(), &faults)
		s := serverOf(t, st)
		health := func() int { return send(t, s, "GET", "/healthz", "", "").status }
		if health() != 200 {
			t.Error("not healthy")
		}
		faults.Decide(func(op, key string) storetest.Fault {
			if op == "put" {
				return storetest.Down
			}
			return storetest.Healthy
		})
		time.Sleep(healthFor)
		if health() != 503 {
			t.Error("healthy while nothing can be written")
		}
		faults.Set(storetest.Healthy)
		time.Sleep(healthFor)
		if health() != 200 {
			t.Error("not healthy again")
		}
		want(t, send(t, s, "POST", "/healthz", "", ""), 405)
	})
	synctest.Test(t, func(t *testing.T) {
		hangs := storetest.Slow(store.NewMemory(), func() time.Duration { return time.Hour })
		s := serverOf(t, hangs)
		begin := time.Now()
		if err := s.Health(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > healthTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestMetadata(t *testing.T) {
	grants := map[string]string{
		"iadvize": "[password]", "altrata": "[client_credentials]", "alvys": "[client_credentials password refresh_token]",
		"web1on1": "[password refresh_token]", "oauth2": "[client_credentials password refresh_token]",
	}
	methods := map[string]string{
		"iadvize": "[none]", "altrata": "[client_secret_basic]", "alvys": "[client_secret_basic client_secret_post]",
		"web1on1": "[none]", "oauth2": "[client_secret_basic client_secret_post]",
	}
	each(t, func(t *testing.T, b *bench) {
		a := b.get("/.well-known/oauth-authorization-server")
		want(t, a, 200)
		show := func(name string) string { return strings.TrimSpace(strings.ReplaceAll(toText(a.body[name]), `"`, "")) }
		if show("grant_types_supported") != grants[b.name] || show("token_endpoint_auth_methods_supported") != methods[b.name] {
			t.Error(a.raw)
		}
		if _, ok := a.body["token_endpoint"]; ok == (b.name == "alvys") {
			t.Error(a.raw)
		}
		keys := b.get(strings.TrimPrefix(a.text("jwks_uri"), b.url))
		want(t, keys, 200)
		if strings.Contains(keys.raw, `"d"`) || !strings.Contains(keys.raw, `"kid"`) {
			t.Error("the keys are private or without an ID")
		}
	})
	b := seeded(t, "oauth2", nil, func(c *Config) { c.Password = false })
	if a := b.get("/.well-known/oauth-authorization-server"); toText(a.body["grant_types_supported"]) != "[client_credentials]" {
		t.Error(a.raw)
	}
}
