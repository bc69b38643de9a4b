package law

import (
	"fmt"
	"strings"
	"sync"

	"github.com/jetonhq/jeton/dialect/sign"
)

// Two of each kind: the second is what a forger has. They are made when they
// are first asked for, once for the whole process.
var made = map[string]func() [2]string{
	"P-256":               p256,
	"RSA":                 rsa2048,
	"P-384":               twice("ES384"),
	"P-521":               twice("ES512"),
	"Ed25519":             twice("EdDSA"),
	"certificate":         certificates(p256),
	"signing certificate": certificates(rsa2048),
}

var p256, rsa2048 = twice("ES256"), twice("RS256")

func twice(alg string) func() [2]string {
	return sync.OnceValue(func() [2]string {
		return both(func(int) (string, error) { return sign.NewKey(alg) })
	})
}

func certificates(keys func() [2]string) func() [2]string {
	return sync.OnceValue(func() [2]string {
		of := keys()
		return both(func(i int) (string, error) { return sign.NewCertificate(of[i], fmt.Sprintf("client %d", i+1)) })
	})
}

func both(make func(i int) (string, error)) (pair [2]string) {
	for i := range pair {
		text, err := make(i)
		if err != nil {
			panic(err) // there is no randomness
		}
		pair[i] = text
	}
	return pair
}

// Keys returns two private keys in PEM for a JWS algorithm, two certificates for
// "certificate", the keys of those for "key", and certificates of the RSA keys for
// "signing certificate"; the second is for who is not the first. They are the
// same for the whole process. ok is false for a kind whose keys are texts of any
// form.
func Keys(kind string) (pair [2]string, ok bool) {
	switch {
	case strings.HasPrefix(kind, "RS"), strings.HasPrefix(kind, "PS"):
		kind = "RSA"
	case kind == "ES256", kind == "key":
		kind = "P-256"
	case kind == "ES384":
		kind = "P-384"
	case kind == "ES512":
		kind = "P-521"
	case kind == "EdDSA":
		kind = "Ed25519"
	}
	if make, ok := made[kind]; ok {
		return make(), true
	}
	return pair, false
}

// Key returns the first of [Keys]; empty for a kind that has none.
func Key(kind string) string {
	pair, _ := Keys(kind)
	return pair[0]
}
