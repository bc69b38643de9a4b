// Package limit counts login attempts and refuses those that are too many. It
// decides before any password is looked at, so it knows keys and times and
// nothing about who is right.
//
// Limits are kept in memory and hold for one process.
package limit

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

// A Rule allows Count attempts under Key in any time span of length Per. A
// Count below 1 allows none; a Per that is not positive makes the rule void.
type Rule struct {
	Key   string
	Count int
	Per   time.Duration
}

// A Limiter keeps the attempts and the blocks of keys. Its zero value is ready,
// and its fields are set before it is used first. It is safe for concurrent
// use: of attempts that come at the same time exactly as many are allowed as a
// rule allows.
//
// A block of a key begins with the first refusal and lasts until its rule has
// room again. Each further attempt while it lasts doubles what remains of it.
// It ends by itself.
type Limiter struct {
	MaxBlock time.Duration // beyond which hammering lengthens no block; zero: 15 minutes
	MaxKeys  int           // remembered at most; zero: 100,000

	mu      sync.Mutex               // guards what follows
	start   time.Time                // what the times below are measured from; they do not follow a clock that is set
	entries map[string]*list.Element // :: key -> element of free or blocked, holding an *entry
	free    list.List                // entries that are not blocked, used last in front
	blocked list.List                // entries that are, or were when last touched, used last in front
}

const (
	defaultMaxBlock = 15 * time.Minute
	defaultMaxKeys  = 100_000
)

// An entry is what the limiter knows about a key.
type entry struct {
	key   string
	times []time.Duration // the latest attempts that counted, in order; never more than the rule's Count
	idle  time.Duration   // when none of times counts any more
	until time.Duration   // end of the block
}

// Attempt returns 0 and counts the attempt under every rule, if all of them
// have room. Otherwise it counts under none, blocks the key of the first rule
// without room or lengthens its block, and returns after what time all of the
// rules will have room, in whole seconds, rounded up.
func (l *Limiter) Attempt(rules ...Rule) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	first, longest := -1, time.Duration(0)
	for i, r := range rules {
		wait := l.wait(r, now)
		if wait <= 0 {
			continue
		}
		if first < 0 {
			first = i
			wait = l.block(r, wait, now)
		}
		longest = max(longest, wait)
	}
	if first < 0 {
		l.count(rules, now)
	}
	return roundUp(longest)
}

// Peek returns what [Limiter.Attempt] would find, and changes nothing: no
// attempt is counted and no block begins.
func (l *Limiter) Peek(rules ...Rule) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	longest := time.Duration(0)
	for _, r := range rules {
		longest = max(longest, l.wait(r, now))
	}
	return roundUp(longest)
}

// Count counts an attempt under every rule, also where there is no room.
func (l *Limiter) Count(rules ...Rule) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(rules, l.now())
}

func (l *Limiter) now() time.Duration {
	if l.entries == nil {
		l.start, l.entries = time.Now(), map[string]*list.Element{}
	}
	return time.Since(l.start)
}

func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}

// wait returns how long the rule has no room. It changes nothing.
func (l *Limiter) wait(r Rule, now time.Duration) time.Duration {
	if r.Per <= 0 {
		return 0
	}
	element := l.entries[shorten(r.Key)]
	if element == nil {
		if r.Count < 1 {
			return r.Per
		}
		return 0
	}
	e := element.Value.(*entry)
	wait := e.until - now
	switch {
	case r.Count < 1:
		wait = max(wait, r.Per)
	case len(e.times) >= r.Count:
		// There is room when the oldest of the last Count attempts is Per old.
		wait = max(wait, e.times[len(e.times)-r.Count]+r.Per-now)
	}
	return max(wait, 0)
}

// block blocks the key of a rule that has no room for wait, or doubles what
// remains of its block. It returns what remains then.
func (l *Limiter) block(r Rule, wait, now time.Duration) time.Duration {
	e := l.touch(r.Key, now)
	if e.until > now {
		wait = max(wait, min(2*wait, l.maxBlock()))
	}
	e.until = now + wait
	l.place(e, now)
	return wait
}

func (l *Limiter) maxBlock() time.Duration {
	if l.MaxBlock > 0 {
		return l.MaxBlock
	}
	return defaultMaxBlock
}

func (l *Limiter) count(rules []Rule, now time.Duration) {
	for _, r := range rules {
		if r.Per <= 0 || r.Count < 1 {
			continue
		}
		e := l.touch(r.Key, now)
		if drop := len(e.times) + 1 - r.Count; drop > 0 {
			e.times = e.times[:copy(e.times, e.times[drop:])]
		}
		e.times = append(e.times, now)
		e.idle = max(e.idle, now+r.Per)
	}
}

// shorten returns the key under which a key is kept: names come from outside,
// and a long one must not take more memory than others.
func shorten(key string) string {
	if len(key) <= sha256.Size*2 {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return string(sum[:])
}

// touch returns the entry of a key as the one used last, and makes it, and room
// for it, if there is none.
func (l *Limiter) touch(key string, now time.Duration) *entry {
	key = shorten(key)
	if element := l.entries[key]; element != nil {
		e := element.Value.(*entry)
		l.place(e, now)
		return e
	}
	l.makeRoom(now)
	e := &entry{key: key}
	l.entries[key] = l.free.PushFront(e)
	return e
}

// place moves an entry to the front of the list where it belongs.
func (l *Limiter) place(e *entry, now time.Duration) {
	element := l.entries[e.key]
	l.free.Remove(element)
	l.blocked.Remove(element) // an element of another list stays there
	to := &l.free
	if e.until > now {
		to = &l.blocked
	}
	l.entries[e.key] = to.PushFront(e)
}

// makeRoom forgets entries that no longer say anything, a few at a time, and
// further ones if there are too many: the one that was used least recently
// among those that are not blocked, and a blocked one only if all are.
func (l *Limiter) makeRoom(now time.Duration) {
	for range 2 {
		if last := l.blocked.Back(); last != nil && last.Value.(*entry).until <= now {
			e := l.blocked.Remove(last).(*entry)
			l.entries[e.key] = l.free.PushBack(e)
		}
		if last := l.free.Back(); last != nil && last.Value.(*entry).idle <= now {
			l.forget(&l.free)
		}
	}
	limit := l.MaxKeys
	if limit < 1 {
		limit = defaultMaxKeys
	}
	for len(l.entries) >= limit {
		if l.free.Len() > 0 {
			l.forget(&l.free)
		} else {
			l.forget(&l.blocked)
		}
	}
}

func (l *Limiter) forget(from *list.List) {
	e := from.Remove(from.Back()).(*entry)
	delete(l.entries, e.key)
}
