package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

func claimsOf(t *testing.T, token string) (head, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the token has %d parts", len(parts))
	}
	for i, into := range []*map[string]any{&head, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return head, claims
}

// RFC 9068 in the standard realm, the vendor's own claims elsewhere.
func TestTokenClaims(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	head, claims := claimsOf(t, b.token())
	if head["typ"] != "at+jwt" || head["alg"] != "ES256" || head["kid"] == "" {
		t.Errorf("header %v", head)
	}
	for name, want := range map[string]any{
		"iss": b.url, "aud": b.url, "sub": "demo-client", "client_id": "demo-client", "scope": "read write",
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	for _, name := range []string{"exp", "iat", "jti"} {
		if claims[name] == nil {
			t.Errorf("%s is missing (RFC 9068 section 2.2)", name)
		}
	}
	w := seeded(t, "web1on1", nil, nil)
	login := w.login()
	head, claims = claimsOf(t, login.text("token"))
	if head["typ"] != "JWT" || claims["_id"] != login.text("user") || claims["scope"] != "admin" {
		t.Errorf("web1on1: header %v, claims %v", head, claims)
	}
	a := seeded(t, "altrata", nil, nil)
	if _, claims = claimsOf(t, a.token()); claims["username"] != "demo" {
		t.Errorf("altrata: claims %v", claims)
	}
	if strings.Contains(a.token(), "demo-api-key") {
		t.Error("the token shows the API key")
	}
}

// A dialect may give sub another meaning; the token is its owner's all the same.
func TestTokenOwnSubject(t *testing.T) {
	b := custom(t, "dialect: x\ntoken: {POST: /token, form: {username: $username, password: $password}, returns: {access_token: $access_token}}\ncall: /\nissue: {access_token: {jwt: {sub: $username}}}\n", nil)
	u := b.addUser("", "ann", "pw", "")
	a := b.form("/token", []string{"username", "ann", "password", "pw"})
	want(t, a, 200)
	claims, err := b.Verify(t.Context(), jeton.NewSecret(a.text("access_token")))
	if err != nil || claims.Subject != u.ID || claims.Extra["sub"] != "ann" {
		t.Fatalf("%+v %v", claims, err)
	}
	if err := b.directory.SetUserDisabled(t.Context(), "test", "", "ann", true); err != nil {
		t.Fatal(err)
	}
	if b.good(a.text("access_token")) {
		t.Error("disabling did not end the token")
	}
}

// custom opens a bench for a dialect of the test's own.
func custom(t testing.TB, source string, st store.Store) *bench {
	t.Helper()
	d, err := dialect.Parse("test.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return open(t, "oauth2", st, func(c *Config) { c.Dialect = d })
}

func TestOpenRealmRefuses(t *testing.T) {
	for source, part := range map[string]string{
		"dialect: x\ntoken: {POST: /token, form: {grant_type: client_credentials}, returns: {t: $access_token}}\ncall: /\n":                                                  "presents nothing",
		"dialect: x\ntoken:\n- {POST: /a, form: {sum: $sha256($secret)}, returns: {s: $session}}\n- {POST: /b, form: {s: $session}, returns: {t: $access_token}}\ncall: /\n": "proven by an account",
		"dialect: x\nlet: {access_token: $hex($sha256($secret))}\ncall: https://a.test\n":                                                                                    "names nothing",
		"dialect: x\ncall: {base: https://a.test, tls: {cert: $client_certificate, key: $client_private_key}}\n":                                                             "wears nothing",
	} {
		d, err := dialect.Parse("test.yaml", []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		c := Config{Name: "r", Dialect: d, Store: store.NewMemory(), Audit: open(t, "oauth2", nil, nil).log, URL: "http://auth.test/r"}
		if _, err := OpenRealm(t.Context(), c); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want something about %s", err, part)
		}
		for _, u := range []string{"", "auth.test", "ftp://auth.test", "http://auth.test/?x", "http://u:p@auth.test"} {
			c.URL = u
			if _, err := OpenRealm(t.Context(), c); err == nil {
				t.Errorf("took the URL %q", u)
			}
		}
	}
}

const singleActive = "dialect: x\ntoken: /token\ncall: /\nactive: 1\n"

func TestFailedLoginEndsNothing(t *testing.T) {
	b := seeded(t, "altrata", nil, nil)
	token := b.token()
	want(t, b.loginWith("wrong"), 401, jeton.InvalidClient)
	want(t, b.login(header("x-api-key", "wrong")), 401, jeton.InvalidClient)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := b.login(under(ctx)); a.status == 200 {
		t.Error("a login without a client to answer went well")
	}
	if !b.good(token) {
		t.Error("a login that failed ended the token before it")
	}
	next := b.token()
	if b.good(token) || !b.good(next) {
		t.Error("a login that went well did not end the token before it")
	}
}

// A token that cannot be made ends nothing either: the scopes of this client
// are too many for one token.
func TestTokenThatCannotBeMade(t *testing.T) {
	b := custom(t, singleActive, nil)
	scope := jeton.Scope{"small"}
	for i := range 200 {
		scope = append(scope, fmt.Sprintf("scope-number-%d-%s", i, strings.Repeat("x", 40)))
	}
	b.addClient(directory.Client{ID: "c", Name: "c", Scope: scope}, "s")
	login := func(scope string) answer {
		return b.form("/token", []string{"grant_type", "client_credentials", "scope", scope}, basic("c", "s"))
	}
	small := login("small")
	want(t, small, 200)
	want(t, login(""), 503)
	if !b.good(small.text("access_token")) {
		t.Error("a login that could not be answered ended the token before it")
	}
}

// Many logins at once leave exactly one good token, that of the
// login that was committed last.
func TestSingleActiveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := custom(t, singleActive, slow())
		b.addClient(directory.Client{ID: "c", Name: "c", Resources: []string{"https://api.example.com/"}}, "s")
		login := func(resource string) answer {
			a := b.form("/token", []string{"grant_type", "client_credentials", "resource", resource}, basic("c", "s"))
			want(t, a, 200)
			return a
		}
		other := login("https://api.example.com/").text("access_token")
		const n = 1000
		tokens := make([]string, n)
		together(n, func(i int) { tokens[i] = login("").text("access_token") })
		survivors, last := 0, uint64(0)
		for _, token := range tokens {
			parsed, err := b.read(t.Context(), jeton.NewSecret(token))
			if err != nil {
				t.Fatal(err)
			}
			number := parsed.counters[counterName("grant", grantID("client/c", []string{b.url}))]
			last = max(last, number)
			if b.good(token) {
				survivors++
				if number != n {
					t.Errorf("login %d survived, not the last one", number)
				}
			}
		}
		if survivors != 1 || last != n {
			t.Errorf("%d survivors of %d logins, the last of which is number %d", survivors, n, last)
		}
		if _, err := b.open(t.Context(), jeton.NewSecret(other)); err != nil {
			t.Errorf("the token for another audience ended: %v", err)
		}
	})
}

// Whoever is disabled while logging in has no good token afterwards.
func TestDisableRacesLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 30 {
			b := seeded(t, "oauth2", slow(), nil)
			answers := make([]answer, 8)
			together(9, func(i int) {
				if i == 8 {
					if err := b.directory.SetClientDisabled(context.Background(), "test", "", "demo-client", true); err != nil {
						t.Error(err)
					}
					return
				}
				answers[i] = b.login()
			})
			for _, a := range answers {
				if a.status == 200 && b.good(a.text("access_token")) {
					t.Fatal("a token of a disabled client is good")
				}
			}
			want(t, b.login(), 401, jeton.InvalidClient)
		}
	})
}

// Likewise for a password that is changed: no token of the old one is good.
func TestPasswordRacesLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 30 {
			b := seeded(t, "iadvize", slow(), nil)
			answers := make([]answer, 8)
			together(9, func(i int) {
				if i == 8 {
					if err := b.directory.SetPassword(context.Background(), "test", "", "demo@example.com", jeton.NewSecret("another")); err != nil {
						t.Error(err)
					}
					return
				}
				answers[i] = b.login()
			})
			for _, a := range answers {
				if a.status == 200 && b.good(a.text("access_token")) {
					t.Fatal("a token of the old password is good")
				}
			}
		}
	})
}

// Tokens that are not this realm's, not access tokens, or changed.
func TestVerifyRefuses(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	twin := seeded(t, "oauth2", nil, nil) // same name and URL, other keys
	refresh := b.password().text("refresh_token")
	good := b.token()
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`))
	resource := b.form("/token", []string{"grant_type", "client_credentials", "resource", "https://api.example.com/"}, basic("demo-client", "demo-secret"))
	want(t, resource, 200)
	now := time.Now().Unix()
	claims := func(changes map[string]any) string {
		c := map[string]any{"iss": b.url, "aud": b.url, "sub": "demo-client", "jti": "x", "iat": now, "exp": now + 60,
			revocation.ClaimName: map[string]any{"g": map[string]any{"client/demo-client": 0}}}
		typ := "at+jwt"
		for name, value := range changes {
			if name == "typ" {
				typ = value.(string)
			} else if c[name] = value; value == nil {
				delete(c, name)
			}
		}
		s, err := b.ring.Sign(t.Context(), typ, c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if !b.good(good) || !b.good(claims(nil)) {
		t.Fatal("the control is not good")
	}
	for name, token := range map[string]string{
		"empty": "", "garbage": "garbage", "two parts": parts[0] + "." + parts[1], "none": none + "." + parts[1] + ".",
		"other signature": parts[0] + "." + parts[1] + "." + strings.Split(claims(nil), ".")[2],
		"other keys":      twin.token(), "refresh token": refresh, "other audience": resource.text("access_token"),
		"space": good + " ", "padded": good + "=", "newline": good + "\n",
		"other issuer": claims(map[string]any{"iss": b.url + "/"}), "no issuer": claims(map[string]any{"iss": nil}),
		"audience part": claims(map[string]any{"aud": b.url + "x"}), "no audience": claims(map[string]any{"aud": nil}),
		"other typ": claims(map[string]any{"typ": "JWT"}), "expired": claims(map[string]any{"exp": now}),
		"no expiry": claims(map[string]any{"exp": nil}), "text expiry": claims(map[string]any{"exp": "99999999999"}),
		"odd expiry": claims(map[string]any{"exp": 1e300}), "negative": claims(map[string]any{"exp": -1}),
		"no counters": claims(map[string]any{revocation.ClaimName: nil}),
		"API key":     "jeton_ak_garbage",
	} {
		if b.good(token) {
			t.Errorf("%s: the token is good", name)
		}
	}
	// The store knows of neither; who does not read it has not heard that they
	// ended, and they are signed.
	b.stop()
	for name, ends := range map[string]map[string]any{
		"counter passed": {"g": map[string]any{"client/demo-client": 1}},
		"lost family":    {"g": map[string]any{"client/demo-client": 0}, "f": "gone"},
	} {
		if b.good(claims(map[string]any{revocation.ClaimName: ends})) {
			t.Errorf("%s: the token is good", name)
		}
	}
}

// Tokens of one realm are worth nothing at another.
func TestVerifyOtherRealm(t *testing.T) {
	st := store.NewMemory()
	var benches []*bench
	for _, name := range names {
		benches = append(benches, seeded(t, name, st, nil))
	}
	for _, issuer := range benches {
		token := issuer.token()
		for _, b := range benches {
			if b.good(token) != (b == issuer) {
				t.Errorf("%s: a token of %s is good: %v", b.name, issuer.name, b.good(token))
			}
		}
	}
}

// A verifier that cannot ask its store, and has to, does not blame the token.
func TestVerifyUndecided(t *testing.T) {
	var faults storetest.Faults
	b := seeded(t, "oauth2", storetest.Faulty(store.NewMemory(), &faults), nil)
	b.stop()
	token := b.password().text("access_token")
	for _, record := range []string{"generation", "family", "revoked"} {
		faults.Decide(func(op, key string) storetest.Fault {
			if strings.Contains(key, record) {
				return storetest.Down
			}
			return storetest.Healthy
		})
		if _, err := b.Verify(t.Context(), jeton.NewSecret(token)); err == nil || jeton.Refused(err) {
			t.Errorf("without its %s records: %v", record, err)
		}
	}
	faults.Set(storetest.Healthy)
	if !b.good(token) {
		t.Error("the token is not good any more")
	}
}

// API keys are worn as the bearer, with the scopes they were made with.
func TestVerifyAPIKey(t *testing.T) {
	b := seeded(t, "web1on1", nil, nil)
	key := b.addKey(directory.APIKey{Name: "robot", Scope: jeton.Scope{"bot", "agent"}}, "")
	claims, err := b.Verify(t.Context(), key)
	if err != nil || claims.Scope.String() != "bot agent" || claims.Subject == "" || claims.Issuer != b.url {
		t.Fatalf("%+v, %v", claims, err)
	}
	// Where a key goes next to a password it is no bearer by itself.
	a := seeded(t, "altrata", nil, nil)
	u, err := a.directory.User(t.Context(), "", "demo")
	if err != nil {
		t.Fatal(err)
	}
	if key := a.addKey(directory.APIKey{Name: "second", Owner: u.ID}, ""); a.good(key.Reveal()) {
		t.Error("an API key was enough without the password")
	}
}

// Altrata's calls wear the key that the login wore.
func TestTokenBound(t *testing.T) {
	b := seeded(t, "altrata", nil, nil)
	claims, err := b.Verify(t.Context(), jeton.NewSecret(b.token()))
	if err != nil {
		t.Fatal(err)
	}
	for key, good := range map[string]bool{"demo-api-key": true, "other": false, "": false} {
		if err := worn(claims, jeton.Vars{"api_key": key}); (err == nil) != good {
			t.Errorf("with the key %q: %v", key, err)
		}
	}
}

// The documented validity endpoints.
func TestVerifyExchange(t *testing.T) {
	b := seeded(t, "iadvize", nil, nil)
	token := b.token()
	a := b.get("/_authenticated", bearer(token))
	want(t, a, 200)
	if strings.TrimSpace(a.raw) != `{"authenticated":true}` {
		t.Error(a.raw)
	}
	for name, tweaks := range map[string][]tweak{
		"tampered": {bearer(token + "x")}, "no token": nil, "other scheme": {basic("demo@example.com", "demo-password")},
	} {
		a := b.get("/_authenticated", tweaks...)
		if want(t, a, 401, jeton.InvalidToken); a.text("error_description") != "access token not valid" || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %s %v", name, a.raw, a.header)
		}
	}
	m := seeded(t, "alvys", nil, nil)
	a = m.get("/v1/me", bearer(m.token()))
	want(t, a, 200)
	if a.text("sub") != "demo-client" || a.text("client_id") != "demo-client" || a.text("tenant_id") != "acme" {
		t.Error(a.raw)
	}
	want(t, m.get("/v1/me"), 401)
	want(t, send(t, m, http.MethodPost, "/v1/me", "", ""), 405)
}

// Whatever a token hangs on ends it: its tenant, its client, its user, the key
// that it is worn with.
func TestEnded(t *testing.T) {
	m := seeded(t, "alvys", nil, nil)
	token := m.token()
	if err := m.directory.SetTenantDisabled(t.Context(), "test", "acme", true); err != nil {
		t.Fatal(err)
	}
	if want(t, m.login(), 401, jeton.InvalidClient); m.good(token) {
		t.Error("a token of a disabled tenant is good")
	}
	b := seeded(t, "oauth2", nil, nil)
	login, own := b.password().text("access_token"), b.token()
	if err := b.directory.RemoveUser(t.Context(), "test", "", "demo@example.com"); err != nil {
		t.Fatal(err)
	}
	b.addUser("", "demo@example.com", "demo-password", "") // the name comes back, the user does not
	if b.good(login) || !b.good(own) {
		t.Error("removing a user ends the user's tokens and no others")
	}
	a := seeded(t, "altrata", nil, nil)
	token = a.token()
	keys, err := a.directory.APIKeys(t.Context(), "", "", 10)
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	if err := a.directory.SetAPIKeyDisabled(t.Context(), "test", "", keys[0].ID, true); err != nil {
		t.Fatal(err)
	}
	if want(t, a.login(), 401, jeton.InvalidClient); a.good(token) {
		t.Error("a token of a disabled API key is good")
	}
}

// A password and another user's API key do not go together.
func TestOthersAPIKey(t *testing.T) {
	b := seeded(t, "altrata", nil, nil)
	u := b.addUser("", "mallory", "mallory-password", "")
	b.addKey(directory.APIKey{Name: "mallory's", Owner: u.ID}, "mallory-api-key")
	generated := b.addKey(directory.APIKey{Name: "nobody's"}, "")
	for _, key := range []string{"mallory-api-key", generated.Reveal()} {
		want(t, b.login(header("x-api-key", key)), 401, jeton.InvalidClient)
	}
	want(t, b.login(basic("mallory", "mallory-password")), 401, jeton.InvalidClient)
	want(t, b.login(basic("mallory", "mallory-password"), header("x-api-key", "mallory-api-key")), 200)
}

// Rotating the signing keys is no outage.
func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "web1on1", nil, func(c *Config) { c.Lifetime = time.Hour })
		old := b.token()
		for range 3 {
			if err := b.Keys().Rotate(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			if !b.good(old) || !b.good(b.token()) {
				t.Fatal("a token is not good after a rotation")
			}
		}
		time.Sleep(time.Hour - time.Second)
		if !b.good(old) {
			t.Error("a key went before the tokens that it signed")
		}
	})
}
