package vault

import (
	"encoding/hex"
	"strings"
)

// escape makes of a key, or of a part of one that ends before a slash, what may
// stand in a path: letters, digits, dashes and underscores stay, any other byte
// becomes a tilde and two hex digits, and an empty segment a tilde.
func escape(key string) string {
	segments := strings.Split(key, "/")
	for i, s := range segments {
		var b strings.Builder
		for _, c := range []byte(s) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
				b.WriteByte(c)
			default:
				b.WriteString("~" + hex.EncodeToString([]byte{c}))
			}
		}
		if s == "" {
			b.WriteByte('~')
		}
		segments[i] = b.String()
	}
	return strings.Join(segments, "/")
}

// unescape is the inverse of escape for one segment.
func unescape(segment string) (s string, ok bool) {
	if segment == "~" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(segment); i++ {
		if segment[i] != '~' {
			b.WriteByte(segment[i])
			continue
		}
		c, err := hex.DecodeString(segment[i+1 : min(i+3, len(segment))])
		if err != nil || len(c) != 1 {
			return "", false
		}
		b.Write(c)
		i += 2
	}
	return b.String(), escape(b.String()) == segment
}
