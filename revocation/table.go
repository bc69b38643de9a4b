// Package revocation says which access tokens have ended before their time. A
// token names in its [Claim] what can end it: counters, each with the number
// that it had at the login, and a refresh family. A [Table] knows which counters
// moved on and which families and tokens ended, so that a guard decides about a
// token without asking anyone. The issuer fills a table of its own and tells
// whoever follows its [Log]; a [Stream] follows one and fills the table of a
// guard elsewhere.
//
// A table is as large as what happened during the lifetime of one token: what
// ended before that concerns nobody any more, since every such token has
// expired. It says how old its knowledge is, and whoever decides by it refuses
// to when it is older than a bound.
package revocation

import (
	"iter"
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

	// Until is when no token is left that the event could end. Two reports of
	// one event may differ here; the later instant counts.
	Until time.Time `json:"u"`
}

// A name is what an event is about.
type name struct {
	kind byte // 'c', 't' or 'f', as in JSON
	id   string
}

// read returns what the event is about and says of it.
func (e Event) read() (name, entry) {
	until := seconds(e.Until)
	switch {
	case e.Token != "":
		return name{'t', e.Token}, entry{1, 1, until}
	case e.Family != "":
		return name{'f', e.Family}, entry{1, 1, until}
	}
	return name{'c', e.Counter}, entry{e.Number, e.Number, until}
}

// seconds rounds up to Unix time. It ends with the year 9999, as times in JSON do.
func seconds(t time.Time) int64 { return min(max(t.Add(time.Second-1).Unix(), 0), 253402300799) }

// Grace is for how long a table keeps an event after its Until. A verifier may
// take a token for so long after its expiry, to make up for clocks that differ.
const Grace = 5 * time.Minute

// A Table is what is known to have ended. Adding the same event again changes
// nothing, nor does the order of events, so that whoever fills a table may
// repeat himself. The zero value knows of nothing and is not fresh. A Table is
// safe for concurrent use.
//
// It takes about 200 bytes for each event of one token lifetime, if somebody
// calls [Table.Sweep] every few minutes.
type Table struct {
	version   atomic.Uint64
	confirmed atomic.Pointer[time.Time]

	mu      sync.RWMutex     // guards what follows
	ended   map[name]entry   // :: name -> what is known
	due     map[int64][]name // :: minute, see entry.minute -> what can go after it; each name stands once
	most    int              // what ended has held since it was made
	changed chan struct{}    // closed at the next change; nil: nobody waits
}

// An entry is what is known about a name: the largest of everything heard.
type entry struct {
	number uint64 // of a counter; 1 for what has ended
	told   uint64 // the same, but of what events said, and not only tokens
	until  int64  // Unix time in seconds, rounded up
}

// minute returns the first whole minute at which until is past.
func (e entry) minute() int64 { return e.until/60 + 1 }

// Add takes events in and reports whether any was news. An event that is about
// nothing is none.
func (t *Table) Add(events ...Event) bool { return t.add(events, nil) }

// add is Add. What somebody who heard of all events so far does not know yet is
// given to tell, while nobody else can use the table: that is more than what is
// news to the table, which learns from tokens too.
func (t *Table) add(events []Event, tell func(Event)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := false
	for _, event := range events {
		n, e := event.read()
		before, now := t.put(n, e)
		news = news || now.number > before.number
		if tell != nil && (now.told > before.told || now.until > before.until) {
			tell(now.event(n))
		}
	}
	if news {
		t.announce()
	}
	return news
}

// put adds to what is known about a name. The caller holds mu.
func (t *Table) put(n name, e entry) (before, now entry) {
	if n.id == "" || e.number == 0 {
		return before, before
	}
	before, known := t.ended[n]
	now = entry{max(e.number, before.number), max(e.told, before.told), max(e.until, before.until)}
	if !known {
		now.until = e.until
		if t.ended == nil {
			t.ended, t.due = map[name]entry{}, map[int64][]name{}
		}
		t.due[now.minute()] = append(t.due[now.minute()], n)
	}
	t.ended[n] = now
	t.most = max(t.most, len(t.ended))
	return before, now
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

// Len returns how many events the table holds.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.ended)
}

// All returns everything that the table holds when the iteration begins; what
// is added meanwhile may be among it. Nobody waits for it, and it copies
// nothing large.
func (t *Table) All() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		t.mu.RLock()
		lists := make([][]name, 0, len(t.due)) // nobody writes to what is in these slices
		for _, names := range t.due {
			lists = append(lists, names)
		}
		t.mu.RUnlock()
		for _, names := range lists {
			for _, n := range names {
				t.mu.RLock()
				e, ok := t.ended[n]
				t.mu.RUnlock()
				if ok && !yield(e.event(n)) {
					return
				}
			}
		}
	}
}

func (e entry) event(n name) Event {
	event := Event{Until: time.Unix(e.until, 0).UTC()}
	switch n.kind {
	case 't':
		event.Token = n.id
	case 'f':
		event.Family = n.id
	default:
		event.Counter, event.Number = n.id, e.number
	}
	return event
}

// sweepStep is how many events are looked at while others wait.
const sweepStep = 1024

// Sweep removes what concerns nobody any more: events whose Until is longer past
// than [Grace]. It returns how many. [Table.Ended] answers as before about every
// token that can still be good.
func (t *Table) Sweep(now time.Time) int {
	removed, left := 0, true
	for left {
		var n int
		n, left = t.sweep(now.Add(-Grace).Unix() / 60)
		removed += n
	}
	return removed
}

// sweep looks at some of what can go before a minute, and reports whether there
// is more.
func (t *Table) sweep(minute int64) (removed int, left bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at, names := range t.due {
		if at > minute {
			continue
		}
		some := names[:min(sweepStep, len(names))]
		for _, n := range some {
			if e := t.ended[n]; e.minute() > at { // it was told again, with a later Until
				t.due[e.minute()] = append(t.due[e.minute()], n)
				continue
			}
			delete(t.ended, n)
			removed++
		}
		if t.due[at] = names[len(some):]; len(t.due[at]) == 0 {
			delete(t.due, at)
		}
		return removed, true
	}
	t.shrink()
	return 0, false
}

// shrink gives memory back after a storm: a map keeps what it once took. The
// caller holds mu.
func (t *Table) shrink() {
	if t.most < 4*sweepStep || len(t.ended) > t.most/4 {
		return
	}
	smaller := make(map[name]entry, len(t.ended))
	for n, e := range t.ended {
		smaller[n] = e
	}
	t.ended, t.most = smaller, len(smaller)
}

// Reset forgets everything, and that the table was ever fresh: the issuer behind
// it is another one, and the numbers of the old one mean nothing.
func (t *Table) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.confirmed.Store(nil) // first, so that nobody decides by an empty table
	t.ended, t.due, t.most = nil, nil, 0
	t.announce()
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
	for counter, number := range c.Generations {
		known := t.ended[name{'c', counter}].number
		switch {
		case number < known && isGrant(counter):
			return jeton.Refuse(jeton.InvalidToken, "the access token was ended by a newer one")
		case number < known:
			return jeton.Refuse(jeton.InvalidToken, "the access token was revoked")
		case number > known && (known > 0 || isGrant(counter)):
			*newer = true
		}
	}
	if t.has('f', c.Family) || t.has('t', c.ID) {
		return jeton.Refuse(jeton.InvalidToken, "the access token was revoked")
	}
	return nil
}

func (t *Table) has(kind byte, id string) bool {
	if id == "" {
		return false
	}
	_, ok := t.ended[name{kind, id}]
	return ok
}

// isGrant reports whether a counter is one that every login raises. Of the
// others only those are learned that moved on lately: a token of a user whose
// password was changed a year ago ends nobody's.
func isGrant(counter string) bool { return strings.HasPrefix(counter, "grant/") }

// learn takes in the numbers of a good token.
func (t *Table) learn(c *jeton.Claims) {
	t.mu.Lock()
	defer t.mu.Unlock()
	news := false
	for counter, number := range c.Generations {
		n := name{'c', counter}
		if known := t.ended[n].number; number > known && (known > 0 || isGrant(counter)) {
			t.put(n, entry{number: number, until: seconds(c.Expiry)})
			news = true
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
// was never confirmed. Of the monotonic and the wall clock it believes the one
// that says more has passed: the first may stand still while a machine sleeps.
func (t *Table) Age(now time.Time) (time.Duration, bool) {
	at := t.confirmed.Load()
	if at == nil {
		return 0, false
	}
	return max(now.Sub(*at), time.Duration(now.UnixNano()-at.UnixNano()), 0), true
}
