package dialect

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
)

// A value is text with holes, compiled from its form in a dialect file:
//
//	value = ( text | "$$" | "$"name | "${"name"}" )*
//	name  = a-z, then a-z 0-9 _
//
// Two holes always have text between them, else nothing says where one ends.
type value []part

type part struct {
	text string
	hole string // if not empty, the part is a hole and text is empty
}

func compile(s string) (value, error) {
	var v value
	text := func(t string) {
		if n := len(v); n > 0 && v[n-1].hole == "" {
			v[n-1].text += t
		} else if t != "" {
			v = append(v, part{text: t})
		}
	}
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			text(s)
			break
		}
		text(s[:i])
		s = s[i+1:]
		if strings.HasPrefix(s, "$") {
			text("$")
			s = s[1:]
			continue
		}
		name, rest, err := holeName(s)
		if err != nil {
			return nil, err
		}
		if n := len(v); n > 0 && v[n-1].hole != "" {
			return nil, fmt.Errorf("the holes $%s and $%s have no text between them; nothing says where the first one ends", v[n-1].hole, name)
		}
		v, s = append(v, part{hole: name}), rest
	}
	return v, nil
}

func holeName(s string) (name, rest string, err error) {
	braced := strings.HasPrefix(s, "{")
	s = strings.TrimPrefix(s, "{")
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || n > 0 && (s[n] == '_' || s[n] >= '0' && s[n] <= '9')) {
		n++
	}
	name, rest = s[:n], s[n:]
	switch {
	case name == "":
		return "", "", fmt.Errorf("a $ is to be followed by a name in lower case; write $$ for the sign itself")
	case braced && !strings.HasPrefix(rest, "}"):
		return "", "", fmt.Errorf("${%s is not closed by a brace", name)
	case braced:
		rest = rest[1:]
	case strings.HasPrefix(rest, "("):
		return "", "", fmt.Errorf("there is no function $%s", name)
	}
	return name, rest, nil
}

func (v value) has(hole string) bool {
	return slices.ContainsFunc(v, func(p part) bool { return p.hole == hole })
}

func (v value) holes() []string {
	var names []string
	for _, p := range v {
		if p.hole != "" && !slices.Contains(names, p.hole) {
			names = append(names, p.hole)
		}
	}
	return names
}

// literal returns the text of a value without holes.
func (v value) literal() (string, bool) {
	if len(v.holes()) > 0 {
		return "", false
	}
	s := ""
	for _, p := range v {
		s += p.text
	}
	return s, true
}

// A missingError says that a hole has no value.
type missingError struct{ hole string }

func (e missingError) Error() string { return "$" + e.hole + " has no value" }

// fill returns the text with the holes filled. It refuses what could not be
// read back: a hole without a value (an empty one counts as none, RFC 6749
// section 3.2), text that is not UTF-8, and a value that holds the text which
// separates it from the next hole.
func (v value) fill(vars jeton.Vars) (string, error) {
	var b strings.Builder
	for _, p := range v {
		if p.hole == "" {
			b.WriteString(p.text)
			continue
		}
		text := vars[p.hole]
		if text == "" {
			return "", missingError{p.hole}
		}
		if !utf8.ValidString(text) {
			return "", fmt.Errorf("$%s is not UTF-8", p.hole)
		}
		b.WriteString(text)
	}
	if len(v) > 1 {
		back := jeton.Vars{}
		ok := v.read(b.String(), back)
		for _, name := range v.holes() {
			if !ok || back[name] != vars[name] {
				return "", fmt.Errorf("$%s holds the text that ends it here, so it could not be read back", name)
			}
		}
	}
	return b.String(), nil
}

// read binds the holes to what stands in their place in s and reports whether
// s has the value's form. A hole is never empty, and ends where the text after
// it first occurs; the last one ends where the text after it ends s.
func (v value) read(s string, into jeton.Vars) bool {
	for i := 0; i < len(v); i++ {
		p := v[i]
		if p.hole == "" {
			rest, ok := strings.CutPrefix(s, p.text)
			if !ok {
				return false
			}
			s = rest
			continue
		}
		end := len(s)
		if i+1 < len(v) {
			after := v[i+1].text
			if i+2 == len(v) {
				if !strings.HasSuffix(s, after) {
					return false
				}
				end = len(s) - len(after)
			} else if end = strings.Index(s, after); end < 0 {
				return false
			}
		}
		if end == 0 || !bind(into, p.hole, s[:end]) {
			return false
		}
		s = s[end:]
	}
	return s == ""
}

// bind sets a variable, or reports false if it has another value already.
func bind(into jeton.Vars, name, text string) bool {
	if old, ok := into[name]; ok {
		return jeton.NewSecret(old).Equal(jeton.NewSecret(text))
	}
	into[name] = text
	return true
}
