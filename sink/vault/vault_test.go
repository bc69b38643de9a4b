package vault

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/vaultkv"
	"github.com/jetonhq/jeton/vaultkv/kvfake"
)

const canary = "token-canary-8f3a"

func token(generation uint64) *jeton.Token {
	return &jeton.Token{AccessToken: jeton.NewSecret(canary), Generation: generation, Scope: jeton.Scope{"a", "b"},
		Expiry: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
}

// fake returns a stand-in for a Vault, which takes its time, and a sink of its.
func fake(t *testing.T, password string) (*kvfake.Server, *Sink, *atomic.Value) {
	kv := kvfake.New()
	fault := new(atomic.Value) // of http.HandlerFunc; nil: none
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Millisecond)
		if f, _ := fault.Load().(http.HandlerFunc); f != nil {
			f(w, r)
			return
		}
		kv.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	a, err := store.ParseAddress("vault+http://" + strings.TrimPrefix(server.URL, "http://") + "/secret/apps/support")
	if err == nil {
		a.Password = jeton.NewSecret(password)
		err = Check(a)
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &Sink{Address: func() (store.Address, error) { return a, nil }}
	t.Cleanup(func() { _ = s.Close() })
	return kv, s, fault
}

func (s *Sink) read(t *testing.T) (map[string]string, int) {
	t.Helper()
	data, version, err := s.kv.Read(t.Context(), s.path)
	if err != nil {
		t.Fatal(err)
	}
	return data, version
}

// TestPut: each token is a version of the secret, with fields that a person can
// read.
func TestPut(t *testing.T) {
	kv, s, _ := fake(t, "root")
	for n := range uint64(2) {
		if err := s.Put(t.Context(), token(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	data, version := s.read(t)
	for name, want := range map[string]string{"access_token": canary, "token_type": "Bearer", "generation": "2", "scope": "a b", "expires_at": "2026-11-22T10:00:00Z"} {
		if data[name] != want {
			t.Errorf("%s: %q", name, data[name])
		}
	}
	if version != 2 || len(data) != 5 || len(kv.Paths()) != 1 || kv.Paths()[0] != "apps/support" {
		t.Errorf("version %d of %v, %v", version, data, kv.Paths())
	}
}

// TestRefusals: an error shows neither the token nor the password, and what was
// lost or refused is put by the next try.
func TestRefusals(t *testing.T) {
	_, s, _ := fake(t, "wrong-8f3a")
	err := s.Put(t.Context(), token(1))
	if e, ok := errors.AsType[*vaultkv.Error](err); !ok || e.Status != 403 || strings.Contains(err.Error(), "8f3a") {
		t.Errorf("%v", err)
	}
	kv, s, fault := fake(t, "root")
	if err := s.Put(t.Context(), token(1)); err != nil { // logs in
		t.Fatal(err)
	}
	for _, status := range []int{429, 503, 403} {
		fault.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_ = r.Write(w) // shows what it was sent
		}))
		if err := s.Put(t.Context(), token(1)); err == nil || strings.Contains(err.Error(), "8f3a") || strings.Contains(err.Error(), "apps") {
			t.Errorf("%d: %v", status, err)
		}
	}
	fault.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kv.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}))
	if err := s.Put(t.Context(), token(1)); err == nil {
		t.Error("the answer was not lost")
	}
	fault.Store(http.HandlerFunc(nil))
	if err := s.Put(t.Context(), token(2)); err != nil {
		t.Error(err)
	}
	if data, _ := s.read(t); data["generation"] != "2" {
		t.Error("it is not there")
	}
}

// TestWrittenByOthers: a secret whose fields are no text, as other programs write
// them, is replaced like any other.
func TestWrittenByOthers(t *testing.T) {
	kv, s, _ := fake(t, "root")
	r := httptest.NewRequest(http.MethodPost, "/v1/secret/data/apps/support", strings.NewReader(`{"data":{"generation":3,"a":null,"b":{"c":[true]},"d":"text"}}`))
	r.Header.Set("X-Vault-Token", "root")
	w := httptest.NewRecorder()
	if kv.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Fatal(w.Code)
	}
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	if data, version := s.read(t); len(data) != 1 || data["d"] != "text" || version != 1 {
		t.Errorf("version %d of %v", version, data)
	}
	if err := s.Put(t.Context(), token(4)); err != nil {
		t.Fatal(err)
	}
	if data, version := s.read(t); data["generation"] != "4" || version != 2 {
		t.Errorf("version %d of %v", version, data)
	}
}

// TestOverwritten: a write that arrives after another one, made meanwhile, does
// not replace it.
func TestOverwritten(t *testing.T) {
	kv, s, fault := fake(t, "root")
	if err := s.Put(t.Context(), token(1)); err != nil {
		t.Fatal(err)
	}
	fault.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // another broker comes first
			fault.Store(http.HandlerFunc(nil))
			if _, err := s.kv.Write(context.Background(), s.path, map[string]string{"generation": "3"}, vaultkv.Any); err != nil {
				t.Error(err)
			}
		}
		kv.ServeHTTP(w, r)
	}))
	if err := s.Put(t.Context(), token(2)); !errors.Is(err, vaultkv.ErrConflict) {
		t.Errorf("%v", err)
	}
	if data, _ := s.read(t); data["generation"] != "3" {
		t.Errorf("%v", data)
	}
}

// TestCheck: addresses that name no secret.
func TestCheck(t *testing.T) {
	for _, url := range []string{"vault://h", "vault://h/secret", "vault://h/secret/", "redis://h/secret/a"} {
		if a, err := store.ParseAddress(url); err == nil && Check(a) == nil {
			t.Errorf("%s is taken", url)
		}
	}
}
