package store

import (
	"context"
	"errors"
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
		var broken chan error // ends the connection; nil: nobody answers
		f := &Feed{}
		attempts := 0
		f.Listen = func(ctx context.Context, up func()) error {
			attempts++
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
		broken = make(chan error)
		changed, err := f.Watch(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !pending(changed) {
			t.Error("no signal when the feed began: what came before it is unknown")
		}
		time.Sleep(time.Hour)
		if pending(changed) || attempts != 1 {
			t.Errorf("a feed that hears all gave a signal, or made %d attempts", attempts)
		}
		f.Signal("ab")
		if !pending(changed) {
			t.Error("no signal for a change")
		}

		was := broken
		broken = nil
		was <- errors.New("reset")
		time.Sleep(time.Minute)
		if !pending(changed) || attempts < 12 || attempts > 25 {
			t.Errorf("while the feed was down: no signal, or %d attempts", attempts)
		}
		broken = make(chan error)
		time.Sleep(relistenMost)
		if !pending(changed) {
			t.Error("no signal when the feed was back")
		}
		time.Sleep(time.Hour)
		if pending(changed) {
			t.Error("a feed that is back goes on signalling")
		}
		was, before := broken, attempts
		was <- errors.New("reset")
		time.Sleep(2 * relistenFirst)
		if attempts != before+1 {
			t.Error("after an hour of health the first new attempt is not at once")
		}

		f.Close()
		f.Close()
		if _, err := f.Watch(t.Context(), "a"); !errors.Is(err, ErrClosed) {
			t.Errorf("Watch after Close: %v", err)
		}
	})
}
