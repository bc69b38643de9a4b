package corpus

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/jetonhq/jeton/dialect/law"
)

// privateKey reads a private key in PEM.
func privateKey(text string) (crypto.Signer, error) {
	block, err := pemBlock(text)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a private key")
	}
	return signer, nil
}

// keyAsJWK writes an RSA key as RFC 7517 has it.
func keyAsJWK(text, kid string) string {
	signer, err := privateKey(text)
	key, ok := signer.(*rsa.PrivateKey)
	if err != nil || !ok {
		return text
	}
	n := func(i *big.Int) string { return base64.RawURLEncoding.EncodeToString(i.Bytes()) }
	key.Precompute()
	b, err := json.Marshal(map[string]string{
		"kty": "RSA", "kid": kid, "n": n(key.N), "e": n(big.NewInt(int64(key.E))), "d": n(key.D),
		"p": n(key.Primes[0]), "q": n(key.Primes[1]),
		"dp": n(key.Precomputed.Dp), "dq": n(key.Precomputed.Dq), "qi": n(key.Precomputed.Qinv),
	})
	if err != nil {
		return text
	}
	return string(b)
}

// compareJWT takes a JWT apart by hand and compares it with the facts.
func (c *comparison) compareJWT(a *Assertion, text string) error {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return errors.New("is not a signed JWT")
	}
	var header, claims map[string]any
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(b, into)
		}
		if err != nil {
			return errors.New("is not a JWT of JSON")
		}
	}
	if err := c.compareClaims("header", a.Header, header); err != nil {
		return err
	}
	if err := c.compareClaims("claim", a.Claims, claims); err != nil {
		return err
	}
	for name := range claims {
		if _, ok := a.Claims[name]; !ok && name != "iat" && name != "exp" {
			return fmt.Errorf("the claim %s is too many", name)
		}
	}
	iat, _ := claims["iat"].(float64)
	exp, _ := claims["exp"].(float64)
	if int(exp-iat) != a.Lifetime {
		return fmt.Errorf("is good for %d seconds and not %d", int(exp-iat), a.Lifetime)
	}
	key, err := c.eval(a.Key)
	if err != nil {
		return err
	}
	if a.KeyEncoding == "jwk" {
		key = law.Key(a.Alg) // of which the account's was made
	}
	return verify(a.Alg, key, parts[0]+"."+parts[1], parts[2])
}

func (c *comparison) compareClaims(what string, facts map[string]any, got map[string]any) error {
	for name, v := range facts {
		forms, isList := v.([]any)
		if !isList {
			forms = []any{v}
		}
		form, _ := forms[0].(string)
		want, err := c.claim(form)
		if m, ok := err.(missing); ok && c.optional(string(m)) {
			if list, ok := got[name].([]any); got[name] != nil && !(ok && len(list) == 0) {
				return fmt.Errorf("the %s %s is there, and has no value", what, name)
			}
			continue
		}
		said := got[name]
		if list, ok := said.([]any); ok && isList && len(list) == 1 {
			said = list[0]
		}
		switch {
		case errors.Is(err, errGenerated):
			if text, ok := said.(string); !ok || text == "" {
				return fmt.Errorf("the %s %s is missing", what, name)
			}
		case err != nil:
			return err
		case said != any(want):
			return fmt.Errorf("the %s %s is missing or has another value", what, name)
		}
	}
	return nil
}

// claim works out a text of the facts that may name the URL of the token, or the
// key's own name.
func (c *comparison) claim(form string) (string, error) {
	switch form {
	case "{token_url}":
		last := c.Steps[len(c.Steps)-1]
		return c.first(append([]string{last.URL}, last.Fallback...))
	case "{jwk.kid}":
		return "kid-of-the-key", nil
	}
	return c.eval(form)
}

// verify checks a signature by RFC 7518.
func verify(alg, key, signed, signature string) error {
	wrong := errors.New("is signed by another key")
	b, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return err
	}
	if alg == "HS256" {
		h := hmac.New(sha256.New, []byte(key))
		h.Write([]byte(signed))
		if !hmac.Equal(h.Sum(nil), b) {
			return wrong
		}
		return nil
	}
	private, err := privateKey(key)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(signed))
	switch public := private.Public().(type) {
	case *rsa.PublicKey:
		if alg == "PS256" {
			return rsa.VerifyPSS(public, crypto.SHA256, sum[:], b, nil)
		}
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], b)
	case *ecdsa.PublicKey:
		if half := len(b) / 2; len(b) == 64 && ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(b[:half]), new(big.Int).SetBytes(b[half:])) {
			return nil
		}
	}
	return wrong
}
