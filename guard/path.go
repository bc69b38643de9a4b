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
//   - encodes a character that needs no encoding (RFC 3986 section 6.2.2.2), so
//     %2e, or one that has a meaning in a path: / ? # and %, since a receiver
//     that decodes twice would see it.
//
// A letter case of hexadecimal digits is as it is: no receiver cares.
func canonical(u *url.URL) bool {
	raw := u.EscapedPath()
	if u.Opaque != "" || u.Scheme != "" || u.Host != "" || u.RawPath != "" && u.RawPath != raw || !strings.HasPrefix(raw, "/") || !utf8.ValidString(u.Path) {
		return false
	}
	if strings.ContainsFunc(u.Path, func(r rune) bool { return r == ';' || unicode.IsControl(r) }) {
		return false
	}
	segments := strings.Split(u.Path[1:], "/")
	for i, s := range segments {
		if s == "" && i < len(segments)-1 || s != "" && strings.Trim(s, ".") == "" {
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
