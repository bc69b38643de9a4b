package storetest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton/store"
)

// A model is the simplest thing that does what the contract says.
type model struct {
	store   store.Store
	prefix  string                  // of all keys: each run has records of its own
	now     map[string]store.Record // :: key -> record
	past    []store.Record          // whatever Put returned, the oldest first
	version map[string]bool         // :: version -> was used
}

// testModel does random operations to the store and the model and compares.
func testModel(t *testing.T, s store.Store) {
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := &model{store: s, prefix: store.Key("run", string(rune('a'+run%26)), time.Now().Format(time.RFC3339Nano)) + "/",
			now: map[string]store.Record{}, version: map[string]bool{}}
		ctx := t.Context()
		rt.Repeat(map[string]func(*rapid.T){
			"get": func(rt *rapid.T) {
				key := m.key(rt)
				got, err := s.Get(ctx, key)
				want, ok := m.now[key]
				if !ok {
					wantError(rt, err, store.ErrNotFound)
					return
				}
				wantError(rt, err, nil)
				wantRecord(rt, got, want)
			},
			"put": func(rt *rapid.T) {
				r := m.target(rt)
				r.Due, r.Value = due.Draw(rt, "due"), value.Draw(rt, "value")
				got, err := s.Put(ctx, r)
				if m.now[r.Key].Version != r.Version {
					wantError(rt, err, store.ErrConflict)
					return
				}
				wantError(rt, err, nil)
				if got.Version == "" || m.version[got.Version] {
					rt.Fatalf("version %q is empty or was used before", got.Version)
				}
				r.Version, r.Due = got.Version, store.RoundDue(r.Due)
				wantRecord(rt, got, r)
				m.version[got.Version], m.now[r.Key], m.past = true, r, append(m.past, r)
			},
			"delete": func(rt *rapid.T) {
				r := m.target(rt)
				now, ok := m.now[r.Key]
				err := s.Delete(ctx, r)
				switch {
				case !ok:
					wantError(rt, err, store.ErrNotFound)
				case now.Version != r.Version:
					wantError(rt, err, store.ErrConflict)
				default:
					wantError(rt, err, nil)
					delete(m.now, r.Key)
				}
			},
			"list": func(rt *rapid.T) {
				prefix, limit, after := m.cut(rt), rapid.IntRange(0, 10).Draw(rt, "limit"), ""
				if rapid.Bool().Draw(rt, "page") {
					after = m.key(rt)
				}
				got, err := s.List(ctx, prefix, after, limit)
				wantError(rt, err, nil)
				m.compare(rt, got, limit, func(r store.Record) bool {
					return strings.HasPrefix(r.Key, prefix) && r.Key > after
				}, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
			},
			"due": func(rt *rapid.T) {
				prefix, limit, at := m.cut(rt), rapid.IntRange(0, 10).Draw(rt, "limit"), due.Draw(rt, "at")
				got, err := s.Due(ctx, prefix, at, limit)
				wantError(rt, err, nil)
				m.compare(rt, got, limit, func(r store.Record) bool {
					return strings.HasPrefix(r.Key, prefix) && !r.Due.IsZero() && !r.Due.After(at)
				}, func(a, b store.Record) int {
					if c := a.Due.Compare(b.Due); c != 0 {
						return c
					}
					return strings.Compare(a.Key, b.Key)
				})
			},
		})
	})
}

var (
	// Hostile bytes reach a key by store.Key only, as the contract says; what
	// is written by hand may hold any sign that one can type.
	segment = rapid.OneOf(rapid.SampledFrom(wild), rapid.StringN(0, 12, 40),
		rapid.StringOfN(rapid.SampledFrom([]rune(`aAbB/%_\*?'"`)), 0, 4, -1),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return store.Key(string(b)) }),
		rapid.Map(rapid.IntRange(1, 200), func(n int) string { return strings.Repeat("k", n) }))

	value = rapid.Custom(func(rt *rapid.T) []byte {
		v := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(rt, "bytes")
		if rapid.IntRange(0, 9).Draw(rt, "large") == 0 {
			v = bytes.Repeat(append(v, 0), 64<<10/(len(v)+1))
		}
		return v
	})

	due = rapid.Map(rapid.Int64Range(-5, 20), func(n int64) time.Time {
		if n < 0 {
			return time.Time{}
		}
		return time.Unix(1_900_000_000, n*400) // several of them share a microsecond
	})
)

// key is mostly one that is or was in use.
func (m *model) key(rt *rapid.T) string {
	if len(m.past) > 0 && rapid.IntRange(0, 3).Draw(rt, "known") > 0 {
		return rapid.SampledFrom(m.past).Draw(rt, "past").Key
	}
	// A sign that is no text in a key written by hand is a mistake of the program.
	return m.prefix + strings.ReplaceAll(segment.Draw(rt, "segment"), "\x00", "")
}

// target is a record at its present version, at a past one, or at none.
func (m *model) target(rt *rapid.T) store.Record {
	key := m.key(rt)
	versions := []string{m.now[key].Version, m.now[key].Version, m.now[key].Version, ""}
	for _, r := range m.past {
		versions = append(versions, r.Version)
	}
	versions = versions[:min(len(versions), 8)]
	return store.Record{Key: key, Version: rapid.SampledFrom(versions).Draw(rt, "version")}
}

// cut is a key cut short, though not so short that it meets another run's.
func (m *model) cut(rt *rapid.T) string {
	key := m.key(rt)
	return key[:rapid.IntRange(len(m.prefix), len(key)).Draw(rt, "cut")]
}

func (m *model) compare(rt *rapid.T, got []store.Record, limit int, in func(store.Record) bool, order func(a, b store.Record) int) {
	var want []store.Record
	for _, r := range m.now {
		if in(r) {
			want = append(want, r)
		}
	}
	slices.SortFunc(want, order)
	want = want[:min(limit, len(want))]
	if !slices.Equal(keysOf(got), keysOf(want)) {
		rt.Fatalf("got %q, want %q", keysOf(got), keysOf(want))
	}
	for i := range got {
		wantRecord(rt, got[i], want[i])
	}
}

func wantRecord(rt *rapid.T, got, want store.Record) {
	if got.Key != want.Key || got.Version != want.Version || !got.Due.Equal(want.Due) || !bytes.Equal(got.Value, want.Value) {
		rt.Fatalf("got %s, want %s", describe(got), describe(want))
	}
}

func wantError(rt *rapid.T, got, want error) {
	if !errors.Is(got, want) {
		rt.Fatalf("got %v, want %v", got, want)
	}
}
