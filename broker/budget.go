package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
)

// A budget is a record of its own for each limit of a dialect's rate: the
// logins of the window, shared by all accounts that the vendor counts
// together. It is kept under budget/<dialect>/<kind>/<digest of the value>.
//
// A vendor counts a login when it arrives, which is not when it was reserved.
// So a login stands here with the latest time at which it can arrive, until
// its answer is there.
type budget struct {
	V      int         `json:"v"` // 1
	Logins []time.Time `json:"logins"`
}

// reserve takes one login from every budget that counts it, before it is sent:
// a login that fails was one too. It is to arrive before the time that is
// given. If a budget is used up reserve returns an [*UnavailableError] that
// says when there is room again. The function that it returns notes that the
// login has arrived, or that nobody knows whether it is still on its way.
func (k *keeper) reserve(ctx context.Context, vars jeton.Vars, until time.Time) (arrived func(unknown error), err error) {
	limits := k.limits(vars)
	for _, l := range limits {
		if err := k.take(ctx, l.key, l.rate, until); err != nil {
			return nil, err
		}
	}
	return func(unknown error) {
		now := k.b.latest().Round(0)
		if unknown != nil {
			now = now.Add(straggles)
		}
		for _, l := range limits {
			k.b.work.Go(func() { k.arrived(l.key, until, now) })
		}
	}, nil
}

// straggles is how long after it was given up a request may still arrive.
const straggles = 15 * time.Second

// A limit is one kind of a dialect's rate, and the record that counts it.
type limit struct {
	kind, key string
	rate      dialect.Rate
}

// limits returns what counts a login with the variables.
func (k *keeper) limits(vars jeton.Vars) (list []limit) {
	d := k.account.dialect()
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

// budgets returns what reads the budgets of so many accounts.
func (b *Broker) budgets(ctx context.Context, accounts int) func(key string) (store.Record, error) {
	if accounts >= many {
		found := map[string]store.Record{}
		if b.each(ctx, "budget/", func(r store.Record) { found[r.Key] = r }) == nil {
			return func(key string) (store.Record, error) {
				if r, ok := found[key]; ok {
					return r, nil
				}
				return store.Record{}, store.ErrNotFound
			}
		}
	}
	return func(key string) (store.Record, error) { return b.Store.Get(ctx, key) }
}

// budgetsNow returns the budgets of an account. What cannot be read is left
// out: it is for people to look at.
func (k *keeper) budgetsNow(ctx context.Context, account string, read func(key string) (store.Record, error)) (list []Budget) {
	if len(k.account.dialect().Rate) == 0 {
		return nil
	}
	way, err := k.way(ctx, account)
	if err != nil {
		return nil
	}
	now := k.b.now()
	for _, l := range k.limits(way.vars) {
		var b budget
		at, err := read(l.key)
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

// arrived notes that the login which is reserved until then has been counted
// by now. If that cannot be noted, the budget is smaller for a while.
func (k *keeper) arrived(key string, until, now time.Time) {
	ctx, cancel := context.WithTimeout(k.b.sending, 10*time.Second)
	defer cancel()
	err := k.changeBudget(ctx, key, func(b *budget) error {
		if i := slices.IndexFunc(b.Logins, until.Equal); i >= 0 {
			b.Logins[i] = now
		}
		return nil
	})
	if err != nil {
		k.b.Logger.Warn("a login could not be noted as over", "account", k.account.Name, "error", err)
	}
}

func (k *keeper) take(ctx context.Context, key string, rate dialect.Rate, until time.Time) error {
	return k.changeBudget(ctx, key, func(b *budget) error {
		now := k.b.earliest()
		used := b.Logins[:0]
		for _, t := range b.Logins {
			if age := now.Sub(t); age < rate.Per && age > -time.Hour { // else a clock was far ahead
				used = append(used, t)
			}
		}
		if len(used) >= rate.Count {
			slices.SortFunc(used, time.Time.Compare)
			wait := rate.Per - now.Sub(used[len(used)-rate.Count])
			return &UnavailableError{Reason: "the vendor's login budget is used up", RetryAfter: max(wait, time.Second)}
		}
		b.Logins = append(used, until)
		return nil
	})
}

// changeBudget edits a budget until the edit is in.
func (k *keeper) changeBudget(ctx context.Context, key string, edit func(*budget) error) error {
	for {
		b := budget{V: 1}
		at, err := k.b.Store.Get(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			at = store.Record{Key: key}
		case err != nil:
			return fmt.Errorf("broker: read a login budget: %w", err)
		case json.Unmarshal(at.Value, &b) != nil || b.V != 1:
			return errors.New("broker: the record of a login budget is damaged")
		}
		if err := edit(&b); err != nil {
			return err
		}
		if at.Value, err = json.Marshal(b); err != nil {
			return fmt.Errorf("broker: encode a login budget: %w", err)
		}
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
