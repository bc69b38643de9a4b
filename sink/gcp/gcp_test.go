package gcp

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
)

const (
	canary = "token-canary-8f3a"
	bearer = "bearer-canary-8f3a"
)

// A fake is a stand-in for Google Cloud's Secret Manager and for the metadata
// server of a machine there, written after their references: it is neither, and
// proves only that requests are what the references ask for. It takes its time.
type fake struct {
	*httptest.Server

	mu        sync.Mutex
	bearers   int                 // given out by the metadata server
	secrets   map[string][]string // :: name -> texts of its versions; empty: destroyed
	fault     func(r *http.Request) (int, string)
	lose      int // so many answers are lost, of calls that were executed
	destroyed []string
}

func newFake(t *testing.T) *fake {
	f := &fake{secrets: map[string][]string{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(f.URL, "http://")) // as machines of Google's have it
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("HOME", t.TempDir())
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(2 * time.Millisecond)
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		// As the real one might, it shows what it was sent.
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "status": code, "message": string(body) + r.Header.Get("Authorization")}})
	}
	if f.fault != nil {
		if status, code := f.fault(r); status != 0 {
			refuse(status, code)
			return
		}
	}
	if strings.HasPrefix(r.URL.Path, "/computeMetadata/") {
		f.metadata(w, r)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+bearer {
		refuse(401, "UNAUTHENTICATED")
		return
	}
	rest, _ := strings.CutPrefix(r.URL.Path, "/v1/projects/p/secrets")
	name, call, _ := strings.Cut(strings.TrimPrefix(rest, "/"), ":")
	name, version, _ := strings.Cut(name, "/versions")
	texts, there := f.secrets[name]
	switch {
	case r.Method == "POST" && rest == "":
		name := r.URL.Query().Get("secretId")
		if _, there := f.secrets[name]; there {
			refuse(409, "ALREADY_EXISTS")
			return
		}
		f.secrets[name] = []string{}
	case !there:
		refuse(404, "NOT_FOUND")
		return
	case r.Method == "POST" && call == "addVersion":
		text, ok := payload(body)
		if !ok {
			refuse(400, "INVALID_ARGUMENT")
			return
		}
		f.secrets[name] = append(texts, text)
	case r.Method == "GET" && r.URL.Query().Get("filter") == "state:ENABLED":
		list := []map[string]string{}
		for n := len(texts); n > 0; n-- {
			if texts[n-1] != "" {
				list = append(list, map[string]string{"name": fmt.Sprintf("projects/123/secrets/%s/versions/%d", name, n), "state": "ENABLED"})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"versions": list})
		return
	case r.Method == "POST" && call == "destroy":
		n, _ := strconv.Atoi(strings.TrimPrefix(version, "/"))
		texts[n-1] = ""
		f.destroyed = append(f.destroyed, version)
	default:
		refuse(404, "NOT_FOUND")
		return
	}
	if f.lose > 0 {
		f.lose--
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, "{}")
}

func (f *fake) metadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	if r.Header.Get("Metadata-Flavor") == "Google" && strings.HasSuffix(r.URL.Path, "/service-accounts/default/token") {
		f.bearers++
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, bearer)
		return
	}
	w.WriteHeader(404)
}

// payload checks what Google checks.
func payload(body []byte) (string, bool) {
	var in struct {
		Payload struct{ Data, DataCrc32c string }
	}
	if json.Unmarshal(body, &in) != nil {
		return "", false
	}
	text, err := base64.StdEncoding.DecodeString(in.Payload.Data)
	sum := crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))
	return string(text), err == nil && len(text) > 0 && in.Payload.DataCrc32c == strconv.FormatUint(uint64(sum), 10)
}

func (f *fake) sink(t *testing.T) *Sink {
	at, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &Sink{Project: "p", Secret: "support", Endpoint: at}
}

func token(generation uint64, text string) *jeton.Token {
	return &jeton.Token{AccessToken: jeton.NewSecret(text), Generation: generation, Expiry: time.Now().Add(time.Hour)}
}

// TestPut: each token becomes the newest version, with the credentials of the
// machine, which are asked for once.
func TestPut(t *testing.T) {
	f := newFake(t)
	f.secrets["support"] = []string{"before"}
	s := f.sink(t)
	for n, text := range []string{"one", "two"} {
		if err := s.Put(t.Context(), token(uint64(n+1), text)); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.secrets["support"]; !slices.Equal(got, []string{"before", "one", "two"}) || f.bearers != 1 {
		t.Errorf("%v, %d bearers", got, f.bearers)
	}
	s.Format = sink.JSON
	if err := s.Put(t.Context(), token(3, "three")); err != nil || !strings.HasPrefix(f.secrets["support"][3], `{"access_token":"three",`) {
		t.Errorf("%v %v", err, f.secrets)
	}
}

// TestCreate: a secret that is not there is made only where that is asked for,
// also if another broker makes it at the same time.
func TestCreate(t *testing.T) {
	f := newFake(t)
	s := f.sink(t)
	if err := s.Put(t.Context(), token(1, canary)); err == nil || err.Error() != "gcp: answered 404 NOT_FOUND" || len(f.secrets) != 0 {
		t.Errorf("%v %v", err, f.secrets)
	}
	s.Create = true
	if err := s.Put(t.Context(), token(1, canary)); err != nil || !slices.Equal(f.secrets["support"], []string{canary}) {
		t.Errorf("%v %v", err, f.secrets)
	}
	delete(f.secrets, "support")
	first := true
	f.fault = func(r *http.Request) (int, string) {
		if r.URL.Query().Has("secretId") && first {
			first = false
			f.secrets["support"] = []string{}
		}
		return 0, ""
	}
	if err := s.Put(t.Context(), token(1, canary)); err != nil || !slices.Equal(f.secrets["support"], []string{canary}) {
		t.Errorf("%v %v", err, f.secrets)
	}
}

// TestKeep: old versions are destroyed where that is asked for. That they could
// not be is told, and makes no more versions.
func TestKeep(t *testing.T) {
	f := newFake(t)
	f.secrets["support"] = []string{"a", "b", "c"}
	s := f.sink(t)
	var log strings.Builder
	s.Keep, s.Logger = 2, slog.New(slog.NewTextHandler(&log, nil))
	if err := s.Put(t.Context(), token(1, canary)); err != nil || !slices.Equal(f.secrets["support"], []string{"", "", "c", canary}) || log.Len() > 0 {
		t.Errorf("%v %v %s", err, f.secrets, &log)
	}
	f.fault = func(r *http.Request) (int, string) {
		if strings.HasSuffix(r.URL.Path, ":destroy") {
			return 403, "PERMISSION_DENIED"
		}
		return 0, ""
	}
	if err := s.Put(t.Context(), token(2, "new")); err != nil || !slices.Equal(f.secrets["support"], []string{"", "", "c", canary, "new"}) {
		t.Errorf("%v %v", err, f.secrets)
	}
	if !strings.Contains(log.String(), "PERMISSION_DENIED") || strings.Contains(log.String(), "8f3a") {
		t.Error(log.String())
	}
}

// TestRefusals: an error has Google's name for it, and nothing of its message.
// What was lost or refused is put by the next try.
func TestRefusals(t *testing.T) {
	f := newFake(t)
	f.secrets["support"] = []string{}
	s := f.sink(t)
	for code, status := range map[string]int{"RESOURCE_EXHAUSTED": 429, "PERMISSION_DENIED": 403, "UNAVAILABLE": 503, "<html>": 502} {
		f.fault = func(*http.Request) (int, string) { return status, code }
		s.Credentials = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: bearer})
		err := s.Put(t.Context(), token(1, canary))
		e, ok := errors.AsType[*sink.StatusError](err)
		if !ok || e.Status != status || strings.Contains(err.Error(), "8f3a") || status != 502 && e.Code != code || strings.Contains(err.Error(), "<") {
			t.Errorf("%s: %v", code, err)
		}
	}
	f.fault, f.lose = nil, 1
	if err := s.Put(t.Context(), token(1, canary)); err == nil || strings.Contains(err.Error(), f.URL) || strings.Contains(err.Error(), "8f3a") {
		t.Errorf("the answer was not lost: %v", err)
	}
	if err := s.Put(t.Context(), token(1, canary)); err != nil {
		t.Error(err)
	}
	s.Credentials = oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "wrong-8f3a"})
	if err := s.Put(t.Context(), token(1, canary)); err == nil || err.Error() != "gcp: answered 401 UNAUTHENTICATED" {
		t.Errorf("%v", err)
	}
}

// TestNoCredentials: a machine without any says what is missing; what a token
// endpoint answers is not shown.
func TestNoCredentials(t *testing.T) {
	f := newFake(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key-8f3a.json")
	if err := f.sink(t).Put(t.Context(), token(1, canary)); err == nil || !strings.Contains(err.Error(), "GOOGLE_APPLICATION_CREDENTIALS") || strings.Contains(err.Error(), "8f3a") {
		t.Errorf("%v", err)
	}
	s := f.sink(t)
	s.Credentials = failing{&oauth2.RetrieveError{Response: &http.Response{StatusCode: 400}, Body: []byte("8f3a"), ErrorCode: "invalid_grant"}}
	if err := s.Put(t.Context(), token(1, canary)); err == nil || err.Error() != "gcp: the token endpoint: answered 400 invalid_grant" {
		t.Errorf("%v", err)
	}
	s.Credentials = failing{errors.New("8f3a")}
	if err := s.Put(t.Context(), token(1, canary)); err == nil || strings.Contains(err.Error(), "8f3a") {
		t.Errorf("%v", err)
	}
}

// account writes the key file of a service account whose token endpoint is at.
func account(t *testing.T, file, at string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "a@p", "token_uri": at,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestKeyReplaced: a key that is refused is read again, so that a new one in its
// place is seen; what was exchanged for it is used as long as it is good.
func TestKeyReplaced(t *testing.T) {
	f := newFake(t)
	f.secrets["support"] = []string{}
	var exchanges atomic.Int32
	exchange := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchanges.Add(1)
		if r.URL.Path != "/good" {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `refused`)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"expires_in":3599,"token_type":"Bearer"}`, bearer)
	})
	endpoint := httptest.NewServer(exchange)
	defer endpoint.Close()
	file := t.TempDir() + "/key.json"
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	account(t, file, endpoint.URL+"/revoked")
	s := f.sink(t)
	if err := s.Put(t.Context(), token(1, canary)); err == nil || err.Error() != "gcp: the token endpoint: answered 400" {
		t.Errorf("%v", err)
	}
	account(t, file, endpoint.URL+"/good")
	for n := range uint64(2) {
		if err := s.Put(t.Context(), token(n+1, canary)); err != nil {
			t.Error(err)
		}
	}
	if n := exchanges.Load(); n != 2 {
		t.Errorf("%d exchanges, want 2", n)
	}
}

// TestNoRedirect: a token endpoint that sends elsewhere does not have the
// credentials go there.
func TestNoRedirect(t *testing.T) {
	f := newFake(t)
	f.secrets["support"] = []string{}
	var taken atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { taken.Store(true) }))
	defer elsewhere.Close()
	endpoint := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer endpoint.Close()
	file := t.TempDir() + "/key.json"
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	account(t, file, endpoint.URL)
	if err := f.sink(t).Put(t.Context(), token(1, canary)); err == nil || err.Error() != "gcp: the token endpoint: answered 307" {
		t.Errorf("%v", err)
	}
	if taken.Load() {
		t.Error("the credentials went elsewhere")
	}
}

// TestEndpointSlash: an endpoint may end in slashes.
func TestEndpointSlash(t *testing.T) {
	f := newFake(t)
	f.secrets["support"] = []string{}
	for _, end := range []string{"/", "//"} {
		s := f.sink(t)
		s.Endpoint.Path = end
		if err := s.Put(t.Context(), token(1, canary)); err != nil {
			t.Errorf("%q: %v", end, err)
		}
	}
}

type failing struct{ error }

func (f failing) Token() (*oauth2.Token, error) { return nil, f.error }
