// Package seal encrypts the values of a store. It does so as a store around a
// store, so that nobody above it knows and no database below it can read.
//
// What is hidden is the value. The key, the version and the due time of a
// record stay in clear, because stores find and order records by them; whoever
// can write to the database can change the due time, remove a record or put an
// older value of the same record back.
package seal

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/jetonhq/jeton/store"
)

// A sealed value is
//
//	version  1 byte    1
//	key id   8 bytes   of the key that sealed it, see Key.ID
//	nonce    24 bytes  random
//	rest               XChaCha20-Poly1305 of the value, 16 bytes longer than it
//
// The associated data is the version, the key id and then the key of the
// record: a value that is moved to another record does not open there.
const (
	format     = 1
	idSize     = 8
	headerSize = 1 + idSize
	nonceSize  = chacha20poly1305.NonceSizeX
	minSize    = headerSize + nonceSize + chacha20poly1305.Overhead
)

var (
	// ErrWrongKey says that a value was sealed with a key that is not given.
	ErrWrongKey = errors.New("sealed with a key that is not here")

	// ErrNotSealed says that a value is none that this package wrote.
	ErrNotSealed = errors.New("not sealed")

	// ErrTampered says that a sealed value was changed, or moved here from
	// another record.
	ErrTampered = errors.New("sealed value was changed or moved")
)

// sealed is the store that Wrap returns.
type sealed struct {
	store.Store
	first [idSize]byte                 // id of the key that seals
	keys  map[[idSize]byte]cipher.AEAD // :: key id -> cipher; all of them open
}

// Wrap returns a store that keeps the values of s encrypted. The first key
// seals, and every key opens: to rotate, put the new key in front of the old
// one, which is needed for as long as a value is left that it sealed; see
// [Reseal]. The store is a [store.Watcher], a [store.Follower] or a
// [store.Clock] if s is one. Wrap panics if there is no key, or a zero one.
//
// A value that does not open fails the whole read, also in a list, with
// [ErrWrongKey], [ErrNotSealed] or [ErrTampered].
func Wrap(s store.Store, keys ...Key) store.Store { return store.Like(newSealed(s, keys), s) }

func newSealed(s store.Store, keys []Key) *sealed {
	if len(keys) == 0 {
		panic("seal: no key")
	}
	w := &sealed{Store: s, first: keys[0].id(), keys: map[[idSize]byte]cipher.AEAD{}}
	for _, k := range keys {
		derived := k.derive("jeton seal xchacha20poly1305")
		aead, err := chacha20poly1305.NewX(derived[:])
		if err != nil {
			panic(err) // the length is right
		}
		w.keys[k.id()] = aead
	}
	return w
}

// Get implements [store.Store].
func (w *sealed) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := w.Store.Get(ctx, key)
	if err != nil {
		return store.Record{}, err
	}
	return w.open(r)
}

// Put implements [store.Store].
func (w *sealed) Put(ctx context.Context, r store.Record) (store.Record, error) {
	plain := append([]byte{}, r.Value...)
	r.Value = w.seal(r.Key, plain)
	r, err := w.Store.Put(ctx, r)
	if err != nil {
		return store.Record{}, err
	}
	r.Value = plain
	return r, nil
}

// List implements [store.Store].
func (w *sealed) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	list, err := w.Store.List(ctx, prefix, after, limit)
	if err != nil {
		return nil, err
	}
	return w.openAll(list)
}

// Due implements [store.Store].
func (w *sealed) Due(ctx context.Context, prefix string, t time.Time, limit int) ([]store.Record, error) {
	due, err := w.Store.Due(ctx, prefix, t, limit)
	if err != nil {
		return nil, err
	}
	return w.openAll(due)
}

func (w *sealed) openAll(list []store.Record) ([]store.Record, error) {
	for i, r := range list {
		r, err := w.open(r)
		if err != nil {
			return nil, err
		}
		list[i] = r
	}
	return list, nil
}

func (w *sealed) seal(key string, plain []byte) []byte {
	b := make([]byte, headerSize+nonceSize, minSize+len(plain))
	b[0] = format
	copy(b[1:headerSize], w.first[:])
	nonce := b[headerSize:]
	_, _ = rand.Read(nonce) // never fails, it ends the program instead
	return w.keys[w.first].Seal(b, nonce, plain, append(b[:headerSize:headerSize], key...))
}

// open returns r with its value opened.
func (w *sealed) open(r store.Record) (store.Record, error) {
	b := r.Value
	if len(b) < minSize || b[0] != format {
		return store.Record{}, fmt.Errorf("seal: %q: %w", r.Key, ErrNotSealed)
	}
	aead, ok := w.keys[[idSize]byte(b[1:headerSize])]
	if !ok {
		return store.Record{}, fmt.Errorf("seal: %q: %w: key id %s", r.Key, ErrWrongKey, hex.EncodeToString(b[1:headerSize]))
	}
	nonce, rest := b[headerSize:headerSize+nonceSize], b[headerSize+nonceSize:]
	plain, err := aead.Open(nil, nonce, rest, append(b[:headerSize:headerSize], r.Key...))
	if err != nil {
		return store.Record{}, fmt.Errorf("seal: %q: %w", r.Key, ErrTampered)
	}
	r.Value = plain
	return r, nil
}
