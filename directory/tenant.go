package directory

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jetonhq/jeton/store"
)

// A Tenant is a customer of the API with users, clients and API keys of its
// own. One that is disabled disables all of them.
type Tenant struct {
	ID       string    `json:"id"` // as it stands in paths; empty in AddTenant: generated
	Name     string    `json:"name"`
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created"`
}

// Stored at realm/<realm>/tenant/<id>.
type tenantRecord struct {
	V int `json:"v"`
	Tenant
}

func (d *Directory) tenantKey(id string) string { return d.key("tenant", id) }

// AddTenant adds a tenant and returns it with its ID and time.
func (d *Directory) AddTenant(ctx context.Context, actor string, t Tenant) (Tenant, error) {
	if !d.settings.Tenanted {
		return Tenant{}, invalid("this realm has no tenants")
	}
	if t.ID == "" {
		t.ID = randomHex(12)
	}
	if t.Name == "" {
		t.Name = t.ID
	}
	if err := firstError(checkTenantID(t.ID), checkName("name of the tenant", t.Name)); err != nil {
		return Tenant{}, err
	}
	t.Created = created()
	if err := d.create(ctx, actor, "tenant", t.ID, t.ID, "", d.tenantKey(t.ID), tenantRecord{1, t}); err != nil {
		return Tenant{}, err
	}
	return t, nil
}

// checkTenantID refuses what cannot be one segment of a path.
func checkTenantID(id string) error {
	if id == "." || id == ".." || strings.ContainsAny(id, `/\?#%;`) {
		return invalid(`the tenant ID %q does not stand in a path as it is; leave out / \ ? # %% and ;`, id)
	}
	return checkID("tenant ID", id)
}

// Tenant returns a tenant, or an error that matches [ErrNotFound].
func (d *Directory) Tenant(ctx context.Context, id string) (Tenant, error) {
	t, _, err := load[tenantRecord](ctx, d, d.tenantKey(id))
	return t.Tenant, fail("tenant", id, err)
}

// Tenants returns up to limit tenants in the order of their IDs, from the one
// behind the ID after; all if after is empty and limit large.
func (d *Directory) Tenants(ctx context.Context, after string, limit int) ([]Tenant, error) {
	prefix := d.tenantKey("")
	records, err := page[tenantRecord](ctx, d, prefix, cursor(prefix, after), limit, nil)
	if err != nil {
		return nil, fmt.Errorf("directory: list tenants: %w", err)
	}
	return mapped(records, func(t tenantRecord) Tenant { return t.Tenant }), nil
}

// SetTenantDisabled disables a tenant and ends every token of it, or enables it
// again, which revives no token.
func (d *Directory) SetTenantDisabled(ctx context.Context, actor, id string, disabled bool) error {
	t, err := d.Tenant(ctx, id)
	if err != nil {
		return err
	}
	err = d.setDisabled(ctx, actor, "tenant", id, id, "", t.Disabled, disabled, func() error {
		_, _, err := change(ctx, d, d.tenantKey(id), func(t *tenantRecord) error { t.Disabled = disabled; return nil })
		return err
	})
	return fail("tenant", id, err)
}

// RemoveTenant removes a tenant and everything that belongs to it. If it is
// interrupted, the tenant is disabled and can be removed again.
func (d *Directory) RemoveTenant(ctx context.Context, actor, id string) error {
	if _, err := d.Tenant(ctx, id); err != nil {
		return err
	}
	if err := d.SetTenantDisabled(ctx, actor, id, true); err != nil {
		return err
	}
	if err := d.empty(ctx, actor, id); err != nil {
		return err
	}
	err := d.audit(ctx, actor, "tenant.remove", id, "", "")
	if err == nil {
		err = retire(ctx, d, d.tenantKey(id), "tenant", id, func(t *tenantRecord) error { t.Disabled = true; return nil })
	}
	if err != nil {
		return fail("tenant", id, err)
	}
	// Whoever adds an entry looks after that whether the tenant is still there.
	// What was added before it went is here, and what comes later is undone.
	return d.empty(ctx, actor, id)
}

// empty removes everything that belongs to a tenant.
func (d *Directory) empty(ctx context.Context, actor, tenant string) error {
	const all = int(^uint(0) >> 1)
	keys, err1 := d.APIKeys(ctx, tenant, "", all)
	clients, err2 := d.Clients(ctx, tenant, "", all)
	users, err3 := d.Users(ctx, tenant, "", all)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	for _, k := range keys {
		if err := d.RemoveAPIKey(ctx, actor, tenant, k.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	for _, c := range clients {
		if err := d.RemoveClient(ctx, actor, tenant, c.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	for _, u := range users {
		if err := d.RemoveUser(ctx, actor, tenant, u.Name); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// tenantLive reports whether entries of the tenant may log in.
func (d *Directory) tenantLive(ctx context.Context, tenant string) (bool, error) {
	if !d.settings.Tenanted {
		return tenant == "", nil
	}
	t, _, err := load[tenantRecord](ctx, d, d.tenantKey(bounded(tenant)))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return !t.Disabled, err
}

// bounded returns nothing for what is longer than any name or ID, so that such
// a text is looked up as what is not there.
func bounded(s string) string {
	if len(s) > maxName {
		return ""
	}
	return s
}
