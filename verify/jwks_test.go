package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func serveText(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

// TestKeyFixesAlg: a published key that says nothing of its
// algorithm, is not for signatures, or is weak or of another kind, is never
// used.
func TestKeyFixesAlg(t *testing.T) {
	good := newKey(t, "good", "ES256")
	p256 := newKey(t, "k", "ES256").private.(*ecdsa.PrivateKey)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal("no weak key to test with:", err)
	}
	for what, test := range map[string]struct {
		k    key
		edit func(jwk map[string]any)
	}{
		"no alg":                   {key{"k", "ES256", p256}, func(jwk map[string]any) { delete(jwk, "alg") }},
		"no alg, RSA":              {key{"k", "RS256", rsaKey()}, func(jwk map[string]any) { delete(jwk, "alg") }},
		"another alg":              {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["alg"] = "RS256" }},
		"alg is no text":           {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["alg"] = []string{"ES256"} }},
		"an empty alg":             {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["alg"] = "" }},
		"for encryption":           {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["use"] = "enc" }},
		"use is no text":           {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["use"] = nil }},
		"not for verifying":        {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["key_ops"] = []string{"sign", "encrypt"} }},
		"for nothing":              {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["key_ops"] = []string{} }},
		"no ID":                    {key{"k", "ES256", p256}, func(jwk map[string]any) { delete(jwk, "kid") }},
		"another curve":            {key{"k", "ES384", p384}, func(jwk map[string]any) { jwk["alg"] = "ES256" }},
		"RSA with 1024 bits":       {key{"k", "RS256", weak}, func(map[string]any) {}},
		"a point off the curve":    {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["x"] = jwk["y"] }},
		"an unknown kind":          {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["kty"] = "XX" }},
		"a private key, published": {key{"k", "ES256", p256}, func(jwk map[string]any) { jwk["d"] = private(t, p256) }},
	} {
		is := newIssuer(t)
		is.set(good, test.k)
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal(is.document(), &set); err != nil {
			t.Fatal(err)
		}
		if what != "RSA with 1024 bits" {
			v := is.jwt()
			mustTake(t, v, what+": the same key as it should be", test.k.sign(t, nil))
		}
		test.edit(set.Keys[1])
		edited, _ := json.Marshal(set)
		is.answer(serveText(string(edited)))
		v := is.jwt()
		mustRefuse(t, v, what, test.k.sign(t, nil))
		mustTake(t, v, what+": the key beside it", good.sign(t, nil))
	}
}

// private returns the secret part of a key as a JWK has it.
func private(t *testing.T, k *ecdsa.PrivateKey) any {
	b, err := json.Marshal(jose.JSONWebKey{Key: k})
	var jwk map[string]any
	if err == nil {
		err = json.Unmarshal(b, &jwk)
	}
	if err != nil || jwk["d"] == nil {
		t.Fatal("no private key to test with:", err)
	}
	return jwk["d"]
}

// TestKeyWithoutAlg: an operator may say which algorithm such keys are for.
func TestKeyWithoutAlg(t *testing.T) {
	is := newIssuer(t)
	is.set(key{"r", "", rsaKey()}, key{"e", "", newKey(t, "", "ES256").private})
	rs, ps, es := key{"r", "RS256", is.keys[0].private}, key{"r", "PS256", is.keys[0].private}, key{"e", "ES256", is.keys[1].private}
	v := is.jwt()
	v.Algs = []string{"RS256", "ES256"}
	mustTake(t, v, "the only algorithm of RSA", rs.sign(t, nil))
	mustTake(t, v, "the only algorithm of the curve", es.sign(t, nil))
	mustRefuse(t, v, "another", ps.sign(t, nil))
	v.Algs = []string{"RS256", "PS256"}
	mustRefuse(t, v, "one of two", rs.sign(t, nil))
	mustRefuse(t, v, "the other of two", ps.sign(t, nil))
}

// TestKidTwice: two keys that cannot be told apart are no keys; keys of one ID
// for two algorithms can.
func TestKidTwice(t *testing.T) {
	is := newIssuer(t)
	a, b, c := newKey(t, "k", "ES256"), newKey(t, "k", "ES256"), newKey(t, "k", "EdDSA")
	is.set(a, b, c)
	v := is.jwt()
	mustRefuse(t, v, "the first", a.sign(t, nil))
	mustRefuse(t, v, "the second", b.sign(t, nil))
	mustTake(t, v, "for another algorithm", c.sign(t, nil))
}

// TestKidFlood: 10,000 invented kids cause one call in a window, and
// a key that is published in the middle of them is learned within it.
func TestKidFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		v := is.jwt()
		mustTake(t, v, "before", is.keys[0].sign(t, nil))
		invented := key{"", "ES256", newKey(t, "", "ES256").private}
		flood := func(from, n int) {
			var group sync.WaitGroup
			for i := range n {
				k := invented
				k.kid = fmt.Sprint("invented-", from+i)
				token := encode(k.header()) + "." + encode(but(nil)) + "." + encode(strings.Repeat("x", 64))
				group.Go(func() { mustRefuse(t, v, k.kid, token) })
				if i%100 == 99 {
					group.Wait()
				}
			}
			group.Wait()
		}
		time.Sleep(3 * time.Second)
		before := is.count("GET /keys")
		flood(0, 10_000)
		if n := is.count("GET /keys") - before; n != 1 {
			t.Errorf("10,000 invented kids caused %d calls", n)
		}
		rotated := newKey(t, "rotated", "ES256")
		is.set(is.keys[0], rotated)
		for range 20 { // two seconds of a flood
			flood(0, 20)
			time.Sleep(time.Second / 10)
		}
		mustTake(t, v, "a key that was published during the flood", rotated.sign(t, nil))
		if n := is.count("GET /keys") - before; n > 3 {
			t.Errorf("%d calls in 2 seconds", n)
		}
	})
}

// TestRotationIsNotDelayed: without a flood a new key is taken at
// its first token.
func TestRotationIsNotDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		v := is.jwt()
		for i := range 10 {
			k := newKey(t, fmt.Sprint(i), "ES256")
			is.set(k)
			mustTake(t, v, "a new key", k.sign(t, nil))
			time.Sleep(2 * time.Second)
		}
	})
}

// TestNoCallForWhatIsRefusedAnyway: a token of another issuer, or an expired
// one, names keys that need not be known.
func TestNoCallForWhatIsRefusedAnyway(t *testing.T) {
	is, k := newIssuer(t), newKey(t, "unknown", "ES256")
	v := is.jwt()
	for _, other := range []map[string]any{{"iss": "https://other.example"}, {"aud": "x"}, {"exp": 1}, {"exp": nil}} {
		mustRefuse(t, v, fmt.Sprint(other), k.sign(t, other))
	}
	if n := is.count("GET /keys"); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// TestRemovedKey: a key that was removed is refused after
// the next fetch, in a cache too, and the others go on.
func TestRemovedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t, "ES256", "EdDSA")
		v := is.jwt()
		c := &Cache{Verifier: v, Epoch: v.Keys.Epoch}
		stop := run(t, v.Keys.Run)
		defer stop()
		stolen, other := is.keys[0], is.keys[1]
		gone, stays := stolen.sign(t, nil), other.sign(t, nil)
		for _, who := range []string{gone, stays} {
			mustTake(t, v, "before", who)
			mustTake(t, c, "before", who)
		}
		is.set(other)
		time.Sleep(refreshDefault)
		mustRefuse(t, v, "after", gone)
		mustRefuse(t, c, "after, known", gone)
		mustTake(t, v, "after", stays)
		mustTake(t, c, "after, known", stays)
		// The same kid with another key is another key.
		is.set(key{other.kid, other.alg, newKey(t, "", "EdDSA").private})
		time.Sleep(refreshDefault)
		mustRefuse(t, c, "a replaced key", stays)
	})
}

// TestKeySetFailures: whatever comes in the place of keys, those
// that are there serve until they are too old; then nothing is decided, in a
// cache neither. With no keys ever nothing is decided from the start.
func TestKeySetFailures(t *testing.T) {
	for what, answer := range map[string]func(*http.Request) (*http.Response, error){
		"no connection":   func(*http.Request) (*http.Response, error) { return nil, http.ErrServerClosed },
		"500":             func(*http.Request) (*http.Response, error) { return response(500, text("oops")), nil },
		"404":             func(*http.Request) (*http.Response, error) { return response(404, text("{}")), nil },
		"204":             func(*http.Request) (*http.Response, error) { return response(204, http.NoBody), nil },
		"an HTML page":    func(*http.Request) (*http.Response, error) { return response(200, text("<html>")), nil },
		"nothing":         func(*http.Request) (*http.Response, error) { return response(200, text("")), nil },
		"an empty set":    func(*http.Request) (*http.Response, error) { return response(200, text(`{"keys":[]}`)), nil },
		"no set":          func(*http.Request) (*http.Response, error) { return response(200, text(`{"keys":{}}`)), nil },
		"keys of no use":  func(*http.Request) (*http.Response, error) { return response(200, text(`{"keys":[1,null,{}]}`)), nil },
		"keys twice":      func(*http.Request) (*http.Response, error) { return response(200, text(`{"keys":[],"keys":[]}`)), nil },
		"no end":          func(*http.Request) (*http.Response, error) { return response(200, &large{}), nil },
		"no answer":       func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() },
		"a redirect away": func(*http.Request) (*http.Response, error) { return redirect("https://evil.example/keys"), nil },
		"a redirect loop": func(*http.Request) (*http.Response, error) { return redirect(issuerURL + "/keys"), nil },
	} {
		synctest.Test(t, func(t *testing.T) {
			is := newIssuer(t)
			end := 24 * time.Hour // the default
			if what != "500" {
				end = time.Hour
			}
			var broken atomic.Bool
			var calls atomic.Int64
			v := is.jwt()
			v.Keys.Client = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				if !broken.Load() {
					return is.RoundTrip(r)
				}
				if calls.Add(1); r.URL.Host != "issuer.example" {
					t.Errorf("%s: %s was called", what, r.URL.Host)
				}
				return answer(r)
			})}
			if end != 24*time.Hour {
				v.Keys.MaxStale = end
			}
			never := &JWT{Issuer: issuerURL, Audience: audience, Keys: &JWKS{URL: issuerURL + "/keys", Client: v.Keys.Client}}
			c := &Cache{Verifier: v, Epoch: v.Keys.Epoch}
			defer run(t, v.Keys.Run)()
			day := map[string]any{"exp": time.Now().Add(48 * time.Hour).Unix()}
			good, unknown := is.keys[0].sign(t, day), newKey(t, "unknown", "ES256").sign(t, day)
			mustTake(t, v, what, good)
			mustTake(t, c, what, good)
			broken.Store(true)
			mustNotDecide(t, never, what+": never any keys", good)
			time.Sleep(end - 10*time.Minute)
			mustTake(t, v, what+": nearly too old", good)
			mustTake(t, c, what+": nearly too old, known", good)
			mustNotDecide(t, v, what+": an unknown key", unknown)
			time.Sleep(20 * time.Minute)
			mustNotDecide(t, v, what+": too old", good)
			mustNotDecide(t, c, what+": too old, known", good)
			if n := calls.Load(); n > int64(end/time.Minute)+100 {
				t.Errorf("%s: %d calls while it lasted", what, n)
			}
			broken.Store(false)
			time.Sleep(time.Minute + 10*time.Second)
			mustTake(t, v, what+": it works again", good)
			mustTake(t, c, what+": it works again, known", good)
			mustRefuse(t, v, what+": it works again, an unknown key", unknown)
		})
	}
}

func redirect(to string) *http.Response {
	r := response(302, http.NoBody)
	r.Header.Set("Location", to)
	return r
}

// run starts something that ends with its context, and returns what stops it.
func run(t *testing.T, fn func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { fn(ctx) })
	return func() { cancel(); group.Wait() }
}

// TestBoundedBody: a body of any size costs a megabyte.
func TestBoundedBody(t *testing.T) {
	body := &large{}
	k := &JWKS{URL: issuerURL, Client: &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) { return response(200, body), nil })}}
	if err := k.learn(t.Context()); err == nil {
		t.Error("there are keys")
	}
	if body.read > 4<<20 {
		t.Errorf("%d bytes were read", body.read)
	}
}

// TestOneFetchAtATime: an issuer that is slow is not asked again meanwhile, and
// those who wait for it are so many at most.
func TestOneFetchAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		is := newIssuer(t)
		v := is.jwt()
		v.Keys.Client = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			calls.Add(1)
			time.Sleep(4 * time.Second)
			return is.RoundTrip(r)
		})}
		good := is.keys[0].sign(t, nil)
		var group sync.WaitGroup
		for range maxWaiting {
			group.Go(func() { mustTake(t, v, "who waits", good) })
		}
		time.Sleep(3 * time.Second)
		mustNotDecide(t, v, "one too many", good)
		group.Wait()
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}
	})
}

// TestRefreshEvery: max-age counts, within limits.
func TestRefreshEvery(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 5 * time.Minute, "public, max-age=600": 10 * time.Minute, "max-age=0": time.Minute, "Max-Age=99999999": 15 * time.Minute,
		"max-age=x": 5 * time.Minute, "max-age=-1": 5 * time.Minute, "no-store": time.Minute, `max-age="120"`: 2 * time.Minute, "s-maxage=60": 5 * time.Minute,
		"max-age=99999999999999999999": 5 * time.Minute,
	} {
		if got := refreshEvery(header); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// TestPlainHTTP: keys come by TLS, or from this machine.
func TestPlainHTTP(t *testing.T) {
	for _, bad := range []string{"http://issuer.example/keys", "http://127.0.0.1.evil.example/", "ftp://127.0.0.1/", "file:///etc/passwd", "https://", "https://u:p@issuer.example/", "//issuer.example", "", "https://x/#y", "http://[::ffff:8.8.8.8]/"} {
		if checkURL(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, good := range []string{"https://issuer.example/keys", "http://127.0.0.1:8080/keys", "http://localhost/", "http://[::1]:1/", "http://127.9.9.9/"} {
		if err := checkURL(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

// TestKeysOverHTTP fetches from a real server, with compression.
func TestKeysOverHTTP(t *testing.T) {
	is := newIssuer(t)
	server := httptest.NewServer(is)
	defer server.Close()
	v := is.jwt()
	v.Keys = &JWKS{URL: server.URL + "/keys"}
	mustTake(t, v, "a token", is.keys[0].sign(t, nil))
}

func FuzzKeys(f *testing.F) {
	is := newIssuer(f, "ES256", "EdDSA", "RS256")
	f.Add(is.document())
	f.Add([]byte(`{"keys":[{"kty":"RSA","kid":"x","n":"AQAB","e":"AQAB","alg":"RS256"}]}`))
	private, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: is.keys[0].private, KeyID: "x", Algorithm: "ES256"}}})
	f.Add(private)
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"x","x":""},{"kty":"oct","k":"AAAA","kid":"y"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _, err := parseKeys(body)
		if (err == nil) != (len(keys) > 0) {
			t.Fatal("neither keys nor error")
		}
		for name, k := range keys {
			jwk := jose.JSONWebKey{Key: k.key}
			if name.kid == "" || !jwk.Valid() || !jwk.IsPublic() {
				t.Fatalf("%v is a key", name)
			}
		}
	})
}
