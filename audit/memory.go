package audit

import (
	"context"
	"sync"
)

// memorySize is how many entries a Memory keeps.
const memorySize = 10_000

// Memory is a Log of the last 10,000 entries, gone with the process.
type Memory struct {
	mu   sync.Mutex
	last int64   // the ID given last
	ring []Entry // the entry with an ID stands at ID % memorySize
}

// NewMemory returns an empty log.
func NewMemory() *Memory { return &Memory{ring: make([]Entry, 0, 64)} }

// Append implements [Log].
func (m *Memory) Append(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e = e.cleaned()
	m.mu.Lock()
	defer m.mu.Unlock()
	e.ID = m.last + 1
	if len(m.ring) < memorySize {
		m.ring = append(m.ring, e)
	} else {
		m.ring[m.last%memorySize] = e
	}
	m.last = e.ID
	return nil
}

// List implements [Log].
func (m *Memory) List(ctx context.Context, q Query) ([]Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q = q.cleaned()
	m.mu.Lock()
	defer m.mu.Unlock()
	from := m.last
	if q.Before > 0 {
		from = min(from, q.Before-1)
	}
	var list []Entry
	for id := from; id > m.last-int64(len(m.ring)) && len(list) < q.Limit; id-- {
		e := m.ring[(id-1)%memorySize]
		if (q.Realm == "" || q.Realm == e.Realm) && (q.Action == "" || q.Action == e.Action) &&
			(q.Target == "" || q.Target == e.Target) {
			list = append(list, e)
		}
	}
	return list, nil
}
