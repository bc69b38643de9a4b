// Package sign holds what the language of dialects cannot say itself: keys and
// their fingerprints, JSON Web Tokens and SAML assertions that a client makes, and
// the two ways of signing a whole request that vendors document, AWS Signature
// Version 4 and OAuth 1.0. It is a closed set; each function has its counterpart
// that checks.
//
// The package dials nobody, keeps nothing, and is safe for concurrent use. No
// error shows a key, a secret or a part of the message.
package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton/strictjson"
)

// maxKey bounds the text of a key in bytes: a PEM file with a long chain.
const maxKey = 64 << 10

// A Key is a private key or a public one. The zero value is none.
type Key struct {
	ID string // kid of a JWK; else empty

	public  crypto.PublicKey
	private crypto.Signer
}

// Public returns the public key: *rsa.PublicKey, *ecdsa.PublicKey or
// ed25519.PublicKey.
func (k Key) Public() crypto.PublicKey { return k.public }

// Private returns the private key, or nil if there is only the public one.
func (k Key) Private() crypto.Signer { return k.private }

// ParseKey reads a key as text. That is PEM (PKCS #1, PKCS #8, SEC 1, a PKIX
// public key or a certificate), PEM on one line as environment variables carry
// it (base64 of the whole, or newlines that became blanks or the two characters
// \n), or a JWK (RFC 7517) or JWK Set with one key. Of several PEM blocks the
// first private key counts, else the first public one. Errors never show the
// text.
func ParseKey(text string) (Key, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		return parseJWK(text)
	}
	blocks, err := parsePEM(text)
	if err != nil {
		return Key{}, fmt.Errorf("sign: key: %w", err)
	}
	var found Key
	for _, b := range blocks {
		key, err := b.key()
		if err != nil {
			return Key{}, fmt.Errorf("sign: key: %w", err)
		}
		if key.private != nil {
			return key, nil
		}
		if found.public == nil {
			found = key
		}
	}
	if found.public == nil {
		return Key{}, errors.New("sign: key: the PEM holds no key")
	}
	return found, nil
}

// ParseCertificate reads the first certificate of PEM text, which may be on one
// line as with [ParseKey].
func ParseCertificate(pem string) (*x509.Certificate, error) {
	blocks, err := parsePEM(strings.TrimSpace(pem))
	if err != nil {
		return nil, fmt.Errorf("sign: certificate: %w", err)
	}
	for _, b := range blocks {
		if b.kind != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.der)
		if err != nil {
			return nil, errors.New("sign: certificate: the block CERTIFICATE does not hold one")
		}
		return c, nil
	}
	return nil, errors.New("sign: certificate: the PEM holds none")
}

// Fingerprint returns "SHA256:" and the base64 of SHA-256 over the public key
// as PKIX DER, which is how Snowflake's page on key-pair authentication names a
// key. The text may be the private key.
func Fingerprint(key string) (string, error) {
	k, err := ParseKey(key)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return "", errors.New("sign: key: its kind has no PKIX form")
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.StdEncoding.EncodeToString(sum[:]), nil
}

// Thumbprint returns what RFC 7515 section 4.1.8 calls x5t#S256: SHA-256 over
// the certificate's DER in base64url without padding.
func Thumbprint(certificate string) (string, error) {
	c, err := ParseCertificate(certificate)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

type block struct {
	kind string
	der  []byte
}

// parsePEM reads PEM (RFC 7468) with whatever has become of its newlines.
func parsePEM(text string) ([]block, error) {
	if len(text) > maxKey {
		return nil, fmt.Errorf("longer than %d bytes", maxKey)
	}
	if !strings.Contains(text, "-----BEGIN ") {
		inner, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(dropSpace(text), "="))
		if err != nil {
			return nil, errors.New("neither PEM nor base64 of PEM nor a JWK")
		}
		text = string(inner)
	}
	var blocks []block
	for {
		_, rest, ok := strings.Cut(text, "-----BEGIN ")
		if !ok {
			break
		}
		kind, rest, _ := strings.Cut(rest, "-----")
		body, rest, ok := strings.Cut(rest, "-----END "+kind+"-----")
		if !ok {
			return nil, errors.New("a PEM block without its end")
		}
		if strings.Contains(body, "ENCRYPTED") || strings.HasPrefix(kind, "ENCRYPTED") {
			return nil, errors.New("is encrypted; decrypt it, for instance with openssl pkey")
		}
		der, err := base64.StdEncoding.DecodeString(dropSpace(body))
		if err != nil {
			return nil, errors.New("a PEM block that is not base64")
		}
		blocks, text = append(blocks, block{kind, der}), rest
	}
	if blocks == nil {
		return nil, errors.New("neither PEM nor base64 of PEM nor a JWK")
	}
	return blocks, nil
}

// dropSpace drops white space, and newlines that were written as \n.
func dropSpace(s string) string {
	s = strings.NewReplacer(`\r`, "", `\n`, "").Replace(s)
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

// key returns the key in a block, or the zero Key if a block of that kind does
// not belong to one. The parsers' own errors may describe the content and are
// not passed on.
func (b block) key() (Key, error) {
	var key any
	var err error
	switch b.kind {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.der)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.der)
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(b.der)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(b.der)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(b.der); err == nil {
			key = c.PublicKey
		}
	default: // openssl writes EC PARAMETERS before the key
		return Key{}, nil
	}
	if err != nil {
		return Key{}, errors.New("the block " + b.kind + " does not hold one")
	}
	return newKey(key)
}

func newKey(key any) (Key, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		return Key{public: &key.PublicKey, private: key}, nil
	case *ecdsa.PrivateKey:
		return Key{public: &key.PublicKey, private: key}, nil
	case ed25519.PrivateKey:
		return Key{public: key.Public(), private: key}, nil
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return Key{public: key}, nil
	}
	return Key{}, errors.New("its kind cannot sign; use RSA, EC or Ed25519")
}

func parseJWK(text string) (Key, error) {
	if len(text) > maxKey {
		return Key{}, fmt.Errorf("sign: JWK: longer than %d bytes", maxKey)
	}
	object, err := strictjson.Object([]byte(text))
	if err != nil {
		return Key{}, fmt.Errorf("sign: JWK: %w", err)
	}
	if set, ok := object["keys"].([]any); ok {
		if len(set) != 1 {
			return Key{}, fmt.Errorf("sign: JWK Set: holds %d keys; give the one to use", len(set))
		}
		one, err := json.Marshal(set[0])
		if err != nil {
			return Key{}, errors.New("sign: JWK: not JSON")
		}
		text = string(one)
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON([]byte(text)); err != nil {
		return Key{}, errors.New("sign: JWK: not a key of type RSA, EC or OKP that is whole and consistent")
	}
	if jwk.Use == "enc" {
		return Key{}, errors.New("sign: JWK: its use is enc, not sig")
	}
	if ec, ok := jwk.Key.(*ecdsa.PrivateKey); ok && !consistent(ec) {
		return Key{}, errors.New("sign: JWK: d does not belong to x and y")
	}
	key, err := newKey(jwk.Key)
	if err != nil {
		return Key{}, fmt.Errorf("sign: JWK: %w", err)
	}
	key.ID = jwk.KeyID
	return key, nil
}

// consistent reports whether the two halves of a key belong together. For the
// other kinds the reader of JWKs looks itself.
func consistent(key *ecdsa.PrivateKey) bool {
	d, err := key.Bytes()
	if err != nil {
		return false
	}
	again, err := ecdsa.ParseRawPrivateKey(key.Curve, d)
	return err == nil && again.PublicKey.Equal(&key.PublicKey)
}
