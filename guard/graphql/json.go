package graphql

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

var (
	errJSON   = errors.New("the body is not JSON")
	errTwice  = errors.New("a key stands twice in the body")
	errNested = errors.New("the body nests too deeply")
)

// maxJSON is how deep the JSON of a call may nest.
const maxJSON = 32

// A jsonReader walks over one JSON text (RFC 8259) without decoding it. It takes
// what package strictjson takes: no key twice in an object, however it is
// written; that all is UTF-8 is checked before. What it has walked over has one
// structure for every reader, so it may be passed on as it is.
type jsonReader struct {
	s string
	i int
}

// space skips blanks and returns what comes next, or 0.
func (r *jsonReader) space() byte {
	for ; r.i < len(r.s); r.i++ {
		switch c := r.s[r.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// end demands that nothing follows.
func (r *jsonReader) end() error {
	if r.space() != 0 || r.i < len(r.s) {
		return errJSON
	}
	return nil
}

// value walks over a value, and returns it as it is written.
func (r *jsonReader) value(level int) (string, error) {
	c := r.space()
	start := r.i
	var err error
	switch {
	case level > maxJSON:
		err = errNested
	case c == '{':
		err = r.object(level, func(string) error { _, err := r.value(level + 1); return err })
	case c == '[':
		err = r.list(func() error { _, err := r.value(level + 1); return err })
	case c == '"':
		_, err = r.text()
	case c == '-' || digit(c):
		err = r.number()
	default:
		err = r.literal()
	}
	return r.s[start:r.i], err
}

// object walks over an object. member walks over each value; the key is as it
// is written, with its quotes.
func (r *jsonReader) object(level int, member func(key string) error) error {
	var some [8]string
	keys := some[:0]
	var many map[string]bool // once the keys are too many to look through
	r.i++
	if r.space() == '}' {
		r.i++
		return nil
	}
	for {
		if r.space() != '"' {
			return errJSON
		}
		key, err := r.text()
		if err != nil {
			return err
		}
		plain := key
		if strings.IndexByte(key, '\\') >= 0 {
			text, ok := unquote(key)
			if !ok {
				return errJSON
			}
			plain = `"` + text + `"`
		}
		switch {
		case many != nil:
			if many[plain] {
				return errTwice
			}
			many[plain] = true
		case len(keys) < len(some):
			if slices.Contains(keys, plain) {
				return errTwice
			}
			keys = append(keys, plain)
		}
		if many == nil && len(keys) == len(some) {
			many = make(map[string]bool, 2*len(some))
			for _, k := range keys {
				many[k] = true
			}
		}
		if r.space() != ':' {
			return errJSON
		}
		r.i++
		if err := member(key); err != nil {
			return err
		}
		switch r.space() {
		case ',':
			r.i++
		case '}':
			r.i++
			return nil
		default:
			return errJSON
		}
	}
}

// list walks over a list; item walks over each item.
func (r *jsonReader) list(item func() error) error {
	r.i++
	if r.space() == ']' {
		r.i++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		switch r.space() {
		case ',':
			r.i++
		case ']':
			r.i++
			return nil
		default:
			return errJSON
		}
	}
}

// text walks over a string and returns it with its quotes.
func (r *jsonReader) text() (string, error) {
	start := r.i
	if err := r.skip(); err != nil {
		return "", err
	}
	s := r.s[start:r.i]
	for i := 1; i < len(s)-1; i++ {
		if s[i] < ' ' {
			return "", errJSON
		}
		if s[i] != '\\' {
			continue
		}
		i++
		if s[i] == 'u' {
			for range 4 {
				i++
				if i >= len(s)-1 || !hexDigit(s[i]) {
					return "", errJSON
				}
			}
		} else if strings.IndexByte(`"\/bfnrt`, s[i]) < 0 {
			return "", errJSON
		}
	}
	return s, nil
}

// skip goes behind a string whose inside is looked at by somebody else.
func (r *jsonReader) skip() error {
	for from := r.i + 1; ; {
		n := strings.IndexByte(r.s[from:], '"')
		if n < 0 {
			return errJSON
		}
		quote := from + n
		from = quote + 1
		escapes := 0
		for r.s[quote-escapes-1] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			r.i = from
			return nil
		}
	}
}

func (r *jsonReader) number() error {
	n, ok := scanNumber(r.s[r.i:])
	r.i += n
	if !ok {
		return errJSON
	}
	return nil
}

func (r *jsonReader) literal() error {
	for _, word := range []string{"null", "true", "false"} {
		if strings.HasPrefix(r.s[r.i:], word) {
			r.i += len(word)
			return nil
		}
	}
	return errJSON
}

func hexDigit(c byte) bool {
	return digit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// unquote decodes a string with its quotes. Half a surrogate pair has no
// reading on which all agree, so it is refused, as is what is not JSON.
func unquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", false
	}
	s = s[1 : len(s)-1]
	out := make([]byte, 0, len(s))
	four := func(i int) (rune, bool) {
		if i+6 > len(s) || s[i] != '\\' || s[i+1] != 'u' {
			return 0, false
		}
		return unhexRune(s[i+2 : i+6])
	}
	for i := 0; i < len(s); i++ {
		plain := i
		for i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' {
			i++
		}
		out = append(out, s[plain:i]...)
		switch {
		case i == len(s):
		case s[i] != '\\':
			return "", false
		case i+1 < len(s) && s[i+1] == 'u':
			r, ok := four(i)
			i += 5
			if ok && utf16.IsSurrogate(r) {
				low, good := four(i + 1)
				r = utf16.DecodeRune(r, low)
				ok = good && r != utf8.RuneError
				i += 6
			}
			if !ok {
				return "", false
			}
			out = utf8.AppendRune(out, r)
		default:
			i++
			if i >= len(s) {
				return "", false
			}
			at := strings.IndexByte(`"\/bfnrt`, s[i])
			if at < 0 {
				return "", false
			}
			out = append(out, "\"\\/\b\f\n\r\t"[at])
		}
	}
	return string(out), true
}

// appendJSON appends a string as JSON.
func appendJSON[S string | []byte](b []byte, s S) []byte {
	b = append(b, '"')
	plain := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[plain:i]...)
		plain = i + 1
		if c >= ' ' {
			b = append(b, '\\', c)
		} else {
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[plain:]...), '"')
}
