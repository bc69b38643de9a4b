package graphql_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	executor "github.com/graph-gophers/graphql-go"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard/graphql"
	"github.com/jetonhq/jeton/strictjson"
)

// resolver is the root of an executor that remembers which fields it resolved.
type resolver struct {
	mu       sync.Mutex      // guards resolved: the fields of a query are resolved at once
	resolved map[string]bool // :: name of a root field
}

type leaf struct{ r *resolver }

func (r *resolver) note(name string) *leaf {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resolved[name] = true
	return &leaf{r}
}

func (r *resolver) A() *leaf { return r.note("a") }
func (r *resolver) B() *leaf { return r.note("b") }
func (r *resolver) C() *leaf { return r.note("c") }
func (r *resolver) D() *leaf { return r.note("d") }
func (r *resolver) X() *leaf { return r.note("x") }
func (r *resolver) Y() *leaf { return r.note("y") }
func (l *leaf) A() *leaf     { return l }
func (l *leaf) Z() *int32    { return nil }

const executorSchema = `
schema { query: Query mutation: Mutation }
type Query { a: Leaf b: Leaf c: Leaf d: Leaf }
type Mutation { x: Leaf y: Leaf }
type Leaf { a: Leaf z: Int }
`

// A drawing is a document at random. Every selection has an alias of its own, so
// that it is valid.
type drawing struct {
	t          *rapid.T
	directives bool
	aliases    int
}

func (d *drawing) n(most int, what string) int { return rapid.IntRange(0, most).Draw(d.t, what) }

func (d *drawing) directive() string {
	if !d.directives {
		return ""
	}
	return []string{"", "", " @include(if: true)", " @include(if: false)", " @skip(if: $yes)", " @include(if: $yes) @skip(if: $no)"}[d.n(5, "directive")]
}

func (d *drawing) set(on string, from, depth int) string {
	text := "{"
	for range d.n(2, "more") + 1 {
		kind := d.n(5, "kind")
		switch {
		case kind == 4 && depth < 4:
			text += " ..." + []string{"", " on " + on}[d.n(1, "on")] + d.directive() + " " + d.set(on, from, depth+1)
		case kind == 5 && from < 4:
			text += fmt.Sprintf(" ...%s%d", on, from+d.n(3-from, "fragment")) + d.directive()
		case kind == 3:
			text += " __typename" + d.directive()
		default:
			text += d.field(on, from, depth)
		}
	}
	return text + " }"
}

func (d *drawing) field(on string, from, depth int) string {
	names := map[string][]string{"Query": {"a", "b", "c", "d"}, "Mutation": {"x", "y"}, "Leaf": {"a", "z"}}[on]
	name := names[d.n(len(names)-1, "name")]
	d.aliases++
	text := fmt.Sprintf(" %s%d: %s", names[d.n(len(names)-1, "alias")], d.aliases, name) + d.directive()
	switch {
	case name == "z":
		return text
	case depth > 3:
		return text + " { __typename }"
	}
	return text + " " + d.set("Leaf", from, depth+1)
}

// document returns a document and the name of an operation in it.
func (d *drawing) document() (text, operation string) {
	kinds := []string{"query Q0", "query Q1", "mutation M0", "mutation M1"}
	order := rapid.Permutation(kinds).Draw(d.t, "order")[:d.n(3, "operations")+1]
	var parts []string
	for _, head := range order {
		kind, name, _ := strings.Cut(head, " ")
		on := map[string]string{"query": "Query", "mutation": "Mutation"}[kind]
		vars := ""
		if d.directives {
			vars = "($yes: Boolean = true, $no: Boolean = false)"
		}
		set := d.set(on, 0, 0)
		if d.directives {
			set = "{ __typename @skip(if: $yes) @include(if: $no)" + set[1:] // both are used
		}
		parts = append(parts, kind+" "+name+vars+" "+set)
	}
	_, operation, _ = strings.Cut(order[d.n(len(order)-1, "operation")], " ")
	for _, on := range []string{"Query", "Mutation", "Leaf"} {
		for i := range 4 {
			parts = append(parts, fmt.Sprintf("fragment %s%d on %s %s", on, i, on, d.set(on, i+1, 2)))
		}
	}
	return strings.Join(rapid.Permutation(used(parts)).Draw(d.t, "parts"), []string{" ", "\n", " # comment\r", ","}[d.n(3, "blank")]), operation
}

// used leaves out the fragments that nothing uses, which no executor takes.
func used(parts []string) []string {
	for {
		all := strings.Join(parts, "\n")
		kept := slices.DeleteFunc(slices.Clone(parts), func(part string) bool {
			f := strings.Fields(part)
			return f[0] == "fragment" && !regexp.MustCompile(`\.\.\.`+f[1]+`\b`).MatchString(all)
		})
		if len(kept) == len(parts) {
			return parts
		}
		parts = kept
	}
}

// TestGraphQLRootFieldsAreThoseThatAreResolved: for documents at random, what is
// judged is what a real executor resolves, of the document as it came and as it
// goes on. Where directives may take fields away, it is no less.
func TestGraphQLRootFieldsAreThoseThatAreResolved(t *testing.T) {
	fields := map[string]string{}
	for name := range strings.FieldsSeq("Query.a Query.b Query.c Query.d Mutation.x Mutation.y") {
		fields[name] = name[len(name)-1:]
	}
	for _, schema := range []string{"", executorSchema} {
		s := newShop(t, &graphql.Policy{Schema: schema, Fields: fields, MaxComplexity: 1 << 20, MaxAliases: 1 << 20, MaxRootFields: 1 << 20, MaxDirectives: 1 << 20, MaxDepth: 90, MaxTokens: 1 << 20})
		judged := func(document, operation string) (string, map[string]bool) {
			call, err := s.ReadBody(`{"query":` + quoted(document) + `,"operationName":` + quoted(operation) + `}`)
			if err != nil {
				return err.Error(), nil
			}
			all := map[string]bool{}
			none := dialect.ScopeRule{}
			if lacks, ok := errors.AsType[*jeton.Error](call.Permit(nil, none)); ok {
				for _, scope := range lacks.Scope {
					all[scope] = true
				}
			}
			if err := call.Permit(jeton.Scope{"a", "b", "c", "d", "x", "y"}, none); err != nil {
				return "all scopes do not suffice", nil
			}
			var sent struct{ Query string }
			_ = json.Unmarshal(call.Body(), &sent)
			return sent.Query, all
		}
		root := &resolver{}
		exec := executor.MustParseSchema(executorSchema, root)
		compared := 0
		rapid.Check(t, func(t *rapid.T) {
			draw := &drawing{t: t, directives: rapid.Bool().Draw(t, "directives")}
			document, operation := draw.document()
			goesOn, all := judged(document, operation)
			if all == nil {
				t.Fatalf("%s\n%s", document, goesOn)
			}
			for i, text := range []string{document, goesOn} {
				root.resolved = map[string]bool{}
				if errs := exec.Exec(t.Context(), text, operation, nil).Errors; len(errs) > 0 {
					t.Fatalf("%s\n%v", text, errs)
				}
				compared++
				if draw.directives {
					for name := range root.resolved {
						if !all[name] {
							t.Fatalf("%s\n%s was resolved and not judged", text, name)
						}
					}
				} else if diff := cmp.Diff(slices.Sorted(maps.Keys(root.resolved)), slices.Sorted(maps.Keys(all))); diff != "" {
					t.Fatalf("%d %s\n%s", i, text, diff)
				}
			}
		})
		if compared < 50 {
			t.Errorf("only %d documents were compared", compared)
		}
	}
}

// asGuest walks over what a document asks for in its own way: by the types that
// another parser and validator found. It returns what a guest may not ask for.
func asGuest(schema *ast.Schema, doc *ast.QueryDocument, set ast.SelectionSet) string {
	mayNot := regexp.MustCompile(`^(Query\.(users|search|secrets|__schema|__type)|Mutation\..*|Subscription\..*|User\.(email|friend)|Person\.(email|friend)|Robot\.friend|Secret\..*|Node\.id)$`)
	for _, s := range set {
		within := ast.SelectionSet(nil)
		switch s := s.(type) {
		case *ast.Field:
			if name := s.ObjectDefinition.Name + "." + s.Name; s.Name != "__typename" && mayNot.MatchString(name) {
				return name
			}
			within = s.SelectionSet
		case *ast.InlineFragment:
			within = s.SelectionSet
		case *ast.FragmentSpread:
			within = doc.Fragments.ForName(s.Name).SelectionSet
		}
		if found := asGuest(schema, doc, within); found != "" {
			return found
		}
	}
	return ""
}

// The API sees only what was decided: a body with one reading, of GraphQL's
// members, and a document in which another parser finds nothing that a guest may
// not ask for.
func FuzzGraphQL(f *testing.F) {
	for _, d := range documents {
		f.Add([]byte(`{"query":` + quoted(d.document) + `}`))
		f.Add([]byte(`[{"query":` + quoted(d.document) + `,"operationName":"A","variables":{"a":true}},{"query":"{me{id}}"}]`))
	}
	f.Add([]byte(`{"query":"{ me { id } }","query":"{ secrets { text } }"}`))
	f.Add([]byte(`{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}},"query":"{me{name}}"}`))
	f.Add([]byte(`{"query":"{ node(id: \"\"\"\\n  a\\n \\\"\"\" \"\"\") { __typename } }"}`))
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: shopSchema})
	s := newShop(f, &graphql.Policy{Schema: shopSchema, Fields: shopFields})
	f.Fuzz(func(t *testing.T, body []byte) {
		got, _ := s.post("guest", string(body))
		if !s.asked {
			if got != forbidden && got != refused {
				t.Fatalf("%s though nobody was asked", got)
			}
			return
		}
		sent := s.body
		doc, err := strictjson.Parse([]byte(sent))
		if err != nil {
			t.Fatalf("%q goes on: %v", sent, err)
		}
		items, isBatch := doc.([]any)
		if !isBatch {
			items = []any{doc}
		}
		for _, item := range items {
			judgeAsGuest(t, schema, item.(map[string]any))
		}
		if s.post("guest", sent); !s.asked || s.body != sent {
			t.Fatalf("%q becomes %q", sent, s.body)
		}
	})
}

func judgeAsGuest(t *testing.T, schema *ast.Schema, item map[string]any) {
	for name := range item {
		if !slices.Contains([]string{"query", "operationName", "variables", "extensions"}, name) {
			t.Fatalf("the member %q goes on", name)
		}
	}
	query, _ := item["query"].(string)
	doc, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil || len(doc.Operations) != 1 {
		t.Fatalf("%q goes on: %v", query, err)
	}
	if name, ok := item["operationName"]; ok && name != doc.Operations[0].Name {
		t.Fatalf("%q goes on as %v", query, name)
	}
	if doc, errs := gqlparser.LoadQueryWithRules(schema, query, nil); len(errs) == 0 { // else the API refuses it
		if found := asGuest(schema, doc, doc.Operations[0].SelectionSet); found != "" {
			t.Fatalf("a guest asks for %s: %s", found, query)
		}
	}
	for _, s := range roots(doc, doc.Operations[0].SelectionSet) {
		if !slices.Contains([]string{"me", "node", "__typename"}, s) || doc.Operations[0].Operation != ast.Query && s != "__typename" {
			t.Fatalf("a guest asks for the root field %s: %s", s, query)
		}
	}
}

// roots returns the root fields of a document, valid or not.
func roots(doc *ast.QueryDocument, set ast.SelectionSet) (names []string) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			names = append(names, s.Name)
		case *ast.InlineFragment:
			names = append(names, roots(doc, s.SelectionSet)...)
		case *ast.FragmentSpread:
			names = append(names, roots(doc, doc.Fragments.ForName(s.Name).SelectionSet)...)
		}
	}
	return names
}

// readAsQuery are the names of parameters that some server takes for query.
var readAsQuery = regexp.MustCompile(`(?i)^query(\[.*|\..*)?$`)

// The same for what stands in a URL: one reading of its parameters goes on.
func FuzzGraphQLQuery(f *testing.F) {
	for _, query := range []string{
		"query={me{id}}", "query={users{id}}", "query={me{id}}&query={users{id}}", "query={me{id}}&QUERY={secrets{text}}", "query[]={secrets{text}}&query={me{id}}",
		"query={me{id}}&variables={\"a\":1}&operationName=&extensions={}", "query={me{id}};query={secrets{text}}", "%71uery=%7Bme%7Bid%7D%7D", "query=query+A{me{id}}query+B{users{id}}&operationName=A",
		"query={me{id}}&a=%3B&b=c%26query={secrets{text}}", "extensions={\"persistedQuery\":{\"version\":1,\"sha256Hash\":\"x\"}}", "query=mutation{createUser(name:\"x\"){user{id}}}",
	} {
		f.Add(query)
	}
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: shopSchema})
	s := newShop(f, &graphql.Policy{Schema: shopSchema, Fields: shopFields})
	f.Fuzz(func(t *testing.T, query string) {
		if s.get("guest", query); !s.asked {
			return
		}
		sent, err := url.ParseQuery(s.body)
		if err != nil || strings.Contains(s.body, ";") {
			t.Fatalf("%q goes on: %v", s.body, err)
		}
		item := map[string]any{}
		for name, values := range sent {
			if readAsQuery.MatchString(name) && (name != "query" || len(values) != 1) {
				t.Fatalf("%q goes on", s.body)
			}
			if slices.Contains([]string{"query", "operationName", "variables", "extensions"}, name) {
				item[name] = values[0]
			}
		}
		judgeAsGuest(t, schema, item)
	})
}
