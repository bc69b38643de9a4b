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

// TestOpenAPI learns from the documents in testdata/openapi. With
// UPDATE_SCRIPTS set it writes what it learned into the file.
func TestOpenAPI(t *testing.T) {
	files, err := filepath.Glob("testdata/openapi/*.txtar")
	if err != nil || len(files) < 6 {
		t.Fatalf("only %d documents: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range archive.Files {
				parts[f.Name] = string(f.Data)
			}
			d, err := learn.OpenAPI([]byte(parts["document"]), learn.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if os.Getenv("UPDATE_SCRIPTS") != "" {
				archive.Files = []txtar.File{{Name: "document", Data: []byte(parts["document"])}, {Name: "yaml", Data: []byte(strings.TrimPrefix(string(d.YAML()), modeline))}}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(modeline+parts["yaml"], string(d.YAML())); diff != "" {
				t.Error(diff)
			}
			if err := d.Check(); err != nil {
				t.Error(err)
			}
			if strings.Contains(string(d.YAML()), "Ann-pass-77") {
				t.Error("an example's password is in the file")
			}
		})
	}
}

// FuzzOpenAPI: whatever a document holds, reading it ends without a panic, and
// what is learned is a dialect or says why not.
func FuzzOpenAPI(f *testing.F) {
	files, err := filepath.Glob("testdata/openapi/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := learn.OpenAPI(src, learn.Options{})
		if err == nil && len(d.YAML()) == 0 || err != nil && !strings.HasPrefix(err.Error(), "learn: ") {
			t.Errorf("neither a dialect nor a reason: %v", err)
		}
	})
}

func TestOpenAPIRefusals(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"openapi: 3.0.0\ncomponents: {securitySchemes: {k: {type: apiKey, in: header, name: X-Key}, b: {type: http, scheme: basic}}}\n",
			"the document describes no login: an oauth2 scheme with the flow clientCredentials or password, or an operation that answers a token; it has apiKey, http basic"},
		{"openapi: 3.0.0\n", "the document has no security scheme and no operation that looks like a login"},
		{"{{{", "the OpenAPI document:1:"},
		{"[1, 2]", "no security scheme"},
		{"paths: {/login: {$ref: '#/paths/~1login'}}\n", "no security scheme"},
	} {
		if d, err := learn.OpenAPI([]byte(c.src), learn.Options{}); err == nil {
			t.Errorf("%s\nwas learned:\n%s", c.src, d.YAML())
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.src, err, c.want)
		}
	}
}
