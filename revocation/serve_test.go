package revocation

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
)

// A follower that does not read holds up nobody, is cut off, and misses nothing
// when it comes again.
func TestSlowFollower(t *testing.T) {
	for _, keep := range []int{8, 1 << 14} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.log.Keep = keep
			w.confirm(100 * time.Millisecond)
			c, err := w.network.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: issuer.test\r\n\r\n")
			lines := bufio.NewReaderSize(c, 16)
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			// From here on it is slow.
			w.run()
			began := time.Now()
			for n := 1; n <= 100; n++ {
				w.log.Add(numbered(n, n)...)
				synctest.Wait()
				w.same()
			}
			if time.Since(began) > 0 {
				t.Error("somebody waited")
			}
			time.Sleep(writePatience + time.Second)
			if rest, err := io.ReadAll(lines); err != nil || strings.Contains(string(rest), `"t":"99"`) {
				t.Errorf("the follower is not cut off: %v", err)
			}
			w.same()
		})
	}
}

// raw follows without a Stream, and returns a reader of what comes.
func (w *world) raw(place string) *reader {
	w.t.Helper()
	c, err := w.network.dial(w.t.Context(), "", "")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: issuer.test\r\nLast-Event-ID: "+place+"\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return &reader{bufio.NewReaderSize(answer.Body, maxMessage)}
}

// until reads to the first beat or the end and returns which tokens ended.
func (r *reader) until(t *testing.T) (tokens map[string]bool, err error) {
	tokens = map[string]bool{}
	for {
		m, err := r.next()
		if err != nil || m.event == eventBeat {
			return tokens, err
		}
		var e Event
		if m.event == eventEnded && m.into(&e) == nil {
			tokens[e.Token] = true
		}
	}
}

// What is added while a follower is sent everything is not lost, and the first
// beat comes when all was sent.
func TestAddWhileEverythingIsSent(t *testing.T) {
	for name, place := range map[string]func(*Log) string{
		"everything": func(*Log) string { return "" },
		"the latest": func(l *Log) string { return l.place(0) },
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.log.Add(numbered(1, 3000)...)
			r := w.raw(place(w.log))
			synctest.Wait() // the log waits for the follower to read
			w.log.Add(numbered(3001, 3001)...)
			tokens, err := r.until(t)
			if len(tokens) != 3001 || err != nil {
				t.Errorf("%s: %d events before the first beat: %v", name, len(tokens), err)
			}
		})
	}
}

// A follower that falls behind by more than is kept is cut off, and told nothing
// that would leave a gap.
func TestFollowerFallsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.log.Keep = 8
		r := w.raw("")
		if _, err := r.until(t); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // a beat waits to be read
		w.log.Add(numbered(1, 100)...)
		for {
			tokens, err := r.until(t)
			if len(tokens) > 0 {
				t.Errorf("got %v", tokens)
			}
			if err != nil {
				break
			}
		}
	})
}

// A follower that was cut off because it was too slow gets what it missed.
func TestSlowFollowerComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.log.Keep = 4
		w.confirm(100 * time.Millisecond)
		slow := make(chan struct{})
		w.network.wrap = func(n int, c net.Conn) (net.Conn, error) {
			if n == 0 {
				return &pausedConn{c, slow}, nil
			}
			return c, nil
		}
		w.stream.Silence = time.Hour
		w.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		if w.table.Len() > 0 {
			t.Fatal("it is not slow")
		}
		for n := 1; n <= 1000; n++ {
			w.log.Add(numbered(n, n)...)
		}
		close(slow)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.same()
		if n := len(w.network.dialled()); n < 2 {
			t.Error("it was not cut off")
		}
	})
}

// pausedConn reads nothing before go is closed.
type pausedConn struct {
	net.Conn
	start chan struct{}
}

func (c *pausedConn) Read(p []byte) (int, error) {
	<-c.start
	return c.Conn.Read(p)
}

// Many followers, over HTTP/1.1 and HTTP/2, some of whom lose their connection
// now and then, end up with the same table.
func TestManyFollowers(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("http2=%v", http2), func(t *testing.T) {
			log := NewLog(new(Table))
			log.Keep = 100
			log.Table().Confirm(time.Now())
			server := httptest.NewUnstartedServer(log)
			server.EnableHTTP2 = http2
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			server.StartTLS()
			defer server.Close()
			defer log.Close()
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			defer running.Wait()
			defer cancel()
			var tables []*Table
			for range 64 {
				transport := server.Client().Transport.(*http.Transport).Clone()
				defer transport.CloseIdleConnections()
				s := &Stream{URL: server.URL, Key: jeton.NewSecret(guardKey), Table: new(Table), Transport: transport, Silence: time.Minute, Logger: slog.New(slog.DiscardHandler)}
				tables = append(tables, s.Table)
				running.Go(func() { _ = s.Run(ctx) })
			}
			for n := 1; n <= 500; n++ {
				log.Add(mixed(n, n)...)
				if n%100 == 0 {
					server.CloseClientConnections()
				}
			}
			want := contents(log.Table())
			for i, table := range tables {
				eventually(t, func() bool { return slices.Equal(contents(table), want) }, "table %d", i)
			}
		})
	}
}

// eventually waits until something is so.
func eventually(t testing.TB, is func() bool, what string, args ...any) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this never happened: "+what, args...)
		}
	}
}

// A slowConn delays what is read, each part by another time, and keeps the
// order.
type slowConn struct {
	net.Conn
	parts chan part
	rest  []byte
	done  chan struct{}
}

type part struct {
	b  []byte
	at time.Time
}

func newSlowConn(c net.Conn, delay func() time.Duration) *slowConn {
	s := &slowConn{Conn: c, parts: make(chan part, 1<<16), done: make(chan struct{})}
	go func() {
		defer close(s.parts)
		for {
			b := make([]byte, 4096)
			n, err := c.Read(b)
			if err != nil {
				return
			}
			s.parts <- part{b[:n], time.Now().Add(delay())}
		}
	}()
	return s
}

func (s *slowConn) Close() error {
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	return s.Conn.Close()
}

func (s *slowConn) Read(p []byte) (int, error) {
	for len(s.rest) == 0 {
		next, ok := <-s.parts
		if !ok {
			return 0, io.EOF
		}
		select {
		case <-time.After(time.Until(next.at)):
		case <-s.done:
			return 0, net.ErrClosed
		}
		s.rest = next.b
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// The law of the whole stream: however long what the issuer says is on its way,
// and however late the issuer itself hears of things, a table that says that it
// is so and so old has everything that had ended by then.
func TestAgeIsHonest(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			within := func(d time.Duration) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(random.Int64N(int64(d)))
			}
			w := newWorld(t)
			w.log.Keep = 20
			w.network.wrap = func(_ int, c net.Conn) (net.Conn, error) {
				time.Sleep(within(time.Second)) // the request is on its way
				longest := within(5 * time.Second)
				return newSlowConn(c, func() time.Duration { return within(longest + 1) }), nil
			}
			ended := make([]time.Time, 400) // :: number of a token -> when it ended
			var source sync.WaitGroup
			source.Go(func() { // what ended reaches the log some time later
				for n := range ended {
					mu.Lock()
					ended[n] = time.Now()
					mu.Unlock()
					lag := within(2 * time.Second)
					asked := time.Now()
					time.Sleep(lag)
					w.log.Add(numbered(n, n)...)
					w.log.Table().Confirm(asked)
					time.Sleep(within(500 * time.Millisecond))
				}
			})
			w.run()
			fresh, checks, found := 0, 0, 0
			for range 4000 {
				time.Sleep(within(200 * time.Millisecond))
				age, ok := w.table.Age(time.Now())
				by := time.Now().Add(-age)
				if !ok {
					continue
				}
				checks++
				if age < 10*time.Second {
					fresh++
				}
				mu.Lock()
				for ; found < len(ended) && !ended[found].IsZero() && ended[found].Before(by); found++ {
					if w.table.Ended(&jeton.Claims{ID: strconv.Itoa(found)}) == nil {
						t.Fatalf("seed %d: %d ended %v before the table was complete, and is not in it", seed, found, by.Sub(ended[found]))
					}
				}
				mu.Unlock()
			}
			source.Wait()
			if checks == 0 || fresh < checks/4 {
				t.Fatalf("seed %d: the table was fresh %d times of %d", seed, fresh, checks)
			}
		})
	}
}

// Clocks that go at different speeds, or step, make a beat worth less and never
// more.
func TestBeatComplete(t *testing.T) {
	sent := time.Now()
	now := sent.Add(time.Minute)
	for _, c := range []struct {
		b    beat
		want time.Duration // after sent; negative: never
	}{
		{beat{0, 0}, -1},
		{beat{1000, 0}, -1},
		{beat{1000, 1}, 998 * time.Millisecond},
		{beat{10_000, 500}, 9490 * time.Millisecond},
		{beat{60_000, 1000}, 58940 * time.Millisecond},
		{beat{90_000, 1000}, 59 * time.Second}, // the issuer's clock is faster: not in the future
	} {
		at, ok := c.b.complete(sent, now)
		if ok != (c.want >= 0) || ok && at.Sub(sent) != c.want {
			t.Errorf("%+v: %v, %v", c.b, at.Sub(sent), ok)
		}
	}
	if b := newBeat(1999999, 0, true); b != (beat{1, 1}) {
		t.Errorf("%+v: elapsed is rounded down, age up, and never nothing", b)
	}
	if b := newBeat(1999999, time.Second, false); b != (beat{1, 0}) {
		t.Errorf("%+v: the age of a table that was never fresh", b)
	}
}

// BenchmarkPush says how long an event takes from Add to the table of a follower
// on this machine.
func BenchmarkPush(b *testing.B) {
	for _, followers := range []int{1, 64} {
		b.Run(strconv.Itoa(followers), func(b *testing.B) {
			log := NewLog(new(Table))
			server := httptest.NewServer(log)
			defer server.Close()
			defer log.Close()
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			defer running.Wait()
			defer cancel()
			var tables []*Table
			for range followers {
				s := &Stream{URL: server.URL, Key: jeton.NewSecret(guardKey), Table: new(Table), Logger: slog.New(slog.DiscardHandler)}
				tables = append(tables, s.Table)
				running.Go(func() { _ = s.Run(ctx) })
			}
			log.Add(numbered(0, 0)...)
			for _, table := range tables {
				eventually(b, func() bool { return table.Len() == 1 }, "it follows")
			}
			var took []time.Duration
			n := 0
			for b.Loop() {
				n++
				table := tables[n%followers]
				changed := table.Changed()
				began := time.Now()
				log.Add(numbered(n, n)...)
				<-changed
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			for _, p := range []int{50, 99} {
				b.ReportMetric(float64(took[(len(took)-1)*p/100].Microseconds()), fmt.Sprintf("p%d-µs", p))
			}
		})
	}
}
