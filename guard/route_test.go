package guard_test

import (
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
)

func parseRoutes(t testing.TB, lines string) []guard.Route {
	t.Helper()
	var routes []guard.Route
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		r, err := guard.ParseRoute(line)
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, r)
	}
	return routes
}

func TestParseRoute(t *testing.T) {
	r, err := guard.ParseRoute("  GET  /v2/conversations->conversations.list ")
	if want := (guard.Route{Method: "GET", Path: "/v2/conversations", Needs: "conversations.list"}); err != nil || r != want {
		t.Errorf("%v, %v", r, err)
	}
	if got := r.String(); got != "GET /v2/conversations -> conversations.list" {
		t.Errorf("prints as %q", got)
	}
	for _, good := range []string{
		"* /{rest...} -> token", "OPTIONS / -> token", "GET /a/ -> scope:orders:read", "GET /caf%C3%A9/a%20b -> a.b.list", "M-SEARCH /x -> token",
		"GET /t/{tenant}/u/{self} -> token", "GET /a/{file_1}/{rest_2...} -> token",
	} {
		if _, err := guard.ParseRoute(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for text, want := range map[string]string{
		"":                             "METHOD PATH -> NEED",
		"GET /a":                       "METHOD PATH -> NEED",
		"GET /a b -> token":            "METHOD PATH -> NEED",
		"GET /a ->":                    "METHOD PATH -> NEED",
		"/a -> token":                  "METHOD PATH -> NEED",
		"get /a -> token":              "in capitals",
		"TRACE /a -> token":            "never lets TRACE",
		"CONNECT /a -> token":          "never lets CONNECT",
		"GET a -> token":               "begin with a slash",
		"GET /a/*/b -> token":          "write {name}",
		"GET /a{id} -> token":          "neither a text nor",
		"GET /{id}a -> token":          "neither a text nor",
		"GET /{} -> token":             "a name of letters",
		"GET /{...} -> token":          "a name of letters",
		"GET /{a-b} -> token":          "a name of letters",
		"GET /{rest...}/a -> token":    "at the end",
		"GET /{self...} -> token":      "one segment",
		"GET /a/../b -> token":         "no call with such a path",
		"GET /a//b -> token":           "no call with such a path",
		"GET //{id} -> token":          "no call with such a path",
		"GET /a;b -> token":            "no call with such a path",
		"GET /a%2Fb -> token":          "neither a text nor",
		"GET /a%5cb -> token":          "no call with such a path",
		"GET /a%zz -> token":           "neither a text nor",
		"GET /a -> conversations":      "RESOURCE.VERB",
		"GET /a -> .list":              "RESOURCE.VERB",
		"GET /a -> a.":                 "RESOURCE.VERB",
		"GET /a -> a b.list":           "RESOURCE.VERB",
		"GET /a -> scope:":             "RESOURCE.VERB",
		"GET /a -> scope:a b":          "RESOURCE.VERB",
		"GET /a -> scope:\"":           "RESOURCE.VERB",
		"GET /a -> Token":              "RESOURCE.VERB",
		"GET /a?b=c -> token":          "no call with such a path",
		"GET /a#b -> token":            "no call with such a path",
		"GET /a/{x} -> token -> token": "RESOURCE.VERB",
	} {
		if _, err := guard.ParseRoute(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want one about %q", text, err, want)
		}
	}
}

// What is wrong with routes and permissions is told before the first call, and
// a guard that was not asked refuses every call.
func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		dialect     string
		permissions dialect.Permissions
		routes      string
		want        string // in the error; empty: none
	}{
		"good":             {"web1on1", nil, "GET /v2/users/export -> users.list\nGET /v2/users/{id} -> users.fetch\n* /v2/{rest...} -> scope:admin", ""},
		"resource":         {"web1on1", nil, "GET /a -> user.list", `no permissions for "user"`},
		"verb":             {"web1on1", nil, "GET /a -> users.archive", `no permission "users.archive"; users has create, delete, fetch, fetch_self, list, update, update_self`},
		"no table":         {"oauth2", nil, "GET /a -> users.list", `no permissions for "users"`},
		"scope":            {"web1on1", nil, "GET /a -> scope:agnet", `no scope "agnet"; the dialect has guest, agent, bot, admin`},
		"scope, no order":  {"oauth2", nil, "GET /a -> scope:anything", ""},
		"table":            {"web1on1", dialect.Permissions{"users": {"list": "root"}}, "", `permission users.list: there is no scope "root"`},
		"replaced":         {"web1on1", dialect.Permissions{"things": {"list": "bot"}}, "GET /a -> users.list", `no permissions for "users"`},
		"own verb":         {"oauth2", dialect.Permissions{"users": {"archive": "boss"}}, "POST /users/{id}/archive -> users.archive", ""},
		"twice":            {"oauth2", nil, "GET /a -> token\nGET /a -> scope:x", "cannot be told from"},
		"other names":      {"oauth2", nil, "GET /{a} -> token\nGET /{b} -> token", "cannot be told from"},
		"tenant and any":   {"oauth2", nil, "GET /{tenant} -> token\nGET /{id} -> token", "cannot be told from"},
		"crossing":         {"oauth2", nil, "GET /a/{x} -> token\nGET /{x}/b -> token", "cannot be told from"},
		"crossing, self":   {"oauth2", nil, "GET /{self}/{x} -> token\nGET /{x}/b -> token", "cannot be told from"},
		"crossing methods": {"oauth2", nil, "* /a/b -> token\nGET /a/{x} -> token", "cannot be told from"},
		"HEAD":             {"oauth2", nil, "GET /a/b -> token\nHEAD /a/{x} -> token", "cannot be told from"},
		"rest":             {"oauth2", nil, "GET /a/{x...} -> token\nGET /{x}/b -> token", "cannot be told from"},
		"same rest":        {"oauth2", nil, "GET /a/{x...} -> token\nGET /a/{y...} -> token", "cannot be told from"},
		"apart":            {"oauth2", nil, "GET /a/{x} -> token\nPOST /{x}/b -> token\nOPTIONS /a/b -> token\n* /{x}/{y}/ -> token", ""},
		"nested":           {"oauth2", nil, "GET /a/b -> token\nGET /a/{self} -> token\nGET /a/{x} -> token\nGET /a/{x...} -> token\n* /{x...} -> token", ""},
		"bare":             {"web1on1", nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := &guard.Guard{Dialect: load(t, tt.dialect), Verifier: people(), Permissions: tt.permissions}
			if tt.routes != "" {
				g.Routes = parseRoutes(t, tt.routes)
			}
			err := g.Check()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if tt.want != "" {
				unchecked := &guard.Guard{Dialect: g.Dialect, Verifier: people(), Permissions: tt.permissions, Routes: g.Routes}
				if got := call(unchecked.Handler(reached), "GET", "/a", "admin").StatusCode; got != 503 {
					t.Errorf("a guard with this mistake answers %d", got)
				}
			}
		})
	}
	// Routes that ParseRoute never saw are checked as well, and all is told.
	g := &guard.Guard{Dialect: load(t, "oauth2"), Routes: []guard.Route{{}, {Method: "GET", Path: "/a", Needs: "nothing"}}}
	if err := g.Check(); err == nil || strings.Count(err.Error(), "guard: route") != 2 {
		t.Errorf("%v", err)
	}
}

func TestRoutes(t *testing.T) {
	v := people()
	v["acme"] = &jeton.Claims{Subject: "u7", Tenant: "acme", Scope: jeton.Scope{"agent"}}
	v["globex"] = &jeton.Claims{Subject: "u8", Tenant: "globex", Scope: jeton.Scope{"admin"}}
	v["nobody"] = &jeton.Claims{Scope: jeton.Scope{"guest"}}
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: v, Routes: parseRoutes(t, `
		GET /v2/conversations -> scope:bot
		POST /v2/conversations/{id}/archive -> conversations.update
		GET /v2/users/export -> scope:admin
		GET /v2/users/{id}/orders -> users.fetch
		GET /v2/users/{self}/orders -> token
		PUT /v2/users/{self}/photo -> token
		GET /v2/t/{tenant}/x -> scope:agent
		GET /v2/t/{rest...} -> token
		* /v2/hooks/{id} -> token
		DELETE /v2/hooks/{id} -> scope:admin
		GET /v2/hooks/{id} -> scope:bot
		OPTIONS /v2/messages -> token
		GET /files/{rest...} -> token
		GET /caf%C3%A9/ -> token`)}
	if err := g.Check(); err != nil {
		t.Fatal(err)
	}
	h := g.Handler(reached)
	for _, tt := range []struct {
		method, target, token string
		want                  int
		allow                 string
	}{
		// A route comes before the table, which has agent here.
		{"GET", "/v2/conversations", "agent", 403, ""},
		{"GET", "/v2/conversations", "bot", 204, ""},
		{"HEAD", "/v2/conversations", "agent", 403, ""},
		{"HEAD", "/v2/conversations", "bot", 204, ""},
		// What no route names is the table's as before.
		{"POST", "/v2/conversations", "agent", 204, ""},
		{"PUT", "/v2/conversations", "admin", 405, "GET, HEAD, POST"},
		{"GET", "/v2/conversations/7", "guest", 204, ""},
		{"POST", "/v2/conversations/7/archive", "bot", 403, ""},
		{"POST", "/v2/conversations/7/archive", "admin", 204, ""},
		{"GET", "/v2/conversations/7/archive", "admin", 405, "POST"},
		{"POST", "/v2/conversations/7/archive/", "admin", 403, ""},
		{"POST", "/v2/conversations/7/Archive", "admin", 403, ""},
		// A text is more specific than what follows from the table, {self} than {id}.
		{"GET", "/v2/users/export", "bot", 403, ""},
		{"GET", "/v2/users/7", "bot", 204, ""},
		{"GET", "/v2/users/7/orders", "agent", 403, ""},
		{"GET", "/v2/users/7/orders", "bot", 204, ""},
		{"GET", "/v2/users/me/orders", "guest", 204, ""},
		{"GET", "/v2/users/id-of-guest/orders", "guest", 204, ""},
		{"GET", "/v2/users/id-of-bot/orders", "guest", 403, ""},
		{"GET", "/v2/users/me/orders", "nobody", 204, ""},
		{"PUT", "/v2/users/id-of-guest/photo", "guest", 204, ""},
		{"PUT", "/v2/users/id-of-guest/photo", "admin", 403, ""},
		{"GET", "/v2/users/me/photo", "admin", 405, "PUT"},
		// Another tenant's route is closed, whatever the scope, and no wider
		// route opens it.
		{"GET", "/v2/t/acme/x", "acme", 204, ""},
		{"GET", "/v2/t/globex/x", "acme", 403, ""},
		{"GET", "/v2/t/acme/x", "globex", 403, ""},
		{"GET", "/v2/t/globex/x", "globex", 204, ""},
		{"GET", "/v2/t/acme/x", "admin", 403, ""},
		{"GET", "/v2/t/ACME/x", "acme", 403, ""},
		{"GET", "/v2/t/acme/y", "globex", 204, ""},
		// Any method is one in capitals, but OPTIONS.
		{"PATCH", "/v2/hooks/7", "guest", 204, ""},
		{"HEAD", "/v2/hooks/7", "guest", 403, ""},
		{"HEAD", "/v2/hooks/7", "bot", 204, ""},
		{"PURGE", "/v2/hooks/7", "guest", 204, ""},
		{"DELETE", "/v2/hooks/7", "guest", 403, ""},
		{"DELETE", "/v2/hooks/7", "admin", 204, ""},
		{"delete", "/v2/hooks/7", "guest", 405, "GET, HEAD, POST, PUT, PATCH, DELETE"},
		{"OPTIONS", "/v2/hooks/7", "admin", 405, "GET, HEAD, POST, PUT, PATCH, DELETE"},
		{"OPTIONS", "/v2/messages", "guest", 204, ""},
		{"PUT", "/v2/messages", "admin", 405, "GET, HEAD, POST, OPTIONS"},
		{"TRACE", "/v2/hooks/7", "admin", 405, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
		{"CONNECT", "/v2/hooks/7", "admin", 405, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"},
		// What follows may be nothing, and is never the folder without its slash.
		{"GET", "/files/", "guest", 204, ""},
		{"GET", "/files/a/b/", "guest", 204, ""},
		{"GET", "/files", "admin", 403, ""},
		{"GET", "/files/a/../b", "admin", 400, ""},
		{"GET", "/caf%C3%A9/", "guest", 204, ""},
		{"GET", "/caf%c3%a9/", "guest", 204, ""},
		{"GET", "/caf%C3%A9", "guest", 403, ""},
		{"GET", "/", "admin", 403, ""},
	} {
		answer := call(h, tt.method, tt.target, tt.token)
		if answer.StatusCode != tt.want || answer.Header.Get("Allow") != tt.allow {
			t.Errorf("%s %s as %s: %d, Allow %q, want %d, %q", tt.method, tt.target, tt.token,
				answer.StatusCode, answer.Header.Get("Allow"), tt.want, tt.allow)
		}
	}
}

// Permissions of the guard stand for those of the dialect, of which nothing is
// left.
func TestPermissionsReplace(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people(), Permissions: dialect.Permissions{"things": {"list": "agent", "fetch_self": "guest"}}}
	h := g.Handler(reached)
	for target, want := range map[string][4]int{ // :: path -> guest, agent, bot, admin
		"/v2/things":             {403, 204, 204, 204},
		"/v2/things/7":           {403, 403, 403, 403},
		"/v2/things/id-of-agent": {403, 204, 403, 403},
		"/v2/users":              {403, 403, 403, 403},
	} {
		for i, scope := range []string{"guest", "agent", "bot", "admin"} {
			if got := call(h, "GET", target, scope).StatusCode; got != want[i] {
				t.Errorf("GET %s as %s: %d, want %d", target, scope, got, want[i])
			}
		}
	}
	// A table without a row refuses everything.
	h = (&guard.Guard{Dialect: load(t, "oauth2"), Verifier: people(), Permissions: dialect.Permissions{}}).Handler(reached)
	if got := call(h, "GET", "/", "admin").StatusCode; got != 403 {
		t.Errorf("an empty table: %d", got)
	}
}

// What the guard knows by heart it decides without an allocation.
func TestDecideAllocates(t *testing.T) {
	v := people()
	v["acme"] = &jeton.Claims{Subject: "u7", Tenant: "acme", Scope: jeton.Scope{"openid", "agent"}}
	many := make([]string, 40)
	for i := range many {
		many[i] = "GET /many/" + strings.Repeat("x", i+1) + " -> token"
	}
	for name, tt := range map[string]struct{ dialect, routes, target, token string }{
		"open":   {"oauth2", "", "/v1/anything/7", "guest"},
		"query":  {"oauth2", "", "/v1/anything/7?a=b%20c&d=e+f", "guest"},
		"table":  {"web1on1", "", "/v2/conversations/7", "guest"},
		"self":   {"web1on1", "", "/v2/users/id-of-guest", "guest"},
		"tenant": {"web1on1", "GET /t/{tenant}/{rest...} -> scope:agent", "/t/acme/a/b/c", "acme"},
		"wide":   {"oauth2", "GET /{rest...} -> token\nGET /admin -> scope:admin", "/x/y.z/", "guest"},
		"many":   {"oauth2", strings.Join(many, "\n"), "/many/xxxxxxxxxxxxx", "guest"},
	} {
		g := &guard.Guard{Dialect: load(t, tt.dialect), Verifier: v}
		if tt.routes != "" {
			g.Routes = parseRoutes(t, tt.routes)
		}
		r := callRequest("GET", tt.target, tt.token)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := g.Decide(r); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
