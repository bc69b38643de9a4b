package graphql

import "sync"

// What a Policy remembers, in bytes: of documents that it judged, and of those
// that callers registered under their hash. One that is larger than an eighth is
// not remembered.
const (
	maxKnown = 16 << 20
	maxNamed = 8 << 20
)

// twoGenerations is a map that forgets what has not been asked for lately: when
// the new half is full it becomes the old one, and the old one goes. It holds
// between a half and the whole of its size. The zero value is empty.
type twoGenerations[K comparable, V any] struct {
	mu       sync.RWMutex // guards what follows
	new, old map[K]sized[V]
	size     int // of new
}

type sized[V any] struct {
	value V
	size  int
}

// get returns a value that is remembered for a key.
func (c *twoGenerations[K, V]) get(key K, most int) (V, bool) {
	c.mu.RLock()
	e, ok := c.new[key]
	aged := false
	if !ok {
		e, aged = c.old[key]
	}
	c.mu.RUnlock()
	if aged {
		c.put(key, e.value, e.size, most)
	}
	return e.value, ok || aged
}

// put remembers a value of a size, of at most so much in all.
func (c *twoGenerations[K, V]) put(key K, v V, size, most int) {
	if size > most/8 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.new[key]; ok {
		return
	}
	if c.size+size > most/2 {
		c.old, c.new, c.size = c.new, nil, 0
	}
	if c.new == nil {
		c.new = map[K]sized[V]{}
	}
	c.new[key] = sized[V]{v, size}
	c.size += size
}
