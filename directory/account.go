package directory

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// An account is what a client presents where a login is more than an ID and a
// secret: a set of variables, by the names that the realm's dialect gives them.
// It is found by any of them. For that there is an index, which holds digests
// under the directory's pepper and no value:
//
//	realm/<realm>/account/<HMAC of name and value>/<client ID>
//
// An entry of it says only where to look. It is written before the account has
// the value and goes after, so that there may be one too many and never one too
// few; whoever comes by it reads the account and compares.

// MaxAccounts is how many clients that share a value [Directory.FindAccounts]
// tells apart.
const MaxAccounts = 16

// Bounds of an account.
const (
	maxAccountVars  = 64
	maxAccountBytes = 64 << 10
)

func (d *Directory) accountKey(name, value string, id ...string) string {
	return d.key(append([]string{"account", mac(d.pepper, "jeton account", name, value)}, id...)...)
}

// SetAccount gives a client an account in place of the one that it had, and
// ends every token of it. No variables take the account away. The values are
// kept in the client's record as they are, since a digest or a signature is
// checked by making it again: who keeps accounts seals the store. Nothing shows
// them again but [Directory.Account].
func (d *Directory) SetAccount(ctx context.Context, actor, tenant, id string, vars jeton.Vars) error {
	if err := checkAccount(vars); err != nil {
		return err
	}
	before, _, err := d.loadClient(ctx, tenant, id)
	if err != nil {
		return fail("client", id, err)
	}
	if err := d.audit(ctx, actor, "client.account", id, tenant, before.Name); err != nil {
		return fail("client", id, err)
	}
	for name, value := range vars {
		_, err := d.save(ctx, store.Record{Key: d.accountKey(name, value, id)}, indexRecord{1})
		if err != nil && !errors.Is(err, store.ErrConflict) { // a conflict: it is there
			return fail("client", id, err)
		}
	}
	var old map[string]string
	_, _, err = change(ctx, d, d.clientKey(id), func(r *clientRecord) error {
		old = r.Account
		r.Account, r.AccountID = maps.Clone(map[string]string(vars)), randomHex(8)
		return r.of(tenant)
	})
	if err == nil {
		_, err = d.Raise(context.WithoutCancel(ctx), "client", id)
	}
	if err == nil {
		err = d.unindex(context.WithoutCancel(ctx), id, old, vars)
	}
	return fail("client", id, err)
}

type indexRecord struct {
	V int `json:"v"`
}

func checkAccount(vars jeton.Vars) error {
	size := 0
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		value := vars[name]
		size += len(name) + len(value)
		switch {
		case !isVariable(name):
			return invalid("%q is no name of a variable: a-z first, then a-z, 0-9 and _", name)
		case value == "":
			return invalid("the variable %s is empty; leave it out", name)
		case !utf8.ValidString(value):
			return invalid("the variable %s is not UTF-8", name)
		}
	}
	if len(vars) > maxAccountVars || size > maxAccountBytes {
		return invalid("the account has %d variables with %d bytes; %d with %d are allowed", len(vars), size, maxAccountVars, maxAccountBytes)
	}
	return nil
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || i > 0 && (c == '_' || c >= '0' && c <= '9')) {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}

// unindex removes the index entries of what a client no longer has.
func (d *Directory) unindex(ctx context.Context, id string, old, now map[string]string) error {
	var errs []error
	for name, value := range old {
		if kept, ok := now[name]; !ok || kept != value {
			errs = append(errs, d.remove(ctx, d.accountKey(name, value, id)))
		}
	}
	return errors.Join(errs...)
}

// Account returns a client and its account, which the caller may change. The
// error matches [ErrNotFound] if there is no such client or it has no account.
// The client may be disabled.
func (d *Directory) Account(ctx context.Context, id string) (Client, jeton.Vars, error) {
	r, _, err := load[clientRecord](ctx, d, d.clientKey(bounded(id)))
	if err == nil && len(r.Account) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Client{}, nil, fail("account of client", id, err)
	}
	return r.client(), r.Account, nil
}

// FindAccounts returns the IDs of those clients whose account has every one of
// the values, or had until a moment ago. What more than [MaxAccounts] share
// tells nobody apart and is passed over; if that is true of each the result is
// empty, as it is without a value. What it costs depends on how many values
// there are, and hardly on who has them.
func (d *Directory) FindAccounts(ctx context.Context, vars jeton.Vars) ([]string, error) {
	var found []string
	narrowed := false
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		prefix := d.accountKey(name, vars[name], "")
		records, err := d.store.List(ctx, prefix, "", MaxAccounts+1)
		if err != nil {
			return nil, fmt.Errorf("directory: find an account: %w", err)
		}
		if len(records) > MaxAccounts {
			continue
		}
		ids, err := clientIDs(prefix, records)
		if err != nil {
			return nil, fmt.Errorf("directory: find an account: %w", err)
		}
		if !narrowed {
			found, narrowed = ids, true
			continue
		}
		found = slices.DeleteFunc(found, func(id string) bool { return !slices.Contains(ids, id) })
	}
	return found, nil
}

func clientIDs(prefix string, records []store.Record) ([]string, error) {
	var ids []string
	for _, r := range records {
		id, err := url.PathUnescape(strings.TrimPrefix(r.Key, prefix))
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Opaque returns a text that stands for a name within a client's account: the
// same for the same account, and to nobody else of any meaning. An empty ID is
// nobody's.
func (d *Directory) Opaque(c Client, name string) string {
	return mac(d.pepper, "jeton opaque", c.ID, c.account, name)
}
