// Package issuer is the authorization server: it logs users and clients in,
// refreshes, checks, introspects and revokes, in the words of whatever dialect
// a realm speaks. It is not for logging people in to web pages: there is no
// authorization code, no consent and no session.
//
// A [Realm] is an http.Handler for requests whose path is relative to it, and a
// jeton.Verifier for the tokens that it issued; a [Server] mounts realms at
// prefixes. Who may log in is kept in the realm's directory.Directory.
//
// Most dialects are plain: a user presents a password, a client a secret, and the
// directory checks it by a hash. Where a vendor wants more, a login of several
// steps, an assertion, a digest, a certificate, variables of its own, tokens that
// the client makes or calls that are signed, a client of the realm has an
// account: all that it presents and is proven by, which the directory keeps
// readable; see directory.Directory.SetAccount. What an account has to have are
// the dialect's LoginVars and CallVars.
//
// Access tokens are signed JWTs and have no row in the store. What can end one
// before its time are counters, which it names with the value that they had
// when it was made; the end of its refresh family; and, if it was revoked by
// itself, a record of its ID that goes when nobody would take the token. A
// realm that runs ([Realm.Run]) has all of that in memory.
package issuer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/keys"
	"github.com/jetonhq/jeton/limit"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
)

// A Config declares a realm. Name, Dialect, Store, Audit and URL must be there;
// of every other field the zero value is the default.
type Config struct {
	Name    string // what the records, the audit entries and the challenges call it
	Dialect *dialect.Dialect
	Store   store.Store
	Audit   audit.Log
	URL     string // the issuer identifier (RFC 8414 section 2): scheme, host and prefix, no slash at the end

	Password bool           // a standard realm takes the password grant; RFC 9700 section 2.4 advises against it
	Trusted  []netip.Prefix // proxies whose X-Forwarded-For counts; none: the client is whoever connects

	Lifetime        time.Duration           // of an access token; zero: the dialect's, or an hour where it states none
	RefreshLifetime time.Duration           // of a refresh token, from its making; zero: 30 days. Never less than Lifetime
	RetryWindow     time.Duration           // how long a spent refresh token gets the same successor again; zero: 30 seconds; negative: never
	Rate            map[string]dialect.Rate // :: "username", "client_id" or "ip" -> logins allowed; nil: the dialect's; empty: none
	Alg             string                  // of the signing keys that are made; empty: the dialect's, or ES256
	MaxStale        time.Duration           // how old what is known to have ended may be; nothing is verified by older; zero: 30 seconds

	// InsecureCertificates lets a login pass that is to show a client certificate,
	// RFC 8705, where it comes over plain HTTP and can show none. It is for
	// stand-ins on this machine only. False: such a login is refused.
	InsecureCertificates bool

	Guards []Guard // who may follow the revocations and introspect every token; none: nobody

	Logger  *slog.Logger   // nil: slog.Default
	Limiter *limit.Limiter // shared between realms; nil: one of its own
}

const (
	defaultLifetime        = time.Hour
	defaultRefreshLifetime = 30 * 24 * time.Hour
	defaultRetryWindow     = 30 * time.Second

	maxBody = 1 << 20 // bytes of a request

	jwksPath        = "/.well-known/jwks.json"
	introspectPath  = "/introspect"
	revokePath      = "/revoke"
	revocationsPath = "/revocations"
)

// A Realm issues tokens in one dialect. It is safe for concurrent use.
type Realm struct {
	name, url string
	dialect   *dialect.Dialect
	store     store.Store
	log       audit.Log
	directory *directory.Directory
	ring      *keys.Ring
	families  *families
	limits    *limits
	guards    []guard
	ended     *revocation.Log // what ended before its time, and who follows it
	feed      *feed
	logger    *slog.Logger
	trusted   []netip.Prefix
	password  bool
	lifetime  time.Duration
	typ       string // JOSE typ of access tokens

	cookies              map[string]bool // :: variable -> it is all cookies of a login
	accounts             *accounts       // nil: the directory checks every login
	insecureCertificates bool
	lastProven           *atomic.Pointer[jeton.Vars] // account of who logged in last; see decoy
}

// OpenRealm opens a realm over the records that its store has, and makes its
// signing keys if there are none. Where the directory cannot check a login by
// itself, who may log in are clients with an account; see
// [directory.Directory.SetAccount]. It refuses a dialect of which some message
// says nothing about whose it is.
func OpenRealm(ctx context.Context, c Config) (*Realm, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("issuer: realm %s: %w", c.Name, err)
	}
	r := &Realm{
		name: c.Name, url: strings.TrimSuffix(c.URL, "/"), dialect: c.Dialect, store: c.Store, log: c.Audit,
		logger: c.Logger, trusted: c.Trusted, password: c.Password, typ: c.Dialect.Typ,
		lifetime: first(c.Lifetime, c.Dialect.Lifetime, defaultLifetime),
		cookies:  cookies(c.Dialect), accounts: newAccounts(c.Dialect), insecureCertificates: c.InsecureCertificates,
		lastProven: new(atomic.Pointer[jeton.Vars]),
	}
	if r.logger == nil {
		r.logger = slog.Default()
	}
	if r.typ == "" {
		r.typ = "JWT"
		if c.Dialect.Standard {
			r.typ = "at+jwt" // RFC 9068 section 2.1
		}
	}
	r.feed = newFeed(r, c.MaxStale)
	window := max(first(c.RetryWindow, defaultRetryWindow), 0)
	r.families = &families{
		store: c.Store, realm: c.Name, window: window, feed: r.feed,
		// The record must outlive every access token that names it.
		lifetime: max(first(c.RefreshLifetime, defaultRefreshLifetime), r.lifetime+window),
	}
	r.limits = &limits{limiter: c.Limiter, realm: c.Name, rate: c.Rate}
	if c.Limiter == nil {
		r.limits.limiter = new(limit.Limiter)
	}
	if c.Rate == nil {
		r.limits.rate = c.Dialect.Rate
	}
	err := r.feed.readLifetime(ctx)
	if err == nil {
		// So that a key outlives its tokens, and those that another process still
		// signs with it.
		retention := time.Duration(r.feed.longest.Load()) + time.Hour
		r.ring, err = keys.Open(ctx, c.Store, store.Key("realm", c.Name, "keys"), first(c.Alg, c.Dialect.Alg), retention)
	}
	if err != nil {
		return nil, fmt.Errorf("issuer: realm %s: %w", c.Name, err)
	}
	order := c.Dialect.Scope.Order
	if err = r.openRevocations(ctx, c.Guards); err != nil {
		return nil, fmt.Errorf("issuer: realm %s: %w", c.Name, err)
	}
	r.directory, err = directory.Open(ctx, c.Store, c.Audit, c.Name, directory.Settings{
		Tenanted: r.accounts == nil && c.Dialect.Login.Has("tenant_id"), Scopes: order, ScopeRequiredForKeys: len(order) > 0,
	})
	if err != nil {
		return nil, fmt.Errorf("issuer: realm %s: %w", c.Name, err)
	}
	r.directory.Raised = r.feed.raised
	return r, nil
}

// first returns the first value that is not zero.
func first[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}

// known are the variables of logins and refreshes that the directory can check,
// or that only ask for something.
var known = []string{"username", "password", "client_id", "client_secret", "api_key", "tenant_id",
	"access_token", "refresh_token", "scope", "resource"}

func (c Config) check() error {
	if c.Name == "" || c.Dialect == nil || c.Store == nil || c.Audit == nil {
		return errors.New("name, dialect, store and audit log must be given")
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("the URL must be http or https, with a host and without query, fragment and user (RFC 8414 section 2)")
	}
	if accounts := newAccounts(c.Dialect); accounts != nil {
		if err := accounts.check(c.Dialect); err != nil {
			return fmt.Errorf("dialect %s: %w", c.Dialect.Name, err)
		}
	}
	return nil
}

// Name returns the realm's name.
func (r *Realm) Name() string { return r.name }

// URL returns the issuer identifier.
func (r *Realm) URL() string { return r.url }

// Dialect returns the dialect that the realm speaks.
func (r *Realm) Dialect() *dialect.Dialect { return r.dialect }

// Accounts reports whether who logs in here is an account, which is a client with
// variables ([directory.Directory.SetAccount]): the dialect's logins present more
// than what a directory checks by itself.
func (r *Realm) Accounts() bool { return r.accounts != nil }

// Directory returns the realm's users, clients, API keys and tenants.
func (r *Realm) Directory() *directory.Directory { return r.directory }

// Keys returns the realm's signing keys, for rotating them.
func (r *Realm) Keys() *keys.Ring { return r.ring }

// Answers reports whether the realm has an endpoint at the path of the request,
// for whatever method. The path is relative to the realm.
func (r *Realm) Answers(req *http.Request) bool {
	switch req.URL.Path {
	case wellKnown, jwksPath, introspectPath, revokePath, revocationsPath:
		return true
	}
	_, err := r.dialect.ReadRequest(req, nil)
	return !errors.Is(err, dialect.ErrNotFound)
}

// Kind says what a request asks of the realm, which [Realm.Answers] it: one of
// the dialect's exchanges, or the same in the words of RFC 7662 and RFC 7009. It
// is empty for what no dialect has: metadata, keys, and what has ended. What is
// not well-formed is a login, as in the audit log.
func (r *Realm) Kind(req *http.Request, body []byte) dialect.Kind {
	m, err := r.dialect.ReadRequest(req, body)
	if err == nil {
		return m.Exchange.Kind
	}
	switch req.URL.Path {
	case introspectPath:
		return dialect.KindIntrospect
	case revokePath:
		return dialect.KindRevoke
	case wellKnown, jwksPath, revocationsPath:
		return ""
	}
	return dialect.KindLogin
}

// ServeHTTP answers a request whose path is relative to the realm.
func (r *Realm) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	defer recoverPanic(w, r.logger)
	switch req.URL.Path {
	case wellKnown:
		r.serveMetadata(w, req)
	case jwksPath:
		r.serveKeys(w, req)
	case introspectPath:
		r.serveOwnOr(w, req, dialect.KindIntrospect, r.serveIntrospect)
	case revokePath:
		r.serveOwnOr(w, req, dialect.KindRevoke, r.serveRevoke)
	case revocationsPath:
		r.serveRevocations(w, req)
	default:
		r.serveDialect(w, req)
	}
}

// serveDialect answers the exchanges that the dialect describes.
func (r *Realm) serveDialect(w http.ResponseWriter, req *http.Request) {
	body, ok := readBody(w, req)
	if !ok {
		return
	}
	a := r.newAttempt(req, "login")
	m, err := r.dialect.ReadRequest(req, body)
	var method *dialect.MethodError
	switch {
	case errors.Is(err, dialect.ErrNotFound):
		writeNotFound(w)
		return
	case errors.As(err, &method):
		allow(w, req, method.Allow...)
		return
	case err != nil:
		r.dialect.WriteTokenError(w, r.name, r.refuse(req.Context(), a, err))
		return
	}
	if m, err = r.readAgain(req, m); err != nil {
		r.dialect.WriteTokenError(w, r.name, r.refuse(req.Context(), a, err))
		return
	}
	x := m.Exchange
	if req.Method == http.MethodHead && x.Kind != dialect.KindVerify {
		allow(w, req, x.Method) // it would spend a refresh token and answer nobody
		return
	}
	a.x, a.vars, a.message = x, m.Vars, m
	var answer jeton.Vars
	switch x.Kind {
	case dialect.KindVerify:
		r.serveVerify(w, req, body, a)
		return
	case dialect.KindLogin:
		answer, err = r.login(req.Context(), a)
	case dialect.KindRefresh:
		a.entry.Action = "refresh"
		answer, err = r.refresh(req.Context(), a)
	case dialect.KindStep:
		a.entry.Action = "step"
		answer, err = r.step(req.Context(), a)
	case dialect.KindIntrospect:
		r.serveOwnIntrospect(w, req, body, a)
		return
	case dialect.KindRevoke:
		a.entry.Action = "revoke"
		answer, err = r.ownRevoke(req, body, a)
	default:
		writeNotFound(w)
		return
	}
	if err == nil {
		err = r.dialect.WriteResponse(w, x, answer)
		if err == nil {
			return
		}
	}
	err = r.refuse(req.Context(), a, err)
	if (x.Wears() || x.Kind == dialect.KindRevoke) && errors.Is(err, jeton.InvalidToken) {
		r.dialect.WriteCallError(w, r.name, err) // it is the worn token that is not good
		return
	}
	r.dialect.WriteTokenError(w, r.name, err)
}

// readAgain settles what of a message only the realm can know.
func (r *Realm) readAgain(req *http.Request, m *dialect.Received) (*dialect.Received, error) {
	if r.accounts == nil {
		return m, nil
	}
	r.adjust(m, req)
	return r.meaning(req.Context(), m)
}

// An attempt is one request that wants something, and the audit entry about it.
type attempt struct {
	x       *dialect.Exchange
	vars    jeton.Vars
	message *dialect.Received
	ip      netip.Addr
	entry   audit.Entry

	written bool // the refusal is in the audit log already
}

func (r *Realm) newAttempt(req *http.Request, action string) *attempt {
	ip := clientIP(req, r.trusted)
	a := &attempt{ip: ip, entry: audit.Entry{Realm: r.name, Action: action}}
	if ip.IsValid() {
		a.entry.IP = ip.String()
	}
	return a
}

// accept writes down that the attempt succeeds. What cannot be written down
// does not succeed.
func (r *Realm) accept(ctx context.Context, a *attempt) error {
	a.entry.Outcome = "ok"
	if err := r.log.Append(ctx, a.entry); err != nil {
		return fmt.Errorf("issuer: write the audit log: %w", err)
	}
	return nil
}

// retryUndecided is when to come again after something broke.
const retryUndecided = 5 * time.Second

// refuse writes down that the attempt does not succeed, and returns the refusal
// to show. What is no refusal is a fault of ours: it is logged here, and shown
// without its cause.
func (r *Realm) refuse(ctx context.Context, a *attempt, err error) *jeton.Error {
	refusal, ok := errors.AsType[*jeton.Error](err)
	if code, bare := errors.AsType[jeton.Code](err); !ok && bare {
		refusal, ok = jeton.Refuse(code, describe(a, code)), true
	}
	if ok && a.written {
		return refusal
	}
	a.written = true
	a.entry.Outcome = string(jeton.Unavailable)
	if ok {
		a.entry.Outcome = string(refusal.Code)
	}
	// The client may be gone; the refusal is written down all the same.
	failed := r.log.Append(context.WithoutCancel(ctx), a.entry)
	switch {
	case ok && failed == nil:
		return refusal
	case ok:
		err = fmt.Errorf("issuer: write the audit log: %w", failed)
	}
	if ctx.Err() == nil {
		r.logger.ErrorContext(ctx, "request not decided", "realm", r.name, "action", a.entry.Action, "err", err)
	}
	return &jeton.Error{Code: jeton.Unavailable, Description: "the request could not be decided", RetryAfter: retryUndecided, Cause: err}
}

// describe returns the description of a code that came without one. There is
// one text for each code, so that it says nothing about which part was wrong.
func describe(a *attempt, code jeton.Code) string {
	switch {
	case code == jeton.InvalidClient:
		return "the client authentication failed"
	case code == jeton.InvalidGrant && a.entry.Action == "refresh":
		return "the refresh token is not good"
	case code == jeton.InvalidGrant:
		return "the user or the password is wrong"
	case code == jeton.InvalidToken:
		return "the access token is not good"
	}
	return ""
}

// readBody reads the body of a request, or answers the request and reports
// false.
func readBody(w http.ResponseWriter, req *http.Request) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err == nil {
		return body, true
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		writeProblem(w, http.StatusRequestEntityTooLarge, jeton.InvalidRequest, "the body is larger than 1 MiB")
	} else {
		writeProblem(w, http.StatusBadRequest, jeton.InvalidRequest, "the body could not be read")
	}
	return nil, false
}

// keyAge is how long a key signs before the next one does.
const keyAge = 30 * 24 * time.Hour

// Sweep removes the records that have expired: refresh families, and the IDs of
// those that ended and of revoked tokens. It returns how many. It also forgets
// what ended too long ago to concern a token, and rotates signing keys that have
// signed for a month. Nothing waits for it, since expired records count for
// nothing; calling it every few minutes keeps the store small. Several
// processes may sweep at once.
func (r *Realm) Sweep(ctx context.Context) (int, error) {
	r.Revocations().Sweep(time.Now())
	if err := r.ring.RotateAfter(ctx, time.Now(), keyAge); err != nil {
		return 0, fmt.Errorf("issuer: realm %s: rotate the signing key: %w", r.name, err)
	}
	removed := 0
	for kind, first := range map[string]func(store.Record) error{
		"family": nil, "revoked": nil,
		"ended": func(e store.Record) error { // its family may be there still: to end it was interrupted
			_, id := r.feed.parse(e.Key)
			return r.families.remove(ctx, id)
		},
	} {
		n, err := sweep(ctx, r.store, store.Key("realm", r.name, kind)+"/", first)
		removed += n
		if err != nil {
			return removed, fmt.Errorf("issuer: realm %s: sweep: %w", r.name, err)
		}
	}
	return removed, nil
}
