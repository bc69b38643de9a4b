package revocation

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/jetonhq/jeton"
)

// events of all kinds that stay for a day.
func mixed(from, to int) (events []Event) {
	for n := from; n <= to; n++ {
		e := Event{Until: time.Now().Add(24 * time.Hour)}
		switch n % 3 {
		case 0:
			e.Token = "token-" + strconv.Itoa(n)
		case 1:
			e.Family = "family-" + strconv.Itoa(n)
		case 2:
			e.Counter, e.Number = "user/"+strconv.Itoa(n%5), uint64(n)
		}
		events = append(events, e)
	}
	return events
}

func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.log.Add(mixed(1, 1000)...)
		w.confirm(100 * time.Millisecond)
		w.run()
		synctest.Wait()
		w.same()
		if age := w.age(); age > 2*time.Millisecond {
			t.Errorf("at once the table is %v old", age)
		}
		w.log.Add(mixed(1001, 1003)...)
		synctest.Wait() // no time passes
		w.same()
		for range 1000 { // past the timeouts of the server
			time.Sleep(77 * time.Millisecond)
			if age := w.age(); age > 700*time.Millisecond {
				t.Fatalf("the table is %v old", age)
			}
		}
		if n := len(w.network.dialled()); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// cutConn ends after some bytes were read.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		_ = c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// A connection may break after each byte. Nothing is lost, and what comes twice
// has no effect.
func TestStreamCutEverywhere(t *testing.T) {
	at := 0
	for cut := true; cut; at++ { // until the connection does not carry so much
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.network.wrap = func(n int, c net.Conn) (net.Conn, error) {
				if n == 0 {
					return &cutConn{c, at}, nil
				}
				return c, nil
			}
			w.log.Table().Confirm(time.Now())
			w.log.Add(mixed(1, 4)...)
			w.run()
			for n := 5; n <= 12; n++ {
				time.Sleep(time.Millisecond)
				w.log.Add(mixed(n, n)...)
				w.log.Table().Confirm(time.Now())
			}
			time.Sleep(time.Second)
			synctest.Wait()
			w.same()
			if w.age() > 1100*time.Millisecond {
				t.Fatalf("cut after %d bytes: the table is %v old", at, w.age())
			}
			cut = len(w.network.dialled()) == 2
		})
	}
	if at < 1000 {
		t.Errorf("only %d bytes were sent", at)
	}
}

// After a cut only what is new is sent; if that is no longer kept, or another
// process answers, everything is.
func TestStreamResume(t *testing.T) {
	for name, test := range map[string]struct {
		missed  int  // events while the connection is cut
		restart bool // of the issuer
		want    int  // events that are sent then
	}{
		"resume":     {missed: 5, want: 5},
		"all kept":   {missed: 16, want: 16},
		"not kept":   {missed: 17, want: 51 + 17},
		"nothing":    {missed: 0, want: 0},
		"new issuer": {missed: 5, restart: true, want: 51 + 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.log.Keep = 16
				w.log.Add(numbered(1, 50)...)
				answers := &recorder{next: w.stream.Transport}
				w.stream.Transport = answers
				var first net.Conn
				w.network.wrap = func(n int, c net.Conn) (net.Conn, error) {
					if n == 0 {
						first = c
					}
					return c, nil
				}
				w.run()
				synctest.Wait()
				w.log.Add(numbered(51, 51)...)
				synctest.Wait()
				w.same()
				_ = first.Close()
				w.log.Add(numbered(52, 51+test.missed)...)
				if test.restart {
					another := NewLog(new(Table))
					another.Add(contents(w.log.Table())...)
					w.log = another
					w.handler.set(another)
				}
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				w.same()
				if got := strings.Count(answers.last().String(), "event: ended"); got != test.want {
					t.Errorf("%d events were sent, want %d", got, test.want)
				}
			})
		})
	}
}

// A recorder keeps the bodies of answers.
type recorder struct {
	next http.RoundTripper

	mu     sync.Mutex
	bodies []*recordBody
}

type recordBody struct {
	io.ReadCloser
	lockedBuffer
}

func (b *recordBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	_, _ = b.Write(p[:n])
	return n, err
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	answer, err := r.next.RoundTrip(req)
	if err == nil {
		b := &recordBody{ReadCloser: answer.Body}
		answer.Body = b
		r.mu.Lock()
		r.bodies = append(r.bodies, b)
		r.mu.Unlock()
	}
	return answer, err
}

func (r *recorder) last() *recordBody {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bodies[len(r.bodies)-1]
}

// The store of the issuer was emptied: counters begin anew, and nobody decides
// until the new ones are known.
func TestStreamOtherInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.log.Instance = "one"
		w.log.Add(Event{Counter: "user/u", Number: 57, Until: time.Now().Add(time.Hour)})
		w.log.Table().Confirm(time.Now())
		w.run()
		synctest.Wait()
		claims := &jeton.Claims{Generations: map[string]uint64{"user/u": 1}, Expiry: time.Now().Add(time.Hour)}
		if w.table.Ended(claims) == nil || w.age() > time.Second {
			t.Fatal("the first instance is not followed")
		}
		// The same store behind another process: what is known stays.
		again := NewLog(new(Table))
		again.Instance = "one"
		w.handler.set(again)
		w.log.Close()
		time.Sleep(time.Second)
		if w.table.Ended(claims) == nil || w.age() > 2*time.Second {
			t.Error("after a restart of the issuer something is forgotten")
		}
		other := NewLog(new(Table))
		other.Instance = "two"
		w.handler.set(other)
		again.Close()
		time.Sleep(time.Second)
		if _, fresh := w.table.Age(time.Now()); fresh || w.table.Ended(claims) != nil {
			t.Error("the numbers of another instance are still believed")
		}
		other.Table().Confirm(time.Now())
		time.Sleep(time.Second)
		if w.age() > 1100*time.Millisecond {
			t.Error("the second instance is not followed")
		}
	})
}

// stuckConn takes and gives nothing once it is stuck, like a connection through
// a firewall that forgot it.
type stuckConn struct {
	net.Conn
	stuck chan struct{}
}

func (c *stuckConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.stuck:
		var b [1]byte
		for err == nil { // read on, so that the issuer notices nothing
			_, err = c.Conn.Read(b[:])
		}
		return 0, err
	default:
		return n, err
	}
}

// A connection over which nothing comes is found by the missing beats.
func TestStreamDeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		stuck := make(chan struct{})
		w.network.wrap = func(n int, c net.Conn) (net.Conn, error) {
			if n == 0 {
				return &stuckConn{c, stuck}, nil
			}
			return c, nil
		}
		w.confirm(100 * time.Millisecond)
		w.run()
		time.Sleep(10*time.Second + time.Millisecond)
		close(stuck)
		began := time.Now()
		w.log.Add(mixed(1, 5)...)
		for len(w.network.dialled()) < 2 {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took < 2*time.Second || took > 3*time.Second+100*time.Millisecond {
			t.Errorf("found after %v", took)
		}
		synctest.Wait()
		w.same()
		if n := strings.Count(w.lines.String(), "said nothing for too long"); n != 1 {
			t.Errorf("logged %d times: %s", n, w.lines)
		}
	})
}

// A connection over which everything comes, but later and later, is left.
func TestStreamLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.confirm(100 * time.Millisecond)
		w.network.wrap = func(n int, c net.Conn) (net.Conn, error) {
			if n > 0 {
				return c, nil
			}
			delay := time.Duration(0)
			return newSlowConn(c, func() time.Duration { delay += 100 * time.Millisecond; return delay }), nil
		}
		w.run()
		for range 60 {
			time.Sleep(time.Second)
			if w.age() > 5*time.Second {
				t.Fatalf("the table is %v old", w.age())
			}
		}
		if n := len(w.network.dialled()); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// With the connection cut the table grows older by the clock, no faster and no
// slower; decisions go on until it is too old, and only until then. An issuer
// that is cut off from its own source is no better than none.
func TestStaleBound(t *testing.T) {
	const maxStale = 30 * time.Second
	for _, issuer := range []string{"gone", "cut off", "silent"} {
		t.Run(issuer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				stop := w.confirm(100 * time.Millisecond)
				w.run()
				time.Sleep(time.Minute)
				cut := time.Now()
				switch issuer {
				case "gone":
					_ = w.server.Close()
				case "cut off":
					stop()
				case "silent":
					w.handler.set(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
					w.log.Close()
				}
				closed := time.Duration(0)
				for closed == 0 {
					time.Sleep(50 * time.Millisecond)
					if w.age() > maxStale {
						closed = time.Since(cut)
					}
				}
				if closed < maxStale-time.Second || closed > maxStale+100*time.Millisecond {
					t.Errorf("closed %v after the cut", closed)
				}
			})
		})
	}
}

// Connections are renewed, since the clocks of both sides go apart; and the
// table is swept.
func TestStreamRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.confirm(time.Second)
		w.log.Add(Event{Token: "short", Until: time.Now().Add(time.Minute)})
		w.run()
		for range 3600 {
			time.Sleep(time.Second)
			if w.age() > 3*time.Second {
				t.Fatal("there was a gap")
			}
		}
		if n := len(w.network.dialled()); n < 4 || n > 7 {
			t.Errorf("%d connections in an hour", n)
		}
		if w.table.Len() > 0 {
			t.Error("the table is never swept")
		}
		if lines := w.lines.String(); strings.Count(lines, "\n") != 1 {
			t.Error(lines)
		}
	})
}

// What a connection tells looks older by as long as it took to come about, so a
// guard that connected in a bad moment would refuse until that connection is
// renewed. It comes again soon, but not all the time where that does not help.
func TestStreamSlowHello(t *testing.T) {
	for name, c := range map[string]struct {
		slow        int // connections that come about slowly
		within      time.Duration
		least, most int // connections in an hour
	}{
		"once":   {1, 100 * time.Millisecond, 5, 8},
		"always": {1 << 30, 2 * time.Second, 8, 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.confirm(10 * time.Millisecond)
				came := 0
				w.handler.set(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if came++; came <= c.slow {
						time.Sleep(1800 * time.Millisecond)
					}
					w.log.ServeHTTP(rw, r)
				}))
				w.run()
				time.Sleep(2 * time.Second)
				if w.age() < time.Second {
					t.Errorf("the table is %v old at once: the guard cannot know that", w.age())
				}
				young := false
				for range 40 {
					time.Sleep(100 * time.Millisecond)
					young = young || w.age() < c.within+250*time.Millisecond
				}
				if !young {
					t.Errorf("the table is %v old after six seconds", w.age())
				}
				time.Sleep(time.Hour)
				if n := len(w.network.dialled()); n < c.least || n > c.most {
					t.Errorf("%d connections in an hour", n)
				}
			})
		})
	}
}

// A clock that was wrong has the table swept too early. When it is put right,
// everything is asked for again.
func TestStreamClockPutBack(t *testing.T) {
	f := &following{Stream: &Stream{Table: new(Table)}, logger: slog.New(slog.DiscardHandler), retry: new(backoff.ExponentialBackOff), place: "x.1"}
	now := time.Now().Round(0) // so that it can be put back here
	for _, step := range []struct {
		to    time.Duration
		renew bool
	}{{0, false}, {time.Hour, false}, {time.Hour - time.Second, false}, {0, true}, {0, false}, {time.Second, false}} {
		if err := f.well(now.Add(step.to)); (err == errRenew) != step.renew || (f.place == "") != step.renew {
			t.Errorf("at %v: %v, place %q", step.to, err, f.place)
		}
		f.place = "x.1"
	}
}

// An issuer that ends its connections ends all of them now.
func TestLogClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.run()
		time.Sleep(time.Minute + 123*time.Millisecond)
		began := time.Now()
		w.log.Close()
		w.log.Close()
		if err := w.server.Shutdown(t.Context()); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("ended after %v", took)
		}
		w.log.Add(mixed(1, 3)...)
	})
}
