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
	// file is seen. If it fails, the keys that it returned last go on.
	Keys func(ctx context.Context) ([]jeton.Secret, error)

	Accounts []string // that it may use
	All      bool     // it may use every account, whatever Accounts says
}

// may reports whether the caller may use an account. No caller is one who needs
// no key.
func (c *Caller) may(account string) bool {
	return c == nil || c.All || slices.Contains(c.Accounts, account)
}

// A keyring has the digests of the callers' keys as they were last read.
type keyring struct {
	mu   sync.Mutex
	at   time.Time
	keys [][][sha256.Size]byte // :: caller, as in Callers -> digests
}

// find returns the caller whose key this is, or nil. Its time depends on how
// many keys there are and not on what they are.
func (b *Broker) find(ctx context.Context, key string) *Caller {
	b.keyring.mu.Lock()
	defer b.keyring.mu.Unlock()
	b.readKeys(ctx)
	sum := sha256.Sum256([]byte(key))
	var found *Caller
	for i := range b.Callers {
		for _, good := range b.keyring.keys[i] {
			if subtle.ConstantTimeCompare(sum[:], good[:]) == 1 {
				found = &b.Callers[i]
			}
		}
	}
	return found
}

func (b *Broker) readKeys(ctx context.Context) {
	ring := &b.keyring
	if ring.keys != nil && time.Since(ring.at) < resolveEvery {
		return
	}
	if ring.keys == nil {
		ring.keys = make([][][sha256.Size]byte, len(b.Callers))
	}
	ring.at = time.Now()
	for i, c := range b.Callers {
		keys, err := c.Keys(ctx)
		if err != nil {
			b.Logger.Warn("a caller's keys could not be read; the last ones go on", "caller", c.Name, "error", err)
			continue
		}
		ring.keys[i] = nil
		for _, key := range keys {
			if !key.IsZero() {
				ring.keys[i] = append(ring.keys[i], sha256.Sum256([]byte(key.Reveal())))
			}
		}
	}
}

type callerContext struct{}

// callerOf returns who sent a request that was let in; nil is one who needs no
// key.
func callerOf(r *http.Request) *Caller {
	c, _ := r.Context().Value(callerContext{}).(*Caller)
	return c
}

// identify finds out who calls, if that matters, or answers 401.
func (b *Broker) identify(w http.ResponseWriter, r *http.Request) (*http.Request, bool) {
	at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if len(b.Callers) == 0 || at != nil && at.Network() == "unix" {
		return r, true
	}
	var caller *Caller
	given := r.Header.Values("Authorization")
	if scheme, key, _ := strings.Cut(strings.Join(given, ""), " "); len(given) == 1 && strings.EqualFold(scheme, "Bearer") {
		caller = b.find(r.Context(), strings.TrimSpace(key))
	}
	if caller == nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		writeProblem(w, problem{Status: http.StatusUnauthorized, Title: "no caller's key", Detail: "send Authorization: Bearer with the key of a caller that the broker knows"})
		return nil, false
	}
	return r.WithContext(context.WithValue(r.Context(), callerContext{}, caller)), true
}

// granted reports whether the caller may use an account, or answers 403, which
// says nothing of whether there is such an account.
func (b *Broker) granted(w http.ResponseWriter, r *http.Request, account string) bool {
	c := callerOf(r)
	if c.may(account) {
		return true
	}
	writeProblem(w, problem{Status: http.StatusForbidden, Title: "account not granted", Detail: "caller " + c.Name + " may not use this account"})
	return false
}
