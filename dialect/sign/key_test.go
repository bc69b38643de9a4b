package sign_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton/dialect/sign"
)

// The private key is that of RFC 8410 section 10.3; openssl made the
// certificate of it and the two digests.
const (
	edKey = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
`
	edFingerprint = "SHA256:oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8="
	edCertificate = `-----BEGIN CERTIFICATE-----
MIIBSDCB+6ADAgECAhQwmR+w6mYqyrODyPiojkUatdjD7zAFBgMrZXAwGTEXMBUG
A1UEAwwOY2xpZW50LmV4YW1wbGUwIBcNMjYxMTIxMjAxNDM5WhgPMjEyNjEwMjgy
MDE0MzlaMBkxFzAVBgNVBAMMDmNsaWVudC5leGFtcGxlMCowBQYDK2VwAyEAGb9E
CWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuGjUzBRMB0GA1UdDgQWBBSijMH4
bllg0+A651yWLJeo1EgpPDAfBgNVHSMEGDAWgBSijMH4bllg0+A651yWLJeo1Egp
PDAPBgNVHRMBAf8EBTADAQH/MAUGAytlcANBANT7J03XArxwL8IC+58FyT9m6Bro
j//iv5PpmHsvlGp7sGVf/CIlhrJvsNFlDBOtBbEhtC0KwgIJXRTGxb5UEwI=
-----END CERTIFICATE-----
`
	edThumbprint = "jVrWK1kgVnZa2LyWB3dZJLPfPMYvT-qHl2mo7i5SHB4"
)

// signers are keys of every kind, made once since RSA takes a while; the second
// of each kind is somebody else's.
var signers = sync.OnceValue(func() map[string][2]crypto.Signer { // :: kind -> keys
	made := map[string][2]crypto.Signer{}
	for i := range 2 {
		r, err1 := rsa.GenerateKey(rand.Reader, 2048)
		p256, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		p384, err3 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		p521, err4 := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		_, ed, err5 := ed25519.GenerateKey(rand.Reader)
		for _, err := range []error{err1, err2, err3, err4, err5} {
			if err != nil {
				panic(err)
			}
		}
		for kind, key := range map[string]crypto.Signer{"RSA": r, "P-256": p256, "P-384": p384, "P-521": p521, "Ed25519": ed} {
			pair := made[kind]
			pair[i] = key
			made[kind] = pair
		}
	}
	return made
})

func armour(t testing.TB, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func privatePEM(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return armour(t, "PRIVATE KEY", der, err)
}

func publicPEM(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return armour(t, "PUBLIC KEY", der, err)
}

func privateJWK(t testing.TB, key any, kid string) string {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestParseKey reads every kind of key in every form of text, and finds the
// same key in all of them.
func TestParseKey(t *testing.T) {
	for kind, pair := range signers() {
		key := pair[0]
		texts := map[string]string{ // :: form -> text
			"PKCS #8": privatePEM(t, key),
			"JWK":     privateJWK(t, key, ""),
			"JWKS":    `{"keys":[` + privateJWK(t, key, "") + `]}`,
		}
		publics := map[string]string{"PKIX": publicPEM(t, key), "JWK": privateJWK(t, key.Public(), "")}
		switch key := key.(type) {
		case *rsa.PrivateKey:
			texts["PKCS #1"] = armour(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key), nil)
			publics["PKCS #1"] = armour(t, "RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&key.PublicKey), nil)
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(key)
			texts["SEC 1"] = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" +
				armour(t, "EC PRIVATE KEY", der, err)
			texts["behind its public key"] = publics["PKIX"] + texts["SEC 1"]
		}
		check := func(form, text string, private bool) {
			t.Helper()
			for name, text := range manglings(text) {
				got, err := sign.ParseKey(text)
				if err != nil {
					t.Errorf("%s, %s, %s: %v", kind, form, name, err)
					continue
				}
				if !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(got.Public()) {
					t.Errorf("%s, %s, %s: another key", kind, form, name)
				}
				if has := got.Private() != nil; has != private {
					t.Errorf("%s, %s, %s: private %v", kind, form, name, has)
				}
			}
		}
		for form, text := range texts {
			check(form, text, true)
		}
		for form, text := range publics {
			check(form, text, false)
		}
	}
}

// manglings are what becomes of a key in an environment variable.
func manglings(text string) map[string]string {
	forms := map[string]string{
		"as it is": text,
		"in space": "\n  " + text + "\t\n",
		"CRLF":     strings.ReplaceAll(text, "\n", "\r\n"),
	}
	if strings.HasPrefix(text, "-----") {
		forms[`with \n`] = strings.ReplaceAll(text, "\n", `\n`)
		forms[`with \r\n`] = strings.ReplaceAll(text, "\n", `\r\n`)
		forms["with blanks"] = strings.ReplaceAll(text, "\n", " ")
		forms["base64"] = base64.StdEncoding.EncodeToString([]byte(text))
		forms["base64 without padding"] = base64.RawStdEncoding.EncodeToString([]byte(text))
		forms["base64 in lines"] = strings.Join(strings.SplitAfter(forms["base64"], "A"), "\n")
	}
	return forms
}

func TestParseKeyOfCertificate(t *testing.T) {
	key, err := sign.ParseKey(edCertificate)
	if err != nil || key.Private() != nil {
		t.Fatalf("%v, private %v", err, key.Private())
	}
	both, err := sign.ParseKey(edCertificate + edKey)
	if err != nil || both.Private() == nil {
		t.Fatalf("a private key behind its certificate: %v, private %v", err, both.Private())
	}
	chain, err := sign.ParseKey(edCertificate + publicPEM(t, signers()["P-256"][0]))
	if err != nil || !key.Public().(ed25519.PublicKey).Equal(chain.Public()) {
		t.Errorf("not the first public key of several: %v", err)
	}
	if !both.Private().Public().(ed25519.PublicKey).Equal(key.Public()) {
		t.Error("key and certificate do not belong together")
	}
}

func TestParseKeyID(t *testing.T) {
	key, err := sign.ParseKey(privateJWK(t, signers()["P-256"][0], "2026-11"))
	if err != nil || key.ID != "2026-11" {
		t.Errorf("kid %q, %v", key.ID, err)
	}
}

// TestParseKeyRefuses looks also at what the error says: nothing of the text.
func TestParseKeyRefuses(t *testing.T) {
	ec, other := signers()["P-256"][0], signers()["P-256"][1]
	mixed := map[string]any{}
	for _, key := range []crypto.Signer{ec, other} {
		if err := json.Unmarshal([]byte(privateJWK(t, key, "")), &mixed); err != nil {
			t.Fatal(err)
		}
		if key == ec {
			mixed["kept"] = mixed["d"]
		}
	}
	mixed["d"] = mixed["kept"]
	delete(mixed, "kept")
	halves, err := json.Marshal(mixed)
	if err != nil {
		t.Fatal(err)
	}
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(x)
	exchange := armour(t, "PRIVATE KEY", der, err)
	jwk := privateJWK(t, ec, "")

	const mark = "c2VjcmV0LXNlY3JldA" // what a bad text holds, and no error may
	tests := map[string]string{
		"nothing":               "",
		"a password":            "open " + mark,
		"base64 of a password":  mark,
		"no end":                "-----BEGIN PRIVATE KEY-----\n" + mark,
		"another end":           "-----BEGIN PRIVATE KEY-----\n" + mark + "\n-----END " + mark + "-----",
		"not base64":            "-----BEGIN PRIVATE KEY-----\n" + mark + "!\n-----END PRIVATE KEY-----",
		"not DER":               "-----BEGIN PRIVATE KEY-----\n" + mark + "AA\n-----END PRIVATE KEY-----",
		"no key":                "-----BEGIN " + mark + "-----\n" + mark + "AA\n-----END " + mark + "-----",
		"encrypted":             "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + mark + "AA\n-----END ENCRYPTED PRIVATE KEY-----",
		"encrypted as of old":   "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n" + mark + "AA\n-----END RSA PRIVATE KEY-----",
		"for key agreement":     exchange,
		"too long":              strings.Repeat(" "+mark, 1<<13),
		"a JWK too long":        "{" + strings.Repeat(" ", 1<<17) + jwk[1:],
		"a JWK twice kty":       `{"kty":"EC",` + jwk[1:],
		"a JWK of other case":   `{"Kty":"EC",` + jwk[1:],
		"a JWK for encryption":  strings.Replace(jwk, `"use":"sig"`, `"use":"enc"`, 1),
		"a JWK of two halves":   string(halves),
		"a JWK of a secret":     `{"kty":"oct","k":"` + mark + `"}`,
		"a JWK of nothing":      `{"kty":"EC","crv":"` + mark + `"}`,
		"a JWKS with two keys":  `{"keys":[` + jwk + `,` + jwk + `]}`,
		"a JWKS without a key":  `{"keys":[]}`,
		"a JWKS of a text":      `{"keys":["` + mark + `"]}`,
		"a JWKS that is a text": `{"keys":"` + mark + `"}`,
	}
	for name, text := range tests {
		key, err := sign.ParseKey(text)
		if err == nil || key.Public() != nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if strings.Contains(err.Error(), mark) {
			t.Errorf("%s: the error shows the text: %v", name, err)
		}
	}
}

func TestDigests(t *testing.T) {
	for _, key := range []string{edKey, edCertificate, base64.StdEncoding.EncodeToString([]byte(edKey))} {
		if got, err := sign.Fingerprint(key); err != nil || got != edFingerprint {
			t.Errorf("Fingerprint: %s, %v; want %s", got, err, edFingerprint)
		}
	}
	for _, certificate := range []string{edCertificate, edKey + edCertificate, strings.ReplaceAll(edCertificate, "\n", `\n`)} {
		if got, err := sign.Thumbprint(certificate); err != nil || got != edThumbprint {
			t.Errorf("Thumbprint: %s, %v; want %s", got, err, edThumbprint)
		}
	}
	c, err := sign.ParseCertificate(edCertificate)
	if err != nil || c.Subject.CommonName != "client.example" {
		t.Errorf("ParseCertificate: %v", err)
	}
	for _, text := range []string{"", edKey, "{}", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"} {
		if _, err := sign.Thumbprint(text); err == nil {
			t.Errorf("a thumbprint of %q", text)
		}
	}
	if _, err := sign.Fingerprint("nothing"); err == nil {
		t.Error("a fingerprint of nothing")
	}
}

// FuzzParseKey looks for text that breaks the reader, and for keys whose text
// is read as one key and written as another.
func FuzzParseKey(f *testing.F) {
	f.Add(edKey)
	f.Add(edCertificate)
	f.Add(strings.ReplaceAll(edKey, "\n", `\n`))
	f.Add(privateJWK(f, signers()["P-256"][0], "k"))
	f.Add(base64.StdEncoding.EncodeToString([]byte(edKey)))
	f.Fuzz(func(t *testing.T, text string) {
		key, err := sign.ParseKey(text)
		if err != nil {
			return
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		again, err := sign.ParseKey(armour(t, "PUBLIC KEY", der, err))
		if err != nil {
			t.Fatal(err)
		}
		twice, err := x509.MarshalPKIXPublicKey(again.Public())
		if err != nil || !bytes.Equal(der, twice) {
			t.Fatalf("another key: %v", err)
		}
	})
}
