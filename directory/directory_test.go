package directory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// desk opens a directory whose passwords cost next to nothing. Nil store and
// log are new ones in memory.
func desk(t testing.TB, st store.Store, log audit.Log, settings Settings) *Directory {
	t.Helper()
	if st == nil {
		st = store.NewMemory()
	}
	if log == nil {
		log = audit.NewMemory()
	}
	d, err := Open(context.Background(), st, log, "test", settings)
	if err != nil {
		t.Fatal(err)
	}
	d.Passwords = &PasswordHasher{Memory: 8, Time: 1}
	return d
}

// must ends the test if err is not nil.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dump returns every record of the store as text, in the order of the keys.
func dump(t testing.TB, st store.Store) []string {
	t.Helper()
	list, err := st.List(context.Background(), "", "", 100_000)
	must(t, err)
	lines := make([]string, 0, len(list))
	for _, r := range list {
		lines = append(lines, r.Key+" "+r.Version+" "+string(r.Value))
	}
	return lines
}

var secretOf = jeton.NewSecret

// furnish puts a tenant with one of each in, whatever the realm: user ann,
// client app with the chosen secret app-secret, and her API key of the value
// ann-key. It returns the ID of the key.
func furnish(t testing.TB, d *Directory, tenant string) (u User, c Client, k APIKey) {
	t.Helper()
	ctx := context.Background()
	if tenant != "" {
		_, err := d.AddTenant(ctx, "root", Tenant{ID: tenant})
		must(t, err)
	}
	u, err := d.AddUser(ctx, "root", User{Tenant: tenant, Name: "Ann@example.com"}, secretOf("ann-password"))
	must(t, err)
	c, _, err = d.AddClient(ctx, "root", Client{ID: "app" + tenant, Tenant: tenant, Name: "App"}, secretOf("app-secret"))
	must(t, err)
	k, _, err = d.AddAPIKey(ctx, "root", APIKey{Tenant: tenant, Name: "Ann's", Owner: u.ID}, secretOf("ann-key"))
	must(t, err)
	return u, c, k
}

func TestFold(t *testing.T) {
	for _, same := range [][]string{
		{"ann@example.com", "Ann@Example.COM", " ann@example.com\t", "ａｎｎ@example.com"},
		{"müller", "MÜLLER", "mu\u0308ller", "\u00a0Müller\u3000"},
		{"strasse", "straße", "STRASSE", "STRAẞE"},
		{"σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφοσ"},
		{"office", "oﬃce"},
		{""}, {"a b"}, {"ann"}, {"anna"},
	} {
		for _, name := range same {
			if Fold(name) != Fold(same[0]) {
				t.Errorf("Fold(%q) = %q, Fold(%q) = %q", name, Fold(name), same[0], Fold(same[0]))
			}
		}
	}
	if Fold("ann") == Fold("anna") || Fold("a b") == Fold("ab") {
		t.Error("different names fold to the same")
	}
	longest := strings.Repeat("\ufdfa", 300) // each is eighteen letters
	for _, name := range []string{longest, strings.Repeat("x", 1<<20), strings.Repeat("é", 600), strings.Repeat("x", 1023) + " y"} {
		if got := Fold(name); len(got) > 4*maxName || Fold(got) != got {
			t.Errorf("a name of %d bytes folds to %d, and that to %d", len(name), len(got), len(Fold(got)))
		}
	}
	texts := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("aAßẞİıſK\u0345\u0308\ufdfa \u00a0ﬃΣς")), 0, 200, -1),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		name := texts.Draw(t, "name")
		once := Fold(name)
		if twice := Fold(once); twice != once {
			t.Fatalf("Fold(%q) = %q, and of that %q", name, once, twice)
		}
		if got := Fold("  " + name + "\n"); got != once {
			t.Fatalf("with spaces around it %q, without %q", got, once)
		}
	})
}

// What is wrong is said, and said what to do; nothing is written.
func TestValidation(t *testing.T) {
	ctx := t.Context()
	pw := secretOf("password")
	st, log := store.NewMemory(), audit.NewMemory()
	plain := desk(t, st, log, Settings{})
	u, _, _ := furnish(t, plain, "")
	ordered := desk(t, store.NewMemory(), log, Settings{Scopes: []string{"guest", "agent"}, ScopeRequiredForKeys: true})
	tenanted := desk(t, st, log, Settings{Tenanted: true})
	user := func(d *Directory, u User, pw jeton.Secret) error { _, err := d.AddUser(ctx, "root", u, pw); return err }
	client := func(d *Directory, c Client, s string) error {
		_, _, err := d.AddClient(ctx, "root", c, secretOf(s))
		return err
	}
	key := func(d *Directory, k APIKey, s string) error {
		_, _, err := d.AddAPIKey(ctx, "root", k, secretOf(s))
		return err
	}
	tenant := func(d *Directory, id string) error { _, err := d.AddTenant(ctx, "root", Tenant{ID: id}); return err }
	before, entries := dump(t, st), list(t, log)
	for want, try := range map[string]func() error{
		"name of the user is empty":         func() error { return user(plain, User{Name: " "}, pw) },
		"name of the user has 257 bytes":    func() error { return user(plain, User{Name: strings.Repeat("x", 257)}, pw) },
		`does not print, '\n'`:              func() error { return user(plain, User{Name: "a\nb"}, pw) },
		`does not print, '\u202e'`:          func() error { return user(plain, User{Name: "a\u202eb"}, pw) },
		`does not print, '\x00'`:            func() error { return client(plain, Client{Name: "a\x00"}, "") },
		"name of the user is not UTF-8":     func() error { return user(plain, User{Name: "a\xff"}, pw) },
		"password is empty":                 func() error { return user(plain, User{Name: "bob"}, jeton.Secret{}) },
		"password has 1025 bytes":           func() error { return user(plain, User{Name: "bob"}, secretOf(strings.Repeat("x", 1025))) },
		`"Ann@Example.com" already`:         func() error { return user(plain, User{Name: "Ann@Example.com"}, pw) },
		`"app" already`:                     func() error { return client(plain, Client{ID: "app", Name: "x"}, "") },
		"there are guest, agent":            func() error { return user(ordered, User{Name: "bob", Scope: jeton.Scope{"admin"}}, pw) },
		"at least one scope, of guest":      func() error { return key(ordered, APIKey{Name: "k"}, "") },
		"RFC 6749 section 3.3":              func() error { return user(plain, User{Name: "bob", Scope: jeton.Scope{"a b"}}, pw) },
		"needs an owner":                    func() error { return key(plain, APIKey{Name: "k"}, "chosen") },
		"no user with the ID":               func() error { return key(plain, APIKey{Name: "k", Owner: "nobody"}, "") },
		"as only generated ones do":         func() error { return client(plain, Client{Name: "x"}, "jeton_cs_mine") },
		"API key begins with jeton_":        func() error { return key(plain, APIKey{Name: "x", Owner: u.ID}, "jeton_mine") },
		"not an absolute URI":               func() error { return client(plain, Client{Name: "x", Resources: []string{"/api"}}, "") },
		`"https://a/#b" is not an absolute`: func() error { return client(plain, Client{Name: "x", Resources: []string{"https://a/#b"}}, "") },
		"client ID has a sign at byte 1":    func() error { return client(plain, Client{ID: "a b", Name: "x"}, "") },
		"leave the tenant out":              func() error { return user(plain, User{Tenant: "acme", Name: "bob"}, pw) },
		"this realm has no tenants":         func() error { return tenant(plain, "acme") },
		"the tenant is missing":             func() error { return client(tenanted, Client{Name: "x"}, "") },
		`no tenant "acme"; add it first`:    func() error { return user(tenanted, User{Tenant: "acme", Name: "bob"}, pw) },
		`tenant ID "a/b" does not stand`:    func() error { return tenant(tenanted, "a/b") },
		`tenant ID ".." does not stand`:     func() error { return tenant(tenanted, "..") },
		"only one secret":                   func() error { return plain.EndOldSecret(ctx, "root", "", "app") },
	} {
		err := try()
		if !errors.Is(err, jeton.InvalidRequest) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("got %v, want an error about: %s", err, want)
		}
	}
	if !slices.Equal(dump(t, st), before) || list(t, log) != entries {
		t.Error("a refused call wrote something")
	}
	if err := user(plain, User{Name: "ANN@example.com"}, pw); !errors.Is(err, ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
}

func list(t testing.TB, log audit.Log) string {
	t.Helper()
	entries, err := log.List(context.Background(), audit.Query{Limit: 10_000})
	must(t, err)
	return fmt.Sprintf("%+v", entries)
}

func TestNotFound(t *testing.T) {
	d, ctx := desk(t, nil, nil, Settings{}), t.Context()
	_, err1 := d.User(ctx, "", "nobody")
	_, err2 := d.Client(ctx, "", "nothing")
	_, err3 := d.APIKey(ctx, "", "nothing")
	_, err4 := d.Tenant(ctx, "nowhere")
	_, err5 := d.UserByID(ctx, "nobody")
	_, _, err6 := d.RotateClient(ctx, "root", "", "nothing")
	_, _, err7 := d.RotateAPIKey(ctx, "root", "", "nothing")
	for i, err := range []error{
		err1, err2, err3, err4, err5, err6, err7,
		d.SetUserDisabled(ctx, "root", "", "nobody", true), d.RemoveUser(ctx, "root", "", "nobody"),
		d.SetPassword(ctx, "root", "", "nobody", secretOf("x")),
		d.SetClientDisabled(ctx, "root", "", "nothing", true), d.RemoveClient(ctx, "root", "", "nothing"),
		d.EndOldSecret(ctx, "root", "", "nothing"),
		d.SetAPIKeyDisabled(ctx, "root", "", "nothing", true), d.RemoveAPIKey(ctx, "root", "", "nothing"),
		d.SetTenantDisabled(ctx, "root", "nowhere", true), d.RemoveTenant(ctx, "root", "nowhere"),
	} {
		if !errors.Is(err, ErrNotFound) || !errors.Is(err, store.ErrNotFound) || !strings.HasPrefix(err.Error(), "directory: ") {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// changes is every administrative call, in an order in which each can be done.
// The owner of the key is the user bob.
func changes(ctx context.Context, d *Directory) []func() error {
	user := User{Tenant: "acme", Name: "bob"}
	var key APIKey
	return []func() error{
		func() error { _, err := d.AddTenant(ctx, "root", Tenant{ID: "acme"}); return err },
		func() (err error) {
			user, err = d.AddUser(ctx, "root", User{Tenant: "acme", Name: "bob"}, secretOf("canary-1"))
			return err
		},
		func() error { return d.SetPassword(ctx, "root", "acme", "bob", secretOf("canary-2")) },
		func() error { return d.SetUserDisabled(ctx, "root", "acme", "bob", true) },
		func() error { return d.SetUserDisabled(ctx, "root", "acme", "bob", false) },
		func() error {
			_, _, err := d.AddClient(ctx, "root", Client{ID: "app", Tenant: "acme", Name: "App"}, secretOf("canary-3"))
			return err
		},
		func() error { _, _, err := d.RotateClient(ctx, "root", "acme", "app"); return err },
		func() error { return d.EndOldSecret(ctx, "root", "acme", "app") },
		func() error { return d.SetClientDisabled(ctx, "root", "acme", "app", true) },
		func() error { return d.SetClientDisabled(ctx, "root", "acme", "app", false) },
		func() (err error) {
			key, _, err = d.AddAPIKey(ctx, "root", APIKey{Tenant: "acme", Name: "k", Owner: user.ID}, secretOf("canary-4"))
			return err
		},
		func() error { _, _, err := d.RotateAPIKey(ctx, "root", "acme", key.ID); return err },
		func() error { return d.EndOldKey(ctx, "root", "acme", key.ID) },
		func() error { return d.SetAPIKeyDisabled(ctx, "root", "acme", key.ID, true) },
		func() error { return d.SetAPIKeyDisabled(ctx, "root", "acme", key.ID, false) },
		func() error { return d.RemoveAPIKey(ctx, "root", "acme", key.ID) },
		func() error { return d.RemoveClient(ctx, "root", "acme", "app") },
		func() error { return d.RemoveUser(ctx, "root", "acme", "bob") },
		func() error { return d.SetTenantDisabled(ctx, "root", "acme", true) },
		func() error { return d.SetTenantDisabled(ctx, "root", "acme", false) },
		func() error { return d.RemoveTenant(ctx, "root", "acme") },
	}
}

// failingLog is an audit log that cannot be written while fail is set.
type failingLog struct {
	audit.Log
	fail bool
}

func (l *failingLog) Append(ctx context.Context, e audit.Entry) error {
	if l.fail {
		return errors.New("disk full")
	}
	return l.Log.Append(ctx, e)
}

// What cannot be written down is not done; what is done is written down with
// who did it, and without secrets. So it is with the store.
func TestChangesAreAudited(t *testing.T) {
	st, log := store.NewMemory(), &failingLog{Log: audit.NewMemory()}
	d := desk(t, st, log, Settings{Tenanted: true})
	for i, do := range changes(t.Context(), d) {
		log.fail = true
		before := dump(t, st)
		if err := do(); err == nil || jeton.Refused(err) || errors.Is(err, ErrNotFound) {
			t.Fatalf("call %d without a log: %v", i, err)
		}
		if after := dump(t, st); !slices.Equal(before, after) {
			t.Errorf("call %d without a log left %q, before it were %q", i, after, before)
		}
		log.fail = false
		entries := list(t, log)
		must(t, do())
		if list(t, log) == entries {
			t.Errorf("call %d is not in the log", i)
		}
		if all := fmt.Sprint(dump(t, st), list(t, log)); strings.Contains(all, "canary") || strings.Contains(all, "jeton_") {
			t.Errorf("after call %d a secret is in the store or the log", i)
		}
	}
	entries, err := log.List(t.Context(), audit.Query{Limit: 1000})
	must(t, err)
	for _, e := range entries {
		if e.Actor != "root" || e.Outcome != "ok" || e.Target == "" || e.Realm != "test" {
			t.Errorf("entry %+v", e)
		}
	}
	for _, line := range dump(t, st) {
		if !strings.Contains(line, "/generation/") && !strings.Contains(line, "/pepper") {
			t.Errorf("everything was removed, but %s", line)
		}
	}
}

func TestPages(t *testing.T) {
	d, ctx := desk(t, nil, nil, Settings{Tenanted: true}), t.Context()
	_, _, _ = furnish(t, d, "acme")
	_, _, _ = furnish(t, d, "acme2") // sorts behind acme, and its members among those of acme
	want := []string{"Ann@example.com"}
	for _, name := range []string{"a b", "a/b", "é", "ZOE", "bob", "%2f"} {
		_, err := d.AddUser(ctx, "root", User{Tenant: "acme", Name: name}, secretOf("x"))
		must(t, err)
		_, _, err = d.AddClient(ctx, "root", Client{Tenant: "acme", Name: name}, jeton.Secret{})
		must(t, err)
		want = append(want, name)
	}
	for limit := 1; limit < 9; limit++ {
		var users, clients []string
		for after := ""; ; {
			page, err := d.Users(ctx, "acme", after, limit)
			must(t, err)
			for _, u := range page {
				users, after = append(users, u.Name), u.Name
			}
			if len(page) < limit {
				break
			}
		}
		for after := ""; ; {
			page, err := d.Clients(ctx, "acme", after, limit)
			must(t, err)
			for _, c := range page {
				clients, after = append(clients, c.Name), c.ID
			}
			if len(page) < limit {
				break
			}
		}
		slices.Sort(want)
		slices.Sort(users)
		if slices.Sort(clients); !slices.Equal(users, want) || len(clients) != 7 {
			t.Errorf("by %d: users %q, clients %q", limit, users, clients)
		}
	}
	tenants, err := d.Tenants(ctx, "acme", 5)
	if err != nil || len(tenants) != 1 || tenants[0].ID != "acme2" {
		t.Errorf("tenants %v, %v", tenants, err)
	}
	keys, err := d.APIKeys(ctx, "acme2", "", 5)
	if err != nil || len(keys) != 1 || keys[0].Tenant != "acme2" {
		t.Errorf("keys %v, %v", keys, err)
	}
}

// Of many who add the same, one does.
func TestAddAtOnce(t *testing.T) {
	memory := store.NewMemory()
	d := desk(t, storetest.Slow(memory, func() time.Duration { return time.Millisecond / 4 }), nil, Settings{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	added := map[string]int{}
	for i := range 16 {
		wg.Go(func() {
			_, err1 := d.AddUser(t.Context(), "root", User{Name: []string{"bob", "BOB"}[i%2]}, secretOf("x"))
			_, _, err2 := d.AddClient(t.Context(), "root", Client{ID: "app", Name: "x"}, jeton.Secret{})
			mu.Lock()
			defer mu.Unlock()
			for what, err := range map[string]error{"user": err1, "client": err2} {
				if err == nil {
					added[what]++
				} else if !errors.Is(err, ErrExists) {
					t.Error(what, err)
				}
			}
		})
	}
	wg.Wait()
	if added["user"] != 1 || added["client"] != 1 || len(dump(t, memory)) != 4 {
		t.Errorf("added %v; the store has %q", added, dump(t, memory))
	}
}

// What one process wrote the next one knows, and two that start at once agree.
func TestRestart(t *testing.T) {
	st := store.NewMemory()
	slow := storetest.Slow(st, func() time.Duration { return time.Millisecond })
	directories := make([]*Directory, 4)
	var wg sync.WaitGroup
	for i := range directories {
		wg.Go(func() { directories[i] = desk(t, slow, nil, Settings{}) })
	}
	wg.Wait()
	ctx := t.Context()
	ann, app, _ := furnish(t, directories[0], "")
	_, secret, err := directories[1].RotateClient(ctx, "root", "", app.ID)
	must(t, err)
	_, value, err := directories[2].AddAPIKey(ctx, "root", APIKey{Name: "x"}, jeton.Secret{})
	must(t, err)
	_, err = directories[0].Raise(ctx, "grant", "g")
	must(t, err)
	for i, d := range append(directories, desk(t, st, nil, Settings{})) {
		u, err1 := d.AuthenticateUser(ctx, "", "ANN@example.com ", secretOf("ann-password"))
		_, err2 := d.AuthenticateClient(ctx, "", app.ID, secretOf("app-secret"))
		_, err3 := d.AuthenticateClient(ctx, "", app.ID, secret)
		_, err4 := d.AuthenticateAPIKey(ctx, "", value)
		_, err5 := d.MatchAPIKey(ctx, "", ann.ID, secretOf("ann-key"))
		n, err6 := d.Generation(ctx, "grant", "g")
		if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil || u.ID != ann.ID || n != 1 {
			t.Errorf("directory %d: %v, generation %d", i, err, n)
		}
	}
}

// A user's keys are good as long as the user is.
func TestOwnedKeys(t *testing.T) {
	st := store.NewMemory()
	d, ctx := desk(t, st, nil, Settings{}), t.Context()
	ann, _, _ := furnish(t, d, "")
	k, value, err := d.AddAPIKey(ctx, "root", APIKey{Name: "second", Owner: ann.ID}, jeton.Secret{})
	must(t, err)
	_, _, err = d.AddAPIKey(ctx, "root", APIKey{Name: "third", Owner: ann.ID}, secretOf("third-key"))
	must(t, err)
	good := func() (n int) {
		for _, value := range []jeton.Secret{value, secretOf("ann-key"), secretOf("third-key")} {
			if _, err := d.MatchAPIKey(ctx, "", ann.ID, value); err == nil {
				n++
			}
			for _, owner := range []string{"", "nobody", ann.ID + "/", k.ID} {
				if _, err := d.MatchAPIKey(ctx, "", owner, value); err != jeton.InvalidClient {
					t.Errorf("owner %q: %v", owner, err)
				}
			}
		}
		if _, err := d.AuthenticateAPIKey(ctx, "", value); err == nil {
			n++
		}
		return n
	}
	if got := good(); got != 4 {
		t.Errorf("%d of 4 are good", got)
	}
	if _, err := d.AuthenticateAPIKey(ctx, "", secretOf("ann-key")); err != jeton.InvalidToken {
		t.Errorf("a chosen key by itself: %v", err)
	}
	must(t, d.SetUserDisabled(ctx, "root", "", ann.Name, true))
	if got := good(); got != 0 {
		t.Errorf("of a disabled user %d are good", got)
	}
	must(t, d.SetUserDisabled(ctx, "root", "", ann.Name, false))
	must(t, d.SetAPIKeyDisabled(ctx, "root", "", k.ID, true))
	if got := good(); got != 2 {
		t.Errorf("with one disabled %d are good, want 2", got)
	}
	must(t, d.RemoveUser(ctx, "root", "", ann.Name))
	if got := good(); got != 0 {
		t.Errorf("of a removed user %d are good", got)
	}
	if keys, err := d.APIKeys(ctx, "", "", 10); err != nil || len(keys) != 0 {
		t.Errorf("left over: %v, %v", keys, err)
	}
}
