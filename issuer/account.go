package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
)

// An account realm is one whose logins are more than the directory can check by
// itself: they have several steps, are signed, or present variables of their
// own. Who may log in there is a client with an account: everything that its
// logins present or are proven by, and what its calls wear beside the token.
// A message is from the client whose account has every variable that it
// presents, and that proves what it says.

// accounts is what an account realm works out of its dialect once; nil in a
// realm whose logins the directory checks.
type accounts struct {
	answered map[string]bool // :: variable -> an answer of the vendor has it
	stepped  map[string]bool // :: variable -> an answer of a step has it, and a later message presents it
	given    map[string]bool // :: variable -> an account must have it
	worn     []string        // what calls wear beside the token
	kinds    map[string]string
}

// of the directory's own: what it checks, and what a login's answer can have
// that says who it was.
var plainAnswers = []string{"access_token", "token_type", "expires_in", "expires_at", "refresh_token", "refresh_expires_in",
	"scope", "username", "client_id", "tenant_id", "user_id"}

// newAccounts returns nil if the directory can check every login of the dialect.
func newAccounts(d *dialect.Dialect) *accounts {
	if plain(d) {
		return nil
	}
	a := &accounts{answered: map[string]bool{}, stepped: map[string]bool{}, given: map[string]bool{}, kinds: d.Kinds()}
	for _, name := range d.LoginVars() {
		a.given[name] = true
	}
	for _, name := range d.CallShape().Travels {
		if name != "access_token" {
			a.worn = append(a.worn, name)
		}
	}
	sequence := d.Sequence()
	for i, x := range sequence {
		for _, name := range d.AnswerShape(x).Travels {
			a.answered[name] = true
			later := func(y *dialect.Exchange) bool { return slices.Contains(d.Shape(y).Travels, name) }
			token := name == "refresh_token" || name == "access_token" && !slices.Contains(d.Steps, x)
			if !token && d.LeadsTo(name) == "" && !slices.Contains(a.worn, name) && slices.ContainsFunc(sequence[i+1:], later) {
				a.stepped[name] = true
			}
		}
	}
	for _, x := range d.Refresh {
		for _, name := range d.AnswerShape(x).Travels {
			a.answered[name] = true
		}
	}
	return a
}

// plain reports whether the directory can check every login and every call of a
// dialect: users by their passwords, clients by their secrets, API keys.
func plain(d *dialect.Dialect) bool {
	if d.Login.Method == "" || len(d.Steps) > 0 || len(d.Then) > 0 {
		return false
	}
	for _, x := range slices.Concat([]*dialect.Exchange{d.Login}, d.Accept, d.Refresh) {
		s := d.Shape(x)
		if len(s.Secrets) > 0 || len(s.Proofs) > 0 {
			return false
		}
		has := func(name string) bool { return slices.Contains(s.Travels, name) }
		for _, name := range s.Travels {
			if !slices.Contains(known, name) {
				return false
			}
		}
		if x.Kind == dialect.KindRefresh {
			if !has("refresh_token") || has("client_id") != has("client_secret") {
				return false
			}
			continue
		}
		user, client := has("username") && has("password"), has("client_id") && has("client_secret")
		switch {
		case !user && !client, has("api_key") && !user, has("refresh_token") || has("access_token"):
			return false
		case has("username") != has("password"), has("client_id") != has("client_secret"):
			return false
		}
	}
	for _, name := range d.AnswerShape(d.Login).Travels {
		if !slices.Contains(plainAnswers, name) && slices.Contains(d.CallShape().Travels, name) {
			return false
		}
	}
	for _, name := range d.CallShape().Travels {
		if name == "access_token" || name == "tenant_id" || declared(d, name) != nil || d.Login.Has(name) {
			continue
		}
		return false
	}
	return !d.WholeCall()
}

func declared(d *dialect.Dialect, name string) *dialect.Var {
	for i := range d.Vars {
		if d.Vars[i].Name == name {
			return &d.Vars[i]
		}
	}
	return nil
}

// check refuses a dialect of which some message cannot be checked by any
// account.
func (a *accounts) check(d *dialect.Dialect) error {
	switch {
	case d.Signs() && !d.Tokenless() && !d.Call.Wears():
		return errors.New("calls are signed with what a login answers and wear no token, which an issuer cannot check")
	case d.Minted() && len(a.lookups(d, d.MintShape().Travels)) == 0:
		return errors.New("a token that the client makes names nothing by which its account could be found")
	case d.Tokenless() && !d.Signs() && len(a.lookups(d, d.CallShape().Travels)) == 0:
		return errors.New("a call wears nothing by which its account could be found")
	case d.Typ == stepType:
		return fmt.Errorf("the type %s of access tokens is that of what a step gives; choose another", stepType)
	}
	for _, x := range slices.Concat(d.Sequence(), d.Accept, d.Refresh) {
		s := d.Shape(x)
		own := func(name string) bool {
			return a.stepped[name] || name == "access_token" && x.Kind != dialect.KindLogin || name == "refresh_token"
		}
		if len(a.lookups(d, s.Travels)) > 0 || slices.ContainsFunc(s.Travels, own) {
			continue
		}
		if x.Kind != dialect.KindStep {
			return fmt.Errorf("the %s at %s %s presents nothing by which its account could be found", x.Kind, x.Method, x.Path())
		}
		if len(s.Secrets) > 0 || len(s.Proofs) > 0 {
			return fmt.Errorf("the step at %s %s is proven by an account, and presents nothing by which that could be found", x.Method, x.Path())
		}
	}
	return nil
}

// lookups returns those of names by which an account can be found: what an
// account has, and neither settings nor what only asks for something.
func (a *accounts) lookups(d *dialect.Dialect, names []string) []string {
	var list []string
	for _, name := range names {
		switch {
		case name == "scope" || name == "resource" || declared(d, name) != nil:
		case a.answered[name] && !a.given[name]:
		default:
			list = append(list, name)
		}
	}
	return list
}

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
		if t, err = r.openStep(ctx, text, name); err == nil {
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
	return len(s.Secrets) == 0 && len(s.Proofs) == 0 && len(r.accounts.lookups(r.dialect, open)) == 0 &&
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
		if !r.accounts.stepped[name] && c.ID != "" {
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

// refreshes reports whether the dialect has a refresh that presents a refresh
// token.
func (r *Realm) refreshes() bool {
	return slices.ContainsFunc(r.dialect.Refresh, func(x *dialect.Exchange) bool { return x.Has("refresh_token") })
}

// stable returns what the client is answered for a variable, always the same:
// what its account says, else where the realm is, else the dialect's own
// setting, else a text that means nothing.
func (r *Realm) stable(c directory.Client, account jeton.Vars, name string) string {
	if text, ok := account[name]; ok {
		return text
	}
	switch r.dialect.LeadsTo(name) {
	case "url":
		return r.url
	case "host":
		if u, err := url.Parse(r.url); err == nil {
			return u.Host
		}
	}
	if v := declared(r.dialect, name); v != nil {
		return r.dialect.Defaults()[name]
	}
	if name == "client_id" && c.ID != "" {
		return c.ID
	}
	return r.wrapped(name, r.directory.Opaque(c, name))
}

// fill binds what the answer to an exchange needs and the token does not say.
// Life is how long what it gives is good.
func (r *Realm) fill(x *dialect.Exchange, p *party, life time.Duration, answer jeton.Vars) {
	for _, name := range r.dialect.AnswerShape(x).Needs {
		if _, ok := answer[name]; ok || name == "access_token" || name == "refresh_token" {
			continue
		}
		if text := r.filled(name, p, life); text != "" {
			answer[name] = text
		}
	}
	if _, renewable := answer["refresh_token"]; !renewable || p.account["refresh_expires_in"] != "" {
		return
	}
	if x.Returns("refresh_expires_in") {
		answer["refresh_expires_in"] = seconds(r.families.lifetime)
	}
}

func (r *Realm) filled(name string, p *party, life time.Duration) string {
	if p.account[name] != "" && name != "scope" {
		return p.account[name]
	}
	switch {
	case name == "expires_at":
		return time.Now().Add(life).UTC().Format(time.RFC3339)
	case name == "expires_in":
		return seconds(life)
	case name == "token_type":
		return "Bearer"
	case name == "scope", name == "refresh_expires_in":
		return ""
	case r.accounts == nil && r.dialect.LeadsTo(name) == "":
		return "" // the directory's entries say nothing of it
	case r.accounts != nil:
		switch r.accounts.kinds[name] {
		case "seconds", "minutes", "hours":
			return seconds(max(life.Truncate(time.Hour), time.Hour))
		case "instant":
			return time.Now().Add(life).UTC().Format(time.RFC3339)
		case "day":
			return time.Now().Add(life).UTC().Truncate(24 * time.Hour).Format(time.RFC3339)
		}
	}
	c := directory.Client{}
	if p.client != nil {
		c = *p.client
	}
	return r.stable(c, p.account, name)
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// bound returns what calls wear beside the token, as the client has it. It goes
// with every token of the client. What the account is to have and lacks is
// nothing that a call could wear.
func (r *Realm) bound(p *party) map[string]jeton.Secret {
	if r.accounts == nil || p.account == nil {
		return nil
	}
	bound := map[string]jeton.Secret{}
	for _, name := range r.accounts.worn {
		text, has := p.account[name]
		switch {
		case !has && (declared(r.dialect, name) != nil || name == "scope" || name == "resource"):
			continue
		case !has && r.accounts.answered[name]:
			text = r.stable(*p.client, p.account, name)
		case !has:
			text = r.directory.Opaque(*p.client, "lacks "+name)
		}
		bound[name] = jeton.NewSecret(text)
	}
	return bound
}

// accountScope is what a client may ask for where its entry does not say: what
// its account names, else what everybody is given.
func (p *party) accountScope(otherwise jeton.Scope) jeton.Scope {
	if scope := jeton.ParseScope(p.account["scope"]); len(scope) > 0 {
		return scope
	}
	return otherwise
}

// accountIdentities returns what a message claims to be, as its limits count it.
// A variable that is nobody's name is counted by its digest.
func (r *Realm) accountIdentities(vars jeton.Vars) []identity {
	ids := identities(vars)
	for i := range ids {
		ids[i].tenant = ""
	}
	for name := range r.limits.rate {
		text, ok := vars[name]
		if !ok || name == "ip" || name == "username" || name == "client_id" {
			continue
		}
		id := identity{kind: name, name: text}
		if !r.dialect.Public(name) {
			id = identity{kind: name, name: digest(directory.Fold(text)), secret: true}
		}
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b identity) int { return strings.Compare(a.kind, b.kind) })
	return ids
}
