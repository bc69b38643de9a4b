package yamlnode

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// samples are documents that are tried whole and in pieces.
func samples(t testing.TB) (list [][]byte) {
	files, err := filepath.Glob("../dialects/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialects: %v", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, src)
	}
	for _, text := range []string{
		"---\n# head\na: 1\n\nb:\n  c: 1\n  # in\n  d: [1,\n    2]\n'e': 2\nf: |\n  x: 1\n\n  y\ng:\n- h: 1\n  i: 2\n- h: 3\n",
		"a:\n  b: {\n    c: 1\n  }\n  d: 2\ne: {\n  f: 1\n}\ng: 3\n",
		"a:\n  - b: 1\n    c: 2\n    d: 3\n",
		"a: \"x\nb: y\"\nc: 1\n",
		"a: x\n  y\nb: 1",
		"a: # note\n  b: 1\n  c: 2\nd:\ne: ~\n",
		"  a: 1\n  b:\n      c: 1\n      d: 2\n",
		"? a\n: b\nc: d\n", "a: 1\r\nb:\r\n  c: 1\r\n  d: 2\r\n", "a:b: c\nx: y\n", "a: 1\n---\nb: 2\n", "a: 1\n b: 2\n", "a:\n  b: 1\n c: 2\n",
	} {
		list = append(list, []byte(text))
	}
	return list
}

// TestPieces: a document that is read in pieces is the same as read at once,
// each node at its place, whatever the size of the pieces.
func TestPieces(t *testing.T) {
	cut := 0
	for _, src := range samples(t) {
		for _, size := range []int{1, 20, 100} {
			same(t, src, size)
			if _, err := inPieces("f", src, size); err == nil {
				cut++
			}
		}
	}
	if cut < 20 {
		t.Errorf("only %d documents were cut", cut)
	}
}

func same(t *testing.T, src []byte, size int) {
	t.Helper()
	got, err := inPieces("f", src, size)
	if err != nil {
		return // the parser has the whole of it
	}
	want, err := parse(place{"f", 0}, src, 0)
	if err != nil || !reflect.DeepEqual(placed(got), placed(want)) {
		t.Errorf("pieces of %d: %q\n got %+v\nwant %+v, %v", size, src, got, want, err)
	}
}

// placed takes away the column of what is not there: the parser says the one
// after the colon, or the one before it, depending on what follows.
func placed(n Node) Node {
	if n.Kind == Null && n.Text == "" {
		n.column = 0
	}
	for i := range n.Pairs {
		n.Pairs[i].Value = placed(n.Pairs[i].Value)
	}
	for i := range n.Items {
		n.Items[i] = placed(n.Items[i])
	}
	return n
}

// TestLargeDocument: many entries are read, errors say where, and a key that
// stands twice is found though the two are in different pieces.
func TestLargeDocument(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("# accounts\nbroker:\n  accounts:\n")
	const n = 5000
	for i := range n {
		fmt.Fprintf(&b, "    a%d:\n      dialect: x\n      username: u%d\n", i, i)
	}
	doc := b.String()
	root, err := Parse("f", []byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	broker, _ := root.Get("broker")
	accounts, _ := broker.Get("accounts")
	if len(accounts.Pairs) != n {
		t.Fatalf("%d accounts", len(accounts.Pairs))
	}
	name, _ := accounts.Pairs[n-1].Value.Get("username")
	if got, want := name.Position(), fmt.Sprintf("f:%d:17", 3+3*n); name.Text != fmt.Sprintf("u%d", n-1) || got != want {
		t.Errorf("%s at %s, want %s", name.Text, got, want)
	}
	for _, c := range []struct{ more, want string }{
		{"    a7: {}\n", fmt.Sprintf("f:%d:5: the key stands twice: a7", 4+3*n)},
		{"    b: &x 1\n", fmt.Sprintf("f:%d:8: anchors", 4+3*n)},
		{"    b: [\n", "f:"},
		{"broker: 1\n", fmt.Sprintf("f:%d:1: the key stands twice: broker", 4+3*n)},
	} {
		if _, err := Parse("f", []byte(doc+c.more)); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.more, err, c.want)
		}
	}
	if _, err := ParseUpTo(len(doc)-1, "f", []byte(doc)); err == nil {
		t.Error("the bound is none")
	}
}

func FuzzPieces(f *testing.F) {
	for _, src := range samples(f) {
		f.Add(src, 1)
	}
	f.Fuzz(func(t *testing.T, src []byte, size int) {
		if _, _, deep := tooDeep(src); !deep && bytes.Count(src, []byte("\n")) < 1000 {
			same(t, src, size)
		}
	})
}
