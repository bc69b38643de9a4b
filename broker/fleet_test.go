package broker

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A fleet is brokers that share a store and an account at a single-active
// vendor, with callers at each of them. No call can be sent again: a token that
// a login ends under a call is a call that fails.
type fleet struct {
	t       *testing.T
	v       *vendor
	mem     *store.Memory
	brokers []*Broker
	faults  []*storetest.Faults // :: broker -> of its store
	delays  []*atomic.Int64     // :: broker -> one way to its store, in nanoseconds

	load   sync.WaitGroup
	stop   chan struct{}
	off    []chan struct{} // :: broker -> closed when its callers are to end
	calls  atomic.Int64    // answered
	failed atomic.Int64    // with anything but 200
}

// newFleet returns brokers whose stores are behind wrap, which may be nil. The
// first one has a token.
func newFleet(t *testing.T, n int, wrap func(i int, s store.Store) store.Store) *fleet {
	return newFleetAt(t, newVendor(t, "altrata"), n, wrap)
}

func newFleetAt(t *testing.T, v *vendor, n int, wrap func(i int, s store.Store) store.Store) *fleet {
	f := &fleet{t: t, v: v, mem: store.NewMemory(), stop: make(chan struct{})}
	f.v.far = 4 * f.v.latency // or a login could not overtake a call
	for i := range n {
		faults, delay := new(storetest.Faults), new(atomic.Int64)
		delay.Store(int64(3 * time.Millisecond))
		st := storetest.Faulty(storetest.Slow(f.mem, func() time.Duration { return time.Duration(delay.Load()) }), faults)
		if wrap != nil {
			st = wrap(i, st)
		}
		b := f.v.broker(st, newCredentials())
		b.init() // so that it can die at any time
		f.brokers = append(f.brokers, b)
		f.faults, f.delays = append(f.faults, faults), append(f.delays, delay)
		f.off = append(f.off, make(chan struct{}))
	}
	if _, err := f.brokers[0].Token(t.Context(), "a", 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// call makes one call through a broker and reports whether it was answered
// with 200. The answer's body is read slowly.
func (f *fleet) call(ctx context.Context, b *Broker) bool {
	r, _ := http.NewRequestWithContext(ctx, "POST", "http://vendor.test/prefix/x", struct{ io.Reader }{strings.NewReader("b")})
	answer, err := b.Source("a", nil).RoundTrip(r)
	if err != nil {
		f.t.Logf("a call failed: %v", err)
		return false
	}
	time.Sleep(10 * time.Millisecond)
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode == 200
}

// loads has so many callers at each of the first n brokers call without a
// pause. A leader without calls of its own would log in at once.
func (f *fleet) loads(n, callers int) {
	for i, b := range f.brokers[:n] {
		off := f.off[i]
		for j := range callers {
			f.load.Go(func() {
				time.Sleep(time.Duration(7*i+11*j) * time.Millisecond)
				for {
					select {
					case <-f.stop:
						return
					case <-off:
						return
					default:
					}
					ok := f.call(f.t.Context(), b)
					select {
					case <-off: // its process is gone, and so is who asked it
						return
					default:
					}
					f.calls.Add(1)
					if !ok {
						f.failed.Add(1)
					}
				}
			})
		}
	}
}

// rotate swaps the token through a broker.
func (f *fleet) rotate(b *Broker) error {
	k, err := b.keeper(f.t.Context(), "a")
	if err != nil {
		return err
	}
	_ = k.read(f.t.Context())
	return k.wait(f.t.Context(), want{above: k.view.Load().Generation})
}

// read has a broker look at the record.
func (f *fleet) read(i int) error {
	k, err := f.brokers[i].keeper(f.t.Context(), "a")
	if err != nil {
		return err
	}
	return k.read(f.t.Context())
}

// die is kill -9: nothing that the broker does reaches anybody any more.
func (f *fleet) die(i int) {
	f.faults[i].Set(storetest.Down)
	close(f.off[i])
	f.brokers[i].stop()
	f.brokers[i].abort()
}

// close ends the callers, and then the brokers.
func (f *fleet) close() {
	close(f.stop)
	f.load.Wait()
	for _, b := range f.brokers {
		closeBroker(f.t, b)
	}
}

// present returns how many presences there are.
func (f *fleet) present() int {
	list, err := f.mem.List(f.t.Context(), "presence/", "", 100)
	if err != nil {
		f.t.Error(err)
	}
	return len(list)
}

// blindly hides that the store can watch.
func blindly(_ int, s store.Store) store.Store { return struct{ store.Store }{s} }

// open begins a call that does not end before close is called, and checks then
// that it was answered.
func (f *fleet) open(b *Broker) (cleanup, end func()) {
	r, _ := http.NewRequest("GET", "http://vendor.test/prefix/x", nil)
	answer, err := b.Source("a", nil).RoundTrip(r)
	if err != nil || answer.StatusCode != 200 {
		f.t.Fatalf("%v %v", answer, err)
	}
	end = sync.OnceFunc(func() { _ = answer.Body.Close() })
	return end, end
}
