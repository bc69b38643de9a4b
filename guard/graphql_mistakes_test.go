package guard_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton/guard"
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
		s := newShop(t, &guard.GraphQL{})
		if status, code, _ := s.query(t, "guest", tt.good); status != 204 {
			t.Errorf("%s: what is within the limit is refused: %d %s", name, status, code)
		}
		if status, code, _ := s.query(t, "guest", tt.bad); status != 400 || s.asked != nil || code != "GRAPHQL_VALIDATION_FAILED" && code != "GRAPHQL_PARSE_FAILED" {
			t.Errorf("%s: what is beyond the limit: %d %s", name, status, code)
		}
	}
	// Limits that are set are the ones that hold.
	s := newShop(t, &guard.GraphQL{MaxDepth: 2, MaxComplexity: 4, MaxAliases: 1, MaxRootFields: 2, MaxDirectives: 1, MaxTokens: 20, MaxBytes: 200, MaxBatch: 2})
	for document, want := range map[string]int{
		`{ a { b } }`: 204, `{ a { b { c } } }`: 400, `{ a { b c d } }`: 204, `{ a { b c d e } }`: 400, `{ x: a }`: 204, `{ x: a y: a }`: 400, `{ a b }`: 204,
		`{ a b c }`: 400, `{ a @x }`: 204, `{ a @x @y }`: 400, `{ a(x: [1 1 1 1 1 1 1 1 1 1 1]) }`: 204, `{ a(x: [1 1 1 1 1 1 1 1 1 1 1 1]) }`: 400, `{ a } #` + strings.Repeat("x", 200): 413,
	} {
		if status, code, _ := s.query(t, "guest", document); status != want {
			t.Errorf("%s: %d %s, want %d", document, status, code, want)
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
	s := newShop(t, &guard.GraphQL{Schema: shopSchema, Fields: shopFields})
	batch := func(documents ...string) string {
		var items []string
		for _, d := range documents {
			items = append(items, `{"query":`+quoted(d)+`}`)
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	codes := func(body string, status int) []string {
		t.Helper()
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer guest"}}
		w := httptest.NewRecorder()
		s.asked = nil
		s.ServeHTTP(w, r)
		var answer []struct {
			Errors []struct{ Extensions struct{ Code string } }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != status || s.asked != nil {
			t.Errorf("%s: %d %s, want %d", body, w.Code, w.Body, status)
		}
		var list []string
		for _, a := range answer {
			list = append(list, a.Errors[0].Extensions.Code)
		}
		return list
	}
	const me, users, aliased = `{ me { id } }`, `{ users { id } }`, `{ me { ` // and many aliases
	if status, code := s.post("guest", batch(me, me, me)); status != 204 {
		t.Error(status, code)
	}
	for _, tt := range []struct {
		body   string
		status int
		codes  []string
	}{
		{batch(me, users, me), 403, []string{"BATCH_REFUSED", "FORBIDDEN", "BATCH_REFUSED"}},
		{batch(me, `{ me`), 400, []string{"BATCH_REFUSED", "GRAPHQL_PARSE_FAILED"}},
		{batch(`{ x }`, users), 400, []string{"GRAPHQL_VALIDATION_FAILED", "BATCH_REFUSED"}},
		{batch(`{ me {`+strings.Repeat(` x:id `, 30)+`} }`, `{ me {`+strings.Repeat(` x:id `, 30)+`} }`), 400, []string{"GRAPHQL_VALIDATION_FAILED", "GRAPHQL_VALIDATION_FAILED"}},
	} {
		if diff := cmp.Diff(tt.codes, codes(tt.body, tt.status)); diff != "" {
			t.Errorf("%s: %s", tt.body, diff)
		}
	}
	for _, body := range []string{
		`[]`, batch(me, me, me, me, me, me, me, me, me, me, me), `[[{"query":"{ me { id } }"}]]`, `[null]`, `["{ me { id } }"]`,
		`[{"query":"{ me { id } }"},]`, `[{"query":"{ me { id } }"}`, `[{"query":"{ me { id } }"}]]`, `[{"query":"{ me { id } }"},"{ secrets { text } }"]`,
	} {
		if status, code := s.post("guest", body); status != 400 || s.asked != nil {
			t.Errorf("%s: %d %s", body, status, code)
		}
	}
}

// The operation that is executed is the one that was judged.
func TestGraphQLOperationName(t *testing.T) {
	s := newShop(t, &guard.GraphQL{Schema: shopSchema, Fields: shopFields})
	const two = `query A { me { id } } query B { users { id } } mutation C { createUser(name: "x") { user { id } } }`
	cases := []struct {
		document, name string
		want           int
		goesOn         string
	}{
		{two, `"A"`, 204, `query A{me{id}}`},
		{two, `"B"`, 403, ``},
		{two, `"C"`, 403, ``},
		{two, `"D"`, 400, ``},
		{two, `"a"`, 400, ``},
		{two, `""`, 400, ``},
		{two, `null`, 400, ``},
		{two, `["A"]`, 400, ``},
		{two, `0`, 400, ``},
		{two, `"A "`, 400, ``},
		{two, `"\u0041"`, 400, ``},
		{`query A { me { id } }`, `"B"`, 400, ``},
		{`{ me { id } }`, `"A"`, 400, ``},
	}
	for _, tt := range append(cases, cases...) { // the second time they are known
		status, code, goesOn := s.query(t, "guest", tt.document, `"operationName":`+tt.name)
		if status != tt.want || goesOn != tt.goesOn {
			t.Errorf("operationName %s: %d %s %s, want %d", tt.name, status, code, goesOn, tt.want)
		}
	}
}

// Two readers of a body could disagree about these, so nobody reads on.
func TestGraphQLAmbiguousBodies(t *testing.T) {
	s := newShop(t, &guard.GraphQL{Schema: shopSchema, Fields: shopFields})
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
		if status, code := s.post("guest", body); status != 400 || s.asked != nil || strings.HasPrefix(code, "??") {
			t.Errorf("%.80q: %d %s", body, status, code)
		}
	}
	for _, query := range []string{
		"query={me{id}}", "query=", "QUERY={secrets{text}}", "query[]={secrets{text}}", "query%5B0%5D=x", "operationName=A", "variables={}", "extensions={}", "q;query=x", "a=%zz",
		"documentId=x", "doc_id=x", "id=x", "hash=x", "%71uery=x", "a=%ff", "query.x=1",
	} {
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`{`+me+`}`))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/json")
		if status, code := s.ask("guest", r); status != 400 || s.asked != nil {
			t.Errorf("a body beside ?%s: %d %s", query, status, code)
		}
	}
}

// What a web page can send without asking first is refused, and a GET never
// changes anything.
func TestGraphQLCrossSite(t *testing.T) {
	const body = `{"query":"{ me { id } }"}`
	s := newShop(t, &guard.GraphQL{Schema: shopSchema, Fields: shopFields})
	for _, media := range []string{
		"", "text/plain", "text/plain;application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "message/rfc822", "application/graphql",
		"application/json, text/plain", "application/json;charset=utf-16", "application/json; charset=utf-8; charset=x", "application/graphql+json", "application/jsonp", "*/*", "text/json",
	} {
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(body))
		r.Header.Set("Content-Type", media)
		if status, code := s.ask("guest", r); status != 415 || code != "BAD_REQUEST" || s.asked != nil {
			t.Errorf("%q: %d %s", media, status, code)
		}
	}
	r := httptest.NewRequest("POST", "/graphql", strings.NewReader(body))
	r.Header["Content-Type"] = []string{"application/json", "text/plain"}
	if status, _ := s.ask("guest", r); status != 415 {
		t.Errorf("two content types: %d", status)
	}

	get := func(query string, header ...string) *http.Request {
		r := httptest.NewRequest("GET", "/graphql?"+query, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	me := url.Values{"query": {"{ me { id } }"}, "variables": {`{"a":1}`}, "op": {"x"}}.Encode()
	mutation := url.Values{"query": {`mutation { createUser(name: "x") { user { id } } }`}}.Encode()
	if status, _ := s.ask("guest", get(me, "Apollo-Require-Preflight", "1")); status != 405 {
		t.Errorf("GET where it is not allowed: %d", status)
	}
	s = newShop(t, &guard.GraphQL{Schema: shopSchema, Fields: shopFields, GET: true})
	for name, tt := range map[string]struct {
		r    *http.Request
		want int
	}{
		"as a page sends it": {get(me), 400},
		"as text":            {get(me, "Content-Type", "text/plain"), 400},
		"preflight":          {get(me, "Apollo-Require-Preflight", "1"), 204},
		"operation name":     {get(me, "X-Apollo-Operation-Name", "A"), 204},
		"as JSON":            {get(me, "Content-Type", "application/json"), 204},
		"mutation":           {get(mutation, "Apollo-Require-Preflight", "1"), 405},
		"twice":              {get(me+"&query=%7Bsecrets%7Btext%7D%7D", "Apollo-Require-Preflight", "1"), 400},
		"variables no JSON":  {get("query={me{id}}&variables={", "Apollo-Require-Preflight", "1"), 400},
		"variables twice":    {get(`query={me{id}}&variables={"a":1,"a":2}`, "Apollo-Require-Preflight", "1"), 400},
		"no query":           {get("", "Apollo-Require-Preflight", "1"), 400},
		"forbidden":          {get("query={users{id}}", "Apollo-Require-Preflight", "1"), 403},
	} {
		if status, code := s.ask("admin", tt.r); name != "forbidden" && status != tt.want {
			t.Errorf("%s: %d %s, want %d", name, status, code, tt.want)
		}
		if status, code := s.ask("guest", tt.r); tt.want == 204 && s.asked != nil {
			want := url.Values{"query": {"{me{id}}"}, "variables": {`{"a":1}`}, "op": {"x"}}.Encode()
			if s.asked.URL.RawQuery != want || s.asked.RequestURI != "/graphql?"+want {
				t.Errorf("%s: %s goes on", name, s.asked.URL.RawQuery)
			}
		} else if name != "mutation" && status != tt.want {
			t.Errorf("%s as guest: %d %s, want %d", name, status, code, tt.want)
		}
	}
	r = get(me, "Apollo-Require-Preflight", "1")
	r.Body = io.NopCloser(strings.NewReader(body))
	if status, _ := s.ask("guest", r); status != 400 {
		t.Errorf("a GET with a body: %d", status)
	}
	for _, method := range []string{"PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"} {
		r := httptest.NewRequest(method, "/graphql", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if status, code := s.ask("guest", r); status != 405 {
			t.Errorf("%s: %d %s", method, status, code)
		}
	}
}

// A body that cannot be judged is not passed on.
func TestGraphQLBodies(t *testing.T) {
	const body = `{"query":"{ me { id } }"}`
	s := newShop(t, &guard.GraphQL{Schema: shopSchema, Fields: shopFields, MaxBytes: 1000})
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, body)
	_ = z.Close()
	long := body[:len(body)-1] + `,"x":"` + strings.Repeat("x", 1000) + `"}`
	for name, tt := range map[string]struct {
		body   io.Reader
		length int64
		header http.Header
		want   int
	}{
		"plain":                  {strings.NewReader(body), int64(len(body)), nil, 204},
		"chunked":                {strings.NewReader(body), -1, nil, 204},
		"identity":               {strings.NewReader(body), -1, http.Header{"Content-Encoding": {"identity"}}, 204},
		"gzip":                   {bytes.NewReader(zipped.Bytes()), int64(zipped.Len()), http.Header{"Content-Encoding": {"gzip"}}, 415},
		"gzip, not said":         {bytes.NewReader(zipped.Bytes()), int64(zipped.Len()), nil, 400},
		"said, not gzip":         {strings.NewReader(body), -1, http.Header{"Content-Encoding": {"gzip"}}, 415},
		"two encodings":          {strings.NewReader(body), -1, http.Header{"Content-Encoding": {"identity", "br"}}, 415},
		"too long":               {strings.NewReader(long), int64(len(long)), nil, 413},
		"too long, chunked":      {strings.NewReader(long), -1, nil, 413},
		"without end":            {withoutEnd{}, -1, nil, 413},
		"ends early":             {io.MultiReader(strings.NewReader(body[:9]), broken{}), -1, nil, 400},
		"broken at its end":      {io.MultiReader(strings.NewReader(body), broken{}), -1, nil, 400},
		"over a limit of others": {io.MultiReader(strings.NewReader(body), tooLong{}), -1, nil, 413},
	} {
		r := httptest.NewRequest("POST", "/graphql", tt.body)
		r.ContentLength = tt.length
		for k, v := range tt.header {
			r.Header[k] = v
		}
		r.Header.Set("Content-Type", "application/json")
		status, code := s.ask("guest", r)
		if status != tt.want || status != 204 && s.asked != nil {
			t.Errorf("%s: %d %s, want %d", name, status, code, tt.want)
		}
		if status == 204 && (s.asked.Header.Get("Content-Encoding") != "" || len(s.asked.TransferEncoding) > 0) {
			t.Errorf("%s: %v goes on", name, s.asked.Header)
		}
	}
	r := httptest.NewRequest("POST", "/graphql", http.NoBody)
	r.Header.Set("Content-Type", "application/json")
	if status, _ := s.ask("guest", r); status != 400 {
		t.Errorf("no body: %d", status)
	}
	// Who has no token has no body read.
	r = httptest.NewRequest("POST", "/graphql", mustNotRead{t})
	r.Header.Set("Content-Type", "application/json")
	if status, code := s.ask("nobody", r); status != 403 || code != "UNAUTHENTICATED" { // as web1on1 says it
		t.Error(status, code)
	}
}

// The guard's own limit for bodies holds here too, and reads as GraphQL does.
func TestGraphQLMaxBody(t *testing.T) {
	s := newShop(t, &guard.GraphQL{})
	s.Handler = guardOf(t, s, &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), MaxBody: 40})
	for document, want := range map[string]int{`{ a }`: 204, `{ a } #` + strings.Repeat("x", 30): 413} {
		if status, code, _ := s.query(t, "guest", document); status != want || want == 413 && code != "BAD_REQUEST" {
			t.Errorf("%s: %d %s, want %d", document, status, code, want)
		}
	}
}

// A client that stops in the midst of a body holds a connection for as long as
// the server allows it, and asks the API nothing.
func TestGraphQLBodyStalls(t *testing.T) {
	s := newShop(t, &guard.GraphQL{})
	server := httptest.NewUnstartedServer(s)
	server.Config.ReadTimeout = 50 * time.Millisecond
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guest\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"+`{"query":"{ a }"`)
	answer, err := io.ReadAll(conn) // ends when the server has closed the connection
	if err != nil || len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || s.asked != nil {
		t.Errorf("%v: %s", err, answer)
	}
}

type (
	withoutEnd  struct{}
	broken      struct{}
	tooLong     struct{}
	mustNotRead struct{ t *testing.T }
)

func (withoutEnd) Read(b []byte) (int, error) { return copy(b, " "), nil }
func (broken) Read([]byte) (int, error)       { return 0, errors.New("connection reset") }
func (tooLong) Read([]byte) (int, error)      { return 0, &http.MaxBytesError{Limit: 7} }
func (m mustNotRead) Read([]byte) (int, error) {
	m.t.Error("a body was read")
	return 0, io.EOF
}

// Operations over a WebSocket would be judged by nobody.
func TestGraphQLWebSocket(t *testing.T) {
	for _, q := range []*guard.GraphQL{{}, {GET: true}, {Fields: shopFields, Schema: shopSchema, GET: true}} {
		s := newShop(t, q)
		for _, method := range []string{"GET", "POST"} {
			r := httptest.NewRequest(method, "/graphql?query={__typename}", nil)
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Protocol": {"graphql-transport-ws"}, "Apollo-Require-Preflight": {"1"}}
			if status, code := s.ask("admin", r); status != 400 || code != "BAD_REQUEST" || s.asked != nil {
				t.Errorf("%s: %d %s", method, status, code)
			}
		}
	}
}
