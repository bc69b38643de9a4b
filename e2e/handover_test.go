package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store/storetest"
)

// dialectSingle is of a vendor that ends a token with the next login. Its tokens
// are replaced after half their life.
const dialectSingle = `dialect: counting
token: /token
call: /api
early: 24h
active: 1
`

// A single is a vendor where one token of a client is good: the last one. It
// says that tokens live for seconds, so that they are swapped all the time, and
// lets them live until then: whatever it refuses was cut by a login.
type single struct {
	mu      sync.Mutex
	live    map[string]string // :: client -> its token; guarded by mu, as all that follows
	logins  map[string]int    // :: client -> how many
	total   int               // logins
	calls   int               // that were answered
	refused []string          // calls with a token that a login had ended
}

const (
	singleLife = 3 * time.Second        // what tokens live for, as the vendor says
	singleWay  = 100 * time.Millisecond // of a call to the vendor, so that a login can overtake it
)

// ServeHTTP answers logins and calls.
func (v *single) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		client, _, _ := r.BasicAuth()
		if client == "" {
			client = r.PostFormValue("client_id")
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{ // whoever asked may be dead by now
			"access_token": v.login(client), "token_type": "Bearer", "expires_in": int(singleLife / time.Second),
		})
		return
	}
	time.Sleep(singleWay)
	client := strings.TrimPrefix(r.URL.Path, "/api/")
	v.mu.Lock()
	worn := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	good := worn == v.live[client]
	v.calls++
	if !good {
		v.refused = append(v.refused, fmt.Sprintf("%s at %s, with %s live", worn, time.Now().Format(time.StampMilli), v.live[client]))
	}
	v.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if !good {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = fmt.Fprintf(w, "%s %s", client, body)
}

func (v *single) login(client string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.total++
	v.logins[client]++
	v.live[client] = fmt.Sprintf("token-%d-of-%s", v.logins[client], client)
	return v.live[client]
}

// await waits until the vendor has seen what is waited for.
func (v *single) await(t *testing.T, what string, seen func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		v.mu.Lock()
		done := seen()
		v.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s", what)
		}
	}
}

// A load is callers of egress proxies, each of whom calls again and again.
type load struct {
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	calls  int
	failed []string // what was not answered as the vendor answers
}

// run has one caller of an account call through a broker. Every other call
// streams its body, so that it cannot be sent again.
func (l *load) run(p *process, account string) {
	url := p.broker + "/to/" + account + "/" + account
	for n := 0; ; n++ {
		var body io.Reader = strings.NewReader("hello")
		if n%2 == 0 {
			body = struct{ io.Reader }{body}
		}
		got, err := call(url, body)
		if err != nil {
			got = err.Error()
			select { // it may be dying
			case <-p.ended:
			case <-time.After(patience):
			}
		}
		select {
		case <-p.ended: // what it answered while it was killed counts for nothing
			return
		default:
		}
		l.mu.Lock()
		l.calls++
		if got != "200 "+account+" hello" {
			l.failed = append(l.failed, got)
		}
		l.mu.Unlock()
		select {
		case <-l.stop:
			return
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// call makes one call and returns its status and body.
func call(url string, body io.Reader) (string, error) {
	answer, err := client.Post(url, "text/plain", body)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return fmt.Sprintf("%d %s", answer.StatusCode, text), err
}

// TestThousandHandOvers has three brokers swap the tokens of a vendor that ends
// the old one with the new one, a thousand times, while calls run through all of
// them. None fails, and none meets an ended token and is saved by being sent
// again. Then one broker is killed.
func TestThousandHandOvers(t *testing.T) {
	const swaps = 1000
	server, err := storetest.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	v := &single{live: map[string]string{}, logins: map[string]int{}}
	vendor := httptest.NewServer(v)
	t.Cleanup(vendor.Close)
	var accounts []string
	for i := range 24 {
		accounts = append(accounts, fmt.Sprintf("account%d", i))
	}
	f := newFleet(t, &counter{url: vendor.URL}, accounts...)
	f.dialect = dialectSingle
	f.start(t, repeated("redis://"+server.Addr+"/0?prefix=single", 3)...)

	l := &load{stop: make(chan struct{})}
	for _, m := range f.brokers {
		for _, account := range accounts {
			l.done.Go(func() { l.run(m.process, account) })
		}
	}
	began := time.Now()
	v.await(t, "thousand swaps", func() bool { return v.total >= swaps+len(accounts) })
	t.Logf("%d swaps in %v", swaps, time.Since(began).Round(time.Second))

	f.brokers[2].kill(t)
	v.mu.Lock()
	before := map[string]int{}
	for account, n := range v.logins {
		before[account] = n
	}
	v.mu.Unlock()
	v.await(t, "swap after a broker was killed", func() bool {
		for _, account := range accounts {
			if v.logins[account] < before[account]+2 {
				return false
			}
		}
		return true
	})
	close(l.stop)
	l.done.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	t.Logf("%d calls, %d logins", l.calls, v.total)
	if len(l.failed) > 0 || len(v.refused) > 0 || l.calls < swaps {
		t.Errorf("%d of %d calls failed, and the vendor refused %d of %d: %q %q", len(l.failed), l.calls, len(v.refused), v.calls, head(l.failed), head(v.refused))
		for _, m := range f.brokers {
			for line := range strings.Lines(m.stderr.String()) {
				if !strings.Contains(line, "level=INFO") {
					t.Log(line)
				}
			}
		}
	}
}

// head returns the first few of a list.
func head(list []string) []string { return list[:min(10, len(list))] }
