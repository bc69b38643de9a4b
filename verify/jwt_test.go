package verify

import (
	"bytes"
	"crypto/hmac"
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
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/revocation"
)

var allAlgs = []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

func TestJWT(t *testing.T) {
	is := newIssuer(t, allAlgs...)
	v := is.jwt()
	for _, k := range is.keys {
		claims := mustTake(t, v, k.alg, k.sign(t, map[string]any{"tenant_id": "t", "color": "red", "aud": []string{"x", audience}}))
		want := &jeton.Claims{ID: "j", Issuer: issuerURL, Subject: "u", ClientID: "c", Tenant: "t", Audience: []string{"x", audience},
			Scope: jeton.Scope{"read", "write"}, IssuedAt: claims.IssuedAt, Expiry: claims.IssuedAt.Add(time.Hour), Extra: map[string]any{"color": "red"}}
		if diff := cmp.Diff(want, claims); diff != "" {
			t.Errorf("%s: %s", k.alg, diff)
		}
	}
	if n := is.count("GET /keys"); n != 1 {
		t.Errorf("%d calls for the keys", n)
	}
}

// TestJWTOfJeton: what can end a token, and what must be worn with it.
func TestJWTOfJeton(t *testing.T) {
	is := newIssuer(t)
	v, k := is.jwt(), is.keys[0]
	private := revocation.Claim{Generations: map[string]uint64{"user/u": 1<<64 - 1, "client/c": 1}, Family: "f", Bound: map[string]string{"api_key": "x"}, Subject: "s"}
	claims := mustTake(t, v, "a token of Jeton", k.sign(t, map[string]any{"jtn": private}))
	if diff := cmp.Diff(private, revocation.Claim{Generations: claims.Generations, Family: claims.Family, Bound: claims.Bound, Subject: claims.Subject}); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`null`, `"x"`, `{}`, `{"g":null}`, `{"g":{}}`, `{"g":{"user/u":"1"}}`, `{"g":{"user/u":-1}}`, `{"g":{"user/u":1.5}}`,
		`{"g":{"user/u":18446744073709551616}}`, `{"g":{"user/u":1},"f":1}`, `{"g":{"user/u":1},"b":["x"]}`, `{"g":{"user/u":1},"b":{"x":1}}`, `{"g":{"user/u":1},"s":null}`} {
		mustRefuse(t, v, bad, k.sign(t, map[string]any{"jtn": json.RawMessage(bad)}))
	}
}

func TestAlgNone(t *testing.T) {
	is := newIssuer(t, "EdDSA")
	v, k := is.jwt(), is.keys[0]
	v.Algs = []string{"EdDSA", "none", "None", ""}
	for _, alg := range []string{`"none"`, `"None"`, `"nOnE"`, `""`, `null`, `[]`} {
		header := fmt.Sprintf(`{"alg":%s,"kid":%q,"typ":"at+jwt"}`, alg, k.kid)
		mustRefuse(t, v, alg, encode(header)+"."+encode(but(nil))+".")
		mustRefuse(t, v, alg, encode(header)+"."+encode(but(nil))+"."+encode("x"))
		mustRefuse(t, v, alg+" signed", k.raw(t, header, but(nil)))
	}
	mustRefuse(t, v, "no alg", k.raw(t, `{"kid":"key-EdDSA","typ":"at+jwt"}`, but(nil)))
	mustTake(t, v, "the harness itself", k.raw(t, k.header(), but(nil)))
}

// TestAlgConfusion: HMAC with what everybody knows of the key, also
// if somebody allows HMACs, and a published HMAC key.
func TestAlgConfusion(t *testing.T) {
	is := newIssuer(t, "ES256", "EdDSA", "RS256")
	v := is.jwt()
	v.Algs = append(DefaultAlgs(), "HS256", "HS384", "HS512")
	document := is.document()
	for _, k := range is.keys {
		der, err := x509.MarshalPKIXPublicKey(k.private.Public())
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		secrets := [][]byte{der, text, bytes.TrimSpace(text), document, {}, []byte(k.kid), rsaKey().N.Bytes(), []byte(base64.RawURLEncoding.EncodeToString(rsaKey().N.Bytes()))}
		for i, secret := range secrets {
			signed := encode(fmt.Sprintf(`{"alg":"HS256","kid":%q,"typ":"at+jwt"}`, k.kid)) + "." + encode(but(nil))
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(signed))
			mustRefuse(t, v, fmt.Sprintf("%s, form %d of the public key", k.alg, i), signed+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
		}
	}
	secret := bytes.Repeat([]byte("k"), 32)
	other := newIssuer(t)
	other.answer(serveText(fmt.Sprintf(`{"keys":[{"kty":"oct","kid":"h","alg":"HS256","use":"sig","k":%q}]}`, encode(string(secret)))))
	v = other.jwt()
	v.Algs = []string{"HS256"}
	signed := encode(`{"alg":"HS256","kid":"h","typ":"at+jwt"}`) + "." + encode(but(nil))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	mustRefuse(t, v, "a published HMAC key", signed+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

// TestKeyOfOtherAlg: an RSA key for RS256 is none for PS256.
func TestKeyOfOtherAlg(t *testing.T) {
	is := newIssuer(t, "RS256")
	other := key{"key-RS256", "PS256", rsaKey()}
	mustRefuse(t, is.jwt(), "PS256 by a key for RS256", other.sign(t, nil))
	v := is.jwt()
	v.Algs = []string{"ES256"}
	mustRefuse(t, v, "an algorithm that is not taken", is.keys[0].sign(t, nil))
}

// TestKidInjection: a kid is looked up exactly, or not at all.
func TestKidInjection(t *testing.T) {
	is := newIssuer(t, "EdDSA")
	v, k := is.jwt(), is.keys[0]
	for _, bad := range []string{`""`, `"../../dev/null"`, `"' OR 1=1"`, `"\u0000"`, `"key-EdDSA\u0000"`, `" key-EdDSA"`, `"KEY-EDDSA"`, `"key-EdDS"`,
		`"` + strings.Repeat("k", 4000) + `"`, `5`, `null`, `["key-EdDSA"]`, `{"key-EdDSA":1}`, `"https://issuer.example/keys"`} {
		mustRefuse(t, v, "kid "+bad[:min(20, len(bad))], k.raw(t, `{"alg":"EdDSA","typ":"at+jwt","kid":`+bad+`}`, but(nil)))
	}
	mustRefuse(t, v, "no kid", k.raw(t, `{"alg":"EdDSA","typ":"at+jwt"}`, but(nil)))
	mustRefuse(t, v, "kid twice", k.raw(t, `{"alg":"EdDSA","typ":"at+jwt","kid":"x","kid":"key-EdDSA"}`, but(nil)))
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
	is, stranger := newIssuer(t, "EdDSA"), newIssuer(t, "EdDSA")
	v := is.jwt()
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(stranger.document(), &set); err != nil {
		t.Fatal(err)
	}
	at := "http://" + l.Addr().String()
	for _, extra := range []string{`"jwk":` + string(set.Keys[0]), `"jku":"` + at + `/k"`, `"x5u":"` + at + `/c"`, `"x5c":["AAAA"]`, `"x5t":"AAAA"`} {
		for _, kid := range []string{"key-EdDSA", "other", at} {
			mustRefuse(t, v, extra[:5], stranger.keys[0].raw(t, `{"alg":"EdDSA","typ":"at+jwt","kid":"`+kid+`",`+extra+`}`, but(nil)))
		}
	}
	select {
	case <-called:
		t.Error("an address in a header was called")
	default:
	}
	for _, call := range is.calls {
		if call != "GET /keys" {
			t.Errorf("called: %s", call)
		}
	}
}

func TestCritAndForms(t *testing.T) {
	is := newIssuer(t, "EdDSA")
	v, k := is.jwt(), is.keys[0]
	for _, extra := range []string{`"crit":["exp"],"exp":1`, `"crit":[]`, `"crit":null`, `"b64":false`, `"crit":["b64"],"b64":false`, `"b64":true`, `"b64":null`} {
		mustRefuse(t, v, extra, k.raw(t, `{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt",`+extra+`}`, but(nil)))
	}
	good := k.sign(t, nil)
	parts := strings.Split(good, ".")
	mustRefuse(t, v, "JSON form", fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]))
	mustRefuse(t, v, "general JSON form", fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, parts[1], parts[0], parts[2]))
	mustRefuse(t, v, "five parts", good+".a.b")
	mustRefuse(t, v, "two parts", parts[0]+"."+parts[1])
	mustRefuse(t, v, "nested", k.raw(t, `{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","cty":"JWT"}`, good))
	mustRefuse(t, v, "a detached payload", parts[0]+".."+parts[2])
}

func TestPsychicSignatures(t *testing.T) {
	is := newIssuer(t, "ES256", "ES384", "ES512")
	v := is.jwt()
	orders := map[string]string{
		"ES256": "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
		"ES384": "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
		"ES512": "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
	}
	for _, k := range is.keys {
		n, _ := new(big.Int).SetString(orders[k.alg], 16)
		parts := strings.Split(k.sign(t, nil), ".")
		sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
		half := len(sig) / 2
		number := func(i *big.Int) []byte { return i.FillBytes(make([]byte, half)) }
		over := new(big.Int).Add(n, new(big.Int).SetBytes([]byte{1}))
		for what, bad := range map[string][]byte{
			"zero":        make([]byte, 2*half),
			"r zero":      append(make([]byte, half), sig[half:]...),
			"s zero":      append(bytes.Clone(sig[:half]), make([]byte, half)...),
			"r and s n":   append(number(n), number(n)...),
			"r over n":    append(number(over), sig[half:]...),
			"s over n":    append(bytes.Clone(sig[:half]), number(over)...),
			"s all ones":  append(bytes.Clone(sig[:half]), bytes.Repeat([]byte{0xff}, half)...),
			"too long":    append(bytes.Clone(sig), 0),
			"zeros ahead": append(append(append([]byte{0}, sig[:half]...), 0), sig[half:]...),
			"too short":   sig[:len(sig)-1],
			"one byte":    {0},
			"DER":         {0x30, 6, 2, 1, 1, 2, 1, 1},
		} {
			mustRefuse(t, v, k.alg+" "+what, parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(bad))
		}
	}
}

// TestMalleability: of a good token no other text is good, but
// for the second form of an ECDSA signature; and what ends the token ends every
// form of it, whichever was seen first.
func TestMalleability(t *testing.T) {
	is := newIssuer(t, "ES256", "EdDSA", "RS256")
	v := is.jwt()
	for _, k := range is.keys {
		good := k.sign(t, map[string]any{"jtn": revocation.Claim{Generations: map[string]uint64{"user/u": 1}}})
		variants := variantsOf(good)
		for _, variant := range variants {
			mustRefuse(t, v, k.alg+": a variant", variant)
		}
		forms := []string{good}
		if k.alg == "ES256" {
			forms = append(forms, secondForm(good))
		}
		for _, event := range []revocation.Event{{Counter: "user/u", Number: 2}, {Token: "j"}} {
			for _, form := range forms {
				table := &revocation.Table{}
				table.Confirm(time.Now())
				c := &Cache{Verifier: v, Table: table, MaxStale: time.Hour}
				mustTake(t, c, "a form of the token", form)
				event.Until = time.Now().Add(2 * time.Hour)
				table.Add(event)
				for _, other := range append(forms, variants...) {
					mustRefuse(t, c, "a form of an ended token", other)
				}
			}
		}
	}
}

// secondForm returns the token with the other signature (r, -s).
func secondForm(token string) string {
	i := strings.LastIndex(token, ".")
	sig, _ := base64.RawURLEncoding.DecodeString(token[i+1:])
	n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(n, s).FillBytes(sig[32:])
	return token[:i+1] + base64.RawURLEncoding.EncodeToString(sig)
}

// variantsOf returns texts that lax readers take for the same token.
func variantsOf(good string) []string {
	parts := strings.Split(good, ".")
	variants := []string{good + "=", good + "==", good + "\n", " " + good, good + " ", good + ".", "." + good, "Bearer " + good, "bearer " + good,
		strings.Replace(good, ".", ".\n", 1), strings.Replace(good, ".", "=.", 1), good[:10] + "\r\n" + good[10:], good + "\x00", good + "#", good + ",",
		strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+", "\ufeff" + good}
	for i, part := range parts {
		last := part[len(part)-1]
		for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
			if byte(c) == last {
				continue
			}
			other := append([]string{}, parts...)
			other[i] = part[:len(part)-1] + string(c)
			variants = append(variants, strings.Join(other, "."))
		}
	}
	return variants
}

func TestClaimForms(t *testing.T) {
	is := newIssuer(t, "EdDSA")
	v, k := is.jwt(), is.keys[0]
	now := time.Now().Unix()
	for _, name := range []string{"exp", "nbf", "iat"} {
		for _, bad := range []string{`"1"`, `null`, `true`, `[]`, `{}`, `1e400`, `-1`, `0`, `1.5`, `1e9`, `99999999999999`, `9223372036854775808`, `-9223372036854775809`, fmt.Sprint(now * 1000), `"` + fmt.Sprint(now+60) + `"`} {
			mustRefuse(t, v, name+" "+bad, k.sign(t, map[string]any{name: json.RawMessage(bad)}))
		}
	}
	mustRefuse(t, v, "no exp", k.sign(t, map[string]any{"exp": nil}))
	mustTake(t, v, "no iat", k.sign(t, map[string]any{"iat": nil}))
	mustRefuse(t, v, "nobody's", k.sign(t, map[string]any{"sub": nil, "client_id": nil}))
	for _, name := range []string{"iss", "sub", "jti", "client_id", "azp", "tenant_id", "scope", "scp", "aud"} {
		for _, bad := range []string{`1`, `null`, `{}`, `[1]`, `[null]`, `[["x"]]`} {
			mustRefuse(t, v, name+" "+bad, k.sign(t, map[string]any{name: json.RawMessage(bad)}))
		}
	}
	whole := but(nil)
	for _, bad := range []string{
		whole[:len(whole)-1] + `,"scope":"admin"}`, whole[:len(whole)-1] + `,"Scope":"admin"}`, whole[:len(whole)-1] + `,"\u017fcope":"admin"}`,
		whole[:len(whole)-1] + `,"x":{"a":1,"a":2}}`, whole + whole, whole + " x", "[" + whole + "]", `"x"`, ``, `{`, `null`,
		whole[:len(whole)-1] + `,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}", whole[:len(whole)-1] + ",\"x\":\"\xff\"}",
	} {
		token := k.raw(t, k.header(), bad)
		mustRefuse(t, v, bad[:min(60, len(bad))], token)
	}
	for _, bad := range []string{`,"alg":"EdDSA"}`, `,"ALG":"none"}`, `,"typ":"at+jwt"}`} {
		mustRefuse(t, v, "header "+bad, k.raw(t, k.header()[:len(k.header())-1]+bad, whole))
	}
}

// TestScopeForms: a string or a list, and never more tokens than were written.
func TestScopeForms(t *testing.T) {
	is := newIssuer(t, "EdDSA")
	v, k := is.jwt(), is.keys[0]
	for _, test := range []struct {
		scope, scp any
		want       string
	}{
		{"a b", nil, "a b"}, {nil, "a b", "a b"}, {nil, []string{"a", "b"}, "a b"}, {[]string{"a", "b"}, nil, "a b"}, {"a", "b", "a"}, {nil, nil, ""}, {"", nil, ""},
	} {
		claims := mustTake(t, v, fmt.Sprint(test), k.sign(t, map[string]any{"scope": test.scope, "scp": test.scp}))
		if got := claims.Scope.String(); got != test.want {
			t.Errorf("%v: scope %q", test, got)
		}
	}
	for _, bad := range []any{[]string{"a b"}, []string{""}, "a\"b", "a\nb", []string{"a\\"}} {
		mustRefuse(t, v, fmt.Sprintf("scope %q", bad), k.sign(t, map[string]any{"scope": bad}))
	}
	if c := mustTake(t, v, "azp", k.sign(t, map[string]any{"client_id": nil, "azp": "z"})); c.ClientID != "z" {
		t.Errorf("azp: client %q", c.ClientID)
	}
}

// TestTimes: to the edge of the leeway.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t, "EdDSA")
		k, now := is.keys[0], time.Now().Unix()
		for leeway, most := range map[time.Duration]int64{0: 0, -time.Hour: 0, 10 * time.Second: 10, time.Hour: 300} {
			v := is.jwt()
			v.Leeway = leeway
			for _, name := range []string{"nbf", "iat"} {
				mustTake(t, v, name, k.sign(t, map[string]any{name: now + most}))
				mustRefuse(t, v, name+" later", k.sign(t, map[string]any{name: now + most + 1}))
			}
			c := &Cache{Verifier: v}
			last := k.sign(t, map[string]any{"iat": nil, "exp": now - most + 1})
			mustTake(t, v, "the last second", last)
			mustTake(t, c, "the last second, known", last)
			mustRefuse(t, v, "expired", k.sign(t, map[string]any{"iat": nil, "exp": now - most}))
			time.Sleep(time.Second)
			now++
			mustRefuse(t, v, "expired now", last)
			mustRefuse(t, c, "expired now, known", last)
		}
	})
}

// TestAudienceAndIssuer: both are compared whole.
func TestAudienceAndIssuer(t *testing.T) {
	is := newIssuer(t, "EdDSA")
	v, k := is.jwt(), is.keys[0]
	mustTake(t, v, "one of several", k.sign(t, map[string]any{"aud": []string{"x", audience, "y"}}))
	for _, bad := range []any{nil, "", "x", audience + "/", audience[:len(audience)-1], strings.ToUpper(audience), " " + audience, "x " + audience, audience + " x",
		[]string{}, []string{"x"}, []string{audience + "/"}, issuerURL} {
		mustRefuse(t, v, fmt.Sprintf("aud %v", bad), k.sign(t, map[string]any{"aud": bad}))
	}
	for _, bad := range []any{nil, "", issuerURL + "/", issuerURL[:len(issuerURL)-1], strings.ToUpper(issuerURL), "http://issuer.example", issuerURL + "#x"} {
		mustRefuse(t, v, fmt.Sprintf("iss %v", bad), k.sign(t, map[string]any{"iss": bad}))
	}
	v.Audience = ""
	mustTake(t, v, "the issuer as audience", k.sign(t, map[string]any{"aud": issuerURL}))
	mustRefuse(t, v, "another than the issuer", k.sign(t, nil))
	// Another issuer has a key of the same ID.
	other := newIssuer(t, "EdDSA")
	mustRefuse(t, is.jwt(), "the same kid", other.keys[0].sign(t, nil))
}

// TestOtherTokens: ID tokens, refresh tokens and the like are no
// access tokens, though the same key signed them.
func TestOtherTokens(t *testing.T) {
	is := newIssuer(t, "EdDSA")
	v, k := is.jwt(), is.keys[0]
	typed := func(typ string, other map[string]any) string {
		return k.raw(t, `{"alg":"EdDSA","kid":"key-EdDSA"`+typ+`}`, but(other))
	}
	for _, typ := range []string{"at+jwt", "application/at+jwt", "JWT", "jwt", "at+JWT"} {
		mustTake(t, v, typ, typed(`,"typ":"`+typ+`"`, nil))
	}
	for _, typ := range []string{``, `,"typ":""`, `,"typ":"refresh+jwt"`, `,"typ":"dpop+jwt"`, `,"typ":"logout+jwt"`, `,"typ":"application/jwt"`, `,"typ":"at+jwt "`, `,"typ":null`, `,"typ":["JWT"]`} {
		mustRefuse(t, v, typ, typed(typ, nil))
	}
	for _, other := range []map[string]any{{"nonce": "n"}, {"at_hash": "x"}, {"c_hash": "x"}, {"token_use": "id"}, {"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}, {"typ": "ID"}, {"typ": "Refresh"}, {"token_use": 1}} {
		mustRefuse(t, v, fmt.Sprint(other), typed(`,"typ":"JWT"`, other))
	}
	mustTake(t, v, "an access token that says so", typed(`,"typ":"JWT"`, map[string]any{"token_use": "access", "typ": "Bearer"}))
	mustRefuse(t, v, "another use", typed(`,"typ":"at+jwt"`, map[string]any{"token_use": "id"}))
	mustRefuse(t, v, "bound to a key", typed(`,"typ":"at+jwt"`, map[string]any{"cnf": map[string]string{"jkt": "x"}}))
	v.Types = []string{"at+jwt", "application/at+jwt"}
	mustRefuse(t, v, "JWT where RFC 9068 is asked for", typed(`,"typ":"JWT"`, nil))
	mustTake(t, v, "RFC 9068", typed(`,"typ":"at+jwt"`, nil))
}

// TestBoundedWork: none of it has a key fetched.
func TestBoundedWork(t *testing.T) {
	is := newIssuer(t)
	v := is.jwt()
	k := is.keys[0]
	for what, token := range map[string]string{
		"dots": strings.Repeat(".", 1<<20), "a megabyte": strings.Repeat("A", 1<<20), "three long parts": strings.Repeat("QUFB", 4000) + ".QUFB.QUFB",
		"nothing": "", "two dots": "..", "a large good one": k.sign(t, map[string]any{"x": strings.Repeat("x", 8<<10)}),
		"a compressed JWE":   encode(`{"alg":"dir","enc":"A256GCM","zip":"DEF","kid":"key-ES256","typ":"at+jwt"}`) + ".." + encode("iv") + "." + encode("text") + "." + encode("tag"),
		"PBES2 with a count": encode(`{"alg":"PBES2-HS256+A128KW","p2c":2147483647,"enc":"A128GCM","kid":"key-ES256"}`) + "." + encode("k") + "." + encode("iv") + "." + encode("t") + "." + encode("t"),
		"nested JSON":        encode(strings.Repeat("[", 5000)) + "." + encode("{}") + "." + encode("x"),
		"a nested payload":   encode(k.header()) + "." + encode(strings.Repeat(`{"a":`, 1000)) + "." + encode("x"),
	} {
		mustRefuse(t, v, what, token)
	}
	if n := is.count("GET /keys"); n != 0 {
		t.Errorf("%d calls for the keys", n)
	}
}

func TestErrorsShowNothing(t *testing.T) {
	is := newIssuer(t)
	v, k := is.jwt(), is.keys[0]
	tokens := []string{k.sign(t, map[string]any{"exp": 1}), k.sign(t, map[string]any{"aud": "elsewhere"}), k.sign(t, nil) + "x", "canary"}
	for _, token := range tokens {
		_, err := verifyText(t, v, token)
		for _, part := range append(strings.Split(token, "."), "canary", "elsewhere") {
			if strings.Contains(describe(err), part) {
				t.Errorf("the error %q shows a part of the token", describe(err))
			}
		}
		if _, ok := errors.AsType[*jeton.Error](err); !ok {
			t.Errorf("%v is no refusal", err)
		}
	}
}

func FuzzJWT(f *testing.F) {
	is := newIssuer(f)
	v, k := is.jwt(), is.keys[0]
	good := k.sign(f, nil)
	f.Add(good)
	f.Add("..")
	f.Add(encode(`{"alg":"none"}`) + "." + encode(`{}`) + ".")
	f.Add(encode(k.header()) + "." + encode(but(nil)) + "." + encode("x"))
	f.Fuzz(func(t *testing.T, token string) {
		if token == good || token == secondForm(good) {
			return
		}
		if _, err := v.Verify(t.Context(), jeton.NewSecret(token)); !errors.Is(err, jeton.InvalidToken) {
			t.Fatalf("%q: %v", token, err)
		}
	})
}
