package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// guardPage returns the page of the guard.
func guardPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/guard.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestGuardPageStart pastes the first lines of the page into a shell, with
// nothing changed but the folder and the ports.
func TestGuardPageStart(t *testing.T) {
	t.Parallel()
	need(t, "bash", "curl", "jq")
	_, section, _ := strings.Cut(guardPage(t), "\n## Start\n")
	block := regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindString(section)
	lines := regexp.MustCompile(`(?m)^    `).ReplaceAllString(block, "")
	dir := t.TempDir()
	for _, change := range [][2]string{
		{"127.0.0.1:8080", freeAddress(t)}, {"127.0.0.1:8082", freeAddress(t)}, {"127.0.0.1:3000", freeAddress(t)},
	} {
		if !strings.Contains(lines, change[0]) {
			t.Fatalf("the lines have no %q", change[0])
		}
		lines = strings.ReplaceAll(lines, change[0], change[1])
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	bash := exec.CommandContext(ctx, "bash", "-c", "set -e -o pipefail\n"+lines)
	bash.Dir = ".."
	bash.Env = append(os.Environ(), "TMPDIR="+dir)
	bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-bash.Process.Pid, syscall.SIGKILL) }
	bash.Cancel = end
	out := newOutput()
	bash.Stdout, bash.Stderr = out, out
	err := bash.Run()
	_ = end()
	if text := out.String(); err != nil || !regexp.MustCompile(`(?s)200\n\{.*"X-Auth-Client":\["nightly"\].*401\n$`).MatchString(text) || strings.Contains(text, "Bearer") {
		logs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
		for _, name := range logs {
			log, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", name, log)
		}
		t.Errorf("%v\n%s", err, text)
	}
}

// TestGuardPageGo builds the program of the page and calls it.
func TestGuardPageGo(t *testing.T) {
	t.Parallel()
	e := newEdge(t, amply)
	m := regexp.MustCompile("(?s)```go\n(package main.*?)```").FindStringSubmatch(guardPage(t))
	if m == nil {
		t.Fatal("the page has no program")
	}
	listen := freeAddress(t)
	src := m[1]
	for _, change := range [][2]string{{"http://127.0.0.1:8080/partners", "http://" + e.link.addr + "/std"}, {"127.0.0.1:3000", listen}} {
		if !strings.Contains(src, change[0]) {
			t.Fatalf("the program has no %q", change[0])
		}
		src = strings.ReplaceAll(src, change[0], change[1])
	}
	dir := t.TempDir()
	file, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "api")
	if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("go", "build", "-o", program, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	key, err := os.ReadFile(filepath.Join(e.dir, "edge.key"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), "EDGE_KEY="+strings.TrimSpace(string(key)))
	out := newOutput()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	token := e.login(t, "std")
	a := eventually(t, func() (answer, bool) {
		a, err := send("GET", "http://"+listen+"/x", "", "Authorization", "Bearer "+token)
		return a, err == nil && a.status == 200
	})
	if a.body != "hello app\n" {
		t.Errorf("%q\n%s", a.body, out)
	}
	ask(t, "GET", "http://"+listen+"/x", "", "Authorization", "Bearer "+token+"x").want(t, 401, "")
	e.jeton(t, "client", "disable", "app", "--realm", "std")
	eventually(t, func() (answer, bool) {
		a := ask(t, "GET", "http://"+listen+"/x", "", "Authorization", "Bearer "+token)
		return a, a.status == 401
	})
}

// TestGuardPageFiles lets jeton check every configuration on the page.
func TestGuardPageFiles(t *testing.T) {
	t.Parallel()
	blocks := regexp.MustCompile("(?s)```yaml\n((?:guard|issuer):\n.*?)```").FindAllStringSubmatch(guardPage(t), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d configurations on the page", len(blocks))
	}
	for i, m := range blocks {
		dir := t.TempDir()
		text := strings.ReplaceAll(m[1], "file:/run/secrets/", "file:")
		if !strings.HasPrefix(text, "issuer:") {
			text = "issuer: {realms: {partners: {dialect: web1on1}, support: {dialect: iadvize}, chat: {dialect: web1on1}}}\n" + text
		}
		files := map[string]string{
			"jeton.yaml": text, "schema.graphql": "type Query { me: User users: [User] } type Mutation { x: Int } type User { email: String }", "documents.json": "{}",
			"edge.key": strings.Repeat("k", 40), "introspection": "secret",
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if strings.Contains(text, "guard.pem") {
			certificate(t, filepath.Join(dir, "guard.pem"), filepath.Join(dir, "guard.key"))
		}
		out, err := exec.Command(program, "config", "check", "-c", filepath.Join(dir, "jeton.yaml")).CombinedOutput()
		if err != nil {
			t.Errorf("%d: %v\n%s\n%s", i, err, out, text)
		}
	}
}
