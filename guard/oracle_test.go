package guard_test

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
)

// An oracle decides as the documents say, slowly: it tries every route as a
// regular expression and sorts what fits.
type oracle struct {
	routes, table []guard.Route
	permissions   dialect.Permissions
	order         []string
	open          bool
}

func newOracle(g *guard.Guard) *oracle {
	o := &oracle{routes: g.Routes, permissions: g.Permissions, order: g.Dialect.Scope.Order}
	if o.permissions == nil {
		o.permissions = g.Dialect.Permissions
	}
	o.open = o.permissions == nil && len(o.routes) == 0
	for resource, row := range o.permissions {
		at := g.Dialect.Call.Path() + "/" + resource
		for verb, calls := range map[string][]string{
			"list": {"GET " + at}, "create": {"POST " + at}, "delete": {"DELETE " + at + "/{id}"}, "fetch": {"GET " + at + "/{id}"},
			"update": {"PUT " + at + "/{id}", "PATCH " + at + "/{id}"}, "fetch_self": {"GET " + at + "/{self}"},
			"update_self": {"PUT " + at + "/{self}", "PATCH " + at + "/{self}"},
		} {
			for _, c := range calls {
				if method, path, _ := strings.Cut(c, " "); row[verb] != "" {
					o.table = append(o.table, guard.Route{Method: method, Path: path, Needs: resource + "." + verb})
				}
			}
		}
	}
	return o
}

var holes = regexp.MustCompile(`\\\{([a-z]+)(\\\.\\\.\\\.)?\\\}`)

// patterns remembers regular expressions by what they are made of.
var patterns sync.Map // :: path of a route and subject -> *regexp.Regexp

// fits matches a path against a route, and returns what stands at {tenant}.
// {self} is any segment unless strict.
func fits(path string, r guard.Route, c *jeton.Claims, strict bool) (tenants []string, ok bool) {
	self := `[^/]+`
	if strict {
		self = `me`
	}
	if strict && c.Subject != "" {
		self = `(?:me|` + regexp.QuoteMeta(c.Subject) + `)`
	}
	made, ok := patterns.Load(r.Path + " " + self)
	if !ok {
		text := holes.ReplaceAllStringFunc(regexp.QuoteMeta(r.Path), func(hole string) string {
			switch {
			case strings.HasSuffix(hole, `\.\.\.\}`):
				return `.*`
			case strings.Contains(hole, "self"):
				return self
			case strings.Contains(hole, "tenant"):
				return `([^/]+)`
			}
			return `[^/]+`
		})
		made, _ = patterns.LoadOrStore(r.Path+" "+self, regexp.MustCompile(`^`+text+`$`))
	}
	match := made.(*regexp.Regexp).FindStringSubmatch(path)
	if match == nil {
		return nil, false
	}
	return match[1:], true
}

var capitals = regexp.MustCompile(`^[A-Z-]+$`)

func methodFits(of, method string) bool {
	return of == method || of == "GET" && method == "HEAD" ||
		of == "*" && capitals.MatchString(method) && !slices.Contains([]string{"OPTIONS", "TRACE", "CONNECT", "COPY", "MOVE"}, method)
}

// rank sorts routes: per segment a text, {self}, another, the rest; then the
// method, GET before HEAD's stand-in, and any last.
func rank(r guard.Route, method string) string {
	s := ""
	for _, segment := range strings.Split(r.Path, "/")[1:] {
		switch {
		case strings.HasSuffix(segment, "...}"):
			s += "4"
		case segment == "{self}":
			s += "2"
		case strings.HasPrefix(segment, "{"):
			s += "3"
		default:
			s += "1"
		}
	}
	s += "0" // what ends here is more definite than what goes on
	switch r.Method {
	case method:
		return s + "a"
	case "*":
		return s + "c"
	}
	return s + "b"
}

// decide returns the status, 204 if the call is let through, and the route.
func (o *oracle) decide(method, path string, c *jeton.Claims) (status int, by string) {
	switch {
	case method == "TRACE" || method == "CONNECT":
		return 405, ""
	case o.open:
		return 204, "* /{path...} -> token"
	}
	known, forMethod := false, false
	for _, layer := range [][]guard.Route{o.routes, o.table} {
		var best *guard.Route
		for _, r := range layer {
			_, loose := fits(path, r, c, false)
			known = known || loose
			forMethod = forMethod || loose && methodFits(r.Method, method)
			if _, ok := fits(path, r, c, true); ok && methodFits(r.Method, method) && (best == nil || rank(r, method) < rank(*best, method)) {
				best = &r
			}
		}
		if best != nil {
			status := o.need(*best, path, c)
			if stricter := o.loosely(method, path, c); status == 204 && stricter != nil && tighter(best.Path, stricter.Path) && o.need(*stricter, path, c) != 204 {
				return 403, stricter.String()
			}
			if shorter := withoutIndex(path, best.Path); status == 204 && shorter != path {
				if other := o.loosely(method, shorter, c); other != nil && *other != *best && o.need(*other, shorter, c) != 204 {
					return 403, other.String()
				}
			}
			return status, best.String()
		}
	}
	if known && !forMethod {
		return 405, ""
	}
	return 403, ""
}

// withoutIndex returns a path without the segments that are index or index.php,
// as a server with a front controller reads it, where a route does not name them.
func withoutIndex(path, route string) string {
	names, out := strings.Split(route, "/"), ""
	for i, s := range strings.Split(path, "/")[1:] {
		if i+1 < len(names) && names[i+1] == s || s != "index" && s != "index.php" {
			out += "/" + s
		}
	}
	return cmp.Or(out, "/")
}

// loosely returns the route of a call for a server that ignores case, a slash at
// the end, what follows a dot, and dots at the end.
func (o *oracle) loosely(method, path string, c *jeton.Claims) *guard.Route {
	path = "/" + strings.Trim(path, "/")
	for _, layer := range [][]guard.Route{o.routes, o.table} {
		var best *guard.Route
		for _, r := range layer {
			if looseFits(r, path, c) && methodFits(r.Method, method) && (best == nil || rank(r, method) < rank(*best, method)) {
				best = &r
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

var texts = regexp.MustCompile(`/([a-z0-9]+)`)

func looseFits(r guard.Route, path string, c *jeton.Claims) bool {
	self := `(?:me|` + regexp.QuoteMeta(cmp.Or(c.Subject, "me")) + `)`
	made, ok := patterns.Load("loosely " + r.Path + " " + self)
	if !ok {
		text := regexp.QuoteMeta(strings.TrimSuffix(r.Path, "/"))
		text = texts.ReplaceAllString(text, `/(?i:$1)(?:[.]*|[.][^./]*)`)
		text = strings.NewReplacer(`/\{rest\.\.\.\}`, `(?:/.*)?`, `\{self\}`, self).Replace(text)
		text = holes.ReplaceAllString(text, `[^/]+`)
		if text == "" {
			text = "/"
		}
		made, _ = patterns.LoadOrStore("loosely "+r.Path+" "+self, regexp.MustCompile(`^`+text+`$`))
	}
	return made.(*regexp.Regexp).MatchString(path)
}

// tighter reports whether a path of a route has something more definite than
// another one in some place.
func tighter(wide, than string) bool {
	w, t := strings.Split(strings.TrimSuffix(wide, "/"), "/"), strings.Split(strings.TrimSuffix(than, "/"), "/")
	for i, s := range w {
		other := "" // the end
		if i < len(t) {
			other = t[i]
		}
		switch {
		case strings.HasSuffix(s, "...}"):
			return !strings.HasSuffix(other, "...}")
		case strings.HasPrefix(s, "{") && !strings.HasPrefix(other, "{"):
			return true
		}
	}
	return false
}

func (o *oracle) need(r guard.Route, path string, c *jeton.Claims) int {
	for i, segment := range strings.Split(r.Path, "/") {
		if segment == "{tenant}" && strings.Split(path, "/")[i] != c.Tenant {
			return 403
		}
	}
	least := o.least(r)
	if least == "" {
		return 204
	}
	if (dialect.ScopeRule{Order: o.order}).Grants(c.Scope, least) {
		return 204
	}
	return 403
}

func (o *oracle) least(r guard.Route) string {
	if r.Needs == "token" {
		return ""
	}
	least, isScope := strings.CutPrefix(r.Needs, "scope:")
	if !isScope {
		dot := strings.LastIndex(r.Needs, ".")
		least = o.permissions[r.Needs[:dot]][r.Needs[dot+1:]]
	}
	return least
}

// someGuard draws a guard whose routes can be told apart.
func someGuard(t *rapid.T, dialects map[string]*dialect.Dialect) *guard.Guard {
	name := rapid.SampledFrom([]string{"web1on1", "oauth2", "alvys"}).Draw(t, "dialect")
	g := &guard.Guard{Dialect: dialects[name]}
	needs := []string{"token", "scope:guest", "scope:bot", "scope:admin"}
	if rapid.Bool().Draw(t, "permissions") {
		g.Permissions = dialect.Permissions{"a": {"list": "guest", "fetch": "bot", "fetch_self": "agent", "update": "admin", "odd": "bot"}, "b": {"create": "guest", "update_self": "guest"}}
		needs = append(needs, "a.odd", "a.list", "b.create")
	}
	bases := []string{"/v2", "/v1", "/a", "", "/v2/a"}
	segment := rapid.SampledFrom([]string{"a", "b", "me", "{id}", "{x}", "{self}", "{tenant}"})
	for range rapid.IntRange(0, 8).Draw(t, "routes") {
		r := guard.Route{
			Method: rapid.SampledFrom([]string{"GET", "GET", "POST", "HEAD", "OPTIONS", "PUT", "*"}).Draw(t, "method"),
			Path:   rapid.SampledFrom(bases).Draw(t, "base"),
			Needs:  rapid.SampledFrom(needs).Draw(t, "needs"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "segments") {
			r.Path += "/" + segment.Draw(t, "segment")
		}
		r.Path += rapid.SampledFrom([]string{"", "", "/", "/{rest...}"}).Draw(t, "end")
		if r.Path == "" {
			r.Path = "/"
		}
		routes := append(slices.Clone(g.Routes), r)
		if (&guard.Guard{Dialect: g.Dialect, Permissions: g.Permissions, Routes: routes}).Check() == nil {
			g.Routes = routes
		}
	}
	return g
}

func someClaims(t *rapid.T) *jeton.Claims {
	return &jeton.Claims{
		Subject: rapid.SampledFrom([]string{"", "a", "s", "me"}).Draw(t, "subject"),
		Tenant:  rapid.SampledFrom([]string{"", "a", "t"}).Draw(t, "tenant"),
		Scope:   rapid.SliceOfN(rapid.SampledFrom([]string{"guest", "agent", "bot", "admin", "other"}), 0, 2).Draw(t, "scope"),
	}
}

// What is decided is what the documents say, for whoever asks: a call through
// the guard, Explain and Matrix. The oracle shares no code with any.
func TestDecisionsAgree(t *testing.T) {
	all := map[string]*dialect.Dialect{"web1on1": load(t, "web1on1"), "oauth2": load(t, "oauth2"), "alvys": load(t, "alvys")}
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		g := someGuard(t, all)
		v := verifier{}
		g.Verifier = v
		o, h := newOracle(g), g.Handler(reached)
		for range 12 {
			v["t"] = someClaims(t)
			method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "MOVE", "get", "TRACE"}).Draw(t, "method")
			path := ""
			for range rapid.IntRange(1, 4).Draw(t, "segments") {
				path += "/" + rapid.SampledFrom([]string{"a", "a", "b", "me", "s", "t", "v2", "v2", "v1", "users", "forms", "A", "b.json", "a.", "V2", "index.php", "index"}).Draw(t, "segment")
			}
			path += rapid.SampledFrom([]string{"", "", "/"}).Draw(t, "end")
			want, by := o.decide(method, path, v["t"])
			seen[fmt.Sprintf("%d %v", want, by != "")]++
			if got := call(h, method, path, "t").StatusCode; got != want {
				t.Fatalf("%s %s of %+v is answered %d, want %d by %q, routes %v", method, path, v["t"], got, want, by, g.Routes)
			}
			e, err := g.Explain(method, path, v["t"])
			if err != nil {
				t.Fatal(err)
			}
			rule := ""
			if e.Rule != nil {
				rule = guard.Route{Method: e.Rule.Method, Path: e.Rule.Path, Needs: e.Rule.Needs}.String()
			}
			if e.Allowed != (want == 204) || !e.Allowed && e.Status != want || rule != by {
				t.Fatalf("%s %s of %+v is explained as %+v, %q, want %d by %q", method, path, v["t"], e, rule, want, by)
			}
		}
		checkMatrix(t, g, o, seen)
	})
	for _, what := range []string{"204 true", "403 true", "403 false", "405 false", "cell true", "cell false"} {
		if seen[what] == 0 {
			t.Errorf("never seen: %s", what)
		}
	}
}

// checkMatrix holds every cell against the oracle, which judges a call that the
// row stands for.
func checkMatrix(t *rapid.T, g *guard.Guard, o *oracle, seen map[string]int) {
	m, err := g.Matrix()
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, row := range m.Rows {
		route := guard.Route{Method: row.Method, Path: row.Path, Needs: row.Needs}
		rows[route.String()] = true
		method, path := o.example(route)
		if path == "" {
			t.Fatalf("row %s never decides", route)
		}
		for i, scope := range m.Scopes {
			claims := stranger
			claims.Scope = jeton.ParseScope(scope)
			status, _ := o.decide(method, path, &claims)
			seen[fmt.Sprintf("cell %v", row.Allowed[i])]++
			if row.Allowed[i] != (status == 204) {
				t.Fatalf("row %s, scope %q: %v, want %d", route, scope, row.Allowed[i], status)
			}
		}
	}
	for _, r := range slices.Concat(o.routes, o.table) {
		if _, path := o.example(r); path != "" && !rows[r.String()] {
			t.Fatalf("the matrix has no row for %s", r)
		}
	}
}

var stranger = jeton.Claims{Subject: "zs", Tenant: "zt"}

// example returns a call that a route decides, of the stranger; no path if it
// decides none.
func (o *oracle) example(r guard.Route) (method, path string) {
	method = strings.Replace(r.Method, "*", "PURGE", 1)
	able := stranger
	able.Scope = jeton.ParseScope(o.least(r))
	for _, rest := range []string{"", "zz", "zz/zz", "zz/zz/zz", "zz/zz/zz/zz", "zz/zz/zz/zz/zz"} {
		path := strings.NewReplacer("{self}", "zs", "{tenant}", "zt", "{id}", "zz", "{x}", "zz", "{rest...}", rest, "{path...}", rest).Replace(r.Path)
		if _, by := o.decide(method, path, &able); by == r.String() {
			return method, path
		}
	}
	return "", ""
}
