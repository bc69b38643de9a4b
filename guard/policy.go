package guard

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jetonhq/jeton/dialect"
)

// newPolicy makes the policy of a guard. The error joins all that is wrong.
func newPolicy(g *Guard) (*policy, error) {
	d, permissions, routes := g.Dialect, g.Permissions, g.Routes
	if permissions == nil {
		permissions = d.Permissions
	}
	made := &policy{order: d.Scope.Order, graphql: g.GraphQL}
	if g.GraphQL != nil {
		made.document = &rule{Rule: Rule{Kind: KindGraphQL, Method: "*", Path: g.GraphQL.At, Needs: "its document"}}
	}
	if permissions == nil && len(routes) == 0 && !g.GraphQL.closed() {
		r := &rule{Rule: Rule{Kind: KindOpen, Method: "*", Path: "/{path...}", Needs: "token"}, pattern: pattern{{kind: isRest}}}
		made.rules, made.open = []*rule{r}, r
		return made, nil
	}
	c := compiler{policy: made, permissions: permissions}
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
	made.layers = []*node{top, table}
	for _, r := range made.rules {
		r.wide = slices.ContainsFunc(made.rules, func(other *rule) bool { return r.pattern.hides(other.pattern) })
	}
	return made, nil
}

// hides reports whether some call of p is one of q for a server that reads paths
// loosely, and q is more specific about it: it has a text where p has a {name},
// or anything where p has {name...}.
func (p pattern) hides(q pattern) bool {
	p, q = p.trim(), q.trim()
	narrower := false
	for i := 0; ; i++ {
		pEnds, qEnds := i >= len(p), i >= len(q)
		switch {
		case pEnds && qEnds:
			return narrower
		case !pEnds && p[i].kind == isRest:
			return narrower || qEnds || q[i].kind != isRest
		case !qEnds && q[i].kind == isRest:
			return narrower
		case pEnds || qEnds:
			return false
		case p[i].kind == isText && q[i].kind == isText:
			if !alike(p[i].text, q[i].text) && !alike(q[i].text, p[i].text) {
				return false
			}
		case q[i].kind == isText:
			narrower = true
		}
	}
}

// trim returns the pattern without a slash at its end, or an index that stands
// for that.
func (p pattern) trim() pattern {
	if last := len(p) - 1; last > 0 && p[last].kind == isText && (p[last].text == "" || isIndex(p[last].text)) {
		return p[:last]
	}
	return p
}

// enough returns the scopes of which one suffices where least is needed.
func (p *policy) enough(least string) []string {
	if i := slices.Index(p.order, least); i >= 0 {
		return p.order[i:]
	}
	return []string{least}
}

// A compiler collects the rules of a policy, and what is wrong with them.
type compiler struct {
	*policy
	permissions dialect.Permissions
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
	r := &rule{Rule: Rule{Kind: kind, Method: route.Method, Path: route.Path, Needs: route.Needs, Scope: least}, pattern: p}
	if least != "" {
		r.enough = c.enough(least)
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
	if r.Needs == TokenSuffices {
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
	if c.order != nil && !slices.Contains(c.order, least) {
		return "", r.errorf("there is no scope %q; the dialect has %s", least, strings.Join(c.order, ", "))
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
			if least := c.permissions[resource][verb]; least != "" && c.order != nil && !slices.Contains(c.order, least) {
				c.wrong = append(c.wrong, fmt.Errorf("guard: permission %s.%s: there is no scope %q; the dialect has %s",
					resource, verb, least, strings.Join(c.order, ", ")))
			}
		}
	}
}
