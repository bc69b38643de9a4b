package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/revocation"
)

// verifier is a Verifier in one function of the token's text.
type verifier func(ctx context.Context, text string) (*jeton.Claims, error)

func (v verifier) Verify(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	return v(ctx, bearer.Reveal())
}

// good takes every token for an hour and counts how often it was asked.
func good(asked *atomic.Int64) verifier {
	return func(_ context.Context, text string) (*jeton.Claims, error) {
		asked.Add(1)
		return &jeton.Claims{ID: text, Expiry: time.Now().Add(time.Hour).Round(0), Generations: map[string]uint64{"user/u": 1}}, nil
	}
}

func ask(t testing.TB, c *Cache, text string) (*jeton.Claims, error) {
	t.Helper()
	return c.Verify(t.Context(), jeton.NewSecret(text))
}

func wantGood(t testing.TB, c *Cache, text string) {
	t.Helper()
	if _, err := ask(t, c, text); err != nil {
		t.Errorf("%.20q: %v", text, err)
	}
}

func wantCode(t testing.TB, c *Cache, text string, code jeton.Code) {
	t.Helper()
	if claims, err := ask(t, c, text); !errors.Is(err, code) || claims != nil {
		t.Errorf("%.20q: %v, want %s", text, err, code)
	}
}

// TestCacheKeyIsTheWholeToken: tokens that share all but one byte,
// wherever that is, do not share an entry.
func TestCacheKeyIsTheWholeToken(t *testing.T) {
	var asked atomic.Int64
	c := &Cache{Verifier: good(&asked)}
	token := strings.Repeat("x", 800)
	wantGood(t, c, token)
	for i := range token {
		other := token[:i] + "y" + token[i+1:]
		claims, err := ask(t, c, other)
		if err != nil || claims.ID != other {
			t.Fatalf("a token that differs at %d has claims of another: %v", i, err)
		}
	}
	for _, other := range []string{token[1:], token[:799], token + "x", strings.ToUpper(token), ""} {
		if claims, err := ask(t, c, other); err != nil || claims.ID != other {
			t.Errorf("%d bytes: claims of another token, %v", len(other), err)
		}
	}
	wantCode(t, c, strings.Repeat("x", maxToken+1), jeton.InvalidToken)
}

// TestCacheNeverPastExpiry: use does not prolong an entry, neither
// past exp nor past TTL.
func TestCacheNeverPastExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := &Cache{Verifier: good(&asked)}
		for range 59 {
			wantGood(t, c, "x")
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute - 1)
		wantGood(t, c, "x")
		time.Sleep(time.Nanosecond)
		wantCode(t, c, "x", jeton.InvalidToken)
		if asked.Load() != 1 {
			t.Errorf("asked %d times about a token that is known", asked.Load())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := &Cache{Verifier: good(&asked), TTL: 10 * time.Second}
		for range 100 {
			wantGood(t, c, "x")
			time.Sleep(time.Second)
		}
		if asked.Load() != 10 {
			t.Errorf("asked %d times in 100 s, want 10", asked.Load())
		}
	})
}

// TestCacheClockStepsBack: to a clock that is set back by a day, all
// times of a token are a day further away.
func TestCacheClockStepsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var claims *jeton.Claims
		c := &Cache{Verifier: verifier(func(context.Context, string) (*jeton.Claims, error) {
			asked.Add(1)
			if asked.Load() > 1 {
				return nil, jeton.InvalidToken
			}
			claims = &jeton.Claims{Expiry: time.Now().Add(time.Minute).Round(0)}
			return claims, nil
		})}
		wantGood(t, c, "x")
		claims.Expiry = claims.Expiry.Add(24 * time.Hour)
		time.Sleep(time.Minute - 1)
		wantGood(t, c, "x")
		time.Sleep(time.Nanosecond)
		wantCode(t, c, "x", jeton.InvalidToken)
		if asked.Load() != 2 {
			t.Errorf("asked %d times, want once more after the minute", asked.Load())
		}
	})
	var asked atomic.Int64
	c := &Cache{Verifier: good(&asked)}
	wantGood(t, c, "x")
	if until := c.known.ring[0].until; until == until.Round(0) {
		t.Error("the end of an entry is not read on the monotonic clock")
	}
}

// TestCacheKeepsNothingForEver: what neither time nor a table would end is not
// kept.
func TestCacheKeepsNothingForEver(t *testing.T) {
	for what, test := range map[string]struct {
		cache  *Cache
		claims jeton.Claims
		asked  int64
	}{
		"no end":                      {&Cache{}, jeton.Claims{}, 3},
		"a TTL":                       {&Cache{TTL: time.Minute}, jeton.Claims{}, 1},
		"a table that cannot end it":  {&Cache{Table: &revocation.Table{}}, jeton.Claims{ID: "x"}, 3},
		"a table that can":            {&Cache{Table: &revocation.Table{}}, jeton.Claims{Generations: map[string]uint64{"user/u": 1}}, 1},
		"a table that can, and a TTL": {&Cache{Table: &revocation.Table{}, TTL: 1}, jeton.Claims{Generations: map[string]uint64{"user/u": 1}}, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			asked, c := int64(0), test.cache
			c.Verifier = verifier(func(context.Context, string) (*jeton.Claims, error) { asked++; return &test.claims, nil })
			if c.Table != nil {
				c.Table.Confirm(time.Now())
			}
			for range 3 {
				wantGood(t, c, "x")
				time.Sleep(time.Second)
			}
			if asked != test.asked {
				t.Errorf("%s: asked %d times, want %d", what, asked, test.asked)
			}
		})
	}
}

// TestCacheRevoked: a known token ends with the next event that
// concerns it, and not with others.
func TestCacheRevoked(t *testing.T) {
	until := time.Now().Add(time.Hour)
	for _, event := range []revocation.Event{
		{Counter: "user/u", Number: 2, Until: until}, {Token: "x", Until: until}, {Family: "f", Until: until},
	} {
		table := &revocation.Table{}
		table.Confirm(time.Now())
		c := &Cache{Table: table, MaxStale: time.Hour, Verifier: verifier(func(context.Context, string) (*jeton.Claims, error) {
			return &jeton.Claims{ID: "x", Family: "f", Generations: map[string]uint64{"user/u": 1}, Expiry: until}, nil
		})}
		wantGood(t, c, "x")
		table.Add(revocation.Event{Counter: "user/v", Number: 9, Until: until}, revocation.Event{Token: "y", Until: until})
		wantGood(t, c, "x")
		table.Add(event)
		wantCode(t, c, "x", jeton.InvalidToken)
		wantCode(t, c, "x", jeton.InvalidToken)
	}
}

// TestCacheStaleTable: nobody is let in by old knowledge, and nobody
// is blamed for it; what is certain stays certain.
func TestCacheStaleTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		table := &revocation.Table{}
		c := &Cache{Table: table, Verifier: good(&asked)}
		wantCode(t, c, "x", jeton.Unavailable) // never confirmed
		table.Confirm(time.Now())
		wantGood(t, c, "x")
		time.Sleep(30 * time.Second)
		wantGood(t, c, "x")
		time.Sleep(time.Nanosecond)
		wantCode(t, c, "x", jeton.Unavailable)
		wantCode(t, c, "y", jeton.Unavailable)
		table.Add(revocation.Event{Counter: "user/u", Number: 2, Until: time.Now().Add(time.Hour)})
		wantCode(t, c, "x", jeton.InvalidToken)
		wantCode(t, c, "z", jeton.InvalidToken)
	})
}

// TestCacheRevokedDuringVerification: an event that comes while the
// Verifier is at work counts, for everybody who waits for it.
func TestCacheRevokedDuringVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		table := &revocation.Table{}
		table.Confirm(time.Now())
		c := &Cache{Table: table, Verifier: verifier(func(ctx context.Context, text string) (*jeton.Claims, error) {
			time.Sleep(time.Second)
			return good(&asked)(ctx, text)
		})}
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { wantCode(t, c, "x", jeton.InvalidToken) })
		}
		time.Sleep(time.Second / 2)
		table.Add(revocation.Event{Counter: "user/u", Number: 2, Until: time.Now().Add(time.Hour)})
		group.Wait()
		if asked.Load() != 1 {
			t.Errorf("asked %d times at once", asked.Load())
		}
	})
}

// TestCacheRevocationRace lets events come at every moment: whoever asks after
// one was added is refused.
func TestCacheRevocationRace(t *testing.T) {
	for round := range 100 {
		table := &revocation.Table{}
		table.Confirm(time.Now())
		c := &Cache{Table: table, MaxStale: time.Hour, Verifier: verifier(func(context.Context, string) (*jeton.Claims, error) {
			for range round % 7 {
				runtime.Gosched()
			}
			return &jeton.Claims{Generations: map[string]uint64{"user/u": 1}, Expiry: time.Now().Add(time.Hour)}, nil
		})}
		var revoked atomic.Bool
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for after := 0; after < 3; {
					was := revoked.Load()
					_, err := c.Verify(context.Background(), jeton.NewSecret("x"))
					if was && !errors.Is(err, jeton.InvalidToken) {
						t.Errorf("after the revocation: %v", err)
					}
					if was {
						after++
					}
					runtime.Gosched()
				}
			})
		}
		group.Go(func() {
			for range round {
				runtime.Gosched()
			}
			table.Add(revocation.Event{Counter: "user/u", Number: 2, Until: time.Now().Add(time.Hour)})
			revoked.Store(true)
		})
		group.Wait()
	}
}

// TestCacheEpoch: what a key that is gone had signed is asked about again, also
// if it went during the verification.
func TestCacheEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var epoch atomic.Uint64
		c := &Cache{Epoch: epoch.Load, Verifier: verifier(func(context.Context, string) (*jeton.Claims, error) {
			is := epoch.Load()
			time.Sleep(time.Second)
			if is > 0 {
				return nil, refuse()
			}
			return &jeton.Claims{Expiry: time.Now().Add(time.Hour)}, nil
		})}
		wantGood(t, c, "x")
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() { wantCode(t, c, "y", jeton.InvalidToken) })
		}
		time.Sleep(time.Second / 2)
		epoch.Add(1)
		group.Wait()
		wantCode(t, c, "x", jeton.InvalidToken)
	})
}

// TestCacheOneGivesUp: a caller who goes away while he asks for all takes nobody
// with him, and who does not get an answer blames no token.
func TestCacheOneGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := &Cache{Verifier: verifier(func(ctx context.Context, text string) (*jeton.Claims, error) {
			select {
			case <-time.After(time.Second):
				return good(&asked)(ctx, text)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})}
		first, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := c.Verify(first, jeton.NewSecret("x")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, jeton.InvalidToken) {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			group.Go(func() { wantGood(t, c, "x") })
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second/4)
		defer cancel()
		if _, err := c.Verify(short, jeton.NewSecret("x")); !errors.Is(err, jeton.Unavailable) {
			t.Errorf("who waits and gives up: %v", err)
		}
		group.Wait()
		if asked.Load() != 1 {
			t.Errorf("%d answers, want 1", asked.Load())
		}
	})
}

// TestCachePanic: a Verifier that panics leaves nobody waiting.
func TestCachePanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Cache{Verifier: verifier(func(context.Context, string) (*jeton.Claims, error) {
			time.Sleep(time.Second)
			panic("broken")
		})}
		go func() {
			defer func() { _ = recover() }()
			_, _ = c.Verify(context.Background(), jeton.NewSecret("x"))
		}()
		synctest.Wait()
		wantCode(t, c, "x", jeton.Unavailable)
	})
}

// TestCacheGarbage: tokens that are not good take nobody's place and
// no memory.
func TestCacheGarbage(t *testing.T) {
	asked := map[string]int{}
	c := &Cache{Size: 10, Verifier: verifier(func(_ context.Context, text string) (*jeton.Claims, error) {
		asked[text]++
		if strings.HasPrefix(text, "good") {
			return &jeton.Claims{Expiry: time.Now().Add(time.Hour)}, nil
		}
		return nil, jeton.InvalidToken
	})}
	for i := range 10 {
		wantGood(t, c, fmt.Sprint("good", i))
	}
	for i := range 100_000 {
		wantCode(t, c, fmt.Sprint("bad", i), jeton.InvalidToken)
	}
	for i := range 10 {
		wantGood(t, c, fmt.Sprint("good", i))
		if n := asked[fmt.Sprint("good", i)]; n != 1 {
			t.Errorf("asked %d times about a good token", n)
		}
	}
	if len(c.flights) > 0 || len(c.known.ring) != 10 {
		t.Errorf("%d questions and %d tokens are kept", len(c.flights), len(c.known.ring))
	}
}

// TestCacheBounded: the cache holds its size of tokens, those in use
// stay while others pass through, and every one that is held can be found.
func TestCacheBounded(t *testing.T) {
	var asked atomic.Int64
	c := &Cache{Size: 1000, Verifier: good(&asked)}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 100 {
		wantGood(t, c, fmt.Sprint("regular", i))
	}
	for i := range 50_000 {
		wantGood(t, c, fmt.Sprint("passing", i))
		wantGood(t, c, fmt.Sprint("regular", i%100))
	}
	// The hand stops within a long run of tokens that are all in use, once.
	if n := asked.Load(); n > 50_110 {
		t.Errorf("asked %d times, want 50,100 or hardly more: those in use were dropped", n)
	}
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("1,000 tokens take %d bytes", grown)
	}
	chained := 0
	for i := range c.known.buckets {
		for e := c.known.buckets[i].Load(); e != nil; e = e.next.Load() {
			if chained++; c.known.ring[e.slot] != e || c.known.find(e.hash, e.text) != e {
				t.Fatal("an entry is not where it belongs")
			}
		}
	}
	if chained != 1000 || len(c.known.ring) != 1000 {
		t.Errorf("%d chained and %d in the ring", chained, len(c.known.ring))
	}
}

// TestCacheAlikeEnds: tokens that all end alike cost as little as others.
func TestCacheAlikeEnds(t *testing.T) {
	var asked atomic.Int64
	c := &Cache{Verifier: good(&asked)}
	for i := range 10_000 {
		wantGood(t, c, fmt.Sprint(i, strings.Repeat("x", tail)))
	}
	if n := len(c.known.ring); n > reach {
		t.Errorf("a chain of %d", n)
	}
}

// TestCacheBindsPolicy: two caches with other audiences in front of
// one kind of token, asked in any order, say what their verifiers say.
func TestCacheBindsPolicy(t *testing.T) {
	audience := func(aud string) verifier {
		return func(_ context.Context, text string) (*jeton.Claims, error) {
			if !strings.Contains(text, aud) {
				return nil, refuse()
			}
			return &jeton.Claims{Audience: []string{aud}, Expiry: time.Now().Add(time.Hour)}, nil
		}
	}
	tokens := []string{"a", "b", "ab", "c"}
	caches := map[string]*Cache{"a": {Verifier: audience("a")}, "b": {Verifier: audience("b")}}
	for range 1000 {
		token := tokens[rand.IntN(len(tokens))]
		for aud, c := range caches {
			want, wantErr := audience(aud)(t.Context(), token)
			got, err := ask(t, c, token)
			if (err == nil) != (wantErr == nil) || err == nil && got.Audience[0] != want.Audience[0] {
				t.Fatalf("token %s at %s: %v, want %v", token, aud, err, wantErr)
			}
		}
	}
}

// TestCacheHitAllocatesNothing, whether the table changed or not.
func TestCacheHitAllocatesNothing(t *testing.T) {
	var asked atomic.Int64
	table := &revocation.Table{}
	table.Confirm(time.Now())
	c := &Cache{Verifier: good(&asked), Table: table, MaxStale: time.Hour, Epoch: func() uint64 { return 1 }}
	bearer := jeton.NewSecret(strings.Repeat("x", 700))
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.Verify(context.Background(), bearer); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
