// Package graphql judges GraphQL documents: it reads what a call says, works out
// which fields it asks for, holds them against a permission table, and writes
// anew what goes on, so that whoever reads it next finds the fields that were
// judged.
//
// It executes nothing, and knows scopes but neither tokens nor HTTP: those are
// package guard's.
package graphql

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// TokenSuffices is the permission of a field that any good token may ask for.
const TokenSuffices = "token"

// A Policy says what documents may ask for. Its fields are not changed once it
// is in use; it is then safe for concurrent use, and not to be copied. The zero
// value lets every good token ask for every field but those of introspection,
// within the limits.
//
// A call is judged by the document in it: every root field that the chosen
// operation asks for, and with a schema every field below, however it is aliased
// or wrapped in fragments, and whatever @skip and @include say. What then goes
// on is written anew from what was read: the chosen operation and the fragments
// that it uses, and nothing else of the document.
type Policy struct {
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
	// Nil: there is no table, and a good token suffices.
	Fields map[string]string // :: type.field -> scope

	// Introspection lets __schema and __type through, and _service of a federation.
	// False: they are refused, unless Fields names "Query.__schema" and so on.
	Introspection bool

	// Persisted are documents that a call may name by their hash alone, in
	// Apollo's extension persistedQuery. What callers register there (a document
	// with its hash) is known from then on too, as long as there is room.
	Persisted map[string]string // :: SHA-256 in hexadecimal -> document

	// What a call may ask for at most. Zero: the default. A batch as a whole
	// has the limits of one document, except for MaxDepth.
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

// limits are the Max fields of a Policy with the defaults in.
type limits struct{ tokens, depth, complexity, aliases, roots, directives, batch int }

// Check reports what is wrong with the settings. Calls are not read with wrong
// ones.
func (p *Policy) Check() error {
	p.once.Do(func() {
		if p.err = p.check(); p.err != nil {
			p.err = fmt.Errorf("graphql: %w", p.err)
		}
	})
	return p.err
}

func (p *Policy) check() (err error) {
	p.max = limits{
		tokens:     cmp.Or(p.MaxTokens, 5000),
		depth:      cmp.Or(p.MaxDepth, 15),
		complexity: cmp.Or(p.MaxComplexity, 2000),
		aliases:    cmp.Or(p.MaxAliases, 50),
		roots:      cmp.Or(p.MaxRootFields, 50),
		directives: cmp.Or(p.MaxDirectives, 50),
		batch:      cmp.Or(p.MaxBatch, 10),
	}
	m := p.max
	switch {
	case min(m.tokens, m.depth, m.complexity, m.aliases, m.roots, m.directives, m.batch) < 0:
		return errors.New("a limit is negative")
	case m.depth > maxSets:
		return fmt.Errorf("the depth may be %d at most", maxSets)
	}
	if p.rules, err = newRules(p); err != nil {
		return err
	}
	for hash, source := range p.Persisted {
		if _, err := parseDocument(source, m.tokens); err != nil {
			return fmt.Errorf("the persisted document %.64q: %w", hash, err)
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
func (p *Policy) Rows() []FieldRule {
	var rows []FieldRule
	for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
		rows = append(rows, FieldRule{name, p.Fields[name]})
	}
	return rows
}
