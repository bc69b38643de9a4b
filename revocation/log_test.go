package revocation

import (
	"slices"
	"strconv"
	"testing"
	"time"
)

// numbered returns events that say their number.
func numbered(from, to int) (events []Event) {
	for n := from; n <= to; n++ {
		events = append(events, Event{Token: strconv.Itoa(n), Until: start.Add(time.Hour)})
	}
	return events
}

// The ring answers about every place that it can, and about no other.
func TestLogKeeps(t *testing.T) {
	l := NewLog(new(Table))
	l.Keep = 8
	for n := 1; n <= 30; n++ {
		l.Add(numbered(n, n)...)
		l.Add(numbered(1, n)...) // no news
		for at := range n + 3 {
			from, ok := l.find(l.place(uint64(at)))
			if want := at <= n && n-at <= 8; ok != want {
				t.Fatalf("at %d of %d: %v", at, n, ok)
			}
			if !ok {
				if _, _, _, ok := l.after(uint64(at), nil); ok && at < n {
					t.Fatalf("at %d of %d: nobody says that some are lost", at, n)
				}
				continue
			}
			var got []string
			for from < uint64(n) {
				var more <-chan struct{}
				got, from, more, ok = l.after(from, slices.Grow(got, 3))
				if !ok {
					t.Fatalf("at %d of %d: lost", at, n)
				}
				if (more == nil) != (from < uint64(n)) {
					t.Fatal("whether there is more is wrong")
				}
			}
			var want []string
			for i, e := range numbered(at+1, n) {
				e.Until = e.Until.UTC()
				want = append(want, frame(eventEnded, l.place(uint64(at+1+i)), e))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("after %d of %d: %q", at, n, got)
			}
		}
	}
	for _, place := range []string{"", ".", "1", ".1", l.self, l.self + ".", l.self + ".-1", l.self + ".x", "other.3", l.self + ".18446744073709551615"} {
		if _, ok := l.find(place); ok {
			t.Errorf("%q is a place", place)
		}
	}
}
