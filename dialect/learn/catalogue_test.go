package learn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/dialect/learn"
)

// TestCatalogue writes the documented messages of the vendors that ship as curl
// commands and learns them. Nearly all logins are learned so that they write
// themselves again and find their token, and no credential comes out of any.
func TestCatalogue(t *testing.T) {
	learned, refused := 0, []string{}
	for _, p := range pages(t, "../../dialects/testdata/*.txtar", 5) {
		paste, secrets := transcript(p)
		if paste == "" || strings.Contains(paste, "{{") {
			continue // nothing is sent, or what is made anew each time
		}
		d, err := learn.Curl(paste, learn.Options{Name: "vendor"})
		if err == nil {
			err = d.Check()
		}
		if err == nil {
			learned++
		} else {
			refused = append(refused, p.name()+": "+err.Error())
		}
		out := fmt.Sprint(err)
		if d != nil {
			out += string(d.YAML()) + strings.Join(d.Notes, "\n")
		}
		for _, secret := range secrets {
			if strings.Contains(out, secret) {
				t.Errorf("%s: the value of a variable came out: %s\n%s", p.file, secret, out)
			}
		}
	}
	if learned < 70 || learned < 9*len(refused) {
		t.Errorf("only %d logins were learned; refused were\n%s", learned, strings.Join(refused, "\n"))
	}
}

// transcript returns the logins and the call of a transcript as curl commands
// with their answers, and the values of variables that are not words.
func transcript(p page) (paste string, secrets []string) {
	var b strings.Builder
	for _, name := range []string{"login", "login 1", "login 2", "login 3", "call"} {
		request := p.part(name + ": request")
		if request == "" {
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
		b.WriteString("\n" + p.part(name+": answer") + "\n")
		for line := range strings.Lines(p.part(name+": vars") + p.part(name+": answer vars")) {
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
