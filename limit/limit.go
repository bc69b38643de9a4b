// Package limit counts login attempts in sliding windows and blocks those who
// make too many. It holds its counts in memory, so a limit counts for one
// process.
package limit

import (
	"container/list"
	"sync"
	"time"
)

// A Rule allows Count events under Key in any window of Per.
type Rule struct {
	Key   string
	Count int
	Per   time.Duration
}

// A Limiter counts. Its zero value is ready; it is safe for concurrent use and
// its decisions are atomic over all the rules of one call.
type Limiter struct {
	// MaxBlock bounds how long hammering can make a block; zero means 15
	// minutes.
	MaxBlock time.Duration

	// MaxKeys bounds the keys that are remembered; zero means 100,000. Beyond
	// it the key that was idle longest is forgotten, blocked ones last.
	MaxKeys int

	mu      sync.Mutex
	entries map[string]*list.Element // :: key -> element of recent
	recent  list.List                // of *entry, the one used last in front
}

// An entry is what is known of one key.
type entry struct {
	key    string
	events []time.Time // in the window, oldest first; never more than the rule's count
	until  time.Time   // blocked before this; zero: not blocked
}

// Attempt asks for one event under all of the rules. It returns zero if none
// is over its limit, and has then counted the event under each. Otherwise it
// counts nothing and returns how long to wait, and the first rule that is over
// its limit is blocked: until its window has room again at first, and with
// every attempt during the block for twice as long as is left, up to MaxBlock.
// A block ends by itself.
func (l *Limiter) Attempt(rules ...Rule) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, r := range rules {
		e := l.entry(r.Key)
		left := e.wait(r, now)
		if left <= 0 {
			continue
		}
		if now.Before(e.until) {
			left = max(left, min(2*left, l.maxBlock()))
		}
		e.until = now.Add(left)
		return left
	}
	for _, r := range rules {
		e := l.entry(r.Key)
		e.until = time.Time{}
		e.events = append(e.events, now)
	}
	return 0
}

// Peek returns what Attempt would, counts nothing and lengthens no block.
func (l *Limiter) Peek(rules ...Rule) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, r := range rules {
		if e, ok := l.entries[r.Key]; ok {
			wait = max(wait, e.Value.(*entry).wait(r, now))
		}
	}
	return wait
}

// wait returns how long the key is over the rule's limit, and forgets events
// that have left the window.
func (e *entry) wait(r Rule, now time.Time) time.Duration {
	gone := 0
	for gone < len(e.events) && now.Sub(e.events[gone]) >= r.Per {
		gone++
	}
	e.events = append(e.events[:0], e.events[gone:]...)
	left := e.until.Sub(now)
	if over := len(e.events) - r.Count; over >= 0 && r.Count > 0 {
		left = max(left, r.Per-now.Sub(e.events[over]))
	}
	return left
}

func (l *Limiter) maxBlock() time.Duration {
	if l.MaxBlock > 0 {
		return l.MaxBlock
	}
	return 15 * time.Minute
}

// entry returns what is known of a key, and makes it the one used last.
func (l *Limiter) entry(key string) *entry {
	if at, ok := l.entries[key]; ok {
		l.recent.MoveToFront(at)
		return at.Value.(*entry)
	}
	if l.entries == nil {
		l.entries = map[string]*list.Element{}
	}
	l.makeRoom()
	e := &entry{key: key}
	l.entries[key] = l.recent.PushFront(e)
	return e
}

// makeRoom forgets a key if there are too many. A blocked key that is due to
// go gets another turn, so that nobody ends a block by flooding other keys;
// after a few of them the next one goes all the same.
func (l *Limiter) makeRoom() {
	limit := l.MaxKeys
	if limit <= 0 {
		limit = 100_000
	}
	if len(l.entries) < limit {
		return
	}
	now := time.Now()
	const turns = 16
	for range turns {
		last := l.recent.Back()
		e := last.Value.(*entry)
		if !now.Before(e.until) {
			break
		}
		l.recent.MoveToFront(last)
	}
	last := l.recent.Back()
	delete(l.entries, last.Value.(*entry).key)
	l.recent.Remove(last)
}
