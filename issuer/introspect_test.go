package issuer

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
)

var demo, other = basic("demo-client", "demo-secret"), basic("other-client", "other-secret")

func (b *bench) introspect(token string, tweaks ...tweak) answer {
	b.t.Helper()
	return b.form("/introspect", []string{"token", token}, tweaks...)
}

func (b *bench) active(token string, tweaks ...tweak) bool {
	b.t.Helper()
	a := b.introspect(token, tweaks...)
	want(b.t, a, 200)
	active := a.body["active"] == true
	if !active && len(a.body) != 1 {
		b.t.Fatalf("an answer about a token that is not active says more: %s", a.raw)
	}
	return active
}

func TestIntrospect(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	a := b.introspect(b.token(), demo)
	want(t, a, 200)
	for name, want := range map[string]any{
		"active": true, "iss": b.url, "aud": b.url, "sub": "demo-client", "client_id": "demo-client", "scope": "read write", "token_type": "Bearer",
	} {
		if a.body[name] != want {
			t.Errorf("%s is %v, want %v", name, a.body[name], want)
		}
	}
	if a.body["exp"] == nil || a.body["iat"] == nil || a.body["jti"] == nil || a.header.Get("Cache-Control") != "no-store" {
		t.Error(a.raw, a.header)
	}
	login := b.password()
	for _, token := range []string{login.text("access_token"), login.text("refresh_token")} {
		if !b.active(token, demo) {
			t.Error("a token of the client's own is not active")
		}
	}
	next := b.refreshWith(login.text("refresh_token"))
	if b.active(login.text("refresh_token"), demo) || !b.active(next.text("refresh_token"), demo) {
		t.Error("a spent refresh token is active, or its successor is not")
	}
	inBody := b.form("/introspect", []string{"token", login.text("access_token"), "client_id", "demo-client", "client_secret", "demo-secret"})
	if want(t, inBody, 200); inBody.body["active"] != true {
		t.Error(inBody.raw)
	}
	want(t, b.form("/introspect", []string{"token", "x", "client_id", "demo-client"}, demo), 200)
	want(t, b.form("/introspect", []string{"token", "x", "client_id", "other-client"}, demo), 400, jeton.InvalidRequest)
}

// A foreign client learns nothing and ends nothing.
func TestForeignClient(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	login := b.password()
	for _, token := range []string{b.token(), login.text("access_token"), login.text("refresh_token"), "garbage"} {
		if b.active(token, other) {
			t.Error("a foreign client's token is active")
		}
		want(t, b.form("/revoke", []string{"token", token}, other), 200)
		if token != "garbage" && !b.active(token, demo) {
			t.Error("a foreign client ended a token")
		}
	}
	if n := len(b.entries("revoke")); n != 0 {
		t.Errorf("%d revocations in the audit log", n)
	}
}

// A client sees the tokens whose audience it is.
func TestIntrospectAudience(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	api := "https://api.example.com/"
	b.addClient(directory.Client{ID: api, Name: "the API"}, "api-secret")
	a := b.form("/token", []string{"grant_type", "client_credentials", "resource", api}, demo)
	want(t, a, 200)
	if asAPI := basic("https%3A%2F%2Fapi.example.com%2F", "api-secret"); !b.active(a.text("access_token"), asAPI) || b.active(b.token(), asAPI) {
		t.Error("a resource server is to see the tokens for it and no others")
	}
}

func TestRevoke(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	one, two, login := b.token(), b.token(), b.password()
	want(t, b.form("/revoke", []string{"token", one, "token_type_hint", "refresh_token"}, demo), 200)
	if b.good(one) || b.active(one, demo) || !b.good(two) {
		t.Error("revoking ends one token")
	}
	want(t, b.form("/revoke", []string{"token", one}, demo), 200)
	want(t, b.form("/revoke", []string{"token", login.text("refresh_token")}, demo), 200)
	if b.good(login.text("access_token")) || b.active(login.text("refresh_token"), demo) {
		t.Error("revoking a refresh token ends its family")
	}
	want(t, b.refreshWith(login.text("refresh_token")), 400, jeton.InvalidGrant)
	want(t, b.form("/revoke", []string{"token", "jeton_ak_x"}, demo), 400, jeton.UnsupportedTokenType)
	if log := b.entries("revoke"); len(log) != 3 || log[1].Outcome != "ok" || log[2].TokenID == "" {
		t.Errorf("audit: %+v", log)
	}
}

// No other spelling of a revoked token is good.
func TestRevokeSpellings(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	token := b.token()
	want(t, b.form("/revoke", []string{"token", token}, demo), 200)
	variants := []string{token, token + "=", token + "==", token + "\n", " " + token, token + " ", token + "."}
	for _, last := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/" {
		variants = append(variants, token[:len(token)-1]+string(last))
	}
	for _, variant := range variants {
		if b.good(variant) {
			t.Fatalf("a spelling of the revoked token is good")
		}
	}
}

// The ID of a revoked token stays until nobody would take the token, even if
// his clock is late.
func TestRevokedGoesAtExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "oauth2", nil, nil)
		token := b.token()
		want(t, b.form("/revoke", []string{"token", token}, demo), 200)
		time.Sleep(time.Hour + revocation.Grace - time.Second)
		if n, err := b.Sweep(t.Context()); n != 0 || err != nil || b.good(token) {
			t.Fatal(n, err)
		}
		time.Sleep(2 * time.Second)
		if n, err := b.Sweep(t.Context()); n != 1 || err != nil || b.good(token) {
			t.Fatal(n, err)
		}
	})
}

// In a vendor's realm whoever can log in asks, by Basic.
func TestIntrospectVendors(t *testing.T) {
	callers := map[string]tweak{
		"iadvize": basic("demo@example.com", "demo-password"), "altrata": basic("demo", "demo-password"),
		"web1on1": basic("admin@example.org", "t0pZ3kR3t"), "alvys": demo, "oauth2": demo,
	}
	each(t, func(t *testing.T, b *bench) {
		login := b.login()
		pairs := []string{"token", first(login.text("access_token"), login.text("token"))}
		if b.name == "alvys" {
			pairs = append(pairs, "tenant_id", "acme")
		}
		if a := b.form("/introspect", pairs, callers[b.name]); a.status != 200 || a.body["active"] != true {
			t.Error(a.status, a.raw)
		}
		want(t, b.form("/revoke", pairs, callers[b.name]), 200)
		if a := b.form("/introspect", pairs, callers[b.name]); a.status != 200 || a.body["active"] != false {
			t.Error(a.status, a.raw)
		}
		if b.good(pairs[1]) {
			t.Error("the revoked token is good")
		}
		if refresh := login.text("refreshToken"); refresh != "" {
			want(t, b.form("/revoke", []string{"token", refresh}, callers[b.name]), 200)
			want(t, b.postRefresh(refresh, "admin@example.org"), 400, jeton.InvalidGrant)
		}
	})
}

func TestIntrospectBadInput(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	for _, path := range []string{"/introspect", "/revoke"} {
		want(t, b.get(path), 405)
		want(t, b.form(path, []string{"token", "x"}), 401, jeton.InvalidClient)
		a := b.form(path, []string{"token", "x"}, basic("demo-client", "wrong"))
		if want(t, a, 401, jeton.InvalidClient); !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			t.Error("no challenge")
		}
		want(t, b.form(path, nil, demo), 400, jeton.InvalidRequest)
		want(t, b.form(path, []string{"token", ""}, demo), 400, jeton.InvalidRequest)
		want(t, b.form(path, []string{"token", "x", "token", "y"}, demo), 400, jeton.InvalidRequest)
		want(t, b.form(path+"?token=x", nil, demo), 400, jeton.InvalidRequest)
		want(t, b.form(path, []string{"token", "x", "client_id", "demo-client", "client_secret", "demo-secret"}, demo), 400, jeton.InvalidRequest)
		want(t, b.json(path, `{"token":"x"}`, demo), 400, jeton.InvalidRequest)
		want(t, b.form(path, []string{"token", strings.Repeat("x", maxBody)}, demo), 413)
	}
}
