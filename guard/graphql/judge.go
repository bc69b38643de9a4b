package graphql

import (
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A judgement is what a document with a chosen operation asks for, and how it
// goes on. It says nothing about who asks, so it is kept for all who do. It does
// not change.
type judgement struct {
	err     *Error // not nil: nobody may ask that, and the rest is zero
	kind    string // query, mutation or subscription
	query   []byte // what goes on, as JSON
	needs   []need // one for each scope, in the order of the document
	unnamed string // a field that no permission is defined for, or nothing
	cost    cost
}

// A need is a scope, and a field that needs it.
type need struct{ scope, field string }

// A cost is what a part of a document adds up to, with its fragments filled in.
// It is capped, so that it never overflows.
type cost struct{ tokens, fields, roots, aliases, directives, depth int }

// add adds what stands beside c.
func (c *cost) add(o cost) {
	const most = 1 << 30
	c.tokens = min(most, c.tokens+o.tokens)
	c.fields = min(most, c.fields+o.fields)
	c.roots = min(most, c.roots+o.roots)
	c.aliases = min(most, c.aliases+o.aliases)
	c.directives = min(most, c.directives+o.directives)
	c.depth = max(c.depth, o.depth)
}

// over says which limit a call goes beyond, or nil.
func (c cost) over(m limits) *Error {
	for _, l := range []struct {
		what    string
		is, may int
	}{
		{"tokens", c.tokens, m.tokens}, {"fields", c.fields, m.complexity}, {"root fields", c.roots, m.roots},
		{"aliases", c.aliases, m.aliases}, {"directives", c.directives, m.directives}, {"levels", c.depth, m.depth},
	} {
		if l.is > l.may {
			return invalid("the call asks for too much: it has too many " + l.what)
		}
	}
	return nil
}

// judge works out what a document asks for.
func (p *Policy) judge(source, operation string) *judgement {
	doc, err := parseDocument(source, p.max.tokens)
	if err != nil {
		return &judgement{err: asError(err)}
	}
	w := &walk{policy: p, doc: doc, out: &judgement{}, fragments: map[string]int{}, seen: make([][2]state, len(doc.defs))}
	chosen, err := w.choose(operation)
	if err == nil {
		err = w.operation(chosen)
	}
	if err != nil {
		return &judgement{err: asError(err)}
	}
	w.out.cost.tokens = doc.tokens
	text := make([]byte, 0, len(doc.text))
	for _, i := range append([]int{chosen}, w.used...) {
		text = append(text, doc.text[doc.defs[i].text[0]:doc.defs[i].text[1]]...)
	}
	w.out.query = appendJSON(make([]byte, 0, len(text)+len(text)/8+2), text)
	return w.out
}

// A walk goes through the chosen operation of a document.
type walk struct {
	policy    *Policy
	doc       *document
	out       *judgement
	fragments map[string]int // :: name -> definition
	seen      [][2]state     // :: definition -> how far it is, below the root and at it
	used      []int          // the fragments, in the order of their first use
}

// A state says whether a fragment has been walked through, and what it costs.
type state struct {
	begun, done bool
	cost        cost
}

// choose finds the operation that will be executed (GraphQL, October 2021,
// section 6.1). A document in which two readers could find another one is
// refused.
func (w *walk) choose(operation string) (int, error) {
	chosen, operations, nameless := -1, map[string]bool{}, false
	for i, d := range w.doc.defs {
		if d.kind == "fragment" {
			if _, twice := w.fragments[d.name]; twice {
				return 0, invalid("two fragments have the same name")
			}
			w.fragments[d.name] = i
			continue
		}
		if operations[d.name] {
			return 0, invalid("two operations have the same name, or none")
		}
		operations[d.name] = true
		nameless = nameless || d.name == ""
		if operation == "" || operation == d.name {
			chosen = i
		}
	}
	switch {
	case nameless && len(operations) > 1:
		return 0, invalid("an operation without a name stands beside others")
	case chosen < 0:
		return 0, &Error{Code: OperationUnresolved, Message: "the document has no such operation"}
	case operation == "" && len(operations) > 1:
		return 0, &Error{Code: OperationUnresolved, Message: "the document has several operations and operationName chooses none"}
	}
	return chosen, nil
}

func (w *walk) operation(i int) error {
	d := w.doc.defs[i]
	w.out.kind = d.kind
	root := w.policy.rules.roots[d.kind]
	if root == nil {
		return invalid("the schema has no " + d.kind)
	}
	w.out.cost.directives = d.directives
	return w.set(d.selections[0], d.selections[1], root, place{atRoot: true}, &w.out.cost)
}

// A place is where a selection set stands.
type place struct {
	atRoot bool // it is the operation's own, or a fragment's in it
	fields int  // how many it is in; within a fragment only those of the fragment count
	sets   int  // how many sets it is in
}

// set walks through a selection set on a type, nil if that is not known, and
// adds what it costs.
func (w *walk) set(from, to int, t *typeRule, at place, sum *cost) error {
	if at.sets++; at.sets > 2*maxSets {
		return invalid("the selection sets nest too deeply")
	}
	for i := from; i < to; {
		n := &w.doc.selections[i]
		sum.directives += n.directives
		var err error
		switch n.kind {
		case aField:
			err = w.field(i, t, at, sum)
		case aSpread:
			err = w.fragment(n.name, t, at, sum)
		case anInline:
			on := t
			if n.name != "" {
				on, err = w.narrow(t, n.name)
			}
			if err == nil {
				err = w.set(i+1, n.end, on, at, sum)
			}
		}
		if err != nil {
			return err
		}
		i = n.end
	}
	return nil
}

// field judges a field and what is within it. Directives do not matter: @skip
// and @include follow from variables, which are another's to read.
func (w *walk) field(i int, t *typeRule, at place, sum *cost) error {
	n := &w.doc.selections[i]
	sum.fields++
	if at.atRoot {
		sum.roots++
	}
	if n.alias {
		sum.aliases++
	}
	at = place{fields: at.fields + 1, sets: at.sets}
	sum.depth = max(sum.depth, at.fields)
	of, err := w.ask(n.name, t)
	if err != nil {
		return err
	}
	leaf := n.end == i+1
	if of != nil && of.leaf != leaf {
		return invalid("the field " + shown(t, n.name) + " has to have a selection of fields if it is an object, and only then")
	}
	if leaf {
		return nil
	}
	return w.set(i+1, n.end, of, at, sum)
}

// scalar is what __typename is.
var scalar = &typeRule{leaf: true}

// ask notes what a field of a type needs, and returns its own type; nil if that
// is not known.
func (w *walk) ask(name string, t *typeRule) (*typeRule, error) {
	if strings.HasPrefix(name, "__") {
		if name == "__typename" {
			return scalar, nil
		}
		scopes := w.policy.rules.meta[name]
		if scopes == nil {
			return nil, invalid("introspection is not allowed")
		}
		w.need(scopes, name)
		return w.policy.rules.types[map[string]string{"__schema": "__Schema", "__type": "__Type"}[name]], nil
	}
	if t == nil {
		return nil, nil
	}
	if name == service && t == w.policy.rules.roots["query"] && w.policy.rules.meta[service] == nil {
		return nil, invalid("introspection is not allowed")
	}
	rule := t.fields[name]
	switch {
	case rule == nil && t.strict:
		return nil, invalid("there is no field " + shown(t, name))
	case rule == nil:
		rule = t.other
	}
	if rule == nil || !rule.open {
		if w.out.unnamed == "" {
			w.out.unnamed = shown(t, name)
		}
		return nil, nil
	}
	w.need(rule.needs, shown(t, name))
	return rule.of, nil
}

func (w *walk) need(scopes []string, field string) {
	for _, scope := range scopes {
		if !slices.ContainsFunc(w.out.needs, func(n need) bool { return n.scope == scope }) {
			w.out.needs = append(w.out.needs, need{scope, field})
		}
	}
}

// narrow returns the type that a fragment is on, where t is expected. Without a
// schema a fragment at the root is on the root type, whatever it says.
func (w *walk) narrow(t *typeRule, on string) (*typeRule, error) {
	if w.policy.rules.types == nil {
		return t, nil
	}
	narrow := w.policy.rules.types[on]
	if narrow == nil || narrow.leaf {
		return nil, invalid("a fragment is on a type that the schema does not have, or that has no fields")
	}
	if t == nil || overlap(t.objects, narrow.objects) {
		return narrow, nil
	}
	return nil, invalid("a fragment is on a type that cannot be where the fragment is")
}

func overlap(a, b map[string]bool) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	for object := range a {
		if b[object] {
			return true
		}
	}
	return false
}

// fragment walks through a fragment, once at the root and once below, and adds
// what it costs wherever it is used.
func (w *walk) fragment(name string, t *typeRule, at place, sum *cost) error {
	i, ok := w.fragments[name]
	if !ok {
		return invalid("the document uses a fragment that it does not have")
	}
	d := w.doc.defs[i]
	on, err := w.narrow(t, d.on)
	if err != nil {
		return err
	}
	if !slices.Contains(w.used, i) {
		w.used = append(w.used, i)
	}
	s := &w.seen[i][0]
	if at.atRoot {
		s = &w.seen[i][1]
	}
	if !s.begun {
		s.begun = true
		s.cost.directives = d.directives
		err = w.set(d.selections[0], d.selections[1], on, place{atRoot: at.atRoot, sets: at.sets}, &s.cost)
		if err != nil {
			return err
		}
		s.done = true
	}
	if !s.done {
		return invalid("a fragment uses itself")
	}
	c := s.cost
	c.depth += at.fields
	sum.add(c)
	return nil
}

// shown is how a field is called in an answer.
func shown(t *typeRule, field string) string {
	name := field
	if t != nil {
		name = t.name + "." + field
	}
	return name[:min(len(name), 100)]
}

// permitted returns an insufficient_scope if a scope does not suffice for what
// was asked.
func (j *judgement) permitted(scope jeton.Scope, rule dialect.ScopeRule) *jeton.Error {
	if j.unnamed != "" {
		return jeton.Refuse(jeton.InsufficientScope, "no permission is defined for the field "+j.unnamed)
	}
	var lacks jeton.Scope
	field := ""
	for _, n := range j.needs {
		if rule.Grants(scope, n.scope) {
			continue
		}
		if lacks == nil {
			field = n.field
		}
		if rule.Grants(lacks, n.scope) {
			continue // what is lacking already includes it
		}
		lacks = append(slices.DeleteFunc(lacks, func(s string) bool { return rule.Grants(jeton.Scope{n.scope}, s) }), n.scope)
	}
	if lacks == nil {
		return nil
	}
	return &jeton.Error{Code: jeton.InsufficientScope, Description: "the access token lacks the permission for the field " + field, Scope: lacks}
}
