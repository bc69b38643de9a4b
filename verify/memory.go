package verify

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
)

// An entry is a token that was found good.
type entry struct {
	hash   uint64
	text   string
	claims *jeton.Claims
	until  time.Time // when to ask again; zero: never
	epoch  uint64    // of the cache when it asked

	compared atomic.Uint64 // version of the table when it was last compared, or never
	used     atomic.Bool   // since the hand last came by
	next     atomic.Pointer[entry]
	slot     int // in the ring
}

// never is the version of a table that no entry was compared with.
const never = math.MaxUint64

// expired goes by the clock that the issuer's time is compared with.
func (e *entry) expired(now time.Time) bool {
	return !e.claims.Expiry.IsZero() && !now.Before(e.claims.Expiry)
}

// touch notes that the entry is in use. It mostly does not write, so that
// processors do not take its memory from one another.
func (e *entry) touch() {
	if !e.used.Load() {
		e.used.Store(true)
	}
}

// A memory is a hash table of entries, chained, that is read without a lock and
// written by one at a time. When it is full, a hand goes round (the clock
// algorithm): an entry that was used since it last came by stays. How far it
// goes for one new entry is bounded, and so is the length of a chain.
type memory struct {
	seed    maphash.Seed // a stranger cannot choose tokens that share a chain
	size    int
	buckets []atomic.Pointer[entry] // as many as a power of two
	ring    []*entry
	hand    int
}

const (
	reach = 32 // entries that are looked at, at most, in a chain or by the hand
	tail  = 32 // bytes of a token that choose its chain
)

func (m *memory) start(size int) {
	m.seed, m.size = maphash.MakeSeed(), size
	m.buckets = make([]atomic.Pointer[entry], 1<<bits.Len(uint(size-1)))
}

// hash chooses a bucket, by the end of a token, where its signature is or what
// else cannot be guessed. What is compared is the whole text.
func (m *memory) hash(text string) uint64 {
	return maphash.String(m.seed, text[max(len(text)-tail, 0):])
}

func (m *memory) bucket(hash uint64) *atomic.Pointer[entry] {
	return &m.buckets[hash&uint64(len(m.buckets)-1)]
}

// find returns the entry of exactly this text, or nil.
func (m *memory) find(hash uint64, text string) *entry {
	for e := m.bucket(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.text == text {
			return e
		}
	}
	return nil
}

// put takes an entry in, in the place of that of the same text or of another.
func (m *memory) put(e *entry, now time.Time) {
	e.slot = m.place(e, now)
	if e.slot == len(m.ring) {
		m.ring = append(m.ring, e)
	} else {
		m.unlink(m.ring[e.slot])
		m.ring[e.slot] = e
	}
	b := m.bucket(e.hash)
	e.next.Store(b.Load())
	b.Store(e)
}

// place returns where in the ring a new entry goes.
func (m *memory) place(e *entry, now time.Time) int {
	length, last := 0, (*entry)(nil)
	for o := m.bucket(e.hash).Load(); o != nil; o = o.next.Load() {
		if o.hash == e.hash && o.text == e.text {
			return o.slot
		}
		length, last = length+1, o
	}
	switch {
	case length == reach: // tokens that all end alike
		return last.slot
	case len(m.ring) < m.size:
		return len(m.ring)
	}
	return m.victim(now)
}

// victim returns the place of the entry that is to go.
func (m *memory) victim(now time.Time) int {
	for range reach {
		slot := m.hand
		m.hand = (m.hand + 1) % len(m.ring)
		if e := m.ring[slot]; e.expired(now) || !e.used.Swap(false) {
			return slot
		}
	}
	slot := m.hand
	m.hand = (m.hand + 1) % len(m.ring)
	return slot
}

// unlink takes an entry out of its chain. Its own link stays, for whoever is
// reading it.
func (m *memory) unlink(e *entry) {
	at := m.bucket(e.hash)
	for at.Load() != e {
		at = &at.Load().next
	}
	at.Store(e.next.Load())
}
