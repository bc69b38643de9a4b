package guard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/graphql"
)

// Refusals read as the clients of both sides expect: a GraphQL error with a code,
// and status and challenge of the dialect.
func TestGraphQLErrors(t *testing.T) {
	for _, tt := range []struct {
		dialect, token, accept, body string
		status                       int
		code, challenge              string
	}{
		{"alvys", "", "", `{"query":"{ me { id } }"}`, 401, "UNAUTHENTICATED", `Bearer realm="alvys"`},
		{"alvys", "nobody", "", `{"query":"{ me { id } }"}`, 401, "UNAUTHENTICATED", `error="invalid_token"`},
		{"web1on1", "nobody", "", `{"query":"{ me { id } }"}`, 403, "UNAUTHENTICATED", `error="invalid_token"`},
		{"web1on1", "guest", "", `{"query":"{ me { email } }"}`, 403, "FORBIDDEN", `scope="bot"`},
		{"web1on1", "guest", "", `{"query":"{ me { email } search { ... on Secret { text } } }"}`, 403, "FORBIDDEN", `scope="admin"`},
		{"alvys", "guest", "", `{"query":"{ me { email } search { ... on Secret { text } } }"}`, 403, "FORBIDDEN", `scope="bot agent admin"`},
		{"alvys", "admin", "", `{"query":"{ secrets { text } }"}`, 403, "FORBIDDEN", `error="insufficient_scope"`},
		{"alvys", "admin", "application/graphql-response+json, application/json;q=0.9", `{"query":"{"}`, 400, "GRAPHQL_PARSE_FAILED", ""},
	} {
		g := &guard.Guard{Dialect: load(t, tt.dialect), Verifier: people(), GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields}}}
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(tt.body))
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {tt.accept}}
		if tt.token != "" {
			r.Header.Set("Authorization", "Bearer "+tt.token)
		}
		w := httptest.NewRecorder()
		g.Handler(reached).ServeHTTP(w, r)
		media := "application/json; charset=utf-8"
		if tt.accept != "" {
			media = "application/graphql-response+json; charset=utf-8"
		}
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code != tt.status || !strings.Contains(w.Body.String(), `"extensions":{"code":"`+tt.code+`"}`) ||
			!strings.Contains(challenge, tt.challenge) || tt.challenge == "" && challenge != "" ||
			w.Header().Get("Content-Type") != media || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s as %q: %d %v %s", tt.body, tt.token, w.Code, w.Header(), w.Body)
		}
	}
	// A dialect's own words and status are used here too.
	d := load(t, "alvys")
	d.Errors = map[jeton.Code]dialect.Refusal{jeton.InsufficientScope: {Status: 409, Description: "ask the owner"}}
	own := newShop(t, &guard.GraphQL{Policy: graphql.Policy{Fields: shopFields, Schema: shopSchema}})
	own.Handler = guardOf(t, own, &guard.Guard{Dialect: d, Verifier: people()})
	if status, code, _ := own.query(t, "guest", `{ users { id } }`); status != 409 || code != "FORBIDDEN" {
		t.Errorf("a dialect with a status of its own: %d %s", status, code)
	}
	if r := call(own, "PUT", "/graphql", "guest"); r.StatusCode != 405 || r.Header.Get("Allow") != "POST" {
		t.Errorf("PUT: %d %v", r.StatusCode, r.Header)
	}
	// No part of a document is shown: it may hold a password.
	s := newShop(t, &guard.GraphQL{})
	for _, document := range []string{`{ login(password: "canary" }`, `{ a } canary`, `{ ...canary }`, `{ a(x: canary canary) } }`} {
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`{"query":`+quoted(document)+`}`))
		r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer guest"}}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != 400 || strings.Contains(w.Body.String(), "canary") || strings.Contains(fmt.Sprint(w.Header()), "canary") {
			t.Errorf("%s: %d %s", document, w.Code, w.Body)
		}
	}
}
