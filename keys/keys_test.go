package keys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

var algs = []string{"ES256", "EdDSA", "RS256", "HS256"}

func open(t testing.TB, st store.Store, alg string) *Ring {
	t.Helper()
	r, err := Open(context.Background(), st, "realm/x/keys", alg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sign(t testing.TB, r *Ring) string {
	t.Helper()
	token, err := r.Sign(context.Background(), "at+jwt", map[string]any{"sub": "u", "exp": 1 << 31})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func verify(r *Ring, token string) error {
	_, _, err := r.Verify(context.Background(), jeton.NewSecret(token))
	return err
}

func mustRefuse(t *testing.T, r *Ring, what, token string) {
	t.Helper()
	if err := verify(r, token); !errors.Is(err, jeton.InvalidToken) {
		t.Errorf("%s: %v, want invalid_token", what, err)
	}
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestSignVerify(t *testing.T) {
	for _, alg := range algs {
		r := open(t, store.NewMemory(), alg)
		typ, claims, err := r.Verify(t.Context(), jeton.NewSecret(sign(t, r)))
		if err != nil || typ != "at+jwt" || claims["sub"] != "u" {
			t.Errorf("%s: %q %v %v", alg, typ, claims, err)
		}
	}
	if _, err := Open(t.Context(), store.NewMemory(), "k", "ES257"); err == nil || !strings.Contains(err.Error(), "ES256") {
		t.Errorf("an unknown algorithm: %v", err)
	}
}

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

// TestAlgNone: mistake 1.
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

// TestAlgConfusion: mistake 2, HMAC with what everybody knows of the key.
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

// TestKidInjection: mistake 4. A kid is looked up exactly, or not at all.
func TestKidInjection(t *testing.T) {
	r := open(t, store.NewMemory(), "EdDSA")
	kid := r.set.Load().current.KeyID
	for _, bad := range []string{`""`, `"../../dev/null"`, `"' OR 1=1"`, `"\u0000"`, `"` + kid + `\u0000"`, `" ` + kid + `"`,
		`"` + strings.ToLower(kid) + `"`, `"` + strings.Repeat("k", 4000) + `"`, `5`, `null`, `["` + kid + `"]`} {
		mustRefuse(t, r, "kid "+bad[:min(20, len(bad))], withHeader(t, r, `{"alg":"EdDSA","kid":`+bad+`}`, `{"sub":"u"}`))
	}
	mustRefuse(t, r, "no kid", withHeader(t, r, `{"alg":"EdDSA"}`, `{"sub":"u"}`))
}

// TestKeysInTheHeader: mistake 5. They are not used, and nobody is called.
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

// TestCritAndForms: mistake 6.
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

// TestPsychicSignatures: mistake 7.
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

// TestOneTextualForm: mistake 9. No other text of a good token is taken.
func TestOneTextualForm(t *testing.T) {
	for _, alg := range algs {
		r := open(t, store.NewMemory(), alg)
		good := sign(t, r)
		for i := range good {
			for _, c := range "AQgw_-=. \n+/" {
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

// TestClaims: mistake 10, as far as form goes.
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

// TestBoundedWork: mistake 12.
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

// TestKidFlood: mistake 13. Unknown kids read the store once a second, and a
// key that another process rotated in is still learned.
func TestKidFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := &counting{Store: store.NewMemory()}
		r, other := open(t, counted, "EdDSA"), open(t, counted, "EdDSA")
		time.Sleep(2 * time.Second)
		before := counted.gets
		for i := range 1000 {
			mustRefuse(t, r, "an unknown kid", encode(fmt.Sprintf(`{"alg":"EdDSA","kid":"k%d"}`, i))+"."+encode("{}")+"."+encode("x"))
		}
		if n := counted.gets - before; n > 1 {
			t.Fatalf("1000 unknown kids caused %d reads", n)
		}
		for range 2 { // the first rotation brings in a key that r knows as the next one
			if err := other.Rotate(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if err := verify(r, sign(t, other)); err != nil {
			t.Fatalf("a rotated key was not learned: %v", err)
		}
	})
}

type counting struct {
	store.Store
	gets int
}

func (c *counting) Get(ctx context.Context, key string) (store.Record, error) {
	c.gets++
	return c.Store.Get(ctx, key)
}

// TestRotation: mistake 48. The next key is published before its first use,
// an old one is accepted until its tokens have expired, and no longer.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, store.NewMemory(), "ES256")
		r.Retention = time.Hour
		published, _ := r.JWKS()
		old := sign(t, r)
		if err := r.Rotate(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		header, _, _ := split(sign(t, r))
		if kid, _ := header["kid"].(string); !bytes.Contains(published, []byte(kid)) {
			t.Error("a key signs that was not published before")
		}
		if err := verify(r, old); err != nil {
			t.Errorf("right after the rotation: %v", err)
		}
		time.Sleep(time.Hour)
		mustRefuse(t, r, "after the retention", old)
		if err := r.Rotate(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if n := len(r.set.Load().order); n != 3 {
			t.Errorf("%d keys are kept, want the old, the current and the next", n)
		}
	})
}

// TestJWKSHasNoSecrets: neither private parts nor HMAC keys.
func TestJWKSHasNoSecrets(t *testing.T) {
	for _, alg := range algs {
		b, err := open(t, store.NewMemory(), alg).JWKS()
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Keys []map[string]any }
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 0, false: 2}[alg == "HS256"]; len(doc.Keys) != want {
			t.Errorf("%s: %d keys, want %d", alg, len(doc.Keys), want)
		}
		for _, k := range doc.Keys {
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				if k[private] != nil {
					t.Errorf("%s: the set shows %s", alg, private)
				}
			}
		}
	}
}

// TestOneRing: processes that open a ring at once agree on its keys; without
// compare-and-swap each would sign with keys of its own.
func TestOneRing(t *testing.T) {
	st := storetest.Slow(store.NewMemory(), func() time.Duration { return time.Millisecond })
	rings := make([]*Ring, 8)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() {
			r, err := Open(context.Background(), st, "k", "EdDSA")
			if err != nil {
				t.Error(err)
			}
			rings[i] = r
		})
	}
	wg.Wait()
	token := sign(t, rings[0])
	for _, r := range rings {
		if err := verify(r, token); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoreDown: known keys go on working; an unknown kid is not blamed on the
// token.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(storetest.Faults)
		st := storetest.Faulty(store.NewMemory(), faults)
		r, stranger := open(t, st, "EdDSA"), open(t, store.NewMemory(), "EdDSA")
		faults.Set(storetest.Down)
		time.Sleep(time.Hour)
		if err := verify(r, sign(t, r)); err != nil {
			t.Errorf("with the store down: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := verify(r, sign(t, stranger)); err == nil || errors.Is(err, jeton.InvalidToken) {
			t.Errorf("an unknown kid with the store down: %v", err)
		}
	})
}

// TestChangeOfAlgorithm: tokens of the old algorithm stay good.
func TestChangeOfAlgorithm(t *testing.T) {
	st := store.NewMemory()
	old := sign(t, open(t, st, "ES256"))
	r := open(t, st, "EdDSA")
	if err := verify(r, old); err != nil {
		t.Errorf("a token of before: %v", err)
	}
	if header, _, _ := split(sign(t, r)); header["alg"] != "EdDSA" {
		t.Errorf("it signs with %v", header["alg"])
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
			// An ECDSA signature has a second form; it is the same token.
			if header, payload, ok := split(token); ok && err == nil && strings.HasPrefix(good, strings.Join(strings.Split(token, ".")[:2], ".")+".") {
				_, _ = header, payload
				return
			}
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
