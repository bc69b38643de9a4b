package guard_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/guard"
)

// serve serves h over HTTP/1.1 and HTTP/2, without TLS or with it.
func serve(t testing.TB, h http.Handler, secure bool) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	if s.EnableHTTP2 = secure; secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// client speaks the major version of HTTP.
func client(major int) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	transport.Protocols.SetHTTP1(major == 1)
	transport.Protocols.SetHTTP2(major == 2)
	transport.Protocols.SetUnencryptedHTTP2(major == 2)
	return &http.Client{Transport: transport}
}

// The proxy speaks both versions on both sides, with and without TLS, and passes
// on an answer's trailers, announced or not, and what gRPC says with them. Of a
// request's trailers nothing is passed on.
func TestProtocols(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Announced")
		w.Header().Set("Content-Type", "application/grpc")
		fmt.Fprintf(w, "%s %s te=%q trailer=%v subject=%s", r.Proto, body, r.Header["Te"], r.Trailer, r.Header.Get("X-Auth-Subject"))
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"X-Auth-Subject", "root")
	})
	for _, up := range []struct {
		scheme string
		secure bool
		want   string
	}{{"http", false, "HTTP/1.1"}, {"h2c", false, "HTTP/2.0"}, {"https", true, "HTTP/2.0"}} {
		behind := serve(t, echo, up.secure)
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann")}
		if up.secure {
			g.Transport = behind.Client().Transport
		}
		proxy := g.Proxy(parse(t, up.scheme+"://"+behind.Listener.Addr().String()))
		for _, secure := range []bool{false, true} {
			front := serve(t, proxy, secure)
			for _, major := range []int{1, 2} {
				t.Run(fmt.Sprintf("%d,tls=%v,%s", major, secure, up.scheme), func(t *testing.T) {
					r, _ := http.NewRequestWithContext(t.Context(), "POST", front.URL+"/x", io.MultiReader(strings.NewReader("body")))
					r.Header = http.Header{"Authorization": {"Bearer ann"}, "Te": {"trailers"}}
					r.Trailer = http.Header{"X-Auth-Subject": {"root"}}
					answer, err := client(major).Do(r)
					if err != nil {
						t.Fatal(err)
					}
					defer answer.Body.Close()
					body, err := io.ReadAll(answer.Body)
					want := up.want + ` body te=["trailers"] trailer=map[] subject=ann`
					if err != nil || string(body) != want || answer.ProtoMajor != major {
						t.Errorf("HTTP/%d: %q, %v, want %q", answer.ProtoMajor, body, err, want)
					}
					if answer.Trailer.Get("X-Announced") != "1" || answer.Trailer.Get("Grpc-Status") != "0" || answer.Trailer["X-Auth-Subject"] != nil {
						t.Errorf("trailer %v", answer.Trailer)
					}
				})
			}
		}
	}
}

// counted is a body of n bytes whose length nobody announces.
func counted(n int) io.Reader { return io.MultiReader(bytes.NewReader(make([]byte, n))) }

func TestLimits(t *testing.T) {
	var mu sync.Mutex
	var got int
	var whole bool
	behind := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		mu.Lock()
		got, whole = int(n), err == nil
		mu.Unlock()
		switch r.URL.Path {
		case "/known":
			w.Header().Set("Content-Length", "200001")
			fallthrough
		case "/unknown":
			_, _ = w.Write(make([]byte, 200_001))
		case "/fits":
			_, _ = w.Write(make([]byte, 200_000))
		}
	}), false)
	var log bytes.Buffer
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), MaxBody: 100_000, MaxResponse: 200_000,
		Logger: slog.New(slog.NewTextHandler(&log, nil))}
	front := serve(t, g.Proxy(parse(t, behind.URL)), false)
	for _, major := range []int{1, 2} {
		for _, tt := range []struct {
			name, method, path string
			body               io.Reader
			want               int
			whole              bool
		}{
			{"fits", "POST", "/fits", bytes.NewReader(make([]byte, 100_000)), 200, true},
			{"fits, no length", "POST", "/fits", counted(100_000), 200, true},
			{"too large", "POST", "/fits", bytes.NewReader(make([]byte, 100_001)), 413, false},
			{"too large, no length", "POST", "/fits", counted(100_001), 413, false},
			{"too large an answer", "GET", "/known", nil, 502, true},
			{"HEAD of it", "HEAD", "/known", nil, 200, true},
			{"too large an answer, no length", "GET", "/unknown", nil, -1, true},
		} {
			mu.Lock()
			got, whole = -1, false
			mu.Unlock()
			r, _ := http.NewRequestWithContext(t.Context(), tt.method, front.URL+tt.path, tt.body)
			r.Header.Set("Authorization", "Bearer ann")
			answer, err := client(major).Do(r)
			status := -1
			if err == nil {
				n, err := io.Copy(io.Discard, answer.Body)
				answer.Body.Close()
				if status = answer.StatusCode; err != nil {
					status = -1
				}
				if n > 200_000 {
					t.Errorf("%s over HTTP/%d: %d bytes came", tt.name, major, n)
				}
			}
			if status != tt.want {
				t.Errorf("%s over HTTP/%d: %d, %v, want %d", tt.name, major, status, err, tt.want)
			}
			mu.Lock()
			if got > 100_000 || tt.want == 413 && whole {
				t.Errorf("%s: the upstream saw %d bytes, whole %v", tt.name, got, whole)
			}
			if tt.name == "too large" && got != -1 {
				t.Errorf("the upstream saw a request that announced to be too large")
			}
			mu.Unlock()
		}
	}
	if !strings.Contains(log.String(), "an answer was cut off") || !strings.Contains(log.String(), "an answer was not passed on") {
		t.Errorf("log: %s", log.String())
	}
}

// Answers that have no end by nature are not counted.
func TestMaxResponseLeavesEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), MaxResponse: 10}
		g.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}},
				Body: io.NopCloser(counted(1000)), ContentLength: -1}, nil
		})
		if answer := call(g.Proxy(parse(t, "http://upstream")), "GET", "/x", "ann"); answer.StatusCode != 200 {
			t.Errorf("%d", answer.StatusCode)
		} else if n, err := io.Copy(io.Discard, answer.Body); n != 1000 || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// exchangeRaw sends bytes as they stand and returns the answers, until the
// connection is closed, which it is to be if it ends, or nothing more comes.
func exchangeRaw(t *testing.T, address, text string, ends bool) (statuses []int, closed bool) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() { _, _ = io.WriteString(conn, text) }()
	reader := bufio.NewReader(conn)
	for {
		answer, err := http.ReadResponse(reader, nil)
		if err != nil {
			return statuses, !strings.Contains(err.Error(), "timeout")
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		statuses = append(statuses, answer.StatusCode)
		if len(statuses) == 1 && !ends { // what would come comes at once
			_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		}
	}
}

// However a message is framed, the guard and the upstream agree about where it
// ends: a request hidden in another one is judged by itself or not taken at all.
func TestNoSmuggling(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
	front := httptest.NewServer(g.Proxy(parse(t, up.URL)))
	defer front.Close()
	const auth = "Authorization: Bearer guest\r\n"
	hidden := "GET /v2/users HTTP/1.1\r\nHost: front\r\nX-Hidden: 1\r\n\r\n" // nobody's
	post := "POST /v2/messages HTTP/1.1\r\nHost: front\r\n" + auth
	get := "GET /v2/conversations/1 HTTP/1.1\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden)
	for _, tt := range []struct {
		name, text string
		want       int // of the first answer; 400 closes the connection
	}{
		{"length and chunks", post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 200},
		{"chunks and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunk + hidden, 200},
		{"two lengths", post + "Content-Length: 0\r\nContent-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden, 400},
		{"two lengths in one", post + "Content-Length: 0, 5\r\n\r\n" + hidden, 400},
		{"a signed length", post + "Content-Length: +0\r\n\r\n" + hidden, 400},
		{"a hexadecimal length", post + "Content-Length: 0x0\r\n\r\n" + hidden, 400},
		{"a negative length", post + "Content-Length: -1\r\n\r\n" + hidden, 400},
		{"an empty length", post + "Content-Length: \r\n\r\n" + hidden, 400},
		{"chunked twice", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 501},
		{"chunked and identity", post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden, 501},
		{"identity", post + "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + hidden, 501},
		{"xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, 501},
		{"quoted", post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + hidden, 501},
		{"a vertical tab", post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + hidden, 400},
		{"a space before the colon", post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden, 400},
		{"a tab before the colon", post + "Content-Length\t: 5\r\n\r\n" + hidden, 400},
		{"a folded line", post + "X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n" + hidden, 200},
		{"a bare CR", post + "X-A: b\rTransfer-Encoding: chunked\r\n\r\n" + hidden, 400},
		{"a NUL", post + "X-A: b\x00\r\n\r\n" + hidden, 400},
		{"a line without a colon", post + "Transfer-Encoding\r\n\r\n" + hidden, 400},
		{"a chunk size with a sign", post + "Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + hidden, 400},
		{"a chunk size that overflows", post + "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n" + hidden, 400},
		{"a chunk with a bare LF", post + "Transfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n" + hidden, 400},
		{"a chunk that is longer than it says", post + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" + hidden, 400},
		{"two hosts", get + "Host: front\r\nHost: evil\r\n" + auth + "\r\n" + hidden, 400},
		{"no host", get + auth + "\r\n" + hidden, 400},
		{"a host with a path", get + "Host: front/x\r\n" + auth + "\r\n" + hidden, 400},
		{"another authority", "GET http://evil/v2/conversations/1 HTTP/1.1\r\nHost: front\r\n" + auth + "\r\n", 400},
		{"its own authority", "GET http://front/v2/conversations/1 HTTP/1.1\r\nHost: front\r\n" + auth + "\r\n", 400},
		{"CONNECT", "CONNECT front:80 HTTP/1.1\r\nHost: front\r\n" + auth + "Content-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden, 400},
		{"CONNECT with a path", "CONNECT /v2/conversations/1 HTTP/1.1\r\nHost: front\r\n" + auth + "\r\n" + hidden, 405},
		{"a body of GET", get + "Host: front\r\n" + auth + "Content-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden, 200},
		{"HTTP/1.0 with chunks", "POST /v2/messages HTTP/1.0\r\nHost: front\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" + chunk + hidden, 200},
		{"the same, kept alive", "POST /v2/messages HTTP/1.0\r\nHost: front\r\nConnection: keep-alive\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" + chunk + hidden, 200},
		{"another version", "GET /v2/conversations/1 HTTP/2.1\r\nHost: front\r\n" + auth + "\r\n", 505},
		{"HTTP/0.9", "GET /v2/conversations/1\r\n\r\n", 400},
		{"HTTP/2 out of nowhere", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			framed := strings.Contains(tt.text, "\r\nTransfer-Encoding")
			ends := (tt.want == 400 || framed) && tt.name != "CONNECT with a path" && tt.name != "another authority" && tt.name != "its own authority"
			statuses, closed := exchangeRaw(t, front.Listener.Addr().String(), tt.text, ends)
			if len(statuses) == 0 || statuses[0] != tt.want {
				t.Errorf("answers %v, want %d", statuses, tt.want)
			}
			for _, r := range up.take() {
				if r.Header.Get("X-Hidden") != "" || r.URL.Path == "/v2/users" || r.Header.Get("X-Auth-Subject") != "id-of-guest" {
					t.Errorf("the upstream saw %s %s of %q", r.Method, r.URL, r.Header)
				}
			}
			if len(statuses) > 1 && statuses[1] == 200 {
				t.Errorf("the hidden request was answered: %v", statuses)
			}
			if ends && !closed {
				t.Errorf("answers %v, and the connection goes on", statuses)
			}
		})
	}
}

// An interim answer of the upstream does not undo what was set for the answer
// proper: the connection of a chunked request is closed, the age is shown.
func TestInterimAnswer(t *testing.T) {
	up := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
	})
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), Revocations: fresh(), ShowAge: true}
	front := httptest.NewServer(g.Proxy(parse(t, up.URL)))
	defer front.Close()
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer ann\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	reader := textproto.NewReader(bufio.NewReader(conn))
	line, _ := reader.ReadLine()
	if _, err := reader.ReadMIMEHeader(); err != nil || line != "HTTP/1.1 103 Early Hints" {
		t.Fatalf("%q, %v", line, err)
	}
	line, _ = reader.ReadLine()
	header, err := reader.ReadMIMEHeader()
	if err != nil || line != "HTTP/1.1 200 OK" || header.Get("Connection") != "close" || header.Get("X-Auth-Age") == "" {
		t.Errorf("%q, %v, %v", line, header, err)
	}
}

// A call that takes longer than it may is 504 if nothing was answered yet.
func TestCallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: people(), Timeout: time.Hour, CallTimeout: time.Minute}
		g.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, context.Cause(r.Context())
		})
		started := time.Now()
		if w := proxyCall(t.Context(), g, "GET", nil); w.Code != 504 || time.Since(started) != time.Minute {
			t.Errorf("%d after %v", w.Code, time.Since(started))
		}
	})
}
