package learn

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A doc is a document as a page shows it, fields in their order: JSON, or XML
// as dialect files write it (elements in order, "@name" for an attribute,
// "#text" for the text beside attributes).
type doc struct {
	kind   docKind
	keys   []string // of an object
	kids   []*doc   // of an object or a list
	text   string   // of a text; of a literal its JSON
	quoted bool     // a template whose hole is a JSON string, whatever its name
	block  bool     // never written in one line
}

type docKind int

const (
	docText docKind = iota
	docObject
	docList
	docLiteral // a number, true, false or null
)

func text(s string) *doc { return &doc{text: s} }

func (d *doc) set(key string, kid *doc) { d.keys, d.kids = append(d.keys, key), append(d.kids, kid) }

func (d *doc) number() bool {
	return d.kind == docLiteral && d.text != "true" && d.text != "false" && d.text != "null"
}

// leaves calls fn for every scalar, with the keys that lead there; list items
// have the key of their list.
func (d *doc) leaves(fn func(path []string, leaf *doc)) { d.walk(nil, fn) }

func (d *doc) walk(path []string, fn func([]string, *doc)) {
	switch d.kind {
	case docText, docLiteral:
		fn(path, d)
	}
	for i, kid := range d.kids {
		below := path
		if d.kind == docObject {
			below = append(slices.Clone(path), d.keys[i])
		}
		kid.walk(below, fn)
	}
}

// names returns the names of all fields.
func (d *doc) names() []string {
	list := slices.Clone(d.keys)
	for _, kid := range d.kids {
		list = append(list, kid.names()...)
	}
	return list
}

// appendJSON writes the document as JSON.
func (d *doc) appendJSON(b []byte) []byte {
	switch d.kind {
	case docLiteral:
		return append(b, d.text...)
	case docText:
		var buf bytes.Buffer
		e := json.NewEncoder(&buf)
		e.SetEscapeHTML(false)
		_ = e.Encode(d.text) // a string always has a JSON form
		return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
	}
	open, end := byte('{'), byte('}')
	if d.kind == docList {
		open, end = '[', ']'
	}
	b = append(b, open)
	for i, kid := range d.kids {
		if i > 0 {
			b = append(b, ',')
		}
		if d.kind == docObject {
			b = append(text(d.keys[i]).appendJSON(b), ':')
		}
		b = kid.appendJSON(b)
	}
	return append(b, end)
}

// A jsonReader reads JSON as pages have it: with comments, trailing commas,
// placeholders without quotes, single quotes and an ellipsis. It says in loose
// whether it met any of that.
type jsonReader struct {
	src   string
	at    int
	loose bool
}

var errJSON = errors.New("not JSON")

// parseJSON reads the JSON document that text begins with, and returns what
// follows it.
func parseJSON(src string) (d *doc, rest string, loose bool, err error) {
	r := &jsonReader{src: src}
	r.space()
	d, err = r.value(0)
	if err != nil {
		return nil, src, r.loose, fmt.Errorf("%w at line %d", err, 1+strings.Count(src[:min(r.at, len(src))], "\n"))
	}
	return d, src[r.at:], r.loose, nil
}

func (r *jsonReader) peek() byte {
	if r.at < len(r.src) {
		return r.src[r.at]
	}
	return 0
}

// space skips blanks and comments.
func (r *jsonReader) space() {
	for r.at < len(r.src) {
		rest := r.src[r.at:]
		switch {
		case strings.IndexByte(" \t\n\r", rest[0]) >= 0:
			r.at++
		case strings.HasPrefix(rest, "//") || rest[0] == '#':
			line, _, _ := strings.Cut(rest, "\n")
			r.at += len(line)
			r.loose = true
		case strings.HasPrefix(rest, "/*"):
			comment, _, _ := strings.Cut(rest, "*/")
			r.at = min(r.at+len(comment)+2, len(r.src))
			r.loose = true
		case strings.HasPrefix(rest, "...") || strings.HasPrefix(rest, "…"):
			r.at += len("...") // both have three bytes
			r.loose = true
		default:
			return
		}
	}
}

const maxDepth = 64

func (r *jsonReader) value(depth int) (*doc, error) {
	if depth > maxDepth {
		return nil, errJSON
	}
	switch r.peek() {
	case 0:
		return nil, errJSON
	case '{':
		if m := braces.FindString(r.src[r.at:]); m != "" && !strings.ContainsAny(m, ",\"") {
			r.at, r.loose = r.at+len(m), true
			return text(m), nil
		}
		return r.members(&doc{kind: docObject}, '}', depth)
	case '[':
		return r.members(&doc{kind: docList}, ']', depth)
	case '"', '\'':
		s, err := r.quoted()
		return text(s), err
	}
	word := r.word()
	switch {
	case word == "":
		return nil, errJSON
	case word == "true" || word == "false" || word == "null" || json.Valid([]byte(word)):
		return &doc{kind: docLiteral, text: word}, nil
	}
	r.loose = true
	return text(word), nil
}

func (r *jsonReader) members(d *doc, end byte, depth int) (*doc, error) {
	r.at++
	for {
		r.space()
		if r.peek() == end {
			r.at++
			return d, nil
		}
		key := ""
		if d.kind == docObject {
			var err error
			if key, err = r.key(); err != nil {
				return nil, err
			}
		}
		kid, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		switch at := slices.Index(d.keys, key); {
		case d.kind == docList:
			d.kids = append(d.kids, kid)
		case at >= 0:
			d.kids[at], r.loose = kid, true // a name that stands twice
		default:
			d.set(key, kid)
		}
		r.space()
		if r.peek() == ',' {
			r.at++
			if r.space(); r.peek() == end {
				r.loose = true
			}
		} else if r.peek() != end {
			if strings.IndexByte("\"'", r.peek()) < 0 {
				return nil, errJSON
			}
			r.loose = true // a comma that the page forgot
		}
	}
}

func (r *jsonReader) key() (string, error) {
	var key string
	if c := r.peek(); c == '"' || c == '\'' {
		var err error
		if key, err = r.quoted(); err != nil {
			return "", err
		}
	} else {
		start := r.at
		for r.at < len(r.src) && strings.IndexByte(" \t\n:,{}[]\"'", r.src[r.at]) < 0 {
			r.at++
		}
		if key = r.src[start:r.at]; key == "" {
			return "", errJSON
		}
		r.loose = true
	}
	r.space()
	if r.peek() != ':' {
		return "", errJSON
	}
	r.at++
	r.space()
	return strings.Map(visible, key), nil
}

// visible drops what no name has.
func visible(c rune) rune {
	if unicode.IsPrint(c) {
		return c
	}
	return -1
}

func (r *jsonReader) quoted() (string, error) {
	quote := r.peek()
	end := r.at + 1
	for end < len(r.src) && r.src[end] != quote {
		if r.src[end] == '\\' {
			end++
		}
		end++
	}
	if end >= len(r.src) {
		return "", errJSON
	}
	raw := r.src[r.at+1 : end]
	r.at = end + 1
	var s string
	if quote == '"' && json.Unmarshal([]byte(`"`+raw+`"`), &s) == nil {
		return s, nil
	}
	r.loose = true // single quotes, a line's end, or a backslash that escapes nothing
	return raw, nil
}

var angleAnywhere = regexp.MustCompile(`^<[^<>\n"]{1,60}>`)

// word reads a scalar without quotes.
func (r *jsonReader) word() string {
	rest := r.src[r.at:]
	if m := angleAnywhere.FindString(rest); m != "" {
		r.at += len(m)
		return m
	}
	n := strings.IndexAny(rest, ",}]\n\t{[\"'")
	if n < 0 {
		n = len(rest)
	}
	if i := strings.Index(rest[:n], "//"); i >= 0 && strings.HasSuffix(rest[:i], " ") {
		n = i
	}
	r.at += n
	return strings.TrimSpace(rest[:n])
}

// bareAmpersand matches one, and the reference that it begins if it does.
var bareAmpersand = regexp.MustCompile(`&(?:#?\w+;)?`)

// parseXML reads one XML document. A page may have written out the references
// in it.
func parseXML(src string) (*doc, error) {
	d, err := strictXML(src)
	if err != nil && strings.Contains(src, "&") {
		d, err = strictXML(bareAmpersand.ReplaceAllStringFunc(src, func(s string) string {
			if s == "&" {
				return "&amp;"
			}
			return s
		}))
	}
	return d, err
}

func strictXML(src string) (*doc, error) {
	d := xml.NewDecoder(strings.NewReader(src))
	d.Strict = true
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	for {
		t, err := d.RawToken()
		if err != nil {
			return nil, errors.New("not XML")
		}
		if start, ok := t.(xml.StartElement); ok {
			kid, err := element(d, start, 0)
			if err != nil {
				return nil, errors.New("not XML")
			}
			root := &doc{kind: docObject}
			root.set(xmlName(start.Name), kid)
			return root, nil
		}
	}
}

func xmlName(n xml.Name) string {
	if n.Space != "" {
		return n.Space + ":" + n.Local
	}
	return n.Local
}

func element(d *xml.Decoder, start xml.StartElement, depth int) (*doc, error) {
	if depth > maxDepth {
		return nil, errors.New("too deep")
	}
	e := &doc{kind: docObject}
	for _, a := range start.Attr {
		if name := "@" + xmlName(a.Name); !slices.Contains(e.keys, name) {
			e.set(name, text(a.Value))
		}
	}
	var inner strings.Builder
	for {
		t, err := d.RawToken()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			kid, err := element(d, t, depth+1)
			if err != nil {
				return nil, err
			}
			e.add(xmlName(t.Name), kid)
		case xml.CharData:
			inner.Write(t)
		case xml.EndElement:
			if xmlName(t.Name) != xmlName(start.Name) {
				return nil, errors.New("crossed elements")
			}
			s := strings.TrimSpace(inner.String())
			if len(e.keys) == 0 {
				return text(s), nil
			}
			if s != "" {
				e.set("#text", text(s))
			}
			return e, nil
		}
	}
}

// add sets a field that may stand more than once.
func (d *doc) add(key string, kid *doc) {
	i := slices.Index(d.keys, key)
	switch {
	case i < 0:
		d.set(key, kid)
	case d.kids[i].kind == docList:
		d.kids[i].kids = append(d.kids[i].kids, kid)
	default:
		d.kids[i] = &doc{kind: docList, kids: []*doc{d.kids[i], kid}}
	}
}

// writeYAML writes the document as the value of a key that stands at depth
// blanks: in one line if that is short enough.
func (d *doc) writeYAML(b *strings.Builder, indent int) {
	flow := d.flow()
	if flow == "" {
		b.WriteByte('\n')
		return
	}
	if d.kind == docText || d.kind == docLiteral || len(d.kids) == 0 || !d.block && indent+len(flow) <= lineLength {
		b.WriteString(" " + flow + "\n")
		return
	}
	b.WriteByte('\n')
	if d.kind == docList {
		indent -= 2
	}
	for i, kid := range d.kids {
		lead := "- "
		if d.kind == docObject {
			lead = key(d.keys[i])
		}
		b.WriteString(strings.Repeat(" ", indent) + lead)
		if d.kind == docList && kid.kind == docObject && len(kid.kids) > 0 {
			kid.writeItem(b, indent+2)
			continue
		}
		if d.kind == docList {
			b.WriteString(strings.TrimPrefix(kid.inBlock(indent+2), " "))
			continue
		}
		b.WriteString(kid.inBlock(indent + 2))
	}
}

func (d *doc) inBlock(indent int) string {
	var b strings.Builder
	d.writeYAML(&b, indent)
	return b.String()
}

// writeItem writes an object behind the dash of a list.
func (d *doc) writeItem(b *strings.Builder, indent int) {
	for i, kid := range d.kids {
		if i > 0 {
			b.WriteString(strings.Repeat(" ", indent))
		}
		b.WriteString(key(d.keys[i]) + kid.inBlock(indent+2))
	}
}

const lineLength = 116

func (d *doc) flow() string {
	switch d.kind {
	case docText:
		if d.quoted {
			return strconv.Quote(d.text)
		}
		return scalar(d.text)
	case docLiteral:
		return d.text
	}
	var parts []string
	for i, kid := range d.kids {
		part := kid.flow()
		switch {
		case d.kind == docObject:
			part = key(d.keys[i]) + " " + part
		case kid.kind == docText && part == kid.text && strings.Contains(part, ":"):
			part = strconv.Quote(part) // else it could be read as a mapping
		}
		parts = append(parts, part)
	}
	if d.kind == docList {
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

var (
	plainScalar = regexp.MustCompile(`^\d+[dhms]$|^[A-Za-z$/_][A-Za-z0-9$/_.:@()+=;*-]*(?: [A-Za-z0-9$/_.(][A-Za-z0-9$/_.:@()+=;*-]*)*$`)
	typedScalar = regexp.MustCompile(`(?i)^(?:true|false|null|yes|no|on|off|y|n|~|\.inf|\.nan)$`)
)

// key writes a name and its colon.
func key(name string) string {
	if strings.Contains(name, ":") {
		return strconv.Quote(name) + ":"
	}
	return scalar(name) + ":"
}

// scalar writes a text so that YAML reads it back as that text.
func scalar(s string) string {
	if plainScalar.MatchString(s) && !typedScalar.MatchString(s) && !strings.HasSuffix(s, ":") && !strings.Contains(s, ": ") && utf8.ValidString(s) {
		return s
	}
	if !strings.ContainsAny(s, "\n\t\r") && strings.ContainsAny(s, `"\`) && !strings.Contains(s, "'") {
		return "'" + s + "'"
	}
	return strconv.Quote(s)
}
