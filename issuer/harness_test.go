package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
)

// A bench is a realm on the workbench: with people and clients in it, a log
// that shows what it wrote, and a way to send it requests.
type bench struct {
	*Realm
	t     testing.TB
	store store.Store
	log   audit.Log
	lines *lines // what the logger wrote
	stop  func() // makes the realm read its store for each token, as one that does not run
}

// open returns a bench for a dialect at http://auth.test/<dialect>. Nil store
// is one in memory. Adjust changes the configuration, if not nil.
func open(t testing.TB, name string, st store.Store, adjust func(*Config)) *bench {
	t.Helper()
	d, err := dialects.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if st == nil {
		st = store.NewMemory()
	}
	b := &bench{t: t, store: st, log: audit.NewMemory(), lines: new(lines)}
	c := Config{
		Name: name, Dialect: d, Store: st, Audit: b.log, URL: "http://auth.test/" + name, Password: true,
		Logger: slog.New(slog.NewTextHandler(b.lines, nil)),
	}
	if adjust != nil {
		adjust(&c)
	}
	b.log = c.Audit
	if b.Realm, err = OpenRealm(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	b.directory.Passwords = &directory.PasswordHasher{Memory: 8, Time: 1}
	b.run()
	<-b.Ready()
	return b
}

// lines are what a logger wrote. What a realm does by itself writes too, while a
// test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// run runs the realm, as a server does, until the test ends or stop is called.
func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	b.stop = func() { cancel(); <-done }
	b.t.Cleanup(b.stop)
}

// seeded returns a bench with the demo people and clients of a dialect.
func seeded(t testing.TB, name string, st store.Store, adjust func(*Config)) *bench {
	t.Helper()
	b := open(t, name, st, adjust)
	switch name {
	case "iadvize":
		b.addUser("", "demo@example.com", "demo-password", "")
	case "altrata":
		u := b.addUser("", "demo", "demo-password", "")
		b.addKey(directory.APIKey{Name: "demo key", Owner: u.ID}, "demo-api-key")
	case "alvys":
		for _, tenant := range []string{"acme", "globex"} {
			if _, err := b.directory.AddTenant(t.Context(), "test", directory.Tenant{ID: tenant, Name: tenant}); err != nil {
				t.Fatal(err)
			}
		}
		b.addClient(directory.Client{ID: "demo-client", Tenant: "acme", Name: "demo"}, "demo-secret")
	case "web1on1":
		for _, role := range []string{"guest", "agent", "bot", "admin"} {
			b.addUser("", role+"@example.org", "t0pZ3kR3t", role)
		}
	case "oauth2":
		b.addUser("", "demo@example.com", "demo-password", "")
		b.addClient(directory.Client{ID: "demo-client", Name: "demo", Scope: jeton.Scope{"read", "write"}, Resources: []string{"https://api.example.com/"}}, "demo-secret")
		b.addClient(directory.Client{ID: "other-client", Name: "other", Scope: jeton.Scope{"read"}}, "other-secret")
	}
	return b
}

func (b *bench) addUser(tenant, name, password, scope string) directory.User {
	b.t.Helper()
	u, err := b.directory.AddUser(b.t.Context(), "test", directory.User{Tenant: tenant, Name: name, Scope: jeton.ParseScope(scope)}, jeton.NewSecret(password))
	if err != nil {
		b.t.Fatal(err)
	}
	return u
}

func (b *bench) addClient(c directory.Client, secret string) directory.Client {
	b.t.Helper()
	c, _, err := b.directory.AddClient(b.t.Context(), "test", c, jeton.NewSecret(secret))
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func (b *bench) addKey(k directory.APIKey, value string) jeton.Secret {
	b.t.Helper()
	_, secret, err := b.directory.AddAPIKey(b.t.Context(), "test", k, jeton.NewSecret(value))
	if err != nil {
		b.t.Fatal(err)
	}
	return secret
}

// An answer is what a request got.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any // nil if it was not a JSON object
}

func (a answer) text(name string) string { s, _ := a.body[name].(string); return s }

// A tweak changes a request before it is sent.
type tweak func(*http.Request)

func basic(user, password string) tweak {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func header(name, value string) tweak {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func bearer(token string) tweak { return header("Authorization", "Bearer "+token) }

func from(ip string) tweak { return func(r *http.Request) { r.RemoteAddr = ip + ":4321" } }

func under(ctx context.Context) tweak {
	return func(r *http.Request) { *r = *r.WithContext(ctx) }
}

// send sends a request to the realm.
func send(t testing.TB, h http.Handler, method, path, contentType, body string, tweaks ...tweak) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for _, tweak := range tweaks {
		tweak(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), raw: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.body)
	return a
}

func (b *bench) get(path string, tweaks ...tweak) answer {
	b.t.Helper()
	return send(b.t, b, http.MethodGet, path, "", "", tweaks...)
}

// form posts name, value, name, value ...
func (b *bench) form(path string, pairs []string, tweaks ...tweak) answer {
	b.t.Helper()
	values := make([]string, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		values = append(values, url.QueryEscape(pairs[i])+"="+url.QueryEscape(pairs[i+1]))
	}
	return send(b.t, b, http.MethodPost, path, "application/x-www-form-urlencoded", strings.Join(values, "&"), tweaks...)
}

func (b *bench) json(path, body string, tweaks ...tweak) answer {
	b.t.Helper()
	return send(b.t, b, http.MethodPost, path, "application/json", body, tweaks...)
}

// login logs the demo user or client of the realm in.
func (b *bench) login(tweaks ...tweak) answer {
	b.t.Helper()
	return b.loginWith("", tweaks...)
}

// loginWith logs in with another password or secret than the right one, unless
// that is empty.
func (b *bench) loginWith(secret string, tweaks ...tweak) answer {
	b.t.Helper()
	right := func(s string) string {
		if secret != "" {
			return secret
		}
		return s
	}
	switch b.name {
	case "iadvize":
		return b.form("/oauth2/token", []string{"grant_type", "password", "username", "demo@example.com", "password", right("demo-password")}, tweaks...)
	case "altrata":
		return send(b.t, b, "POST", "/oauth2/token?grant_type=client_credentials", "", "",
			append([]tweak{basic("demo", right("demo-password")), header("x-api-key", "demo-api-key")}, tweaks...)...)
	case "alvys":
		return b.form("/api/authentication/acme/token", []string{"grant_type", "client_credentials", "client_id", "demo-client", "client_secret", right("demo-secret")}, tweaks...)
	case "web1on1":
		return b.json("/v2/auth/token", `{"email":"admin@example.org","password":"`+right("t0pZ3kR3t")+`"}`, tweaks...)
	}
	return b.form("/token", []string{"grant_type", "client_credentials"}, append([]tweak{basic("demo-client", right("demo-secret"))}, tweaks...)...)
}

// token logs in and returns the access token.
func (b *bench) token() string {
	b.t.Helper()
	a := b.login()
	want(b.t, a, http.StatusOK)
	return first(a.text("access_token"), a.text("token"))
}

// password logs the demo user of the standard realm in.
func (b *bench) password(tweaks ...tweak) answer {
	b.t.Helper()
	return b.form("/token", []string{"grant_type", "password", "username", "demo@example.com", "password", "demo-password"},
		append([]tweak{basic("demo-client", "demo-secret")}, tweaks...)...)
}

// refreshWith presents a refresh token as the demo client of the standard realm.
func (b *bench) refreshWith(token string, tweaks ...tweak) answer {
	b.t.Helper()
	return b.form("/token", []string{"grant_type", "refresh_token", "refresh_token", token},
		append([]tweak{basic("demo-client", "demo-secret")}, tweaks...)...)
}

// good reports whether the realm verifies the token. It ends the test if the
// realm cannot decide.
func (b *bench) good(token string) bool {
	b.t.Helper()
	_, err := b.Verify(context.WithoutCancel(b.t.Context()), jeton.NewSecret(token))
	if err != nil && !jeton.Refused(err) {
		b.t.Fatal(err)
	}
	return err == nil
}

// entries returns the audit entries about an action, the newest first.
func (b *bench) entries(action string) []audit.Entry {
	b.t.Helper()
	list, err := b.log.List(context.WithoutCancel(b.t.Context()), audit.Query{Action: action, Limit: 10_000})
	if err != nil {
		b.t.Fatal(err)
	}
	return list
}

// want ends the test if the answer has another status, or another error code
// where one is given.
func want(t testing.TB, a answer, status int, code ...jeton.Code) {
	t.Helper()
	if a.status != status || len(code) > 0 && a.text("error") != string(code[0]) {
		t.Fatalf("status %d, want %d %v; body %s", a.status, status, code, a.raw)
	}
}

var names = []string{"iadvize", "altrata", "alvys", "web1on1", "oauth2"}

// each runs a test for every dialect.
func each(t *testing.T, test func(t *testing.T, b *bench)) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) { test(t, seeded(t, name, nil, nil)) })
	}
}
