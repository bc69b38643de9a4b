package sign

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jetonhq/jeton/jws"
	"github.com/jetonhq/jeton/strictjson"
)

// Algs are the algorithms that [MakeJWT] and [CheckJWT] know (RFC 7518 section
// 3.1 and RFC 8037 section 3.1).
var Algs = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
	"ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
}

// MakeJWT returns the claims as a signed JWT in compact form. The key is text
// as [ParseKey] reads it, a private one that fits alg; for HS* it is the
// secret's own bytes. The header is {alg, typ: JWT} with the given one over it,
// and with the kid of a JWK unless the given one has a kid. It does not add or
// look at any claim.
func MakeJWT(alg, key string, header, claims map[string]any) (string, error) {
	signer, kid, err := signingKey(alg, key)
	if err != nil {
		return "", err
	}
	full := map[string]any{"typ": "JWT"}
	if kid != "" {
		full["kid"] = kid
	}
	maps.Copy(full, header)
	if given, there := full["alg"]; there && given != alg {
		return "", errors.New("sign: JWT: the header names another alg than " + alg)
	}
	full["alg"] = alg
	for _, extension := range []string{"crit", "b64"} {
		if _, there := full[extension]; there {
			return "", errors.New("sign: JWT: the header asks for an extension with " + extension)
		}
	}
	if claims == nil {
		claims = map[string]any{}
	}
	method := jwt.GetSigningMethod(alg)
	token := jwt.Token{Header: full, Claims: jwt.MapClaims(claims), Method: method}
	signed, err := token.SigningString()
	if err != nil {
		return "", errors.New("sign: JWT: the header or the claims cannot be written as JSON")
	}
	signature, err := method.Sign(signed, signer)
	if err != nil {
		return "", errors.New("sign: JWT: the key could not sign by " + alg)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// OpenJWT takes a compact JWS apart without judging its signature: nobody has
// vouched for what it returns before [CheckJWT] says so. It takes one textual
// form only, as [jws.Parse] says, of [jws.MaxSize] bytes at most. Header and
// payload are strict JSON objects (package strictjson), their numbers
// json.Number; exp, nbf and iat are numbers within reason.
func OpenJWT(text string) (header, claims map[string]any, err error) {
	token, ok := jws.Parse(text)
	if !ok {
		return nil, nil, errForm
	}
	first, _, _ := strings.Cut(text, ".")
	b, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return nil, nil, errForm
	}
	if header, err = strictjson.Object(b); err != nil {
		return nil, nil, fmt.Errorf("sign: JWT: header: %w", err)
	}
	if claims, ok = token.Claims(); !ok {
		return nil, nil, errors.New("sign: JWT: the payload is not a strict JSON object with times that are numbers")
	}
	return header, claims, nil
}

var errForm = errors.New("sign: JWT: not a compact JWS in its strict form")

// CheckJWT checks that text was signed by exactly this alg with the key: text
// as [ParseKey] reads it, of which the public half is used, or for HS* the
// secret's own bytes. Of the header, alg is compared and nothing else looked
// at. The claims are not judged.
func CheckJWT(text, alg, key string) error {
	token, ok := jws.Parse(text)
	if !ok {
		return errForm
	}
	if !slices.Contains(Algs, alg) {
		return unknownAlg()
	}
	if token.Alg != alg {
		return errors.New("sign: JWT: not signed by " + alg)
	}
	if hmac(alg) {
		secret, err := secretKey(alg, key)
		if err != nil {
			return err
		}
		last := strings.LastIndexByte(text, '.')
		signature, err := base64.RawURLEncoding.DecodeString(text[last+1:])
		if err != nil || jwt.GetSigningMethod(alg).Verify(text[:last], signature, secret) != nil {
			return errSignature
		}
		return nil
	}
	k, err := ParseKey(key)
	if err != nil {
		return err
	}
	if !jws.Fits(alg, k.public) {
		return unfit(alg)
	}
	if !token.SignedBy(alg, k.public) {
		return errSignature
	}
	return nil
}

var errSignature = errors.New("sign: JWT: the signature is not by this key")

func hmac(alg string) bool { return strings.HasPrefix(alg, "HS") }

func unknownAlg() error {
	return errors.New("sign: JWT: alg is to be one of " + strings.Join(Algs, ", "))
}

func unfit(alg string) error {
	return errors.New("sign: JWT: the key does not fit " + alg +
		"; RS* and PS* want RSA of 2048 to 8192 bits, ES256, ES384 and ES512 the curves P-256, P-384 and P-521, EdDSA Ed25519")
}

// signingKey returns what the alg signs with, and the kid of a JWK.
func signingKey(alg, key string) (signer any, kid string, err error) {
	if !slices.Contains(Algs, alg) {
		return nil, "", unknownAlg()
	}
	if hmac(alg) {
		signer, err = secretKey(alg, key)
		return signer, "", err
	}
	k, err := ParseKey(key)
	if err != nil {
		return nil, "", err
	}
	if k.private == nil {
		return nil, "", errors.New("sign: JWT: the key is a public one; signing needs the private key")
	}
	if !jws.Fits(alg, k.public) {
		return nil, "", unfit(alg)
	}
	return k.private, k.ID, nil
}

// secretKey refuses a key of a pair as a secret: everybody knows the public
// half. It takes secrets that are shorter than RFC 7518 section 3.2 wants,
// since vendors choose them.
func secretKey(alg, key string) ([]byte, error) {
	if key == "" {
		return nil, errors.New("sign: JWT: " + alg + " needs a secret, which is empty")
	}
	if _, err := ParseKey(key); err == nil {
		return nil, errors.New("sign: JWT: " + alg + " needs a secret, and this is a key of a pair")
	}
	return []byte(key), nil
}
