package broker

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/seal"
	"github.com/jetonhq/jeton/store"
)

// TestResealDuringLogin: two brokers log in, refresh and log in again while
// every record is sealed anew all the time, far more often than an operator
// can. Each lifetime has one exchange, and no reader sees an error.
func TestResealDuringLogin(t *testing.T) {
	for _, name := range []string{"iadvize", "altrata", "web1on1"} {
		synctest.Test(t, func(t *testing.T) {
			v, inner := newVendor(t, name), slowStore()
			v.latency = 4 * time.Second // longer than a lease: it is renewed meanwhile
			one, two := seal.NewKey(), seal.NewKey()
			st := seal.Wrap(inner, one, two)
			a, b := v.broker(st, newCredentials()), v.broker(st, newCredentials())
			a.Lease, b.Lease = 3*time.Second, 3*time.Second
			a.Early, b.Early = 30*time.Second, 30*time.Second
			v.d.Lifetime = 5 * time.Minute
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			resealed := 0
			running.Go(func() {
				for keys := []seal.Key{one, two}; sleep(ctx, 100*time.Millisecond); keys[0], keys[1] = keys[1], keys[0] {
					report, err := seal.Reseal(t.Context(), inner, "", keys...)
					if err != nil && !errors.Is(err, seal.ErrSealedAgain) {
						t.Errorf("%s: %v", name, err)
					}
					resealed += report.Resealed
				}
			})
			running.Go(func() { a.Run(ctx) })
			running.Go(func() { b.Run(ctx) })
			for round := range 3 {
				var token *jeton.Token
				if failed := readers(t, 20, func() (*jeton.Token, error) { return a.Token(ctx, "a", 0) }); failed > 0 {
					t.Errorf("%s: %d readers failed", name, failed)
				}
				token, err := b.Token(ctx, "a", 0)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if logins, refreshes, _ := v.count(); logins+refreshes != round+1 || token.Generation != uint64(round+1) {
					t.Errorf("%s: %d logins and %d refreshes for generation %d, want %d", name, logins, refreshes, token.Generation, round+1)
				}
				time.Sleep(time.Until(token.Expiry) - 10*time.Second)
			}
			cancel()
			running.Wait()
			if resealed < 1000 {
				t.Errorf("%s: only %d records were sealed anew", name, resealed)
			}
		})
	}
}

// TestResealOfDeadLease: a lease whose holder died, and whose record is then
// sealed anew, is taken over all the same, one lease time later at most.
func TestResealOfDeadLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, inner := newVendor(t, "iadvize"), slowStore()
		v.d.Rate = map[string]dialect.Rate{}
		old, young := seal.NewKey(), seal.NewKey()
		dead := v.broker(seal.Wrap(inner, old), newCredentials())
		k, err := dead.keeper(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		value, err := json.Marshal(record{V: 1, Fence: 1, Lease: &lease{Holder: "dead"}, Salt: []byte("salt")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dead.Store.Put(t.Context(), store.Record{Key: k.key, Value: value}); err != nil {
			t.Fatal(err)
		}
		b := v.broker(seal.Wrap(inner, young, old), newCredentials())
		b.Wait = time.Minute
		time.AfterFunc(b.leaseTime()*9/10, func() {
			if report, err := seal.Reseal(context.Background(), inner, "", young, old); err != nil || report.Resealed != 1 {
				t.Errorf("%+v, %v", report, err)
			}
		})
		began := time.Now()
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < b.leaseTime()*19/10 || took > b.leaseTime()*2+time.Second {
			t.Errorf("taken over after %v, with leases of %v", took, b.leaseTime())
		}
		closeBroker(t, dead)
		closeBroker(t, b)
	})
}

// leaseTime returns the lease time of a broker that may not be in use yet.
func (b *Broker) leaseTime() time.Duration {
	b.init()
	return b.Lease
}
