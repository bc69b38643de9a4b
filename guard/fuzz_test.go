package guard_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
)

// guestMay is the whole of what a guest may do, written independently of the
// guard and of the table.
var guestMay = regexp.MustCompile(`^(GET|HEAD) /v2/conversations/[^/]+$|^POST /v2/messages$|^(GET|HEAD|PUT|PATCH) /v2/users/(me|id-of-guest)$`)

// token is what a header may be called (RFC 9110 section 5.1).
var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// worst reads a path as the most obliging server would: it decodes again and
// again, takes backslashes for slashes, cuts parameters, queries and fragments
// off and resolves dots.
func worst(raw string) string {
	for {
		decoded, err := url.PathUnescape(raw)
		if err != nil || decoded == raw {
			break
		}
		raw = decoded
	}
	raw, _, _ = strings.Cut(raw, "\x00")
	raw, _, _ = strings.Cut(raw, "#")
	raw, _, _ = strings.Cut(raw, "?")
	segments := strings.Split(strings.ReplaceAll(raw, `\`, "/"), "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return path.Clean(strings.Join(segments, "/"))
}

// The upstream sees only what was decided: the bytes of the path as they came,
// and however it reads them, a call that the caller may make.
func FuzzPath(f *testing.F) {
	g := &guard.Guard{Dialect: load(f, "web1on1"), Verifier: people()}
	for _, target := range []string{
		"/v2/conversations/1", "/v2/users/me", "/v2/conversations/..%2fusers", "/v2/conversations/%2e%2e/users", "/v2//users",
		"/v2/conversations/..;/users", `/v2/conversations/..\users`, "/v2/conversations/%252e%252e/users", "/v2/users/me/../1",
		"/v2/users%00/me", "/v2/conversations/1#/..", "/v2/conversations/\xc0\xae", "http://x/v2/conversations/1?a=b;c", "*", "//v2/x",
	} {
		for m := range byte(len(fuzzMethods)) {
			f.Add(m, target)
		}
	}
	fuzzProxy(f, g, guestMay)
}

// acmeMay is what the routes of FuzzRoutes let a guest of the tenant acme do.
var acmeMay = regexp.MustCompile(`^(GET|HEAD) /t/acme/x$|^(GET|HEAD) /files(/.*)?$|^PUT /u/(me|id-of-guest)/photo$|^(GET|HEAD|POST|PUT|DELETE|PURGE) /hooks/[^/]+$|^OPTIONS /hooks/a$`)

// The same for routes: neither another tenant's nor another caller's is reached,
// and no other method than those that a route has.
func FuzzRoutes(f *testing.F) {
	guest := *people()["guest"]
	guest.Tenant = "acme"
	g := &guard.Guard{Dialect: load(f, "oauth2"), Verifier: verifier{"guest": &guest}, Routes: parseRoutes(f, `
		GET /t/{tenant}/x -> token
		GET /t/{rest...} -> scope:admin
		GET /files/{rest...} -> token
		PUT /u/{self}/photo -> token
		PUT /u/{id}/photo -> scope:admin
		* /hooks/{id} -> token
		OPTIONS /hooks/a -> scope:guest`)}
	for _, target := range []string{
		"/t/acme/x", "/t/globex/x", "/t/acme/../globex/x", "/t/acme%2f..%2fglobex/x", "/t//acme/x", "/files/a/b", "/files/../t/globex/x", "/files",
		"/u/me/photo", "/u/id-of-guest/photo", "/u/id-of-guest%00/photo", "/u/id-of-admin/photo", "/hooks/a", "/hooks/", "/hooks/a/b", "/hooks/a;b?c",
	} {
		for m := range byte(len(fuzzMethods)) {
			f.Add(m, target)
		}
	}
	fuzzProxy(f, g, acmeMay)
}

var fuzzMethods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PURGE", "put", "TRACE"}

// fuzzProxy sends whatever a guest may send through the guard.
func fuzzProxy(f *testing.F, g *guard.Guard, may *regexp.Regexp) {
	var seen *http.Request
	g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = r
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
	})
	proxy := g.Proxy(&url.URL{Scheme: "http", Host: "upstream", Path: "/base"})
	f.Fuzz(func(t *testing.T, m byte, target string) {
		method := fuzzMethods[int(m)%len(fuzzMethods)]
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target +
			" HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\n\r\n")))
		if err != nil || r.Header.Get("Authorization") != "Bearer guest" {
			return // net/http refuses it, or the target was more than a target
		}
		seen = nil
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, r)
		if seen == nil {
			if w.Code < 400 {
				t.Fatalf("%q: %d though nobody was asked", target, w.Code)
			}
			return
		}
		wire, ok := strings.CutPrefix(seen.URL.RequestURI(), "/base")
		if !ok || !strings.HasSuffix(target, wire) || seen.URL.Host != "upstream" || seen.Host != "" {
			t.Fatalf("%q: forwarded as %q to %s %s", target, wire, seen.URL.Host, seen.Host)
		}
		wire, _, _ = strings.Cut(wire, "?")
		for _, reading := range []string{wire, worst(wire)} {
			if !may.MatchString(method + " " + reading) {
				t.Fatalf("%q: a guest did %s %q", target, method, reading)
			}
		}
	})
}

// Whatever header a client sends, under whatever name, the upstream sees the
// identity of the token and no other, in no spelling, and no second opinion
// about the path or the method. Behind a proxy that asks it is the same, or the
// call is refused.
func FuzzHeader(f *testing.F) {
	for _, name := range []string{"X-Auth-Subject", "x_auth_subject", "X.Auth.Scope", "Connection", "Forwarded", "X-Forwarded-For", "X-Forwarded-Uri", "X-Original-URI",
		"X_Original_URI", "X-HTTP-Method-Override", "SCRIPT_NAME", "Authorization", "Upgrade", "Te", "Trailer", "X-Auth-Age", "Authorization_", "X-Real-IP", "X-Auth-Subject\u00e9", "X!Forwarded!"} {
		for _, value := range []string{"root", "X-Auth-Subject", "close, x_auth_subject", "Bearer admin", "websocket", "/v2/users", "DELETE"} {
			f.Add(name, value, "Connection", "keep-alive")
			f.Add("Connection", name, name, value)
		}
	}
	var seen http.Header
	g := &guard.Guard{Dialect: load(f, "web1on1"), Verifier: people()}
	g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = r.Header
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
	})
	proxy := g.Proxy(&url.URL{Scheme: "http", Host: "upstream"})
	asked, err := g.ForwardAuth("nginx")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, value, name2, value2 string) {
		text := "GET /v2/conversations/1 HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\n" + name + ": " + value + "\r\n" + name2 + ": " + value2 + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil || r.URL.Path != "/v2/conversations/1" {
			return // net/http refuses it
		}
		for name := range r.Header {
			if !token.MatchString(name) {
				return // its server does
			}
		}
		r.RemoteAddr = "192.0.2.1:1"
		seen = nil
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, r)
		if seen == nil && w.Code < 400 {
			t.Fatalf("%q: %d though nobody was asked", text, w.Code)
		}
		wanted := map[string]string{"x-auth-subject": "id-of-guest", "x-auth-scope": "guest", "x-forwarded-for": "192.0.2.1", "x-forwarded-host": r.Host, "x-forwarded-proto": "http"}
		for name, values := range seen {
			plain := dialect.FoldHeader(name)
			want, known := wanted[plain]
			if known && (len(values) != 1 || values[0] != want || name != http.CanonicalHeaderKey(plain)) {
				t.Fatalf("%q: the upstream saw %s: %q", text, name, values)
			}
			if !known && (strings.HasPrefix(plain, "x-forwarded-") || slices.Contains([]string{"x-original-uri", "x-original-url", "x-original-method", "x-http-method-override", "x-method-override", "x-auth-client", "x-auth-tenant", "x-auth-issuer", "x-auth-age", "x-auth-status", "authorization", "forwarded", "x-real-ip", "x-rewrite-url", "script-name", "path-info"}, plain)) {
				t.Fatalf("%q: the upstream saw %s: %q", text, name, values)
			}
		}
		if seen != nil && (seen.Get("X-Auth-Subject") == "" || seen.Get("X-Auth-Scope") == "") {
			t.Fatalf("%q: the upstream does not know who calls: %v", text, seen)
		}

		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("X-Original-Method", "GET")
		r.Header.Set("X-Original-URI", "/v2/conversations/1")
		w = httptest.NewRecorder()
		asked.ServeHTTP(w, r)
		if w.Code != 200 {
			return
		}
		for name := range r.Header { // which the proxy passes on, but for those that it sets
			plain := dialect.FoldHeader(name)
			own := name == "X-Original-Method" || name == "X-Original-Uri"
			if _, known := wanted[plain]; !own && (known && strings.HasPrefix(plain, "x-auth-") || slices.Contains([]string{"x-original-uri", "x-original-url", "x-original-method", "x-http-method-override", "x-method-override", "x-forwarded-uri", "script-name"}, plain)) {
				t.Fatalf("%q: let through with %s", text, name)
			}
		}
	})
}
