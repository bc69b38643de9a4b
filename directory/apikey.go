package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// An APIKey is a credential without expiry that calls wear: as the bearer, or
// next to a token.
type APIKey struct {
	ID       string       `json:"id"` // given by AddAPIKey; it stands in generated keys
	Tenant   string       `json:"tenant,omitempty"`
	Name     string       `json:"name"`            // for people
	Owner    string       `json:"owner,omitempty"` // ID of the user that it belongs to; empty: of nobody
	Scope    jeton.Scope  `json:"scope,omitempty"`
	Disabled bool         `json:"disabled,omitempty"`
	Created  time.Time    `json:"created"`
	Secrets  []SecretInfo `json:"secrets,omitempty"` // values that are good, the newest first; ignored in AddAPIKey

	used string // ID of the secret that was presented
}

// changed reports whether the value that was presented is no longer good.
func (k APIKey) Changed(now APIKey) bool { return k.used != "" && !hasSecret(now.Secrets, k.used) }

// Stored at realm/<realm>/key/<id>.
type keyRecord struct {
	V int `json:"v"`
	APIKey
	Stored []storedSecret `json:"stored"` // the newest first
}

func (r keyRecord) key() APIKey {
	k := r.APIKey
	k.Secrets = infos(r.Stored)
	return k
}

func (r *keyRecord) of(tenant string) error {
	if r.Tenant != tenant {
		return ErrNotFound
	}
	return nil
}

// An ownership record says that a user has an API key. It is written before the
// key and removed after, so that it may lead nowhere.
//
// Stored at realm/<realm>/owner/<user ID>/<key ID>.
type ownership struct {
	V   int    `json:"v"`
	Key string `json:"key"`
}

func (d *Directory) keyKey(id string) string          { return d.key("key", id) }
func (d *Directory) ownerKey(owner, id string) string { return d.key("owner", owner, id) }

// AddAPIKey adds an API key and returns it with its ID and time, and with its
// value: the chosen one, or a generated one that nobody can show again. A
// chosen value needs an owner, by whom it is found.
func (d *Directory) AddAPIKey(ctx context.Context, actor string, k APIKey, chosen jeton.Secret) (APIKey, jeton.Secret, error) {
	if err := d.checkAPIKey(ctx, k, chosen); err != nil {
		return APIKey{}, jeton.Secret{}, err
	}
	k.ID, k.Created, k.Secrets, k.used = randomHex(12), created(), nil, ""
	s, value, err := d.newSecret(ctx, "API key", apiKeyPrefix, k.ID, chosen)
	if err != nil {
		return APIKey{}, jeton.Secret{}, fail("API key", k.Name, err)
	}
	r, key, undo := keyRecord{1, k, []storedSecret{s}}, d.keyKey(k.ID), []string{d.keyKey(k.ID)}
	if k.Owner != "" {
		undo = append(undo, d.ownerKey(k.Owner, k.ID))
		if _, err := d.save(ctx, store.Record{Key: undo[1]}, ownership{1, k.ID}); err != nil {
			return APIKey{}, jeton.Secret{}, fail("API key", k.Name, err)
		}
	}
	err = d.create(ctx, actor, "key", k.Name, k.ID, k.Tenant, key, r)
	if err == nil {
		err = d.settle(ctx, k.Tenant, undo...)
	} else if k.Owner != "" {
		err = errors.Join(err, d.remove(context.WithoutCancel(ctx), undo[1]))
	}
	if err != nil {
		return APIKey{}, jeton.Secret{}, err
	}
	return r.key(), value, nil
}

func (d *Directory) checkAPIKey(ctx context.Context, k APIKey, chosen jeton.Secret) error {
	if err := firstError(checkName("name of the API key", k.Name), d.checkScope(k.Scope), d.checkTenant(ctx, k.Tenant)); err != nil {
		return err
	}
	switch {
	case d.settings.ScopeRequiredForKeys && len(k.Scope) == 0:
		return invalid("an API key of this realm needs at least one scope, of %s", jeton.Scope(d.settings.Scopes))
	case k.Owner == "" && !chosen.IsZero():
		return invalid("an API key with a chosen value needs an owner; name one, or have the value generated")
	case k.Owner == "":
		return nil
	}
	u, err := d.UserByID(ctx, k.Owner)
	if errors.Is(err, ErrNotFound) || err == nil && u.Tenant != k.Tenant {
		return &jeton.Error{Code: jeton.InvalidRequest, Description: fmt.Sprintf("there is no user with the ID %q who could own the API key", k.Owner), Cause: ErrNotFound}
	}
	return err
}

// APIKey returns an API key of a tenant, or an error that matches
// [ErrNotFound].
func (d *Directory) APIKey(ctx context.Context, tenant, id string) (APIKey, error) {
	r, _, err := load[keyRecord](ctx, d, d.keyKey(id))
	if err == nil {
		err = r.of(tenant)
	}
	if err != nil {
		return APIKey{}, fail("API key", id, err)
	}
	return r.key(), nil
}

// APIKeys returns up to limit API keys of a tenant in the order of their IDs,
// from the one behind the ID after.
func (d *Directory) APIKeys(ctx context.Context, tenant, after string, limit int) ([]APIKey, error) {
	prefix := d.keyKey("")
	records, err := page(ctx, d, prefix, cursor(prefix, after), limit, func(r keyRecord) bool { return r.Tenant == tenant })
	if err != nil {
		return nil, fmt.Errorf("directory: list API keys: %w", err)
	}
	return mapped(records, keyRecord.key), nil
}

// RotateAPIKey gives an API key a new value and returns it, who shows it once.
// The value before it stays good until EndOldKey or the next rotation.
func (d *Directory) RotateAPIKey(ctx context.Context, actor, tenant, id string) (APIKey, jeton.Secret, error) {
	s, value, err := d.newSecret(ctx, "API key", apiKeyPrefix, id, jeton.Secret{})
	var k APIKey
	if err == nil {
		k, err = d.changeKey(ctx, actor, "key.rotate", tenant, id, func(r *keyRecord) error {
			r.Stored = rotated(r.Stored, s)
			return nil
		})
	}
	if err != nil {
		return APIKey{}, jeton.Secret{}, err
	}
	return k, value, nil
}

// EndOldKey ends the older of an API key's two values.
func (d *Directory) EndOldKey(ctx context.Context, actor, tenant, id string) error {
	_, err := d.changeKey(ctx, actor, "key.end-old-value", tenant, id, func(r *keyRecord) error {
		if len(r.Stored) < 2 {
			return invalid("the API key %q has only one value; rotate it first", id)
		}
		r.Stored = r.Stored[:1]
		return nil
	})
	return err
}

// changeKey audits and edits the values of an API key. If one of them ends, so
// do the tokens that were issued with the key: calls wear the two together, and
// a token does not say which value it came with.
func (d *Directory) changeKey(ctx context.Context, actor, action, tenant, id string, edit func(*keyRecord) error) (APIKey, error) {
	before, _, err := load[keyRecord](ctx, d, d.keyKey(id))
	if err == nil {
		err = before.of(tenant)
	}
	if err == nil {
		err = edit(&before) // for the refusal only
	}
	if err == nil {
		err = d.audit(ctx, actor, action, id, tenant, before.Name)
	}
	var after keyRecord
	ended := false
	if err == nil {
		after, _, err = change(ctx, d, d.keyKey(id), func(r *keyRecord) error {
			old := infos(r.Stored)
			err := firstError(r.of(tenant), edit(r))
			ended = !hasSecret(infos(r.Stored), old[len(old)-1].ID)
			return err
		})
	}
	if err == nil && ended {
		_, err = d.Raise(context.WithoutCancel(ctx), "key", id)
	}
	if err != nil {
		return APIKey{}, fail("API key", id, err)
	}
	return after.key(), nil
}

// SetAPIKeyDisabled disables an API key and ends every token that was issued
// with it, or enables it again, which revives no token.
func (d *Directory) SetAPIKeyDisabled(ctx context.Context, actor, tenant, id string, disabled bool) error {
	k, err := d.APIKey(ctx, tenant, id)
	if err != nil {
		return err
	}
	err = d.setDisabled(ctx, actor, "key", id, k.Name, tenant, k.Disabled, disabled, func() error {
		_, _, err := change(ctx, d, d.keyKey(id), func(r *keyRecord) error { r.Disabled = disabled; return r.of(tenant) })
		return err
	})
	return fail("API key", id, err)
}

// RemoveAPIKey removes an API key and ends every token that was issued with it.
func (d *Directory) RemoveAPIKey(ctx context.Context, actor, tenant, id string) error {
	k, err := d.APIKey(ctx, tenant, id)
	if err != nil {
		return err
	}
	if err = d.audit(ctx, actor, "key.remove", id, tenant, k.Name); err == nil {
		err = retire(ctx, d, d.keyKey(id), "key", id, func(r *keyRecord) error { r.Disabled = true; return r.of(tenant) })
	}
	if err == nil && k.Owner != "" {
		err = d.remove(ctx, d.ownerKey(k.Owner, id))
	}
	return fail("API key", id, err)
}

// An ownedKey is an API key and the record that it was read from.
type ownedKey struct {
	keyRecord
	record store.Record
}

// owned returns the API keys of a user.
func (d *Directory) owned(ctx context.Context, owner string) ([]ownedKey, error) {
	const all = int(^uint(0) >> 1)
	list, err := page[ownership](ctx, d, d.ownerKey(owner, ""), "", all, nil)
	if err != nil {
		return nil, err
	}
	var keys []ownedKey
	for _, o := range list {
		k, r, err := load[keyRecord](ctx, d, d.keyKey(o.Key))
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, err
		case k.Owner == owner:
			keys = append(keys, ownedKey{k, r})
		}
	}
	return keys, nil
}

// AuthenticateAPIKey checks a generated API key, which needs nothing beside it.
// An empty tenant takes a key of any. A refusal is jeton.InvalidToken, whatever
// the reason. A key does not outlive its owner.
func (d *Directory) AuthenticateAPIKey(ctx context.Context, tenant string, key jeton.Secret) (APIKey, error) {
	id, ok := ParseGenerated(apiKeyPrefix, key)
	if !ok {
		return APIKey{}, jeton.InvalidToken
	}
	undecided := func(err error) (APIKey, error) {
		return APIKey{}, fmt.Errorf("directory: authenticate an API key: %w", err)
	}
	k, r, err := load[keyRecord](ctx, d, d.keyKey(id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return undecided(err)
	}
	live, err := d.keyLive(ctx, k)
	if err != nil {
		return undecided(err)
	}
	found, err := d.match(ctx, r, k.Stored, key, live)
	if err != nil {
		return undecided(err)
	}
	if found == "" || !live || tenant != "" && tenant != k.Tenant {
		return APIKey{}, jeton.InvalidToken
	}
	good := k.key()
	good.used = found
	return good, nil
}

// APIKeyCounters returns the generations of whatever ends a generated API key:
// its own, its owner's and its tenant's, by kind and ID. They are to be read
// before the key is authenticated. For a key that there is not the work is the
// same.
func (d *Directory) APIKeyCounters(ctx context.Context, key jeton.Secret) (map[string]uint64, error) {
	id, ok := ParseGenerated(apiKeyPrefix, key)
	if !ok {
		return nil, nil
	}
	k, _, err := load[keyRecord](ctx, d, d.keyKey(id))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("directory: read an API key: %w", err)
	}
	counters := map[string]uint64{}
	for kind, id := range map[string]string{"key": k.ID, "user": k.Owner, "tenant": k.Tenant} {
		n, err := d.Generation(ctx, kind, id)
		if err != nil {
			return nil, err
		}
		if id != "" {
			counters[kind+"/"+id] = n
		}
	}
	return counters, nil
}

// keyLive reports whether a key, its tenant and its owner are enabled.
func (d *Directory) keyLive(ctx context.Context, k keyRecord) (bool, error) {
	live, err := d.tenantLive(ctx, k.Tenant)
	if err != nil {
		return false, err
	}
	if k.Owner != "" {
		switch u, err := d.UserByID(ctx, k.Owner); {
		case err != nil && !errors.Is(err, ErrNotFound):
			return false, err
		case err != nil || u.Disabled:
			live = false
		}
	}
	return live && !k.Disabled, nil
}

// MatchAPIKey checks an API key that stands next to its owner's password: one
// of the owner's, generated or chosen. An owner who is not known, because the
// password was wrong, is the empty string and has none. A refusal is
// jeton.InvalidClient, whatever the reason.
func (d *Directory) MatchAPIKey(ctx context.Context, tenant, owner string, key jeton.Secret) (APIKey, error) {
	if isGenerated(key) {
		k, err := d.AuthenticateAPIKey(ctx, tenant, key)
		if err != nil && !jeton.Refused(err) {
			return APIKey{}, err
		}
		if err != nil || owner == "" || k.Owner != owner || k.Tenant != tenant {
			return APIKey{}, jeton.InvalidClient
		}
		return k, nil
	}
	k, err := d.matchChosen(ctx, tenant, owner, key)
	if err != nil && !jeton.Refused(err) {
		return APIKey{}, fmt.Errorf("directory: authenticate an API key: %w", err)
	}
	return k, err
}

func (d *Directory) matchChosen(ctx context.Context, tenant, owner string, key jeton.Secret) (APIKey, error) {
	owned, err := d.owned(ctx, owner)
	if err != nil {
		return APIKey{}, err
	}
	var candidates []ownedKey
	for _, k := range owned {
		live, err := d.keyLive(ctx, k.keyRecord)
		if err != nil {
			return APIKey{}, err
		}
		if live && k.Tenant == tenant {
			candidates = append(candidates, k)
		}
	}
	good := func(k ownedKey, used string) (APIKey, error) {
		match := k.key()
		match.used = used
		return match, nil
	}
	// What was right before is found before argon2 is spent on other keys.
	for _, k := range candidates {
		if used, ok := d.proven.find(k.record, key); ok {
			return good(k, used)
		}
	}
	computed := false
	for _, k := range candidates {
		if !hasChosen(k.Stored) {
			continue
		}
		computed = true
		used, err := d.match(ctx, k.record, k.Stored, key, true)
		if err != nil {
			return APIKey{}, err
		}
		if used != "" {
			return good(k, used)
		}
	}
	if !computed {
		if _, err := d.Passwords.Verify(ctx, "", key); err != nil {
			return APIKey{}, err
		}
	}
	return APIKey{}, jeton.InvalidClient
}

func hasChosen(secrets []storedSecret) bool {
	for _, s := range secrets {
		if s.Chosen {
			return true
		}
	}
	return false
}
