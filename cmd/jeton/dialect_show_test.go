package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
)

// TestShow holds what `dialect show` says against what a person wrote down, for
// dialects that ship and for one of each further kind of construct.
func TestShow(t *testing.T) {
	files, err := filepath.Glob("testdata/show/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(name, func(t *testing.T) {
			if os.Getenv("UPDATE_SCRIPTS") != "" {
				if err := os.WriteFile(file, []byte(shown(loadShown(t, name))), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(shown(loadShown(t, name)), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
	if len(files) < 11 {
		t.Errorf("only %d dialects are held", len(files))
	}
}

// TestShowAll: there is something to show of every dialect, and no line of it
// ends in a blank.
func TestShowAll(t *testing.T) {
	for _, name := range dialects.Names() {
		d, err := dialects.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		text := shown(d)
		if strings.Contains(text, "%!") || strings.Contains(text, " \n") || !strings.Contains(text, "\n# Call") {
			t.Errorf("%s is shown as:\n%s", name, text)
		}
	}
}

func loadShown(t *testing.T, name string) *dialect.Dialect {
	t.Helper()
	file := "testdata/show/" + name + ".yaml"
	src, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		src, err = dialects.Source(name)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := dialect.Parse(file, src)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
