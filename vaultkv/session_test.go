package vaultkv

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/vaultkv/kvfake"
)

// A wire hands requests to a server in the same process, as time is virtual.
type wire struct {
	to     http.Handler
	down   *atomic.Bool
	denied *atomic.Int64 // counts answers 403; nil: nobody asks
}

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.down.Load() {
		return nil, errors.New("connection refused")
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	answer := httptest.NewRecorder()
	w.to.ServeHTTP(answer, r)
	if answer.Code == http.StatusForbidden && w.denied != nil {
		w.denied.Add(1)
	}
	return answer.Result(), nil
}

// inBubble tests a client of a server in virtual time.
func inBubble(t *testing.T, c Config, test func(t *testing.T, server *kvfake.Server, v *Client, down *atomic.Bool)) {
	synctest.Test(t, func(t *testing.T) {
		server, down := kvfake.New(), new(atomic.Bool)
		c.Server = "http://vault:8200"
		v := client(t, c)
		v.http.Transport = wire{to: server, down: down}
		test(t, server, v, down)
	})
}

// works fails if the client cannot read now.
func works(t *testing.T, v *Client, when string) {
	t.Helper()
	if _, _, err := v.Read(t.Context(), "a"); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
}

// A token of an hour lives for months, without a second login.
func TestTokenIsRenewed(t *testing.T) {
	inBubble(t, Config{Secret: say(secret)}, func(t *testing.T, server *kvfake.Server, v *Client, _ *atomic.Bool) {
		server.AddToken(secret, kvfake.Role{Life: time.Hour})
		for range 90 {
			works(t, v, "renewed")
			time.Sleep(24 * time.Hour)
		}
		if n := server.Asked("auth/token/lookup-self"); n != 1 {
			t.Errorf("it began %d times", n)
		}
		if n := server.Asked("auth/token/renew-self"); n < 90*24 || n > 90*48 {
			t.Errorf("%d renewals", n)
		}
	})
}

// Where renewals end, at the longest life of a token, a login follows in time:
// no request is ever refused.
func TestLoginsFollow(t *testing.T) {
	for _, method := range []string{"approle", "kubernetes", "jwt"} {
		inBubble(t, Config{Method: method, Role: "jeton", Secret: say(secret)}, func(t *testing.T, server *kvfake.Server, v *Client, down *atomic.Bool) {
			server.AddRole(method, "jeton", secret, kvfake.Role{Life: time.Hour, Most: 4 * time.Hour})
			denied := new(atomic.Int64)
			v.http.Transport = wire{server, down, denied}
			for range 30 * 24 * 4 {
				works(t, v, method)
				time.Sleep(15 * time.Minute)
			}
			if n := server.Asked("auth/" + method + "/login"); n < 30*24/4 || n > 30*24/2 {
				t.Errorf("%d logins in 30 days", n)
			}
			if n := denied.Load(); n != 0 {
				t.Errorf("%d requests were refused", n)
			}
		})
	}
}

// A server that is away for a while when a token is to be renewed does not end
// it, nor does one that is away for so long that it did end.
func TestOutage(t *testing.T) {
	inBubble(t, Config{Method: "approle", Role: "jeton", Secret: say(secret)}, func(t *testing.T, server *kvfake.Server, v *Client, down *atomic.Bool) {
		server.AddRole("approle", "jeton", secret, kvfake.Role{Life: time.Hour})
		works(t, v, "at first")
		time.Sleep(25 * time.Minute)
		down.Store(true) // from before the renewal at 30 until before the one at 45
		time.Sleep(18 * time.Minute)
		down.Store(false)
		time.Sleep(7 * time.Minute)
		works(t, v, "after an outage")
		if n := server.Asked("auth/approle"); n != 1 {
			t.Errorf("%d logins, want 1", n)
		}
		down.Store(true)
		time.Sleep(24 * time.Hour)
		if _, _, err := v.Read(t.Context(), "a"); err == nil {
			t.Error("it read from a server that is away")
		}
		down.Store(false)
		works(t, v, "after a long outage")
	})
}

// What rotates the file that holds a token, such as an agent, is enough.
func TestTokenIsReplaced(t *testing.T) {
	var file atomic.Pointer[string]
	put := func(text string) { file.Store(&text) }
	put("first")
	read := func() (jeton.Secret, error) { return jeton.NewSecret(*file.Load()), nil }
	inBubble(t, Config{Secret: read}, func(t *testing.T, server *kvfake.Server, v *Client, _ *atomic.Bool) {
		server.AddToken("first", kvfake.Role{Life: time.Hour, Most: time.Hour})
		works(t, v, "first")
		time.Sleep(20 * time.Minute)
		server.AddToken("second", kvfake.Role{Life: 10 * time.Hour})
		put("second")
		for range 20 {
			time.Sleep(10 * time.Minute)
			works(t, v, "second")
		}
		server.Revoke("second") // is noticed at the next refusal
		server.AddToken("third", kvfake.Role{Life: time.Hour})
		put("third")
		works(t, v, "third")
	})
}

// A refused login is not tried by each request: the server may lock the role.
func TestRefusedLoginWaits(t *testing.T) {
	inBubble(t, Config{Method: "approle", Role: "jeton", Secret: say(secret)}, func(t *testing.T, server *kvfake.Server, v *Client, _ *atomic.Bool) {
		for range 600 {
			if _, _, err := v.Read(t.Context(), "a"); err == nil || strings.Contains(err.Error(), secret) {
				t.Fatalf("a wrong secret: %v", err)
			}
			time.Sleep(time.Second)
		}
		if n := server.Asked("auth/approle"); n < 10 || n > 30 {
			t.Errorf("%d logins in 10 minutes", n)
		}
		server.AddRole("approle", "jeton", secret, kvfake.Role{Life: time.Hour})
		time.Sleep(loginMost)
		works(t, v, "at last")
	})
}

// A policy that does not allow a request does not make a login of each.
func TestDeniedByPolicy(t *testing.T) {
	inBubble(t, Config{Method: "approle", Role: "jeton", Secret: say(secret)}, func(t *testing.T, server *kvfake.Server, v *Client, down *atomic.Bool) {
		server.AddRole("approle", "jeton", secret, kvfake.Role{Life: time.Hour})
		v.http.Transport = wire{to: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/data/") {
				http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
				return
			}
			server.ServeHTTP(w, r)
		}), down: down}
		for range 600 {
			if _, _, err := v.Read(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "permission denied") {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := server.Asked("auth/approle"); n > 11 {
			t.Errorf("%d logins in 10 minutes", n)
		}
	})
}

// A wrong token is told as one, and a sealed server as sealed.
func TestWrongToken(t *testing.T) {
	inBubble(t, Config{Secret: say(secret)}, func(t *testing.T, server *kvfake.Server, v *Client, _ *atomic.Bool) {
		_, _, err := v.Read(t.Context(), "a")
		if err == nil || !strings.Contains(err.Error(), "vault:8200: permission denied: the token or login is not accepted") || strings.Contains(err.Error(), secret) {
			t.Errorf("a wrong token: %v", err)
		}
		server.Seal(true)
		if _, _, err := v.Read(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "sealed") {
			t.Errorf("sealed: %v", err)
		}
	})
}

// A secret that cannot be read is the error; nothing is sent.
func TestUnreadableSecret(t *testing.T) {
	broken := errors.New("no such file")
	inBubble(t, Config{Secret: func() (jeton.Secret, error) { return jeton.Secret{}, broken }}, func(t *testing.T, server *kvfake.Server, v *Client, _ *atomic.Bool) {
		if _, _, err := v.Read(t.Context(), "a"); !errors.Is(err, broken) {
			t.Error(err)
		}
		if n := server.Asked("auth") + server.Asked("secret"); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
}
