// Package keys keeps a realm's signing keys, and signs and verifies JSON Web
// Tokens with them (RFC 7515, 7518, 7519). It looks at signatures and at the
// form of a token only; what the claims say is the caller's to judge.
package keys

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton/store"
)

// A Ring is the set of keys of one realm: one that signs, the next one, which
// is published before its first use, and old ones, whose tokens are still
// good. It lives in one record of a store, which several processes may share;
// each that is in use looks for changes once a second. Open makes one. It is
// safe for concurrent use.
type Ring struct {
	store     store.Store
	key       string
	alg       jose.SignatureAlgorithm
	retention time.Duration // how long a key is accepted after it stopped signing

	set   atomic.Pointer[set]
	epoch atomic.Uint64

	reading chan struct{} // holds one value while somebody reads the record, who owns the two below
	loaded  time.Time     // when the record was last read, or tried to be
	failed  error         // what came of that
}

// reloadEvery is how old the set may be before the record is read again, and
// how often at most that happens, whatever kids are asked for.
const reloadEvery = time.Second

// record is the stored form of a ring.
//
//	{"v":1, "since":"2026-01-02T03:04:05Z", "keys":[{"jwk":{...private...}, "until":"2026-01-04T03:04:05Z"}]}
type record struct {
	V     int         `json:"v"`
	Since time.Time   `json:"since"` // when the key that signs began to
	Keys  []storedKey `json:"keys"`  // oldest first; the last is the next one, the one before it signs
}

type storedKey struct {
	JWK   jose.JSONWebKey `json:"jwk"`
	Until time.Time       `json:"until,omitzero"` // when it is accepted no more; zero: not decided
}

// A set is what a ring knows at one time.
type set struct {
	signer  map[string]jose.Signer // :: typ -> signer of the current key
	current jose.JSONWebKey
	byID    map[string]storedKey // :: kid -> key
	order   []string             // kids, oldest first
	mu      sync.Mutex           // guards signer
}

// Open reads the ring under key, or makes one with keys for alg: ES256 (which
// empty means too), EdDSA, RS256 or HS256. If several processes make it at
// once, all end up with the same. A ring that exists with another algorithm
// changes to alg at once: tokens signed before stay good.
//
// A key is accepted for the retention after it stopped signing. That is to be at
// least the longest lifetime of a token.
func Open(ctx context.Context, st store.Store, key, alg string, retention time.Duration) (*Ring, error) {
	if alg == "" {
		alg = string(jose.ES256)
	}
	r := &Ring{store: st, key: key, alg: jose.SignatureAlgorithm(alg), retention: retention, reading: make(chan struct{}, 1)}
	switch r.alg {
	case jose.ES256, jose.EdDSA, jose.RS256, jose.HS256:
	default:
		return nil, fmt.Errorf("keys: unknown algorithm %q; there are ES256, EdDSA, RS256 and HS256", alg)
	}
	for {
		if err := r.load(ctx, 0); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if s := r.set.Load(); s != nil && s.current.Algorithm == alg {
			return r, nil
		}
		if err := r.change(ctx, time.Now(), r.begin); err != nil {
			return nil, err
		}
	}
}

// begin makes the last two keys ones of the ring's algorithm.
func (r *Ring) begin(rec *record, now time.Time) error {
	if n := len(rec.Keys); n >= 2 && rec.Keys[n-2].JWK.Algorithm == string(r.alg) {
		return errUnchanged
	}
	for i := range rec.Keys {
		if rec.Keys[i].Until.IsZero() {
			rec.Keys[i].Until = now.Add(r.retention)
		}
	}
	rec.Since = now
	return errors.Join(rec.generate(r.alg), rec.generate(r.alg))
}

// Rotate makes the next key the one that signs, generates a new next one, and
// drops the keys whose retention is over. Tokens that the key before signed
// stay good for the retention. If another process rotates at the same time, the
// ring is rotated once, so that the next key stays published before its use.
func (r *Ring) Rotate(ctx context.Context, now time.Time) error {
	return r.RotateAfter(ctx, now, 0)
}

// RotateAfter is Rotate if the key that signs has done so for that long at
// least, and else does nothing but drop old keys.
func (r *Ring) RotateAfter(ctx context.Context, now time.Time, age time.Duration) error {
	signs := ""
	return r.change(ctx, now, func(rec *record, now time.Time) error {
		all := len(rec.Keys)
		rec.drop(func(k storedKey) bool { return !k.Until.IsZero() && !now.Before(k.Until) })
		n := len(rec.Keys)
		if n < 2 {
			return errNoKeys
		}
		if now.Sub(rec.Since) < age {
			if n == all {
				return errUnchanged
			}
			return nil
		}
		if kid := rec.Keys[n-2].JWK.KeyID; signs == "" {
			signs = kid
		} else if signs != kid {
			return errUnchanged
		}
		rec.Keys[n-2].Until, rec.Since = now.Add(r.retention), now
		return rec.generate(r.alg)
	})
}

// Remove removes a key that somebody else may have got hold of. Tokens that it
// signed are refused at once, by other processes within a second. If it is the
// one that signs, the next one takes over.
func (r *Ring) Remove(ctx context.Context, kid string) error {
	return r.change(ctx, time.Now(), func(rec *record, _ time.Time) error {
		n, last := len(rec.Keys), len(rec.Keys)-2
		old := slices.IndexFunc(rec.Keys, func(k storedKey) bool { return k.JWK.KeyID == kid })
		if old < 0 {
			return fmt.Errorf("keys: there is no key %q", kid)
		}
		if rec.drop(func(k storedKey) bool { return k.JWK.KeyID == kid }); old < last || n < 2 {
			return nil
		}
		return rec.generate(r.alg)
	})
}

func (rec *record) drop(drop func(storedKey) bool) { rec.Keys = slices.DeleteFunc(rec.Keys, drop) }

// generate adds a key as the next one.
func (rec *record) generate(alg jose.SignatureAlgorithm) error {
	k, err := generate(alg)
	rec.Keys = append(rec.Keys, storedKey{JWK: k})
	return err
}

var (
	errUnchanged = errors.New("nothing to change") // of an edit
	errNoKeys    = errors.New("keys: the stored ring has no keys")
)

// change edits the record by compare-and-swap and takes the result over.
func (r *Ring) change(ctx context.Context, now time.Time, edit func(*record, time.Time) error) error {
	for {
		rec := record{V: 1}
		stored, err := r.store.Get(ctx, r.key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			stored = store.Record{Key: r.key}
		case err != nil:
			return fmt.Errorf("keys: read the ring: %w", err)
		default:
			if rec, err = parseRecord(stored.Value); err != nil {
				return err
			}
		}
		err = edit(&rec, now)
		if errors.Is(err, errUnchanged) {
			return r.load(ctx, 0)
		}
		if err != nil {
			return err
		}
		if stored.Value, err = json.Marshal(rec); err != nil {
			return fmt.Errorf("keys: encode the ring: %w", err)
		}
		_, err = r.store.Put(ctx, stored)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return fmt.Errorf("keys: write the ring: %w", err)
		}
		return r.load(ctx, 0)
	}
}

func parseRecord(b []byte) (record, error) {
	var rec record
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, errors.New("keys: the stored ring is damaged") // the cause could show a key
	}
	if rec.V != 1 {
		return rec, fmt.Errorf("keys: the stored ring has form %d, which this version does not know", rec.V)
	}
	return rec, nil
}

// load reads the record, or returns what came of the last time if that is less
// than the given time ago.
func (r *Ring) load(ctx context.Context, notWithin time.Duration) error {
	select {
	case r.reading <- struct{}{}:
		defer func() { <-r.reading }()
		return r.read(ctx, notWithin)
	case <-ctx.Done():
		return fmt.Errorf("keys: read the ring: %w", ctx.Err())
	}
}

// read is load for those whose turn it is.
func (r *Ring) read(ctx context.Context, notWithin time.Duration) error {
	if notWithin > 0 && time.Since(r.loaded) < notWithin {
		return r.failed
	}
	now := time.Now()
	s, err := r.fetch(ctx)
	if err != nil && ctx.Err() != nil {
		return err // it was the caller who gave up, and the next one may try
	}
	r.loaded, r.failed = now, err
	if err == nil {
		old := r.set.Swap(s)
		if old != nil && slices.ContainsFunc(old.order, func(kid string) bool { _, ok := s.byID[kid]; return !ok }) {
			r.epoch.Add(1)
		}
	}
	return err
}

// Epoch returns a number that changes when a key was removed: what was verified
// before is then to be verified again.
func (r *Ring) Epoch() uint64 { return r.epoch.Load() }

// Run looks for changes once a second until ctx ends, so that Epoch is right
// also while nobody uses the ring.
func (r *Ring) Run(ctx context.Context) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			_ = r.load(short, reloadEvery/2) // an error is told to who needs the keys
			cancel()
		}
	}
}

func (r *Ring) fetch(ctx context.Context) (*set, error) {
	stored, err := r.store.Get(ctx, r.key)
	if err != nil {
		return nil, fmt.Errorf("keys: read the ring: %w", err)
	}
	rec, err := parseRecord(stored.Value)
	if err != nil {
		return nil, err
	}
	if len(rec.Keys) < 2 {
		return nil, errNoKeys
	}
	s := &set{signer: map[string]jose.Signer{}, byID: map[string]storedKey{}, current: rec.Keys[len(rec.Keys)-2].JWK}
	for _, k := range rec.Keys {
		if _, twice := s.byID[k.JWK.KeyID]; twice || !usable(k.JWK) {
			return nil, fmt.Errorf("keys: the stored key %q is not one to use", k.JWK.KeyID)
		}
		s.byID[k.JWK.KeyID] = k
		s.order = append(s.order, k.JWK.KeyID)
	}
	return s, nil
}

// usable reports whether a key is for signatures and of the kind and size that
// its algorithm has (RFC 7518 section 3.1).
func usable(k jose.JSONWebKey) bool {
	if k.KeyID == "" || k.Use != "sig" {
		return false
	}
	switch key := k.Key.(type) {
	case *ecdsa.PrivateKey:
		return k.Algorithm == string(jose.ES256) && key.Curve == elliptic.P256() && k.Valid()
	case ed25519.PrivateKey:
		return k.Algorithm == string(jose.EdDSA) && k.Valid()
	case *rsa.PrivateKey:
		return k.Algorithm == string(jose.RS256) && key.N.BitLen() >= 2048 && k.Valid()
	case []byte:
		return k.Algorithm == string(jose.HS256) && len(key) >= 32
	}
	return false
}

// fresh returns the set, at most a second old if the store answers. A store
// that is down or slow does not stop what the ring can still do: one caller
// waits for it, a little, and the others go on.
func (r *Ring) fresh(ctx context.Context) *set {
	select {
	case r.reading <- struct{}{}:
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		if err := r.read(short, reloadEvery); err != nil && ctx.Err() == nil {
			// What was too slow is not asked by everybody in turn.
			r.loaded, r.failed = time.Now(), err
		}
		cancel()
		<-r.reading
	default:
	}
	return r.set.Load()
}

// JWKS returns the public keys as a JWK Set (RFC 7517 section 5): the next one
// and those that are still accepted too. HMAC keys are never in it.
func (r *Ring) JWKS() ([]byte, error) {
	s := r.fresh(context.Background())
	list := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, kid := range s.order {
		k := s.byID[kid]
		if public := k.JWK.Public(); public.Valid() && (k.Until.IsZero() || time.Now().Before(k.Until)) {
			list.Keys = append(list.Keys, public)
		}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("keys: encode the key set: %w", err)
	}
	return b, nil
}

func generate(alg jose.SignatureAlgorithm) (jose.JSONWebKey, error) {
	k := jose.JSONWebKey{KeyID: rand.Text(), Algorithm: string(alg), Use: "sig"}
	var err error
	switch alg {
	case jose.ES256:
		k.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, k.Key, err = ed25519.GenerateKey(rand.Reader)
	case jose.RS256:
		k.Key, err = rsa.GenerateKey(rand.Reader, 2048)
	case jose.HS256:
		secret := make([]byte, 32)
		_, err = rand.Read(secret)
		k.Key = secret
	}
	if err != nil {
		return k, fmt.Errorf("keys: generate a key: %w", err)
	}
	return k, nil
}
