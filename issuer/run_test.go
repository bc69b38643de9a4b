package issuer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// muffled is a store that does not hear of changes while it is muffled, as one
// whose connection is broken.
type muffled struct {
	*store.Memory
	on atomic.Bool

	mu      sync.Mutex
	changed func(key string)
}

func (m *muffled) Follow(ctx context.Context, prefix string, changed func(key string), fresh func(time.Time)) error {
	m.mu.Lock()
	m.changed = changed
	m.mu.Unlock()
	return m.Memory.Follow(ctx, prefix, func(key string) {
		if !m.on.Load() {
			changed(key)
		}
	}, func(at time.Time) {
		if !m.on.Load() {
			fresh(at)
		}
	})
}

// unmuffle lets the store hear again, which says so.
func (m *muffled) unmuffle() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed("")
	m.on.Store(false)
}

// A realm that cannot hear what ended decides up to the bound, and then does
// not, except that what it knows to have ended stays so. When it hears again it
// knows what it missed.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &muffled{Memory: store.NewMemory()}
		b := seeded(t, "oauth2", m, nil)
		elsewhere := open(t, "oauth2", m.Memory, nil)
		elsewhere.stop()
		good, revoked, missed := b.token(), b.token(), b.token()
		family := b.password()
		want(t, b.form("/revoke", []string{"token", revoked}, demo), 200)
		time.Sleep(time.Second)
		m.on.Store(true)
		want(t, elsewhere.form("/revoke", []string{"token", missed}, demo), 200)
		want(t, elsewhere.form("/revoke", []string{"token", family.text("refresh_token")}, demo), 200)
		time.Sleep(defaultStale - time.Second)
		if !b.good(good) {
			t.Error("a token is not good before the bound")
		}
		time.Sleep(2 * time.Second)
		_, err := b.Verify(t.Context(), jeton.NewSecret(good))
		if refusal, ok := errors.AsType[*jeton.Error](err); !ok || refusal.Code != jeton.Unavailable || refusal.RetryAfter == 0 {
			t.Errorf("after the bound: %v", err)
		}
		if _, err := b.Verify(t.Context(), jeton.NewSecret(revoked)); !errors.Is(err, jeton.InvalidToken) {
			t.Errorf("a token that is known to be revoked: %v", err)
		}
		m.unmuffle()
		time.Sleep(time.Second)
		if !b.good(good) || b.good(revoked) || b.good(missed) || b.good(family.text("access_token")) {
			t.Error("after it heard again, a good token is not good or a revoked one is")
		}
	})
}

// A raise whose answer was lost has happened.
func TestRaiseAnswerLost(t *testing.T) {
	var faults storetest.Faults
	b := seeded(t, "oauth2", storetest.Faulty(store.NewMemory(), &faults), nil)
	token := b.token()
	faults.Decide(func(op, key string) storetest.Fault {
		if op == "put" && strings.Contains(key, "/generation/") {
			return storetest.LoseAnswer
		}
		return storetest.Healthy
	})
	if err := b.directory.SetClientDisabled(t.Context(), "test", "", "demo-client", true); !errors.Is(err, storetest.ErrFault) {
		t.Fatal(err)
	}
	b.await(token, false, false)
}

// A realm that begins to run knows what ended before it, and only that of which
// a token may be left.
func TestRunKnowsThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		b := seeded(t, "oauth2", st, nil)
		b.stop()
		old := b.addClient(directory.Client{ID: "old", Name: "old"}, "s")
		must(t, b.directory.SetClientDisabled(t.Context(), "test", "", old.ID, true))
		time.Sleep(b.lifetime + margin + time.Second)
		var tokens []string
		for _, e := range ends {
			if e.dialect != "oauth2" || e.name == "remove user" || e.name == "remove client" {
				continue
			}
			login := e.login(b)
			want(t, login, 200)
			tokens = append(tokens, login.text("access_token"))
			must(t, e.end(b, login))
			_ = b.directory.SetUserDisabled(t.Context(), "test", "", "demo@example.com", false)
			_ = b.directory.SetClientDisabled(t.Context(), "test", "", "demo-client", false)
			must(t, b.directory.SetPassword(t.Context(), "test", "", "demo@example.com", jeton.NewSecret("demo-password")))
		}
		fresh := b.token()
		b.run()
		time.Sleep(time.Second)
		if _, ok := b.Revocations().Age(time.Now()); !ok || !b.feed.live.Load() || !b.good(fresh) {
			t.Fatal("the realm does not run")
		}
		for i, token := range tokens {
			if b.good(token) {
				t.Errorf("token %d is good", i)
			}
		}
		for e := range b.Revocations().All() {
			if e.Counter == "client/old" {
				t.Error("the table has what concerns nobody any more")
			}
		}
	})
}

// A counter of before raises had a time was raised when it was first seen.
func TestUndatedCounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		b := seeded(t, "oauth2", st, nil)
		b.stop()
		token := b.token()
		_, err := st.Put(t.Context(), store.Record{Key: "realm/oauth2/generation/client/demo-client", Value: []byte(`{"v":1,"n":1}`)})
		must(t, err)
		b.run()
		time.Sleep(time.Second)
		if b.good(token) {
			t.Error("the token is good")
		}
		time.Sleep(b.lifetime + 2*margin)
		b.Revocations().Sweep(time.Now())
		_, err = st.Put(t.Context(), store.Record{Key: "realm/oauth2/lifetime/", Value: nil}) // whatever makes it scan
		must(t, err)
		time.Sleep(time.Second)
		if n := b.Revocations().Len(); n != 0 {
			t.Errorf("%d events are left, though every such token has expired", n)
		}
	})
}

// A token of a time when tokens lived longer ends, and stays ended.
func TestLifetimeShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		long := seeded(t, "oauth2", st, func(c *Config) { c.Lifetime = 3 * time.Hour })
		token := long.token()
		family := long.password()
		long.stop()
		b := open(t, "oauth2", st, func(c *Config) { c.Lifetime = 5 * time.Minute })
		if !b.good(token) {
			t.Fatal("the token is not good")
		}
		must(t, b.directory.SetClientDisabled(t.Context(), "test", "", "demo-client", true))
		must(t, b.families.end(t.Context(), familyOf(t, b, family)))
		for range 25 {
			time.Sleep(7 * time.Minute)
			_, err := b.Sweep(t.Context())
			must(t, err)
			if b.good(token) || b.good(family.text("access_token")) {
				t.Fatal("the token is good again")
			}
		}
		again := open(t, "oauth2", st, func(c *Config) { c.Lifetime = 5 * time.Minute })
		if again.good(token) || again.good(family.text("access_token")) {
			t.Error("the token is good after a restart")
		}
	})
}

// A key is accepted for as long as tokens lived when it signed them, also where
// they live shorter now.
func TestLifetimeShortenedKeepsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		long := seeded(t, "oauth2", st, func(c *Config) { c.Lifetime = 24 * time.Hour })
		token := long.token()
		long.stop()
		b := open(t, "oauth2", st, func(c *Config) { c.Lifetime = 5 * time.Minute })
		must(t, b.Keys().Rotate(t.Context(), time.Now()))
		b.stop()
		time.Sleep(23 * time.Hour)
		if _, err := b.Sweep(t.Context()); err != nil || !b.good(token) {
			t.Errorf("the token is not good (%v)", err)
		}
	})
}

// So it is where they live long and another algorithm is chosen.
func TestAlgChangedKeepsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		config := func(alg string) func(*Config) {
			return func(c *Config) { c.Lifetime, c.Alg = 100*time.Hour, alg }
		}
		b := seeded(t, "oauth2", st, config("ES256"))
		token := b.token()
		b.stop()
		b = open(t, "oauth2", st, config("EdDSA"))
		b.stop()
		time.Sleep(99 * time.Hour)
		if _, err := b.Sweep(t.Context()); err != nil || !b.good(token) {
			t.Errorf("the token is not good (%v)", err)
		}
	})
}

// What ended a token is known for as long as a guard whose clock differs may
// take the token, also after the issuer was started again.
func TestRevokedOutlivesToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		b := seeded(t, "oauth2", st, nil)
		token := b.token()
		claims, err := b.Verify(t.Context(), jeton.NewSecret(token))
		must(t, err)
		want(t, b.form("/revoke", []string{"token", token}, demo), 200)
		time.Sleep(b.lifetime + revocation.Grace - time.Second)
		_, err = b.Sweep(t.Context())
		must(t, err)
		b.stop()
		again := open(t, "oauth2", st, nil)
		if again.Revocations().Ended(claims) == nil {
			t.Error("it is forgotten that the token was revoked")
		}
	})
}

func familyOf(t *testing.T, b *bench, login answer) string {
	t.Helper()
	f, err := b.families.find(t.Context(), jeton.NewSecret(login.text("refresh_token")))
	must(t, err)
	return f.id
}

// A family whose end was interrupted gives no more tokens, which nobody would
// take.
func TestFamilyEndInterrupted(t *testing.T) {
	var faults storetest.Faults
	st := storetest.Faulty(store.NewMemory(), &faults)
	b := seeded(t, "oauth2", st, nil)
	login := b.password()
	faults.Decide(func(op, key string) storetest.Fault {
		if op == "delete" && strings.Contains(key, "/family/") {
			return storetest.Down
		}
		return storetest.Healthy
	})
	want(t, b.form("/revoke", []string{"token", login.text("refresh_token")}, demo), 503)
	faults.Set(storetest.Healthy)
	if b.good(login.text("access_token")) {
		t.Error("the access token is good")
	}
	id := familyOf(t, b, login)
	want(t, b.refreshWith(login.text("refresh_token")), 400, jeton.InvalidGrant)
	if _, err := b.families.get(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the family is there: %v", err)
	}
}

// Such a family does not come back either when nobody used it until it was
// forgotten that it ended.
func TestFamilyEndInterruptedLongAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var faults storetest.Faults
		b := seeded(t, "oauth2", storetest.Faulty(store.NewMemory(), &faults), nil)
		spent := b.password().text("refresh_token")
		current := b.refreshWith(spent).text("refresh_token")
		time.Sleep(defaultRetryWindow)
		faults.Decide(func(op, key string) storetest.Fault {
			if op == "delete" && strings.Contains(key, "/family/") {
				return storetest.Down
			}
			return storetest.Healthy
		})
		want(t, b.refreshWith(spent), 503) // a thief has one of the two
		faults.Set(storetest.Healthy)
		for range 6 {
			time.Sleep(b.lifetime / 2)
			_, err := b.Sweep(t.Context())
			must(t, err)
		}
		want(t, b.refreshWith(current), 400, jeton.InvalidGrant)
	})
}

// Where the store cannot be followed each token is looked up in it.
func TestRunWithoutFollower(t *testing.T) {
	d := seeded(t, "oauth2", nil, nil).dialect
	b := &bench{t: t, log: seeded(t, "oauth2", nil, nil).log}
	var err error
	b.Realm, err = OpenRealm(t.Context(), Config{Name: "oauth2", Dialect: d, Store: struct{ store.Store }{store.NewMemory()}, Audit: b.log, URL: "http://auth.test/oauth2"})
	must(t, err)
	b.Run(t.Context()) // returns
	b.addClient(directory.Client{ID: "demo-client", Name: "demo"}, "demo-secret")
	token := b.token()
	if !b.good(token) {
		t.Fatal("the token is not good")
	}
	must(t, b.directory.SetClientDisabled(t.Context(), "test", "", "demo-client", true))
	if b.good(token) {
		t.Error("the token is good")
	}
	if _, fresh := b.Revocations().Age(time.Now()); fresh {
		t.Error("a table that nobody fills is fresh")
	}
}

// The claims of an API key have all that ends it, also if it is ended while they
// are read.
func TestAPIKeyEnds(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(d *directory.Directory, k directory.APIKey) error{
		"disable": func(d *directory.Directory, k directory.APIKey) error {
			return d.SetAPIKeyDisabled(ctx, "test", k.Tenant, k.ID, true)
		},
		"remove": func(d *directory.Directory, k directory.APIKey) error {
			return d.RemoveAPIKey(ctx, "test", k.Tenant, k.ID)
		},
		"end old value": func(d *directory.Directory, k directory.APIKey) error {
			return d.EndOldKey(ctx, "test", k.Tenant, k.ID)
		},
		"rotate": func(d *directory.Directory, k directory.APIKey) error {
			_, _, err := d.RotateAPIKey(ctx, "test", k.Tenant, k.ID)
			return err
		},
		"disable owner": func(d *directory.Directory, k directory.APIKey) error {
			return d.SetUserDisabled(ctx, "test", k.Tenant, "ann", true)
		},
		"remove owner": func(d *directory.Directory, k directory.APIKey) error {
			return d.RemoveUser(ctx, "test", k.Tenant, "ann")
		},
		"disable tenant": func(d *directory.Directory, k directory.APIKey) error {
			return d.SetTenantDisabled(ctx, "test", k.Tenant, true)
		},
		"remove tenant": func(d *directory.Directory, k directory.APIKey) error { return d.RemoveTenant(ctx, "test", k.Tenant) },
	} {
		t.Run(name, func(t *testing.T) {
			for step := 0; ; step++ { // 0: after it was verified
				var faults storetest.Faults
				memory := store.NewMemory()
				b := seeded(t, "alvys", memory, nil)
				stepped := open(t, "alvys", storetest.Faulty(memory, &faults), nil)
				stepped.stop() // so that nobody else takes a step
				u := b.addUser("acme", "ann", "password", "")
				value := b.addKey(directory.APIKey{Name: "key", Tenant: "acme", Owner: u.ID}, "")
				k, err := b.directory.AuthenticateAPIKey(ctx, "", value)
				must(t, err)
				_, _, err = b.directory.RotateAPIKey(ctx, "test", "acme", k.ID) // so that the value is the older of two
				must(t, err)
				steps := 0
				faults.Decide(func(string, string) storetest.Fault {
					if steps++; steps == step {
						must(t, end(b.directory, k))
					}
					return storetest.Healthy
				})
				claims, err := stepped.Verify(ctx, value)
				if step > steps {
					if step < 6 {
						t.Errorf("a verification has %d steps", steps)
					}
					return
				}
				if step == 0 {
					must(t, err)
					if b.Revocations().Ended(claims) != nil {
						t.Error("the key has ended before anything happened")
					}
					must(t, end(b.directory, k))
				}
				if err == nil && b.Revocations().Ended(claims) == nil {
					t.Errorf("ended at step %d: its claims, which may be kept, have not; %v", step, claims.Generations)
				}
				if b.good(value.Reveal()) {
					t.Error("the key is good")
				}
			}
		})
	}
}

// The table of a realm that does not run takes no room.
func TestNotRunning(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	b.stop()
	must(t, b.directory.SetClientDisabled(t.Context(), "test", "", "demo-client", true))
	if n := b.Revocations().Len(); n != 0 {
		t.Errorf("%d events that nobody asks for", n)
	}
}
