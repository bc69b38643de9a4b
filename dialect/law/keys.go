package law

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// Two of each kind: the second is what a forger has. They are made when they
// are first asked for, once for the whole process.
var made = map[string]func() [2]string{
	"P-256":               p256,
	"RSA":                 rsa2048,
	"P-384":               sync.OnceValue(twice(func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) })),
	"P-521":               sync.OnceValue(twice(func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) })),
	"Ed25519":             sync.OnceValue(twice(newEd25519)),
	"certificate":         sync.OnceValue(func() [2]string { return certificates(p256()) }),
	"signing certificate": sync.OnceValue(func() [2]string { return certificates(rsa2048()) }),
}

var p256 = sync.OnceValue(twice(func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }))

var rsa2048 = sync.OnceValue(twice(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }))

func newEd25519() (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

func twice(generate func() (crypto.Signer, error)) func() [2]string {
	return func() (pair [2]string) {
		for i := range pair {
			key, err := generate()
			if err != nil {
				panic(err) // there is no randomness
			}
			pair[i] = encodeKey(key)
		}
		return pair
	}
}

func encodeKey(key crypto.Signer) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err) // the key is of a kind that the library made itself
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// certificates are self-signed, for two keys.
func certificates(keys [2]string) (pair [2]string) {
	for i, text := range keys {
		block, _ := pem.Decode([]byte(text))
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			panic(err) // it was encoded above
		}
		like := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 1), Subject: pkix.Name{CommonName: fmt.Sprintf("client %d", i+1)},
			NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), // whatever the clock of a test says
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, like, like, key.(crypto.Signer).Public(), key)
		if err != nil {
			panic(err) // the key is good
		}
		pair[i] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
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
