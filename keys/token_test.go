package keys

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// withHeader signs a payload with the ring's own key under another header.
func withHeader(t *testing.T, r *Ring, header, payload string) string {
	t.Helper()
	s := r.set.Load()
	signed := encode(header) + "." + encode(payload)
	switch k := s.current.Key.(type) {
	case []byte:
		mac := hmac.New(sha256.New, k)
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	case crypto.Signer:
		// Ed25519 signs the message itself.
		sig, err := k.Sign(nil, []byte(signed), crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	t.Fatal("no such key")
	return ""
}

func TestAlgNone(t *testing.T) {
	r := open(t, store.NewMemory(), "EdDSA")
	kid := r.set.Load().current.KeyID
	for _, alg := range []string{`"none"`, `"None"`, `"nOnE"`, `""`, `null`, `[]`} {
		header := fmt.Sprintf(`{"alg":%s,"kid":%q}`, alg, kid)
		mustRefuse(t, r, alg, encode(header)+"."+encode(`{"sub":"u"}`)+".")
		mustRefuse(t, r, alg, encode(header)+"."+encode(`{"sub":"u"}`)+"."+encode("x"))
		mustRefuse(t, r, alg+" signed", withHeader(t, r, header, `{"sub":"u"}`))
	}
	mustRefuse(t, r, "no alg", withHeader(t, r, fmt.Sprintf(`{"kid":%q}`, kid), `{"sub":"u"}`))
	if err := verify(r, withHeader(t, r, fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, kid), `{"sub":"u"}`)); err != nil {
		t.Fatalf("the harness itself does not sign: %v", err)
	}
}

// TestAlgConfusion: HMAC with what everybody knows of the key.
func TestAlgConfusion(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		r := open(t, store.NewMemory(), alg)
		k := r.set.Load().current
		public := k.Public()
		der, err := x509.MarshalPKIXPublicKey(public.Key)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		jwk, _ := public.MarshalJSON()
		jwks, _ := r.JWKS()
		secrets := [][]byte{der, text, bytes.TrimSpace(text), jwk, jwks, {}}
		if n, ok := public.Key.(*rsa.PublicKey); ok {
			secrets = append(secrets, n.N.Bytes(), []byte(base64.RawURLEncoding.EncodeToString(n.N.Bytes())))
		}
		for i, secret := range secrets {
			signed := encode(fmt.Sprintf(`{"alg":"HS256","kid":%q}`, k.KeyID)) + "." + encode(`{"sub":"u"}`)
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(signed))
			mustRefuse(t, r, fmt.Sprintf("%s, form %d of the public key", alg, i), signed+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
		}
	}
}

// TestKidInjection: a kid is looked up exactly, or not at all.
func TestKidInjection(t *testing.T) {
	r := open(t, store.NewMemory(), "EdDSA")
	kid := r.set.Load().current.KeyID
	for _, bad := range []string{`""`, `"../../dev/null"`, `"' OR 1=1"`, `"\u0000"`, `"` + kid + `\u0000"`, `" ` + kid + `"`,
		`"` + strings.ToLower(kid) + `"`, `"` + strings.Repeat("k", 4000) + `"`, `5`, `null`, `["` + kid + `"]`} {
		mustRefuse(t, r, "kid "+bad[:min(20, len(bad))], withHeader(t, r, `{"alg":"EdDSA","kid":`+bad+`}`, `{"sub":"u"}`))
	}
	mustRefuse(t, r, "no kid", withHeader(t, r, `{"alg":"EdDSA"}`, `{"sub":"u"}`))
}

// TestKeysInTheHeader: they are not used, and nobody is called.
func TestKeysInTheHeader(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	called := make(chan struct{}, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
			called <- struct{}{}
		}
	}()
	r, stranger := open(t, store.NewMemory(), "EdDSA"), open(t, store.NewMemory(), "EdDSA")
	kid := r.set.Load().current.KeyID
	jwk, _ := stranger.set.Load().current.Public().MarshalJSON()
	for _, extra := range []string{`"jwk":` + string(jwk), `"jku":"http://` + l.Addr().String() + `/k"`, `"x5u":"http://` + l.Addr().String() + `/c"`, `"x5c":["AAAA"]`} {
		mustRefuse(t, r, extra[:5], withHeader(t, stranger, `{"alg":"EdDSA","kid":"`+kid+`",`+extra+`}`, `{"sub":"admin"}`))
	}
	select {
	case <-called:
		t.Error("an address in a header was called")
	default:
	}
}

func TestCritAndForms(t *testing.T) {
	r := open(t, store.NewMemory(), "EdDSA")
	kid := r.set.Load().current.KeyID
	for _, extra := range []string{`"crit":["exp"],"exp":1`, `"crit":[]`, `"b64":false`, `"crit":["b64"],"b64":false`, `"b64":true`} {
		mustRefuse(t, r, extra, withHeader(t, r, `{"alg":"EdDSA","kid":"`+kid+`",`+extra+`}`, `{"sub":"u"}`))
	}
	good := sign(t, r)
	parts := strings.Split(good, ".")
	mustRefuse(t, r, "JSON form", fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]))
	mustRefuse(t, r, "five parts", good+".a.b")
	mustRefuse(t, r, "two parts", parts[0]+"."+parts[1])
	mustRefuse(t, r, "nested", withHeader(t, r, `{"alg":"EdDSA","kid":"`+kid+`","cty":"JWT"}`, good))
	mustRefuse(t, r, "a detached payload", parts[0]+".."+parts[2])
}

func TestPsychicSignatures(t *testing.T) {
	r := open(t, store.NewMemory(), "ES256")
	parts := strings.Split(sign(t, r), ".")
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
	number := func(i *big.Int) []byte { return i.FillBytes(make([]byte, 32)) }
	for what, bad := range map[string][]byte{
		"zero":      make([]byte, 64),
		"r and s n": append(number(n), number(n)...),
		"s over n":  append(bytes.Clone(sig[:32]), bytes.Repeat([]byte{0xff}, 32)...),
		"too long":  append(bytes.Clone(sig), 0),
		"too short": sig[:63],
		"empty":     {},
		"DER":       {0x30, 6, 2, 1, 1, 2, 1, 1},
	} {
		mustRefuse(t, r, what, parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(bad))
	}
}

// TestHighS: the second form of an ECDSA signature is refused.
func TestHighS(t *testing.T) {
	r, order := open(t, store.NewMemory(), "ES256"), elliptic.P256().Params().N
	for range 20 {
		good := sign(t, r)
		if err := verify(r, good); err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(good, ".")
		sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
		s := new(big.Int).SetBytes(sig[32:])
		s.Sub(order, s).FillBytes(sig[32:])
		mustRefuse(t, r, "the second form", parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(sig))
	}
}

// TestKeyFixesAlg: a stored key that says nothing of its algorithm,
// is not for signatures, or is weak or of another kind, is never used.
func TestKeyFixesAlg(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal("no weak key to test with:", err)
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p256, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	for what, k := range map[string]jose.JSONWebKey{
		"no alg":             {Key: p256, KeyID: "k", Use: "sig"},
		"other alg":          {Key: p256, KeyID: "k", Use: "sig", Algorithm: "HS256"},
		"no kid":             {Key: p256, Use: "sig", Algorithm: "ES256"},
		"for encryption":     {Key: p256, KeyID: "k", Use: "enc", Algorithm: "ES256"},
		"public":             {Key: &p256.PublicKey, KeyID: "k", Use: "sig", Algorithm: "ES256"},
		"other curve":        {Key: p384, KeyID: "k", Use: "sig", Algorithm: "ES256"},
		"RSA with 1024 bits": {Key: weak, KeyID: "k", Use: "sig", Algorithm: "RS256"},
		"short secret":       {Key: []byte("short"), KeyID: "k", Use: "sig", Algorithm: "HS256"},
	} {
		st := store.NewMemory()
		good, err := generate(jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		value, err := json.Marshal(record{V: 1, Keys: []storedKey{{JWK: k}, {JWK: good}, {JWK: good}}[:2]})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Put(t.Context(), store.Record{Key: "k", Value: value}); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), st, "k", k.Algorithm, time.Hour); err == nil {
			t.Errorf("a ring with a key that is %q opened", what)
		}
	}
}

// TestForeignRing: a token of another issuer that has a key of the
// same kid is refused, and typ is told so that a refresh or ID token is not
// taken for an access token.
func TestForeignRing(t *testing.T) {
	r, other := open(t, store.NewMemory(), "ES256"), open(t, store.NewMemory(), "ES256")
	s := *other.set.Load()
	s.current.KeyID = r.set.Load().current.KeyID
	s.signer = map[string]jose.Signer{}
	other.set.Store(&s)
	other.loaded = time.Now().Add(time.Hour)
	mustRefuse(t, r, "the same kid", sign(t, other))
	token, err := r.Sign(t.Context(), "refresh+jwt", map[string]any{"sub": "u"})
	if err != nil {
		t.Fatal(err)
	}
	if typ, _, err := r.Verify(t.Context(), jeton.NewSecret(token)); err != nil || typ != "refresh+jwt" {
		t.Errorf("typ is %q, %v", typ, err)
	}
}

// TestOneTextualForm: no other text of a good token is taken.
func TestOneTextualForm(t *testing.T) {
	for _, alg := range algs {
		r := open(t, store.NewMemory(), alg)
		good := sign(t, r)
		for i := range good {
			others := "AQgw_-=. \n+/"
			if i == len(good)-1 || good[i+1] == '.' { // the last signs of a part have bits that say nothing
				others = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			}
			for _, c := range others {
				variant := good[:i] + string(c) + good[i+1:]
				if variant != good && verify(r, variant) == nil {
					t.Fatalf("%s: with %q at %d it is still good", alg, c, i)
				}
			}
		}
		for _, variant := range []string{good + "=", good + "\n", " " + good, good + ".", strings.Replace(good, ".", ".\n", 1), strings.Replace(good, ".", "=.", 1), "Bearer " + good} {
			mustRefuse(t, r, "a variant", variant)
		}
	}
}

// TestClaims: as far as form goes.
func TestClaims(t *testing.T) {
	r := open(t, store.NewMemory(), "EdDSA")
	header := fmt.Sprintf(`{"alg":"EdDSA","kid":%q}`, r.set.Load().current.KeyID)
	for _, claims := range []string{
		`{"scope":"guest","scope":"admin"}`, `{"scope":"guest","Scope":"admin"}`, `{"exp":"1"}`, `{"exp":1e400}`, `{"exp":-1}`,
		`{"nbf":null}`, `{"iat":true}`, `{"exp":99999999999999}`, `[]`, `"x"`, ``, `{`, `{"a":` + strings.Repeat("[", 100000), "{\"a\":\"\xff\"}",
	} {
		mustRefuse(t, r, claims[:min(40, len(claims))], withHeader(t, r, header, claims))
	}
	mustRefuse(t, r, "a header key twice", withHeader(t, r, header[:len(header)-1]+`,"alg":"EdDSA"}`, `{}`))
	mustRefuse(t, r, "a header key in two cases", withHeader(t, r, header[:len(header)-1]+`,"ALG":"none"}`, `{}`))
}

func TestBoundedWork(t *testing.T) {
	r := open(t, store.NewMemory(), "ES256")
	for what, token := range map[string]string{
		"dots": strings.Repeat(".", 1<<20), "a megabyte": strings.Repeat("A", 1<<20), "three long parts": strings.Repeat("QUFB", 4000) + ".QUFB.QUFB", "nothing": "", "two dots": "..",
	} {
		mustRefuse(t, r, what, token)
	}
	if _, err := r.Sign(t.Context(), "JWT", map[string]any{"x": strings.Repeat("x", 10<<10)}); err == nil {
		t.Error("a token that nobody would take was signed")
	}
}

func FuzzVerify(f *testing.F) {
	r := open(f, store.NewMemory(), "ES256")
	good := sign(f, r)
	f.Add(good)
	f.Add("..")
	f.Add(encode(`{"alg":"none"}`) + "." + encode(`{}`) + ".")
	f.Fuzz(func(t *testing.T, token string) {
		if token == good {
			return
		}
		if err := verify(r, token); !errors.Is(err, jeton.InvalidToken) {
			t.Fatalf("%q: %v", token, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range algs {
		r := open(b, store.NewMemory(), alg)
		token := sign(b, r)
		b.Run(alg, func(b *testing.B) {
			for b.Loop() {
				if err := verify(r, token); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(alg+"/raw", func(b *testing.B) {
			k := verificationKey(r.set.Load().current)
			for b.Loop() {
				jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
				if err == nil {
					_, err = jws.Verify(k)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
