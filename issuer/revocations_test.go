package issuer

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
)

const (
	edgeKey  = "edge-key-0123456789abcdef0123456789abcdef"
	otherKey = "other-key-0123456789abcdef0123456789abcdef"
)

// guarded adds two guards to a realm.
func guarded(c *Config) {
	c.Guards = []Guard{{"edge", jeton.NewSecret(edgeKey)}, {"other", jeton.NewSecret(otherKey)}}
}

// follow has a guard of the realm follow it until the test ends, and returns the
// guard's table.
func (b *bench) follow(url string) *revocation.Table {
	b.t.Helper()
	s := &revocation.Stream{URL: url + revocationsPath, Key: jeton.NewSecret(edgeKey), Table: new(revocation.Table), Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(func() { cancel(); running.Wait() })
	return s.Table
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this never happened: %s", what)
		}
	}
}

func TestRevocations(t *testing.T) {
	b := seeded(t, "oauth2", nil, guarded)
	server := httptest.NewServer(b)
	defer server.Close()
	defer server.CloseClientConnections()
	b.ended.Add(revocation.Event{Token: "before", Until: time.Now().Add(time.Hour)})
	b.Revocations().Confirm(time.Now())
	table := b.follow(server.URL)
	eventually(t, "the guard follows", func() bool { _, fresh := table.Age(time.Now()); return fresh && table.Len() == 1 })
	b.ended.Add(revocation.Event{Counter: "user/u", Number: 2, Until: time.Now().Add(time.Hour)})
	eventually(t, "the guard hears of it", func() bool {
		return table.Ended(&jeton.Claims{Generations: map[string]uint64{"user/u": 1}}) != nil
	})
	b.Close() // and the server need not wait for anyone
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// Only guards follow, and what they may not is written down.
func TestRevocationsGuardsOnly(t *testing.T) {
	b := seeded(t, "web1on1", nil, guarded)
	b.Close() // so that a good key has an end too
	key := bearer(edgeKey)
	for name, c := range map[string]struct {
		tweaks []tweak
		status int
		code   jeton.Code
	}{
		"none":      {nil, 401, jeton.InvalidToken},
		"wrong":     {[]tweak{bearer(edgeKey + "x")}, 401, jeton.InvalidToken},
		"prefix":    {[]tweak{bearer(edgeKey[:len(edgeKey)-1])}, 401, jeton.InvalidToken},
		"empty":     {[]tweak{bearer("")}, 401, jeton.InvalidToken},
		"basic":     {[]tweak{basic("edge", edgeKey)}, 401, jeton.InvalidToken},
		"token":     {[]tweak{bearer(b.token())}, 401, jeton.InvalidToken},
		"two":       {[]tweak{key, func(r *http.Request) { r.Header.Add("Authorization", "Bearer x") }}, 400, jeton.InvalidRequest},
		"good":      {[]tweak{key}, 503, ""},
		"lowercase": {[]tweak{header("Authorization", "bearer "+otherKey)}, 503, ""},
	} {
		a := b.get("/revocations", c.tweaks...)
		if a.status != c.status || c.code != "" && !strings.Contains(a.raw, string(c.code)) {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
		if c.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: no challenge", name)
		}
	}
	if !b.Answers(httptest.NewRequest("GET", "/revocations", nil)) {
		t.Error("the path is left to what else is mounted")
	}
	want(t, send(t, b, "DELETE", "/revocations", "", "", key), 405)
	if n := len(b.entries("follow")); n != 7 {
		t.Errorf("%d refusals in the audit log", n)
	}
	for _, e := range append(b.entries("follow"), b.entries("")...) {
		if line, _ := json.Marshal(e); strings.Contains(string(line), "key-0123") {
			t.Errorf("the audit log has a key: %s", line)
		}
	}
	if strings.Contains(b.lines.String(), "key-0123") {
		t.Error("the log has a key")
	}
}

// A realm without guards has nobody whom an empty key could let in. It names the
// endpoint all the same: so a guard elsewhere knows that it misses what ends.
func TestRevocationsWithoutGuards(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	for _, key := range []string{"", "x"} {
		want(t, b.get("/revocations", bearer(key)), 401, jeton.InvalidToken)
		want(t, b.introspect(b.token(), bearer(key)), 401)
	}
	if a := b.get(wellKnown); a.body["revocations_endpoint"] != b.url+"/revocations" || strings.Contains(a.raw, `"Bearer"`) {
		t.Error(a.raw)
	}
	b = seeded(t, "oauth2", nil, guarded)
	if a := b.get(wellKnown); a.body["revocations_endpoint"] != b.url+"/revocations" || !strings.Contains(a.raw, `"Bearer"`) {
		t.Error(a.raw)
	}
}

// Wrong keys are limited by network, and never stop a right one.
func TestWrongGuardKeys(t *testing.T) {
	b := seeded(t, "oauth2", nil, func(c *Config) { guarded(c); c.Rate = map[string]dialect.Rate{} })
	limited := 0
	for range networkGuessRate.Count + 10 {
		if b.get("/revocations", bearer("guess"), from("192.0.2.7")).status == 429 {
			limited++
		}
	}
	if limited != 10 {
		t.Errorf("%d guesses were too many", limited)
	}
	want(t, b.introspect("x", bearer("guess"), from("192.0.2.7")), 429)
	want(t, b.introspect("x", bearer(edgeKey), from("192.0.2.7")), 200)
	want(t, b.get("/revocations", bearer("guess"), from("192.0.2.8")), 401)
}

func TestGuardConfig(t *testing.T) {
	good := Guard{"edge", jeton.NewSecret(edgeKey)}
	twice := seeded(t, "oauth2", nil, func(c *Config) { c.Guards = []Guard{good, {"edge", jeton.NewSecret(otherKey)}} })
	for _, key := range []string{edgeKey, otherKey} {
		want(t, twice.introspect("x", bearer(key)), 200)
	}
	for name, guards := range map[string][]Guard{
		"no name": {{"", good.Key}},
		"no key":  {{"edge", jeton.Secret{}}},
		"short":   {{"edge", jeton.NewSecret(strings.Repeat("x", 31))}},
		"one key": {good, {"other", good.Key}},
	} {
		b := seeded(t, "oauth2", nil, nil)
		_, err := OpenRealm(t.Context(), Config{Name: "r", Dialect: b.dialect, Store: store.NewMemory(), Audit: audit.NewMemory(), URL: b.url, Guards: guards})
		if err == nil || strings.Contains(err.Error(), edgeKey) || strings.Contains(err.Error(), "xxx") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The name of an instance is that of its records.
func TestInstance(t *testing.T) {
	st := store.NewMemory()
	names := make([]string, 4)
	var opening sync.WaitGroup
	for i := range names {
		opening.Go(func() { names[i] = open(t, "oauth2", st, nil).ended.Instance })
	}
	opening.Wait()
	for _, name := range names {
		if name == "" || name != names[0] {
			t.Errorf("%q", names)
		}
	}
	if other := open(t, "oauth2", nil, nil); other.ended.Instance == names[0] {
		t.Error("another store is the same instance")
	}
}

// A canary goes the way of a revoked token, and is never one that exists.
func TestCanary(t *testing.T) {
	b := seeded(t, "oauth2", nil, guarded)
	key, name := bearer(edgeKey), "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	want(t, b.form("/revocations", []string{"canary", name}, key), 202)
	want(t, b.form("/revocations", []string{"canary", name}, key), 202)
	r, err := b.store.Get(t.Context(), b.revokedKey("canary-"+name))
	if err != nil || time.Until(r.Due) > canaryLife {
		t.Errorf("%v %v", r, err)
	}
	token := b.token()
	claims, err := b.Verify(t.Context(), jeton.NewSecret(token))
	if err != nil {
		t.Fatal(err)
	}
	want(t, b.form("/revocations", []string{"canary", claims.ID}, key), 202)
	if !b.good(token) {
		t.Error("a guard ended a token")
	}
	want(t, b.form("/revocations", []string{"canary", name}), 401, jeton.InvalidToken)
	want(t, b.form("/revocations", []string{"canary", name}, bearer("x")), 401, jeton.InvalidToken)
	want(t, b.form("/revocations", []string{"canary", "short"}, key), 400, jeton.InvalidRequest)
	want(t, b.form("/revocations", nil, key), 400, jeton.InvalidRequest)
	want(t, b.form("/revocations?canary="+name, nil, key), 400, jeton.InvalidRequest)
	want(t, b.json("/revocations", `{"canary":"`+name+`"}`, key), 400, jeton.InvalidRequest)
	for n := 0; b.form("/revocations", []string{"canary", name}, key).status == 202; n++ {
		if n > 120 {
			t.Fatal("there is no limit")
		}
	}
	want(t, b.form("/revocations", []string{"canary", name}, key, from("203.0.113.9")), 202)
}

// A guard sees all that a call can wear, with what can end it.
func TestIntrospectForGuard(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			b := seeded(t, name, nil, guarded)
			token, key := b.token(), bearer(edgeKey)
			a := b.introspect(token, key)
			want(t, a, 200)
			claims, err := b.read(t.Context(), jeton.NewSecret(token))
			if err != nil {
				t.Fatal(err)
			}
			if a.text("jti") != claims.id || a.text("sub") != claims.subject || a.text("scope") != claims.scope.String() || a.text("tenant_id") != claims.tenant || a.body["active"] != true {
				t.Error(a.raw)
			}
			var got struct{ Jtn revocation.Claim }
			if err := json.Unmarshal([]byte(a.raw), &got); err != nil || len(got.Jtn.Generations) == 0 || len(got.Jtn.Generations) != len(claims.counters) {
				t.Errorf("%s: %v", a.raw, err)
			}
			if name == "altrata" && got.Jtn.Bound["api_key"] == "" {
				t.Error("the API key that the token is bound to is missing")
			}
			if a := b.introspect("garbage", key); a.status != 200 || a.body["active"] != false || len(a.body) != 1 {
				t.Error(a.raw)
			}
			if a := b.form("/revoke", []string{"token", token}, key); a.status != 401 || !b.good(token) {
				t.Error("a guard ends tokens")
			}
			if len(b.entries("introspect")) != 0 {
				t.Error("what guards read is in the audit log")
			}
		})
	}
}

// Whoever a token is for, and whosever it is, its guard may ask about it; but
// not about what no call wears.
func TestIntrospectForGuardAudience(t *testing.T) {
	b := seeded(t, "oauth2", nil, guarded)
	a := b.form("/token", []string{"grant_type", "client_credentials", "resource", "https://api.example.com/"}, demo)
	if !b.active(a.text("access_token"), bearer(edgeKey)) {
		t.Error("a token for another audience is not active")
	}
	login := b.password()
	if b.active(login.text("refresh_token"), bearer(edgeKey)) {
		t.Error("a refresh token is active")
	}
	want(t, b.form("/revoke", []string{"token", a.text("access_token")}, demo), 200)
	if b.active(a.text("access_token"), bearer(edgeKey)) {
		t.Error("a revoked token is active")
	}
}

func TestIntrospectAPIKey(t *testing.T) {
	b := seeded(t, "web1on1", nil, guarded)
	u := b.addUser("", "owner@example.org", "t0pZ3kR3t", "agent")
	k, secret, err := b.directory.AddAPIKey(t.Context(), "test", directory.APIKey{Name: "a key", Owner: u.ID, Scope: jeton.Scope{"agent"}}, jeton.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	counters := func() map[string]uint64 {
		a := b.introspect(secret.Reveal(), bearer(edgeKey))
		if a.body["active"] != true || a.text("scope") != "agent" || a.text("sub") != u.ID || a.text("jti") != k.ID || a.body["exp"] != nil {
			t.Fatal(a.raw)
		}
		var got struct{ Jtn revocation.Claim }
		if err := json.Unmarshal([]byte(a.raw), &got); err != nil {
			t.Fatal(err)
		}
		return got.Jtn.Generations
	}
	before := counters()
	if len(before) != 2 {
		t.Error(before)
	}
	// What ends the key raises one of the counters.
	for name, end := range map[string]func(disabled bool) error{
		"key/" + k.ID:  func(d bool) error { return b.directory.SetAPIKeyDisabled(t.Context(), "test", "", k.ID, d) },
		"user/" + u.ID: func(d bool) error { return b.directory.SetUserDisabled(t.Context(), "test", "", u.Name, d) },
	} {
		if err := end(true); err != nil {
			t.Fatal(err)
		}
		if b.active(secret.Reveal(), bearer(edgeKey)) {
			t.Errorf("%s: the key is active", name)
		}
		if err := end(false); err != nil {
			t.Fatal(err)
		}
		if now := counters(); now[name] <= before[name] {
			t.Errorf("%s: %v, and before %v", name, now, before)
		}
	}
	if b.active(secret.Reveal()+"x", bearer(edgeKey)) || b.active(secret.Reveal(), basic("admin@example.org", "t0pZ3kR3t")) {
		t.Error("a wrong key is active, or one who is no guard sees the key")
	}
}

// In a realm whose logins take an API key next to a password it is no bearer.
func TestIntrospectAPIKeyAlone(t *testing.T) {
	b := seeded(t, "altrata", nil, guarded)
	u, err := b.directory.User(t.Context(), "", "demo")
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := b.directory.AddAPIKey(t.Context(), "test", directory.APIKey{Name: "generated", Owner: u.ID}, jeton.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	if b.active(secret.Reveal(), bearer(edgeKey)) {
		t.Error("the key is active")
	}
}
