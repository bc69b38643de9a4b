package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
)

// login answers RFC 6749 sections 4.3 and 4.4, and what vendors made of them.
// The order is part of the contract: limits before any password work, and what
// ends an older token after everything that can fail.
func (r *Realm) login(ctx context.Context, a *attempt) (jeton.Vars, error) {
	ids := identities(a.vars)
	if r.accounts != nil {
		ids = r.accountIdentities(a.vars)
	}
	a.name(ids)
	if a.x.Grant == jeton.GrantPassword && r.dialect.Standard && !r.password {
		return nil, jeton.Refuse(jeton.UnsupportedGrantType, "this realm does not take the password grant")
	}
	if err := r.limits.attempt(ids, a.ip); err != nil {
		return nil, err
	}
	p, err := r.whoLogsIn(ctx, a)
	if errors.Is(err, jeton.InvalidGrant) && a.x.Basic() {
		err = jeton.InvalidClient // RFC 6749 section 5.2: the Authorization header was used
	}
	if err != nil {
		if jeton.Refused(err) {
			r.limits.wrong("login", ids, a.ip)
		}
		return nil, err
	}
	if err := r.limits.success(ids); err != nil {
		return nil, err
	}
	return r.grant(ctx, a, r.newToken(p), p)
}

func (r *Realm) whoLogsIn(ctx context.Context, a *attempt) (*party, error) {
	if r.accounts != nil {
		return r.authenticateAccount(ctx, a.message)
	}
	return r.authenticate(ctx, a.vars)
}

// grant gives a party that has authenticated what the exchange says: a token, and
// a refresh token where there is one to it.
func (r *Realm) grant(ctx context.Context, a *attempt, t *token, p *party) (answer jeton.Vars, err error) {
	if t.scope, err = p.scope(a.vars, r.dialect.Scope.Default); err != nil {
		return nil, err
	}
	if t.audience, err = p.audience(a.vars, r.url); err != nil {
		return nil, err
	}
	if p.key != nil && slices.Contains(r.dialect.CallShape().Travels, "api_key") {
		t.bound = map[string]jeton.Secret{"api_key": jeton.NewSecret(a.vars["api_key"])}
	}
	// A client by itself gets no refresh token: it can log in again (RFC 6749
	// section 4.4.3). One with an account does where the vendor gives one.
	renewable := a.x.Returns("refresh_token") && (p.user != nil || p.account != nil && p.account["refresh_token"] == "" && r.refreshes())
	handle := rand.Text()
	if renewable {
		t.family = familyID(handle)
	}
	a.entry.Target, a.entry.TokenID = t.subject, t.id
	if err := r.accept(ctx, a); err != nil {
		return nil, err
	}
	answer = jeton.Vars{}
	if renewable {
		if err := r.renewable(ctx, t, p, handle, answer); err != nil {
			return nil, err
		}
	} else if own := p.account["refresh_token"]; own != "" {
		answer["refresh_token"] = own
	}
	r.fill(a.x, p, r.lifetime, answer)
	return answer, r.mint(ctx, t, answer)
}

// renewable makes a refresh family for a token and binds its first refresh token.
func (r *Realm) renewable(ctx context.Context, t *token, p *party, handle string, answer jeton.Vars) error {
	f := &family{Tenant: p.tenant, Client: p.clientID(), Scope: t.scope.String(), Audience: t.audience, Counters: p.counters}
	if p.user != nil {
		f.User, f.Name = p.user.ID, p.user.Name
	}
	refresh, err := r.families.create(ctx, f, handle)
	if err == nil {
		answer["refresh_token"] = refresh.Reveal()
	}
	return err
}

// name puts what the request claims to be into the audit entry. It is what was
// typed: there may be no such user.
func (a *attempt) name(ids []identity) {
	var names []string
	for _, id := range ids {
		if !id.secret {
			names = append(names, id.name)
		}
	}
	a.entry.Actor = strings.Join(names, " ")
	if tenant := a.vars["tenant_id"]; tenant != "" {
		a.entry.Detail = "tenant " + tenant
	}
}

// authenticate checks every credential that the request binds, also after one
// of them was wrong: the work, like the error, does not tell which.
func (r *Realm) authenticate(ctx context.Context, vars jeton.Vars) (*party, error) {
	p := &party{tenant: vars["tenant_id"]}
	var wrong error
	if id, ok := vars["client_id"]; ok {
		c, err := r.directory.AuthenticateClient(ctx, p.tenant, id, jeton.NewSecret(vars["client_secret"]))
		p.client, wrong = &c, worse(wrong, err)
	}
	if name, ok := vars["username"]; ok {
		u, err := r.directory.AuthenticateUser(ctx, p.tenant, name, jeton.NewSecret(vars["password"]))
		p.user, wrong = &u, worse(wrong, err)
		if key, ok := vars["api_key"]; ok {
			k, err := r.directory.MatchAPIKey(ctx, p.tenant, u.ID, jeton.NewSecret(key))
			p.key, wrong = &k, worse(wrong, err)
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	return p, r.count(ctx, p)
}

// worse returns the error to report of two: one that could not decide before a
// refusal, and the earlier refusal before the later.
func worse(a, b error) error {
	if b == nil || a != nil && (!jeton.Refused(a) || jeton.Refused(b)) {
		return a
	}
	return b
}

// scope decides what the token may do: what was asked for, if the party may
// have all of that (RFC 6749 section 3.3), else the default, else everything
// that it may have.
func (p *party) scope(vars jeton.Vars, otherwise jeton.Scope) (jeton.Scope, error) {
	may := p.may(otherwise)
	asked, ok := vars["scope"]
	if !ok {
		if len(otherwise) > 0 && otherwise.Within(may) {
			return otherwise, nil
		}
		return may, nil
	}
	scope := jeton.ParseScope(asked)
	if !jeton.ValidScope(asked) || len(scope) == 0 || !scope.Within(may) {
		return nil, jeton.Refuse(jeton.InvalidScope, "the scope is malformed or more than what may be asked for")
	}
	return scope, nil
}

// may returns what the client may ask for, and of that what the user may do
// where the user has scopes.
func (p *party) may(otherwise jeton.Scope) jeton.Scope {
	switch {
	case p.account != nil && len(p.client.Scope) == 0:
		return p.accountScope(otherwise)
	case p.client == nil:
		return p.user.Scope
	case p.user == nil || len(p.user.Scope) == 0:
		return p.client.Scope
	}
	var both jeton.Scope
	for _, t := range p.client.Scope {
		if p.user.Scope.Has(t) {
			both = append(both, t)
		}
	}
	return both
}

// audience decides whom the token is for: the realm, or the resources that the
// request names and the client may have (RFC 8707 section 2).
func (p *party) audience(vars jeton.Vars, realm string) ([]string, error) {
	if own := p.account["resource"]; own != "" && own == vars["resource"] {
		return []string{realm}, nil // the vendor's word for its API
	}
	may := []string{realm}
	if p.client != nil {
		may = append(may, p.client.Resources...)
	}
	return narrow(vars, []string{realm}, may)
}

// narrow returns the resources of a request, otherwise the given ones. It
// refuses one that is not among those that may be asked for.
func narrow(vars jeton.Vars, otherwise, may []string) ([]string, error) {
	asked := strings.Fields(vars["resource"])
	if len(asked) == 0 {
		return otherwise, nil
	}
	var audience []string
	for _, resource := range asked {
		u, err := url.Parse(resource)
		if err != nil || !u.IsAbs() || u.Fragment != "" || !slices.Contains(may, resource) {
			return nil, jeton.Refuse(jeton.InvalidTarget, "a resource is malformed or not one that may be asked for")
		}
		if !slices.Contains(audience, resource) {
			audience = append(audience, resource)
		}
	}
	slices.Sort(audience)
	return audience, nil
}
