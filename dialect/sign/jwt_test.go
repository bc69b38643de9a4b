package sign_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton/dialect/sign"
)

// kinds says which kind of key an alg signs with; an HS* has a secret.
var kinds = map[string]string{
	"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
	"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519",
}

const (
	secret      = `pa& = + % " \ é / : 0123456789 and as long as the longest hash, 64 bytes`
	otherSecret = secret + "x"
)

// texts returns the key that signs by alg, the one that checks it, and one of
// the same kind that is somebody else's.
func texts(t testing.TB, alg string) (private, public, foreign string) {
	t.Helper()
	kind, ok := kinds[alg]
	if !ok {
		return secret, secret, otherSecret
	}
	pair := signers()[kind]
	return privatePEM(t, pair[0]), publicPEM(t, pair[0]), publicPEM(t, pair[1])
}

var claims = map[string]any{
	"iss": "client <1>", "aud": []any{"https://login.example/token?a=1&b=2"},
	"exp": json.Number("1795000000"), "nested": map[string]any{"é": true, "n": nil},
}

// TestJWT signs by every alg, opens what came out, checks it with either half
// of the key, and has another library check it too.
func TestJWT(t *testing.T) {
	if len(sign.Algs) != len(kinds)+3 {
		t.Fatalf("%d algs, and the test knows %d", len(sign.Algs), len(kinds)+3)
	}
	for _, alg := range sign.Algs {
		private, public, foreign := texts(t, alg)
		text, err := sign.MakeJWT(alg, private, map[string]any{"x5t#S256": edThumbprint}, claims)
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		header, got, err := sign.OpenJWT(text)
		if err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if want := map[string]any{"alg": alg, "typ": "JWT", "x5t#S256": edThumbprint}; !reflect.DeepEqual(header, want) {
			t.Errorf("%s: header %v, want %v", alg, header, want)
		}
		if !reflect.DeepEqual(got, claims) {
			t.Errorf("%s: claims %v, want %v", alg, got, claims)
		}
		for _, key := range []string{private, public} {
			if err := sign.CheckJWT(text, alg, key); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
		}
		if err := sign.CheckJWT(text, alg, foreign); err == nil {
			t.Errorf("%s: another key is taken", alg)
		}
		foreignCheck(t, text, alg)
	}
}

func foreignCheck(t *testing.T, text, alg string) {
	t.Helper()
	var key any = []byte(secret)
	if kind, ok := kinds[alg]; ok {
		key = signers()[kind][0].Public()
	}
	parsed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		t.Errorf("%s: %v", alg, err)
		return
	}
	if _, err := parsed.Verify(key); err != nil {
		t.Errorf("%s: %v", alg, err)
	}
}

// TestJWTForged takes nothing that the key did not sign by this alg.
func TestJWTForged(t *testing.T) {
	for _, alg := range sign.Algs {
		private, public, _ := texts(t, alg)
		good, err := sign.MakeJWT(alg, private, nil, claims)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(good, ".")
		encode := base64.RawURLEncoding.EncodeToString
		asSecret, err := sign.MakeJWT("HS256", otherSecret, nil, claims)
		if err != nil {
			t.Fatal(err)
		}
		forged := map[string]string{
			"none":              encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".",
			"none with bytes":   encode([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2],
			"no signature":      parts[0] + "." + parts[1] + ".",
			"no third part":     parts[0] + "." + parts[1],
			"half a signature":  parts[0] + "." + parts[1] + "." + parts[2][:len(parts[2])/2],
			"other claims":      parts[0] + "." + encode([]byte(`{"iss":"else"}`)) + "." + parts[2],
			"other header":      encode([]byte(`{"alg":"`+alg+`","kid":"else"}`)) + "." + parts[1] + "." + parts[2],
			"by another secret": asSecret,
			"nothing":           "",
		}
		for name, text := range forged {
			if err := sign.CheckJWT(text, alg, public); err == nil {
				t.Errorf("%s: %s: taken", alg, name)
			}
		}
		for _, other := range append([]string{"none", ""}, sign.Algs...) {
			if err := sign.CheckJWT(good, other, public); other != alg && err == nil {
				t.Errorf("%s: taken for %q", alg, other)
			}
		}
		for _, key := range []string{"", "no key", edKey + "x"} {
			if err := sign.CheckJWT(good, alg, key); err == nil {
				t.Errorf("%s: taken with the key %q", alg, key)
			}
		}
	}
}

// TestJWTPublicKeyAsSecret has the attack on readers that let the header choose
// the alg: HMAC with the public key, which everybody has.
func TestJWTPublicKeyAsSecret(t *testing.T) {
	public := publicPEM(t, signers()["RSA"][0])
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(public)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(`{"iss":"me"}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"RS256", "HS256"} {
		if err := sign.CheckJWT(text, alg, public); err == nil {
			t.Errorf("taken for %s", alg)
		}
	}
	if _, err := sign.MakeJWT("HS256", public, nil, claims); err == nil {
		t.Error("HS256 signs with a public key")
	}
}

// TestJWTAlgOfHeader refuses a header that names another alg than the one by
// which the token is signed, and signs well.
func TestJWTAlgOfHeader(t *testing.T) {
	for header, good := range map[string]bool{
		`{"alg":"HS256"}`: true,
		`{"alg":"HS512"}`: false,
		`{"alg":"none"}`:  false,
		`{"alg":"hs256"}`: false,
		`{}`:              false,
	} {
		signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"me"}`))
		h := hmac.New(sha256.New, []byte(secret))
		h.Write([]byte(signed))
		text := signed + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
		if err := sign.CheckJWT(text, "HS256", secret); (err == nil) != good {
			t.Errorf("%s: %v", header, err)
		}
	}
}

func TestMakeJWTHeader(t *testing.T) {
	jwk := privateJWK(t, signers()["P-256"][0], "of-jwk")
	tests := []struct {
		header map[string]any
		want   map[string]any
	}{
		{nil, map[string]any{"alg": "ES256", "typ": "JWT", "kid": "of-jwk"}},
		{map[string]any{"kid": "mine", "typ": "client-authentication+jwt"},
			map[string]any{"alg": "ES256", "typ": "client-authentication+jwt", "kid": "mine"}},
		{map[string]any{"alg": "ES256"}, map[string]any{"alg": "ES256", "typ": "JWT", "kid": "of-jwk"}},
	}
	for _, test := range tests {
		text, err := sign.MakeJWT("ES256", jwk, test.header, nil)
		if err != nil {
			t.Errorf("%v: %v", test.header, err)
			continue
		}
		header, claims, err := sign.OpenJWT(text)
		if err != nil || !reflect.DeepEqual(header, test.want) || len(claims) != 0 {
			t.Errorf("%v: header %v, claims %v, %v; want %v", test.header, header, claims, err, test.want)
		}
	}
}

func TestMakeJWTRefuses(t *testing.T) {
	const mark = "very-secret"
	ec := privatePEM(t, signers()["P-256"][0])
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		alg, key       string
		header, claims map[string]any
	}{
		"a short key":           {alg: "RS256", key: privatePEM(t, short)},
		"none":                  {alg: "none", key: ec},
		"no alg":                {key: ec},
		"an alg of other case":  {alg: "es256", key: ec},
		"a public key":          {alg: "ES256", key: publicPEM(t, signers()["P-256"][0])},
		"a key of other kind":   {alg: "RS256", key: ec},
		"a key of other curve":  {alg: "ES384", key: ec},
		"no key":                {alg: "ES256"},
		"no secret":             {alg: "HS256"},
		"a secret as key":       {alg: "ES256", key: mark},
		"a pair as secret":      {alg: "HS512", key: ec},
		"another alg in header": {alg: "ES256", key: ec, header: map[string]any{"alg": "none"}},
		"crit":                  {alg: "ES256", key: ec, header: map[string]any{"crit": []string{"exp"}}},
		"b64":                   {alg: "ES256", key: ec, header: map[string]any{"b64": false}},
		"claims beyond JSON":    {alg: "ES256", key: ec, claims: map[string]any{"n": json.Number(mark)}},
		"a header beyond JSON":  {alg: "ES256", key: ec, header: map[string]any{"n": json.Number(mark)}},
	}
	for name, test := range tests {
		text, err := sign.MakeJWT(test.alg, test.key, test.header, test.claims)
		if err == nil || text != "" {
			t.Errorf("%s: made", name)
			continue
		}
		if strings.Contains(err.Error(), mark) {
			t.Errorf("%s: the error shows what it was given: %v", name, err)
		}
		if name == "a public key" && !strings.Contains(err.Error(), "needs the private key") {
			t.Errorf("%s: the error does not say what to do: %v", name, err)
		}
	}
}

func TestOpenJWTRefuses(t *testing.T) {
	encode := base64.RawURLEncoding.EncodeToString
	compact := func(header, claims string) string {
		return encode([]byte(header)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
	}
	const header, claims = `{"alg":"ES256"}`, `{"iss":"me"}`
	if _, _, err := sign.OpenJWT(compact(header, claims)); err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"a member twice":        compact(header, `{"iss":"me","iss":"you"}`),
		"a member twice, cased": compact(header, `{"iss":"me","Iss":"you"}`),
		"deep twice":            compact(header, `{"a":{"b":1,"b":2}}`),
		"a header member twice": compact(`{"alg":"ES256","alg":"none"}`, claims),
		"crit":                  compact(`{"alg":"ES256","crit":["exp"]}`, claims),
		"b64":                   compact(`{"alg":"ES256","b64":false}`, claims),
		"a list":                compact(header, `[]`),
		"no JSON":               compact(header, `me`),
		"not UTF-8":             compact(header, "{\"iss\":\"\xff\"}"),
		"a time that is text":   compact(header, `{"exp":"tomorrow"}`),
		"padding":               encode([]byte(header)) + "=." + encode([]byte(claims)) + ".AAAA",
		"bits that do not count": encode([]byte(header)) + "." +
			encode([]byte(claims)) + ".AB",
		"a newline":  encode([]byte(header)) + "." + encode([]byte(claims)) + ".AA\nAA",
		"four parts": compact(header, claims) + ".AAAA",
		"blanks":     " " + compact(header, claims),
		"too long":   compact(header, `{"iss":"`+strings.Repeat("x", 9<<10)+`"}`),
	}
	for name, text := range tests {
		if _, _, err := sign.OpenJWT(text); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
