package revocation

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A measurement is what a canary observed.
type measurement struct {
	delay time.Duration
	lost  bool
}

// fly runs a canary of w's guard until the test ends. What the issuer does with
// a canary is up to end.
func (w *world) fly(end func(rw http.ResponseWriter, jti string)) (seen func() []measurement) {
	w.handler.set(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.log.ServeHTTP(rw, r)
			return
		}
		if r.Header.Get("Authorization") != "Bearer "+guardKey || r.Method != http.MethodPost {
			w.t.Error("the canary's request is not authorised")
		}
		jti, ok := CanaryToken(r.PostFormValue("canary"))
		if !ok {
			w.t.Error("the canary has no good name")
		}
		end(rw, jti)
	}))
	var mu sync.Mutex
	var list []measurement
	c := &Canary{
		URL: w.stream.URL, Key: w.stream.Key, Table: w.table, Transport: w.stream.Transport,
		Logger: slog.New(slog.NewTextHandler(w.lines, nil)),
		Observe: func(delay time.Duration, lost bool) {
			mu.Lock()
			defer mu.Unlock()
			list = append(list, measurement{delay, lost})
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	w.t.Cleanup(func() { cancel(); running.Wait() })
	return func() []measurement { mu.Lock(); defer mu.Unlock(); return append([]measurement(nil), list...) }
}

func TestCanary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		seen := w.fly(func(rw http.ResponseWriter, jti string) {
			time.Sleep(3 * time.Millisecond) // the store
			rw.WriteHeader(http.StatusAccepted)
			time.AfterFunc(4*time.Millisecond, func() { w.log.Add(Event{Token: jti, Until: time.Now().Add(time.Minute)}) })
		})
		time.Sleep(95 * time.Second)
		got := seen()
		if len(got) != 10 {
			t.Errorf("%d measurements", len(got))
		}
		for _, m := range got {
			if m != (measurement{7 * time.Millisecond, false}) {
				t.Errorf("%+v", m)
			}
		}
		if lines := w.lines.String(); strings.Contains(lines, "not measured") {
			t.Error(lines)
		}
	})
}

// The event may come before the answer, and without one.
func TestCanaryWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		seen := w.fly(func(_ http.ResponseWriter, jti string) {
			time.Sleep(3 * time.Millisecond)
			w.log.Add(Event{Token: jti, Until: time.Now().Add(time.Minute)})
			time.Sleep(5 * time.Millisecond)
			panic(http.ErrAbortHandler)
		})
		time.Sleep(time.Second)
		if got := seen(); len(got) != 1 || got[0] != (measurement{3 * time.Millisecond, false}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestCanaryLost(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   []measurement // in a minute and a bit
	}{
		"taken and not told": {202, []measurement{{30 * time.Second, true}, {30 * time.Second, true}}},
		"broken":             {500, []measurement{{30 * time.Second, true}, {30 * time.Second, true}}},
		"refused":            {403, nil},
		"too many":           {429, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.run()
				seen := w.fly(func(rw http.ResponseWriter, _ string) { rw.WriteHeader(c.status) })
				time.Sleep(65 * time.Second)
				got := seen()
				if len(got) != len(c.want) || len(got) > 0 && got[0] != c.want[0] {
					t.Errorf("%+v", got)
				}
				if n := strings.Count(w.lines.String(), "not measured"); (n == 1) != (c.status != 202) {
					t.Error(w.lines)
				}
			})
		})
	}
}

// A guard must not be able to end a token that exists.
func TestCanaryToken(t *testing.T) {
	for name, good := range map[string]bool{
		"": false, "abc": false, "ABCDEFGHIJKLMNOPQRSTUVWXYZ": true, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false,
		"ABCDEFGHIJKLMNOP/QRST": false, "ABCDEFGHIJKLMNOP-QRST": false, "ABCDEFGHIJKLMNOP\n": false, "ABCDEFGHIJKLMNOPÄ": false,
	} {
		jti, ok := CanaryToken(name)
		if ok != good || ok && jti != "canary-"+name {
			t.Errorf("%q: %q, %v", name, jti, ok)
		}
	}
}
