package keys

import (
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/strictjson"
)

// maxToken bounds a token in bytes; what is longer is not looked at.
const maxToken = 8 << 10

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
	jws, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("keys: sign: %w", err)
	}
	if keys.current.Algorithm == string(jose.ES256) {
		lower(jws.Signatures[0].Signature)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("keys: sign: %w", err)
	}
	if len(token) > maxToken {
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
	text := token.Reveal()
	header, payload, ok := split(text)
	if !ok {
		return "", nil, refuse()
	}
	if _, critical := header["crit"]; critical || header["b64"] != nil {
		return "", nil, refuse()
	}
	kid, _ := header["kid"].(string)
	alg, _ := header["alg"].(string)
	typ, _ = header["typ"].(string)
	k, known, err := r.find(ctx, kid)
	if err != nil {
		return "", nil, err
	}
	if !known || alg != k.JWK.Algorithm || !k.Until.IsZero() && !time.Now().Before(k.Until) {
		return "", nil, refuse()
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(k.JWK.Algorithm)})
	if err != nil {
		return "", nil, refuse()
	}
	if k.JWK.Algorithm == string(jose.ES256) && high(jws.Signatures[0].Signature) {
		return "", nil, refuse()
	}
	if _, err := jws.Verify(verificationKey(k.JWK)); err != nil {
		return "", nil, refuse()
	}
	if claims, err = strictjson.Object(payload); err != nil || !saneTimes(claims) {
		return "", nil, refuse()
	}
	return typ, claims, nil
}

// Of an ECDSA signature (r, s) there is a second form, (r, -s), which anybody
// can compute. The ring makes and takes the one with the lower s only.
var (
	order     = elliptic.P256().Params().N
	halfOrder = new(big.Int).Rsh(order, 1)
)

// high reports whether a signature, r and s of 32 bytes each, is not in the form
// that the ring takes.
func high(signature []byte) bool {
	return len(signature) != 64 || new(big.Int).SetBytes(signature[32:]).Cmp(halfOrder) > 0
}

// lower brings a good signature into that form.
func lower(signature []byte) {
	if high(signature) {
		s := new(big.Int).SetBytes(signature[32:])
		s.Sub(order, s).FillBytes(signature[32:])
	}
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

// split takes a token apart and decodes its header and payload, in canonical
// base64 only: a token has one textual form.
func split(text string) (header map[string]any, payload []byte, ok bool) {
	if len(text) > maxToken || strings.Count(text, ".") != 2 {
		return nil, nil, false
	}
	var parts [3][]byte
	for i, part := range strings.Split(text, ".") {
		b, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || len(b) == 0 || strings.ContainsAny(part, "\r\n") {
			return nil, nil, false
		}
		parts[i] = b
	}
	header, err := strictjson.Object(parts[0])
	return header, parts[1], err == nil
}

// saneTimes refuses times that are no numbers or lie beyond any calendar
// (RFC 7519 section 2, NumericDate).
func saneTimes(claims map[string]any) bool {
	for _, name := range []string{"exp", "nbf", "iat"} {
		v, there := claims[name]
		if !there {
			continue
		}
		n, ok := v.(json.Number)
		if !ok {
			return false
		}
		f, err := n.Float64()
		if err != nil || math.IsInf(f, 0) || f < 0 || f > 1<<40 {
			return false
		}
	}
	return true
}
