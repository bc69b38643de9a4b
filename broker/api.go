package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
)

// CheckListen returns an error unless addr is one that the broker may listen
// at: unix:PATH, or a loopback address with a port. Tokens are given to
// whoever reaches the listener.
func CheckListen(addr string) error {
	if path, unix := strings.CutPrefix(addr, "unix:"); unix {
		if path == "" {
			return errors.New("broker: unix: is to be followed by the path of the socket")
		}
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("broker: %q is to be unix:PATH or a loopback address such as 127.0.0.1:8081", addr)
	}
	if !loopback(host) {
		return fmt.Errorf("broker: %q is not a loopback address; the token API gives tokens to everybody who reaches it", addr)
	}
	return nil
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// local lets through what a local program sends and nothing that a web page
// can: a foreign Host (DNS rebinding), and every request that a browser marks.
func (b *Broker) local(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if !loopback(host) && !slices.Contains(b.Hosts, host) {
			writeProblem(w, problem{Status: http.StatusForbidden, Title: "foreign host", Detail: "the request is for another host; call the broker by its loopback address"})
			return
		}
		if r.Header.Values("Origin") != nil || r.Header.Values("Sec-Fetch-Site") != nil {
			writeProblem(w, problem{Status: http.StatusForbidden, Title: "web pages are refused", Detail: "the request comes from a web page; the broker serves local programs only"})
			return
		}
		if r, ok := b.identify(w, r); ok {
			next(w, r)
		}
	})
}

// TokenAPI returns the handler of the token API:
//
//	GET  /v1/tokens/{account}            a token that is valid now; ?min_ttl=10m
//	GET  /v1/tokens/{account}?after=3    one that is newer than generation 3, or 204 after ?wait=30s
//	GET  /v1/tokens/{account}/stream     the token and each new one, a line of JSON each
//	POST /v1/tokens/{account}/rejected   {"generation": 3}: the vendor's API refused it
//	GET  /v1/accounts                    how the accounts are doing, no secrets
//	GET  /v1/accounts/{account}/history  the last logins, and why they were made
//	GET  /metrics                        for Prometheus; the key of any caller will do
//
// Errors are application/problem+json (RFC 9457): 404 for an unknown account,
// 424 for a latched one, 503 with Retry-After if there is no good token. Where
// there are [Broker.Callers], 401 without a key and 403 without the grant.
func (b *Broker) TokenAPI() http.Handler {
	b.init()
	mux := http.NewServeMux()
	handle := func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if b.granted(w, r, r.PathValue("account")) {
				h(w, r)
			}
		})
	}
	handle("GET /v1/tokens/{account}", b.serveToken)
	handle("GET /v1/tokens/{account}/stream", b.serveStream)
	handle("POST /v1/tokens/{account}/rejected", b.serveRejected)
	handle("GET /v1/accounts/{account}/history", b.serveHistory)
	mux.HandleFunc("GET /v1/accounts", b.serveAccounts)
	mux.Handle("GET /metrics", b.metrics.handler())
	return b.local(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		// The mux answers 404, 405 with Allow, or a redirect; only the text is ours.
		probe := &statusOnly{header: http.Header{}}
		h.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", probe.header.Get("Allow"))
			writeProblem(w, problem{Status: probe.status, Title: "method not allowed", Detail: "allowed here: " + probe.header.Get("Allow")})
			return
		}
		writeProblem(w, problem{Status: http.StatusNotFound, Title: "not found", Detail: "there are /v1/tokens/{account}, its /stream and its /rejected, /v1/accounts, /v1/accounts/{account}/history and /metrics"})
	})
}

// statusOnly is a ResponseWriter that keeps the head of an answer.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }

func (b *Broker) serveAccounts(w http.ResponseWriter, r *http.Request) {
	c := callerOf(r)
	list := b.status(r.Context(), func(a Account) bool { return c.may(a.Name) })
	writeJSON(w, http.StatusOK, "application/json", map[string]any{"accounts": list})
}

func (b *Broker) serveToken(w http.ResponseWriter, r *http.Request) {
	if q := r.URL.Query(); q.Has("after") || q.Has("wait") {
		b.serveNext(w, r)
		return
	}
	var minTTL time.Duration
	if text := r.URL.Query().Get("min_ttl"); text != "" {
		var err error
		if minTTL, err = time.ParseDuration(text); err != nil || minTTL < 0 {
			writeProblem(w, problem{Status: http.StatusBadRequest, Title: "malformed min_ttl", Detail: "min_ttl is to be a length of time such as 10m or 90s"})
			return
		}
	}
	t, err := b.Token(r.Context(), r.PathValue("account"), minTTL)
	b.answer(w, t, err)
}

func (b *Broker) serveRejected(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Generation uint64 `json:"generation"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
	if err := d.Decode(&body); err != nil || body.Generation == 0 {
		writeProblem(w, problem{Status: http.StatusBadRequest, Title: "malformed report", Detail: `the body is to be {"generation": N}, with the generation of the token that was rejected`})
		return
	}
	t, err := b.Report(r.Context(), r.PathValue("account"), body.Generation)
	b.answer(w, t, err)
}

// tokenAnswer is the JSON of a token.
type tokenAnswer struct {
	AccessToken string     `json:"access_token"`
	TokenType   string     `json:"token_type"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"` // absent: unknown
	ExpiresIn   *int64     `json:"expires_in,omitempty"` // seconds, rounded down
	Scope       string     `json:"scope,omitempty"`
	Generation  uint64     `json:"generation"`
}

func (b *Broker) answer(w http.ResponseWriter, t *jeton.Token, err error) {
	if err != nil {
		b.writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, "application/json", newTokenAnswer(t))
}

func newTokenAnswer(t *jeton.Token) tokenAnswer {
	a := tokenAnswer{AccessToken: t.AccessToken.Reveal(), TokenType: t.Type, Scope: t.Scope.String(), Generation: t.Generation}
	if !t.Expiry.IsZero() {
		at, in := t.Expiry.UTC().Truncate(time.Second), int64(time.Until(t.Expiry)/time.Second)
		a.ExpiresAt, a.ExpiresIn = &at, &in
	}
	return a
}

// problem is RFC 9457.
type problem struct {
	Type   string `json:"type"`
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
}

// writeError answers an error of the broker.
func (b *Broker) writeError(w http.ResponseWriter, err error) {
	if latched, ok := errors.AsType[*LatchedError](err); ok {
		writeProblem(w, problem{Status: http.StatusFailedDependency, Title: "the account is latched", Detail: latched.Error()})
		return
	}
	if unavailable, ok := errors.AsType[*UnavailableError](err); ok {
		b.Logger.Warn("no token", "account", unavailable.Account, "reason", unavailable.Reason, "error", unavailable.Cause)
		after := max(int64((unavailable.RetryAfter+time.Second-1)/time.Second), 1)
		w.Header().Set("Retry-After", strconv.FormatInt(after, 10))
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Title: "no token", Detail: unavailable.Error()})
		return
	}
	switch {
	case errors.Is(err, ErrUnknownAccount):
		writeProblem(w, problem{Status: http.StatusNotFound, Title: "unknown account", Detail: "GET /v1/accounts lists the accounts"})
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		w.Header().Set("Retry-After", "1")
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Title: "no token in time"})
	default:
		b.Logger.Error("no token", "error", err)
		w.Header().Set("Retry-After", "1")
		writeProblem(w, problem{Status: http.StatusServiceUnavailable, Title: "no token", Detail: "the broker could not reach its store"})
	}
}

func writeProblem(w http.ResponseWriter, p problem) {
	p.Type = "about:blank"
	writeJSON(w, p.Status, "application/problem+json", p)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"type":"about:blank","status":500,"title":"internal error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
