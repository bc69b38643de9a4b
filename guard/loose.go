package guard

import (
	"strings"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
)

// reread judges a call that a rule lets through by what else a server may read
// in its path, if it ignores case, a slash at the end, or what follows a dot: a
// call of /Admin/ that {name...} is about must not reach /admin. Nor must one of
// /index.php/admin.
func (p *policy) reread(r *rule, method, path string, c *jeton.Claims) verdict {
	if r.wide {
		if v := p.loosely(method, path, c); v.finding != allowed && r.pattern.hides(v.rule.pattern) {
			return v
		}
	}
	if shorter := withoutIdle(path, r.pattern); shorter != path {
		if v := p.loosely(method, shorter, c); v.finding != allowed && v.rule != r {
			return v
		}
	}
	return verdict{r, allowed}
}

// loosely judges a call as a server does that reads paths loosely.
func (p *policy) loosely(method, path string, c *jeton.Claims) verdict {
	read := strings.TrimSuffix(path[1:], "/")
	for _, layer := range p.layers {
		if r := layer.find(read, reading{method, c, true}); r != nil {
			return verdict{r, r.judge(path, c)}
		}
	}
	return verdict{nil, allowed}
}

// withoutIdle returns a path without the segments that some servers take for
// nothing: index and index.html, which stand for the folder they are in; and
// before other segments the script that answers for all of them, such as
// app.php, and the session in /(S(x))/admin. What a pattern has as a text stays.
func withoutIdle(path string, but pattern) string {
	if !mayBeIdle(path) {
		return path // as nearly always
	}
	idle := 0
	for i, rest, more := 0, path[1:], true; more; i++ {
		var text string
		if text, rest, more = cutSegment(rest); isIdle(text, more) && !but.names(i) {
			idle++
		}
	}
	if idle == 0 {
		return path
	}
	var kept []string
	for i, rest, more := 0, path[1:], true; more; i++ {
		var text string
		if text, rest, more = cutSegment(rest); !isIdle(text, more) || but.names(i) {
			kept = append(kept, text)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// mayBeIdle reports whether a path has what every idle segment has: a dot, a
// parenthesis, or an i at its beginning. It is asked of every call.
func mayBeIdle(path string) bool {
	before := byte(0)
	for i := range len(path) {
		c := path[i]
		if c == '.' || c == '(' || before == '/' && c|0x20 == 'i' {
			return true
		}
		before = c
	}
	return false
}

// names reports whether a segment is a text.
func (p pattern) names(i int) bool { return i < len(p) && p[i].kind == isText }

// isIdle reports whether some server takes a segment for nothing; more is whether
// others follow.
func isIdle(text string, more bool) bool { return isIndex(text) || more && isScript(text) }

// isIndex reports whether a segment is what some server answers with for the
// folder that it is in.
func isIndex(text string) bool {
	const index = "index"
	return len(text) >= len(index) && strings.EqualFold(text[:len(index)], index) && (len(text) == len(index) || text[len(index)] == '.')
}

// isScript reports whether a segment is a program, or a session, before the path
// proper.
func isScript(text string) bool {
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 {
		return strings.HasPrefix(text, "(") && strings.HasSuffix(text, ")")
	}
	switch strings.ToLower(text[dot:]) {
	case ".php", ".cgi", ".fcgi", ".pl", ".cfm":
		return true
	}
	return false
}

// index returns the rule for what a server may answer with in place of a node.
func (n *node) index(method string) *rule {
	for _, b := range n.texts {
		if isIndex(b.text) {
			if r := choose(b.next.ends, method); r != nil {
				return r
			}
		}
	}
	return nil
}

// nearGraphQL reports whether some server takes a path for that of the GraphQL
// endpoint, though it is another.
func (p *policy) nearGraphQL(path string) bool {
	if p.graphql == nil {
		return false
	}
	if p.graphql.near(path) || alikePath(path, p.graphql.At) {
		return true
	}
	shorter := withoutIdle(path, nil)
	return shorter != path && (p.graphql.at(shorter) || p.graphql.near(shorter) || alikePath(shorter, p.graphql.At))
}

// alike reports whether some server takes a segment for a text of a route: one
// that ignores case, dots and spaces at the end, takes what follows a dot for
// the format of the answer, or finds a file by its name without that.
func alike(segment, text string) bool {
	if text == "" {
		return segment == ""
	}
	if sameText(strings.TrimRight(segment, ". "), text) {
		return true
	}
	if dot := strings.LastIndexByte(segment, '.'); dot >= 0 && sameText(segment[:dot], text) {
		return true
	}
	dot := strings.LastIndexByte(text, '.')
	return dot > 0 && sameText(segment, text[:dot])
}

// sameText reports whether two texts are the same for a server that ignores
// case. Some have rules of a language in which the i is special.
func sameText(a, b string) bool {
	return strings.EqualFold(a, b) || !isASCII(a) && strings.EqualFold(dotted.Replace(a), dotted.Replace(b))
}

var dotted = strings.NewReplacer("\u0130", "i", "\u0131", "i")

// alikePath reports whether some server takes a path for another one.
func alikePath(path, other string) bool {
	path, other = strings.TrimSuffix(path, "/"), strings.TrimSuffix(other, "/")
	for more := true; more; {
		var a, b string
		var others bool
		a, path, more = cutSegment(path)
		b, other, others = cutSegment(other)
		if !alike(a, b) || more != others {
			return false
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
