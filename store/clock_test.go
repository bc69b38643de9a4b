package store_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
)

// plain has the methods of a Store and no others.
type plain struct{ store.Store }

type clock struct{ at time.Time }

func (c clock) Now(context.Context) (time.Time, time.Duration, error) { return c.at, 0, nil }

func TestLike(t *testing.T) {
	type timed struct {
		plain
		clock
	}
	type both struct {
		*store.Memory
		clock
	}
	type watcher struct { // that cannot be followed
		plain
		store.Watcher
	}
	type watched struct {
		watcher
		clock
	}
	one, two := clock{time.Unix(1, 0)}, clock{time.Unix(2, 0)}
	for _, c := range []struct {
		name                    string
		outer, inner            store.Store
		watches, follows, tells bool
		says                    int64
	}{
		{"neither", plain{}, plain{}, false, false, false, 0},
		{"neither, though outer could", both{store.NewMemory(), one}, plain{}, false, false, false, 0},
		{"a watcher", plain{}, watcher{plain{}, store.NewMemory()}, true, false, false, 0},
		{"a watcher and a clock", plain{}, watched{watcher{plain{}, store.NewMemory()}, two}, true, false, true, 2},
		{"a follower", plain{}, store.NewMemory(), true, true, false, 0},
		{"a clock", plain{}, timed{plain{}, two}, false, false, true, 2},
		{"all", plain{}, both{store.NewMemory(), two}, true, true, true, 2},
		{"all, by its own clock", timed{plain{}, one}, both{store.NewMemory(), two}, true, true, true, 1},
	} {
		s := store.Like(c.outer, c.inner)
		_, watches := s.(store.Watcher)
		_, follows := s.(store.Follower)
		tells, ok := s.(store.Clock)
		if watches != c.watches || follows != c.follows || ok != c.tells {
			t.Errorf("%s: watcher %v, follower %v, clock %v; want %v, %v, %v", c.name, watches, follows, ok, c.watches, c.follows, c.tells)
		}
		if !ok {
			continue
		}
		if now, _, err := tells.Now(t.Context()); err != nil || now.Unix() != c.says {
			t.Errorf("%s: %v, %v", c.name, now, err)
		}
	}
}

func TestDate(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 999e6, time.UTC)
	now, within, err := store.Date(http.Header{"Date": {at.Format(http.TimeFormat)}})
	if off := now.Sub(at).Abs(); err != nil || off > within {
		t.Errorf("%v off, within %v, %v", off, within, err)
	}
	if _, _, err := store.Date(http.Header{}); err == nil {
		t.Error("an answer without a Date tells the time")
	}
}
