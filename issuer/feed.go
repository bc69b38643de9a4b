package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
)

// A feed keeps the table of what ended at a realm complete, so that whoever
// verifies a token reads no store. What this process ends is in the table before
// the call that ended it returns. What others end is in the records, which the
// feed follows:
//
//	realm/<realm>/generation/<kind>/<id>  a counter; see package directory
//	realm/<realm>/revoked/<jti>           an access token that was revoked, until nobody would take it
//	realm/<realm>/ended/<family>          a refresh family that ended, until its last access token has expired
//	realm/<realm>/lifetime                see lifetime
//
// All of them stay for as long as a token is left that they could end, so that
// who did not hear of one reads it later.
type feed struct {
	realm   *Realm
	stale   time.Duration // how old the table may be
	longest atomic.Int64  // nanoseconds of the longest lifetime that a token was ever given

	running atomic.Bool   // Run runs
	live    atomic.Bool   // and the table is complete: tokens are verified by it
	ready   chan struct{} // closed when that is so for the first time
	once    sync.Once     // guards closing ready
	wake    chan struct{} // holds a value when there is something to do

	mu      sync.Mutex      // guards what follows
	records map[string]bool // :: key of a record that is to be read
	scan    bool            // everything is to be read
	fresh   time.Time       // when nothing of that is left, the table has all up to this; zero: unknown
	busy    bool            // somebody reads

	undated map[string]undated // :: key -> a counter without a time; only who scans uses it
}

// An undated counter was raised before raises had a time, so at the latest when
// it was first seen.
type undated struct {
	number uint64
	seen   time.Time
}

const (
	defaultStale = 30 * time.Second

	// margin is by how much the clocks of those who issue may differ.
	margin = 10 * time.Minute

	maxLifetime = 1 << 32 // seconds of a lifetime; longer ones are remembered for as long

	readAgain     = 100 * time.Millisecond // after the store failed; doubles
	readAgainMost = 2 * time.Second
)

func newFeed(r *Realm, stale time.Duration) *feed {
	return &feed{
		realm: r, stale: first(stale, defaultStale),
		ready: make(chan struct{}), wake: make(chan struct{}, 1), records: map[string]bool{}, undated: map[string]undated{},
	}
}

// Ready returns a channel that is closed when [Realm.Run] has read what ended
// before it.
func (r *Realm) Ready() <-chan struct{} { return r.feed.ready }

// Run keeps [Realm.Revocations] complete until ctx ends. While it runs, Verify
// decides by it: what this process ends is refused from the next request on,
// what another one ends some milliseconds later, and if the store cannot say
// any more whether something ended, nothing is decided. Otherwise, and where
// the store is no [store.Follower], Verify reads the store for each token, and
// Run returns at once. It is called once.
func (r *Realm) Run(ctx context.Context) {
	s, ok := r.store.(store.Follower)
	if !ok {
		return
	}
	f := r.feed
	f.running.Store(true) // what ends from now on is told; what ended before is read
	defer f.running.Store(false)
	defer f.live.Store(false)
	var reading sync.WaitGroup
	reading.Go(func() { f.run(ctx) })
	reading.Go(func() { r.ring.Run(ctx) }) // a key that was removed ends tokens too
	defer reading.Wait()
	for {
		err := s.Follow(ctx, store.Key("realm", r.name)+"/", f.changed, f.told)
		if ctx.Err() != nil {
			return
		}
		r.logger.ErrorContext(ctx, "revocations cannot be followed", "realm", r.name, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(readAgainMost):
		}
	}
}

// ended makes sure, by the table, that nothing ended a token.
func (f *feed) ended(c *jeton.Claims) error {
	table := f.realm.Revocations()
	age, fresh := table.Age(time.Now()) // first: what is compared then is no older
	if err := table.Ended(c); err != nil {
		return err // certain, however old the table is
	}
	if !fresh || age > f.stale {
		return &jeton.Error{
			Code: jeton.Unavailable, Description: "the token could not be checked; try again later", RetryAfter: retryUndecided,
			Cause: fmt.Errorf("issuer: what ended is known up to %v ago only", age.Round(time.Second)),
		}
	}
	return nil
}

// until is when no token is left that was made before an instant.
func (f *feed) until(at time.Time) time.Time {
	return at.Add(time.Duration(f.longest.Load()) + margin)
}

// add tells what this process ended, or read. Before Run nobody asks.
func (f *feed) add(e revocation.Event) {
	if f.running.Load() {
		f.realm.ended.Add(e)
	}
}

// raised tells that this process raised a counter.
func (f *feed) raised(r directory.Raise) {
	f.add(revocation.Event{Counter: counterName(r.Kind, r.ID), Number: r.Number, Until: f.until(time.Now())})
}

// changed hears that a record changed. What it says is read by whoever reads:
// others could say as much to the database.
func (f *feed) changed(key string) {
	switch kind, _ := f.parse(key); {
	case key == "" || kind == "lifetime":
		f.want(func() { f.scan = true })
	case kind == "generation" || kind == "revoked" || kind == "ended":
		f.want(func() { f.records[key] = true })
	}
}

// parse returns of what kind a record of the realm is, and its ID.
func (f *feed) parse(key string) (kind, id string) {
	rest, _ := strings.CutPrefix(key, store.Key("realm", f.realm.name)+"/")
	kind, id, _ = strings.Cut(rest, "/")
	if unescaped, err := url.PathUnescape(id); err == nil && kind != "generation" {
		id = unescaped
	}
	return kind, id
}

// told hears that everything up to an instant was told.
func (f *feed) told(at time.Time) {
	f.mu.Lock()
	idle := !f.busy && !f.scan && len(f.records) == 0
	if idle {
		f.confirm(at)
	} else {
		f.fresh = at
	}
	f.mu.Unlock()
}

// want notes what is to be read, and wakes who reads.
func (f *feed) want(note func()) {
	f.mu.Lock()
	note()
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) confirm(at time.Time) {
	f.realm.Revocations().Confirm(at)
	f.live.Store(true)
	f.once.Do(func() { close(f.ready) })
}

// run reads what is to be read, until ctx ends.
func (f *feed) run(ctx context.Context) {
	delay := readAgain
	for {
		more, err := f.read(ctx)
		switch {
		case err == nil && more:
			delay = readAgain
			continue
		case err == nil:
			select {
			case <-ctx.Done():
				return
			case <-f.wake:
			}
			continue
		case ctx.Err() != nil:
			return
		case delay == readAgain:
			f.realm.logger.ErrorContext(ctx, "revocations not read", "realm", f.realm.name, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, readAgainMost)
	}
}

// read reads what is to be read now, and reports whether there was something.
func (f *feed) read(ctx context.Context) (more bool, err error) {
	f.mu.Lock()
	scan, fresh := f.scan, f.fresh
	f.busy = scan || len(f.records) > 0
	f.scan, f.fresh = false, time.Time{}
	more = f.busy
	if !more && !fresh.IsZero() {
		f.confirm(fresh)
	}
	f.mu.Unlock()
	if !more {
		return false, nil
	}
	if err = f.readRecords(ctx); err == nil && scan {
		err = f.readAll(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.busy = false
	switch {
	case err != nil:
		f.scan = f.scan || scan
	case !fresh.IsZero():
		f.confirm(fresh)
	}
	return true, err
}

// readRecords reads the records that changed.
func (f *feed) readRecords(ctx context.Context) error {
	f.mu.Lock()
	keys := f.records
	f.records = map[string]bool{}
	f.mu.Unlock()
	for key := range keys {
		if err := f.readRecord(ctx, key); err != nil {
			f.want(func() {
				for key := range keys {
					f.records[key] = true
				}
			})
			return err
		}
		delete(keys, key)
	}
	return nil
}

func (f *feed) readRecord(ctx context.Context, key string) error {
	if kind, _ := f.parse(key); kind == "generation" {
		raise, ok, err := f.realm.directory.Counter(ctx, key)
		if ok {
			f.raised(raise) // just now, whatever the clock of who raised it says
		}
		return err
	}
	r, err := f.realm.store.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil // it was swept, when it concerned nobody any more
	case err != nil:
		return fmt.Errorf("issuer: read what has ended: %w", err)
	}
	f.over(r)
	return nil
}

// over takes in the record of a token or of a family that ended.
func (f *feed) over(r store.Record) {
	switch kind, id := f.parse(r.Key); kind {
	case "revoked":
		f.add(revocation.Event{Token: id, Until: r.Due})
	case "ended":
		f.add(revocation.Event{Family: id, Until: r.Due})
	}
}

// readAll reads everything that ended and can still concern a token. It begins
// with what people end, since the counters of logins may be a million.
func (f *feed) readAll(ctx context.Context) error {
	if err := f.readLifetime(ctx); err != nil {
		return err
	}
	for _, kind := range []string{"user", "client", "key", "tenant"} {
		if err := f.readRaises(ctx, kind); err != nil {
			return err
		}
	}
	for _, kind := range []string{"revoked", "ended"} {
		if err := f.readEnded(ctx, kind); err != nil {
			return err
		}
	}
	return f.readRaises(ctx, "grant")
}

// readRaises reads the counters of a kind, and in between the records that
// change meanwhile.
func (f *feed) readRaises(ctx context.Context, kind string) error {
	now, n := time.Now(), 0
	return f.realm.directory.Raises(ctx, kind, func(r directory.Raise) error {
		name := counterName(r.Kind, r.ID)
		if r.At.IsZero() {
			u, known := f.undated[name]
			if !known || u.number != r.Number {
				u = undated{r.Number, now}
				f.undated[name] = u
			}
			r.At = u.seen
		}
		if until := f.until(r.At); until.After(now) {
			f.add(revocation.Event{Counter: name, Number: r.Number, Until: until})
		}
		if n++; n%1000 == 0 {
			return f.readRecords(ctx)
		}
		return nil
	})
}

// readEnded reads the records of tokens or of families that ended.
func (f *feed) readEnded(ctx context.Context, kind string) error {
	const batch = 1000
	prefix := store.Key("realm", f.realm.name, kind) + "/"
	for after := ""; ; {
		list, err := f.realm.store.List(ctx, prefix, after, batch)
		if err != nil {
			return fmt.Errorf("issuer: list what has ended: %w", err)
		}
		for _, r := range list {
			f.over(r)
			after = r.Key
		}
		if len(list) < batch {
			return nil
		}
	}
}

// A lifetime record says the longest lifetime that an access token of the realm
// was ever given. What ended is remembered for so long, also where a
// configuration has made it shorter since. It is written before the first such
// token is made.
//
// Stored at realm/<realm>/lifetime.
type lifetime struct {
	V       int   `json:"v"`
	Longest int64 `json:"longest"` // seconds
}

// readLifetime reads the longest lifetime, and writes it if the realm's own is
// longer.
func (f *feed) readLifetime(ctx context.Context) error {
	key := store.Key("realm", f.realm.name, "lifetime")
	own := min(int64((f.realm.lifetime+time.Second-1)/time.Second), maxLifetime)
	for {
		l := lifetime{V: 1}
		r, err := f.realm.store.Get(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			r = store.Record{Key: key}
		case err != nil:
			return fmt.Errorf("issuer: read the longest lifetime: %w", err)
		case json.Unmarshal(r.Value, &l) != nil || l.V != 1 || l.Longest < 0 || l.Longest > maxLifetime:
			return errors.New("issuer: the record of the longest lifetime has a form that this version does not know")
		}
		if l.Longest < own {
			l.Longest = own
			if r.Value, err = json.Marshal(l); err == nil {
				_, err = f.realm.store.Put(ctx, r)
			}
			if errors.Is(err, store.ErrConflict) {
				continue
			}
			if err != nil {
				return fmt.Errorf("issuer: write the longest lifetime: %w", err)
			}
		}
		f.longest.Store(int64(time.Duration(l.Longest) * time.Second))
		return nil
	}
}
