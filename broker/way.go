package broker

import (
	"context"
	"crypto/tls"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A way is how calls with one credential of an account are made. It does not
// change: other variables, or another dialect, are another way.
type way struct {
	account *Account
	d       *dialect.Dialect
	vars    jeton.Vars
	to      *url.URL // where the vendor's API stands
	base    string   // its path, escaped, without a slash at the end
	bad     error    // why there is no such place; nil: there is

	shows  *tls.Certificate // in calls; nil: none
	hidden error            // why it cannot be shown

	worn atomic.Pointer[worn] // as the last call wore it; nil: none did
}

// worn is a token as calls wear it.
type worn struct {
	token *jeton.Token
	by    *dialect.Worn
}

func newWay(a *Account, d *dialect.Dialect, vars jeton.Vars) *way {
	w := &way{account: a, d: d, vars: vars}
	if w.to, w.bad = w.d.CallURL(a.Origin, vars); w.bad == nil {
		w.base = strings.TrimSuffix(w.to.EscapedPath(), "/")
	}
	w.shows, w.hidden = d.CallCertificate(vars)
	return w
}

// with returns the way with variables that a call chose.
func (w *way) with(chosen jeton.Vars) *way {
	if len(chosen) == 0 {
		return w
	}
	vars := w.vars.Clone()
	maps.Copy(vars, chosen)
	return newWay(w.account, w.d, vars)
}

// wear returns what makes calls wear a token.
func (w *way) wear(t *jeton.Token) (*dialect.Worn, error) {
	if last := w.worn.Load(); last != nil && last.token == t {
		return last.by, nil
	}
	vars := w.vars.Clone()
	vars["access_token"] = t.AccessToken.Reveal()
	for name, text := range t.Vars {
		if _, ok := vars[name]; !ok {
			vars[name] = text
		}
	}
	by, err := w.d.Wear(vars)
	if err == nil && !by.Once() {
		w.worn.Store(&worn{t, by})
	}
	return by, err
}

// resolved are an account's ways at a time, one for each credential, in order;
// one at least.
type resolved struct {
	at   time.Time
	ways []*way

	used atomic.Pointer[used] // that a call looked for last; nil: none did
}

// used says which way has the credential that a fingerprint is of.
type used struct {
	fingerprint string
	way         *way
}

// resolveEvery is how old an account's variables may be in a call.
const resolveEvery = time.Second

// way returns how calls of an account are made now.
func (k *keeper) way(ctx context.Context, account string) (*way, error) {
	r, err := k.b.byName[account].resolve(ctx, k.b)
	if err != nil {
		return nil, err
	}
	return r.inUse(k.view.Load(), k.account.dialect()), nil
}

// resolve returns the account's variables as they were within the last second,
// or two while one call resolves them again. Calls outlive what they were
// resolved from: a file that is being replaced does not stop calls whose token
// is good.
func (e *entry) resolve(ctx context.Context, b *Broker) (*resolved, error) {
	last := e.resolved.Load()
	if last != nil && time.Since(last.at) < resolveEvery {
		return last, nil
	}
	if !e.resolving.TryLock() {
		if last != nil && time.Since(last.at) < 2*resolveEvery {
			return last, nil
		}
		e.resolving.Lock()
	}
	defer e.resolving.Unlock()
	if now := e.resolved.Load(); now != last {
		return now, nil // another call has just done it
	}
	list, err := e.account.credentials(ctx)
	if err != nil && last == nil {
		return nil, err
	}
	next, d := &resolved{at: time.Now()}, e.account.dialect()
	switch {
	case err != nil:
		b.Logger.Warn("an account's variables could not be read; calls go on with the last ones", "account", e.account.Name, "error", err)
		next.ways = last.ways
	case last != nil && slices.EqualFunc(list, last.ways, func(vars jeton.Vars, w *way) bool { return w.d == d && maps.Equal(vars, w.vars) }):
		next.ways = last.ways // with all that was worked out
	default:
		for _, vars := range list {
			next.ways = append(next.ways, newWay(e.account, d, vars))
		}
	}
	e.resolved.Store(next)
	return next, nil
}

// inUse returns the way of the credential that brought the token: a call may
// have to wear a part of it.
func (r *resolved) inUse(v *view, d *dialect.Dialect) *way {
	if len(r.ways) == 1 {
		return r.ways[0]
	}
	if last := r.used.Load(); last != nil && last.fingerprint == v.Taken {
		return last.way
	}
	for _, w := range r.ways {
		if v.fingerprint(d, w.vars) == v.Taken {
			r.used.Store(&used{v.Taken, w})
			return w
		}
	}
	return r.ways[0]
}
