package guard

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/revocation"
)

const defaultMaxStale = 30 * time.Second

// running are the calls that were let through and go on. One goroutine for all
// of them waits for news of what ended, as long as there are any.
type running struct {
	table    *revocation.Table // nil: a call ends by itself or with its time
	maxStale time.Duration

	mu     sync.Mutex // guards what follows
	calls  map[*runningCall]struct{}
	coming bool          // a watcher will start in a moment
	alone  chan struct{} // closed when the last call has ended; nil: there is no watcher
}

// A runningCall is a call that was let through. Its context says whose it is,
// and ends it.
type runningCall struct {
	claims   *jeton.Claims
	ctx      context.Context
	end      context.CancelCauseFunc // nil: nothing ends it before its time
	watched  *running                // nil: nobody looks
	expiry   *time.Timer             // nil: it may go on when its token has expired
	exchange *exchange               // of the proxy
}

type callKey struct{}

// callOf returns the call that a context belongs to, or nil.
func callOf(ctx context.Context) *runningCall {
	c, _ := ctx.Value(callKey{}).(*runningCall)
	return c
}

func (g *Guard) newRunning() *running {
	s := &running{table: g.Revocations, maxStale: g.MaxStale, calls: map[*runningCall]struct{}{}}
	if s.maxStale == 0 {
		s.maxStale = defaultMaxStale
	}
	return s
}

// begin takes a call in, of which done is to be called when it has ended. It can
// be ended if there is a reason to, or if it is to be endable. The error is why
// it may not begin at all.
func (s *running) begin(r *http.Request, claims *jeton.Claims, endable bool) (*runningCall, error) {
	c := &runningCall{claims: claims}
	c.ctx = context.WithValue(r.Context(), callKey{}, c)
	long := endless(r) && !claims.Expiry.IsZero()
	if s.table == nil && !long && !endable {
		return c, nil
	}
	c.ctx, c.end = context.WithCancelCause(c.ctx)
	if s.table != nil {
		// First in, then looked at: what ends from now on, the watcher sees.
		c.watched = s
		s.add(c)
		if err := s.ended(claims); err != nil {
			c.done()
			return nil, err
		}
	}
	if long {
		c.expiry = time.AfterFunc(time.Until(claims.Expiry), func() { c.end(errExpired) })
	}
	return c, nil
}

func (c *runningCall) done() {
	if c.expiry != nil {
		c.expiry.Stop()
	}
	if c.watched != nil {
		c.watched.remove(c)
	}
	if c.end != nil {
		c.end(nil)
	}
}

var errExpired = jeton.Refuse(jeton.InvalidToken, "the access token has expired")

// endless reports whether a call asks for what may never end by itself: another
// protocol, a stream of events, or an answer in parts.
func endless(r *http.Request) bool {
	accept := strings.ToLower(strings.Join(r.Header["Accept"], ","))
	return len(r.Header["Upgrade"]) > 0 || strings.Contains(accept, "text/event-stream") || strings.Contains(accept, "multipart/mixed")
}

// ended reports why a token may not be used at this moment.
func (s *running) ended(claims *jeton.Claims) error {
	if s.stale(time.Now()) <= 0 {
		return errStale()
	}
	return s.table.Ended(claims)
}

func errStale() error { return undecided(errors.New("guard: what is known of revocations is too old")) }

// stale returns when the table will be too old; negative or zero: it is.
func (s *running) stale(now time.Time) time.Duration {
	age, ok := s.table.Age(now)
	if !ok {
		return 0
	}
	return s.maxStale - age
}

const (
	// soon is how old a call gets before it is watched. Most are over by then.
	soon = time.Millisecond

	// pause is how long the watcher rests after it compared all calls, as a
	// multiple of what that took, so that it never takes more than a fifth of a
	// processor, however fast the news come.
	pause = 4
)

func (s *running) add(c *runningCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[c] = struct{}{}
	if s.alone == nil && !s.coming {
		s.coming = true
		time.AfterFunc(soon, s.start)
	}
}

func (s *running) remove(c *runningCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.calls, c)
	if len(s.calls) == 0 && s.alone != nil {
		close(s.alone)
		s.alone = nil
	}
}

// start watches the calls that are still there.
func (s *running) start() {
	s.mu.Lock()
	s.coming = false
	alone := make(chan struct{})
	if len(s.calls) == 0 {
		s.mu.Unlock()
		return
	}
	s.alone = alone
	s.mu.Unlock()
	s.watch(alone)
}

// watch ends calls until there are none.
func (s *running) watch(alone <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for compared, first := uint64(0), true; ; first = false {
		changed, version := s.table.Changed(), s.table.Version() // before comparing: no change is missed
		started := time.Now()
		wait := s.stale(started)
		if wait <= 0 {
			endAll(s.list(), errStale())
			wait = time.Second // nothing begins until the table is fresh
		} else if first || version != compared {
			s.compare(s.list())
			compared = version
			time.Sleep(pause * time.Since(started))
		}
		timer.Reset(wait)
		select {
		case <-changed:
		case <-timer.C:
		case <-alone:
			return
		}
	}
}

func (s *running) list() []*runningCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.calls))
}

func (s *running) compare(calls []*runningCall) {
	for _, c := range calls {
		if err := s.table.Ended(c.claims); err != nil {
			c.end(err)
		}
	}
}

func endAll(calls []*runningCall, err error) {
	for _, c := range calls {
		c.end(err)
	}
}
