package issuer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
)

// A presented is what a message presents.
type presented struct {
	*dialect.Received
	names []string // of its variables; lets are not among them
	room  []string // likewise, also of those that it leaves out
	grant bool     // a login or what comes before it: an access token in it is that of a step
}

func (r *Realm) presented(m *dialect.Received) presented {
	x := m.Exchange
	names := r.dialect.Shape(x).Travels
	return presented{m, names, names, x.Kind == dialect.KindLogin || slices.Contains(r.dialect.Steps, x)}
}

// meaning chooses among the readings of a message that differ in the meaning of
// a field only: a token that we gave says which it is.
func (r *Realm) meaning(ctx context.Context, m *dialect.Received) (*dialect.Received, error) {
	readings := append([]*dialect.Received{m}, m.Others...)
	if len(readings) == 1 {
		return m, nil
	}
	var free []*dialect.Received
	for _, m := range readings {
		p, tokens := r.presented(m), 0
		for _, name := range p.names {
			if name != "access_token" && name != "refresh_token" && !r.accounts.stepped[name] {
				continue
			}
			tokens++
			own, err := r.own(ctx, p, name)
			if err != nil || own != nil {
				return m, err
			}
		}
		if tokens == 0 {
			free = append(free, m)
		}
	}
	for _, m := range free {
		if ids, err := r.candidates(ctx, r.presented(m), nil); err != nil || len(ids) > 0 {
			return m, err
		}
	}
	return slices.Concat(free, readings)[0], nil
}

// An owned is a token of ours that a message presents.
type owned struct {
	client string
	access *token  // that it is; nil: another kind
	family *family // likewise
}

// own returns what a presented variable is if it is a token of ours, else nil.
func (r *Realm) own(ctx context.Context, p presented, name string) (*owned, error) {
	text := jeton.NewSecret(p.Vars[name])
	var o *owned
	var err error
	switch {
	case r.accounts.stepped[name] && (name != "access_token" || p.grant):
		var t *token
		if t, err = r.openStep(ctx, text, name, p.Exchange); err == nil {
			o = &owned{client: t.subject}
		}
	case name == "access_token" && !p.grant:
		var t *token
		if t, err = r.open(ctx, text); err == nil {
			o = &owned{client: t.subject, access: t}
		}
	case name == "refresh_token" && r.refreshes():
		var f *family
		if f, err = r.families.find(ctx, text); err == nil {
			o = &owned{client: f.Client, family: f}
		}
	}
	if err != nil && jeton.Refused(err) {
		err = nil
	}
	return o, err
}

// candidates returns the IDs of the clients that a message may be from, as the
// variables say of which no token of ours does.
func (r *Realm) candidates(ctx context.Context, p presented, owned []string) ([]string, error) {
	vars := jeton.Vars{}
	for _, name := range r.accounts.lookups(r.dialect, p.names) {
		if text, ok := p.Vars[name]; ok && !slices.Contains(owned, name) {
			vars[name] = text
		}
	}
	return r.directory.FindAccounts(ctx, vars)
}

// recognised is who a message is from, and the tokens of ours that say so. The
// party is nil if the message says nothing about anybody.
type recognised struct {
	party  *party
	access *token
	family *family
}

// recognise finds the client that a message is from. Every variable is compared
// and everything is proven, also after one of them was wrong, and also for
// nobody: the work, like the error, does not tell which.
func (r *Realm) recognise(ctx context.Context, p presented) (*recognised, error) {
	found := &recognised{}
	ids, open, known, err := r.named(ctx, p, found)
	if err != nil {
		return nil, err
	}
	if !known && r.anonymous(p, open) {
		if !r.holds(directory.Client{}, jeton.Vars{}, p, open) {
			return nil, r.unknown(p)
		}
		return found, nil
	}
	now := time.Now()
	for _, id := range ids {
		c, account, err := r.directory.Account(ctx, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		good := r.holds(c, account, p, open)
		whole := r.whole(account, p)
		proven := p.Prove(r.proving(c, account), now) == nil
		if err == nil && good && whole && proven && !c.Disabled && found.party == nil {
			found.party = &party{client: &c, account: account}
		}
	}
	if len(ids) == 0 {
		if err := r.decoy(ctx, p, now); err != nil {
			return nil, err
		}
	}
	if found.party == nil {
		return nil, r.unknown(p)
	}
	r.lastProven.Store(&found.party.account)
	return found, r.count(ctx, found.party)
}

// named returns the IDs of the clients that a message may be from, and the names
// of those variables that are to be compared; known is whether a token says who
// it is.
func (r *Realm) named(ctx context.Context, p presented, found *recognised) (ids, open []string, known bool, err error) {
	var owners, tokens []string
	for _, name := range p.names {
		if _, ok := p.Vars[name]; !ok {
			continue
		}
		o, err := r.own(ctx, p, name)
		if err != nil {
			return nil, nil, false, err
		}
		if o == nil {
			open = append(open, name)
			continue
		}
		owners, tokens = append(owners, o.client), append(tokens, name)
		if o.access != nil {
			found.access = o.access
		}
		if o.family != nil {
			found.family = o.family
		}
	}
	if len(owners) == 0 {
		ids, err = r.candidates(ctx, p, tokens)
		return ids, open, false, err
	}
	slices.Sort(owners)
	if owners = slices.Compact(owners); len(owners) > 1 {
		return nil, open, true, nil // tokens of different clients
	}
	return owners, open, true, nil
}

// anonymous reports whether a message speaks for nobody, as when it only asks
// where to log in.
func (r *Realm) anonymous(p presented, open []string) bool {
	if p.Exchange.Kind != dialect.KindStep {
		return false
	}
	s := r.dialect.Shape(p.Exchange)
	return !proves(s) && len(r.accounts.lookups(r.dialect, open)) == 0 &&
		!slices.ContainsFunc(s.Travels, func(name string) bool { return r.accounts.stepped[name] || name == "access_token" })
}

// holds compares what a message presents with an account.
func (r *Realm) holds(c directory.Client, account jeton.Vars, p presented, names []string) bool {
	good := true
	for _, name := range names {
		text := p.Vars[name]
		if name == "scope" || name == "resource" {
			continue // they ask for something
		}
		want, has := account[name]
		if !has {
			if v := declared(r.dialect, name); v != nil && (slices.Contains(v.Choice, text) || v.Default != "" && v.Default == text) {
				continue
			}
			if r.accounts.answered[name] && !r.accounts.stepped[name] && c.ID != "" {
				want, has = r.stable(c, account, name), true
			}
		}
		good = jeton.NewSecret(want).Equal(jeton.NewSecret(text)) && has && good
	}
	return good
}

// whole reports whether a message presents every secret of an account that it has
// a place for: a field that may be absent is that for who has nothing to put there.
func (r *Realm) whole(account jeton.Vars, p presented) bool {
	return !slices.ContainsFunc(p.room, func(name string) bool {
		own := name != "access_token" && name != "refresh_token"
		return own && account[name] != "" && p.Vars[name] == "" && !r.dialect.Public(name)
	})
}

// proving returns what a message is proven by: the account, the dialect's
// settings, and what the client was answered that it cannot show but makes
// digests of.
func (r *Realm) proving(c directory.Client, account jeton.Vars) jeton.Vars {
	vars := r.dialect.Defaults()
	for name := range r.accounts.answered {
		if !r.accounts.stepped[name] && c.ID != "" && name != "access_token" && name != "refresh_token" { // those are new each time
			vars[name] = r.stable(c, account, name)
		}
	}
	for name, text := range account {
		vars[name] = text
	}
	return vars
}

// decoy does the work of proving a message that is from nobody, with the account
// of whoever came last.
func (r *Realm) decoy(ctx context.Context, p presented, now time.Time) error {
	if _, _, err := r.directory.Account(ctx, "nobody"); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	account := jeton.Vars{}
	if last := r.lastProven.Load(); last != nil {
		account = *last
	}
	c := directory.Client{ID: "nobody"}
	r.holds(c, account, p, p.names)
	_ = p.Prove(r.proving(c, account), now)
	return nil
}

// unknown returns the refusal of a message that is from nobody that we know. It
// follows from the form of the message alone.
func (r *Realm) unknown(p presented) error {
	switch x := p.Exchange; {
	case !p.grant && slices.Contains(p.names, "access_token") && r.dialect.Login.Method != "":
		return jeton.InvalidToken
	case x.Kind == dialect.KindRefresh, x.Grant == jeton.GrantPassword && !x.Basic() && r.dialect.Login.Method != "":
		return jeton.InvalidGrant
	}
	return jeton.InvalidClient
}
