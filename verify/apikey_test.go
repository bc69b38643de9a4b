package verify

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/revocation"
)

// TestCacheOfWhatDoesNotExpire: an API key ends when the table says so, also if
// the table has forgotten that since; and if only its owner's password changed it
// goes on, without one refusal.
func TestCacheOfWhatDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var table revocation.Table
		asked, number, active := 0, uint64(1), true
		c := &Cache{Table: &table, Verifier: verifier(func(context.Context, string) (*jeton.Claims, error) {
			asked++
			if !active {
				return nil, jeton.InvalidToken
			}
			return &jeton.Claims{ID: "k", Generations: map[string]uint64{"user/u": number}}, nil
		})}
		pass := func(d time.Duration) { time.Sleep(d); table.Confirm(time.Now()); table.Sweep(time.Now()) }
		pass(0)
		wantGood(t, c, "key")
		pass(revocation.Grace - time.Second)
		wantGood(t, c, "key")
		number = 2
		table.Add(revocation.Event{Counter: "user/u", Number: 2, Until: time.Now().Add(time.Minute)})
		wantGood(t, c, "key")
		wantGood(t, c, "key")
		if asked != 2 {
			t.Errorf("asked %d times", asked)
		}
		active = false
		table.Add(revocation.Event{Counter: "user/u", Number: 3, Until: time.Now().Add(time.Minute)})
		pass(revocation.Grace + 3*time.Minute)
		if table.Len() > 0 {
			t.Fatal("the table remembers")
		}
		wantCode(t, c, "key", jeton.InvalidToken)
	})
}
