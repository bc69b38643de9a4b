package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

var server *storetest.Server

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, storetest.StartPostgres, &server)) }

var prefixes atomic.Int64

// fresh returns the URL of a store that nobody else uses.
func fresh() string {
	return fmt.Sprintf("postgres://postgres@%s/postgres?prefix=test-%d&sslmode=disable", server.Addr, prefixes.Add(1))
}

func address(t testing.TB, url string) store.Address { return storetest.Address(t, url, "") }

func open(t testing.TB, url string) *Store { return storetest.Open(t, Open, address(t, url)) }

func exec(t testing.TB, s *Store, query string) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, fresh()) })
}

// A pool of one connection is enough for many callers who watch and write at
// the same time.
func TestPoolOfOne(t *testing.T) {
	s := open(t, fresh()+"&pool_max_conns=1")
	for i := range 4 {
		if _, err := s.Watch(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			r, err := s.Put(t.Context(), store.Record{Key: fmt.Sprint(i)})
			if err == nil {
				err = s.Delete(t.Context(), r)
			}
			if err != nil {
				t.Error(err)
			}
			var one int
			if err := s.DB().QueryRowContext(t.Context(), `SELECT 1`).Scan(&one); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A server whose transactions are serializable refuses those that meet; whoever
// writes sees a conflict all the same, never that refusal.
func TestSerializable(t *testing.T) {
	admin := open(t, fresh())
	exec(t, admin, `DROP DATABASE IF EXISTS serializable`)
	exec(t, admin, `CREATE DATABASE serializable`)
	exec(t, admin, `ALTER DATABASE serializable SET default_transaction_isolation = 'serializable'`)
	url := strings.Replace(fresh(), "/postgres?", "/serializable?", 1)
	s := open(t, url)
	storetest.Put(t, s, store.Record{Key: "n", Value: []byte{0}})
	const writers, each = 8, 10
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < each; {
				r, err := s.Get(t.Context(), "n")
				if err == nil {
					r.Value[0]++
					_, err = s.Put(t.Context(), r)
				}
				switch {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if r, err := s.Get(t.Context(), "n"); err != nil || r.Value[0] != writers*each {
		t.Errorf("counted %v, %v", r.Value, err)
	}
}

// Several that open a new store at the same time make one schema.
func TestOpenTogether(t *testing.T) {
	for range 3 {
		url := fresh()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				s, err := Open(t.Context(), address(t, url))
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
		all.Wait()
		list, err := open(t, url).List(t.Context(), "", "", 100)
		if err != nil || len(list) != 8 {
			t.Errorf("%d records, %v", len(list), err)
		}
	}
}

// What one process writes, another one is told, whatever the signs in the key.
func TestWatchSeesOthers(t *testing.T) {
	url := fresh()
	here, there := open(t, url), open(t, url)
	changed := storetest.Settled(t, here, "a/")
	for _, key := range []string{"a/1", "a/é'\"\\", "a/\xff\x01", "a/" + strings.Repeat("k", 2000)} {
		r := storetest.Put(t, there, store.Record{Key: key})
		storetest.Await(t, changed, "a write")
		if err := there.Delete(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		storetest.Await(t, changed, "a delete")
	}
	// Nobody is told of the records beside them.
	storetest.Put(t, there, store.Record{Key: "b"})
	storetest.Put(t, open(t, fresh()), store.Record{Key: "a/1"})
	storetest.Put(t, there, store.Record{Key: "a/last"})
	storetest.Await(t, changed, "a write")
	select {
	case <-changed:
		t.Error("a signal for what is not watched")
	default:
	}
}

func TestPayload(t *testing.T) {
	if payload("a") == "" || payload(strings.Repeat("a", 7000)) != "" {
		t.Error("a long key does not fit and a short one does")
	}
}

// A connection that an operator ends is made anew.
func TestWatchOutlivesItsConnection(t *testing.T) {
	s := open(t, fresh())
	ups := storetest.Listens(&s.feed)
	changed := storetest.Settled(t, s, "a")
	storetest.Await(t, ups, "the first connection")
	exec(t, s, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN `+s.channel+`'`)
	storetest.Await(t, changed, "the break")
	storetest.WantHeard(t, s, ups)
}

func TestRestart(t *testing.T) {
	s := open(t, fresh())
	ups := storetest.Listens(&s.feed)
	storetest.WantRestart(t, server, s, ups)
	storetest.WantHeard(t, s, ups)
}

func wantRefused(t *testing.T, a store.Address, want ...string) {
	t.Helper()
	storetest.WantRefused(t, Open, a, want...)
}

// A user who may make tables in one schema only, and one who may make none but
// finds them made.
func TestLogin(t *testing.T) {
	admin := open(t, fresh())
	exec(t, admin, `DROP SCHEMA IF EXISTS ann CASCADE`)
	exec(t, admin, `DROP ROLE IF EXISTS ann, bob`)
	exec(t, admin, `CREATE ROLE ann LOGIN PASSWORD '`+storetest.Password+`'`)
	exec(t, admin, `CREATE SCHEMA ann AUTHORIZATION ann`)
	url := strings.Replace(fresh(), "//postgres@", "//ann@", 1)
	a := address(t, url)
	wantRefused(t, a, server.Addr, "password")
	a.Password = jeton.NewSecret(storetest.WrongPassword)
	wantRefused(t, a, server.Addr, "password authentication failed")
	a.Password = jeton.NewSecret(storetest.Password)
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	storetest.Put(t, s, store.Record{Key: "a"})
	exec(t, admin, `SELECT 1 FROM ann."`+s.prefix+`_record"`)

	exec(t, admin, `CREATE ROLE bob LOGIN PASSWORD '`+storetest.Password+`'`)
	exec(t, admin, `GRANT USAGE ON SCHEMA ann TO bob`)
	exec(t, admin, `GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ann TO bob`)
	b := address(t, strings.Replace(url, "//ann@", "//bob@", 1)+"&search_path=ann")
	b.Password = jeton.NewSecret(storetest.Password)
	other, err := Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	changed := storetest.Settled(t, other, "a")
	storetest.Put(t, s, store.Record{Key: "a/b"})
	storetest.Await(t, changed, "a write by ann")
	b = address(t, strings.Replace(fresh(), "//postgres@", "//bob@", 1)+"&search_path=ann")
	b.Password = jeton.NewSecret(storetest.Password)
	wantRefused(t, b, "permission denied")
}

func TestTLS(t *testing.T) {
	base, _, _ := strings.Cut(fresh(), "&")
	s := open(t, base+"&sslmode=verify-full&sslrootcert="+filepath.Join(server.Dir, "cert.pem"))
	var encrypted bool
	err := s.pool.QueryRow(t.Context(), `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&encrypted)
	if err != nil || !encrypted {
		t.Errorf("encrypted: %v, %v", encrypted, err)
	}
	wantRefused(t, address(t, base+"&sslmode=verify-full"), "certificate")
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://127.0.0.1:1/db":                      "127.0.0.1:1",
		"postgres://127.0.0.1:1/db?sslmode=disable":      "connection refused",
		"postgres://127.0.0.1,localhost:2/db":            "127.0.0.1:5432,localhost:2",
		"postgres://127.0.0.1":                           "name the database",
		"postgres://127.0.0.1/db?prefx=x":                `unknown name "prefx"`,
		"postgres://127.0.0.1/db?sslmode=maybe":          "sslmode",
		"postgres://127.0.0.1/db?pool_max_conns=0":       "pool_max_conns",
		"postgres://127.0.0.1/db?prefix=%22":             "the prefix is to be",
		"redis://127.0.0.1/db":                           "postgres://",
		strings.Replace(fresh(), "/postgres?", "/x?", 1): `database "x" does not exist`,
		fresh() + "&search_path=nowhere":                 "search_path",
	} {
		wantRefused(t, address(t, url), want)
	}
	a := address(t, fresh())
	a.TLS = server.TLS
	wantRefused(t, a, "sslrootcert")

	newer := fresh()
	s := open(t, newer)
	exec(t, s, `UPDATE "`+s.prefix+`_schema" SET version = 99`)
	wantRefused(t, address(t, newer), "written by a newer jeton: its schema is 99, this one knows 1")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, address(t, fresh())); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// Two stores in one database see nothing of each other.
func TestPrefixes(t *testing.T) {
	base := fresh()
	var stores []*Store
	for _, url := range []string{base, strings.Replace(base, "prefix=", "prefix=X/", 1), strings.Replace(base, "prefix=", "prefix=x/", 1)} {
		stores = append(stores, open(t, url))
	}
	storetest.WantApart(t, stores...)
}

func TestClosed(t *testing.T) { storetest.WantClosed(t, open(t, fresh())) }
