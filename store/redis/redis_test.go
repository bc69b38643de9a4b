package redis

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

var server *storetest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = storetest.StartRedis(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Close()
	os.Exit(code)
}

var prefixes atomic.Int64

// fresh returns the URL of a store that nobody else uses.
func fresh() string { return fmt.Sprintf("redis://%s/0?prefix=test-%d", server.Addr, prefixes.Add(1)) }

func address(t testing.TB, url string) store.Address {
	t.Helper()
	a, err := store.ParseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), address(t, url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t testing.TB, s *Store, r store.Record) store.Record {
	t.Helper()
	r, err := s.Put(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// do sends a command as an operator would.
func do(t testing.TB, s *Store, words ...string) {
	t.Helper()
	if err := s.client.Do(t.Context(), s.client.B().Arbitrary(words...).Build()).Error(); err != nil {
		t.Fatalf("%s: %v", words[0], err)
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, fresh()) })
}

// What one process writes, another one is told.
func TestWatchSeesOthers(t *testing.T) {
	url := fresh()
	here, there := open(t, url), open(t, url)
	changed, err := here.Watch(t.Context(), "a/")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		r := put(t, there, store.Record{Key: fmt.Sprint("a/", i)})
		await(t, changed, "a write")
		if _, err := there.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		await(t, changed, "a change")
	}
}

const patience = time.Minute

func await(t *testing.T, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatalf("no signal for %s", what)
	}
}

// settled is a watch that has nothing pending from its beginning.
func settled(t *testing.T, s *Store, prefix string) <-chan struct{} {
	t.Helper()
	changed, err := s.Watch(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	await(t, changed, "the beginning")
	return changed
}

// Records change in other ways than by Put: an operator deletes one, or all.
func TestWatchSeesOperators(t *testing.T) {
	s := open(t, strings.Replace(fresh(), "/0?", "/7?", 1))
	put(t, s, store.Record{Key: "a/1"})
	changed := settled(t, s, "a/")
	do(t, s, "DEL", s.names.record+"a/1")
	await(t, changed, "DEL")
	r := put(t, s, store.Record{Key: "a/1"})
	await(t, changed, "a write")
	do(t, s, "FLUSHDB")
	await(t, changed, "FLUSHDB")
	if _, err := s.Put(t.Context(), r); err == nil {
		t.Error("a version from before FLUSHDB is good")
	}
	if again := put(t, s, store.Record{Key: "a/1"}); again.Version == r.Version {
		t.Error("a version was given twice")
	}
}

// Index and record never disagree: what leaves, leaves both.
func TestNothingStays(t *testing.T) {
	s := open(t, fresh())
	for range 3 {
		r := put(t, s, store.Record{Key: "a", Due: time.Unix(1, 0)})
		r.Due = time.Unix(2, 0)
		if err := s.Delete(t.Context(), put(t, s, r)); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := s.client.Do(t.Context(), s.client.B().Keys().Pattern(s.names.record[:len(s.names.record)-2]+"*").Build()).AsStrSlice()
	if err != nil || len(keys) != 1 || keys[0] != s.names.format {
		t.Errorf("left: %q, %v", keys, err)
	}
}

// Two stores on one server, whose prefixes begin alike, see nothing of each
// other; nor do two databases.
func TestPrefixes(t *testing.T) {
	base := fresh()
	var stores []*Store
	for _, url := range []string{base, base + "x", base + "/r", strings.Replace(base, "/0?", "/1?", 1)} {
		s := open(t, url)
		put(t, s, store.Record{Key: "a", Value: []byte(url)})
		stores = append(stores, s)
	}
	for _, s := range stores {
		if list, err := s.List(t.Context(), "", "", 10); err != nil || len(list) != 1 {
			t.Errorf("%d records, %v", len(list), err)
		}
	}
}

// listens tells of every connection that hears of changes. It comes before the
// first Watch.
func listens(s *Store) <-chan struct{} {
	ups := make(chan struct{}, 100)
	listen := s.feed.Listen
	s.feed.Listen = func(ctx context.Context, up func()) error {
		return listen(ctx, func() { up(); ups <- struct{}{} })
	}
	return ups
}

// wantHeard waits for a connection, over which changes are then heard of.
func wantHeard(t *testing.T, s *Store, ups <-chan struct{}) {
	t.Helper()
	await(t, ups, "the new connection")
	changed, err := s.Watch(t.Context(), "heard")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "heard"})
	await(t, changed, "a write over the new connection")
}

func TestRestart(t *testing.T) {
	s := open(t, fresh())
	r := put(t, s, store.Record{Key: "a", Value: []byte("before")})
	ups := listens(s)
	changed := settled(t, s, "a")
	await(t, ups, "the first connection")
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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		got, err := s.Get(ctx, "a")
		if err == nil {
			if string(got.Value) != "before" || got.Version != r.Version {
				t.Errorf("got %q at %s", got.Value, got.Version)
			}
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	await(t, changed, "the restart")
	wantHeard(t, s, ups)
}

const secret = "hunter2 &%/"

func TestLogin(t *testing.T) {
	admin := open(t, fresh())
	do(t, admin, "ACL", "SETUSER", "ann", "on", ">"+secret, "~*", "&*", "+@all")
	url := strings.Replace(fresh(), "//", "//ann@", 1)
	a := address(t, url)
	a.Password = jeton.NewSecret(secret)
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "a"})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	a.Password = jeton.NewSecret("swordfish")
	wantRefused(t, a, "WRONGPASS", server.Addr)

	// The default user, by password alone.
	do(t, admin, "CONFIG", "SET", "requirepass", secret)
	defer do(t, admin, "CONFIG", "SET", "requirepass", "")
	a = address(t, fresh())
	wantRefused(t, a, "NOAUTH")
	a.Password = jeton.NewSecret("swordfish")
	wantRefused(t, a, "WRONGPASS")
	a.Password = jeton.NewSecret(secret)
	if s, err = Open(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// A user who may not ask to be told is told nothing, and looks now and then.
func TestWatchWithoutTracking(t *testing.T) {
	admin := open(t, fresh())
	do(t, admin, "ACL", "SETUSER", "bob", "on", ">"+secret, "~*", "+@all", "-client|tracking", "-info")
	a := address(t, strings.Replace(fresh(), "//", "//bob@", 1))
	a.Password = jeton.NewSecret(secret)
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	changed := settled(t, s, "a")
	for range 2 {
		await(t, changed, "a look")
	}
}

func wantRefused(t *testing.T, a store.Address, want ...string) {
	t.Helper()
	s, err := Open(t.Context(), a)
	if err == nil {
		_ = s.Close()
		t.Errorf("%s: opened, want %q", a, want)
		return
	}
	for _, want := range want {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	if text := err.Error(); strings.Contains(text, secret) || strings.Contains(text, "swordfish") {
		t.Errorf("the password is in %v", err)
	}
}

func TestTLS(t *testing.T) {
	url := strings.Replace(strings.Replace(fresh(), server.Addr, server.AddrTLS, 1), "redis:", "rediss:", 1)
	a := address(t, url)
	wantRefused(t, a, "certificate")
	a.TLS = server.TLS
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "a"})
	changed := settled(t, s, "b")
	put(t, s, store.Record{Key: "b"})
	await(t, changed, "a write")
	_ = s.Close()
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"redis://127.0.0.1:1/0?prefix=x":          "127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused",
		"redis://127.0.0.1/x":                     "number of a database",
		"redis://127.0.0.1/-1":                    "number of a database",
		"redis://127.0.0.1?prefx=x":               `unknown name "prefx"`,
		"redis://127.0.0.1?prefix={}":             "the prefix is to be",
		"http://127.0.0.1":                        "redis:// or rediss://",
		"redis://" + server.Addr + "/99?prefix=x": "DB index is out of range",
	} {
		wantRefused(t, address(t, url), want)
	}
	a := address(t, fresh())
	a.TLS = server.TLS
	wantRefused(t, a, "rediss://")

	s := open(t, fresh())
	do(t, s, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	wantRefused(t, address(t, fresh()), "noeviction")
	do(t, s, "CONFIG", "SET", "maxmemory-policy", "noeviction")

	newer := fresh()
	s = open(t, newer)
	do(t, s, "SET", s.names.format, "2")
	wantRefused(t, address(t, newer), "written by a newer jeton")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, address(t, fresh())); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("canceled: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s, err := Open(t.Context(), address(t, fresh()))
	if err != nil {
		t.Fatal(err)
	}
	settled(t, s, "")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(t.Context(), "a"); err == nil || err == store.ErrNotFound {
		t.Errorf("Get after Close: %v", err)
	}
	if _, err := s.Watch(t.Context(), ""); err == nil {
		t.Error("Watch after Close")
	}
}

// What does not look like a record is told, and not taken for none.
func TestForeignData(t *testing.T) {
	s := open(t, fresh())
	do(t, s, "SET", s.names.record+"a", "x")
	do(t, s, "HSET", s.names.record+"b", "v", "1", "d", "x", "b", "")
	for _, key := range []string{"a", "b"} {
		if r, err := s.Get(t.Context(), key); err == nil || err == store.ErrNotFound {
			t.Errorf("%s: %+v, %v", key, r, err)
		}
	}
	if _, err := s.Put(t.Context(), store.Record{Key: "a"}); err == nil || err == store.ErrConflict {
		t.Errorf("Put: %v", err)
	}
}
