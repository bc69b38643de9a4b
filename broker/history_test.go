package broker

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// TestHistory: the record tells who asked for each login and what came of it,
// also to another broker, and is bounded.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "web1on1"), slowStore()
		b := v.broker(st, newCredentials())
		b.Name = "host:1"
		h := b.TokenAPI()
		ask(h, "GET", "/v1/tokens/a", "")
		ask(h, "GET", "/v1/tokens/a?min_ttl=25h", "") // no token lives that long: nothing happens
		time.Sleep(23 * time.Hour)
		ask(h, "GET", "/v1/tokens/a?min_ttl=10h", "")
		ask(h, "POST", "/v1/tokens/a/rejected", `{"generation":2}`)
		time.Sleep(24*time.Hour - time.Minute)
		ask(h, "GET", "/v1/tokens/a", "") // due
		synctest.Wait()
		time.Sleep(time.Second)
		v.set(func() {
			v.fault = func(*dialect.Exchange) (int, http.Header) { return 503, nil }
		})
		time.Sleep(25 * time.Hour)
		ask(h, "GET", "/v1/tokens/a", "")
		closeBroker(t, b)

		other := v.broker(st, newCredentials())
		events, err := other.History(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events {
			got = append(got, e.Asked+" "+e.Kind+" "+strings.Repeat("+", int(e.Generation)))
			if !strings.HasPrefix(e.By, "host:1/") || e.Took <= 0 || e.At.IsZero() || e.Rule() == "unknown" {
				t.Errorf("%+v", e)
			}
		}
		want := "read login +|min_ttl refresh ++|report login +++|refresh refresh ++++|read refresh "
		if strings.Join(got, "|") != want {
			t.Errorf("%s, want %s", strings.Join(got, "|"), want)
		}
		if last := events[len(events)-1]; last.Outcome == "ok" || last.Replaces != 4 {
			t.Errorf("%+v", last)
		}
		if k, _ := other.keeper(t.Context(), "a"); k.read(t.Context()) != nil || k.view.Load().History != nil {
			t.Error("readers' memory holds the history")
		}
		for range 30 {
			time.Sleep(time.Hour)
			ask(other.TokenAPI(), "GET", "/v1/tokens/a", "")
		}
		w := ask(other.TokenAPI(), "GET", "/v1/accounts/a/history", "")
		if n := strings.Count(w.Body.String(), `"rule":`); n != kept || strings.Contains(w.Body.String(), "token-") {
			t.Errorf("%d events: %s", n, w.Body)
		}
		if w := ask(other.TokenAPI(), "GET", "/v1/accounts/nobody/history", ""); w.Code != 404 {
			t.Errorf("%d", w.Code)
		}
		closeBroker(t, other)
	})
}

// TestStatus shows what an operator looks at: who logs in, and how much of the
// budget is used.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.latency = 10 * time.Second
		b := v.broker(slowStore(), newCredentials())
		b.Name = "host:1"
		go func() { _, _ = b.Token(t.Context(), "a", 0) }()
		time.Sleep(time.Second)
		if s := b.Status(t.Context())[0]; !strings.HasPrefix(s.Holder, "host:1/") || s.State != "empty" {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute / 2)
		s := b.Status(t.Context())[0]
		if s.Holder != "" || s.ObtainedAt == nil || len(s.Budgets) != 2 || s.Budgets[0] != (Budget{"username", 1, 10, time.Minute, 60}) {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute)
		if s := b.Status(t.Context())[0]; s.Budgets[0].Used != 0 {
			t.Errorf("%+v", s.Budgets)
		}
		closeBroker(t, b)
	})
}

// TestStatusOfDeafStore: who looks because the store is down is told so, and
// does not wait for each of its records.
func TestStatusOfDeafStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		var delay atomic.Int64
		b := v.broker(storetest.Slow(store.NewMemory(), func() time.Duration { return time.Duration(delay.Load()) }), newCredentials())
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		delay.Store(int64(1000 * time.Hour))
		began := time.Now()
		s := b.Status(t.Context())[0]
		if took := time.Since(began); took > 3*time.Second || s.State != "fresh" || s.Generation != 1 || s.LastError != "the store does not answer" {
			t.Errorf("after %v: %+v", took, s)
		}
		delay.Store(0)
		if s := b.Status(t.Context())[0]; s.LastError != "" || len(s.Budgets) != 2 {
			t.Errorf("%+v", s)
		}
		closeBroker(t, b)
	})
}
