package sink

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// A record is what the brokers know of one place, kept as JSON under
// sink/<account>/<digest of the place>. It has the copy's digest and not the
// copy: tokens are told apart by it and not by their generations alone, which
// begin anew with an account's record.
type record struct {
	V int `json:"v"` // 1

	Generation uint64     `json:"generation,omitempty"` // of the copy; 0: none
	Digest     string     `json:"digest,omitempty"`     // of the copy, keyed by Salt
	WrittenAt  *time.Time `json:"written_at,omitempty"` // for people
	By         string     `json:"by,omitempty"`         // for people
	LastError  string     `json:"last_error,omitempty"` // of the last turn

	// Loose is the generation of a token that may still be on its way to the
	// place: it was put, and no answer was seen. 0: there is none. Where a newer
	// one was put meanwhile, that is put once more when the older has had the
	// time of a lease to arrive.
	Loose uint64 `json:"loose,omitempty"`

	Fence  uint64 `json:"fence"`            // counts leases
	Holder string `json:"holder,omitempty"` // the broker whose turn it is
	Salt   []byte `json:"salt"`             // random
}

// digest tells tokens apart without showing them. Their expiry is no part of it:
// each broker knows it on its own machine's clock.
func (r *record) digest(t *jeton.Token) string {
	mac := hmac.New(sha256.New, r.Salt)
	_, _ = fmt.Fprintf(mac, "%d %s", t.Generation, t.AccessToken.Reveal()) // it never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// has reports whether the token was put.
func (r *record) has(t *jeton.Token) bool { return r.Digest == r.digest(t) }

// unsettled reports whether another token may arrive after the one that was put.
func (r *record) unsettled() bool { return r.Loose != 0 && r.Loose != r.Generation }

func (r *record) status(name string) Status {
	return Status{Name: name, Generation: r.Generation, WrittenAt: r.WrittenAt, LastError: r.LastError}
}

func (w *writer) key() string {
	sum := sha256.Sum256([]byte(w.Place))
	return store.Key("sink", w.a.Name, hex.EncodeToString(sum[:16]))
}

// load reads the record. A record that is not there is a new one.
func (w *writer) load(ctx context.Context) (record, store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	at, err := w.a.Store.Get(ctx, w.key())
	if errors.Is(err, store.ErrNotFound) {
		salt := make([]byte, 32)
		_, _ = rand.Read(salt) // it never fails
		return record{V: 1, Salt: salt}, store.Record{Key: w.key()}, nil
	}
	if err != nil {
		return record{}, store.Record{}, fmt.Errorf("read the copy's record: %w", err)
	}
	var r record
	if err := json.Unmarshal(at.Value, &r); err != nil {
		return record{}, store.Record{}, errors.New("the copy's record is damaged")
	}
	if r.V != 1 {
		return record{}, store.Record{}, fmt.Errorf("the copy's record has form %d, which this version does not know", r.V)
	}
	return r, at, nil
}

// save writes the record if it is still at the version that was read.
func (w *writer) save(ctx context.Context, r record, at store.Record) (store.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	value, err := json.Marshal(r)
	if err != nil {
		return at, fmt.Errorf("encode the copy's record: %w", err)
	}
	at.Value = value
	next, err := w.a.Store.Put(ctx, at)
	if err != nil {
		return at, fmt.Errorf("write the copy's record: %w", err)
	}
	return next, nil
}
