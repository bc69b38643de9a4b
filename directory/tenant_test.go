package directory

import (
	"errors"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

func TestTenantsAreApart(t *testing.T) {
	st := store.NewMemory()
	d, ctx := desk(t, st, nil, Settings{Tenanted: true}), t.Context()
	ann, app, key := furnish(t, d, "acme")
	other, _, _ := furnish(t, d, "globex")
	if ann.ID == other.ID {
		t.Error("two users share an ID")
	}
	_, _, err := d.AddClient(ctx, "root", Client{ID: "appacme", Tenant: "globex", Name: "x"}, jeton.Secret{})
	if !errors.Is(err, ErrExists) {
		t.Errorf("a client ID of another tenant: %v, want ErrExists", err)
	}
	_, _, err = d.AddAPIKey(ctx, "root", APIKey{Tenant: "globex", Name: "x", Owner: ann.ID}, jeton.Secret{})
	if !errors.Is(err, jeton.InvalidRequest) {
		t.Errorf("a key of another tenant's user: %v", err)
	}
	generated, value, err := d.AddAPIKey(ctx, "root", APIKey{Tenant: "acme", Name: "x"}, jeton.Secret{})
	must(t, err)
	check := func(tenant string, good bool) {
		t.Helper()
		_, err1 := d.AuthenticateClient(ctx, tenant, app.ID, secretOf("app-secret"))
		_, err2 := d.MatchAPIKey(ctx, tenant, ann.ID, secretOf("ann-key"))
		_, err3 := d.AuthenticateAPIKey(ctx, tenant, value)
		u, err4 := d.AuthenticateUser(ctx, tenant, "ann@example.com", secretOf("ann-password"))
		if u.ID != ann.ID && err4 == nil {
			err4 = jeton.InvalidGrant // the other Ann
		}
		if good != (err1 == nil) || good != (err2 == nil) || good != (err3 == nil) || good != (err4 == nil) {
			t.Errorf("tenant %q, good %v: %v, %v, %v, %v", tenant, good, err1, err2, err3, err4)
		}
		if !good && (err1 != jeton.InvalidClient || err2 != jeton.InvalidClient || err3 != jeton.InvalidToken || err4 != jeton.InvalidGrant) {
			t.Errorf("tenant %q: %v, %v, %v", tenant, err1, err2, err3)
		}
	}
	check("acme", true)
	check("globex", false)
	check("nowhere", false)
	if k, err := d.AuthenticateAPIKey(ctx, "", value); err != nil || k.ID != generated.ID || k.Tenant != "acme" {
		t.Errorf("without a tenant: %+v, %v", k, err)
	}
	for name, do := range map[string]func() error{
		"client": func() error { return d.SetClientDisabled(ctx, "root", "globex", app.ID, true) },
		"secret": func() error { _, _, err := d.RotateClient(ctx, "root", "globex", app.ID); return err },
		"remove": func() error { return d.RemoveClient(ctx, "root", "globex", app.ID) },
		"key":    func() error { return d.RemoveAPIKey(ctx, "root", "globex", key.ID) },
		"value":  func() error { _, _, err := d.RotateAPIKey(ctx, "root", "globex", key.ID); return err },
	} {
		if err := do(); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s through another tenant: %v", name, err)
		}
	}
	must(t, d.SetTenantDisabled(ctx, "root", "acme", true))
	check("acme", false)
	if _, err := d.AuthenticateAPIKey(ctx, "", value); err != jeton.InvalidToken {
		t.Errorf("a key of a disabled tenant: %v", err)
	}
	must(t, d.SetTenantDisabled(ctx, "root", "acme", false))
	check("acme", true)
	before, err := d.Generation(ctx, "tenant", "acme")
	must(t, err)
	must(t, d.RemoveTenant(ctx, "root", "acme"))
	check("acme", false)
	_, err = d.AddTenant(ctx, "root", Tenant{ID: "acme"})
	must(t, err)
	check("acme", false)
	if after, err := d.Generation(ctx, "tenant", "acme"); err != nil || after <= before {
		t.Errorf("the tenant's generation went from %d to %d, %v", before, after, err)
	}
	if _, err := d.AuthenticateUser(ctx, "globex", "ann@example.com", secretOf("ann-password")); err != nil {
		t.Errorf("the other tenant: %v", err)
	}
}

// Whoever is added while the tenant goes is not there when it is added again:
// neither who is added just before it is deleted, nor who found it there and is
// stored just after.
func TestAddWhileTenantGoes(t *testing.T) {
	ctx := t.Context()
	adds := map[string]func(d *Directory) error{
		"user": func(d *Directory) error {
			_, err := d.AddUser(ctx, "root", User{Tenant: "acme", Name: "bob"}, secretOf("x"))
			return err
		},
		"client": func(d *Directory) error {
			_, _, err := d.AddClient(ctx, "root", Client{Tenant: "acme", Name: "x"}, jeton.Secret{})
			return err
		},
		"key": func(d *Directory) error {
			_, _, err := d.AddAPIKey(ctx, "root", APIKey{Tenant: "acme", Name: "x"}, jeton.Secret{})
			return err
		},
	}
	for kind, add := range adds {
		for _, late := range []bool{false, true} {
			memory := store.NewMemory()
			undisturbed := desk(t, memory, nil, Settings{Tenanted: true})
			_, err := undisturbed.AddTenant(ctx, "root", Tenant{ID: "acme"})
			must(t, err)
			var faults storetest.Faults
			d := desk(t, storetest.Faulty(memory, &faults), nil, Settings{Tenanted: true})
			// before runs do when d is about to do op at the first key that begins so.
			before := func(op, prefix string, do func()) {
				faults.Decide(func(o, key string) storetest.Fault {
					if o == op && strings.HasPrefix(key, prefix) {
						faults.Set(storetest.Healthy)
						do()
					}
					return storetest.Healthy
				})
			}
			if late {
				before("put", "realm/test/"+kind+"/", func() { must(t, undisturbed.RemoveTenant(ctx, "root", "acme")) })
				if err := add(d); !errors.Is(err, ErrNotFound) {
					t.Errorf("%s, stored after the tenant went: %v", kind, err)
				}
			} else {
				before("delete", "realm/test/tenant/", func() { must(t, add(undisturbed)) })
				must(t, d.RemoveTenant(ctx, "root", "acme"))
			}
			for _, line := range dump(t, memory) {
				if !strings.Contains(line, "/generation/") && !strings.Contains(line, "/pepper") {
					t.Errorf("%s, late %v: left over: %s", kind, late, line)
				}
			}
		}
	}
}
