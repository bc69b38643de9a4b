package directory

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// A Client is a program that logs in (RFC 6749 section 2).
type Client struct {
	ID        string       `json:"id"` // client_id; empty in AddClient: generated
	Tenant    string       `json:"tenant,omitempty"`
	Name      string       `json:"name"`                // for people
	Scope     jeton.Scope  `json:"scope,omitempty"`     // what it may ask for
	Resources []string     `json:"resources,omitempty"` // audiences that it may ask for (RFC 8707), beside the realm itself
	Disabled  bool         `json:"disabled,omitempty"`
	Created   time.Time    `json:"created"`
	Secrets   []SecretInfo `json:"secrets,omitempty"` // that are good, the newest first; ignored in AddClient

	used    string // ID of the secret that was presented
	account string // ID of the account that was read with it
}

// Changed reports whether the secret that was presented is no longer good, for
// example because another client took the ID, or whether the client has another
// account now.
func (c Client) Changed(now Client) bool {
	return c.used != "" && !hasSecret(now.Secrets, c.used) || c.account != "" && c.account != now.account
}

// The ID is unique in the realm, not only in the tenant, since it is the
// subject of tokens. Stored at realm/<realm>/client/<id>.
type clientRecord struct {
	V int `json:"v"`
	Client
	Stored []storedSecret `json:"stored"` // the newest first

	// The account, see SetAccount, in clear: digests and signatures are checked
	// by making them again. A store that seals its values seals these too.
	Account   map[string]string `json:"account,omitempty"`    // :: variable -> value
	AccountID string            `json:"account_id,omitempty"` // random, another one for each account
}

func (r clientRecord) client() Client {
	c := r.Client
	c.Secrets, c.account = infos(r.Stored), r.AccountID
	return c
}

func (d *Directory) clientKey(id string) string { return d.key("client", id) }

// of edits the record of a client of a tenant only.
func (r *clientRecord) of(tenant string) error {
	if r.Tenant != tenant {
		return ErrNotFound
	}
	return nil
}

// AddClient adds a client and returns it with its ID and time, and with its
// secret: the chosen one, or a generated one that nobody can show again.
func (d *Directory) AddClient(ctx context.Context, actor string, c Client, chosen jeton.Secret) (Client, jeton.Secret, error) {
	if c.ID == "" {
		c.ID = randomHex(12)
	}
	err := firstError(checkID("client ID", c.ID), checkName("name of the client", c.Name),
		d.checkScope(c.Scope), checkResources(c.Resources), d.checkTenant(ctx, c.Tenant))
	if err != nil {
		return Client{}, jeton.Secret{}, err
	}
	s, secret, err := d.newSecret(ctx, "client secret", clientSecretPrefix, randomHex(4), chosen)
	if err != nil {
		return Client{}, jeton.Secret{}, fail("client", c.ID, err)
	}
	c.Created, c.Secrets, c.used = created(), nil, ""
	r := clientRecord{V: 1, Client: c, Stored: []storedSecret{s}}
	err = d.create(ctx, actor, "client", c.ID, c.ID, c.Tenant, d.clientKey(c.ID), r)
	if err == nil {
		err = d.settle(ctx, c.Tenant, d.clientKey(c.ID))
	}
	if err != nil {
		return Client{}, jeton.Secret{}, err
	}
	return r.client(), secret, nil
}

func checkResources(resources []string) error {
	for _, r := range resources {
		u, err := url.Parse(r)
		if err != nil || !u.IsAbs() || u.Fragment != "" || len(r) > 4*maxName || checkID("resource", r[:min(len(r), maxName)]) != nil {
			return invalid("the resource %q is not an absolute URI without fragment (RFC 8707 section 2)", r)
		}
	}
	return nil
}

// Client returns a client of a tenant, or an error that matches [ErrNotFound].
func (d *Directory) Client(ctx context.Context, tenant, id string) (Client, error) {
	r, _, err := d.loadClient(ctx, tenant, id)
	return r.client(), fail("client", id, err)
}

func (d *Directory) loadClient(ctx context.Context, tenant, id string) (clientRecord, store.Record, error) {
	c, r, err := load[clientRecord](ctx, d, d.clientKey(id))
	if err == nil {
		err = c.of(tenant)
	}
	if err != nil {
		return clientRecord{}, store.Record{}, err
	}
	return c, r, nil
}

// Clients returns up to limit clients of a tenant in the order of their IDs,
// from the one behind the ID after.
func (d *Directory) Clients(ctx context.Context, tenant, after string, limit int) ([]Client, error) {
	prefix := d.clientKey("")
	records, err := page(ctx, d, prefix, cursor(prefix, after), limit, func(r clientRecord) bool { return r.Tenant == tenant })
	if err != nil {
		return nil, fmt.Errorf("directory: list clients: %w", err)
	}
	return mapped(records, clientRecord.client), nil
}

// RotateClient gives a client a new secret and returns it, who shows it once.
// The secret before it stays good until EndOldSecret or the next rotation; no
// token ends.
func (d *Directory) RotateClient(ctx context.Context, actor, tenant, id string) (Client, jeton.Secret, error) {
	s, secret, err := d.newSecret(ctx, "client secret", clientSecretPrefix, randomHex(4), jeton.Secret{})
	var c Client
	if err == nil {
		c, err = d.changeClient(ctx, actor, "client.rotate", tenant, id, func(r *clientRecord) error {
			r.Stored = rotated(r.Stored, s)
			return nil
		})
	}
	if err != nil {
		return Client{}, jeton.Secret{}, err
	}
	return c, secret, nil
}

// EndOldSecret ends the older of a client's two secrets.
func (d *Directory) EndOldSecret(ctx context.Context, actor, tenant, id string) error {
	_, err := d.changeClient(ctx, actor, "client.end-old-secret", tenant, id, func(r *clientRecord) error {
		if len(r.Stored) < 2 {
			return invalid("the client %q has only one secret; rotate it first", id)
		}
		r.Stored = r.Stored[:1]
		return nil
	})
	return err
}

// changeClient audits and edits a client.
func (d *Directory) changeClient(ctx context.Context, actor, action, tenant, id string, edit func(*clientRecord) error) (Client, error) {
	before, _, err := d.loadClient(ctx, tenant, id)
	if err == nil {
		err = edit(&before) // for the refusal only
	}
	if err == nil {
		err = d.audit(ctx, actor, action, id, tenant, before.Name)
	}
	var after clientRecord
	if err == nil {
		after, _, err = change(ctx, d, d.clientKey(id), func(r *clientRecord) error {
			return firstError(r.of(tenant), edit(r))
		})
	}
	if err != nil {
		return Client{}, fail("client", id, err)
	}
	return after.client(), nil
}

// SetClientDisabled disables a client and ends every token of it, or enables it
// again, which revives no token.
func (d *Directory) SetClientDisabled(ctx context.Context, actor, tenant, id string, disabled bool) error {
	c, err := d.Client(ctx, tenant, id)
	if err != nil {
		return err
	}
	err = d.setDisabled(ctx, actor, "client", id, c.Name, tenant, c.Disabled, disabled, func() error {
		_, _, err := change(ctx, d, d.clientKey(id), func(r *clientRecord) error { r.Disabled = disabled; return r.of(tenant) })
		return err
	})
	return fail("client", id, err)
}

// RemoveClient removes a client and ends every token of it.
func (d *Directory) RemoveClient(ctx context.Context, actor, tenant, id string) error {
	c, _, err := d.loadClient(ctx, tenant, id)
	if err != nil {
		return fail("client", id, err)
	}
	if err = d.audit(ctx, actor, "client.remove", id, tenant, c.Name); err == nil {
		err = retire(ctx, d, d.clientKey(id), "client", id, func(r *clientRecord) error { r.Disabled = true; return r.of(tenant) })
	}
	if err == nil {
		err = d.unindex(context.WithoutCancel(ctx), id, c.Account, nil)
	}
	return fail("client", id, err)
}

// AuthenticateClient checks a client secret. A refusal is jeton.InvalidClient,
// whatever the reason.
func (d *Directory) AuthenticateClient(ctx context.Context, tenant, id string, secret jeton.Secret) (Client, error) {
	if _, ok := ParseGenerated(clientSecretPrefix, secret); isGenerated(secret) && !ok {
		return Client{}, jeton.InvalidClient
	}
	undecided := func(err error) (Client, error) {
		return Client{}, fmt.Errorf("directory: authenticate a client: %w", err)
	}
	c, r, err := d.loadClient(ctx, tenant, bounded(id))
	known := err == nil
	if !known && !errors.Is(err, store.ErrNotFound) {
		return undecided(err)
	}
	live, err := d.tenantLive(ctx, tenant)
	if err != nil {
		return undecided(err)
	}
	usable := known && live && !c.Disabled
	found, err := d.match(ctx, r, c.Stored, secret, usable)
	if err != nil {
		return undecided(err)
	}
	if found == "" || !usable {
		return Client{}, jeton.InvalidClient
	}
	good := c.client()
	good.used = found
	return good, nil
}

// hasSecret reports whether a secret is still good.
func hasSecret(secrets []SecretInfo, id string) bool {
	return slices.ContainsFunc(secrets, func(s SecretInfo) bool { return s.ID == id })
}
