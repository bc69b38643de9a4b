package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/jws"
	"github.com/jetonhq/jeton/revocation"
)

// A Cache is a [jeton.Verifier] that asks another one about a token once and
// then knows it. Tokens are told apart by their whole text. A token that is not
// good is never kept, so that a flood of them takes no room from a good one.
//
// What is known is looked at again for each call: the token has not expired,
// nothing in Table ended it, and Table is fresh. A known token costs no
// allocation and no lock.
//
// An entry holds what one Verifier with its issuer, audience and algorithms
// said. Who has two of these has two caches.
//
// The fields are not changed once the cache is in use; it is then safe for
// concurrent use.
type Cache struct {
	// Verifier decides about a token at first sight. Required. Calls for the
	// same token at the same time ask it once.
	Verifier jeton.Verifier

	// Table says what ended before its time. What it says after the Verifier
	// has answered counts. Nil: nothing revokes but time.
	Table *revocation.Table

	// MaxStale is how old the knowledge of Table may be. When it is older, no
	// token is good and none is blamed: the error is temporarily_unavailable.
	// Zero: 30 seconds.
	MaxStale time.Duration

	// Epoch returns a number that changes when the Verifier is to be asked
	// again about every token, as when a key was removed. Nil: never.
	Epoch func() uint64

	// TTL is how long an answer is believed that Table cannot end, since there
	// is no table or the claims have no generations. It counts from the answer,
	// however often the token is seen. Zero: until the token expires; one that
	// does not expire is not kept. One that Table can end is believed for
	// [revocation.Grace]: Table forgets what concerns no access token any more,
	// such as an API key, and does not hear of keys that were removed.
	TTL time.Duration

	// Size is how many tokens are known at most. Zero: 65,536.
	Size int

	once  sync.Once
	clock clock
	known memory

	mu      sync.Mutex
	flights map[string]*flight // :: token -> the question that is being asked about it
}

// maxToken bounds a token in bytes; what is longer is not looked at.
const maxToken = jws.MaxSize

// A flight is a question to the Verifier that several callers wait for. The
// answer may be read after done was closed.
type flight struct {
	done      chan struct{}
	answer    *entry
	err       error
	abandoned bool // its caller gave up; that says nothing about the token
}

// Verify returns what the token grants. The error is as [jeton.Verifier] says;
// that of a token that has expired or was revoked is invalid_token.
func (c *Cache) Verify(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	c.once.Do(c.start)
	text := bearer.Reveal()
	if len(text) > maxToken {
		return nil, refuse()
	}
	hash := c.known.hash(text)
	for again := false; ; again = true {
		now := c.clock.now()
		e := c.known.find(hash, text)
		if e != nil && c.believed(e, now) {
			e.touch() // a token that is seen once makes no other one go
		} else {
			var err error
			if e, err = c.first(ctx, hash, bearer); err != nil {
				return nil, err
			}
			now = time.Now()
		}
		err := c.check(e, now)
		if err == nil {
			return e.claims, nil
		}
		if again || !c.outdated(e) {
			return nil, err
		}
		// It was outdated in this moment.
	}
}

func (c *Cache) start() {
	size := c.Size
	if size <= 0 {
		size = 65536
	}
	c.known.start(size)
	c.flights = map[string]*flight{}
}

// believed reports whether the entry can be judged without asking again. That
// of a token that has expired can: asking would not make it better.
func (c *Cache) believed(e *entry, now time.Time) bool {
	return e.expired(now) || (e.until.IsZero() || now.Before(e.until)) && e.epoch == c.epoch() && !c.outdated(e)
}

// outdated reports whether something ended what was said about a token that does
// not expire. It was not made for the numbers that it was said with, and may be
// as good with others: the counter of an API key's owner moves on with each new
// password.
func (c *Cache) outdated(e *entry) bool {
	return e.claims.Expiry.IsZero() && c.Table != nil && e.compared.Load() != c.Table.Version() && c.Table.Ended(e.claims) != nil
}

func (c *Cache) epoch() uint64 {
	if c.Epoch == nil {
		return 0
	}
	return c.Epoch()
}

// check says whether a token that was good at first sight still is.
func (c *Cache) check(e *entry, now time.Time) error {
	if e.expired(now) {
		return jeton.Refuse(jeton.InvalidToken, "the access token has expired")
	}
	if c.Table == nil {
		return nil
	}
	// The age is looked at first: then what is compared below is at least as new.
	age, confirmed := c.Table.Age(now)
	if version := c.Table.Version(); e.compared.Load() != version {
		if err := c.Table.Ended(e.claims); err != nil {
			return err // certain, however old the table is
		}
		e.compared.Store(version)
	}
	if !confirmed || age > c.maxStale() {
		return stale(age, confirmed)
	}
	return nil
}

func (c *Cache) maxStale() time.Duration {
	if c.MaxStale > 0 {
		return c.MaxStale
	}
	return 30 * time.Second
}

func stale(age time.Duration, confirmed bool) error {
	if !confirmed {
		return undecided(errors.New("verify: revocations are not known yet"))
	}
	return undecided(fmt.Errorf("verify: revocations are known up to %v ago only", age.Truncate(time.Second)))
}

// first returns the entry of a token that is not known, or no longer. Whoever
// comes first asks; the others wait for the answer, and one of them asks again
// if the first gave up.
func (c *Cache) first(ctx context.Context, hash uint64, bearer jeton.Secret) (*entry, error) {
	text := bearer.Reveal()
	for {
		c.mu.Lock()
		if e := c.known.find(hash, text); e != nil && c.believed(e, time.Now()) {
			c.mu.Unlock()
			return e, nil // in this moment
		}
		f, asked := c.flights[text]
		if !asked {
			f = &flight{done: make(chan struct{}), err: undecided(errors.New("verify: the verifier panicked"))}
			c.flights[text] = f
		}
		c.mu.Unlock()
		if !asked {
			c.ask(ctx, hash, bearer, f)
			return f.answer, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, undecided(ctx.Err())
		}
		if f.abandoned || f.answer != nil && f.answer.epoch != c.epoch() {
			continue
		}
		return f.answer, f.err
	}
}

// ask asks the Verifier and keeps a good answer.
func (c *Cache) ask(ctx context.Context, hash uint64, bearer jeton.Secret, f *flight) {
	text := bearer.Reveal()
	defer func() {
		c.mu.Lock()
		delete(c.flights, text)
		c.mu.Unlock()
		close(f.done)
	}()
	for {
		epoch, now := c.epoch(), time.Now()
		claims, err := c.Verifier.Verify(ctx, bearer)
		if err == nil && claims == nil {
			err = undecided(errors.New("verify: neither claims nor error"))
		}
		if err != nil {
			f.err, f.abandoned = err, ctx.Err() != nil && !errors.Is(err, jeton.InvalidToken)
			return
		}
		if c.epoch() != epoch {
			continue // what answered may have answered by a key that is gone
		}
		f.answer, f.err = &entry{hash: hash, claims: claims, epoch: epoch}, nil
		f.answer.compared.Store(never)
		if c.until(f.answer, now) {
			f.answer.text = strings.Clone(text) // what it is cut from may be much longer
			c.mu.Lock()
			c.known.put(f.answer, now)
			c.mu.Unlock()
		}
		return
	}
}

// until sets how long the answer, asked for at now, is believed, and reports
// whether it is to be kept. The times that it sets are read on the monotonic
// clock, so that one that is set back makes nothing last longer.
func (c *Cache) until(e *entry, now time.Time) bool {
	revocable := c.Table != nil && len(e.claims.Generations) > 0
	limited, believe := c.TTL > 0 && !revocable, c.TTL
	if revocable {
		limited, believe = true, revocation.Grace // for so long every table remembers
	}
	if !e.claims.Expiry.IsZero() {
		e.until = now.Add(e.claims.Expiry.Sub(now))
	}
	if ttl := now.Add(believe); limited && (e.until.IsZero() || ttl.Before(e.until)) {
		e.until = ttl
	}
	return revocable || limited || !e.until.IsZero()
}

// refuse is the one answer for a token that is not good, so that nobody learns
// how near it came.
func refuse() error {
	return jeton.Refuse(jeton.InvalidToken, "the access token is not valid")
}

func undecided(cause error) error {
	return &jeton.Error{Code: jeton.Unavailable, Description: "the access token could not be verified; try again later", Cause: cause}
}
