package issuer

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// desk opens a tenanted directory whose passwords cost next to nothing.
func desk(t testing.TB, st store.Store) *directory.Directory {
	t.Helper()
	d, err := directory.Open(context.Background(), st, audit.NewMemory(), "test", directory.Settings{Tenanted: true})
	must(t, err)
	d.Passwords = &directory.PasswordHasher{Memory: 8, Time: 1}
	return d
}

// must ends the test if err is not nil.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// furnish makes what the endings end, and returns the ID of ann's API key.
func furnish(t testing.TB, d *directory.Directory) string {
	t.Helper()
	ctx := context.Background()
	_, err := d.AddTenant(ctx, "root", directory.Tenant{ID: "acme"})
	must(t, err)
	u, err := d.AddUser(ctx, "root", directory.User{Tenant: "acme", Name: "Ann@example.com"}, jeton.NewSecret("ann-password"))
	must(t, err)
	_, _, err = d.AddClient(ctx, "root", directory.Client{ID: "appacme", Tenant: "acme", Name: "App"}, jeton.NewSecret("app-secret"))
	must(t, err)
	k, _, err := d.AddAPIKey(ctx, "root", directory.APIKey{Tenant: "acme", Name: "Ann's", Owner: u.ID}, jeton.NewSecret("ann-key"))
	must(t, err)
	return k.ID
}

// endings is what ends the tokens of ann, who logs in through the client app in
// tenant acme with her API key.
var endings = map[string]func(ctx context.Context, d *directory.Directory, key string) error{
	"disable user": func(ctx context.Context, d *directory.Directory, _ string) error {
		return d.SetUserDisabled(ctx, "root", "acme", "ann@example.com", true)
	},
	"remove user": func(ctx context.Context, d *directory.Directory, _ string) error {
		return d.RemoveUser(ctx, "root", "acme", "ann@example.com")
	},
	"set password": func(ctx context.Context, d *directory.Directory, _ string) error {
		return d.SetPassword(ctx, "root", "acme", "ann@example.com", jeton.NewSecret("new"))
	},
	"disable client": func(ctx context.Context, d *directory.Directory, _ string) error {
		return d.SetClientDisabled(ctx, "root", "acme", "appacme", true)
	},
	"remove client": func(ctx context.Context, d *directory.Directory, _ string) error {
		return d.RemoveClient(ctx, "root", "acme", "appacme")
	},
	"disable key": func(ctx context.Context, d *directory.Directory, key string) error {
		return d.SetAPIKeyDisabled(ctx, "root", "acme", key, true)
	},
	"remove key": func(ctx context.Context, d *directory.Directory, key string) error {
		return d.RemoveAPIKey(ctx, "root", "acme", key)
	},
	"disable tenant": func(ctx context.Context, d *directory.Directory, _ string) error {
		return d.SetTenantDisabled(ctx, "root", "acme", true)
	},
	"remove tenant": func(ctx context.Context, d *directory.Directory, _ string) error {
		return d.RemoveTenant(ctx, "root", "acme")
	},
	"replace user": func(ctx context.Context, d *directory.Directory, _ string) error {
		err := d.RemoveUser(ctx, "root", "acme", "ann@example.com")
		if err == nil {
			_, err = d.AddUser(ctx, "root", directory.User{Tenant: "acme", Name: "ann@example.com"}, jeton.NewSecret("new"))
		}
		return err
	},
	"replace client": func(ctx context.Context, d *directory.Directory, _ string) error {
		err := d.RemoveClient(ctx, "root", "acme", "appacme")
		if err == nil {
			_, _, err = d.AddClient(ctx, "root", directory.Client{ID: "appacme", Tenant: "acme", Name: "x"}, jeton.NewSecret("new"))
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
					d := desk(t, slow)
					key := furnish(t, d)
					r := &Realm{directory: d}
					start := time.Duration(random.IntN(350)) * time.Millisecond
					done := make(chan error)
					go func() {
						time.Sleep(start)
						done <- ending(context.Background(), d, key)
					}()
					began := time.Now()
					p, err := r.authenticate(t.Context(), annVars)
					took := time.Since(began)
					must(t, <-done)
					if took < start {
						return // it was over before the ending began
					}
					if err != nil {
						if failed++; !jeton.Refused(err) {
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
				whole := desk(t, memory)
				stepped := desk(t, storetest.Faulty(memory, &faults))
				key := furnish(t, whole)
				var p *party
				var err error
				login := func(d *directory.Directory) { p, err = (&Realm{directory: d}).authenticate(t.Context(), annVars) }
				end := func(d *directory.Directory) { must(t, ending(t.Context(), d, key)) }
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
				if err != nil && !jeton.Refused(err) {
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
func lives(t testing.TB, d *directory.Directory, p *party) bool {
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
