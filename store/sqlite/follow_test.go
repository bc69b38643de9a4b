package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// Two processes write at the same time, and each is told what the other did.
func TestFollowSeesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jeton.db")
	here, there := open(t, path), open(t, path)
	l, other := storetest.FollowStore(t, here, "a/"), storetest.FollowStore(t, there, "b/")
	before := l.Zeros()
	done := make(chan struct{})
	go func() {
		defer close(done)
		other.Fill(here, "b")
	}()
	l.Fill(there, "a/there")
	<-done
	if l.Zeros() == before {
		t.Error("another process's writes were told by their keys, which nobody knows")
	}
	for i := range 20 { // alone, each is noticed without another write behind it
		key := fmt.Sprint("a/alone/", i)
		l.Write(key, func() error { _, err := there.Put(t.Context(), store.Record{Key: key}); return err })
		l.AwaitFresh(time.Now())
		if !l.Told(key) {
			t.Fatal("a write is fresh and was not told")
		}
	}
}

// Where the system does not tell of writes the file is looked at.
func TestFollowBlind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jeton.db")
	here, there := open(t, path), open(t, path)
	here.wal = filepath.Join(t.TempDir(), "nothing")
	l := storetest.FollowStore(t, here, "a/")
	l.Fill(there, "a")
}

func TestFollowSeesOwnAtOnce(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "jeton.db"))
	l := storetest.FollowStore(t, s, "a/")
	before := l.Zeros()
	l.Write("a/b", func() error { _, err := s.Put(t.Context(), store.Record{Key: "a/b"}); return err })
	if !l.Told("a/b") || l.Zeros() != before {
		t.Error("a write by this process was not told before it returned")
	}
}

// A write whose file is not looked at any more does not come later: Follow ends.
func TestFollowClosed(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "jeton.db"))
	if err != nil {
		t.Fatal(err)
	}
	done, begun := make(chan error), make(chan struct{}, 1000)
	go func() {
		done <- s.Follow(t.Context(), "", func(string) {}, func(time.Time) { begun <- struct{}{} })
	}()
	<-begun
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("Follow ends without an error")
	}
	if err := s.Follow(t.Context(), "", func(string) {}, func(time.Time) {}); err == nil {
		t.Error("Follow after Close")
	}
}
