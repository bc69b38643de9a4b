package broker

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/store"
)

// A mutant is the broker with one of its mechanisms taken away. It is taken
// away from outside, by a store that a broker cannot see through.
type mutant struct {
	name string
	get  func(key string, fields map[string]json.RawMessage)                                        // edits what is read; nil: nothing
	put  func(ctx context.Context, st store.Store, r store.Record, is record) (store.Record, error) // instead of Put; nil: Put

	restless  bool // each read finds another version
	clockless bool // the store's clock is not read
	deaf      bool // Retry-After is not heard
	alone     bool // each broker has budgets of its own
	blind     bool // nobody is seen to make calls
}

// mutantStore is the store of a broker that is a mutant.
type mutantStore struct {
	store.Store
	m     *mutant
	node  int
	reads *atomic.Uint64
}

// Get implements [store.Store].
func (s mutantStore) Get(ctx context.Context, key string) (store.Record, error) {
	key = s.name(key)
	r, err := s.Store.Get(ctx, key)
	if s.m.restless && err == nil {
		r.Version += "#" + strconv.FormatUint(s.reads.Add(1), 10)
	}
	if err != nil || s.m.get == nil {
		return r, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(r.Value, &fields); err != nil {
		return r, err
	}
	s.m.get(key, fields)
	r.Value, err = json.Marshal(fields)
	return r, err
}

// Put implements [store.Store].
func (s mutantStore) Put(ctx context.Context, r store.Record) (store.Record, error) {
	r.Version, _, _ = strings.Cut(r.Version, "#")
	r.Key = s.name(r.Key)
	if s.m.put == nil || !strings.HasPrefix(r.Key, "broker/") {
		return s.Store.Put(ctx, r)
	}
	return s.m.put(ctx, s.Store, r, observe(r.Value))
}

// List implements [store.Store].
func (s mutantStore) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if s.m.blind {
		return nil, nil
	}
	return s.Store.List(ctx, prefix, after, limit)
}

// name is where a mutant keeps a record.
func (s mutantStore) name(key string) string {
	if s.m.alone && strings.HasPrefix(key, "budget/") {
		return strconv.Itoa(s.node) + "/" + key
	}
	return key
}

// hide is a mutant that does not see fields of the record.
func hide(prefix string, names ...string) func(key string, fields map[string]json.RawMessage) {
	return func(key string, fields map[string]json.RawMessage) {
		for _, name := range names {
			if strings.HasPrefix(key, prefix) {
				delete(fields, name)
			}
		}
	}
}

// force writes over whatever is there.
func force(ctx context.Context, st store.Store, r store.Record) (store.Record, error) {
	for {
		put, err := st.Put(ctx, r)
		if !errors.Is(err, store.ErrConflict) {
			return put, err
		}
		now, err := st.Get(ctx, r.Key)
		if err != nil {
			return now, err
		}
		r.Version = now.Version
	}
}

var mutants = []*mutant{
	{name: "no compare-and-swap", put: func(ctx context.Context, st store.Store, r store.Record, _ record) (store.Record, error) {
		return force(ctx, st, r)
	}},
	{name: "no fence", put: func(ctx context.Context, st store.Store, r store.Record, is record) (store.Record, error) {
		if is.Lease == nil && is.Token != nil { // the late winner wins
			return force(ctx, st, r)
		}
		return st.Put(ctx, r)
	}},
	{name: "no lease", get: hide("broker/", "lease")},
	{name: "no renewal", put: func(ctx context.Context, st store.Store, r store.Record, is record) (store.Record, error) {
		if is.Lease != nil && is.Lease.Beat > 0 {
			return r, nil
		}
		return st.Put(ctx, r)
	}},
	{name: "leases never die", restless: true},
	{name: "no intent written", put: func(ctx context.Context, st store.Store, r store.Record, is record) (store.Record, error) {
		is.Intent = nil
		r.Value, _ = json.Marshal(is)
		return st.Put(ctx, r)
	}},
	{name: "no intent read", get: hide("broker/", "intent")},
	{name: "a late login ends nothing", get: hide("broker/", "ended")},
	{name: "no latch", get: hide("broker/", "latch", "refused")},
	{name: "no Retry-After", get: hide("broker/", "not_before")},
	{name: "no budget", get: hide("budget/", "logins")},
	{name: "no memory of reports", get: hide("broker/", "reported")},
	{name: "no clock of the store", clockless: true},
	{name: "no intent to refresh read", get: func(key string, fields map[string]json.RawMessage) {
		if strings.Contains(string(fields["intent"]), `"refresh"`) {
			delete(fields, "intent")
		}
	}},
	{name: "Retry-After is not heard", deaf: true},
	{name: "budgets are not shared", alone: true},
	{name: "no waiting for calls of others", blind: true},
}

// TestSimulationCatchesMutants: the simulation is red for each mechanism that
// is taken away.
func TestSimulationCatchesMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= 400; seed++ {
				if p := newPlan(seed); p.brokers > 4 || p.calm > time.Hour {
					continue // others show it in less time
				}
				if w := simulate(t, seed, m, false); len(w.violations) > 0 {
					t.Logf("caught by seed %d: %s", seed, w.violations[0])
					return
				}
			}
			t.Error("no seed catches it")
		})
	}
}

// A handOverMutant is a broker that hands over without one of its mechanisms.
// The simulation makes no calls, so it is a fleet that catches it.
type handOverMutant struct {
	store.Store
	store.Watcher
	name string

	mu    sync.Mutex
	last  store.Record // that was read
	stale bool         // the next read finds that again
}

// Get implements [store.Store].
func (m *handOverMutant) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := m.Store.Get(ctx, key)
	if err != nil || !strings.HasPrefix(key, "broker/") {
		return r, err
	}
	is := observe(r.Value)
	if m.name == "no call waits" && is.Intent != nil && is.Intent.Kind == handover {
		is.Intent = nil
		r.Value, err = json.Marshal(is)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.name == "the record is not read again" && m.stale {
		m.stale = false
		return m.last, nil
	}
	m.last = r
	return r, err
}

// Put implements [store.Store].
func (m *handOverMutant) Put(ctx context.Context, r store.Record) (store.Record, error) {
	if !strings.HasPrefix(r.Key, "presence/") {
		return m.Store.Put(ctx, r)
	}
	if m.name == "no presence" {
		return r, nil
	}
	first := r.Version == ""
	r, err := m.Store.Put(ctx, r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stale = m.stale || first
	return r, err
}

// List implements [store.Store].
func (m *handOverMutant) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	if m.name == "no drain acknowledgement" {
		return nil, nil
	}
	return m.Store.List(ctx, prefix, after, limit)
}

// TestHandOverNeedsItsParts: calls fail for each mechanism that is taken away.
func TestHandOverNeedsItsParts(t *testing.T) {
	for _, name := range []string{"no presence", "no drain acknowledgement", "no call waits", "the record is not read again"} {
		t.Run(name, func(t *testing.T) {
			wrap := func(_ int, s store.Store) store.Store {
				return &handOverMutant{Store: s, Watcher: s.(store.Watcher), name: name}
			}
			failed := int64(firstCalls(t, wrap))
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 4, wrap)
				f.loads(3, 5)
				for range 20 {
					time.Sleep(400 * time.Millisecond)
					_ = f.rotate(f.brokers[3]) // which has no calls of its own to wait for
				}
				f.close()
				failed += f.failed.Load()
			})
			t.Logf("%d calls failed", failed)
			if failed == 0 {
				t.Error("no call failed")
			}
		})
	}
}
