package bench_test

import (
	"context"
	"io"
	"net"
	"net/http"
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
