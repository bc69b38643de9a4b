package broker

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
)

// TestCallers: with callers, a key opens the accounts that it was granted, on
// the token API and the egress proxy, and nothing else does.
func TestCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, c := newVendor(t, "iadvize"), newCredentials()
		b := v.broker(slowStore(), c)
		other := b.Accounts[0]
		other.Name = "other"
		b.Accounts = append(b.Accounts, other)
		keys := []jeton.Secret{jeton.NewSecret("key-1"), jeton.NewSecret("key-2"), {}}
		var keysErr error
		b.Callers = []Caller{
			{Name: "worker", Accounts: []string{"a"}, Keys: func(context.Context) ([]jeton.Secret, error) { return keys, keysErr }},
			{Name: "admin", All: true, Keys: func(context.Context) ([]jeton.Secret, error) {
				return []jeton.Secret{jeton.NewSecret("key-3")}, nil
			}},
		}
		api, egress := b.TokenAPI(), b.Egress()
		for _, c := range []struct {
			key, account string
			status       int
		}{
			{"Bearer key-1", "a", 200}, {"bearer key-2", "a", 200}, {"Bearer key-3", "a", 200}, {"Bearer key-3", "other", 200},
			{"", "a", 401}, {"Bearer", "a", 401}, {"Bearer ", "a", 401}, {"Bearer key-4", "a", 401}, {"Basic key-1", "a", 401}, {"key-1", "a", 401},
			{"Bearer key-1", "other", 403}, {"Bearer key-1", "nobody", 403}, {"Bearer key-3", "nobody", 404},
		} {
			for target, h := range map[string]http.Handler{"/v1/tokens/" + c.account: api, "/v1/tokens/" + c.account + "?after=0": api, "/to/" + c.account + "/x": egress} {
				w := ask(h, "GET", target, "", "Authorization", c.key)
				if w.Code != c.status {
					t.Errorf("%q %s: %d %s", c.key, target, w.Code, w.Body)
				}
				if w.Code == 401 && w.Header().Get("WWW-Authenticate") != "Bearer" || w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
					t.Errorf("%q %s: %v", c.key, target, w.Header())
				}
			}
		}
		for _, target := range []string{"/v1/tokens/other/rejected", "/v1/tokens/other/stream"} {
			method := "GET"
			if strings.HasSuffix(target, "rejected") {
				method = "POST"
			}
			if w := ask(api, method, target, `{"generation":1}`, "Authorization", "Bearer key-1"); w.Code != 403 {
				t.Errorf("%s: %d", target, w.Code)
			}
		}
		if w := ask(api, "GET", "/v1/accounts", "", "Authorization", "Bearer key-1"); strings.Contains(w.Body.String(), "other") || !strings.Contains(w.Body.String(), `"account":"a"`) {
			t.Errorf("a caller sees %s", w.Body)
		}
		if seen := strings.Join(v.seen, ""); strings.Contains(seen, "key-") {
			t.Errorf("the vendor saw a caller's key: %s", seen)
		}

		// A changed key counts without a restart; one that cannot be read does
		// not lock anybody out.
		keys = []jeton.Secret{jeton.NewSecret("key-5")}
		time.Sleep(2 * time.Second)
		keysOf := func(key string) int {
			return ask(api, "GET", "/v1/tokens/a", "", "Authorization", "Bearer "+key).Code
		}
		if old, now := keysOf("key-1"), keysOf("key-5"); old != 401 || now != 200 {
			t.Errorf("after a change the old key has %d and the new one %d", old, now)
		}
		keysErr = errors.New("no such file")
		time.Sleep(2 * time.Second)
		if now := keysOf("key-5"); now != 200 {
			t.Errorf("while the file is away: %d", now)
		}

		// On a Unix socket the operating system has decided who calls.
		r := httptest.NewRequest("GET", "/v1/tokens/other", nil)
		r.Host = "localhost"
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Net: "unix"})))
		w := httptest.NewRecorder()
		if api.ServeHTTP(w, r); w.Code != 200 {
			t.Errorf("on a Unix socket: %d", w.Code)
		}
		closeBroker(t, b)
	})
}
