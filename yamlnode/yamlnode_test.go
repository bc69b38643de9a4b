package yamlnode

import (
	"strings"
	"testing"
)

func TestParseKeepsOrderAndText(t *testing.T) {
	n, err := Parse("f", []byte("b: 24h\na: 2024-01-01\nlist: [1, '2', ~, true]\nurl: https://x.example/$a\nGET:\n"))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, p := range n.Pairs {
		keys = append(keys, p.Key.Text)
	}
	if got := strings.Join(keys, " "); got != "b a list url GET" {
		t.Errorf("keys are %s", got)
	}
	if v, _ := n.Get("a"); v.Text != "2024-01-01" || v.Kind != Text {
		t.Errorf("a date became %v %q", v.Kind, v.Text)
	}
	list, _ := n.Get("list")
	kinds := []Kind{Number, Text, Null, Bool}
	for i, want := range kinds {
		if list.Items[i].Kind != want {
			t.Errorf("item %d is %s, want %s", i, list.Items[i].Kind, want)
		}
	}
	if v, _ := n.Get("GET"); v.Kind != Null {
		t.Errorf("an empty value is %s", v.Kind)
	}
}

func TestErrorsSayWhereAndHideTheLine(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"a: 1\nb: {c: 1, c: hunter2}\n", "f:2:11: "},
		{"a: &x 1\n", "f:1:4: anchors"},
		{"a: *x\n", "f:1:"},
		{"a: 1\n---\nb: 2\n", "f:3:1: a second document"},
		{"a: [hunter2\n", "f:1:"},
		{"a: {b:c: {d: hunter2}}\n", "f:1:10: not YAML: a comma or a closing brace must be specified"},
		{"a: {b: hunter2\n", "f:1:4: not YAML: could not find flow mapping end token a closing brace"},
		{"a:\n-\nb: 1\n", "f:2:1: an item of the list is empty: write ~"},
		{"a:\n- c: 1\n-\nb: 1\n", "f:2:1: an item of the list is empty"},
		{"a: [\nb]\nc:\n- ~\n-\n", "f:4:1: an item of the list is empty"},
		{"a: \xff", "f:1:1: the file is not UTF-8"},
		{"a: " + strings.Repeat("[", 100000), "f:1:"},
		{strings.Repeat("- ", 100000), "f:1:"},
	} {
		_, err := Parse("f", []byte(c.src))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.40q: %v, want %s", c.src, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the line: %v", err)
		}
	}
}

func TestOnlyNamesTheNearest(t *testing.T) {
	n, _ := Parse("f", []byte("dialect: x\nlifetme: 24h\n"))
	err := n.Only("dialect", "lifetime", "early")
	if want := `f:2:1: unknown key "lifetme"; did you mean lifetime?`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a: {b: [1, '2', |\n x\n]}"))
	f.Add([]byte("? a\n: b"))
	f.Add([]byte("!!str a: &b c"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if n, err := Parse("f", src); err == nil {
			_ = n.Only()
		}
	})
}
