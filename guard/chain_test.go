package guard_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/store/storetest"
)

// snippet returns the one block of a language in the section of the document
// about proxies.
func snippet(t testing.TB, language string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/guard.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```\n").FindAllStringSubmatch(string(page), -1)
	if len(found) != 1 {
		t.Fatalf("docs/guard.md has %d blocks of %s", len(found), language)
	}
	return found[0][1] + "\n"
}

// replace puts other addresses in place of those of the document, each of which
// must be there.
func replace(t testing.TB, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in %s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func freeAddr(t testing.TB) string {
	t.Helper()
	address, err := storetest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// startNginx starts an nginx with what conf returns in its http block, and
// returns where it listens.
func startNginx(t testing.TB, conf func(addr, dir string) string) string {
	t.Helper()
	s, err := storetest.StartNginx(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Addr
}

func startCaddy(t testing.TB, conf func(addr string) string) string {
	t.Helper()
	s, err := storetest.StartCaddy(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.Addr
}

// A chain is a proxy as the document sets it up, a guard that it asks and an
// API behind it.
type chain struct {
	address string // of the proxy
	api     *upstream
	asked   *upstream // has what the guard was asked
	guard   *httptest.Server
}

func newChain(t testing.TB, proxy string) *chain {
	t.Helper()
	c := &chain{}
	c.api = newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n")
			_ = rw.Flush()
			_, _ = io.Copy(io.Discard, conn)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people(), Realm: "api"}
	h, err := g.ForwardAuth(proxy)
	if err != nil {
		t.Fatal(err)
	}
	c.asked = newUpstream(t, h.ServeHTTP)
	c.guard = c.asked.Server
	pairs := []string{"127.0.0.1:8082", c.guard.Listener.Addr().String(), "127.0.0.1:3000", c.api.Listener.Addr().String()}
	switch proxy {
	case "nginx":
		c.address = startNginx(t, func(addr, _ string) string {
			return replace(t, snippet(t, "nginx"), append(pairs, "127.0.0.1:8000", addr)...)
		})
	case "caddy":
		c.address = startCaddy(t, func(addr string) string {
			return replace(t, snippet(t, "caddyfile"), append(pairs, ":8000 {", addr[strings.Index(addr, ":"):]+" {")...)
		})
	}
	return c
}

// send sends a request as it stands and returns the answer, nil if the proxy
// closed the connection instead.
func (c *chain) send(t testing.TB, text string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, text) // who refuses early may not read all
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		_, _ = io.Copy(io.Discard, answer.Body)
	}
	return answer
}

// check holds what the API saw against what a guest may do, and against who the
// guest is.
func (c *chain) check(t testing.TB, what string) {
	t.Helper()
	for _, r := range c.api.take() {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		for _, reading := range []string{path, worst(path)} {
			if !guestMay.MatchString(r.Method + " " + reading) {
				t.Errorf("%s: a guest did %s %s", what, r.Method, r.RequestURI)
			}
		}
		for name, values := range r.Header {
			plain := dialect.FoldHeader(name)
			want := map[string]string{"x-auth-subject": "id-of-guest", "x-auth-scope": "guest"}[plain]
			if strings.HasPrefix(plain, "x-auth-") && (want == "" && strings.Join(values, "") != "" || want != "" && (len(values) != 1 || values[0] != want || name != http.CanonicalHeaderKey(plain))) {
				t.Errorf("%s: the API saw %s: %q", what, name, values)
			}
			if plain == "authorization" {
				t.Errorf("%s: the API saw the token", what)
			}
		}
		for name, values := range r.Trailer { // Caddy passes the names on
			if len(values) > 0 {
				t.Errorf("%s: the API saw a trailer %s: %q", what, name, values)
			}
		}
		if r.Header.Get("X-Auth-Subject") != "id-of-guest" {
			t.Errorf("%s: the API does not know who calls", what)
		}
	}
}

// The configurations of the document, before the real API and run by the real
// proxies: good calls get through with their identity, and no confusing request
// does more than its token may.
func TestNginxChain(t *testing.T) {
	c := newChain(t, "nginx")
	confuse(t, c, map[string]int{"not canonical": 400, "no token": 401, "not good": 403, "not permitted": 403, "no method": 405})

	c.guard.Close()
	if answer := c.send(t, get("/v2/conversations/1", "")); answer == nil || answer.StatusCode != 503 || len(c.api.take()) > 0 {
		t.Errorf("without a guard: %v", answer)
	}
}

func TestCaddyChain(t *testing.T) {
	c := newChain(t, "caddy")
	confuse(t, c, map[string]int{"not canonical": 400, "no token": 401, "not good": 403, "not permitted": 403, "no method": 405})

	c.guard.Close()
	if answer := c.send(t, get("/v2/conversations/1", "")); answer == nil || answer.StatusCode != 502 || len(c.api.take()) > 0 {
		t.Errorf("without a guard: %v", answer)
	}
}

// get returns a request of a guest with more lines, each of which ends in CR LF.
func get(target, lines string) string {
	return "GET " + target + " HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\n" + lines + "\r\n"
}

func confuse(t *testing.T, c *chain, want map[string]int) {
	const good = "/v2/conversations/1"
	for _, tt := range []struct {
		name, text string
		want       int // 0: whatever it answers
	}{
		{"good", get(good, ""), 200},
		{"with a query", get(good+"?a=../..", ""), 200},
		{"encoded", get("/v2/conversations/a%20b%C3%A9", ""), 200},
		{"a body", "POST /v2/messages HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\nContent-Length: 2\r\n\r\n{}", 200},
		{"chunks", "POST /v2/messages HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200},
		{"trailers", "POST /v2/messages HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\nTrailer: X-Auth-Subject\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Auth-Subject: root\r\n\r\n", 200},
		{"not canonical", get("/v2/conversations/..%2fusers", ""), want["not canonical"]},
		{"no token", "GET " + good + " HTTP/1.1\r\nHost: front\r\n\r\n", want["no token"]},
		{"not good", "GET " + good + " HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer nope\r\n\r\n", want["not good"]},
		{"not permitted", get("/v2/users", ""), want["not permitted"]},
		{"no method", "PUT /v2/conversations HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\nContent-Length: 0\r\n\r\n", want["no method"]},
		{"the guard's own location", get("/_jeton", ""), 0},
	} {
		answer := c.send(t, tt.text)
		if answer == nil || tt.want != 0 && answer.StatusCode != tt.want {
			t.Errorf("%s: %v, want %d", tt.name, answer, tt.want)
		} else if challenge := answer.Header["Www-Authenticate"]; (tt.want == 401 || tt.want == 403) && (len(challenge) != 1 || !strings.HasPrefix(challenge[0], `Bearer realm="api"`)) {
			t.Errorf("%s: challenge %q", tt.name, challenge)
		}
		if seen := len(c.api.seen); (tt.want == 200) != (seen == 1) {
			t.Errorf("%s: the API saw %d calls", tt.name, seen)
		}
		c.check(t, tt.name)
	}

	for _, target := range []string{
		"/v2/conversations/../users", "/v2/conversations/%2e%2e/users", "/v2/conversations/..;/users", "/v2//users", "//v2/users", "/v2/./users",
		`/v2/conversations/..\users`, "/v2/conversations/%5c../users", "/v2/conversations/%252e%252e/users", "/v2/conversations/1%00", "/v2/conversations/1%0d%0aX-Auth-Subject:%20root",
		"/v2/conversations/1#/../../users", "/v2/users?/../conversations/1", "/v2/users/me/../1", "/v2/users/me%2f..%2f1", "/V2/users", "/v2/Users", "/v2/users/", "/v2/users.",
		"http://front/v2/users", "http://evil/v2/conversations/1", "http:///v2/users", "*", "v2/users", "/v2/conversations/1 /../users", "/v2/conversations/\xff", "/%76%32/users",
	} {
		c.send(t, get(target, ""))
		c.check(t, target)
	}
	for _, lines := range []string{
		"X-Forwarded-Uri: /v2/conversations/1\r\nX-Forwarded-Method: GET\r\n", "X-Original-URI: /v2/conversations/1\r\nX-Original-Method: GET\r\n",
		"X_Original_URI: /v2/conversations/1\r\n", "X_Forwarded_Uri: /v2/conversations/1\r\n", "X-Original-URL: /v2/users\r\n", "X-Rewrite-URL: /v2/users\r\n",
		"X-HTTP-Method-Override: DELETE\r\n", "X-Forwarded-Prefix: /v2/users\r\n", "X-Auth-Subject: root\r\n", "x-auth-subject: root\r\nX-Auth-Scope: admin\r\n", "X_Auth_Subject: root\r\n", "X_auth_Tenant: evil\r\n",
		"X.Auth.Subject: root\r\n", "X-Auth-Tenant: evil\r\n", "X-Auth-Client: evil\r\n", "X-Auth-Age: 0.000\r\n",
		"Connection: X-Auth-Subject\r\n", "Connection: close, X-Auth-Subject, X-Auth-Scope\r\n", "Connection: X-Auth-Subject\r\nX-Auth-Subject: root\r\n",
		"Connection: Authorization\r\n", "Connection: X-Original-URI, X-Forwarded-Uri, X-Forwarded-Method\r\n", "Connection: Upgrade, X-Auth-Subject\r\nUpgrade: websocket\r\n",
		"Connection: Upgrade\r\nConnection: X-Auth-Subject\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n",
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
		"Authorization: Bearer admin\r\n", "Proxy-Authorization: Bearer admin\r\n", "Cookie: access_token=admin\r\n", "X-A: b\r\n X-Auth-Subject: root\r\n", "X-Auth-Subject : root\r\n",
		"Trailer: X-Auth-Subject\r\n",
	} {
		for _, target := range []string{good, "/v2/users"} {
			c.send(t, get(target, lines))
			c.check(t, target+" with "+lines)
		}
	}
	hidden := "GET /v2/users HTTP/1.1\r\nHost: front\r\nX-Auth-Subject: root\r\n\r\n"
	for _, framing := range []string{
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n",
		"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0\r\nContent-Length: 50\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\n\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
	} {
		c.send(t, "POST /v2/messages HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer guest\r\n"+framing+hidden)
		time.Sleep(5 * time.Millisecond) // for what would come next; the check below is only sharper for it
		c.check(t, framing)
	}
	if answer := c.send(t, get(good, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n")); answer == nil || answer.StatusCode != 101 {
		t.Errorf("a WebSocket: %v", answer)
	}
	c.check(t, "a WebSocket")
}

// An nginx that somebody told to keep the answers, and to mind nothing but the
// path, keeps none: the guard is asked each time.
func TestNginxKeepsNoAnswer(t *testing.T) {
	c := newChain(t, "nginx")
	c.address = startNginx(t, func(addr, dir string) string {
		return "proxy_cache_path " + dir + "/answers keys_zone=answers:1m;\n" + replace(t, snippet(t, "nginx"),
			"127.0.0.1:8000", addr, "127.0.0.1:8082", c.guard.Listener.Addr().String(), "127.0.0.1:3000", c.api.Listener.Addr().String(),
			"proxy_pass_request_body off;", "proxy_pass_request_body off; proxy_cache answers; proxy_cache_key $uri; proxy_cache_valid any 10m;")
	})
	const users = "GET /v2/users HTTP/1.1\r\nHost: front\r\nAuthorization: Bearer "
	for _, tt := range []struct {
		token string
		want  int
	}{{"admin", 200}, {"guest", 403}, {"admin", 200}, {"nope", 403}} {
		if answer := c.send(t, users+tt.token+"\r\n\r\n"); answer == nil || answer.StatusCode != tt.want {
			t.Errorf("%s: %v, want %d", tt.token, answer, tt.want)
		}
	}
	if asked := len(c.asked.take()); asked != 4 {
		t.Errorf("the guard was asked %d times, want 4", asked)
	}
}
