package graphql

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// hasControl reports whether a document has a character that is none of a
// document (GraphQL, October 2021, section 2.1.1).
func hasControl(src string) bool {
	for i := range len(src) {
		if c := src[i]; c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return true
		}
	}
	return false
}

// next reads a token.
func (p *parser) next() {
	if p.err != nil {
		return
	}
	p.blanks()
	if p.at >= len(p.src) {
		p.kind, p.text = lexEnd, ""
		return
	}
	if p.tokens--; p.tokens < 0 {
		p.fail("the document has too many tokens")
		return
	}
	start := p.at
	c := p.src[start]
	switch {
	case nameStart(c):
		for p.at < len(p.src) && (nameStart(p.src[p.at]) || digit(p.src[p.at])) {
			p.at++
		}
		p.kind, p.text = lexName, p.src[start:p.at]
	case digit(c) || c == '-':
		p.kind = lexNumber
		p.number()
		p.text = p.src[start:p.at]
	case c == '"':
		p.kind = lexString
		if strings.HasPrefix(p.src[start:], `"""`) {
			p.block()
		} else {
			p.quoted()
		}
	case strings.HasPrefix(p.src[start:], "..."):
		p.at += 3
		p.kind, p.text = lexPunctuator, "..."
	case strings.IndexByte("!$()[]{}:=@", c) >= 0: // and not & and |, which only schemas have
		p.at++
		p.kind, p.text = lexPunctuator, p.src[start:p.at]
	default:
		p.unexpected()
	}
}

func nameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// blanks skips what is between tokens.
func (p *parser) blanks() {
	for p.at < len(p.src) {
		switch p.src[p.at] {
		case ' ', '\t', '\n', '\r', ',':
			p.at++
		case '#':
			end := strings.IndexAny(p.src[p.at:], "\r\n")
			if end < 0 {
				end = len(p.src) - p.at
			}
			p.at += end
		default:
			return
		}
	}
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?, which neither a
// name nor a dot may follow.
func (p *parser) number() {
	n, ok := scanNumber(p.src[p.at:])
	p.at += n
	if !ok || p.at < len(p.src) && (nameStart(p.src[p.at]) || p.src[p.at] == '.') {
		p.unexpected()
	}
}

// scanNumber returns how long the number is that s begins with. GraphQL and
// JSON write numbers alike.
func scanNumber[S string | []byte](s S) (n int, ok bool) {
	digits := func() int {
		from := n
		for n < len(s) && digit(s[n]) {
			n++
		}
		return n - from
	}
	if n < len(s) && s[n] == '-' {
		n++
	}
	zero := n < len(s) && s[n] == '0'
	whole := digits()
	ok = whole == 1 || whole > 1 && !zero
	if n < len(s) && s[n] == '.' {
		n++
		ok = digits() > 0 && ok
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		n++
		if n < len(s) && (s[n] == '+' || s[n] == '-') {
			n++
		}
		ok = digits() > 0 && ok
	}
	return n, ok
}

// quoted reads a string in quotes.
func (p *parser) quoted() {
	start := p.at + 1
	end := strings.IndexAny(p.src[start:], "\"\\\r\n")
	if end >= 0 && p.src[start+end] == '"' && !strings.Contains(p.src[start:start+end], "\t") {
		p.at = start + end + 1
		p.text = p.src[start-1 : p.at] // as it is
		return
	}
	var b strings.Builder
	for p.at = start; p.at < len(p.src); {
		c := p.src[p.at]
		p.at++
		switch c {
		case '"':
			p.text = quote(b.String())
			return
		case '\r', '\n':
			p.unexpected()
			return
		case '\\':
			r, ok := p.escape()
			if !ok {
				p.unexpected()
				return
			}
			b.WriteRune(r)
		default:
			b.WriteByte(c)
		}
	}
	p.unexpected()
}

// escape reads what is behind a backslash.
func (p *parser) escape() (rune, bool) {
	if p.at >= len(p.src) {
		return 0, false
	}
	c := p.src[p.at]
	p.at++
	if c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return 0, false
		}
		return rune("\"\\/\b\f\n\r\t"[i]), true
	}
	if strings.HasPrefix(p.src[p.at:], "{") {
		end := strings.IndexByte(p.src[p.at:], '}')
		if end < 2 || end > 9 {
			return 0, false
		}
		r, ok := unhexRune(p.src[p.at+1 : p.at+end])
		p.at += end + 1
		return r, ok && utf8.ValidRune(r)
	}
	r, ok := p.four()
	if ok && utf16.IsSurrogate(r) {
		if !strings.HasPrefix(p.src[p.at:], `\u`) {
			return 0, false
		}
		p.at += 2
		low, good := p.four()
		r = utf16.DecodeRune(r, low)
		ok = good && r != utf8.RuneError
	}
	return r, ok
}

func (p *parser) four() (rune, bool) {
	if len(p.src)-p.at < 4 {
		return 0, false
	}
	p.at += 4
	return unhexRune(p.src[p.at-4 : p.at])
}

func unhexRune(s string) (rune, bool) {
	n, err := strconv.ParseUint(s, 16, 31)
	return rune(n), err == nil
}

// block reads a block string (section 2.9.4) and writes it in quotes.
func (p *parser) block() {
	var b strings.Builder
	for p.at += 3; p.at < len(p.src); {
		rest := p.src[p.at:]
		switch {
		case strings.HasPrefix(rest, `\"""`):
			b.WriteString(`"""`)
			p.at += 4
		case strings.HasPrefix(rest, `"""`):
			p.at += 3
			p.text = quote(blockValue(b.String()))
			return
		default:
			b.WriteByte(rest[0])
			p.at++
		}
	}
	p.unexpected()
}

// blockValue takes away the indentation that the lines but the first have in
// common, and the lines at both ends that are blank.
func blockValue(raw string) string {
	raw = strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(raw, "\n")
	blank := func(line string) bool { return strings.Trim(line, " \t") == "" }
	common := -1
	for _, line := range lines[1:] {
		if indent := len(line) - len(strings.TrimLeft(line, " \t")); !blank(line) && (common < 0 || indent < common) {
			common = indent
		}
	}
	for i := 1; i < len(lines) && common > 0; i++ {
		lines[i] = lines[i][min(common, len(lines[i])):]
	}
	for len(lines) > 0 && blank(lines[0]) {
		lines = lines[1:]
	}
	for len(lines) > 0 && blank(lines[len(lines)-1]) {
		lines = lines[:len(lines)-1]
	}
	return strings.Join(lines, "\n")
}

// quote writes a string in quotes, as JSON does: with no escape that not every
// parser knows.
func quote(s string) string { return string(appendJSON(make([]byte, 0, len(s)+8), s)) }
