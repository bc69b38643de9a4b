package main

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// patience is how long the server waits for a client that sends nothing. Who
// gets no further holds a connection, and needs no credential for that.
const patience = time.Minute

// hurry gives a request with a body a minute to arrive. A request whose end is marked in
// itself is the last one of its connection: if a Content-Length stood next to
// that mark, a proxy in front may have taken what follows for a part of this
// request, and RFC 9112 section 6.3 then demands the connection to be closed.
// package net/http does not say whether one stood there.
func hurry(w http.ResponseWriter, r *http.Request) {
	if r.Body != nil && r.Body != http.NoBody { // or it has arrived
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience)) // a TCP or Unix connection can
	}
	if r.ProtoMajor == 1 && len(r.TransferEncoding) > 0 {
		w.Header().Set("Connection", "close")
	}
}

// streaming is for what may take as long as it wants, as long as it goes on: a
// request's body has a minute for each part, and its answer no limit. What next
// does not read is still under the minute of hurry.
func streaming(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if r.Body == nil || r.Body == http.NoBody {
			_ = c.SetReadDeadline(time.Time{}) // a client that goes away is noticed all the same
			next.ServeHTTP(w, r)
			return
		}
		body := &moving{ReadCloser: r.Body, c: c}
		in := new(http.Request)
		*in = *r
		in.Body = body
		defer body.end()
		next.ServeHTTP(w, in)
	})
}

// A moving body renews the deadline with each read, until its handler is done:
// a transport may read on after that, when the connection is at the next
// request already.
type moving struct {
	io.ReadCloser
	c *http.ResponseController

	mu   sync.Mutex // guards done and is held while the deadline is set
	done bool
}

// Read reads from the client. At the end of a body package net/http waits for
// the client without a deadline, so the answer may take its time.
func (m *moving) Read(p []byte) (int, error) {
	m.mu.Lock()
	if !m.done {
		_ = m.c.SetReadDeadline(time.Now().Add(patience))
	}
	m.mu.Unlock()
	return m.ReadCloser.Read(p)
}

func (m *moving) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done = true
}
