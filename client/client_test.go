package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/broker"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A fleet is a broker that listens, and a vendor that counts its logins.
type fleet struct {
	*broker.Broker
	server *httptest.Server
	logins *atomic.Int64
	asked  atomic.Int64 // requests to the broker, streams included
	wrong  atomic.Bool  // the vendor refuses the password
}

// start starts a broker that serves at a listener, or at any loopback address.
func start(t *testing.T, l net.Listener) *fleet {
	t.Helper()
	return startAt(t, l, new(atomic.Int64))
}

// startAt starts a broker of a vendor that has seen some logins: the client's
// stream can make it log in as soon as it listens.
func startAt(t *testing.T, l net.Listener, logins *atomic.Int64) *fleet {
	t.Helper()
	d, err := dialects.Load("iadvize")
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{logins: logins}
	vendor := roundTripper(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		if f.wrong.Load() {
			d.WriteTokenError(w, "v", jeton.Refuse(jeton.InvalidGrant, ""))
		} else {
			n := f.logins.Add(1)
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"access_token":"token-%d","expires_in":86400,"token_type":"Bearer","refresh_token":"none"}`, n)
		}
		return w.Result(), nil
	})
	f.Broker = &broker.Broker{Store: store.NewMemory(), HTTP: vendor, Accounts: []broker.Account{{Name: "a", Dialect: d,
		Secrets: func(context.Context) (jeton.Vars, error) { return jeton.Vars{"username": "u", "password": "p"}, nil }}}}
	api := f.TokenAPI()
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Add(1)
		api.ServeHTTP(w, r)
	}))
	if l != nil {
		_ = f.server.Listener.Close()
		f.server.Listener = l
	}
	f.server.Start()
	t.Cleanup(f.end)
	return f
}

func (f *fleet) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = f.Close(ctx) // ends the streams
	f.server.CloseClientConnections()
	f.server.Close()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func open(t *testing.T, c Config) *Client {
	t.Helper()
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// TestReadsFromMemory: a thousand first readers ask once, later ones not at
// all, and a new token arrives by itself.
func TestReadsFromMemory(t *testing.T) {
	f := start(t, nil)
	c := open(t, Config{URL: f.server.URL, Account: "a"})
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if token, err := c.Token(t.Context()); err != nil || token.AccessToken.Reveal() != "token-1" {
				t.Errorf("%v %v", token, err)
			}
		})
	}
	wg.Wait()
	if n := f.asked.Load(); n > 2 {
		t.Errorf("the broker was asked %d times, want once and one stream", n)
	}
	got := make(chan uint64)
	go func() {
		token, err := c.Next(t.Context(), 1)
		if err != nil {
			t.Error(err)
			close(got)
			return
		}
		got <- token.Generation
	}()
	if _, err := f.Report(t.Context(), "a", 1); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != 2 {
		t.Errorf("generation %d", g)
	}
	if token, err := c.OAuth2().Token(); err != nil || token.AccessToken != "token-2" || token.Type() != "Bearer" || token.Expiry.IsZero() {
		t.Errorf("%v %v", token, err)
	}
}

// TestBrokerAway: while the broker is away the token goes on, and when it is
// back the client follows it again.
func TestBrokerAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.sock")
	listen := func() net.Listener {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	f := start(t, listen())
	c := open(t, Config{Socket: path, Account: "a"})
	if _, err := c.Token(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.end()
	for range 10 {
		if token, err := c.Token(t.Context()); err != nil || token.AccessToken.Reveal() != "token-1" {
			t.Errorf("%v %v", token, err)
		}
	}
	if _, err := c.Report(t.Context(), 1); err == nil || strings.Contains(err.Error(), "localhost") {
		t.Errorf("a report without a broker: %v", err)
	}
	second := startAt(t, listen(), f.logins)
	token, err := c.Token(t.Context()) // the old one was rejected
	if err != nil || token.AccessToken.Reveal() != "token-2" {
		t.Fatalf("%v %v", token, err)
	}
	go func() { _, _ = second.Report(t.Context(), "a", 1) }()
	if token, err := c.Next(t.Context(), 1); err != nil || token.Generation != 2 {
		t.Errorf("%v %v", token, err)
	}
}

// TestRefusals: an error of the broker says what it is.
func TestRefusals(t *testing.T) {
	f := start(t, nil)
	f.wrong.Store(true)
	c := open(t, Config{URL: f.server.URL, Account: "a"})
	_, err := c.Token(t.Context())
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Status != 424 || !strings.Contains(refusal.Error(), "invalid_grant") {
		t.Errorf("latched: %v", err)
	}
	_, err = open(t, Config{URL: f.server.URL, Account: "nobody"}).Token(t.Context())
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Status != 404 {
		t.Errorf("unknown: %v", err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer other.Close()
	if _, err = open(t, Config{URL: other.URL, Account: "a"}).Token(t.Context()); !errors.Is(err, ErrNotABroker) {
		t.Errorf("no broker: %v", err)
	}
	closed := open(t, Config{URL: f.server.URL, Account: "a"})
	closed.Close()
	if _, err := closed.Token(t.Context()); err == nil {
		t.Error("a closed client asks the broker")
	}
	for _, bad := range []Config{{}, {Account: "a"}, {URL: "127.0.0.1:1", Account: "a"}, {URL: "http://h", Socket: "s", Account: "a"}, {URL: "http://u:p@h", Account: "a"}, {URL: "http://h"}} {
		if _, err := New(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestKey: the caller's key goes along, to the broker only.
func TestKey(t *testing.T) {
	f := start(t, nil)
	f.Callers = []broker.Caller{{Name: "c", All: true, Keys: func(context.Context) ([]jeton.Secret, error) {
		return []jeton.Secret{jeton.NewSecret("the-key")}, nil
	}}}
	_, err := open(t, Config{URL: f.server.URL, Account: "a"}).Token(t.Context())
	if refusal, ok := errors.AsType[*Error](err); !ok || refusal.Status != 401 {
		t.Errorf("without a key: %v", err)
	}
	if _, err := open(t, Config{URL: f.server.URL, Account: "a", Key: jeton.NewSecret("the-key")}).Token(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRoundTrip: a call wears the token, is sent again with the next one if it
// was rejected, and a redirect to another host is followed without it.
func TestRoundTrip(t *testing.T) {
	f := start(t, nil)
	var elsewhere http.Header
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { elsewhere = r.Header }))
	defer other.Close()
	var good atomic.Value
	good.Store("Bearer token-1")
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Header.Get("Authorization") != good.Load():
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/away":
			http.Redirect(w, r, other.URL, http.StatusFound)
		default:
			_, _ = w.Write(body)
		}
	}))
	defer api.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	caller := &http.Client{Transport: open(t, Config{URL: f.server.URL, Account: "a", Base: transport})}
	post := func(body io.Reader) (int, string) {
		answer, err := caller.Post(api.URL, "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(text)
	}
	if status, body := post(strings.NewReader("one")); status != 200 || body != "one" {
		t.Errorf("%d %q", status, body)
	}
	good.Store("Bearer token-2") // the vendor has ended the first
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if status, body := post(strings.NewReader("two")); status != 200 || body != "two" {
				t.Errorf("%d %q", status, body)
			}
		})
	}
	wg.Wait()
	if n := f.logins.Load(); n != 2 {
		t.Errorf("%d logins", n)
	}
	// A permission that is missing is not cured by logins, nor is a body sent
	// twice that cannot be.
	good.Store("nothing")
	if status, _ := post(strings.NewReader("three")); status != 401 || f.logins.Load() != 2 {
		t.Errorf("%d after %d logins", status, f.logins.Load())
	}
	if status, _ := post(io.MultiReader(strings.NewReader("four"))); status != 401 {
		t.Errorf("%d", status)
	}
	good.Store("Bearer token-2")
	answer, err := caller.Get(api.URL + "/away")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if elsewhere == nil || elsewhere.Get("Authorization") != "" {
		t.Errorf("the other host saw %v", elsewhere)
	}
}

// TestOlderStreamLines: what the stream says late does not bring an old token
// back.
func TestOlderStreamLines(t *testing.T) {
	c := open(t, Config{URL: "http://127.0.0.1:1", Account: "a"})
	token := func(g uint64) *jeton.Token {
		return &jeton.Token{AccessToken: jeton.NewSecret(fmt.Sprint(g)), Generation: g, Expiry: time.Now().Add(time.Hour)}
	}
	c.learn(token(3), true)
	c.learn(token(2), false)
	if g := c.now.Load().token.Generation; g != 3 {
		t.Errorf("generation %d", g)
	}
	c.learn(token(1), true) // the record was made anew
	if g := c.now.Load().token.Generation; g != 1 {
		t.Errorf("generation %d", g)
	}
}

func BenchmarkToken(b *testing.B) {
	u, _ := url.Parse("http://127.0.0.1:1")
	c, err := New(Config{URL: u.String(), Account: "a"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	c.learn(&jeton.Token{AccessToken: jeton.NewSecret("t"), Generation: 1, Expiry: time.Now().Add(time.Hour)}, true)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Token(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
