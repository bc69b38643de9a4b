package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
)

func TestFilesAreTheOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, filepath.Join(dir, "jeton.db"))
	if _, err := s.Put(t.Context(), store.Record{Key: "a"}); err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{".": 0o700, "..": 0o700, "jeton.db": 0o600, "jeton.db-wal": 0o600, "jeton.db-shm": 0o600}
	for name, mode := range want {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), mode)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Errorf("files left: %v, %v", files, err)
	}
}

func TestOddPaths(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"with space", "50%25.db", "a?mode=memory", "a#b", "é", ":memory:", "file:x?y", "a&b;c"} {
		path := filepath.Join(dir, name)
		s := open(t, path)
		if _, err := s.Put(t.Context(), store.Record{Key: "a", Value: []byte(name)}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	t.Chdir(dir)
	r, err := open(t, "a#b").Get(t.Context(), "a")
	if err != nil || string(r.Value) != "a#b" {
		t.Errorf("relative path: %q, %v", r.Value, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, content string) {
		if err := os.WriteFile(path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	database := func(name string, statements string) {
		db, err := sql.Open("sqlite", path(name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Exec(statements)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write("text", strings.Repeat("this is a text\n", 100))
	write("short", "x")
	write("file", "")
	database("foreign", "CREATE TABLE songs (name TEXT)")
	database("empty foreign", "PRAGMA application_id = 7")
	database("newer", fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = 99; CREATE TABLE record (x)", applicationID))
	if err := os.Mkdir(path("folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"text":          "not an SQLite database",
		"short":         "not an SQLite database",
		"folder":        "not a regular file",
		"foreign":       "a database of another program",
		"empty foreign": "a database of another program",
		"newer":         "written by a newer jeton: its schema is 99, this one knows 1",
		"file/beneath":  "not a directory",
	} {
		before, _ := os.ReadFile(path(name))
		s, err := Open(t.Context(), path(name))
		if err == nil {
			t.Errorf("%s: opened", name)
			_ = s.Close()
			continue
		}
		if !strings.Contains(err.Error(), path(name)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want the path and %q", name, err, want)
		}
		if after, _ := os.ReadFile(path(name)); string(after) != string(before) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, path("new")); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	open(t, path("file")) // an empty file is a new database
}

// Several that open one new file at the same time make one schema.
func TestOpenTogether(t *testing.T) {
	for range 5 {
		path := filepath.Join(t.TempDir(), "jeton.db")
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				s, err := Open(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := s.Put(t.Context(), store.Record{Key: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		list, err := open(t, path).List(t.Context(), "", "", 100)
		if err != nil || len(list) != 8 {
			t.Errorf("%d records, %v", len(list), err)
		}
	}
}

func TestPragmas(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	for query, want := range map[string]string{
		"PRAGMA journal_mode": "wal", "PRAGMA synchronous": "2", "PRAGMA foreign_keys": "1", "PRAGMA busy_timeout": "10000",
	} {
		for _, db := range []*sql.DB{s.write, s.read} {
			var got string
			if err := db.QueryRow(query).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q, %v; want %q", query, got, err, want)
			}
		}
	}
	if _, err := s.read.Exec("DELETE FROM record"); err == nil {
		t.Error("a reader may write")
	}
}

func TestClosed(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "jeton.db"))
	if err != nil {
		t.Fatal(err)
	}
	watch, err := s.Watch(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(t.Context(), "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Close: %v", err)
	}
	if _, err := s.Put(t.Context(), store.Record{Key: "a"}); err == nil || errors.Is(err, store.ErrConflict) {
		t.Errorf("Put after Close: %v", err)
	}
	if _, err := s.Watch(t.Context(), ""); err == nil {
		t.Error("Watch after Close")
	}
	select {
	case <-watch:
		t.Error("a signal, or the end of the channel, though nothing changed")
	default:
	}
}

// Another process writes; here it is another handle, which shares nothing.
func TestWatchSeesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jeton.db")
	here, there := open(t, path), open(t, path)
	changed, err := here.Watch(t.Context(), "a/")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		// No sleep: a change right after Watch, or right after a signal, counts.
		if _, err := there.Put(t.Context(), store.Record{Key: fmt.Sprint("a/", i)}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-changed:
		case <-time.After(time.Minute): // on a busy machine too
			t.Fatalf("no signal for change %d", i)
		}
	}
}

// A change by this process is signalled when Put returns, not at the next poll.
func TestWatchSeesOwnAtOnce(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	changed, err := s.Watch(t.Context(), "a/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), store.Record{Key: "a/b"}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("no signal")
	}
}

// What a later release needs to tell what it has before it.
func TestFileSaysWhatItIs(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	var version, id int
	if err := s.read.QueryRow("PRAGMA user_version").Scan(&version); err != nil || version != len(migrations) {
		t.Errorf("user_version %d, %v", version, err)
	}
	if err := s.read.QueryRow("PRAGMA application_id").Scan(&id); err != nil || id != applicationID {
		t.Errorf("application_id %#x, %v", id, err)
	}
}
