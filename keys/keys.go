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
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton/store"
)

// A Ring is the set of keys of one realm: one that signs, the next one, which
// is published before its first use, and old ones, whose tokens are still
// good. It lives in one record of a store, which several processes may share;
// each looks for changes once a minute, and when it meets a key that it does
// not know. Open makes one. It is safe for concurrent use.
type Ring struct {
	// Retention is how long a key is accepted after it stopped signing; it is
	// to be at least the longest lifetime of a token. Zero means 48 hours.
	// Set it before use.
	Retention time.Duration

	store store.Store
	key   string
	alg   jose.SignatureAlgorithm

	set atomic.Pointer[set]

	mu     sync.Mutex // held while the record is read; guards loaded
	loaded time.Time  // when the record was last read, or tried to be
}

// reloadEvery is how old the set may be before the record is looked at again.
const reloadEvery = time.Minute

// unknownEvery bounds how often a token with an unknown kid causes a read.
const unknownEvery = time.Second

// record is the stored form of a ring.
//
//	{"v":1, "keys":[{"jwk":{...private...}, "from":"2026-01-02T03:04:05Z", "until":"..."}]}
type record struct {
	V    int         `json:"v"`
	Keys []storedKey `json:"keys"` // oldest first; the last is the next one, the one before it signs
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
func Open(ctx context.Context, st store.Store, key, alg string) (*Ring, error) {
	if alg == "" {
		alg = string(jose.ES256)
	}
	r := &Ring{store: st, key: key, alg: jose.SignatureAlgorithm(alg)}
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
		return nil
	}
	for i := range rec.Keys {
		if rec.Keys[i].Until.IsZero() {
			rec.Keys[i].Until = now.Add(r.retention())
		}
	}
	for range 2 {
		k, err := generate(r.alg)
		if err != nil {
			return err
		}
		rec.Keys = append(rec.Keys, storedKey{JWK: k})
	}
	return nil
}

// Rotate makes the next key the one that signs, generates a new next one, and
// drops the keys whose retention is over. Tokens that the key before signed
// stay good for the retention.
func (r *Ring) Rotate(ctx context.Context, now time.Time) error {
	return r.change(ctx, now, func(rec *record, now time.Time) error {
		keep := rec.Keys[:0]
		for _, k := range rec.Keys {
			if k.Until.IsZero() || now.Before(k.Until) {
				keep = append(keep, k)
			}
		}
		rec.Keys = keep
		if n := len(rec.Keys); n >= 2 {
			rec.Keys[n-2].Until = now.Add(r.retention())
		}
		k, err := generate(r.alg)
		rec.Keys = append(rec.Keys, storedKey{JWK: k})
		return err
	})
}

func (r *Ring) retention() time.Duration {
	if r.Retention > 0 {
		return r.Retention
	}
	return 48 * time.Hour
}

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
		if err := edit(&rec, now); err != nil {
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

// load reads the record unless it was read less than the given time ago.
func (r *Ring) load(ctx context.Context, notWithin time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.loadLocked(ctx, notWithin)
}

func (r *Ring) loadLocked(ctx context.Context, notWithin time.Duration) error {
	now := time.Now()
	if notWithin > 0 && now.Sub(r.loaded) < notWithin {
		return nil
	}
	stored, err := r.store.Get(ctx, r.key)
	r.loaded = now
	if err != nil {
		return fmt.Errorf("keys: read the ring: %w", err)
	}
	rec, err := parseRecord(stored.Value)
	if err != nil {
		return err
	}
	if len(rec.Keys) < 2 {
		return errors.New("keys: the stored ring has no keys")
	}
	s := &set{signer: map[string]jose.Signer{}, byID: map[string]storedKey{}, current: rec.Keys[len(rec.Keys)-2].JWK}
	for _, k := range rec.Keys {
		if secret, symmetric := k.JWK.Key.([]byte); k.JWK.KeyID == "" || symmetric && len(secret) < 32 || !symmetric && !k.JWK.Valid() {
			return errors.New("keys: the stored ring has a key that is not valid")
		}
		s.byID[k.JWK.KeyID] = k
		s.order = append(s.order, k.JWK.KeyID)
	}
	r.set.Store(s)
	return nil
}

// fresh returns the set, at most a minute old if the store answers. A store
// that is down or slow does not stop what the ring can still do: one caller
// waits for it, a little, and the others go on.
func (r *Ring) fresh(ctx context.Context) *set {
	if r.mu.TryLock() {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		_ = r.loadLocked(ctx, reloadEvery)
		cancel()
		r.mu.Unlock()
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
