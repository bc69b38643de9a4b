package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A counter is the token endpoint of a vendor elsewhere (RFC 6749, client
// credentials and refresh), which counts what reaches it. It is safe for
// concurrent use.
type counter struct {
	url string

	mu       sync.Mutex
	arrivals []arrival       // in their order; guarded by mu, as all that follows
	takes    time.Duration   // for an answer
	held     chan struct{}   // answers wait until it is closed; nil: none do
	lifetime time.Duration   // of tokens
	rotates  bool            // each answer has a refresh token
	right    map[string]bool // :: client secret -> good; nil: every one is
	limit    time.Duration   // Retry-After of the 429 that everybody gets; zero: nobody does
	came     chan struct{}   // closed at the next arrival
}

// An arrival is one login or refresh as it reached the vendor.
type arrival struct {
	at             time.Time
	client, secret string
	refresh        string // the refresh token that it presents; empty: a login
}

// String tells an arrival to a person.
func (a arrival) String() string {
	return fmt.Sprintf("%s %s, %s %s", a.at.Format("15:04:05.000"), a.client, a.secret, a.refresh)
}

// newCounter starts a vendor whose tokens live for an hour.
func newCounter(t *testing.T) *counter {
	v := &counter{lifetime: time.Hour, came: make(chan struct{})}
	s := httptest.NewServer(v)
	v.url = s.URL
	t.Cleanup(func() {
		v.release()
		s.Close()
	})
	return v
}

// ServeHTTP answers a login or a refresh.
func (v *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client, secret, _ := r.BasicAuth()
	if client == "" {
		client, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	v.mu.Lock()
	v.arrivals = append(v.arrivals, arrival{time.Now(), client, secret, r.PostFormValue("refresh_token")})
	n := len(v.arrivals)
	close(v.came)
	v.came = make(chan struct{})
	takes, held, limit := v.takes, v.held, v.limit
	refused := v.right != nil && !v.right[secret]
	v.mu.Unlock()
	if held != nil {
		<-held
	}
	time.Sleep(takes)
	v.mu.Lock()
	lifetime, rotates := v.lifetime, v.rotates
	v.mu.Unlock()
	status, answer := http.StatusOK, map[string]any{
		"access_token": fmt.Sprintf("token-%d-of-%s", n, client), "token_type": "Bearer", "expires_in": int(lifetime / time.Second),
	}
	if rotates {
		answer["refresh_token"] = fmt.Sprintf("refresh-%d", n)
	}
	switch {
	case limit > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(limit/time.Second)))
		status, answer = http.StatusTooManyRequests, map[string]any{"error": "slow_down"}
	case refused:
		status, answer = http.StatusUnauthorized, map[string]any{"error": "invalid_client"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // whoever asked may be dead by now
}

// set changes how the vendor answers from now on.
func (v *counter) set(change func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change()
}

// hold keeps all answers back until release.
func (v *counter) hold() { v.set(func() { v.held = make(chan struct{}) }) }

func (v *counter) release() {
	v.set(func() {
		if v.held != nil {
			close(v.held)
			v.held = nil
		}
	})
}

// logins returns what has arrived.
func (v *counter) logins() []arrival {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.arrivals[:len(v.arrivals):len(v.arrivals)]
}

// want checks how many logins and refreshes have arrived.
func (v *counter) want(t *testing.T, n int) {
	t.Helper()
	if got := v.logins(); len(got) != n {
		t.Fatalf("%d logins, want %d: %v", len(got), n, got)
	}
}

// await waits until so many logins have arrived.
func (v *counter) await(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(patience)
	for {
		v.mu.Lock()
		got, came := len(v.arrivals), v.came
		v.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-came:
		case <-timeout:
			t.Fatalf("%d logins have arrived, want %d", got, n)
		}
	}
}
