package verify_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/verify"
)

// plain knows tokens by name: what each grants.
type plain map[string]*jeton.Claims

func (v plain) Verify(_ context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	if claims, ok := v[bearer.Reveal()]; ok {
		return claims, nil
	}
	return nil, jeton.InvalidToken
}

// TestCacheBindsNoRoute: routes and tokens in any order: a guard
// with a cache says what one without it says, since what a token may do is
// decided for each call.
func TestCacheBindsNoRoute(t *testing.T) {
	d, err := dialects.Load("web1on1")
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour)
	tokens := plain{
		"guest": {Subject: "g", Scope: jeton.Scope{"guest"}, Expiry: until}, "agent": {Subject: "a", Scope: jeton.Scope{"agent"}, Expiry: until},
		"bot": {Subject: "b", Scope: jeton.Scope{"bot"}, Expiry: until}, "admin": {Subject: "r", Scope: jeton.Scope{"admin"}, Expiry: until},
		"none": {Subject: "n", Expiry: until}, "bound": {ID: "1", Subject: "x", Scope: jeton.Scope{"admin"}, Expiry: until, Bound: map[string]string{"api_key": "x"}},
	}
	uncached := &guard.Guard{Dialect: d, Verifier: tokens}
	cached := &guard.Guard{Dialect: d, Verifier: &verify.Cache{Verifier: tokens, Size: 4}}
	names := []string{"guest", "agent", "bot", "admin", "none", "bound", "unknown"}
	paths := []string{"/v2/conversations", "/v2/conversations/1", "/v2/users", "/v2/users/me", "/v2/users/a", "/v2/organizations", "/v2/messages", "/v2/nothing"}
	methods := []string{"GET", "POST", "PUT", "DELETE", "OPTIONS"}
	good, refused := 0, 0
	for range 5000 {
		r := httptest.NewRequest(methods[rand.IntN(len(methods))], paths[rand.IntN(len(paths))], http.NoBody)
		name := names[rand.IntN(len(names))]
		r.Header.Set("Authorization", "Bearer "+name)
		_, want := uncached.Decide(r)
		_, got := cached.Decide(r)
		if !same(got, want) {
			t.Fatalf("%s %s with the token %s: %v, want %v", r.Method, r.URL, name, got, want)
		}
		if want == nil {
			good++
		} else {
			refused++
		}
	}
	if good < 100 || refused < 100 {
		t.Errorf("%d good and %d refused calls prove nothing", good, refused)
	}
}

// same reports whether two decisions are alike, to the code.
func same(a, b error) bool {
	e, ok1 := errors.AsType[*jeton.Error](a)
	f, ok2 := errors.AsType[*jeton.Error](b)
	if ok1 && ok2 {
		return e.Code == f.Code
	}
	return ok1 == ok2 && (a == nil) == (b == nil)
}
