package dialect

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
)

// A value is text with holes, compiled from its form in a dialect file:
//
//	value = ( text | "$$" | "$"name | "${"name"}" | "$"fn"(" value, ... ")" )*
//	name  = a-z, then a-z 0-9 _
//
// Two holes always have text between them, else nothing says where one ends;
// what a digest is made of is never taken apart, so there they may touch.
type value []part

// A part is fixed text, a hole, or what a function makes of other values.
type part struct {
	text string
	hole string    // if not empty, the part is a hole and text is empty
	fn   *function // if not nil, the part is a call and text is empty
	args []value
}

func (p part) fixed() bool { return p.hole == "" && p.fn == nil }

// what names the part in a message.
func (p part) what() string {
	if p.fn != nil {
		return "$" + p.fn.name + "(...)"
	}
	return "$" + p.hole
}

func compile(s string) (value, error) {
	c := compiler{rest: s}
	v, err := c.value(false)
	if err != nil {
		return nil, err
	}
	return v, v.apart()
}

// A compiler reads a value from left to right.
type compiler struct {
	rest  string
	depth int
}

// maxCalls bounds how deep calls stand in one another.
const maxCalls = 8

// value reads to the end, or, inside a call, to a comma or the parenthesis that
// ends an argument.
func (c *compiler) value(argument bool) (value, error) {
	var v value
	text := func(t string) {
		if n := len(v); n > 0 && v[n-1].fixed() {
			v[n-1].text += t
		} else if t != "" {
			v = append(v, part{text: t})
		}
	}
	for c.rest != "" {
		stop := "$"
		if argument {
			stop = "$,)"
		}
		i := strings.IndexAny(c.rest, stop)
		if i < 0 {
			text(c.rest)
			c.rest = ""
			break
		}
		text(c.rest[:i])
		c.rest = c.rest[i:]
		if c.rest[0] != '$' {
			break // the argument ends
		}
		c.rest = c.rest[1:]
		if c.rest != "" && (c.rest[0] == '$' || argument && strings.IndexByte(",)", c.rest[0]) >= 0) {
			text(c.rest[:1])
			c.rest = c.rest[1:]
			continue
		}
		p, err := c.part()
		if err != nil {
			return nil, err
		}
		v = append(v, p)
	}
	return v, nil
}

// part reads what follows a $: a name, or a call.
func (c *compiler) part() (part, error) {
	name, rest, err := holeName(c.rest)
	if err != nil {
		return part{}, err
	}
	if !strings.HasPrefix(rest, "(") || c.rest[0] == '{' {
		c.rest = rest
		return part{hole: name}, nil
	}
	fn, ok := functions[name]
	if !ok {
		return part{}, fmt.Errorf("there is no function $%s%s", name, suggestFunction(name))
	}
	if c.depth++; c.depth > maxCalls {
		return part{}, fmt.Errorf("functions stand in one another more than %d deep", maxCalls)
	}
	c.rest = rest[1:]
	p := part{fn: fn}
	for {
		c.rest = strings.TrimLeft(c.rest, " ")
		arg, err := c.value(true)
		switch {
		case err != nil:
			return part{}, err
		case c.rest == "":
			return part{}, fmt.Errorf("$%s( is not closed by a parenthesis", name)
		}
		end := c.rest[0]
		c.rest = c.rest[1:]
		if len(arg) > 0 || end == ',' || len(p.args) > 0 {
			p.args = append(p.args, arg)
		}
		if end == ')' {
			break
		}
	}
	c.depth--
	return p, p.check()
}

// check refuses a call that its function cannot make.
func (p part) check() error {
	if n := len(p.args); n < p.fn.least || n > p.fn.most {
		return fmt.Errorf("$%s takes %s, not %d", p.fn.name, plural(p.fn.least, p.fn.most), n)
	}
	switch p.fn.kind {
	case isCodec:
		return p.args[0].apart()
	case isDigest:
		if takes := p.fn.takes(); PEM(takes) && !p.args[0].whole() {
			return fmt.Errorf("$%s takes one hole, which holds all of the %s in PEM", p.fn.name, takes)
		}
	case isGenerator:
		for _, a := range p.args {
			text, ok := a.literal()
			if _, err := parseShift(text); !ok || err != nil || p.fn.name != "now" {
				return fmt.Errorf("$%s takes at most a fixed length of time, such as $now(7d) or $now(-60s)", p.fn.name)
			}
		}
	}
	return nil
}

func plural(least, most int) string {
	switch {
	case most == 0:
		return "no argument"
	case least == most && most == 1:
		return "one argument"
	case least == most:
		return fmt.Sprintf("%d arguments", most)
	}
	return fmt.Sprintf("%d to %d arguments", least, most)
}

// apart refuses a value of which nobody could say where one hole ends.
func (v value) apart() error {
	for i := 1; i < len(v); i++ {
		a, b := v[i-1], v[i]
		if !a.fixed() && !b.fixed() && !(a.fn != nil && a.fn.name == "json") {
			return fmt.Errorf("%s and %s have no text between them; nothing says where the first one ends", a.what(), b.what())
		}
	}
	return nil
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
		return "", "", errors.New("a $ is to be followed by a name in lower case; write $$ for the sign itself")
	case braced && !strings.HasPrefix(rest, "}"):
		return "", "", fmt.Errorf("${%s is not closed by a brace", name)
	case braced:
		rest = rest[1:]
	}
	return name, rest, nil
}

// has reports whether reading the value binds the hole.
func (v value) has(hole string) bool { return slices.Contains(v.holes(), hole) }

// holes returns the names that reading the value binds: not those of which only
// a digest is made.
func (v value) holes() []string { return bindsOf(v.each) }

// needs returns the names that filling the value takes.
func (v value) needs() []string { return needsOf(v.each) }

// bindsOf returns the names that reading the parts binds: not those of which only
// a digest is made.
func bindsOf(each func(func(p *part, digested bool))) []string {
	var names []string
	each(func(p *part, digested bool) {
		if p.hole != "" && !digested {
			names = appendNew(names, p.hole)
		}
	})
	return names
}

// needsOf returns the names that filling the parts takes.
func needsOf(each func(func(p *part, digested bool))) []string {
	var names []string
	each(func(p *part, _ bool) {
		if p.hole != "" {
			names = appendNew(names, p.hole)
		}
	})
	return names
}

// each calls f for every part, those of arguments too; digested is whether it
// stands in a digest.
func (v value) each(f func(p *part, digested bool)) { v.walk(false, f) }

func (v value) walk(digested bool, f func(*part, bool)) {
	for i := range v {
		f(&v[i], digested)
		for _, arg := range v[i].args {
			arg.walk(digested || v[i].fn.kind == isDigest, f)
		}
	}
}

func appendNew(names []string, more ...string) []string {
	for _, name := range more {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// leftOut reports whether a field is left out when the holes of the value have
// no values: all of them may be absent, and nothing in it is a proof, which an
// absent field would spare whoever forges the message.
func (v value) leftOut(optional func(hole string) bool) bool {
	holes, kept := 0, false
	v.each(func(p *part, _ bool) {
		kept = kept || p.fn != nil && p.fn.kind == isDigest || p.hole != "" && !optional(p.hole)
		if p.hole != "" {
			holes++
		}
	})
	return holes > 0 && !kept
}

// mayBeAbsent reports whether a message is as good without a field of that
// value: also what has none counts as absent (RFC 6749 section 3.2).
func (v value) mayBeAbsent(optional func(hole string) bool) bool {
	return len(v) == 0 || v.leftOut(optional)
}

// unset reports whether no hole of the value has a value: what somebody gave is
// not left out without a word.
func (v value) unset(e *env) bool {
	return !slices.ContainsFunc(v.holes(), func(name string) bool { return e.vars[name] != "" })
}

// literal returns the text of a value without holes and calls.
func (v value) literal() (string, bool) {
	s := ""
	for _, p := range v {
		if !p.fixed() {
			return "", false
		}
		s += p.text
	}
	return s, true
}

// whole reports whether the value is one hole and nothing else.
func (v value) whole() bool { return len(v) == 1 && v[0].hole != "" }

// variable reports whether the value has anything but fixed text.
func (v value) variable() bool {
	_, ok := v.literal()
	return !ok
}

// A missingError says that a hole has no value.
type missingError struct{ hole string }

// Error names the hole.
func (e missingError) Error() string { return "$" + e.hole + " has no value" }

// fill returns the text with the holes filled. It refuses what could not be
// read back: a hole without a value (an empty one counts as none, RFC 6749
// section 3.2), text that is not UTF-8, and a value that holds the text which
// separates it from the next hole.
func (v value) fill(e *env) (string, error) {
	var b strings.Builder
	pieces := make([]string, len(v))
	for i, p := range v {
		text, err := p.fill(e)
		if err != nil {
			return "", err
		}
		pieces[i] = text
		b.WriteString(text)
	}
	if len(v) > 1 {
		back, ok := v.split(b.String())
		for i, p := range v {
			if !p.fixed() && (!ok || back[i] != pieces[i]) {
				return "", fmt.Errorf("%s holds the text that ends it here, so it could not be read back", p.what())
			}
		}
	}
	return b.String(), nil
}

func (p part) fill(e *env) (string, error) {
	switch {
	case p.fixed():
		return p.text, nil
	case p.hole != "":
		text, err := e.get(p.hole)
		if err != nil {
			return "", err
		}
		if !utf8.ValidString(text) {
			return "", fmt.Errorf("$%s is not UTF-8", p.hole)
		}
		return text, nil
	case p.fn.kind == isGenerator:
		return p.fn.generate(e, p.args)
	case p.fn.kind == isDigest:
		b, err := p.digest(e)
		return p.fn.show(b), err
	}
	if inner, ok := p.bytes(); ok {
		b, err := inner.digest(e)
		if err != nil {
			return "", err
		}
		return p.fn.encodeBytes(b), nil
	}
	text, err := p.args[0].fill(e)
	if err != nil {
		return "", err
	}
	coded, err := p.fn.encode(text)
	if err != nil {
		return "", fmt.Errorf("$%s: %w", strings.Join(p.args[0].holes(), ", $"), err)
	}
	return coded, nil
}

// bytes returns the digest that a codec is about to write as text, if it is one.
func (p part) bytes() (part, bool) {
	if p.fn.encodeBytes == nil || len(p.args[0]) != 1 {
		return part{}, false
	}
	inner := p.args[0][0]
	return inner, inner.fn != nil && inner.fn.kind == isDigest
}

func (p part) digest(e *env) ([]byte, error) {
	args := make([]string, len(p.args))
	for i, a := range p.args {
		// What is digested is never taken apart, so what touches may touch.
		for _, piece := range a {
			text, err := piece.fill(e)
			if err != nil {
				return nil, err
			}
			args[i] += text
		}
	}
	return p.fn.digest(args)
}

// split says which piece of s stands for which part. A hole is never empty, and
// ends where the text after it first occurs; the last one ends where the text
// after it ends s.
func (v value) split(s string) ([]string, bool) {
	pieces := make([]string, len(v))
	for i := 0; i < len(v); i++ {
		p := v[i]
		end := len(s)
		switch {
		case p.fixed():
			if !strings.HasPrefix(s, p.text) {
				return nil, false
			}
			end = len(p.text)
		case p.fn != nil && p.fn.name == "json":
			if end = stringEnd(s); end < 0 {
				return nil, false
			}
		case i+1 < len(v):
			after := v[i+1].text
			if i+2 == len(v) {
				if !strings.HasSuffix(s, after) {
					return nil, false
				}
				end = len(s) - len(after)
			} else if i+3 == len(v) && v[i+2].without(after) {
				// What comes last cannot hold the text before it, so all the rest is the hole's.
				if end = strings.LastIndex(s, after); end < 0 {
					return nil, false
				}
			} else if end = strings.Index(s, after); end < 0 {
				return nil, false
			}
		}
		if end == 0 && !p.fixed() {
			return nil, false
		}
		pieces[i], s = s[:end], s[end:]
	}
	return pieces, s == ""
}

// without reports whether what a part comes to never holds a text.
func (p part) without(text string) bool {
	return p.fn != nil && p.fn.alphabet != "" && strings.Trim(text, p.fn.alphabet) != ""
}

// stringEnd returns the length of the JSON string that s begins with, or -1.
func stringEnd(s string) int {
	if s == "" || s[0] != '"' {
		return -1
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if !json.Valid([]byte(s[:i+1])) {
				return -1
			}
			return i + 1
		}
	}
	return -1
}

// read binds the holes to what stands in their place in s and reports whether
// s has the value's form. What a digest or a signature stands for is kept, to be
// proven when somebody knows what it is to be made of.
func (v value) read(s string, into *bound) bool {
	pieces, ok := v.split(s)
	if !ok {
		return false
	}
	for i, p := range v {
		if !p.read(pieces[i], into) {
			return false
		}
	}
	return true
}

func (p part) read(s string, into *bound) bool {
	switch {
	case p.fixed():
		return true // as split has seen
	case p.hole != "":
		return into.bind(p.hole, s)
	case p.fn.kind == isGenerator:
		return utf8.ValidString(s)
	case p.fn.kind == isDigest:
		into.proofs = append(into.proofs, proof{part: p, text: s})
		return true
	}
	if _, ok := p.bytes(); ok {
		into.proofs = append(into.proofs, proof{part: p, text: s})
		return true
	}
	text, err := p.fn.decode(s)
	return err == nil && p.args[0].read(text, into)
}

// String shows the value as the file has it.
func (v value) String() string {
	s := ""
	for _, p := range v {
		switch {
		case p.fn != nil:
			var args []string
			for _, a := range p.args {
				args = append(args, a.String())
			}
			s += "$" + p.fn.name + "(" + strings.Join(args, ", ") + ")"
		case p.hole != "":
			s += "$" + p.hole
		default:
			s += strings.ReplaceAll(p.text, "$", "$$")
		}
	}
	return s
}

// A bound is what reading a message has found: variables, and texts that are to
// be proven.
type bound struct {
	vars   jeton.Vars
	proofs []proof
}

func newBound() *bound { return &bound{vars: jeton.Vars{}} }

// bind sets a variable, or reports false if it has another value already.
func (b *bound) bind(name, text string) bool {
	if old, ok := b.vars[name]; ok {
		return jeton.NewSecret(old).Equal(jeton.NewSecret(text))
	}
	b.vars[name] = text
	return true
}

// A proof is a text in a message that only somebody with a secret can make.
type proof struct {
	part   part   // that the text stands for, if it is a digest
	signed signed // that the text is one of, if it is signed
	text   string
}
