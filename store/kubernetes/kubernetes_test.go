package kubernetes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

func address(t testing.TB, url string) store.Address {
	t.Helper()
	a, err := store.ParseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	a.Password = jeton.NewSecret(token)
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

// Pages, also where the server forgets what the next one is of.
func TestListPages(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	for i := range 2*page + 50 {
		put(t, s, store.Record{Key: fmt.Sprintf("%c/%03d", "ab"[i%2], i), Due: time.Unix(int64(i), 0)})
	}
	want := func(limit, want int) {
		t.Helper()
		list, err := s.List(t.Context(), "b/", "", limit)
		due, dueErr := s.Due(t.Context(), "b/", time.Unix(1000, 0), limit)
		if err != nil || dueErr != nil || len(list) != want || len(due) != want {
			t.Fatalf("limit %d: %d records, %v, %d due, %v; want %d", limit, len(list), err, len(due), dueErr, want)
		}
		for i := range list {
			if key := fmt.Sprintf("b/%03d", 2*i+1); list[i].Key != key || due[i].Key != key {
				t.Fatalf("limit %d: record %d is %s, due is %s, want %s", limit, i, list[i].Key, due[i].Key, key)
			}
		}
	}
	for limit, n := range map[int]int{1: 1, page: page, 1000: page + 25} {
		want(limit, n)
	}
	var forgot atomic.Int64
	f.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("continue") && forgot.Add(1) <= 2 {
			f.forget()
		}
		return false
	})
	want(1000, page+25)
	if forgot.Load() < 3 {
		t.Error("no page was asked for twice: nothing is tested")
	}
	f.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Has("continue") {
			f.forget()
		}
		return false
	})
	if list, err := s.List(t.Context(), "", "", 1000); err == nil {
		t.Errorf("%d records from a server that always forgets", len(list))
	}
}

// A version is right as a whole; none of its forms asks the server for nothing.
func TestForgedVersion(t *testing.T) {
	_, url := serve(t)
	s := open(t, url)
	other := put(t, s, store.Record{Key: "b"})
	r := put(t, s, store.Record{Key: "a"})
	uid, revision, _ := parseVersion(r.Version)
	otherUID, _, _ := parseVersion(other.Version)
	for _, version := range []string{
		uid + ".", uid, "." + revision, revision, uid + ".0", uid + ".0" + revision, otherUID + "." + revision, uid + "." + revision + "." + revision,
		uid + ".-1", uid + "\n." + revision,
	} {
		r := store.Record{Key: "a", Version: version}
		if _, err := s.Put(t.Context(), r); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Put at %q: %v", version, err)
		}
		if err := s.Delete(t.Context(), r); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Delete at %q: %v", version, err)
		}
	}
}

// A record that does not fit is told before anything is sent, and one that just
// fits is kept.
func TestLargeRecord(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	fits := most - len("a") - 16
	r := put(t, s, store.Record{Key: "a", Value: make([]byte, fits)})
	f.mu.Lock()
	before := len(f.requests)
	f.mu.Unlock()
	r.Value = make([]byte, fits+1)
	if _, err := s.Put(t.Context(), r); err == nil || !strings.Contains(err.Error(), "1 MiB") {
		t.Errorf("a large record: %v", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.requests) != before {
		t.Error("a large record was sent")
	}
}

// An answer is lost after the write took effect: that is neither success nor
// conflict, and the next look tells.
func TestLostAnswer(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	changed, deleted := put(t, s, store.Record{Key: "changed"}), put(t, s, store.Record{Key: "deleted"})
	f.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
		f.handle(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	_, putErr := s.Put(t.Context(), changed)
	_, createErr := s.Put(t.Context(), store.Record{Key: "created"})
	for op, err := range map[string]error{"Put": putErr, "create": createErr, "Delete": s.Delete(t.Context(), deleted)} {
		if err == nil || errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) || strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: %v", op, err)
		}
	}
	f.breaks(nil)
	if r, err := s.Get(t.Context(), "changed"); err != nil || r.Version == changed.Version {
		t.Errorf("changed: %v", err)
	}
	if _, err := s.Get(t.Context(), "created"); err != nil {
		t.Errorf("created: %v", err)
	}
	if _, err := s.Get(t.Context(), "deleted"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

// A server that fails is told as that, and never as a record that is not there.
// The error shows nothing of what was sent.
func TestOutage(t *testing.T) {
	f, url := serve(t)
	s := open(t, url)
	r := put(t, s, store.Record{Key: "a", Value: []byte("hunter2")})
	for code, want := range map[int]string{
		307: "sends elsewhere", 400: "the request is refused (400 BadRequest)", 401: "the token or certificate is not accepted",
		403: "forbidden: the account needs get, list", 413: "too large", 418: "the request is refused (418", 422: "too large",
		429: "too much to do", 500: "the server failed", 503: "the server failed (503", 999: "does not give",
	} {
		f.breaks(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			reason := strings.ReplaceAll(http.StatusText(code), " ", "")
			if code == 418 {
				reason = "hunter2 is bad"
			}
			refuse(w, code, reason, "hunter2 is bad")
			return true
		})
		_, getErr := s.Get(t.Context(), "a")
		_, putErr := s.Put(t.Context(), r)
		_, createErr := s.Put(t.Context(), store.Record{Key: "b"})
		_, listErr := s.List(t.Context(), "", "", 1)
		_, dueErr := s.Due(t.Context(), "", time.Now(), 1)
		for op, err := range map[string]error{"Get": getErr, "Put": putErr, "create": createErr, "Delete": s.Delete(t.Context(), r), "List": listErr, "Due": dueErr} {
			switch {
			case err == nil, errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict), !strings.Contains(err.Error(), want):
				t.Errorf("%d: %s: %v; want %q", code, op, err, want)
			case strings.Contains(err.Error(), "hunter2"):
				t.Errorf("%d: %s: it shows what was sent: %v", code, op, err)
			}
		}
	}
	f.breaks(nil)
	put(t, s, r)
}

// A token is read again when the server refuses it, so that one that a cluster
// replaces goes on; one that cannot be read is told only when none works.
func TestTokenIsReplaced(t *testing.T) {
	f, url := serve(t)
	var file atomic.Pointer[string]
	write := func(text string) { file.Store(&text) }
	write("first")
	f.accept("first")
	a := address(t, url)
	a.Reread = func() (jeton.Secret, error) {
		if text := *file.Load(); text != "" {
			return jeton.NewSecret(text), nil
		}
		return jeton.Secret{}, errors.New("no such file")
	}
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r := put(t, s, store.Record{Key: "a"})
	f.accept("second")
	write("second")
	r = put(t, s, r)
	write("")
	s.api.forget()
	r = put(t, s, r)
	f.accept("third")
	if _, err := s.Put(t.Context(), r); err == nil || !strings.Contains(err.Error(), "not accepted") || strings.Contains(err.Error(), "second") {
		t.Errorf("an old token: %v", err)
	}
	write("third")
	put(t, s, r)
}

// A token that is due to be read again is, before the server refuses it.
func TestTokenIsReread(t *testing.T) {
	reads := 0
	a := &api{reread: func() (jeton.Secret, error) { reads++; return jeton.NewSecret(token), nil }}
	for range 3 {
		if _, err := a.bearer(); err != nil {
			t.Fatal(err)
		}
	}
	a.read = a.read.Add(-tokenFresh - time.Second)
	if _, err := a.bearer(); err != nil || reads != 2 {
		t.Errorf("%d reads, %v; want 2", reads, err)
	}
}

// Two stores in one namespace, or in two, see nothing of each other, nor of
// other Secrets.
func TestPrefixes(t *testing.T) {
	_, url := serve(t)
	var stores []*Store
	for _, url := range []string{url, url + "?prefix=jeton-x", url + "?prefix=x", strings.TrimSuffix(url, "a") + "b"} {
		s := open(t, url)
		put(t, s, store.Record{Key: "a", Due: time.Unix(1, 0)})
		stores = append(stores, s)
	}
	foreign := object{Metadata: metadata{Name: "tls"}, Data: map[string][]byte{"tls.crt": nil}}
	if err := stores[0].api.do(t.Context(), http.MethodPost, "", nil, foreign, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range stores {
		if list, err := s.List(t.Context(), "", "", 10); err != nil || len(list) != 1 {
			t.Errorf("%d records, %v", len(list), err)
		}
		if list, err := s.Due(t.Context(), "", time.Now(), 10); err != nil || len(list) != 1 {
			t.Errorf("%d records due, %v", len(list), err)
		}
	}
}

// What does not look like a record is told, and not taken for none.
func TestForeignData(t *testing.T) {
	_, url := serve(t)
	s := open(t, url)
	for i, data := range []map[string]string{{}, {"key": "another", "due": ""}, {"key": "2", "due": "noon"}} {
		key := fmt.Sprint(i)
		o := object{Metadata: metadata{Name: s.name(key), Labels: s.labels("")}, Data: map[string][]byte{}}
		for name, value := range data {
			o.Data[name] = []byte(value)
		}
		if err := s.api.do(t.Context(), http.MethodPost, "", nil, o, nil); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Get(t.Context(), key); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%v: %+v, %v", data, r, err)
		}
	}
	if list, err := s.List(t.Context(), "", "", 10); err == nil {
		t.Errorf("List: %v", list)
	}
}

func wantRefused(t *testing.T, a store.Address, want string) {
	t.Helper()
	s, err := Open(t.Context(), a)
	if err == nil {
		_ = s.Close()
		t.Errorf("%s: opened, want %q", a, want)
		return
	}
	if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "hunter") {
		t.Errorf("%v; want %q and no token", err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	f, url := serve(t)
	for url, want := range map[string]string{
		"kubernetes+http://127.0.0.1:1/a":    "kubernetes: 127.0.0.1:1/a: ",
		"kubernetes+http://127.0.0.1:1/b":    "connection refused",
		"kubernetes://127.0.0.1":             "the URL is to name the namespace",
		"kubernetes://127.0.0.1/A":           "the URL is to name the namespace",
		"kubernetes://127.0.0.1/a/b":         "the URL is to name the namespace",
		"kubernetes://a,b/c":                 "one host",
		"kubernetes://ann@a/c":               "no user",
		"kubernetes://a/c?prefx=x":           `unknown name "prefx"`,
		"kubernetes://a/c?prefix=A":          "the prefix is to be small letters",
		"kubernetes://a/c?prefix=a/b":        "the prefix is to be small letters",
		"http://127.0.0.1/a":                 "kubernetes:// or kubernetes+http://",
		strings.TrimSuffix(url, "a") + "zzz": "there is no such namespace",
	} {
		wantRefused(t, address(t, url), want)
	}
	a := address(t, url)
	a.Password = jeton.NewSecret("hunter3")
	wantRefused(t, a, "the token or certificate is not accepted (401 Unauthorized)")
	a.Password = jeton.Secret{}
	wantRefused(t, a, "the token or certificate is not accepted")
	a.Reread = func() (jeton.Secret, error) { return jeton.Secret{}, errors.New("no such file") }
	wantRefused(t, a, "no such file")
	a = address(t, url)
	a.TLS = new(tls.Config)
	wantRefused(t, a, "kubernetes://")

	s := open(t, url)
	mark := object{Metadata: metadata{Name: "jeton-format"}, Data: map[string][]byte{"format": []byte("2")}}
	if err := s.api.do(t.Context(), http.MethodPut, "jeton-format", nil, mark, nil); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, address(t, url), "written by a newer jeton")
	f.breaks(func(w http.ResponseWriter, _ *http.Request) bool { _, _ = io.WriteString(w, "<html>"); return true })
	wantRefused(t, address(t, url), "not what Kubernetes answers")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, address(t, url)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestTLS(t *testing.T) {
	f, _ := serve(t)
	here := httptest.NewUnstartedServer(f)
	here.Config.ErrorLog = log.New(io.Discard, "", 0)
	here.StartTLS()
	defer here.Close()
	a := address(t, "kubernetes://"+here.Listener.Addr().String()+"/a")
	wantRefused(t, a, "certificate")
	a.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	wantRefused(t, a, "certificate")
	a.TLS.RootCAs.AddCert(here.Certificate())
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, store.Record{Key: "a"})
	_ = s.Close()
}

func TestClosed(t *testing.T) {
	_, url := serve(t)
	s := open(t, url)
	settled(t, s, "")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(t.Context(), "a"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Get after Close: %v", err)
	}
	if _, err := s.Watch(t.Context(), ""); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Watch after Close: %v", err)
	}
}
