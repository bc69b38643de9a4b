package broker

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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

// TestRevokedKeyAfterRest: a key that was taken away while nobody called is
// refused to all who come first, and not only to the one who reads the keys
// again. A mutex stops virtual time, so this is outside of it.
func TestRevokedKeyAfterRest(t *testing.T) {
	key, reading, read := "leaked", make(chan struct{}, 1), make(chan struct{})
	b := &Broker{Callers: []Caller{{Name: "worker", All: true, Keys: func(context.Context) ([]jeton.Secret, error) {
		reading <- struct{}{}
		<-read
		return []jeton.Secret{jeton.NewSecret(key)}, nil
	}}}}
	old := sha256.Sum256([]byte(key))
	b.keyring.last.Store(&keys{at: time.Now().Add(-24 * time.Hour), digests: [][][sha256.Size]byte{{old}}})
	key = "next"
	api := b.TokenAPI()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if w := ask(api, "GET", "/v1/accounts", "", "Authorization", "Bearer leaked"); w.Code != 401 {
				t.Errorf("the key that was replaced a day ago: %d", w.Code)
			}
		})
	}
	<-reading
	time.Sleep(20 * time.Millisecond) // so that the others come while the keys are read; if not, the test passes
	close(read)
	all.Wait()
}

// TestKeyThatCannotBeRead: keys that can be read count, and none is forgotten,
// while another cannot.
func TestKeyThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newVendor(t, "altrata").broker(slowStore(), newCredentials())
		good, failed := []jeton.Secret{jeton.NewSecret("one"), jeton.NewSecret("two")}, error(nil)
		b.Callers = []Caller{{Name: "worker", All: true, Keys: func(context.Context) ([]jeton.Secret, error) { return good, failed }}}
		api := b.TokenAPI()
		ask(api, "GET", "/v1/accounts", "", "Authorization", "Bearer one")
		good, failed = []jeton.Secret{jeton.NewSecret("three")}, errors.New("permission denied")
		for range 10 {
			time.Sleep(2 * time.Second)
			for _, key := range []string{"one", "two", "three"} {
				if w := ask(api, "GET", "/v1/accounts", "", "Authorization", "Bearer "+key); w.Code != 200 {
					t.Fatalf("%s: %d", key, w.Code)
				}
			}
		}
		if n := len(b.keyring.last.Load().digests[0]); n != 3 {
			t.Errorf("%d keys are kept", n)
		}
		closeBroker(t, b)
	})
}
