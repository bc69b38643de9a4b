package broker

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
)

// A Caller is a local program that may have the tokens of some accounts. As
// soon as a broker has callers, each request over TCP is to carry the key of
// one as its bearer token. A Unix socket needs none: who may open it is a
// matter of its mode and of the peer's user.
type Caller struct {
	Name string

	// Keys returns the keys that are good now; there are two while one is
	// being replaced. It is called once a second at most, so that a changed
	// file is seen. If it fails, the keys that it returned last go on, beside
	// those that it returns with the error.
	Keys func(ctx context.Context) ([]jeton.Secret, error)

	Accounts []string // that it may use
	All      bool     // it may use every account, whatever Accounts says

	granted map[string]bool // Accounts
}

// may reports whether the caller may use an account. No caller is one who needs
// no key.
func (c *Caller) may(account string) bool {
	return c == nil || c.All || c.granted[account]
}

// A keyring has the digests of the callers' keys as they were last read.
type keyring struct {
	reading sync.Mutex           // held by the request that reads them again; others go on with those of a moment ago
	last    atomic.Pointer[keys] // nil: never read
}

// keys do not change once they are in a keyring.
type keys struct {
	at      time.Time
	digests [][][sha256.Size]byte // :: caller, as in Callers -> digests
}

// find returns the caller whose key this is, or nil. Its time depends on how
// many keys there are and not on what they are.
func (b *Broker) find(ctx context.Context, key string) *Caller {
	digests := b.keys(ctx).digests
	sum := sha256.Sum256([]byte(key))
	var found *Caller
	for i := range b.Callers {
		for _, good := range digests[i] {
			if subtle.ConstantTimeCompare(sum[:], good[:]) == 1 {
				found = &b.Callers[i]
			}
		}
	}
	return found
}

// keys returns the keys as they were within the last second, or two while they
// are read again.
func (b *Broker) keys(ctx context.Context) *keys {
	ring := &b.keyring
	last := ring.last.Load()
	if last != nil && time.Since(last.at) < resolveEvery {
		return last
	}
	if !ring.reading.TryLock() {
		if last != nil && time.Since(last.at) < 2*resolveEvery {
			return last
		}
		ring.reading.Lock()
	}
	defer ring.reading.Unlock()
	if now := ring.last.Load(); now != last {
		return now // somebody else has just read them
	}
	next := &keys{at: time.Now(), digests: make([][][sha256.Size]byte, len(b.Callers))}
	for i, c := range b.Callers {
		list, err := c.Keys(ctx)
		if err != nil {
			b.Logger.Warn("a caller's keys could not be read; the last ones go on", "caller", c.Name, "error", err)
			if last != nil {
				next.digests[i] = slices.Clone(last.digests[i])
			}
		}
		for _, key := range list {
			sum := sha256.Sum256([]byte(key.Reveal()))
			if !key.IsZero() && !slices.Contains(next.digests[i], sum) {
				next.digests[i] = append(next.digests[i], sum)
			}
		}
	}
	ring.last.Store(next)
	return next
}

// identify finds out who calls, if that matters, or answers 401. No caller is
// one who needs no key.
func (b *Broker) identify(w http.ResponseWriter, r *http.Request) (c *Caller, ok bool) {
	if len(b.Callers) == 0 {
		return nil, true
	}
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && at.Network() == "unix" {
		return nil, true
	}
	if given := r.Header["Authorization"]; len(given) == 1 {
		if scheme, key, _ := strings.Cut(given[0], " "); strings.EqualFold(scheme, "Bearer") {
			c = b.find(r.Context(), strings.TrimSpace(key))
		}
	}
	if c == nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeProblem(w, problem{Status: http.StatusUnauthorized, Title: "no caller's key", Detail: "send Authorization: Bearer with the key of a caller that the broker knows"})
	}
	return c, c != nil
}

// granted reports whether the caller may use an account, or answers 403, which
// says nothing of whether there is such an account.
func granted(w http.ResponseWriter, c *Caller, account string) bool {
	if c.may(account) {
		return true
	}
	writeProblem(w, problem{Status: http.StatusForbidden, Title: "account not granted", Detail: "caller " + c.Name + " may not use this account"})
	return false
}
