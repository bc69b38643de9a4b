package broker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A spanLog is what a broker tells of in traces.
type spanLog struct {
	*tracetest.InMemoryExporter
	provider *sdktrace.TracerProvider
}

// watchSpans makes brokers tell of themselves.
func watchSpans(brokers ...*Broker) spanLog {
	e := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e))
	for _, b := range brokers {
		b.Traces = p
	}
	return spanLog{e, p}
}

// named returns the spans of a name that have ended.
func (l spanLog) named(name string) (list []tracetest.SpanStub) {
	for _, s := range l.GetSpans() {
		if s.Name == name {
			list = append(list, s)
		}
	}
	return list
}

// last returns the span of a name that ended last, and forgets all.
func (l spanLog) last(t *testing.T, name string) tracetest.SpanStub {
	t.Helper()
	list := l.named(name)
	if len(list) == 0 {
		t.Fatalf("no span %s; there are %v", name, l.names())
	}
	l.Reset()
	return list[len(list)-1]
}

func (l spanLog) names() (names []string) {
	for _, s := range l.GetSpans() {
		names = append(names, s.Name)
	}
	return names
}

// about checks attributes of a span, or of an event of it. A wanted value of
// nil only has to be there.
func about(t *testing.T, of []attribute.KeyValue, want map[string]any) {
	t.Helper()
	got := map[string]any{}
	for _, a := range of {
		got[string(a.Key)] = a.Value.AsInterface()
	}
	for key, value := range want {
		if there, ok := got[key]; !ok || value != nil && there != value {
			t.Errorf("%s is %v, want %v; all: %v", key, there, value, got)
		}
	}
}

// event returns the attributes of a span's event.
func event(t *testing.T, s tracetest.SpanStub, name string) []attribute.KeyValue {
	t.Helper()
	i := slices.IndexFunc(s.Events, func(e sdktrace.Event) bool { return e.Name == name })
	if i < 0 {
		t.Fatalf("span %s has no event %q: %v", s.Name, name, s.Events)
	}
	return s.Events[i].Attributes
}

// reader returns a context with the span of a reader.
func (l spanLog) reader(t *testing.T) (context.Context, trace.SpanContext) {
	ctx, s := l.provider.Tracer("reader").Start(t.Context(), "reader")
	return ctx, s.SpanContext()
}

// TestSpanOfLogin: one span for the login that two readers share, which is a
// trace of its own and names both.
func TestSpanOfLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		b := v.broker(slowStore(), newCredentials())
		spans := watchSpans(b)
		first, one := spans.reader(t)
		second, two := spans.reader(t)
		go b.Token(first, "a", 0)
		go func() {
			time.Sleep(20 * time.Millisecond) // the login runs
			b.Token(second, "a", 0)
		}()
		time.Sleep(time.Second)
		s := spans.last(t, "login")
		about(t, s.Attributes, map[string]any{
			"jeton.account": "a", "jeton.dialect": "iadvize", "jeton.asked": "read", "jeton.generation": int64(1),
			"jeton.replaces": int64(0), "jeton.outcome": "ok", "jeton.broker": b.id, "jeton.lease_wait_ms": nil,
			"jeton.budget_wait_ms": nil, "http.response.status_code": int64(200), "http.request.method": "POST",
			"server.address": "vendor.test",
		})
		if s.SpanKind != trace.SpanKindClient || s.Parent.IsValid() || s.Status.Code != codes.Unset {
			t.Errorf("kind %v, parent %v, status %v", s.SpanKind, s.Parent, s.Status)
		}
		if took := s.EndTime.Sub(s.StartTime); took < 2*v.latency {
			t.Errorf("the span took %v", took)
		}
		if len(s.Links) != 2 || !s.Links[0].SpanContext.Equal(one) || !s.Links[1].SpanContext.Equal(two) {
			t.Errorf("links %v, want %v and %v", s.Links, one, two)
		}
		closeBroker(t, b)
	})
}

// TestSpanOfRefresh: a refresh ahead of the expiry, and then one that the
// vendor refuses, which becomes a login in the same span.
func TestSpanOfRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		spans := watchSpans(b)
		token, err := b.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"refresh", "login"} {
			spans.Reset()
			time.Sleep(time.Until(token.Expiry) - time.Minute)
			b.Token(t.Context(), "a", 0)
			time.Sleep(time.Second)
			s := spans.last(t, name)
			about(t, s.Attributes, map[string]any{"jeton.asked": "refresh", "jeton.outcome": "ok", "jeton.replaces": int64(token.Generation), "jeton.generation": int64(token.Generation + 1)})
			if name == "login" {
				about(t, event(t, s, "refresh refused, logging in"), map[string]any{"jeton.code": "invalid_grant"})
			}
			token, _ = b.Token(t.Context(), "a", 0)
			v.set(func() { clear(v.refresh) })
		}
		closeBroker(t, b)
	})
}

// TestSpanOfFailure: what a span says of logins that bring no token.
func TestSpanOfFailure(t *testing.T) {
	for _, c := range []struct {
		outcome string
		prepare func(t *testing.T, v *vendor, b *Broker)
		more    map[string]any
	}{
		{"invalid_grant", func(_ *testing.T, v *vendor, _ *Broker) { v.password = "another" }, map[string]any{"http.response.status_code": nil}},
		{"slow_down", func(_ *testing.T, v *vendor, _ *Broker) {
			v.fault = func(*dialect.Exchange) (int, http.Header) { return 429, http.Header{"Retry-After": {"60"}} }
		}, map[string]any{"http.response.status_code": int64(429), "jeton.retry_after_ms": int64(60000)}},
		{"budget", func(t *testing.T, v *vendor, b *Broker) {
			v.d.Rate = map[string]dialect.Rate{"username": {Count: 1, Per: time.Hour}}
			k, _ := b.keeper(t.Context(), "a")
			if _, err := k.reserve(t.Context(), newCredentials().vars, time.Now()); err != nil {
				t.Fatal(err)
			}
		}, map[string]any{"jeton.budget_wait_ms": nil, "jeton.retry_after_ms": nil}},
		{"unknown", func(_ *testing.T, v *vendor, _ *Broker) { v.loseNext = true }, map[string]any{"server.address": "vendor.test"}},
		{"not_sent", func(_ *testing.T, _ *vendor, b *Broker) { b.Store = storetest.Faulty(b.Store, budgetsDown()) }, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			b := v.broker(slowStore(), newCredentials())
			spans := watchSpans(b)
			c.prepare(t, v, b)
			if _, err := b.Token(t.Context(), "a", 0); err == nil {
				t.Fatalf("%s: a token came", c.outcome)
			}
			s := spans.last(t, "login")
			about(t, s.Attributes, map[string]any{"jeton.outcome": c.outcome, "error.type": c.outcome})
			about(t, s.Attributes, c.more)
			if s.Status.Code != codes.Error || s.Status.Description == "" {
				t.Errorf("%s: status %v", c.outcome, s.Status)
			}
			closeBroker(t, b)
		})
	}
}

// budgetsDown are faults of the records that count logins.
func budgetsDown() *storetest.Faults {
	faults := new(storetest.Faults)
	faults.Decide(func(_, key string) storetest.Fault {
		if strings.HasPrefix(key, "budget/") {
			return storetest.Down
		}
		return storetest.Healthy
	})
	return faults
}

// TestSpanOfFollower: of two brokers on one store one tells of a login, the
// other of having followed.
func TestSpanOfFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "altrata"), slowStore()
		v.latency = time.Second
		a, b := v.broker(st, newCredentials()), v.broker(st, newCredentials())
		spans := watchSpans(a, b)
		go a.Token(t.Context(), "a", 0)
		time.Sleep(500 * time.Millisecond)
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if logins := spans.named("login"); len(logins) != 1 {
			t.Errorf("%d spans of logins", len(logins))
		}
		s := spans.last(t, "follow")
		about(t, s.Attributes, map[string]any{"jeton.holder": a.id, "jeton.broker": b.id, "jeton.outcome": "ok", "jeton.generation": int64(1)})
		if s.SpanKind != trace.SpanKindInternal {
			t.Errorf("kind %v", s.SpanKind)
		}
		closeBroker(t, a)
		closeBroker(t, b)
	})
}

// TestSpanOfTakenLease: whoever takes a dead broker's lease over says whose it
// was and how long it was waited for, and the one that was not dead says that
// it lost it.
func TestSpanOfTakenLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st := newVendor(t, "iadvize"), slowStore()
		faults := new(storetest.Faults)
		a, b := v.broker(storetest.Faulty(st, faults), newCredentials()), v.broker(st, newCredentials())
		v.latency = 13 * time.Second // so that a cannot renew its lease in time
		v.d.Rate = nil
		a.Lease, b.Lease = 3*time.Second, 3*time.Second
		spans := watchSpans(a, b)
		go a.Token(t.Context(), "a", 0)
		time.Sleep(500 * time.Millisecond)
		faults.Set(storetest.Down)
		time.AfterFunc(12*time.Second, func() { faults.Set(storetest.Healthy) })
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		taken, lost := 0, 0
		for _, s := range spans.named("login") {
			if s.Links != nil {
				t.Errorf("links %v of nobody", s.Links)
			}
			for _, e := range s.Events {
				switch e.Name {
				case "lease taken over":
					taken++
					about(t, e.Attributes, map[string]any{"jeton.holder": a.id})
					about(t, event(t, s, "followed another broker"), map[string]any{"jeton.holder": a.id})
				case "lease lost to another broker":
					lost++
				}
			}
		}
		if taken != 1 || lost != 1 {
			t.Errorf("%d taken over, %d lost: %+v", taken, lost, spans.GetSpans())
		}
		closeBroker(t, a)
		closeBroker(t, b)
	})
}

// TestSpanOfLateSave: a token that the store does not take at once.
func TestSpanOfLateSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		v.latency = 2 * time.Second
		v.d.Rate = nil
		faults := new(storetest.Faults)
		b := v.broker(storetest.Faulty(slowStore(), faults), newCredentials())
		spans := watchSpans(b)
		time.AfterFunc(time.Second, func() { faults.Set(storetest.Down) })
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		if names := spans.names(); len(names) != 0 {
			t.Errorf("spans %v ended before their result was saved", names)
		}
		faults.Set(storetest.Healthy)
		time.Sleep(10 * time.Second)
		s := spans.last(t, "login")
		event(t, s, "not saved yet")
		event(t, s, "saved late")
		about(t, s.Attributes, map[string]any{"jeton.outcome": "ok"})
		closeBroker(t, b)
	})
}

// TestSpanOfHandOver: the span of a login that ends the token before it says
// how long calls were held.
func TestSpanOfHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "altrata")
		b := v.broker(slowStore(), newCredentials())
		spans := watchSpans(b)
		token, err := b.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		spans.Reset()
		if _, err := b.Report(t.Context(), "a", token.Generation); err != nil {
			t.Fatal(err)
		}
		about(t, spans.last(t, "login").Attributes, map[string]any{"jeton.asked": "report", "jeton.handover_ms": nil})
		closeBroker(t, b)
	})
}

const callerTrace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"

// get asks a handler as a traced program does.
func get(h http.Handler, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://127.0.0.1"+path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestTraceparent: the token API links the caller's span to the login; a call
// through the egress proxy is a part of the caller's trace, and linked to the
// login that it waited for. The vendor learns of neither.
func TestTraceparent(t *testing.T) {
	for _, propagate := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			b := v.broker(slowStore(), newCredentials())
			b.Propagate = propagate
			spans := watchSpans(b)
			headers := []string{"traceparent", callerTrace, "tracestate", "us=here", "baggage", "user=secret"}
			if w := get(b.Egress(), "/to/a/x?key=canary-query", headers...); w.Code != 200 {
				t.Fatalf("status %d", w.Code)
			}
			call, login := spans.named("call"), spans.named("login")
			if len(call) != 1 || len(login) != 1 {
				t.Fatalf("spans %v", spans.names())
			}
			about(t, call[0].Attributes, map[string]any{"jeton.account": "a", "http.request.method": "GET", "http.response.status_code": int64(200), "server.address": "vendor.test"})
			if got := call[0].Parent.TraceID().String() + call[0].Parent.SpanID().String(); got != "0123456789abcdef0123456789abcdef0123456789abcdef" {
				t.Errorf("the parent of the call is %s", got)
			}
			if links := login[0].Links; len(links) != 1 || !links[0].SpanContext.Equal(call[0].SpanContext) {
				t.Errorf("the login names %v, want the call", links)
			}
			seen := strings.ToLower(strings.Join(v.seen, "\n"))
			if strings.Contains(seen, "baggage") || !propagate && strings.Contains(seen, "trace") {
				t.Errorf("the vendor saw %s", seen)
			}
			if own := call[0].SpanContext.SpanID().String(); propagate && (!strings.Contains(seen, own) || !strings.Contains(seen, "us=here")) {
				t.Errorf("the vendor did not see the call's own span %s: %s", own, seen)
			}

			spans.Reset()
			get(b.Egress(), "/to/a/x")
			if names := spans.names(); len(names) != 0 {
				t.Errorf("a call without a trace made %v", names)
			}
			v.set(func() { v.forbid = true })
			get(b.Egress(), "/to/a/x", headers...)
			if s := spans.last(t, "call"); s.Status.Code != codes.Error {
				t.Errorf("a call that was refused has status %v", s.Status)
			}
			closeBroker(t, b)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		b := v.broker(slowStore(), newCredentials())
		spans := watchSpans(b)
		if w := get(b.TokenAPI(), "/v1/tokens/a", "traceparent", callerTrace); w.Code != 200 {
			t.Fatalf("status %d", w.Code)
		}
		s := spans.last(t, "login")
		if len(s.Links) != 1 || s.Links[0].SpanContext.SpanID().String() != "0123456789abcdef" || s.Parent.IsValid() {
			t.Errorf("links %v, parent %v", s.Links, s.Parent)
		}
		closeBroker(t, b)
	})
}

// TestCallersTraceHeaders: without traces of its own a broker still keeps a
// caller's to itself, unless it is to pass them on.
func TestCallersTraceHeaders(t *testing.T) {
	for _, propagate := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v := newVendor(t, "iadvize")
			b := v.broker(slowStore(), newCredentials())
			b.Propagate = propagate
			get(b.Egress(), "/to/a/x", "traceparent", callerTrace)
			if seen := strings.Join(v.seen, "\n"); strings.Contains(seen, callerTrace) != propagate {
				t.Errorf("propagate %v: the vendor saw %s", propagate, seen)
			}
			closeBroker(t, b)
		})
	}
}

// TestSpansHoldNoSecret: whatever comes in as a secret, or from a vendor or a
// caller as text, is in no span.
func TestSpansHoldNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, name := range []string{"iadvize", "altrata", "alvys", "web1on1"} {
			v := newVendor(t, name)
			c := newCredentials()
			for _, secret := range []string{"password", "client_secret", "api_key"} {
				c.set(secret, "canary-"+secret)
			}
			v.password = c.vars["password"]
			if c.vars["client_secret"] != "" && name == "alvys" {
				v.password = c.vars["client_secret"]
			}
			faults := new(storetest.Faults)
			b := v.broker(storetest.Faulty(slowStore(), faults), c)
			spans := watchSpans(b)
			var failure error
			inner := b.HTTP
			b.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
				v.mu.Lock()
				err := failure
				v.mu.Unlock()
				if err != nil {
					return nil, err
				}
				return inner.RoundTrip(r)
			})
			for range 2 {
				token, err := b.Token(t.Context(), "a", 0)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				get(b.Egress(), "/to/a/canary-path?q=canary-query", "traceparent", callerTrace, "X", "canary-header")
				v.set(func() { v.forbid = true })
				odd := httptest.NewRequest("CANARY-canary", "http://127.0.0.1/to/a/canary-path", nil)
				odd.Header.Set("traceparent", callerTrace)
				b.Egress().ServeHTTP(httptest.NewRecorder(), odd)
				v.set(func() { v.forbid = false })
				time.Sleep(time.Until(token.Expiry) - time.Minute)
				b.Token(t.Context(), "a", 0)
				time.Sleep(time.Second)
			}
			for _, err := range []error{
				errors.New("canary-error"),
				&jeton.Error{Code: jeton.InvalidGrant, Description: "canary-description"},
			} {
				v.set(func() { failure = err })
				k, _ := b.keeper(t.Context(), "a")
				k.wait(t.Context(), want{above: 1 << 20, reported: true})
				time.Sleep(10 * time.Minute)
			}
			if n := len(spans.GetSpans()); n < 8 {
				t.Errorf("%s: only %d spans", name, n)
			}
			for _, s := range spans.GetSpans() {
				text, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				for _, canary := range []string{"canary", "token-", "refresh-", "vendor.test/", "u@example.com"} {
					if strings.Contains(string(text), canary) {
						t.Errorf("%s: %q is in span %s", name, canary, text)
					}
				}
			}
			closeBroker(t, b)
		}
	})
}

// TestNoTracesNoCost: without a provider nothing is made for a reader.
func TestNoTracesNoCost(t *testing.T) {
	v := newVendor(t, "iadvize")
	v.latency = 0
	b := v.broker(store.NewMemory(), newCredentials())
	if _, err := b.Token(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "http://127.0.0.1/v1/tokens/a", nil)
	r.Header.Set("Traceparent", callerTrace)
	k, _ := b.keeper(t.Context(), "a")
	var none *trail
	if n := testing.AllocsPerRun(100, func() {
		if b.traced(r) != r || newTrail(k, want{}) != nil {
			t.Error("traces without a provider")
		}
		none.join(t.Context())
		none.follow(nil)
		none.lead(nil, nil).event("x")
		none.end(nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	closeBroker(t, b)
}
