package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
)

// A budget is a record of its own for each limit of a dialect's rate: the
// logins of the window, shared by all accounts that the vendor counts
// together. It is kept under budget/<dialect>/<kind>/<digest of the value>.
type budget struct {
	V      int         `json:"v"` // 1
	Logins []time.Time `json:"logins"`
}

// reserve takes one login from every budget that counts it, before it is sent:
// a login that fails was one too. If a budget is used up it takes none and
// returns an [*UnavailableError] that says when there is room again.
func (k *keeper) reserve(ctx context.Context, vars jeton.Vars) error {
	for _, l := range k.limits(vars) {
		if err := k.take(ctx, l.key, l.rate); err != nil {
			return err
		}
	}
	return nil
}

// A limit is one kind of a dialect's rate, and the record that counts it.
type limit struct {
	kind, key string
	rate      dialect.Rate
}

// limits returns what counts a login with the variables.
func (k *keeper) limits(vars jeton.Vars) (list []limit) {
	d := k.account.Dialect
	for _, kind := range []string{"username", "client_id", "ip"} {
		rate, ok := d.Rate[kind]
		if !ok {
			continue
		}
		origin, value := "", strings.ToLower(vars[kind]) // a vendor may not tell cases apart
		if k.account.Origin != nil {
			origin = k.account.Origin.Host
		}
		sum := sha256.Sum256([]byte(origin + "\n" + value)) // all of a fleet that shares a store counts as one address
		list = append(list, limit{kind, store.Key("budget", d.Name, kind, hex.EncodeToString(sum[:16])), rate})
	}
	return list
}

// A Budget says how many logins of those that a vendor allows are used up.
type Budget struct {
	Kind    string        `json:"kind"` // username, client_id or ip: what the vendor counts by
	Used    int           `json:"used"` // within the window, by all accounts that it counts together
	Allowed int           `json:"allowed"`
	Window  time.Duration `json:"-"`
	Seconds int64         `json:"window"` // Window in seconds
}

// budgetsNow reads the budgets of an account. What cannot be read is left out:
// it is for people to look at.
func (k *keeper) budgetsNow(ctx context.Context, a Account) (list []Budget) {
	if len(a.Dialect.Rate) == 0 {
		return nil
	}
	vars, err := k.callVars(ctx, a)
	if err != nil {
		return nil
	}
	now := time.Now()
	for _, l := range k.limits(vars) {
		var b budget
		at, err := k.b.Store.Get(ctx, l.key)
		if err != nil && !errors.Is(err, store.ErrNotFound) || err == nil && json.Unmarshal(at.Value, &b) != nil {
			continue
		}
		used := 0
		for _, t := range b.Logins {
			if now.Sub(t) < l.rate.Per {
				used++
			}
		}
		list = append(list, Budget{Kind: l.kind, Used: used, Allowed: l.rate.Count, Window: l.rate.Per, Seconds: int64(l.rate.Per / time.Second)})
	}
	return list
}

func (k *keeper) take(ctx context.Context, key string, rate dialect.Rate) error {
	for {
		var b budget
		at, err := k.b.Store.Get(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			at = store.Record{Key: key}
		case err != nil:
			return fmt.Errorf("broker: read a login budget: %w", err)
		case json.Unmarshal(at.Value, &b) != nil || b.V != 1:
			return errors.New("broker: the record of a login budget is damaged")
		}
		now := time.Now()
		used := b.Logins[:0]
		for _, t := range b.Logins {
			if now.Sub(t) < rate.Per {
				used = append(used, t)
			}
		}
		if len(used) >= rate.Count {
			wait := rate.Per - now.Sub(used[len(used)-rate.Count])
			return &UnavailableError{Reason: "the vendor's login budget is used up", RetryAfter: max(wait, time.Second)}
		}
		b = budget{V: 1, Logins: append(used, now)}
		if at.Value, err = json.Marshal(b); err != nil {
			return fmt.Errorf("broker: encode a login budget: %w", err)
		}
		at.Due = now.Add(rate.Per)
		if _, err = k.b.Store.Put(ctx, at); err == nil {
			return nil
		} else if !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("broker: write a login budget: %w", err)
		}
	}
}

// jitter returns a random part of d.
func (b *Broker) jitter(d time.Duration) time.Duration {
	switch {
	case d <= 0:
		return 0
	case b.chance != nil:
		return b.chance(d)
	}
	return rand.N(d)
}
