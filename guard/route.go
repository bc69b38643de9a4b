package guard

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/jetonhq/jeton"
)

// A Route says what the calls of a method and a path need.
type Route struct {
	// Method is a method in capitals, or "*": any but OPTIONS, COPY and MOVE,
	// which are for routes of their own, and TRACE and CONNECT, which no route can
	// let through.
	// GET is HEAD too.
	Method string

	// Path is what the path of the call is to be, letter by letter, relative to
	// the realm. A segment may be one of these instead of a text:
	//
	//	{name}     any one segment
	//	{self}     the caller's subject, or "me"; any other is not of this route
	//	{tenant}   any one segment; the call is refused if it is not the tenant
	//	           of the token
	//	{name...}  at the end: all that follows
	Path string

	// Needs is RESOURCE.VERB, looked up in the permission table; scope:NAME,
	// that scope or one above it in the dialect's order; or "token", for which
	// a good token suffices.
	Needs string
}

// String writes the route as [ParseRoute] reads it.
func (r Route) String() string { return r.Method + " " + r.Path + " -> " + r.Needs }

// ParseRoute reads a route of the form
//
//	GET /v2/conversations -> conversations.list
//
// In the path stands %XX for what a URL has to encode. Whether the permission
// or the scope exists is for [Guard.Check] to say.
func ParseRoute(text string) (Route, error) {
	left, needs, arrow := strings.Cut(text, "->")
	f := strings.Fields(left)
	if needs = strings.TrimSpace(needs); !arrow || len(f) != 2 || needs == "" {
		return Route{}, fmt.Errorf("guard: a route is to read METHOD PATH -> NEED, such as GET /v2/users/{self} -> token")
	}
	r := Route{f[0], f[1], needs}
	_, err := r.compile()
	return r, err
}

// compile checks what can be checked without a permission table.
func (r Route) compile() (pattern, error) {
	if r.Method != "*" && strings.Trim(r.Method, capitals) != "" || r.Method == "" {
		return nil, r.errorf("a method is to be in capitals, or *")
	}
	if r.Method == http.MethodTrace || r.Method == http.MethodConnect {
		return nil, r.errorf("the guard never lets %s through", r.Method)
	}
	p, err := parsePattern(r.Path)
	if err != nil {
		return nil, r.errorf("%v", err)
	}
	name, isScope := strings.CutPrefix(r.Needs, "scope:")
	dot := strings.LastIndexByte(r.Needs, '.')
	switch {
	case r.Needs == TokenSuffices:
	case isScope && name != "" && jeton.ValidScope(name) && !strings.Contains(name, " "):
	case !isScope && dot > 0 && dot < len(r.Needs)-1 && !strings.ContainsAny(r.Needs, " \t"):
	default:
		return nil, r.errorf("what it needs is to be RESOURCE.VERB, scope:NAME or token")
	}
	return p, nil
}

func (r Route) errorf(format string, args ...any) error {
	return fmt.Errorf("guard: route %q: %s", r, fmt.Sprintf(format, args...))
}

// A pattern is a compiled path: its segments, the last of which is an empty
// text if the path ends in a slash.
type pattern []segment

type segment struct {
	kind segmentKind
	text string // of a text, decoded
}

// The kinds of segments, the more specific before the less.
type segmentKind int

const (
	isText segmentKind = iota
	isSelf
	isAny
	isTenant // as specific as isAny
	isRest
)

func parsePattern(path string) (pattern, error) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil, fmt.Errorf("the path is to begin with a slash")
	}
	var p pattern
	like := "" // a path that the pattern matches
	texts := strings.Split(rest, "/")
	for i, text := range texts {
		s, err := parseSegment(text)
		if err != nil {
			return nil, err
		}
		if s.kind == isRest && i < len(texts)-1 {
			return nil, fmt.Errorf("%s is to stand at the end", text)
		}
		if s.kind == isText {
			like += "/" + s.text
		} else {
			like += "/x"
		}
		p = append(p, s)
	}
	if !canonical(&url.URL{Path: like}) {
		return nil, fmt.Errorf("the guard lets no call with such a path through")
	}
	return p, nil
}

func parseSegment(text string) (segment, error) {
	name, opens := strings.CutPrefix(text, "{")
	name, closes := strings.CutSuffix(name, "}")
	if !opens || !closes {
		decoded, err := url.PathUnescape(text)
		switch {
		case err != nil, strings.ContainsAny(decoded, "{}/"):
			return segment{}, fmt.Errorf("%s is neither a text nor one of {name}, {self}, {tenant}, {name...}", text)
		case decoded == "*":
			return segment{}, fmt.Errorf("write {name} for any segment, {name...} for all that follow")
		}
		return segment{isText, decoded}, nil
	}
	name, rest := strings.CutSuffix(name, "...")
	switch {
	case name == "" || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
		return segment{}, fmt.Errorf("%s is to have a name of letters, digits and _", text)
	case rest && (name == "self" || name == "tenant"):
		return segment{}, fmt.Errorf("%s: that is one segment", text)
	case rest:
		return segment{kind: isRest}, nil
	case name == "self":
		return segment{kind: isSelf}, nil
	case name == "tenant":
		return segment{kind: isTenant}, nil
	}
	return segment{kind: isAny}, nil
}

// A relation is how the calls that one route is about lie to those of another.
type relation int

const (
	disjoint relation = iota
	equal
	narrower
	wider
	overlapping
)

// and combines the relations of two parts to that of the whole.
func (a relation) and(b relation) relation {
	switch {
	case a == disjoint || b == disjoint:
		return disjoint
	case a == equal || a == b:
		return b
	case b == equal:
		return a
	}
	return overlapping
}

// methodRelation is for the methods of two routes.
func methodRelation(a, b string) relation {
	holds := func(outer, inner string) bool {
		return outer == "*" && anyMethod(inner) || outer == http.MethodGet && inner == http.MethodHead
	}
	switch {
	case a == b:
		return equal
	case holds(a, b):
		return wider
	case holds(b, a):
		return narrower
	}
	return disjoint
}

// relation compares p with q. A text counts as narrower than {self}, which may
// be another one: the guard looks for texts first.
func (p pattern) relation(q pattern) relation {
	r := equal
	for i := range max(len(p), len(q)) {
		pEnds, qEnds := i >= len(p), i >= len(q)
		switch {
		case !pEnds && p[i].kind == isRest && !qEnds && q[i].kind == isRest:
			return r
		case !qEnds && q[i].kind == isRest && !pEnds:
			return r.and(narrower)
		case !pEnds && p[i].kind == isRest && !qEnds:
			return r.and(wider)
		case pEnds || qEnds:
			return disjoint
		}
		r = r.and(p[i].relation(q[i]))
	}
	return r
}

func (s segment) relation(t segment) relation {
	a, b := s.kind, t.kind
	switch {
	case a == isText && b == isText && s.text != t.text,
		a == isText && b != isText && s.text == "", a != isText && b == isText && t.text == "":
		return disjoint // {name} is never empty
	case a == b, min(a, b) == isAny:
		return equal
	case a < b:
		return narrower
	}
	return wider
}
