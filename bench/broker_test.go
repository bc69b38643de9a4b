package bench_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/broker"
)

// serveHTTP serves h on loopback as net/http does by itself.
func serveHTTP(b *testing.B, h http.Handler) (addr string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(l) }()
	b.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

// BenchmarkAPI reads a token over TCP: from the token API, and from a handler
// that knows the bytes and the headers of that answer beforehand.
func BenchmarkAPI(b *testing.B) {
	for _, with := range []struct {
		name    string
		callers []broker.Caller
	}{
		{"open", nil},
		{"key", []broker.Caller{{Name: "one", All: true, Keys: func(context.Context) ([]jeton.Secret, error) {
			return []jeton.Secret{jeton.NewSecret("a-key-of-a-caller")}, nil
		}}}},
	} {
		b.Run(with.name, func(b *testing.B) {
			br := newBroker(b, &slowVendor{lifetime: "86400"}, 0)
			br.Callers = with.callers
			ours := serveHTTP(b, br.TokenAPI())
			request := "GET /v1/tokens/account HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer a-key-of-a-caller\r\n\r\n"
			answer, err := fetch("http://"+ours+"/v1/tokens/account", "Bearer a-key-of-a-caller")
			if err != nil {
				b.Fatal(err)
			}
			peer := serveHTTP(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for name, values := range answer.header {
					w.Header().Set(name, values[0])
				}
				_, _ = w.Write(answer.body)
			}))
			compare(b, newCrowd(b, ours, request, 64), newCrowd(b, peer, request, 64))
		})
	}
}

type answer struct {
	header http.Header // but for what net/http writes by itself
	body   []byte
}

func fetch(url, authorization string) (answer, error) {
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", authorization)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	resp.Header.Del("Content-Length")
	return answer{resp.Header, body}, err
}

// BenchmarkEgress calls an API through the egress proxy, and through a
// ReverseProxy that wears a token which it knows beforehand. Both use the same
// transport settings and a pool of buffers.
func BenchmarkEgress(b *testing.B) {
	for _, c := range []struct {
		name, method string
		answer, body int // bytes
	}{{"small", "GET", 1 << 10, 0}, {"large", "GET", 64 << 10, 0}, {"post", "POST", 1 << 10, 1 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			answer := bytes.Repeat([]byte("x"), c.answer)
			upstream := serveHTTP(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.Header.Get("Authorization") != "Bearer token" || r.URL.Path != "/orders/1" {
					w.WriteHeader(http.StatusForbidden)
				}
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
				_, _ = w.Write(answer)
			}))
			to := &url.URL{Scheme: "http", Host: upstream}
			br := newBroker(b, &slowVendor{lifetime: "86400"}, 0)
			br.Accounts[0].Origin = to
			br.HTTP = &loginAt{login: br.HTTP, calls: newTransport()}
			peer := &httputil.ReverseProxy{
				Rewrite: func(p *httputil.ProxyRequest) {
					p.SetURL(to)
					p.Out.Header.Set("Authorization", "Bearer token")
				},
				Transport: newTransport(), BufferPool: new(buffers),
			}
			request := func(path string) string {
				return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
					c.method, path, c.body, bytes.Repeat([]byte("y"), c.body))
			}
			compare(b, newCrowd(b, serveHTTP(b, br.Egress()), request("/to/account/orders/1"), 32),
				newCrowd(b, serveHTTP(b, peer), request("/orders/1"), 32))
		})
	}
}

// newTransport has the settings of a broker's own transport.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64
	return t
}

// A loginAt sends calls to one place and logins to another.
type loginAt struct{ login, calls http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t *loginAt) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		return t.login.RoundTrip(r)
	}
	return t.calls.RoundTrip(r)
}

type buffers struct{ free sync.Pool }

// Get implements [httputil.BufferPool].
func (p *buffers) Get() []byte {
	if b, ok := p.free.Get().(*[32 << 10]byte); ok {
		return b[:]
	}
	return make([]byte, 32<<10)
}

// Put implements [httputil.BufferPool].
func (p *buffers) Put(b []byte) { p.free.Put((*[32 << 10]byte)(b)) }
