package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
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

// TestEndsWithinASecond interrupts a server that has an unfinished request, a
// connection that says nothing and one that waits for its next request.
func TestEndsWithinASecond(t *testing.T) {
	cmd, tour := startDev(t)
	_, rest, _ := strings.Cut(tour, "issuer and guarded APIs   http://")
	addr, _, _ := strings.Cut(rest, "\n")
	for _, text := range []string{
		"", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /iadvize/oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nusername=",
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := fmt.Fprint(c, text); err != nil {
			t.Fatal(err)
		}
	}
	mustEnd(t, cmd)
}

// TestEndsDuringALogin interrupts a server whose broker waits for a vendor that
// does not answer, and a caller who waits for that token.
func TestEndsDuringALogin(t *testing.T) {
	vendor, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = vendor.Close() }()
	reached := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := vendor.Accept()
			if err != nil {
				return
			}
			reached <- c
		}
	}()
	dir := t.TempDir()
	config := `broker:
  listen: unix:broker.sock
  accounts: {slow: {dialect: iadvize, origin: "http://` + vendor.Addr().String() + `", username: ann, password: env:HOME}}
`
	if err := os.WriteFile(dir+"/jeton.yaml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "jeton", "serve", "-c", dir+"/jeton.yaml")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var caller net.Conn
	for caller == nil {
		if caller, err = net.Dial("unix", dir+"/broker.sock"); err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
	defer func() { _ = caller.Close() }()
	if _, err := io.WriteString(caller, "GET /v1/tokens/slow HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	login := <-reached
	defer func() { _ = login.Close() }()
	mustEnd(t, cmd)
}

// mustEnd interrupts a program, which has a second to end well.
func mustEnd(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	start := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v to end", took)
	}
}
