package main

import (
	"bytes"
	"encoding/json"
)

// A schema is a JSON Schema of draft 7 (json-schema.org/draft-07), the one that
// editors understand best, as far as the files of this program need it. A
// pattern is a regular expression that Go and ECMAScript read alike.
type schema struct {
	Schema      string `json:"$schema,omitempty"`
	ID          string `json:"$id,omitempty"`
	Ref         string `json:"$ref,omitempty"`
	Description string `json:"description,omitempty"`

	Type           any    `json:"type,omitempty"` // a name or a list of names
	Enum           []any  `json:"enum,omitempty"`
	Minimum        *int   `json:"minimum,omitempty"`
	Maximum        *int   `json:"maximum,omitempty"`
	Pattern        string `json:"pattern,omitempty"`
	PatternMessage string `json:"patternErrorMessage,omitempty"` // of editors; other readers of schemas pass it by
	Examples       []any  `json:"examples,omitempty"`

	Items    *schema `json:"items,omitempty"`
	MinItems int     `json:"minItems,omitempty"`

	Properties           keySet              `json:"properties,omitempty"`
	PropertyNames        *schema             `json:"propertyNames,omitempty"`
	AdditionalProperties any                 `json:"additionalProperties,omitempty"` // false or a schema
	Required             []string            `json:"required,omitempty"`
	MinProperties        int                 `json:"minProperties,omitempty"`
	MaxProperties        int                 `json:"maxProperties,omitempty"`
	Dependencies         map[string][]string `json:"dependencies,omitempty"` // :: key -> keys that go with it

	Not   *schema   `json:"not,omitempty"`
	OneOf []*schema `json:"oneOf,omitempty"`
	AnyOf []*schema `json:"anyOf,omitempty"`
	AllOf []*schema `json:"allOf,omitempty"`
	If    *schema   `json:"if,omitempty"`
	Then  *schema   `json:"then,omitempty"`
	Else  *schema   `json:"else,omitempty"`

	Definitions keySet `json:"definitions,omitempty"`
}

// draft7 names the version of the language.
const draft7 = "http://json-schema.org/draft-07/schema#"

// A keySet lists the keys of a mapping in the order in which people write them.
// It is what the parser of the mapping takes and what its schema says.
type keySet []key

// A key of a mapping. Its description is what an editor shows; its type is
// copied before the description is set, so that several keys may share one.
type key struct {
	name     string
	is       *schema
	about    string // empty: what the type says
	required bool
}

// names returns the keys for [yamlnode.Node.Only].
func (s keySet) names() (list []string) {
	for _, k := range s {
		list = append(list, k.name)
	}
	return list
}

// MarshalJSON writes the keys in their order.
func (s keySet) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		is := *k.is
		if k.about != "" {
			is.Description = k.about
		}
		name, err := json.Marshal(k.name)
		if err != nil {
			return nil, err
		}
		value, err := plainJSON(&is)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// plainJSON is json.Marshal with < > & as they are.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// object is a mapping that has no keys but these.
func object(keys keySet) *schema {
	s := &schema{Type: "object", Properties: keys, AdditionalProperties: false}
	for _, k := range keys {
		if k.required {
			s.Required = append(s.Required, k.name)
		}
	}
	return s
}

// mapOf is a mapping with names that somebody chose.
func mapOf(names, values *schema) *schema {
	return &schema{Type: "object", PropertyNames: names, AdditionalProperties: values}
}

// listOf is a list that is not empty.
func listOf(items *schema) *schema { return &schema{Type: "array", Items: items, MinItems: 1} }

// anyOf is one of several shapes.
func anyOf(shapes ...*schema) *schema { return &schema{AnyOf: shapes} }

// text is any text.
func text(examples ...string) *schema {
	return &schema{Type: "string", Examples: anys(examples)}
}

// matching is a text of a form. The message says how to write it.
func matching(pattern, message string, examples ...string) *schema {
	return &schema{Type: "string", Pattern: pattern, PatternMessage: message, Examples: anys(examples)}
}

// choice is one of some words.
func choice(words ...string) *schema { return &schema{Type: "string", Enum: anys(words)} }

// flag is true or false.
func flag() *schema { return &schema{Type: "boolean"} }

// from is a whole number that is not less.
func from(least int) *schema { return &schema{Type: "integer", Minimum: &least} }

// ref is what the definition of a name says.
func ref(name string) *schema { return &schema{Ref: "#/definitions/" + name} }

func anys(words []string) (list []any) {
	for _, w := range words {
		list = append(list, w)
	}
	return list
}
