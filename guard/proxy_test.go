package guard_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/store/storetest"
)

// An upstream records what it saw.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex // guards seen
	seen []*http.Request

	flooded atomic.Int64 // bytes that a flood has got rid of
}

func newUpstream(t testing.TB, answer http.HandlerFunc) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.seen = append(u.seen, r)
		u.mu.Unlock()
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(u.Close)
	return u
}

// take returns the requests seen since the last take.
func (u *upstream) take() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen = nil
	return seen
}

// await waits until the upstream has seen so many requests.
func (u *upstream) await(t testing.TB, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		u.mu.Lock()
		seen := len(u.seen)
		u.mu.Unlock()
		if seen >= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the upstream has seen %d calls, want %d", seen, n)
		}
	}
}

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// raw sends a request as it stands over a connection of its own.
func raw(t testing.TB, address, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer
}

// Every way to write a path that some server reads as another one: refused, or
// forwarded byte by byte. A guest may fetch conversations and create messages,
// and nothing more.
func TestPathTricks(t *testing.T) {
	up := newUpstream(t, nil)
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
	front := httptest.NewServer(g.Proxy(parse(t, up.URL+"/base")))
	defer front.Close()
	address := front.Listener.Addr().String()

	for _, tt := range []struct {
		target string
		want   int
	}{
		{"/v2/conversations/1", 200},
		{"/v2/conversations/caf%C3%A9", 200},
		{"/v2/conversations/caf%c3%a9", 200},
		{"/v2/conversations/a%20b", 200},
		{"/v2/conversations/a%40b", 200},
		{"/v2/conversations/a@b+c", 200},
		{"/v2/conversations/1.json", 200},
		{"/v2/conversations/..1", 200},
		{"/v2/conversations/1?x=..%2f..%2f&y=;z", 200},
		{"http://evil.example/v2/conversations/1", 400},
		{"http://front/v2/conversations/1", 400},
		{"HTTP://front/v2/conversations/1", 400},
		{"evil:/v2/conversations/1", 400},
		{"/v2/conversations/..", 400},
		{"/v2/conversations/.", 400},
		{"/v2/conversations/...", 400},
		{"/v2/conversations/../users", 400},
		{"/v2/conversations/%2e%2e", 400},
		{"/v2/conversations/%2E.", 400},
		{"/v2/conversations/1/../../users", 400},
		{"/v2/./users", 400},
		{"/v2//users", 400},
		{"//v2/users", 400},
		{"//evil.example/v2/conversations/1", 400},
		{"/v2/conversations/..%2fusers", 400},
		{"/v2/conversations/..%5cusers", 400},
		{"/v2/conversations/..\\users", 400},
		{"/v2/conversations\\1", 400},
		{"/v2/conversations/%252e%252e", 400},
		{"/v2/conversations/%25", 400},
		{"/v2/conversations/1%00", 400},
		{"/v2/conversations/1%0a", 400},
		{"/v2/conversations/1%7f", 400},
		{"/v2/conversations/1%C2%85", 400},
		{"/v2/conversations/1;a=b", 400},
		{"/v2/conversations/..;/users", 400},
		{"/v2/conversations/1%3ba=b", 400},
		{"/v2/conversations/1%23", 400},
		{"/v2/conversations/1#/../users", 400},
		{"/v2/conversations/1?x#y", 400},
		{"/v2/conversations/1%3fx", 400},
		{"/v2/%63onversations/1", 400},
		{"/v2/conversations/%c0%ae%c0%ae", 400},
		{"/v2/conversations/\xff", 400},
		{"/v2/conversations/é", 400},
		{"/v2/conversations/%zz", 400},
		{"/v2/conversations/%", 400},
		{"v2/conversations/1", 400},
		{"*", 400},
		{"/v2/conversations /1", 400},
		{"/v2/users/me/", 403},
		{"/v2/conversations/1/", 403},
		{"/v2/conversations.", 403},
		{"/v2/CONVERSATIONS/1", 403},
		{"/v2/users", 403},
	} {
		answer := raw(t, address, "GET "+tt.target+" HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\nConnection: close\r\n\r\n")
		seen := up.take()
		if answer.StatusCode != tt.want {
			t.Errorf("%q: %d, want %d", tt.target, answer.StatusCode, tt.want)
		}
		if (len(seen) == 1) != (tt.want == 200) {
			t.Errorf("%q: the upstream saw %d calls", tt.target, len(seen))
			continue
		}
		if len(seen) == 1 {
			if seen[0].RequestURI != "/base"+tt.target || seen[0].Host != up.Listener.Addr().String() {
				t.Errorf("%q: the upstream saw %s at %s", tt.target, seen[0].RequestURI, seen[0].Host)
			}
		}
	}
}

// What the upstream learns about the caller comes from the token, whatever the
// client sends beside it.
func TestHeaderTricks(t *testing.T) {
	up := newUpstream(t, nil)
	v := verifier{"good": {ID: "j", Subject: "demo", Scope: jeton.Scope{"read"},
		Bound: map[string]string{"api_key": jeton.Fingerprint("j", jeton.NewSecret("key"))}}}
	identity := http.Header{"X-Auth-Subject": {"demo"}, "X-Auth-Scope": {"read"}}
	kept := identity.Clone()
	kept["Authorization"], kept["X-Api-Key"] = []string{"Bearer good"}, []string{"key"}

	for _, tt := range []struct {
		name, lines string
		keep        bool
		want        http.Header
	}{
		{"plain", "", false, identity},
		{"kept", "", true, kept},
		{"copies", "X-Auth-Subject: root\r\nx-auth-subject: root\r\nX_Auth_Subject: root\r\nX.Auth.Tenant: evil\r\nX-AUTH_client: evil\r\nX-Auth-Issuer: evil\r\n", false, identity},
		{"copies of credentials", "X_Api_Key: other\r\nAuthorization_: x\r\n", true, with(kept, "Authorization_", "x")},
		{"hop by hop", "Connection: close, Authorization, x-api-key, X-Auth-Subject, X_Auth_Scope, X-Forwarded-For\r\n", false, identity},
		{"hop by hop, kept", "Connection: close, Authorization, x-api-key, X-Auth-Subject\r\n", true, kept},
		{"hop by hop, honest", "Connection: X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eDp5\r\n", false, identity},
		{"other method", "X-HTTP-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX_Method_Override: DELETE\r\n", false, identity},
		{"other path", "X-Original-URL: /admin\r\nX-Rewrite-URL: /admin\r\n", false, identity},
		{"other path by CGI", "SCRIPT_NAME: /v1\r\nscript-name: /v1\r\nPATH_INFO: /admin\r\nPath.Info: /admin\r\nX-Script-Name: /v1\r\n", false, identity},
		{"other proxy", "Proxy: http://evil.example\r\n", false, identity},
		{"other file", "X-Sendfile-Type: X-Accel-Redirect\r\nX-Accel-Mapping: /=/admin/\r\n", false, identity},
		{"forwarding", "X-Forwarded-For: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.1\r\nX-Forwarded-Prefix: /x\r\nX-Forwarded-Uri: /x\r\nForwarded: for=10.0.0.1\r\nX-Real-IP: 10.0.0.1\r\n", false, identity},
		{"HTTP/2 by the way", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", false, identity},
		{"two upgrades", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", false, identity},
		{"trailer", "Trailer: X-Auth-Subject\r\n", false, identity},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &guard.Guard{Dialect: load(t, "altrata"), Verifier: v, KeepCredentials: tt.keep}
			front := httptest.NewServer(g.Proxy(parse(t, up.URL)))
			defer front.Close()
			raw(t, front.Listener.Addr().String(), "POST /v1/graphql HTTP/1.1\r\nHost: front\r\n"+
				"Authorization: Bearer good\r\nX-Api-Key: key\r\n"+tt.lines+
				"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Auth-Subject: root\r\n\r\n")
			seen := up.take()
			if len(seen) != 1 {
				t.Fatalf("the upstream saw %d calls", len(seen))
			}
			h := seen[0].Header
			if h.Get("X-Forwarded-For") != "127.0.0.1" || h.Get("X-Forwarded-Host") != "front" || h.Get("X-Forwarded-Proto") != "http" {
				t.Errorf("forwarded for %q, host %q, proto %q", h["X-Forwarded-For"], h["X-Forwarded-Host"], h["X-Forwarded-Proto"])
			}
			h.Del("X-Forwarded-For")
			h.Del("X-Forwarded-Host")
			h.Del("X-Forwarded-Proto")
			if diff := cmp.Diff(tt.want, h); diff != "" {
				t.Error(diff)
			}
			if len(seen[0].Trailer) > 0 {
				t.Errorf("trailer %v", seen[0].Trailer)
			}
		})
	}
}

func with(h http.Header, name, value string) http.Header {
	h = h.Clone()
	h[name] = []string{value}
	return h
}

// roundTrip is a transport of one function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func proxyCall(ctx context.Context, g *guard.Guard, method string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, "/v1/me?secret=canary", body)
	r.Header.Set("Authorization", "Bearer guest")
	w := httptest.NewRecorder()
	g.Proxy(&url.URL{Scheme: "http", Host: "upstream"}).ServeHTTP(w, r)
	return w
}

func TestUpstreamDead(t *testing.T) {
	nobody, err := storetest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	answer := call(g.Proxy(parse(t, "http://"+nobody)), "GET", "/v1/me?secret=canary", "guest")
	if answer.StatusCode != 502 || answer.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s", answer.StatusCode, answer.Header.Get("Content-Type"))
	}
	if !strings.Contains(log.String(), "could not be forwarded") {
		t.Errorf("log: %s", log.String())
	}
	log.Reset()
	g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: errors.New("broken")}
	})
	if w := proxyCall(t.Context(), g, "GET", nil); w.Code != 502 {
		t.Errorf("%d, want 502", w.Code)
	}
	if strings.Contains(log.String(), "canary") || !strings.Contains(log.String(), "broken") {
		t.Errorf("log: %s", log.String())
	}
}

func TestUpstreamSlow(t *testing.T) {
	// Where the upstream stands still: before it takes the request, in the
	// middle of a large one, and before it answers.
	for name, reads := range map[string]int64{"at once": 0, "amid the request": 100, "before the answer": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), Timeout: time.Minute}
				g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
					_, _ = io.CopyN(io.Discard, r.Body, reads)
					<-r.Context().Done()
					return nil, r.Context().Err()
				})
				start := time.Now()
				w := proxyCall(t.Context(), g, "POST", strings.NewReader(strings.Repeat("x", 1000)))
				if took := time.Since(start); w.Code != 504 || took != time.Minute {
					t.Errorf("%d after %v, want 504 after a minute", w.Code, took)
				}
			})
		})
	}
}

// lagging is a client that sends one byte every 50 seconds.
type lagging struct{ left int }

func (l *lagging) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	l.left--
	time.Sleep(50 * time.Second)
	p[0] = 'x'
	return 1, nil
}

// The timeout is the upstream's: neither a slow client nor a long answer is
// held against it.
func TestSlowButFine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), Timeout: 30 * time.Second}
		g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			time.Sleep(29 * time.Second)
			reader, writer := io.Pipe()
			go func() {
				for range 10 {
					select {
					case <-time.After(time.Minute):
					case <-r.Context().Done():
						_ = writer.CloseWithError(r.Context().Err())
						return
					}
					_, _ = writer.Write(body)
				}
				_ = writer.Close()
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: reader, ContentLength: -1}, nil
		})
		w := proxyCall(t.Context(), g, "POST", &lagging{left: 3})
		if w.Code != 200 || w.Body.String() != strings.Repeat("xxx", 10) {
			t.Errorf("%d %q", w.Code, w.Body)
		}
	})
}

// An upstream that answers before it has read the request is not cut off later.
func TestEarlyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), Timeout: 30 * time.Second}
		g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			go func() { _, _ = io.Copy(io.Discard, r.Body) }()
			time.Sleep(time.Second)
			reader, writer := io.Pipe()
			go func() {
				select {
				case <-time.After(10 * time.Minute):
					_, _ = io.WriteString(writer, "ok")
				case <-r.Context().Done():
				}
				_ = writer.Close()
			}()
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: reader, ContentLength: -1}, nil
		})
		w := proxyCall(t.Context(), g, "POST", &lagging{left: 1})
		if w.Code != 200 || w.Body.String() != "ok" {
			t.Errorf("%d %q", w.Code, w.Body)
		}
	})
}

// An answer that comes in the moment in which the time is up is either passed
// on whole or not at all.
func TestAnswerInTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), Timeout: 30 * time.Second}
		g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			time.Sleep(30 * time.Second)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(&obedient{r.Context(), strings.NewReader("ok")})}, nil
		})
		for range 100 {
			w := proxyCall(t.Context(), g, "GET", nil)
			if whole := w.Code == 200 && w.Body.String() == "ok"; !whole && w.Code != 504 {
				t.Errorf("%d %q", w.Code, w.Body)
			}
		}
	})
}

// An obedient reader ends with its context.
type obedient struct {
	ctx context.Context
	io.Reader
}

func (o *obedient) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	if err := o.ctx.Err(); err != nil {
		return 0, err
	}
	return o.Reader.Read(p)
}

// A client that leaves ends the upstream's work, and nobody is blamed.
func TestClientGone(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	var log bytes.Buffer
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), Logger: slog.New(slog.NewTextHandler(&log, nil))}
	ended := false
	g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		leave()
		<-r.Context().Done()
		ended = true
		return nil, r.Context().Err()
	})
	proxyCall(ctx, g, "GET", nil)
	if !ended || log.Len() > 0 {
		t.Errorf("ended %v, log %q", ended, log.String())
	}
}

func TestRequestTooLarge(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people()}
	h := http.MaxBytesHandler(g.Proxy(parse(t, up.URL)), 10)
	r := httptest.NewRequest("POST", "/v1/me", strings.NewReader(strings.Repeat("x", 100)))
	r.Header.Set("Authorization", "Bearer guest")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d, want 413", w.Code)
	}
}

// Each piece of an answer arrives before the next is written.
func TestStreaming(t *testing.T) {
	next := make(chan struct{})
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "3")
		for _, piece := range []string{"a", "b", "c"} {
			_, _ = io.WriteString(w, piece)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	front := httptest.NewServer((&guard.Guard{Dialect: load(t, "alvys"), Verifier: people()}).Proxy(parse(t, up.URL)))
	defer front.Close()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", front.URL+"/v1/me", nil)
	r.Header.Set("Authorization", "Bearer guest")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for _, want := range "abc" {
		var piece [1]byte
		if _, err := io.ReadFull(answer.Body, piece[:]); err != nil || rune(piece[0]) != want {
			t.Fatalf("%q, %v, want %q", piece, err, want)
		}
		next <- struct{}{}
	}
}
