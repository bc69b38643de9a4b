package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/jetonhq/jeton"
)

// A front serves everything that is declared at one address.
type front struct {
	address  address
	listener net.Listener
	tls      *tls.Config // nil: none
	routes   []route
	server   *http.Server
}

// A route is what stands under a path prefix. The longest prefix that a path
// has as whole segments wins.
type route struct {
	prefix  string // such as /console; empty: the whole path space
	cut     bool   // the handler does not see the prefix
	handler http.Handler
}

// bind opens the listener of an address. Its error names the address and the
// key that says it.
func bind(a address, s socketConfig) (net.Listener, error) {
	path, unix := strings.CutPrefix(a.text, "unix:")
	var l net.Listener
	var err error
	if unix {
		l, err = bindUnix(path, firstOf(s.mode, 0o600))
	} else {
		l, err = net.Listen("tcp", a.text)
	}
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is already in use by another program; end it or change %s", a.text, a.key)
	}
	var cause error = err
	if e, ok := errors.AsType[*net.OpError](err); ok {
		cause = e.Err
	}
	return nil, fmt.Errorf("cannot listen on %s (%s): %w", a.text, a.key, cause)
}

// bindUnix listens on a socket with a mode. A socket that a process left behind
// when it was killed is taken over.
func bindUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, syscall.EADDRINUSE
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	// The mode is set by the mask: between listening and a chmod anybody could
	// connect. Nothing else makes files while the program starts.
	mask := syscall.Umask(int(0o777 &^ mode))
	defer syscall.Umask(mask)
	return net.Listen("unix", path)
}

// isLoopback reports whether only this machine reaches the address.
func isLoopback(text string) bool {
	host, _, err := net.SplitHostPort(text)
	return err == nil && jeton.IsLoopback(host)
}

// ServeHTTP finds the route.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	hurry(w, r)
	var best *route
	for i := range f.routes {
		rest, ok := strings.CutPrefix(path, f.routes[i].prefix)
		if ok && (rest == "" || rest[0] == '/') && (best == nil || len(f.routes[i].prefix) > len(best.prefix)) {
			best = &f.routes[i]
		}
	}
	if best == nil {
		http.Error(w, "there is nothing at this path", http.StatusNotFound)
		return
	}
	if best.cut && best.prefix != "" {
		r = cutPrefix(r, best.prefix)
	}
	best.handler.ServeHTTP(w, r)
}

// cutPrefix returns the request as if it had been sent to what stands at the
// prefix, which has no escapes.
func cutPrefix(r *http.Request, prefix string) *http.Request {
	out := new(http.Request)
	*out = *r
	out.URL = new(url.URL)
	*out.URL = *r.URL
	out.URL.Path, out.URL.RawPath = strings.TrimPrefix(r.URL.Path, prefix), strings.TrimPrefix(r.URL.RawPath, prefix)
	if out.URL.Path == "" {
		out.URL.Path = "/"
	}
	return out
}

// start serves until close. A request's context ends with base.
func (f *front) start(base context.Context, logger *slog.Logger, failed chan<- error) {
	f.server = &http.Server{
		Handler:           f,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		TLSConfig:         f.tls,
		Protocols:         new(http.Protocols),
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	f.server.Protocols.SetHTTP1(true)
	f.server.Protocols.SetHTTP2(true)
	f.server.Protocols.SetUnencryptedHTTP2(true) // for those who know, such as gRPC and proxies
	serve := f.server.Serve
	if f.tls != nil {
		serve = func(l net.Listener) error { return f.server.ServeTLS(l, "", "") }
	}
	go func() {
		if err := serve(f.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve %s: %w", f.address.text, err)
		}
	}()
}
