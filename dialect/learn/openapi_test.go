package learn_test

import (
	"strings"
	"testing"

	"github.com/jetonhq/jeton/dialect/learn"
)

// TestOpenAPI learns from the documents in testdata/openapi.
func TestOpenAPI(t *testing.T) {
	for _, p := range pages(t, "testdata/openapi/*.txtar", 6) {
		t.Run(p.name(), func(t *testing.T) {
			d, err := learn.OpenAPI([]byte(p.input()), learn.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p.learned(t, d, "yaml")
			if strings.Contains(string(d.YAML()), "Ann-pass-77") {
				t.Error("an example's password is in the file")
			}
		})
	}
}

// FuzzOpenAPI: whatever a document holds, reading it ends without a panic, and
// what is learned is a dialect or says why not.
func FuzzOpenAPI(f *testing.F) {
	for _, p := range pages(f, "testdata/openapi/*.txtar", 6) {
		f.Add([]byte(p.input()))
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
