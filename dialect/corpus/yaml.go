package corpus

import (
	"regexp"
	"strconv"
	"strings"
)

// A node is a piece of a dialect file that is being written.
type node struct {
	text string
	bare bool // the text is a number, true, false or ~, and not a text

	keys  []string
	kids  []*node
	list  bool
	block bool // never on one line
}

func text(s string) *node { return &node{text: s} }

func bare(s string) *node { return &node{text: s, bare: true} }

func list(kids ...*node) *node { return &node{list: true, kids: kids} }

func mapping(pairs ...any) *node {
	n := &node{keys: []string{}}
	for i := 0; i < len(pairs); i += 2 {
		n.set(pairs[i].(string), pairs[i+1].(*node))
	}
	return n
}

func (n *node) set(key string, kid *node) { n.keys, n.kids = append(n.keys, key), append(n.kids, kid) }

func (n *node) get(key string) *node {
	for i, k := range n.keys {
		if k == key {
			return n.kids[i]
		}
	}
	return nil
}

// under sets a key of the map that stands at key, which it makes if there is
// none.
func (n *node) under(key, inner string, kid *node) {
	if n.get(key) == nil {
		n.set(key, mapping())
	}
	n.get(key).set(inner, kid)
}

// path sets what stands at a path of keys.
func (n *node) path(path string, kid *node) {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		if n.get(key) == nil {
			n.set(key, mapping())
		}
		n = n.get(key)
	}
	n.set(keys[len(keys)-1], kid)
}

func (n *node) isMap() bool { return n.keys != nil }

// width is how long a line may be.
const width = 110

// String writes the file.
func (n *node) String() string {
	var b strings.Builder
	n.write(&b, "")
	return b.String()
}

func (n *node) write(b *strings.Builder, indent string) {
	for i, kid := range n.kids {
		head := "- "
		if n.isMap() {
			head = scalar(n.keys[i], true) + ":"
		}
		flow := kid.flow()
		switch {
		case n.list && kid.isMap() && kid.block:
			var inner strings.Builder
			kid.write(&inner, indent+"  ")
			b.WriteString(indent + "- " + strings.TrimPrefix(inner.String(), indent+"  "))
		case n.list:
			b.WriteString(indent + head + flow + "\n")
		case len(kid.kids) == 0 || !kid.block && len(indent)+len(head)+1+len(flow) <= width:
			b.WriteString(indent + head + " " + flow + "\n")
		default:
			b.WriteString(indent + head + "\n")
			kid.write(b, indent+"  ")
		}
	}
}

// flow writes a node on one line.
func (n *node) flow() string {
	if !n.isMap() && !n.list {
		if n.bare {
			return n.text
		}
		return scalar(n.text, false)
	}
	var parts []string
	for i, kid := range n.kids {
		if n.isMap() {
			parts = append(parts, scalar(n.keys[i], true)+": "+kid.flow())
		} else {
			parts = append(parts, kid.item())
		}
	}
	if n.list {
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// item writes a node inside a list, where a text with a colon is taken for a map
// by some.
func (n *node) item() string {
	if !n.bare && strings.Contains(n.text, ":") {
		return strconv.Quote(n.text)
	}
	return n.flow()
}

var (
	plain = regexp.MustCompile(`^[0-9]+[dhms]$|^[A-Za-z/$][A-Za-z0-9_./$@()+=-]*(:[A-Za-z0-9_./$@()+=-]+)*( [A-Za-z0-9_./$@()+=-]+)*$`)
	typed = regexp.MustCompile(`(?i)^(null|true|false|yes|no|on|off|y|n|~|\.inf|\.nan)$`)
)

// scalar quotes a text where YAML would read something else than that text.
func scalar(s string, key bool) string {
	if plain.MatchString(s) && !typed.MatchString(s) && !(key && strings.Contains(s, ":")) {
		return s
	}
	return strconv.Quote(s)
}
