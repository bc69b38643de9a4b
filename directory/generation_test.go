package directory

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// No two raises of a counter return the same, be they of one process or of
// several.
func TestRaise(t *testing.T) {
	memory := store.NewMemory()
	slow := storetest.Slow(memory, func() time.Duration { return time.Duration(rand.IntN(100)) * time.Microsecond })
	directories := []*Directory{desk(t, slow, nil, Settings{}), desk(t, slow, nil, Settings{})}
	const each = 50
	seen := make([]int, 2*2*each+1)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, d := range directories {
		for range 2 * each {
			wg.Go(func() {
				n, err := d.Raise(t.Context(), "grant", "g")
				mu.Lock()
				defer mu.Unlock()
				if err != nil || n >= uint64(len(seen)) {
					t.Error(n, err)
					return
				}
				seen[n]++
			})
		}
	}
	wg.Wait()
	for n, times := range seen {
		if n > 0 && times != 1 {
			t.Errorf("%d was returned %d times", n, times)
		}
	}
	d := directories[0]
	if n, err := d.Generation(t.Context(), "grant", "g"); err != nil || n != uint64(len(seen)-1) {
		t.Errorf("generation %d, %v", n, err)
	}
	if n, err := d.Generation(t.Context(), "user", "g"); err != nil || n != 0 {
		t.Errorf("another counter: %d, %v", n, err)
	}
	if len(d.raising.queues) != 0 {
		t.Errorf("queues are left: %d", len(d.raising.queues))
	}
}

// Nothing that is ended and enabled again revives a token, not even if the
// raise failed between the two, or whoever asked went away.
func TestNothingRevives(t *testing.T) {
	for _, kind := range []string{"user", "client", "key", "tenant"} {
		t.Run(kind, func(t *testing.T) {
			var faults storetest.Faults
			d := desk(t, storetest.Faulty(store.NewMemory(), &faults), nil, Settings{Tenanted: true})
			u, c, k := furnish(t, d, "acme")
			id := map[string]string{"user": u.ID, "client": c.ID, "key": k.ID, "tenant": "acme"}[kind]
			set := func(ctx context.Context, disabled bool) error {
				switch kind {
				case "user":
					return d.SetUserDisabled(ctx, "root", "acme", u.Name, disabled)
				case "client":
					return d.SetClientDisabled(ctx, "root", "acme", id, disabled)
				case "key":
					return d.SetAPIKeyDisabled(ctx, "root", "acme", id, disabled)
				}
				return d.SetTenantDisabled(ctx, "root", id, disabled)
			}
			count := func() uint64 {
				t.Helper()
				n, err := d.Generation(context.Background(), kind, id)
				must(t, err)
				return n
			}
			// What is enabled already keeps its tokens.
			token := count()
			must(t, set(t.Context(), false))
			if count() != token {
				t.Error("enabling what is enabled ended its tokens")
			}
			must(t, set(t.Context(), true))
			if count() == token {
				t.Error("disabling left the tokens")
			}
			must(t, set(t.Context(), false))
			if count() == token {
				t.Error("enabling revived the tokens")
			}
			// The raise fails.
			token = count()
			faults.Decide(func(op, key string) storetest.Fault {
				if op == "put" && strings.Contains(key, "/generation/") {
					return storetest.Down
				}
				return storetest.Healthy
			})
			if err := set(t.Context(), true); !errors.Is(err, storetest.ErrFault) {
				t.Errorf("disabling without a raise: %v", err)
			}
			if err := set(t.Context(), false); !errors.Is(err, storetest.ErrFault) {
				t.Errorf("enabling without a raise: %v", err)
			}
			faults.Set(storetest.Healthy)
			must(t, set(t.Context(), false))
			if count() == token {
				t.Error("a failed raise left tokens that enabling revived")
			}
			// The request ends as soon as the state is written.
			token = count()
			ctx, cancel := context.WithCancel(t.Context())
			faults.Decide(func(op, key string) storetest.Fault {
				if strings.Contains(key, "/generation/") {
					cancel()
				}
				return storetest.Healthy
			})
			must(t, set(ctx, true))
			if count() == token {
				t.Error("whoever asked went away, and the tokens live on")
			}
		})
	}
}

// Removing that was interrupted anywhere leaves what can be removed again, and
// no living token.
func TestRemoveInterrupted(t *testing.T) {
	for failing := 1; ; failing++ {
		var faults storetest.Faults
		memory := store.NewMemory()
		d := desk(t, storetest.Faulty(memory, &faults), nil, Settings{Tenanted: true})
		u, c, k := furnish(t, d, "acme")
		calls := 0
		faults.Decide(func(string, string) storetest.Fault {
			if calls++; calls == failing {
				return storetest.LoseAnswer
			}
			return storetest.Healthy
		})
		err := d.RemoveTenant(t.Context(), "root", "acme")
		faults.Set(storetest.Healthy)
		if calls < failing {
			must(t, err)
			if failing < 20 {
				t.Errorf("the store was called %d times only", calls)
			}
			return
		}
		if !errors.Is(err, storetest.ErrFault) {
			t.Errorf("call %d failed: %v", failing, err)
		}
		if err := d.RemoveTenant(t.Context(), "root", "acme"); err != nil && !errors.Is(err, ErrNotFound) {
			t.Errorf("call %d failed; again: %v", failing, err)
		}
		for _, counter := range []string{"user/" + u.ID, "client/" + c.ID, "key/" + k.ID, "tenant/acme"} {
			kind, id, _ := strings.Cut(counter, "/")
			if n, err := d.Generation(t.Context(), kind, id); err != nil || n == 0 {
				t.Errorf("call %d failed: %s has generation %d, %v", failing, counter, n, err)
			}
		}
		for _, line := range dump(t, memory) {
			for _, kind := range []string{"tenant", "user", "client", "key"} {
				if strings.HasPrefix(line, "realm/test/"+kind+"/") {
					t.Errorf("call %d failed; left over: %s", failing, line)
				}
			}
		}
	}
}
