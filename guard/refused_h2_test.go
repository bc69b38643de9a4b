package guard_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/jetonhq/jeton/guard"
)

// TestRefusedBodyOverHTTP2: who sends a body over HTTP/2 and is refused before
// it was read hears so. A stream that is reset when the client still sends, or a
// connection that is closed, loses the answer to curl and to others, and the
// connection is that of other calls, too.
func TestRefusedBodyOverHTTP2(t *testing.T) {
	g := &guard.Guard{Dialect: load(t, "alvys"), Verifier: users("ann"), MaxBody: 2, GraphQL: &guard.GraphQL{At: "/graphql"}}
	front := serve(t, g.Handler(http.NotFoundHandler()), false)
	for _, tt := range []struct{ name, path, token, status string }{
		{"no token", "/x", "", "401"},
		{"too large", "/x", "Bearer ann", "413"},
		{"another media type", "/graphql", "Bearer ann", "415"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", front.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(time.Minute))
			_, _ = io.WriteString(c, http2.ClientPreface)
			f := http2.NewFramer(c, c)
			f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
			_ = f.WriteSettings()
			for _, stream := range []uint32{1, 3} { // the connection goes on
				var block bytes.Buffer
				e := hpack.NewEncoder(&block)
				for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", "x"}, {":path", tt.path}, {"authorization", tt.token}, {"content-length", "3"}} {
					if h[1] != "" {
						_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
					}
				}
				_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true})
				status, ended := "", false
				for over := false; !over; {
					frame, err := f.ReadFrame()
					if err != nil {
						t.Fatal(err)
					}
					switch frame := frame.(type) {
					case *http2.MetaHeadersFrame:
						status = frame.PseudoValue("status")
						_ = f.WriteData(stream, true, []byte("abc")) // the answer came first
						_ = f.WritePing(false, [8]byte{})
					case *http2.DataFrame:
						ended = ended || frame.StreamEnded()
					case *http2.RSTStreamFrame, *http2.GoAwayFrame:
						t.Fatalf("status %q, then %v", status, frame)
					case *http2.PingFrame:
						over = true
					}
					if over && !ended { // the ping may overtake the end
						over = false
						_ = f.WritePing(false, [8]byte{})
					}
				}
				if status != tt.status {
					t.Errorf("status %s, want %s", status, tt.status)
				}
			}
		})
	}
}
