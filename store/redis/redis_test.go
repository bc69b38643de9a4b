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

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, storetest.StartRedis, &server)) }

var prefixes atomic.Int64

// fresh returns the URL of a store that nobody else uses.
func fresh() string { return fmt.Sprintf("redis://%s/0?prefix=test-%d", server.Addr, prefixes.Add(1)) }

func address(t testing.TB, url string) store.Address { return storetest.Address(t, url, "") }

func open(t testing.TB, url string) *Store { return storetest.Open(t, Open, address(t, url)) }

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
		r := storetest.Put(t, there, store.Record{Key: fmt.Sprint("a/", i)})
		storetest.Await(t, changed, "a write")
		if _, err := there.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		storetest.Await(t, changed, "a change")
	}
}

// Records change in other ways than by Put: an operator deletes one, or all.
func TestWatchSeesOperators(t *testing.T) {
	s := open(t, strings.Replace(fresh(), "/0?", "/7?", 1))
	storetest.Put(t, s, store.Record{Key: "a/1"})
	changed := storetest.Settled(t, s, "a/")
	do(t, s, "DEL", s.names.record+"a/1")
	storetest.Await(t, changed, "DEL")
	r := storetest.Put(t, s, store.Record{Key: "a/1"})
	storetest.Await(t, changed, "a write")
	do(t, s, "FLUSHDB")
	storetest.Await(t, changed, "FLUSHDB")
	if _, err := s.Put(t.Context(), r); err == nil {
		t.Error("a version from before FLUSHDB is good")
	}
	if again := storetest.Put(t, s, store.Record{Key: "a/1"}); again.Version == r.Version {
		t.Error("a version was given twice")
	}
}

// Index and record never disagree: what leaves, leaves both.
func TestNothingStays(t *testing.T) {
	s := open(t, fresh())
	for range 3 {
		r := storetest.Put(t, s, store.Record{Key: "a", Due: time.Unix(1, 0)})
		r.Due = time.Unix(2, 0)
		if err := s.Delete(t.Context(), storetest.Put(t, s, r)); err != nil {
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
		stores = append(stores, open(t, url))
	}
	storetest.WantApart(t, stores...)
}

func TestRestart(t *testing.T) {
	s := open(t, fresh())
	ups := storetest.Listens(&s.feed)
	storetest.WantRestart(t, server, s, ups)
	storetest.WantHeard(t, s, ups)
}

func TestLogin(t *testing.T) {
	admin := open(t, fresh())
	do(t, admin, "ACL", "SETUSER", "ann", "on", ">"+storetest.Password, "~*", "&*", "+@all")
	url := strings.Replace(fresh(), "//", "//ann@", 1)
	a := address(t, url)
	a.Password = jeton.NewSecret(storetest.Password)
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, s, store.Record{Key: "a"})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	a.Password = jeton.NewSecret(storetest.WrongPassword)
	wantRefused(t, a, "WRONGPASS", server.Addr)

	// The default user, by password alone.
	do(t, admin, "CONFIG", "SET", "requirepass", storetest.Password)
	defer do(t, admin, "CONFIG", "SET", "requirepass", "")
	a = address(t, fresh())
	wantRefused(t, a, "NOAUTH")
	a.Password = jeton.NewSecret(storetest.WrongPassword)
	wantRefused(t, a, "WRONGPASS")
	a.Password = jeton.NewSecret(storetest.Password)
	if s, err = Open(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

// A user who may not ask to be told is told nothing, and looks now and then.
func TestWatchWithoutTracking(t *testing.T) {
	admin := open(t, fresh())
	do(t, admin, "ACL", "SETUSER", "bob", "on", ">"+storetest.Password, "~*", "+@all", "-client|tracking", "-info")
	a := address(t, strings.Replace(fresh(), "//", "//bob@", 1))
	a.Password = jeton.NewSecret(storetest.Password)
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	changed := storetest.Settled(t, s, "a")
	for range 2 {
		storetest.Await(t, changed, "a look")
	}
}

func wantRefused(t *testing.T, a store.Address, want ...string) {
	t.Helper()
	storetest.WantRefused(t, Open, a, want...)
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
	storetest.Put(t, s, store.Record{Key: "a"})
	changed := storetest.Settled(t, s, "b")
	storetest.Put(t, s, store.Record{Key: "b"})
	storetest.Await(t, changed, "a write")
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

func TestClosed(t *testing.T) { storetest.WantClosed(t, open(t, fresh())) }

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
