package guard

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton/dialect"
)

const defaultTimeout = 30 * time.Second

// Proxy returns a reverse proxy to an upstream, for good calls only. The path
// of to goes in front of the path of a call; path and query are forwarded byte
// by byte. Answers are passed on as they come. An upstream that cannot be
// reached is 502 and one that takes too long is 504, both in the form of RFC
// 9457. A WebSocket ends when its token does.
//
// X-Forwarded-For, -Host and -Proto say what this guard saw of the connection;
// what the client sent of that family is dropped.
func (g *Guard) Proxy(to *url.URL) http.Handler {
	timeout := g.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	transport := g.Transport
	if transport == nil {
		transport = newTransport()
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { rewrite(r, to) },
		Transport:     &patient{transport, timeout},
		FlushInterval: -1,
		ErrorHandler:  g.unreached,
		ErrorLog:      slog.NewLogLogger(g.logger().Handler(), slog.LevelWarn),
	}
	return g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if claims, ok := ClaimsFrom(r.Context()); ok && r.Header.Get("Upgrade") != "" && !claims.Expiry.IsZero() {
			ctx, cancel := context.WithDeadline(r.Context(), claims.Expiry)
			defer cancel()
			r = r.WithContext(ctx)
		}
		proxy.ServeHTTP(w, r)
	}))
}

// rewrite makes the upstream's request of a call that Handler let through.
// ReverseProxy has already dropped the hop-by-hop headers, so what is set here
// stays.
func rewrite(r *httputil.ProxyRequest, to *url.URL) {
	for name := range r.Out.Header {
		if f := dialect.FoldHeader(name); strings.HasPrefix(f, "x-forwarded-") || f == "forwarded" || f == "x-real-ip" {
			delete(r.Out.Header, name)
		}
	}
	r.Out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy would drop what Go cannot parse
	r.SetURL(to)
	r.SetXForwarded()
	if claims, ok := ClaimsFrom(r.In.Context()); ok {
		id, _ := identity(claims) // was good when the call was let through
		maps.Copy(r.Out.Header, id)
	}
}

// newTransport is for upstreams that belong to the operator: no proxy in
// between, whatever the environment says.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   64,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
	}
}

// unreached answers for an upstream that did not.
func (g *Guard) unreached(w http.ResponseWriter, r *http.Request, err error) {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		problem(w, http.StatusRequestEntityTooLarge, "the request is too large")
		return
	}
	if r.Context().Err() == nil { // else it is the client that is gone
		g.log("guard: a call could not be forwarded", r, err)
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		problem(w, http.StatusGatewayTimeout, "the API behind the guard took too long")
		return
	}
	problem(w, http.StatusBadGateway, "the API behind the guard could not be reached")
}

// problem writes an error in the form of RFC 9457.
func problem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
	if err != nil {
		panic(err) // three plain values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

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
	// The context lives as long as that of the call, of which it is a child:
	// the body of the answer is still to be read under it.
	ctx, cancel := context.WithCancel(r.Context())
	watch := newWatch(p.timeout, cancel)
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &watchedBody{r.Body, watch}
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
		cancel()
		return nil, err
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
