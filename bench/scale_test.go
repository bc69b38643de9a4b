package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/broker"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
)

// A crowdVendor answers logins after 20 ms and counts those that run.
type crowdVendor struct{ running, most, logins atomic.Int64 }

// RoundTrip implements [http.RoundTripper].
func (v *crowdVendor) RoundTrip(r *http.Request) (*http.Response, error) {
	n := v.running.Add(1)
	defer v.running.Add(-1)
	for most := v.most.Load(); n > most && !v.most.CompareAndSwap(most, n); most = v.most.Load() {
	}
	v.logins.Add(1)
	time.Sleep(20 * time.Millisecond)
	out := httptest.NewRecorder()
	out.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(out, `{"access_token":"%s","token_type":"Bearer","expires_in":86400}`, strings.Repeat("x", 600))
	return out.Result(), nil
}

func manyAccounts(d *dialect.Dialect, st store.Store, v http.RoundTripper, n int) *broker.Broker {
	b := &broker.Broker{Store: st, HTTP: v}
	origin := &url.URL{Scheme: "http", Host: "vendor.test"}
	for i := range n {
		b.Accounts = append(b.Accounts, broker.Account{
			Name: fmt.Sprintf("account-%d", i), Dialect: d, Origin: origin,
			Secrets: func(context.Context) (jeton.Vars, error) {
				return jeton.Vars{"client_id": fmt.Sprintf("client-%d", i), "client_secret": "secret"}, nil
			},
		})
	}
	return b
}

// BenchmarkAccounts measures one broker with many accounts: what it costs to
// start where all tokens are in the store, to have an account, to do nothing,
// and to refresh every token at once. What is given for one account is to be
// the same for a thousand and for a hundred thousand of them.
func BenchmarkAccounts(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				accounts(b, n)
			}
		})
	}
}

func accounts(b *testing.B, n int) {
	d, st, each := load(b), store.NewMemory(), float64(n)
	seed := manyAccounts(d, st, &crowdVendor{}, n)
	var all sync.WaitGroup
	for worker := range 256 {
		all.Go(func() {
			for i := worker; i < n; i += 256 {
				if _, err := seed.Token(b.Context(), fmt.Sprintf("account-%d", i), 0); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	_ = seed.Close(b.Context())
	seed = nil

	before := memory()
	br := manyAccounts(d, st, &crowdVendor{}, n)
	began, cpu := time.Now(), cpuTime(b)
	end := run(b, br)
	await(b, br, n, "fresh")
	b.ReportMetric(float64(time.Since(began).Microseconds())/each, "start-us/account")
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/each, "start-cpu-us/account")
	b.ReportMetric((memory()-before)/each, "B/account")
	cpu = cpuTime(b)
	time.Sleep(5 * time.Second)
	b.ReportMetric(float64((cpuTime(b)-cpu).Milliseconds())/5000*100, "idle-cpu-%")
	end()

	allDue(b, st)
	v := &crowdVendor{}
	br = manyAccounts(d, st, v, n)
	began, cpu = time.Now(), cpuTime(b)
	end = run(b, br)
	for v.logins.Load() < int64(n) {
		time.Sleep(10 * time.Millisecond)
	}
	await(b, br, n, "fresh")
	b.ReportMetric(float64(time.Since(began).Microseconds())/each, "refresh-us/account")
	b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/each, "refresh-cpu-us/account")
	b.ReportMetric(float64(v.most.Load()), "logins-at-once")
	began = time.Now()
	w := ask(br, "/v1/accounts")
	b.ReportMetric(float64(time.Since(began).Microseconds())/each, "status-us/account")
	b.ReportMetric(float64(w.Body.Len())/each, "status-B/account")
	began = time.Now()
	_ = ask(br, "/metrics")
	b.ReportMetric(float64(time.Since(began).Milliseconds()), "metrics-ms")
	end()
	if logins := v.logins.Load(); logins != int64(n) {
		b.Errorf("%d logins for %d accounts", logins, n)
	}
	b.ReportMetric(0, "ns/op")
}

// allDue makes every token due in the store.
func allDue(b *testing.B, st store.Store) {
	b.Helper()
	for after := ""; ; {
		list, err := st.List(b.Context(), "broker/", after, 1000)
		if err != nil {
			b.Fatal(err)
		}
		if len(list) == 0 {
			return
		}
		for _, r := range list {
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(r.Value, &fields); err != nil {
				b.Fatal(err)
			}
			fields["refresh_at"] = json.RawMessage(`"2020-01-01T00:00:00Z"`)
			if r.Value, err = json.Marshal(fields); err != nil {
				b.Fatal(err)
			}
			if _, err := st.Put(b.Context(), r); err != nil {
				b.Fatal(err)
			}
			after = r.Key
		}
	}
}

func run(b *testing.B, br *broker.Broker) (end func()) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { br.Run(ctx); close(done) }()
	return func() { cancel(); <-done }
}

func ask(br *broker.Broker, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "127.0.0.1"
	w := httptest.NewRecorder()
	br.TokenAPI().ServeHTTP(w, r)
	return w
}

// await waits until the broker knows of so many accounts in a state.
func await(b *testing.B, br *broker.Broker, n int, state string) {
	b.Helper()
	want := []byte(fmt.Sprintf("jeton_broker_accounts{state=%q} %v\n", state, float64(n)))
	for !bytes.Contains(ask(br, "/metrics").Body.Bytes(), want) {
		time.Sleep(20 * time.Millisecond)
	}
}

// memory returns the bytes of heap and stacks that are in use.
func memory() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}
