package vault

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/store"
)

const recordA = "jeton/~records/a"

// deletedA makes the record a and deletes it, so long ago that it may be taken
// away.
func deletedA(t *testing.T, f *far, s *Store) {
	t.Helper()
	if err := s.Delete(t.Context(), put(t, s, store.Record{Key: "a"})); err != nil {
		t.Fatal(err)
	}
	f.Age(recordA, remainsFor+time.Minute)
}

func (f *far) has(path string) bool {
	for _, p := range f.Paths() {
		if p == path {
			return true
		}
	}
	return false
}

// What a deletion leaves stays for a while and is then taken away.
func TestForget(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	deletedA(t, f, s)
	f.Age(recordA, -remainsFor)
	if again := s.forget(t.Context(), "a"); again < remainsFor-2*time.Minute || !f.has(recordA) {
		t.Errorf("what a deletion left went at once; again in %v", again)
	}
	f.Age(recordA, remainsFor)
	if again := s.forget(t.Context(), "a"); again != 0 || f.has(recordA) {
		t.Errorf("what a deletion left is there; again in %v", again)
	}
	r := put(t, s, store.Record{Key: "a", Value: []byte("new")})
	f.Age(recordA, 2*remainsFor)
	if again := s.forget(t.Context(), "a"); again != 0 {
		t.Errorf("a record is to be taken away in %v", again)
	}
	put(t, s, r)
	if again := s.forget(t.Context(), "none"); again != 0 {
		t.Errorf("nothing is to be taken away in %v", again)
	}
}

// The record is made anew while somebody is about to take away what its deletion
// left: it lives.
func TestForgetComesLate(t *testing.T) {
	f, url := serve(t)
	here, there := open(t, url), open(t, url)
	deletedA(t, f, here)
	f.between(func() { put(t, there, store.Record{Key: "a"}) })
	if again := here.forget(t.Context(), "a"); again != 0 {
		t.Errorf("again in %v", again)
	}
	if _, err := there.Get(t.Context(), "a"); err != nil {
		t.Errorf("the new record: %v", err)
	}
}

// While the request is on its way that takes away what a deletion left, nobody
// makes the record anew, or it would go too.
func TestForgetOnItsWay(t *testing.T) {
	f, url := serve(t)
	here, there := open(t, url), open(t, url)
	deletedA(t, f, here)
	held, release := make(chan struct{}), make(chan struct{})
	hold := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			close(held)
			<-release
		}
		return false
	}
	f.fault.Store(&hold)
	forgotten := make(chan time.Duration, 1)
	go func() { forgotten <- here.forget(t.Context(), "a") }()
	<-held
	if _, err := there.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if err := there.Delete(t.Context(), store.Record{Key: "a", Version: "x"}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete: %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := there.Put(soon, store.Record{Key: "a"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v, want that it waits", err)
	}
	made := make(chan error, 1)
	go func() {
		_, err := there.Put(t.Context(), store.Record{Key: "a"})
		made <- err
	}()
	close(release)
	if again := <-forgotten; again != 0 {
		t.Errorf("again in %v", again)
	}
	if err := <-made; err != nil {
		t.Errorf("Put: %v", err)
	}
	if _, err := there.Get(t.Context(), "a"); err != nil {
		t.Errorf("the new record: %v", err)
	}
}

// Who was about to take it away died: after a while that stops nobody.
func TestForgetDied(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	die := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			panic(http.ErrAbortHandler)
		}
		return false
	}
	for _, next := range []func(){
		func() { put(t, s, store.Record{Key: "a"}) },
		func() {
			if again := s.forget(t.Context(), "a"); again != 0 || f.has(recordA) {
				t.Errorf("it is there; again in %v", again)
			}
		},
	} {
		f.fault.Store(nil)
		f.Forget(recordA)
		deletedA(t, f, s)
		f.fault.Store(&die)
		if again := s.forget(t.Context(), "a"); again != remainsFor {
			t.Errorf("again in %v", again)
		}
		f.fault.Store(nil)
		f.Age(recordA, remainsFor+time.Minute)
		next()
	}
}

// A policy that does not allow it leaves everything as it was, also where the
// answers to that are lost.
func TestForgetForbidden(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	deletedA(t, f, s)
	forbid := func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.Method == http.MethodDelete
	}
	f.fault.Store(&forbid)
	if again := s.forget(t.Context(), "a"); again < 12*time.Hour {
		t.Errorf("again in %v", again)
	}
	put(t, s, store.Record{Key: "a"})
}

// A server that is away is asked again.
func TestForgetOutage(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	deletedA(t, f, s)
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		lose := func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == method {
				f.Server.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
			return false
		}
		f.fault.Store(&lose)
		if again := s.forget(t.Context(), "a"); again == 0 {
			t.Errorf("%s: it is not to be looked at again", method)
		}
		if method == http.MethodPost {
			f.Age(recordA, 2*remainsFor)
		}
	}
	f.fault.Store(nil)
	put(t, s, store.Record{Key: "a"})
}

// Whatever deletes, or finds what a deletion left, sees to it that it goes.
func TestTidierIsTold(t *testing.T) {
	f, url := serve(t)
	here, there := open(t, url), open(t, url)
	deletedA(t, f, here)
	if _, ok := here.tidy.due(time.Now().Add(remainsFor + time.Second)); !ok {
		t.Error("nobody goes where a record was deleted")
	}
	if list, err := there.List(t.Context(), "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if key, ok := there.tidy.due(time.Now()); !ok || key != "a" {
		t.Errorf("nobody goes where a list found a deletion: %q", key)
	}
}

func TestTidier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Pointer[string]
		said := func() string {
			if s := asked.Swap(nil); s != nil {
				return *s
			}
			return ""
		}
		again := remainsFor
		var d tidier
		d.start(func(_ context.Context, key string) time.Duration {
			asked.Store(&key)
			defer func() { again = 0 }()
			return again
		})
		d.note("a", 0)
		d.note("a", time.Hour) // is known
		time.Sleep(remainsFor - time.Second)
		if key := said(); key != "" {
			t.Errorf("it goes to %q too soon", key)
		}
		for range 2 {
			time.Sleep(2 * time.Minute)
			if key := said(); key != "a" {
				t.Errorf("it goes to %q, want a", key)
			}
			time.Sleep(remainsFor - 2*time.Minute)
		}
		time.Sleep(time.Hour)
		if key := said(); key != "" {
			t.Errorf("it goes to %q, which is done", key)
		}
		for i := range 2 * mostLeft {
			d.note(strings.Repeat("k", i), 0)
		}
		if n := len(d.left); n != mostLeft {
			t.Errorf("it remembers %d", n)
		}
		d.end()
	})
}
