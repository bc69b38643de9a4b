package broker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
)

// TestTwoCredentials: a new password is tried before the old one, a refused one
// is not sent again while the other works, and when the vendor changes over
// the new one is used, with no reader seeing an error.
func TestTwoCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, older, newer := newVendor(t, "altrata"), newCredentials(), newCredentials()
		newer.set("password", "next")
		older.set("api_key", "old-key")
		newer.set("api_key", "new-key")
		b := v.broker(slowStore(), newer)
		b.Accounts[0].Others = []func(context.Context) (jeton.Vars, error){older.resolve}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.Run(ctx); close(done) }()
		h := b.Egress()

		if w := ask(h, "GET", "/to/a/x", ""); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if logins, _, attempts := v.count(); logins != 1 || attempts != 2 {
			t.Errorf("%d logins in %d attempts, want 1 in 2: new, then old", logins, attempts)
		}
		if !strings.Contains(v.seen[0], "old-key") {
			t.Errorf("a call wears another credential than the one that logged in: %s", v.seen[0])
		}
		time.Sleep(24 * time.Hour) // three more lifetimes
		if logins, _, attempts := v.count(); attempts-logins != 1 {
			t.Errorf("%d of %d attempts were refused, want 1", attempts-logins, attempts)
		}
		v.set(func() { v.password = "next" })
		for range 24 * 60 {
			time.Sleep(time.Minute)
			if _, err := b.Token(t.Context(), "a", 0); err != nil {
				t.Fatal(err)
			}
		}
		if logins, _, attempts := v.count(); attempts-logins != 2 {
			t.Errorf("after the change %d attempts were refused, want 2: new before, old after", attempts-logins)
		}
		ask(h, "GET", "/to/a/x", "")
		if !strings.Contains(v.seen[len(v.seen)-1], "new-key") {
			t.Errorf("a call wears another credential than the one that logged in: %s", v.seen[len(v.seen)-1])
		}
		// Both are wrong: one attempt each, and then the latch.
		v.set(func() { v.password = "another" })
		time.Sleep(24 * time.Hour)
		_, _, before := v.count()
		_, err := b.Token(t.Context(), "a", 0)
		if _, latched := errors.AsType[*LatchedError](err); !latched {
			t.Errorf("%v", err)
		}
		time.Sleep(24 * time.Hour)
		if logins, _, attempts := v.count(); attempts != before || attempts-logins != 4 {
			t.Errorf("%d attempts were refused, %d of them late", attempts-logins, attempts-before)
		}
		cancel()
		<-done
	})
}

// TestCredentialThatIsNotThere: one that cannot be read does not keep the other
// from being used.
func TestCredentialThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, c := newVendor(t, "iadvize"), newCredentials()
		b := v.broker(slowStore(), c)
		gone := func(context.Context) (jeton.Vars, error) { return nil, errors.New("no such file") }
		b.Accounts[0].Secrets, b.Accounts[0].Others = gone, []func(context.Context) (jeton.Vars, error){c.resolve}
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Error(err)
		}
		closeBroker(t, b)
	})
}
