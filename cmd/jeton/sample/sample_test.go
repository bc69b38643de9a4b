package sample

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton/guard"
)

func call(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set(guard.HeaderSubject, "u7")
	r.Header.Set(guard.HeaderClient, "app")
	r.Header.Set(guard.HeaderTenant, "acme")
	r.Header.Set(guard.HeaderScope, "agent")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAlvys(t *testing.T) {
	h := Alvys()
	w := call(h, "GET", "/v1/me", "")
	if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != `{"tenant":"acme","client_id":"app"}` {
		t.Errorf("%d %s", w.Code, got)
	}
	if w := call(h, "POST", "/v1/me", ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d, allow %s", w.Code, w.Header().Get("Allow"))
	}
	if w := call(h, "GET", "/v1/you", ""); w.Code != 404 || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("elsewhere: %d %s", w.Code, w.Header().Get("Content-Type"))
	}
}

func TestGraphQLData(t *testing.T) {
	iadvize, altrata := IAdvize(), Altrata()
	for _, tt := range []struct {
		h           http.Handler
		path, query string
		want        string
	}{
		{iadvize, "/graphql", `{ me { id scope } }`, `{"me":{"id":"u7","scope":"agent"}}`},
		{iadvize, "/graphql", `{ projects { id name language } }`,
			`{"projects":[{"id":"1","name":"Outdoor shop","language":"en"},{"id":"2","name":"Help centre","language":"fr"}]}`},
		{iadvize, "/graphql", `{ project(id: "2") { name } }`, `{"project":{"name":"Help centre"}}`},
		{iadvize, "/graphql", `{ project(id: "9") { name } }`, `{"project":null}`},
		{iadvize, "/graphql", `{ visitors(first: 1, after: "101") { id conversations { id status } } }`,
			`{"visitors":[{"id":"102","conversations":[{"id":"11","status":"OPEN"},{"id":"12","status":"CLOSED"}]}]}`},
		{iadvize, "/graphql", `{ visitors(first: -1) { id } }`, `{"visitors":[]}`},
		{iadvize, "/graphql", `{ visitor(id: "101") { name conversations { id } } }`, `{"visitor":{"name":"Ada","conversations":[]}}`},
		{iadvize, "/graphql", `{ conversation(id: "13") { project { id } messages { author text } } }`,
			`{"conversation":{"project":{"id":"1"},"messages":[{"author":"Linus","text":"Hello?"}]}}`},
		{altrata, "/v1/graphql", `{ profile(id: "3") { name organization { name people { id } } } }`,
			`{"profile":{"name":"Inês Duarte","organization":{"name":"Tides Foundation Trust","people":[{"id":"3"},{"id":"4"},{"id":"5"}]}}}`},
		{altrata, "/v1/graphiql/", `{ profiles(search: "CHIEF") { id role } }`,
			`{"profiles":[{"id":"1","role":"Chief Executive"},{"id":"4","role":"Chief Executive"}]}`},
		{altrata, "/v1/graphql", `{ organization(id: "10") { country } }`, `{"organization":{"country":"NO"}}`},
	} {
		w := call(tt.h, "POST", tt.path, tt.query)
		var answer struct{ Data json.RawMessage }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 || string(answer.Data) != tt.want {
			t.Errorf("%s: %d %s\nwant %s", tt.query, w.Code, w.Body, tt.want)
		}
	}
}

// However a client wraps a query, it arrives; what is no query is told so.
func TestGraphQLForms(t *testing.T) {
	const query = `{ me { id } }`
	const ok = `{"data":{"me":{"id":"u7"}}}`
	get := "/graphql?query=" + url.QueryEscape(query)
	for _, tt := range []struct {
		name, method, target, body string
		status                     int
		want                       string
	}{
		{"JSON", "POST", "/graphql", `{"query":"{ me { id } }"}`, 200, ok},
		{"JSON in full", "POST", "/graphql", `{"query":"query A($i: ID!) { visitor(id: $i) { name } } query B { me { id } }","operationName":"A","variables":{"i":"102"}}`, 200, `{"data":{"visitor":{"name":"Grace"}}}`},
		{"null variables", "POST", "/graphql", `{"query":"{ me { id } }","variables":null,"operationName":null,"extensions":{}}`, 200, ok},
		{"text", "POST", "/graphql", query, 200, ok},
		{"named text", "POST", "/graphql", "\n query A { me { id } }\n", 200, ok},
		{"JSON string", "POST", "/graphql", `"{ me { id } }"`, 200, ok},
		{"GET", "GET", get, "", 200, ok},
		{"GET with variables", "GET", "/graphql?variables=%7B%22i%22:%22102%22%7D&query=" + url.QueryEscape(`query($i: ID!) { visitor(id: $i) { name } }`), "", 200, `{"data":{"visitor":{"name":"Grace"}}}`},
		{"HEAD", "HEAD", get, "", 200, ok},
		{"nothing", "POST", "/graphql", "", 200, errEmpty.Error()},
		{"blanks", "POST", "/graphql", " \r\n", 200, errEmpty.Error()},
		{"GET without a query", "GET", "/graphql", "", 400, errNoQuery.Error()},
		{"GET with odd variables", "GET", get + "&variables=[1]", "", 400, errBadVars.Error()},
		{"GET with a broken query", "GET", "/graphql?query=%zz", "", 400, errNoQuery.Error()},
		{"mutation by GET", "GET", "/graphql?query=" + url.QueryEscape(`mutation { conversationClose(id: "11") { id } }`), "", 400, `"errors"`},
		{"no query in JSON", "POST", "/graphql", `{}`, 400, errNoQuery.Error()},
		{"null", "POST", "/graphql", `null`, 400, errNoQuery.Error()},
		{"odd query", "POST", "/graphql", `{"query": 1}`, 400, "nor a query"},
		{"odd variables", "POST", "/graphql", `{"query":"{ me { id } }","variables":"x"}`, 400, "nor a query"},
		{"batch", "POST", "/graphql", `[{"query":"{ me { id } }"}]`, 400, "nor a query"},
		{"broken JSON", "POST", "/graphql", `{ "query": "{ me { id } }"`, 400, "nor a query"},
		{"broken JSON string", "POST", "/graphql", `"{ me`, 400, "nor a query"},
		{"broken query", "POST", "/graphql", `{ me { id }`, 400, "syntax error"},
		{"unknown field", "POST", "/graphql", `{ you }`, 400, "Cannot query field"},
		{"unknown operation", "POST", "/graphql", `{"query":"{ me { id } }","operationName":"B"}`, 400, "no operation"},
		{"missing variable", "POST", "/graphql", `query($i: ID!) { visitor(id: $i) { name } }`, 400, `"errors"`},
		{"not UTF-8", "POST", "/graphql", "{ me { \xff } }", 400, errEncoding.Error()},
		{"query twice", "POST", get, query, 400, errTwice.Error()},
		{"no such conversation", "POST", "/graphql", `mutation { conversationClose(id: "99") { id } }`, 200, "no such conversation"},
		{"too large", "POST", "/graphql", strings.Repeat(" ", maxBody+1), 413, "too large"},
		{"long query", "POST", "/graphql", query + strings.Repeat("#\n", maxQuery), 400, "exceeds"},
		{"deep query", "POST", "/graphql", strings.Repeat("{ visitors { conversations ", maxDepth) + strings.Repeat("}", 2*maxDepth), 400, `"errors"`},
		{"aliases", "POST", "/graphql", "{" + aliases(maxSelections+1) + "}", 200, "selections"},
		{"other method", "PUT", "/graphql", query, 405, "GET, HEAD, POST"},
		{"elsewhere", "POST", "/graphql/", query, 404, "/graphql only"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := call(IAdvize(), tt.method, tt.target, tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) && !has(w, tt.want) {
				t.Errorf("%d %.300s\nwant %d %s", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

// has looks for a message in its JSON form.
func has(w *httptest.ResponseRecorder, message string) bool {
	var answer struct{ Errors []struct{ Message string } }
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return len(answer.Errors) == 1 && answer.Errors[0].Message == message
}

func aliases(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%d:__typename ", i)
	}
	return b.String()
}

// The query that GraphiQL sends first is within the limits.
func TestIntrospection(t *testing.T) {
	for path, h := range map[string]http.Handler{"/graphql": IAdvize(), "/v1/graphql": Altrata()} {
		w := call(h, "POST", path, introspection)
		if w.Code != 200 || strings.Contains(w.Body.String(), `"errors"`) || !strings.Contains(w.Body.String(), `"ID"`) {
			t.Errorf("%s: %d %.200s", path, w.Code, w.Body)
		}
	}
}

const introspection = `query {
  __schema {
    queryType { name } mutationType { name } subscriptionType { name }
    types { ...FullType }
    directives { name description locations args { ...InputValue } }
  }
}
fragment FullType on __Type {
  kind name description
  fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
  inputFields { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef }
}
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
fragment TypeRef on __Type {
  kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } }
}`

func TestMutation(t *testing.T) {
	h := IAdvize()
	const status = `{ conversation(id: "11") { status } }`
	call(h, "GET", "/graphql?query="+url.QueryEscape(`mutation { conversationClose(id: "11") { id } }`), "")
	if w := call(h, "POST", "/graphql", status); !strings.Contains(w.Body.String(), "OPEN") {
		t.Errorf("closed by GET: %s", w.Body)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			w := call(h, "POST", "/graphql", `mutation { conversationClose(id: "11") { id status } }`)
			if !strings.Contains(w.Body.String(), "CLOSED") {
				t.Errorf("%s", w.Body)
			}
		})
	}
	group.Wait()
	if w := call(h, "POST", "/graphql", status); !strings.Contains(w.Body.String(), "CLOSED") {
		t.Errorf("still open: %s", w.Body)
	}
}

func TestWeb1on1Rows(t *testing.T) {
	h := Web1on1()
	for _, resource := range []string{"organizations", "organizationgroups", "users", "conversations", "messages",
		"contacts", "knowledge-items", "forms", "services"} {
		at := "/v2/" + resource
		var rows []map[string]any
		if err := json.Unmarshal(call(h, "GET", at, "").Body.Bytes(), &rows); err != nil || len(rows) < 2 || rows[0]["_id"] != "1" {
			t.Fatalf("%s: %v, %v", resource, rows, err)
		}
		w := call(h, "POST", at, `{}`)
		if w.Code != 201 || !strings.HasPrefix(w.Header().Get("Location"), resource+"/") {
			t.Fatalf("create %s: %d %s", resource, w.Code, w.Body)
		}
		var made map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil {
			t.Fatal(err)
		}
		item := at + "/" + made["_id"].(string)
		for _, step := range []struct {
			method, body string
			status       int
			want         string
		}{
			{"GET", "", 200, `{"_id":"ID"}`},
			{"PUT", `{"a":1,"b":12345678901234567890,"_id":"other"}`, 200, `{"_id":"ID","a":1,"b":12345678901234567890}`},
			{"PATCH", `{"a":null,"c":{"d":null}}`, 200, `{"_id":"ID","b":12345678901234567890,"c":{"d":null}}`},
			{"PUT", ``, 200, `{"_id":"ID"}`},
			{"PUT", `[]`, 400, ""},
			{"PATCH", `null`, 400, ""},
			{"PATCH", `{`, 400, ""},
			{"PATCH", "{\"a\":\"\xff\"}", 400, ""},
			{"PUT", `{"a":"` + strings.Repeat("x", maxRow) + `"}`, 413, ""},
			{"POST", `{}`, 405, ""},
			{"GET", "", 200, `{"_id":"ID"}`},
			{"DELETE", "", 204, ``},
			{"GET", "", 404, ""},
			{"PUT", "{}", 404, ""},
			{"DELETE", "", 404, ""},
		} {
			w := call(h, step.method, item, step.body)
			want := strings.ReplaceAll(step.want, "ID", made["_id"].(string))
			if w.Code != step.status || w.Code < 300 && strings.TrimSpace(w.Body.String()) != want {
				t.Errorf("%s %s %.50s: %d %s, want %d %s", step.method, item, step.body, w.Code, w.Body, step.status, want)
			}
			if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: content type %s", step.method, item, w.Header().Get("Content-Type"))
			}
		}
	}
	for _, path := range []string{"/v2/invoices", "/v2/users/", "/v2/users/1/x", "/v2", "/", "/users"} {
		if w := call(h, "GET", path, ""); w.Code != 404 {
			t.Errorf("%s: %d, want 404", path, w.Code)
		}
	}
	if w := call(h, "PUT", "/v2/users", "{}"); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT of a collection: %d", w.Code)
	}
}

func TestWeb1on1Self(t *testing.T) {
	h := Web1on1()
	body := func(method, path, body string) string {
		t.Helper()
		w := call(h, method, path, body)
		if w.Code != 200 {
			t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		return strings.TrimSpace(w.Body.String())
	}
	const blank = `{"_id":"u7","scope":"agent"}`
	got := []string{
		body("GET", "/v2/users/me", ""),
		body("GET", "/v2/users/u7", ""),
		body("PATCH", "/v2/users/me", `{"name":"Kim","x":null}`),
		body("GET", "/v2/users/u7", ""),
		body("PUT", "/v2/users/u7", `{}`),
	}
	want := []string{blank, blank, `{"_id":"u7","name":"Kim"}`, `{"_id":"u7","name":"Kim"}`, `{"_id":"u7"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if w := call(h, "GET", "/v2/contacts/me", ""); w.Code != 404 {
		t.Errorf("contacts/me: %d, want 404", w.Code)
	}
	if w := call(h, "PATCH", "/v2/users/u8", "{}"); w.Code != 404 {
		t.Errorf("somebody else: %d, want 404", w.Code)
	}
}

// The store keeps to its bounds, also when many write at once, and an id is
// never given twice.
func TestWeb1on1Bounds(t *testing.T) {
	h := Web1on1()
	var mu sync.Mutex
	status, ids := map[int]int{}, map[string]bool{}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range maxRows/8 + 10 {
				w := call(h, "POST", "/v2/forms", "")
				mu.Lock()
				status[w.Code]++
				if w.Code == 201 {
					ids[w.Header().Get("Location")] = true
				}
				mu.Unlock()
				call(h, "GET", "/v2/forms/1", "")
				call(h, "PATCH", "/v2/forms/1", `{"a":1}`)
				call(h, "PATCH", "/v2/services/2", `{"a":1}`)
				call(h, "GET", "/v2/services", "")
			}
		})
	}
	group.Wait()
	if want := map[int]int{201: maxRows - 2, 507: 82}; !cmp.Equal(status, want) || len(ids) != maxRows-2 {
		t.Errorf("%v, %d ids, want %v", status, len(ids), want)
	}
	if w := call(h, "POST", "/v2/contacts", ""); w.Code != 201 {
		t.Errorf("another resource: %d", w.Code)
	}
	field := strings.Repeat("x", maxRow/2)
	for i, want := range []int{200, 413, 413} {
		if w := call(h, "PATCH", "/v2/contacts/1", fmt.Sprintf(`{"f%d":%q}`, i, field)); w.Code != want {
			t.Errorf("growing a row, step %d: %d, want %d", i, w.Code, want)
		}
	}
	for i := range 3 {
		call(h, "DELETE", fmt.Sprintf("/v2/messages/%d", i+1), "")
	}
	if got := strings.TrimSpace(call(h, "GET", "/v2/messages", "").Body.String()); got != "[]" {
		t.Errorf("an empty resource is %s", got)
	}
}
