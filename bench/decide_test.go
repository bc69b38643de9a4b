package bench_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
)

// remembered is a verifier that answers from memory and does no more.
type remembered map[string]*jeton.Claims // :: token -> claims

func (v remembered) Verify(_ context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	if claims, ok := v[bearer.Reveal()]; ok {
		return claims, nil
	}
	return nil, jeton.InvalidToken
}

// BenchmarkDecide judges calls with a token that the verifier knows: without a
// permission table, with the one of web1on1, with routes before it, with a
// query, and with a credential that the token is bound to. The part "memory" is
// the verifier alone, which any of them asks once.
func BenchmarkDecide(b *testing.B) {
	token := strings.Repeat("eyJhbGciOiJFUzI1NiIs", 25) // as long as a token of a realm
	claims := &jeton.Claims{ID: "1", Subject: "u7", Tenant: "acme", Scope: jeton.Scope{"agent"}}
	bound := *claims
	bound.Bound = map[string]string{"api_key": jeton.Fingerprint("1", jeton.NewSecret("key"))}
	known := remembered{token: claims, token + "b": &bound}
	for i := range 1000 {
		known[token+strings.Repeat("x", i)+"c"] = claims
	}
	b.Run("memory", func(b *testing.B) {
		secret := jeton.NewSecret(token)
		for b.Loop() {
			if _, err := known.Verify(b.Context(), secret); err != nil {
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
			g := &guard.Guard{Dialect: d, Verifier: known, Routes: c.routes}
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
