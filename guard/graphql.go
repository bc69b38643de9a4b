package guard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// TokenSuffices is the permission of a field that any good token may ask for.
const TokenSuffices = "token"

// A GraphQL is what a guard knows about the GraphQL endpoint of an API. Its
// fields are not changed once it is in use; it is then safe for concurrent use,
// and not to be copied.
//
// A call is judged by the document in it: every root field that the chosen
// operation asks for, and with a schema every field below, however it is aliased
// or wrapped in fragments, and whatever @skip and @include say. What then goes
// on is written anew from what was read: the chosen operation and the fragments
// that it uses, and nothing else of the document.
type GraphQL struct {
	// At is the path of the endpoint, relative to the realm, in its canonical
	// form. Required. Paths below it, and the same in other letters, are refused.
	At string

	// Schema is the source text of the API's schema. With one, documents whose
	// fields and fragments do not fit are refused, and Fields may speak of types
	// below the roots. Empty: root fields are judged by name, and what is below
	// them is not looked at.
	Schema string

	// Fields is the permission table: the scope that a field needs, or
	// [TokenSuffices], by "Query.users", "Mutation.createUser", "Subscription.x"
	// or, with a schema, "User.email". The root types have these names whatever
	// the schema calls them. "User.*" stands for the fields of a type that are
	// not named.
	//
	// A root field that nothing names is refused; a field below that nothing
	// names is not. What is said of an interface's field holds for that of its
	// types too, and the other way round. __typename needs no permission.
	//
	// Nil: there is no table, and a good token suffices. With a table, also an
	// empty one, routes beside At that no other table names are refused too.
	Fields map[string]string // :: type.field -> scope

	// Introspection lets __schema and __type through. False: they are refused,
	// unless Fields names "Query.__schema" and "Query.__type".
	Introspection bool

	// GET lets queries through that stand in the URL, if the call has a header
	// that no web page can send without asking first: Apollo-Require-Preflight,
	// X-Apollo-Operation-Name or Content-Type: application/json. False: POST only.
	GET bool

	// Persisted are documents that a call may name by their hash alone, in
	// Apollo's extension persistedQuery. What callers register there (a document
	// with its hash) is known from then on too, as long as there is room.
	Persisted map[string]string // :: SHA-256 in hexadecimal -> document

	// What a call may ask for at most. Zero: the default. A batch as a whole
	// has the limits of one document, except for MaxDepth.
	MaxBytes      int // of the body, or of the URL's query; default 1 MiB
	MaxTokens     int // of documents, blanks and comments not counted; default 5,000
	MaxDepth      int // of fields in fields; default 15
	MaxComplexity int // fields, those of a fragment wherever it is used; default 2,000
	MaxAliases    int // likewise; default 50
	MaxRootFields int // likewise; default 50
	MaxDirectives int // likewise; default 50
	MaxBatch      int // documents in one call; default 10

	once  sync.Once // for what follows
	err   error     // of check; the rest is there if it is nil
	max   limits
	rules *fieldRules
	known twoGenerations[documentKey, *judgement]
	named twoGenerations[string, string] // :: SHA-256 -> document as JSON
}

// limits are the Max fields of a GraphQL with the defaults in.
type limits struct{ bytes, tokens, depth, complexity, aliases, roots, directives, batch int }

// Check reports what is wrong with the settings.
func (q *GraphQL) Check() error {
	q.once.Do(func() {
		if q.err = q.check(); q.err != nil {
			q.err = fmt.Errorf("guard: graphql: %w", q.err)
		}
	})
	return q.err
}

func (q *GraphQL) check() (err error) {
	q.max = limits{
		bytes:      cmp.Or(q.MaxBytes, 1<<20),
		tokens:     cmp.Or(q.MaxTokens, 5000),
		depth:      cmp.Or(q.MaxDepth, 15),
		complexity: cmp.Or(q.MaxComplexity, 2000),
		aliases:    cmp.Or(q.MaxAliases, 50),
		roots:      cmp.Or(q.MaxRootFields, 50),
		directives: cmp.Or(q.MaxDirectives, 50),
		batch:      cmp.Or(q.MaxBatch, 10),
	}
	m := q.max
	switch {
	case !strings.HasPrefix(q.At, "/") || !canonical(&url.URL{Path: q.At}):
		return errors.New("the path is not in its canonical form")
	case min(m.bytes, m.tokens, m.depth, m.complexity, m.aliases, m.roots, m.directives, m.batch) < 0:
		return errors.New("a limit is negative")
	case m.depth > maxSets:
		return fmt.Errorf("the depth may be %d at most", maxSets)
	}
	if q.rules, err = newRules(q); err != nil {
		return err
	}
	for hash, source := range q.Persisted {
		if _, err := parseDocument(source, m.tokens); err != nil {
			return fmt.Errorf("the persisted document %.64q: %w", hash, err)
		}
	}
	return nil
}

// within demands that the table knows no scope but those that there are. Nil:
// the dialect does not say which.
func (q *GraphQL) within(scopes []string) error {
	for _, row := range q.Rows() {
		if row.Needs != TokenSuffices && scopes != nil && !slices.Contains(scopes, row.Needs) {
			return fmt.Errorf("guard: graphql: fields: %s: there is no scope %q", row.Field, row.Needs)
		}
	}
	return nil
}

// A FieldRule is a row of the permission table as people read it.
type FieldRule struct {
	Field string // "Query.users"
	Needs string // a scope, or [TokenSuffices]
}

// Rows returns the permission table in the order of its fields.
func (q *GraphQL) Rows() []FieldRule {
	var rows []FieldRule
	for _, name := range slices.Sorted(maps.Keys(q.Fields)) {
		rows = append(rows, FieldRule{name, q.Fields[name]})
	}
	return rows
}

// at reports whether a path is that of the endpoint. q may be nil.
func (q *GraphQL) at(path string) bool { return q != nil && path == q.At }

// near reports whether some server may take a path for that of the endpoint,
// though it is another: frameworks ignore case, a slash at the end, and what
// follows.
func (q *GraphQL) near(path string) bool {
	if q == nil || path == q.At {
		return false
	}
	base := strings.TrimSuffix(q.At, "/")
	if len(path) < len(base) || !strings.EqualFold(path[:len(base)], base) {
		return false
	}
	return len(path) == len(base) || path[len(base)] == '/'
}

// closed reports whether there is a permission table, so that what nothing
// names is refused. q may be nil.
func (q *GraphQL) closed() bool { return q != nil && q.Fields != nil }
