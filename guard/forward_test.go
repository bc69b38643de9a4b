package guard_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/guard"
)

// ask asks as a proxy does. What is not about the call itself comes in lines
// "Name: value".
func ask(t *testing.T, g *guard.Guard, proxy, method, uri string, lines ...string) *http.Response {
	t.Helper()
	h, err := g.ForwardAuth(proxy)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/ask", nil)
	r.RemoteAddr = "127.0.0.1:1"
	switch proxy {
	case "nginx":
		r.Header = http.Header{"X-Original-Method": {method}, "X-Original-Uri": {uri}}
	case "traefik", "caddy":
		r.Header = http.Header{"X-Forwarded-Method": {method}, "X-Forwarded-Uri": {uri}, "X-Forwarded-Host": {"api"},
			"X-Forwarded-Proto": {"https"}, "X-Forwarded-For": {"192.0.2.1"}}
	case "envoy":
		r = httptest.NewRequest(method, uri, nil)
		r.RemoteAddr = "127.0.0.1:1"
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header[name] = append(r.Header[name], value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

var everyProxy = []string{"nginx", "traefik", "caddy", "envoy"}

// Each endpoint decides as the guard does, and says it as its proxy can pass it
// on.
func TestForwardAuth(t *testing.T) {
	for _, proxy := range everyProxy {
		for _, tt := range []struct {
			method, uri, token string
			want, nginx        int
		}{
			{"GET", "/v2/conversations/1", "guest", 200, 200},
			{"GET", "/v2/conversations/1?a=b", "guest", 200, 200},
			{"POST", "/v2/messages", "guest", 200, 200},
			{"DELETE", "/v2/conversations/1", "guest", 403, 403},
			{"GET", "/v2/users", "guest", 403, 403},
			{"GET", "/v2/conversations/1", "unknown", 403, 403}, // as the dialect wants it
			{"GET", "/v2/conversations/1", "", 401, 401},
			{"GET", "/v2/conversations/../users", "admin", 400, 403},
			{"GET", "/v2//users", "admin", 400, 403},
			{"GET", "/v2/conversations/..%2fusers", "admin", 400, 403},
			{"PUT", "/v2/conversations", "admin", 405, 403},
			{"TRACE", "/v2/conversations", "admin", 405, 403},
		} {
			g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
			var auth []string
			if tt.token != "" {
				auth = []string{"Authorization: Bearer " + tt.token}
			}
			answer := ask(t, g, proxy, tt.method, tt.uri, auth...)
			want := tt.want
			if proxy == "nginx" {
				want = tt.nginx
			}
			if want == 200 {
				want = yes(proxy)
			}
			if answer.StatusCode != want || answer.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %s %s with %q: %d, cache %q, want %d", proxy, tt.method, tt.uri, tt.token, answer.StatusCode, answer.Header.Get("Cache-Control"), want)
			}
			said := answer.Header.Get("X-Auth-Status")
			if tt.want == 200 && (said != "" || answer.Header.Get("X-Auth-Subject") != "id-of-guest" || answer.Header.Get("X-Auth-Scope") != "guest") ||
				tt.want != 200 && (said != strconv.Itoa(tt.want) || answer.Header.Get("X-Auth-Subject") != "") {
				t.Errorf("%s: %s %s: header %v", proxy, tt.method, tt.uri, answer.Header)
			}
			if tt.want == 401 && answer.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no challenge", proxy)
			}
		}
	}
	if _, err := new(guard.Guard).ForwardAuth("haproxy"); err == nil || !strings.Contains(err.Error(), "caddy, envoy, nginx, traefik") {
		t.Errorf("an unknown proxy: %v", err)
	}
}

// A header that the proxy does not write was written by the client, whatever its
// spelling. No such call is let through, though its token could do anything.
func TestForwardAuthForeignHeaders(t *testing.T) {
	own := map[string]string{"nginx": "x-original-", "traefik": "x-forwarded-", "caddy": "x-forwarded-"}
	for _, proxy := range everyProxy {
		g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
		const uri = "/v2/users/1"
		if answer := ask(t, g, proxy, "GET", uri, "Authorization: Bearer admin", "X-Forwarded-Port: 443"); answer.StatusCode != yes(proxy) {
			t.Fatalf("%s: a good call: %d", proxy, answer.StatusCode)
		}
		for _, name := range []string{
			"X-Original-Method", "X-Original-Uri", "X-Original-URI", "X_Original_Uri", "x.original.uri",
			"X-Forwarded-Method", "X-Forwarded-Uri", "X_Forwarded_Uri", "X-FORWARDED-URI",
			"X-Original-Url", "X-Rewrite-Url", "X_Rewrite_Url", "X-Http-Method-Override", "X-Method-Override", "X-Envoy-Original-Path",
			"SCRIPT_NAME", "Script-Name", "path_info", "X-Script-Name", "X-Sendfile-Type", "X-Accel-Mapping", "Proxy",
			"X-Auth-Subject", "X_Auth_Subject", "x.auth.scope", "X-Auth-Age", "X-Auth-Status",
		} {
			answer := ask(t, g, proxy, "GET", uri, "Authorization: Bearer admin", name+": /v2/x")
			if answer.StatusCode < 300 || answer.Header.Get("X-Auth-Subject") != "" {
				t.Errorf("%s: %s: %d", proxy, name, answer.StatusCode)
			}
		}
		for _, lines := range [][]string{
			{"Authorization: Bearer admin", "Authorization: Bearer admin"},
			{"Authorization: Bearer admin, Bearer admin"},
			{"Proxy-Authorization: Bearer admin"},
			{"authorization: Bearer admin"},
			{"Cookie: access_token=admin"},
		} {
			if answer := ask(t, g, proxy, "GET", uri, lines...); answer.StatusCode < 300 {
				t.Errorf("%s: %q: let through", proxy, lines)
			}
		}
		if own[proxy] == "" {
			continue
		}
		for _, missing := range []struct{ method, uri string }{{"", uri}, {"GET", ""}, {"GET", "v2/users/1"}, {"GET", "http://evil/v2/users/1"},
			{"GET", "/v2/users/1 HTTP/1.1"}, {"GET", "/v2/users/1#x"}, {"GET", "/v2/users/é"}, {"GET", "*"}, {"GET", "/v2/users/%zz"}} {
			if answer := ask(t, g, proxy, missing.method, missing.uri, "Authorization: Bearer admin"); answer.StatusCode < 300 {
				t.Errorf("%s: %q %q: let through", proxy, missing.method, missing.uri)
			}
		}
	}
}

func TestForwardAuthAsksFrom(t *testing.T) {
	for _, tt := range []struct {
		from []netip.Prefix
		peer string
		want int
	}{
		{nil, "127.0.0.1:1", 204},
		{nil, "[::1]:1", 204},
		{nil, "[::ffff:127.0.0.1]:1", 204},
		{nil, "192.0.2.1:1", 403},
		{nil, "@", 403},
		{nil, "", 403},
		{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "192.0.2.1:1", 204},
		{[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "127.0.0.1:1", 403},
	} {
		g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people(), From: tt.from}
		h, err := g.ForwardAuth("nginx")
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.peer
		r.Header = http.Header{"X-Original-Method": {"GET"}, "X-Original-Uri": {"/v2/users/1"}, "Authorization": {"Bearer admin"}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%v, %q: %d, want %d", tt.from, tt.peer, w.Code, tt.want)
		}
	}
}

// yes is how a proxy is told that a call may go on. Envoy takes 200 only.
func yes(proxy string) int {
	if proxy == "envoy" {
		return 200
	}
	return 204
}

// What cannot be decided is 503 for all, so that nginx makes a 500 of it, and
// nobody lets the call through: a stale table, a token that ended, a proxy that
// is not set up.
func TestForwardAuthUndecided(t *testing.T) {
	ended := fresh()
	disable(ended, "ann")
	var log bytes.Buffer
	for _, proxy := range everyProxy {
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), ShowAge: true, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		g.Revocations = ended
		if a := ask(t, g, proxy, "GET", "/x", "Authorization: Bearer ann"); a.StatusCode != 401 || a.Header.Get("X-Auth-Age") == "" {
			t.Errorf("%s: a token that ended: %d, age %q", proxy, a.StatusCode, a.Header.Get("X-Auth-Age"))
		}
		g = &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), Logger: g.Logger}
		if a := ask(t, g, proxy, "GET", "/x", "Authorization: Bearer ann"); a.StatusCode != yes(proxy) {
			t.Errorf("%s: %d", proxy, a.StatusCode)
		}
	}
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: verifier{"t": {Subject: "a\r\nX-Auth-Scope: admin"}}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	for _, proxy := range everyProxy {
		if a := ask(t, g, proxy, "GET", "/x?secret=canary", "Authorization: Bearer t"); a.StatusCode != 503 || a.Header.Get("X-Auth-Status") != "503" {
			t.Errorf("%s: %d", proxy, a.StatusCode)
		}
	}
	if a := ask(t, g, "nginx", "", "", "Authorization: Bearer t"); a.StatusCode != 503 {
		t.Errorf("a proxy that sends no method: %d", a.StatusCode)
	}
	if strings.Contains(log.String(), "canary") || !strings.Contains(log.String(), "x-original-method") {
		t.Errorf("log: %s", log.String())
	}
}

// The identity is whole: every claim that has a header.
func TestForwardAuthIdentity(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: verifier{"t": {Subject: "u", ClientID: "c", Tenant: "acme", Issuer: "https://i", Scope: jeton.Scope{"a", "b"}}}}
	got := ask(t, g, "traefik", "GET", "/x", "Authorization: Bearer t").Header
	want := http.Header{"X-Auth-Subject": {"u"}, "X-Auth-Client": {"c"}, "X-Auth-Tenant": {"acme"}, "X-Auth-Issuer": {"https://i"},
		"X-Auth-Scope": {"a b"}, "Cache-Control": {"no-store"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Caddy copies its own placeholder where a header is not there.
func TestForwardAuthCaddyGetsEveryHeader(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann")}
	got := ask(t, g, "caddy", "GET", "/x", "Authorization: Bearer ann").Header
	want := http.Header{"X-Auth-Subject": {"ann"}, "X-Auth-Client": {""}, "X-Auth-Tenant": {""}, "X-Auth-Issuer": {""},
		"X-Auth-Scope": {""}, "Cache-Control": {"no-store"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A GraphQL call is refused, with its body or without: the API would get another
// body than the one that was written anew.
func TestForwardAuthRefusesGraphQL(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), GraphQL: &guard.GraphQL{At: "/graphql"}}
	for _, proxy := range everyProxy {
		for _, method := range []string{"GET", "POST"} {
			if a := ask(t, g, proxy, method, "/graphql", "Authorization: Bearer ann", "Content-Type: application/json"); a.StatusCode != 503 {
				t.Errorf("%s %s: %d, want 503", proxy, method, a.StatusCode)
			}
		}
	}
}
