package broker

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Who wants a token.
const (
	askedRead    = "read"    // a reader, and there was no good token
	askedRefresh = "refresh" // the broker itself, ahead of the expiry or after a failure
	askedMinTTL  = "min_ttl" // a reader for whom the token would expire too soon
	askedReport  = "report"  // a caller whose token the vendor's API rejected
)

// An Event is one login or refresh of an account. It holds no secret.
type Event struct {
	At         time.Time `json:"at"`
	Took       int64     `json:"took_ms"`
	Kind       string    `json:"kind"`                 // login or refresh; login too where a refresh was refused
	Asked      string    `json:"asked"`                // read, refresh, min_ttl or report
	Replaces   uint64    `json:"replaces,omitempty"`   // generation that there was; absent: none
	Generation uint64    `json:"generation,omitempty"` // generation that it brought; absent: none
	Outcome    string    `json:"outcome"`              // ok, or what went wrong
	By         string    `json:"by"`                   // the broker
}

// kept is how many events a record keeps.
const kept = 20

// remember returns the history with this login at its end.
func (l *login) remember(r *record, failure error, now time.Time) []Event {
	took := time.Since(l.began)
	e := Event{
		At: now.Add(-took).Round(0).UTC(), Took: took.Milliseconds(), Kind: l.kind, Asked: l.want.asked,
		Replaces: l.rec.Generation, Outcome: "ok", By: l.k.b.id,
	}
	switch {
	case failure == nil:
		e.Generation = r.Generation
	case errors.Is(failure, errStopping):
		e.Outcome = failure.Error()
	default:
		e.Outcome = r.LastError
	}
	old := r.History
	if len(old) >= kept {
		old = old[len(old)-kept+1:]
	}
	return append(append(make([]Event, 0, len(old)+1), old...), e)
}

// Rule explains an event: which rule of the broker brought it about.
func (e Event) Rule() string {
	switch {
	case e.Asked == askedRead && e.Replaces == 0:
		return "a reader asked, and there was no token yet"
	case e.Asked == askedRead:
		return "a reader asked, and the token had expired or ended"
	case e.Asked == askedMinTTL:
		return "a reader asked for a token that is good for longer"
	case e.Asked == askedReport:
		return "a caller reported that the vendor's API rejects the token"
	case e.Asked == askedRefresh:
		return "the token was due to be replaced, or an attempt to be repeated"
	}
	return "unknown"
}

// History returns the last logins and refreshes of an account, by any broker,
// the oldest first. Errors are [ErrUnknownAccount], an [*UnavailableError], or
// the store's.
func (b *Broker) History(ctx context.Context, account string) ([]Event, error) {
	k, err := b.keeper(ctx, account)
	if err != nil {
		return nil, err
	}
	r, _, err := k.load(ctx)
	for i := range r.History {
		r.History[i].At = b.here(r.History[i].At)
	}
	return r.History, err
}

func (b *Broker) serveHistory(w http.ResponseWriter, r *http.Request, account string) {
	events, err := b.History(r.Context(), account)
	if err != nil {
		b.writeError(w, err)
		return
	}
	type explained struct {
		Event
		Rule string `json:"rule"`
	}
	list := make([]explained, 0, len(events))
	for _, e := range events {
		list = append(list, explained{e, e.Rule()})
	}
	writeJSON(w, http.StatusOK, "application/json", map[string]any{"history": list})
}
