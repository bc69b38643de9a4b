package graphql_test

import (
	"strings"
	"testing"

	"github.com/jetonhq/jeton/guard/graphql"
)

// Who may ask for what: the lowest scope that suffices, "-" if none does, or the
// code of a document that nobody may ask for.
var documents = []struct{ document, least string }{
	// Root fields, whatever they are called in the answer and however they are wrapped.
	{`{ me { id } }`, "guest"},
	{`query { me { id } }`, "guest"},
	{`{ users { id } }`, "agent"},
	{`{ me: users { id } }`, "agent"},
	{`{ users: me { id } }`, "guest"},
	{`{ me { id } users { id } }`, "agent"},
	{`mutation { createUser(name: "x") { user { id } } }`, "admin"},
	{`mutation { me: createUser(name: "x") { user { id } } }`, "admin"},
	{`mutation { drop }`, "-"},
	{`subscription { messages { text } }`, "agent"},
	{`{ secrets { __typename } }`, "-"},
	{`{ me { id } secrets { __typename } }`, "-"},
	{`{ __typename }`, "guest"},
	{`mutation { __typename }`, "guest"},
	{`{ a: __typename b: __typename me { __typename } }`, "guest"},
	{`{ ... { users { id } } }`, "agent"},
	{`{ ... on Query { users { id } } }`, "agent"},
	{`{ ... on Query { ... { ... on Query { me: users { id } } } } }`, "agent"},
	{`{ ...A } fragment A on Query { users { id } }`, "agent"},
	{`{ ...A } fragment A on Query { ...B } fragment B on Query { x: users { id } }`, "agent"},
	{`fragment A on Query { users { id } } { ...A }`, "agent"},
	{`{ me { id } } fragment A on Query { secrets { id } }`, "guest"}, // is not used, and does not go on
	{`{ ...__schema } fragment __schema on Query { users { id } }`, "agent"},
	{`{ ...query } fragment query on Query { users { id } }`, "agent"},
	{`query users { me { id } }`, "guest"},

	// Directives do not make a field go away: what they say follows from variables.
	{`query($a: Boolean!) { me { id } users @include(if: $a) { id } }`, "agent"},
	{`{ me { id } users @skip(if: true) { id } }`, "agent"},
	{`{ me { id } ... @include(if: false) { users { id } } }`, "agent"},
	{`{ me { id } ...A @include(if: false) } fragment A on Query { users { id } }`, "agent"},

	// Fields below the root, by the type that they are of.
	{`{ me { email } }`, "bot"},
	{`{ me { name: email } }`, "bot"},
	{`{ me { ... on User { email } } }`, "bot"},
	{`{ me { ... on Person { email } } }`, "bot"},
	{`{ me { ...A } } fragment A on User { x: email }`, "bot"},
	{`{ node(id: 1) { ... on User { email } } }`, "bot"},
	{`{ node(id: 1) { ... on Person { email } } }`, "bot"}, // may be a User
	{`{ node(id: 1) { ... on Robot { email } } }`, "guest"},
	{`{ node(id: 1) { ... on Robot { model } } }`, "guest"},
	{`{ search { ... on User { email } } }`, "bot"},
	{`{ search { ... on Message { text } } }`, "agent"},
	{`{ search { ... on Secret { text } } }`, "admin"},
	{`{ search { __typename } }`, "agent"},
	{`{ node(id: 1) { id } }`, "admin"}, // may be a Secret
	{`{ node(id: 1) { __typename } }`, "guest"},
	{`{ node(id: 1) { ... on User { id } } }`, "guest"},
	{`{ me { friend { __typename } } }`, "bot"}, // an interface's demand holds for its types
	{`{ node(id: 1) { ... on Robot { friend { __typename } } } }`, "bot"},
	{`{ me { messages { author { messages { author { email } } } } } }`, "bot"},
	{`mutation { createUser(name: "x") { query { me { id } } } }`, "admin"},
	{`mutation { createUser(name: "x") { query { secrets { __typename } } } }`, "-"}, // unnamed there too

	// What does not fit the schema.
	{`{ nothing }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ me { nothing } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ me }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ me { id { id } } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ search { id } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ ... on Nobody { me { id } } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ ... on String { me { id } } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ ... on Mutation { drop } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ me { ... on Robot { model } } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ ...A } fragment A on User { id }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ __typename { id } }`, "GRAPHQL_VALIDATION_FAILED"},

	// Introspection is off.
	{`{ __schema { types { name } } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ me { id } x: __type(name: "User") { name } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ ...A } fragment A on Query { __schema { types { name } } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`mutation { createUser(name: "x") { query { __schema { types { name } } } } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ me { __secret } }`, "GRAPHQL_VALIDATION_FAILED"},

	// Documents that two readers could read in two ways, or nobody can.
	{`{ ...A } fragment A on Query { ...A }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ ...A } fragment A on Query { ...B } fragment B on Query { me { id } ...A }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ ...A }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ ...A } fragment A on Query { me { id } } fragment A on Query { secrets { id } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`{ me { id } } query B { me { id } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`query A { me { id } } query A { secrets { id } }`, "GRAPHQL_VALIDATION_FAILED"},
	{`query A { me { id } } query B { me { id } }`, "OPERATION_RESOLUTION_FAILURE"},
	{`fragment A on Query { me { id } }`, "OPERATION_RESOLUTION_FAILURE"},
	{`{ me { id } `, "GRAPHQL_PARSE_FAILED"},
	{`{ me { } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ }`, "GRAPHQL_PARSE_FAILED"},
	{`me`, "GRAPHQL_PARSE_FAILED"},
	{`{ me { id } } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me() { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: ) { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: 01) { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: 1x) { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: "x) { id } }`, "GRAPHQL_PARSE_FAILED"},
	{"{ me(a: \"x\ny\") { id } }", "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: """x) { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: "\x") { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: "\ud800") { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: "\ud83d\u0041") { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: "\ude00\ud83d") { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: "\u{d800}") { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`{ me(a: "\u{110000}") { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`query($a: Int = $b) { me { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`query($a) { me { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`fragment on on Query { me { id } } { me { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`fragment A($x: Int) on Query { me { id } } { ...A }`, "GRAPHQL_PARSE_FAILED"},
	{`{ ... "on" User { id } }`, "GRAPHQL_PARSE_FAILED"},
	{`type Query { me: Int }`, "GRAPHQL_PARSE_FAILED"},
	{`extend type Query { me: Int } { me { id } }`, "GRAPHQL_PARSE_FAILED"},
	{"{ me { id } }\x00", "GRAPHQL_PARSE_FAILED"},
	{"\ufeff{ me { id } }", "GRAPHQL_PARSE_FAILED"},
	{"{ me\u00a0{ id } }", "GRAPHQL_PARSE_FAILED"},
	{"{ me { id } # \x07\n }", "GRAPHQL_PARSE_FAILED"},

	// Where a line ends decides what is a comment.
	{"{ me { id } #\n users { id } }", "agent"},
	{"{ me { id } #\r users { id } }", "agent"},
	{"{ me { id } #\u2028 users { id }\n }", "guest"},
	{"{ me { id } #\u0085 users { id }\n }", "guest"},
	{`{ node(id: "} users {") { __typename } }`, "guest"},
	{`{ node(id: """ \""" } secrets { """) { __typename } }`, "guest"},
}

func TestGraphQLDocuments(t *testing.T) {
	s := newShop(t, &graphql.Policy{Schema: shopSchema, Fields: shopFields})
	scopes := []string{"guest", "agent", "bot", "admin"}
	for _, tt := range documents {
		may := false
		for _, scope := range scopes {
			may = may || scope == tt.least
			got, code, goesOn := s.query(t, scope, tt.document)
			switch {
			case strings.Contains(tt.least, "_"): // a code
				if got != refused || code != tt.least || s.asked {
					t.Errorf("%s as %s: %s %s, want refused with %s", tt.document, scope, got, code, tt.least)
				}
			case may && (got != through || goesOn == ""):
				t.Errorf("%s as %s: %s %s, want it let through", tt.document, scope, got, code)
			case !may && (got != forbidden || code != "FORBIDDEN" || s.asked):
				t.Errorf("%s as %s: %s %s, want it forbidden", tt.document, scope, got, code)
			}
		}
	}
}
