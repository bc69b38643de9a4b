package store

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Memory is a Store and a [Follower] that forgets everything when the process
// ends. It is what every other store is compared with.
type Memory struct {
	mu        sync.Mutex
	last      uint64            // the version given last
	records   map[string]Record // :: key -> record
	keys      []string          // of records, in byte order
	watchers  Watchers
	followers Followers
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{records: map[string]Record{}}
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, key string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[key]
	if !ok {
		return Record{}, ErrNotFound
	}
	return clone(r), nil
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, r Record) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// An absent record reads as the zero one, whose version is empty.
	if m.records[r.Key].Version != r.Version {
		return Record{}, ErrConflict
	}
	if r.Version == "" {
		i, _ := slices.BinarySearch(m.keys, r.Key)
		m.keys = slices.Insert(m.keys, i, r.Key)
	}
	m.last++
	r.Version = strconv.FormatUint(m.last, 10)
	r.Due = RoundDue(r.Due)
	m.records[r.Key] = clone(r)
	m.tell(r.Key)
	return clone(r), nil
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, r Record) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old, ok := m.records[r.Key]
	if !ok {
		return ErrNotFound
	}
	if old.Version != r.Version {
		return ErrConflict
	}
	delete(m.records, r.Key)
	i, _ := slices.BinarySearch(m.keys, r.Key)
	m.keys = slices.Delete(m.keys, i, i+1)
	m.tell(r.Key)
	return nil
}

func (m *Memory) tell(key string) {
	m.watchers.Signal(key)
	m.followers.Tell(key)
}

// List implements [Store].
func (m *Memory) List(ctx context.Context, prefix, after string, limit int) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i, found := slices.BinarySearch(m.keys, max(prefix, after))
	if found && after >= prefix && after != "" {
		i++
	}
	var list []Record
	for ; i < len(m.keys) && len(list) < limit && strings.HasPrefix(m.keys[i], prefix); i++ {
		list = append(list, clone(m.records[m.keys[i]]))
	}
	return list, nil
}

// Due implements [Store].
func (m *Memory) Due(ctx context.Context, prefix string, t time.Time, limit int) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []Record
	i, _ := slices.BinarySearch(m.keys, prefix)
	for ; i < len(m.keys) && strings.HasPrefix(m.keys[i], prefix); i++ {
		if r := m.records[m.keys[i]]; !r.Due.IsZero() && !r.Due.After(t) {
			due = append(due, r)
		}
	}
	// The keys came in order, so a stable sort breaks ties by key.
	slices.SortStableFunc(due, func(a, b Record) int { return a.Due.Compare(b.Due) })
	due = due[:min(len(due), max(limit, 0))]
	for i := range due {
		due[i] = clone(due[i])
	}
	return due, nil
}

// Watch implements [Watcher].
func (m *Memory) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return m.watchers.Add(ctx, prefix), nil
}

// memoryFresh is how often a Memory says what is always true of it.
const memoryFresh = 100 * time.Millisecond

// Follow implements [Follower].
func (m *Memory) Follow(ctx context.Context, prefix string, changed func(key string), fresh func(time.Time)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer m.followers.Add(prefix, changed, fresh)()
	tick := time.NewTicker(memoryFresh)
	defer tick.Stop()
	for {
		m.mu.Lock() // no write is half done
		m.followers.Fresh(time.Now())
		m.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func clone(r Record) Record {
	r.Value = bytes.Clone(r.Value)
	return r
}
