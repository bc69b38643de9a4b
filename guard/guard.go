// Package guard stands in front of an API and lets only good calls through. It
// decides in one place, [Guard.Decide]; a middleware ([Guard.Handler]) and a
// reverse proxy ([Guard.Proxy]) act on the decision.
//
// It issues nothing and knows no vendor: how a call wears its token, what a
// route needs and how a refusal reads are the dialect's, and whether a token is
// good is the [jeton.Verifier]'s. When that cannot say, the answer is 503: never
// a call let through, and never a token blamed for it.
//
// What is behind a guard may trust the identity headers ([HeaderSubject] and
// those next to it) if it can be reached through the guard only.
package guard

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/revocation"
)

// A Guard protects the API of one realm. Its fields are not changed once it is
// in use; it is then safe for concurrent use. URLs of the requests that it
// judges are relative to the realm: what the realm is mounted at is cut off.
type Guard struct {
	// Dialect says how a call wears its token, which permission a route needs
	// and how a refusal reads. Required.
	Dialect *dialect.Dialect

	// Verifier says whether a token is good. Required. Where a call is more
	// than its token, [dialect.Dialect.WholeCall], it is to be a [CallVerifier] too.
	Verifier jeton.Verifier

	// Realm is the name in challenges (RFC 6750 section 3). Empty: the name of
	// the dialect.
	Realm string

	// GraphQL is the GraphQL endpoint of the API. Nil: it has none.
	GraphQL *GraphQL

	// Routes say what calls need that the permission table does not name, or
	// names otherwise: they come before it. A call that a route with {name} lets
	// through, and that a server which ignores case, a slash at the end or what
	// follows a dot takes for one of a more specific route, needs both. Nil:
	// there are none.
	Routes []Route

	// Permissions is the permission table. Nil: that of the dialect.
	Permissions dialect.Permissions

	// KeepCredentials leaves the headers, and the parameters of the query, that
	// carry the token and what goes with it in the request. False: what is
	// behind the guard sees the identity headers only, and cannot lose a token
	// that it never had.
	KeepCredentials bool

	// Transport carries the calls of [Guard.Proxy]. Nil: one that connects
	// within 5 seconds, reads no environment and changes no content encoding.
	Transport http.RoundTripper

	// Timeout is how long the upstream of [Guard.Proxy] may neither take a part
	// of the request nor begin its answer. Zero: 30 seconds. An answer that has
	// begun may take as long as it wants.
	Timeout time.Duration

	// IdleTimeout is how long the upstream of [Guard.Proxy] may send nothing once
	// its answer has begun, and neither side over a WebSocket. Zero: for ever.
	IdleTimeout time.Duration

	// CallTimeout is how long a call of [Guard.Proxy] may take from its
	// beginning to its end. Zero: as long as it wants.
	CallTimeout time.Duration

	// MaxBody is how many bytes the body of a call may have. Zero: as many as it
	// wants. A longer one is 413; the API behind the guard sees nothing of it if
	// its length was announced, and else no more than this.
	MaxBody int64

	// MaxResponse is how many bytes the body of an answer that [Guard.Proxy]
	// passes on may have. Zero: as many as it wants. A longer one is 502 if its
	// length was announced; else the connection is aborted in the midst of it,
	// so that nobody takes it for whole. What flows over a WebSocket or as
	// text/event-stream has no length and is not counted.
	MaxResponse int64

	// Revocations is what the calls that still run are compared with: one whose
	// token ends is ended too, and all of them if the table is older than
	// MaxStale. Nil: a call goes on until its time is up.
	Revocations *revocation.Table

	// MaxStale is how old Revocations may be. Zero: 30 seconds.
	MaxStale time.Duration

	// ShowAge adds [HeaderAge] to answers. Without Revocations it does nothing.
	ShowAge bool

	// Trusted are the proxies in front of the guard whose X-Forwarded-For, -Host
	// and -Proto count. Empty: the client is whoever connects.
	Trusted []netip.Prefix

	// From are the addresses from which [Guard.ForwardAuth] is asked. Empty:
	// loopback.
	From []netip.Prefix

	// Decided hears of each decision: nil for a call that is let through, else
	// why it is not. It is called before the answer, by the goroutine of the
	// call. Nil: nobody does.
	Decided func(error)

	// Logger hears of calls that could not be decided or forwarded: of each cause
	// once a second at most, and of how many more there were. Nil: nobody does.
	Logger *slog.Logger

	quiet  quiet
	once   sync.Once // makes the policy
	policy *policy
	wrong  error
}

// Check reports what is wrong with the routes, the permission table and the
// GraphQL: two routes that cannot be told apart, a permission or a scope that
// does not exist. A guard of which Check has something to say refuses every call.
func (g *Guard) Check() error {
	g.once.Do(func() {
		if g.policy, g.wrong = newPolicy(g); g.wrong == nil && g.GraphQL != nil {
			g.wrong = errors.Join(g.GraphQL.Check(), g.GraphQL.within(g.Dialect.Scope.Order))
		}
	})
	return g.wrong
}

// Handler returns a middleware that calls next for good calls only. There the
// request has the identity headers, whatever copies of them the client sent are
// gone, and [ClaimsFrom] has the claims.
//
// The context of a call that goes on ends when its token is revoked, when
// Revocations are too old, and, if it asks for another protocol or for events,
// when its token expires; [context.Cause] says which.
func (g *Guard) Handler(next http.Handler) http.Handler { return g.handler(next, false) }

// handler is Handler for calls that next can end, too, if they are endable.
func (g *Guard) handler(next http.Handler, endable bool) http.Handler {
	running := g.newRunning()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.showAge(w.Header())
		var call *runningCall
		claims, err := g.decide(r)
		var document *rewritten
		if err == nil {
			r, document, err = g.readDocument(r, claims)
		}
		if err == nil {
			call, err = running.begin(r, claims, endable)
		}
		if err == nil {
			defer call.done()
			r, err = g.admit(call, r)
		}
		if err == nil {
			document.write(r.Header)
			err = g.limit(w, r)
		}
		if g.Decided != nil {
			g.Decided(err)
		}
		if err != nil {
			g.refuse(w, r, err)
			takeRest(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limit bounds the body of a call.
func (g *Guard) limit(w http.ResponseWriter, r *http.Request) error {
	if g.MaxBody == 0 || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength > g.MaxBody {
		return &http.MaxBytesError{Limit: g.MaxBody}
	}
	r.Body = http.MaxBytesReader(w, r.Body, g.MaxBody) // r is the guard's own copy
	return nil
}

// Decide judges a call and returns what its token grants. It does not change
// the request. The steps, each of which ends the matter if it fails:
//
//   - The path is canonical, so that nobody behind the guard can read it as
//     another one.
//   - The call wears one token, as the dialect says, and the verifier finds it
//     good.
//     Where a call is more than its token the verifier judges all of it; see
//     [CallVerifier]. The body of one that is signed is read for that, 1 MiB at
//     most, and put back.
//   - Credentials that the token is bound to are in the call, and they are
//     those ones.
//   - The most specific of the routes that name the call, else the permission
//     table, says what it needs, and the token has it. Where there are routes or
//     a table, what they do not name is refused; where there are neither, a good
//     token suffices, whatever the path and the method.
//   - A call to the GraphQL endpoint is judged by the document in its body, which
//     goes on as it was read and not as it came. So only [Guard.Handler] and
//     [Guard.Proxy] can let it through; Decide itself could not decide it.
//
// TRACE and CONNECT are refused always. HEAD is judged as GET. OPTIONS is a
// method like others: it needs a token, and a route of its own where there are
// routes or a table.
//
// The error is [dialect.ErrNoCredentials], a [*dialect.MethodError], or a
// [*jeton.Error]: invalid_request, invalid_token, insufficient_scope, or
// temporarily_unavailable if the call could not be decided.
//
// To decide about a token that the verifier knows allocates nothing.
func (g *Guard) Decide(r *http.Request) (*jeton.Claims, error) {
	claims, err := g.decide(r)
	if err == nil && g.GraphQL.at(r.URL.Path) {
		return nil, undecided(errDocument)
	}
	return claims, err
}

// decide is Decide, but for the document of a GraphQL call.
func (g *Guard) decide(r *http.Request) (*jeton.Claims, error) {
	if err := g.wellFormed(r); err != nil {
		return nil, err
	}
	if g.Dialect.WholeCall() {
		claims, err := g.verifyCall(r)
		if err == nil {
			err = g.permit(r.Method, r.URL.Path, claims)
		}
		if err != nil {
			return nil, err
		}
		return claims, nil
	}
	bearer, others, err := g.Dialect.Bearer(r)
	if err != nil {
		return nil, err
	}
	if r.URL.RawQuery != "" && len(r.Header["Authorization"]) > 0 && inQuery(r.URL.RawQuery, "access_token") {
		return nil, jeton.Refuse(jeton.InvalidRequest, "the call wears a token in two ways") // RFC 6750 section 2
	}
	claims, err := g.verify(r.Context(), bearer)
	if err != nil {
		if _, malformed := g.Dialect.ReadCall(r); malformed != nil {
			return nil, malformed
		}
		return nil, err
	}
	if len(claims.Bound) > 0 {
		if err := bound(claims, others); err != nil {
			return nil, err
		}
	}
	if err := g.permit(r.Method, r.URL.Path, claims); err != nil {
		return nil, err
	}
	return claims, nil
}

// wellFormed refuses calls that no token can make good.
func (g *Guard) wellFormed(r *http.Request) error {
	if err := g.Check(); err != nil {
		return undecided(err)
	}
	if !canonical(r.URL) {
		return jeton.Refuse(jeton.InvalidRequest, "the path is not in its canonical form")
	}
	if r.ProtoMajor > 1 && strings.ContainsAny(r.Host, notInHost) { // net/http checks that of HTTP/1.1
		return jeton.Refuse(jeton.InvalidRequest, "the host is malformed")
	}
	if g.policy.open == nil && r.URL.RawQuery != "" && inQuery(r.URL.RawQuery, "_method") {
		return jeton.Refuse(jeton.InvalidRequest, "the query names another method than the one that is judged")
	}
	if r.Method == http.MethodTrace || r.Method == http.MethodConnect {
		return &dialect.MethodError{Allow: everyMethod}
	}
	return nil
}

// permit refuses what the claims do not allow.
func (g *Guard) permit(method, path string, claims *jeton.Claims) error {
	if v := g.policy.judge(method, path, claims); v.finding != allowed {
		return g.policy.err(v, path)
	}
	return nil
}

// inQuery reports whether a server may read a parameter of that name in an
// encoded query. Some separate parameters by semicolons.
func inQuery(query, name string) bool {
	end := name[strings.IndexByte(name, '_')+1:]
	if !strings.Contains(query, end) && strings.IndexByte(query, '%') < 0 {
		return false
	}
	for query != "" {
		i := strings.IndexAny(query, "&;")
		text := query
		if i < 0 {
			query = ""
		} else {
			text, query = query[:i], query[i+1:]
		}
		text, _, _ = strings.Cut(text, "=")
		if sameParameter(text, name) {
			return true
		}
		if strings.IndexByte(text, '%') >= 0 {
			if decoded, err := url.QueryUnescape(text); err == nil && sameParameter(decoded, name) {
				return true
			}
		}
	}
	return false
}

// sameParameter compares names of parameters as PHP does, in whose names a dot,
// a blank and a bracket are an underscore.
func sameParameter(text, name string) bool {
	if len(text) != len(name) {
		return false
	}
	for i := range len(name) {
		if text[i] != name[i] && !(name[i] == '_' && strings.IndexByte(". +[", text[i]) >= 0) {
			return false
		}
	}
	return true
}

// verify asks the verifier. Its error is invalid_token if the verifier says so
// and temporarily_unavailable whatever else goes wrong.
func (g *Guard) verify(ctx context.Context, bearer jeton.Secret) (claims *jeton.Claims, err error) {
	defer func() {
		if p := recover(); p != nil {
			claims, err = nil, undecided(fmt.Errorf("guard: verify: panic: %v", p))
		}
	}()
	return verified(g.Verifier.Verify(ctx, bearer))
}

// verified turns what a verifier says into claims or a refusal.
func verified(claims *jeton.Claims, err error) (*jeton.Claims, error) {
	switch {
	case err == nil && claims != nil:
		return claims, nil
	case errors.Is(err, jeton.InvalidToken):
		if e, ok := errors.AsType[*jeton.Error](err); ok && e.Code == jeton.InvalidToken {
			return nil, e
		}
		return nil, &jeton.Error{Code: jeton.InvalidToken, Description: "the access token is not good", Cause: err}
	case err != nil:
		return nil, undecided(fmt.Errorf("guard: verify: %w", err))
	}
	return nil, undecided(errors.New("guard: verify: neither claims nor error"))
}

// retryUndecided is when to come again if whoever could not decide does not say.
const retryUndecided = 5 * time.Second

func undecided(cause error) *jeton.Error {
	e := &jeton.Error{Code: jeton.Unavailable, Description: "the call could not be decided; try again later", RetryAfter: retryUndecided, Cause: cause}
	if inner, ok := errors.AsType[*jeton.Error](cause); ok && inner.RetryAfter > 0 {
		e.RetryAfter = inner.RetryAfter
	}
	return e
}

// bound demands the credentials that the token is bound to. A token without
// them is worth nothing, so the code is invalid_token.
func bound(claims *jeton.Claims, vars jeton.Vars) error {
	for name, want := range claims.Bound {
		got := jeton.Fingerprint(claims.ID, jeton.NewSecret(vars[name]))
		if vars[name] == "" || subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
			return jeton.Refuse(jeton.InvalidToken, "the access token does not go with the credential "+name+" of the call")
		}
	}
	return nil
}

// refuse writes the answer to a call that is not let through.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Method == http.MethodConnect {
		lastOfConnection(w, r) // what follows is not for us
	}
	if m, ok := errors.AsType[*dialect.MethodError](err); ok {
		w.Header().Set("Allow", strings.Join(m.Allow, ", "))
		problem(w, http.StatusMethodNotAllowed, "the route has no such method")
		return
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		lastOfConnection(w, r) // nobody reads the rest
		problem(w, http.StatusRequestEntityTooLarge, "the request is too large")
		return
	}
	if errors.Is(err, jeton.Unavailable) && r.Context().Err() == nil {
		g.log("guard: a call could not be decided", r, err)
	}
	if g.GraphQL.at(r.URL.Path) {
		g.refuseGraphQL(w, r, err)
		return
	}
	g.Dialect.WriteCallError(w, g.realm(), err)
}

func (g *Guard) realm() string {
	if g.Realm == "" {
		return g.Dialect.Name
	}
	return g.Realm
}

func (g *Guard) logger() *slog.Logger {
	if g.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return g.Logger
}

func (g *Guard) log(message string, r *http.Request, err error) {
	for e, ok := errors.AsType[*jeton.Error](err); ok && e.Cause != nil; e, ok = errors.AsType[*jeton.Error](err) {
		err = e.Cause // what is shown does not say why
	}
	err = jeton.WithoutURL(err)
	unsaid, ok := g.quiet.say(message + ": " + err.Error())
	if !ok {
		return
	}
	attrs := []slog.Attr{slog.String("realm", g.realm()), slog.String("method", r.Method), slog.String("error", err.Error())}
	if unsaid > 0 {
		attrs = append(attrs, slog.Int("more", unsaid))
	}
	g.logger().LogAttrs(r.Context(), slog.LevelError, message, attrs...)
}

// ClaimsFrom returns the claims of the call that a guard let through with ctx.
// They are to be read, not changed.
func ClaimsFrom(ctx context.Context) (*jeton.Claims, bool) {
	if c := callOf(ctx); c != nil {
		return c.claims, true
	}
	return nil, false
}
