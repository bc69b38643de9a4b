package issuer

import (
	"context"
	"errors"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
)

// refresh answers RFC 6749 section 6 and the vendors' own refreshes. The
// refresh token is replaced with every use. Whoever lost the answer may ask
// again within the retry window and gets the same refresh token, with an access
// token that is fresh; whoever presents a token that was spent before ends the
// family, because one of two holders of it is a thief.
func (r *Realm) refresh(ctx context.Context, a *attempt) (jeton.Vars, error) {
	if r.accounts != nil {
		return r.refreshAccount(ctx, a)
	}
	ids := identities(a.vars)
	a.name(ids)
	var client *directory.Client
	if secret, ok := a.vars["client_secret"]; ok {
		route, err := r.refreshRoute(ctx, a.vars)
		if err != nil {
			return nil, err
		}
		if err := r.limits.guess(route, ids, a.ip); err != nil {
			return nil, err
		}
		c, err := r.directory.AuthenticateClient(ctx, a.vars["tenant_id"], a.vars["client_id"], jeton.NewSecret(secret))
		if err != nil {
			if jeton.Refused(err) {
				r.limits.wrong(route, ids, a.ip)
			}
			return nil, err
		}
		client = &c
	}
	var worn *token
	if a.x.Wears() {
		t, err := r.open(ctx, jeton.NewSecret(a.vars["access_token"]))
		if err != nil {
			return nil, err
		}
		worn = t
	}
	answer, err := r.renew(ctx, a, client, worn)
	if errors.Is(err, jeton.InvalidGrant) {
		if slow := r.limits.wrongRefresh(a.ip); slow != nil {
			return nil, slow
		}
	}
	return answer, err
}

// refreshRoute names the budget of a refresh by a client that authenticates.
// Those who present a good refresh token of the client have one of their own,
// so that no flood of wrong secrets can stop them.
func (r *Realm) refreshRoute(ctx context.Context, vars jeton.Vars) (string, error) {
	presented := jeton.NewSecret(vars["refresh_token"])
	f, err := r.families.find(ctx, presented)
	switch {
	case err != nil && !jeton.Refused(err):
		return "", err
	case err == nil && f.Client == vars["client_id"] && f.Tenant == vars["tenant_id"] && r.families.standing(f, presented) != spent:
		return "refresh as holder", nil
	}
	return "refresh", nil
}

// renew decides by what the family's record says, and changes it by
// compare-and-swap: what loses a race reads and decides again.
func (r *Realm) renew(ctx context.Context, a *attempt, client *directory.Client, worn *token) (jeton.Vars, error) {
	presented := jeton.NewSecret(a.vars["refresh_token"])
	accepted := ""
	for {
		f, err := r.families.find(ctx, presented)
		if err != nil {
			return nil, err
		}
		if !f.belongs(a.vars, client, worn) {
			return nil, jeton.InvalidGrant // with no effect: who asks is not the holder
		}
		a.entry.Target = f.subject()
		if a.entry.Actor == "" {
			a.entry.Actor = first(f.Name, f.Client) // a form that names nobody
		}
		if r.families.standing(f, presented) == spent {
			return nil, r.endSpent(ctx, a, f)
		}
		if r.Revocations().Ended(&jeton.Claims{Family: f.id}) != nil { // and its end was interrupted
			if err := r.families.end(ctx, f.id); err != nil {
				return nil, err
			}
			return nil, jeton.InvalidGrant
		}
		t, err := r.renewed(ctx, a.vars, f)
		if err != nil {
			return nil, err
		}
		if accepted == "" {
			a.entry.TokenID, accepted = t.id, t.id
			if err := r.accept(ctx, a); err != nil {
				return nil, err
			}
		}
		t.id = accepted
		answer := jeton.Vars{}
		if a.x.Returns("refresh_token") { // else the one that there is stays
			next, err := r.families.use(ctx, f, presented)
			if errors.Is(err, store.ErrConflict) {
				continue
			}
			if err != nil {
				return nil, err
			}
			answer["refresh_token"] = next.Reveal()
		}
		r.fill(a.x, t.party, r.lifetime, answer)
		return answer, r.mint(ctx, t, answer)
	}
}

// belongs reports whether the family is that of the client that authenticated,
// of the user that the request names, and of the access token that it wears.
func (f *family) belongs(vars jeton.Vars, client *directory.Client, worn *token) bool {
	if client != nil && (client.ID != f.Client || client.Tenant != f.Tenant) || client == nil && f.Client != "" {
		return false
	}
	if f.User == "" {
		return worn == nil || worn.family == f.id // what else is presented was compared with the account
	}
	if name, ok := vars["username"]; ok && directory.Fold(name) != directory.Fold(f.Name) {
		return false
	}
	if tenant, ok := vars["tenant_id"]; ok && tenant != f.Tenant {
		return false
	}
	return worn == nil || worn.family == f.id
}

// subject is the user's, or else the client's.
func (f *family) subject() string { return first(f.User, f.Client) }

// endSpent ends the family of a token that was spent, after writing down why.
func (r *Realm) endSpent(ctx context.Context, a *attempt, f *family) error {
	a.entry.Detail = "a spent refresh token was presented; its family ended"
	refusal := r.refuse(ctx, a, jeton.InvalidGrant)
	if refusal.Code != jeton.InvalidGrant {
		return refusal
	}
	if err := r.families.end(ctx, f.id); err != nil {
		return err
	}
	return refusal
}

// renewed returns the next token of the family, if the user may still have one.
// It carries the generations of the login, so whatever raises one of them while
// we are here ends it; a state that was written before that is seen here.
func (r *Realm) renewed(ctx context.Context, vars jeton.Vars, f *family) (*token, error) {
	p, err := r.reload(ctx, f)
	if err != nil {
		return nil, err
	}
	t := r.newToken(p)
	t.family = f.id
	granted := jeton.ParseScope(f.Scope)
	t.scope = granted
	if asked, ok := vars["scope"]; ok {
		if t.scope = jeton.ParseScope(asked); !jeton.ValidScope(asked) || len(t.scope) == 0 || !t.scope.Within(granted) {
			return nil, jeton.Refuse(jeton.InvalidScope, "the scope is malformed or more than what was granted")
		}
	}
	t.audience, err = narrow(vars, f.Audience, f.Audience)
	return t, err
}
