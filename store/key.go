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
