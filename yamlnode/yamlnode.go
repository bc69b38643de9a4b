// Package yamlnode reads one YAML document into nodes that keep their order,
// their place and their text as written: what a strict file format needs and a
// decoder into Go values throws away. A date stays the text that somebody
// typed, and every error says file:line:column, what is wrong and, for a name,
// which valid one is nearest.
//
// It takes less than YAML allows: one document; no anchors, aliases, tags or
// merge keys; no key twice. Errors never show a line of the file, because the
// line may hold a secret.
package yamlnode

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// An Error is something wrong at a place in a file.
type Error struct {
	File         string
	Line, Column int // from 1
	Message      string
}

// Error returns file:line:column: message.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// A Kind is what a node is.
type Kind string

// The kinds of nodes. Number and Bool are typed by YAML's core schema, and
// only if they are not quoted; everything else that is scalar is Text.
const (
	Null   Kind = "nothing"
	Text   Kind = "text"
	Bool   Kind = "true or false"
	Number Kind = "a number"
	Map    Kind = "a mapping"
	List   Kind = "a list"
)

// A Node is one value of the document. The zero Node is Null.
type Node struct {
	Kind   Kind
	Text   string // a scalar as written, quotes taken off
	Quoted bool   // the scalar was quoted or a block
	Pairs  []Pair // of a Map, in order
	Items  []Node // of a List

	file         string
	line, column int
}

// A Pair is one entry of a mapping.
type Pair struct {
	Key   Node
	Value Node
}

// maxDepth bounds the nesting of a document.
const maxDepth = 64

// maxSize bounds a document in bytes.
const maxSize = 1 << 20

// Parse reads src; file is only for messages. An empty document is Null, and
// one of more than 1 MiB is refused.
func Parse(file string, src []byte) (root Node, err error) {
	return ParseUpTo(maxSize, file, src)
}

// ParseUpTo is Parse with another bound in bytes. A document takes about fifty
// times its size of memory while it is read.
func ParseUpTo(limit int, file string, src []byte) (root Node, err error) {
	at := Node{file: file, line: 1, column: 1}
	if len(src) > limit {
		return Node{}, at.Errorf("the file is larger than %d bytes", limit)
	}
	if !utf8.Valid(src) {
		return Node{}, at.Errorf("the file is not UTF-8")
	}
	if line, column, deep := tooDeep(src); deep {
		at.line, at.column = line, column
		return Node{}, at.Errorf("nested deeper than %d levels", maxDepth)
	}
	if len(src) > pieceSize {
		if root, err := inPieces(file, src, pieceSize); !errors.Is(err, errCut) {
			return root, err
		}
	}
	return parse(place{file, 0}, src, 0)
}

// A place says where a text stands: in which file, under how many lines of it.
type place struct {
	file  string
	above int
}

// parse reads a text that is a document by itself.
func parse(at place, src []byte, depth int) (root Node, err error) {
	start := Node{file: at.file, line: at.above + 1, column: 1}
	defer func() {
		// The parser below is not ours and has been seen to panic on garbage.
		if p := recover(); p != nil {
			root, err = Node{}, start.Errorf(notYAML)
		}
	}()
	f, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey()) // convert finds them, and says which
	if err != nil {
		return Node{}, syntaxError(at, err)
	}
	docs := slices.DeleteFunc(slices.Clone(f.Docs), func(d *ast.DocumentNode) bool { return d.Body == nil })
	if len(docs) == 0 {
		start.Kind = Null
		return start, nil
	}
	if len(docs) > 1 {
		return Node{}, read(at, docs[1].Body).Errorf("a second document; the file is to hold one")
	}
	return convert(at, docs[0].Body, depth)
}

// tooDeep bounds brackets and indentation before the parser recurses on them.
func tooDeep(src []byte) (line, column int, deep bool) {
	line, column = 1, 0
	flow, indent, dashes := 0, 0, 0
	leading := true
	for _, c := range src {
		column++
		switch {
		case c == '\n':
			line, column, indent, dashes, leading = line+1, 0, 0, 0, true
			continue
		case c == '[' || c == '{':
			flow++
		case (c == ']' || c == '}') && flow > 0:
			flow--
		}
		if leading && c == ' ' {
			indent++
		} else if leading && (c == '-' || c == '?') {
			dashes++
		} else {
			leading = false
		}
		if flow > maxDepth || indent > 16*maxDepth || dashes > maxDepth {
			return line, column, true
		}
	}
	return 0, 0, false
}

const notYAML = "not YAML"

func syntaxError(at place, err error) error {
	var positioned interface {
		GetToken() *token.Token
		GetMessage() string
	}
	e := &Error{File: at.file, Line: at.above + 1, Column: 1, Message: notYAML}
	if errors.As(err, &positioned) {
		e.Message = notYAML + ": " + withoutSource(positioned.GetMessage())
		if t := positioned.GetToken(); t != nil && t.Position != nil {
			e.Line, e.Column = at.above+t.Position.Line, t.Position.Column
		}
	}
	return e
}

// marks are what the parser quotes of its own: it wants one of them.
var marks = strings.NewReplacer("','", "a comma", "'}'", "a closing brace", "']'", "a closing bracket", "':'", "a colon")

// withoutSource drops what the parser quotes from the file.
func withoutSource(message string) string {
	message = marks.Replace(message)
	if i := strings.IndexAny(message, "\"'`\n"); i >= 0 {
		message = strings.TrimSpace(message[:i])
	}
	return message
}

func read(where place, n ast.Node) Node {
	at := Node{file: where.file, line: where.above + 1, column: 1}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		n = m.Values[0]
	}
	if pair, ok := n.(*ast.MappingValueNode); ok {
		n = pair.Key // the token of a pair is its colon
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		at.line, at.column = where.above+t.Position.Line, t.Position.Column
	}
	return at
}

func convert(at place, n ast.Node, depth int) (Node, error) {
	node := read(at, n)
	if depth > maxDepth {
		return Node{}, node.Errorf("nested deeper than %d levels", maxDepth)
	}
	switch n := n.(type) {
	case *ast.NullNode:
		node.Kind = Null
	case *ast.BoolNode:
		node.Kind, node.Text = Bool, n.GetToken().Value
	case *ast.IntegerNode:
		node.Kind, node.Text = Number, n.GetToken().Value
	case *ast.FloatNode:
		node.Kind, node.Text = Number, n.GetToken().Value
	case *ast.InfinityNode, *ast.NanNode:
		node.Kind, node.Text = Text, n.GetToken().Value
	case *ast.StringNode:
		node.Kind, node.Text = Text, n.Value
		node.Quoted = n.Token.Type == token.DoubleQuoteType || n.Token.Type == token.SingleQuoteType
	case *ast.LiteralNode:
		node.Kind, node.Text, node.Quoted = Text, n.Value.Value, true
	case *ast.MappingNode:
		return convertMap(at, node, n.Values, depth)
	case *ast.MappingValueNode:
		return convertMap(at, node, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		node.Kind = List
		for _, v := range n.Values {
			item, err := convert(at, v, depth+1)
			if err != nil {
				return Node{}, err
			}
			if v.GetToken().Type == token.ImplicitNullType || !n.IsFlowStyle && item.column <= node.column {
				// The second is how the parser reads an empty item: what follows it, as
				// far to the left as its dash, it takes for the item.
				return Node{}, node.Errorf("an item of the list is empty: write ~ if it is to be nothing")
			}
			node.Items = append(node.Items, item)
		}
	default:
		return Node{}, node.Errorf("anchors, aliases, tags and merge keys are not taken here; write the value out")
	}
	return node, nil
}

func convertMap(at place, node Node, values []*ast.MappingValueNode, depth int) (Node, error) {
	node.Kind = Map
	seen := map[string]bool{}
	for _, v := range values {
		key, err := convert(at, v.Key, depth+1)
		if err != nil {
			return Node{}, err
		}
		if key.Kind == Map || key.Kind == List || key.Kind == Null {
			return Node{}, key.Errorf("a key is to be text")
		}
		if seen[key.Text] {
			return Node{}, key.Errorf("the key stands twice: %s", key.Text)
		}
		seen[key.Text] = true
		value, err := convert(at, v.Value, depth+1)
		if err != nil {
			return Node{}, err
		}
		node.Pairs = append(node.Pairs, Pair{key, value})
	}
	return node, nil
}

// Errorf returns an *Error at the node.
func (n Node) Errorf(format string, args ...any) error {
	return &Error{n.file, n.line, n.column, fmt.Sprintf(format, args...)}
}

// Position returns file:line:column.
func (n Node) Position() string { return fmt.Sprintf("%s:%d:%d", n.file, n.line, n.column) }

// Get returns the value under key in a Map.
func (n Node) Get(key string) (Node, bool) {
	for _, p := range n.Pairs {
		if p.Key.Text == key {
			return p.Value, true
		}
	}
	return Node{Kind: Null, file: n.file, line: n.line, column: n.column}, false
}

// Want returns an error unless the node is of one of the kinds; what names the
// thing in the message.
func (n Node) Want(what string, kinds ...Kind) error {
	if slices.Contains(kinds, n.Kind) {
		return nil
	}
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = string(k)
	}
	return n.Errorf("%s is to be %s, not %s", what, strings.Join(names, " or "), n.Kind)
}

// Only returns an error if a Map has a key that is not among valid. The error
// stands at the key and names the nearest valid one.
func (n Node) Only(valid ...string) error {
	for _, p := range n.Pairs {
		if !slices.Contains(valid, p.Key.Text) {
			return p.Key.Errorf("unknown key %s%s", Quote(p.Key.Text), Suggest(p.Key.Text, valid))
		}
	}
	return nil
}

// Quote shows a name from a file, cut to a length that fits a message.
func Quote(name string) string {
	if utf8.RuneCountInString(name) > 40 {
		name = string([]rune(name)[:40]) + "..."
	}
	return fmt.Sprintf("%q", name)
}

// Suggest returns "; did you mean X?" for the nearest of valid or, if none is
// near, "; valid are A, B, C".
func Suggest(name string, valid []string) string {
	best, least := "", 1+max(2, len(name)/3)
	for _, v := range valid {
		if d := distance(strings.ToLower(name), strings.ToLower(v)); d < least {
			best, least = v, d
		}
		if best == "" && len(name) > 2 && strings.HasPrefix(v, name) {
			best = v
		}
	}
	switch {
	case best != "":
		return "; did you mean " + best + "?"
	case len(valid) == 0:
		return ""
	}
	return "; valid are " + strings.Join(valid, ", ")
}

// distance counts the insertions, deletions and replacements between a and b
// (Levenshtein). Names longer than 64 bytes are simply far apart.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
