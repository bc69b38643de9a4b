package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// ask sends one request to a handler as a local program does.
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8081"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestTokenAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, c := newVendor(t, "web1on1"), newCredentials()
		b := v.broker(slowStore(), c)
		h := b.TokenAPI()
		w := ask(h, "GET", "/v1/tokens/a", "")
		var token map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &token); err != nil || w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		expiry, err := time.Parse(time.RFC3339, token["expires_at"].(string))
		if err != nil || expiry.Location() != time.UTC || token["expires_in"].(float64) < 86000 || token["token_type"] != "Bearer" ||
			token["generation"].(float64) != 1 || token["access_token"] != "token-1" || token["scope"] != "admin" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%v", token)
		}
		for _, c := range []struct {
			method, target, body string
			headers              []string
			status               int
		}{
			{"GET", "/v1/tokens/nobody", "", nil, 404},
			{"GET", "/v1/tokens/a?min_ttl=soon", "", nil, 400},
			{"GET", "/v1/tokens/a?min_ttl=10m", "", nil, 200},
			{"POST", "/v1/tokens/a", "", nil, 405},
			{"GET", "/v1/tokens/a/rejected", "", nil, 405},
			{"POST", "/v1/tokens/a/rejected", "{", nil, 400},
			{"POST", "/v1/tokens/a/rejected", `{"generation":0}`, nil, 400},
			{"POST", "/v1/tokens/nobody/rejected", `{"generation":1}`, nil, 404},
			{"POST", "/v1/tokens/a/rejected", `{"generation":1}`, nil, 200},
			{"GET", "/v1/accounts", "", nil, 200},
			{"GET", "/other", "", nil, 404},
			{"GET", "/v1/tokens/a", "", []string{"Host", "evil.example"}, 403},
			{"GET", "/v1/tokens/a", "", []string{"Host", "localhost:1"}, 200},
			{"GET", "/v1/tokens/a", "", []string{"Host", "[::1]:1"}, 200},
			{"GET", "/v1/tokens/a", "", []string{"Origin", "http://127.0.0.1:8081"}, 403},
			{"GET", "/v1/tokens/a", "", []string{"Origin", ""}, 403},
			{"GET", "/v1/tokens/a", "", []string{"Sec-Fetch-Site", "same-origin"}, 403},
		} {
			w := ask(h, c.method, c.target, c.body, c.headers...)
			if w.Code != c.status {
				t.Errorf("%s %s %v: %d %s", c.method, c.target, c.headers, w.Code, w.Body)
			}
			if w.Code >= 400 && (w.Header().Get("Content-Type") != "application/problem+json" || !json.Valid(w.Body.Bytes())) {
				t.Errorf("%s %s: %s %s", c.method, c.target, w.Header(), w.Body)
			}
			if strings.Contains(w.Body.String(), rightPassword) || w.Code != 200 && strings.Contains(w.Body.String(), "token-") {
				t.Errorf("%s %s shows a secret: %s", c.method, c.target, w.Body)
			}
		}
		if w := ask(h, "GET", "/v1/accounts", ""); strings.Contains(w.Body.String(), "token-") || !strings.Contains(w.Body.String(), `"state":"fresh"`) {
			t.Errorf("%s", w.Body)
		}
		closeBroker(t, b)

		v.set(func() { v.password = "changed" })
		latched := v.broker(slowStore(), c)
		if w := ask(latched.TokenAPI(), "GET", "/v1/tokens/a", ""); w.Code != 424 || !strings.Contains(w.Body.String(), "invalid_grant") {
			t.Errorf("latched: %d %s", w.Code, w.Body)
		}
		closeBroker(t, latched)

		v.set(func() { v.latency = time.Hour })
		down := v.broker(slowStore(), c)
		if w := ask(down.TokenAPI(), "GET", "/v1/tokens/a", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("vendor down: %d %s", w.Code, w.Body)
		}
		closeBroker(t, down)
	})
}

// TestNoTokenLog: the log says what holds an account back, also while nothing is
// tried.
func TestNoTokenLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		v.set(func() { v.fault = func(*dialect.Exchange) (int, http.Header) { return 503, nil } })
		b := v.broker(slowStore(), newCredentials())
		var log bytes.Buffer
		b.Logger = slog.New(slog.NewTextHandler(&log, nil))
		line := func() string {
			t.Helper()
			log.Reset()
			if w := ask(b.TokenAPI(), "GET", "/v1/tokens/a", ""); w.Code != 503 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, `msg="no token" account=a `) {
					return line
				}
			}
			t.Fatalf("not in the log: %s", log.String())
			return ""
		}
		if tried := line(); !strings.Contains(tried, `reason="the login ended with temporarily_unavailable" retry_in=`) || !strings.Contains(tried, "error=") {
			t.Error(tried)
		}
		if held := line(); !strings.Contains(held, `reason="logins back off after temporarily_unavailable" retry_in=`) || strings.Contains(held, "error=") {
			t.Error(held)
		}
		closeBroker(t, b)
	})
}

func TestCheckListen(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:8081": true, "127.9.9.9:0": true, "[::1]:1": true, "localhost:1": true, "unix:/run/j.sock": true,
		":8081": false, "0.0.0.0:8081": false, "192.168.0.1:1": false, "example.com:1": false, "unix:": false, "8081": false, "[::]:1": false,
	} {
		if err := CheckListen(addr); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// TestEgress: the token is worn, the caller's credentials are not, and nothing
// leaves the base of the API.
func TestEgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "altrata")
		b := v.broker(slowStore(), newCredentials())
		h := b.Egress()
		w := ask(h, "POST", "/to/a/v1/graphql?x=1", "hello", "Authorization", "Bearer mine", "Cookie", "c=d", "X-Api-Key", "mine", "X-Other", "kept")
		if w.Code != 200 || w.Body.String() != "POST /v1/graphql?x=1 hello" {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if seen := v.seen[0]; strings.Contains(seen, "mine") || strings.Contains(seen, "c=d") || !strings.Contains(seen, "Bearer token-1") || !strings.Contains(seen, "kept") {
			t.Errorf("the vendor saw %s", seen)
		}
		for _, path := range []string{"/to/a/../v1", "/to/a/x/%2e%2e/y", "/to/a/x%2fy", "/to/a//v1", "/to/a/x%5cy", "/to/a/..;/y", "/to/a/./y", "/to/a/%00", "/to/a/%252e%252E/y", "/to/a/x%252fy", "/to/a/x%255Cy"} {
			if w := ask(h, "GET", path, ""); w.Code != 400 {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		if w := ask(h, "GET", "/to/nobody/x", ""); w.Code != 404 {
			t.Errorf("an unknown account: %d", w.Code)
		}
		if w := ask(h, "GET", "/to/a/x", "", "Origin", "http://x"); w.Code != 403 {
			t.Errorf("a web page: %d", w.Code)
		}
		if w := ask(h, "GET", "/to/a/redirect", ""); w.Code != 302 || len(v.seen) != 2 {
			t.Errorf("a redirect was followed: %d, %d calls", w.Code, len(v.seen))
		}
		if w := ask(h, "GET", "/to/a/x", "", VarsHeader, "service=events"); w.Code != 200 || strings.Contains(v.seen[2], "events") {
			t.Errorf("a chosen variable: %d %s", w.Code, v.seen[2])
		}
		for _, bad := range []string{"service=evil", "username=other", "service=a&service=b", "%zz"} {
			if w := ask(h, "GET", "/to/a/x", "", VarsHeader, bad); w.Code != 400 {
				t.Errorf("%s: %d", bad, w.Code)
			}
		}
		closeBroker(t, b)
	})
}

// TestSecretsGone: calls go on while the files of an account are away, as long
// as its token is good.
func TestSecretsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, c := newVendor(t, "altrata"), newCredentials()
		b := v.broker(slowStore(), c)
		away := false
		resolve := b.Accounts[0].Secrets
		b.Accounts[0].Secrets = func(ctx context.Context) (jeton.Vars, error) {
			if away {
				return nil, errors.New("no such file")
			}
			return resolve(ctx)
		}
		h := b.Egress()
		ask(h, "GET", "/to/a/x", "")
		away = true
		time.Sleep(time.Minute)
		if w := ask(h, "GET", "/to/a/x", ""); w.Code != 200 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		time.Sleep(9 * time.Hour)
		if w := ask(h, "GET", "/to/a/x", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("after expiry: %d %s", w.Code, w.Body)
		}
		closeBroker(t, b)
	})
}

// TestEgressReplay: a token that the vendor ended early costs the caller
// nothing, if the body is small enough to send again.
func TestEgressReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		h := b.Egress()
		ask(h, "GET", "/to/a/x", "")
		v.set(func() { clear(v.live) })
		if failed := 0; true {
			var mu sync.Mutex
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if w := ask(h, "POST", "/to/a/x", "again"); w.Code != 200 || w.Body.String() != "POST /v2/x again" {
						mu.Lock()
						failed++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if logins, _, _ := v.count(); failed != 0 || logins != 2 {
				t.Errorf("%d of 100 calls failed, %d logins", failed, logins)
			}
		}
		v.set(func() { clear(v.live) })
		w := ask(h, "POST", "/to/a/x", strings.Repeat("x", maxReplay+1))
		if w.Code != 403 {
			t.Errorf("a large body: %d, want the vendor's own answer", w.Code)
		}
		time.Sleep(24 * time.Hour)
		v.set(func() { v.forbid = true })
		before := v.calls
		if w := ask(h, "GET", "/to/a/x", ""); w.Code != 403 || v.calls-before != 2 {
			t.Errorf("a missing permission: %d after %d calls, want 403 after 2", w.Code, v.calls-before)
		}
		closeBroker(t, b)
	})
}

// TestEgressWithoutToken: without a token nothing is sent.
func TestEgressWithoutToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.password = "changed"
		b := v.broker(slowStore(), newCredentials())
		if w := ask(b.Egress(), "GET", "/to/a/graphql", "", "Authorization", "Bearer mine"); w.Code != 424 || v.calls != 0 {
			t.Errorf("%d, %d calls", w.Code, v.calls)
		}
		closeBroker(t, b)
	})
}

// TestHandOver: a vendor that ends the old token with the new one is swapped
// 50 times under load with no failed call. The calls never retry here: a
// transport that cannot replay shows a failure at once.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "altrata")
		v.far = 4 * v.latency // or a login could not overtake a call
		b := v.broker(slowStore(), newCredentials())
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { b.Run(ctx) })
		if _, err := b.Token(ctx, "a", 0); err != nil {
			t.Fatal(err)
		}
		source := b.Source("a", nil)
		var mu sync.Mutex
		calls, failed := 0, 0
		var load sync.WaitGroup
		stop := make(chan struct{})
		for i := range 20 {
			load.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Millisecond)
				for {
					select {
					case <-stop:
						return
					default:
					}
					r, _ := http.NewRequest("POST", "http://vendor.test/prefix/x", struct{ io.Reader }{strings.NewReader("b")})
					answer, err := source.RoundTrip(r)
					ok := err == nil && answer.StatusCode == 200
					if err == nil {
						io.Copy(io.Discard, answer.Body)
						answer.Body.Close()
					}
					mu.Lock()
					calls++
					if !ok {
						failed++
					}
					mu.Unlock()
				}
			})
		}
		for range 50 {
			token, err := b.Token(ctx, "a", 0)
			if err != nil {
				t.Fatal(err)
			}
			k, _ := b.keeper(ctx, "a")
			if err := k.wait(ctx, want{above: token.Generation}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
		}
		close(stop)
		load.Wait()
		if logins, _, _ := v.count(); failed != 0 || calls < 1000 || logins != 51 {
			t.Errorf("%d of %d calls failed over %d logins", failed, calls, logins)
		}
		cancel()
		run.Wait()
	})
}

// TestDrainIsBounded: a call that does not end does not stop the hand-over.
func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "altrata")
		b := v.broker(slowStore(), newCredentials())
		source := b.Source("a", nil)
		r, _ := http.NewRequest("GET", "http://vendor.test/prefix/x", nil)
		answer, err := source.RoundTrip(r) // its body stays open
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		k, _ := b.keeper(t.Context(), "a")
		if err := k.wait(t.Context(), want{above: 1}); err != nil || time.Since(began) > 12*time.Second || time.Since(began) < 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		answer.Body.Close()
		closeBroker(t, b)
	})
}

// TestSource: the same token for x/oauth2 and for an http.Client.
func TestSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		b := v.broker(slowStore(), newCredentials())
		token, err := b.Source("a", nil).OAuth2().Token()
		if err != nil || token.AccessToken != "token-1" || token.Expiry.IsZero() {
			t.Fatalf("%v %v", token, err)
		}
		client := &http.Client{Transport: b.Source("a", nil)}
		answer, err := client.Get("http://vendor.test/prefix/graphql")
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("%v %v", answer, err)
		}
		answer.Body.Close()
		closeBroker(t, b)
	})
}

// TestChosenHost: a call may not choose where it goes, whatever the variable is
// called: what it wears goes there, which callers never see otherwise. Among
// hosts that the dialect lists it may.
func TestChosenHost(t *testing.T) {
	for call, good := range map[string]bool{
		"{base: $place, headers: {x-api-key: $api_key}}":                  false,
		"{base: https://$place, headers: {x-api-key: $api_key}}":          false,
		"{base: https://$place.vendor.test, headers: {x-key: $api_key}}":  false,
		"{base: https://$region.vendor.test, headers: {x-key: $api_key}}": true,
		"{base: https://vendor.test/$place, headers: {x-key: $api_key}}":  true,
		"{base: https://vendor.test, headers: {x-key: $api_key}}":         false,
	} {
		d, err := dialect.Parse("own.yaml", []byte("dialect: own\nvars: {region: [eu, us]}\ncall: "+call+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		text := "place=evil.example"
		if strings.Contains(call, "$region") {
			text = "region=us"
		}
		vars, err := chosen(&Account{Dialect: d}, text)
		if good != (err == nil) || good != (len(vars) == 1) {
			t.Errorf("%s: %v, %v", call, vars, err)
		}
		if err != nil && strings.Contains(err.Error(), "place") {
			t.Errorf("%s: it is offered: %v", call, err)
		}
	}
}
