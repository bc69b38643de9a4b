package broker

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestVendorClock: a token that says when it expires on the vendor's clock is
// held as long as the vendor takes it, though that clock is minutes off.
func TestVendorClock(t *testing.T) {
	for _, c := range []struct {
		ahead, lifetime time.Duration
		silent          bool          // there is no Date
		want            time.Duration // until the expiry
	}{
		{0, time.Hour, false, time.Hour},
		{5 * time.Minute, time.Hour, false, time.Hour},
		{-5 * time.Minute, time.Hour, false, time.Hour},
		{-5 * time.Minute, 4 * time.Minute, false, 4 * time.Minute}, // else born expired
		{5 * time.Minute, time.Hour, true, 65 * time.Minute},
		{3 * time.Hour, time.Hour, false, 4 * time.Hour}, // not believed
	} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			b := v.broker(slowStore(), newCredentials())
			var made time.Time
			b.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
				sleep(r.Context(), 300*time.Millisecond)
				made = time.Now()
				now := made.Add(c.ahead)
				w := httptest.NewRecorder()
				if !c.silent {
					w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
				}
				w.Header().Set("Content-Type", "application/json")
				claims := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, now.Add(c.lifetime).Unix()))
				fmt.Fprintf(w, `{"access_token":"e30.%s.c2ln","expires_in":86400,"token_type":"Bearer","refresh_token":"none"}`, claims)
				sleep(r.Context(), 300*time.Millisecond)
				return w.Result(), nil
			})
			token, err := b.Token(t.Context(), "a", 0)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			if off := token.Expiry.Sub(made) - c.want; off.Abs() > 2*time.Second {
				t.Errorf("%+v: the token is held %v too long", c, off)
			}
			closeBroker(t, b)
		})
	}
}

// TestSlowAnswerIsNoOffset: a login that takes long does not look like a clock
// that is off.
func TestSlowAnswerIsNoOffset(t *testing.T) {
	began := time.Now()
	for _, at := range []time.Duration{0, 15 * time.Second, 30 * time.Second} {
		h := http.Header{"Date": {began.Add(at).UTC().Format(http.TimeFormat)}}
		if d := clockOffset(h, began, began.Add(30*time.Second)); d != 0 {
			t.Errorf("written after %v: %v", at, d)
		}
	}
	if d := clockOffset(http.Header{"Date": {"yesterday"}}, began, began); d != 0 {
		t.Errorf("a Date that is none: %v", d)
	}
}
