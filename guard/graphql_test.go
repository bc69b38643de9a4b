package guard_test

import (
	_ "embed"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/graphql"
)

// shopSchema is that of the tests of package graphql.
//
//go:embed graphql/testdata/shop.graphql
var shopSchema string

// shopFields is a table for it in the scopes of web1on1, which cascade.
var shopFields = map[string]string{
	"Query.me": guard.TokenSuffices, "Query.users": "agent", "Query.node": "guest", "Query.search": "agent",
	"Mutation.createUser": "admin", "Subscription.messages": "agent",
	"User.email": "bot", "Secret.*": "admin", "Person.friend": "bot",
}

// A shop is a guarded API that remembers what it was asked.
type shop struct {
	http.Handler
	*guard.GraphQL
	asked *http.Request // nil: it was not asked
	body  string
}

// newShop returns a shop at /graphql for tokens named after their scope.
func newShop(t testing.TB, q *guard.GraphQL) *shop {
	t.Helper()
	if q.At == "" {
		q.At = "/graphql"
	}
	if err := q.Check(); err != nil {
		t.Fatal(err)
	}
	s := &shop{GraphQL: q}
	d := load(t, "web1on1")
	d.Permissions = nil
	g := &guard.Guard{Dialect: d, Verifier: people(), GraphQL: q}
	s.Handler = g.Handler(shopkeeper(t, s))
	return s
}

// shopkeeper is the API of a shop.
func shopkeeper(t testing.TB, s *shop) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(body)) {
			t.Errorf("%d bytes, announced as %d: %v", len(body), r.ContentLength, err)
		}
		s.asked, s.body = r, string(body)
		w.WriteHeader(http.StatusNoContent)
	})
}

// ask sends a request and returns its status and, if it is an error, the code.
func (s *shop) ask(token string, r *http.Request) (status int, code string) {
	s.asked, s.body = nil, ""
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var answer struct {
		Errors []struct {
			Message    string
			Extensions struct{ Code string }
		}
	}
	if w.Code == http.StatusNoContent {
		return w.Code, ""
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || len(answer.Errors) != 1 || answer.Errors[0].Message == "" {
		return w.Code, "?? " + w.Body.String()
	}
	return w.Code, answer.Errors[0].Extensions.Code
}

// post asks with a body.
func (s *shop) post(token, body string) (status int, code string) {
	r := httptest.NewRequest("POST", "/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return s.ask(token, r)
}

// query asks with a document, and returns the one that went on.
func (s *shop) query(t testing.TB, token, document string, more ...string) (status int, code, goesOn string) {
	t.Helper()
	body := `{"query":` + quoted(document)
	for _, m := range more {
		body += "," + m
	}
	status, code = s.post(token, body+"}")
	if s.asked == nil {
		return status, code, ""
	}
	var sent struct{ Query string }
	if err := json.Unmarshal([]byte(s.body), &sent); err != nil {
		t.Errorf("what goes on is %s: %v", s.body, err)
	}
	return status, code, sent.Query
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Settings that could not do what they say are errors, and no call is let through.
func TestGraphQLCheck(t *testing.T) {
	for name, q := range map[string]*guard.GraphQL{
		"no path":         {},
		"relative path":   {At: "graphql"},
		"odd path":        {At: "/a/../graphql"},
		"negative limit":  {At: "/g", Policy: graphql.Policy{MaxDepth: -1}},
		"negative length": {At: "/g", MaxBytes: -1},
		"not a field":     {At: "/g", Policy: graphql.Policy{Fields: map[string]string{"Query": "a"}}},
		"schema":          {At: "/g", Policy: graphql.Policy{Schema: "type Query {"}},
		"persisted":       {At: "/g", Policy: graphql.Policy{Persisted: map[string]string{"x": "{"}}},
	} {
		if q.Check() == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), GraphQL: q}
		r := httptest.NewRequest("POST", "/g", strings.NewReader(`{"query":"{a}"}`))
		if q.At == "/g" {
			r.Header = http.Header{"Authorization": {"Bearer admin"}, "Content-Type": {"application/json"}}
			w := httptest.NewRecorder()
			g.Handler(reached).ServeHTTP(w, r)
			if w.Code != 503 {
				t.Errorf("%s: %d %s", name, w.Code, w.Body)
			}
		}
	}
}

// What goes on has a body of its own, and headers that fit it.
func TestGraphQLEnvelope(t *testing.T) {
	s := newShop(t, &guard.GraphQL{})
	for body, want := range map[string]string{
		`{"query":"{a}"}`: `{"query":"{a}"}`,
		`{"query":"query A { a }","operationName":"A","variables":{"a":1},"id":7}`: `{"query":"query A{a}","operationName":"A","variables":{"a":1}}`,
		`[{"query":"{a}"},{"query":"{ b }","x":{}}]`:                               `[{"query":"{a}"},{"query":"{b}"}]`,
	} {
		if status, code := s.post("guest", body); status != 204 || s.body != want {
			t.Errorf("%s: %d %s\n%s\n%s", body, status, code, s.body, want)
		}
	}
	r := httptest.NewRequest("POST", "/graphql?op=a%20b&x=1;", strings.NewReader(`{"query":"{a}"}`))
	r.Header = http.Header{"Content-Type": {"application/json; charset=UTF-8"}, "Content-Md5": {"x"}, "Expect": {"100-continue"}}
	if status, _ := s.ask("guest", r); status != 400 {
		t.Errorf("a semicolon in the query: %d", status)
	}
	r.URL.RawQuery, r.Body = "op=a%20b&x=1", io.NopCloser(strings.NewReader(`{"query":"{a}"}`))
	status, code := s.ask("guest", r)
	if status != 204 {
		t.Fatal(status, code)
	}
	want := http.Header{"Content-Type": {"application/json"}, "Content-Length": {"15"}, "X-Auth-Subject": {"id-of-guest"}, "X-Auth-Scope": {"guest"}}
	if diff := cmp.Diff(want, s.asked.Header); diff != "" || s.asked.URL.RawQuery != "op=a+b&x=1" {
		t.Errorf("%s %s", s.asked.URL.RawQuery, diff)
	}
	if r.Header.Get("Content-Md5") == "" || r.URL.RawQuery != "op=a%20b&x=1" {
		t.Error("the caller's own request was changed")
	}
}

// Decide alone has no body to judge and to write anew, so it lets nothing through.
func TestGraphQLDecideAlone(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Fields: shopFields, Schema: shopSchema}}}
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		r := httptest.NewRequest(method, "/graphql?query={me{id}}", strings.NewReader(`{"query":"{ me { id } }"}`))
		r.Header = http.Header{"Authorization": {"Bearer admin"}, "Content-Type": {"application/json"}}
		if claims, err := g.Decide(r); claims != nil || err == nil || !strings.Contains(err.Error(), string(jeton.Unavailable)) {
			t.Errorf("%s: %v, %v", method, claims, err)
		}
		r.Header.Set("Authorization", "Bearer nobody")
		if _, err := g.Decide(r); err == nil || strings.Contains(err.Error(), string(jeton.Unavailable)) {
			t.Errorf("%s with a bad token: %v", method, err)
		}
	}
}

// Where fields have a table, the paths beside it lead nowhere: many a server
// executes GraphQL at more than one.
func TestGraphQLBesideTheEndpoint(t *testing.T) {
	closed := newShop(t, &guard.GraphQL{Policy: graphql.Policy{Fields: shopFields, Schema: shopSchema}})
	open := newShop(t, &guard.GraphQL{})
	for path, want := range map[string]int{
		"/graphql/": 403, "/GraphQL": 403, "/graphql/x": 403, "/GRAPHQL/": 403, "/graphql/batch": 403, "/graphiql": 204, "/graphqlx": 204, "/": 204,
	} {
		r := func() *http.Request {
			r := httptest.NewRequest("POST", path, strings.NewReader(`{"query":"{ secrets { text } }"}`))
			r.Header.Set("Authorization", "Bearer guest")
			return r
		}
		w := httptest.NewRecorder()
		open.ServeHTTP(w, r())
		if w.Code != want {
			t.Errorf("without a table %s: %d, want %d", path, w.Code, want)
		}
		w = httptest.NewRecorder()
		closed.ServeHTTP(w, r())
		if w.Code != 403 {
			t.Errorf("with a table %s: %d, want 403", path, w.Code)
		}
	}
}

// Persisted documents, with the statuses that Apollo's clients expect.
func TestGraphQLPersisted(t *testing.T) {
	const me, users = `{ me { id } }`, `{ users { id } }`
	q := &guard.GraphQL{GET: true, Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields, Persisted: map[string]string{"known": me, "for-agents": users}}}
	s := newShop(t, q)
	extension := func(hash string) string {
		return `"extensions":{"x":1,"persistedQuery":{"version":1,"sha256Hash":"` + hash + `"}}`
	}
	hash := sum(`{ me { name } }`)
	for _, tt := range []struct {
		body, token string
		want        int
		code, sent  string
	}{
		{`{` + extension("known") + `}`, "guest", 204, "", `{"query":"{me{id}}","extensions":{"x":1}}`},
		{`{` + extension("for-agents") + `}`, "guest", 403, "FORBIDDEN", ""},
		{`{` + extension("for-agents") + `}`, "agent", 204, "", `{"query":"{users{id}}","extensions":{"x":1}}`},
		{`{` + extension(hash) + `}`, "guest", 200, "PERSISTED_QUERY_NOT_FOUND", ""},
		{`{"query":"{ me { id } }",` + extension(hash) + `}`, "guest", 400, "BAD_REQUEST", ""}, // of another document
		{`{` + extension(hash) + `}`, "guest", 200, "PERSISTED_QUERY_NOT_FOUND", ""},
		{`{"query":"{ me { name } }",` + extension(hash) + `}`, "guest", 204, "", `{"query":"{me{name}}","extensions":{"x":1}}`},
		{`{` + extension(hash) + `}`, "guest", 204, "", `{"query":"{me{name}}","extensions":{"x":1}}`},
	} {
		status, code := s.post(tt.token, tt.body)
		if status != tt.want || code != tt.code || s.body != tt.sent {
			t.Errorf("%s as %s: %d %s %s, want %d %s %s", tt.body, tt.token, status, code, s.body, tt.want, tt.code, tt.sent)
		}
	}
	// By GET, as Apollo's client asks where a cache is in front.
	r := httptest.NewRequest("GET", "/graphql?"+url.Values{"extensions": {`{"persistedQuery":{"version":1,"sha256Hash":"known"}}`}}.Encode(), nil)
	r.Header.Set("X-Apollo-Operation-Name", "A")
	if status, code := s.ask("guest", r); status != 204 || s.asked.URL.RawQuery != "query=%7Bme%7Bid%7D%7D" {
		t.Error(status, code)
	}
}

// A scope that the dialect does not have would be a slip that locks all out.
func TestGraphQLUnknownScope(t *testing.T) {
	for scope, want := range map[string]int{"admin": 204, "amdin": 503} {
		q := &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Fields: map[string]string{"Query.me": "guest", "Query.users": scope}}}
		g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people(), GraphQL: q}
		s := &shop{GraphQL: q}
		s.Handler = g.Handler(shopkeeper(t, s))
		if status, code, _ := s.query(t, "guest", `{ me }`); status != want || (g.Check() == nil) != (want == 204) {
			t.Errorf("%s: %d %s, %v", scope, status, code, g.Check())
		}
	}
}

// In any order and at the same time, callers get what is theirs.
func TestGraphQLKnownDocuments(t *testing.T) {
	d := load(t, "web1on1")
	d.Permissions = nil
	h := (&guard.Guard{Dialect: d, Verifier: people(), GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields}}}).Handler(reached)
	type call struct{ token, document string }
	want := map[call]int{}
	for _, tt := range []struct{ document, least string }{
		{`{ me { id } }`, "guest"},
		{`{ me { name: email } }`, "bot"},
		{`{ users { id } }`, "agent"},
		{`{ users { id } messages: me { id } }`, "agent"},
		{`mutation { createUser(name: "x") { user { id } } }`, "admin"},
		{`{ secrets { __typename } }`, "-"},
		{`{ nothing }`, "GRAPHQL_VALIDATION_FAILED"},
		{`{ me { id } `, "GRAPHQL_PARSE_FAILED"},
	} {
		status := 403
		for _, token := range []string{"nobody", "guest", "agent", "bot", "admin"} {
			switch {
			case token == tt.least:
				status = 204
			case token != "nobody" && strings.Contains(tt.least, "_"):
				status = 400
			}
			want[call{token, tt.document}] = status
		}
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for c, status := range want { // in an order of its own
				r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`{"query":`+quoted(c.document)+`}`))
				r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + c.token}}
				w := httptest.NewRecorder()
				if h.ServeHTTP(w, r); w.Code != status {
					t.Errorf("%s as %s: %d, want %d", c.document, c.token, w.Code, status)
				}
			}
		})
	}
	all.Wait()
}

// A subscription that is answered in parts ends when its token does, whatever
// the form of the parts.
func TestGraphQLSubscriptionEndsWithItsToken(t *testing.T) {
	for _, accept := range []string{"text/event-stream", `multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/json`} {
		synctest.Test(t, func(t *testing.T) {
			v := verifier{"t": {Subject: "s", Expiry: time.Now().Add(time.Hour)}}
			g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: v, GraphQL: &guard.GraphQL{At: "/graphql"}}
			began := time.Now()
			h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				select {
				case <-r.Context().Done():
				case <-time.After(24 * time.Hour):
				}
			}))
			r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`{"query":"subscription { ticks }"}`))
			r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer t"}, "Accept": {accept}}
			h.ServeHTTP(httptest.NewRecorder(), r)
			if took := time.Since(began); took != time.Hour {
				t.Errorf("%s: ended after %v", accept, took)
			}
		})
	}
}
