package verify

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/jws"
	"github.com/jetonhq/jeton/revocation"
)

// A Remote is a [jeton.Verifier] for the tokens of one issuer that is reached
// over HTTP. It finds the issuer's endpoints and keys, verifies JSON Web Tokens
// by the keys, asks the issuer about others if it has credentials for that, and
// knows the tokens that were good. An issuer that is down, also at the start, is
// tried again; until it has answered, nothing can be decided.
//
// The fields are not changed once it is in use; it is then safe for concurrent
// use.
type Remote struct {
	// Issuer is the issuer's URL, exactly as its tokens and its metadata have
	// it. Required.
	Issuer string

	// Audience is whom the tokens must be for. Empty: the issuer.
	Audience string

	// Algs, Types and Leeway are as in [JWT].
	Algs   []string
	Types  []string
	Leeway time.Duration

	// Untyped is as in [Introspection].
	Untyped bool

	// Key is the guard's key at a Jeton issuer; at others ClientID and
	// ClientSecret are. Without either, tokens that are no JSON Web Tokens are
	// not good.
	Key          jeton.Secret
	ClientID     string
	ClientSecret jeton.Secret

	// Table and MaxStale are as in [Cache]. Nil with a Key: one of its own, which
	// Run keeps as the issuer's is. Another one somebody else fills. Without a
	// table nothing can be decided about the tokens of an issuer that tells what
	// ended before its time, as Jeton does: they would be good until they expire.
	Table    *revocation.Table
	MaxStale time.Duration

	// Delay hears all the time how long it takes until a revocation is in the
	// table that Run fills, and whether it was lost; see [revocation.Canary].
	// Nil: nobody measures.
	Delay func(delay time.Duration, lost bool)

	// TTL is how long an answer is believed that no table can end: the issuer
	// is asked again after it. Zero: 30 seconds if the issuer is asked, else
	// until the token expires.
	TTL time.Duration

	// Size is how many tokens are known at most. Zero: 65,536.
	Size int

	// Client makes the calls. Nil: one that reads no environment.
	Client *http.Client

	// Logger hears when the issuer cannot be reached and when it can again.
	// Nil: nobody does.
	Logger *slog.Logger

	once     sync.Once
	client   *http.Client
	table    *revocation.Table
	keys     *JWKS
	jwt      *JWT
	cache    *Cache
	metadata atomic.Pointer[Metadata]
	asker    atomic.Pointer[Introspection] // nil: not discovered, or there is none

	mu     sync.Mutex
	found  chan struct{} // closed when there are metadata
	tried  chan struct{} // closed when the first look for the metadata is over
	failed error         // of the last look
}

// remoteTTL is [Remote.TTL] where the issuer is asked.
const remoteTTL = 30 * time.Second

// rediscover is how often metadata are looked for again that are there.
const rediscover = time.Hour

func (r *Remote) start() {
	if r.client = r.Client; r.client == nil {
		r.client = newClient()
	}
	if r.table = r.Table; r.table == nil && !r.Key.IsZero() {
		r.table = new(revocation.Table)
	}
	r.tried, r.found = make(chan struct{}), make(chan struct{})
	r.failed = errors.New("verify: the issuer has not been asked yet")
	r.keys = &JWKS{Client: r.client, Logger: r.Logger, locate: func(context.Context) (string, error) {
		if m := r.metadata.Load(); m != nil && m.JWKSURI != "" {
			return m.JWKSURI, nil
		}
		return "", errors.New("the issuer has no key set")
	}}
	r.jwt = &JWT{Issuer: r.Issuer, Keys: r.keys, Audience: r.Audience, Algs: r.Algs, Types: r.Types, Leeway: r.Leeway}
	r.cache = &Cache{Verifier: first{r}, Table: r.table, MaxStale: r.MaxStale, Epoch: r.keys.Epoch, TTL: r.TTL, Size: r.Size}
	if r.asks() && r.TTL <= 0 {
		r.cache.TTL = remoteTTL
	}
}

// asks reports whether there are credentials to ask the issuer with.
func (r *Remote) asks() bool { return !r.Key.IsZero() || r.ClientID != "" }

// Verify returns what the token grants. Its error is as [jeton.Verifier] says.
// [Remote.Run] must have been started; a call that comes before it has reached
// the issuer waits for its first try.
func (r *Remote) Verify(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	r.once.Do(r.start)
	if m := r.metadata.Load(); m != nil && r.deaf(m) {
		return nil, undecided(errDeaf)
	}
	return r.cache.Verify(ctx, bearer)
}

// deaf reports whether the issuer tells what ended, and nobody here listens.
func (r *Remote) deaf(m *Metadata) bool { return m.RevocationsEndpoint != "" && r.table == nil }

var errDeaf = errors.New("verify: the issuer tells guards what ended, and this one has no key to be told")

// Metadata returns what the issuer says about itself, or the reason why that is
// not known. It waits for the first try.
func (r *Remote) Metadata(ctx context.Context) (*Metadata, error) {
	r.once.Do(r.start)
	if m := r.metadata.Load(); m != nil {
		return m, nil
	}
	select {
	case <-r.tried:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if m := r.metadata.Load(); m != nil {
		return m, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return nil, r.failed
}

// object is how a header in JSON begins. Only a Jeton issuer is asked about a
// token with one: it may have signed it with a secret key. Others have published
// the key, and may say that the question is wrong.
const object = "eyJ"

// first decides about a token at first sight.
type first struct{ *Remote }

func (f first) Verify(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	m, err := f.Metadata(ctx)
	if err == nil && f.deaf(m) {
		err = errDeaf
	}
	if err != nil {
		return nil, undecided(err)
	}
	text := bearer.Reveal()
	token, signed := jws.Parse(text)
	if signed && f.jwt.takes(token.Header) {
		return f.jwt.Verify(ctx, bearer)
	}
	if (signed || strings.HasPrefix(text, object)) && f.Key.IsZero() {
		return nil, refuse()
	}
	if asker := f.asker.Load(); asker != nil {
		return asker.Verify(ctx, bearer)
	}
	if f.asks() {
		return nil, undecided(errors.New("verify: the issuer has no introspection endpoint"))
	}
	return nil, refuse()
}

// Run finds the issuer, keeps its keys fresh and, with a key, follows what ends
// there, until ctx ends.
func (r *Remote) Run(ctx context.Context) {
	r.once.Do(r.start)
	var group sync.WaitGroup
	defer group.Wait()
	if r.table != r.Table {
		group.Go(func() { r.follow(ctx) })
	}
	fetching := false
	for failures := 0; ; {
		wait := rediscover
		if err := r.discover(ctx); err == nil {
			failures = 0
		} else if ctx.Err() == nil {
			wait = min(100*time.Millisecond<<min(failures, 10), time.Minute)
			failures++
		}
		if m := r.metadata.Load(); m != nil && m.JWKSURI != "" && !fetching {
			fetching = true
			group.Go(func() { r.keys.Run(ctx) })
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// discover looks for the metadata once. Those that are there stay if that fails.
func (r *Remote) discover(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	m, err := Discover(short, r.client, r.Issuer)
	if err == nil {
		r.use(m)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.failed
	r.failed = err
	select {
	case <-r.tried:
		if (was == nil) == (err == nil) {
			return err
		}
	default:
		close(r.tried)
	}
	if logger := r.keys.logger(); err != nil && ctx.Err() == nil {
		logger.Warn("verify: an issuer cannot be found", "issuer", r.Issuer, "error", err.Error())
	} else if err == nil {
		logger.Info("verify: found an issuer", "issuer", r.Issuer)
	}
	return err
}

func (r *Remote) use(m *Metadata) {
	if old := r.asker.Load(); r.asks() && m.IntrospectionEndpoint != "" && (old == nil || old.URL != m.IntrospectionEndpoint) {
		r.asker.Store(&Introspection{
			URL: m.IntrospectionEndpoint, Issuer: r.Issuer, Audience: r.Audience,
			Key: r.Key, ClientID: r.ClientID, ClientSecret: r.ClientSecret, Client: r.client, Untyped: r.Untyped,
		})
	}
	old := r.metadata.Swap(m)
	if old == nil {
		close(r.found)
	}
	if r.deaf(m) && (old == nil || !r.deaf(old)) {
		r.keys.logger().Error("verify: nothing is decided about the tokens of an issuer, since it tells guards what ended and this one does not listen: it needs a key of a guard there",
			"issuer", r.Issuer)
	}
}
