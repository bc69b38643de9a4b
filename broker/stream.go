package broker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/jetonhq/jeton"
)

// Next waits for a token of the account that is newer than a generation, as
// long as ctx allows, and returns it. Nothing is polled: it wakes when this
// broker learns of a new token. A generation of 0 is older than every token.
//
// A generation that is above the record's is of a record that is gone; Next
// then returns the token that there is. Errors are those of [Broker.Token]: a
// caller whose token is still good may wait on.
func (b *Broker) Next(ctx context.Context, account string, generation uint64) (*jeton.Token, error) {
	k, err := b.keeper(ctx, account)
	if err != nil {
		return nil, err
	}
	for {
		v := k.view.Load() // first: what changes after this wakes the wait below
		t, err := b.Token(ctx, account, 0)
		if err != nil || t.Generation > generation {
			return t, err
		}
		if t.Generation < generation && k.read(ctx) == nil {
			if t := k.cached(k.b.now(), 0); t != nil && t.Generation != generation {
				return t, nil
			}
			continue
		}
		if err := k.changed(ctx, v); err != nil {
			return nil, err
		}
	}
}

// changed waits until readers see another view, or until this one is to be
// looked at again because its token falls due or expires.
func (k *keeper) changed(ctx context.Context, v *view) error {
	var again <-chan time.Time
	now := k.b.now()
	for _, at := range []time.Time{v.RefreshAt, v.expiry()} {
		if at.After(now) {
			t := time.NewTimer(at.Sub(now))
			defer t.Stop()
			again = t.C
			break
		}
	}
	select {
	case <-v.replaced:
		return nil
	case <-again:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-k.b.running.Done():
		return errClosed
	}
}

// errClosed tells those who wait that the broker stops.
var errClosed = &UnavailableError{Reason: "the broker is stopping", RetryAfter: time.Second}

const (
	defaultWait = 30 * time.Second // of a long poll
	longestWait = 5 * time.Minute  // of a long poll
	heartbeat   = 15 * time.Second // between two lines of a stream, at most
	slowest     = 10 * time.Second // for one line of a stream to be taken
)

// admit counts a long poll or a stream in, or answers that there are too many.
// Its read deadline goes: it would end what waits on purpose.
func (b *Broker) admit(w http.ResponseWriter) (leave func(), ok bool) {
	if b.followers.Add(1) > int64(b.Followers) {
		b.followers.Add(-1)
		w.Header().Set("Retry-After", "5")
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Title: "too many readers wait", Detail: "ask without after, or later"})
		return nil, false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // a connection can
	return func() { b.followers.Add(-1) }, true
}

// serveNext is the long poll: a token that is newer, or 204 after the wait.
func (b *Broker) serveNext(w http.ResponseWriter, r *http.Request, account string) {
	q := r.URL.Query()
	after, err := strconv.ParseUint(q.Get("after"), 10, 64)
	wait := defaultWait
	if text := q.Get("wait"); text != "" && err == nil {
		wait, err = time.ParseDuration(text)
	}
	if err != nil || wait < 0 || q.Has("min_ttl") {
		writeProblem(w, problem{Status: http.StatusBadRequest, Title: "malformed long poll", Detail: "after is to be a generation and wait a length of time such as 30s; min_ttl does not go with them"})
		return
	}
	leave, ok := b.admit(w)
	if !ok {
		return
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), min(wait, longestWait))
	defer cancel()
	t, err := b.Next(ctx, account, after)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	b.answer(w, account, t, err)
}

// serveStream writes the token that is good now and then each new one, a line
// of JSON each. An empty line is a heartbeat. While there is no good token
// there are heartbeats only; a reader whose token has expired asks for one and
// is told why. The stream ends with the client or with the broker.
func (b *Broker) serveStream(w http.ResponseWriter, r *http.Request, account string) {
	leave, ok := b.admit(w)
	if !ok {
		return
	}
	defer leave()
	k, err := b.keeper(r.Context(), account)
	var t *jeton.Token
	if err == nil {
		t, err = b.Token(r.Context(), account, 0)
	}
	if err != nil {
		b.writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return
	}
	sent := t.Generation
	for b.writeLine(w, t) == nil {
		ctx, cancel := context.WithTimeout(r.Context(), heartbeat)
		t, err = b.Next(ctx, account, sent)
		if v := k.view.Load(); err != nil && !v.good(k.b.now()) {
			_ = k.changed(ctx, v) // nobody has a good token; when something changes, look again
		}
		cancel()
		if r.Context().Err() != nil || b.running.Err() != nil {
			return
		}
		if err == nil {
			sent = t.Generation
		}
	}
}

// writeLine writes a token, or a heartbeat if there is none. A reader that does
// not read is given up.
func (b *Broker) writeLine(w http.ResponseWriter, t *jeton.Token) error {
	var line []byte
	if t != nil {
		var err error
		if line, err = json.Marshal(newTokenAnswer(t, expiresIn(t, b.here(b.now())))); err != nil {
			return err
		}
	}
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(slowest)) // a connection can
	if _, err := w.Write(append(line, '\n')); err != nil {
		return err
	}
	return c.Flush()
}
