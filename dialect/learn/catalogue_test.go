package learn_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/jetonhq/jeton/dialect/learn"
)

// TestCatalogue writes the documented messages of the vendors that ship as curl
// commands and learns them. Nearly all logins are learned so that they write
// themselves again and find their token, and no credential comes out of any.
func TestCatalogue(t *testing.T) {
	files, err := filepath.Glob("../../dialects/testdata/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("only %d transcripts: %v", len(files), err)
	}
	learned, refused := 0, []string{}
	for _, file := range files {
		paste, secrets := transcript(t, file)
		if paste == "" || strings.Contains(paste, "{{") {
			continue // nothing is sent, or what is made anew each time
		}
		d, err := learn.Curl(paste, learn.Options{Name: "vendor"})
		if err == nil {
			err = d.Check()
		}
		learned++
		if err != nil {
			learned--
			refused = append(refused, filepath.Base(file)+": "+err.Error())
		}
		out := fmt.Sprint(err)
		if d != nil {
			out += string(d.YAML()) + strings.Join(d.Notes, "\n")
		}
		for _, secret := range secrets {
			if strings.Contains(out, secret) {
				t.Errorf("%s: the value of a variable came out: %s\n%s", file, secret, out)
			}
		}
	}
	if learned < 9*len(refused) {
		t.Errorf("only %d logins were learned; refused were\n%s", learned, strings.Join(refused, "\n"))
	}
}

// transcript returns the logins and the call of a transcript as curl commands
// with their answers, and the values of variables that are not words.
func transcript(t *testing.T, file string) (paste string, secrets []string) {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]string{}
	for _, f := range archive.Files {
		parts[f.Name] = string(f.Data)
	}
	var b strings.Builder
	for _, name := range []string{"login", "login 1", "login 2", "login 3", "call"} {
		request, ok := parts[name+": request"]
		if !ok {
			continue
		}
		head, body, _ := strings.Cut(request, "\n\n")
		first, headers, _ := strings.Cut(strings.TrimSpace(head), "\n")
		method, u, _ := strings.Cut(first, " ")
		fmt.Fprintf(&b, "curl -X %s %s", method, quoted(u))
		for line := range strings.Lines(headers) {
			b.WriteString(" \\\n  -H " + quoted(strings.TrimSpace(line)))
		}
		if body = strings.TrimSuffix(body, "\n"); body != "" {
			b.WriteString(" \\\n  --data-raw " + quoted(body))
		}
		b.WriteString("\n" + parts[name+": answer"] + "\n")
		for line := range strings.Lines(parts[name+": vars"] + parts[name+": answer vars"]) {
			variable, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch variable {
			case "client_secret", "password", "api_key", "access_token", "refresh_token", "api_secret", "private_key":
				if len(value) >= 6 && strings.ContainsAny(value, "0123456789.-/+=%") {
					secrets = append(secrets, value)
				}
			}
		}
	}
	return b.String(), secrets
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
