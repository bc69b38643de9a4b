package broker

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/jetonhq/jeton"
)

// Calls of a single-active vendor's API through the brokers: while nothing has
// gone wrong yet none of them fails, however often the token is swapped, and
// wherever.

const callPath = "/call"

// call calls the vendor's API through a broker, and holds the answer open for a
// while, as one that streams does.
func (w *world) call(n *node) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, vendorOrigin.String()+callPath, nil)
	if err != nil {
		panic(err)
	}
	answer, err := n.b.Source("a", nil).RoundTrip(r)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.log("call by %d: %v", n.id, err)
		if w.faultless() && !n.dead {
			w.violate("a call through broker %d fails: %v", n.id, err)
		}
		return
	}
	w.mu.Lock()
	hold := w.within(n.name("call held"), 0, 3*time.Second)
	w.mu.Unlock()
	time.Sleep(hold)
	_ = answer.Body.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.tokens[answer.Header.Get("Token")]
	if m != nil && !m.good(time.Now()) && w.faultless() && answer.StatusCode == http.StatusOK {
		w.violate("%s ends under a call through broker %d", m.access, n.id)
	}
}

// faultless reports whether nothing has gone wrong yet. The caller holds mu.
func (w *world) faultless() bool {
	return !slices.ContainsFunc(w.faults, func(f *fault) bool { return !f.from.IsZero() })
}

// called is the vendor's API.
func (n *node) called(r *http.Request) (*http.Response, error) {
	w := n.w
	w.mu.Lock()
	way, back := w.within(n.name("call"), time.Millisecond, 200*time.Millisecond), w.within(n.name("answer"), time.Millisecond, 200*time.Millisecond)
	w.mu.Unlock()
	if err := pause(r.Context(), way); err != nil {
		return nil, err
	}
	vars, err := w.d.ReadCall(r)
	w.mu.Lock()
	m, now := w.tokens[vars["access_token"]], time.Now()
	good := err == nil && m != nil && m.good(now)
	if !good {
		w.log("call by %d with a token that is not good", n.id)
		if w.faultless() {
			w.violate("a call through broker %d arrives with a token that is not good", n.id)
		}
		if m != nil && m.reported.IsZero() {
			m.reported = now // the transport does so
		}
	}
	cut := n.cut
	w.mu.Unlock()
	if cut {
		return nil, errLost
	}
	to := httptest.NewRecorder()
	if good {
		to.Header().Set("Token", m.access)
	} else {
		w.d.WriteCallError(to, "v", jeton.Refuse(jeton.InvalidToken, ""))
	}
	if err := pause(r.Context(), back); err != nil {
		return nil, err
	}
	return to.Result(), nil
}
