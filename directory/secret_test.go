package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

func TestGeneratedSecrets(t *testing.T) {
	d, ctx := desk(t, nil, nil, Settings{}), t.Context()
	c, secret, err := d.AddClient(ctx, "root", Client{Name: "App"}, jeton.Secret{})
	must(t, err)
	k, value, err := d.AddAPIKey(ctx, "root", APIKey{Name: "Key"}, jeton.Secret{})
	must(t, err)
	for form, text := range map[string]string{
		`^jeton_cs_[0-9a-f]{8}_[0-9a-f]{64}_[0-9a-f]{8}$`:  secret.Reveal(),
		`^jeton_ak_` + k.ID + `_[0-9a-f]{64}_[0-9a-f]{8}$`: value.Reveal(),
		`^[0-9a-f]{24}$`: c.ID,
		`^` + secret.Reveal()[len(secret.Reveal())-8:] + `$`:   c.Secrets[0].ID,
		`^` + value.Reveal()[len(value.Reveal())-8:] + `$`:     k.Secrets[0].ID,
		`^\{[^{}]*"secrets":\[\{"id":"[0-9a-f]{8}",[^{}]*\}\]`: jsonOf(t, c),
	} {
		if !regexp.MustCompile(form).MatchString(text) {
			t.Errorf("got a text that is not like %s", form)
		}
	}
	seen := map[string]bool{}
	for range 100 {
		_, secret, err := d.RotateClient(ctx, "root", "", c.ID)
		must(t, err)
		if seen[secret.Reveal()] {
			t.Fatal("a secret came twice")
		}
		seen[secret.Reveal()] = true
	}
}

// One text is good, and nothing that resembles it.
// What was mistyped does not reach the store.
func TestMalformedSecrets(t *testing.T) {
	memory, ctx := store.NewMemory(), t.Context()
	var faults storetest.Faults
	var calls atomic.Int64
	faults.Decide(func(string, string) storetest.Fault { calls.Add(1); return storetest.Healthy })
	d := desk(t, storetest.Faulty(memory, &faults), nil, Settings{})
	ann, _, _ := furnish(t, d, "")
	c, secret, err := d.AddClient(ctx, "root", Client{Name: "App"}, jeton.Secret{})
	must(t, err)
	_, value, err := d.AddAPIKey(ctx, "root", APIKey{Name: "Key", Owner: ann.ID}, jeton.Secret{})
	must(t, err)
	rapid.Check(t, func(t *rapid.T) {
		right := rapid.SampledFrom([]jeton.Secret{secret, value}).Draw(t, "secret")
		text := []byte(right.Reveal())
		i := rapid.IntRange(6, len(text)-1).Draw(t, "at") // behind jeton_
		switch rapid.IntRange(0, 4).Draw(t, "how") {
		case 0:
			text[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		case 1:
			text = slices.Delete(text, i, i+1)
		case 2:
			text = slices.Insert(text, i, rapid.Byte().Draw(t, "sign"))
		case 3:
			text = text[:i]
		case 4:
			text = append(text, rapid.SliceOfN(rapid.Byte(), 1, 1000).Draw(t, "tail")...)
		}
		wrong := secretOf(string(text))
		if wrong.Equal(right) {
			return // the draw changed nothing
		}
		calls.Store(0)
		work := d.Passwords.work.Load()
		_, err1 := d.AuthenticateClient(ctx, "", c.ID, wrong)
		_, err2 := d.AuthenticateAPIKey(ctx, "", wrong)
		_, err3 := d.MatchAPIKey(ctx, "", ann.ID, wrong)
		if err1 != jeton.InvalidClient || err2 != jeton.InvalidToken || err3 != jeton.InvalidClient {
			t.Fatalf("%v, %v, %v", err1, err2, err3)
		}
		if calls.Load() != 0 || d.Passwords.work.Load() != work {
			t.Fatalf("the store was called %d times, argon2 %d times", calls.Load(), d.Passwords.work.Load()-work)
		}
	})
	// Well-formed, and nobody's.
	for _, id := range []string{ann.ID, randomHex(12), "", "../" + ann.ID} {
		if _, err := d.AuthenticateAPIKey(ctx, "", Generate(apiKeyPrefix, id)); err != jeton.InvalidToken {
			t.Errorf("ID %q: %v", id, err)
		}
	}
	if _, err := d.AuthenticateAPIKey(ctx, "", secret); err != jeton.InvalidToken {
		t.Errorf("a client secret as an API key: %v", err)
	}
	if _, err := d.AuthenticateClient(ctx, "", c.ID, value); err != jeton.InvalidClient {
		t.Errorf("an API key as a client secret: %v", err)
	}
}

// Whatever the order of rotations and endings: the newest secret is
// good, the one before it until it is ended, and no other.
func TestRotation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		d := deskFor(t)
		u, err := d.AddUser(ctx, "root", User{Name: "ann"}, secretOf("x"))
		if err != nil {
			t.Fatal(err)
		}
		var chosen jeton.Secret
		if rapid.Bool().Draw(t, "chosen") {
			chosen = secretOf("chosen-value")
		}
		c, secret, err1 := d.AddClient(ctx, "root", Client{Name: "app"}, chosen)
		k, value, err2 := d.AddAPIKey(ctx, "root", APIKey{Name: "key", Owner: u.ID}, chosen)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		secrets, values, ended := []jeton.Secret{secret}, []jeton.Secret{value}, 0 // those before ended are over
		for range rapid.IntRange(0, 6).Draw(t, "steps") {
			tokens, err := d.Generation(ctx, "client", c.ID)
			if err != nil {
				t.Fatal(err)
			}
			keyTokens, err := d.Generation(ctx, "key", k.ID)
			if err != nil {
				t.Fatal(err)
			}
			before := ended
			if rapid.Bool().Draw(t, "rotate") {
				c, secret, err1 = d.RotateClient(ctx, "root", "", c.ID)
				k, value, err2 = d.RotateAPIKey(ctx, "root", "", k.ID)
				secrets, values = append(secrets, secret), append(values, value)
				ended = max(ended, len(secrets)-2)
			} else {
				err1, err2 = d.EndOldSecret(ctx, "root", "", c.ID), d.EndOldKey(ctx, "root", "", k.ID)
				if ended == len(secrets)-1 {
					if !errors.Is(err1, jeton.InvalidRequest) || !errors.Is(err2, jeton.InvalidRequest) {
						t.Fatalf("ended the only one: %v, %v", err1, err2)
					}
					err1, err2 = nil, nil
				}
				ended = len(secrets) - 1
			}
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			now, err := d.Client(ctx, "", c.ID)
			if err != nil || len(now.Secrets) != len(secrets)-ended {
				t.Fatalf("%d secrets, want %d, %v", len(now.Secrets), len(secrets)-ended, err)
			}
			for i := range secrets {
				_, err1 := d.AuthenticateClient(ctx, "", c.ID, secrets[i])
				_, err2 := d.MatchAPIKey(ctx, "", u.ID, values[i])
				if good := i >= ended; good != (err1 == nil) || good != (err2 == nil) {
					t.Fatalf("secret %d of %d, %d ended: %v, %v", i, len(secrets), ended, err1, err2)
				}
			}
			if n, err := d.Generation(ctx, "client", c.ID); err != nil || n != tokens {
				t.Fatalf("a client's tokens ended with a secret: %d, %v", n, err)
			}
			if n, err := d.Generation(ctx, "key", k.ID); err != nil || (n != keyTokens) != (ended != before) {
				t.Fatalf("a key's generation went from %d to %d, values ended %d, %v", keyTokens, n, ended-before, err)
			}
		}
	})
}

func deskFor(t *rapid.T) *Directory {
	d, err := Open(context.Background(), store.NewMemory(), discard{}, "test", Settings{})
	if err != nil {
		t.Fatal(err)
	}
	d.Passwords = &PasswordHasher{Memory: 8, Time: 1}
	return d
}

// An odd is a way to fail, or to succeed, at authenticating.
type odd struct {
	name string
	try  func(d *Directory) error
	want error
	work int64 // times that argon2 is computed
}

// odds is every way for a directory of TestConstantShape.
func odds(ctx context.Context, ann, dan User, secret jeton.Secret) []odd {
	user := func(tenant, name, pw string) func(*Directory) error {
		return func(d *Directory) error { _, err := d.AuthenticateUser(ctx, tenant, name, secretOf(pw)); return err }
	}
	client := func(tenant, id string, s jeton.Secret) func(*Directory) error {
		return func(d *Directory) error { _, err := d.AuthenticateClient(ctx, tenant, id, s); return err }
	}
	key := func(tenant, owner string, v jeton.Secret) func(*Directory) error {
		return func(d *Directory) error { _, err := d.MatchAPIKey(ctx, tenant, owner, v); return err }
	}
	long := strings.Repeat("x", 5000)
	chosen, other := secretOf("app-secret"), Generate(clientSecretPrefix, "01234567")
	value, otherValue := secretOf("ann-key"), Generate(apiKeyPrefix, randomHex(12))
	return []odd{
		{"user, right", user("acme", "ann@example.com", "ann-password"), nil, 1},
		{"user, wrong", user("acme", "ann@example.com", "wrong"), jeton.InvalidGrant, 1},
		{"user, empty", user("acme", "ann@example.com", ""), jeton.InvalidGrant, 1},
		{"user, long password", user("acme", "ann@example.com", long), jeton.InvalidGrant, 1},
		{"user, unknown", user("acme", "nobody", "ann-password"), jeton.InvalidGrant, 1},
		{"user, nameless", user("acme", "", "ann-password"), jeton.InvalidGrant, 1},
		{"user, long name", user("acme", long, "ann-password"), jeton.InvalidGrant, 1},
		{"user, disabled and right", user("acme", "dan", "dan-password"), jeton.InvalidGrant, 1},
		{"user, disabled and wrong", user("acme", "dan", "wrong"), jeton.InvalidGrant, 1},
		{"user, other tenant", user("empty", "ann@example.com", "ann-password"), jeton.InvalidGrant, 1},
		{"user, disabled tenant", user("off", "ann@example.com", "ann-password"), jeton.InvalidGrant, 1},
		{"user, unknown tenant", user("nowhere", "ann@example.com", "ann-password"), jeton.InvalidGrant, 1},
		{"user, no tenant", user("", "ann@example.com", "ann-password"), jeton.InvalidGrant, 1},
		{"client, chosen form, wrong", client("acme", "appacme", secretOf("wrong")), jeton.InvalidClient, 1},
		{"client, chosen form, empty", client("acme", "appacme", jeton.Secret{}), jeton.InvalidClient, 1},
		{"client, chosen form, unknown", client("acme", "nothing", chosen), jeton.InvalidClient, 1},
		{"client, chosen form, has a generated one", client("acme", "generated", chosen), jeton.InvalidClient, 1},
		{"client, chosen form, disabled and right", client("acme", "disabled", chosen), jeton.InvalidClient, 1},
		{"client, chosen form, disabled and wrong", client("acme", "disabled", secretOf("wrong")), jeton.InvalidClient, 1},
		{"client, chosen form, other tenant", client("empty", "appacme", chosen), jeton.InvalidClient, 1},
		{"client, chosen form, disabled tenant", client("off", "appoff", chosen), jeton.InvalidClient, 1},
		{"client, generated form, right", client("acme", "generated", secret), nil, 0},
		{"client, generated form, wrong", client("acme", "generated", other), jeton.InvalidClient, 0},
		{"client, generated form, unknown", client("acme", "nothing", other), jeton.InvalidClient, 0},
		{"client, generated form, has a chosen one", client("acme", "appacme", other), jeton.InvalidClient, 0},
		{"client, generated form, other tenant", client("empty", "generated", secret), jeton.InvalidClient, 0},
		{"key, chosen form, wrong", key("acme", ann.ID, secretOf("wrong")), jeton.InvalidClient, 1},
		{"key, chosen form, of nobody", key("acme", "", value), jeton.InvalidClient, 1},
		{"key, chosen form, of somebody else", key("acme", dan.ID, value), jeton.InvalidClient, 1},
		{"key, chosen form, other tenant", key("empty", ann.ID, value), jeton.InvalidClient, 1},
		{"key, generated form, wrong", key("acme", ann.ID, otherValue), jeton.InvalidClient, 0},
		{"key, generated form, of nobody", key("acme", "", otherValue), jeton.InvalidClient, 0},
	}
}

// What is computed depends on what is presented, and not
// on what there is. Nor does a secret that is known to be right help those who
// are disabled.
func TestConstantShape(t *testing.T) {
	d, ctx := desk(t, nil, nil, Settings{Tenanted: true}), t.Context()
	ann, _, _ := furnish(t, d, "acme")
	furnish(t, d, "off")
	_, err := d.AddTenant(ctx, "root", Tenant{ID: "empty"})
	must(t, err)
	dan, err := d.AddUser(ctx, "root", User{Tenant: "acme", Name: "dan"}, secretOf("dan-password"))
	must(t, err)
	_, _, err = d.AddClient(ctx, "root", Client{ID: "disabled", Tenant: "acme", Name: "x"}, secretOf("app-secret"))
	must(t, err)
	_, secret, err := d.AddClient(ctx, "root", Client{ID: "generated", Tenant: "acme", Name: "x"}, jeton.Secret{})
	must(t, err)
	// All of them were right before, and are remembered.
	for _, id := range []string{"appacme", "disabled"} {
		_, err := d.AuthenticateClient(ctx, "acme", id, secretOf("app-secret"))
		must(t, err)
	}
	_, err = d.AuthenticateClient(ctx, "off", "appoff", secretOf("app-secret"))
	must(t, err)
	_, err = d.MatchAPIKey(ctx, "acme", ann.ID, secretOf("ann-key"))
	must(t, err)
	must(t, d.SetUserDisabled(ctx, "root", "acme", "dan", true))
	must(t, d.SetClientDisabled(ctx, "root", "acme", "disabled", true))
	must(t, d.SetTenantDisabled(ctx, "root", "off", true))
	for _, o := range odds(ctx, ann, dan, secret) {
		for range 2 {
			before := d.Passwords.work.Load()
			if err := o.try(d); err != o.want {
				t.Errorf("%s: %v, want %v", o.name, err, o.want)
			}
			if work := d.Passwords.work.Load() - before; work != o.work {
				t.Errorf("%s: argon2 was computed %d times, want %d", o.name, work, o.work)
			}
		}
	}
}

// TestConstantTime: what takes the time is as much for a name that does not exist
// as for one that does. It is counted, since a clock says on a busy machine what
// else runs: the memory that argon2 passes over is what it costs.
func TestConstantTime(t *testing.T) {
	d, ctx := desk(t, nil, nil, Settings{}), t.Context()
	d.Passwords = &PasswordHasher{Memory: 64, Time: 3} // none of them the default
	furnish(t, d, "")
	_, err := d.AddUser(ctx, "root", User{Name: "dan"}, secretOf("dan-password"))
	must(t, err)
	must(t, d.SetUserDisabled(ctx, "root", "", "dan", true))
	long := secretOf(strings.Repeat("x", 5000))
	for name, try := range map[string]func() error{
		"user":            func() error { _, err := d.AuthenticateUser(ctx, "", "ann@example.com", secretOf("wrong")); return err },
		"user, long":      func() error { _, err := d.AuthenticateUser(ctx, "", "ann@example.com", long); return err },
		"nobody":          func() error { _, err := d.AuthenticateUser(ctx, "", "nobody", secretOf("wrong")); return err },
		"nobody, long":    func() error { _, err := d.AuthenticateUser(ctx, "", "nobody", long); return err },
		"disabled":        func() error { _, err := d.AuthenticateUser(ctx, "", "dan", secretOf("dan-password")); return err },
		"client":          func() error { _, err := d.AuthenticateClient(ctx, "", "app", secretOf("wrong")); return err },
		"nobody's client": func() error { _, err := d.AuthenticateClient(ctx, "", "nothing", secretOf("wrong")); return err },
	} {
		before := d.Passwords.passed.Load()
		if err := try(); !jeton.Refused(err) {
			t.Fatal(err)
		}
		if passed := d.Passwords.passed.Load() - before; passed != 64*3 {
			t.Errorf("%s: argon2 passed over %d KiB, want %d", name, passed, 64*3)
		}
	}
}

func TestProven(t *testing.T) {
	st := store.NewMemory()
	d, ctx := desk(t, st, nil, Settings{}), t.Context()
	ann, app, key := furnish(t, d, "")
	work := func(want int64, good bool, try func() error) {
		t.Helper()
		before := d.Passwords.work.Load()
		if err := try(); good != (err == nil) {
			t.Errorf("%v", err)
		}
		if got := d.Passwords.work.Load() - before; got != want {
			t.Errorf("argon2 was computed %d times, want %d", got, want)
		}
	}
	client := func(s string) func() error {
		return func() error { _, err := d.AuthenticateClient(ctx, "", app.ID, secretOf(s)); return err }
	}
	match := func(s string) func() error {
		return func() error { _, err := d.MatchAPIKey(ctx, "", ann.ID, secretOf(s)); return err }
	}
	for _, try := range []func(string) func() error{client, match} {
		right := "app-secret"
		if try(right)() != nil {
			right = "ann-key"
			work(1, true, try(right))
		}
		for range 3 {
			work(0, true, try(right))
			work(1, false, try("wrong"))
			work(1, false, try(right+"\x00"))
		}
	}
	// Whatever changes the record is looked at.
	_, _, err := d.RotateClient(ctx, "root", "", app.ID)
	must(t, err)
	work(1, true, client("app-secret"))
	work(0, true, client("app-secret"))
	must(t, d.EndOldSecret(ctx, "root", "", app.ID))
	work(1, false, client("app-secret"))
	must(t, d.SetAPIKeyDisabled(ctx, "root", "", key.ID, true))
	work(1, false, match("ann-key"))
	must(t, d.SetAPIKeyDisabled(ctx, "root", "", key.ID, false))
	work(1, true, match("ann-key"))
	must(t, d.RemoveClient(ctx, "root", "", app.ID))
	_, _, err = d.AddClient(ctx, "root", Client{ID: app.ID, Name: "x"}, secretOf("other-secret"))
	must(t, err)
	work(1, false, client("app-secret"))
	// It keeps digests of a key of its own, and not without end.
	p := new(proven)
	for i := range 3 * maxProven {
		p.add(store.Record{Key: "k", Version: "1"}, secretOf(fmt.Sprint("secret-", i)), "id")
	}
	if n := len(p.young) + len(p.old); n > 2*maxProven {
		t.Errorf("%d are remembered", n)
	}
	if _, ok := p.find(store.Record{Key: "k", Version: "1"}, secretOf(fmt.Sprint("secret-", 3*maxProven-1))); !ok {
		t.Error("the newest is forgotten")
	}
	if _, ok := p.find(store.Record{Key: "k", Version: "2"}, secretOf(fmt.Sprint("secret-", 3*maxProven-1))); ok {
		t.Error("another version of the record is taken for the same")
	}
	if strings.Contains(fmt.Sprint(p.young, p.old), "secret-") {
		t.Error("secrets are kept as they are")
	}
}

// A store that fails is never a wrong secret, whichever call it is.
func TestAuthenticateWithoutStore(t *testing.T) {
	memory, ctx := store.NewMemory(), t.Context()
	var faults storetest.Faults
	d := desk(t, storetest.Faulty(memory, &faults), nil, Settings{Tenanted: true})
	ann, app, _ := furnish(t, d, "acme")
	_, value, err := d.AddAPIKey(ctx, "root", APIKey{Tenant: "acme", Name: "x", Owner: ann.ID}, jeton.Secret{})
	must(t, err)
	for name, try := range map[string]func() error{
		"user": func() error {
			_, err := d.AuthenticateUser(ctx, "acme", ann.Name, secretOf("ann-password"))
			return err
		},
		"nobody": func() error { _, err := d.AuthenticateUser(ctx, "acme", "nobody", secretOf("x")); return err },
		"client": func() error {
			_, err := d.AuthenticateClient(ctx, "acme", app.ID, secretOf("app-secret"))
			return err
		},
		"key":   func() error { _, err := d.AuthenticateAPIKey(ctx, "", value); return err },
		"match": func() error { _, err := d.MatchAPIKey(ctx, "acme", ann.ID, secretOf("ann-key")); return err },
		"value": func() error { _, err := d.MatchAPIKey(ctx, "acme", ann.ID, value); return err },
		"count": func() error { _, err := d.Generation(ctx, "user", ann.ID); return err },
		"raise": func() error { _, err := d.Raise(ctx, "user", ann.ID); return err },
	} {
		for failing := 1; ; failing++ {
			calls := 0
			faults.Decide(func(string, string) storetest.Fault {
				if calls++; calls == failing {
					return storetest.Down
				}
				return storetest.Healthy
			})
			err := try()
			if calls < failing {
				if failing == 1 {
					t.Errorf("%s: the store was not called", name)
				}
				break
			}
			if !errors.Is(err, storetest.ErrFault) || jeton.Refused(err) || !strings.HasPrefix(err.Error(), "directory: ") {
				t.Errorf("%s, call %d of the store failed: %v", name, failing, err)
			}
		}
		faults.Set(storetest.Healthy)
	}
	// A record that is not readable neither.
	r, err := memory.Get(ctx, d.userKey("acme", ann.Name))
	must(t, err)
	r.Value = []byte(`{"v":2,"password":"canary"}`)
	_, err = memory.Put(ctx, r)
	must(t, err)
	if _, err = d.AuthenticateUser(ctx, "acme", ann.Name, secretOf("ann-password")); err == nil || jeton.Refused(err) || strings.Contains(err.Error(), "canary") {
		t.Errorf("a record of another version: %v", err)
	}
}

// discard is a log that keeps nothing.
type discard struct{ audit.Log }

func (discard) Append(context.Context, audit.Entry) error { return nil }

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}
