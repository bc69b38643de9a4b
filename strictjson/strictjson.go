// Package strictjson reads one JSON document in the one way in which no two
// readers can disagree about it. encoding/json takes the last of two equal
// keys, another reader the first; where a decision follows from a document,
// such a document is refused.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a document.
const maxDepth = 32

// Parse reads a document into map[string]any, []any, string, bool, nil and
// [json.Number], which keeps a number as written. It refuses what is not
// UTF-8, a key that stands twice in an object, more than one value, and
// nesting beyond 32 levels. The error shows nothing of the document.
func Parse(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8")
	}
	if !json.Valid(b) {
		return nil, errors.New("not one JSON value")
	}
	r := reader{rest: b}
	return r.value(0)
}

// Object reads a document that is an object, and refuses also keys of it that
// differ only in case: readers that ignore case take them for one.
func Object(b []byte) (map[string]any, error) {
	doc, err := Parse(b)
	if err != nil {
		return nil, err
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	folded := make(map[string]bool, len(object))
	for key := range object {
		folded[fold(key)] = true
	}
	if len(folded) < len(object) {
		return nil, errors.New("two keys differ only in case")
	}
	return object, nil
}

// fold returns the same for all keys that strings.EqualFold takes for equal, as
// readers that ignore case do: the long s and the Kelvin sign are letters too.
func fold(key string) string {
	if !strings.ContainsFunc(key, func(r rune) bool { return 'A' <= r && r <= 'Z' || r >= utf8.RuneSelf }) {
		return key
	}
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return unicode.ToLower(least) // of ASCII the least is the upper case
	}, key)
}

// A reader goes through a document that is known to be JSON, so that it need
// only tell values apart.
type reader struct{ rest []byte }

func (r *reader) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	r.space()
	switch r.rest[0] {
	case '{':
		return r.object(depth)
	case '[':
		return r.list(depth)
	case '"':
		return r.text()
	case 't':
		r.rest = r.rest[len("true"):]
		return true, nil
	case 'f':
		r.rest = r.rest[len("false"):]
		return false, nil
	case 'n':
		r.rest = r.rest[len("null"):]
		return nil, nil
	}
	end := bytes.IndexAny(r.rest, ",]} \t\r\n")
	if end < 0 {
		end = len(r.rest)
	}
	number := json.Number(r.rest[:end])
	r.rest = r.rest[end:]
	return number, nil
}

func (r *reader) object(depth int) (any, error) {
	object := map[string]any{}
	for r.more('}') {
		key, err := r.text()
		if err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, errors.New("a key stands twice")
		}
		r.space() // and the colon
		r.rest = r.rest[1:]
		if object[key], err = r.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return object, nil
}

func (r *reader) list(depth int) (any, error) {
	list := []any{}
	for r.more(']') {
		item, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}

// more passes what opens an object or list, or a comma in it, and reports
// whether a value follows and not the end, which it passes too.
func (r *reader) more(end byte) bool {
	r.space()
	if r.rest[0] != end {
		r.rest = r.rest[1:]
		r.space()
	}
	if r.rest[0] != end {
		return true
	}
	r.rest = r.rest[1:]
	return false
}

// text reads a string. One with an escape in it is left to encoding/json.
func (r *reader) text() (string, error) {
	end, escaped := 1, false
	for ; r.rest[end] != '"'; end++ {
		if r.rest[end] == '\\' {
			escaped = true
			end++
		}
	}
	literal := r.rest[:end+1]
	r.rest = r.rest[end+1:]
	if !escaped {
		return string(literal[1:end]), nil
	}
	var s string
	if err := json.Unmarshal(literal, &s); err != nil {
		return "", errors.New("not JSON")
	}
	return s, nil
}

func (r *reader) space() {
	for len(r.rest) > 0 && (r.rest[0] == ' ' || r.rest[0] == '\t' || r.rest[0] == '\r' || r.rest[0] == '\n') {
		r.rest = r.rest[1:]
	}
}
