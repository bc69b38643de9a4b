package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func pending(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestWatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var ws Watchers
		ws.Signal("a") // nobody
		all, a, twin, ab := ws.Add(ctx, ""), ws.Add(ctx, "a/"), ws.Add(t.Context(), "a/"), ws.Add(ctx, "a/b")
		for key, want := range map[string][4]bool{
			"": {true}, "a": {true}, "b/a/b": {true}, "a/": {true, true, true}, "a/c": {true, true, true}, "a/bcd": {true, true, true, true},
		} {
			ws.Signal(key)
			ws.Signal(key) // is merged
			if got := [4]bool{pending(all), pending(a), pending(twin), pending(ab)}; got != want {
				t.Errorf("%q signals %v, want %v", key, got, want)
			}
			if pending(all) {
				t.Errorf("%q: two signals", key)
			}
		}
		cancel()
		synctest.Wait()
		if _, open := <-a; open {
			t.Error("a signal, want the channel closed")
		}
		ws.SignalAll()
		if !pending(twin) || len(ws.byPrefix) != 1 {
			t.Errorf("who still watches was not told, or others are left: %d", len(ws.byPrefix))
		}
	})
}

// A feed whose connection breaks tells everyone when it is back, and in the
// meantime now and then.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex     // guards the two below
		var broken chan error // ends the connection; nil: nobody answers
		attempts := 0
		set := func(to chan error) (was chan error) {
			mu.Lock()
			defer mu.Unlock()
			was, broken = broken, to
			return was
		}
		tried := func() int {
			mu.Lock()
			defer mu.Unlock()
			return attempts
		}
		f := &Feed{}
		f.Listen = func(ctx context.Context, up func()) error {
			mu.Lock()
			attempts++
			broken := broken
			mu.Unlock()
			if broken == nil {
				return errors.New("down")
			}
			up()
			select {
			case err := <-broken:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		set(make(chan error))
		changed, err := f.Watch(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !pending(changed) {
			t.Error("no signal when the feed began: what came before it is unknown")
		}
		time.Sleep(time.Hour)
		if pending(changed) || tried() != 1 {
			t.Errorf("a feed that hears all gave a signal, or made %d attempts", tried())
		}
		f.Signal("ab")
		if !pending(changed) {
			t.Error("no signal for a change")
		}

		set(nil) <- errors.New("reset")
		time.Sleep(time.Minute)
		if n := tried(); !pending(changed) || n < 12 || n > 25 {
			t.Errorf("while the feed was down: no signal, or %d attempts", n)
		}
		again := make(chan error)
		set(again)
		time.Sleep(relistenMost)
		if !pending(changed) {
			t.Error("no signal when the feed was back")
		}
		time.Sleep(time.Hour)
		if pending(changed) {
			t.Error("a feed that is back goes on signalling")
		}
		before := tried()
		again <- errors.New("reset")
		time.Sleep(2 * relistenFirst)
		if tried() != before+1 {
			t.Error("after an hour of health the first new attempt is not at once")
		}

		f.Close()
		f.Close()
		if _, err := f.Watch(t.Context(), "a"); !errors.Is(err, ErrClosed) {
			t.Errorf("Watch after Close: %v", err)
		}
	})
}

// A feed tells those who follow that anything may have changed, whenever it
// begins to hear of changes, and ends them when it is closed.
func TestFeedFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := make(chan error)
		f := &Feed{}
		f.Listen = func(ctx context.Context, up func()) error {
			up()
			select {
			case err := <-broken:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var mu sync.Mutex // guards told
		var told []string
		done := make(chan error)
		go func() {
			done <- f.Follow(t.Context(), "a/", func(key string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, key)
			}, func(time.Time) {})
		}()
		want := func(what string, keys ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, keys) {
				t.Errorf("%s: told %q, want %q", what, told, keys)
			}
			told = nil
		}
		want("the beginning and the first connection", "", "")
		f.Followers.Tell("a/b")
		f.Followers.Tell("b")
		want("two changes", "a/b")
		broken <- errors.New("reset")
		want("no connection")
		time.Sleep(relistenFirst)
		want("the next connection", "")
		f.Close()
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("after Close Follow returned %v", err)
		}
		f.Followers.Tell("")
		want("nobody follows any more")
	})
}
