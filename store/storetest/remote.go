package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// What follows is for the tests of stores that are reached over a network,
// beside the exam: what each of them does in the same way.

// A Remote is a store that is opened by an address.
type Remote interface {
	store.Store
	io.Closer
}

// A WatchedRemote is one that can watch, too.
type WatchedRemote interface {
	Remote
	store.Watcher
}

// Main runs the tests of a package with a server that they share.
func Main(m *testing.M, start func() (*Server, error), server **Server) (code int) {
	var err error
	if *server, err = start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer (*server).Close()
	return m.Run()
}

// Address returns the address that a URL is, with a password.
func Address(t testing.TB, url, password string) store.Address {
	t.Helper()
	a, err := store.ParseAddress(url)
	a = must(t, a, err)
	a.Password = jeton.NewSecret(password)
	return a
}

// Open opens a store until the test ends.
func Open[S Remote](t testing.TB, open func(context.Context, store.Address) (S, error), a store.Address) S {
	t.Helper()
	s, err := open(t.Context(), a)
	s = must(t, s, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Put writes a record and ends the test if the store refuses.
func Put(t testing.TB, s store.Store, r store.Record) store.Record {
	t.Helper()
	return put(t, s, r)
}

// The passwords that tests use, good and bad. No error has a part of one.
const (
	Password      = "hunter2 &%/"
	WrongPassword = "swordfish"
)

// WantRefused fails unless open refuses an address, with an error that says all
// that is wanted and no password.
func WantRefused[S Remote](t testing.TB, open func(context.Context, store.Address) (S, error), a store.Address, want ...string) {
	t.Helper()
	s, err := open(t.Context(), a)
	if err == nil {
		_ = s.Close()
		t.Errorf("%s: opened, want %q", a, want)
		return
	}
	text := err.Error()
	for _, want := range want {
		if !strings.Contains(text, want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if strings.Contains(text, "hunter") || strings.Contains(text, WrongPassword) {
		t.Errorf("the password is in %v", err)
	}
}

// patient is for how long a signal is waited for.
const patient = time.Minute

// Await waits for a signal.
func Await(t testing.TB, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(patient):
		t.Fatalf("no signal for %s", what)
	}
}

// Settled returns a watch that has nothing pending from its beginning, of a
// store that signals there.
func Settled(t testing.TB, s store.Watcher, prefix string) <-chan struct{} {
	t.Helper()
	changed, err := s.Watch(t.Context(), prefix)
	changed = must(t, changed, err)
	Await(t, changed, "the beginning")
	return changed
}

// Listens tells of every connection over which a feed hears of changes. It
// comes before the first Watch.
func Listens(feed *store.Feed) <-chan struct{} {
	ups := make(chan struct{}, 100)
	listen := feed.Listen
	feed.Listen = func(ctx context.Context, up func()) error {
		return listen(ctx, func() { up(); ups <- struct{}{} })
	}
	return ups
}

// WantHeard waits for a connection, over which changes are then heard of.
func WantHeard(t testing.TB, s WatchedRemote, ups <-chan struct{}) {
	t.Helper()
	Await(t, ups, "the new connection")
	changed, err := s.Watch(t.Context(), "heard")
	changed = must(t, changed, err)
	put(t, s, store.Record{Key: "heard"})
	Await(t, changed, "a write over the new connection")
}

// WantRestart stops the server of a store and starts it again: the store fails
// meanwhile and names the server, then has what it had, and who watches is
// told. It waits for the first connection to hear of changes, if ups is not nil
// (see [Listens]). It returns the record a and the watch on it.
func WantRestart(t testing.TB, server *Server, s WatchedRemote, ups <-chan struct{}) (store.Record, <-chan struct{}) {
	t.Helper()
	r := put(t, s, store.Record{Key: "a", Value: []byte("before")})
	changed := Settled(t, s, "a")
	if ups != nil {
		Await(t, ups, "the first connection")
	}
	server.Stop()
	if _, err := s.Get(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), server.Addr) {
		t.Errorf("Get from a server that is down: %v", err)
	}
	if _, err := s.Put(t.Context(), r); err == nil {
		t.Error("Put to a server that is down")
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	got, err := s.Get(ctx, "a")
	for err != nil && ctx.Err() == nil {
		got, err = s.Get(ctx, "a")
	}
	if got = must(t, got, err); string(got.Value) != "before" || got.Version != r.Version {
		t.Errorf("got %q at %s", got.Value, got.Version)
	}
	Await(t, changed, "the restart")
	return r, changed
}

// WantApart fails if stores that share a server see anything of one another.
func WantApart[S store.Store](t testing.TB, stores ...S) {
	t.Helper()
	for _, s := range stores {
		put(t, s, store.Record{Key: "a", Due: time.Unix(1, 0)})
	}
	for _, s := range stores {
		list, err := s.List(t.Context(), "", "", 10)
		if list = must(t, list, err); len(list) != 1 {
			t.Errorf("%d records", len(list))
		}
		due, err := s.Due(t.Context(), "", time.Now(), 10)
		if due = must(t, due, err); len(due) != 1 {
			t.Errorf("%d records due", len(due))
		}
	}
}

// WantClosed closes a store, twice, and fails if it goes on.
func WantClosed(t testing.TB, s WatchedRemote) {
	t.Helper()
	Settled(t, s, "")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(t.Context(), "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Close: %v", err)
	}
	if _, err := s.Watch(t.Context(), ""); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch after Close: %v", err)
	}
}
