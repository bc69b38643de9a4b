package issuer

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
)

// serve puts the realm behind a real listener and returns a client for it.
func (b *bench) serve() (url string, ctx context.Context) {
	s := httptest.NewServer(b)
	client := &http.Client{Transport: &http.Transport{}}
	b.t.Cleanup(func() { client.CloseIdleConnections(); s.Close() })
	return s.URL, context.WithValue(b.t.Context(), oauth2.HTTPClient, client)
}

// The Go clients that people use log in unmodified.
func TestXOAuth2ClientCredentials(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	url, ctx := b.serve()
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams, oauth2.AuthStyleAutoDetect} {
		c := clientcredentials.Config{ClientID: "demo-client", ClientSecret: "demo-secret", TokenURL: url + "/token", Scopes: []string{"read"}, AuthStyle: style}
		token, err := c.Token(ctx)
		if err != nil || !token.Valid() || token.Type() != "Bearer" || token.Extra("scope") != "read" || !b.good(token.AccessToken) {
			t.Fatal(token, err)
		}
	}
	c := clientcredentials.Config{ClientID: "demo-client", ClientSecret: "wrong", TokenURL: url + "/token"}
	if _, err := c.Token(ctx); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Error(err)
	}
}

func TestXOAuth2Password(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	url, ctx := b.serve()
	c := oauth2.Config{ClientID: "demo-client", ClientSecret: "demo-secret", Endpoint: oauth2.Endpoint{TokenURL: url + "/token"}}
	token, err := c.PasswordCredentialsToken(ctx, "demo@example.com", "demo-password")
	if err != nil || !b.good(token.AccessToken) || token.RefreshToken == "" {
		t.Fatal(token, err)
	}
	token.Expiry = time.Now().Add(-time.Hour)
	next, err := c.TokenSource(ctx, token).Token()
	if err != nil || next.AccessToken == token.AccessToken || next.RefreshToken == token.RefreshToken || !b.good(next.AccessToken) {
		t.Fatal(next, err)
	}
}

// Secrets with every character that form encoding and Basic treat specially
// (RFC 6749 section 2.3.1).
func TestHostileSecrets(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	url, ctx := b.serve()
	for i, secret := range []string{`p&q=r +%"\:é/`, "a:b:c", "100%25", "+ +", "日本語"} {
		id := "hostile" + string(rune('a'+i)) + ":&=+%"
		b.addClient(directory.Client{ID: id, Name: "hostile"}, secret)
		for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
			c := clientcredentials.Config{ClientID: id, ClientSecret: secret, TokenURL: url + "/token", AuthStyle: style}
			if token, err := c.Token(ctx); err != nil || !b.good(token.AccessToken) {
				t.Errorf("client %q: %v", id, err)
			}
		}
	}
}

func TestScopeAndResource(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	ask := func(pairs ...string) answer {
		return b.form("/token", append([]string{"grant_type", "client_credentials"}, pairs...), demo)
	}
	for asked, granted := range map[string]string{"": "read write", "read": "read", "write read": "write read", "read read": "read"} {
		a := ask("scope", asked)
		if want(t, a, 200); a.text("scope") != granted {
			t.Errorf("asked for %q, granted %q", asked, a.text("scope"))
		}
	}
	api := "https://api.example.com/"
	_, claims := claimsOf(t, ask("resource", api).text("access_token"))
	if claims["aud"] != api {
		t.Errorf("aud is %v", claims["aud"])
	}
	_, claims = claimsOf(t, ask("resource", api, "resource", b.url).text("access_token"))
	if toText(claims["aud"]) != "["+b.url+" "+api+"]" {
		t.Errorf("aud is %v", claims["aud"])
	}
	// A user can do no more than the client that logs the user in.
	b.addUser("", "small@example.com", "pw", "read admin")
	a := b.form("/token", []string{"grant_type", "password", "username", "small@example.com", "password", "pw"}, demo)
	if want(t, a, 200); a.text("scope") != "read" {
		t.Error(a.raw)
	}
	want(t, b.form("/token", []string{"grant_type", "password", "username", "small@example.com", "password", "pw", "scope", "write"}, demo), 400, jeton.InvalidScope)
}
