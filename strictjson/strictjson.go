// Package strictjson reads one JSON document in the one way in which no two
// readers can disagree about it. encoding/json takes the last of two equal
// keys, another reader the first; where a decision follows from a document,
// such a document is refused.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
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
		return nil, errors.New("not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	doc, err := parse(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return doc, nil
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
		if folded[strings.ToLower(key)] {
			return nil, errors.New("two keys differ only in case")
		}
		folded[strings.ToLower(key)] = true
	}
	return object, nil
}

func parse(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errors.New("nested too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return nil, errors.New("not JSON")
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, errors.New("not JSON")
			}
			k, _ := key.(string)
			if _, twice := object[k]; twice {
				return nil, errors.New("a key stands twice")
			}
			if object[k], err = parse(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			item, err := parse(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, item)
		}
		_, err := d.Token()
		return list, err
	}
	return token, nil
}
