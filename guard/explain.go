package guard

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard/graphql"
)

// The kinds of rules.
const (
	KindRoute = "route" // of [Guard.Routes]
	KindTable = "table" // a route that the permission table stands for
	KindOpen  = "open"  // there are neither routes nor a table

	KindGraphQL = "graphql" // the document of a call to the GraphQL endpoint, or a field in it
)

// A Rule decides some of the calls.
type Rule struct {
	Kind   string `json:"kind"`
	Method string `json:"method"` // as in a [Route]
	Path   string `json:"path"`
	Field  string `json:"field,omitempty"` // "Query.users" of the GraphQL endpoint, "*" any
	Needs  string `json:"needs"`
	Scope  string `json:"scope,omitempty"` // the least that suffices; empty: a good token does
}

// An Explanation says what becomes of a call and why.
type Explanation struct {
	Method  string      `json:"method"`
	Path    string      `json:"path"`            // without the query
	Rule    *Rule       `json:"rule"`            // that decides; nil: none names the call
	Has     jeton.Scope `json:"has"`             // the scope of the token
	Allowed bool        `json:"allowed"`         // the call is let through
	Status  int         `json:"status"`          // of the answer; 0: it is that of the API behind the guard
	Code    jeton.Code  `json:"error,omitempty"` // of a refusal that has one
	Why     string      `json:"why"`
	Allow   []string    `json:"allow,omitempty"` // the methods of the path, where this one is not among them
}

// Explain says what would become of a call with a token that grants claims;
// nil claims are those of a call without a token. target is a path, and may have
// a query. It judges as [Guard.Decide] does, but for the credentials that the
// token is bound to, and without the document of a call to the GraphQL endpoint.
// The error is that of [Guard.Check], or says that target is not a path.
func (g *Guard) Explain(method, target string, claims *jeton.Claims) (*Explanation, error) {
	return g.explain(method, target, claims, func(*http.Request) error { return nil })
}

// ExplainDocument is Explain for a call to the GraphQL endpoint with a document,
// of which operation names the one that is to be executed; it may be empty. The
// error may also be that target is not the endpoint.
func (g *Guard) ExplainDocument(method, target, document, operation string, claims *jeton.Claims) (*Explanation, error) {
	if path, _, _ := strings.Cut(target, "?"); !g.GraphQL.at(path) {
		return nil, errors.New("guard: explain: the path is not that of the GraphQL endpoint, where documents are")
	}
	e, err := g.explain(method, target, claims, func(r *http.Request) error {
		_, err := g.GraphQL.decide(calling(r, document, operation), grant{claims.Scope, g.Dialect.Scope, g.MaxBody})
		return err
	})
	if err == nil && e.Allowed {
		e.Why = "the token may ask for every field of the document"
	}
	return e, err
}

// calling returns the call with a document, as a client would send it.
func calling(r *http.Request, document, operation string) *http.Request {
	if r.Method == http.MethodPost {
		body, err := json.Marshal(map[string]string{"query": document, "operationName": operation})
		if err != nil {
			panic(err) // texts
		}
		r.Header.Set("Content-Type", "application/json")
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		return r
	}
	r.Header.Set("Apollo-Require-Preflight", "true")
	params := url.Values{"query": {document}}
	if operation != "" {
		params.Set("operationName", operation)
	}
	r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&"+params.Encode(), "&")
	return r
}

// explain explains what then says nothing against.
func (g *Guard) explain(method, target string, claims *jeton.Claims, then func(*http.Request) error) (*Explanation, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	u, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") {
		return nil, fmt.Errorf("guard: explain: a call goes to a path, such as /v2/users/me")
	}
	r := &http.Request{Method: method, URL: u, Header: http.Header{}}
	e := &Explanation{Method: method, Path: u.Path, Has: jeton.Scope{}}
	err = g.wellFormed(r)
	if err == nil && claims == nil {
		err = dialect.ErrNoCredentials
	}
	if err == nil {
		e.Has = append(e.Has, claims.Scope...)
		e.Rule, err = g.ruleOf(method, u.Path, claims)
	}
	if err == nil {
		err = then(r)
	}
	if err == nil {
		e.Allowed, e.Why = true, e.Rule.whyAllowed(claims.Scope)
		return e, nil
	}
	seen := &answer{header: http.Header{}}
	g.refuse(seen, r, err)
	e.Status = seen.status
	e.explain(err)
	return e, nil
}

// ruleOf returns the rule that decides a call, nil if there is none, and what it
// has against the call.
func (g *Guard) ruleOf(method, path string, claims *jeton.Claims) (*Rule, error) {
	if g.GraphQL.at(path) && !slices.Contains(g.GraphQL.methods(), method) {
		return nil, g.GraphQL.noMethod()
	}
	v := g.policy.judge(method, path, claims)
	err := g.policy.err(v, path)
	if v.rule == nil {
		return nil, err
	}
	return &v.rule.Rule, err
}

func (r *Rule) whyAllowed(have jeton.Scope) string {
	switch {
	case r.Kind == KindGraphQL:
		return "the document in its body decides, field by field"
	case r.Kind == KindOpen:
		return "there are neither routes nor a permission table, so a good token suffices"
	case r.Scope == "":
		return "a good token suffices"
	case have.Has(r.Scope):
		return "the token has the scope " + r.Scope
	}
	return "a scope of the token includes " + r.Scope
}

// explain puts a refusal into words.
func (e *Explanation) explain(err error) {
	if documents, ok := errors.AsType[graphql.BatchError](err); ok {
		err = documents.Unwrap()
	}
	switch err := err.(type) {
	case *dialect.MethodError:
		e.Why, e.Allow = "the path has no such method", err.Allow
	case *statusError:
		e.Why = err.Error()
		if err.allow != "" {
			e.Allow = strings.Split(err.allow, ", ")
		}
	case *graphql.Error:
		e.Why = err.Message
	case *jeton.Error:
		e.Code, e.Why = err.Code, err.Description
		if len(err.Scope) > 0 {
			e.Why += "; the least scope that has it is " + err.Scope.String()
		}
	default:
		e.Why = "the call carries no access token"
	}
}

// An answer keeps the status of what would be written.
type answer struct {
	header http.Header
	status int
}

// Header returns the header fields.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader keeps the first status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write takes the body and drops it.
func (a *answer) Write(body []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return len(body), nil
}

// A Matrix says which scope suffices for what.
type Matrix struct {
	// Scopes are the columns: the dialect's order, then what else a rule names
	// by name. The first one is empty where some rule needs no scope: a good
	// token without any.
	Scopes []string `json:"scopes"`

	Rows []Row `json:"rows"`
}

// A Row is a rule and, by column, whether a token with that scope satisfies it.
// {self} stands for the caller's own record and {tenant} for the tenant of the
// token: anything else there is not of the rule.
type Row struct {
	Rule
	Allowed []bool `json:"allowed"`
}

// Matrix returns everything that the guard lets anybody do, sorted by path,
// method and field; what is not in it is refused. Rules that never decide, since
// a route names all their calls, are left out. Of the GraphQL endpoint it has
// what [graphql.Policy.Rows] has: a call needs it for every field in its document. The
// error is that of [Guard.Check].
func (g *Guard) Matrix() (*Matrix, error) {
	if err := g.Check(); err != nil {
		return nil, err
	}
	m := &Matrix{Scopes: slices.Clone(g.Dialect.Scope.Order)}
	named := map[string]bool{}
	fields := g.policy.fields()
	for _, r := range append(fields, g.policy.rules...) {
		named[r.Scope] = true
	}
	if named[""] {
		m.Scopes = append([]string{""}, m.Scopes...)
	}
	for _, scope := range slices.Sorted(maps.Keys(named)) {
		if !slices.Contains(m.Scopes, scope) {
			m.Scopes = append(m.Scopes, scope)
		}
	}
	for _, r := range g.policy.rules {
		method, path := g.policy.example(r)
		if path == "" {
			continue
		}
		row := Row{Rule: r.Rule}
		for _, scope := range m.Scopes {
			claims := exemplary
			claims.Scope = jeton.ParseScope(scope)
			row.Allowed = append(row.Allowed, g.policy.judge(method, path, &claims).finding == allowed)
		}
		m.Rows = append(m.Rows, row)
	}
	for _, r := range fields {
		row := Row{Rule: r.Rule}
		for _, scope := range m.Scopes {
			claims := jeton.Claims{Scope: jeton.ParseScope(scope)}
			row.Allowed = append(row.Allowed, r.judge("", &claims) == allowed)
		}
		m.Rows = append(m.Rows, row)
	}
	slices.SortStableFunc(m.Rows, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), slices.Index(everyMethod, a.Method)-slices.Index(everyMethod, b.Method),
			strings.Compare(a.Method, b.Method), strings.Compare(a.Field, b.Field))
	})
	return m, nil
}

// fields returns the permissions of the fields of the GraphQL endpoint.
func (p *policy) fields() []*rule {
	if p.graphql == nil {
		return nil
	}
	rows := p.graphql.Rows()
	if p.graphql.Fields == nil {
		rows = []graphql.FieldRule{{Field: "*", Needs: TokenSuffices}}
	}
	var list []*rule
	for _, row := range rows {
		r := &rule{Rule: Rule{Kind: KindGraphQL, Method: http.MethodPost, Path: p.graphql.At, Field: row.Field, Needs: TokenSuffices}}
		if row.Needs != TokenSuffices {
			r.Needs, r.Scope, r.enough = "scope:"+row.Needs, row.Needs, p.enough(row.Needs)
		}
		list = append(list, r)
	}
	return list
}

// exemplary is who makes the calls by which Matrix finds out. No text of a
// route is such a name.
var exemplary = jeton.Claims{Subject: "\x00self", Tenant: "\x00tenant"}

// example returns a call of the exemplary caller that a rule decides; no path
// if it decides none.
func (p *policy) example(r *rule) (method, path string) {
	method = r.Method
	if method == "*" {
		method = strings.Repeat("ANY-", 8)
	}
	deepest := 0
	for _, other := range p.rules {
		deepest = max(deepest, len(other.pattern))
	}
	able := exemplary
	able.Scope = jeton.ParseScope(r.Scope)
	for depth := range deepest + 2 {
		path := r.pattern.example(depth)
		if p.judge(method, path, &able).rule == r {
			return method, path
		}
	}
	return "", ""
}

// example returns a path that the pattern is about, with so many segments for
// those that follow.
func (p pattern) example(rest int) string {
	var b strings.Builder
	for _, s := range p {
		b.WriteByte('/')
		switch s.kind {
		case isText:
			b.WriteString(s.text)
		case isSelf:
			b.WriteString(exemplary.Subject)
		case isTenant:
			b.WriteString(exemplary.Tenant)
		case isAny:
			b.WriteString("\x00any")
		case isRest:
			b.WriteString(strings.TrimPrefix(strings.Repeat("/\x00any", rest), "/"))
		}
	}
	return b.String()
}
