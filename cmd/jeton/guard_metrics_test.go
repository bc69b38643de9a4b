package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/graphql"
)

// anyToken is a verifier for which every token is good.
type anyToken struct{}

func (anyToken) Verify(context.Context, jeton.Secret) (*jeton.Claims, error) {
	return &jeton.Claims{Subject: "u"}, nil
}

// TestGuardCountsDocuments: a document that is refused is the caller's mistake
// and nothing that could not be decided, of which an operator is told at night.
func TestGuardCountsDocuments(t *testing.T) {
	d, err := dialects.Load("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	m := newGuardMetrics()
	g := &guard.Guard{Dialect: d, Verifier: anyToken{}, Decided: m.decided("shop"),
		GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Fields: map[string]string{"Query.me": guard.TokenSuffices}}}}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	h := g.Handler(http.NotFoundHandler())
	const hash = `{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38"}}}`
	for _, tt := range []struct{ method, kind, body, want string }{
		{"POST", "application/json", `{"query":"{me}"}`, "ok"},
		{"POST", "application/json", `{"query":"{users}"}`, "insufficient_scope"},
		{"POST", "application/json", `{"query":"{me"}`, "invalid_request"},
		{"POST", "application/json", `{"query":"{__schema{types{name}}}"}`, "invalid_request"},
		{"POST", "application/json", `[{"query":"{me}"},{"query":"{me"}]`, "invalid_request"},
		{"POST", "text/plain", `{"query":"{me}"}`, "invalid_request"},
		{"POST", "application/json", strings.Repeat(" ", 2<<20), "invalid_request"},
		{"PUT", "application/json", `{"query":"{me}"}`, "invalid_request"},
		{"POST", "application/json", hash, "not_persisted"},
	} {
		r := httptest.NewRequest(tt.method, "/graphql", strings.NewReader(tt.body))
		r.Header.Set("Authorization", "Bearer t")
		r.Header.Set("Content-Type", tt.kind)
		before := counted(m, tt.want)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if counted(m, tt.want) == before {
			t.Errorf("%s %.60s is not counted as %s:\n%s", tt.method, tt.body, tt.want, counted(m, ""))
		}
	}
}

// counted returns the lines of the metrics about an outcome.
func counted(m *guardMetrics, outcome string) (lines string) {
	w := httptest.NewRecorder()
	m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, `jeton_guard_decisions_total{outcome="`+outcome) {
			lines += line
		}
	}
	return lines
}
