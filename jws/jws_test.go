package jws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton/jws"
)

func newKeys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	_, ed, err1 := ed25519.GenerateKey(rand.Reader)
	p256, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err3 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, err4 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	r, err5 := rsa.GenerateKey(rand.Reader, 2048)
	for _, err := range []error{err1, err2, err3, err4, err5} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]crypto.Signer{"EdDSA": ed, "ES256": p256, "ES384": p384, "ES512": p521,
		"RS256": r, "RS384": r, "RS512": r, "PS256": r, "PS384": r, "PS512": r}
}

// TestSignedBy takes what another library signed, by its key with its algorithm
// and nothing else.
func TestSignedBy(t *testing.T) {
	keys, others := newKeys(t), newKeys(t)
	for alg, k := range keys {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: k}, nil)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign([]byte(`{"exp":1}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		token, ok := jws.Parse(text)
		if !ok || !token.SignedBy(alg, k.Public()) {
			t.Errorf("%s: not taken", alg)
			continue
		}
		for other, k2 := range keys {
			if other != alg && (token.SignedBy(other, k2.Public()) || token.SignedBy(other, k.Public())) {
				t.Errorf("%s is taken as %s", alg, other)
			}
		}
		if token.SignedBy(alg, others[alg].Public()) || token.SignedBy(alg, nil) || token.SignedBy("", k.Public()) {
			t.Errorf("%s: taken by another key", alg)
		}
		signature := signed.Signatures[0].Signature
		for i := range 8 * len(signature) {
			if i > 64 && i%37 != 0 { // a signature of RSA takes its time
				continue
			}
			bad := append([]byte{}, signature...)
			bad[i/8] ^= 1 << (i % 8)
			token, ok := jws.Parse(text[:strings.LastIndex(text, ".")+1] + base64.RawURLEncoding.EncodeToString(bad))
			if !ok || token.SignedBy(alg, k.Public()) {
				t.Fatalf("%s: taken with bit %d of the signature turned", alg, i)
			}
		}
	}
}

// TestSaltLength: PSS has a salt as long as the hash and no other.
func TestSaltLength(t *testing.T) {
	k := newKeys(t)["PS256"].(*rsa.PrivateKey)
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"PS256"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{}`))
	digest := sha256.Sum256([]byte(signed))
	for _, length := range []int{0, 1, 20, 31, 32, 33, 64} {
		signature, err := rsa.SignPSS(rand.Reader, k, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: length, Hash: crypto.SHA256})
		if length == 0 { // to crypto/rsa that is the largest
			signature, err = rsa.SignPSS(rand.Reader, k, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto, Hash: crypto.SHA256})
		}
		if err != nil {
			t.Fatal(err)
		}
		token, ok := jws.Parse(signed + "." + base64.RawURLEncoding.EncodeToString(signature))
		if !ok || token.SignedBy("PS256", &k.PublicKey) != (length == 32) {
			t.Errorf("a salt of %d bytes", length)
		}
	}
}

// TestFits: a key is for its own algorithms, if it is strong enough.
func TestFits(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal("no weak key to test with:", err)
	}
	for alg, k := range newKeys(t) {
		if !jws.Fits(alg, k.Public()) || jws.Fits("HS256", k.Public()) || jws.Fits("none", k.Public()) || jws.Fits("", k.Public()) || jws.Fits(alg, []byte(strings.Repeat("k", 32))) || jws.Fits(alg, &weak.PublicKey) || jws.Fits(alg, k) {
			t.Errorf("%s fits another key than it should", alg)
		}
	}
	if !jws.Fits("HS256", []byte(strings.Repeat("k", 32))) || jws.Fits("HS256", []byte(strings.Repeat("k", 31))) {
		t.Error("HS256 has 32 bytes at least")
	}
	if jws.Fits("RS256", &rsa.PublicKey{N: newKeys(t)["RS256"].Public().(*rsa.PublicKey).N, E: 1}) {
		t.Error("RSA with an exponent of 1")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiJ9.e30.AAAA")
	f.Add("..")
	f.Add("e30.e30.e30.e30.e30")
	f.Fuzz(func(t *testing.T, text string) {
		token, ok := jws.Parse(text)
		if !ok {
			return
		}
		if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.Count(text, ".") != 2 || len(text) > jws.MaxSize {
			t.Fatalf("%q is taken", text)
		}
		_, _ = token.Claims()
		token.High()
	})
}
