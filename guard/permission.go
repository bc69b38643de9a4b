package guard

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A policy is what the routes and the permission table of a guard come to. It
// is made once; to judge a call by it allocates nothing.
type policy struct {
	layers []*node // the first that names a call decides
	rules  []*rule // in the order of layers, for who wants to see them
	open   *rule   // what decides where there is neither a route nor a table

	graphql  *GraphQL
	document *rule // what decides a call to the GraphQL endpoint
}

// A rule is what decides a call.
type rule struct {
	Rule
	pattern pattern
	enough  []string // scopes of which one suffices; nil: a good token does
	tenant  []int    // segments of the path that are to be the token's tenant
}

// A node is a place in the tree of paths.
type node struct {
	texts     []branch         // what follows a text
	many      map[string]*node // the same where there are more than a few; else nil
	self, any *node            // what follows {self}, and {name} or {tenant}
	ends      []endpoint       // routes that end here
	rest      []endpoint       // routes that end here with {name...}
}

type branch struct {
	text string
	next *node
}

// few is up to how many texts are looked at one by one.
const few = 12

// by returns what follows a text, or nil.
func (n *node) by(text string) *node {
	if n.many != nil {
		return n.many[text]
	}
	for i := range n.texts {
		if n.texts[i].text == text {
			return n.texts[i].next
		}
	}
	return nil
}

// grow returns what follows a text, new if need be.
func (n *node) grow(text string) *node {
	next := n.by(text)
	if next != nil {
		return next
	}
	next = &node{}
	n.texts = append(n.texts, branch{text, next})
	if len(n.texts) > few {
		n.many = map[string]*node{}
		for _, b := range n.texts {
			n.many[b.text] = b.next
		}
	}
	return next
}

type endpoint struct {
	method string // "*": any
	rule   *rule
}

// What a policy says of a call.
type verdict struct {
	rule    *rule // that decided; nil: none
	finding finding
}

type finding int

const (
	allowed       finding = iota
	scopeMissing          // no scope of the token suffices
	foreignTenant         // the path names another tenant than the token
	notOwn                // all that names the call is for the caller's own record
	noMethod              // the path is known, the method is not
	unnamed               // nothing names the call
)

// judge says what the policy is about a call whose path is canonical.
func (p *policy) judge(method, path string, c *jeton.Claims) verdict {
	if p.graphql.at(path) {
		return verdict{p.document, allowed}
	}
	near := p.graphql.near(path)
	if p.open != nil && !near {
		return verdict{p.open, allowed}
	}
	for _, layer := range p.layers {
		if r := layer.find(path[1:], method, c); r != nil && (!near || r.names(p.graphql.At)) {
			return verdict{r, r.judge(path, c)}
		}
	}
	switch methods := p.methods(path); {
	case len(methods) == 0:
		return verdict{finding: unnamed}
	case slices.ContainsFunc(methods, func(m string) bool { return endpoint{method: m}.takes(method) }):
		return verdict{finding: notOwn}
	}
	return verdict{finding: noMethod}
}

func (r *rule) judge(path string, c *jeton.Claims) finding {
	for _, i := range r.tenant {
		if segmentOf(path, i) != c.Tenant { // which is never empty
			return foreignTenant
		}
	}
	if r.enough == nil {
		return allowed
	}
	for _, have := range c.Scope {
		for _, enough := range r.enough {
			if have == enough {
				return allowed
			}
		}
	}
	return scopeMissing
}

// names reports whether the path of a rule begins with as many texts as there
// are segments in another path. Only such a rule was written with the GraphQL
// endpoint in mind: what a server may take for it is not for a wider one.
func (r *rule) names(path string) bool {
	n := strings.Count(strings.TrimSuffix(path, "/"), "/")
	return len(r.pattern) >= n && !slices.ContainsFunc(r.pattern[:n], func(s segment) bool { return s.kind != isText })
}

// segmentOf returns a segment of a path, from 0.
func segmentOf(path string, i int) (segment string) {
	path = path[1:]
	for ; i >= 0; i-- {
		segment, path, _ = cutSegment(path)
	}
	return segment
}

// cutSegment is strings.Cut at a slash, faster where that comes soon.
func cutSegment(path string) (segment, rest string, more bool) {
	for i := range len(path) {
		if path[i] == '/' {
			return path[:i], path[i+1:], true
		}
	}
	return path, "", false
}

// find returns the rule of the most specific route for a call, or nil. path has
// no slash at its start.
func (n *node) find(path, method string, c *jeton.Claims) *rule {
	text, path, more := cutSegment(path)
	if next := n.by(text); next != nil {
		if r := next.follow(path, more, method, c); r != nil {
			return r
		}
	}
	if n.self != nil && (text == "me" || text == c.Subject && text != "") {
		if r := n.self.follow(path, more, method, c); r != nil {
			return r
		}
	}
	if n.any != nil && text != "" {
		if r := n.any.follow(path, more, method, c); r != nil {
			return r
		}
	}
	return choose(n.rest, method)
}

func (n *node) follow(path string, more bool, method string, c *jeton.Claims) *rule {
	if more {
		return n.find(path, method, c)
	}
	return choose(n.ends, method)
}

// choose returns the rule for a method: its own, for HEAD that of GET, else
// that of any method.
func choose(list []endpoint, method string) *rule {
	var found *rule
	for _, e := range list {
		if e.method == method {
			return e.rule
		}
		if e.takes(method) && (found == nil || e.method != "*") {
			found = e.rule
		}
	}
	return found
}

const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-"

// takes reports whether a route of a method is about calls of another. A
// method that is not in capitals is none that "*" means: servers that fold the
// case would see a method with a route of its own.
func (e endpoint) takes(method string) bool {
	switch e.method {
	case method:
		return true
	case http.MethodGet:
		return method == http.MethodHead
	case "*":
		return method != http.MethodOptions && method != http.MethodTrace && method != http.MethodConnect &&
			method != "" && strings.Trim(method, capitals) == ""
	}
	return false
}

// methods returns the methods of all routes that a path has, whoever calls.
func (p *policy) methods(path string) []string {
	var list []string
	for _, layer := range p.layers {
		layer.collect(path[1:], &list)
	}
	return list
}

func (n *node) collect(path string, into *[]string) {
	text, path, more := cutSegment(path)
	next := []*node{n.by(text)}
	if text != "" {
		next = append(next, n.self, n.any)
	}
	add := func(list []endpoint) {
		for _, e := range list {
			*into = append(*into, e.method)
		}
	}
	for _, k := range next {
		switch {
		case k == nil:
		case more:
			k.collect(path, into)
		default:
			add(k.ends)
		}
	}
	add(n.rest)
}

// everyMethod is in the order of the Allow header.
var everyMethod = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// allow returns the methods of a path for the Allow header.
func (p *policy) allow(path string) []string {
	methods := p.methods(path)
	var list []string
	for _, m := range everyMethod {
		if slices.ContainsFunc(methods, func(of string) bool { return endpoint{method: of}.takes(m) }) {
			list = append(list, m)
		}
	}
	for _, m := range methods {
		if m != "*" && !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// err returns what a caller is told, or nil.
func (p *policy) err(v verdict, path string) error {
	switch v.finding {
	case allowed:
		return nil
	case noMethod:
		return &dialect.MethodError{Allow: p.allow(path)}
	case scopeMissing:
		return &jeton.Error{
			Code:        jeton.InsufficientScope,
			Description: "the access token lacks the permission: " + v.rule.Needs,
			Scope:       jeton.Scope{v.rule.Scope},
		}
	case foreignTenant:
		return jeton.Refuse(jeton.InsufficientScope, "the access token is of another tenant")
	case notOwn:
		return jeton.Refuse(jeton.InsufficientScope, "the route is for the caller's own record")
	}
	return jeton.Refuse(jeton.InsufficientScope, "no permission is defined for this route")
}

// newPolicy makes the policy of a guard. The error joins all that is wrong.
func newPolicy(g *Guard) (*policy, error) {
	d, permissions, routes := g.Dialect, g.Permissions, g.Routes
	if permissions == nil {
		permissions = d.Permissions
	}
	made := &policy{graphql: g.GraphQL}
	if g.GraphQL != nil {
		made.document = &rule{Rule: Rule{Kind: KindGraphQL, Method: "*", Path: g.GraphQL.At, Needs: "its document"}}
	}
	if permissions == nil && len(routes) == 0 && !g.GraphQL.closed() {
		r := &rule{Rule: Rule{Kind: KindOpen, Method: "*", Path: "/{path...}", Needs: "token"}, pattern: pattern{{kind: isRest}}}
		made.rules, made.open = []*rule{r}, r
		return made, nil
	}
	c := compiler{scope: d.Scope, permissions: permissions}
	c.checkTable()
	top, table := &node{}, &node{}
	var patterns []pattern
	for i, r := range routes {
		p := c.add(top, KindRoute, r)
		patterns = append(patterns, p)
		if g.GraphQL != nil && r.Path == g.GraphQL.At {
			c.wrong = append(c.wrong, r.errorf("the document decides calls to the GraphQL endpoint"))
		}
		for k, q := range patterns[:i] {
			if p == nil || q == nil {
				continue
			}
			switch methodRelation(r.Method, routes[k].Method).and(p.relation(q)) {
			case equal, overlapping:
				c.wrong = append(c.wrong, r.errorf("it cannot be told from %q: calls that both are about need one that is more specific", routes[k]))
			}
		}
	}
	c.addTable(table, d.Call.Path())
	if err := errors.Join(c.wrong...); err != nil {
		return nil, err
	}
	made.layers, made.rules = []*node{top, table}, c.rules
	return made, nil
}

// A compiler collects the rules of a policy, and what is wrong with them.
type compiler struct {
	scope       dialect.ScopeRule
	permissions dialect.Permissions
	rules       []*rule
	wrong       []error
}

// add puts a route into a tree. It returns nil if the path makes no sense.
func (c *compiler) add(n *node, kind string, route Route) pattern {
	p, err := route.compile()
	if err != nil {
		c.wrong = append(c.wrong, err)
		return nil
	}
	least, err := c.least(route)
	if err != nil {
		c.wrong = append(c.wrong, err)
		return p
	}
	r := &rule{Rule: Rule{kind, route.Method, route.Path, route.Needs, least}, pattern: p}
	if least != "" {
		r.enough = []string{least}
		if i := slices.Index(c.scope.Order, least); i >= 0 {
			r.enough = c.scope.Order[i:]
		}
	}
	c.rules = append(c.rules, r)
	n.place(r)
	return p
}

// place puts a rule where its pattern leads.
func (n *node) place(r *rule) {
	for i, s := range r.pattern {
		switch s.kind {
		case isRest:
			n.rest = append(n.rest, endpoint{r.Method, r})
			return
		case isText:
			n = n.grow(s.text)
			continue
		case isTenant:
			r.tenant = append(r.tenant, i)
		}
		next := &n.any
		if s.kind == isSelf {
			next = &n.self
		}
		if *next == nil {
			*next = &node{}
		}
		n = *next
	}
	n.ends = append(n.ends, endpoint{r.Method, r})
}

// least returns the scope that a route needs; none if a good token suffices.
func (c *compiler) least(r Route) (string, error) {
	if r.Needs == "token" {
		return "", nil
	}
	least, isScope := strings.CutPrefix(r.Needs, "scope:")
	if !isScope {
		dot := strings.LastIndexByte(r.Needs, '.')
		row, ok := c.permissions[r.Needs[:dot]]
		if !ok {
			return "", r.errorf("there are no permissions for %q", r.Needs[:dot])
		}
		if least = row[r.Needs[dot+1:]]; least == "" {
			return "", r.errorf("there is no permission %q; %s has %s", r.Needs, r.Needs[:dot], strings.Join(slices.Sorted(maps.Keys(row)), ", "))
		}
	}
	if c.scope.Order != nil && !slices.Contains(c.scope.Order, least) {
		return "", r.errorf("there is no scope %q; the dialect has %s", least, strings.Join(c.scope.Order, ", "))
	}
	return least, nil
}

// tableRoutes are the routes that a permission table stands for, under the
// path of a resource.
var tableRoutes = []Route{
	{http.MethodGet, "", "list"},
	{http.MethodPost, "", "create"},
	{http.MethodGet, "/{self}", "fetch_self"},
	{http.MethodPut, "/{self}", "update_self"},
	{http.MethodPatch, "/{self}", "update_self"},
	{http.MethodGet, "/{id}", "fetch"},
	{http.MethodPut, "/{id}", "update"},
	{http.MethodPatch, "/{id}", "update"},
	{http.MethodDelete, "/{id}", "delete"},
}

// addTable adds the routes of the permission table: /{resource} and
// /{resource}/{id} under the path of the dialect's call. The caller's own
// record is judged by fetch_self and update_self where the table has them. A
// resource that is no segment of a path, and another verb, can be the need of a
// route only.
func (c *compiler) addTable(n *node, base string) {
	for _, resource := range slices.Sorted(maps.Keys(c.permissions)) {
		if p, err := parsePattern(base + "/" + resource); err != nil || resource == "" || strings.ContainsAny(resource, "/%{}") || p == nil {
			continue
		}
		for _, r := range tableRoutes {
			if c.permissions[resource][r.Needs] != "" {
				c.add(n, KindTable, Route{r.Method, base + "/" + resource + r.Path, resource + "." + r.Needs})
			}
		}
	}
}

// checkTable refuses a table with a scope that the dialect's order lacks.
func (c *compiler) checkTable() {
	for _, resource := range slices.Sorted(maps.Keys(c.permissions)) {
		for _, verb := range slices.Sorted(maps.Keys(c.permissions[resource])) {
			if least := c.permissions[resource][verb]; least != "" && c.scope.Order != nil && !slices.Contains(c.scope.Order, least) {
				c.wrong = append(c.wrong, fmt.Errorf("guard: permission %s.%s: there is no scope %q; the dialect has %s",
					resource, verb, least, strings.Join(c.scope.Order, ", ")))
			}
		}
	}
}
