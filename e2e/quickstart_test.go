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

// TestQuickStart pastes the quick start of the README into a shell, with
// nothing changed but the folder and the ports, and wants to see one login.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	need(t, "bash", "curl", "redis-server")
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(readme), "\n## Four workers, one login\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindAllString(section, -1)
	if !ok || len(blocks) != 2 {
		t.Fatalf("the README has no quick start with lines to paste and what they print:\n%s", section)
	}
	lines := regexp.MustCompile(`(?m)^    `).ReplaceAllString(blocks[0], "")
	dir, port := t.TempDir(), func() string { return freeAddress(t)[len("127.0.0.1:"):] }
	vendor := port()
	for _, change := range [][2]string{
		{"8080", vendor}, {"8181", port()}, {"6399", port()},
		{"jeton dev ", "jeton dev --listen 127.0.0.1:" + vendor + " --broker-listen 127.0.0.1:" + port() + " "},
	} {
		if !strings.Contains(lines, change[0]) {
			t.Fatalf("the lines have no %q", change[0])
		}
		lines = strings.ReplaceAll(lines, change[0], change[1])
	}
	// A paste does not stop at an error; the first one is to be seen here.
	script := "set -e -o pipefail\n" + lines + "\n./jeton serve > serve.log 2>&1 &\n" +
		"until curl -sf http://" + address(t, lines) + "/v1/tokens/support; do sleep 1; done\n./jeton status"
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // what the README is measured by
	defer cancel()
	bash := exec.CommandContext(ctx, "bash", "-c", script)
	bash.Dir = ".."
	bash.Env = append(os.Environ(), "TMPDIR="+dir)
	bash.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-bash.Process.Pid, syscall.SIGKILL) }
	bash.Cancel = end
	bash.WaitDelay = time.Second // what runs in the background holds the output
	out := newOutput()
	bash.Stdout, bash.Stderr = out, out
	err = bash.Run()
	_ = end()
	if err != nil && !strings.Contains(err.Error(), exec.ErrWaitDelay.Error()) {
		logs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
		for _, name := range logs {
			text, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", name, text)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	text := out.String()
	for what, n := range map[string]int{
		`"authenticated":true`:                     4,
		`(?m)^support +fresh .* 1 +1 of 10 `:       2, // before and after jeton serve
		`(?m) login +0 -> 1 .* ok +a reader asked`: 1,
	} {
		if got := len(regexp.MustCompile(what).FindAllString(text, -1)); got != n {
			t.Errorf("%d x %s, want %d", got, what, n)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// address returns where the broker of the lines listens.
func address(t *testing.T, lines string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^  listen: (.*)$`).FindStringSubmatch(lines)
	if m == nil {
		t.Fatalf("no address in\n%s", lines)
	}
	return m[1]
}

// TestConfigurationsOfPages lets jeton check what the README and the first page
// for operators show as whole configurations.
func TestConfigurationsOfPages(t *testing.T) {
	t.Parallel()
	secret := regexp.MustCompile(`file:/[a-z/]+/`)
	for page, whole := range map[string]int{"../README.md": 4, "../docs/operations.md": 1} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), whole)
		if len(blocks) < whole {
			t.Fatalf("%s has %d configurations, want %d", page, len(blocks), whole)
		}
		for _, m := range blocks {
			config := strings.ReplaceAll(secret.ReplaceAllString(m[1], "file:"), "sqlite:/var/lib/jeton/", "sqlite:")
			if strings.HasPrefix(config, "guard:") {
				config = "issuer: {realms: {partners: {dialect: oauth2}}}\n" + config
			}
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "dialects"), 0o700); err != nil {
				t.Fatal(err)
			}
			key, _ := run(t, "", "config", "new-key")
			files := map[string]string{"jeton.yaml": config, "seal.key": key, "dialects/acme.yaml": "dialect: acme\ntoken: https://auth.acme.example/token\n"}
			for _, name := range []string{"edge.key", "worker", "iadvize", "otlp"} {
				files[name] = name + strings.Repeat("k", 40)
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command(program, "config", "check", "-c", filepath.Join(dir, "jeton.yaml"))
			cmd.Env = append(os.Environ(), "IADVIZE_USER=me@example.com", "ACME_SECRET=s3cret")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s\n%s", page, err, out, config)
			}
		}
	}
}
