package learn_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/jetonhq/jeton/dialect/learn"
)

// modeline is what every file begins with; the pages do not have it.
const modeline = "# yaml-language-server: $schema=https://raw.githubusercontent.com/jetonhq/jeton/main/schema/dialect.json\n"

// A page is a txtar file: first what is learned from, then what comes of it.
type page struct {
	*txtar.Archive
	file string
}

// pages reads the files of a pattern, of which there are at least so many.
func pages(t testing.TB, pattern string, least int) []page {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) < least {
		t.Fatalf("only %d files %s: %v", len(files), pattern, err)
	}
	var list []page
	for _, file := range files {
		list = append(list, readPage(t, file))
	}
	return list
}

func readPage(t testing.TB, file string) page {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil || len(archive.Files) == 0 {
		t.Fatalf("%s: nothing to learn from: %v", file, err)
	}
	return page{archive, file}
}

func (p page) name() string  { return strings.TrimSuffix(filepath.Base(p.file), ".txtar") }
func (p page) input() string { return string(p.Files[0].Data) }

// part returns the text under a name, "" if there is none.
func (p page) part(name string) string {
	for _, f := range p.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// learned compares a draft, and its notes if they count, with what the page
// says comes of it, and tries it. With UPDATE_SCRIPTS set it writes the page.
func (p page) learned(t *testing.T, d *learn.Draft, parts ...string) {
	t.Helper()
	got := map[string]string{"yaml": strings.TrimPrefix(string(d.YAML()), modeline), "notes": lines(d.Notes)}
	if os.Getenv("UPDATE_SCRIPTS") != "" {
		p.Files = p.Files[:1]
		for _, name := range parts {
			p.Files = append(p.Files, txtar.File{Name: name, Data: []byte(got[name])})
		}
		if err := os.WriteFile(p.file, txtar.Format(p.Archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range parts {
		if diff := cmp.Diff(p.part(name), got[name]); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	if !strings.HasPrefix(string(d.YAML()), modeline) {
		t.Error("the file does not begin with the modeline")
	}
	if err := d.Check(); err != nil {
		t.Error(err)
	}
}

func lines(notes []string) string {
	var b strings.Builder
	for _, n := range notes {
		b.WriteString(n + "\n")
	}
	return b.String()
}
