package e2e_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// An answer is what came back for one request.
type answer struct {
	status int
	header http.Header
	body   string
}

// object returns the body, which must be one JSON object.
func (a answer) object(t *testing.T) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(a.body), &fields); err != nil {
		t.Fatalf("%d with a body that is no JSON object: %q", a.status, a.body)
	}
	return fields
}

// text returns a string of the JSON object in the body, or "".
func (a answer) text(name string) string {
	var fields map[string]any
	_ = json.Unmarshal([]byte(a.body), &fields) // no object: no such field
	text, _ := fields[name].(string)
	return text
}

// want checks the status and, if body is not empty, that the body is JSON equal
// to it.
func (a answer) want(t *testing.T, status int, body string) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	if body == "" {
		return a
	}
	var got, want any
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || !cmp.Equal(got, want) {
		t.Errorf("body %s, want %s", a.body, body)
	}
	return a
}

// A terminal is where somebody pastes the command lines of a vendor's page.
type terminal struct {
	t   *testing.T
	env []string
}

// newTerminal returns a terminal in which curl shows the head of each answer,
// which it reads out of the home folder so that the lines stay as documented.
func newTerminal(t *testing.T, p *process) *terminal {
	t.Helper()
	need(t, "bash", "curl", "jq")
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte("silent\nshow-error\ninclude\nmax-time = 60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &terminal{t, append(os.Environ(), "HOME="+home, "CURL_HOME="+home, "ISSUER="+p.issuer, "BROKER="+p.broker)}
}

// set sets a variable for the lines that follow.
func (term *terminal) set(name, value string) {
	term.t.Helper()
	if value == "" {
		term.t.Fatalf("%s is empty", name)
	}
	term.env = append(term.env, name+"="+value)
}

// bash runs a script and returns what it prints.
func (term *terminal) bash(script string) string {
	term.t.Helper()
	cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", script)
	cmd.Env = term.env
	var talk strings.Builder
	cmd.Stderr = &talk
	out, err := cmd.Output()
	if err != nil {
		term.t.Fatalf("%s: %v\n%s%s", script, err, out, &talk)
	}
	return string(out)
}

// curl runs one line with curl in it and returns the answer.
func (term *terminal) curl(line string) answer {
	term.t.Helper()
	out := term.bash(line)
	for {
		head, body, ok := strings.Cut(out, "\r\n\r\n")
		words := strings.Fields(head)
		if !ok || len(words) < 2 {
			term.t.Fatalf("%s prints no HTTP answer: %q", line, out)
		}
		status, err := strconv.Atoi(words[1])
		if err != nil {
			term.t.Fatalf("%s: status %q", line, words[1])
		}
		if status < 200 { // 100 Continue, in front of the answer
			out = body
			continue
		}
		header := http.Header{}
		for _, field := range strings.Split(head, "\r\n")[1:] {
			name, value, _ := strings.Cut(field, ":")
			header.Add(name, strings.TrimSpace(value))
		}
		return answer{status, header, body}
	}
}

// shape checks that an answer has exactly these fields; a value of nil stands
// for any text that is not empty.
func (a answer) shape(t *testing.T, fields map[string]any) answer {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	got := a.object(t)
	for name, want := range fields {
		if text, ok := got[name].(string); want == nil && ok && text != "" {
			got[name] = nil
		}
	}
	if diff := cmp.Diff(fields, got); diff != "" {
		t.Errorf("the answer has another shape (-want +got):\n%s", diff)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q on an answer with a token", got)
	}
	return a
}
