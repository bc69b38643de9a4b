package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
)

// attempt brings about what is wanted, or finds that another broker did. It
// returns nil, a [*LatchedError], an [*UnavailableError], or a store's error.
//
// A store that is down ends it: without a lease nobody knows who logs in, and
// a fleet that logged in anyway would be the herd that the vendor bans.
func (k *keeper) attempt(ctx context.Context, w want, t *trail) (err error) {
	defer func() { t.end(err) }()
	back, err := k.turns.take(ctx, w.asked == askedRefresh)
	if err != nil {
		return err
	}
	defer back()
	for {
		r, at, err := k.load(ctx)
		if err != nil {
			return err
		}
		k.publish(r)
		now := k.b.now()
		if k.met(w, now) {
			return nil
		}
		if r.Lease != nil && !k.watched.dead(at.Version, time.Now(), k.b.Lease) {
			t.follow(r.Lease)
			if !sleep(ctx, followEvery) {
				return ctx.Err()
			}
			continue
		}
		list, err := k.account.credentials(ctx)
		if err != nil {
			return err
		}
		vars, err := k.mayLogIn(&r, list)
		if err != nil {
			return err
		}
		l, err := k.takeLease(ctx, r, at, w, vars)
		if errors.Is(err, store.ErrConflict) {
			continue // another broker was faster
		}
		if err != nil {
			return err
		}
		l.span = t.lead(l, r.Lease)
		err = l.run(ctx)
		if _, refused := errors.AsType[*LatchedError](err); !refused || len(list) == 1 {
			return err
		}
		// The next credential has its turn, if there is one.
	}
}

// followEvery is how often a broker that follows looks at the record.
const followEvery = 100 * time.Millisecond

// followed tells when a lease is dead: its version stood still for the lease
// time on this broker's own clock. No two clocks are compared.
type followed struct {
	version string
	since   time.Time
}

func (f *followed) dead(version string, now time.Time, lease time.Duration) bool {
	if f.version != version {
		f.version, f.since = version, now
	}
	return now.Sub(f.since) >= lease
}

// mayLogIn decides by what the record remembers of failures, and returns the
// credential to log in with. A refused one is not sent again, also where another
// broker's credential has taken the latch off.
func (k *keeper) mayLogIn(r *record, list []jeton.Vars) (jeton.Vars, error) {
	vars, refused := r.choose(k.account.dialect(), list)
	if vars == nil {
		return nil, &LatchedError{Account: k.account.Name, Code: refused.Code, Since: k.b.here(refused.Since)}
	}
	if r.Latch != nil {
		r.Latch, r.Failures, r.NotBefore = nil, 0, time.Time{} // another credential
	}
	if wait := r.NotBefore.Sub(k.b.earliest()); wait > 0 {
		return nil, &UnavailableError{Account: k.account.Name, Reason: "logins back off after " + r.LastError, RetryAfter: max(wait, time.Second)}
	}
	return vars, nil
}

// A login is one attempt that has the lease.
type login struct {
	k    *keeper
	d    *dialect.Dialect // one for the whole attempt
	want want
	vars jeton.Vars
	old  *jeton.Token // that it replaces; nil: none

	began time.Time // by the monotonic clock
	kind  string    // login or refresh
	span  *span

	turn   chan struct{} // full while somebody writes, who alone may use what follows
	rec    record
	at     store.Record
	fenced bool // another broker took the lease over
}

// takeLease writes the lease, a new fence, and what is about to be sent. Where
// that ends the old token, it is written when it leaves, and a hand-over begins.
func (k *keeper) takeLease(ctx context.Context, r record, at store.Record, w want, vars jeton.Vars) (*login, error) {
	if r.Intent != nil && r.Intent.Kind == "refresh" {
		r.spend()
	}
	l := &login{k: k, d: k.account.dialect(), want: w, vars: vars, old: r.token(), began: time.Now(), kind: "login", turn: make(chan struct{}, 1)}
	if l.refreshWith() != nil {
		l.kind = "refresh"
	}
	if k.ending(&r) {
		r.Ended = true // by whoever had the lease, for all that is known
	}
	r.Fence++
	r.Lease, r.Intent = &lease{Holder: k.b.id}, l.intent(l.kind, &r)
	next, err := k.save(ctx, r, at)
	if err != nil {
		return nil, err
	}
	r.Rev++
	l.rec, l.at = r, next
	return l, nil
}

// intent says what is about to be sent. An exchange that ends the old token
// says so when it leaves: until then that token is good, and calls are let end.
func (l *login) intent(kind string, r *record) *intent {
	switch {
	case l.d.Active == 0:
		return &intent{Kind: kind, Since: r.Generation}
	case r.Ended || !l.old.Valid(l.k.b.now().Add(-l.k.b.Drain), 0):
		return nil // no call uses it any more
	}
	return &intent{Kind: handover, Since: r.Generation}
}

// refreshWith returns the exchange that refreshes the token, or nil: a token
// that was reported is not presented again.
func (l *login) refreshWith() *dialect.Exchange {
	if l.want.reported {
		return nil
	}
	return l.d.RefreshWith(l.old, l.k.b.now())
}

// run refreshes or logs in, and saves what came of it. No reader can cancel
// it; the exchange is bounded, and given up when the broker closes.
func (l *login) run(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	l.k.leads.Store(l.rec.Fence)
	defer l.k.leads.Store(0)
	beating, stop := context.WithCancel(ctx)
	var beats sync.WaitGroup
	beats.Go(func() { l.beat(beating) })
	defer beats.Wait()
	defer stop()

	token, err := l.exchange(ctx)
	stop()
	beats.Wait()
	return l.finish(ctx, token, err)
}

// beat renews the lease while a slow login runs.
func (l *login) beat(ctx context.Context) {
	for sleep(ctx, l.k.b.Lease/3) {
		_ = l.write(ctx, func(r *record) { r.Lease = &lease{Holder: l.k.b.id, Beat: r.Lease.Beat + 1} })
	}
}

// write edits the record under the lease. A conflict need not mean that the
// lease is lost: an earlier write may have gone in though its answer was lost,
// or somebody may have left a word.
func (l *login) write(ctx context.Context, edit func(*record)) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.turn }()
	for {
		r := l.rec
		edit(&r)
		next, err := l.k.save(ctx, r, l.at)
		if err == nil {
			r.Rev++
			l.rec, l.at = r, next
			return nil
		}
		if !errors.Is(err, store.ErrConflict) || l.fenced {
			return err
		}
		now, at, readErr := l.k.load(ctx)
		if readErr != nil {
			return readErr
		}
		if now.Fence != l.rec.Fence || now.Lease == nil {
			l.fenced = true
			return err
		}
		l.rec, l.at = now, at
	}
}

// exchange refreshes if it can, and logs in if it cannot or if the vendor
// refuses the refresh token.
func (l *login) exchange(ctx context.Context) (*jeton.Token, error) {
	if x := l.refreshWith(); x != nil {
		if err := l.handOver(ctx, "refresh"); err != nil {
			return nil, err
		}
		vars := l.vars.Clone()
		vars["access_token"], vars["refresh_token"] = l.old.AccessToken.Reveal(), l.old.RefreshToken.Reveal()
		token, err := l.send(ctx, x, vars)
		refusal, refused := errors.AsType[*jeton.Error](err)
		if !refused || refusal.Code == jeton.SlowDown || refusal.Code == jeton.Unavailable {
			if token != nil && token.RefreshToken.IsZero() {
				token.RefreshToken = l.old.RefreshToken // RFC 6749 section 6: the old one goes on
			}
			return token, err
		}
		l.k.b.Logger.Info("the refresh token was refused; logging in", "account", l.k.account.Name, "code", string(refusal.Code))
		l.span.event("refresh refused, logging in", attribute.String("jeton.code", string(refusal.Code)))
		l.old.RefreshToken, l.kind = jeton.Secret{}, "login"
		if err := l.write(ctx, func(r *record) { r.Intent, r.Token = l.intent("login", r), storeToken(l.old) }); err != nil {
			return nil, notSent{err}
		}
	}
	within := l.k.b.Drain + l.k.b.LoginTimeout
	_ = l.k.b.readClock(ctx)
	until := l.k.b.latest().Add(within + straggles).Round(0)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	asked := time.Now()
	arrived, err := l.k.reserve(ctx, l.vars, until)
	l.span.spent("jeton.budget_wait_ms", asked)
	if err != nil {
		return nil, notSent{err}
	}
	var unknown error
	defer func() { arrived(unknown) }()
	if err := l.handOver(ctx, "login"); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, notSent{err}
	}
	token, err := l.steps(ctx)
	_, refused := errors.AsType[*jeton.Error](err)
	if _, early := errors.AsType[notSent](err); !refused && !early {
		unknown = err
	}
	return token, err
}

// steps makes the exchanges of a login, one after the other: what one is
// answered is there for the next. Where there are none, the token is made here.
// The whole counts as one login, and only the last exchange can have an unknown
// outcome that ended an older token.
func (l *login) steps(ctx context.Context) (*jeton.Token, error) {
	d := l.d
	if d.Minted() {
		token, err := d.Mint(l.vars, l.k.b.now())
		if err != nil {
			return nil, notSent{err}
		}
		return token, nil
	}
	if len(d.Steps) == 0 && len(d.Then) == 0 {
		return l.send(ctx, d.Login, l.vars)
	}
	vars, all := l.vars.Clone(), answered{bound: jeton.Vars{}}
	for _, x := range d.Sequence() {
		answer, err := l.ask(ctx, x, vars)
		if err != nil {
			return nil, err
		}
		if x == d.Login {
			// What was said of another token, or of its life, is not of this one.
			for _, name := range []string{"access_token", "expires_in", "expires_at", "refresh_token", "token_type", "scope"} {
				delete(all.bound, name)
			}
			all.began, all.ahead, all.earlier = answer.began, answer.ahead, answer.earlier
		}
		maps.Copy(vars, answer.bound)
		maps.Copy(all.bound, answer.bound)
	}
	return l.token(all)
}

// maxAnswer bounds what is read of a vendor's answer.
const maxAnswer = 1 << 20

// send makes an exchange that gives a token. The error is a refusal of the
// vendor, a [notSent], or says only that the outcome is unknown.
func (l *login) send(ctx context.Context, x *dialect.Exchange, vars jeton.Vars) (*jeton.Token, error) {
	answer, err := l.ask(ctx, x, vars)
	if err != nil {
		return nil, err
	}
	return l.token(answer)
}

// token makes a token of what was answered.
func (l *login) token(answer answered) (*jeton.Token, error) {
	token := l.d.NewToken(answer.bound, answer.began.Add(answer.ahead)) // on the vendor's clock
	if !token.Expiry.IsZero() {
		token.Expiry = token.Expiry.Add(-answer.ahead - answer.earlier)
	}
	if !token.Valid(l.k.b.now(), 0) {
		return nil, errBornExpired
	}
	return token, nil
}

// An answered exchange is what the answer bound, and when that was.
type answered struct {
	bound          jeton.Vars
	began          time.Time     // when the request left, which is not after the vendor made its answer
	ahead, earlier time.Duration // of the vendor's clock, and by how much this one may be wrong
}

// ask makes one exchange with the vendor. Its errors are those of send.
func (l *login) ask(ctx context.Context, x *dialect.Exchange, vars jeton.Vars) (_ answered, err error) {
	defer func() { l.k.b.metrics.exchanged(l.k.account.Name, x, err) }()
	ctx, cancel := context.WithTimeout(ctx, l.k.b.LoginTimeout)
	defer cancel()
	defer context.AfterFunc(l.k.b.sending, cancel)()
	d := l.d
	r, err := d.WriteRequest(ctx, x, l.k.account.Origin, vars)
	if err != nil {
		return answered{}, notSent{err}
	}
	if r.Header.Get("User-Agent") == "" {
		r.Header.Set("User-Agent", "jeton") // some vendors want one that they know
	}
	by, err := l.k.b.transport(d.Certificate(x, vars))
	if err != nil {
		return answered{}, notSent{err}
	}
	l.span.sent(r.Method, r.URL)
	left := time.Now()
	answer, err := by.RoundTrip(r) // follows no redirect
	if dialing, ok := errors.AsType[*net.OpError](err); ok && dialing.Op == "dial" {
		return answered{}, notSent{unreached(err)}
	}
	if err != nil {
		return answered{}, unreached(err)
	}
	way := time.Since(left)
	_ = l.k.b.readClock(ctx) // this machine's may have jumped meanwhile
	began, earlier := l.k.b.now().Add(-time.Since(left)), l.k.b.unsure()
	arrived := began.Add(way)
	l.span.answered(answer.StatusCode)
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return answered{}, unreached(err)
	}
	if len(body) > maxAnswer {
		return answered{}, errors.New("the vendor's answer is too large")
	}
	ahead := clockOffset(answer.Header, began, arrived)
	bound, err := d.ReadResponse(x, answer.StatusCode, answer.Header, body, arrived.Add(ahead))
	return answered{bound, began, ahead, earlier}, err
}

// errBornExpired is an error and no token, or readers would ask for the next
// one without end.
var errBornExpired = errors.New("the vendor's token has expired already; compare the clocks")

// errStopping ends an attempt that has sent nothing yet.
var errStopping = errors.New("the broker is stopping")

// notSent is an error that came before anything left.
type notSent struct{ error }

func (e notSent) Unwrap() error { return e.error }

func unreached(err error) error {
	return fmt.Errorf("reach the vendor: %w", jeton.WithoutURL(err))
}
