package issuer

import (
	"net/netip"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/limit"
	"github.com/jetonhq/jeton/store"
)

// guessRate bounds the wrong secrets for one identity from one network where
// the rate says nothing about its kind: far above what mistakes make, far below
// what guessing needs.
var guessRate = dialect.Rate{Count: 1000, Per: time.Hour}

// networkGuessRate bounds the wrong secrets from one network, whoever they are
// for, where the rate says nothing of networks: each costs a password hash, and
// many names at once would keep everybody waiting.
var networkGuessRate = dialect.Rate{Count: 5000, Per: time.Hour}

// limits keeps a realm's login limits. Three budgets count, each where the rate
// has it:
//
//   - one identity from one network: every attempt, before any password work.
//     Hammering on lengthens this block and no other, so that nobody can lock
//     out a user who comes from elsewhere;
//   - one network: every attempt;
//   - one identity from everywhere: logins that went well. A stranger's wrong
//     passwords do not count here.
//
// An identity is counted under its folded name, whether there is such a user or
// not. Over a limit the answer is the same for a right and a wrong secret.
type limits struct {
	limiter *limit.Limiter
	realm   string
	rate    map[string]dialect.Rate // :: "username", "client_id" or "ip" -> attempts
}

// An identity is what a login claims to be: a variable's name and its value.
type identity struct {
	kind, tenant, name string
	secret             bool // the name is not to be shown
}

// identities returns what the variables of a request claim.
func identities(vars jeton.Vars) []identity {
	var ids []identity
	for _, kind := range []string{"username", "client_id"} {
		if name, ok := vars[kind]; ok {
			ids = append(ids, identity{kind: kind, tenant: vars["tenant_id"], name: name})
		}
	}
	return ids
}

func (l *limits) rule(kind string, segments ...string) []limit.Rule {
	rate, ok := l.rate[kind]
	if !ok {
		return nil
	}
	key := store.Key(append([]string{l.realm, kind}, segments...)...)
	return []limit.Rule{{Key: key, Count: rate.Count, Per: rate.Per}}
}

func (l *limits) everywhere(ids []identity) (rules []limit.Rule) {
	for _, id := range ids {
		rules = append(rules, l.rule(id.kind, "all", id.tenant, directory.Fold(id.name))...)
	}
	return rules
}

// from returns the rules about each identity from one network, and that network
// by itself. Each route counts for itself: nobody who floods one stops those
// who use another.
func (l *limits) from(route string, ids []identity, ip netip.Addr) (rules []limit.Rule) {
	for _, id := range ids {
		rules = append(rules, l.rule(id.kind, route, id.tenant, directory.Fold(id.name), network(ip))...)
	}
	return append(rules, l.rule("ip", route, network(ip))...)
}

// attempt counts a login attempt. The error matches jeton.SlowDown if it is one
// too many.
func (l *limits) attempt(ids []identity, ip netip.Addr) error {
	if err := slowDown(l.limiter.Attempt(l.from("login", ids, ip)...)); err != nil {
		return err
	}
	return slowDown(l.limiter.Peek(append(l.everywhere(ids), l.guesses("login", ids, ip)...)...))
}

// guesses returns the rules about wrong secrets for identities, and for a
// network, that have no rate of their own, each route for itself.
func (l *limits) guesses(route string, ids []identity, ip netip.Addr) (rules []limit.Rule) {
	for _, id := range ids {
		if _, ok := l.rate[id.kind]; !ok {
			key := store.Key(l.realm, id.kind, "guess", route, id.tenant, directory.Fold(id.name), network(ip))
			rules = append(rules, limit.Rule{Key: key, Count: guessRate.Count, Per: guessRate.Per})
		}
	}
	if _, ok := l.rate["ip"]; !ok {
		key := store.Key(l.realm, "ip", "guess", route, network(ip))
		rules = append(rules, limit.Rule{Key: key, Count: networkGuessRate.Count, Per: networkGuessRate.Per})
	}
	return rules
}

// calls returns the rules about calls with wrong credentials, each for what the
// call says about who makes it and the network that it comes from. The dialect's
// rate is about logins.
func (l *limits) calls(ids []identity, ip netip.Addr) (rules []limit.Rule) {
	for _, id := range ids {
		key := store.Key(l.realm, "call", id.kind, id.name, network(ip))
		rules = append(rules, limit.Rule{Key: key, Count: guessRate.Count, Per: guessRate.Per})
	}
	return rules
}

// wrong counts a login, or an attempt at another route, whose secrets were
// wrong.
func (l *limits) wrong(route string, ids []identity, ip netip.Addr) {
	l.limiter.Count(l.guesses(route, ids, ip)...)
}

// guess counts an attempt to authenticate that is no login: at a route that
// refreshes or asks about tokens.
func (l *limits) guess(route string, ids []identity, ip netip.Addr) error {
	if err := slowDown(l.limiter.Attempt(l.from(route, ids, ip)...)); err != nil {
		return err
	}
	return slowDown(l.limiter.Peek(l.guesses(route, ids, ip)...))
}

// success counts a login whose secrets were right. It can still be one too
// many, if others went well since attempt looked.
func (l *limits) success(ids []identity) error {
	return slowDown(l.limiter.Attempt(l.everywhere(ids)...))
}

// wrongRefresh counts a refresh token that is not good. Those who hold a good
// one never come here, so no flood of any kind can stop them.
func (l *limits) wrongRefresh(ip netip.Addr) error {
	return slowDown(l.limiter.Attempt(l.rule("ip", "wrong refresh token", network(ip))...))
}

// wrongGuard counts a guard's key that is not good. Whoever holds a good one
// never comes here, so no flood can stop a guard.
func (l *limits) wrongGuard(ip netip.Addr) error {
	rules := l.rule("ip", "wrong guard key", network(ip))
	if rules == nil {
		key := store.Key(l.realm, "ip", "guess", "guard", network(ip))
		rules = []limit.Rule{{Key: key, Count: networkGuessRate.Count, Per: networkGuessRate.Per}}
	}
	return slowDown(l.limiter.Attempt(rules...))
}

// canary counts a canary of a guard: 2 a second from one network, and 20 from
// everywhere.
func (l *limits) canary(guard string, ip netip.Addr) error {
	return slowDown(l.limiter.Attempt(
		limit.Rule{Key: store.Key(l.realm, "canary", guard, network(ip)), Count: 120, Per: time.Minute},
		limit.Rule{Key: store.Key(l.realm, "canary", guard), Count: 1200, Per: time.Minute},
	))
}

func slowDown(wait time.Duration) error {
	if wait <= 0 {
		return nil
	}
	return &jeton.Error{Code: jeton.SlowDown, Description: "too many logins; wait before the next one", RetryAfter: wait}
}
