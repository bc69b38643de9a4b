package guard_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
)

// verifier knows the tokens that it holds and no other.
type verifier map[string]*jeton.Claims

func (v verifier) Verify(_ context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	if claims, ok := v[bearer.Reveal()]; ok {
		return claims, nil
	}
	return nil, jeton.Refuse(jeton.InvalidToken, "unknown")
}

// verifyFunc is a verifier of one function.
type verifyFunc func(context.Context) (*jeton.Claims, error)

func (f verifyFunc) Verify(ctx context.Context, _ jeton.Secret) (*jeton.Claims, error) { return f(ctx) }

func load(t testing.TB, name string) *dialect.Dialect {
	t.Helper()
	d, err := dialects.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// people hold one token per scope of web1on1, of the same name.
func people() verifier {
	v := verifier{}
	for _, scope := range []string{"guest", "agent", "bot", "admin"} {
		v[scope] = &jeton.Claims{ID: "1", Subject: "id-of-" + scope, Scope: jeton.Scope{scope}}
	}
	return v
}

func callRequest(method, target, token string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func call(h http.Handler, method, target, token string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, callRequest(method, target, token))
	return w.Result()
}

var reached = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })

// vendorTable is who may do what to which resource; the four signs stand for
// guest, agent, bot and admin.
const vendorTable = `
                    list  fetch create update delete
organizations       ..++  ..++  ...+   ...+   ...+
organizationgroups  ..++  ..++  ...+   ...+   ...+
users               ..++  ..++  ...+   ...+   ...+
conversations       .+++  ++++  .+++   ...+   ...+
messages            ..++  ..++  ++++   ..++   ...+
contacts            .+++  ..++  ..++   ..++   ...+
knowledge-items     .+++  .+++  .+++   .+++   ..++
forms               ..++  ...+  ..++   ..++   ...+
services            ...+  ...+  ...+   ...+   ...+
`

func TestPermissionTable(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
	h := g.Handler(reached)
	scopes := []string{"guest", "agent", "bot", "admin"}
	checked := 0
	check := func(method, path, may string) {
		t.Helper()
		least := scopes[strings.Index(may, "+")]
		for i, scope := range scopes {
			checked++
			answer := call(h, method, "/v2"+path, scope)
			challenge := answer.Header.Get("WWW-Authenticate")
			switch {
			case may[i] == '+' && answer.StatusCode != http.StatusNoContent:
				t.Errorf("%s %s as %s: %d %s, want it let through", method, path, scope, answer.StatusCode, challenge)
			case may[i] == '.' && answer.StatusCode != http.StatusForbidden,
				may[i] == '.' && !strings.Contains(challenge, `error="insufficient_scope"`),
				may[i] == '.' && !strings.Contains(challenge, `scope="`+least+`"`):
				t.Errorf("%s %s as %s: %d %s, want 403 insufficient_scope %s", method, path, scope, answer.StatusCode, challenge, least)
			}
		}
		if answer := call(h, method, "/v2"+path, ""); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %s without a token: %d, want 401", method, path, answer.StatusCode)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(vendorTable), "\n")[1:] {
		f := strings.Fields(line)
		collection, item := "/"+f[0], "/"+f[0]+"/7"
		check("GET", collection, f[1])
		check("HEAD", collection, f[1])
		check("GET", item, f[2])
		check("HEAD", item, f[2])
		check("POST", collection, f[3])
		check("PUT", item, f[4])
		check("PATCH", item, f[4])
		check("DELETE", item, f[5])
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH"} {
		check(method, "/users/me", "++++")
	}
	check("DELETE", "/users/me", "...+")
	if checked != (9*8+5)*4 {
		t.Errorf("checked %d cells of the table", checked)
	}
}

func TestSelf(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
	h := g.Handler(reached)
	for _, tt := range []struct {
		target string
		want   int
	}{
		{"/v2/users/id-of-guest", 204},
		{"/v2/users/id-of-admin", 403}, // somebody else
		{"/v2/users/ME", 403},
		{"/v2/users/me%20", 403},
		{"/v2/users/id%2Dof-guest", 400},
		{"/v2/contacts/id-of-guest", 403}, // the table has no self for contacts
		{"/v2/contacts/me", 403},
		{"/v2/conversations/me", 204},
	} {
		if got := call(h, "GET", tt.target, "guest").StatusCode; got != tt.want {
			t.Errorf("GET %s: %d, want %d", tt.target, got, tt.want)
		}
	}
	nameless := verifier{"t": {Scope: jeton.Scope{"guest"}}}
	h = (&guard.Guard{Dialect: load(t, "web1on1"), Verifier: nameless}).Handler(reached)
	if got := call(h, "GET", "/v2/users/", "t").StatusCode; got != 403 {
		t.Errorf("a token without subject at an empty id: %d, want 403", got)
	}
}

func TestRoutesBesideTheTable(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
	h := g.Handler(reached)
	for _, tt := range []struct {
		method, target string
		want           int
		allow          string
	}{
		{"GET", "/v2/invoices", 403, ""},
		{"GET", "/v2/Conversations", 403, ""},
		{"GET", "/v2/conversations.", 403, ""},
		{"GET", "/v2/conversations/", 403, ""},
		{"GET", "/v2/conversations/1/messages", 403, ""},
		{"GET", "/v2/", 403, ""},
		{"GET", "/v2", 403, ""},
		{"GET", "/", 403, ""},
		{"GET", "/v1/conversations", 403, ""},
		{"GET", "/conversations", 403, ""},
		{"PUT", "/v2/conversations", 405, "GET, HEAD, POST"},
		{"OPTIONS", "/v2/conversations", 405, "GET, HEAD, POST"},
		{"POST", "/v2/conversations/1", 405, "GET, HEAD, PUT, PATCH, DELETE"},
		{"get", "/v2/conversations", 405, "GET, HEAD, POST"},
		{"TRACE", "/v2/conversations", 405, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
	} {
		answer := call(h, tt.method, tt.target, "admin")
		if answer.StatusCode != tt.want || answer.Header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d, allow %q, want %d, %q", tt.method, tt.target, answer.StatusCode, answer.Header.Get("Allow"), tt.want, tt.allow)
		}
		if tt.want == 403 && !strings.Contains(answer.Header.Get("WWW-Authenticate"), "insufficient_scope") {
			t.Errorf("%s %s: challenge %q", tt.method, tt.target, answer.Header.Get("WWW-Authenticate"))
		}
	}
	open := (&guard.Guard{Dialect: load(t, "alvys"), Verifier: people()}).Handler(reached)
	if got := call(open, "PROPFIND", "/anywhere/at/all/", "guest").StatusCode; got != 204 {
		t.Errorf("without a table: %d, want 204", got)
	}
	if got := call(open, "TRACE", "/v1/me", "guest").StatusCode; got != 405 {
		t.Errorf("TRACE without a table: %d, want 405", got)
	}
}

// Several scopes in one token grant what any of them grants.
func TestScopeList(t *testing.T) {
	v := verifier{"t": {Scope: jeton.Scope{"unknown", "guest", "bot"}}, "none": {}, "foreign": {Scope: jeton.Scope{"root"}}}
	h := (&guard.Guard{Dialect: load(t, "web1on1"), Verifier: v}).Handler(reached)
	for token, want := range map[string]int{"t": 204, "none": 403, "foreign": 403} {
		if got := call(h, "GET", "/v2/forms", token).StatusCode; got != want {
			t.Errorf("%s: %d, want %d", token, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	altrata := verifier{
		"good": {ID: "j", Subject: "demo", Bound: map[string]string{"api_key": jeton.Fingerprint("j", jeton.NewSecret("key"))}},
		"odd":  {ID: "j", Bound: map[string]string{"password": jeton.Fingerprint("j", jeton.Secret{})}},
	}
	for _, tt := range []struct {
		name, dialect string
		header        http.Header
		target        string
		want          int
		challenge     string
	}{
		{"no token", "web1on1", http.Header{}, "/v2/users/me", 401, `Bearer realm="test"`},
		{"unknown token", "web1on1", http.Header{"Authorization": {"Bearer nope"}}, "/v2/users/me", 403, `error="invalid_token"`},
		{"unknown token, RFC", "alvys", http.Header{"Authorization": {"Bearer nope"}}, "/v1/me", 401, `error="invalid_token"`},
		{"scheme in small letters", "alvys", http.Header{"Authorization": {"bearer guest"}}, "/v1/me", 204, ""},
		{"another scheme", "alvys", http.Header{"Authorization": {"Basic Z3Vlc3Q6"}}, "/v1/me", 401, ""},
		{"two tokens", "alvys", http.Header{"Authorization": {"Bearer guest", "Bearer guest"}}, "/v1/me", 400, "invalid_request"},
		{"two in one", "alvys", http.Header{"Authorization": {"Bearer guest, Bearer guest"}}, "/v1/me", 400, "invalid_request"},
		{"in the query too", "alvys", http.Header{"Authorization": {"Bearer guest"}}, "/v1/me?access%5Ftoken=guest", 400, "invalid_request"},
		{"in the query", "alvys", http.Header{}, "/v1/me?access_token=guest", 401, ""},
		{"in a cookie", "alvys", http.Header{"Cookie": {"access_token=guest"}}, "/v1/me", 401, ""},
		{"as a proxy's", "alvys", http.Header{"Proxy-Authorization": {"Bearer guest"}}, "/v1/me", 401, ""},
		{"bound", "altrata", http.Header{"Authorization": {"Bearer good"}, "X-Api-Key": {"key"}}, "/v1/graphql", 204, ""},
		{"bound, raw", "altrata", http.Header{"Authorization": {"good"}, "X-Api-Key": {"key"}}, "/v1/graphql", 204, ""},
		{"bound, other key", "altrata", http.Header{"Authorization": {"Bearer good"}, "X-Api-Key": {"yek"}}, "/v1/graphql", 401, "invalid_token"},
		{"bound, no key", "altrata", http.Header{"Authorization": {"Bearer good"}}, "/v1/graphql", 401, "invalid_token"},
		{"bound, raw, no key", "altrata", http.Header{"Authorization": {"good"}}, "/v1/graphql", 401, "invalid_token"},
		{"bound, two keys", "altrata", http.Header{"Authorization": {"Bearer good"}, "X-Api-Key": {"key", "key"}}, "/v1/graphql", 400, "invalid_request"},
		{"bound to what no call wears", "altrata", http.Header{"Authorization": {"Bearer odd"}, "X-Api-Key": {"key"}}, "/v1/graphql", 401, "invalid_token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := people()
			for token, claims := range altrata {
				v[token] = claims
			}
			h := (&guard.Guard{Realm: "test", Dialect: load(t, tt.dialect), Verifier: v}).Handler(reached)
			r := httptest.NewRequest("GET", tt.target, nil)
			r.Header = tt.header
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			challenge := w.Header().Get("WWW-Authenticate")
			if w.Code != tt.want || !strings.Contains(challenge, tt.challenge) {
				t.Errorf("%d %s, want %d %s", w.Code, challenge, tt.want, tt.challenge)
			}
			if tt.name == "no token" && challenge != tt.challenge {
				t.Errorf("challenge %s has more than the realm", challenge)
			}
		})
	}
}

// A verifier that cannot say never lets a call through and never blames the
// token.
func TestUndecided(t *testing.T) {
	for name, verify := range map[string]verifyFunc{
		"error":          func(context.Context) (*jeton.Claims, error) { return nil, errors.New("feed is old") },
		"error, claims":  func(context.Context) (*jeton.Claims, error) { return &jeton.Claims{}, errors.New("feed is old") },
		"nothing":        func(context.Context) (*jeton.Claims, error) { return nil, nil },
		"panic":          func(context.Context) (*jeton.Claims, error) { panic("broken") },
		"other code":     func(context.Context) (*jeton.Claims, error) { return nil, jeton.Refuse(jeton.InvalidClient, "") },
		"slow down":      func(context.Context) (*jeton.Claims, error) { return nil, jeton.Refuse(jeton.SlowDown, "") },
		"bare code":      func(context.Context) (*jeton.Claims, error) { return nil, jeton.ServerError },
		"unfit identity": func(context.Context) (*jeton.Claims, error) { return &jeton.Claims{Subject: "a\r\nX: y"}, nil },
		"spaced":         func(context.Context) (*jeton.Claims, error) { return &jeton.Claims{Subject: " admin"}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: verify, Logger: slog.New(slog.NewTextHandler(&log, nil))}
			g.Dialect.Permissions = nil
			answer := call(g.Handler(reached), "GET", "/v2/users/me?q=canary-query", "canary-token")
			if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("%d %q, want 503 and no challenge", answer.StatusCode, answer.Header.Get("WWW-Authenticate"))
			}
			if !strings.Contains(log.String(), "could not be decided") || strings.Contains(log.String(), "canary") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
	bare := verifyFunc(func(context.Context) (*jeton.Claims, error) { return nil, jeton.InvalidToken })
	h := (&guard.Guard{Dialect: load(t, "alvys"), Verifier: bare}).Handler(reached)
	if answer := call(h, "GET", "/v1/me", "t"); answer.StatusCode != 401 {
		t.Errorf("a bare invalid_token: %d, want 401", answer.StatusCode)
	}
}

// A client that leaves while its token is checked is nobody's fault, so nothing
// is logged.
func TestClientGoneWhileVerifying(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	var log bytes.Buffer
	g := &guard.Guard{
		Dialect: load(t, "alvys"),
		Verifier: verifyFunc(func(ctx context.Context) (*jeton.Claims, error) {
			leave()
			return nil, ctx.Err()
		}),
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	r := httptest.NewRequestWithContext(ctx, "GET", "/v1/me", nil)
	r.Header.Set("Authorization", "Bearer t")
	w := httptest.NewRecorder()
	g.Handler(reached).ServeHTTP(w, r)
	if w.Code == http.StatusNoContent || log.Len() > 0 {
		t.Errorf("%d, log %q", w.Code, log.String())
	}
}

func TestHandlerShowsTheCaller(t *testing.T) {
	claims := &jeton.Claims{Subject: "u7", ClientID: "c", Tenant: "acme", Issuer: "https://x", Scope: jeton.Scope{"a", "b"}}
	g := &guard.Guard{Dialect: load(t, "oauth2"), Verifier: verifier{"t": claims}}
	var seen http.Header
	var from *jeton.Claims
	h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = r.Header
		from, _ = guard.ClaimsFrom(r.Context())
	}))
	r := httptest.NewRequest("GET", "/x", strings.NewReader(""))
	r.Header = http.Header{"Authorization": {"Bearer t"}, "X-Auth-Subject": {"root"}, "X_auth_tenant": {"evil"}, "X-Other": {"1"},
		// A proxy further in would drop what this names.
		"Connection": {"keep-alive, x-auth-subject", "X_Auth_Scope,X-Other"}}
	h.ServeHTTP(httptest.NewRecorder(), r)
	want := http.Header{
		"X-Auth-Subject": {"u7"}, "X-Auth-Client": {"c"}, "X-Auth-Tenant": {"acme"}, "X-Auth-Scope": {"a b"},
		"X-Auth-Issuer": {"https://x"}, "X-Other": {"1"}, "Connection": {"keep-alive, X-Other"},
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	if from != claims {
		t.Errorf("claims %v", from)
	}
	if r.Header.Get("X-Auth-Subject") != "root" {
		t.Error("the caller's own request was changed")
	}
	if _, ok := guard.ClaimsFrom(t.Context()); ok {
		t.Error("claims out of nowhere")
	}
}

func TestMethodErrorReads(t *testing.T) {
	h := (&guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}).Handler(reached)
	answer := call(h, "PUT", "/v2/forms", "admin")
	var body struct {
		Title  string
		Status int
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.Status != 405 || body.Title != "Method Not Allowed" {
		t.Errorf("%v, %v", body, err)
	}
	if got := answer.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %s", got)
	}
}
