package guard_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/graphql"
)

// No method and no caller that only looks is a way around the table: what GET
// may not, HEAD may not; OPTIONS has no pass for preflights and a health check
// none for its name.
func TestMethodsHaveNoPass(t *testing.T) {
	table := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
	routes := &guard.Guard{Dialect: load(t, "oauth2"), Verifier: people(), Routes: parseRoutes(t, "GET /v2/services -> scope:admin\nOPTIONS /v2/open -> token")}
	open := &guard.Guard{Dialect: load(t, "oauth2"), Verifier: people()}
	for _, tt := range []struct {
		g             *guard.Guard
		method, path  string
		token         string
		want          int
		name, content string // of a header
	}{
		{table, "HEAD", "/v2/services", "bot", 403, "", ""},
		{table, "HEAD", "/v2/services", "admin", 204, "", ""},
		{table, "OPTIONS", "/v2/services", "admin", 405, "", ""},
		{table, "OPTIONS", "/v2/services", "", 401, "Access-Control-Request-Method", "GET"},
		{table, "OPTIONS", "/v2/services", "admin", 405, "Access-Control-Request-Method", "GET"},
		{table, "OPTIONS", "*", "admin", 400, "", ""},
		{table, "TRACE", "/v2/services", "admin", 405, "", ""},
		{table, "CONNECT", "/v2/services", "admin", 405, "", ""},
		{table, "PROPFIND", "/v2/services", "admin", 405, "", ""},
		{table, "GETS", "/v2/services", "admin", 405, "", ""},
		{table, "Get", "/v2/services", "admin", 405, "", ""},
		{table, "GET", "/v2/services", "", 401, "User-Agent", "kube-probe/1.33"},
		{table, "GET", "/v2/services", "", 401, "User-Agent", "GoogleHC/1.0"},
		{table, "GET", "/v2/services", "bot", 403, "User-Agent", "ELB-HealthChecker/2.0"},
		{routes, "HEAD", "/v2/services", "bot", 403, "", ""},
		{routes, "HEAD", "/v2/services", "admin", 204, "", ""},
		{routes, "OPTIONS", "/v2/services", "admin", 405, "", ""},
		{routes, "OPTIONS", "/v2/open", "guest", 204, "", ""},
		{routes, "OPTIONS", "/v2/open", "", 401, "", ""},
		{routes, "TRACE", "/v2/open", "admin", 405, "", ""},
		{open, "OPTIONS", "/v2/services", "guest", 204, "", ""},
		{open, "OPTIONS", "/v2/services", "", 401, "Access-Control-Request-Method", "GET"},
		{open, "TRACE", "/v2/services", "admin", 405, "", ""},
		{open, "CONNECT", "/v2/services", "admin", 405, "", ""},
	} {
		r := callRequest(tt.method, "/", tt.token)
		r.URL.Path = tt.path
		if tt.name != "" {
			r.Header.Set(tt.name, tt.content)
		}
		w := httptest.NewRecorder()
		tt.g.Handler(reached).ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s %s as %q, %s: %d, want %d", tt.method, tt.path, tt.token, tt.content, w.Code, tt.want)
		}
	}
}

// Some frameworks take the method from the query. Where routes tell methods
// apart, a call that says so is refused, whatever its method is.
func TestMethodInTheQuery(t *testing.T) {
	routes := (&guard.Guard{Dialect: load(t, "oauth2"), Verifier: people(), Routes: parseRoutes(t, "* /x -> token\nDELETE /x -> scope:admin")}).Handler(reached)
	open := (&guard.Guard{Dialect: load(t, "oauth2"), Verifier: people()}).Handler(reached)
	for query, want := range map[string]int{
		"_method=DELETE": 400, "a=1&_method=DELETE": 400, "a=1;_method=DELETE": 400, "%5Fmethod=DELETE": 400, "_m%65thod=DELETE": 400,
		".method=DELETE": 400, "%2Emethod=DELETE": 400, "[method=DELETE": 400, "_method": 400,
		"method=DELETE": 204, "a=_method": 204, "my_method=1": 204, "_methods=1": 204,
	} {
		for _, method := range []string{"POST", "GET"} {
			if got := call(routes, method, "/x?"+query, "guest").StatusCode; got != want {
				t.Errorf("%s %s: %d, want %d", method, query, got, want)
			}
			if got := call(open, method, "/x?"+query, "guest").StatusCode; got != 204 {
				t.Errorf("%s %s, without routes: %d", method, query, got)
			}
		}
	}
}

// What a server may take for the GraphQL endpoint is for no route that was not
// written for it, and the endpoint itself for none at all.
func TestWideRoutesAreNotForGraphQL(t *testing.T) {
	for _, lines := range []string{"* /{rest...} -> token", "* /{x} -> token\n* /{x}/{rest...} -> token"} {
		g := &guard.Guard{Dialect: load(t, "oauth2"), Verifier: people(), Routes: parseRoutes(t, lines+"\nGET /graphql/schema.json -> token"),
			GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Fields: map[string]string{"Query.a": "scope-of-nobody"}}}}
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		h := g.Handler(reached)
		for target, want := range map[string]int{
			"/other": 204, "/graphql": 403, "/GraphQL": 403, "/graphql/": 403, "/graphql/x": 403, "/graphqls": 204, "/GRAPHQL/a/b": 403,
			"/graphql.json": 403, "/Graphql.": 403, "/graphql%20": 403, "/graphql.a.b": 204, "/x/graphql": 204,
		} {
			r := httptest.NewRequest("POST", target, strings.NewReader(`{"query":"{a}"}`))
			r.Header = http.Header{"Authorization": {"Bearer admin"}, "Content-Type": {"application/json"}}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			answered, _ := io.ReadAll(w.Result().Body)
			if w.Code != want && !(target == "/graphql" && strings.Contains(string(answered), "errors")) {
				t.Errorf("POST %s: %d, want %d", target, w.Code, want)
			}
		}
		if e, err := g.Explain("POST", "/GraphQL", &jeton.Claims{}); err != nil || e.Why != "no permission is defined for this route" {
			t.Errorf("the endpoint in other letters: %+v, %v", e, err)
		}
		if got := call(h, "GET", "/graphql/schema.json", "guest").StatusCode; got != 204 {
			t.Errorf("a route that names the endpoint's folder: %d", got)
		}
	}
	g := &guard.Guard{Dialect: load(t, "oauth2"), Routes: parseRoutes(t, "POST /graphql -> token"), GraphQL: &guard.GraphQL{At: "/graphql"}}
	if err := g.Check(); err == nil || !strings.Contains(err.Error(), "the document decides") {
		t.Errorf("a route for the endpoint itself: %v", err)
	}
	g = &guard.Guard{Dialect: load(t, "oauth2"), GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{MaxDepth: -1}}}
	if err := g.Check(); err == nil || !strings.Contains(err.Error(), "negative") {
		t.Errorf("a setting of GraphQL that is not good: %v", err)
	}
}

// A token that the dialect has in the query does not reach what is behind the
// guard, nor what is behind that by a log.
func TestTokenInTheQueryEndsHere(t *testing.T) {
	d, err := dialect.Parse("f.yaml", []byte("dialect: x\ntoken: https://x.example/token\ncall: {base: https://api.x.example, query: {key: $access_token}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{false, true} {
		var seen, uri string
		g := &guard.Guard{Dialect: d, Verifier: people(), KeepCredentials: keep}
		g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			seen = r.URL.RawQuery
			return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody}, nil
		})
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/x?a=1&key=guest&b=%20", nil)
		g.Proxy(parse(t, "http://upstream")).ServeHTTP(w, r)
		g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { uri = r.RequestURI })).ServeHTTP(httptest.NewRecorder(), r)
		want := map[bool]string{false: "a=1&b=%20", true: "a=1&key=guest&b=%20"}[keep]
		if w.Code != 204 || seen != want || uri != "/x?"+want {
			t.Errorf("keep %v: %d, query %q and URI %q, want %q", keep, w.Code, seen, uri, want)
		}
		if r.URL.RawQuery != "a=1&key=guest&b=%20" {
			t.Error("the caller's own request was changed")
		}
	}
}

// A call without a token has done nothing wrong with it, says RFC 6750 section
// 3.1: a standard realm names no error.
func TestNoTokenIsNoError(t *testing.T) {
	for name, want := range map[string]string{"oauth2": "{}", "web1on1": `{"error":"invalid_token","error_description":"the call carries no access token"}`} {
		answer := call((&guard.Guard{Realm: "r", Dialect: load(t, name), Verifier: people()}).Handler(reached), "GET", "/v2/users", "")
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != 401 || answer.Header.Get("WWW-Authenticate") != `Bearer realm="r"` || string(body) != want {
			t.Errorf("%s: %d, %q, %s", name, answer.StatusCode, answer.Header.Get("WWW-Authenticate"), body)
		}
	}
}

func TestExplain(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "web1on1"), Routes: parseRoutes(t, "GET /t/{tenant}/x -> scope:bot\nPUT /u/{self} -> token"),
		GraphQL: &guard.GraphQL{At: "/graphql"}}
	rule := &guard.Rule{Kind: "route", Method: "GET", Path: "/t/{tenant}/x", Needs: "scope:bot", Scope: "bot"}
	for _, tt := range []struct {
		method, target string
		claims         *jeton.Claims
		want           guard.Explanation
	}{
		{"GET", "/t/acme/x?q=1", &jeton.Claims{Tenant: "acme", Scope: jeton.Scope{"admin"}},
			guard.Explanation{Method: "GET", Path: "/t/acme/x", Rule: rule, Has: jeton.Scope{"admin"}, Allowed: true, Why: "a scope of the token includes bot"}},
		{"GET", "/t/acme/x", &jeton.Claims{Tenant: "globex", Scope: jeton.Scope{"admin"}},
			guard.Explanation{Method: "GET", Path: "/t/acme/x", Rule: rule, Has: jeton.Scope{"admin"}, Status: 403, Code: "insufficient_scope", Why: "the access token is of another tenant"}},
		{"PUT", "/u/bob", &jeton.Claims{Subject: "ann"},
			guard.Explanation{Method: "PUT", Path: "/u/bob", Has: jeton.Scope{}, Status: 403, Code: "insufficient_scope", Why: "the route is for the caller's own record"}},
		{"GET", "/v2/users", nil,
			guard.Explanation{Method: "GET", Path: "/v2/users", Has: jeton.Scope{}, Status: 401, Why: "the call carries no access token"}},
		{"GET", "/v2//users", nil,
			guard.Explanation{Method: "GET", Path: "/v2//users", Has: jeton.Scope{}, Status: 400, Code: "invalid_request", Why: "the path is not in its canonical form"}},
		{"POST", "/graphql", &jeton.Claims{},
			guard.Explanation{Method: "POST", Path: "/graphql", Has: jeton.Scope{}, Allowed: true, Why: "the document in its body decides, field by field",
				Rule: &guard.Rule{Kind: "graphql", Method: "*", Path: "/graphql", Needs: "its document"}}},
	} {
		got, err := g.Explain(tt.method, tt.target, tt.claims)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Errorf("%s %s: %s", tt.method, tt.target, diff)
		}
	}
	for _, method := range []string{"PUT", "GET", "OPTIONS", "post"} {
		e, err := g.Explain(method, "/graphql", &jeton.Claims{})
		if err != nil || e.Allowed || e.Status != 405 || !slices.Equal(e.Allow, []string{"POST"}) || e.Rule != nil {
			t.Errorf("%s /graphql: %+v, %v", method, e, err)
		}
	}
	for _, target := range []string{"", "users", "http://x/users", "*", "/%zz"} {
		if e, err := g.Explain("GET", target, nil); err == nil {
			t.Errorf("%q is explained as %+v", target, e)
		}
	}
}

// TestExplainDocument: a document is explained by what judges it.
func TestExplainDocument(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "web1on1"), GraphQL: &guard.GraphQL{At: "/graphql", GET: true, Policy: graphql.Policy{Schema: shopSchema, Fields: shopFields}}}
	for _, tt := range []struct {
		method, document, operation, scope string
		status                             int
		why                                string
	}{
		{"POST", "{me{id}}", "", "guest", 0, "the token may ask for every field of the document"},
		{"GET", "{me{id}}", "", "guest", 0, "the token may ask for every field of the document"},
		{"POST", "{x:users{id}}", "", "guest", 403, "the access token lacks the permission for the field Query.users; the least scope that has it is agent"},
		{"POST", "{me{...F}} fragment F on User{email}", "", "agent", 403, "the access token lacks the permission for the field User.email; the least scope that has it is bot"},
		{"POST", "query A{me{id}} query B{users{id}}", "B", "guest", 403, "the access token lacks the permission for the field Query.users; the least scope that has it is agent"},
		{"POST", "query A{me{id}} query B{users{id}}", "", "guest", 400, "the document has several operations and operationName chooses none"},
		{"GET", `mutation{createUser(name:"x"){__typename}}`, "", "admin", 405, "a GET can only execute a query, not a mutation"},
		{"POST", "{me", "", "admin", 400, "syntax error before line 1, column 4"},
		{"PUT", "{me{id}}", "", "admin", 405, "the GraphQL endpoint has no such method"},
	} {
		e, err := g.ExplainDocument(tt.method, "/graphql", tt.document, tt.operation, &jeton.Claims{Scope: jeton.Scope{tt.scope}})
		if err != nil {
			t.Fatal(err)
		}
		if e.Allowed != (tt.status == 0) || e.Status != tt.status || e.Why != tt.why {
			t.Errorf("%s %s of %s: %+v", tt.method, tt.document, tt.scope, e)
		}
	}
	if e, err := g.ExplainDocument("POST", "/v2/users", "{me{id}}", "", &jeton.Claims{}); err == nil {
		t.Errorf("a document elsewhere: %+v", e)
	}
}

func TestMatrixRows(t *testing.T) {
	g := &guard.Guard{
		Dialect: load(t, "web1on1"), Permissions: dialect.Permissions{"users": {"list": "bot", "odd": "agent"}},
		Routes:  parseRoutes(t, "GET /v2/{x} -> token\nPOST /z -> scope:admin"),
		GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Fields: map[string]string{"Query.users": "agent", "Query.me": "token"}}},
	}
	m, err := g.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "guest", "agent", "bot", "admin"}; !slices.Equal(m.Scopes, want) {
		t.Errorf("scopes %q", m.Scopes)
	}
	var got []string
	for _, r := range m.Rows {
		line := r.Kind + " " + r.Method + " " + r.Path + " " + r.Field + " " + r.Needs + " "
		for _, ok := range r.Allowed {
			line += map[bool]string{true: "+", false: "."}[ok]
		}
		got = append(got, line)
	}
	want := []string{
		"graphql POST /graphql Query.me token +++++",
		"graphql POST /graphql Query.users scope:agent ..+++",
		"route GET /v2/{x}  token +++++", // and GET /v2/users of the table never decides
		"route POST /z  scope:admin ....+",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	open := &guard.Guard{Dialect: load(t, "oauth2"), GraphQL: &guard.GraphQL{At: "/graphql"}}
	m, err = open.Matrix()
	if err != nil || len(m.Rows) != 2 || m.Rows[0].Field != "*" || m.Rows[1].Kind != guard.KindOpen || !slices.Equal(m.Scopes, []string{""}) {
		t.Errorf("%v, %v", m, err)
	}
}

// A server behind the guard may ignore case, a slash at the end, dots there, or
// take what follows a dot for a format. What a wide route lets through must not
// be another route for such a server, unless that lets it through too.
func TestLooseServersBehindWideRoutes(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people(), Routes: parseRoutes(t, `
		GET /t/{id}/{x} -> token
		GET /t/{id}/closed/{rest...} -> scope:admin
		* /admin/users -> scope:admin
		* /files/secret -> scope:admin
		* /files/{name} -> token
		* /other/{a} -> token
		* /other/{a}/{b...} -> scope:bot
		PUT /v2/users/export -> scope:admin
		* /twin/{x} -> scope:admin
		* /twin/{x}/ -> token
		* /twin/text -> token
		* /root/{rest...} -> token
		* /root/in/{x} -> scope:agent`)}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	h := g.Handler(reached)
	for target, want := range map[string][2]int{ // :: path -> as guest, as admin
		"/files/other":       {204, 204},
		"/files/secret":      {403, 204},
		"/files/Secret":      {403, 204},
		"/files/SECRET":      {403, 204},
		"/files/secret.txt":  {403, 204},
		"/files/secret.":     {403, 204},
		"/files/secret%20":   {403, 204},
		"/files/secret.. .":  {403, 204},
		"/files/secrets":     {204, 204},
		"/files/secret.a.b":  {204, 204}, // no server takes two for a format
		"/t/1/closed":        {403, 204},
		"/t/1/Closed":        {403, 204},
		"/t/1/closed/":       {403, 204},
		"/t/1/open":          {204, 204},
		"/other/1":           {204, 204},
		"/other/1/":          {403, 204},
		"/twin/1":            {403, 204},
		"/twin/1/":           {204, 204}, // somebody tells the two apart
		"/root/a/b":          {204, 204},
		"/root/IN/x":         {403, 204},
		"/root/in/x/":        {403, 204},
		"/root/in.json/x":    {403, 204},
		"/root/in":           {204, 204},
		"/root/":             {204, 204},
		"/admin/Users":       {403, 403}, // nothing names it
		"/v2/users/Export":   {403, 204}, // GET of which is the table's
		"/v2/users/id-of-me": {403, 204},
	} {
		for i, token := range []string{"guest", "admin"} {
			r := callRequest("GET", strings.ReplaceAll(target, " ", "%20"), token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want[i] {
				t.Errorf("GET %s as %s: %d, want %d", target, token, w.Code, want[i])
			}
		}
	}
	for token, want := range map[string]int{"bot": 403, "admin": 204} {
		if got := call(h, "PUT", "/v2/users/Export", token).StatusCode; got != want {
			t.Errorf("PUT /v2/users/Export as %s: %d, want %d", token, got, want)
		}
	}
	wide := (&guard.Guard{Dialect: load(t, "oauth2"), Verifier: people(), Routes: parseRoutes(t, "GET /{rest...} -> token\nGET /admin -> scope:boss\nGET /docs/ -> scope:boss")}).Handler(reached)
	for target, want := range map[string]int{"/": 204, "/x": 204, "/admin": 403, "/admin/": 403, "/Admin": 403, "/ADMIN/": 403, "/docs": 403, "/Docs": 403, "/docs/": 403, "/docs/x": 204} {
		if got := call(wide, "GET", target, "guest").StatusCode; got != want {
			t.Errorf("GET %s: %d, want %d", target, got, want)
		}
	}
}

// Other servers have names for a folder's own page, run a script that answers
// for all paths below it, keep a session in the path, or find a file by its name
// without what follows the dot. What they serve needs what its own path needs.
func TestIndexesAndScriptsBehindWideRoutes(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "oauth2"), Verifier: people(), Routes: parseRoutes(t, `
		* /{rest...} -> token
		* / -> scope:admin
		* /admin -> scope:admin
		* /main -> scope:admin
		* /t/{tenant}/x -> token
		* /users/{self} -> token
		* /users/{id} -> scope:admin
		* /reports/index.html -> scope:admin
		* /sheets/pay.html -> scope:admin
		* /kept/index.php/{rest...} -> token
		* /kept/{rest...} -> scope:admin
		* /index.php/open -> token
		* /open -> scope:admin`), GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Fields: map[string]string{}}}}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	h := g.Handler(reached)
	for target, want := range map[string]int{
		"/x":                           204,
		"/index.php":                   403,
		"/index.html":                  403,
		"/index.php/x":                 204,
		"/index.php/admin":             403,
		"/INDEX.PHP/Admin/":            403,
		"/app_dev.php/admin":           403,
		"/admin/index":                 403,
		"/admin/Index.html":            403,
		"/a/index.php/admin":           204, // nothing stands at /a/admin
		"/dispatch.fcgi/admin":         403,
		"/(S(abc))/admin":              403,
		"/admin/x":                     204,
		"/adm%C4%B1n":                  403,
		"/ma%C4%B0n":                   403,
		"/index.php/t/globex/x":        403,
		"/index.php/users/7":           403,
		"/index.php/users/me":          204,
		"/index.php/users/id-of-guest": 204,
		"/reports/index.html":          403,
		"/reports/index.htm":           403,
		"/reports/":                    403,
		"/reports":                     403,
		"/Reports":                     403,
		"/reports/x":                   204,
		"/sheets/pay":                  403,
		"/sheets/Pay":                  403,
		"/sheets/payday":               204,
		"/kept/index.php/x":            204,
		"/kept/x":                      403,
		"/index.php/open":              204, // names it
		"/index.php/Open":              403,
		"/index.php/graphql":           403,
		"/graphql/index.php":           403,
		"/app.php/GraphQL.json":        403,
		"/x.php":                       204,
		"/indexes":                     204,
	} {
		if got := call(h, "GET", target, "guest").StatusCode; got != want {
			t.Errorf("GET %s: %d, want %d", target, got, want)
		}
	}
	for _, method := range []string{"COPY", "MOVE"} { // to which other path?
		if got := call(h, method, "/x", "guest").StatusCode; got != 405 {
			t.Errorf("%s: %d", method, got)
		}
	}
}
