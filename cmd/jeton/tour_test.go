package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// startDev runs jeton dev on free ports and returns the text that it prints at
// the start. It ends with the test.
func startDev(t *testing.T, args ...string) (cmd *exec.Cmd, tour string) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), "jeton", append([]string{"dev", "--listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	var b strings.Builder
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			t.Fatalf("dev ended before it had printed everything: %v\n%s", err, b.String())
		}
		if strings.Contains(line, " user list ") {
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return cmd, b.String()
		}
	}
}

// commands returns the lines of a script that do something.
func commands(script string) (lines []string) {
	for _, line := range strings.Split(script, "\n") {
		if line != "" && line[0] != '#' {
			lines = append(lines, line)
		}
	}
	return lines
}

// TestTour executes every line that jeton dev prints, as somebody would who
// pastes them one after the other, and looks at each answer.
func TestTour(t *testing.T) {
	for _, program := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("the lines use %s, which is not here; ./test installs it", program)
		}
	}
	_, tour := startDev(t, "--data", t.TempDir()+"/it's here")
	lines := commands(tour)
	if len(lines) < 25 {
		t.Fatalf("only %d lines to paste:\n%s", len(lines), tour)
	}
	const mark = "=====\n"
	script := "set -e -o pipefail\ncurl() { command curl --fail-with-body --max-time 20 \"$@\"; }\n"
	for _, line := range lines {
		script += line + "\n"
		if strings.HasPrefix(line, "TOKEN=") {
			script += "test ${#TOKEN} -gt 100\n"
		}
		script += "printf '" + `=====\n` + "'\n"
	}
	bash := exec.CommandContext(t.Context(), "bash", "-c", script)
	var errs strings.Builder
	bash.Stderr = &errs
	out, err := bash.Output()
	answers := strings.Split(string(out), mark)
	if err != nil {
		n := len(answers) - 1
		t.Fatalf("%v at\n%s\n%s%s", err, lines[n], answers[n], errs.String())
	}
	for i, line := range lines {
		checkAnswer(t, line, answers[i])
	}
}

// checkAnswer looks at what a line of the tour printed.
func checkAnswer(t *testing.T, line, answer string) {
	want := ""
	for part, text := range map[string]string{
		"/iadvize/_authenticated": `"authenticated":true`, "/v1/tokens/": `"access_token":"`, "/v1/accounts": `"account":"web1on1"`,
		"/introspect": `"active":true`, "grant_type=password -d username=demo@example.com -d password=demo-password$": `"refresh_token":`,
		"refreshToken=$": `"refreshToken":"`, "alvys/v1/me": `"tenant_id":"acme"`, "to/alvys/me": `"client_id":"broker-client"`,
		"oauth-authorization-server": `"issuer":`, "user list": "admin@example.org", " check ": "yes",
		"/iadvize/graphql": `"me":{"id":`, "/altrata/v1/graphql": `"profiles":[{"name":`,
		"/web1on1/conversations": "A test drive", "/v2/contacts": `"name":"`,
	} {
		if strings.Contains(line+"$", part) && !strings.HasPrefix(line, "TOKEN=") {
			want = text
		}
	}
	flat := strings.ReplaceAll(answer, ": ", ":")
	if !strings.Contains(flat, want) || strings.Contains(flat, `"error"`) || strings.Contains(flat, `"errors"`) {
		t.Errorf("%s\nanswers %s\nwant %s", line, answer, want)
	}
	if strings.HasPrefix(line, "curl") && !json.Valid([]byte(answer)) {
		t.Errorf("%s\nanswers no JSON: %s", line, answer)
	}
}

// TestTourCovers says which of the system's parts a reader of the tour meets.
func TestTourCovers(t *testing.T) {
	for _, part := range []string{
		"{issuer}/iadvize/oauth2/token", "{issuer}/altrata/oauth2/token", "{issuer}/alvys/api/authentication/acme/token",
		"{issuer}/web1on1/v2/auth/token", "{issuer}/oauth2/token",
		"{issuer}/iadvize/graphql", "{issuer}/altrata/v1/graphql", "{issuer}/alvys/v1/me", "{issuer}/web1on1/v2/contacts",
		"{broker}/v1/tokens/iadvize", "{broker}/v1/tokens/altrata", "{broker}/v1/tokens/alvys", "{broker}/v1/tokens/web1on1",
		"{broker}/to/iadvize/", "{broker}/to/altrata/", "{broker}/to/alvys/", "{broker}/to/web1on1/",
		"{console}", "demo-password", "demo-api-key", "demo-secret", "t0pZ3kR3t", "globex",
	} {
		if !strings.Contains(tour, part) {
			t.Errorf("the tour does not show %s", part)
		}
	}
}
