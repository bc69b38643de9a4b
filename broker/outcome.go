package broker

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// finish publishes the outcome in memory at once and saves it. A token that
// cannot be saved now is served all the same, and saved as soon as the store
// answers: it may be the only good one. A refusal is saved likewise, or a
// Retry-After would be forgotten.
func (l *login) finish(ctx context.Context, token *jeton.Token, failure error) error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	r, now := l.rec, l.k.b.now()
	r.Lease, r.Intent = nil, nil
	var result error
	if failure == nil {
		l.succeeded(&r, token, now)
	} else {
		result = l.failed(&r, failure, now)
	}
	r.History = l.remember(&r, failure, now)
	l.span.brought(l, &r, failure)
	if !l.fenced {
		mine := r
		mine.Rev++
		l.k.saving.Store(true)
		l.k.publish(mine)
	}
	if l.trySave(ctx, &r) {
		l.span.end()
		return result
	}
	l.span.event("not saved yet")
	l.k.b.work.Go(func() {
		defer l.span.end()
		for wait := 100 * time.Millisecond; sleep(l.k.b.sending, wait); wait = min(2*wait, l.k.b.Lease/3) { // or the lease would be taken for dead
			if l.trySave(ctx, &r) {
				l.span.event("saved late")
				return
			}
		}
	})
	return result
}

// trySave saves a result and reports whether that is settled.
func (l *login) trySave(ctx context.Context, r *record) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var settled bool
	var err error
	for !settled && err == nil { // again at once where somebody left a word, or sealed the record anew
		var next store.Record
		next, err = l.k.save(ctx, *r, l.at)
		if settled = err == nil; settled {
			l.at = next
		} else if errors.Is(err, store.ErrConflict) {
			settled, err = l.overtaken(ctx, r)
		}
	}
	if err != nil {
		l.k.b.Logger.Warn("what a login brought could not be saved yet", "account", l.k.account.Name, "error", err)
	}
	if settled {
		l.k.saving.Store(false)
	}
	return settled
}

// overtaken deals with a save that lost. Either it had gone in and its answer
// was lost; or a renewal of the lease had, and the save is to be tried again;
// or another broker has taken the lease over. Then this token is not saved,
// and where only one is active its login may have ended the other broker's, so
// that one more login is due.
func (l *login) overtaken(ctx context.Context, mine *record) (settled bool, err error) {
	now, at, err := l.k.load(ctx)
	if err != nil {
		return false, err
	}
	if now.Fence == mine.Fence && now.Lease == nil {
		l.k.publish(now)
		return true, nil
	}
	if now.Fence == mine.Fence {
		l.at, mine.Rev = at, now.Rev
		return false, nil
	}
	l.k.b.Logger.Warn("another broker took the login over", "account", l.k.account.Name)
	l.span.event("lease lost to another broker")
	if l.d.Active == 0 || mine.Generation == l.rec.Generation {
		l.k.publish(now)
		return true, nil
	}
	err = l.k.change(ctx, func(r *record) bool {
		again := !r.Ended
		r.Ended = true
		return again
	})
	return err == nil, err
}

func (l *login) succeeded(r *record, token *jeton.Token, now time.Time) {
	r.Generation++
	r.Token, r.Obtained = storeToken(token), now.Round(0)
	r.RefreshAt = l.k.refreshAt(r.Token.Expiry, now.Round(0))
	r.Ended, r.Latch, r.Failures, r.NotBefore, r.LastError = false, nil, 0, time.Time{}, ""
	if l.kind == "login" {
		r.Taken = r.fingerprint(l.d, l.vars)
	}
	r.Permission = 0
	if l.want.reported {
		r.Reported = r.Generation
	}
	l.k.b.Logger.Info("new token", "account", l.k.account.Name, "generation", r.Generation, "refresh_at", r.RefreshAt)
}

// longestRetry is the longest Retry-After that is believed. What is longer is
// more likely a mistake than a wish, and would stop an account until somebody
// comes.
const longestRetry = 24 * time.Hour

// failed notes a failure, and returns what those who wait are told.
func (l *login) failed(r *record, failure error, now time.Time) error {
	name := l.k.account.Name
	refusal, refused := errors.AsType[*jeton.Error](failure)
	if out, ok := errors.AsType[*UnavailableError](failure); ok { // the budget: nothing was sent
		r.NotBefore, r.LastError = now.Add(out.RetryAfter), out.Reason
		return out
	}
	if errors.Is(failure, errStopping) {
		return &UnavailableError{Account: name, Reason: failure.Error(), RetryAfter: time.Second}
	}
	if refused {
		switch refusal.Code {
		case jeton.InvalidClient, jeton.InvalidGrant, jeton.UnauthorizedClient:
			r.refuse(r.fingerprint(l.d, l.vars), refusal.Code, now)
			r.LastError = "the vendor refused the credentials: " + string(refusal.Code)
			l.k.b.Logger.Error("the vendor refused the credentials; no more logins until they change", "account", name, "code", string(refusal.Code))
			return &LatchedError{Account: name, Code: refusal.Code, Since: l.k.b.here(now)}
		}
	}
	_, early := errors.AsType[notSent](failure)
	if !early && (!refused || refusal.Code == jeton.Unavailable) { // it may have been executed
		if l.kind == "refresh" {
			r.spend()
		}
		r.Ended = r.Ended || l.d.Active > 0
	}
	r.Failures++
	wait := backoffAfter(r.Failures)
	wait += l.k.b.jitter(wait / 10)
	if refused {
		wait = max(wait, min(refusal.RetryAfter, longestRetry))
		r.LastError = string(refusal.Code)
	} else {
		r.LastError = "an exchange whose outcome is unknown"
		switch {
		case early:
			r.LastError = "a request that could not be sent"
		case errors.Is(failure, errBornExpired):
			r.LastError = failure.Error()
		}
	}
	r.NotBefore = l.k.b.latest().Add(wait)
	l.k.b.Logger.Warn("a login failed", "account", name, "failures", r.Failures, "retry_in", wait, "error", failure)
	return &UnavailableError{Account: name, Reason: "the login ended with " + r.LastError, RetryAfter: wait, Cause: failure}
}

// backoffAfter returns 1, 2, 4, 8 ... seconds after so many failures in a row,
// at most 5 minutes.
func backoffAfter(failures int) time.Duration {
	b := backoff.ExponentialBackOff{InitialInterval: time.Second, Multiplier: 2, MaxInterval: 5 * time.Minute}
	b.Reset()
	var wait time.Duration
	for range min(failures, 16) {
		wait = b.NextBackOff()
	}
	return wait
}
