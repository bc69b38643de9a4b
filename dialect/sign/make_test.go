package sign_test

import (
	"crypto"
	"crypto/x509"
	"testing"
	"time"

	"github.com/jetonhq/jeton/dialect/sign"
)

// TestMake: a key that was made signs by its algorithm, no two are the same, and
// a certificate is of its key.
func TestMake(t *testing.T) {
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		key, err := sign.NewKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		token, err := sign.MakeJWT(alg, key, nil, map[string]any{"sub": "a"})
		if err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		certificate, err := sign.NewCertificate(key, "client")
		if err != nil {
			t.Fatal(err)
		}
		if err := sign.CheckJWT(token, alg, certificate); err != nil {
			t.Errorf("%s: the certificate is not the key's: %v", alg, err)
		}
		c, err := sign.ParseCertificate(certificate)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		for _, at := range []time.Time{time.Unix(1, 0), time.Now(), time.Unix(1<<32-1, 0)} {
			how := x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
			if _, err := c.Verify(how); err != nil || c.Subject.CommonName != "client" {
				t.Errorf("%s, in %d: %v", alg, at.Year(), err)
			}
		}
		other, err := sign.NewKey(alg)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := sign.ParseKey(other); err != nil || c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Public()) {
			t.Errorf("%s: two keys are the same: %v", alg, err)
		}
	}
	for _, alg := range []string{"HS256", "none", ""} {
		if _, err := sign.NewKey(alg); err == nil {
			t.Errorf("there is a private key for %q", alg)
		}
	}
	public := foreignCertificate(t)
	for _, key := range []string{public, "file:key.pem", ""} {
		if _, err := sign.NewCertificate(key, "client"); err == nil {
			t.Error("a certificate was made without a private key")
		}
	}
}
