package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestWrongPasswordOfFleet gives eight brokers a password that the vendor
// refuses, and 800 callers who ask for a token all the time. It is sent once.
// Then one broker learns another wrong one, another broker the right one, and
// the others go on with the first: each is sent once, and the fleet lives on
// the right one.
func TestWrongPasswordOfFleet(t *testing.T) {
	t.Parallel()
	_, url := startRedis(t)
	v := newCounter(t)
	v.right = map[string]bool{"right secret": true}
	v.lifetime = 40 * time.Second // due when half of it is over
	f := newFleet(t, v)
	f.start(t, repeated(url, 8)...)
	refused := func() {
		t.Helper()
		for _, a := range gather(f.brokers, "support", 100) {
			if a.status != http.StatusFailedDependency || !strings.Contains(a.text("detail"), "invalid_client") {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	}
	refused()
	r := read(f.brokers, 100, 10*time.Second) // each
	f.brokers[7].kill(t)
	f.brokers[7].again(t)
	refused()
	v.want(t, 1)
	time.Sleep(35 * time.Second) // the brokers look at their secrets every 30 s
	refused()
	v.want(t, 1)

	f.brokers[0].write(t, "secret", "second secret")
	v.await(t, 2)
	eventually(t, func() (answer, bool) { // until it is refused too
		a := ask(t, "GET", f.brokers[0].broker+"/v1/tokens/support", "")
		return a, a.status == http.StatusFailedDependency
	})
	refused()
	v.want(t, 2)

	f.brokers[1].write(t, "secret", "right secret")
	f.settle(t, 3, f.brokers...)
	v.want(t, 3)
	for got := range r.end() {
		if got != "token-3-of-support" && !strings.HasPrefix(got, "424 ") {
			t.Errorf("a reader got %s", got)
		}
	}

	// Only one broker has what it takes to replace the token.
	r = read(f.brokers, 10, 250*time.Millisecond)
	v.await(t, 4)
	f.settle(t, 4, f.brokers...)
	wantTokens(t, r.end(), 3, 4)
	v.want(t, 4)
	for i, secret := range []string{"first secret", "second secret", "right secret", "right secret"} {
		if got := v.logins()[i].secret; got != secret {
			t.Errorf("login %d was with the %s, want the %s", i+1, got, secret)
		}
	}
}
