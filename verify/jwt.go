package verify

import (
	"context"
	"crypto"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/jws"
)

// A JWT is a [jeton.Verifier] for JSON Web Tokens of one issuer, by the keys
// that it publishes (RFC 9068 section 4). It takes one textual form of a token,
// of 8,192 bytes at most. A key is found by kid alone, and what a header says
// about keys or where they are is never looked at.
//
// It makes a difference neither of the two forms that an ECDSA signature has:
// issuers make both. They are one token, with one jti, and what ends it ends it
// in both.
type JWT struct {
	// Issuer is what iss must be, exactly. Required.
	Issuer string

	// Keys are the issuer's. Required.
	Keys *JWKS

	// Audience is what aud must be, or have as a member. Empty: the issuer.
	Audience string

	// Algs are the algorithms that are taken. Nil: [DefaultAlgs]. The key says
	// for which of them it is. One that does not say is used only if Algs is
	// set and has a single one that goes with its kind and curve.
	Algs []string

	// Types are the values of the header typ that are taken, whatever their
	// case. Nil: at+jwt, application/at+jwt and JWT. RFC 9068 has the first two
	// only; they are what tells an access token from other tokens with the
	// same signature for sure.
	Types []string

	// Leeway is by how much clocks may differ: a token is good for as long
	// before nbf and iat and after exp. Zero: they may not. The most is
	// [MaxLeeway].
	Leeway time.Duration
}

// MaxLeeway is the largest leeway that is used, whatever is set.
const MaxLeeway = 5 * time.Minute

// DefaultAlgs returns the algorithms that are taken if nothing else is said, all
// of them asymmetric (RFC 7518 section 3.1, RFC 8037, RFC 9864).
func DefaultAlgs() []string { return slices.Clone(defaultAlgs) }

var (
	defaultAlgs  = []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	defaultTypes = []string{"at+jwt", "application/at+jwt", "JWT"}
)

// Verify returns what the token grants. Its error is as [jeton.Verifier] says.
func (v *JWT) Verify(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	token, ok := jws.Parse(bearer.Reveal())
	if !ok || !v.takes(token.Header) {
		return nil, refuse()
	}
	key, ok := v.key(token.Header)
	if !ok {
		// Nobody is asked about a token that would be refused anyway.
		if _, err := v.judge(token); err != nil {
			return nil, err
		}
		if err := v.Keys.learn(ctx); err != nil {
			return nil, err
		}
		if key, ok = v.key(token.Header); !ok {
			return nil, refuse()
		}
	}
	if !token.SignedBy(token.Alg, key) {
		return nil, refuse()
	}
	return v.judge(token)
}

// takes reports whether tokens with such a header are taken at all.
func (v *JWT) takes(h jws.Header) bool {
	algs, types := v.Algs, v.Types
	if algs == nil {
		algs = defaultAlgs
	}
	if types == nil {
		types = defaultTypes
	}
	return h.KeyID != "" && asymmetric(h.Alg) && slices.Contains(algs, h.Alg) &&
		slices.ContainsFunc(types, func(typ string) bool { return strings.EqualFold(typ, h.Type) })
}

// asymmetric keeps out an HMAC, whatever Algs has: its key would be one that
// everybody can fetch.
func asymmetric(alg string) bool { return slices.Contains(defaultAlgs, alg) }

// key returns the key that a header names, if the key is for its algorithm.
func (v *JWT) key(h jws.Header) (crypto.PublicKey, bool) {
	key, says, ok := v.Keys.known(h.KeyID, h.Alg)
	if !ok || says {
		return key, ok
	}
	fits := 0
	for _, alg := range v.Algs {
		if asymmetric(alg) && jws.Fits(alg, key) {
			fits++
		}
	}
	return key, fits == 1
}

// judge looks at the claims. Whether they were signed is another matter.
func (v *JWT) judge(token *jws.Token) (*jeton.Claims, error) {
	document, ok := token.Claims()
	if !ok {
		return nil, refuse()
	}
	r := reader{document, true}
	notBefore := r.instant("nbf")
	if !r.ok || constrained(document) || !isAccess(token.Type, document) {
		return nil, refuse()
	}
	claims, ok := readClaims(document)
	if !ok || claims.Expiry.IsZero() {
		return nil, refuse()
	}
	if claims.IssuedAt.After(notBefore) {
		notBefore = claims.IssuedAt
	}
	if err := v.policy().judge(claims, notBefore, time.Now()); err != nil {
		return nil, err
	}
	return claims, nil
}

func (v *JWT) policy() policy {
	return policy{v.Issuer, orElse(v.Audience, v.Issuer), min(max(v.Leeway, 0), MaxLeeway)}
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// constrained reports whether a token is good only for who proves that he has a
// key (RFC 7800, 8705, 9449), which nobody looks at here. As a bearer token it
// is not good.
func constrained(document map[string]any) bool {
	_, there := document["cnf"]
	return there
}

// isAccess tells the tokens apart that an issuer signs with the same key, if typ
// does not: an ID token has claims of its own (OpenID Connect Core section 2), so
// do logout tokens and other events (RFC 8417), and some issuers say in a claim
// what a token is for.
func isAccess(typ string, document map[string]any) bool {
	if use, there := document["token_use"]; there && use != "access" && use != "access_token" {
		return false
	}
	if !strings.EqualFold(typ, "JWT") && typ != "" {
		return true
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash", "events"} {
		if _, there := document[name]; there {
			return false
		}
	}
	kind, there := document["typ"]
	return !there || kind == "Bearer" || kind == "at+jwt" || kind == "JWT"
}
