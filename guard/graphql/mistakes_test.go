package graphql_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/guard/graphql"
)

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// Floods: what a small body can make an API do has a limit, however it is said.
func TestGraphQLFloods(t *testing.T) {
	repeat := func(n int, part string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(strings.ReplaceAll(part, "#", strconv.Itoa(i)))
		}
		return b.String()
	}
	nest := func(n int, open, close string) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	bomb := `{ ...F0 }`
	for i := range 40 {
		bomb += fmt.Sprintf(` fragment F%d on Query { ...F%d ...F%d }`, i, i+1, i+1)
	}
	for name, tt := range map[string]struct{ good, bad string }{
		"aliases":             {`{` + repeat(50, ` a#: a`) + `}`, `{` + repeat(51, ` a#: a`) + `}`},
		"aliases of typename": {`{` + repeat(50, ` a#: __typename`) + `}`, `{` + repeat(51, ` a#: __typename`) + `}`},
		"aliases below":       {`{ x {` + repeat(50, ` a#: a`) + `} }`, `{ x {` + repeat(51, ` a#: a`) + `} }`},
		"aliases in a fragment": {`{ x { ...F } y { ...F } } fragment F on T {` + repeat(25, ` a#: a`) + `}`,
			`{ x { ...F } y { ...F } } fragment F on T {` + repeat(26, ` a#: a`) + `}`},
		"root fields":                 {`{` + repeat(50, ` a#`) + `}`, `{` + repeat(51, ` a#`) + `}`},
		"same root field":             {`{` + repeat(50, ` a`) + `}`, `{` + repeat(51, ` a`) + `}`},
		"root fields wrapped":         {`{ ...F ...F } fragment F on Query {` + repeat(25, ` a#`) + `}`, `{ ...F ...F } fragment F on Query {` + repeat(26, ` a#`) + `}`},
		"depth":                       {`{` + nest(14, `a{`, `}`)[:28] + `a` + nest(14, `a{`, `}`)[28:] + `}`, `{` + nest(15, `a{`, `}`)[:30] + `a` + nest(15, `a{`, `}`)[30:] + `}`},
		"depth by fragments":          {deep(14), deep(15)},
		"inline fragments":            {`{` + strings.Repeat(`... {`, 50) + `a` + strings.Repeat(`}`, 50) + `}`, `{` + strings.Repeat(`... {`, 1000) + `a` + strings.Repeat(`}`, 1000) + `}`},
		"fragments in fragments":      {links(150), links(250)},
		"fields":                      {`{ x {` + repeat(1999, ` a#`) + `} }`, `{ x {` + repeat(2000, ` a#`) + `} }`},
		"a bomb of fragments":         {`{ a }`, bomb + ` fragment F40 on Query { a }`},
		"directives":                  {`{ a` + repeat(50, ` @d`) + `}`, `{ a` + repeat(51, ` @d`) + `}`},
		"directives on the operation": {`query` + repeat(50, ` @d`) + `{ a }`, `query` + repeat(51, ` @d`) + `{ a }`},
		"directives on variables":     {`query($a: Int` + repeat(50, ` @d`) + `) { a }`, `query($a: Int` + repeat(51, ` @d`) + `) { a }`},
		"directives on a fragment":    {`{ ...F } fragment F on T` + repeat(50, ` @d`) + `{ a }`, `{ ...F } fragment F on T` + repeat(51, ` @d`) + `{ a }`},
		"tokens":                      {`{ a(x: [` + strings.Repeat(`1 `, 4991) + `]) }`, `{ a(x: [` + strings.Repeat(`1 `, 4992) + `]) }`},
		"tokens that are not used":    {`{ a }`, `{ a } fragment F on T { a(x: [` + strings.Repeat(`1 `, 5000) + `]) }`},
		"lists":                       {`{ a(x: ` + nest(32, `[`, `]`) + `) }`, `{ a(x: ` + nest(33, `[`, `]`) + `) }`},
		"lists without end":           {`{ a }`, `{ a(x: ` + strings.Repeat(`[`, 4000)},
		"objects":                     {`{ a(x: ` + strings.Repeat(`{a:`, 31) + `1` + strings.Repeat(`}`, 31) + `) }`, `{ a(x: ` + strings.Repeat(`{a:`, 33) + `1` + strings.Repeat(`}`, 33) + `) }`},
		"types":                       {`query($a: ` + strings.Repeat(`[`, 32) + `Int` + strings.Repeat(`]`, 32) + `) { a }`, `query($a: ` + strings.Repeat(`[`, 33) + `Int` + strings.Repeat(`]`, 33) + `) { a }`},
	} {
		s := newShop(t, &graphql.Policy{})
		if got, code, _ := s.query(t, "guest", tt.good); got != through {
			t.Errorf("%s: what is within the limit is refused: %s %s", name, got, code)
		}
		if got, code, _ := s.query(t, "guest", tt.bad); got != refused || s.asked || code != "GRAPHQL_VALIDATION_FAILED" && code != "GRAPHQL_PARSE_FAILED" {
			t.Errorf("%s: what is beyond the limit: %s %s", name, got, code)
		}
	}
	// Limits that are set are the ones that hold.
	s := newShop(t, &graphql.Policy{MaxDepth: 2, MaxComplexity: 4, MaxAliases: 1, MaxRootFields: 2, MaxDirectives: 1, MaxTokens: 20, MaxBatch: 2})
	for document, want := range map[string]outcome{
		`{ a { b } }`: through, `{ a { b { c } } }`: refused, `{ a { b c d } }`: through, `{ a { b c d e } }`: refused, `{ x: a }`: through, `{ x: a y: a }`: refused, `{ a b }`: through,
		`{ a b c }`: refused, `{ a @x }`: through, `{ a @x @y }`: refused, `{ a(x: [1 1 1 1 1 1 1 1 1 1 1]) }`: through, `{ a(x: [1 1 1 1 1 1 1 1 1 1 1 1]) }`: refused,
	} {
		if got, code, _ := s.query(t, "guest", document); got != want {
			t.Errorf("%s: %s %s, want %s", document, got, code, want)
		}
	}
}

// links is a document with a fragment in a fragment in a fragment.
func links(n int) string {
	b := `{ ...F0 }`
	for i := range n {
		b += fmt.Sprintf(` fragment F%d on T { ...F%d }`, i, i+1)
	}
	return b + fmt.Sprintf(` fragment F%d on T { a }`, n)
}

// deep is a document with a field in a field in a field, each in a fragment.
func deep(n int) string {
	b := `{ ...F0 }`
	for i := range n {
		b += fmt.Sprintf(` fragment F%d on T { a { ...F%d } }`, i, i+1)
	}
	return b + fmt.Sprintf(` fragment F%d on T { a }`, n)
}

// A batch gains nothing: it has the limits of one document, and one forbidden
// item keeps all from being executed.
func TestGraphQLBatches(t *testing.T) {
	s := newShop(t, &graphql.Policy{Schema: shopSchema, Fields: shopFields})
	batch := func(documents ...string) string {
		var items []string
		for _, d := range documents {
			items = append(items, `{"query":`+quoted(d)+`}`)
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	codes := func(body string) (list []string) {
		t.Helper()
		call, err := s.ReadBody(body)
		if err == nil {
			err = call.Permit(jeton.Scope{"guest"}, cascade)
		}
		batch, ok := errors.AsType[graphql.BatchError](err)
		if !ok || errors.Is(err, jeton.InsufficientScope) != strings.Contains(body, "users") || err.Error() == "" {
			t.Errorf("%s: %v", body, err)
		}
		for _, err := range batch {
			code := ""
			if err != nil {
				_, code = outcomeOf(err)
			}
			list = append(list, code)
		}
		return list
	}
	const me, users = `{ me { id } }`, `{ users { id } }`
	if got, code := s.post("guest", batch(me, me, me)); got != through {
		t.Error(got, code)
	}
	half := `{ me {` + strings.Repeat(` x:id `, 30) + `} }`
	for _, tt := range []struct {
		body  string
		codes []string
	}{
		{batch(me, users, me), []string{"", "FORBIDDEN", ""}},
		{batch(me, `{ me`), []string{"", "GRAPHQL_PARSE_FAILED"}},
		{batch(`{ x }`, me), []string{"GRAPHQL_VALIDATION_FAILED", ""}},
		{batch(half, half), []string{"GRAPHQL_VALIDATION_FAILED", "GRAPHQL_VALIDATION_FAILED"}},
	} {
		if diff := cmp.Diff(tt.codes, codes(tt.body)); diff != "" {
			t.Errorf("%s: %s", tt.body, diff)
		}
	}
	for _, body := range []string{
		`[]`, batch(me, me, me, me, me, me, me, me, me, me, me), `[[{"query":"{ me { id } }"}]]`, `[null]`, `["{ me { id } }"]`,
		`[{"query":"{ me { id } }"},]`, `[{"query":"{ me { id } }"}`, `[{"query":"{ me { id } }"}]]`, `[{"query":"{ me { id } }"},"{ secrets { text } }"]`,
	} {
		if got, code := s.post("guest", body); got != refused || s.asked {
			t.Errorf("%s: %s %s", body, got, code)
		}
	}
}

// The operation that is executed is the one that was judged.
func TestGraphQLOperationName(t *testing.T) {
	s := newShop(t, &graphql.Policy{Schema: shopSchema, Fields: shopFields})
	const two = `query A { me { id } } query B { users { id } } mutation C { createUser(name: "x") { user { id } } }`
	cases := []struct {
		document, name string
		want           outcome
		goesOn         string
	}{
		{two, `"A"`, through, `query A{me{id}}`},
		{two, `"B"`, forbidden, ``},
		{two, `"C"`, forbidden, ``},
		{two, `"D"`, refused, ``},
		{two, `"a"`, refused, ``},
		{two, `""`, refused, ``},
		{two, `null`, refused, ``},
		{two, `["A"]`, refused, ``},
		{two, `0`, refused, ``},
		{two, `"A "`, refused, ``},
		{two, `"\u0041"`, refused, ``},
		{`query A { me { id } }`, `"B"`, refused, ``},
		{`{ me { id } }`, `"A"`, refused, ``},
	}
	for _, tt := range append(cases, cases...) { // the second time they are known
		got, code, goesOn := s.query(t, "guest", tt.document, `"operationName":`+tt.name)
		if got != tt.want || goesOn != tt.goesOn {
			t.Errorf("operationName %s: %s %s %s, want %s", tt.name, got, code, goesOn, tt.want)
		}
	}
}

// Two readers of a body could disagree about these, so nobody reads on.
func TestGraphQLAmbiguousBodies(t *testing.T) {
	s := newShop(t, &graphql.Policy{Schema: shopSchema, Fields: shopFields})
	const me = `"query":"{ me { id } }"`
	for _, body := range []string{
		`{` + me + `,"query":"{ secrets { text } }"}`,
		`{` + me + `,"\u0071uery":"{ secrets { text } }"}`,
		`{` + me + `,"Query":"{ secrets { text } }"}`,
		`{"QUERY":"{ me { id } }"}`,
		`{` + me + `,"operationName":null,"operationName":"A"}`,
		`{` + me + `,"operationname":"A"}`,
		`{` + me + `,"variables":{"a":1,"a":2}}`,
		`{` + me + `,"variables":{"a":{"x":1,"\u0078":2}}}`,
		`{` + me + `,"variables":{"1":1,"2":1,"3":1,"4":1,"5":1,"6":1,"7":1,"8":1,"9":1,"10":1,"9":1}}`,
		`{` + me + `,"variables":"{}"}`,
		`{` + me + `,"variables":[]}`,
		`{` + me + `,"variables":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40) + `}`,
		`{` + me + `,"other":{"a":1,"a":2}}`,
		`{` + me + `} {` + me + `}`,
		`{` + me + `}x`,
		`{` + me + `,}`,
		`{` + me + ` "variables":{}}`,
		`{` + me + `,"variables":{a:1}}`,
		`{` + me + `,"variables":{"a":01}}`,
		`{` + me + `,"variables":{"a":.5}}`,
		`{` + me + `,"variables":{"a":+1}}`,
		`{` + me + `,"variables":{"a":NaN}}`,
		`{` + me + `,"variables":{"a":'x'}}`,
		"{" + me + ",\"variables\":{\"a\":\"x\ny\"}}",
		`{` + me + `,"variables":{"a":"\x41"}}`,
		`{` + me + `,"variables":nul}`,
		`{` + me + `,"variables":{"a":truex}}`,
		`{"query":{"kind":"Document"}}`,
		`{"query":["{ me { id } }"]}`,
		`{"query":null}`, `{"query":""}`, `{}`, `null`, `"{ me { id } }"`, `{ me { id } }`, ``, ` `, `{"query":"{ me { id } }`,
		`{"query":"{ me { id } }\"}`,
		`{"query":"{ me { id } }\ud800"}`,
		"{\"query\":\"{ me\n{ id } }\"}",
		"{\"query\":\"{ me { id } }\x80\"}",
		"{" + me + ",\"variables\":{\"a\":\"\xff\"}}",
		"\xef\xbb\xbf{" + me + "}",
		"\xff\xfe{\x00}\x00",
	} {
		if got, code := s.post("guest", body); got != refused || s.asked || strings.HasPrefix(code, "??") {
			t.Errorf("%.80q: %s %s", body, got, code)
		}
	}
}
