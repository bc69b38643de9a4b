package seal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/postgres"
	"github.com/jetonhq/jeton/store/redis"
	"github.com/jetonhq/jeton/store/sqlite"
	"github.com/jetonhq/jeton/store/storetest"
)

// everyStore runs a test over memory, and over real databases of each kind.
func everyStore(t *testing.T, test func(t *testing.T, s store.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, store.NewMemory()) })
	t.Run("sqlite", func(t *testing.T) {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "jeton.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		test(t, s)
	})
	t.Run("redis", func(t *testing.T) {
		a := serve(t, storetest.StartRedis, "redis://%s/0")
		s, err := redis.Open(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		test(t, s)
	})
	t.Run("postgres", func(t *testing.T) {
		a := serve(t, storetest.StartPostgres, "postgres://postgres@%s/postgres?sslmode=disable")
		s, err := postgres.Open(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		test(t, s)
	})
}

// serve starts a server and returns where its store is.
func serve(t *testing.T, start func() (*storetest.Server, error), url string) store.Address {
	t.Helper()
	server, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	a, err := store.ParseAddress(fmt.Sprintf(url, server.Addr))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const mark = "seal" // a record that is to come last

// fill writes records a/000 to a/n, each third with the second key, and the mark
// with the first.
func fill(t *testing.T, s store.Store, n int, first, second Key) (all []store.Record) {
	t.Helper()
	put(t, Wrap(s, first), store.Record{Key: mark, Value: []byte("mark")})
	for i := range n {
		r := store.Record{Key: fmt.Sprintf("a/%03d", i), Value: []byte("value " + strconv.Itoa(i))}
		if i%2 == 0 {
			r.Due = time.Unix(int64(i), 1000).UTC()
		}
		key := first
		if i%3 == 0 {
			key = second
		}
		all = append(all, put(t, Wrap(s, key), r))
	}
	return all
}

func wantSealed(t *testing.T, got Report, want map[Key]int) {
	t.Helper()
	for key, n := range want {
		if got.Sealed[key.ID()] != n {
			t.Errorf("key %s seals %d records, want %d; all: %v", key.ID(), got.Sealed[key.ID()], n, got.Sealed)
		}
	}
}

// TestReseal: afterwards the new key alone opens every record, and nothing but
// the seal of those that needed it has changed.
func TestReseal(t *testing.T) {
	everyStore(t, func(t *testing.T, s store.Store) {
		const n = 300 // more than one page
		old, young := NewKey(), NewKey()
		all := fill(t, s, n, old, young)
		before, err := Survey(t.Context(), s, young, old)
		if err != nil {
			t.Fatal(err)
		}
		wantSealed(t, before, map[Key]int{old: 201, young: 100})
		report, err := Reseal(t.Context(), s, mark, young, old)
		if err != nil || report.Resealed != 201 {
			t.Fatalf("%d sealed anew, %v", report.Resealed, err)
		}
		wantSealed(t, report, map[Key]int{old: 0, young: 301})
		w := Wrap(s, young)
		for i, r := range all {
			got := get(t, w, r.Key)
			if string(got.Value) != string(r.Value) || !got.Due.Equal(r.Due) {
				t.Errorf("%s is %q due %v, want %q due %v", r.Key, got.Value, got.Due, r.Value, r.Due)
			}
			if same := got.Version == r.Version; same != (i%3 == 0) {
				t.Errorf("%s: written %v, want %v", r.Key, !same, i%3 != 0)
			}
		}
		if got := get(t, w, mark); string(got.Value) != "mark" {
			t.Errorf("the mark is %q", got.Value)
		}
		again, err := Reseal(t.Context(), s, mark, young)
		if err != nil || again.Resealed != 0 {
			t.Errorf("%d sealed anew the second time, %v", again.Resealed, err)
		}
	})
}

// TestResealStopped: whenever it stops, before or after a write, every record
// opens with both keys, the mark is the old key's, and the next run ends it.
func TestResealStopped(t *testing.T) {
	const n = 10
	for _, fault := range []storetest.Fault{storetest.Down, storetest.LoseAnswer} {
		for stop := range int32(n + 1) {
			s := store.NewMemory()
			old, young := NewKey(), NewKey()
			fill(t, s, n, old, old)
			var puts atomic.Int32
			faults := new(storetest.Faults)
			faults.Decide(func(op, _ string) storetest.Fault {
				if op == "put" && puts.Add(1) > stop {
					return fault
				}
				return storetest.Healthy
			})
			report, err := Reseal(t.Context(), storetest.Faulty(s, faults), mark, young, old)
			if !errors.Is(err, storetest.ErrFault) || report.Resealed != int(stop) {
				t.Fatalf("after %d: %d sealed anew, %v", stop, report.Resealed, err)
			}
			if _, err := Wrap(s, old).Get(t.Context(), mark); err != nil && stop < n {
				t.Errorf("after %d: the mark: %v", stop, err)
			}
			if _, err := Wrap(s, young, old).List(t.Context(), "", "", 100); err != nil {
				t.Errorf("after %d: %v", stop, err)
			}
			if _, err := Reseal(t.Context(), s, mark, young, old); err != nil {
				t.Fatal(err)
			}
			if list, err := Wrap(s, young).List(t.Context(), "", "", 100); err != nil || len(list) != n+1 {
				t.Errorf("after %d and again: %d records, %v", stop, len(list), err)
			}
		}
	}
}

// TestResealBroken: records that do not open are named, with what sealed them
// and without what they hold; the others are sealed anew, the mark is not.
func TestResealBroken(t *testing.T) {
	s := store.NewMemory()
	old, young, lost := NewKey(), NewKey(), NewKey()
	fill(t, s, 10, old, old)
	put(t, Wrap(s, lost), store.Record{Key: "a/lost", Value: []byte("canary-lost")})
	put(t, s, store.Record{Key: "a/open", Value: []byte("canary-open, which nobody ever sealed, though it is long enough for that")})
	moved := get(t, s, "a/001")
	put(t, s, store.Record{Key: "b/moved", Value: moved.Value})
	for range 2 {
		report, err := Reseal(t.Context(), s, mark, young, old)
		if err == nil || report.Broken != 3 {
			t.Fatalf("%d do not open, %v", report.Broken, err)
		}
		for _, want := range []string{`"a/lost"`, lost.ID(), `"a/open"`, `"b/moved"`, ErrTampered.Error()} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v does not name %s", err, want)
			}
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("a value is in %v", err)
		}
		wantSealed(t, report, map[Key]int{young: 10, lost: 1, old: 2}) // the mark, and what was moved
	}
	if _, err := Wrap(s, old).Get(t.Context(), mark); err != nil {
		t.Errorf("the mark: %v", err)
	}

	// Without the old key nothing opens, and not all of it is named.
	s = store.NewMemory()
	fill(t, s, 30, old, old)
	report, err := Reseal(t.Context(), s, mark, young)
	if report.Broken != 31 || !errors.Is(err, ErrWrongKey) || strings.Count(err.Error(), "\n") != 10 || !strings.Contains(err.Error(), "and 21 more") {
		t.Errorf("%d do not open, %v", report.Broken, err)
	}
}

// sneaky is a store in which somebody writes whenever a listing begins.
type sneaky struct {
	store.Store
	write func()
}

func (s sneaky) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	list, err := s.Store.List(ctx, prefix, after, limit)
	s.write()
	return list, err
}

// TestResealIsNotBelieved: while a process seals with the old key, nobody is
// told that it can go.
func TestResealIsNotBelieved(t *testing.T) {
	s := store.NewMemory()
	old, young := NewKey(), NewKey()
	fill(t, s, 10, old, old)
	stale := Wrap(s, old, young) // has not been told of the rotation
	var n int
	report, err := Reseal(t.Context(), sneaky{s, func() {
		put(t, stale, store.Record{Key: fmt.Sprintf("a/late-%d", n), Value: []byte("x")})
		n++
	}}, mark, young, old)
	if !errors.Is(err, ErrSealedAgain) {
		t.Errorf("%+v, %v", report, err)
	}
	wantSealed(t, report, map[Key]int{old: 2}) // the mark, and what came after the first pass
	if _, err := Wrap(s, old).Get(t.Context(), mark); err != nil {
		t.Errorf("the mark: %v", err)
	}
	if _, err := Reseal(t.Context(), s, mark, young, old); err != nil {
		t.Errorf("when that process has ended: %v", err)
	}
}

// TestResealInUse: counters that several processes raise, make and delete
// meanwhile lose nothing, though every record is sealed anew all the time.
func TestResealInUse(t *testing.T) {
	everyStore(t, func(t *testing.T, s store.Store) {
		const counters, writers, each = 3, 3, 40
		one, two := NewKey(), NewKey()
		w := Wrap(s, one, two)
		for i := range counters {
			put(t, w, store.Record{Key: fmt.Sprintf("counter/%d", i), Value: []byte("0")})
		}
		stop := make(chan bool)
		var sealing, writing sync.WaitGroup
		var resealed, raised atomic.Int64
		sealing.Go(func() {
			for keys := []Key{one, two}; ; keys[0], keys[1] = keys[1], keys[0] {
				report, err := Reseal(t.Context(), s, mark, keys...)
				if err != nil && !errors.Is(err, ErrSealedAgain) {
					t.Error(err)
				}
				resealed.Add(int64(report.Resealed))
				select {
				case <-stop:
					return
				default:
				}
			}
		})
		for writer := range writers {
			writing.Go(func() {
				// A store in memory may be done before anything was sealed anew.
				for i := 0; i < each || resealed.Load() < counters && !t.Failed(); i++ {
					raise(t, w, fmt.Sprintf("counter/%d", i%counters))
					raised.Add(1)
					passing := put(t, w, store.Record{Key: fmt.Sprintf("passing/%d", writer), Value: []byte("x")})
					for {
						err := w.Delete(t.Context(), passing)
						if err == nil {
							break
						}
						if !errors.Is(err, store.ErrConflict) {
							t.Error(err)
							return
						}
						passing = get(t, w, passing.Key)
					}
				}
			})
		}
		writing.Wait()
		close(stop)
		sealing.Wait()
		sum := int64(0)
		for i := range counters {
			n, _ := strconv.Atoi(string(get(t, w, fmt.Sprintf("counter/%d", i)).Value))
			sum += int64(n)
		}
		list, err := s.List(t.Context(), "", "", 100)
		if sum != raised.Load() || sum < writers*each || err != nil || len(list) != counters || resealed.Load() < counters {
			t.Errorf("the counters are at %d of %d, %d records, %d sealed anew, %v", sum, raised.Load(), len(list), resealed.Load(), err)
		}
	})
}

// raise adds 1 to a counter.
func raise(t *testing.T, s store.Store, key string) {
	for {
		r, err := s.Get(t.Context(), key)
		if err == nil {
			n, _ := strconv.Atoi(string(r.Value))
			r.Value = []byte(strconv.Itoa(n + 1))
			_, err = s.Put(t.Context(), r)
		}
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrConflict) {
			t.Error(err)
			return
		}
	}
}
