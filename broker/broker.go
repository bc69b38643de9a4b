// Package broker keeps accounts' tokens at vendors fresh and shares them: one
// login for each lifetime of a token, whatever the number of readers, and of
// brokers that share a store.
//
// All that several brokers must agree on is in one record for each login
// credential: token, generation, lease, intent, latch and back-off. A broker
// that wants to log in writes its lease into that record by compare-and-swap;
// who loses the race follows. Reads come from memory.
//
//	reader -> memory -> (refresh due) -> record: lease -> vendor -> record: token -> every reader
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/sink"
	"github.com/jetonhq/jeton/store"
)

// An Account is one credential at one vendor.
type Account struct {
	Name    string
	Dialect *dialect.Dialect // at the beginning; see [Broker.SetDialect]
	Origin  *url.URL         // replaces scheme and host of the dialect's URLs and puts its path in front; nil: the dialect's own

	// Secrets resolves the account's variables, secret ones and others. It is
	// called for every login, so that a changed file is seen.
	Secrets func(ctx context.Context) (jeton.Vars, error)

	// Others resolve further credentials of the same identity, such as the one
	// before a rotation. They are tried in this order when those before them
	// were refused. They differ from Secrets in secret variables only.
	Others []func(ctx context.Context) (jeton.Vars, error)

	// Sinks get a copy of each token while [Broker.Run] runs. An account that
	// has one logs in without being asked.
	Sinks []*sink.Copy

	spoken *atomic.Pointer[dialect.Dialect] // shared by the copies of an account; nil: Dialect
}

// A Broker serves the tokens of its accounts. Set its fields before the first
// use and leave them alone then. It is safe for concurrent use.
type Broker struct {
	Store    store.Store
	Accounts []Account

	HTTP   http.RoundTripper // how vendors are reached; nil: a transport with time-outs of its own
	Logger *slog.Logger      // nil: no log

	Traces    trace.TracerProvider // makes a span of each login and refresh, and of calls that carry a traceparent; nil: none
	Propagate bool                 // egress calls take traceparent and tracestate on to vendors; false: neither, nor a caller's own

	Name string // names this broker to people, in leases and in the history; empty: by chance only

	Early        time.Duration // how long before expiry to refresh; zero: the dialect's, else 5 minutes or a tenth of the lifetime
	LoginTimeout time.Duration // of one exchange with a vendor; zero: 30 s
	Lease        time.Duration // how long an unchanged lease counts as alive; zero: 15 s
	Wait         time.Duration // how long a reader waits for a first token; zero: 30 s
	Drain        time.Duration // how long a hand-over waits for calls to end, at every broker; zero: 10 s

	Logins    int      // how many logins may run at one vendor at once; zero: 64
	Callers   []Caller // who may call over TCP; none: every local program
	Followers int      // how many long polls and streams may wait at once; zero: 1,000

	Hosts []string // further names under which the token API may be called; loopback ones always may

	chance func(time.Duration) time.Duration // a part of a length of time; nil: a random one
	skew   func() time.Duration              // by how much this machine's clock is off; nil: nothing

	once    sync.Once
	id      string             // names this broker in leases
	running context.Context    // ends when Close was called: no new attempts
	stop    context.CancelFunc // ends running
	sending context.Context    // ends when Close waits no longer: exchanges are given up
	abort   context.CancelFunc // ends sending
	work    sync.WaitGroup     // what runs in the background
	closing sync.Mutex         // makes begin and Close wait for one another

	mu      sync.Mutex
	keepers map[string]*keeper // :: record key -> keeper
	turns   map[string]*turns  // :: vendor -> turns

	certified certified
	clock     storeClock
	pace      pace // of reading records that may have changed
	keyring   keyring
	metrics   *metrics
	tracer    trace.Tracer // nil: no spans
	waiting   atomic.Int64 // readers that wait for a login
	followers atomic.Int64 // long polls and streams that run

	byName map[string]*entry // :: account -> where it is found; made once, so that readers take no lock
}

// An entry is what belongs to the name of an account.
type entry struct {
	account *Account
	keeper  atomic.Pointer[keeper] // nil until the account's variables were resolved

	resolving sync.Mutex               // held by the call that resolves them again
	resolved  atomic.Pointer[resolved] // for calls; nil: not yet
}

// ErrUnknownAccount says that there is no account of a name.
var ErrUnknownAccount = errors.New("broker: unknown account")

// A LatchedError says that the vendor refused the credentials of an account,
// and that no login is tried until they change or somebody releases the latch.
type LatchedError struct {
	Account string
	Code    jeton.Code // what the vendor said
	Since   time.Time
}

// Error names the account and the reason.
func (e *LatchedError) Error() string {
	return fmt.Sprintf("broker: account %s is latched: the vendor refused its credentials with %s; change them or release it", e.Account, e.Code)
}

// An UnavailableError says that there is no good token and none could be had.
type UnavailableError struct {
	Account    string
	Reason     string        // for people; never a secret
	RetryAfter time.Duration // when to ask again; at least a second
	Cause      error         // for the log; may be nil
}

// Error names the account and the reason.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("broker: account %s has no token: %s", e.Account, e.Reason)
}

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

func (b *Broker) init() {
	b.once.Do(func() {
		if b.id = rand.Text(); b.Name != "" {
			b.id = b.Name + "/" + b.id[:6]
		}
		b.running, b.stop = context.WithCancel(context.Background())
		b.sending, b.abort = context.WithCancel(context.Background())
		b.keepers, b.turns = map[string]*keeper{}, map[string]*turns{}
		b.clock.turn = make(chan struct{}, 1)
		b.byName = make(map[string]*entry, len(b.Accounts))
		for i := range b.Accounts {
			a := &b.Accounts[i]
			a.spoken = new(atomic.Pointer[dialect.Dialect])
			a.spoken.Store(a.Dialect)
			if b.byName[a.Name] == nil {
				b.byName[a.Name] = &entry{account: a}
			}
		}
		for i := range b.Callers {
			c := &b.Callers[i]
			c.granted = make(map[string]bool, len(c.Accounts))
			for _, name := range c.Accounts {
				c.granted[name] = true
			}
		}
		b.metrics = newMetrics(b)
		if b.Traces != nil {
			b.tracer = b.Traces.Tracer("github.com/jetonhq/jeton/broker")
		}
		if b.Logger == nil {
			b.Logger = slog.New(slog.DiscardHandler)
		}
		if b.HTTP == nil {
			t := http.DefaultTransport.(*http.Transport).Clone()
			t.Proxy, t.ResponseHeaderTimeout, t.MaxIdleConnsPerHost = http.ProxyFromEnvironment, 5*time.Minute, 64
			b.HTTP = t
		}
		b.LoginTimeout = or(b.LoginTimeout, 30*time.Second)
		b.Lease = or(b.Lease, 15*time.Second)
		b.Wait = or(b.Wait, 30*time.Second)
		b.Drain = or(b.Drain, 10*time.Second)
		if b.Logins == 0 {
			b.Logins = 64
		}
		if b.Followers == 0 {
			b.Followers = 1000
		}
	})
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Close begins no more attempts and waits for those that run, and for their
// results to be saved, until ctx ends. It then gives up what is still being
// sent, notes in the record that its outcome is unknown, and returns ctx's
// error.
func (b *Broker) Close(ctx context.Context) error {
	b.init()
	b.closing.Lock()
	b.stop()
	b.closing.Unlock()
	done := make(chan struct{})
	go func() { b.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	b.abort()
	select {
	case <-done:
	case <-time.After(grace):
	}
	return ctx.Err()
}

// begin runs f in the background and returns true, unless Close was called:
// what Close waits for does not grow behind its back.
func (b *Broker) begin(f func()) bool {
	b.closing.Lock()
	defer b.closing.Unlock()
	if b.running.Err() != nil {
		return false
	}
	b.work.Go(f)
	return true
}

// grace is how long a broker that stops waits for exchanges, and then again
// for the note that they were given up.
const grace = 400 * time.Millisecond

// Run keeps every token fresh that was asked for once, here or by another
// broker, until ctx ends; it follows what other brokers do. It then closes the
// broker, which takes less than a second.
func (b *Broker) Run(ctx context.Context) {
	b.init()
	var keeping sync.WaitGroup
	keeping.Go(func() { b.watchClock(ctx) })
	started := map[*keeper]bool{}
	copying := b.copy(ctx)
	for {
		again := false
		began := map[string]*keeper{}
		changed := map[*keeper]<-chan struct{}{}
		for _, a := range b.Accounts {
			k, err := b.keeper(ctx, a.Name)
			if err != nil {
				// A secret that is not there yet; its readers are told.
				again = true
				continue
			}
			if !started[k] {
				started[k], began[k.key], changed[k] = true, k, k.watch(ctx)
			}
		}
		read := len(began) >= many && b.readAll(ctx, began) == nil
		for _, k := range began {
			keeping.Go(func() {
				if !read {
					k.look(ctx)
				}
				k.keep(ctx, changed[k])
			})
		}
		if !again || !sleep(ctx, 10*time.Second) {
			break
		}
	}
	<-ctx.Done()
	keeping.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := b.Close(closing); err != nil {
		b.Logger.Warn("an exchange with a vendor was given up", "error", err)
	}
	copying.Wait()
}

// sleep waits and reports whether ctx is still there.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (b *Broker) account(name string) (Account, error) {
	e := b.byName[name]
	if e == nil {
		return Account{}, fmt.Errorf("%w %q", ErrUnknownAccount, name)
	}
	return *e.account, nil
}

// keeper returns the keeper of an account's credential. Accounts that log in
// as the same identity at the same place share one.
func (b *Broker) keeper(ctx context.Context, name string) (*keeper, error) {
	b.init()
	if k := b.known(name); k != nil {
		return k, nil
	}
	a, err := b.account(name)
	if err != nil {
		return nil, err
	}
	vars, err := a.variables(ctx)
	if err != nil {
		return nil, err
	}
	key := a.recordKey(vars)
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.keepers[key]
	if k == nil {
		k = newKeeper(b, a, key)
		b.keepers[key] = k
		vendor := vendorOf(&a)
		if b.turns[vendor] == nil {
			b.turns[vendor] = newTurns(b.Logins)
		}
		k.turns = b.turns[vendor]
	}
	b.byName[name].keeper.Store(k)
	return k, nil
}

// known returns the keeper of an account whose variables were resolved, or nil.
func (b *Broker) known(name string) *keeper {
	if e := b.byName[name]; e != nil {
		return e.keeper.Load()
	}
	return nil
}

// Token returns a token of the account that is good for minTTL at least, or one
// that has half of its life left, so that no reader can cause a login a minute.
// It comes from memory and does not
// wait, unless there is no such token: then it waits for a login that all who
// wait share, for [Broker.Wait] and as long as ctx allows.
//
// The error is [ErrUnknownAccount], a [*LatchedError], an [*UnavailableError],
// or that of ctx. The token is the caller's to read, not to change.
func (b *Broker) Token(ctx context.Context, account string, minTTL time.Duration) (*jeton.Token, error) {
	k, err := b.keeper(ctx, account)
	if err != nil {
		return nil, err
	}
	if t := k.ready(minTTL); t != nil {
		return t, nil
	}
	if k.account.dialect().Tokenless() {
		return nil, &UnavailableError{Account: account, Reason: "its vendor has no tokens: each call wears the credentials, or is signed; make it through the egress proxy", RetryAfter: time.Hour}
	}
	return k.token(ctx, account, minTTL)
}

// Report says that the vendor's API rejected the token of a generation. If
// there is a newer one, Report returns it; else it logs in, once for all who
// report the same. A token that came from a report and is rejected too means
// that a permission is missing: Report then returns it unchanged.
func (b *Broker) Report(ctx context.Context, account string, generation uint64) (*jeton.Token, error) {
	k, err := b.keeper(ctx, account)
	if err != nil {
		return nil, err
	}
	return k.report(ctx, account, generation)
}

// Release takes the latch off an account, so that the next reader causes a
// login with the credentials as they are.
func (b *Broker) Release(ctx context.Context, account string) error {
	k, err := b.keeper(ctx, account)
	if err != nil {
		return err
	}
	return k.change(ctx, func(r *record) bool {
		r.Latch, r.Refused, r.Failures, r.NotBefore = nil, nil, 0, time.Time{}
		return true
	})
}

// A Status says how an account is doing. It holds no secret.
type Status struct {
	Account           string     `json:"account"`
	Dialect           string     `json:"dialect"`
	State             string     `json:"state"` // empty, fresh, stale, expired, latched, backing_off or unresolved
	Generation        uint64     `json:"generation"`
	ObtainedAt        *time.Time `json:"obtained_at,omitempty"`
	ExpiresAt         *time.Time `json:"expires_at,omitempty"`
	RefreshAt         *time.Time `json:"refresh_at,omitempty"`
	Holder            string     `json:"holder,omitempty"`             // the broker that logs in now
	Latched           jeton.Code `json:"latched,omitempty"`            // what the vendor said
	LatchedAt         *time.Time `json:"latched_at,omitempty"`         // when it said so
	RetryAt           *time.Time `json:"retry_at,omitempty"`           // no login before
	LastError         string     `json:"last_error,omitempty"`         // of the last login or refresh
	HandingOver       bool       `json:"handing_over,omitempty"`       // that broker waits for calls to end first
	PermissionProblem bool       `json:"permission_problem,omitempty"` // a fresh token was rejected too
	Budgets           []Budget   `json:"budgets,omitempty"`            // what the vendor allows of logins

	Sinks []sink.Status `json:"sinks,omitempty"` // that get a copy
}

// Status returns how each account is doing, in the order of Accounts. While the
// store does not answer, that is what this broker remembers.
func (b *Broker) Status(ctx context.Context) []Status {
	return b.status(ctx, func(Account) bool { return true })
}

func (b *Broker) status(ctx context.Context, of func(Account) bool) []Status {
	b.init()
	list := make([]Status, 0, len(b.Accounts))
	keepers := map[string]*keeper{}
	answers := b.storeAnswers(ctx)
	for _, a := range b.Accounts {
		if !of(a) {
			continue
		}
		s := Status{Account: a.Name, Dialect: a.dialect().Name, State: "unresolved"}
		if k, err := b.keeper(ctx, a.Name); err == nil {
			keepers[k.key] = k
		} else {
			s.LastError = err.Error()
		}
		for _, c := range a.Sinks {
			if !answers {
				break
			}
			if one, ok := c.Status(ctx, b.copied(a.Name), time.Now()); ok {
				s.Sinks = append(s.Sinks, one)
			}
		}
		list = append(list, s)
	}
	if !answers {
		for i := range list {
			if k := b.known(list[i].Account); k != nil {
				k.status(&list[i], b.now())
			}
			list[i].LastError = strings.TrimPrefix(list[i].LastError+"; the store does not answer", "; ")
		}
		return list
	}
	if len(keepers) < many || b.readAll(ctx, keepers) != nil {
		for _, k := range keepers {
			_ = k.read(ctx)
		}
	}
	budgets := b.budgets(ctx, len(keepers))
	for i := range list {
		if k := b.known(list[i].Account); k != nil {
			k.status(&list[i], b.now())
			list[i].Budgets = k.budgetsNow(ctx, list[i].Account, budgets)
		}
	}
	return list
}

// storeAnswers asks the store for a record that is not there. Who looks at the
// status because the store is down does not wait for each of its records.
func (b *Broker) storeAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := b.Store.Get(ctx, store.Key("broker", "status"))
	return err == nil || errors.Is(err, store.ErrNotFound)
}
