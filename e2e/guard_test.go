package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An edge is an issuer, and a guard in a process of its own that knows the
// issuer by its URL and reaches it over a link.
type edge struct {
	dir    string
	link   *link
	issuer *process // its issuer field is the base URL
	guard  *process
	addr   string // of the guard
	meter  string // where its metrics are
}

// amply is how old what a guard knows may be where that is not the matter of a
// test: a busy machine is not to decide it.
const amply = "30s"

// newEdge starts both. What the guard knows may be so old at most. The API behind the guard says who calls; at /events it
// sends a line every so often, for ever.
func newEdge(t *testing.T, maxStale string) *edge {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s of %s\n", r.Header.Get("X-Auth-Subject"), r.Header.Get("X-Auth-Client"))
		for r.URL.Path == "/events" && r.Context().Err() == nil {
			_, _ = fmt.Fprintln(w, "data: x")
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}))
	t.Cleanup(api.Close)
	e := &edge{dir: t.TempDir(), addr: freeAddress(t), meter: freeAddress(t)}
	listen := freeAddress(t)
	e.link = newLink(t, listen, condition{})
	key, _ := run(t, "", "config", "new-key")
	for name, text := range map[string]string{
		"seal.key": key, "edge.key": "an-edge-key-of-some-length-0123456789\n", "secret": canarySecret + "\n",
		"issuer.yaml": `store: sqlite:jeton.db
seal: file:seal.key
issuer:
  listen: ` + listen + `
  url: http://` + e.link.addr + `
  guards:
    edge: {key: file:edge.key}
  realms:
    std: {dialect: oauth2}
    once: {dialect: ./once.yaml}
`,
		"once.yaml": "dialect: once\ntoken: {POST: http://127.0.0.1/token}\nactive: 1\n",
		"guard.yaml": `guard:
  listen: ` + e.addr + `
  metrics: ` + e.meter + `
  upstreams:
    std:  {issuer: "http://` + e.link.addr + `/std", key: file:edge.key, to: "` + api.URL + `", at: /std, max_stale: ` + maxStale + `, show_age: true}
    once: {issuer: "http://` + e.link.addr + `/once", dialect: ./once.yaml, key: file:edge.key, to: "` + api.URL + `", at: /once, max_stale: ` + maxStale + `}
`} {
		if err := os.WriteFile(filepath.Join(e.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.startIssuer(t)
	for _, realm := range []string{"std", "once"} {
		e.jeton(t, "client", "add", "app", "--realm", realm, "--id", "app", "--scope", "read", "--secret-file", filepath.Join(e.dir, "secret"))
	}
	e.guard = start(t, "serve", "-c", filepath.Join(e.dir, "guard.yaml"))
	e.guard.await(t, e.guard.stderr, "listening")
	return e
}

func (e *edge) startIssuer(t *testing.T) {
	t.Helper()
	e.issuer = start(t, "serve", "-c", filepath.Join(e.dir, "issuer.yaml"))
	e.issuer.await(t, e.issuer.stderr, "listening")
}

// jeton runs an administrative command, in a process of its own, beside the
// issuer.
func (e *edge) jeton(t *testing.T, args ...string) string {
	t.Helper()
	out, _ := run(t, "", append(args, "-c", filepath.Join(e.dir, "issuer.yaml"))...)
	return out
}

func (e *edge) login(t *testing.T, realm string) string {
	t.Helper()
	a := ask(t, "POST", "http://"+e.link.addr+"/"+realm+"/token", "grant_type=client_credentials", append(basicAuth("app:"+canarySecret), "Content-Type", form)...)
	return a.want(t, 200, "").text("access_token")
}

// call calls the API behind the guard.
func (e *edge) call(t *testing.T, realm, token string) answer {
	t.Helper()
	return ask(t, "GET", "http://"+e.addr+"/"+realm+"/x", "", "Authorization", "Bearer "+token)
}

// until calls until the guard answers with a status.
func (e *edge) until(t *testing.T, realm, token string, status int) answer {
	t.Helper()
	return eventually(t, func() (answer, bool) {
		a := e.call(t, realm, token)
		return a, a.status == status
	})
}

// A token that its client revokes, whose client an administrator disables, or
// that a newer one ends, ends at a guard in another process too; one that was
// just made is good there at once.
func TestGuardApart(t *testing.T) {
	t.Parallel()
	e := newEdge(t, amply)
	token := e.login(t, "std")
	a := e.until(t, "std", token, 200)
	if !strings.Contains(a.body, "app of app") || a.header.Get("X-Auth-Age") == "" {
		t.Errorf("%s %v", a.body, a.header)
	}
	other := e.login(t, "std")
	e.call(t, "std", other).want(t, 200, "")
	ask(t, "POST", "http://"+e.link.addr+"/std/revoke", "token="+token, append(basicAuth("app:"+canarySecret), "Content-Type", form)...).want(t, 200, "")
	e.until(t, "std", token, 401)
	e.call(t, "std", other).want(t, 200, "")
	e.jeton(t, "client", "disable", "app", "--realm", "std")
	e.until(t, "std", other, 401)

	older := e.login(t, "once")
	e.until(t, "once", older, 200)
	for range 20 {
		newer := e.login(t, "once")
		e.call(t, "once", newer).want(t, 200, "") // no gap
		e.call(t, "once", older).want(t, 401, "") // its successor was seen
		older = newer
	}
}

// An API key is no JWT: the issuer says what it is, and disabling it ends it.
func TestGuardApartTakesKeys(t *testing.T) {
	t.Parallel()
	e := newEdge(t, amply)
	var key struct{ Key, ID string }
	if err := json.Unmarshal([]byte(e.jeton(t, "key", "add", "nightly", "--realm", "std", "--scope", "read", "--json")), &key); err != nil {
		t.Fatal(err)
	}
	e.until(t, "std", key.Key, 200)
	e.jeton(t, "key", "disable", key.ID, "--realm", "std")
	e.until(t, "std", key.Key, 401)
}

// The guard keeps deciding while its issuer is away, until it may have missed
// too much. What was missed is known when the issuer is back.
func TestGuardApartOutage(t *testing.T) {
	t.Parallel()
	e := newEdge(t, "10s") // time enough, on a busy machine, for a call after the cut
	token, lost := e.login(t, "std"), e.login(t, "std")
	e.until(t, "std", token, 200)
	e.call(t, "std", lost).want(t, 200, "")
	for name, is := range map[string]condition{"cut": {cut: true}, "hole": hole} {
		e.link.set(is)
		a := e.call(t, "std", token)
		for a.status == 200 { // it goes on for a while, and then not
			time.Sleep(20 * time.Millisecond)
			a = e.call(t, "std", token)
		}
		a.want(t, 503, "")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: when to come again is not said", name)
		}
		e.link.set(condition{})
		e.until(t, "std", token, 200)
	}
	e.link.set(condition{cut: true})
	e.call(t, "std", lost).want(t, 200, "")
	ask(t, "POST", "http://"+e.link.server+"/std/revoke", "token="+lost, append(basicAuth("app:"+canarySecret), "Content-Type", form)...).want(t, 200, "")
	e.link.set(condition{})
	e.until(t, "std", lost, 401)
	e.until(t, "std", token, 200)

	e.issuer.kill(t)
	e.until(t, "std", token, 503)
	e.startIssuer(t)
	e.until(t, "std", token, 200)
	e.call(t, "std", lost).want(t, 401, "")
}

// Streams end with their token.
func TestGuardApartEndsStreams(t *testing.T) {
	t.Parallel()
	e := newEdge(t, amply)
	token := e.login(t, "std")
	e.until(t, "std", token, 200)
	r, err := http.NewRequest("GET", "http://"+e.addr+"/std/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	for range 5 {
		if !lines.Scan() {
			t.Fatal(lines.Err())
		}
	}
	e.jeton(t, "client", "disable", "app", "--realm", "std")
	for lines.Scan() {
	}
	if lines.Err() == nil {
		t.Error("the stream ended as if it were complete")
	}
}

// The delay of a revocation is measured all the time.
func TestGuardApartMeasures(t *testing.T) {
	t.Parallel()
	e := newEdge(t, amply)
	eventually(t, func() (string, bool) {
		a := ask(t, "GET", "http://"+e.meter+"/metrics", "")
		return a.body, strings.Contains(a.body, "jeton_guard_revocation_delay_seconds_count{") &&
			!strings.Contains(a.body, `jeton_guard_revocation_delay_seconds_count{upstream="std"} 0`)
	})
}

// A guard beside its issuer says how old its knowledge is, too: with a store that several processes share it is not new
// by itself.
func TestGuardBesideItsIssuerMeasures(t *testing.T) {
	t.Parallel()
	dir, meter := t.TempDir(), freeAddress(t)
	file := filepath.Join(dir, "jeton.yaml")
	if err := os.WriteFile(file, []byte(`store: memory
issuer:
  listen: `+freeAddress(t)+`
  realms:
    std: {dialect: oauth2, at: /std}
guard:
  listen: `+freeAddress(t)+`
  metrics: `+meter+`
  upstreams:
    api: {realm: std, to: "http://`+freeAddress(t)+`"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "serve", "-c", file)
	p.await(t, p.stderr, "address="+meter)
	eventually(t, func() (string, bool) {
		a := ask(t, "GET", "http://"+meter+"/metrics", "")
		return a.body, strings.Contains(a.body, `jeton_guard_revocations_age_seconds{upstream="api"} 0`)
	})
}

// A guard starts without its issuer, and decides nothing until it is there.
func TestGuardApartStartsFirst(t *testing.T) {
	t.Parallel()
	e := newEdge(t, amply)
	token := e.login(t, "std")
	e.guard.interrupt(t)
	e.link.set(condition{cut: true})
	e.guard = start(t, "serve", "-c", filepath.Join(e.dir, "guard.yaml"))
	e.guard.await(t, e.guard.stderr, "listening")
	e.call(t, "std", token).want(t, 503, "")
	e.link.set(condition{})
	e.until(t, "std", token, 200)
}

// A guard without a key would never hear what ends at a Jeton issuer, so it
// decides nothing, and says why.
func TestGuardApartNeedsKey(t *testing.T) {
	t.Parallel()
	e := newEdge(t, amply)
	token := e.login(t, "std")
	e.until(t, "std", token, 200)
	e.guard.interrupt(t)
	path := filepath.Join(e.dir, "guard.yaml")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config = []byte(strings.ReplaceAll(string(config), "key: file:edge.key, ", ""))
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	e.guard = start(t, "serve", "-c", path)
	e.guard.await(t, e.guard.stderr, "it needs a key of a guard there")
	e.call(t, "std", token).want(t, 503, "")
}
