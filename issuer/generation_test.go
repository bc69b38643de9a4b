package issuer

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// No two raises of a counter return the same, be they of one process or of
// several.
func TestRaise(t *testing.T) {
	memory := store.NewMemory()
	slow := storetest.Slow(memory, func() time.Duration { return time.Duration(rand.IntN(100)) * time.Microsecond })
	directories := []*Directory{desk(t, slow, nil, Settings{}), desk(t, slow, nil, Settings{})}
	const each = 50
	seen := make([]int, 2*2*each+1)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, d := range directories {
		for range 2 * each {
			wg.Go(func() {
				n, err := d.Raise(t.Context(), "grant", "g")
				mu.Lock()
				defer mu.Unlock()
				if err != nil || n >= uint64(len(seen)) {
					t.Error(n, err)
					return
				}
				seen[n]++
			})
		}
	}
	wg.Wait()
	for n, times := range seen {
		if n > 0 && times != 1 {
			t.Errorf("%d was returned %d times", n, times)
		}
	}
	d := directories[0]
	if n, err := d.Generation(t.Context(), "grant", "g"); err != nil || n != uint64(len(seen)-1) {
		t.Errorf("generation %d, %v", n, err)
	}
	if n, err := d.Generation(t.Context(), "user", "g"); err != nil || n != 0 {
		t.Errorf("another counter: %d, %v", n, err)
	}
	if len(d.raising.queues) != 0 {
		t.Errorf("queues are left: %d", len(d.raising.queues))
	}
}

// endings is what ends the tokens of ann, who logs in through the client app in
// tenant acme with her API key.
var endings = map[string]func(ctx context.Context, d *Directory, key string) error{
	"disable user": func(ctx context.Context, d *Directory, _ string) error {
		return d.SetUserDisabled(ctx, "root", "acme", "ann@example.com", true)
	},
	"remove user": func(ctx context.Context, d *Directory, _ string) error {
		return d.RemoveUser(ctx, "root", "acme", "ann@example.com")
	},
	"set password": func(ctx context.Context, d *Directory, _ string) error {
		return d.SetPassword(ctx, "root", "acme", "ann@example.com", secretOf("new"))
	},
	"disable client": func(ctx context.Context, d *Directory, _ string) error {
		return d.SetClientDisabled(ctx, "root", "acme", "appacme", true)
	},
	"remove client": func(ctx context.Context, d *Directory, _ string) error {
		return d.RemoveClient(ctx, "root", "acme", "appacme")
	},
	"disable key": func(ctx context.Context, d *Directory, key string) error {
		return d.SetAPIKeyDisabled(ctx, "root", "acme", key, true)
	},
	"remove key": func(ctx context.Context, d *Directory, key string) error {
		return d.RemoveAPIKey(ctx, "root", "acme", key)
	},
	"disable tenant": func(ctx context.Context, d *Directory, _ string) error {
		return d.SetTenantDisabled(ctx, "root", "acme", true)
	},
	"remove tenant": func(ctx context.Context, d *Directory, _ string) error { return d.RemoveTenant(ctx, "root", "acme") },
	"replace user": func(ctx context.Context, d *Directory, _ string) error {
		err := d.RemoveUser(ctx, "root", "acme", "ann@example.com")
		if err == nil {
			_, err = d.AddUser(ctx, "root", User{Tenant: "acme", Name: "ann@example.com"}, secretOf("new"))
		}
		return err
	},
	"replace client": func(ctx context.Context, d *Directory, _ string) error {
		err := d.RemoveClient(ctx, "root", "acme", "appacme")
		if err == nil {
			_, _, err = d.AddClient(ctx, "root", Client{ID: "appacme", Tenant: "acme", Name: "x"}, secretOf("new"))
		}
		return err
	},
}

var annVars = jeton.Vars{"tenant_id": "acme", "client_id": "appacme", "client_secret": "app-secret",
	"username": "ann@example.com", "password": "ann-password", "api_key": "ann-key"}

// A login that began before something was ended has one outcome: it fails, or
// its token carries a number that has passed. This is what Realm does.
func TestEndingRacesLogin(t *testing.T) {
	const rounds = 100
	for name, ending := range endings {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			failed, passed := 0, 0
			for round := range rounds {
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(uint64(round), 1))
					var mu sync.Mutex
					slow := storetest.Slow(store.NewMemory(), func() time.Duration {
						mu.Lock()
						defer mu.Unlock()
						return time.Duration(random.IntN(10)) * time.Millisecond
					})
					d := desk(t, slow, nil, Settings{Tenanted: true})
					_, _, key := furnish(t, d, "acme")
					r := &Realm{directory: d}
					start := time.Duration(random.IntN(350)) * time.Millisecond
					done := make(chan error)
					go func() {
						time.Sleep(start)
						done <- ending(context.Background(), d, key.ID)
					}()
					began := time.Now()
					p, err := r.authenticate(t.Context(), annVars)
					took := time.Since(began)
					must(t, <-done)
					if took < start {
						return // it was over before the ending began
					}
					if err != nil {
						if failed++; !refusal(err) {
							t.Error(err)
						}
						return
					}
					passed++
					if lives(t, d, p) {
						t.Errorf("round %d: the login's token lives on; counters %v", round, p.counters)
					}
				})
			}
			if failed < 3 || passed < 3 {
				t.Errorf("of %d rounds %d logins failed and %d passed; this proves little", rounds, failed, passed)
			}
		})
	}
}

// The same without chance: a whole login before each step of the ending, and
// the whole ending before each step of a login.
func TestEndingAtEveryStep(t *testing.T) {
	for name, ending := range endings {
		for _, inside := range []string{"login", "ending"} {
			for step := 1; ; step++ {
				var faults storetest.Faults
				memory := store.NewMemory()
				whole := desk(t, memory, nil, Settings{Tenanted: true})
				stepped := desk(t, storetest.Faulty(memory, &faults), nil, Settings{Tenanted: true})
				_, _, key := furnish(t, whole, "acme")
				var p *party
				var err error
				login := func(d *Directory) { p, err = (&Realm{directory: d}).authenticate(t.Context(), annVars) }
				end := func(d *Directory) { must(t, ending(t.Context(), d, key.ID)) }
				outer, inner := end, login
				if inside == "ending" {
					outer, inner = login, end
				}
				steps := 0
				faults.Decide(func(string, string) storetest.Fault {
					if steps++; steps == step {
						inner(whole)
					}
					return storetest.Healthy
				})
				outer(stepped)
				if steps < step {
					if step < 4 {
						t.Errorf("%s: the %s around takes %d steps", name, inside, steps)
					}
					break
				}
				if err != nil && !refusal(err) {
					t.Errorf("%s before step %d: %v", inside, step, err)
				}
				if err == nil && lives(t, whole, p) {
					t.Errorf("%s; the %s before step %d of the other: the token lives on", name, inside, step)
				}
			}
		}
	}
}

// lives reports whether a token that carries the party's counters is good.
func lives(t testing.TB, d *Directory, p *party) bool {
	t.Helper()
	for counter, n := range p.counters {
		kind, id, _ := strings.Cut(counter, "/")
		now, err := d.Generation(context.Background(), kind, id)
		must(t, err)
		if now != n {
			return false
		}
	}
	return true
}

// Nothing that is ended and enabled again revives a token, not even if the
// raise failed between the two, or whoever asked went away.
func TestNothingRevives(t *testing.T) {
	for _, kind := range []string{"user", "client", "key", "tenant"} {
		t.Run(kind, func(t *testing.T) {
			var faults storetest.Faults
			d := desk(t, storetest.Faulty(store.NewMemory(), &faults), nil, Settings{Tenanted: true})
			u, c, k := furnish(t, d, "acme")
			id := map[string]string{"user": u.ID, "client": c.ID, "key": k.ID, "tenant": "acme"}[kind]
			set := func(ctx context.Context, disabled bool) error {
				switch kind {
				case "user":
					return d.SetUserDisabled(ctx, "root", "acme", u.Name, disabled)
				case "client":
					return d.SetClientDisabled(ctx, "root", "acme", id, disabled)
				case "key":
					return d.SetAPIKeyDisabled(ctx, "root", "acme", id, disabled)
				}
				return d.SetTenantDisabled(ctx, "root", id, disabled)
			}
			count := func() uint64 {
				t.Helper()
				n, err := d.Generation(context.Background(), kind, id)
				must(t, err)
				return n
			}
			// What is enabled already keeps its tokens.
			token := count()
			must(t, set(t.Context(), false))
			if count() != token {
				t.Error("enabling what is enabled ended its tokens")
			}
			must(t, set(t.Context(), true))
			if count() == token {
				t.Error("disabling left the tokens")
			}
			must(t, set(t.Context(), false))
			if count() == token {
				t.Error("enabling revived the tokens")
			}
			// The raise fails.
			token = count()
			faults.Decide(func(op, key string) storetest.Fault {
				if op == "put" && strings.Contains(key, "/generation/") {
					return storetest.Down
				}
				return storetest.Healthy
			})
			if err := set(t.Context(), true); !errors.Is(err, storetest.ErrFault) {
				t.Errorf("disabling without a raise: %v", err)
			}
			if err := set(t.Context(), false); !errors.Is(err, storetest.ErrFault) {
				t.Errorf("enabling without a raise: %v", err)
			}
			faults.Set(storetest.Healthy)
			must(t, set(t.Context(), false))
			if count() == token {
				t.Error("a failed raise left tokens that enabling revived")
			}
			// The request ends as soon as the state is written.
			token = count()
			ctx, cancel := context.WithCancel(t.Context())
			faults.Decide(func(op, key string) storetest.Fault {
				if strings.Contains(key, "/generation/") {
					cancel()
				}
				return storetest.Healthy
			})
			must(t, set(ctx, true))
			if count() == token {
				t.Error("whoever asked went away, and the tokens live on")
			}
		})
	}
}

// Removing that was interrupted anywhere leaves what can be removed again, and
// no living token.
func TestRemoveInterrupted(t *testing.T) {
	for failing := 1; ; failing++ {
		var faults storetest.Faults
		memory := store.NewMemory()
		d := desk(t, storetest.Faulty(memory, &faults), nil, Settings{Tenanted: true})
		u, c, k := furnish(t, d, "acme")
		calls := 0
		faults.Decide(func(string, string) storetest.Fault {
			if calls++; calls == failing {
				return storetest.LoseAnswer
			}
			return storetest.Healthy
		})
		err := d.RemoveTenant(t.Context(), "root", "acme")
		faults.Set(storetest.Healthy)
		if calls < failing {
			must(t, err)
			if failing < 20 {
				t.Errorf("the store was called %d times only", calls)
			}
			return
		}
		if !errors.Is(err, storetest.ErrFault) {
			t.Errorf("call %d failed: %v", failing, err)
		}
		if err := d.RemoveTenant(t.Context(), "root", "acme"); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("call %d failed; again: %v", failing, err)
		}
		for _, counter := range []string{"user/" + u.ID, "client/" + c.ID, "key/" + k.ID, "tenant/acme"} {
			kind, id, _ := strings.Cut(counter, "/")
			if n, err := d.Generation(t.Context(), kind, id); err != nil || n == 0 {
				t.Errorf("call %d failed: %s has generation %d, %v", failing, counter, n, err)
			}
		}
		for _, line := range dump(t, memory) {
			for _, kind := range []string{"tenant", "user", "client", "key"} {
				if strings.HasPrefix(line, "realm/test/"+kind+"/") {
					t.Errorf("call %d failed; left over: %s", failing, line)
				}
			}
		}
	}
}
