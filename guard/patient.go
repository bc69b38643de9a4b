package guard

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// A patient transport waits for the other side only so long. Unlike
// http.Transport.ResponseHeaderTimeout it also ends when the other side stops
// reading a request, and it does not count the time that the client takes to
// send one.
type patient struct {
	next    http.RoundTripper
	timeout time.Duration
}

// errSlow ends a call whose upstream takes too long.
var errSlow error = slowError{}

type slowError struct{}

// Error says what happened.
func (slowError) Error() string { return "the upstream takes too long" }

// Timeout is true, as of the errors of package net.
func (slowError) Timeout() bool { return true }

// RoundTrip ends with errSlow if the timeout passes without progress before an
// answer has begun.
func (p *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r)
	watch := newWatch(p.timeout, func() { x.end(errSlow) })
	if r.Body != nil && r.Body != http.NoBody {
		out := *r
		out.Body = &watchedBody{r.Body, watch}
		r = &out
	}
	answer, err := p.next.RoundTrip(r)
	late := watch.end()
	if late && err == nil {
		_ = answer.Body.Close()
	}
	switch {
	case late:
		return nil, errSlow
	case err != nil:
		return nil, err
	}
	if answer.Request == nil {
		answer.Request = r // by which the proxy finds the exchange
	}
	return answer, nil
}

// A watch is a timer that can be paused until it is ended for good.
type watch struct {
	timeout time.Duration

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	ended bool // the answer is there: it does not run out any more
	late  bool // it ran out before
}

func newWatch(timeout time.Duration, expire func()) *watch {
	w := &watch{timeout: timeout}
	w.mu.Lock() // the timer must not run out before it is there
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(timeout, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.ended {
			w.late = true
			expire()
		}
	})
	return w
}

func (w *watch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

func (w *watch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Reset(w.timeout) // of no effect after the end
}

// end stops the watch and reports whether it ran out before.
func (w *watch) end() (late bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
	return w.late
}

// A watchedBody pauses the watch while the client is waited for.
type watchedBody struct {
	io.ReadCloser
	watch *watch
}

// Read reads from the client.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.watch.pause()
	defer b.watch.resume()
	return b.ReadCloser.Read(p)
}
