package issuer

import (
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/directory"
)

// changed returns iadvize with changes to its file.
func changed(t *testing.T, changes ...string) *dialect.Dialect {
	t.Helper()
	src, err := dialects.Source("iadvize")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(changes...).Replace(string(src))
	if text == string(src) {
		t.Fatal("nothing was changed")
	}
	d, err := dialect.Parse("iadvize.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestSetDialect: the next login is in the new words, the old ones are gone, and
// tokens from before are good.
func TestSetDialect(t *testing.T) {
	b := seeded(t, "iadvize", nil, nil)
	s := serverOf(t, b.store, b)
	const form, login = "application/x-www-form-urlencoded", "username=demo@example.com&password=demo-password"
	first := send(t, s, "POST", "/iadvize/oauth2/token", form, "grant_type=password&"+login)
	want(t, first, 200)
	if err := s.SetDialect("iadvize", changed(t, "/oauth2/token", "/v2/token", "grant_type: password", "kind: user", "/_authenticated", "/me")); err != nil {
		t.Fatal(err)
	}
	want(t, send(t, s, "POST", "/iadvize/v2/token", form, "kind=user&"+login), 200)
	want(t, send(t, s, "POST", "/iadvize/oauth2/token", form, "grant_type=password&"+login), 404)
	want(t, send(t, s, "GET", "/iadvize/me", "", ""), 401)
	if _, err := b.Verify(t.Context(), jeton.NewSecret(first.text("access_token"))); err != nil {
		t.Errorf("a token from before: %v", err)
	}
	if a := send(t, s, "GET", "/iadvize/.well-known/oauth-authorization-server", "", ""); a.text("token_endpoint") != "http://auth.test/iadvize/v2/token" {
		t.Errorf("the metadata is of the old dialect: %s", a.raw)
	}
}

// TestSetDialectRefuses: what would make the realm another one is refused, and
// the realm goes on as before.
func TestSetDialectRefuses(t *testing.T) {
	b := seeded(t, "iadvize", nil, nil)
	s := serverOf(t, b.store, b)
	for name, d := range map[string]*dialect.Dialect{
		"lifetime": changed(t, "24h", "12h"),
		"rate":     changed(t, "10/min", "20/min"),
		"active":   changed(t, "lifetime: 24h", "active: 1\nlifetime: 24h"),
		"tenants":  changed(t, "/oauth2/token", "/$tenant_id/token"),
		"scopes":   changed(t, "lifetime: 24h", "scope: {order: [a, b]}\nlifetime: 24h"),
		"signed":   changed(t, "lifetime: 24h", "issue: {access_token: {jwt: {a: b}, alg: EdDSA}}\nlifetime: 24h"),
		"login":    changed(t, "password: $password", "pin: $pin", "password: the", "pin: the"),
	} {
		if err := s.SetDialect("iadvize", d); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
	if err := s.SetDialect("nobody", changed(t, "24h", "12h")); err == nil {
		t.Error("a realm that is not there was changed")
	}
	want(t, send(t, s, "POST", "/iadvize/oauth2/token", "application/x-www-form-urlencoded",
		"grant_type=password&username=demo@example.com&password=demo-password"), 200)
}

// TestSetDialectOfAccounts: so it is where logins are more than the directory
// checks; what it works out of the dialect is worked out anew.
func TestSetDialectOfAccounts(t *testing.T) {
	const file = `dialect: own
token:
- {POST: https://own.example/v1/begin, json: {pin: $pin}, returns: {session: $session}}
- {POST: https://own.example/v1/end, json: {session: $session, word: $word}, returns: {token: $access_token}}
`
	parse := func(text string) *dialect.Dialect {
		d, err := dialect.Parse("own.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	b := open(t, "oauth2", nil, func(c *Config) { c.Name, c.Dialect = "own", parse(file) })
	c := b.addClient(directory.Client{ID: "c", Name: "c"}, "secret")
	if err := b.directory.SetAccount(t.Context(), "test", "", c.ID, jeton.Vars{"pin": "1234", "word": "sesame"}); err != nil {
		t.Fatal(err)
	}
	s := serverOf(t, b.store, b)
	login := func(path, session string) {
		t.Helper()
		first := send(t, s, "POST", "/own"+path+"/begin", "application/json", `{"pin":"1234"}`)
		want(t, first, 200)
		last := send(t, s, "POST", "/own"+path+"/end", "application/json", `{"`+session+`":"`+first.text(session)+`","word":"sesame"}`)
		want(t, last, 200)
		if _, err := b.Verify(t.Context(), jeton.NewSecret(last.text("token"))); err != nil {
			t.Error(err)
		}
	}
	login("/v1", "session")
	next := strings.NewReplacer("/v1/", "/v2/", "session: $session", "ticket: $ticket").Replace(file)
	if err := s.SetDialect("own", parse(next)); err != nil {
		t.Fatal(err)
	}
	login("/v2", "ticket")
	want(t, send(t, s, "POST", "/own/v1/begin", "application/json", `{"pin":"1234"}`), 404)
	for name, text := range map[string]string{
		"plain":  "dialect: own\ntoken: https://own.example/token\n",
		"minted": "dialect: own\nlet: {access_token: {jwt: {iss: $pin}, alg: HS256, key: $word}}\ncall: https://own.example\n",
	} {
		if err := s.SetDialect("own", parse(text)); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// A token that is the cookies of a login has another form than others.
func TestSetDialectOfCookies(t *testing.T) {
	v := vendHere(t, construct(t, "all cookies"))
	s, ok := v.direct.(*Server)
	if !ok {
		t.Fatal("no server")
	}
	if err := s.SetDialect("vendor", construct(t, "cookies")); err == nil || !strings.Contains(err.Error(), "the cookies of a login") {
		t.Error(err)
	}
}

// TestSetDialectOfWholeCalls: a guard asks the realm that it was opened with about
// calls that are more than their token, so what is proven of them does not change
// under way.
func TestSetDialectOfWholeCalls(t *testing.T) {
	plain := constructs["digest in calls"]
	for what, source := range map[string]string{
		"another digest":  strings.Replace(plain, "$hmac_sha256($client_secret, $created)", "$hmac_sha512($client_secret, $created)", 1),
		"no digest":       strings.Replace(plain, `, x-sum: "$hmac_sha256($client_secret, $created)"`, "", 1),
		"the same digest": plain + "\ntitle: Other words",
	} {
		v := vend(t, construct(t, "digest in calls"), false, nil)
		d, err := dialect.Parse("test.yaml", []byte("dialect: x"+source+"\n"))
		must(t, err)
		if err := v.direct.(*Server).SetDialect("vendor", d); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}
