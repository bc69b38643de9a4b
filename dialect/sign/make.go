package sign

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
	"errors"
	"fmt"
	"strings"
	"time"
)

// NewKey makes a private key for a JWS algorithm, as PEM. The error is for an
// algorithm that has none, such as HS256.
func NewKey(alg string) (string, error) {
	key, err := generate(alg)
	if err != nil {
		return "", fmt.Errorf("sign: make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("sign: make a key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

func generate(alg string) (crypto.Signer, error) {
	switch {
	case strings.HasPrefix(alg, "RS"), strings.HasPrefix(alg, "PS"):
		return rsa.GenerateKey(rand.Reader, 2048)
	case alg == "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case alg == "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case alg == "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case alg == "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, errors.New("no private key is for " + alg)
}

// NewCertificate makes a certificate of a client with that name, as PEM. It is
// signed by its own key, a private one as [ParseKey] reads it, and good at any time:
// what it is to be compared with is itself.
func NewCertificate(key, name string) (string, error) {
	k, err := ParseKey(key)
	if err != nil {
		return "", err
	}
	if k.private == nil {
		return "", errors.New("sign: make a certificate: the key is a public one")
	}
	like := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, like, like, k.public, k.private)
	if err != nil {
		return "", fmt.Errorf("sign: make a certificate: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}
