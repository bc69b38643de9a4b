package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A storm is a place in bad weather: a token that is put may be refused, or
// arrive late, also long after whoever put it has given up, and the answer may
// be lost.
type storm struct {
	mu    sync.Mutex
	rand  *rand.Rand
	calm  bool
	there uint64 // generation
	puts  int
	back  int // times that an older generation replaced a newer one
	late  sync.WaitGroup
}

func (s *storm) Put(ctx context.Context, t *jeton.Token) error {
	s.mu.Lock()
	there, back := 50*time.Millisecond, 50*time.Millisecond
	refused, lost := false, false
	if !s.calm {
		refused, lost = s.rand.IntN(6) == 0, s.rand.IntN(6) == 0
		if s.rand.IntN(3) == 0 {
			there = time.Duration(s.rand.Int64N(int64(17 * time.Second)))
		}
	}
	s.puts++
	s.mu.Unlock()
	if refused {
		sleep(ctx, back)
		return errors.New("refused")
	}
	arrived := make(chan struct{})
	s.late.Go(func() {
		time.Sleep(there) // it is on its way, whatever becomes of the sender
		s.mu.Lock()
		if t.Generation < s.there {
			s.back++
		}
		s.there = t.Generation
		s.mu.Unlock()
		close(arrived)
	})
	select {
	case <-arrived:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !sleep(ctx, back) {
		return ctx.Err()
	}
	if lost {
		return errors.New("connection reset")
	}
	return nil
}

// TestSinkStorm: whatever befalls the place, the store and the brokers, soon
// after it is over the place has the newest token, and every broker says so.
func TestSinkStorm(t *testing.T) {
	wentBack := 0
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			v, mem, p := newVendor(t, "alvys"), store.NewMemory(), &storm{rand: rand.New(rand.NewPCG(seed, 2))}
			v.lifetime = time.Duration(20+r.IntN(60)) * time.Second
			var faults storetest.Faults
			st := storetest.Slow(storetest.Faulty(mem, &faults), func() time.Duration { return 3 * time.Millisecond })
			brokers, stops := make([]*Broker, 3), make([]func(), 3)
			start := func(n int) {
				brokers[n] = v.broker(st, newCredentials())
				brokers[n].Accounts[0].Sinks = []*sink.Copy{{Name: "p", Place: "p", Sink: p}}
				stops[n] = running(t, brokers[n])
			}
			for n := range brokers {
				start(n)
			}
			for range 40 {
				time.Sleep(time.Duration(r.Int64N(int64(15 * time.Second))))
				switch r.IntN(5) {
				case 0:
					faults.Set(storetest.Down)
				case 1:
					faults.Set(storetest.LoseAnswer)
				case 2:
					n := r.IntN(len(brokers))
					stops[n]()
					start(n)
				default:
					faults.Set(storetest.Healthy)
				}
			}
			faults.Set(storetest.Healthy)
			v.set(func() { v.lifetime = 2 * time.Hour }) // of the last token, which comes in the storm
			tokens := func() int {
				logins, refreshes, _ := v.count()
				return logins + refreshes
			}
			for before := tokens(); tokens() == before; {
				time.Sleep(time.Second)
			}
			time.Sleep(time.Duration(r.Int64N(int64(20 * time.Second))))
			p.mu.Lock()
			p.calm = true
			p.mu.Unlock()
			time.Sleep(20 * time.Minute)
			token, err := brokers[0].Token(t.Context(), "a", 0)
			p.mu.Lock()
			if err != nil || p.there != token.Generation || p.puts > 3*tokens()+60 {
				t.Errorf("seed %d: %v; after %d tokens the place has %d, %d puts", seed, err, tokens(), p.there, p.puts)
			}
			wentBack += p.back
			p.mu.Unlock()
			for _, b := range brokers {
				if s := sinkStatus(t, b); s.Generation != token.Generation || s.Behind != 0 || s.LastError != "" {
					t.Errorf("seed %d: %+v", seed, s)
				}
			}
			for _, stop := range stops {
				stop()
			}
			p.late.Wait()
		})
	}
	if wentBack == 0 {
		t.Error("no token ever arrived after a newer one: the storm proves nothing")
	}
}

// TestSinkArrivesLate: a token that arrives when its sender has given up, and
// after the next one was put, does not stay. Also where the broker that put the
// next one has ended.
func TestSinkArrivesLate(t *testing.T) {
	for _, ends := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			v, st := newVendor(t, "iadvize"), slowStore()
			p := &place{}
			var late sync.WaitGroup
			p.hook = func(ctx context.Context, token *jeton.Token) error {
				if p.tried() > 1 {
					return nil
				}
				late.Go(func() {
					time.Sleep(17 * time.Second)
					_ = p.Put(context.WithoutCancel(ctx), token)
				})
				<-ctx.Done()
				return ctx.Err()
			}
			_, stopOther := copying(t, v, st, p)
			b, stop := copying(t, v, st, p)
			time.Sleep(10 * time.Second)
			if _, err := b.Report(t.Context(), "a", 1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if got := p.arrived(); !slices.Equal(got, []uint64{2}) {
				t.Fatalf("put %v", got)
			}
			if ends {
				stop()
				stopOther()
				b, stop = copying(t, v, st, p)
			}
			time.Sleep(10 * time.Minute)
			if got := p.arrived(); !slices.Equal(got, []uint64{2, 1, 2}) {
				t.Errorf("ended: %v: put %v", ends, got)
			}
			if s := sinkStatus(t, b); s.Generation != 2 || s.LagSeconds != 0 {
				t.Errorf("%+v", s)
			}
			stop()
			if !ends {
				stopOther()
			}
			late.Wait()
		})
	}
}
