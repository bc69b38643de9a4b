package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/revocation"
)

// A step of a login answers with what the next one presents. Where that is a
// credential and not the account's own it is a step token: a JWT of the realm
// whose type nothing else has. It names the client and the variable that it is,
// and ends with what ends the client's tokens.
const (
	stepType     = "step+jwt"
	stepVariable = "var"
	stepLifetime = 10 * time.Minute
)

// signStep makes a step token that an exchange gives.
func (r *Realm) signStep(ctx context.Context, p *party, by *dialect.Exchange, name string) (string, error) {
	now := time.Now()
	signed, err := r.ring.Sign(ctx, stepType, map[string]any{
		"iss": r.url, "sub": p.client.ID, "aud": r.url, "jti": rand.Text(), stepVariable: r.stepName(name, by),
		"iat": now.Unix(), "exp": now.Add(stepLifetime).Unix(),
		revocation.ClaimName: revocation.Claim{Generations: p.counters},
	})
	return r.wrapped(name, signed), err
}

// stepName says in a step token what it is: the variable, and if several steps
// answer with that which of them gave it. Else who has it of one could leave out
// the next, and what that asks for.
func (r *Realm) stepName(name string, by *dialect.Exchange) string {
	givers := r.givers(name, nil)
	if i := slices.Index(givers, by); i > 0 {
		return name + " " + strconv.Itoa(i+1)
	}
	return name
}

// givers returns the steps that answer with a variable, in their order, up to an
// exchange; nil: all.
func (r *Realm) givers(name string, to *dialect.Exchange) (list []*dialect.Exchange) {
	if to != nil && to.Kind == dialect.KindLogin {
		to = r.dialect.Login // also for its other forms
	}
	for _, x := range r.dialect.Sequence() {
		if x == to {
			break
		}
		if x.Kind == dialect.KindStep && x.Returns(name) {
			list = append(list, x)
		}
	}
	return list
}

// openStep reads a step token for a variable of an exchange. The error matches
// jeton.InvalidToken if it is not good.
func (r *Realm) openStep(ctx context.Context, text jeton.Secret, name string, to *dialect.Exchange) (*token, error) {
	t, err := r.readAs(ctx, stepType, name, text)
	if err != nil {
		return nil, err
	}
	givers := r.givers(name, to)
	if len(givers) == 0 || t.claims[stepVariable] != r.stepName(name, givers[len(givers)-1]) {
		return nil, jeton.InvalidToken
	}
	return t, r.alive(ctx, t)
}

// step answers an exchange of a login that gives no token of its own, before or
// after the one that does.
func (r *Realm) step(ctx context.Context, a *attempt) (jeton.Vars, error) {
	ids := r.accountIdentities(a.vars)
	a.name(ids)
	if err := r.limits.guess("step", ids, a.ip); err != nil {
		return nil, err
	}
	found, err := r.recognise(ctx, r.presented(a.message))
	if err != nil {
		if jeton.Refused(err) {
			r.limits.wrong("step", ids, a.ip)
		}
		return nil, err
	}
	answer := jeton.Vars{}
	if found.party == nil {
		r.fill(a.x, &party{}, stepLifetime, answer)
		return answer, nil
	}
	p := found.party
	a.entry.Target = p.client.ID
	if err := r.accept(ctx, a); err != nil {
		return nil, err
	}
	for _, name := range r.dialect.AnswerShape(a.x).Needs {
		if _, own := p.account[name]; own || !r.accounts.stepped[name] {
			continue
		}
		if answer[name], err = r.signStep(ctx, p, a.x, name); err != nil {
			return nil, err
		}
	}
	if own := p.account["refresh_token"]; own != "" {
		answer["refresh_token"] = own
	} else if a.x.Returns("refresh_token") && r.refreshes() {
		t := r.newToken(p)
		if t.scope, err = p.scope(a.vars, r.dialect.Scope.Default); err != nil {
			return nil, err
		}
		if t.audience, err = p.audience(a.vars, r.url); err != nil {
			return nil, err
		}
		if err := r.renewable(ctx, t, p, rand.Text(), answer); err != nil {
			return nil, err
		}
	}
	r.fill(a.x, p, stepLifetime, answer)
	return answer, nil
}

// authenticateAccount is authenticate in an account realm.
func (r *Realm) authenticateAccount(ctx context.Context, m *dialect.Received) (*party, error) {
	found, err := r.recognise(ctx, r.presented(m))
	if err != nil {
		return nil, err
	}
	if found.party == nil {
		return nil, jeton.InvalidClient
	}
	return found.party, nil
}

// refreshAccount answers the refreshes of an account realm: with a refresh
// token, with the access token itself, or with what a login presents.
func (r *Realm) refreshAccount(ctx context.Context, a *attempt) (jeton.Vars, error) {
	ids := r.accountIdentities(a.vars)
	a.name(ids)
	route := "refresh"
	message := r.presented(a.message)
	if own, err := r.own(ctx, message, "refresh_token"); err != nil {
		return nil, err
	} else if own != nil && r.families.standing(own.family, jeton.NewSecret(a.vars["refresh_token"])) != spent {
		route = "refresh as holder"
	}
	if err := r.limits.guess(route, ids, a.ip); err != nil {
		return nil, err
	}
	found, err := r.recognise(ctx, message)
	if err == nil && found.party == nil {
		err = jeton.InvalidClient
	}
	if err != nil {
		if jeton.Refused(err) {
			r.limits.wrong(route, ids, a.ip)
		}
		if errors.Is(err, jeton.InvalidGrant) {
			if slow := r.limits.wrongRefresh(a.ip); slow != nil {
				return nil, slow
			}
		}
		return nil, err
	}
	if found.family != nil {
		return r.renew(ctx, a, found.party.client, found.access)
	}
	t := r.newToken(found.party)
	if found.access != nil {
		// The token that is worn is exchanged for the next one: it grants no more.
		t.scope, t.audience, t.family = found.access.scope, found.access.audience, found.access.family
		return r.give(ctx, a, t, found.party)
	}
	return r.grant(ctx, a, t, found.party)
}

// give mints a token with nothing else to it.
func (r *Realm) give(ctx context.Context, a *attempt, t *token, p *party) (jeton.Vars, error) {
	a.entry.Target, a.entry.TokenID = t.subject, t.id
	if err := r.accept(ctx, a); err != nil {
		return nil, err
	}
	answer := jeton.Vars{}
	r.fill(a.x, p, r.lifetime, answer)
	return answer, r.mint(ctx, t, answer)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:12])
}
