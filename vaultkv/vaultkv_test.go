package vaultkv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/vaultkv/kvfake"
)

const secret = "hunter2 &%/"

func say(text string) func() (jeton.Secret, error) {
	return func() (jeton.Secret, error) { return jeton.NewSecret(text), nil }
}

// open returns a client of whatever answers.
func open(t *testing.T, server http.Handler, c Config) *Client {
	t.Helper()
	here := httptest.NewServer(server)
	t.Cleanup(here.Close)
	c.Server = here.URL
	return client(t, c)
}

func client(t *testing.T, c Config) *Client {
	t.Helper()
	if c.Secret == nil {
		c.Secret = say("root")
	}
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func wantRead(t *testing.T, v *Client, path, want string, wantVersion int) {
	t.Helper()
	data, version, err := v.Read(t.Context(), path)
	if err != nil || data["a"] != want || version != wantVersion || (want == "") != (data == nil) {
		t.Errorf("read %q: %v at %d, %v; want %q at %d", path, data, version, err, want, wantVersion)
	}
}

func write(t *testing.T, v *Client, path, text string, version int) int {
	t.Helper()
	n, err := v.Write(t.Context(), path, map[string]string{"a": text}, version)
	if err != nil {
		t.Fatalf("write %q: %v", path, err)
	}
	return n
}

func TestReadWriteList(t *testing.T) {
	server := kvfake.New()
	v := open(t, server, Config{})
	ctx := t.Context()
	wantRead(t, v, "a/b", "", 0)
	if n := write(t, v, "a/b", "1", 0); n != 1 {
		t.Errorf("the first version is %d", n)
	}
	wantRead(t, v, "a/b", "1", 1)
	for _, stale := range []int{0, 2, 7} {
		if _, err := v.Write(ctx, "a/b", nil, stale); !errors.Is(err, ErrConflict) {
			t.Errorf("at %d: %v, want ErrConflict", stale, err)
		}
	}
	write(t, v, "a/b", "2", 1)
	if n := write(t, v, "a/b", "3", Any); n != 3 {
		t.Errorf("version %d, want 3", n)
	}
	for _, path := range []string{"a/b/c", "a/%2F ?#é", "d"} {
		write(t, v, path, path, 0)
		wantRead(t, v, path, path, 1)
	}
	for path, want := range map[string][]string{"": {"a/", "d"}, "a": {"%2F ?#é", "b", "b/"}, "a/b": {"c"}, "nowhere": nil} {
		got, err := v.List(ctx, path)
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("list %q: %q, %v; want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"/a", "a/", "a//b", "..", "a/../b", "."} {
		if _, _, err := v.Read(ctx, path); err == nil {
			t.Errorf("%q is a path", path)
		}
	}
}

// A secret that somebody deleted by hand is none, and goes on at its version.
func TestDeletedByHand(t *testing.T) {
	v := open(t, kvfake.New(), Config{})
	write(t, v, "a", "x", 0)
	s, err := v.loggedIn(t.Context())
	if err == nil {
		err = v.send(t.Context(), http.MethodDelete, "secret/data/a", s.token, nil, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	wantRead(t, v, "a", "", 1)
	if n := write(t, v, "a", "y", 1); n != 2 {
		t.Errorf("version %d, want 2", n)
	}
}

func TestNew(t *testing.T) {
	for _, c := range []Config{
		{}, {Server: "vault:8200"}, {Server: "https://"}, {Server: "ftp://vault"}, {Server: "https://vault/v1"}, {Server: "https://ann:hunter2@vault"},
		{Server: "https://vault?a"}, {Server: "http://vault", TLS: new(tls.Config)}, {Server: "https://vault", Method: "approle"},
		{Server: "https://vault", Method: "approle", Role: "a"}, {Server: "https://vault", Method: "userpass", Role: "a", Secret: say("a")},
		{Server: "https://vault", Role: "a"}, {Server: "https://vault", Mount: "a//b"}, {Server: "https://vault", Mount: ".."},
	} {
		v, err := New(c)
		if err == nil {
			v.Close()
			t.Errorf("%+v is good", c)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("it shows the password: %v", err)
		}
	}
}

// Whatever a server answers, the error says what it means, and never what was
// sent.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   string // in the error; empty: ErrConflict
	}{
		{400, `{"errors":["check-and-set parameter did not match the current version"]}`, ""},
		{400, `{"errors":["check-and-set parameter required for this call"]}`, "wants every write to name a version (400)"},
		{400, `{"errors":["hunter2 is bad"]}`, "refused (400)"},
		{403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, "permission denied: "},
		{404, `{"errors":["no handler for route \"secret/data/a\". route entry not found."]}`, "nothing is mounted there (404)"},
		{404, `<html>`, "not what Vault answers"},
		{200, `{"data":`, "not what Vault answers"},
		{204, ``, "no key-value engine of version 2"},
		{200, `{"data":{}}`, "no key-value engine of version 2"},
		{307, ``, "a standby that sends elsewhere"},
		{412, `{"errors":["required index state not present"]}`, "not seen an earlier write"},
		{413, ``, "too large"},
		{418, `hunter2`, "an answer that Vault does not give (418)"},
		{429, `{"errors":["request path \"x\": rate limit quota exceeded"]}`, "rate limit"},
		{472, ``, "disaster recovery"},
		{473, ``, "performance standby"},
		{500, `{"errors":["hunter2"]}`, "the server failed (500)"},
		{503, `{"errors":["Vault is sealed"]}`, "sealed"},
	} {
		v := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v1/auth/") {
				_, _ = io.WriteString(w, `{"data":{"ttl":0}}`)
				return
			}
			w.Header().Set("Location", "https://elsewhere/")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}), Config{Secret: say(secret)})
		_, err := v.Write(t.Context(), "accounts/x", map[string]string{"a": "hunter2"}, 0)
		switch {
		case err == nil:
			t.Errorf("%d %s: no error", c.status, c.body)
		case c.want == "" && !errors.Is(err, ErrConflict), c.want != "" && errors.Is(err, ErrConflict), !strings.Contains(err.Error(), c.want):
			t.Errorf("%d %s: %v; want %q", c.status, c.body, err, c.want)
		case strings.Contains(err.Error(), "hunter2"), strings.Contains(err.Error(), "accounts/x"):
			t.Errorf("%d: it shows what was sent: %v", c.status, err)
		}
	}
}

// A redirect is not followed: it would take the token along.
func TestRedirectKeepsTheToken(t *testing.T) {
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	v := open(t, http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect), Config{})
	if _, _, err := v.Read(t.Context(), "a"); err == nil || asked.Load() != 0 {
		t.Errorf("%v; it asked elsewhere %d times", err, asked.Load())
	}
}

// An answer that is lost is an error of the connection and no conflict, also
// where the write took effect: the client does not write again by itself.
func TestLostAnswer(t *testing.T) {
	server := kvfake.New()
	var lose atomic.Bool
	v := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !lose.Load() {
			server.ServeHTTP(w, r)
			return
		}
		server.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}), Config{})
	write(t, v, "a", "1", 0)
	lose.Store(true)
	_, err := v.Write(t.Context(), "a", map[string]string{"a": "2"}, 1)
	if err == nil || errors.Is(err, ErrConflict) || strings.Contains(err.Error(), "http") {
		t.Errorf("a lost answer: %v", err)
	}
	lose.Store(false)
	wantRead(t, v, "a", "2", 2)
}

func TestNamespace(t *testing.T) {
	server := kvfake.New()
	v := open(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Namespace") != "team/a" || r.Header.Get("X-Vault-Request") != "true" {
			t.Errorf("headers %v", r.Header)
		}
		server.ServeHTTP(w, r)
	}), Config{Namespace: "team/a"})
	write(t, v, "a", "x", 0)
}

func TestTLS(t *testing.T) {
	here := httptest.NewUnstartedServer(kvfake.New())
	here.Config.ErrorLog = log.New(io.Discard, "", 0)
	here.StartTLS()
	defer here.Close()
	roots := x509.NewCertPool()
	roots.AddCert(here.Certificate())
	v := client(t, Config{Server: here.URL, TLS: &tls.Config{RootCAs: roots}})
	write(t, v, "a", "x", 0)
	for _, c := range []*tls.Config{nil, {RootCAs: x509.NewCertPool()}} {
		v := client(t, Config{Server: here.URL, TLS: c})
		if _, _, err := v.Read(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "https://") {
			t.Errorf("a certificate of a stranger: %v", err)
		}
	}
}

func TestCanceledAndClosed(t *testing.T) {
	v := open(t, kvfake.New(), Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Write(ctx, "a", nil, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	write(t, v, "a", "x", 0)
	v.Close()
	v.Close()
	if _, _, err := v.Read(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("closed: %v", err)
	}
}
