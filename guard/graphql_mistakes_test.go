package guard_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/graphql"
)

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

// A batch gains nothing: it has the limits of one document, and one forbidden
// item keeps all from being executed.
func TestGraphQLBatches(t *testing.T) {
	s := newShop(t, &guard.GraphQL{Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields}})
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
	const me, users = `{ me { id } }`, `{ users { id } }`
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
}

// Two readers of a body could disagree about these, so nobody reads on.
func TestGraphQLAmbiguousBodies(t *testing.T) {
	s := newShop(t, &guard.GraphQL{Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields}})
	const me = `"query":"{ me { id } }"`
	for _, body := range []string{
		`{` + me + `,"query":"{ secrets { text } }"}`,
		`{` + me + `,"\u0071uery":"{ secrets { text } }"}`,
		`{` + me + `,"Query":"{ secrets { text } }"}`,
		`{"QUERY":"{ me { id } }"}`,
		`{` + me + `} {` + me + `}`,
		`{"query":null}`, `{}`, `null`, ``, ` `,
		"{\"query\":\"{ me { id } }\x80\"}",
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
	s := newShop(t, &guard.GraphQL{Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields}})
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
	s = newShop(t, &guard.GraphQL{GET: true, Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields}})
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
	s := newShop(t, &guard.GraphQL{MaxBytes: 1000, Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields}})
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

// guardOf puts another guard in front of a shop.
func guardOf(t testing.TB, s *shop, g *guard.Guard) http.Handler {
	g.GraphQL = s.GraphQL
	return g.Handler(shopkeeper(t, s))
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
	// So does MaxBytes, for a URL too.
	s = newShop(t, &guard.GraphQL{GET: true, MaxBytes: 200})
	for document, want := range map[string][2]int{`{ a }`: {204, 204}, `{ a } #` + strings.Repeat("x", 200): {413, 400}} {
		if status, code, _ := s.query(t, "guest", document); status != want[0] {
			t.Errorf("%s: %d %s, want %d", document, status, code, want[0])
		}
		r := httptest.NewRequest("GET", "/graphql?"+url.Values{"query": {document}}.Encode(), nil)
		r.Header.Set("Apollo-Require-Preflight", "1")
		if status, code := s.ask("guest", r); status != want[1] {
			t.Errorf("GET %s: %d %s, want %d", document, status, code, want[1])
		}
	}
}

// A client that stops in the midst of a body holds a connection for as long as
// the server allows it, and asks the API nothing.
func TestGraphQLBodyStalls(t *testing.T) {
	s := newShop(t, &guard.GraphQL{})
	server := httptest.NewUnstartedServer(s)
	server.Config.ReadHeaderTimeout = patience // it is the body that stalls
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
	for _, q := range []*guard.GraphQL{{}, {GET: true}, {GET: true, Policy: graphql.Policy{Fields: shopFields, Schema: shopSchema}}} {
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
