package bench_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
	"github.com/jetonhq/jeton/verify"
)

// newGuard returns a guard in front of a realm's API as it is deployed: it
// verifies tokens once and then compares them with what was revoked, and so the
// calls that run.
func newGuard(b *testing.B) (g *guard.Guard, token string) {
	b.Helper()
	r := openRealm(b, store.NewMemory(), audit.NewMemory())
	table := new(revocation.Table)
	table.Confirm(time.Now())
	g = &guard.Guard{Dialect: load(b), Verifier: &verify.Cache{Verifier: r, Table: table, MaxStale: time.Hour}, Revocations: table, MaxStale: time.Hour}
	return g, r.login(b)
}

// BenchmarkProxy calls an API through the guard's reverse proxy, and through a
// bare ReverseProxy with the same transport settings and a pool of buffers.
func BenchmarkProxy(b *testing.B) {
	for _, c := range []struct {
		name, method string
		answer, body int // bytes
	}{{"small", "GET", 1 << 10, 0}, {"large", "GET", 64 << 10, 0}, {"post", "POST", 1 << 10, 1 << 10}} {
		b.Run(c.name, func(b *testing.B) {
			answer := bytes.Repeat([]byte("x"), c.answer)
			to := &url.URL{Scheme: "http", Host: serveHTTP(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
				_, _ = w.Write(answer)
			}))}
			g, token := newGuard(b)
			peer := &httputil.ReverseProxy{
				Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(to); p.SetXForwarded() },
				Transport: newTransport(), BufferPool: new(buffers),
			}
			request := fmt.Sprintf("%s /orders/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				c.method, token, c.body, bytes.Repeat([]byte("y"), c.body))
			compare(b, newCrowd(b, serveHTTP(b, g.Proxy(to)), request, 32), newCrowd(b, serveHTTP(b, peer), request, 32))
		})
	}
}

// BenchmarkAuthRequest calls an API through nginx that asks the guard about each
// call, and through nginx that asks a handler which says yes to all. The API is
// nginx's own answer, so that little else is measured.
func BenchmarkAuthRequest(b *testing.B) {
	g, token := newGuard(b)
	h, err := g.ForwardAuth("nginx")
	if err != nil {
		b.Fatal(err)
	}
	yes := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	request := "GET /orders/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	ours, peer := startNginx(b, serveHTTP(b, h)), startNginx(b, serveHTTP(b, yes))
	compare(b, newCrowd(b, ours, request, 32), newCrowd(b, peer, request, 32))
}

// startNginx starts an nginx that asks at an address, with the directives of the
// documentation, and returns where it listens.
func startNginx(b *testing.B, ask string) string {
	b.Helper()
	s, err := storetest.StartNginx(func(addr, dir string) string {
		return `
			upstream jeton { server ` + ask + `; keepalive 64; keepalive_requests 1000000000; }
			server {
				listen ` + addr + `;
				auth_request /_jeton;
				auth_request_set $jeton_subject $upstream_http_x_auth_subject;
				location / { root ` + dir + `; try_files /nginx.conf =404; add_header X-Seen-Subject $jeton_subject; }
				location = /_jeton {
					internal; auth_request off; proxy_pass http://jeton/; proxy_http_version 1.1;
					proxy_set_header Connection ""; proxy_pass_request_body off; proxy_set_header Content-Length "";
					proxy_set_header X-Original-Method $request_method; proxy_set_header X-Original-URI $request_uri;
				}
			}`
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s.Addr
}
