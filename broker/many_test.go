package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// crowd makes a broker of n accounts with a credential each.
func (v *vendor) crowd(st store.Store, n int, origin string) *Broker {
	b := v.broker(st, newCredentials())
	b.Accounts[0].Origin, _ = url.Parse(origin)
	one := b.Accounts[0]
	b.Accounts = nil
	for i := range n {
		c := newCredentials()
		c.set("username", fmt.Sprintf("u%d@example.com", i))
		one.Name, one.Secrets = fmt.Sprintf("a%d", i), c.resolve
		b.Accounts = append(b.Accounts, one)
	}
	return b
}

// countingStore counts reads, and fails lists on demand.
type countingStore struct {
	*store.Memory
	gets, lists atomic.Int64
	broken      atomic.Bool
}

func (s *countingStore) Get(ctx context.Context, key string) (store.Record, error) {
	s.gets.Add(1)
	return s.Memory.Get(ctx, key)
}

func (s *countingStore) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	s.lists.Add(1)
	if s.broken.Load() {
		return nil, errors.New("down")
	}
	return s.Memory.List(ctx, prefix, after, limit)
}

// TestManyAccounts: a broker that begins where other brokers have logged in
// reads the records by the page, logs in to nothing, and says of each account
// what is in the store; also where it cannot list.
func TestManyAccounts(t *testing.T) {
	for _, broken := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const n = 3 * page / 2
			v, st := newVendor(t, "web1on1"), &countingStore{Memory: store.NewMemory()}
			first := v.crowd(st, n, "http://vendor.test/prefix")
			if failed := readers(t, n, func() func() (*jeton.Token, error) {
				var next atomic.Int64
				return func() (*jeton.Token, error) {
					return first.Token(t.Context(), fmt.Sprintf("a%d", next.Add(1)-1), 0)
				}
			}()); failed != 0 {
				t.Fatalf("%d accounts have no token", failed)
			}
			st.gets.Store(0)
			st.broken.Store(broken)
			b := v.crowd(st, n+1, "http://vendor.test/prefix")
			ctx, cancel := context.WithCancel(t.Context())
			var run sync.WaitGroup
			run.Go(func() { b.Run(ctx) })
			synctest.Wait()
			if gets := st.gets.Load(); !broken && gets > 0 {
				t.Errorf("%d records were read one by one", gets)
			}
			time.Sleep(time.Second)
			for i, s := range b.Status(ctx) {
				if want := []string{"fresh", "empty"}[i/n]; s.State != want || s.Generation != uint64(1-i/n) {
					t.Fatalf("list broken %v: %s is %s, generation %d", broken, s.Account, s.State, s.Generation)
				}
			}
			idle := v.crowd(st, n, "http://vendor.test/prefix") // as of the command status without a server
			if s := idle.Status(ctx)[n-1]; s.State != "fresh" {
				t.Errorf("list broken %v: %s is %s", broken, s.Account, s.State)
			}
			closeBroker(t, idle)
			time.Sleep(20 * time.Hour)
			if logins, _, _ := v.count(); logins != n {
				t.Errorf("%d logins for %d accounts that somebody asked for", logins, n)
			}
			cancel()
			run.Wait()
			closeBroker(t, first)
		})
	}
}

// TestLoginsAtOnce: however many accounts want a token, so many logins run at a
// vendor and no more, and a vendor that hangs holds up nobody else.
func TestLoginsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.crowd(slowStore(), 200, "http://hangs.test/prefix")
		other := v.crowd(slowStore(), 1, "http://vendor.test/prefix").Accounts[0]
		other.Name = "other"
		b.Accounts, b.Logins = append(b.Accounts, other), 10
		var running, most atomic.Int64
		answers := b.HTTP
		b.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host != "hangs.test" {
				return answers.RoundTrip(r)
			}
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer running.Add(-1)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		var wait sync.WaitGroup
		for i := range 200 {
			wait.Go(func() {
				if token, err := b.Token(t.Context(), fmt.Sprintf("a%d", i), 0); err == nil {
					t.Errorf("a vendor that hangs gave %v", token)
				}
			})
		}
		time.Sleep(time.Second)
		began := time.Now()
		if _, err := b.Token(t.Context(), "other", 0); err != nil || time.Since(began) > time.Second {
			t.Errorf("an account of another vendor waited %v: %v", time.Since(began), err)
		}
		wait.Wait()
		if most.Load() != 10 {
			t.Errorf("%d logins at once, want 10", most.Load())
		}
		closeBroker(t, b)
	})
}

// TestTurns: refreshes that nobody waits for leave half of the turns to
// readers, and who gives up waiting takes none along.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(4)
		soon := func(ahead bool) func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			back, _ := turns.take(ctx, ahead)
			return back
		}
		var held []func()
		for i, want := range []struct{ ahead, ok bool }{{true, true}, {true, true}, {true, false}, {false, true}, {false, true}, {false, false}, {true, false}} {
			back := soon(want.ahead)
			if (back != nil) != want.ok {
				t.Fatalf("take %d: %v", i, back != nil)
			}
			if back != nil {
				held = append(held, back)
			}
		}
		for _, back := range held {
			back()
		}
		if len(turns.all) != 0 || len(turns.ahead) != 0 {
			t.Errorf("%d and %d turns are not back", len(turns.all), len(turns.ahead))
		}
	})
}

// TestPace: a second's worth of reads comes at once, the rest evenly, and a
// token that falls due does not wait for its turn to be read.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		burst := int(paceBurst / paceEvery)
		for i := range 2 * burst {
			if wait, want := p.wait(), time.Duration(max(i+1-burst, 0))*paceEvery; wait != want {
				t.Fatalf("read %d waits %v, want %v", i, wait, want)
			}
		}
		v := newVendor(t, "web1on1")
		b := v.broker(slowStore(), newCredentials())
		if _, err := b.Token(t.Context(), "a", 0); err != nil {
			t.Fatal(err)
		}
		k := b.known("a")
		b.pace.next = time.Now().Add(48 * time.Hour)
		k.look(t.Context())
		if !k.view.Load().due(time.Now()) || !k.view.Load().good(time.Now()) {
			t.Errorf("looked up at %v, and the token falls due at %v", time.Now(), k.view.Load().RefreshAt)
		}
		closeBroker(t, b)
	})
}

// TestMetricsOfMany: with very many accounts there is no series for each.
func TestMetricsOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "web1on1")
		b := v.crowd(slowStore(), maxSeries+1, "http://vendor.test/prefix")
		if _, err := b.Token(t.Context(), "a7", 0); err != nil {
			t.Fatal(err)
		}
		ask(b.Egress(), "GET", "/to/a7/x", "")
		text := ask(b.TokenAPI(), "GET", "/metrics", "").Body.String()
		for _, line := range []string{
			`jeton_broker_accounts{state="fresh"} 1`, fmt.Sprintf(`jeton_broker_accounts{state="unresolved"} %d`, maxSeries),
			`jeton_broker_exchanges_total{account="",kind="login",outcome="ok"} 1`,
			`jeton_broker_egress_calls_total{account="",class="2xx"} 1`,
		} {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("no %s in\n%s", line, text)
			}
		}
		if strings.Contains(text, "a7") {
			t.Error("an account has series of its own")
		}
		closeBroker(t, b)
	})
}
