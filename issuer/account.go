package issuer

import (
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
	minted   []string        // what a token that the client makes presents
	call     dialect.Shape
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
	a := &accounts{
		answered: map[string]bool{}, stepped: map[string]bool{}, given: map[string]bool{},
		minted: d.MintShape().Travels, call: d.CallShape(), kinds: d.Kinds(),
	}
	for _, name := range d.LoginVars() {
		a.given[name] = true
	}
	for _, name := range a.call.Travels {
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
		if proves(s) {
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
		if !slices.Contains(plainAnswers, name) && d.LeadsTo(name) == "" && slices.Contains(d.Call.Holes(), name) {
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

// proves reports whether a message proves what it says: it holds a digest or a
// signature, or is made of what does not travel.
func proves(s dialect.Shape) bool { return len(s.Secrets) > 0 || len(s.Proofs) > 0 }

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
	case d.Minted() && len(a.lookups(d, a.minted)) == 0:
		return errors.New("a token that the client makes names nothing by which its account could be found")
	case d.Tokenless() && !d.Signs() && len(a.lookups(d, a.call.Travels)) == 0:
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
		if proves(s) {
			return fmt.Errorf("the step at %s %s is proven by an account, and presents nothing by which that could be found", x.Method, x.Path())
		}
	}
	return a.secret(d)
}

// secret refuses a dialect of which somebody who knows nothing but names gets a
// token, or is let in where calls wear none.
func (a *accounts) secret(d *dialect.Dialect) error {
	open := errors.New("logins or calls present nothing that is secret: whoever knows a name would be let in")
	switch {
	case d.Minted() && !a.hides(d, d.MintShape()), d.Tokenless() && !a.hides(d, a.call):
		return open
	}
	good, bad := map[string]bool{}, map[string]bool{} // answered to who proved something, and to anybody
	proven := func(x *dialect.Exchange) bool {
		s := d.Shape(x)
		return a.hides(d, s) || slices.ContainsFunc(s.Travels, func(name string) bool {
			return good[name] && !bad[name] && (a.stepped[name] || !d.Public(name))
		})
	}
	for _, x := range d.Sequence() {
		answers := bad
		if proven(x) {
			answers = good
		} else if x == d.Login || x.Returns("refresh_token") {
			return open
		}
		for _, name := range d.AnswerShape(x).Travels {
			answers[name] = true
		}
	}
	for _, x := range slices.Concat(d.Accept, d.Refresh) {
		renews := x.Kind == dialect.KindRefresh && (x.Has("refresh_token") || x.Has("access_token"))
		if !renews && !proven(x) {
			return fmt.Errorf("the %s at %s %s presents nothing that is secret: whoever knows a name would be let in", x.Kind, x.Method, x.Path())
		}
	}
	return nil
}

// hides reports whether there is anything in a message that not everybody may
// know.
func (a *accounts) hides(d *dialect.Dialect, s dialect.Shape) bool {
	return len(s.Secrets) > 0 || slices.ContainsFunc(s.Travels, func(name string) bool {
		return !d.Public(name) && (a.given[name] || !a.answered[name])
	})
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
