package broker

import (
	"bytes"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
)

// A view is what is known of the record. It does not change once it is
// published.
type view struct {
	record
	parsed *jeton.Token // of record.Token; its expiry is on this machine's clock

	// held says that an exchange was sent which ends the token of this view, so
	// that readers wait for the one that it brings. Before that comes handover:
	// the token is good still, but new calls through the broker wait.
	held, handover bool

	seen time.Time // when this broker learnt of it
	shut time.Time // since when calls wait; zero: they do not

	replaced chan struct{} // closed when readers see another view

	looked atomic.Int64 // when a reader last compared the token with the clock, in Unix nanoseconds
	sure   atomic.Bool  // the token is good and nothing is to be done; see trust

	rendered atomic.Pointer[rendered] // the answer of the token API, as it was last; nil: not asked for yet
}

// expiry returns when the token expires, on the store's clock; zero if that is
// not known.
func (v *view) expiry() time.Time {
	if v.Token == nil {
		return time.Time{}
	}
	return v.Token.Expiry
}

// good reports whether the token may be given out.
func (v *view) good(now time.Time) bool {
	return !v.held && !v.Ended && v.lives(now, 0)
}

// lives reports whether there is a token that has not expired, and will not
// for ttl.
func (v *view) lives(now time.Time, ttl time.Duration) bool {
	return v.Token != nil && v.Token.Access != "" && (v.Token.Expiry.IsZero() || now.Add(ttl).Before(v.Token.Expiry))
}

// young reports whether a token that a report brought about cannot have expired
// yet. Where its expiry is not known, a report is how one learns of it.
func (v *view) young(now time.Time) bool {
	return !v.expiry().IsZero() || now.Sub(v.Obtained) < 5*time.Minute
}

// due reports whether the token is to be replaced ahead of its expiry.
func (v *view) due(now time.Time) bool {
	return v.Token != nil && !v.RefreshAt.IsZero() && !now.Before(v.RefreshAt)
}

// states are those of [Status.State].
var states = [...]string{"empty", "fresh", "stale", "expired", "latched", "backing_off", "unresolved"}

// state says in one word how the account is doing.
func (v *view) state(now time.Time) string {
	switch {
	case v.Latch != nil:
		return "latched"
	case v.NotBefore.After(now) && !v.good(now):
		return "backing_off"
	case v.Token == nil:
		return "empty"
	case !v.good(now):
		return "expired"
	case v.due(now):
		return "stale"
	}
	return "fresh"
}

// shown returns the view of a record.
func (k *keeper) shown(r record) *view {
	v := &view{record: r, parsed: r.token(), held: k.ending(&r), handover: k.handingOver(&r), seen: time.Now(), replaced: make(chan struct{})}
	if v.parsed != nil {
		v.parsed.Expiry = k.b.here(v.parsed.Expiry)
	}
	return v
}

// showAgain publishes the same record to readers whose clock has changed, and
// wakes all who wait for a time.
func (k *keeper) showAgain() {
	for {
		now := k.view.Load()
		next := k.shown(now.record)
		next.handover, next.seen = now.handover, now.seen
		if k.replace(now, next) {
			break
		}
	}
	select {
	case k.woken <- struct{}{}:
	default: // it will be
	}
}

// publish makes a record what readers see, unless they see a newer one: an
// answer of the store can be overtaken by the next.
func (k *keeper) publish(r record) {
	r.History = nil // nobody reads it from memory
	if reflect.DeepEqual(k.view.Load().record, r) {
		return // or each look at the record would wake those who wait for a change
	}
	next := k.shown(r)
	for {
		now := k.view.Load()
		if bytes.Equal(now.Salt, r.Salt) && now.Rev > r.Rev || now.begunAnew(next, k.b.now()) {
			return
		}
		if k.replace(now, next) {
			return
		}
	}
}

// replace puts a view in the place of another, unless a third one is there.
func (k *keeper) replace(now, next *view) bool {
	if next.shut = now.shut; !next.held && !next.handover {
		next.shut = time.Time{}
	} else if next.shut.IsZero() {
		next.shut = next.seen
	}
	if !k.view.CompareAndSwap(now, next) {
		return false
	}
	if next.shut.IsZero() && !now.shut.IsZero() {
		k.b.metrics.handover.WithLabelValues(k.b.metrics.label(k.account.Name)).Observe(time.Since(now.shut).Seconds())
	}
	close(now.replaced)
	return true
}

// ready returns the token that readers get without waiting, or nil. Most of the
// time of a read is the look at the clock, and who reads without a pause looks
// every few milliseconds only.
func (k *keeper) ready(minTTL time.Duration) *jeton.Token {
	if v := k.view.Load(); minTTL <= 0 && v.sure.Load() {
		return v.parsed
	}
	return k.cached(k.b.now(), minTTL)
}

// trustFor is how long a look at the clock holds for those who read again
// within it.
const trustFor = 5 * time.Millisecond

// trust lets readers take the token for good until a timer says otherwise, if
// one looked a moment ago too. It ends before the token falls due or expires,
// so that both are noticed on time. A view that is replaced takes it along.
func (v *view) trust(now time.Time) {
	last := v.looked.Swap(now.UnixNano())
	if since := now.UnixNano() - last; since < 0 || since > int64(trustFor) {
		return
	}
	for _, at := range []time.Time{v.RefreshAt, v.expiry()} {
		if at.After(now) && at.Sub(now) < 2*trustFor {
			return
		}
	}
	if v.sure.CompareAndSwap(false, true) {
		time.AfterFunc(trustFor, func() { v.sure.Store(false) })
	}
}

// cached returns the token that readers get without waiting, or nil.
func (k *keeper) cached(now time.Time, minTTL time.Duration) *jeton.Token {
	v := k.view.Load()
	if !v.good(now) || minTTL > 0 && !v.lives(now, minTTL) {
		return nil
	}
	if v.due(now) {
		k.refreshAhead(v, now)
	}
	v.trust(now)
	return v.parsed
}
