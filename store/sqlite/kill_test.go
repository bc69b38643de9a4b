package sqlite

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/store"
)

// childPath names the variable that makes the test binary the process that is
// killed.
const childPath = "JETON_TEST_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		if err := writeForEver(path, os.Getenv(childPath+"_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeForEver makes record after record and counts each in a record that all
// children share, and says so on stdout after the answer of the store.
func writeForEver(path, name string) error {
	ctx := context.Background()
	s, err := Open(ctx, path)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		key := fmt.Sprintf("made/%s/%08d", name, i)
		r, err := s.Put(ctx, store.Record{Key: key, Value: []byte(strings.Repeat(key, 100))})
		if err != nil {
			return err
		}
		fmt.Println("made", r.Key, r.Version)
		for {
			r, err := s.Get(ctx, "counter")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(r.Value))
			if err != nil {
				return err
			}
			r.Value = []byte(strconv.Itoa(n + 1))
			if r, err = s.Put(ctx, r); errors.Is(err, store.ErrConflict) {
				continue
			} else if err != nil {
				return err
			}
			fmt.Println("counted", string(r.Value), r.Version)
			break
		}
	}
}

// Two processes write and are killed in the midst of it, several times over.
// What they were answered is there, no update of the other's was lost, and no
// version was given twice.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jeton.db")
	s := open(t, path)
	if _, err := s.Put(t.Context(), store.Record{Key: "counter", Value: []byte("0")}); err != nil {
		t.Fatal(err)
	}
	made, versions := map[string]string{}, map[string]bool{}
	const rounds, children = 5, 2
	counted := 0
	for round := range rounds {
		lines := make(chan []string, children)
		for child := range children {
			go func() { lines <- runAndKill(t, path, fmt.Sprintf("%d-%d", round, child), 20+round*7) }()
		}
		for range children {
			for _, line := range <-lines {
				words := strings.Fields(line)
				if len(words) != 3 {
					continue // cut off by the kill
				}
				if versions[words[2]] {
					t.Errorf("version %s was given twice", words[2])
				}
				versions[words[2]] = true
				if words[0] == "made" {
					made[words[1]] = words[2]
				} else {
					counted++
				}
			}
		}
	}
	for key, version := range made {
		r, err := s.Get(t.Context(), key)
		if err != nil || r.Version != version || string(r.Value) != strings.Repeat(key, 100) {
			t.Errorf("%s: at %q, want %s; %v", key, r.Version, version, err)
		}
	}
	r, err := s.Get(t.Context(), "counter")
	if err != nil {
		t.Fatal(err)
	}
	// Each child may have died between the write and the word of it.
	n, err := strconv.Atoi(string(r.Value))
	if err != nil || n < counted || n > counted+rounds*children {
		t.Errorf("counted %d, heard of %d, %v", n, counted, err)
	}
	var verdict string
	if err := s.read.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity: %s, %v", verdict, err)
	}
	t.Logf("%d records made and %d increments heard of, %d written", len(made), counted, n)
}

// runAndKill runs a child until it has said n lines, kills it and returns all
// that it said.
func runAndKill(t *testing.T, path, name string, n int) (lines []string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childPath+"="+path, childPath+"_NAME="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		if lines = append(lines, scanner.Text()); len(lines) == n {
			if err := cmd.Process.Kill(); err != nil { // SIGKILL
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(lines) < n {
		t.Errorf("child %s ended by itself after %d lines: %v", name, len(lines), err)
	}
	return lines
}
