package store_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton/store"
)

// Segments that differ make keys that differ, whatever is in them, and no
// segment reaches into another's place.
func TestKey(t *testing.T) {
	segment := rapid.OneOf(rapid.SampledFrom([]string{"", "/", "a", "a/b", "%2F", "%", "..", "\x00", "\xff"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(segment, 1, 4).Draw(t, "segments")
		key := store.Key(in...)
		var out []string
		for s := range strings.SplitSeq(key, "/") {
			s, err := url.PathUnescape(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
		if !slices.Equal(in, out) {
			t.Fatalf("%q became %q, which reads %q", in, key, out)
		}
		if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q became %q", in, key)
		}
	})
}

func TestPrefixEnd(t *testing.T) {
	for prefix, want := range map[string]string{"": "", "a/": "a0", "a\xff": "b", "\xff\xff": "", "\xfe\xff": "\xff", "é": "\xc3\xaa"} {
		if got := store.PrefixEnd(prefix); got != want {
			t.Errorf("PrefixEnd(%q) = %q, want %q", prefix, got, want)
		}
	}
}
