package revocation

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/jetonhq/jeton"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const guardKey = "guard-key-that-nobody-may-see"

// A network is one in memory, so that time on it is virtual. It is a listener
// whose connections can be broken in all ways.
type network struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once

	mu    sync.Mutex
	dials []time.Time
	wrap  func(n int, client net.Conn) (net.Conn, error) // of the client's side of connection n, from 0; nil: none
}

func newNetwork() *network {
	return &network{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error   { n.once.Do(func() { close(n.done) }); return nil }
func (n *network) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	n.mu.Lock()
	number := len(n.dials)
	n.dials = append(n.dials, time.Now())
	wrap := n.wrap
	n.mu.Unlock()
	client, server := net.Pipe()
	if wrap != nil {
		wrapped, err := wrap(number, client)
		if err != nil {
			return nil, err
		}
		client = wrapped
	}
	select {
	case n.conns <- server:
		return client, nil
	case <-n.done:
		_ = client.Close()
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		_ = client.Close()
		return nil, ctx.Err()
	}
}

// dialled returns when connections were made.
func (n *network) dialled() []time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dials)
}

// A swap is a handler that can be another one.
type swap struct {
	mu sync.Mutex
	h  http.Handler
}

func (s *swap) set(h http.Handler) { s.mu.Lock(); defer s.mu.Unlock(); s.h = h }

func (s *swap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	h := s.h
	s.mu.Unlock()
	h.ServeHTTP(w, r)
}

// A world is an issuer and one guard that follows it, on a network in memory.
type world struct {
	t       *testing.T
	log     *Log // the issuer's
	network *network
	handler *swap
	server  *http.Server
	table   *Table // the guard's
	stream  *Stream
	lines   *lockedBuffer // what the guard logged
}

// newWorld returns a world whose guard does not run yet. It belongs into a
// bubble of synctest.
func newWorld(t *testing.T) *world {
	w := &world{t: t, log: NewLog(new(Table)), network: newNetwork(), handler: new(swap), table: new(Table), lines: new(lockedBuffer)}
	w.handler.set(w.log)
	w.server = &http.Server{Handler: w.handler, ReadTimeout: time.Second, WriteTimeout: time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = w.server.Serve(w.network) })
	transport := &http.Transport{DialContext: w.network.dial}
	w.stream = &Stream{
		URL: "http://127.0.0.1/revocations", Key: jeton.NewSecret(guardKey), Table: w.table, Transport: transport,
		Logger: slog.New(slog.NewTextHandler(w.lines, nil)),
	}
	t.Cleanup(func() {
		_ = w.server.Close()
		time.Sleep(time.Minute) // a dial that nobody waits for any more comes to its end
		transport.CloseIdleConnections()
		serving.Wait()
	})
	return w
}

// run runs the guard until the test ends.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.stream.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
}

// confirm keeps the issuer's table fresh, as its feed does, until the test ends.
func (w *world) confirm(every time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			w.log.Table().Confirm(time.Now())
			select {
			case <-time.After(every):
			case <-ctx.Done():
			}
		}
	})
	stop = func() { cancel(); running.Wait() }
	w.t.Cleanup(stop)
	return stop
}

// same ends the test if the guard does not know what the issuer knows.
func (w *world) same() {
	w.t.Helper()
	if diff := gocmp.Diff(contents(w.log.Table()), contents(w.table)); diff != "" {
		w.t.Fatalf("the issuer's table and the guard's differ: %s", diff)
	}
}

func (w *world) age() time.Duration {
	age, ok := w.table.Age(time.Now())
	if !ok {
		return 1 << 62
	}
	return age
}

// A lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
