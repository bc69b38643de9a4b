package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in memory, so that their deadlines
// follow the time of the test.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// slowly serves handlers, sends a request and then the parts one by one, with a
// pause before each, and returns what came back and how long that took.
func slowly(t *testing.T, request string, pause time.Duration, parts ...string) (answer string, took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		read := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, "cut off", http.StatusBadRequest)
				return
			}
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Minute):
				_, _ = fmt.Fprintf(w, "read %s", b)
			}
		})
		refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusUnauthorized) })
		l := make(pipes)
		f := &front{listener: l, routes: []route{{prefix: "/stream", handler: streaming(read)}, {prefix: "/refuse", handler: streaming(refuse)}, {handler: refuse}}}
		f.start(context.Background(), slog.New(slog.DiscardHandler), make(chan error, 1))
		client, server := net.Pipe()
		l <- server
		start := time.Now()
		var writing sync.WaitGroup
		writing.Go(func() {
			_, _ = io.WriteString(client, request)
			for _, part := range parts {
				time.Sleep(pause)
				if _, err := io.WriteString(client, part); err != nil {
					return
				}
			}
		})
		r := bufio.NewReader(client)
		var b strings.Builder
		for {
			answer, err := http.ReadResponse(r, nil)
			if err != nil {
				break
			}
			body, _ := io.ReadAll(answer.Body)
			fmt.Fprintf(&b, "%d %s;", answer.StatusCode, strings.TrimSpace(string(body)))
			if took = time.Since(start); answer.Close {
				break
			}
		}
		answer = b.String()
		_ = client.Close()
		_ = f.server.Close()
		writing.Wait()
	})
	return answer, took
}

// Whoever sends a body and does not get on with it is let go after a minute,
// whether the body is wanted or not; a body that gets on may take its time, and
// so may an answer.
func TestSlowClients(t *testing.T) {
	post := func(path string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
	}
	letters := []string{"a", "b", "c", "d", "e"}
	for _, c := range []struct {
		name, request string
		pause         time.Duration
		want          string
		least, most   time.Duration
	}{
		{"on and on", post("/stream"), 50 * time.Second, "200 read abcde;", 14 * time.Minute, 15 * time.Minute},
		{"stops", post("/stream"), 70 * time.Second, "400 cut off;", time.Minute, 2 * time.Minute},
		{"not wanted", post("/"), 25 * time.Second, "401 no;", 0, time.Minute},
		{"not wanted by what streams", post("/refuse"), 25 * time.Second, "401 no;", 0, time.Minute},
		{"no body", "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n", 0, "200 read;", 10 * time.Minute, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts := letters
			if c.pause == 0 {
				parts = nil
			}
			answer, took := slowly(t, c.request, c.pause, parts...)
			if answer != c.want || took < c.least || took > c.most {
				t.Errorf("got %q after %v, want %q after %v to %v", answer, took, c.want, c.least, c.most)
			}
		})
	}
}

// What follows a request that marks its own end is not taken for another one.
func TestNothingFollowsChunks(t *testing.T) {
	smuggled := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	chunks := "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	if answer, _ := slowly(t, chunks+smuggled, 0); answer != "401 no;" {
		t.Errorf("got %q", answer)
	}
	if answer, _ := slowly(t, smuggled+smuggled, 0); answer != "401 no;401 no;" {
		t.Errorf("two plain requests got %q", answer)
	}
}
