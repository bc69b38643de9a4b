package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
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
	if !jeton.IsLoopback(host) {
		return fmt.Errorf("broker: %q is not a loopback address; the token API gives tokens to everybody who reaches it", addr)
	}
	return nil
}

// local lets through what a local program sends and nothing that a web page
// can: a foreign Host (DNS rebinding), and every request that a browser marks.
func (b *Broker) local(next func(w http.ResponseWriter, r *http.Request, c *Caller)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if host != "127.0.0.1" && !jeton.IsLoopback(host) && !slices.Contains(b.Hosts, host) {
			writeProblem(w, problem{Status: http.StatusForbidden, Title: "foreign host", Detail: "the request is for another host; call the broker by its loopback address"})
			return
		}
		if r.Header["Origin"] != nil || r.Header["Sec-Fetch-Site"] != nil {
			writeProblem(w, problem{Status: http.StatusForbidden, Title: "web pages are refused", Detail: "the request comes from a web page; the broker serves local programs only"})
			return
		}
		if c, ok := b.identify(w, r); ok {
			next(w, r, c)
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
	all := []route{
		{"GET", "/v1/tokens/", "", b.serveToken},
		{"GET", "/v1/tokens/", "/stream", b.serveStream},
		{"POST", "/v1/tokens/", "/rejected", b.serveRejected},
		{"GET", "/v1/accounts/", "/history", b.serveHistory},
	}
	metrics := b.metrics.handler()
	return b.local(func(w http.ResponseWriter, r *http.Request, c *Caller) {
		path := r.URL.EscapedPath()
		for i := range all {
			if account, ok := all[i].match(path); ok {
				if allowed(w, r, all[i].method) && granted(w, c, account) {
					all[i].serve(w, b.traced(r), account)
				}
				return
			}
		}
		switch {
		case path == "/v1/accounts":
			if allowed(w, r, http.MethodGet) {
				b.serveAccounts(w, r, c)
			}
		case path == "/metrics":
			if allowed(w, r, http.MethodGet) {
				metrics.ServeHTTP(w, r)
			}
		default:
			writeProblem(w, problem{Status: http.StatusNotFound, Title: "not found", Detail: "there are /v1/tokens/{account}, its /stream and its /rejected, /v1/accounts, /v1/accounts/{account}/history and /metrics"})
		}
	})
}

// A route is a path with the name of an account in it. Reading a token is what
// a broker does most, and http.ServeMux would take a third of its time.
type route struct {
	method        string // GET stands for HEAD too
	before, after string // the name
	serve         func(w http.ResponseWriter, r *http.Request, account string)
}

// match returns the account of an escaped path.
func (t *route) match(path string) (account string, ok bool) {
	account, ok = strings.CutPrefix(path, t.before)
	if !ok {
		return "", false
	}
	if account, ok = strings.CutSuffix(account, t.after); !ok || account == "" || strings.Contains(account, "/") {
		return "", false
	}
	if strings.Contains(account, "%") {
		var err error
		account, err = url.PathUnescape(account)
		ok = err == nil
	}
	return account, ok
}

// allowed reports whether a request has the method of its path, or answers 405.
func allowed(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method || method == http.MethodGet && r.Method == http.MethodHead {
		return true
	}
	if method == http.MethodGet {
		method = "GET, HEAD"
	}
	w.Header().Set("Allow", method)
	writeProblem(w, problem{Status: http.StatusMethodNotAllowed, Title: "method not allowed", Detail: "allowed here: " + method})
	return false
}

func (b *Broker) serveAccounts(w http.ResponseWriter, r *http.Request, c *Caller) {
	list := b.status(r.Context(), func(a Account) bool { return c.may(a.Name) })
	writeJSON(w, http.StatusOK, "application/json", map[string]any{"accounts": list})
}

func (b *Broker) serveToken(w http.ResponseWriter, r *http.Request, account string) {
	var minTTL time.Duration
	if r.URL.RawQuery != "" {
		q := r.URL.Query()
		if q.Has("after") || q.Has("wait") {
			b.serveNext(w, r, account)
			return
		}
		if text := q.Get("min_ttl"); text != "" {
			var err error
			if minTTL, err = time.ParseDuration(text); err != nil || minTTL < 0 {
				writeProblem(w, problem{Status: http.StatusBadRequest, Title: "malformed min_ttl", Detail: "min_ttl is to be a length of time such as 10m or 90s"})
				return
			}
		}
	}
	t, err := b.Token(r.Context(), account, minTTL)
	b.answer(w, account, t, err)
}

func (b *Broker) serveRejected(w http.ResponseWriter, r *http.Request, account string) {
	var body struct {
		Generation uint64 `json:"generation"`
	}
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10))
	if err := d.Decode(&body); err != nil || body.Generation == 0 {
		writeProblem(w, problem{Status: http.StatusBadRequest, Title: "malformed report", Detail: `the body is to be {"generation": N}, with the generation of the token that was rejected`})
		return
	}
	t, err := b.Report(r.Context(), account, body.Generation)
	b.answer(w, account, t, err)
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

func (b *Broker) answer(w http.ResponseWriter, account string, t *jeton.Token, err error) {
	if err != nil {
		b.writeError(w, err)
		return
	}
	var body []byte
	if k := b.known(account); k != nil {
		body = k.view.Load().answer(t, b.here(b.now()))
	}
	if body == nil {
		writeJSON(w, http.StatusOK, "application/json", newTokenAnswer(t, expiresIn(t, b.here(b.now()))))
		return
	}
	writeBody(w, http.StatusOK, "application/json", body)
}

// rendered is the answer for a token in one second of its life.
type rendered struct {
	in   int64 // expires_in
	body []byte
}

// answer returns the JSON of the view's token, which is made once a second at
// most, or nil if that is another token.
func (v *view) answer(t *jeton.Token, now time.Time) []byte {
	if v.parsed != t {
		return nil
	}
	in := expiresIn(t, now)
	if last := v.rendered.Load(); last != nil && last.in == in {
		return last.body
	}
	body, err := json.Marshal(newTokenAnswer(t, in))
	if err != nil {
		return nil
	}
	body = append(body, '\n')
	v.rendered.Store(&rendered{in, body})
	return body
}

// expiresIn returns the seconds that a token has left, rounded down; 0 if its
// expiry is not known.
func expiresIn(t *jeton.Token, now time.Time) int64 {
	if t.Expiry.IsZero() {
		return 0
	}
	return int64(t.Expiry.Sub(now) / time.Second)
}

func newTokenAnswer(t *jeton.Token, in int64) tokenAnswer {
	a := tokenAnswer{AccessToken: t.AccessToken.Reveal(), TokenType: t.Type, Scope: t.Scope.String(), Generation: t.Generation}
	if !t.Expiry.IsZero() {
		at := t.Expiry.UTC().Truncate(time.Second)
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
		said := []any{"account", unavailable.Account, "reason", unavailable.Reason, "retry_in", unavailable.RetryAfter}
		if unavailable.Cause != nil { // or nothing was tried
			said = append(said, "error", unavailable.Cause)
		}
		b.Logger.Warn("no token", said...)
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
	writeBody(w, status, contentType, append(body, '\n'))
}

// writeBody writes an answer, which w and others may share.
func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body))) // or net/http would chunk what is longer than its buffer
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
