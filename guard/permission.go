package guard

import (
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

	order    []string // of the dialect's scopes
	graphql  *GraphQL
	document *rule // what decides a call to the GraphQL endpoint
}

// A rule is what decides a call.
type rule struct {
	Rule
	pattern pattern
	enough  []string // scopes of which one suffices; nil: a good token does
	tenant  []int    // segments of the path that are to be the token's tenant
	wide    bool     // it hides another rule: see [pattern.hides]
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
	near := p.nearGraphQL(path)
	if p.open != nil && !near {
		return verdict{p.open, allowed}
	}
	for _, layer := range p.layers {
		if r := layer.find(path[1:], reading{method, c, false}); r != nil && (!near || r.names(p.graphql.At)) {
			if v := (verdict{r, r.judge(path, c)}); v.finding != allowed {
				return v
			}
			return p.reread(r, method, path, c)
		}
	}
	switch methods := p.methods(path); {
	case near || len(methods) == 0:
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

// A reading is how a path is read, and by what method and caller.
type reading struct {
	method string
	caller *jeton.Claims
	loose  bool // a text also is what some server takes for it
}

// find returns the rule of the most specific route for a call, or nil. path has
// no slash at its start.
func (n *node) find(path string, in reading) *rule {
	text, path, more := cutSegment(path)
	if next := n.by(text); next != nil {
		if r := next.follow(path, more, in); r != nil {
			return r
		}
	}
	if in.loose {
		for _, b := range n.texts {
			if b.text != text && alike(text, b.text) {
				if r := b.next.follow(path, more, in); r != nil {
					return r
				}
			}
		}
	}
	if n.self != nil && (text == "me" || text == in.caller.Subject && text != "") {
		if r := n.self.follow(path, more, in); r != nil {
			return r
		}
	}
	if n.any != nil && text != "" {
		if r := n.any.follow(path, more, in); r != nil {
			return r
		}
	}
	if in.loose && text == "" {
		if r := n.index(in.method); r != nil {
			return r
		}
	}
	return choose(n.rest, in.method)
}

func (n *node) follow(path string, more bool, in reading) *rule {
	if more {
		return n.find(path, in)
	}
	r := choose(n.ends, in.method)
	if r != nil || !in.loose {
		return r
	}
	if next := n.by(""); next != nil { // after a slash
		if r := choose(next.ends, in.method); r != nil {
			return r
		}
	}
	if r := n.index(in.method); r != nil {
		return r
	}
	return choose(n.rest, in.method)
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
		return anyMethod(method) && method != "" && strings.Trim(method, capitals) == ""
	}
	return false
}

// anyMethod reports whether "*" means a method too. COPY and MOVE have a second
// path, in a header, which nobody judges.
func anyMethod(method string) bool {
	switch method {
	case http.MethodOptions, http.MethodTrace, http.MethodConnect, "COPY", "MOVE":
		return false
	}
	return true
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
