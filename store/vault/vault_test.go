package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
	"github.com/jetonhq/jeton/vaultkv/kvfake"
)

// A far server is one across a network, whose answers can be lost.
type far struct {
	*kvfake.Server
	fault atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool] // reports that it did all there is to do
}

func (f *far) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
	if broken := f.fault.Load(); broken == nil || !(*broken)(w, r) {
		f.Server.ServeHTTP(w, r)
	}
}

// serve starts a server and returns the URL of a store on it.
func serve(t testing.TB) (*far, string) {
	t.Helper()
	f := &far{Server: kvfake.New()}
	here := httptest.NewServer(f)
	t.Cleanup(here.Close)
	return f, "vault+http://" + here.Listener.Addr().String() + "/secret/jeton"
}

func address(t testing.TB, url string) store.Address {
	t.Helper()
	a, err := store.ParseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	a.Password = jeton.NewSecret("root")
	return a
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), address(t, url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t testing.TB, s *Store, r store.Record) store.Record {
	t.Helper()
	r, err := s.Put(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		_, url := serve(t)
		return open(t, url)
	})
}

// Paths have no sign that means something on the way, keys that differ have
// paths that differ, and what is no path of a key is none.
func TestEscape(t *testing.T) {
	key := rapid.OneOf(rapid.SampledFrom([]string{"", "/", "//", "a/", "/a", ".", "..", "~", "~2f", "a~", "%2F", "\xff", "A a"}), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		in := key.Draw(t, "key")
		path := escape(in)
		if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_~/") != "" || strings.Contains("/"+path+"/", "//") {
			t.Fatalf("%q became %q", in, path)
		}
		var out []string
		for segment := range strings.SplitSeq(path, "/") {
			s, ok := unescape(segment)
			if !ok {
				t.Fatalf("%q became %q, which is no path", in, path)
			}
			out = append(out, s)
		}
		if got := strings.Join(out, "/"); got != in {
			t.Fatalf("%q became %q, which reads %q", in, path, got)
		}
	})
	for _, segment := range []string{"", "a~", "~4", "~zz", "~61", "~2F", "a b", "~~", "é"} {
		if s, ok := unescape(segment); ok {
			t.Errorf("%q reads %q", segment, s)
		}
	}
}

// The count of a secret begins again when somebody deletes all that is known of
// it. A writer from before does not win by a count that comes again.
func TestCountBeginsAgain(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	old := put(t, s, put(t, s, store.Record{Key: "a"}))
	f.Forget("jeton/~records/a")
	r := put(t, s, put(t, s, store.Record{Key: "a"}))
	if _, n, err := s.kv.Read(t.Context(), "jeton/~records/a"); n != 2 || err != nil {
		t.Fatalf("count %d, %v: nothing is tested", n, err)
	}
	if _, err := s.Put(t.Context(), old); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Put at a version from before: %v", err)
	}
	if err := s.Delete(t.Context(), old); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Delete at a version from before: %v", err)
	}
	put(t, s, r)
}

// between runs f once, before the next write reaches the server.
func (f *far) between(then func()) {
	var once atomic.Bool
	hook := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && once.CompareAndSwap(false, true) {
			then()
		}
		return false
	}
	f.fault.Store(&hook)
}

// Somebody else is faster between what a write reads and what it writes.
func TestSomebodyBetween(t *testing.T) {
	f, url := serve(t)
	here, there := open(t, url), open(t, url)
	r := put(t, here, store.Record{Key: "a"})

	f.between(func() { put(t, there, r) })
	if _, err := here.Put(t.Context(), r); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Put after a Put between: %v", err)
	}
	r, err := here.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	var next store.Record
	f.between(func() { next = put(t, there, r) })
	if err := here.Delete(t.Context(), r); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Delete after a Put between: %v", err)
	}
	f.between(func() {
		if err := there.Delete(t.Context(), next); err != nil {
			t.Error(err)
		}
	})
	if err := here.Delete(t.Context(), next); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Delete after a Delete between: %v", err)
	}
	f.between(func() { put(t, there, store.Record{Key: "a", Value: []byte("theirs")}) })
	if _, err := here.Put(t.Context(), store.Record{Key: "a"}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("Put of a new record after one between: %v", err)
	}
	if got, err := here.Get(t.Context(), "a"); err != nil || string(got.Value) != "theirs" {
		t.Errorf("%q, %v", got.Value, err)
	}
}

// A process stands still between what a write reads and what it writes, for as
// long as it takes to delete the record and to make it anew: the count has not
// come again.
func TestStandsStill(t *testing.T) {
	f, url := serve(t)
	here, there := open(t, url), open(t, url)
	for name, write := range map[string]func(r store.Record) error{
		"Put":    func(r store.Record) error { _, err := here.Put(t.Context(), r); return err },
		"Delete": func(r store.Record) error { return here.Delete(t.Context(), r) },
	} {
		r := put(t, here, store.Record{Key: name})
		f.between(func() {
			if err := there.Delete(t.Context(), r); err != nil {
				t.Error(err)
			}
			put(t, there, store.Record{Key: name, Value: []byte("theirs")})
		})
		if err := write(r); !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := there.Get(t.Context(), name); err != nil || string(got.Value) != "theirs" {
			t.Errorf("%s: %q, %v", name, got.Value, err)
		}
	}
}

// An answer is lost after the write took effect: that is neither success nor
// conflict, and the next look tells.
func TestLostAnswer(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	r := put(t, s, store.Record{Key: "a", Value: []byte("1")})
	lose := func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			f.Server.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		return false
	}
	f.fault.Store(&lose)
	for op, err := range map[string]error{
		"Put":    func() error { _, err := s.Put(t.Context(), r); return err }(),
		"create": func() error { _, err := s.Put(t.Context(), store.Record{Key: "b"}); return err }(),
	} {
		if err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", op, err)
		}
	}
	f.fault.Store(nil)
	for _, key := range []string{"a", "b"} {
		if got, err := s.Get(t.Context(), key); err != nil || got.Version == r.Version {
			t.Errorf("%s: %v at %s", key, err, got.Version)
		}
	}
}

// A server that is sealed, or fails, or is away is told as that and never as
// a record that is not there.
func TestOutage(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	r := put(t, s, store.Record{Key: "a"})
	all := func(want string) {
		t.Helper()
		_, getErr := s.Get(t.Context(), "a")
		_, putErr := s.Put(t.Context(), r)
		_, listErr := s.List(t.Context(), "", "", 1)
		_, dueErr := s.Due(t.Context(), "", time.Now(), 1)
		for op, err := range map[string]error{"Get": getErr, "Put": putErr, "Delete": s.Delete(t.Context(), r), "List": listErr, "Due": dueErr} {
			if err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q", op, err, want)
			}
		}
	}
	f.Seal(true)
	all("sealed")
	f.Seal(false)
	for status, want := range map[int]string{500: "(500)", 502: "(502)", 429: "rate limit", 473: "performance standby", 403: "permission denied"} {
		answer := func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true }
		f.fault.Store(&answer)
		all(want)
	}
	f.fault.Store(nil)
	put(t, s, r)
}

// Two stores in one engine see nothing of each other, and a record that was
// deleted comes up nowhere.
func TestPrefixes(t *testing.T) {
	f, url := serve(t)
	var stores []*Store
	for _, url := range []string{url, url + "x", url + "/r", url + "/r/records", strings.Replace(url, "/jeton", "?prefix=r", 1)} {
		s := open(t, url)
		put(t, s, store.Record{Key: "a", Due: time.Unix(1, 0)})
		if err := s.Delete(t.Context(), put(t, s, store.Record{Key: "gone", Due: time.Unix(1, 0)})); err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	for _, s := range stores {
		if list, err := s.List(t.Context(), "", "", 10); err != nil || len(list) != 1 {
			t.Errorf("%d records, %v", len(list), err)
		}
		if list, err := s.Due(t.Context(), "", time.Now(), 10); err != nil || len(list) != 1 {
			t.Errorf("%d records due, %v", len(list), err)
		}
	}
	if paths := f.Paths(); !slices.Contains(paths, "r/~records/a") || !slices.Contains(paths, "jeton/r/~records/a") {
		t.Errorf("%q", paths)
	}
}

// A list reads no more than it has to, and what it reads not one by one.
func TestListCost(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	for i := range 100 {
		put(t, s, store.Record{Key: fmt.Sprintf("a/%03d", i)})
	}
	var now, asked, most int64
	var mu sync.Mutex // guards them
	two, together := make(chan struct{}), false
	meet := sync.OnceFunc(func() { close(two) })
	count := func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		asked, now = asked+1, now+1
		most = max(most, now)
		waits := together && asked > 2 // the first says what there is to read, the next reads one
		if now > 1 {
			meet()
		}
		mu.Unlock()
		if waits {
			select {
			case <-two:
			case <-r.Context().Done(): // nobody else came
			}
		}
		time.Sleep(5 * time.Millisecond) // for the most that there are
		f.Server.ServeHTTP(w, r)
		mu.Lock()
		now--
		mu.Unlock()
		return true
	}
	f.fault.Store(&count)
	for limit, want := range map[int]int64{1: 2, 10: 1 + 15, 1000: 1 + 100} {
		mu.Lock()
		asked, together = 0, limit > 1
		mu.Unlock()
		list, err := s.List(t.Context(), "a/", "", limit)
		mu.Lock()
		if err != nil || len(list) != min(limit, 100) || asked != want {
			t.Errorf("limit %d: %d records, %v, %d requests; want %d", limit, len(list), err, asked, want)
		}
		mu.Unlock()
	}
	mu.Lock()
	defer mu.Unlock()
	if most < 2 || most > mostAbreast {
		t.Errorf("%d requests at once", most)
	}
}

// What does not look like a record is told, and not taken for none.
func TestForeignData(t *testing.T) {
	_, url := serve(t)
	s := open(t, url)
	for i, data := range []map[string]string{{}, {"value": "eA=="}, {"version": "1", "value": "?"}, {"version": "1", "due": "noon"}} {
		key := fmt.Sprint(i)
		if _, err := s.kv.Write(t.Context(), s.path(key), data, 0); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Get(t.Context(), key); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v: %+v, %v", data, r, err)
		}
	}
	_, url = serve(t)
	s = open(t, url)
	if _, err := s.kv.Write(t.Context(), s.names.record+"/a b", nil, 0); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(t.Context(), "", "", 1); err == nil {
		t.Errorf("a name that is none: %v", list)
	}
}

const secret = "hunter2 &%/"

func wantRefused(t *testing.T, a store.Address, want string) {
	t.Helper()
	s, err := Open(t.Context(), a)
	if err == nil {
		_ = s.Close()
		t.Errorf("%s: opened, want %q", a, want)
		return
	}
	if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, secret) || strings.Contains(text, "hunter2") {
		t.Errorf("%v; want %q and no password", err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	f, url := serve(t)
	for url, want := range map[string]string{
		"vault+http://127.0.0.1:1/secret":                 "vault: 127.0.0.1:1: ",
		"vault+http://127.0.0.1:1/secret/a?namespace=b/c": "connection refused",
		"vault://127.0.0.1":                               "the mount",
		"vault://127.0.0.1/?prefix=a":                     "the mount",
		"vault://a,b/secret":                              "one host",
		"vault://a/secret?prefx=x":                        `unknown name "prefx"`,
		"vault://a/secret/a b":                            "the prefix is to be",
		"vault://a/secret/a/../b":                         "the prefix is to be",
		"vault://a/secret?prefix=":                        "the prefix is to be",
		"vault://a/secret?auth=approle":                   "login by a role",
		"vault://jeton@a/secret?auth=userpass":            "the method of a login is",
		"http://127.0.0.1/secret":                         "vault:// or vault+http://",
		strings.Replace(url, "/secret", "/nowhere", 1):    "nothing is mounted there",
	} {
		wantRefused(t, address(t, url), want)
	}
	a := address(t, url)
	a.Password = jeton.NewSecret(secret)
	wantRefused(t, a, "permission denied")
	a.Reread = func() (jeton.Secret, error) { return jeton.Secret{}, errors.New("no such file") }
	wantRefused(t, a, "no such file")
	a = address(t, strings.Replace(url, "//", "//jeton@", 1))
	a.Password = jeton.NewSecret(secret)
	wantRefused(t, a, "the login is refused")
	a = address(t, url)
	a.TLS = new(tls.Config)
	wantRefused(t, a, "vault://")

	f.Seal(true)
	wantRefused(t, address(t, url), "sealed")
	f.Seal(false)
	s := open(t, url)
	if _, err := s.kv.Write(t.Context(), "jeton/~format", map[string]string{"format": "2"}, 1); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, address(t, url), "written by a newer jeton")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, address(t, url)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A role logs in by what the file says now.
func TestRole(t *testing.T) {
	f, url := serve(t)
	f.AddRole("kubernetes", "jeton", "second", kvfake.Role{Life: time.Hour})
	a := address(t, strings.Replace(url, "//", "//jeton@", 1)+"?auth=kubernetes")
	a.Reread = func() (jeton.Secret, error) { return jeton.NewSecret("second"), nil }
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "a"})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Close: %v", err)
	}
}

func TestTLS(t *testing.T) {
	here := httptest.NewUnstartedServer(kvfake.New())
	here.Config.ErrorLog = log.New(io.Discard, "", 0)
	here.StartTLS()
	defer here.Close()
	a := address(t, "vault://"+here.Listener.Addr().String()+"/secret")
	wantRefused(t, a, "certificate")
	a.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	wantRefused(t, a, "certificate")
	a.TLS.RootCAs.AddCert(here.Certificate())
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	put(t, s, store.Record{Key: "a"})
}
