package graphql

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/jetonhq/jeton"
)

// fieldRules are the permission table and the schema, as documents are held
// against them.
type fieldRules struct {
	roots map[string]*typeRule // :: query, mutation or subscription
	types map[string]*typeRule // nil without a schema

	// What __schema, __type and service need. A nil list: they are refused.
	meta map[string][]string // :: name -> scopes
}

// A typeRule is a type of the schema. Without a schema there are root types
// only, and they have the fields that the table names.
type typeRule struct {
	name    string
	strict  bool // other fields than these do not exist
	leaf    bool // it has no fields
	fields  map[string]*fieldRule
	other   *fieldRule      // what holds for fields that are not in the table; nil: they are refused
	objects map[string]bool // what an object in this place may be; nil without a schema
}

// A fieldRule is what a field needs: all of the scopes.
type fieldRule struct {
	of    *typeRule // nil: unknown
	needs []string
	open  bool // false: nothing names it, and it is refused
}

// service is the root field by which a subgraph of a federation says its schema.
// It is a field like others for those that may ask for introspection.
const service = "_service"

// The root types by their names in the table.
var rootKinds = map[string]string{"Query": "query", "Mutation": "mutation", "Subscription": "subscription"}

func newRules(p *Policy) (*fieldRules, error) {
	table, err := readFields(p.Fields)
	if err != nil {
		return nil, err
	}
	r := &fieldRules{meta: map[string][]string{}}
	for _, name := range []string{"__schema", "__type", service} {
		if scope := table["Query"][name]; scope != "" {
			r.meta[name] = needs(nil, scope)
		} else if p.Introspection {
			r.meta[name] = []string{}
		}
	}
	if p.Schema == "" {
		return r, r.byName(table, p.Fields == nil)
	}
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "schema", Input: p.Schema})
	if err != nil {
		return nil, fmt.Errorf("the schema: %w", err)
	}
	return r, r.bySchema(schema, table, p.Fields == nil)
}

// readFields takes the names of a permission table apart.
func readFields(fields map[string]string) (map[string]map[string]string, error) {
	table := map[string]map[string]string{}
	for name, scope := range fields {
		typ, field, ok := strings.Cut(name, ".")
		if !ok || !isName(typ) || field != "*" && !isName(field) {
			return nil, fmt.Errorf("fields: %.64q is not like Query.users", name)
		}
		if scope == "" || !jeton.ValidScope(scope) || strings.Contains(scope, " ") {
			return nil, fmt.Errorf("fields: %s: %.64q is not a scope", name, scope)
		}
		if table[typ] == nil {
			table[typ] = map[string]string{}
		}
		table[typ][field] = scope
	}
	return table, nil
}

func isName(s string) bool {
	for i := range len(s) {
		if !nameStart(s[i]) && (i == 0 || !digit(s[i])) {
			return false
		}
	}
	return s != ""
}

// needs adds a scope of the table to those that are needed.
func needs(list []string, scope string) []string {
	if list == nil {
		list = []string{}
	}
	if scope == "" || scope == TokenSuffices || slices.Contains(list, scope) {
		return list
	}
	return append(list, scope)
}

// byName makes rules without a schema.
func (r *fieldRules) byName(table map[string]map[string]string, open bool) error {
	r.roots = map[string]*typeRule{}
	for name, kind := range rootKinds {
		t := &typeRule{name: name, fields: map[string]*fieldRule{}}
		if scope := table[name]["*"]; scope != "" || open {
			t.other = &fieldRule{needs: needs(nil, scope), open: true}
		}
		for field, scope := range table[name] {
			t.fields[field] = &fieldRule{needs: needs(nil, scope), open: true}
		}
		r.roots[kind] = t
		delete(table, name)
	}
	for name := range table {
		return fmt.Errorf("fields: type %s: without a schema only Query, Mutation and Subscription have permissions", name)
	}
	return nil
}

// bySchema makes rules with one.
func (r *fieldRules) bySchema(schema *ast.Schema, table map[string]map[string]string, open bool) error {
	roots := map[string]*ast.Definition{"Query": schema.Query, "Mutation": schema.Mutation, "Subscription": schema.Subscription}
	if q := schema.Query; q == nil || q == schema.Mutation || q == schema.Subscription || schema.Mutation != nil && schema.Mutation == schema.Subscription {
		return errors.New("the schema: queries, mutations and subscriptions need types of their own")
	}
	for name, def := range roots {
		if def == nil || def.Name == name {
			continue
		}
		if schema.Types[name] != nil || table[def.Name] != nil {
			return fmt.Errorf("fields: the schema calls the root type %s %s; in the table it is %s and no other type may be", name, def.Name, name)
		}
		table[def.Name] = table[name]
		delete(table, name)
	}
	if err := fits(schema, table); err != nil {
		return err
	}
	r.types = make(map[string]*typeRule, len(schema.Types))
	for name, def := range schema.Types {
		t := &typeRule{name: name, strict: true, leaf: !def.IsCompositeType(), objects: map[string]bool{}}
		for _, object := range schema.GetPossibleTypes(def) {
			t.objects[object.Name] = true
		}
		r.types[name] = t
	}
	for name, def := range schema.Types {
		r.types[name].fields = make(map[string]*fieldRule, len(def.Fields))
		for _, f := range def.Fields {
			scopes, _ := scopesOf(schema, table, def, f.Name)
			r.types[name].fields[f.Name] = &fieldRule{of: r.types[f.Type.Name()], needs: scopes, open: open || !ofRoot(schema, table, def, f.Name)}
		}
	}
	r.roots = map[string]*typeRule{}
	for name, def := range roots {
		if def != nil {
			r.roots[rootKinds[name]] = r.types[def.Name]
		}
	}
	return nil
}

// ofRoot reports whether a field of a type may be one of a root type that nothing
// names.
func ofRoot(schema *ast.Schema, table map[string]map[string]string, def *ast.Definition, field string) bool {
	for _, object := range schema.GetPossibleTypes(def) {
		if object != schema.Query && object != schema.Mutation && object != schema.Subscription {
			continue
		}
		if _, named := scopesOf(schema, table, object, field); !named {
			return true
		}
	}
	return false
}

// fits demands that the table speaks of fields that there are.
func fits(schema *ast.Schema, table map[string]map[string]string) error {
	for _, typ := range slices.Sorted(maps.Keys(table)) {
		def := schema.Types[typ]
		if def == nil || def.Kind != ast.Object && def.Kind != ast.Interface {
			return fmt.Errorf("fields: the schema has no object or interface type %s", typ)
		}
		for field := range table[typ] {
			if field != "*" && def.Fields.ForName(field) == nil {
				return fmt.Errorf("fields: the schema has no field %s.%s", typ, field)
			}
		}
	}
	return nil
}

// scopesOf returns all scopes that a field needs, and whether the table names
// it. What an interface demands holds for its objects; and the answer to an
// interface's field comes from one of its objects, so what any of them demands
// is needed.
func scopesOf(schema *ast.Schema, table map[string]map[string]string, def *ast.Definition, field string) (scopes []string, named bool) {
	scopes = []string{}
	row := func(def *ast.Definition) {
		if def == nil || def.Fields.ForName(field) == nil {
			return
		}
		scope := table[def.Name][field]
		if scope == "" {
			scope = table[def.Name]["*"]
		}
		named = named || scope != ""
		scopes = needs(scopes, scope)
	}
	rows := func(def *ast.Definition) {
		row(def)
		for _, name := range def.Interfaces {
			row(schema.Types[name])
		}
	}
	rows(def)
	if def.IsAbstractType() {
		for _, object := range schema.GetPossibleTypes(def) {
			rows(object)
		}
	}
	return scopes, named
}
