package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDialectPageMinutes types what the page says about the way from a vendor's
// page to a dialect, and then what the stand-in prints.
func TestDialectPageMinutes(t *testing.T) {
	t.Parallel()
	need(t, "bash", "curl")
	page, err := os.ReadFile("../docs/dialects.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## From a vendor's page in ten minutes\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile(`(?m)(?:^(?:    .*)?\n)+`).FindAllString(section, -1)
	dir, seen := t.TempDir(), map[string]bool{}
	for _, block := range blocks {
		script, printed := typed(block)
		if strings.Contains(script, "jeton dialect serve") {
			seen["serve"] = true
			standInPrints(t, dir, script)
			continue
		}
		out, err := inFolder(dir, script).CombinedOutput()
		if strings.Contains(script, "jeton dialect try") { // there is no such vendor
			seen["try"] = true
			if !strings.Contains(string(out), "(text of 11 characters)") || !strings.Contains(string(out), "could not be reached") {
				t.Errorf("%s\n%s", script, out)
			}
		} else if err != nil || !strings.Contains(string(out), printed) || strings.Contains(string(out), "Zm9vYmFy") {
			t.Errorf("%s\n%v: %s\nwant %s", script, err, out, printed)
		}
	}
	if !seen["serve"] || !seen["try"] {
		t.Errorf("the page has no login, or no stand-in:\n%s", section)
	}
}

// typed tells what is typed in a block of the page from what is printed.
func typed(block string) (script, printed string) {
	inside := false // of what a command reads
	for line := range strings.Lines(block) {
		line = strings.TrimPrefix(line, "    ")
		command, ok := strings.CutPrefix(line, "$ ")
		switch {
		case ok || inside:
			script += command
		default:
			printed += line
		}
		inside = strings.Contains(line, "<<'END'") || inside && line != "END\n"
	}
	return script, strings.TrimSpace(printed)
}

func inFolder(dir, script string) *exec.Cmd {
	cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "ACME_SECRET=not-of-page",
		"HTTPS_PROXY=http://127.0.0.1:1", "NO_PROXY=") // nothing leaves this machine
	return cmd
}

// standInPrints starts the stand-in of the page and runs the logins that it
// prints, twice.
func standInPrints(t *testing.T, dir, script string) {
	t.Helper()
	cmd, out := inFolder(dir, "exec "+script), newOutput()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	text := eventually(t, func() (string, bool) { return out.String(), strings.Contains(out.String(), "# what happened") })
	logins, _, _ := strings.Cut(text, "# what happened")
	for try, want := range []string{"too many logins", "understood"} {
		cmd := inFolder(dir, "set +e\n"+logins)
		got, err := cmd.CombinedOutput()
		status := []string{"HTTP/1.1 429", "HTTP/1.1 200"}[try]
		if err != nil || !strings.Contains(string(got), want) || !strings.Contains(string(got), status) {
			t.Errorf("%v\n%s\nwant %s and %s", err, got, want, status)
		}
	}
}
