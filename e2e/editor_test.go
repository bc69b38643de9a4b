package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestEditor opens files in yaml-language-server, which is what editors have
// behind YAML, with the schemas that the program prints.
func TestEditor(t *testing.T) {
	need(t, "node")
	if _, err := os.Stat(filepath.Join("node", "node_modules", "yaml-language-server")); err != nil {
		t.Fatal("yaml-language-server is missing; ./test installs it, or: cd e2e/node && npm ci")
	}
	cmd := exec.Command("node", "--test", "--test-reporter=tap", "editor.test.js")
	cmd.Dir = "node"
	cmd.Env = append(os.Environ(), "JETON="+program)
	out, err := cmd.CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^# pass 3$`).Match(out) {
		t.Errorf("%v, want 3 tests to pass\n%s", err, out)
	}
}
