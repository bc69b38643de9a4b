package yamlnode

import (
	"bytes"
	"errors"
	"math"
	"strings"
)

// The parser below copies the rest of a block mapping for each of its keys, so
// that a file of a hundred thousand accounts would take it an hour. A large
// document is therefore cut before lines that begin with a key, and its pieces
// are parsed one by one. Where a piece is no YAML by itself the cut was wrong,
// or the document is, and the parser has the whole of it.

// pieceSize is how large a piece becomes, in bytes.
const pieceSize = 64 << 10

// A cutter has the lines of a document, with their ends.
type cutter struct {
	file  string
	lines [][]byte
	size  int // of a piece
}

// errCut says that a document cannot be cut.
var errCut = errors.New("yamlnode: no pieces")

// inPieces parses a document in pieces of a size. The error is errCut, or that
// of a piece.
func inPieces(file string, src []byte, size int) (Node, error) {
	if bytes.Count(src, []byte("\r")) != bytes.Count(src, []byte("\r\n")) {
		return Node{}, errCut // lines end otherwise than they are cut
	}
	c := &cutter{file, bytes.SplitAfter(src, []byte("\n")), size}
	begun := false
	for _, line := range c.lines {
		if begun && (bytes.HasPrefix(line, []byte("---")) || bytes.HasPrefix(line, []byte("..."))) {
			return Node{}, errCut // another document
		}
		begun = begun || key(line) >= 0
	}
	return c.mapping(0, len(c.lines), 0)
}

// parse parses the lines from..to, which are to be a mapping.
func (c *cutter) parse(from, to, depth int) (Node, error) {
	n, err := parse(place{c.file, from}, bytes.Join(c.lines[from:to], nil), depth)
	if e, ok := errors.AsType[*Error](err); ok && strings.HasPrefix(e.Message, notYAML) || err == nil && n.Kind != Map {
		return Node{}, errCut
	}
	return n, err
}

// mapping reads the lines from..to, which hold one block mapping.
func (c *cutter) mapping(from, to, depth int) (node Node, err error) {
	keys := c.keys(from, to)
	if len(keys) == 0 {
		return c.parse(from, to, depth)
	}
	keys[0] = from // with what stands above the first key
	keys = append(keys, to)
	seen := map[string]bool{}
	for i := 0; i < len(keys)-1; {
		next := i + 1
		for bytesOf := c.bytes(keys[i], keys[next]); next < len(keys)-1; next++ {
			if bytesOf += c.bytes(keys[next], keys[next+1]); bytesOf > c.size {
				break
			}
		}
		piece, err := c.piece(keys[i], keys[next], depth, next == i+1)
		if err != nil {
			return Node{}, err
		}
		if i == 0 {
			node = Node{Kind: Map, file: c.file, line: piece.line, column: piece.column}
		}
		for _, p := range piece.Pairs {
			if seen[p.Key.Text] {
				return Node{}, p.Key.Errorf("the key stands twice: %s", p.Key.Text)
			}
			seen[p.Key.Text] = true
		}
		node.Pairs = append(node.Pairs, piece.Pairs...)
		i = next
	}
	return node, nil
}

// piece reads some entries of a mapping. One that is too large by itself is cut
// further, if it is a mapping under its key.
func (c *cutter) piece(from, to, depth int, single bool) (Node, error) {
	if !single || c.bytes(from, to) <= c.size {
		return c.parse(from, to, depth)
	}
	first := from
	for key(c.lines[first]) < 0 {
		first++
	}
	name, rest, _ := strings.Cut(string(c.lines[first]), ":")
	comment := strings.HasPrefix(rest, " ") && strings.HasPrefix(strings.TrimSpace(rest), "#")
	inner := c.keys(first+1, to)
	if strings.TrimSpace(rest) != "" && !comment || strings.ContainsAny(name, "\"'#") || len(inner) == 0 || key(c.lines[inner[0]]) <= key(c.lines[first]) {
		return c.parse(from, to, depth)
	}
	node, err := c.parse(from, first+1, depth)
	if err != nil {
		return node, err
	}
	if len(node.Pairs) != 1 || node.Pairs[0].Value.Kind != Null {
		return c.parse(from, to, depth) // the line was no key, or has a value
	}
	node.Pairs[0].Value, err = c.mapping(first+1, to, depth+1)
	return node, err
}

// keys returns the lines that begin with a key of the mapping in the lines
// from..to: those that stand as far to the left as the first one. There are
// none if something stands further left.
func (c *cutter) keys(from, to int) (list []int) {
	indent, least := -1, math.MaxInt
	for i := from; i < to; i++ {
		text := bytes.TrimLeft(c.lines[i], " ")
		if len(bytes.TrimSpace(text)) == 0 || text[0] == '#' {
			continue
		}
		least = min(least, len(c.lines[i])-len(text))
		at := key(c.lines[i])
		if indent < 0 {
			indent = at
		}
		if at >= 0 && at == indent {
			list = append(list, i)
		}
		if least < indent {
			return nil
		}
	}
	return list
}

// key returns how far a line that begins with a plain key is indented, or -1.
func key(line []byte) int {
	text := bytes.TrimLeft(line, " ")
	if len(text) == 0 {
		return -1
	}
	switch c := text[0]; {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		return len(line) - len(text)
	}
	return -1
}

// bytes counts those of the lines from..to.
func (c *cutter) bytes(from, to int) (n int) {
	for _, line := range c.lines[from:to] {
		n += len(line)
	}
	return n
}
