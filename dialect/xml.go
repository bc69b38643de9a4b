package dialect

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An xmlElem is an XML element that is to be written: attributes and children
// in the order of the file, the text before the children. Names have their
// prefixes and attributes their xmlns as they are to stand there.
type xmlElem struct {
	name  string
	attrs [][2]string // name and value
	text  string
	kids  []xmlElem
}

// append writes the element without a declaration, and in the form in which
// [parseXML] reads the same from it again. It refuses a name that is none, an
// attribute that stands twice, and text that XML cannot hold: control
// characters and what is not UTF-8.
func (e xmlElem) append(b []byte) ([]byte, error) {
	if !isXMLName(e.name) {
		return nil, fmt.Errorf("%q is not a name of an XML element", e.name)
	}
	b = append(append(b, '<'), e.name...)
	seen := map[string]bool{}
	for _, a := range e.attrs {
		if !isXMLName(a[0]) || seen[a[0]] {
			return nil, fmt.Errorf("<%s>: %q is not a name of an XML attribute, or stands twice", e.name, a[0])
		}
		seen[a[0]] = true
		var err error
		b = append(append(append(b, ' '), a[0]...), '=', '"')
		if b, err = appendXMLText(b, a[1], xmlInAttribute); err != nil {
			return nil, fmt.Errorf("<%s %s>: %w", e.name, a[0], err)
		}
		b = append(b, '"')
	}
	if e.text == "" && len(e.kids) == 0 {
		return append(b, "/>"...), nil
	}
	b, err := appendXMLText(append(b, '>'), e.text, xmlInText)
	if err != nil {
		return nil, fmt.Errorf("<%s>: %w", e.name, err)
	}
	for _, kid := range e.kids {
		if b, err = kid.append(b); err != nil {
			return nil, err
		}
	}
	return append(append(append(b, "</"...), e.name...), '>'), nil
}

// What is written as a reference: markup, and the white space that a reader
// would turn into other white space (XML 1.0 sections 2.11 and 3.3.3).
var (
	xmlInText      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\r", "&#xD;")
	xmlInAttribute = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "\t", "&#x9;", "\n", "&#xA;", "\r", "&#xD;")
)

func appendXMLText(b []byte, s string, escape *strings.Replacer) ([]byte, error) {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, notXML) {
		return nil, errors.New("the text holds a control character, or is not UTF-8")
	}
	return append(b, escape.Replace(s)...), nil
}

// notXML reports whether XML has no place for a character, not even as a
// reference (XML 1.0 section 2.2).
func notXML(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

// isXMLName reports whether s can name an element or an attribute. Of XML 1.0
// section 2.3 and Namespaces in XML section 4 it takes the common part: letters,
// digits, and - _ . inside, with one prefix at most.
func isXMLName(s string) bool {
	prefix, local, prefixed := strings.Cut(s, ":")
	return isNCName(prefix) && (!prefixed || isNCName(local))
}

func isNCName(s string) bool {
	for i, r := range s {
		first := r == '_' || unicode.IsLetter(r)
		if !first && (i == 0 || r != '-' && r != '.' && !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// Bounds of what is read. A document of the issuer's callers or of a vendor has
// a few levels and a few dozen elements.
const (
	maxXMLDepth = 32
	maxXMLNodes = 10_000 // elements and attributes
)

// parseXML reads a document into the form of a JSON document: an element with
// nothing but text is that text, any other a map of its children by name, its
// attributes by "@name", and its text, if there is more than space between
// children, as "#text". What stands several times is a list. The document is a
// map of its root. Prefixes and xmlns stay as they are written.
//
// It is strict: UTF-8, no DTD and so no entities but the five, no processing
// instruction but the declaration, no attribute twice, and bounds on depth and
// number. The error shows nothing of the document.
func parseXML(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("not UTF-8")
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	decoder := xml.NewDecoder(bytes.NewReader(b))
	r := xmlReader{decoder: decoder}
	root, err := r.document()
	if err != nil {
		return nil, err
	}
	return root, nil
}

// An xmlReader reads raw tokens, since only these have prefixes as they are
// written, and so matches the ends of elements itself.
type xmlReader struct {
	decoder *xml.Decoder
	nodes   int
}

var errXML = errors.New("not one well-formed XML document in UTF-8")

func (r *xmlReader) document() (map[string]any, error) {
	var doc map[string]any
	for {
		start := r.decoder.InputOffset()
		token, err := r.decoder.RawToken()
		if err == io.EOF && doc != nil {
			return doc, nil
		}
		if err != nil {
			return nil, errXML
		}
		switch token := token.(type) {
		case xml.StartElement:
			if doc != nil {
				return nil, errXML
			}
			root, err := r.element(token, 1)
			if err != nil {
				return nil, err
			}
			doc = map[string]any{xmlName(token.Name): root}
		case xml.CharData:
			if !isXMLSpace(token) {
				return nil, errXML
			}
		case xml.ProcInst:
			if token.Target != "xml" || start > 0 {
				return nil, errors.New("a processing instruction, which is not read")
			}
		case xml.Directive:
			return nil, errors.New("a document type declaration, which is not read")
		case xml.EndElement:
			return nil, errXML
		}
	}
}

// element reads what stands between a start and its end.
func (r *xmlReader) element(start xml.StartElement, depth int) (any, error) {
	r.nodes += 1 + len(start.Attr)
	if depth > maxXMLDepth || r.nodes > maxXMLNodes {
		return nil, fmt.Errorf("XML of more than %d levels or %d elements and attributes", maxXMLDepth, maxXMLNodes)
	}
	name := xmlName(start.Name)
	if !isXMLName(name) {
		return nil, errXML
	}
	object := map[string]any{}
	for _, a := range start.Attr {
		key := "@" + xmlName(a.Name)
		if _, twice := object[key]; twice || !isXMLName(key[1:]) {
			return nil, errors.New("an XML attribute that stands twice, or whose name is none")
		}
		object[key] = a.Value
	}
	var text strings.Builder
	kids := false
	for {
		token, err := r.decoder.RawToken()
		if err != nil {
			return nil, errXML
		}
		switch token := token.(type) {
		case xml.StartElement:
			kids = true
			kid, err := r.element(token, depth+1)
			if err != nil {
				return nil, err
			}
			addXML(object, xmlName(token.Name), kid)
		case xml.CharData:
			text.Write(token)
		case xml.EndElement:
			if xmlName(token.Name) != name {
				return nil, errXML
			}
			return finishXML(object, text.String(), kids), nil
		case xml.ProcInst:
			return nil, errors.New("a processing instruction, which is not read")
		case xml.Directive:
			return nil, errors.New("a document type declaration, which is not read")
		}
	}
}

// addXML adds a child. No child is a list by itself, so a list is several.
func addXML(object map[string]any, name string, kid any) {
	switch before := object[name].(type) {
	case nil:
		object[name] = kid
	case []any:
		object[name] = append(before, kid)
	default:
		object[name] = []any{before, kid}
	}
}

func finishXML(object map[string]any, text string, kids bool) any {
	if len(object) == 0 {
		return text
	}
	if text != "" && !(kids && isXMLSpace([]byte(text))) {
		object["#text"] = text
	}
	return object
}

func xmlName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

func isXMLSpace(b []byte) bool { return len(bytes.Trim(b, " \t\r\n")) == 0 }
