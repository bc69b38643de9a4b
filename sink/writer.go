package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

const (
	putTimeout   = 10 * time.Second // of one Put
	storeTimeout = 10 * time.Second // of one operation of the store
	leaseTime    = 30 * time.Second // how long an unchanged lease counts as alive; longer than all that is done under it
	lookEvery    = time.Second      // at the record, while another broker has the lease
	firstRetry   = time.Second
	lastRetry    = time.Minute
	moment       = 200 * time.Millisecond // for what is to end with ctx
	forever      = time.Duration(-1)
)

// A writer is a Copy that runs.
//
// The order of tokens is kept by the order of reads: a turn reads the copy's
// record, then the account's, and then writes its lease by compare-and-swap at
// the version that it read. If that succeeds nobody had a turn in between, and
// who had one before read the account's record before. So no turn puts an older
// token than an earlier turn.
type writer struct {
	*Copy
	a     Account
	retry *backoff.ExponentialBackOff

	token *jeton.Token // the newest that is known; nil: none was ever seen
	again bool         // put it though it is there, unless somebody did meanwhile
	force bool         // put it though it is there: an older one has come after it, for all that is known
	loose bool         // an older one may still come after it

	version string     // of the record when the copy was last seen to be good
	lease   followed   // of another broker
	stuck   chan error // tells the end of a Put that outlasted its context; nil: there is none
}

func newWriter(c *Copy, a Account) *writer {
	w := &writer{Copy: c, a: a, retry: &backoff.ExponentialBackOff{
		InitialInterval: firstRetry, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: lastRetry}}
	w.retry.Reset()
	return w
}

var (
	errHeld      = errors.New("another broker is writing")
	errOvertaken = errors.New("another broker wrote meanwhile; it is written once more")
	errStuck     = errors.New("the write before has not ended")
)

func (w *writer) run(ctx context.Context) {
	for wait := forever; ; {
		w.await(ctx, wait)
		if ctx.Err() != nil {
			return
		}
		err := w.turn(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			w.retry.Reset()
			w.again, wait = false, forever
			if every := w.every(); every > 0 {
				w.again, wait = true, every+rand.N(every/10+1)
			}
		case errors.Is(err, errHeld):
			wait = lookEvery + rand.N(lookEvery)
		default:
			wait = w.retry.NextBackOff()
			text := words(err, w.token)
			w.failed(text)
			w.a.Logger.Warn("a token could not be copied", "account", w.a.Name, "sink", w.Name, "generation", w.token.Generation, "retry_in", wait, "error", text)
		}
	}
}

// every returns how long after a turn the token is put again, though it is there;
// zero: never.
func (w *writer) every() time.Duration {
	if w.loose && (w.Again == 0 || w.Again > leaseTime) {
		return leaseTime
	}
	return w.Again
}

// await waits until there is a newer token, or until the time is over.
func (w *writer) await(ctx context.Context, wait time.Duration) {
	after := uint64(0)
	if w.token != nil {
		after = w.token.Generation
	}
	if wait != forever {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	if t, err := w.a.Newer(ctx, after); err == nil {
		w.token, w.again = t, false
		w.wants(t)
	}
}

// turn puts the newest token at its place if it is not there. It returns errHeld
// if another broker is doing so.
func (w *writer) turn(ctx context.Context) error {
	if err := w.ended(); err != nil {
		return err
	}
	if w.Place == "" {
		return w.alone(ctx)
	}
	r, at, err := w.load(ctx)
	if err != nil {
		return err
	}
	w.saw(r.status(w.Name))
	t, _, err := w.newest(ctx) // after the load; see writer
	if err != nil {
		return fmt.Errorf("read the account's record: %w", err)
	}
	if t == nil { // it has ended; the next one is waited for
		w.has()
		return nil
	}
	w.token = t
	if r.has(t) && !w.force && !(w.again && at.Version == w.version) {
		w.version, w.loose = at.Version, r.unsettled()
		w.has()
		return nil
	}
	w.wants(t)
	if r.Holder != "" && r.Holder != w.a.Broker && !w.lease.dead(at.Version, time.Now()) {
		return errHeld
	}
	r.Fence++
	r.Holder = w.a.Broker
	if at, err = w.save(ctx, r, at); err != nil {
		if errors.Is(err, store.ErrConflict) {
			return errHeld
		}
		return err
	}
	return w.settle(ctx, r, at, w.put(ctx, t))
}

func (w *writer) newest(ctx context.Context) (*jeton.Token, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return w.a.Newest(ctx)
}

// alone is a turn at a place that is this process's own.
func (w *writer) alone(ctx context.Context) error {
	t := w.token
	if !t.Valid(time.Now(), 0) {
		w.has()
		return nil
	}
	if err := w.put(ctx, t); err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	w.saw(Status{Generation: t.Generation, WrittenAt: &now})
	w.has()
	return nil
}

// ended returns errStuck while a Put runs that was given up.
func (w *writer) ended() error {
	if w.stuck == nil {
		return nil
	}
	select {
	case <-w.stuck: // what it wrote may be older than what is there
		w.stuck, w.force = nil, true
		return nil
	default:
		return errStuck
	}
}

// put puts a token, and gives up what does not hear of its context's end.
func (w *writer) put(ctx context.Context, t *jeton.Token) (err error) {
	defer func() { w.count(err) }()
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.Sink.Put(ctx, t) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(moment):
		w.stuck = done
		return ctx.Err()
	}
}

// settle gives the lease back, with what came of the turn.
func (w *writer) settle(ctx context.Context, r record, at store.Record, failure error) error {
	limit := storeTimeout
	if ctx.Err() != nil {
		limit = moment // or the next broker waits until the lease is dead
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	fence := r.Fence
	r.Holder = ""
	if failure == nil {
		if w.again && r.has(w.token) { // it had its time
			r.Loose = 0
		}
		now := time.Now().UTC().Truncate(time.Second)
		r.Generation, r.Digest, r.WrittenAt, r.By, r.LastError = w.token.Generation, r.digest(w.token), &now, w.a.Broker, ""
		if !r.unsettled() {
			r.Loose = 0
		}
	} else {
		r.LastError = words(failure, w.token)
		if r.Loose == 0 && !refused(failure) {
			r.Loose = w.token.Generation
		}
	}
	at, err := w.save(ctx, r, at)
	if errors.Is(err, store.ErrConflict) { // or an answer was lost
		now, found, loadErr := w.load(ctx)
		at, err = found, loadErr
		if err == nil && (now.Fence != fence || now.Holder != "") {
			w.force = true
			return errOvertaken
		}
	}
	if failure != nil {
		return failure
	}
	if err != nil {
		return err
	}
	w.version, w.loose, w.force = at.Version, r.unsettled(), false
	w.saw(r.status(w.Name))
	w.has()
	return nil
}

// followed tells when a lease is dead: the record's version stood still for the
// lease time on this process's own clock. No two clocks are compared.
type followed struct {
	version string
	since   time.Time
}

func (f *followed) dead(version string, now time.Time) bool {
	if f.version != version {
		f.version, f.since = version, now
	}
	return now.Sub(f.since) >= leaseTime
}
