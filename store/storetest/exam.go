package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
)

func testAbsent(t *testing.T, s store.Store) {
	ctx := t.Context()
	if _, err := s.Get(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	if _, err := s.Put(ctx, store.Record{Key: "a", Version: "1"}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Put at a version: %v, want ErrConflict", err)
	}
	for _, version := range []string{"", "1", "no number"} {
		if err := s.Delete(ctx, store.Record{Key: "a", Version: version}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Delete at %q: %v, want ErrNotFound", version, err)
		}
	}
	r := put(t, s, store.Record{Key: "a"})
	for _, version := range []string{"", r.Version + "0", " " + r.Version, "0" + r.Version, "no number"} {
		r := store.Record{Key: "a", Version: version}
		if _, err := s.Put(ctx, r); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Put at %q: %v, want ErrConflict", version, err)
		}
		if err := s.Delete(ctx, r); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Delete at %q: %v, want ErrConflict", version, err)
		}
	}
}

const racers = 16

// wantOneWinner fails unless one of the racers won and all others lost by one
// of the errors that a loser may see.
func wantOneWinner(t *testing.T, errs []error, lost ...error) {
	t.Helper()
	winners := 0
	for _, err := range errs {
		switch {
		case err == nil:
			winners++
		case !slices.ContainsFunc(lost, func(l error) bool { return errors.Is(err, l) }):
			t.Errorf("loser: %v, want one of %v", err, lost)
		}
	}
	if winners != 1 {
		t.Errorf("%d winners of %d, want 1", winners, len(errs))
	}
}

func testOneWinner(t *testing.T, s store.Store) {
	r := put(t, s, store.Record{Key: "lease"})
	for range 5 {
		errs := race(racers, func(i int) error {
			mine := r
			mine.Value = []byte(strconv.Itoa(i))
			_, err := s.Put(t.Context(), mine)
			return err
		})
		wantOneWinner(t, errs, store.ErrConflict)
		now, err := s.Get(t.Context(), "lease")
		r = must(t, now, err)
		if i, err := strconv.Atoi(string(r.Value)); err != nil || errs[i] != nil {
			t.Errorf("the store holds %q, which is not the winner's", r.Value)
		}
	}
}

func testOneCreator(t *testing.T, s store.Store) {
	wantOneWinner(t, race(racers, func(int) error {
		_, err := s.Put(t.Context(), store.Record{Key: "new"})
		return err
	}), store.ErrConflict)
}

func testOneDeleter(t *testing.T, s store.Store) {
	r := put(t, s, store.Record{Key: "old"})
	wantOneWinner(t, race(racers, func(i int) error {
		if i%2 == 0 {
			_, err := s.Put(t.Context(), r)
			return err
		}
		return s.Delete(t.Context(), r)
	}), store.ErrConflict, store.ErrNotFound)
}

func testNoLostUpdate(t *testing.T, s store.Store) {
	const each = 5
	put(t, s, store.Record{Key: "counter", Value: []byte("0")})
	for _, err := range race(racers, func(int) error {
		for done := 0; done < each; {
			r, err := s.Get(t.Context(), "counter")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(r.Value))
			if err != nil {
				return err
			}
			r.Value = strconv.AppendInt(nil, int64(n+1), 10)
			switch _, err = s.Put(t.Context(), r); {
			case err == nil:
				done++
			case !errors.Is(err, store.ErrConflict):
				return err
			}
		}
		return nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Get(t.Context(), "counter")
	if got := string(must(t, r, err).Value); got != strconv.Itoa(racers*each) {
		t.Errorf("counted %s, want %d", got, racers*each)
	}
}

func testVersions(t *testing.T, s store.Store) {
	ctx := t.Context()
	seen := map[string]bool{}
	note := func(r store.Record) store.Record {
		if r.Version == "" || seen[r.Version] {
			t.Fatalf("version %q is empty or was used before", r.Version)
		}
		seen[r.Version] = true
		return r
	}
	for range 10 {
		first := note(put(t, s, store.Record{Key: "a", Value: []byte("same")}))
		second := note(put(t, s, first)) // a write that changes nothing is a write
		if err := s.Delete(ctx, second); err != nil {
			t.Fatal(err)
		}
		third := note(put(t, s, store.Record{Key: "a", Value: []byte("same")}))
		for _, stale := range []store.Record{first, second} {
			if _, err := s.Put(ctx, stale); !errors.Is(err, store.ErrConflict) {
				t.Fatalf("Put at a version of a deleted record: %v, want ErrConflict", err)
			}
			if err := s.Delete(ctx, stale); !errors.Is(err, store.ErrConflict) {
				t.Fatalf("Delete at a version of a deleted record: %v, want ErrConflict", err)
			}
		}
		if err := s.Delete(ctx, third); err != nil {
			t.Fatal(err)
		}
	}
}

// wild are keys that mean something else to LIKE, GLOB, a shell or a
// case-blind comparison than to a comparison of bytes.
var wild = []string{
	"%", "%%", "%25", "_", "__", `\`, `\%`, `\_`, "*", "?", "[a]", "'", `"`, "a", "A", "a/", "a/%", "a/%/b",
	"a/*", "a/_", "a/b", "a/b/c", "a/B", "a0", "aa", "ab", "b", "~", "~~", "user/é", "user/e\u0301", store.Key("\xff", "\x00", "/"),
}

func testList(t *testing.T, s store.Store) {
	for _, i := range rand.Perm(len(wild)) {
		put(t, s, store.Record{Key: wild[i], Value: []byte(wild[i])})
	}
	prefixes := append([]string{"", "a/%/", "zz", "us", "user/\xc3"}, wild...)
	for _, prefix := range prefixes {
		var want []string
		for _, key := range wild {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		slices.Sort(want)
		for _, limit := range []int{1, 2, 1000} {
			if got := pages(t, s, prefix, limit); !slices.Equal(got, want) {
				t.Errorf("List %q by %d:\n got %q\nwant %q", prefix, limit, got, want)
			}
		}
	}
	for _, q := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"a/", "a", 1, []string{"a/"}},        // after sorts before the prefix
		{"a/", "a/*", 1, []string{"a/B"}},     // and is itself left out
		{"a/", "a/AA", 1, []string{"a/B"}},    // after need not exist
		{"a/", "a0", 10, nil},                 // after sorts behind the prefix
		{"a/", "", 0, nil}, {"", "", -1, nil}, // no more than asked for
	} {
		list, err := s.List(t.Context(), q.prefix, q.after, q.limit)
		if got := keysOf(must(t, list, err)); !slices.Equal(got, q.want) {
			t.Errorf("List %q after %q, %d: got %q, want %q", q.prefix, q.after, q.limit, got, q.want)
		}
	}
}

// pages lists all keys under prefix in pages of limit.
func pages(t *testing.T, s store.Store, prefix string, limit int) (keys []string) {
	for after := ""; ; after = keys[len(keys)-1] {
		page, err := s.List(t.Context(), prefix, after, limit)
		if len(must(t, page, err)) > limit {
			t.Fatalf("List: %d records, limit %d", len(page), limit)
		}
		for _, r := range page {
			if string(r.Value) != r.Key || r.Version == "" {
				t.Errorf("List: got %s with the value %q", describe(r), r.Value)
			}
		}
		if keys = append(keys, keysOf(page)...); len(page) < limit {
			return keys
		}
	}
}

func testDue(t *testing.T, s store.Store) {
	noon := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	for _, r := range []store.Record{
		{Key: "p/never"},
		{Key: "p/late", Due: noon.Add(-time.Hour)},
		{Key: "p/b", Due: noon.Add(-time.Microsecond)},
		{Key: "p/B", Due: noon.Add(-time.Microsecond)},
		{Key: "p/epoch", Due: time.Unix(0, 0)},
		{Key: "p/1901", Due: time.Date(1901, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Key: "p/now", Due: noon.In(time.FixedZone("", 3600))},
		{Key: "p/soon", Due: noon.Add(time.Microsecond)},
		{Key: "p/3000", Due: time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Key: "q/late", Due: noon.Add(-2 * time.Hour)},
		{Key: "%/late", Due: noon.Add(-3 * time.Hour)},
	} {
		got := put(t, s, r)
		if want := store.RoundDue(r.Due); !got.Due.Equal(want) {
			t.Errorf("%s: Put returned due %v", r.Key, got.Due)
		}
	}
	due := []string{"p/1901", "p/epoch", "p/late", "p/B", "p/b", "p/now"}
	for _, q := range []struct {
		prefix string
		at     time.Time
		limit  int
		want   []string
	}{
		{"p/", noon, 100, due},
		{"p/", noon, 4, due[:4]},
		{"p/", noon.Add(time.Nanosecond), 100, due},
		{"p/", noon.Add(time.Microsecond), 100, append(slices.Clone(due), "p/soon")},
		{"p/", time.Unix(0, 0).Add(-time.Second), 100, due[:1]},
		{"%", noon, 100, []string{"%/late"}},
		{"", noon, 4, []string{"p/1901", "p/epoch", "%/late", "q/late"}},
		{"p/", noon, 0, nil}, {"p/", noon, -1, nil}, {"z", noon, 1, nil},
	} {
		list, err := s.Due(t.Context(), q.prefix, q.at, q.limit)
		if got := keysOf(must(t, list, err)); !slices.Equal(got, q.want) {
			t.Errorf("Due %q at %v, %d:\n got %q\nwant %q", q.prefix, q.at, q.limit, got, q.want)
		}
	}
	// A record that is put off, or rid of its Due, is due no more.
	r, err := s.Get(t.Context(), "p/1901")
	r = must(t, r, err)
	r.Due = noon.Add(time.Hour)
	r = put(t, s, r)
	list, err := s.Due(t.Context(), "p/", noon, 1)
	if got := keysOf(must(t, list, err)); !slices.Equal(got, due[1:2]) {
		t.Errorf("after putting off: %q", got)
	}
	r.Due = time.Time{}
	if got := put(t, s, r); !got.Due.IsZero() {
		t.Errorf("no Due came back as %v", got.Due)
	}
	if got, err := s.Get(t.Context(), r.Key); err != nil || !got.Due.IsZero() {
		t.Errorf("no Due is stored as %v, %v", got.Due, err)
	}
}

func testValues(t *testing.T, s store.Store) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for i, value := range [][]byte{nil, {}, {0}, []byte("NULL"), all, bytes.Repeat(all, 256)} {
		r := put(t, s, store.Record{Key: fmt.Sprint("v/", i), Value: value})
		if !bytes.Equal(r.Value, value) {
			t.Errorf("%d: Put returned another value", i)
		}
		got, err := s.Get(t.Context(), r.Key)
		if got = must(t, got, err); !bytes.Equal(got.Value, value) || got.Key != r.Key || got.Version != r.Version {
			t.Errorf("%d: got %s, want %s", i, describe(got), describe(r))
		}
	}
}

func testNotAliased(t *testing.T, s store.Store) {
	ctx, at := t.Context(), time.Unix(1000, 0)
	mine := []byte("value")
	r := put(t, s, store.Record{Key: "a", Value: mine, Due: at})
	mine[0] = 'X'
	r.Value[1] = 'X'
	check := func(after string) {
		t.Helper()
		r, err := s.Get(ctx, "a")
		if got := must(t, r, err); string(got.Value) != "value" {
			t.Fatalf("changing the slice of %s changed the record to %q", after, got.Value)
		}
	}
	check("Put")
	r, err := s.Get(ctx, "a")
	must(t, r, err).Value[0] = 'X'
	check("Get")
	list, err := s.List(ctx, "", "", 1)
	must(t, list, err)[0].Value[0] = 'X'
	check("List")
	due, err := s.Due(ctx, "", at, 1)
	must(t, due, err)[0].Value[0] = 'X'
	check("Due")
}

func testCanceled(t *testing.T, s store.Store) {
	r := put(t, s, store.Record{Key: "a", Value: []byte("before")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for op, do := range map[string]func() error{
		"Get":    func() error { _, err := s.Get(ctx, "a"); return err },
		"Put":    func() error { _, err := s.Put(ctx, store.Record{Key: "a", Version: r.Version}); return err },
		"Delete": func() error { return s.Delete(ctx, r) },
		"List":   func() error { _, err := s.List(ctx, "", "", 1); return err },
		"Due":    func() error { _, err := s.Due(ctx, "", time.Now(), 1); return err },
	} {
		if err := do(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", op, err)
		}
	}
	got, err := s.Get(t.Context(), "a")
	if must(t, got, err).Version != r.Version {
		t.Error("a canceled write took effect")
	}
}

func testWatch(t *testing.T, s store.Store) {
	w, ok := s.(store.Watcher)
	if !ok {
		return // watching is optional
	}
	ctx, cancel := context.WithCancel(t.Context())
	watch := func(prefix string) <-chan struct{} {
		c, err := w.Watch(ctx, prefix)
		return must(t, c, err)
	}
	changed, other := watch("a/"), watch("a/b/")
	deadline := within(t, 20*time.Second)
	signal := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case _, open := <-c:
			if !open {
				t.Fatalf("%s: the channel is closed", what)
			}
		case <-deadline.Done():
			t.Fatalf("%s: no signal", what)
		}
	}
	r := put(t, s, store.Record{Key: "a/b/c"})
	signal("create", changed)
	signal("create under a longer prefix", other)
	r = put(t, s, r)
	signal("change", changed)
	if err := s.Delete(ctx, r); err != nil {
		t.Fatal(err)
	}
	signal("delete", changed)
	for range 100 { // nobody receives: the writer must not wait
		r = put(t, s, store.Record{Key: "a/many"})
		if err := s.Delete(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	signal("merged changes", changed)
	cancel()
	for _, c := range []<-chan struct{}{changed, other} {
		for open := true; open; {
			select {
			case _, open = <-c:
			case <-deadline.Done():
				t.Fatal("the channel stays open after its context ended")
			}
		}
	}
	if c, err := w.Watch(ctx, ""); err == nil {
		for range c { // an ended context may also close the channel at once
		}
	}
}

// testClock holds a store that has a clock against this machine's, which a
// test's server shares.
func testClock(t *testing.T, s store.Store) {
	c, ok := s.(store.Clock)
	if !ok {
		return // a clock is optional
	}
	var last time.Time
	for range 5 {
		began := time.Now()
		now, within, err := c.Now(t.Context())
		arrived := time.Now()
		if err != nil {
			t.Fatal(err)
		}
		if within < 0 || within > time.Second {
			t.Errorf("within %v; that is no clock", within)
		}
		const finest = time.Microsecond // a database's clock may count no less
		if now.Before(began.Add(-within-finest)) || now.After(arrived.Add(within+finest)) {
			t.Errorf("it says %v within %v, between %v and %v", now, within, began, arrived)
		}
		if now.Before(last) {
			t.Errorf("it goes back from %v to %v", last, now)
		}
		last = now
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Now(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v, want context.Canceled", err)
	}
}
