package verify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/jetonhq/jeton"
)

const (
	issuerURL = "https://issuer.example"
	audience  = "https://api.example"
)

// An issuer is a foreign one: it signs tokens and serves its documents from
// memory, so that tests may run in virtual time.
type issuer struct {
	mu    sync.Mutex
	keys  []key
	serve http.HandlerFunc // instead of the key set
	calls []string         // "METHOD path"
	also  map[string]http.HandlerFunc
}

type key struct {
	kid, alg string
	private  crypto.Signer
}

func newKey(t testing.TB, kid, alg string) key {
	t.Helper()
	var private crypto.Signer
	var err error
	switch alg {
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private = rsaKey()
	}
	if err != nil {
		t.Fatal(err)
	}
	return key{kid, alg, private}
}

// rsaKey is made once: it takes long.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newIssuer(t testing.TB, algs ...string) *issuer {
	t.Helper()
	if len(algs) == 0 {
		algs = []string{"ES256"}
	}
	is := &issuer{also: map[string]http.HandlerFunc{}}
	for _, alg := range algs {
		is.keys = append(is.keys, newKey(t, "key-"+alg, alg))
	}
	return is
}

// RoundTrip answers like the issuer's server.
func (is *issuer) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		is.ServeHTTP(w, req)
	}()
	select {
	case <-done:
		return w.Result(), nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

func (is *issuer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	is.mu.Lock()
	is.calls = append(is.calls, req.Method+" "+req.URL.Path)
	serve, also := is.serve, is.also[req.URL.Path]
	is.mu.Unlock()
	switch {
	case also != nil:
		also(w, req)
	case req.URL.Path != "/keys":
		http.NotFound(w, req)
	case serve != nil:
		serve(w, req)
	default:
		_, _ = w.Write(is.document())
	}
}

func (is *issuer) document() []byte {
	is.mu.Lock()
	defer is.mu.Unlock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range is.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.kid, Algorithm: k.alg, Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
}

func (is *issuer) set(keys ...key) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.keys = keys
}

func (is *issuer) answer(serve http.HandlerFunc) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.serve = serve
}

func (is *issuer) count(call string) (n int) {
	is.mu.Lock()
	defer is.mu.Unlock()
	for _, c := range is.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (is *issuer) client() *http.Client { return &http.Client{Transport: is} }

// jwt returns a verifier for the issuer's tokens.
func (is *issuer) jwt() *JWT {
	return &JWT{Issuer: issuerURL, Audience: audience, Keys: &JWKS{URL: issuerURL + "/keys", Client: is.client()}}
}

func encode(b string) string { return base64.RawURLEncoding.EncodeToString([]byte(b)) }

// raw signs header and payload as they are.
func (k key) raw(t testing.TB, header, payload string) string {
	t.Helper()
	alg := k.alg
	if alg == "Ed25519" {
		alg = "EdDSA"
	}
	signed := encode(header) + "." + encode(payload)
	signature, err := jwt.GetSigningMethod(alg).Sign(signed, k.private)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (k key) header() string { return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, k.alg, k.kid) }

// standard are the claims of a good token.
func standard() map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": issuerURL, "aud": audience, "sub": "u", "client_id": "c", "jti": "j", "scope": "read write",
		"iat": now, "exp": now + 3600}
}

// but returns the claims of a good token with others in the place of some; a nil
// one is left out.
func but(other map[string]any) string {
	claims := standard()
	maps.Copy(claims, other)
	for name, value := range claims {
		if value == nil {
			delete(claims, name)
		}
	}
	b, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (k key) sign(t testing.TB, other map[string]any) string {
	t.Helper()
	return k.raw(t, k.header(), but(other))
}

func verifyText(t testing.TB, v jeton.Verifier, token string) (*jeton.Claims, error) {
	t.Helper()
	return v.Verify(t.Context(), jeton.NewSecret(token))
}

func mustTake(t testing.TB, v jeton.Verifier, what, token string) *jeton.Claims {
	t.Helper()
	claims, err := verifyText(t, v, token)
	if err != nil {
		t.Errorf("%s: %v", what, describe(err))
		return &jeton.Claims{}
	}
	return claims
}

func mustRefuse(t testing.TB, v jeton.Verifier, what, token string) {
	t.Helper()
	if claims, err := verifyText(t, v, token); !errors.Is(err, jeton.InvalidToken) || claims != nil {
		t.Errorf("%s: %v, want invalid_token", what, describe(err))
	}
}

func mustNotDecide(t testing.TB, v jeton.Verifier, what, token string) {
	t.Helper()
	if claims, err := verifyText(t, v, token); err == nil || errors.Is(err, jeton.InvalidToken) || claims != nil {
		t.Errorf("%s: %v, want temporarily_unavailable", what, describe(err))
	}
}

// describe shows the cause too.
func describe(err error) string {
	if e, ok := errors.AsType[*jeton.Error](err); ok && e.Cause != nil {
		return fmt.Sprintf("%v (%v)", err, e.Cause)
	}
	return fmt.Sprint(err)
}

// large is a body that never ends.
type large struct{ read int }

func (l *large) Read(p []byte) (int, error) {
	l.read += len(p)
	return len(p), nil
}

func (l *large) Close() error { return nil }

// transport is a RoundTripper in one function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func response(status int, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: body}
}

func text(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
