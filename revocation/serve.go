package revocation

import (
	"io"
	"net/http"
	"time"
)

const (
	writePatience = 10 * time.Second // for a follower to take what was written
	batch         = 256              // messages that are written at once
)

// ServeHTTP tells one follower what ends, until the follower goes, is too slow or
// the log is closed. The request is a GET; whether it may follow was decided
// before. Timeouts of the server do not apply: the answer has no end.
func (l *Log) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := &follower{log: l, w: w, c: http.NewResponseController(w), gone: r.Context().Done(), came: time.Now()}
	select {
	case <-l.done:
		http.Error(w, "ending", http.StatusServiceUnavailable)
		return
	default:
	}
	defer func() { _ = f.c.SetWriteDeadline(time.Time{}) }() // the connection may serve another request
	_ = f.c.SetReadDeadline(time.Time{})                     // a client that goes away is noticed all the same
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	challenge := r.Header.Get(challengeHeader)
	if len(challenge) > maxID {
		challenge = ""
	}
	f.hurry()
	f.write(frame(eventHello, "", hello{streamVersion, l.Instance, challenge}))
	at, resumed := l.find(r.Header.Get("Last-Event-ID"))
	if !resumed {
		at = l.end() // before the table is read: what is added meanwhile comes again
		f.everything()
	}
	f.follow(at)
}

// A follower is one connection.
type follower struct {
	log  *Log
	w    io.Writer
	c    *http.ResponseController
	gone <-chan struct{} // closed when the connection is
	came time.Time       // when its request did
	err  error           // of writing; nothing is written any more
}

// hurry says until when the connection is to take what is written from now on.
func (f *follower) hurry() { _ = f.c.SetWriteDeadline(time.Now().Add(writePatience)) }

func (f *follower) write(frame string) {
	if f.err == nil {
		_, f.err = io.WriteString(f.w, frame)
	}
}

// flush sends what was written. It reports false if the follower is to be left.
func (f *follower) flush() bool {
	if f.err == nil {
		f.err = f.c.Flush()
	}
	select {
	case <-f.gone:
		return false
	case <-f.log.done:
		return false
	default:
		return f.err == nil
	}
}

// everything sends what the table holds.
func (f *follower) everything() {
	n := 0
	for e := range f.log.table.All() {
		f.write(frame(eventEnded, "", e))
		if n++; n%batch > 0 {
			continue
		}
		if !f.flush() {
			return
		}
		f.hurry()
	}
}

// follow sends what comes after an event, and beats.
func (f *follower) follow(at uint64) {
	every := f.log.Beat
	if every <= 0 {
		every = defaultBeat
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	frames := make([]string, 0, batch)
	for due := true; ; {
		f.hurry()
		// The age is asked for first: what it speaks of is in the log then.
		now := time.Now()
		age, fresh := f.log.table.Age(now)
		news, last, more, ok := f.log.after(at, frames)
		if !ok {
			return // too slow
		}
		for _, frame := range news {
			f.write(frame)
		}
		at = last
		if due && more != nil { // else the beat would say that this was all
			f.write(frame(eventBeat, f.log.place(at), newBeat(now.Sub(f.came), age, fresh)))
			due = false
		}
		if !f.flush() {
			return
		}
		if more == nil {
			continue
		}
		select {
		case <-more:
		case <-ticker.C:
			due = true
		case <-f.gone:
			return
		case <-f.log.done:
			return
		}
	}
}
