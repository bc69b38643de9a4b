package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/jetonhq/jeton"
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

func (t *tree) holes() []string {
	if t == nil {
		return nil
	}
	names := t.value.holes()
	for _, kid := range t.kids {
		for _, name := range kid.holes() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// numeric reports whether the text is one hole that RFC 6749 writes as a
// number.
func (t *tree) numeric() bool {
	return t.kind == treeText && !t.quoted && len(t.value) == 1 && t.value[0].hole == "expires_in"
}

// fill appends the document as JSON, keys in the order of the file. A field
// whose hole has no value is left out if optional says so, else an error.
func (t *tree) fill(b []byte, vars jeton.Vars, optional func(hole string) bool) ([]byte, error) {
	switch t.kind {
	case treeLiteral:
		return append(b, t.raw...), nil
	case treeText:
		s, err := t.value.fill(vars)
		if err != nil {
			return nil, err
		}
		if t.numeric() {
			if _, err := strconv.ParseInt(s, 10, 64); err == nil {
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
		if missing, ok := errors.AsType[missingError](err); ok && kid.kind == treeText && optional(missing.hole) {
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
func (t *tree) read(doc any, path string, how reading, into jeton.Vars, fits *int) error {
	switch t.kind {
	case treeObject:
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
		if !ok || len(list) < len(t.kids) {
			return &fieldError{name(path), fmt.Sprintf("is to be a list of at least %d", len(t.kids)), false}
		}
		for i, kid := range t.kids {
			if err := kid.read(list[i], fmt.Sprintf("%s[%d]", path, i), how, into, fits); err != nil {
				return err
			}
		}
		return nil
	}
	return t.readScalar(doc, path, how, into, fits)
}

func (t *tree) readScalar(doc any, path string, how reading, into jeton.Vars, fits *int) error {
	if t.kind == treeLiteral {
		b, _ := json.Marshal(doc)
		if how.literals && string(b) != t.raw {
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
		if how.literals && !t.numeric() || t.value.has("access_token") {
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
	holes := t.holes()
	if t.kind == treeLiteral && t.raw == "null" {
		return nil
	}
	if !how.literals && len(holes) == 0 {
		return nil
	}
	if len(holes) > 0 && !slices.ContainsFunc(holes, func(h string) bool { return !how.optional(h) }) {
		return nil
	}
	return &fieldError{field, "is missing", false}
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
