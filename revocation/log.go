package revocation

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Log is a table that others follow: what is added to it is pushed at once to
// everyone who follows it over HTTP. It keeps the latest events, so that a
// follower whose connection broke goes on where it was; one who comes later, or
// from another Log, gets everything that the table holds.
//
// Followers never wait for one another, and who adds waits for none. A follower
// that is too slow is cut off and comes again; it misses nothing.
//
// Make one with [NewLog]. A Log is safe for concurrent use.
type Log struct {
	// Instance names the records that the events come from. A follower that
	// meets another instance forgets what it knew: after a store was emptied, its
	// counters begin anew. Instance and the fields below are set before use.
	Instance string

	Beat time.Duration // how often a follower hears how fresh the table is; zero: 500 ms
	Keep int           // how many events are kept for those who come again; zero: 65,536

	table *Table
	self  string        // names this Log; places in another one mean nothing here
	done  chan struct{} // closed by Close

	mu     sync.Mutex    // guards what follows
	closed bool          // done is closed
	ring   []string      // :: event number modulo Keep -> the event as it is sent; grows to Keep
	last   uint64        // number of the latest event, from 1; its ring index is (last-1) modulo Keep
	pushed chan struct{} // closed at the next push; nil: nobody waits
}

const (
	defaultBeat = 500 * time.Millisecond
	defaultKeep = 1 << 16
)

// NewLog returns a log over a table, which it alone adds to from now on.
// Whoever feeds it also calls the table's Confirm.
func NewLog(table *Table) *Log {
	return &Log{table: table, self: rand.Text(), done: make(chan struct{})}
}

// Table returns the table of the log.
func (l *Log) Table() *Table { return l.table }

// Add adds events to the table, pushes to the followers what they do not know
// yet, and reports whether any was news. To repeat an event costs little.
func (l *Log) Add(events ...Event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.last
	news := l.table.add(events, l.append)
	if l.last > before && l.pushed != nil {
		close(l.pushed)
		l.pushed = nil
	}
	return news
}

// append puts an event into the ring. The caller holds mu.
func (l *Log) append(e Event) {
	keep := l.keep()
	l.last++
	frame := frame(eventEnded, l.place(l.last), e)
	if uint64(len(l.ring)) < keep {
		l.ring = append(l.ring, frame)
		return
	}
	l.ring[(l.last-1)%keep] = frame
}

func (l *Log) keep() uint64 {
	if l.Keep > 0 {
		return uint64(l.Keep)
	}
	return defaultKeep
}

// place is how a follower says up to which event it knows everything.
func (l *Log) place(n uint64) string { return l.self + "." + strconv.FormatUint(n, 10) }

// find returns the number of a place, and false if it is none of this log's, or
// so old that events after it are no longer kept.
func (l *Log) find(place string) (uint64, bool) {
	self, digits, ok := strings.Cut(place, ".")
	n, err := strconv.ParseUint(digits, 10, 64)
	l.mu.Lock()
	defer l.mu.Unlock()
	return n, ok && self == l.self && err == nil && n <= l.last && l.last-n <= uint64(len(l.ring))
}

// end returns the number of the latest event.
func (l *Log) end() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// after appends to frames some of the events after number n. It returns the
// number of the last of them and a channel that is closed when there are more,
// which is nil if there are more now. It reports false if some of them are no
// longer kept.
func (l *Log) after(n uint64, frames []string) (_ []string, last uint64, more <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last-n > uint64(len(l.ring)) {
		return frames, n, nil, false
	}
	for n < l.last && len(frames) < cap(frames) {
		frames = append(frames, l.ring[n%l.keep()])
		n++
	}
	if n < l.last {
		return frames, n, nil, true
	}
	if l.pushed == nil {
		l.pushed = make(chan struct{})
	}
	return frames, n, l.pushed, true
}

// Close ends every connection of a follower at once, and takes no more. Adding
// goes on to work.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
}
