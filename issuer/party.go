package issuer

import (
	"context"
	"errors"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
)

// A party is whom a token speaks for: a user, a client, or a user through a
// client.
type party struct {
	tenant   string
	user     *directory.User
	client   *directory.Client
	key      *directory.APIKey // stood next to the password
	account  jeton.Vars        // of the client, in an account realm
	guard    string            // name of the guard that it is, and nothing else
	counters map[string]uint64 // :: "kind/id" -> generation; whoever raises one ends the tokens
}

func counterName(kind, id string) string { return kind + "/" + id }

// name is the party's own as a counter: a user through a client is the user.
func (p *party) name() string {
	if p.user != nil {
		return counterName("user", p.user.ID)
	}
	return counterName("client", p.client.ID)
}

func (p *party) subject() string {
	if p.user != nil {
		return p.user.ID
	}
	return p.client.ID
}

func (p *party) clientID() string {
	if p.client != nil {
		return p.client.ID
	}
	return ""
}

// count reads the generations that the party's tokens will carry, and then
// makes sure that everything they stand for is still enabled. The order
// matters: whoever disables writes the state first and raises the counter then,
// so either the state is seen here or the token carries a number that is about
// to be passed. The state that the authentication saw is too old for that.
func (r *Realm) count(ctx context.Context, p *party) error {
	p.counters = map[string]uint64{}
	read := func(kind, id string) error {
		n, err := r.directory.Generation(ctx, kind, id)
		p.counters[counterName(kind, id)] = n
		return err
	}
	var errs []error
	if p.user != nil {
		errs = append(errs, read("user", p.user.ID))
	}
	if p.client != nil {
		errs = append(errs, read("client", p.client.ID))
	}
	if p.key != nil {
		errs = append(errs, read("key", p.key.ID))
	}
	if p.tenant != "" {
		errs = append(errs, read("tenant", p.tenant))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.enabled(ctx, p)
}

// enabled reads again whatever the party consists of and refuses if some of it
// is gone or disabled, or has another password than the one that was presented.
func (r *Realm) enabled(ctx context.Context, p *party) error {
	gone := func(disabled bool, err error, code jeton.Code) error {
		if disabled || errors.Is(err, store.ErrNotFound) {
			return code
		}
		return err
	}
	if p.tenant != "" {
		t, err := r.directory.Tenant(ctx, p.tenant)
		if err := gone(t.Disabled, err, jeton.InvalidClient); err != nil {
			return err
		}
	}
	if p.client != nil {
		c, err := r.directory.Client(ctx, p.tenant, p.client.ID)
		if err := gone(c.Disabled || p.client.Changed(c), err, jeton.InvalidClient); err != nil {
			return err
		}
	}
	if p.user != nil {
		u, err := r.directory.User(ctx, p.tenant, p.user.Name)
		if err := gone(u.Disabled || u.ID != p.user.ID || p.user.Changed(u), err, jeton.InvalidGrant); err != nil {
			return err
		}
	}
	if p.key != nil {
		k, err := r.directory.APIKey(ctx, p.tenant, p.key.ID)
		if err := gone(k.Disabled || p.key.Changed(k), err, jeton.InvalidClient); err != nil {
			return err
		}
	}
	return nil
}

// reload returns the party of a refresh family as it is now, with the
// generations of its login. It refuses if one of them has moved on or if the
// party may not log in any more.
func (r *Realm) reload(ctx context.Context, f *family) (*party, error) {
	for counter, n := range f.Counters {
		kind, id, _ := strings.Cut(counter, "/")
		now, err := r.directory.Generation(ctx, kind, id)
		if err != nil {
			return nil, err
		}
		if now != n {
			return nil, jeton.InvalidGrant
		}
	}
	p := &party{tenant: f.Tenant, counters: f.Counters}
	if f.User != "" {
		p.user = &directory.User{ID: f.User, Tenant: f.Tenant, Name: f.Name}
	}
	if f.Client != "" {
		p.client = &directory.Client{ID: f.Client, Tenant: f.Tenant}
	}
	if r.accounts != nil {
		c, account, err := r.directory.Account(ctx, f.Client)
		if errors.Is(err, store.ErrNotFound) {
			return nil, jeton.InvalidGrant
		}
		if err != nil {
			return nil, err
		}
		p.client, p.account = &c, account
	}
	err := r.enabled(ctx, p)
	if err != nil && jeton.Refused(err) {
		return nil, jeton.InvalidGrant
	}
	return p, err
}
