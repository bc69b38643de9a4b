package graphql_test

import (
	_ "embed"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard/graphql"
)

// shopSchema has what permissions can go wrong about: an interface and a union,
// a type behind two fields, and a payload that leads back to the root.
//
//go:embed testdata/shop.graphql
var shopSchema string

// shopFields is a table for it in scopes that cascade.
var shopFields = map[string]string{
	"Query.me": graphql.TokenSuffices, "Query.users": "agent", "Query.node": "guest", "Query.search": "agent",
	"Mutation.createUser": "admin", "Subscription.messages": "agent",
	"User.email": "bot", "Secret.*": "admin", "Person.friend": "bot",
}

var cascade = dialect.ScopeRule{Order: []string{"guest", "agent", "bot", "admin"}}

// A shop is an API behind a policy, which remembers what it was asked.
type shop struct {
	*graphql.Policy
	asked bool
	body  string // or the query of the URL
}

func newShop(t testing.TB, p *graphql.Policy) *shop {
	t.Helper()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return &shop{Policy: p}
}

// An outcome is what becomes of a call.
type outcome string

const (
	through   outcome = "let through"
	forbidden outcome = "forbidden"
	refused   outcome = "refused"
)

// outcomeOf returns what an error comes to, and the code of a GraphQL error.
func outcomeOf(err error) (got outcome, code string) {
	if errors.Is(err, jeton.InsufficientScope) {
		return forbidden, "FORBIDDEN"
	}
	if e, ok := errors.AsType[*graphql.Error](err); ok && e.Message != "" {
		return refused, e.Code
	}
	return outcome("?? " + err.Error()), ""
}

// post asks with a body.
func (s *shop) post(scope, body string) (got outcome, code string) {
	s.asked, s.body = false, ""
	call, err := s.ReadBody(body)
	if err == nil {
		err = call.Permit(jeton.ParseScope(scope), cascade)
	}
	if err != nil {
		return outcomeOf(err)
	}
	s.asked, s.body = true, string(call.Body())
	return through, ""
}

// get asks with the query of a URL.
func (s *shop) get(scope, query string) (got outcome, code string) {
	s.asked, s.body = false, ""
	own, rest, err := graphql.Parameters(query)
	if err != nil {
		return outcomeOf(err)
	}
	call, err := s.ReadParameters(own)
	if err == nil {
		err = call.Permit(jeton.ParseScope(scope), cascade)
	}
	if err != nil {
		return outcomeOf(err)
	}
	if call.Kind() != "query" {
		return refused, call.Kind()
	}
	s.asked, s.body = true, call.Query(rest)
	return through, ""
}

// query asks with a document, and returns the one that went on.
func (s *shop) query(t testing.TB, scope, document string, more ...string) (got outcome, code, goesOn string) {
	t.Helper()
	body := `{"query":` + quoted(document)
	for _, m := range more {
		body += "," + m
	}
	got, code = s.post(scope, body+"}")
	if !s.asked {
		return got, code, ""
	}
	var sent struct{ Query string }
	if err := json.Unmarshal([]byte(s.body), &sent); err != nil {
		t.Errorf("what goes on is %s: %v", s.body, err)
	}
	return got, code, sent.Query
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// Without a schema the root fields are judged by their names.
func TestGraphQLByName(t *testing.T) {
	s := newShop(t, &graphql.Policy{Fields: map[string]string{
		"Query.me": graphql.TokenSuffices, "Query.users": "agent", "Mutation.*": "admin", "Mutation.logout": graphql.TokenSuffices}})
	for _, tt := range []struct{ document, least string }{
		{`{ me { anything { at { all } } } }`, "guest"},
		{`{ me { users secrets } }`, "guest"}, // are no root fields
		{`{ users }`, "agent"},
		{`{ other }`, "-"},
		{`{ ...A me { ...A } } fragment A on Whatever { users }`, "agent"},
		{`{ me { ...A } } fragment A on Query { users }`, "guest"},
		{`{ me { ...A } ...A } fragment A on Query { users }`, "agent"},
		{`{ ... on Foo { ... on Bar { x: users } } }`, "agent"},
		{`mutation { anything }`, "admin"},
		{`mutation { logout }`, "guest"},
		{`subscription { anything }`, "-"},
		{`{ me { __schema { x } } }`, "GRAPHQL_VALIDATION_FAILED"},
	} {
		may := false
		for _, scope := range []string{"guest", "agent", "bot", "admin"} {
			may = may || scope == tt.least
			got, code, _ := s.query(t, scope, tt.document)
			want := map[bool]outcome{true: through, false: forbidden}[may]
			if strings.Contains(tt.least, "_") {
				want = refused
			}
			if got != want {
				t.Errorf("%s as %s: %s %s, want %s", tt.document, scope, got, code, want)
			}
		}
	}
}

// Where there is no table a good token suffices, and the limits remain.
func TestGraphQLWithoutTable(t *testing.T) {
	s := newShop(t, &graphql.Policy{Introspection: true})
	for document, want := range map[string]outcome{
		`{ anything }`: through, `mutation { anything }`: through, `{ __schema { types { name } } }`: through,
		`{ a` + strings.Repeat(`{ a`, 20) + strings.Repeat(`}`, 20) + `}`: refused,
	} {
		if got, code, _ := s.query(t, "guest", document); got != want {
			t.Errorf("%s: %s %s, want %s", document, got, code, want)
		}
	}
}

func TestGraphQLIntrospection(t *testing.T) {
	const all, one = `{ __schema { types { name } } }`, `{ __type(name: "User") { fields { name } } }`
	named := map[string]string{"Query.me": "guest", "Query.__schema": "admin"}
	for _, schema := range []string{"", shopSchema} {
		for _, tt := range []struct {
			q        *graphql.Policy
			document string
			token    string
			want     outcome
		}{
			{&graphql.Policy{Schema: schema, Fields: named}, all, "bot", forbidden},
			{&graphql.Policy{Schema: schema, Fields: named}, all, "admin", through},
			{&graphql.Policy{Schema: schema, Fields: named}, one, "admin", refused},
			{&graphql.Policy{Schema: schema, Fields: named, Introspection: true}, all, "bot", forbidden},
			{&graphql.Policy{Schema: schema, Fields: named, Introspection: true}, one, "guest", through},
			{&graphql.Policy{Schema: schema, Fields: map[string]string{"Query.*": "guest"}}, all, "admin", refused},
			{&graphql.Policy{Schema: schema}, all, "admin", refused},
		} {
			if got, code, _ := newShop(t, tt.q).query(t, tt.token, tt.document); got != tt.want {
				t.Errorf("%s as %s, %v: %s %s, want %s", tt.document, tt.token, tt.q.Introspection, got, code, tt.want)
			}
		}
	}
}

// A subgraph of a federation gives its schema away in a field, under no name of
// introspection.
func TestGraphQLServiceIsIntrospection(t *testing.T) {
	const all, below = `{ _service { sdl } }`, `{ a { _service { sdl } } }`
	for _, tt := range []struct {
		q        *graphql.Policy
		document string
		want     outcome
	}{
		{&graphql.Policy{}, all, refused},
		{&graphql.Policy{}, `{ ...F } fragment F on Query { x: _service { sdl } }`, refused},
		{&graphql.Policy{}, below, through},
		{&graphql.Policy{}, `mutation { _service }`, through},
		{&graphql.Policy{Introspection: true}, all, through},
		{&graphql.Policy{Fields: map[string]string{"Query.*": "guest"}}, all, refused},
		{&graphql.Policy{Fields: map[string]string{"Query._service": "guest"}}, all, through},
		{&graphql.Policy{Fields: map[string]string{"Query._service": "admin"}}, all, forbidden},
		{&graphql.Policy{Fields: map[string]string{"Query.a": "guest"}, Introspection: true}, all, forbidden},
		{&graphql.Policy{Schema: `type Query { _service: S } type S { sdl: String }`}, all, refused},
		{&graphql.Policy{Schema: `schema { query: R } type R { _service: S } type S { sdl: String, r: R }`, Fields: map[string]string{"Query._service": "guest"}}, `{ _service { r { _service { sdl } } } }`, through},
	} {
		if got, code, _ := newShop(t, tt.q).query(t, "agent", tt.document); got != tt.want {
			t.Errorf("%s, %v %v: %s %s, want %s", tt.document, tt.q.Fields, tt.q.Introspection, got, code, tt.want)
		}
	}
}

// A root type that is one of an interface's has no field more for those who ask
// by the interface.
func TestGraphQLRootBehindInterface(t *testing.T) {
	s := newShop(t, &graphql.Policy{
		Schema: `interface Node { id: ID, secret: Int, open: Int } type Query implements Node { id: ID, secret: Int, open: Int, node: Node } type User implements Node { id: ID, secret: Int, open: Int }`,
		Fields: map[string]string{"Query.node": "guest", "Query.open": "guest", "User.secret": "guest"},
	})
	for document, want := range map[string]outcome{
		`{ node { __typename open } }`: through, `{ ... on Node { open } }`: through, `{ node { ... on User { id secret } } }`: through,
		`{ secret }`: forbidden, `{ ... on Node { secret } }`: forbidden, `{ ... on Node { x: id } }`: forbidden,
		`{ ...F } fragment F on Node { secret }`: forbidden, `{ node { secret } }`: forbidden, `{ node { ... on Node { ... on Query { secret } } } }`: forbidden,
	} {
		if got, code, _ := s.query(t, "agent", document); got != want {
			t.Errorf("%s: %s %s, want %s", document, got, code, want)
		}
	}
}

// The root types may have other names in a schema; in the table they have not.
func TestGraphQLRootNames(t *testing.T) {
	const schema = `schema { query: Root mutation: Change } type Root { a: Int, b: Root } type Change { a: Int }`
	s := newShop(t, &graphql.Policy{Schema: schema, Fields: map[string]string{"Query.a": "bot", "Query.b": "guest"}})
	for document, want := range map[string]outcome{
		`{ a }`: forbidden, `{ b { b { __typename } } }`: through, `{ b { b { a } } }`: forbidden, `mutation { a }`: forbidden, `subscription { a }`: refused, `{ ... on Root { b { ... on Root { a } } } }`: forbidden,
	} {
		if got, code, _ := s.query(t, "agent", document); got != want {
			t.Errorf("%s: %s %s, want %s", document, got, code, want)
		}
	}
}

// Settings that could not do what they say are errors, and no call is let through.
func TestGraphQLCheck(t *testing.T) {
	for name, q := range map[string]*graphql.Policy{
		"negative limit":      {MaxDepth: -1},
		"deep":                {MaxDepth: 1000},
		"not a field":         {Fields: map[string]string{"Query": "a"}},
		"not a name":          {Fields: map[string]string{"Query.a b": "a"}},
		"no scope":            {Fields: map[string]string{"Query.a": ""}},
		"two scopes":          {Fields: map[string]string{"Query.a": "a b"}},
		"below, no schema":    {Fields: map[string]string{"User.email": "a"}},
		"schema":              {Schema: "type Query {"},
		"unknown type":        {Schema: shopSchema, Fields: map[string]string{"Nobody.x": "a"}},
		"unknown field":       {Schema: shopSchema, Fields: map[string]string{"User.mail": "a"}},
		"field of a union":    {Schema: shopSchema, Fields: map[string]string{"Found.*": "a"}},
		"field of an input":   {Schema: shopSchema, Fields: map[string]string{"Filter.active": "a"}},
		"root by other name":  {Schema: "schema { query: Root } type Root { a: Int }", Fields: map[string]string{"Root.a": "a"}},
		"root name elsewhere": {Schema: "schema { query: Root } type Root { a: Query } type Query { a: Int }", Fields: map[string]string{"Query.a": "a"}},
		"no such root":        {Schema: "type Query { a: Int }", Fields: map[string]string{"Mutation.a": "a"}},
		"roots of one type":   {Schema: "schema { query: A mutation: A } type A { a: Int }"},
		"persisted":           {Persisted: map[string]string{"x": "{"}},
	} {
		if q.Check() == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if c, err := q.ReadBody(`{"query":"{a}"}`); c != nil || err == nil {
			t.Errorf("%s: a body: %v", name, err)
		}
		if c, err := q.ReadParameters(url.Values{"query": {"{a}"}}); c != nil || err == nil {
			t.Errorf("%s: parameters: %v", name, err)
		}
	}
}

// What goes on has the chosen operation and what it uses, in one way to write it.
func TestGraphQLGoesOn(t *testing.T) {
	s := newShop(t, &graphql.Policy{})
	for _, tt := range []struct{ document, more, want string }{
		{"# hello\n query  A ( $a : [Int!]! = [1,2] , $b:S=\"x\" @d(a:1) ) @e { x : y ( a : $a , b : { c : -1.5e3 , d : [ A , null , true ] } ) { ...F ... on T @i(if:$b) { z } ... { w } } } fragment F on T { f } fragment G on T { g }",
			``, `query A($a:[Int!]!=[1 2]$b:S="x"@d(a:1))@e{x:y(a:$a b:{c:-1.5e3 d:[A null true]}){...F...on T@i(if:$b){z}...{w}}}fragment F on T{f}`},
		{`query A { a } mutation B { ...F } fragment G on M { g } fragment F on M { ...G }`, `"operationName":"B"`, `mutation B{...F}fragment F on M{...G}fragment G on M{g}`},
		{`query A { a } query B { b }`, `"operationName":"A"`, `query A{a}`},
		{`query A { a }`, `"operationName":""`, `query A{a}`},
		{`query A { a }`, `"operationName":null`, `query A{a}`},
		{`{ a(x: "" y: "") b(x: ["" "a" ""]) }`, ``, `{a(x:"" y:"")b(x:["" "a" ""])}`},
		{`{ a(x: "\u00e9\u{1F600}\uD83D\uDE00\/\b\"\\	") }`, ``, `{a(x:"é😀😀/\u0008\"\\\u0009")}`},
		{"{ a(x: \"\"\"\n    one\n      two \\\"\"\" \"q\" \\n\r\n\n    three\n  \"\"\") }", ``, `{a(x:"one\u000a  two \"\"\" \"q\" \\n\u000a\u000athree")}`},
		{"{ a(x: \"\"\"one\n    two\n     three\"\"\") }", ``, `{a(x:"one\u000atwo\u000a three")}`},
		{`"says what it is" query A("and this" $a: Int) { a } """too""" fragment F on T { f }`, ``, `query A($a:Int){a}`},
		{`query query { query: mutation(on: on, true: null) { fragment } }`, ``, `query query{query:mutation(on:on true:null){fragment}}`},
	} {
		var more []string
		if tt.more != "" {
			more = []string{tt.more}
		}
		got, code, goesOn := s.query(t, "guest", tt.document, more...)
		if diff := cmp.Diff(tt.want, goesOn); diff != "" {
			t.Errorf("%s: %s %s\n%s", tt.document, got, code, diff)
		}
		// What was written anew is written anew as it is.
		if _, _, again := s.query(t, "guest", goesOn); again != goesOn {
			t.Errorf("%s becomes %s", goesOn, again)
		}
	}
}

// The envelope is written anew too, with the members that are GraphQL's.
func TestGraphQLEnvelope(t *testing.T) {
	s := newShop(t, &graphql.Policy{})
	for body, want := range map[string]string{
		`{"query":"{a}"}`: `{"query":"{a}"}`,
		` { "variables" : {"a": [1, {"b": "c"}]} , "query" : "{ a }" , "operationName": null, "extensions": {"x": 1} } `: `{"query":"{a}","variables":{"a": [1, {"b": "c"}]},"extensions":{"x": 1}}`,
		`{"query":"query A{a}","operationName":"A","variables":null,"documentId":"abc","id":7,"query2":"{b}"}`:           `{"query":"query A{a}","operationName":"A"}`,
		`[{"query":"{a}"},{"query":"{ b }","x":{}}]`:                                                                     `[{"query":"{a}"},{"query":"{b}"}]`,
		`[{"query":"{a}"}]`: `[{"query":"{a}"}]`,
		`{"query":"{ a(x: \"\u003c\\u00e9\ud83d\ude00\") }"}`: `{"query":"{a(x:\"<é😀\")}"}`,
	} {
		if got, code := s.post("guest", body); got != through || s.body != want {
			t.Errorf("%s: %s %s\n%s\n%s", body, got, code, s.body, want)
		}
	}
}

// So is the query of a URL, in which the rest stays.
func TestGraphQLParameters(t *testing.T) {
	s := newShop(t, &graphql.Policy{})
	for query, want := range map[string]string{
		"query={ a }":                "query=%7Ba%7D",
		"query={a}&op=a%20b&x=1&x=2": "op=a+b&query=%7Ba%7D&x=1&x=2",
		`query=query A{a} query B{b}&operationName=B&variables={"a": 1}&extensions={"x":1}`: "extensions=%7B%22x%22%3A1%7D&operationName=B&query=query+B%7Bb%7D&variables=%7B%22a%22%3A+1%7D",
	} {
		if got, code := s.get("guest", query); got != through || s.body != want {
			t.Errorf("%s: %s %s\n%s\n%s", query, got, code, s.body, want)
		}
	}
	for _, query := range []string{
		"", "op=x", "query=", "QUERY={a}", "query={a}&query[]={b}", "query={a}&query={a}", "query={a}&query%5B0%5D=x", "query={a}&q;query=x", "query={a}&a=%zz",
		"query={a}&documentId=x", "query={a}&doc_id=x", "query={a}&id=x", "query={a}&hash=x", "query={a}&a=%ff", "query={a}&query.x=1",
		"query={a}&variables={", `query={a}&variables={"a":1,"a":2}`, "query={a}&variables=[]", "query={a}&extensions=1", "query={a}&operationName=a+b",
	} {
		if got, code := s.get("guest", query); got != refused || s.asked {
			t.Errorf("%s: %s %s", query, got, code)
		}
	}
}

// Persisted documents, in Apollo's protocol.
func TestGraphQLPersisted(t *testing.T) {
	const me, users = `{ me { id } }`, `{ users { id } }`
	s := newShop(t, &graphql.Policy{Schema: shopSchema, Fields: shopFields, Persisted: map[string]string{"known": me, "for-agents": users}})
	extension := func(hash string) string {
		return `"extensions":{"x":1,"persistedQuery":{"version":1,"sha256Hash":"` + hash + `"}}`
	}
	hash := sum(`{ me { name } }`)
	for _, tt := range []struct {
		body, token string
		want        outcome
		code, sent  string
	}{
		{`{` + extension("known") + `}`, "guest", through, "", `{"query":"{me{id}}","extensions":{"x":1}}`},
		{`{` + extension("for-agents") + `}`, "guest", forbidden, "FORBIDDEN", ""},
		{`{` + extension("for-agents") + `}`, "agent", through, "", `{"query":"{users{id}}","extensions":{"x":1}}`},
		{`{` + extension(hash) + `}`, "guest", refused, "PERSISTED_QUERY_NOT_FOUND", ""},
		{`{"query":"{ me { id } }",` + extension(hash) + `}`, "guest", refused, "BAD_REQUEST", ""}, // of another document
		{`{"query":"{ me { id } }",` + extension("known") + `}`, "guest", refused, "BAD_REQUEST", ""},
		{`{` + extension(hash) + `}`, "guest", refused, "PERSISTED_QUERY_NOT_FOUND", ""},
		{`{"query":"{ me { name } }",` + extension(hash) + `}`, "guest", through, "", `{"query":"{me{name}}","extensions":{"x":1}}`},
		{`{` + extension(hash) + `}`, "guest", through, "", `{"query":"{me{name}}","extensions":{"x":1}}`},
		{`{` + extension(strings.ToUpper(hash)) + `}`, "guest", refused, "PERSISTED_QUERY_NOT_FOUND", ""},
		{`{"extensions":{"persistedQuery":{"version":2,"sha256Hash":"known"}}}`, "guest", refused, "BAD_REQUEST", ""},
		{`{"query":"{ me { id } }","extensions":{"PersistedQuery":{"version":1,"sha256Hash":"known"}}}`, "guest", refused, "BAD_REQUEST", ""},
		{`{"query":"{ me { id } }","extensions":{"persisted\u0051uery":{"version":1,"sha256Hash":"known"}}}`, "guest", refused, "BAD_REQUEST", ""},
		{`{"query":"{ me { id } }","extensions":{"persistedQuery":{"version":1,"sha256Hash":"known"},"persistedQuery":null}}`, "guest", refused, "BAD_REQUEST", ""},
		{`{"query":"{ me { id } }","extensions":[]}`, "guest", refused, "BAD_REQUEST", ""},
		{`{"documentId":"known"}`, "guest", refused, "BAD_REQUEST", ""},
	} {
		got, code := s.post(tt.token, tt.body)
		if got != tt.want || code != tt.code || s.body != tt.sent {
			t.Errorf("%s as %s: %s %s %s, want %s %s %s", tt.body, tt.token, got, code, s.body, tt.want, tt.code, tt.sent)
		}
	}
	// One that no document fits is not remembered.
	bad := `{ me { nothing } }`
	if got, code := s.post("guest", `{"query":`+quoted(bad)+`,`+extension(sum(bad))+`}`); got != refused {
		t.Error(got, code)
	}
	if _, code := s.post("guest", `{`+extension(sum(bad))+`}`); code != "PERSISTED_QUERY_NOT_FOUND" {
		t.Error(code)
	}
	// By GET, as Apollo's client asks where a cache is in front.
	query := url.Values{"extensions": {`{"persistedQuery":{"version":1,"sha256Hash":"known"}}`}}.Encode()
	if got, code := s.get("guest", query); got != through || s.body != "query=%7Bme%7Bid%7D%7D" {
		t.Error(got, code)
	}
}

// What is kept of a document does not depend on who asked for it: in any order
// and at the same time, callers get what is theirs.
func TestGraphQLKnownDocuments(t *testing.T) {
	p := &graphql.Policy{Schema: shopSchema, Fields: shopFields}
	type call struct{ scope, document string }
	want := map[call]outcome{}
	for _, tt := range documents {
		last := forbidden
		for _, scope := range []string{"guest", "agent", "bot", "admin"} {
			switch {
			case scope == tt.least:
				last = through
			case strings.Contains(tt.least, "_"):
				last = refused
			}
			want[call{scope, tt.document}] = last
		}
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			s := newShop(t, p)
			for c, want := range want { // in an order of its own
				if got, code, _ := s.query(t, c.scope, c.document); got != want {
					t.Errorf("%s as %q: %s %s, want %s", c.document, c.scope, got, code, want)
				}
			}
		})
	}
	all.Wait()
}
