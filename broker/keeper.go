package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// A keeper keeps the token of one login credential.
type keeper struct {
	b       *Broker
	account Account // the first one that named the credential
	key     string  // of its record

	view  atomic.Pointer[view]    // what readers see; never nil
	last  atomic.Pointer[decoded] // while an attempt runs
	woken chan struct{}           // holds a signal: the wall clock jumped
	turns *turns                  // of logins at its vendor
	gate  gate                    // calls that use a token which the next one ends
	leads atomic.Uint64           // fence of the login that runs here; zero: none

	saving atomic.Bool // the view has a result that the store may not have yet

	watched followed // for the attempt that runs; what it saw is of use to the next

	mu     sync.Mutex
	flight *flight     // the attempt that runs now; nil: none
	flying atomic.Bool // there is one; readers look without the lock
	member *member     // its part in hand-overs; nil: no calls
}

func newKeeper(b *Broker, a Account, key string) *keeper {
	k := &keeper{b: b, account: a, key: key, woken: make(chan struct{}, 1)}
	k.view.Store(&view{replaced: make(chan struct{})})
	return k
}

// refreshAhead begins an attempt that nobody waits for.
func (k *keeper) refreshAhead(v *view, now time.Time) {
	if now.Before(v.NotBefore) || v.Latch != nil {
		return // keep sees to it in time
	}
	if k.flying.Load() {
		return // already; readers take no lock while it runs
	}
	k.join(context.Background(), want{above: v.Generation, asked: askedRefresh})
}

// token waits for a token.
func (k *keeper) token(ctx context.Context, account string, minTTL time.Duration) (*jeton.Token, error) {
	wait, cancel := context.WithTimeout(ctx, k.b.Wait)
	defer cancel()
	if k.view.Load().Token == nil {
		_ = k.read(wait) // another broker may have one
	}
	for {
		v := k.view.Load()
		if t := k.cached(k.b.now(), minTTL); t != nil {
			return t, nil
		}
		// A token that is good but does not live for minTTL is replaced, unless
		// it came not long ago.
		w := want{above: v.Generation, asked: askedRead}
		if v.good(k.b.now()) {
			w.asked = askedMinTTL
		}
		if v.good(k.b.now()) && k.newest(v) {
			return v.parsed, nil
		}
		err := k.wait(wait, w)
		if v := k.view.Load(); v.good(k.b.now()) && (err != nil || k.newest(v)) {
			return v.parsed, nil // the old one is better than none
		}
		if err != nil {
			return nil, k.named(ctx, account, err)
		}
	}
}

// newest reports whether the token is to do for a reader whose minTTL it does
// not live for: a new one could not be better, or came not long ago. So however
// long readers want a token to live, they bring about one login in half a
// lifetime.
func (k *keeper) newest(v *view) bool {
	lifetime := v.expiry().Sub(v.Obtained)
	return v.expiry().IsZero() || k.b.now().Sub(v.Obtained) < lifetime/2
}

// named puts the account into an error, and tells a reader's own end from a
// wait that was too long.
func (k *keeper) named(ctx context.Context, account string, err error) error {
	if latched, ok := errors.AsType[*LatchedError](err); ok {
		named := *latched
		named.Account = account
		return &named
	}
	if unavailable, ok := errors.AsType[*UnavailableError](err); ok {
		named := *unavailable
		named.Account = account
		return &named
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	reason := "the store cannot be reached"
	if err == context.DeadlineExceeded { // the wait's own, not one that a store wrapped
		reason = "the login takes longer than a reader waits"
	}
	return &UnavailableError{Account: account, Reason: reason, RetryAfter: time.Second, Cause: err}
}

// report is [Broker.Report].
func (k *keeper) report(ctx context.Context, account string, generation uint64) (*jeton.Token, error) {
	wait, cancel := context.WithTimeout(ctx, k.b.Wait)
	defer cancel()
	if v := k.view.Load(); v.Generation <= generation {
		_ = k.read(wait) // another broker may have a newer one
	}
	for {
		v := k.view.Load()
		now := k.b.now()
		switch {
		case v.Generation > generation && v.good(now):
			return v.parsed, nil
		case v.Generation < generation && v.good(now):
			return v.parsed, nil // a token of another store, or of nobody
		case v.Generation == generation && v.Reported == generation && v.good(now) && v.young(now):
			err := k.change(wait, func(r *record) bool {
				marked := r.Generation == generation && r.Permission != generation
				if marked {
					r.Permission = generation
				}
				return marked
			})
			if err != nil {
				k.b.Logger.Warn("a permission problem could not be noted", "account", account, "error", err)
			}
			if v.good(k.b.now()) { // that took a while
				return v.parsed, nil
			}
		}
		if err := k.wait(wait, want{above: max(generation, v.Generation), reported: v.Generation <= generation, asked: askedReport}); err != nil {
			if v := k.view.Load(); v.good(k.b.now()) && v.Generation > generation {
				return v.parsed, nil
			}
			return nil, k.named(ctx, account, err)
		}
	}
}

// read takes the record over as it is in the store.
func (k *keeper) read(ctx context.Context) error {
	r, _, err := k.load(ctx)
	if err == nil {
		k.publish(r)
	}
	return err
}

// A want is what an attempt is to bring about.
type want struct {
	above    uint64 // a generation above this one, and a token that is good
	reported bool   // because that generation was rejected: log in, do not refresh
	asked    string // who wants it, for the history
}

// met reports whether there is what is wanted. It may also be wanted no more: a
// clock that had jumped was put right.
func (k *keeper) met(w want, now time.Time) bool {
	v := k.view.Load()
	if v.Generation > w.above || !v.good(now) {
		return v.good(now)
	}
	switch w.asked {
	case askedRead:
		return true
	case askedRefresh:
		return !v.due(now)
	case askedMinTTL:
		return k.newest(v)
	}
	return false
}

// A flight is one attempt that all who want the same share.
type flight struct {
	want  want
	trail *trail
	done  chan struct{} // closed when it ended
	err   error         // readable then
}

// wait joins the attempt that runs, or begins one, and waits for its end.
func (k *keeper) wait(ctx context.Context, w want) error {
	for {
		f, mine := k.join(ctx, w)
		if f == nil {
			return nil // it is there already
		}
		k.b.waiting.Add(1)
		there := k.follow(ctx, f, w)
		k.b.waiting.Add(-1)
		if there {
			return nil
		}
		select {
		case <-f.done:
		default:
			return ctx.Err()
		}
		if mine || f.err != nil {
			return f.err
		}
	}
}

// follow waits until an attempt ends, and reports whether what is wanted came
// some time before: a store that answers nobody keeps an attempt from being
// over, but no reader from a token that is in memory.
func (k *keeper) follow(ctx context.Context, f *flight, w want) (there bool) {
	var late <-chan time.Time
	for {
		v := k.view.Load()
		if late == nil && v.Generation > w.above && v.good(k.b.now()) {
			t := time.NewTimer(saveWithin)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-late:
			return true
		case <-v.replaced:
		case <-f.done:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// saveWithin is how long readers wait for a token to be saved.
const saveWithin = time.Second

// join returns the attempt that runs and whether it brings what is wanted. If
// none runs it begins one that does. Of ctx only the span counts.
func (k *keeper) join(ctx context.Context, w want) (f *flight, mine bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.met(w, k.b.now()) {
		return nil, true
	}
	if f := k.flight; f != nil {
		f.trail.join(ctx)
		return f, f.want.above >= w.above && (f.want.reported || !w.reported)
	}
	f = &flight{want: w, trail: newTrail(k, w), done: make(chan struct{})}
	f.trail.join(ctx)
	if k.b.begin(func() {
		f.err = k.attempt(k.b.running, w, f.trail)
		k.mu.Lock()
		k.flight = nil
		k.flying.Store(false)
		k.last.Store(nil)
		k.mu.Unlock()
		close(f.done)
	}) {
		k.flight = f
		k.flying.Store(true)
	} else {
		f.err = errClosed
		close(f.done)
	}
	return f, true
}

// watch returns what says that the record may have changed; nil: nothing does.
func (k *keeper) watch(ctx context.Context) (changed <-chan struct{}) {
	if w, ok := k.b.Store.(store.Watcher); ok {
		changed, _ = w.Watch(ctx, k.key)
	}
	return changed
}

// keep replaces the token when it is due, and follows the record, until ctx
// ends. The record was read after watch.
func (k *keeper) keep(ctx context.Context, changed <-chan struct{}) {
	looked := time.Now() // at the credentials of a latched account
	for ctx.Err() == nil {
		now := k.b.now()
		v := k.view.Load()
		next := k.next(v, now)
		if v.Latch != nil && (v.due(now) || !v.good(now)) {
			next = min(next, latchedEvery-time.Since(looked))
		}
		if next <= 0 {
			looked = time.Now()
			err := k.wait(ctx, want{above: v.Generation, asked: askedRefresh})
			if err == nil {
				continue
			}
			next = max(k.next(k.view.Load(), k.b.now()), time.Second)
			if _, latched := errors.AsType[*LatchedError](err); latched {
				next = max(next, latchedEvery)
			}
		}
		if changed == nil || v.Salt == nil { // the record was never read
			next = min(next, pollEvery)
		}
		t := time.NewTimer(next)
		select {
		case <-t.C:
		case _, ok := <-changed:
			if !ok {
				changed = nil
			}
		case <-k.woken:
		case <-ctx.Done():
		}
		t.Stop()
		k.look(ctx)
	}
}

// look reads the record when it is its turn, or not at all if the token falls
// due before: the attempt reads it then.
func (k *keeper) look(ctx context.Context) {
	if wait := k.b.pace.wait(); wait > 0 {
		due := k.next(k.view.Load(), k.b.now())
		if due > 0 && due < wait {
			sleep(ctx, due)
			return
		}
		if !sleep(ctx, wait) {
			return
		}
	}
	if ctx.Err() == nil {
		_ = k.read(ctx)
	}
}

// pollEvery is how often the record of a store that cannot watch is read, but
// for the pace of all.
const pollEvery = 5 * time.Second

// latchedEvery is how often a latched account's credentials are looked at.
const latchedEvery = 30 * time.Second

// next returns how long to wait before an attempt; zero or less: it is due.
// A credential that nobody asked for yet is left alone.
func (k *keeper) next(v *view, now time.Time) time.Duration {
	const idle = time.Hour
	switch {
	case v.Token == nil && v.Intent == nil && v.Failures == 0:
		return idle
	case v.Latch != nil && v.good(now) && !v.due(now) && !v.RefreshAt.IsZero():
		return min(v.RefreshAt.Sub(now), latchedEvery)
	case v.Latch != nil:
		return latchedEvery
	}
	at := v.RefreshAt
	if !v.good(now) {
		at = now
	} else if v.RefreshAt.IsZero() {
		return idle
	}
	if v.NotBefore.After(at) {
		at = v.NotBefore
	}
	return at.Sub(now)
}

// refreshAt says when to replace a token: ahead of its expiry, and a little
// earlier by chance, so that a fleet's accounts do not all fall due at once.
func (k *keeper) refreshAt(expiry, now time.Time) time.Time {
	if expiry.IsZero() {
		return time.Time{}
	}
	lifetime := expiry.Sub(now)
	early := or(k.b.Early, or(k.account.dialect().Early, min(5*time.Minute, lifetime/10)))
	if early > lifetime/2 {
		early = lifetime / 2
	}
	return expiry.Add(-early - k.b.jitter(early/10))
}

func (k *keeper) status(s *Status, now time.Time) {
	v := k.view.Load()
	s.Generation, s.LastError = v.Generation, v.LastError
	s.PermissionProblem = v.Permission != 0 && v.Permission == v.Generation
	instant := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = k.b.here(t).UTC()
		return &t
	}
	s.RefreshAt, s.ObtainedAt = instant(v.RefreshAt), instant(v.Obtained)
	if v.Lease != nil {
		s.Holder, s.HandingOver = v.Lease.Holder, v.handover
	}
	s.ExpiresAt = instant(v.expiry())
	if v.NotBefore.After(now) {
		s.RetryAt = instant(v.NotBefore)
	}
	if v.Latch != nil {
		s.Latched, s.LatchedAt = v.Latch.Code, instant(v.Latch.Since)
	}
	s.State = v.state(now)
}
