package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Secrets of the people and clients of a served system. They are in no output
// but the answer that they are for.
const (
	canaryPassword = "c4nary-p4ssword"
	canarySecret   = "c4nary-s3cret"
	canaryKey      = "c4nary-ap1-key"
)

// A served is a jeton serve with all realms, an API behind a guard for each, a
// broker and a console, over SQLite.
type served struct {
	*process
	data, config  string
	guard         string // base URL
	calls, logins map[string]message
}

// serve writes a configuration, starts it, and adds a user or client to each
// realm. The options go to every realm.
func serve(t *testing.T, options ...string) *served {
	t.Helper()
	// The API behind the guard answers with what it was told about the caller.
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"path":%q,"subject":%q,"authorization":%q}`, r.URL.Path, r.Header.Get("X-Auth-Subject"), r.Header.Get("Authorization"))
	}))
	t.Cleanup(api.Close)
	s := &served{data: t.TempDir(), calls: map[string]message{}, logins: map[string]message{}}
	s.config = filepath.Join(s.data, "jeton.yaml")
	listen, broker := freeAddress(t), freeAddress(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.data, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, _ := run(t, "", "config", "new-key")
	write("seal.key", key)
	write("password", canaryPassword+"\n")
	var realms, upstreams strings.Builder
	for _, name := range []string{"iadvize", "altrata", "alvys", "web1on1", "oauth2"} {
		more := options
		if name == "oauth2" {
			more = append(more[:len(more):len(more)], "password: true")
		}
		_, _ = fmt.Fprintf(&realms, "    %s: {%s}\n", name, strings.Join(append([]string{"dialect: " + name}, more...), ", "))
		_, _ = fmt.Fprintf(&upstreams, "    %s: {realm: %s, to: %q, at: /%s}\n", name, name, api.URL, name)
	}
	write("jeton.yaml", `store: sqlite:jeton.db
seal: file:seal.key
issuer:
  listen: `+listen+`
  realms:
`+realms.String()+`guard:
  listen: `+listen+`
  upstreams:
`+upstreams.String()+`broker:
  listen: `+broker+`
  accounts:
    iadvize:
      dialect: iadvize
      origin: http://`+listen+`/iadvize
      username: broker@example.com
      password: file:password
console: {listen: `+listen+`}
`)
	s.start(t)
	s.issuer, s.broker, s.guard = "http://"+listen, "http://"+broker, "http://"+listen
	s.populate(t)
	return s
}

// start starts the server, also again after it ended.
func (s *served) start(t *testing.T) {
	t.Helper()
	issuer, broker := "", ""
	if s.process != nil {
		issuer, broker = s.issuer, s.broker
	}
	s.process = start(t, "serve", "-c", s.config)
	s.issuer, s.broker = issuer, broker
	s.await(t, s.stderr, `(?s)listening.*listening`)
}

func (s *served) jeton(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, _ := run(t, stdin, append(args, "-c", s.config)...)
	return out
}

func (s *served) secretFile(t *testing.T, name, secret string) string {
	t.Helper()
	path := filepath.Join(s.data, name)
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// populate adds people and clients with the command line, while the server
// runs, and says how they log in and call.
func (s *served) populate(t *testing.T) {
	t.Helper()
	password := s.secretFile(t, "canary-password", canaryPassword)
	secret := s.secretFile(t, "canary-secret", canarySecret)
	key := s.secretFile(t, "canary-key", canaryKey)
	s.jeton(t, "", "user", "add", "ann@example.com", "--realm", "iadvize", "--password-file", password)
	s.jeton(t, "", "user", "add", "broker@example.com", "--realm", "iadvize", "--password-file", password)
	s.jeton(t, "", "user", "add", "ann", "--realm", "altrata", "--password-file", password)
	s.jeton(t, "", "key", "add", "ann", "--realm", "altrata", "--owner", "ann", "--key-file", key)
	s.jeton(t, "", "tenant", "add", "acme", "--realm", "alvys")
	s.jeton(t, "", "client", "add", "app", "--realm", "alvys", "--tenant", "acme", "--id", "app", "--secret-file", secret)
	s.jeton(t, "", "user", "add", "ann@example.org", "--realm", "web1on1", "--scope", "admin", "--password-file", password)
	s.jeton(t, "", "user", "add", "ann@example.com", "--realm", "oauth2", "--password-file", password)
	s.jeton(t, "", "client", "add", "app", "--realm", "oauth2", "--id", "app", "--scope", "read write", "--secret-file", secret)

	bearer := []string{"Authorization", "Bearer $TOKEN"}
	s.logins = map[string]message{
		"iadvize": {"POST", "/iadvize/oauth2/token", form, "grant_type=password&username=ann@example.com&password=" + canaryPassword, nil},
		"altrata": {"POST", "/altrata/oauth2/token?grant_type=client_credentials", "", "", append(basicAuth("ann:"+canaryPassword), "x-api-key", canaryKey)},
		"alvys":   {"POST", "/alvys/api/authentication/acme/token", form, "grant_type=client_credentials&client_id=app&client_secret=" + canarySecret, nil},
		"web1on1": {"POST", "/web1on1/v2/auth/token", "application/json", `{"email":"ann@example.org","password":"` + canaryPassword + `"}`, nil},
		"oauth2":  {"POST", "/oauth2/token", form, "grant_type=password&username=ann@example.com&password=" + canaryPassword, basicAuth("app:" + canarySecret)},
	}
	s.calls = map[string]message{
		"iadvize": {"GET", "/iadvize/_authenticated", "", "", bearer},
		"altrata": {"GET", "/altrata/v1/graphql", "", "", append(bearer[:2:2], "x-api-key", canaryKey)},
		"alvys":   {"GET", "/alvys/v1/me", "", "", bearer},
		"web1on1": {"GET", "/web1on1/v2/conversations", "", "", bearer},
		"oauth2":  {"GET", "/oauth2/orders", "", "", bearer},
	}
}

// login logs in and returns the access token.
func (s *served) login(t *testing.T, realm string) string {
	t.Helper()
	a := s.logins[realm].send(t, s.process).want(t, 200, "")
	return a.text("access_token") + a.text("token")
}

// eventually repeats an attempt until it is done and returns its last result.
func eventually[T any](t *testing.T, attempt func() (result T, done bool)) T {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		result, done := attempt()
		if done {
			return result
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %v", result)
		}
	}
}

// rawPath asks for a path exactly as it is written, which net/http would clean.
func rawPath(t *testing.T, p *process, path string) answer {
	t.Helper()
	host := strings.TrimPrefix(p.issuer, "http://")
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, err = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path, host)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}
