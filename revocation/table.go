// Package revocation says which access tokens have ended before their time. A
// token names in its [Claim] what can end it: counters, each with the number
// that it had at the login, and a refresh family. A [Table] knows which counters
// moved on and which families and tokens ended, so that a guard decides about a
// token without asking anyone.
//
// A table is as large as what happened during the lifetime of one token: what
// ended before that concerns nobody any more, since every such token has
// expired. It says how old its knowledge is, and whoever decides by it refuses
// to when it is older than a bound.
package revocation

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
)

// An Event is one thing that ended: one of Counter, Token and Family is set.
type Event struct {
	Counter string `json:"c,omitempty"` // "user/5f2c…": tokens that carry a lower number than Number have ended
	Number  uint64 `json:"n,omitempty"`
	Token   string `json:"t,omitempty"` // jti of a token that was revoked by itself
	Family  string `json:"f,omitempty"` // refresh family that ended, with every token of it

	// Until is when no token is left that the event could end.
	Until time.Time `json:"u"`
}

// name returns the event's name in a table. A counter has its kind in front.
func (e Event) name() string {
	switch {
	case e.Token != "":
		return "token/" + e.Token
	case e.Family != "":
		return "family/" + e.Family
	}
	return e.Counter
}

// A Table is what is known to have ended. Adding the same event again changes
// nothing, nor does the order of events, so that whoever fills a table may
// repeat himself. The zero value knows of nothing and is not fresh. A Table is
// safe for concurrent use.
type Table struct {
	version   atomic.Uint64
	confirmed atomic.Pointer[time.Time]

	mu      sync.RWMutex
	ended   map[string]entry // :: name -> what is known
	changed chan struct{}    // closed at the next change; nil: nobody waits
}

type entry struct {
	number uint64 // of a counter
	until  time.Time
}

// Add takes events in and reports whether any was news.
func (t *Table) Add(events ...Event) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := false
	for _, e := range events {
		if t.add(e.name(), entry{e.Number, e.Until}) {
			news = true
		}
	}
	if news {
		t.announce()
	}
	return news
}

func (t *Table) add(name string, e entry) (news bool) {
	known, ok := t.ended[name]
	if ok && e.number <= known.number && !e.until.After(known.until) {
		return false
	}
	news = !ok || e.number > known.number
	e.number = max(e.number, known.number)
	if known.until.After(e.until) {
		e.until = known.until
	}
	if t.ended == nil {
		t.ended = map[string]entry{}
	}
	t.ended[name] = e
	return news
}

// announce tells that the table changed. The caller holds mu.
func (t *Table) announce() {
	t.version.Add(1)
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
}

// Version returns a number that is another one after every change: as long as
// it is the same, [Table.Ended] answers as before. It costs a nanosecond.
func (t *Table) Version() uint64 { return t.version.Load() }

// Changed returns a channel that is closed at the next change.
func (t *Table) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	return t.changed
}

// Ended returns invalid_token, with a description to show, if something ended
// the token, and nil if nothing did that the table knows of. The claims are of
// a token whose signature was verified: a number higher than the table's own is
// news of a login that the table has not heard of yet, and moves it on, so that
// the token before that login ends here too.
func (t *Table) Ended(c *jeton.Claims) error {
	newer := false
	t.mu.RLock()
	err := t.ends(c, &newer)
	t.mu.RUnlock()
	if err == nil && newer {
		t.learn(c)
	}
	return err
}

// ends is Ended for who holds mu. It sets newer if the token has a number that
// the table does not know.
func (t *Table) ends(c *jeton.Claims, newer *bool) error {
	for name, number := range c.Generations {
		known := t.ended[name].number
		switch {
		case number < known && isGrant(name):
			return jeton.Refuse(jeton.InvalidToken, "the access token was ended by a newer one")
		case number < known:
			return jeton.Refuse(jeton.InvalidToken, "the access token was revoked")
		case number > known && (known > 0 || isGrant(name)):
			*newer = true
		}
	}
	if c.Family != "" {
		if _, ok := t.ended["family/"+c.Family]; ok {
			return jeton.Refuse(jeton.InvalidToken, "the access token was revoked")
		}
	}
	if c.ID != "" {
		if _, ok := t.ended["token/"+c.ID]; ok {
			return jeton.Refuse(jeton.InvalidToken, "the access token was revoked")
		}
	}
	return nil
}

// isGrant reports whether a counter is one that every login raises. Of the
// others only those are learned that moved on lately: a token of a user whose
// password was changed a year ago ends nobody's.
func isGrant(name string) bool { return strings.HasPrefix(name, "grant/") }

// learn takes in the numbers of a good token.
func (t *Table) learn(c *jeton.Claims) {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := false
	for name, number := range c.Generations {
		if known := t.ended[name].number; number > known && (known > 0 || isGrant(name)) {
			news = t.add(name, entry{number, c.Expiry}) || news
		}
	}
	if news {
		t.announce()
	}
}

// Confirm says that the table had everything that had ended by the instant at,
// on this process's own clock. It never goes back.
func (t *Table) Confirm(at time.Time) {
	for {
		old := t.confirmed.Load()
		if old != nil && !at.After(*old) || t.confirmed.CompareAndSwap(old, &at) {
			return
		}
	}
}

// Age returns for how long the table may have missed something, and false if it
// was never confirmed.
func (t *Table) Age(now time.Time) (time.Duration, bool) {
	at := t.confirmed.Load()
	if at == nil {
		return 0, false
	}
	return max(now.Sub(*at), 0), true
}
