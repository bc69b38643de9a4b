package keys

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/jws"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

var algs = []string{"ES256", "EdDSA", "RS256", "HS256"}

func open(t testing.TB, st store.Store, alg string) *Ring {
	t.Helper()
	r, err := Open(context.Background(), st, "realm/x/keys", alg, 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sign(t testing.TB, r *Ring) string {
	t.Helper()
	token, err := r.Sign(context.Background(), "at+jwt", map[string]any{"sub": "u", "exp": 1 << 31})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func verify(r *Ring, token string) error {
	_, _, err := r.Verify(context.Background(), jeton.NewSecret(token))
	return err
}

func header(t testing.TB, token string) jws.Header {
	t.Helper()
	parsed, ok := jws.Parse(token)
	if !ok {
		t.Fatal("not a token")
	}
	return parsed.Header
}

func mustRefuse(t *testing.T, r *Ring, what, token string) {
	t.Helper()
	if err := verify(r, token); !errors.Is(err, jeton.InvalidToken) {
		t.Errorf("%s: %v, want invalid_token", what, err)
	}
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func TestSignVerify(t *testing.T) {
	for _, alg := range algs {
		r := open(t, store.NewMemory(), alg)
		typ, claims, err := r.Verify(t.Context(), jeton.NewSecret(sign(t, r)))
		if err != nil || typ != "at+jwt" || claims["sub"] != "u" {
			t.Errorf("%s: %q %v %v", alg, typ, claims, err)
		}
	}
	if _, err := Open(t.Context(), store.NewMemory(), "k", "ES257", time.Hour); err == nil || !strings.Contains(err.Error(), "ES256") {
		t.Errorf("an unknown algorithm: %v", err)
	}
}

// TestKidFlood: unknown kids read the store once a second, and a
// key that another process rotated in is still learned.
func TestKidFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := &counting{Store: store.NewMemory()}
		r, other := open(t, counted, "EdDSA"), open(t, counted, "EdDSA")
		time.Sleep(2 * time.Second)
		before := counted.gets
		for i := range 1000 {
			mustRefuse(t, r, "an unknown kid", encode(fmt.Sprintf(`{"alg":"EdDSA","kid":"k%d"}`, i))+"."+encode("{}")+"."+encode("x"))
		}
		if n := counted.gets - before; n > 1 {
			t.Fatalf("1000 unknown kids caused %d reads", n)
		}
		for range 2 { // the first rotation brings in a key that r knows as the next one
			if err := other.Rotate(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if err := verify(r, sign(t, other)); err != nil {
			t.Fatalf("a rotated key was not learned: %v", err)
		}
	})
}

type counting struct {
	store.Store
	gets int
}

func (c *counting) Get(ctx context.Context, key string) (store.Record, error) {
	c.gets++
	return c.Store.Get(ctx, key)
}

// TestRotation: the next key is published before its first use,
// an old one is accepted until its tokens have expired, and no longer.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, store.NewMemory(), "ES256")
		r.retention = time.Hour
		published, _ := r.JWKS()
		old := sign(t, r)
		if err := r.Rotate(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		kid := header(t, sign(t, r)).KeyID
		if !bytes.Contains(published, []byte(kid)) {
			t.Error("a key signs that was not published before")
		}
		if err := verify(r, old); err != nil {
			t.Errorf("right after the rotation: %v", err)
		}
		time.Sleep(time.Hour)
		mustRefuse(t, r, "after the retention", old)
		if err := r.Rotate(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if n := len(r.set.Load().order); n != 3 {
			t.Errorf("%d keys are kept, want the old, the current and the next", n)
		}
	})
}

// TestRemovedKey: tokens of a key that was removed are refused at
// once, by another process a second later, and signing goes on.
func TestRemovedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		r, other := open(t, st, "ES256"), open(t, st, "ES256")
		good := sign(t, r)
		kid := header(t, good).KeyID
		next := r.set.Load().order[1]
		if err := r.Remove(t.Context(), kid); err != nil {
			t.Fatal(err)
		}
		mustRefuse(t, r, "a removed key", good)
		time.Sleep(time.Second)
		mustRefuse(t, other, "a removed key, elsewhere", good)
		later := sign(t, other)
		if header(t, later).KeyID != next {
			t.Error("it was not the next key that took over")
		}
		if err := verify(r, later); err != nil {
			t.Error(err)
		}
		if err := r.Remove(t.Context(), kid); err == nil {
			t.Error("a key that is gone was removed")
		}
		if n := len(r.set.Load().order); n != 2 {
			t.Errorf("%d keys are left, want 2", n)
		}
	})
}

// TestRotateTogether: two processes that rotate at once rotate once, else the
// next key would sign without having been published.
func TestRotateTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := storetest.Slow(store.NewMemory(), func() time.Duration { return time.Millisecond })
		r, other := open(t, st, "ES256"), open(t, st, "ES256")
		published, _ := r.JWKS()
		var wg sync.WaitGroup
		for _, r := range []*Ring{r, other} {
			wg.Go(func() {
				if err := r.Rotate(context.Background(), time.Now()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		kid := header(t, sign(t, r)).KeyID
		if !bytes.Contains(published, []byte(kid)) {
			t.Error("a key signs that was not published before")
		}
	})
}

// TestEpoch: it changes with a removed key, also where nobody else uses the
// ring, and not with a new one.
func TestEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		r, other := open(t, st, "EdDSA"), open(t, st, "EdDSA")
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { other.Run(ctx) })
		kid := header(t, sign(t, r)).KeyID
		if err := r.Rotate(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if r.Epoch() != 0 || other.Epoch() != 0 {
			t.Error("a new key changed the epoch")
		}
		if err := r.Remove(t.Context(), kid); err != nil {
			t.Fatal(err)
		}
		if r.Epoch() == 0 {
			t.Error("a removed key did not change the epoch at once")
		}
		time.Sleep(time.Second + time.Millisecond)
		if other.Epoch() == 0 {
			t.Error("a removed key did not change the epoch elsewhere within a second")
		}
		cancel()
		running.Wait()
	})
}

// TestJWKSHasNoSecrets: neither private parts nor HMAC keys.
func TestJWKSHasNoSecrets(t *testing.T) {
	for _, alg := range algs {
		b, err := open(t, store.NewMemory(), alg).JWKS()
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{ Keys []map[string]any }
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 0, false: 2}[alg == "HS256"]; len(doc.Keys) != want {
			t.Errorf("%s: %d keys, want %d", alg, len(doc.Keys), want)
		}
		for _, k := range doc.Keys {
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				if k[private] != nil {
					t.Errorf("%s: the set shows %s", alg, private)
				}
			}
		}
	}
}

// TestOneRing: processes that open a ring at once agree on its keys; without
// compare-and-swap each would sign with keys of its own.
func TestOneRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			st := storetest.Slow(store.NewMemory(), func() time.Duration { return rand.N(5 * time.Millisecond) })
			rings := make([]*Ring, 8)
			var wg sync.WaitGroup
			for i := range rings {
				wg.Go(func() { rings[i] = open(t, st, "EdDSA") })
			}
			wg.Wait()
			for i, r := range rings {
				if err := verify(rings[0], sign(t, r)); err != nil {
					t.Fatalf("ring %d: %v", i, err)
				}
			}
		}
	})
}

// TestStoreDown: known keys go on working; an unknown kid is not blamed on the
// token.
func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := new(storetest.Faults)
		st := storetest.Faulty(store.NewMemory(), faults)
		r, stranger := open(t, st, "EdDSA"), open(t, store.NewMemory(), "EdDSA")
		faults.Set(storetest.Down)
		time.Sleep(time.Hour)
		if err := verify(r, sign(t, r)); err != nil {
			t.Errorf("with the store down: %v", err)
		}
		time.Sleep(2 * time.Second)
		for range 3 {
			if err := verify(r, sign(t, stranger)); err == nil || errors.Is(err, jeton.InvalidToken) {
				t.Errorf("an unknown kid with the store down: %v", err)
			}
		}
	})
}

// TestStoreHangs: a store that does not answer holds up one caller for a little,
// and a caller who gives up leaves nothing behind for the others.
func TestStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delay := new(atomic.Int64)
		st := storetest.Slow(store.NewMemory(), func() time.Duration { return time.Duration(delay.Load()) })
		r, stranger := open(t, st, "EdDSA"), open(t, store.NewMemory(), "EdDSA")
		token, unknown := sign(t, r), sign(t, stranger)
		delay.Store(int64(time.Hour))
		time.Sleep(time.Minute)
		start := time.Now()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := verify(r, token); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("known keys waited %v", took)
		}
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := r.Verify(ctx, jeton.NewSecret(unknown)); err == nil || errors.Is(err, jeton.InvalidToken) {
			t.Errorf("an unknown kid while the store hangs: %v", err)
		}
		delay.Store(0)
		mustRefuse(t, r, "an unknown kid when the store is back", unknown)
	})
}

// TestSignRefuses: claims that no strict reader would take are not signed.
func TestSignRefuses(t *testing.T) {
	r := open(t, store.NewMemory(), "EdDSA")
	if _, err := r.Sign(t.Context(), "JWT", map[string]any{"scope": "guest", "Scope": "admin"}); err == nil {
		t.Error("signed claims that differ only in case")
	}
}

// TestChangeOfAlgorithm: tokens of the old algorithm stay good.
func TestChangeOfAlgorithm(t *testing.T) {
	st := store.NewMemory()
	old := sign(t, open(t, st, "ES256"))
	r := open(t, st, "EdDSA")
	if err := verify(r, old); err != nil {
		t.Errorf("a token of before: %v", err)
	}
	if alg := header(t, sign(t, r)).Alg; alg != "EdDSA" {
		t.Errorf("it signs with %v", alg)
	}
}

// TestRotateAfter: a ring that is swept often rotates when its key is old, by
// whichever process comes first, and only once.
func TestRotateAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		r, other := open(t, st, "ES256"), open(t, st, "ES256")
		first := r.set.Load().current.KeyID
		for range 29 {
			time.Sleep(24 * time.Hour)
			for _, r := range []*Ring{r, other} {
				if err := r.RotateAfter(t.Context(), time.Now(), 30*24*time.Hour); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r.set.Load().current.KeyID != first {
			t.Fatal("it rotated early")
		}
		time.Sleep(24 * time.Hour)
		next := r.set.Load().order[1]
		for _, r := range []*Ring{r, other} {
			if err := r.RotateAfter(t.Context(), time.Now(), 30*24*time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if got := other.set.Load(); got.current.KeyID != next || len(got.order) != 3 {
			t.Errorf("after a month %d keys, the next one signs: %v", len(got.order), got.current.KeyID == next)
		}
		time.Sleep(3 * 24 * time.Hour)
		if err := r.RotateAfter(t.Context(), time.Now(), 30*24*time.Hour); err != nil || len(r.set.Load().order) != 2 {
			t.Errorf("an old key is kept: %v", err)
		}
	})
}
