package store

import (
	"net/url"
	"strings"
)

// Key joins segments with slashes and escapes each, so that a segment from
// outside can neither end early nor reach another record.
func Key(segments ...string) string {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = url.PathEscape(s)
	}
	return strings.Join(escaped, "/")
}

// PrefixEnd returns the first key in byte order that sorts behind all which
// begin with prefix. It is empty if there is no such key.
func PrefixEnd(prefix string) string {
	end := []byte(prefix)
	for len(end) > 0 && end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	if len(end) > 0 {
		end[len(end)-1]++
	}
	return string(end)
}
