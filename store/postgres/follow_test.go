package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// Two processes write at the same time, and each is told what the other did, by
// its key.
func TestFollowSeesOthers(t *testing.T) {
	url := fresh()
	here, there := open(t, url), open(t, url)
	l := storetest.FollowStore(t, here, "a/")
	before := l.Zeros()
	l.Fill(there, "a/there")
	l.Fill(here, "a/here")
	if l.Zeros() != before {
		t.Error("a write was told as any")
	}
}

// What is committed while nobody listens is told when somebody does again, and
// nothing is fresh in between.
func TestFollowMissesNothing(t *testing.T) {
	url := fresh()
	here, there := open(t, url), open(t, url)
	listen, gate := here.feed.Listen, make(chan struct{}, 1)
	gate <- struct{}{}
	here.feed.Listen = func(ctx context.Context, up func()) error {
		select {
		case <-gate:
			return listen(ctx, up)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	broken := make(chan struct{}, 1)
	whole := here.feed.Listen
	here.feed.Listen = func(ctx context.Context, up func()) error {
		err := whole(ctx, up)
		broken <- struct{}{}
		return err
	}
	l := storetest.FollowStore(t, here, "a/")
	exec(t, there, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_notify($1, '''')' AND state = 'idle'`)
	storetest.Await(t, broken, "the break")
	const key = "a/missed"
	l.Write(key, func() error { _, err := there.Put(t.Context(), store.Record{Key: key}); return err })
	missed := time.Now()
	if l.Told(key) {
		t.Fatal("somebody listens")
	}
	gate <- struct{}{}
	l.AwaitFresh(missed) // fails the test if the write was not told before
	if !l.Told(key) {
		t.Error("a write was missed")
	}
}

// A server that is gone makes nothing fresh.
func TestFollowRestart(t *testing.T) {
	s := open(t, fresh())
	l := storetest.FollowStore(t, s, "a/")
	before := l.Zeros()
	server.Stop()
	stopped := time.Now()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	l.AwaitFresh(stopped)
	if l.Zeros() == before {
		t.Error("nobody was told that changes may have been missed")
	}
	// The pool has connections of before, each of which fails once.
	for {
		if _, err := s.Get(t.Context(), "a"); err == nil || errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	l.Fill(s, "a")
}
