package issuer

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
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
	return r.claims(ctx, presented{Received: m, names: r.dialect.MintShape().Travels}, digest("minted\x00"+bearer.Reveal()), expiry)
}

// VerifyCall decides about a call where there is no token: it wears credentials
// of an account, or is signed. The URL of r is relative to the realm, and body
// is all of its body. The error is as that of [Realm.Verify], or
// [dialect.ErrNoCredentials].
func (r *Realm) VerifyCall(ctx context.Context, req *http.Request, body []byte) (*jeton.Claims, error) {
	if !r.dialect.Tokenless() {
		return nil, errors.New("issuer: calls of this realm wear a token")
	}
	m, err := r.dialect.ReceiveCall(req, body)
	if err != nil {
		return nil, asInvalidToken(err)
	}
	r.adjust(m, req)
	names := r.dialect.CallShape().Travels
	if r.dialect.Signs() {
		names = nil
		for name := range m.Vars {
			names = append(names, name)
		}
	}
	claims, err := r.claims(ctx, presented{Received: m, names: names}, "", time.Time{})
	return claims, asInvalidToken(err)
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
