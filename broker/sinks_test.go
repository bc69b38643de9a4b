package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A place is a sink in memory. What is put takes a while to arrive, and then
// again to be answered.
type place struct {
	latency time.Duration

	mu    sync.Mutex
	puts  []uint64 // generations in the order in which they arrived
	now   string   // the token that is there
	tries int
	down  error
	hook  func(ctx context.Context, t *jeton.Token) error // before it arrives
}

func (p *place) Put(ctx context.Context, t *jeton.Token) error {
	p.mu.Lock()
	p.tries++
	down, hook := p.down, p.hook
	p.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, t); err != nil {
			return err
		}
	}
	if !sleep(ctx, p.latency) {
		return ctx.Err()
	}
	if down != nil {
		return down
	}
	p.mu.Lock()
	p.puts, p.now = append(p.puts, t.Generation), t.AccessToken.Reveal()
	p.mu.Unlock()
	if !sleep(ctx, p.latency) {
		return ctx.Err()
	}
	return nil
}

func (p *place) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *place) arrived() []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.puts)
}

func (p *place) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

// copying returns a broker that copies to a place, and what ends it.
func copying(t *testing.T, v *vendor, st store.Store, p sink.Sink) (*Broker, func()) {
	b := v.broker(st, newCredentials())
	b.Accounts[0].Sinks = []*sink.Copy{{Name: "memory:p", Place: "p", Sink: p}}
	return b, running(t, b)
}

// running runs a broker, and returns what ends it.
func running(t *testing.T, b *Broker) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.Run(ctx); close(done) }()
	return func() {
		began := time.Now()
		cancel()
		<-done
		if took := time.Since(began); took > time.Second {
			t.Errorf("the broker took %v to end", took)
		}
	}
}

// quick returns a vendor whose tokens live for 20 minutes.
func quick(t *testing.T) *vendor {
	v := newVendor(t, "iadvize")
	v.d.Lifetime = 20 * time.Minute
	return v
}

func sinkStatus(t *testing.T, b *Broker) sink.Status {
	t.Helper()
	list := b.Status(t.Context())
	if len(list) != 1 || len(list[0].Sinks) != 1 {
		t.Fatalf("%+v", list)
	}
	return list[0].Sinks[0]
}

// TestSinkGetsEachGenerationOnce: an account with a sink logs in without being
// asked, and each token is put once and in order, whatever the number of
// brokers.
func TestSinkGetsEachGenerationOnce(t *testing.T) {
	for _, brokers := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			v, st, p := quick(t), slowStore(), &place{latency: 40 * time.Millisecond}
			var stops []func()
			var last *Broker
			for range brokers {
				b, stop := copying(t, v, st, p)
				last, stops = b, append(stops, stop)
			}
			time.Sleep(6*time.Hour + 10*time.Minute)
			got := p.arrived()
			if logins, _, _ := v.count(); len(got) != logins || logins < 18 {
				t.Errorf("%d brokers: %d logins, put %v", brokers, logins, got)
			}
			for i, generation := range got {
				if generation != uint64(i+1) {
					t.Fatalf("%d brokers: put %v", brokers, got)
				}
			}
			if s := sinkStatus(t, last); s.Generation != uint64(len(got)) || s.Behind != 0 || s.LagSeconds != 0 || s.LastError != "" || s.WrittenAt == nil {
				t.Errorf("%+v", s)
			}
			for _, stop := range stops {
				stop()
			}
			// The next broker finds that nothing is to be done.
			_, stop := copying(t, v, st, p)
			time.Sleep(time.Minute)
			if after := p.arrived(); len(after) != len(got) {
				t.Errorf("a restart put %v", after[len(got):])
			}
			stop()
		})
	}
}

// TestSinkDown: a sink that is down for an hour, or that hangs, delays no
// reader, no login and no other sink. Its lag is seen, it is not hammered, and
// when it is back it gets the newest token.
func TestSinkDown(t *testing.T) {
	for _, how := range []string{"refuses", "hangs", "is deaf"} {
		synctest.Test(t, func(t *testing.T) {
			v, st, p, well := quick(t), slowStore(), &place{latency: 40 * time.Millisecond}, &place{}
			b := v.broker(st, newCredentials())
			back := make(chan struct{})
			b.Accounts[0].Sinks = []*sink.Copy{{Name: "p", Place: "p", Sink: p}, {Name: "well", Sink: well}}
			stop := running(t, b)
			time.Sleep(time.Minute)
			p.set(func() {
				p.hook = func(ctx context.Context, _ *jeton.Token) error {
					select {
					case <-back:
						return nil
					default:
					}
					switch how {
					case "refuses":
						return sink.NewStatusError("p", 403, "")
					case "hangs":
						<-ctx.Done()
					case "is deaf":
						<-back
					}
					return errors.New("it is down")
				}
			})
			for range 60 {
				began := time.Now()
				token, err := b.Token(t.Context(), "a", 0)
				if err != nil || v.check(token) != nil || time.Since(began) != 0 {
					t.Fatalf("a reader: %v after %v", err, time.Since(began))
				}
				time.Sleep(time.Minute)
			}
			logins, _, _ := v.count()
			s := b.Status(t.Context())[0].Sinks[0]
			if logins < 4 || s.Generation != 1 || s.Behind != uint64(logins-1) || s.LagSeconds < 40*60 || s.LagSeconds > 60*60 || s.LastError == "" {
				t.Errorf("it %s: %d logins, %+v", how, logins, s)
			}
			if got := well.arrived(); len(got) != logins {
				t.Errorf("it %s: the other sink got %v", how, got)
			}
			if tries := p.tried(); tries > 150 || how != "is deaf" && tries < 40 {
				t.Errorf("it %s: %d tries in an hour", how, tries)
			}
			if lag := ask(b.TokenAPI(), "GET", "/metrics", "").Body.String(); !strings.Contains(lag, `jeton_broker_sink_writes_total{account="a",outcome="failed",sink="p"} `) ||
				strings.Contains(lag, `jeton_broker_sink_lag_seconds{account="a",sink="p"} 0`) || !strings.Contains(lag, `jeton_broker_sink_lag_seconds{account="a",sink="well"} 0`) {
				t.Error(lag)
			}
			close(back)
			time.Sleep(2 * time.Minute)
			logins, _, _ = v.count()
			if got := p.arrived(); got[len(got)-1] != uint64(logins) || len(got) != 2 && how == "refuses" || len(got) > 3 {
				t.Errorf("it %s, and is back after %d logins: %v", how, logins, got)
			}
			if s := b.Status(t.Context())[0].Sinks[0]; s.Generation != uint64(logins) || s.LagSeconds != 0 || s.LastError != "" {
				t.Errorf("it %s: %+v", how, s)
			}
			stop()
		})
	}
}

// TestSinkDeafAtTheEnd: a sink that does not hear keeps no broker from ending.
func TestSinkDeafAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, p, back := quick(t), &place{}, make(chan struct{})
		p.hook = func(context.Context, *jeton.Token) error { <-back; return nil }
		_, stop := copying(t, v, slowStore(), p)
		time.Sleep(5 * time.Second)
		stop()
		close(back)
	})
}

// TestSinkWriterEnds: a broker that ends while it writes leaves no lease for the
// next to wait for.
func TestSinkWriterEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st, slow, p := quick(t), slowStore(), &place{latency: 5 * time.Second}, &place{}
		_, stop := copying(t, v, st, slow)
		time.Sleep(2 * time.Second)
		stop()
		_, stop = copying(t, v, st, p)
		time.Sleep(2 * time.Second)
		if got := p.arrived(); !slices.Equal(got, []uint64{1}) || len(slow.arrived()) != 0 {
			t.Errorf("put %v and %v", slow.arrived(), got)
		}
		stop()
	})
}

// TestSinkGetsNothingThatExpired: when a sink is back after its account's token
// has expired, it waits for the next one.
func TestSinkGetsNothingThatExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, p, own := quick(t), &place{down: errors.New("down")}, &place{down: errors.New("down")}
		b := v.broker(slowStore(), newCredentials())
		b.Accounts[0].Sinks = []*sink.Copy{{Name: "p", Place: "p", Sink: p}, {Name: "own", Sink: own}}
		stop := running(t, b)
		time.Sleep(time.Minute)
		v.set(func() { v.password = "changed" })
		time.Sleep(time.Hour)
		for _, p := range []*place{p, own} {
			p.set(func() { p.down = nil })
		}
		time.Sleep(time.Hour)
		if len(p.arrived())+len(own.arrived()) != 0 {
			t.Errorf("put %v and %v", p.arrived(), own.arrived())
		}
		for _, s := range b.Status(t.Context())[0].Sinks {
			if s.LagSeconds != 0 {
				t.Errorf("%+v", s)
			}
		}
		stop()
	})
}

// TestSinkWriterDies: where the broker that writes dies, be it before or after
// its token arrived, another one takes over.
func TestSinkWriterDies(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		synctest.Test(t, func(t *testing.T) {
			v, mem, p := quick(t), store.NewMemory(), &place{latency: 40 * time.Millisecond}
			var dead storetest.Faults
			died := make(chan struct{})
			dying := &place{latency: 40 * time.Millisecond}
			dying.hook = func(ctx context.Context, token *jeton.Token) error {
				if when == "after" {
					_ = p.Put(ctx, token)
				}
				dead.Set(storetest.Down)
				close(died)
				<-ctx.Done()
				return ctx.Err()
			}
			_, stopFirst := copying(t, v, storetest.Faulty(mem, &dead), dying)
			<-died
			stopFirst()
			b, stop := copying(t, v, storetest.Slow(mem, func() time.Duration { return 3 * time.Millisecond }), p)
			time.Sleep(20 * time.Second)
			if got := p.arrived(); len(got) != map[string]int{"before": 0, "after": 1}[when] {
				t.Errorf("%s: the lease of a broker that may be alive was not kept: %v", when, got)
			}
			time.Sleep(20 * time.Second)
			if got := p.arrived(); len(got) == 0 || got[len(got)-1] != 1 || len(got) > 2 {
				t.Errorf("%s: %v", when, got)
			}
			if s := sinkStatus(t, b); s.Generation != 1 || s.LagSeconds != 0 {
				t.Errorf("%s: %+v", when, s)
			}
			stop()
		})
	}
}

// TestSinkNeverGoesBack: brokers that learn of tokens at different times, with
// a slow place and a slow store, never put an older token after a newer one.
func TestSinkNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, mem, p := quick(t), store.NewMemory(), &place{latency: 2 * time.Second}
		v.d.Lifetime = 12 * time.Second
		var stops []func()
		for n := range 4 {
			st := storetest.Slow(mem, func() time.Duration { return time.Duration(7+n*331) * time.Millisecond })
			_, stop := copying(t, v, struct{ store.Store }{st}, p) // cannot watch
			stops = append(stops, stop)
		}
		for range 600 {
			time.Sleep(time.Second)
			p.set(func() {
				if p.down = nil; p.tries%5 == 0 { // now and then it fails, and others have their turn
					p.down = errors.New("down")
				}
			})
		}
		got := p.arrived()
		if !slices.IsSorted(got) || len(got) < 20 {
			t.Errorf("put %v", got)
		}
		for _, stop := range stops {
			stop()
		}
	})
}

// TestSinkOvertaken: a token that arrives when its lease is long over, and a
// newer one is there, is put right.
func TestSinkOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st, p := quick(t), slowStore(), &place{latency: 40 * time.Millisecond}
		late := &place{}
		late.hook = func(_ context.Context, token *jeton.Token) error {
			if late.tried() == 1 {
				time.Sleep(25 * time.Minute) // hears of no end
			}
			return p.Put(context.WithoutCancel(t.Context()), token)
		}
		a, stopFirst := copying(t, v, st, late)
		time.Sleep(time.Second)
		_, stop := copying(t, v, st, p)
		time.Sleep(22 * time.Minute)
		if got := p.arrived(); !slices.Equal(got, []uint64{1, 2}) {
			t.Fatalf("put %v", got)
		}
		time.Sleep(8 * time.Minute)
		if got := p.arrived(); !slices.Equal(got, []uint64{1, 2, 1, 2}) {
			t.Errorf("put %v", got)
		}
		if s := sinkStatus(t, a); s.Generation != 2 || s.LagSeconds != 0 {
			t.Errorf("%+v", s)
		}
		stopFirst()
		stop()
	})
}

// TestSinkOfRecordMadeAnew: where an account's record is made anew its
// generations begin at 1, and its tokens are copied all the same.
func TestSinkOfRecordMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, mem, p := quick(t), store.NewMemory(), &place{}
		b, stop := copying(t, v, mem, p)
		time.Sleep(time.Hour)
		before := len(p.arrived())
		k, _ := b.keeper(t.Context(), "a")
		at, err := mem.Get(t.Context(), k.key)
		if err == nil {
			err = mem.Delete(t.Context(), at)
		}
		if err != nil {
			t.Fatal(err)
		}
		stop()
		b, stop = copying(t, v, mem, p)
		time.Sleep(time.Minute)
		token, err := b.Token(t.Context(), "a", 0)
		if got := p.arrived(); err != nil || !slices.Equal(got[before:], []uint64{1}) || p.now != token.AccessToken.Reveal() {
			t.Errorf("%v, put %v", err, got)
		}
		stop()
	})
}

// TestSinkAgain: a place that may lose its token gets it again now and then,
// from one of the brokers.
func TestSinkAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st, p := newVendor(t, "iadvize"), slowStore(), &place{latency: 40 * time.Millisecond}
		var stops []func()
		for range 3 {
			b := v.broker(st, newCredentials())
			b.Accounts[0].Sinks = []*sink.Copy{{Name: "p", Place: "p", Sink: p, Again: time.Minute}}
			stops = append(stops, running(t, b))
		}
		time.Sleep(time.Hour)
		if got := p.arrived(); len(got) < 50 || len(got) > 62 {
			t.Errorf("put %d times in an hour", len(got))
		}
		stops[0]()
		stops[1]()
		before := len(p.arrived())
		time.Sleep(time.Hour)
		if got := len(p.arrived()) - before; got < 50 || got > 62 {
			t.Errorf("put %d times in an hour by the last broker", got)
		}
		stops[2]()
	})
}

// TestSinkOfLatchedAccount: the copy stays when its token has ended, and the
// next token is copied as soon as there is one.
func TestSinkOfLatchedAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, p, c := quick(t), &place{}, newCredentials()
		b := v.broker(slowStore(), c)
		b.Accounts[0].Sinks = []*sink.Copy{{Name: "p", Place: "p", Sink: p}}
		stop := running(t, b)
		time.Sleep(time.Minute)
		v.set(func() { v.password = "changed" })
		time.Sleep(2 * time.Hour)
		_, _, attempts := v.count()
		if s := sinkStatus(t, b); attempts != 2 || !slices.Equal(p.arrived(), []uint64{1}) || s.LagSeconds != 0 {
			t.Errorf("%d attempts, put %v, %+v", attempts, p.arrived(), s)
		}
		c.set("password", "changed")
		time.Sleep(time.Minute)
		if got := p.arrived(); !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("put %v", got)
		}
		stop()
	})
}

// TestSinkErrorsShowNoSecret: what a sink says of a token ends before it is
// seen.
func TestSinkErrorsShowNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, st, p, log := quick(t), slowStore(), &place{}, new(bytes.Buffer)
		p.hook = func(_ context.Context, t *jeton.Token) error {
			return fmt.Errorf("the place does not like\n%s", t.AccessToken.Reveal())
		}
		b := v.broker(st, newCredentials())
		b.Logger = slog.New(slog.NewTextHandler(log, nil))
		b.Accounts[0].Sinks = []*sink.Copy{{Name: "p", Place: "p", Sink: p}}
		stop := running(t, b)
		time.Sleep(time.Minute)
		api := b.TokenAPI()
		seen := ask(api, "GET", "/v1/accounts", "").Body.String() + ask(api, "GET", "/metrics", "").Body.String()
		stop()
		for _, r := range all(t, st, "sink/") {
			seen += string(r.Value)
		}
		seen += log.String()
		if strings.Contains(seen, "token-") || !strings.Contains(seen, "an error that shows the token") {
			t.Error(seen)
		}
	})
}

func all(t *testing.T, st store.Store, prefix string) []store.Record {
	t.Helper()
	list, err := st.List(t.Context(), prefix, "", 100)
	if err != nil || len(list) == 0 {
		t.Fatalf("%d records, %v", len(list), err)
	}
	return list
}
