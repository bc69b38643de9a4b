package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// TestNext: a long poll answers as soon as there is a newer token, and 204
// after the wait.
func TestNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		h := b.TokenAPI()
		if w := ask(h, "GET", "/v1/tokens/a?after=0", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"generation":1`) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		began := time.Now()
		if w := ask(h, "GET", "/v1/tokens/a?after=1&wait=20s", ""); w.Code != 204 || w.Body.Len() != 0 || time.Since(began) != 20*time.Second {
			t.Errorf("%d %s after %v", w.Code, w.Body, time.Since(began))
		}
		time.AfterFunc(10*time.Second, func() { _, _ = b.Report(t.Context(), "a", 1) })
		began = time.Now()
		w := ask(h, "GET", "/v1/tokens/a?after=1", "")
		if took := time.Since(began); w.Code != 200 || !strings.Contains(w.Body.String(), `"generation":2`) || took > 11*time.Second {
			t.Errorf("%d %s after %v", w.Code, w.Body, took)
		}
		// A generation that nobody has any more: the record was made anew.
		if w := ask(h, "GET", "/v1/tokens/a?after=9", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"generation":2`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		began = time.Now()
		if w := ask(h, "GET", "/v1/tokens/a?after=2&wait=99h", ""); w.Code != 204 || time.Since(began) != longestWait {
			t.Errorf("a wait without end: %d after %v", w.Code, time.Since(began))
		}
		for _, bad := range []string{"after=x", "after=-1", "after=1&wait=soon", "after=1&wait=-1s", "after=1&min_ttl=1m", "wait=1s"} {
			if w := ask(h, "GET", "/v1/tokens/a?"+bad, ""); w.Code != 400 {
				t.Errorf("%s: %d", bad, w.Code)
			}
		}
		if w := ask(h, "GET", "/v1/tokens/nobody?after=1", ""); w.Code != 404 {
			t.Errorf("an unknown account: %d", w.Code)
		}
		closeBroker(t, b)
	})
}

// TestNextRefreshes: who waits sees the token replaced ahead of its expiry,
// also where nothing else runs.
func TestNextRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "alvys")
		b := v.broker(slowStore(), newCredentials())
		first, err := b.Token(t.Context(), "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		next, err := b.Next(t.Context(), "a", 1)
		if err != nil || next.Generation != 2 || !time.Now().Before(first.Expiry) {
			t.Errorf("%v, %v, %v before expiry", next, err, time.Until(first.Expiry))
		}
		closeBroker(t, b)
	})
}

// A client is the reading end of a stream, over a pipe as a connection is.
type streamClient struct {
	lines chan string // closed when the stream ended
	end   context.CancelFunc
}

func stream(t *testing.T, h http.Handler, target string) *streamClient {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	req := httptest.NewRequest("GET", target, nil).WithContext(ctx)
	req.Host = "localhost"
	go func() {
		h.ServeHTTP(pipeWriter{w, http.Header{}}, req)
		w.Close()
	}()
	c := &streamClient{make(chan string, 1<<16), func() { cancel(); r.Close() }}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	return c
}

type pipeWriter struct {
	*io.PipeWriter
	header http.Header
}

func (w pipeWriter) Header() http.Header { return w.header }
func (w pipeWriter) WriteHeader(int)     {}
func (w pipeWriter) Flush()              {}

// generation reads lines up to the next token.
func (c *streamClient) generation(t *testing.T) (generation uint64, beats int) {
	t.Helper()
	for line := range c.lines {
		if line == "" {
			beats++
			continue
		}
		var a tokenAnswer
		if err := json.Unmarshal([]byte(line), &a); err != nil || a.AccessToken == "" {
			t.Fatalf("%q: %v", line, err)
		}
		return a.Generation, beats
	}
	return 0, beats
}

// TestStream: a stream has the token, each new one as it comes, heartbeats in
// between, and goes on when there was no token for a while.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		st := slowStore()
		b, other := v.broker(st, newCredentials()), v.broker(st, newCredentials())
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		c := stream(t, b.TokenAPI(), "/v1/tokens/a/stream")
		if g, _ := c.generation(t); g != 1 {
			t.Errorf("generation %d", g)
		}
		time.Sleep(time.Minute)
		if _, err := other.Report(t.Context(), "a", 1); err != nil {
			t.Fatal(err)
		}
		if g, beats := c.generation(t); g != 2 || beats != 4 {
			t.Errorf("generation %d after %d heartbeats", g, beats)
		}
		// The vendor is away until long after the expiry.
		v.set(func() {
			v.fault = func(*dialect.Exchange) (int, http.Header) { return 503, nil }
		})
		time.Sleep(25 * time.Hour)
		v.set(func() { v.fault = nil })
		if g, beats := c.generation(t); g != 3 || beats < 5000 || beats > 7000 {
			t.Errorf("generation %d after %d heartbeats", g, beats)
		}
		c.end()
		synctest.Wait()
		if n := b.followers.Load(); n != 0 {
			t.Errorf("%d streams are still counted", n)
		}
		// A stream ends with the broker.
		c = stream(t, b.TokenAPI(), "/v1/tokens/a/stream")
		c.generation(t)
		cancel()
		wg.Wait()
		if g, _ := c.generation(t); g != 0 {
			t.Error("a stream goes on after the broker")
		}
		closeBroker(t, other)
	})
}

// TestFollowersAreBounded: streams and long polls cannot use up the broker.
func TestFollowersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "iadvize")
		b := v.broker(slowStore(), newCredentials())
		b.Followers = 2
		h := b.TokenAPI()
		one, two := stream(t, h, "/v1/tokens/a/stream"), stream(t, h, "/v1/tokens/a/stream")
		one.generation(t)
		two.generation(t)
		for _, target := range []string{"/v1/tokens/a/stream", "/v1/tokens/a?after=1"} {
			if w := ask(h, "GET", target, ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: %d", target, w.Code)
			}
		}
		if w := ask(h, "GET", "/v1/tokens/a", ""); w.Code != 200 {
			t.Errorf("a plain reader: %d", w.Code)
		}
		one.end()
		synctest.Wait()
		if w := ask(h, "GET", "/v1/tokens/a?after=0", ""); w.Code != 200 {
			t.Errorf("after one has left: %d", w.Code)
		}
		two.end()
		closeBroker(t, b)
	})
}

// TestManyFollowersOfNoToken: readers that wait while an account has no token
// do not drive one another, nor the store.
func TestManyFollowersOfNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, c := newVendor(t, "iadvize"), newCredentials()
		counted := &countedStore{Store: store.NewMemory()}
		b := v.broker(storetest.Slow(counted, func() time.Duration { return time.Millisecond }), c)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { b.Run(ctx) })
		var all []*streamClient
		for range 20 {
			all = append(all, stream(t, b.TokenAPI(), "/v1/tokens/a/stream"))
			all[len(all)-1].generation(t)
		}
		v.set(func() { v.password = "changed" })
		for _, c := range all {
			go func() {
				for range c.lines {
				}
			}()
		}
		time.Sleep(25 * time.Hour)
		before := counted.count()
		time.Sleep(time.Hour)
		if n := counted.count() - before; n > 1200 {
			t.Errorf("the store was read %d times in an hour", n)
		}
		cancel()
		wg.Wait()
	})
}

type countedStore struct {
	store.Store
	mu sync.Mutex
	n  int
}

func (s *countedStore) Get(ctx context.Context, key string) (store.Record, error) {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
	return s.Store.Get(ctx, key)
}

func (s *countedStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}
