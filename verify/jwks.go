package verify

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton/jws"
	"github.com/jetonhq/jeton/strictjson"
)

// JWKS are the keys that an issuer publishes (RFC 7517 section 5). They are
// fetched in the background while those that are there still serve: when their
// time is over, and when a token names a key that is not among them. Whoever
// needs a key that is not there waits for a fetch, if one may begin.
//
// A fetch that fails, or brings no key that can be used, changes nothing but the
// age of the keys. Its fields are not changed once it is in use; it is then safe
// for concurrent use.
type JWKS struct {
	// URL is where the keys are: https, or http to this machine. Required.
	// Redirects are not followed.
	URL string

	// Client makes the calls. Nil: one that reads no environment.
	Client *http.Client

	// Window is how long nothing is fetched after a fetch began, whoever asks
	// for which key, so that tokens with invented key IDs cost the issuer one
	// call per window. For as long, at most, a token is refused whose key was
	// published without notice right after a fetch: that is why it is short.
	// Zero: 2 seconds.
	Window time.Duration

	// MaxStale is how old the keys may be while fetches fail. After that nothing
	// can be decided. Zero: 24 hours.
	MaxStale time.Duration

	// Logger hears when fetches begin to fail, when they work again, and of
	// keys that cannot be used. Nil: nobody does.
	Logger *slog.Logger

	locate func(context.Context) (string, error) // instead of URL

	set     atomic.Pointer[keySet]
	epoch   atomic.Uint64
	waiting atomic.Int32

	mu      sync.Mutex
	begun   time.Time     // when the last fetch began
	due     time.Time     // when the next one is to, unless a token needs it
	running chan struct{} // closed when the fetch that is running ends; nil: none is
	failed  error         // what came of the last fetch
	failing int           // fetches that failed in a row
}

// How often keys are fetched if nothing happens: as Cache-Control says, within
// limits. A key that its issuer removed is taken no longer than that.
const (
	refreshDefault = 5 * time.Minute
	refreshLeast   = time.Minute
	refreshMost    = 15 * time.Minute
)

// maxWaiting is how many callers wait for a fetch at most.
const maxWaiting = 256

type keySet struct {
	keys map[keyName]publicKey
	at   time.Time // when the fetch that brought it began
}

// A keyName tells the keys of a set apart. The alg is empty if the key does not
// say for which one it is.
type keyName struct{ kid, alg string }

type publicKey struct {
	key   crypto.PublicKey
	print string // of the key itself
}

// Epoch returns a number that changes when a key was removed, or when the keys
// have become too old. It is for [Cache]: what a key had signed is then to be
// verified again.
func (k *JWKS) Epoch() uint64 { return k.epoch.Load() }

// Run fetches the keys at once and keeps them fresh until ctx ends. Without it
// they are fetched only while tokens are verified, and one that a cache knows
// is not.
func (k *JWKS) Run(ctx context.Context) {
	for {
		timer := time.NewTimer(k.rest(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if done := k.begin(); done != nil {
			select {
			case <-ctx.Done():
				return
			case <-done:
			}
		}
	}
}

// rest returns how long it is until the next fetch.
func (k *JWKS) rest(now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(k.due.Sub(now), k.wait(now), 0)
}

// wait returns how long the window still is. The caller holds mu.
func (k *JWKS) wait(now time.Time) time.Duration {
	if k.begun.IsZero() {
		return 0
	}
	return k.window() - now.Sub(k.begun)
}

func (k *JWKS) window() time.Duration {
	if k.Window > 0 {
		return k.Window
	}
	return 2 * time.Second
}

func (k *JWKS) maxStale() time.Duration {
	if k.MaxStale > 0 {
		return k.MaxStale
	}
	return 24 * time.Hour
}

// usable returns the keys unless they are too old.
func (k *JWKS) usable(now time.Time) *keySet {
	if s := k.set.Load(); s != nil && now.Sub(s.at) <= k.maxStale() {
		return s
	}
	return nil
}

// known returns the key that is there under exactly this ID for the algorithm,
// and whether it says so itself that it is for it.
func (k *JWKS) known(kid, alg string) (key crypto.PublicKey, says, ok bool) {
	now := time.Now()
	s := k.usable(now)
	if s == nil || kid == "" {
		return nil, false, false
	}
	if k.rest(now) == 0 {
		k.begin() // in the background
	}
	if found, ok := s.keys[keyName{kid, alg}]; ok {
		return found.key, true, true
	}
	found, ok := s.keys[keyName{kid, ""}]
	return found.key, false, ok
}

// learn has the keys fetched, if that may be, for a token whose key is not
// there, and waits. It returns nil if the keys that are there then can be
// judged by: they are younger than the window, or than the call.
func (k *JWKS) learn(ctx context.Context) error {
	if done := k.begin(); done != nil {
		defer k.waiting.Add(-1)
		if k.waiting.Add(1) > maxWaiting {
			return undecided(errors.New("verify: too many tokens wait for the keys of their issuer"))
		}
		select {
		case <-done:
		case <-ctx.Done():
			return undecided(ctx.Err())
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// begin starts a fetch, if none runs and the window is over, and returns what is
// closed when it ends. It returns nil if there is nothing to wait for.
func (k *JWKS) begin() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.running == nil && k.wait(now) <= 0 {
		k.begun, k.running = now, make(chan struct{})
		go k.fetch(now)
	}
	return k.running
}

// fetch runs by itself, so that nobody who gives up takes the others with him.
func (k *JWKS) fetch(now time.Time) {
	keys, every, err := k.download(context.Background())
	old := k.set.Load()
	if err == nil {
		k.set.Store(&keySet{keys, now})
		if old != nil && removed(old.keys, keys) {
			k.epoch.Add(1)
		}
	} else if old != nil && k.usable(time.Now()) == nil {
		k.epoch.Add(1)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.failing
	if err != nil {
		k.failed = undecided(fmt.Errorf("verify: fetch the keys: %w", err))
		every = min(time.Second<<min(k.failing, 6), time.Minute)
		k.failing++
	} else {
		k.failed, k.failing = nil, 0
	}
	k.due = now.Add(every - rand.N(every/10)) // guards that started together part
	close(k.running)
	k.running = nil
	switch {
	case was == 0 && err != nil:
		k.logger().Warn("verify: the keys of an issuer cannot be fetched", "error", err.Error())
	case was > 0 && err == nil:
		k.logger().Info("verify: the keys of an issuer can be fetched again")
	}
}

func removed(old, keys map[keyName]publicKey) bool {
	for name, key := range old {
		if keys[name].print != key.print {
			return true
		}
	}
	return false
}

func (k *JWKS) logger() *slog.Logger {
	if k.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return k.Logger
}

// download fetches the keys and returns when to do so again.
func (k *JWKS) download(ctx context.Context) (map[keyName]publicKey, time.Duration, error) {
	address := k.URL
	if k.locate != nil {
		var err error
		if address, err = k.locate(ctx); err != nil {
			return nil, 0, err
		}
	}
	client := k.Client
	if client == nil {
		client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	}
	body, header, err := get(ctx, client, address)
	if err != nil {
		return nil, 0, err
	}
	keys, unusable, err := parseKeys(body)
	for kid, why := range unusable {
		k.logger().Debug("verify: a key of an issuer is not used", "kid", kid, "why", why)
	}
	return keys, refreshEvery(header.Get("Cache-Control")), err
}

// refreshEvery reads max-age (RFC 9111 section 5.2.2.1).
func refreshEvery(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); {
		case name == "no-store" || name == "no-cache":
			return refreshLeast
		case name == "max-age" && err == nil:
			return min(max(time.Duration(seconds)*time.Second, refreshLeast), refreshMost)
		}
	}
	return refreshDefault
}

// parseKeys reads a JWK Set. A key that is not for checking signatures, is weak,
// or stands twice is left out; a set without any key to use is an error.
func parseKeys(body []byte) (keys map[keyName]publicKey, unusable map[string]string, err error) {
	document, err := strictjson.Object(body)
	if err != nil {
		return nil, nil, fmt.Errorf("the key set is %w", err)
	}
	list, ok := document["keys"].([]any)
	if !ok {
		return nil, nil, errors.New("the answer is not a key set")
	}
	keys, unusable = map[keyName]publicKey{}, map[string]string{}
	twice := map[keyName]bool{}
	for _, item := range list {
		name, key, err := parseKey(item)
		if err != nil {
			unusable[name.kid] = err.Error()
			continue
		}
		if _, there := keys[name]; there {
			twice[name] = true
		}
		keys[name] = key
	}
	for name := range twice {
		delete(keys, name)
		unusable[name.kid] = "it stands twice"
	}
	if len(keys) == 0 {
		return nil, unusable, fmt.Errorf("none of %d keys can be used", len(list))
	}
	return keys, unusable, nil
}

// parseKey reads a JWK (RFC 7517 section 4).
func parseKey(item any) (keyName, publicKey, error) {
	var key publicKey
	object, _ := item.(map[string]any)
	kid, _ := object["kid"].(string)
	alg, algIsText := object["alg"].(string)
	use, useIsText := object["use"].(string)
	name := keyName{kid, alg}
	_, hasAlg := object["alg"]
	_, hasUse := object["use"]
	switch {
	case kid == "":
		return name, key, errors.New("it has no ID")
	case hasUse && (!useIsText || use != "sig"):
		return name, key, errors.New("it is not for signatures")
	case hasAlg && (!algIsText || alg == ""):
		return name, key, errors.New("its algorithm is not a name")
	case !forVerifying(object):
		return name, key, errors.New("it is not for verifying")
	}
	b, err := json.Marshal(object)
	if err != nil {
		return name, key, errors.New("it is not JSON")
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(b); err != nil || !jwk.Valid() || !jwk.IsPublic() {
		return name, key, errors.New("it is not a public key that is known here")
	}
	if alg != "" && !jws.Fits(alg, jwk.Key) {
		return name, key, errors.New("it is too weak, or of another kind than its algorithm")
	}
	print, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return name, key, errors.New("it is not a public key that is known here")
	}
	return name, publicKey{jwk.Key, string(print)}, nil
}

// forVerifying looks at key_ops (RFC 7517 section 4.3).
func forVerifying(object map[string]any) bool {
	value, there := object["key_ops"]
	ops, _ := value.([]any)
	for _, op := range ops {
		if op == "verify" {
			return true
		}
	}
	return !there
}
