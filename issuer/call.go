package issuer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
)

// verifyMinted decides about a token that the client made itself: one that an
// account made is good. It reads the store for each, and what ends the client's
// tokens ends it.
func (r *Realm) verifyMinted(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	m, err := r.dialect.Open(bearer)
	if err != nil {
		return nil, err
	}
	expiry := m.Expiry(bearer, time.Now())
	claims, err := r.claims(ctx, presented{Received: m, names: r.accounts.minted, room: r.accounts.minted}, digest("minted\x00"+m.Identity(bearer)), expiry)
	if err == nil {
		claims.IssuedAt = m.Made()
	}
	return claims, err
}

// VerifyCall decides about a call that is more than its token: it wears
// credentials of an account, is signed, or shows a certificate. The URL of r is
// relative to the realm, and body is all of its body. What the token is bound to
// is compared here. The error is as that of [Realm.Verify], or
// [dialect.ErrNoCredentials], or slow_down where somebody guesses.
func (r *Realm) VerifyCall(ctx context.Context, req *http.Request, body []byte) (*jeton.Claims, error) {
	m, err := r.dialect.ReceiveCall(req, body)
	if err != nil {
		return nil, asInvalidToken(err)
	}
	r.adjust(m, req)
	if !r.dialect.Tokenless() {
		return r.verifyWith(ctx, m)
	}
	p := presented{Received: m, names: r.calls(m), room: r.accounts.call.Travels}
	guesses := r.limits.calls(r.callers(p), clientIP(req, r.trusted))
	if err := slowDown(r.limits.limiter.Peek(guesses...)); err != nil {
		return nil, err
	}
	claims, err := r.claims(ctx, p, "", time.Time{})
	if err != nil && jeton.Refused(err) {
		r.limits.limiter.Count(guesses...)
	}
	return claims, asInvalidToken(err)
}

// callers returns what a call says about who makes it, as the limits of guessing
// count it: each value for itself, since nothing tells a name from a password.
func (r *Realm) callers(p presented) (ids []identity) {
	for _, name := range r.accounts.lookups(r.dialect, p.names) {
		ids = append(ids, identity{kind: name, name: digest(directory.Fold(p.Vars[name])), secret: true})
	}
	return ids
}

// calls returns what a call presents beside its token: what it wears, and what
// its signature says about who made it.
func (r *Realm) calls(m *dialect.Received) []string {
	var names []string
	for _, name := range slices.Concat(r.accounts.call.Travels, r.accounts.call.Secrets) {
		if _, ok := m.Vars[name]; ok && name != "access_token" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// verifyWith decides about a call that has more to it than its token.
func (r *Realm) verifyWith(ctx context.Context, m *dialect.Received) (*jeton.Claims, error) {
	if m.Vars["access_token"] == "" {
		return nil, dialect.ErrNoCredentials
	}
	claims, err := r.Verify(ctx, jeton.NewSecret(m.Vars["access_token"]))
	if err != nil {
		return nil, err
	}
	if err := worn(claims, m.Vars); err != nil {
		return nil, err
	}
	if r.accounts == nil {
		return claims, nil
	}
	c, account, err := r.directory.Account(ctx, claims.Subject)
	if errors.Is(err, store.ErrNotFound) {
		return nil, invalidToken("the access token was revoked")
	}
	if err != nil {
		return nil, err
	}
	p := presented{Received: m, names: r.calls(m)}
	good := r.holds(c, account, p, p.names)
	if err := m.Prove(r.proving(c, account), time.Now()); err != nil || !good {
		return nil, asInvalidToken(jeton.InvalidClient)
	}
	return claims, nil
}

// claims recognises who a message is from, and says what it may do.
func (r *Realm) claims(ctx context.Context, m presented, id string, expiry time.Time) (*jeton.Claims, error) {
	found, err := r.recognise(ctx, m)
	if err != nil {
		return nil, asInvalidToken(err)
	}
	if found.party == nil {
		return nil, jeton.InvalidToken
	}
	if id != "" {
		if err := r.revoked(ctx, id); err != nil {
			return nil, err
		}
	}
	p := found.party
	claims := &jeton.Claims{
		ID: id, Issuer: r.url, Subject: p.client.ID, ClientID: p.client.ID, Tenant: p.account["tenant_id"],
		Audience: []string{r.url}, Scope: p.may(r.dialect.Scope.Default), Expiry: expiry, Generations: p.counters,
	}
	if !r.dialect.Tokenless() {
		claims.Bound = fingerprints(id, r.bound(p))
	}
	return claims, nil
}

func fingerprints(id string, bound map[string]jeton.Secret) map[string]string {
	if len(bound) == 0 {
		return nil
	}
	prints := map[string]string{}
	for name, credential := range bound {
		prints[name] = jeton.Fingerprint(id, credential)
	}
	return prints
}

// asInvalidToken makes invalid_token of what a token endpoint would refuse
// otherwise.
func asInvalidToken(err error) error {
	if errors.Is(err, jeton.InvalidClient) || errors.Is(err, jeton.InvalidGrant) {
		return jeton.Refuse(jeton.InvalidToken, "the credentials of the call are not good")
	}
	return err
}

// adjust tells a message what the realm knows and it does not: the request as
// the client sent it, with what the realm is mounted at.
func (r *Realm) adjust(m *dialect.Received, req *http.Request) {
	sent := *req
	u := *req.URL
	if own, err := url.Parse(r.url); err == nil {
		u.Scheme = own.Scheme
		if own.Path != "" {
			escaped := own.EscapedPath() + req.URL.EscapedPath()
			u.Path, u.RawPath = own.Path+req.URL.Path, escaped
		}
	}
	sent.URL = &u
	for _, m := range append([]*dialect.Received{m}, m.Others...) {
		m.Sent, m.WithoutTLS = &sent, r.insecureCertificates
	}
}
