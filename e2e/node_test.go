package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestNodeClients runs the npm clients in the folder node, unmodified, against
// the demo realms.
func TestNodeClients(t *testing.T) {
	need(t, "node")
	if _, err := os.Stat(filepath.Join("node", "node_modules", "openid-client")); err != nil {
		t.Fatal("the npm clients are missing; ./test installs them, or: cd e2e/node && npm ci")
	}
	p := startDev(t)
	for script, tests := range map[string]string{"standard.test.js": "5", "iadvize.test.js": "3"} {
		t.Run(script, func(t *testing.T) {
			cmd := exec.Command("node", "--test", "--test-reporter=tap", script)
			cmd.Dir = "node"
			cmd.Env = append(os.Environ(), "ISSUER="+p.issuer)
			out, err := cmd.CombinedOutput()
			if err != nil || !regexp.MustCompile(`(?m)^# pass `+tests+`$`).Match(out) {
				t.Errorf("%v, want %s tests to pass\n%s", err, tests, out)
			}
		})
	}
}
