package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jetonhq/jeton/strictjson"
	"github.com/jetonhq/jeton/yamlnode"
)

// A tree is a JSON document with holes.
type tree struct {
	kind   treeKind
	keys   []string // of an object, in the order of the file
	kids   []*tree  // of an object or a list
	value  value    // of a text
	quoted bool     // the text was quoted in the file: its hole is a JSON string, whatever its name
	raw    string   // of a typed literal: its JSON
}

type treeKind int

const (
	treeText treeKind = iota
	treeObject
	treeList
	treeLiteral // a number, true, false or null
)

func compileTree(n yamlnode.Node) (*tree, error) {
	switch n.Kind {
	case yamlnode.Map:
		t := &tree{kind: treeObject}
		for _, p := range n.Pairs {
			kid, err := compileTree(p.Value)
			if err != nil {
				return nil, err
			}
			t.keys, t.kids = append(t.keys, p.Key.Text), append(t.kids, kid)
		}
		return t, nil
	case yamlnode.List:
		t := &tree{kind: treeList}
		for _, item := range n.Items {
			kid, err := compileTree(item)
			if err != nil {
				return nil, err
			}
			t.kids = append(t.kids, kid)
		}
		return t, nil
	case yamlnode.Null:
		return &tree{kind: treeLiteral, raw: "null"}, nil
	case yamlnode.Bool:
		return &tree{kind: treeLiteral, raw: n.Text}, nil
	case yamlnode.Number:
		if json.Valid([]byte(n.Text)) {
			return &tree{kind: treeLiteral, raw: n.Text}, nil
		}
	}
	v, err := compile(n.Text)
	if err != nil {
		return nil, n.Errorf("%v", err)
	}
	return &tree{value: v, quoted: n.Quoted}, nil
}

func (t *tree) holes() []string { return bindsOf(t.each) }

// field returns what an object has under a key.
func (t *tree) field(key string) (*tree, bool) {
	i := slices.Index(t.keys, key)
	if i < 0 {
		return nil, false
	}
	return t.kids[i], true
}

// each calls f for every part of every value.
func (t *tree) each(f func(p *part, digested bool)) {
	if t == nil {
		return
	}
	t.value.each(f)
	for _, kid := range t.kids {
		kid.each(f)
	}
}

// object fills a document that is an object. What is absent is left out.
func (t *tree) object(e *env) (map[string]any, error) {
	b, err := t.fill(nil, e, e.optional)
	if err != nil {
		return nil, err
	}
	doc, err := strictjson.Parse(b)
	if err != nil {
		return nil, err
	}
	object, _ := doc.(map[string]any)
	return object, nil
}

// numeric reports whether the text is one hole, or one call, that stands in JSON
// as a number.
func (t *tree) numeric() bool {
	if t.kind != treeText || t.quoted || len(t.value) != 1 {
		return false
	}
	p := t.value[0]
	return numericHoles[p.hole] || p.fn != nil && p.fn.number
}

var numericHoles = map[string]bool{"expires_in": true, "refresh_expires_in": true}

// fill appends the document as JSON, keys in the order of the file. A field
// whose hole has no value is left out if optional says so, else an error.
func (t *tree) fill(b []byte, vars *env, optional func(hole string) bool) ([]byte, error) {
	switch t.kind {
	case treeLiteral:
		return append(b, t.raw...), nil
	case treeText:
		s, err := t.value.fill(vars)
		if err != nil {
			return nil, err
		}
		if t.numeric() {
			if json.Valid([]byte(s)) {
				return append(b, s...), nil
			}
		}
		return appendJSONString(b, s)
	}
	open, end := byte('{'), byte('}')
	if t.kind == treeList {
		open, end = '[', ']'
	}
	b = append(b, open)
	first := true
	for i, kid := range t.kids {
		start := len(b)
		if !first {
			b = append(b, ',')
		}
		var err error
		if t.kind == treeObject {
			if b, err = appendJSONString(b, t.keys[i]); err != nil {
				return nil, err
			}
			b = append(b, ':')
		}
		next, err := kid.fill(b, vars, optional)
		if _, missing := errors.AsType[missingError](err); missing && kid.leftOut(optional) && kid.value.unset(vars) {
			b = b[:start]
			continue
		}
		if err != nil {
			return nil, err
		}
		b, first = next, false
	}
	return append(b, end), nil
}

func appendJSONString(b []byte, s string) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return buf.Bytes()[:buf.Len()-1], nil
}

// A reading says how a tree reads a document.
type reading struct {
	literals bool                   // literals must match; a client does not look at the server's
	optional func(hole string) bool // the field may be absent
	words    bool                   // of a token: a list of one text is that text
	text     bool                   // of XML: everything is text
}

// A fieldError says which field of a message is not as the template has it.
type fieldError struct {
	field   string
	problem string // "is missing", "is to be text" ...
	literal bool   // the field is there and its fixed text differs
}

func (e *fieldError) Error() string { return e.field + " " + e.problem }

// read binds the holes from a document as strictjson.Parse returns it. It counts
// the fields that fit, also if it then fails.
func (t *tree) read(doc any, path string, how reading, into *bound, fits *int) error {
	switch t.kind {
	case treeObject:
		if how.text {
			doc = asElement(doc)
		}
		object, ok := doc.(map[string]any)
		if !ok {
			return &fieldError{name(path), "is to be a JSON object", false}
		}
		var wrong error
		for i, key := range t.keys {
			field := join(path, key)
			inner, ok := object[key]
			if !ok || inner == nil || inner == "" {
				if err := t.kids[i].absent(field, how); err != nil && wrong == nil {
					wrong = err
				}
				continue
			}
			if err := t.kids[i].read(inner, field, how, into, fits); err != nil && wrong == nil {
				wrong = err
			}
		}
		return wrong
	case treeList:
		list, ok := doc.([]any)
		if how.text && !ok {
			list, ok = []any{doc}, true // an element that is repeated once
		}
		kids := t.kids
		if ok && len(list) < len(kids) {
			kids = slices.DeleteFunc(slices.Clone(kids), func(kid *tree) bool { return kid.leftOut(how.optional) })
		}
		if !ok || len(list) < len(kids) {
			return &fieldError{name(path), fmt.Sprintf("is to be a list of at least %d", len(kids)), false}
		}
		for i, kid := range kids {
			if err := kid.read(list[i], fmt.Sprintf("%s[%d]", path, i), how, into, fits); err != nil {
				return err
			}
		}
		return nil
	}
	return t.readScalar(doc, path, how, into, fits)
}

// asElement is an XML element as a template with fields has it: one with nothing
// but text may have attributes that are left out.
func asElement(doc any) any {
	if text, ok := doc.(string); ok {
		return map[string]any{"#text": text}
	}
	return doc
}

func (t *tree) readScalar(doc any, path string, how reading, into *bound, fits *int) error {
	if list, ok := doc.([]any); ok && how.words && len(list) == 1 {
		doc = list[0]
	}
	if t.kind == treeLiteral {
		b, _ := json.Marshal(doc)
		if how.literals && string(b) != t.raw && !(how.text && doc == t.raw) {
			return &fieldError{name(path), "is to be " + t.raw, true}
		}
		*fits++
		return nil
	}
	if fixed, ok := t.value.literal(); ok {
		if how.literals && doc != fixed {
			return &fieldError{name(path), "is to be " + strconv.Quote(fixed), true}
		}
		*fits++
		return nil
	}
	var s string
	switch doc := doc.(type) {
	case string:
		s = doc
	case json.Number:
		if how.literals && !t.numeric() && !how.words || t.value.has("access_token") {
			return &fieldError{name(path), "is to be text", false}
		}
		s = doc.String()
	default:
		return &fieldError{name(path), "is to be text", false}
	}
	if !t.value.read(s, into) {
		return &fieldError{name(path), "does not have the documented form", false}
	}
	*fits++
	return nil
}

// absent returns an error if the field may not be left out.
func (t *tree) absent(field string, how reading) error {
	if t.mayBeAbsent(how) {
		return nil
	}
	return &fieldError{field, "is missing", false}
}

// mayBeAbsent reports whether a document is as good without the field: nothing
// has to be in it. Of an answer nobody looks at what is fixed.
func (t *tree) mayBeAbsent(how reading) bool {
	fixed, literal := t.value.literal()
	switch {
	case t.kind == treeLiteral:
		return t.raw == "null" || !how.literals
	case t.kind == treeText && literal:
		return fixed == "" || !how.literals
	case t.kind == treeText:
		return t.leftOut(how.optional)
	}
	return (len(t.kids) > 0 || !how.literals) && !slices.ContainsFunc(t.kids, func(kid *tree) bool { return !kid.mayBeAbsent(how) })
}

// leftOut reports whether whoever writes the document leaves the text out when
// its holes have no values.
func (t *tree) leftOut(optional func(hole string) bool) bool {
	return t.kind == treeText && t.value.leftOut(optional)
}

func name(path string) string {
	if path == "" {
		return "the body"
	}
	return path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
