package e2e_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A verbatim is an API that notes the bytes of each request's head and says yes.
type verbatim struct {
	url  string
	mu   sync.Mutex // guards head
	head []string
}

func newVerbatim(t *testing.T) *verbatim {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	w := &verbatim{url: "http://" + l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.answer(c)
		}
	}()
	return w
}

// answer reads a head without reading anything into it, and skips the body.
func (w *verbatim) answer(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	var head bytes.Buffer
	for !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")) {
		b, err := in.ReadByte()
		if err != nil {
			return
		}
		head.WriteByte(b)
	}
	w.mu.Lock()
	w.head = append(w.head, head.String())
	w.mu.Unlock()
	_, rest, _ := strings.Cut(head.String(), "\r\n")
	r, err := http.ReadRequest(bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\n"+rest), in)))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

// of returns the heads that have a line.
func (w *verbatim) of(line string) (heads []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, head := range w.head {
		if strings.Contains(strings.ToLower(head), line) {
			heads = append(heads, head)
		}
	}
	return heads
}

// h2 sends one request as it stands over a connection of its own: fields in
// their order, a body, and trailers. Status 0: the stream was reset or the
// connection ended, without an answer.
func h2(t *testing.T, addr string, fields [][2]string, body string, trailers ...[2]string) (status string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	f.AllowIllegalWrites = true
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	_ = f.WriteSettings()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	head := func(fields [][2]string, end bool) {
		block.Reset()
		for _, f := range fields {
			_ = e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
		}
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: end, EndHeaders: true})
	}
	head(fields, body == "" && trailers == nil)
	if body != "" {
		_ = f.WriteData(1, trailers == nil, []byte(body))
	}
	if trailers != nil {
		head(trailers, true)
	}
	for {
		frame, err := f.ReadFrame()
		if errors.As(err, new(http2.StreamError)) {
			continue
		}
		if err != nil {
			return "0"
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if status := frame.PseudoValue("status"); status[0] != '1' {
				return status
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "0"
		}
	}
}

// What HTTP/2 can say and HTTP/1.1 cannot: pseudo-headers twice, late, missing or
// unknown, with what belongs elsewhere or ends a line of HTTP/1.1; connection
// headers; a body that is not as long as it says. It is refused, or the API sees
// the one request that was judged, and nothing of the trick.
func TestHTTP2BeforeTheGuard(t *testing.T) {
	t.Parallel()
	api := newVerbatim(t)
	addr, token := servePaths(t, map[string]string{"api": api.url})
	const line = "GET /open/1 HTTP/1.1\r\n"
	for _, tt := range []struct {
		name   string
		fields string // in their order, separated by |; behind those of a good call, which they replace if they are pseudo-headers
		body   string
		want   string // the status; 0: none, as the stream or the connection ended
	}{
		{"a good call", "", "", "200"},
		{"what the token may not", ":path=/api/secret/1", "", "403"},
		{"no token", "-authorization", "", "401"},
		{"a path with a version", ":path=/api/open/1 HTTP/1.1", "", "400"},
		{"a query with a version", ":path=/api/open/1?x HTTP/1.1", "", "400"},
		{"a query with a line end", ":path=/api/open/1?x\r\nX-Auth-Subject: root", "", "0"},
		{"a query with a fragment", ":path=/api/open/1?x#/../secret/1", "", "400"},
		{"a path with dots", ":path=/api/open/../secret/1", "", "400"},
		{"a path with encoded dots", ":path=/api/open/%2e%2e/secret/1", "", "400"},
		{"a path with a host", ":path=http://evil/api/open/1", "", "400"},
		{"a path without a slash", ":path=api/open/1", "", "0"},
		{"two slashes", ":path=//api/open/1", "", "404"},
		{"an asterisk", ":path=*", "", "404"},
		{"no path", "-:path", "", "0"},
		{"an empty path", ":path=", "", "0"},
		{"two paths", "+:path=/api/secret/1", "", "0"},
		{"a path behind the header", "x-a=b|+:path=/api/secret/1", "", "0"},
		{"two methods", "+:method=DELETE", "", "0"},
		{"no method", "-:method", "", "0"},
		{"a method that is a request line", ":method=GET /api/secret/1 HTTP/1.1", "", "405"},
		{"a method in small letters", ":method=get", "", "405"},
		{"TRACE", ":method=TRACE", "", "405"},
		{"CONNECT", ":method=CONNECT|-:scheme|-:path", "", "404"},
		{"CONNECT with a path", ":method=CONNECT", "", "0"},
		{"a WebSocket by CONNECT", ":method=CONNECT|:protocol=websocket", "", "0"},
		{"a protocol", ":protocol=websocket", "", "0"},
		{"an unknown pseudo-header", ":x=y", "", "0"},
		{"a status", ":status=200", "", "0"},
		{"no scheme", "-:scheme", "", "0"},
		{"another scheme", ":scheme=file", "", "0"},
		{"a host with a path", ":authority=front/secret", "", "400"},
		{"a host with a blank", ":authority=front evil", "", "400"},
		{"a host with a query", ":authority=front?x", "", "400"},
		{"two hosts in one", ":authority=front,evil", "", "400"},
		{"a host with a user", ":authority=evil@front", "", "0"},
		{"a host beside the authority", "host=evil", "", "200"},
		{"two hosts beside the authority", "host=evil|host=worse", "", "200"},
		{"connection", "connection=x-auth-subject", "", "400"},
		{"transfer-encoding", "transfer-encoding=chunked", "x", "400"},
		{"upgrade", "upgrade=websocket", "", "400"},
		{"keep-alive", "keep-alive=timeout=5", "", "400"},
		{"proxy-connection", "proxy-connection=keep-alive", "", "400"},
		{"te", "te=gzip", "", "400"},
		{"te: trailers", "te=trailers", "", "200"},
		{"two tokens", "authorization=Bearer x", "", "400"},
		{"capitals", "X-Auth-Subject=root", "", "0"},
		{"small letters", "x-auth-subject=root", "", "200"},
		{"underscores", "x_auth_subject=root|x_forwarded_for=192.0.2.1|script_name=/open", "", "200"},
		{"another method", "x-http-method-override=DELETE", "", "200"},
		{"a line end in a value", "x-a=b\r\nx-auth-subject: root", "", "0"},
		{"a colon in a name", "x-auth-subject: root\r\nx-a=b", "", "0"},
		{"a blank in a name", "x-auth-subject =root", "", "0"},
		{"no name", "=root", "", "0"},
		{"cookies in crumbs", "cookie=a=1|cookie=b=2", "", "200"},
		{"more body than it says", "content-length=1", "xGET /secret/1 HTTP/1.1\r\n\r\n", "0"},
		{"less body than it says", "content-length=50", "x", "0"},
		{"two lengths", "content-length=1|content-length=9", "x", "200"}, // the frames say where it ends
		{"a trailer", "trailer=x-auth-subject|trailing x-auth-subject=root", "x", "200"},
		{"a pseudo-header in the trailer", "trailing :path=/api/secret/1", "x", "0"},
	} {
		fields, trailers := h2Fields(token, tt.fields)
		mark := fmt.Sprintf("x-case: %s.\r\n", strings.ToLower(strings.ReplaceAll(tt.name, " ", "-")))
		status := h2(t, addr, append(fields, [2]string{"x-case", mark[8 : len(mark)-2]}), tt.body, trailers...)
		seen := api.of(mark)
		if status != tt.want && !(tt.want == "0" && status == "400") {
			t.Errorf("%s: %s, want %s", tt.name, status, tt.want)
		}
		for _, head := range seen {
			if !strings.HasPrefix(head, line) || !strings.Contains(head, "\r\nX-Auth-Subject: app\r\n") || !strings.Contains(head, "\r\nX-Forwarded-Host: front\r\n") {
				t.Errorf("%s: the API saw %q", tt.name, head)
			}
			for _, trick := range []string{"root", "evil", "worse", "192.0.2.1", "Script", "DELETE", "secret"} {
				if strings.Contains(head, trick) {
					t.Errorf("%s: the API saw %q", tt.name, head)
				}
			}
		}
		if len(seen) > 1 || tt.want == "200" && len(seen) == 0 || len(seen) > 0 && tt.want[0] == '4' {
			t.Errorf("%s: the API saw %d calls", tt.name, len(seen))
		}
	}
}

// h2Fields changes the fields of a good call. What begins with + is added though
// it is there, - takes away; "trailing" is for after the body.
func h2Fields(token, change string) (fields, trailers [][2]string) {
	fields = [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "front"}, {":path", "/api/open/1"}, {"authorization", "Bearer " + token}}
	for text := range strings.SplitSeq(change, "|") {
		name, value, _ := strings.Cut(text, "=")
		at := slices.IndexFunc(fields, func(f [2]string) bool { return f[0] == strings.TrimPrefix(name, "-") })
		late, isLate := strings.CutPrefix(name, "trailing ")
		switch {
		case text == "":
		case isLate:
			trailers = append(trailers, [2]string{late, value})
		case strings.HasPrefix(name, "-"):
			fields = slices.Delete(fields, at, at+1)
		case strings.HasPrefix(name, "+"):
			fields = append(fields, [2]string{name[1:], value})
		case strings.HasPrefix(name, ":") && at >= 0:
			fields[at][1] = value
		case strings.HasPrefix(name, ":"):
			fields = slices.Insert(fields, 4, [2]string{name, value})
		default:
			fields = append(fields, [2]string{name, value})
		}
	}
	return fields, trailers
}
