package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// A User is a person with a password. The name is an e-mail address or another
// text; it is found as [Fold] says.
type User struct {
	ID       string      `json:"id"` // given by AddUser, random, never used again
	Tenant   string      `json:"tenant,omitempty"`
	Name     string      `json:"name"` // as it was added
	Scope    jeton.Scope `json:"scope,omitempty"`
	Disabled bool        `json:"disabled,omitempty"`
	Created  time.Time   `json:"created"`

	password string // which password it is, by a part of its hash's salt
}

// changed reports whether the user logged in with a password that is no longer
// that of now.
func (u User) Changed(now User) bool { return u.password != "" && u.password != now.password }

// Stored at realm/<realm>/user/<tenant>/<folded name>.
type userRecord struct {
	V int `json:"v"`
	User
	Password string `json:"password"` // see PasswordHasher.Hash
}

func (r userRecord) user() User {
	u := r.User
	if u.ID != "" {
		u.password = mac([]byte(u.ID), r.Password)
	}
	return u
}

// A userID record tells the name of the user with an ID. It is written before
// the user and removed after, so that it may lead nowhere.
//
// Stored at realm/<realm>/user-id/<id>.
type userID struct {
	V      int    `json:"v"`
	Tenant string `json:"tenant,omitempty"`
	Name   string `json:"name"`
}

func (d *Directory) userKey(tenant, name string) string { return d.key("user", tenant, Fold(name)) }
func (d *Directory) userIDKey(id string) string         { return d.key("user-id", id) }

// AddUser adds a user and returns it with its ID and time.
func (d *Directory) AddUser(ctx context.Context, actor string, u User, password jeton.Secret) (User, error) {
	err := firstError(checkName("name of the user", u.Name), checkPassword("password", password), d.checkScope(u.Scope), d.checkTenant(ctx, u.Tenant))
	if err != nil {
		return User{}, err
	}
	u.ID, u.Created = randomHex(12), created()
	r := userRecord{V: 1, User: u}
	if r.Password, err = d.Passwords.Hash(ctx, password); err != nil {
		return User{}, fail("user", u.Name, err)
	}
	key, idKey := d.userKey(u.Tenant, u.Name), d.userIDKey(u.ID)
	if _, err := d.save(ctx, store.Record{Key: idKey}, userID{1, u.Tenant, u.Name}); err != nil {
		return User{}, fail("user", u.Name, err)
	}
	if err := d.create(ctx, actor, "user", u.Name, u.ID, u.Tenant, key, r); err != nil {
		return User{}, errors.Join(err, d.remove(ctx, idKey))
	}
	if err := d.settle(ctx, u.Tenant, key, idKey); err != nil {
		return User{}, err
	}
	return r.user(), nil
}

// User returns the user of a name, or an error that matches [ErrNotFound].
func (d *Directory) User(ctx context.Context, tenant, name string) (User, error) {
	r, _, err := load[userRecord](ctx, d, d.userKey(tenant, name))
	return r.user(), fail("user", name, err)
}

// UserByID returns the user with an ID, of whatever tenant, or an error that
// matches [ErrNotFound].
func (d *Directory) UserByID(ctx context.Context, id string) (User, error) {
	at, _, err := load[userID](ctx, d, d.userIDKey(id))
	if err != nil {
		return User{}, fail("user ID", id, err)
	}
	u, err := d.User(ctx, at.Tenant, at.Name)
	if err == nil && u.ID != id { // removed, and the name added again
		return User{}, fail("user ID", id, ErrNotFound)
	}
	return u, err
}

// Users returns up to limit users of a tenant in the order of their folded
// names, from the one behind the name after.
func (d *Directory) Users(ctx context.Context, tenant, after string, limit int) ([]User, error) {
	prefix := d.userKey(tenant, "")
	records, err := page[userRecord](ctx, d, prefix, cursor(prefix, Fold(after)), limit, nil)
	if err != nil {
		return nil, fmt.Errorf("directory: list users: %w", err)
	}
	return mapped(records, userRecord.user), nil
}

// SetPassword gives a user another password and ends every token of the user.
func (d *Directory) SetPassword(ctx context.Context, actor, tenant, name string, password jeton.Secret) error {
	if err := checkPassword("password", password); err != nil {
		return err
	}
	u, err := d.User(ctx, tenant, name)
	if err != nil {
		return err
	}
	hash, err := d.Passwords.Hash(ctx, password)
	if err == nil {
		err = d.audit(ctx, actor, "user.password", u.ID, tenant, u.Name)
	}
	if err == nil {
		_, _, err = change(ctx, d, d.userKey(tenant, name), same(u.ID, func(r *userRecord) { r.Password = hash }))
	}
	if err == nil {
		_, err = d.Raise(context.WithoutCancel(ctx), "user", u.ID)
	}
	return fail("user", name, err)
}

// same edits the record of the user with an ID, and nobody's who took the name.
func same(id string, edit func(*userRecord)) func(*userRecord) error {
	return func(r *userRecord) error {
		if r.ID != id {
			return ErrNotFound
		}
		edit(r)
		return nil
	}
}

// SetUserDisabled disables a user, ends every token and with it every API key
// of the user, or enables it again, which revives no token.
func (d *Directory) SetUserDisabled(ctx context.Context, actor, tenant, name string, disabled bool) error {
	u, err := d.User(ctx, tenant, name)
	if err != nil {
		return err
	}
	err = d.setDisabled(ctx, actor, "user", u.ID, u.Name, tenant, u.Disabled, disabled, func() error {
		_, _, err := change(ctx, d, d.userKey(tenant, name), same(u.ID, func(r *userRecord) { r.Disabled = disabled }))
		return err
	})
	return fail("user", name, err)
}

// RemoveUser removes a user and the API keys that the user owns, and ends every
// token of the user.
func (d *Directory) RemoveUser(ctx context.Context, actor, tenant, name string) error {
	u, err := d.User(ctx, tenant, name)
	if err != nil {
		return err
	}
	if err := d.audit(ctx, actor, "user.remove", u.ID, tenant, u.Name); err != nil {
		return fail("user", name, err)
	}
	owned, err := d.owned(ctx, u.ID)
	for _, k := range owned {
		if err == nil {
			if err = d.RemoveAPIKey(ctx, actor, tenant, k.ID); errors.Is(err, ErrNotFound) {
				err = nil
			}
		}
	}
	if err == nil {
		err = retire(ctx, d, d.userKey(tenant, name), "user", u.ID, same(u.ID, func(r *userRecord) { r.Disabled = true }))
	}
	if err == nil {
		err = d.remove(ctx, d.userIDKey(u.ID))
	}
	return fail("user", name, err)
}

// AuthenticateUser checks a password. A refusal is jeton.InvalidGrant, whatever
// the reason.
func (d *Directory) AuthenticateUser(ctx context.Context, tenant, name string, password jeton.Secret) (User, error) {
	undecided := func(err error) (User, error) {
		return User{}, fmt.Errorf("directory: authenticate a user: %w", err)
	}
	r, _, err := load[userRecord](ctx, d, d.userKey(bounded(tenant), bounded(name)))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return undecided(err)
	}
	live, err := d.tenantLive(ctx, tenant)
	if err != nil {
		return undecided(err)
	}
	good, err := d.Passwords.Verify(ctx, r.Password, password) // of nobody: an empty hash
	if err != nil {
		return undecided(err)
	}
	if !good || !live || r.Disabled {
		return User{}, jeton.InvalidGrant
	}
	return r.user(), nil
}
