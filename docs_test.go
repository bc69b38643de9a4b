package jeton_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestProofsExist: a test that a document names as the proof of a promise is
// there, under that name.
func TestProofsExist(t *testing.T) {
	tests := map[string]bool{} // :: name of a test function -> it is there
	declared := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	for _, file := range goFiles(t) {
		if !strings.HasSuffix(file.path, "_test.go") {
			continue
		}
		source, err := os.ReadFile(filepath.FromSlash(file.path))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range declared.FindAllSubmatch(source, -1) {
			tests[string(match[1])] = true
		}
	}
	documents, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	documents = slices.Concat(documents, []string{"README.md"})
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	proofs := 0
	for _, document := range documents {
		text, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range named.FindAllSubmatch(text, -1) {
			proofs++
			if name := string(match[1]); !tests[name] {
				t.Errorf("%s names %s, and there is no such test", document, name)
			}
		}
	}
	if proofs < 20 {
		t.Errorf("only %d tests are named: this test looks in the wrong place", proofs)
	}
}
