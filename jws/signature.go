package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"

	"github.com/golang-jwt/jwt/v5"
)

// methods are the algorithms there are (RFC 7518 section 3.1, RFC 8037 and RFC
// 9864). An HMAC is one only for who made its key.
var methods = map[string]jwt.SigningMethod{ // :: alg -> what checks it
	"ES256":   jwt.SigningMethodES256,
	"ES384":   jwt.SigningMethodES384,
	"ES512":   jwt.SigningMethodES512,
	"EdDSA":   jwt.SigningMethodEdDSA,
	"Ed25519": jwt.SigningMethodEdDSA,
	"RS256":   jwt.SigningMethodRS256,
	"RS384":   jwt.SigningMethodRS384,
	"RS512":   jwt.SigningMethodRS512,
	"PS256":   pss(jwt.SigningMethodPS256),
	"PS384":   pss(jwt.SigningMethodPS384),
	"PS512":   pss(jwt.SigningMethodPS512),
	"HS256":   jwt.SigningMethodHS256,
}

// pss takes a salt that is as long as the hash only, as RFC 7518 section 3.5
// says.
func pss(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	strict := *m
	strict.VerifyOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	return &strict
}

// Fits reports whether a key is of the kind, the curve and the size that the
// algorithm is for. RSA has 2,048 bits at least, and no more than 8,192, since
// whoever publishes a key says how long each signature takes.
func Fits(alg string, key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch alg {
		case "ES256":
			return key.Curve == elliptic.P256()
		case "ES384":
			return key.Curve == elliptic.P384()
		case "ES512":
			return key.Curve == elliptic.P521()
		}
	case ed25519.PublicKey:
		return (alg == "EdDSA" || alg == "Ed25519") && len(key) == ed25519.PublicKeySize
	case *rsa.PublicKey:
		switch alg {
		case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
			return key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192 && key.E >= 3 && key.E&1 == 1
		}
	case []byte:
		return alg == "HS256" && len(key) >= 32
	}
	return false
}

// SignedBy reports whether the token was signed by the key with the algorithm.
// Both are the caller's: of the header, alg is only compared.
func (t *Token) SignedBy(alg string, key crypto.PublicKey) bool {
	return t.Alg == alg && Fits(alg, key) && methods[alg].Verify(t.signed, t.signature, key) == nil
}

// Of an ES256 signature (r, s) there is a second form, (r, -s), which anybody
// can compute.
var (
	order     = elliptic.P256().Params().N
	halfOrder = new(big.Int).Rsh(order, 1)
)

// High reports whether the token has the second form of an ES256 signature, the
// one with the higher s.
func (t *Token) High() bool { return t.Alg == "ES256" && high(t.signature) }

func high(signature []byte) bool {
	return len(signature) != 64 || new(big.Int).SetBytes(signature[32:]).Cmp(halfOrder) > 0
}

// Lower brings a good ES256 signature, r and s of 32 bytes each, into the form
// with the lower s.
func Lower(signature []byte) {
	if high(signature) {
		s := new(big.Int).SetBytes(signature[32:])
		s.Sub(order, s).FillBytes(signature[32:])
	}
}
