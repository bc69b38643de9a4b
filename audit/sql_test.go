package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/sqlite"
)

func open(t *testing.T, path string) (*sqlite.Store, *SQL) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l, err := NewSQL(t.Context(), s.DB())
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

func TestSQL(t *testing.T) {
	_, l := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	testLog(t, l)
}

func TestSQLOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jeton.db")
	s, l := open(t, path)
	if err := l.Append(t.Context(), Entry{Target: "before"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, l = open(t, path)
	list, err := l.List(t.Context(), Query{Limit: 10})
	if err != nil || len(list) != 1 || list[0].Target != "before" {
		t.Errorf("got %v, %v", list, err)
	}
}

// Many logins at once: each entry is there when its Append returns, though they
// share transactions; and the store, whose only writing connection the log
// uses, goes on at the same time.
func TestSQLAppendsTogether(t *testing.T) {
	s, l := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	const writers, each = 32, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				target := fmt.Sprint(w, "/", i)
				if err := l.Append(t.Context(), Entry{Target: target}); err != nil {
					t.Error(err)
					return
				}
				list, err := l.List(t.Context(), Query{Target: target, Limit: 2})
				if err != nil || len(list) != 1 {
					t.Errorf("%s: listed %d times, %v", target, len(list), err)
				}
				if _, err := s.Put(t.Context(), store.Record{Key: target}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	list, err := l.List(t.Context(), Query{Limit: 10 * writers * each})
	if err != nil || len(list) != writers*each {
		t.Fatalf("%d entries, %v; want %d", len(list), err, writers*each)
	}
	for i := 1; i < len(list); i++ {
		if list[i].ID >= list[i-1].ID {
			t.Fatalf("entry %d is not older than the one before it", i)
		}
	}
}

// While the database is held, appends wait; one whose context ends gives up,
// and does not take the others with it.
func TestSQLAppendGivesUpAlone(t *testing.T) {
	s, l := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	tx, err := s.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- l.Append(short, Entry{Target: "first"}) }()
	go func() { second <- l.Append(t.Context(), Entry{Target: "second"}) }()
	gather(l, 2)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v, want context.Canceled", err)
	}
	select {
	case err := <-second:
		t.Errorf("second returned %v before the database was free", err)
	default:
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-second; err != nil {
		t.Errorf("second: %v", err)
	}
}

func TestSQLSaysWhenItCannotWrite(t *testing.T) {
	s, l := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	if _, err := s.DB().ExecContext(t.Context(), `CREATE TRIGGER full BEFORE INSERT ON audit
		WHEN NEW.target = 'bad' BEGIN SELECT RAISE(ABORT, 'disk full'); END`); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), Entry{Target: "bad"}); err == nil {
		t.Error("an entry that was not written was acknowledged")
	}
	if err := l.Append(t.Context(), Entry{Target: "good"}); err != nil {
		t.Errorf("after the failure: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), Entry{}); err == nil {
		t.Error("Append after Close")
	}
	if _, err := l.List(t.Context(), Query{Limit: 1}); err == nil {
		t.Error("List after Close")
	}
	if _, err := NewSQL(t.Context(), s.DB()); err == nil {
		t.Error("NewSQL after Close")
	}
}

// Appends that wait for the database at the same time are one transaction.
func TestSQLSharesTransactions(t *testing.T) {
	s, l := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	tx, err := s.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	const appends = 50
	errs := make(chan error, appends)
	for range appends {
		go func() { errs <- l.Append(t.Context(), Entry{}) }()
	}
	gather(l, appends)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range appends {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := list(t, l, Query{Limit: 2 * appends}); len(got) != appends {
		t.Errorf("%d entries, want %d", len(got), appends)
	}
}

// gather returns when n entries wait in one batch, so never if they do not.
func gather(l *SQL, n int) {
	for {
		l.mu.Lock()
		there := l.next != nil && len(l.next.entries) == n
		l.mu.Unlock()
		if there {
			return
		}
		runtime.Gosched()
	}
}
