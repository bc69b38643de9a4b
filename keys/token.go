package keys

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/jws"
	"github.com/jetonhq/jeton/strictjson"
)

// Sign returns the claims as a JWT in compact form, with typ and kid in its
// header. It does not fail for a store that is down.
func (r *Ring) Sign(ctx context.Context, typ string, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("keys: encode the claims: %w", err)
	}
	if _, err := strictjson.Object(payload); err != nil {
		return "", fmt.Errorf("keys: encode the claims: %w, and nobody would take the token", err)
	}
	keys := r.fresh(ctx)
	signer, err := keys.signerFor(typ)
	if err != nil {
		return "", fmt.Errorf("keys: make a signer: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("keys: sign: %w", err)
	}
	if keys.current.Algorithm == string(jose.ES256) {
		jws.Lower(signed.Signatures[0].Signature)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("keys: sign: %w", err)
	}
	if len(token) > jws.MaxSize {
		return "", fmt.Errorf("keys: the token would have %d bytes and nobody would take it", len(token))
	}
	return token, nil
}

func (s *set) signerFor(typ string) (jose.Signer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if signer, ok := s.signer[typ]; ok {
		return signer, nil
	}
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", s.current.KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.current.Algorithm), Key: s.current.Key}, options)
	if err == nil {
		s.signer[typ] = signer
	}
	return signer, err
}

// refuse is the one answer for a token that is not good, so that nobody learns
// how near it came.
func refuse() error {
	return jeton.Refuse(jeton.InvalidToken, "the access token is not valid")
}

// Verify checks the form and the signature of a JWT and returns the typ of its
// header and its claims; it looks at no claim. It takes one textual form of a
// token only: compact, three parts, canonical base64. The key alone says which
// algorithm counts, and kid only chooses among the ring's own keys; keys and
// addresses in the header are never looked at.
//
// The error matches [jeton.InvalidToken], or says that an unknown kid could not
// be decided because the store is down.
func (r *Ring) Verify(ctx context.Context, token jeton.Secret) (typ string, claims map[string]any, err error) {
	t, ok := jws.Parse(token.Reveal())
	if !ok {
		return "", nil, refuse()
	}
	k, known, err := r.find(ctx, t.KeyID)
	if err != nil {
		return "", nil, err
	}
	if !known || !k.Until.IsZero() && !time.Now().Before(k.Until) {
		return "", nil, refuse()
	}
	// The ring makes and takes one of the two forms of an ECDSA signature.
	if !t.SignedBy(k.JWK.Algorithm, verificationKey(k.JWK)) || t.High() {
		return "", nil, refuse()
	}
	if claims, ok = t.Claims(); !ok {
		return "", nil, refuse()
	}
	return t.Type, claims, nil
}

func verificationKey(k jose.JSONWebKey) any {
	if secret, symmetric := k.Key.([]byte); symmetric {
		return secret
	}
	return k.Public().Key
}

// find returns the key with an id. An unknown id is looked for in the store
// once a second at most, whoever sends how many.
func (r *Ring) find(ctx context.Context, kid string) (storedKey, bool, error) {
	if kid == "" {
		return storedKey{}, false, nil
	}
	if k, ok := r.fresh(ctx).byID[kid]; ok {
		return k, true, nil
	}
	if err := r.load(ctx, reloadEvery); err != nil {
		return storedKey{}, false, err
	}
	k, ok := r.set.Load().byID[kid]
	return k, ok, nil
}
