package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/revocation"
)

const oauthPlace, openidPlace = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"

func (is *issuer) at(path string, serve http.HandlerFunc) {
	is.mu.Lock()
	defer is.mu.Unlock()
	is.also[path] = serve
}

func metadata(url string, other map[string]any) string {
	document := map[string]any{"issuer": url, "jwks_uri": issuerURL + "/keys", "introspection_endpoint": issuerURL + "/introspect", "response_types_supported": []string{}}
	for name, value := range other {
		document[name] = value
	}
	b, err := json.Marshal(document)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// TestDiscover: each place that a standard has, with and without a path.
func TestDiscover(t *testing.T) {
	for url, places := range map[string][]string{
		issuerURL:             {oauthPlace, openidPlace},
		issuerURL + "/":       {oauthPlace, openidPlace},
		issuerURL + "/realm":  {oauthPlace + "/realm", "/realm" + oauthPlace, "/realm" + openidPlace, openidPlace + "/realm"},
		issuerURL + "/a/b%20": {oauthPlace + "/a/b ", "/a/b " + openidPlace},
	} {
		for _, place := range places {
			is := newIssuer(t)
			is.at(place, serveText(metadata(url, map[string]any{"revocations_endpoint": issuerURL + "/r"})))
			m, err := Discover(t.Context(), is.client(), url)
			want := &Metadata{Issuer: url, JWKSURI: issuerURL + "/keys", IntrospectionEndpoint: issuerURL + "/introspect", RevocationsEndpoint: issuerURL + "/r"}
			if diff := cmp.Diff(want, m); diff != "" || err != nil {
				t.Errorf("%s at %s: %v %s", url, place, err, diff)
			}
		}
	}
}

// TestDiscoverRefuses: metadata that are another issuer's, or send the guard
// elsewhere, are none.
func TestDiscoverRefuses(t *testing.T) {
	for what, body := range map[string]string{
		"another issuer":      metadata("https://evil.example", nil),
		"a slash":             metadata(issuerURL+"/", nil),
		"no issuer":           `{"jwks_uri":"https://issuer.example/keys"}`,
		"plain keys":          metadata(issuerURL, map[string]any{"jwks_uri": "http://issuer.example/keys"}),
		"keys on the machine": metadata(issuerURL, map[string]any{"jwks_uri": "http://127.0.0.1/keys"}),
		"a file":              metadata(issuerURL, map[string]any{"jwks_uri": "file:///etc/passwd"}),
		"no text":             metadata(issuerURL, map[string]any{"introspection_endpoint": 1}),
		"twice":               `{"issuer":"https://evil.example","issuer":"` + issuerURL + `"}`,
		"a page":              "<html>",
		"nothing":             "",
	} {
		is := newIssuer(t)
		is.at(oauthPlace, serveText(body))
		if _, err := Discover(t.Context(), is.client(), issuerURL); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	is := newIssuer(t)
	is.at(oauthPlace, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://evil.example/", http.StatusFound)
	})
	if _, err := Discover(t.Context(), is.client(), issuerURL); err == nil || is.count("GET /") != 0 {
		t.Errorf("a redirect was followed: %v", err)
	}
	for _, url := range []string{"http://issuer.example", "issuer.example", "https://issuer.example?x=1", "https://u:canary@issuer.example", ""} {
		if _, err := Discover(t.Context(), is.client(), url); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// asking returns a verifier by introspection and sets what the issuer answers.
func asking(is *issuer, answer string) *Introspection {
	is.at("/introspect", serveText(answer))
	return &Introspection{URL: issuerURL + "/introspect", Issuer: issuerURL, Audience: audience, Client: is.client(), ClientID: "guard", ClientSecret: jeton.NewSecret("s")}
}

func answerBut(other map[string]any) string {
	all := map[string]any{"active": true, "token_type": "Bearer"}
	for name, value := range other {
		all[name] = value
	}
	return but(all)
}

func TestIntrospection(t *testing.T) {
	is := newIssuer(t)
	private := revocation.Claim{Generations: map[string]uint64{"key/k": 3}, Bound: map[string]string{"api_key": "x"}}
	claims := mustTake(t, asking(is, answerBut(map[string]any{"jtn": private, "username": "n", "iat": time.Now().Add(time.Hour).Unix()})), "active", "opaque")
	want := &jeton.Claims{ID: "j", Issuer: issuerURL, Subject: "u", ClientID: "c", Audience: []string{audience}, Scope: jeton.Scope{"read", "write"},
		IssuedAt: claims.IssuedAt, Expiry: claims.Expiry, Generations: private.Generations, Bound: private.Bound, Extra: map[string]any{"username": "n"}}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Error(diff)
	}
	for what, other := range map[string]map[string]any{
		"no iss": {"iss": nil}, "no aud": {"aud": nil}, "no exp": {"exp": nil}, "several audiences": {"aud": []string{"x", audience}}, "bearer": {"token_type": "bearer"},
		"an access token": {"token_use": "access_token"}, "a user's name": {"sub": nil, "client_id": nil, "username": "n"},
	} {
		mustTake(t, asking(is, answerBut(other)), what, "opaque")
	}
	for what, answer := range map[string]string{
		"not active": `{"active":false}`, "not active, with claims": answerBut(map[string]any{"active": false}), "another issuer": answerBut(map[string]any{"iss": "https://other.example"}),
		"another audience": answerBut(map[string]any{"aud": "x"}), "a longer audience": answerBut(map[string]any{"aud": audience + "/"}), "no audience at all": answerBut(map[string]any{"aud": []string{}}),
		"expired": answerBut(map[string]any{"exp": time.Now().Unix() - 1}), "no type": answerBut(map[string]any{"token_type": nil}), "DPoP": answerBut(map[string]any{"token_type": "DPoP"}),
		"a refresh token": answerBut(map[string]any{"token_use": "refresh_token"}), "nobody's": answerBut(map[string]any{"sub": nil, "client_id": nil}),
		"bound to a certificate": answerBut(map[string]any{"cnf": map[string]string{"x5t#S256": "x"}}),
	} {
		mustRefuse(t, asking(is, answer), what, "opaque")
	}
	// The answer of RFC 7662 section 2.2 has no token_type.
	untyped := asking(is, answerBut(map[string]any{"token_type": nil}))
	untyped.Untyped = true
	mustTake(t, untyped, "no type, where that is allowed", "opaque")
	for what, other := range map[string]map[string]any{
		"no type and no audience": {"token_type": nil, "aud": nil}, "no type, another audience": {"token_type": nil, "aud": "x"}, "another type": {"token_type": "DPoP"},
		"a type that is no text": {"token_type": 1}, "a refresh token": {"token_type": nil, "token_use": "refresh_token"}, "a refresh token of another kind": {"token_type": nil, "typ": "Refresh"},
	} {
		i := asking(is, answerBut(other))
		i.Untyped = true
		mustRefuse(t, i, what+", where no type is allowed", "opaque")
	}
	for what, answer := range map[string]string{
		"nothing": "", "a page": "<html>", "no object": "[]", "no active": `{}`, "active is a text": `{"active":"true"}`, "active is null": `{"active":null}`, "active twice": `{"active":false,"active":true}`,
		"active in two cases": `{"active":false,"Active":true}`, "scope is a number": answerBut(map[string]any{"scope": 1}), "exp is a text": answerBut(map[string]any{"exp": "1"}),
		"jtn is a text": answerBut(map[string]any{"jtn": "x"}), "too long": answerBut(map[string]any{"x": strings.Repeat("x", maxBody)}),
	} {
		mustNotDecide(t, asking(is, answer), what, "opaque")
	}
	before := is.count("POST /introspect")
	for _, bad := range []string{"", "a b", "a\nb", "a\x00", "ä", strings.Repeat("x", maxToken+1)} {
		mustRefuse(t, asking(is, answerBut(nil)), "no token", bad)
	}
	if is.count("POST /introspect") != before {
		t.Error("the issuer was asked about what is no token")
	}
}

// TestIntrospectionUndecided: an endpoint that is down, slow, overrun, or that
// refuses the guard itself says nothing about the token.
func TestIntrospectionUndecided(t *testing.T) {
	for _, status := range []int{301, 302, 400, 401, 403, 404, 405, 429, 500, 502, 503, 504} {
		is := newIssuer(t)
		i := asking(is, "")
		is.at("/introspect", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.example/")
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(answerBut(nil)))
		})
		mustNotDecide(t, i, fmt.Sprint(status), "opaque")
		_, err := verifyText(t, i, "opaque-canary")
		if e, ok := errors.AsType[*jeton.Error](err); !ok || e.RetryAfter != 7*time.Second || strings.Contains(describe(err), "canary") || strings.Contains(describe(err), "issuer.example") {
			t.Errorf("%d: %s", status, describe(err))
		}
		if len(is.calls) != 2 {
			t.Errorf("%d: calls %v", status, is.calls)
		}
	}
}

// TestIntrospectionAuthentication: by the guard's key, or by Basic with both
// parts form-encoded.
func TestIntrospectionAuthentication(t *testing.T) {
	is := newIssuer(t)
	i := asking(is, "")
	var got *http.Request
	is.at("/introspect", func(w http.ResponseWriter, r *http.Request) {
		got = r
		if err := r.ParseForm(); err != nil || r.PostForm.Get("token") != "o+p/a=" || r.PostForm.Get("token_type_hint") != "access_token" {
			t.Errorf("the form is %v, %v", r.PostForm, err)
		}
		_, _ = w.Write([]byte(answerBut(nil)))
	})
	i.ClientID, i.ClientSecret = "a b:c", jeton.NewSecret("p%w+ü")
	mustTake(t, i, "Basic", "o+p/a=")
	if id, secret, ok := got.BasicAuth(); !ok || id != "a+b%3Ac" || secret != "p%25w%2B%C3%BC" {
		t.Errorf("Basic %q %q", id, secret)
	}
	i.Key = jeton.NewSecret("guard-key")
	mustTake(t, i, "the guard's key", "o+p/a=")
	if h := got.Header.Get("Authorization"); h != "Bearer guard-key" {
		t.Errorf("Authorization is %q", h)
	}
}

// TestIntrospectionBounded: so many calls run at once and no more; who waits
// too long is told to come again.
func TestIntrospectionBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		i := asking(is, "")
		i.Concurrency = 3
		var running, most, undecided atomic.Int64
		is.at("/introspect", func(w http.ResponseWriter, r *http.Request) {
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(1500 * time.Millisecond)
			running.Add(-1)
			_, _ = w.Write([]byte(answerBut(nil)))
		})
		var group sync.WaitGroup
		for n := range 12 {
			group.Go(func() {
				_, err := i.Verify(context.Background(), jeton.NewSecret(fmt.Sprint("token", n)))
				if errors.Is(err, jeton.Unavailable) {
					undecided.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		time.Sleep(2 * time.Second) // for the calls that were given up
		if most.Load() != 3 || undecided.Load() != 3 {
			t.Errorf("%d calls at once, %d were not decided within 5 seconds", most.Load(), undecided.Load())
		}
	})
}

// TestRemote: one issuer whose tokens are of both kinds.
func TestRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		is.at(openidPlace, serveText(metadata(issuerURL, nil)))
		is.at("/introspect", func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.PostFormValue("token"), "opaque") {
				_, _ = w.Write([]byte(answerBut(nil)))
				return
			}
			_, _ = w.Write([]byte(`{"active":false}`))
		})
		r := &Remote{Issuer: issuerURL, Audience: audience, ClientID: "guard", ClientSecret: jeton.NewSecret("s"), Client: is.client()}
		plain := &Remote{Issuer: issuerURL, Audience: audience, Client: is.client()}
		defer run(t, r.Run)()
		defer run(t, plain.Run)()
		signed := is.keys[0].sign(t, nil)
		foreign := newKey(t, "x", "ES256").sign(t, nil)
		none := encode(`{"alg":"none","typ":"JWT"}`) + "." + encode(but(nil)) + ".x"
		for range 3 {
			mustTake(t, r, "a signed token", signed)
			mustTake(t, r, "an opaque token", "opaque")
			mustTake(t, plain, "a signed token, without credentials", signed)
			mustRefuse(t, plain, "an opaque token, without credentials", "opaque")
			for _, v := range []*Remote{r, plain} {
				mustRefuse(t, v, "a foreign token", foreign)
				mustRefuse(t, v, "garbage", "garbage")
				mustRefuse(t, v, "alg none", none)
			}
		}
		if n := is.count("POST /introspect"); n != 4 {
			t.Errorf("the issuer was asked %d times, want once about the good token and each time about garbage", n)
		}
		time.Sleep(29 * time.Second)
		mustTake(t, r, "known", "opaque")
		time.Sleep(2 * time.Second)
		is.at("/introspect", serveText(`{"active":false}`))
		mustRefuse(t, r, "not active any more", "opaque")
		mustTake(t, r, "a signed token", signed)
	})
}

// TestRemoteIssuerIsDown: a guard starts without its issuer, decides
// nothing until that answers, and goes on without it afterwards.
func TestRemoteIssuerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		is.at(oauthPlace, serveText(metadata(issuerURL, nil)))
		var up atomic.Bool
		var calls atomic.Int64
		r := &Remote{Issuer: issuerURL, Audience: audience, Client: &http.Client{Transport: transport(func(req *http.Request) (*http.Response, error) {
			calls.Add(1)
			if !up.Load() {
				return nil, errors.New("connection refused")
			}
			return is.RoundTrip(req)
		})}}
		good := is.keys[0].sign(t, map[string]any{"exp": time.Now().Add(48 * time.Hour).Unix()})
		early, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Verify(early, jeton.NewSecret(good)); !errors.Is(err, jeton.Unavailable) {
			t.Errorf("before it runs: %v", err)
		}
		defer run(t, r.Run)()
		mustNotDecide(t, r, "the issuer is down", good)
		mustNotDecide(t, r, "the issuer is down, garbage", "garbage")
		if _, err := r.Metadata(t.Context()); err == nil || strings.Contains(err.Error(), "issuer.example") {
			t.Errorf("metadata: %v", err)
		}
		time.Sleep(time.Hour)
		if n := calls.Load(); n > 200 {
			t.Errorf("%d calls in an hour", n)
		}
		up.Store(true)
		time.Sleep(time.Minute + time.Second)
		mustTake(t, r, "the issuer is up", good)
		up.Store(false)
		time.Sleep(3 * time.Hour)
		mustTake(t, r, "the issuer is down again", good)
		mustRefuse(t, r, "garbage", "garbage")
	})
}

// TestRemoteRevocation: a table ends tokens of both kinds at the next call.
func TestRemoteRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		private := revocation.Claim{Generations: map[string]uint64{"user/u": 1}}
		is.at(oauthPlace, serveText(metadata(issuerURL, nil)))
		is.at("/introspect", serveText(answerBut(map[string]any{"jtn": private, "exp": nil})))
		symmetric := encode(`{"alg":"HS256","kid":"h","typ":"at+jwt"}`) + "." + encode(but(nil)) + "." + encode("x")
		table := &revocation.Table{}
		table.Confirm(time.Now())
		r := &Remote{Issuer: issuerURL, Audience: audience, Key: jeton.NewSecret("k"), Table: table, Client: is.client()}
		defer run(t, r.Run)()
		signed := is.keys[0].sign(t, map[string]any{"jtn": private})
		for range 60 {
			mustTake(t, r, "a signed token", signed)
			mustTake(t, r, "an API key", "opaque")
			mustTake(t, r, "a token with an HMAC", symmetric)
			time.Sleep(time.Second)
			table.Confirm(time.Now())
		}
		if n := is.count("POST /introspect"); n != 2 {
			t.Errorf("the issuer was asked %d times about two tokens that the table can end", n)
		}
		table.Add(revocation.Event{Counter: "user/u", Number: 2, Until: time.Now().Add(time.Hour)})
		mustRefuse(t, r, "a signed token, ended", signed)
		mustRefuse(t, r, "an API key, ended", "opaque")
		time.Sleep(31 * time.Second)
		mustNotDecide(t, r, "an old table", is.keys[0].sign(t, map[string]any{"jtn": revocation.Claim{Generations: map[string]uint64{"user/v": 1}}}))
	})
}

// TestRemoteKeyRemoved: the issuer removed a secret key that somebody else had
// got hold of. No event tells of the tokens that it signed, and no key set has
// it; the issuer is asked again, however long they say that they live.
func TestRemoteKeyRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		is.at(oauthPlace, serveText(metadata(issuerURL, nil)))
		forever := map[string]any{"jtn": revocation.Claim{Generations: map[string]uint64{"user/u": 1}}, "exp": time.Now().Add(1000 * time.Hour).Unix()}
		is.at("/introspect", serveText(answerBut(forever)))
		symmetric := encode(`{"alg":"HS256","kid":"h","typ":"at+jwt"}`) + "." + encode(but(forever)) + "." + encode("x")
		r := &Remote{Issuer: issuerURL, Audience: audience, Key: jeton.NewSecret("k"), Table: &revocation.Table{}, Client: is.client()}
		defer run(t, r.Run)()
		r.Table.Confirm(time.Now())
		mustTake(t, r, "the key is there", symmetric)
		is.at("/introspect", serveText(`{"active":false}`))
		time.Sleep(revocation.Grace)
		r.Table.Confirm(time.Now())
		mustRefuse(t, r, "the key was removed", symmetric)
	})
}

// TestRemoteHearsWhatEnds: of an issuer that tells what ended no token is good
// without a table, not even one that is known. It would be until it expires.
func TestRemoteHearsWhatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		is.at(oauthPlace, serveText(metadata(issuerURL, nil)))
		is.at("/introspect", serveText(answerBut(nil)))
		var lines strings.Builder
		plain := &Remote{Issuer: issuerURL, Audience: audience, Client: is.client(), Logger: slog.New(slog.NewTextHandler(&lines, nil))}
		asking := &Remote{Issuer: issuerURL, Audience: audience, Client: is.client(), ClientID: "guard", ClientSecret: jeton.NewSecret("s")}
		hearing := &Remote{Issuer: issuerURL, Audience: audience, Client: is.client(), Key: jeton.NewSecret("k"), Table: &revocation.Table{}}
		for _, r := range []*Remote{plain, asking, hearing} {
			defer run(t, r.Run)()
		}
		signed := is.keys[0].sign(t, map[string]any{"exp": time.Now().Add(48 * time.Hour).Unix()})
		hearing.Table.Confirm(time.Now())
		for _, r := range []*Remote{plain, asking, hearing} {
			mustTake(t, r, "an issuer that tells nothing", signed)
		}
		is.at(oauthPlace, serveText(metadata(issuerURL, map[string]any{"revocations_endpoint": issuerURL + "/revocations"})))
		time.Sleep(2*time.Hour + time.Minute)
		hearing.Table.Confirm(time.Now())
		mustTake(t, hearing, "a guard that listens", signed)
		for _, r := range []*Remote{plain, asking} {
			mustNotDecide(t, r, "a known token", signed)
			mustNotDecide(t, r, "a token that is not known", is.keys[0].sign(t, nil))
			mustNotDecide(t, r, "an opaque token", "opaque")
		}
		if n := strings.Count(lines.String(), "level=ERROR"); n != 1 || !strings.Contains(lines.String(), "needs a key") {
			t.Errorf("the log has %d errors: %s", n, lines.String())
		}
		late := &Remote{Issuer: issuerURL, Audience: audience, Client: is.client()}
		defer run(t, late.Run)()
		mustNotDecide(t, late, "at first sight", signed)
	})
}

func FuzzIntrospection(f *testing.F) {
	i := asking(newIssuer(f), "")
	f.Add([]byte(answerBut(nil)))
	f.Add([]byte(`{"active":false}`))
	f.Add([]byte(answerBut(map[string]any{"jtn": revocation.Claim{Generations: map[string]uint64{"user/u": 1}}})))
	f.Fuzz(func(t *testing.T, body []byte) {
		claims, err := i.judge(body, time.Now())
		if (claims == nil) == (err == nil) {
			t.Fatal("neither claims nor error")
		}
		var lax struct{ Active any }
		if err == nil && (json.Unmarshal(body, &lax) != nil || lax.Active != true) {
			t.Fatalf("%s is taken", body)
		}
	})
}
