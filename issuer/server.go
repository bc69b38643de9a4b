package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// A Server serves realms at path prefixes. It does what http.ServeMux does not:
// a path that is not in its one canonical form is refused instead of redirected
// or cleaned, so that no two parts of the system see different paths; and the
// metadata of a realm stands at the well-known address in both forms, that of
// RFC 8414 section 3.1 with the prefix at the end, and with the prefix in front.
//
// Mount all realms before serving. A Server is then safe for concurrent use.
type Server struct {
	store  store.Store
	logger *slog.Logger
	mounts []mount
	health health
}

type mount struct {
	prefix string
	realm  *Realm
	spoken *atomic.Pointer[Realm] // the realm in the dialect that it speaks now
	rest   http.Handler
}

const wellKnown = "/.well-known/oauth-authorization-server"

// NewServer returns a server whose health is that of st. A nil logger is
// slog.Default.
func NewServer(st store.Store, logger *slog.Logger) *Server {
	if logger == nil {
		logger = slog.Default()
	}
	return &Server{store: st, logger: logger}
}

// Mount serves a realm at prefix, such as "/support", or "" for the whole path
// space. What the realm does not answer itself goes to rest, if that is not
// nil, also with the prefix cut off: a guard in front of the realm's API, for
// example.
func (s *Server) Mount(prefix string, realm *Realm, rest http.Handler) error {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix != "" && (prefix[0] != '/' || !canonical(prefix) || (&url.URL{Path: prefix}).EscapedPath() != prefix) {
		return fmt.Errorf("issuer: realm %s: %q is no prefix; write it like /%s", realm.Name(), prefix, realm.Name())
	}
	for _, m := range s.mounts {
		if m.prefix == prefix {
			return fmt.Errorf("issuer: realms %s and %s are both at %q; give each a prefix of its own", m.realm.Name(), realm.Name(), prefix+"/")
		}
	}
	spoken := new(atomic.Pointer[Realm])
	spoken.Store(realm)
	s.mounts = append(s.mounts, mount{prefix, realm, spoken, rest})
	return nil
}

// ServeHTTP serves the mounted realms and /healthz.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer recoverPanic(w, s.logger)
	path := r.URL.EscapedPath()
	if !canonical(path) {
		writeProblem(w, http.StatusBadRequest, jeton.InvalidRequest, "the path is not canonical: no empty, dot or encoded-slash segments")
		return
	}
	if path == "/healthz" {
		s.serveHealth(w, r)
		return
	}
	if prefix, ok := strings.CutPrefix(path, wellKnown); ok {
		for _, m := range s.mounts {
			if m.prefix == prefix {
				m.spoken.Load().ServeHTTP(w, cutPrefix(r, "", wellKnown))
				return
			}
		}
	}
	m, ok := s.find(path)
	if !ok {
		writeNotFound(w)
		return
	}
	r = cutPrefix(r, m.prefix, "")
	realm := m.spoken.Load()
	if m.rest != nil && !realm.Answers(r) {
		m.rest.ServeHTTP(w, r)
		return
	}
	realm.ServeHTTP(w, r)
}

// find returns the mount with the longest prefix that the path has as whole
// segments.
func (s *Server) find(path string) (best mount, ok bool) {
	for _, m := range s.mounts {
		if rest, has := strings.CutPrefix(path, m.prefix); has && (rest == "" || rest[0] == '/') {
			if !ok || len(m.prefix) > len(best.prefix) {
				best, ok = m, true
			}
		}
	}
	return best, ok
}

// cutPrefix returns the request with prefix, which has no escapes, cut off its
// path, or with the path replaced if that is not empty.
func cutPrefix(r *http.Request, prefix, path string) *http.Request {
	out := new(http.Request)
	*out = *r
	u := *r.URL
	u.Path, u.RawPath = strings.TrimPrefix(u.Path, prefix), strings.TrimPrefix(u.RawPath, prefix)
	if path != "" {
		u.Path, u.RawPath = path, ""
	}
	if u.Path == "" {
		u.Path = "/"
	}
	out.URL = &u
	return out
}

// canonical reports whether an escaped path is one that every reader reads
// alike: it begins with a slash, has no empty segment but a last one, no dot
// segments, and neither slashes, backslashes, dots nor control characters in
// disguise.
func canonical(path string) bool {
	if path == "" || path[0] != '/' || strings.ContainsAny(path, "\\;") {
		return false
	}
	for i := range len(path) {
		if path[i] <= ' ' || path[i] == 0x7f {
			return false
		}
		if path[i] != '%' {
			continue
		}
		c, err := url.PathUnescape(path[i:min(i+3, len(path))])
		if err != nil || c[0] < ' ' || c[0] == 0x7f || strings.Contains(`/\.;%`, c) {
			return false
		}
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		if segment == "." || segment == ".." || segment == "" && i < len(segments)-1 {
			return false
		}
	}
	return true
}

// Sweep removes the expired records of all realms; see [Realm.Sweep].
func (s *Server) Sweep(ctx context.Context) error {
	var errs []error
	for _, m := range s.mounts {
		_, err := m.realm.Sweep(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Close ends the streams of revocations of all realms; see [Realm.Close].
func (s *Server) Close() {
	for _, m := range s.mounts {
		m.realm.Close()
	}
}

// Run runs all realms until ctx ends; see [Realm.Run].
func (s *Server) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, m := range s.mounts {
		all.Go(func() { m.realm.Run(ctx) })
	}
	all.Wait()
}

// Ready waits until all realms are, which run, but no longer than for a time;
// see [Realm.Ready].
func (s *Server) Ready(ctx context.Context, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for _, m := range s.mounts {
		select {
		case <-m.realm.Ready():
		case <-ctx.Done():
			return
		}
	}
}

// health remembers an answer for a moment, since asking costs a write and
// anyone may ask.
type health struct {
	mu   sync.Mutex // guards the rest and is held while asking
	at   time.Time
	last error
}

const (
	healthFor     = time.Second
	healthTimeout = 2 * time.Second
)

// Health reports whether logins can complete: whether the store takes a write.
// It asks the store at most once a second and waits 2 seconds at most.
func (s *Server) Health(ctx context.Context) error {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	if !s.health.at.IsZero() && time.Since(s.health.at) < healthFor {
		return s.health.last
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTimeout)
	defer cancel()
	s.health.last = s.probe(ctx)
	s.health.at = time.Now()
	return s.health.last
}

func (s *Server) probe(ctx context.Context) error {
	r, err := s.store.Get(ctx, "health")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("issuer: read the store: %w", err)
	}
	r.Key, r.Value = "health", []byte(`{"v":1}`)
	if _, err := s.store.Put(ctx, r); err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("issuer: write to the store: %w", err)
	}
	return nil
}

func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !allow(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	if err := s.Health(r.Context()); err != nil {
		s.logger.Error("not healthy", "err", err)
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"status": "unavailable"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"status": "ok"})
}

// recoverPanic answers a panic with 500 and logs it once. http.ErrAbortHandler
// goes on its way.
func recoverPanic(w http.ResponseWriter, logger *slog.Logger) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	logger.Error("panic", "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
	writeProblem(w, http.StatusInternalServerError, jeton.ServerError, "")
}

// allow answers 405 and reports false if the method is none of those allowed.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	writeProblem(w, http.StatusMethodNotAllowed, jeton.InvalidRequest, "the method is not allowed here; allowed: "+strings.Join(methods, ", "))
	return false
}

func writeNotFound(w http.ResponseWriter) {
	writeProblem(w, http.StatusNotFound, "not_found", "there is nothing at this path")
}

// writeProblem answers what is no message of the realm's dialect, in the shape
// of RFC 6749 section 5.2.
func writeProblem(w http.ResponseWriter, status int, code jeton.Code, description string) {
	body := map[string]any{"error": string(code)}
	if description != "" {
		body["error_description"] = description
	}
	writeJSON(w, status, body)
}

// writeJSON answers with a JSON object that no cache may keep.
func writeJSON(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone
}
