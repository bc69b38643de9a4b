package issuer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/postgres"
	"github.com/jetonhq/jeton/store/sqlite"
	"github.com/jetonhq/jeton/store/storetest"
)

// An end is something that ends a token: of what login, and how. What it does
// it does at the bench that it is given, which may be another process's.
type end struct {
	name, dialect string
	login         func(b *bench) answer
	end           func(b *bench, login answer) error
}

var (
	userAt = map[string]string{"oauth2": "demo@example.com", "altrata": "demo"}

	ends = []end{
		{"disable user", "oauth2", byPassword, func(b *bench, _ answer) error {
			return b.directory.SetUserDisabled(context.Background(), "test", "", userAt[b.name], true)
		}},
		{"remove user", "oauth2", byPassword, func(b *bench, _ answer) error {
			return b.directory.RemoveUser(context.Background(), "test", "", userAt[b.name])
		}},
		{"set password", "oauth2", byPassword, func(b *bench, _ answer) error {
			return b.directory.SetPassword(context.Background(), "test", "", userAt[b.name], jeton.NewSecret("another"))
		}},
		{"disable client", "oauth2", bySecret, func(b *bench, _ answer) error {
			return b.directory.SetClientDisabled(context.Background(), "test", "", "demo-client", true)
		}},
		{"remove client", "oauth2", byPassword, func(b *bench, _ answer) error {
			return b.directory.RemoveClient(context.Background(), "test", "", "demo-client")
		}},
		{"disable tenant", "alvys", bySecret, func(b *bench, _ answer) error {
			return b.directory.SetTenantDisabled(context.Background(), "test", "acme", true)
		}},
		{"disable key", "altrata", bySecret, func(b *bench, _ answer) error {
			return b.directory.SetAPIKeyDisabled(context.Background(), "test", "", b.keyID(), true)
		}},
		{"end a key's value", "altrata", bySecret, func(b *bench, _ answer) error {
			_, _, err := b.directory.RotateAPIKey(context.Background(), "test", "", b.keyID())
			return errors.Join(err, b.directory.EndOldKey(context.Background(), "test", "", b.keyID()))
		}},
		{"newer login", "altrata", bySecret, func(b *bench, _ answer) error { return b.ok(b.login()) }},
		{"revoke", "oauth2", bySecret, func(b *bench, login answer) error {
			return b.ok(b.form("/revoke", []string{"token", login.text("access_token")}, demo))
		}},
		{"revoke family", "oauth2", byPassword, func(b *bench, login answer) error {
			return b.ok(b.form("/revoke", []string{"token", login.text("refresh_token")}, demo))
		}},
		{"spent refresh token", "oauth2", byPassword, func(b *bench, login answer) error {
			next := b.refreshWith(login.text("refresh_token"))
			if err := b.ok(b.refreshWith(next.text("refresh_token"))); err != nil {
				return err
			}
			want(b.t, b.refreshWith(login.text("refresh_token")), 400, jeton.InvalidGrant)
			return nil
		}},
	}
)

func bySecret(b *bench) answer   { return b.login() }
func byPassword(b *bench) answer { return b.password() }

func (b *bench) ok(a answer) error {
	if a.status != 200 {
		return fmt.Errorf("%d %s", a.status, a.raw)
	}
	return nil
}

// keyID returns the ID of the one API key.
func (b *bench) keyID() string {
	b.t.Helper()
	keys, err := b.directory.APIKeys(context.Background(), "", "", 2)
	if err != nil || len(keys) != 1 {
		b.t.Fatal(len(keys), err)
	}
	return keys[0].ID
}

// await waits until the token is good, or is not. Meanwhile the realm may say
// that it cannot decide, if it may at all.
func (b *bench) await(token string, good bool, undecided bool) {
	b.t.Helper()
	patience := time.Now().Add(time.Minute)
	for {
		_, err := b.Verify(context.Background(), jeton.NewSecret(token))
		switch {
		case err == nil && good, errors.Is(err, jeton.InvalidToken) && !good:
			return
		case errors.Is(err, jeton.InvalidToken):
			b.t.Fatal("a token is blamed that is good: ", err)
		case err != nil && !undecided:
			b.t.Fatal(err)
		case time.Now().After(patience):
			b.t.Fatalf("still: %v, want good %v", err, good)
		}
		time.Sleep(time.Millisecond)
	}
}

// What this process ends is refused from the next call on, and a call reads
// nothing of it in the store.
func TestEndsAtOnce(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			var faults storetest.Faults
			m := &muffled{Memory: store.NewMemory()} // not even the store has to tell
			b := seeded(t, e.dialect, storetest.Faulty(m, &faults), nil)
			login, other := e.login(b), ""
			want(t, login, 200)
			if e.dialect == "oauth2" {
				b.addClient(directory.Client{ID: "bystander", Name: "bystander"}, "s")
				other = b.form("/token", []string{"grant_type", "client_credentials"}, basic("bystander", "s")).text("access_token")
			}
			token := login.text("access_token")
			if !b.good(token) {
				t.Fatal("the token is not good before")
			}
			m.on.Store(true)
			must(t, e.end(b, login))
			faults.Decide(func(op, key string) storetest.Fault {
				// Keys are of whoever signed; and the login's own count may still be on its
				// way to the feed. Who asks the store about a token asks for more than that.
				if strings.Contains(key, "/keys") || strings.Contains(key, "/generation/grant/") {
					return storetest.Healthy
				}
				t.Errorf("%s %s for a verification", op, key)
				return storetest.Down
			})
			if b.good(token) {
				t.Error("the token is good")
			}
			if other != "" && !b.good(other) {
				t.Error("another's token is not good")
			}
			faults.Set(storetest.Healthy)
			b.stop()
			if b.good(token) {
				t.Error("by what the store says the token is good")
			}
		})
	}
}

// pair returns two processes' realms over one database, where open opens the
// store anew. There are people in it.
func pair(t *testing.T, dialect string, open func(t *testing.T) store.Store) (here, there *bench) {
	t.Helper()
	here = seeded(t, dialect, open(t), nil)
	return here, openBench(t, dialect, open(t))
}

func openBench(t *testing.T, dialect string, st store.Store) *bench { return open(t, dialect, st, nil) }

// What another process ends is refused soon, whether that one only changes
// records, as a command does, or serves too.
func testEndsElsewhere(t *testing.T, database func(t *testing.T) func(t *testing.T) store.Store) {
	for i, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			here, there := pair(t, e.dialect, database(t))
			if i%2 == 0 {
				there.stop()
			}
			login := e.login(here)
			want(t, login, 200)
			token := login.text("access_token")
			if !there.good(token) {
				t.Error("a token is not good elsewhere at once")
			}
			must(t, e.end(there, login))
			here.await(token, false, false)
			there.await(token, false, false)
		})
	}
}

// database returns what makes databases, and opens each by a handle of its own.
func inSQLite(t *testing.T) func(t *testing.T) store.Store {
	path := filepath.Join(t.TempDir(), "jeton.db")
	return func(t *testing.T) store.Store {
		st, err := sqlite.Open(t.Context(), path)
		must(t, err)
		t.Cleanup(func() { must(t, st.Close()) })
		return st
	}
}

func TestEndsInAnotherProcess(t *testing.T) { testEndsElsewhere(t, inSQLite) }

// The same over PostgreSQL, and what happens when that goes away.
func TestPostgres(t *testing.T) {
	server, err := storetest.StartPostgres()
	must(t, err)
	defer server.Close()
	var n atomic.Int64
	in := func(t *testing.T) func(t *testing.T) store.Store {
		url := fmt.Sprintf("postgres://postgres@%s/postgres?prefix=issuer-%d&sslmode=disable", server.Addr, n.Add(1))
		return func(t *testing.T) store.Store {
			return storetest.Open(t, postgres.Open, storetest.Address(t, url, ""))
		}
	}
	t.Run("Ends", func(t *testing.T) { testEndsElsewhere(t, in) })
	t.Run("SingleActive", func(t *testing.T) { testSingleActiveAtTwo(t, in(t)) })
	t.Run("Restart", func(t *testing.T) { testRestart(t, server, in(t)) })
}

// Logins at two processes leave one token that is good at both.
func testSingleActiveAtTwo(t *testing.T, database func(t *testing.T) store.Store) {
	here, there := pair(t, "altrata", database)
	const n = 20
	tokens := make([]string, n)
	together(n, func(i int) {
		b := here
		if i%2 == 0 {
			b = there
		}
		a := b.login(from(fmt.Sprintf("198.51.100.%d", i)))
		want(t, a, 200)
		tokens[i] = a.text("access_token")
	})
	survivors := func(b *bench) (good []string) {
		for _, token := range tokens {
			if b.good(token) {
				good = append(good, token)
			}
		}
		return good
	}
	patience := time.Now().Add(time.Minute)
	for {
		a, b := survivors(here), survivors(there)
		if len(a) == 1 && len(b) == 1 && a[0] == b[0] {
			break
		}
		if len(a) == 0 || len(b) == 0 || time.Now().After(patience) {
			t.Fatalf("%d and %d survivors", len(a), len(b))
		}
	}
	// One who logs in here is good there at once, and ends the one before there
	// as soon as it is seen there.
	before := survivors(there)[0]
	next := here.token()
	if !there.good(next) || there.good(before) {
		t.Error("a newer token did not end the one before it, where it was seen")
	}
}

// While the database is gone a token is served up to the bound and then not
// decided, never blamed; and what happens meanwhile is not missed.
func testRestart(t *testing.T, server *storetest.Server, database func(t *testing.T) store.Store) {
	here := seeded(t, "oauth2", database(t), func(c *Config) { c.MaxStale = 3 * time.Second })
	there := open(t, "oauth2", database(t), nil)
	login := here.password()
	want(t, login, 200)
	token, own := login.text("access_token"), here.token()
	server.Stop()
	eventually(t, "nothing is decided", func() bool {
		_, err := here.Verify(t.Context(), jeton.NewSecret(own))
		if err != nil && !errors.Is(err, jeton.Unavailable) {
			t.Fatal(err)
		}
		return err != nil
	})
	must(t, server.Start())
	eventually(t, "the user is disabled", func() bool { // the connections of before fail, each once
		return there.directory.SetUserDisabled(t.Context(), "test", "", "demo@example.com", true) == nil
	})
	here.await(own, true, true)
	here.await(token, false, true)
}
