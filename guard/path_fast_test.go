package guard

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The fast look at a path lets nothing through that the thorough one refuses.
func TestPlainIsCanonical(t *testing.T) {
	seen := map[bool]int{}
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.StringMatching(`/?([a-z.]{1,3}/?|/|\.|\.\.|//|%|;|-| |\\|é){0,8}`).Draw(t, "path")
		fast := plain(path)
		seen[fast]++
		u := &url.URL{Path: path, RawPath: ""}
		u.RawPath = u.EscapedPath() // so that canonical takes its time
		if fast && !canonical(u) {
			t.Fatalf("%q is plain and not canonical", path)
		}
		if !fast && canonical(u) && strings.Trim(path, "abcdefghijklmnopqrstuvwxyz/.-") == "" {
			t.Fatalf("%q is canonical, has nothing special, and is not plain", path)
		}
	})
	if seen[true] == 0 || seen[false] == 0 {
		t.Errorf("plain and not: %v", seen)
	}
}
