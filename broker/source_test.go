package broker

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestFirstCallIsNotDrained: the first call through the egress proxy waits for
// the login, and the login does not wait for that call.
func TestFirstCallIsNotDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "altrata")
		b := v.broker(slowStore(), newCredentials())
		began := time.Now()
		if w := ask(b.Egress(), "GET", "/to/a/x", ""); w.Code != 200 || time.Since(began) > time.Second {
			t.Errorf("%d after %v", w.Code, time.Since(began))
		}
		closeBroker(t, b)
	})
}

// TestRedirectLosesToken: an http.Client that follows a redirect to another
// host does not take the token there, and a call to a foreign host is refused.
func TestRedirectLosesToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "altrata")
		b := v.broker(slowStore(), newCredentials())
		var elsewhere []*http.Request
		inner := b.HTTP
		b.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "vendor.test" {
				return inner.RoundTrip(r)
			}
			elsewhere = append(elsewhere, r)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
		})
		client := &http.Client{Transport: b.Source("a", nil)}
		answer, err := client.Get("http://vendor.test/prefix/redirect")
		if err != nil || answer.StatusCode != 200 || len(elsewhere) != 1 {
			t.Fatalf("%v, %d requests", err, len(elsewhere))
		}
		answer.Body.Close()
		if h := elsewhere[0].Header; h.Get("Authorization") != "" || h.Get("X-Api-Key") != "" {
			t.Error("the token went to the host of a redirect")
		}
		if _, err := client.Get("http://other.test/x"); err == nil || len(elsewhere) != 1 {
			t.Errorf("a call to a foreign host: %v", err)
		}
		closeBroker(t, b)
	})
}

// keyOnly is a dialect whose login names nobody in public, and regions one
// whose login depends on a setting with a default.
const (
	keyOnly = "dialect: keyonly\ntoken:\n  POST: https://v.example/token\n  headers: {x-api-key: $api_key}\n  json: {}\n  returns: {access_token: $access_token}\ncall: https://v.example\nlifetime: 1h\n"
	regions = "dialect: regions\nvars: {region: eu}\ntoken: https://$region.v.example/token\ncall: https://$region.v.example\nlifetime: 1h\n"
)

// TestStreamIsReported: a call that cannot be sent again still says that the
// token is not good, so that the next call gets another.
func TestStreamIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		h := b.Egress()
		ask(h, "GET", "/to/a/x", "")
		v.set(func() { clear(v.live) })
		big := strings.Repeat("x", maxReplay+1)
		if w := ask(h, "POST", "/to/a/x", big); w.Code != 403 {
			t.Errorf("%d, want the vendor's own answer", w.Code)
		}
		if w := ask(h, "POST", "/to/a/x", big); w.Code != 200 {
			t.Errorf("the next call: %d", w.Code)
		}
		closeBroker(t, b)
	})
}

// TestQueryIsKept: byte by byte, also where Go would read it otherwise.
func TestQueryIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		b := v.broker(slowStore(), newCredentials())
		if w := ask(b.Egress(), "GET", "/to/a/x?a=1;b=2&c=%zz&d", ""); w.Body.String() != "GET /x?a=1;b=2&c=%zz&d " {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		closeBroker(t, b)
	})
}
