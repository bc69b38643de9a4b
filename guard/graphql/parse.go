package graphql

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// How deep a document may nest whatever the limits say: no recursion, here or
// behind the guard, goes deeper.
const (
	maxSets   = 100 // selection sets
	maxValues = 32  // lists and objects in an argument, lists in a type
)

// A document is an executable GraphQL document (GraphQL, October 2021, section
// 2): what there is to judge of it, and its text written anew.
//
// The text is made of the tokens that were read, with one way to write each of
// them: no comments, no more blanks than are needed, strings in quotes and none
// in blocks. However another parser treats the odd corners of what the client
// wrote, it never sees them.
type document struct {
	selections []selection
	defs       []definition
	text       []byte
	tokens     int
}

// A definition is an operation or a fragment.
type definition struct {
	kind       string // query, mutation, subscription or fragment
	name       string
	on         string // the type of a fragment
	directives int
	selections [2]int // its selection set is selections[from:to] of the document
	text       [2]int // its own text is text[from:to] of the document
}

// A selection is a field, or a fragment in the place of fields. Those within it
// come right after it, up to end, where the next beside it begins.
type selection struct {
	kind       selectionKind
	name       string // of a field or a fragment; of an inline fragment the type, or nothing
	alias      bool   // a field that has another name in the answer
	directives int
	end        int
}

type selectionKind byte

const (
	aField selectionKind = iota
	aSpread
	anInline
)

// parseDocument reads a document of at most so many tokens.
func parseDocument(src string, maxTokens int) (*document, error) {
	p := &parser{src: src, tokens: maxTokens, doc: &document{text: make([]byte, 0, len(src)), selections: make([]selection, 0, len(src)/12+4)}}
	if !utf8.ValidString(src) || hasControl(src) {
		return nil, p.fail("the document has characters that no document has")
	}
	p.next()
	for p.err == nil && (p.kind != lexEnd || len(p.doc.defs) == 0) {
		p.definition()
	}
	if p.err != nil {
		return nil, p.err
	}
	p.doc.tokens = maxTokens - p.tokens
	return p.doc, nil
}

// A parser reads tokens and appends each that it takes to the document's text.
type parser struct {
	src    string
	at     int // in src, behind the token
	tokens int // how many more there may be
	doc    *document
	err    error // the first; then only lexEnd follows

	kind lexeme // of the token that comes next
	text string // and how it is written anew

	wordy bool // the token before was one that another could run into
}

type lexeme byte

const (
	lexEnd lexeme = iota
	lexPunctuator
	lexName
	lexNumber
	lexString
)

func (p *parser) fail(message string) error {
	if p.err == nil {
		p.err = &Error{Code: ParseFailed, Message: message}
	}
	p.kind, p.text = lexEnd, ""
	return p.err
}

// unexpected says where, and never what: it may be a password.
func (p *parser) unexpected() {
	before := p.src[:min(p.at, len(p.src))]
	p.fail("syntax error before line " + strconv.Itoa(1+strings.Count(before, "\n")) +
		", column " + strconv.Itoa(1+len(before)-(strings.LastIndexByte(before, '\n')+1)))
}

func (p *parser) definition() {
	shorthand := p.is("{")
	p.description()
	d := definition{kind: "query"}
	d.text[0] = len(p.doc.text)
	switch {
	case shorthand:
	case p.is("query"), p.is("mutation"), p.is("subscription"):
		d.kind = p.take()
		if p.kind == lexName {
			d.name = p.take()
		}
		d.directives = p.variables()
		d.directives += p.directives(false)
	case p.is("fragment"):
		d.kind = p.take()
		if p.is("on") {
			p.unexpected()
		}
		d.name = p.name()
		p.expect("on")
		d.on = p.name()
		d.directives = p.directives(false)
	default:
		p.unexpected()
	}
	d.selections[0] = len(p.doc.selections)
	p.set(1)
	d.selections[1], d.text[1] = len(p.doc.selections), len(p.doc.text)
	p.wordy = false
	p.doc.defs = append(p.doc.defs, d)
}

// description leaves out a description (GraphQL, September 2025, section 2.3).
// Not every server knows them, and none does anything with them.
func (p *parser) description() {
	if p.kind == lexString {
		p.next()
	}
}

// variables returns how many directives they have.
func (p *parser) variables() (directives int) {
	if !p.is("(") {
		return 0
	}
	p.take()
	for first := true; first || !p.is(")") && p.err == nil; first = false {
		p.description()
		p.expect("$")
		p.name()
		p.expect(":")
		p.typeReference(1)
		if p.is("=") {
			p.take()
			p.value(true, 1)
		}
		directives += p.directives(true)
	}
	p.expect(")")
	return directives
}

func (p *parser) typeReference(level int) {
	if p.is("[") && level <= maxValues {
		p.take()
		p.typeReference(level + 1)
		p.expect("]")
	} else {
		p.name()
	}
	if p.is("!") {
		p.take()
	}
}

// set reads a selection set.
func (p *parser) set(level int) {
	if level > maxSets {
		p.fail("the selection sets nest too deeply")
	}
	p.expect("{")
	for first := true; first || !p.is("}") && p.err == nil; first = false {
		p.selection(level)
	}
	p.expect("}")
}

func (p *parser) selection(level int) {
	i := len(p.doc.selections)
	p.doc.selections = append(p.doc.selections, selection{})
	var n selection
	within := true
	if p.is("...") {
		p.take()
		n.kind = anInline
		switch {
		case p.is("on"):
			p.take()
			n.name = p.name()
		case p.kind == lexName:
			n.kind, n.name, within = aSpread, p.take(), false
		}
	} else {
		n.name = p.name()
		if p.is(":") {
			p.take()
			other := p.name()
			n.alias, n.name = other != n.name, other
		}
		p.arguments(false)
	}
	n.directives = p.directives(false)
	if within && (n.kind == anInline || p.is("{")) {
		p.set(level + 1)
	}
	n.end = len(p.doc.selections)
	p.doc.selections[i] = n
}

func (p *parser) directives(constant bool) int {
	n := 0
	for ; p.is("@"); n++ {
		p.take()
		p.name()
		p.arguments(constant)
	}
	return n
}

func (p *parser) arguments(constant bool) {
	if !p.is("(") {
		return
	}
	p.take()
	for first := true; first || !p.is(")") && p.err == nil; first = false {
		p.name()
		p.expect(":")
		p.value(constant, 1)
	}
	p.expect(")")
}

func (p *parser) value(constant bool, level int) {
	switch {
	case level > maxValues:
		p.fail("the values nest too deeply")
	case p.kind == lexName, p.kind == lexNumber, p.kind == lexString:
		p.take()
	case p.is("$") && !constant:
		p.take()
		p.name()
	case p.is("["):
		for p.take(); !p.is("]") && p.err == nil; {
			p.value(constant, level+1)
		}
		p.take()
	case p.is("{"):
		for p.take(); !p.is("}") && p.err == nil; {
			p.name()
			p.expect(":")
			p.value(constant, level+1)
		}
		p.take()
	default:
		p.unexpected()
	}
}

// is reports whether a punctuator or a name comes next.
func (p *parser) is(s string) bool {
	return p.text == s && (p.kind == lexPunctuator || p.kind == lexName)
}

func (p *parser) expect(s string) {
	if !p.is(s) {
		p.unexpected()
	}
	p.take()
}

func (p *parser) name() string {
	if p.kind != lexName {
		p.unexpected()
	}
	return p.take()
}

// take moves the next token into the text.
func (p *parser) take() string {
	taken := p.text
	wordy := p.kind != lexPunctuator
	if wordy && p.wordy {
		p.doc.text = append(p.doc.text, ' ')
	}
	p.doc.text = append(p.doc.text, taken...)
	p.wordy = wordy
	p.next()
	return taken
}
