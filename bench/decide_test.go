package bench_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/verify"
)

// remembered is a verifier that answers from memory and does no more.
type remembered map[string]*jeton.Claims // :: token -> claims

func (v remembered) Verify(_ context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	if claims, ok := v[bearer.Reveal()]; ok {
		return claims, nil
	}
	return nil, jeton.InvalidToken
}

// BenchmarkDecide judges calls with a token that the verifier knows, one of
// those that a realm makes by their length, among a thousand others. First with
// a map for a verifier, then with the cache that guards have, which also looks
// at the clock, at the expiry and at a table of revocations that is fresh. The
// part "alone" is that verifier by itself.
func BenchmarkDecide(b *testing.B) {
	token := strings.Repeat("eyJhbGciOiJFUzI1NiIs", 25)
	claims := &jeton.Claims{
		ID: "1", Subject: "u7", Tenant: "acme", Scope: jeton.Scope{"agent"}, Expiry: time.Now().Add(time.Hour),
		Generations: map[string]uint64{"user/u7": 3, "client/c": 1},
	}
	bound := *claims
	bound.Bound = map[string]string{"api_key": jeton.Fingerprint("1", jeton.NewSecret("key"))}
	known := remembered{token: claims, token + "b": &bound}
	for i := range 1000 {
		known[token+strings.Repeat("x", i)+"c"] = claims
	}
	table := &revocation.Table{}
	table.Confirm(time.Now().Add(time.Hour))
	cache := &verify.Cache{Verifier: known, Table: table}
	for text := range known {
		if _, err := cache.Verify(b.Context(), jeton.NewSecret(text)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("map", func(b *testing.B) { decide(b, known, token) })
	b.Run("cache", func(b *testing.B) { decide(b, cache, token) })
}

func decide(b *testing.B, verifier jeton.Verifier, token string) {
	b.Run("alone", func(b *testing.B) {
		secret := jeton.NewSecret(token)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := verifier.Verify(b.Context(), secret); err != nil {
				b.Fatal(err)
			}
		}
	})
	routes := []guard.Route{
		{Method: "GET", Path: "/v2/t/{tenant}/orders/{id}", Needs: "scope:agent"},
		{Method: "*", Path: "/v2/t/{tenant}/orders/{rest...}", Needs: "scope:admin"},
		{Method: "GET", Path: "/v2/users/{self}/orders", Needs: "token"},
	}
	for _, c := range []struct {
		name, dialect, target, token string
		routes                       []guard.Route
	}{
		{"open", "oauth2", "/v2/conversations/7", token, nil},
		{"query", "oauth2", "/v2/conversations/7?page=2&order=asc", token, nil},
		{"table", "web1on1", "/v2/conversations/7", token, nil},
		{"routes", "web1on1", "/v2/t/acme/orders/7", token, routes},
		{"bound", "altrata", "/v1/graphql", token + "b", nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			d, err := dialects.Load(c.dialect)
			if err != nil {
				b.Fatal(err)
			}
			g := &guard.Guard{Dialect: d, Verifier: verifier, Routes: c.routes}
			if err := g.Check(); err != nil {
				b.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, c.target, nil)
			r.Header.Set("Authorization", "Bearer "+c.token)
			r.Header.Set("X-Api-Key", "key")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Decide(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
