package kubernetes

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
)

const patient = time.Minute

func await(t *testing.T, changed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(patient):
		t.Fatalf("no signal for %s", what)
	}
}

// settled is a watch that has nothing pending from its beginning.
func settled(t *testing.T, s *Store, prefix string) <-chan struct{} {
	t.Helper()
	changed, err := s.Watch(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	await(t, changed, "the beginning")
	return changed
}

// until waits for a condition on the server.
func (f *fake) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		ok := condition()
		f.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it does not come: %s", what)
		}
	}
}

// begun counts the requests by which a feed began anew.
func (f *fake) begun() (n int) {
	for _, r := range f.requests {
		if strings.Contains(r+"&", "limit=1&") {
			n++
		}
	}
	return n
}

// What one process writes, another one is told, and nothing else.
func TestWatchSeesOthers(t *testing.T) {
	_, url := serve(t)
	here, there := open(t, url), open(t, url)
	other := open(t, strings.TrimSuffix(url, "a")+"b")
	quiet := settled(t, here, "b/")
	changed, err := here.Watch(t.Context(), "a/")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		put(t, other, store.Record{Key: fmt.Sprint("b/", i)})
		r := put(t, there, store.Record{Key: fmt.Sprint("a/", i)})
		await(t, changed, "a write")
		r = put(t, there, r)
		await(t, changed, "a change")
		if err := there.Delete(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		await(t, changed, "a deletion")
	}
	select {
	case <-quiet:
		t.Error("a signal for another prefix or namespace")
	default:
	}
}

// A watch that ends, as every one does after a while, goes on where it was: what
// happened in between is told, and nobody has to look for it.
func TestWatchGoesOn(t *testing.T) {
	f, url := serve(t)
	here, there := open(t, url), open(t, url)
	quiet := settled(t, here, "b")
	changed, err := here.Watch(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	f.until(t, "a watch", func() bool { return f.watches == 1 })
	r := put(t, there, store.Record{Key: "a"})
	await(t, changed, "a write")

	// End it behind that event, and let something happen before the next one.
	var held atomic.Bool
	release := make(chan struct{})
	f.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("watch") && held.CompareAndSwap(false, true) {
			<-release
		}
		return false
	})
	f.cut()
	f.until(t, "the next watch", func() bool { return held.Load() })
	put(t, there, r)
	close(release)
	await(t, changed, "what happened in between")
	f.mu.Lock()
	begun := f.begun()
	f.mu.Unlock()
	select {
	case <-quiet:
		t.Error("everyone was told to look")
	default:
	}
	if begun != 1 {
		t.Errorf("the feed began %d times, want 1", begun)
	}
}

// The server has forgotten what came after the watch broke: everyone is told to
// look, and the feed begins anew.
func TestWatchOutlivesGone(t *testing.T) {
	for _, asStatus := range []bool{false, true} {
		f, url := serve(t)
		here, there := open(t, url), open(t, url)
		changed := settled(t, here, "a")
		f.until(t, "a watch", func() bool { return f.watches == 1 })
		var held atomic.Bool
		release := make(chan struct{})
		f.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			if !r.URL.Query().Has("watch") || !held.CompareAndSwap(false, true) {
				return false
			}
			<-release
			if asStatus { // as an answer, or as an event
				refuse(w, http.StatusGone, "Expired", "too old resource version")
			}
			return asStatus
		})
		f.cut()
		f.until(t, "the next watch", func() bool { return held.Load() })
		r := put(t, there, store.Record{Key: "a"})
		f.forget()
		close(release)
		await(t, changed, "what was forgotten")
		f.until(t, "a new watch", func() bool { return f.begun() > 1 && f.watches == 1 })
		for len(changed) > 0 {
			<-changed
		}
		put(t, there, r)
		await(t, changed, "a write after it")
	}
}

// A server that is away, or answers a watch with nonsense, does not end it.
func TestWatchOutlivesOutage(t *testing.T) {
	f, url := serve(t)
	here, there := open(t, url), open(t, url)
	changed := settled(t, here, "a")
	var asked atomic.Int64
	for _, broken := range []func(w http.ResponseWriter, r *http.Request) bool{
		func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.StatusInternalServerError, "InternalError", "")
			return true
		},
		func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Has("watch") {
				_, _ = io.WriteString(w, "<html>")
				return true
			}
			return false
		},
		func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Has("watch") {
				_, _ = io.WriteString(w, `{"type":"ADDED","object":"x"}`)
				return true
			}
			return false
		},
		func(_ http.ResponseWriter, r *http.Request) bool { // ends at once
			return r.URL.Query().Has("watch")
		},
	} {
		before := asked.Load()
		f.breaks(func(w http.ResponseWriter, r *http.Request) bool { asked.Add(1); return broken(w, r) })
		f.cut()
		f.until(t, "another attempt", func() bool { return asked.Load() > before+3 })
		f.breaks(nil)
		f.until(t, "a new watch", func() bool { return f.watches == 1 })
	}
	for len(changed) > 0 {
		<-changed
	}
	put(t, there, store.Record{Key: "a"})
	await(t, changed, "a write after the outages")
}
