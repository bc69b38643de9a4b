package broker

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/dialect"
)

// What the simulation found, each as a test of its own.

// TestBudgetCountsArrivals: a vendor counts a login when it arrives. A first
// one that takes long on its way does not make the second one too many.
func TestBudgetCountsArrivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.d.Rate = map[string]dialect.Rate{"username": {Count: 1, Per: time.Minute}}
		v.latency = 12 * time.Second
		var at []time.Time
		v.fault = func(*dialect.Exchange) (int, http.Header) {
			at = append(at, time.Now())
			v.latency = time.Millisecond
			return 500, nil
		}
		b := v.broker(slowStore(), newCredentials())
		for range 200 {
			b.Token(t.Context(), "a", 0)
			time.Sleep(time.Second)
		}
		for i := 1; i < len(at); i++ {
			if apart := at[i].Sub(at[i-1]); apart < time.Minute {
				t.Errorf("two logins arrived within %v", apart)
			}
		}
		if len(at) < 3 {
			t.Errorf("%d logins in 200 seconds, want 3", len(at))
		}
		closeBroker(t, b)
	})
}
