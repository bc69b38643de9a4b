package guard

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
)

const defaultTimeout = 30 * time.Second

// Proxy returns a reverse proxy to an upstream, for good calls only. The path
// of to goes in front of the path of a call; path and query are forwarded byte
// by byte. Answers are passed on as they come, with their trailers. An upstream
// that cannot be reached is 502 and one that takes too long is 504, both in the
// form of RFC 9457.
//
// The scheme of to is http, https, where HTTP/2 is spoken if the upstream knows
// it, or h2c: HTTP/2 without TLS and without asking, as gRPC servers want it.
//
// A call ends with its token: what the token's revocation finds in the midst of
// an answer is cut off. At its expiry a WebSocket and a stream of events end.
//
// X-Forwarded-For, -Host and -Proto say who the client is, from the connection
// or, behind a proxy that is in Trusted, from what that one says; whatever else
// the client sent of that family is dropped.
func (g *Guard) Proxy(to *url.URL) http.Handler {
	timeout := g.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	transport := g.Transport
	if transport == nil {
		transport = newTransport(to.Scheme)
	}
	if to.Scheme == "h2c" {
		cleartext := *to
		cleartext.Scheme = "http"
		to = &cleartext
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { g.rewrite(r, to) },
		Transport:      &patient{transport, timeout},
		BufferPool:     new(buffers),
		ModifyResponse: func(answer *http.Response) error { return exchangeOf(answer.Request).answered(answer) },
		ErrorHandler:   g.unreached,
		ErrorLog:       slog.NewLogLogger(g.logger().Handler(), slog.LevelWarn),
	}
	return g.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := g.newExchange(w, r)
		defer x.close()
		proxy.ServeHTTP(x, r)
	}), true)
}

// rewrite makes the upstream's request of a call that Handler let through.
// ReverseProxy has already dropped the hop-by-hop headers, so what is set here
// stays.
func (g *Guard) rewrite(r *httputil.ProxyRequest, to *url.URL) {
	for name := range r.Out.Header {
		if forwarding(name) {
			delete(r.Out.Header, name)
		}
	}
	r.Out.URL.RawQuery = r.In.URL.RawQuery // ReverseProxy would drop what Go cannot parse
	r.SetURL(to)
	g.forwarded(r.In).set(r.Out.Header)
	for _, name := range identityHeaders {
		if value := r.In.Header[name]; value != nil { // no other name is left of those that fold to this
			r.Out.Header[name] = value
		}
	}
}

// newTransport is for upstreams that belong to the operator: no proxy in
// between, whatever the environment says.
func newTransport(scheme string) *http.Transport {
	t := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   64,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
	}
	if scheme == "h2c" {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	return t
}

// buffers are those through which answers pass.
type buffers struct{ free sync.Pool }

// Get implements [httputil.BufferPool].
func (p *buffers) Get() []byte {
	if b, ok := p.free.Get().(*[32 << 10]byte); ok {
		return b[:]
	}
	return make([]byte, 32<<10)
}

// Put implements [httputil.BufferPool].
func (p *buffers) Put(b []byte) { p.free.Put((*[32 << 10]byte)(b)) }

// unreached answers where the upstream did not, or must not.
func (g *Guard) unreached(w http.ResponseWriter, r *http.Request, err error) {
	cause := context.Cause(r.Context())
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case tooLarge:
		g.refuse(w, r, err)
		return
	case jeton.Refused(cause): // the token has ended, and nothing was answered yet
		g.refuse(w, r, cause)
		return
	case errors.Is(cause, errSlow):
		err = errSlow
	case exchangeOf(r).unread.Load():
		lastOfConnection(w, r) // where the next request begins, nobody knows
		problem(w, http.StatusBadRequest, "the body of the request is malformed or did not come")
		return
	case errors.Is(err, errTooLong):
		g.log("guard: an answer was not passed on", r, err)
		problem(w, http.StatusBadGateway, "the answer of the API behind the guard is too large")
		return
	}
	if r.Context().Err() == nil || errors.Is(err, errSlow) { // else it is the client that is gone
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
