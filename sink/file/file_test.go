package file

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
)

const canary = "canary-8f3a"

func token(text string) *jeton.Token {
	return &jeton.Token{AccessToken: jeton.NewSecret(text), Generation: 1, Expiry: time.Now().Add(time.Hour)}
}

// TestPut: the file holds the token and nothing else, only its owner may read
// it, whatever was there before, and no other file stays.
func TestPut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "support.token")
	if err := os.WriteFile(path, []byte("an older and longer text"), 0o666); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[sink.Format]string{sink.Bare: canary, sink.JSON: `{"access_token":"` + canary + `",`} {
		if err := (&Sink{Path: path, Format: format}).Put(t.Context(), token(canary)); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), want) || format == sink.Bare && string(text) != canary {
			t.Errorf("%q, %v", text, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("%v", list)
	}
}

// TestNeverHalf: who reads while the file is replaced sees a whole text.
func TestNeverHalf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	texts := []string{strings.Repeat("a", 1<<20), strings.Repeat("b", 1<<19)}
	if err := Write(path, texts[0]); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if text, err := os.ReadFile(path); err != nil || string(text) != texts[0] && string(text) != texts[1] {
					t.Errorf("%d bytes, %v", len(text), err)
					return
				}
			}
		})
	}
	for n := range 60 {
		if err := Write(path, texts[n%2]); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
}

// TestKilled: a process that is killed while it writes leaves a whole file.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	texts := []string{strings.Repeat("a", 1<<20), strings.Repeat("b", 1<<19)}
	if err := Write(path, texts[0]); err != nil {
		t.Fatal(err)
	}
	for n := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHelperWrites$")
		cmd.Env = append(os.Environ(), "JETON_TEST_WRITE="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_, _ = out.Read(make([]byte, 1)) // it has written one
		time.Sleep(time.Duration(n) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(path); err != nil || string(text) != texts[0] && string(text) != texts[1] {
			t.Fatalf("%d bytes, %v", len(text), err)
		}
	}
}

// TestKilledLeavesNothing: what was left of a write is removed by a later one;
// what may be in use and what is somebody else's stays.
func TestKilledLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	old := time.Now().Add(-time.Hour)
	for name, mode := range map[string]fs.FileMode{".f-1": 0o600, ".f-4294967295": 0o600, ".f-2": 0o644, ".f-x": 0o600, ".g-1": 0o600, "f-1": 0o600} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(name, nil, mode), os.Chmod(name, mode), os.Chtimes(name, old, old)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".f-3"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, canary); err != nil {
		t.Fatal(err)
	}
	var names []string
	list, err := os.ReadDir(dir)
	for _, entry := range list {
		names = append(names, entry.Name())
	}
	if want := []string{".f-2", ".f-3", ".f-x", ".g-1", "f", "f-1"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v, %v", names, err)
	}
}

// TestHelperWrites is the process that TestKilled kills.
func TestHelperWrites(t *testing.T) {
	path := os.Getenv("JETON_TEST_WRITE")
	for n := 0; path != ""; n++ {
		if err := Write(path, strings.Repeat(string("ab"[n%2]), 1<<(20-n%2))); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			_, _ = os.Stdout.WriteString("\n")
		}
	}
}

// TestErrors: a folder that is not there, one that cannot be written, and a
// folder in the file's place are errors that name the path and show no token;
// what was there stays.
func TestErrors(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "missing", "f"):           fs.ErrNotExist,
		"/proc/f":                                    nil, // where not even root may make a file
		filepath.Join(dir, "taken"):                  fs.ErrExist,
		filepath.Join(dir, strings.Repeat("n", 300)): nil,
	} {
		err := (&Sink{Path: path}).Put(t.Context(), token(canary))
		if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("%v", list)
	}
}
