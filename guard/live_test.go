package guard_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/revocation"
)

// patience bounds every wait. It is long, since the machine may be busy; nothing
// is right because of how long it took.
const patience = 30 * time.Second

func fresh() *revocation.Table {
	table := new(revocation.Table)
	table.Confirm(time.Now())
	return table
}

// users hold one token per user, of the same name, which the user's counter
// ends.
func users(names ...string) verifier {
	v := verifier{}
	for _, name := range names {
		v[name] = &jeton.Claims{ID: name, Subject: name, Generations: map[string]uint64{"user/" + name: 1}}
	}
	return v
}

func disable(table *revocation.Table, name string) {
	table.Add(revocation.Event{Counter: "user/" + name, Number: 2, Until: time.Now().Add(time.Hour)})
}

// talkative is an upstream that says hello in every long way and then only
// listens.
func talkative(t testing.TB) *upstream {
	var up *upstream
	up = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			fallthrough
		case "/stream":
			_, _ = io.WriteString(w, "hello\n")
			_ = c.Flush()
			<-r.Context().Done()
		case "/flood": // more than any buffer holds
			for r.Context().Err() == nil {
				n, err := w.Write(make([]byte, 1<<16))
				if err != nil {
					return
				}
				up.flooded.Add(int64(n))
			}
		case "/upload":
			_, _ = io.Copy(io.Discard, r.Body)
		case "/socket":
			conn, rw, err := c.Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n")
			_ = rw.Flush()
			_, _ = io.Copy(io.Discard, conn)
		}
	})
	return up
}

// request returns the text of a call.
func request(path, token string) string {
	lines := "Host: front\r\nAuthorization: Bearer " + token + "\r\n"
	switch path {
	case "/socket":
		lines += "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	case "/upload":
		return "POST " + path + " HTTP/1.1\r\n" + lines + "Content-Length: 1000000\r\n\r\nsome of it"
	}
	return "GET " + path + " HTTP/1.1\r\n" + lines + "\r\n"
}

// open makes a call over a connection of its own, and reads its answer as far as
// hello.
func open(t *testing.T, address, path, token string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, request(path, token)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	for path != "/upload" {
		line, err := reader.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if line == "hello\n" || path == "/flood" { // whose first line says that it has begun
			break
		}
	}
	return conn, reader
}

// closed fails the test unless the other side ends the connection; what came
// until then is returned.
func closed(t *testing.T, what string, r io.Reader) string {
	t.Helper()
	all, err := io.ReadAll(r)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		t.Errorf("%s goes on", what)
	}
	return string(all)
}

// Every kind of long call ends with the token that it was made with, and no
// other call does.
func TestLiveCallsEndWithARevocation(t *testing.T) {
	for _, path := range []string{"/socket", "/events", "/stream", "/upload", "/flood"} {
		t.Run(path[1:], func(t *testing.T) {
			up, table := talkative(t), fresh()
			g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann", "bob"), Revocations: table, MaxStale: time.Hour}
			front := httptest.NewServer(g.Proxy(parse(t, up.URL)))
			defer front.CloseClientConnections()
			address := front.Listener.Addr().String()
			_, ann := open(t, address, path, "ann")
			bobs, bob := open(t, address, path, "bob")
			up.await(t, 2)
			disable(table, "ann")
			told := closed(t, "ann's call", ann)
			if path == "/upload" && !strings.HasPrefix(told, "HTTP/1.1 401 ") || path == "/upload" && !strings.Contains(told, "revoked") {
				t.Errorf("ann was told %q", told)
			}
			if path == "/flood" {
				return // bob's would have to be read
			}
			_ = bobs.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := io.ReadAll(bob); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("bob's call: %v", err)
			}
		})
	}
}

// A client that takes nothing of its answer does not keep it: what the guard
// writes to is closed, too.
func TestLiveCallsEndUnread(t *testing.T) {
	up, table := talkative(t), fresh()
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), Revocations: table, MaxStale: time.Hour}
	ended := make(chan struct{})
	proxy := g.Proxy(parse(t, up.URL))
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		proxy.ServeHTTP(w, r)
	}))
	defer front.CloseClientConnections()
	open(t, front.Listener.Addr().String(), "/flood", "ann")
	up.await(t, 1)
	for before := int64(-1); before != up.flooded.Load(); time.Sleep(200 * time.Millisecond) {
		before = up.flooded.Load() // until nothing goes any further
	}
	disable(table, "ann")
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("it goes on")
	}
}

// endless is a transport whose answer is a stream that ends with its request.
func endless(contentType string) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		reader, writer := io.Pipe()
		context.AfterFunc(r.Context(), func() { _ = writer.CloseWithError(r.Context().Err()) })
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {contentType}}, Body: reader, ContentLength: -1}, nil
	}
}

// lasted returns for how long a call went on.
func lasted(t *testing.T, g *guard.Guard, accept string) time.Duration {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/x", nil)
	r.Header.Set("Authorization", "Bearer ann")
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	started := time.Now()
	g.Proxy(parse(t, "http://upstream")).ServeHTTP(httptest.NewRecorder(), r)
	return time.Since(started)
}

func TestLiveCallsEndInTime(t *testing.T) {
	for _, tt := range []struct {
		name, kind, accept string
		change             func(*guard.Guard)
		want               time.Duration
	}{
		{"events at the token's expiry", "text/event-stream; charset=utf-8", "", func(*guard.Guard) {}, time.Hour},
		{"events that were asked for", "text/plain", "text/event-stream", func(*guard.Guard) {}, time.Hour},
		{"a long answer with the call's time", "text/plain", "", func(g *guard.Guard) { g.CallTimeout = 3 * time.Hour }, 3 * time.Hour},
		{"silence", "text/plain", "", func(g *guard.Guard) { g.IdleTimeout = 10 * time.Minute }, 10 * time.Minute},
		{"a table that nobody confirms", "text/plain", "", func(g *guard.Guard) {
			g.Revocations = fresh()
		}, 30 * time.Second},
		{"the same, later", "text/plain", "", func(g *guard.Guard) {
			g.Revocations, g.MaxStale = fresh(), 7*time.Minute
		}, 7 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := users("ann")
				v["ann"].Expiry = time.Now().Add(time.Hour)
				g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: v, Transport: endless(tt.kind)}
				tt.change(g)
				if got := lasted(t, g, tt.accept); got != tt.want {
					t.Errorf("ended after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// A table that is confirmed again and again lets calls go on, and ends them when
// the confirmations stop.
func TestLiveCallsGoOnWhileFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := fresh()
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), Transport: endless("text/plain"), Revocations: table}
		go func() {
			for range 100 {
				time.Sleep(10 * time.Second)
				table.Confirm(time.Now())
			}
		}()
		if got, want := lasted(t, g, ""), 1000*time.Second+30*time.Second; got != want {
			t.Errorf("ended after %v, want %v", got, want)
		}
	})
}

// While nothing may be decided, no call begins: 503, and the token is not
// blamed. A token that ended in the moment after it was verified does not begin
// either.
func TestNoCallBeginsTooLate(t *testing.T) {
	stale, ended := new(revocation.Table), fresh()
	disable(ended, "ann")
	for want, table := range map[int]*revocation.Table{503: stale, 401: ended} {
		up := newUpstream(t, nil)
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), Revocations: table}
		answer := call(g.Proxy(parse(t, up.URL)), "GET", "/x", "ann")
		if answer.StatusCode != want || len(up.take()) > 0 || (answer.Header.Get("WWW-Authenticate") != "") != (want == 401) {
			t.Errorf("%d %s, want %d", answer.StatusCode, answer.Header.Get("WWW-Authenticate"), want)
		}
	}
}

// Behind the middleware the context ends, and says why.
func TestMiddlewareEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := fresh()
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), Revocations: table}
		var cause error
		h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			go func() {
				time.Sleep(time.Second)
				disable(table, "ann")
			}()
			<-r.Context().Done()
			cause = context.Cause(r.Context())
		}))
		started := time.Now()
		call(h, "GET", "/x", "ann")
		if took := time.Since(started); !errors.Is(cause, jeton.InvalidToken) || took != time.Second {
			t.Errorf("%v after %v", cause, took)
		}
	})
}

// Thousands of calls that begin and end while tokens are revoked: none outlives
// its token, and the watcher leaves when it is alone.
func TestLiveCallsRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := fresh()
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprint("user", i))
		}
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users(names...), Revocations: table, MaxStale: 24 * time.Hour}
		h := g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		done := make(chan int)
		for _, name := range names {
			for range 20 {
				go func() { done <- call(h, "GET", "/x", name).StatusCode }()
			}
		}
		for _, name := range names {
			go disable(table, name)
		}
		for range 20 * len(names) {
			<-done // each ends, or the bubble is stuck and says so
		}
	})
}

// Answers say how old the knowledge was by which they were decided, and nobody
// else says it.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, show := range []bool{true, false} {
			table := fresh()
			g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), Revocations: table, ShowAge: show}
			var seen http.Header
			g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				seen = r.Header
				return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("ok")), ContentLength: -1,
					Header:  http.Header{"X-Auth-Age": {"0.000"}, "X_auth_age": {"0.000"}, "X-Auth-Subject": {"root"}, "X-Kept": {"1"}},
					Trailer: http.Header{"X-Auth-Age": {"0.000"}, "X-Sum": {"7"}}}, nil
			})
			time.Sleep(1250 * time.Millisecond)
			want := []string(nil)
			if show {
				want = []string{"1.250"}
			}
			for name, h := range map[string]http.Handler{"proxy": g.Proxy(parse(t, "http://upstream")), "middleware": g.Handler(reached)} {
				for _, token := range []string{"ann", "unknown"} {
					r := httptest.NewRequest("GET", "/x", nil)
					r.Header.Set("Authorization", "Bearer "+token)
					r.Header.Set("X-Auth-Age", "0.001")
					w := httptest.NewRecorder()
					h.ServeHTTP(w, r)
					if got := w.Result().Header["X-Auth-Age"]; fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("%s, %s, show %v: %q, want %q", name, token, show, got, want)
					}
					if name == "proxy" && token == "ann" {
						a := w.Result()
						if a.Header["X_auth_age"] != nil || a.Header["X-Auth-Subject"] != nil || a.Header.Get("X-Kept") != "1" ||
							a.Trailer["X-Auth-Age"] != nil || a.Trailer.Get("X-Sum") != "7" {
							t.Errorf("the answer has %v, trailer %v", a.Header, a.Trailer)
						}
						if seen["X-Auth-Age"] != nil {
							t.Error("the upstream saw the client's age")
						}
					}
				}
			}
		}
	})
}

// A header of many trusted hops is read in time and memory that grow with it,
// and no faster.
func TestForwardedForIsCheap(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), Trusted: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	g.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody}, nil
	})
	proxy := g.Proxy(parse(t, "http://upstream"))
	r := httptest.NewRequest("GET", "/x", nil)
	r.Header = http.Header{"Authorization": {"Bearer ann"}, "X-Forwarded-For": {strings.Repeat("9.9.9.9,", 8000) + "9.9.9.9"}}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	proxy.ServeHTTP(httptest.NewRecorder(), r)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("a header of 64 kB took %d MB", used>>20)
	}
}

// Who the client is, is said by whom the guard trusts, and by nobody else.
func TestForwardedFor(t *testing.T) {
	var seen http.Header
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"),
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}
	g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		seen = r.Header
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
	})
	proxy := g.Proxy(parse(t, "http://upstream"))
	for _, tt := range []struct {
		peer string
		said []string
		want string
	}{
		{"192.0.2.7:1", nil, "192.0.2.7"},
		{"192.0.2.7:1", []string{"198.51.100.1"}, "192.0.2.7"},
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1, 10.0.0.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, 198.51.100.1"}, "198.51.100.1, 10.0.0.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, 198.51.100.1, 10.0.0.2"}, "198.51.100.1, 10.0.0.2, 10.0.0.1"},
		{"10.0.0.1:1", []string{"6.6.6.6", "198.51.100.1,10.0.0.2"}, "198.51.100.1, 10.0.0.2, 10.0.0.1"},
		{"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3, 10.0.0.2, 10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1:5555"}, "198.51.100.1, 10.0.0.1"},
		{"10.0.0.1:1", []string{"unknown"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{"198.51.100.1, "}, "10.0.0.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, evil\tx, 10.0.0.2"}, "10.0.0.2, 10.0.0.1"},
		{"[::ffff:10.0.0.1]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1, 10.0.0.1"},
		{"[2001:db8::1]:1", []string{"2001:4860::8"}, "2001:4860::8, 2001:db8::1"},
		{"[2001:db8::1]:1", []string{"[2001:4860::8]:77"}, "2001:4860::8, 2001:db8::1"},
		{"[2001:db8::1%eth0]:1", []string{"[2001:4860::8]"}, "2001:4860::8, 2001:db8::1"},
		{"@", []string{"198.51.100.1"}, ""},
	} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.RemoteAddr, r.Host = tt.peer, "front"
		r.Header = http.Header{"Authorization": {"Bearer ann"}, "X-Forwarded-For": tt.said, "X-Real-Ip": {"6.6.6.6"}, "Forwarded": {"for=6.6.6.6"},
			"X_forwarded_for": {"6.6.6.6"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"outside"}, "X-Forwarded-Port": {"1"}}
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		trusted := strings.HasPrefix(tt.peer, "10.") || strings.HasPrefix(tt.peer, "[")
		host, proto := "front", "http"
		if trusted {
			host, proto = "outside", "https"
		}
		if got := seen.Get("X-Forwarded-For"); got != tt.want || seen.Get("X-Forwarded-Host") != host || seen.Get("X-Forwarded-Proto") != proto {
			t.Errorf("%s, %q: for %q, host %s, proto %s; want %q", tt.peer, tt.said, got, seen.Get("X-Forwarded-Host"), seen.Get("X-Forwarded-Proto"), tt.want)
		}
		for _, name := range []string{"X-Real-Ip", "Forwarded", "X_forwarded_for", "X-Forwarded-Port"} {
			if seen[name] != nil {
				t.Errorf("%s: the upstream saw %s", tt.peer, name)
			}
		}
	}
	for _, bad := range [][]string{{"a", "b"}, {"a, b"}, {"user@evil"}, {"evil/x"}, {""}} {
		r := httptest.NewRequest("GET", "/x", nil)
		r.RemoteAddr, r.Host = "10.0.0.1:1", "front"
		r.Header = http.Header{"Authorization": {"Bearer ann"}, "X-Forwarded-Host": bad, "X-Forwarded-Proto": bad}
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		if seen.Get("X-Forwarded-Host") != "front" || seen.Get("X-Forwarded-Proto") != "http" {
			t.Errorf("%q: host %s, proto %s", bad, seen.Get("X-Forwarded-Host"), seen.Get("X-Forwarded-Proto"))
		}
	}
}

// A WebSocket is passed through, and ends when its token does.
func TestWebSocketEndsWithItsToken(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
		_ = rw.Flush()
		_, _ = io.Copy(io.Discard, conn)
	})
	var got string
	// A busy machine takes longer to connect than a short token lives.
	for life := 100 * time.Millisecond; life < patience && got != "hello"; life *= 2 {
		up.take()
		got = socketFor(t, up, life)
	}
	if got != "hello" {
		t.Errorf("%q", got)
	}
	if seen := up.take(); len(seen) != 1 || seen[0].Header.Get("X-Auth-Subject") != "u" || seen[0].Header.Get("Authorization") != "" {
		t.Errorf("the upstream saw %v", seen)
	}
}

// socketFor opens a WebSocket with a token that lives so long from now, and
// returns what comes until the guard closes it; "": it was not opened.
func socketFor(t *testing.T, up *upstream, life time.Duration) string {
	t.Helper()
	v := verifier{"short": {Subject: "u", Expiry: time.Now().Add(life)}}
	front := httptest.NewServer((&guard.Guard{Dialect: load(t, "alvys"), Verifier: v}).Proxy(parse(t, up.URL)))
	defer front.Close()
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * patience))
	_, _ = io.WriteString(conn, "GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer short\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		return ""
	}
	return closed(t, "the WebSocket", reader)
}
