package guard

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// canonical reports whether a path has one reading only, so that what was
// judged is what the other side sees. It has not if it
//
//   - names a host (the absolute form is for forward proxies), does not begin
//     with a slash, or has bytes that a URL does not have;
//   - has an empty segment (a slash at the end is none) or one of dots only;
//   - has a backslash, a semicolon or a control character, encoded or not;
//   - has a query with a blank or a #, which end it for some;
//   - encodes a character that needs no encoding (RFC 3986 section 6.2.2.2), so
//     %2e, or one that has a meaning in a path: / ? # and %, since a receiver
//     that decodes twice would see it.
//
// A letter case of hexadecimal digits is as it is: no receiver cares.
func canonical(u *url.URL) bool {
	if u.Opaque != "" || u.Scheme != "" || u.Host != "" {
		return false
	}
	if u.RawQuery != "" && strings.ContainsAny(u.RawQuery, " #") { // url.Parse takes no other controls
		return false
	}
	if u.RawPath == "" && plain(u.Path) {
		return true
	}
	raw := u.EscapedPath()
	if u.RawPath != "" && u.RawPath != raw || !strings.HasPrefix(raw, "/") || !utf8.ValidString(u.Path) {
		return false
	}
	if strings.ContainsFunc(u.Path, func(r rune) bool { return r == ';' || unicode.IsControl(r) }) {
		return false
	}
	for rest, more := u.Path[1:], true; more; {
		var s string
		s, rest, more = strings.Cut(rest, "/")
		if s == "" && more || s != "" && strings.Trim(s, ".") == "" {
			return false
		}
	}
	for i := 0; i+2 < len(raw); i++ {
		if raw[i] == '%' && !mayEncode(unhex(raw[i+1])<<4|unhex(raw[i+2])) {
			return false
		}
	}
	return true
}

// plain reports whether a path is canonical and nothing in it is encoded. It
// knows the most frequent paths only, and is fast.
func plain(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	dots := true // the segment has nothing but dots so far, or nothing
	for i := 1; i < len(path); i++ {
		switch c := path[i]; {
		case plainByte[c]:
			dots = false
		case c == '/' && !dots:
			dots = true
		case c != '.':
			return false
		}
	}
	return !dots || path[len(path)-1] == '/'
}

// plainByte are the unreserved characters (RFC 3986 section 2.3) but the dot.
var plainByte = func() (set [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~") {
		set[c] = true
	}
	return set
}()

// mayEncode reports whether a byte may stand in a path as %XX.
func mayEncode(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return false
	}
	return !strings.ContainsRune(`-._~/\;?#%`, rune(c))
}

// unhex returns the value of a hexadecimal digit, which url.Parse has checked.
func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
