package guard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
)

// callVerifier is a verifier of calls of one function.
type callVerifier func(r *http.Request, body []byte) (*jeton.Claims, error)

func (callVerifier) Verify(context.Context, jeton.Secret) (*jeton.Claims, error) {
	return nil, errors.New("asked about a token")
}

func (f callVerifier) VerifyCall(_ context.Context, r *http.Request, body []byte) (*jeton.Claims, error) {
	return f(r, body)
}

func tokenless(t *testing.T, source string) *dialect.Dialect {
	t.Helper()
	d, err := dialect.Parse("test.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const (
	keyed  = "dialect: x\ncall: {base: https://a.test, headers: {x-api-key: $api_key}}\n"
	signed = "dialect: x\ncall: {base: https://a.test, sign: {oauth1: {consumer_key: $key, consumer_secret: $secret}}}\n"
)

// What a call without a token comes to is what the verifier of calls says, and
// nobody gets through without one.
func TestTokenless(t *testing.T) {
	good := &jeton.Claims{Subject: "somebody"}
	for name, c := range map[string]struct {
		verifier jeton.Verifier
		status   int
	}{
		"good":         {callVerifier(func(*http.Request, []byte) (*jeton.Claims, error) { return good, nil }), 204},
		"not good":     {callVerifier(func(*http.Request, []byte) (*jeton.Claims, error) { return nil, jeton.InvalidToken }), 401},
		"no key":       {callVerifier(func(*http.Request, []byte) (*jeton.Claims, error) { return nil, dialect.ErrNoCredentials }), 401},
		"undecided":    {callVerifier(func(*http.Request, []byte) (*jeton.Claims, error) { return nil, errors.New("the store is down") }), 503},
		"says nothing": {callVerifier(func(*http.Request, []byte) (*jeton.Claims, error) { return nil, nil }), 503},
		"panics":       {callVerifier(func(*http.Request, []byte) (*jeton.Claims, error) { panic("x") }), 503},
		"of tokens":    {people(), 503},
	} {
		for _, source := range []string{keyed, signed} {
			g := &guard.Guard{Dialect: tokenless(t, source), Verifier: c.verifier}
			if got := call(g.Handler(reached), "GET", "/things", "guest").StatusCode; got != c.status {
				t.Errorf("%s: status %d, want %d", name, got, c.status)
			}
		}
	}
}

// A body that a signature is over is read by the verifier and by the API.
func TestSignedBody(t *testing.T) {
	seen := ""
	g := &guard.Guard{Dialect: tokenless(t, signed), Verifier: callVerifier(func(_ *http.Request, body []byte) (*jeton.Claims, error) {
		seen = string(body)
		return &jeton.Claims{Subject: "somebody"}, nil
	})}
	passed := ""
	h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		passed = string(b)
	}))
	for size, status := range map[int]int{0: 200, 5: 200, 1 << 20: 200, 1<<20 + 1: 413} {
		for _, announced := range []bool{true, false} {
			seen, passed = "", ""
			body := strings.Repeat("x", size)
			r := httptest.NewRequest("POST", "/things", strings.NewReader(body))
			if !announced {
				r.ContentLength = -1
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != status || status == 200 && (seen != body || passed != body) || status != 200 && passed != "" {
				t.Errorf("%d bytes: status %d, %d judged, %d passed on", size, w.Code, len(seen), len(passed))
			}
		}
	}
}
