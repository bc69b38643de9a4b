package issuer

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
)

// A family is everything that came out of one login by refreshing. It is one
// record, changed by compare-and-swap only, so that whatever races has one
// outcome. The record is there as long as the family lives: ending the family
// is deleting it, and access tokens name their family, so they end with it.
// Another record remembers for the lifetime of those that the family ended.
//
// Stored at realm/<realm>/family/<id>, due when the current refresh token
// expires, as JSON:
//
//	{"v":1, "tenant","user","name","client": whom it speaks for, "scope","aud",
//	 "g": {counter: number}, "current": hash, "previous": hash,
//	 "rotated": time, "kept": sealed successor}
type family struct {
	V        int               `json:"v"`
	Tenant   string            `json:"tenant,omitempty"`
	User     string            `json:"user"`             // user ID
	Name     string            `json:"name"`             // user name, to look the user up by
	Client   string            `json:"client,omitempty"` // client_id that the tokens were issued to
	Scope    string            `json:"scope,omitempty"`
	Audience []string          `json:"aud"`
	Counters map[string]uint64 `json:"g"` // the generations at the login; a family is older than whatever raised one

	Current  string    `json:"current"`            // hash of the refresh token that is good
	Previous string    `json:"previous,omitempty"` // hash of the one before it
	Rotated  time.Time `json:"rotated,omitzero"`   // when Current replaced Previous
	Kept     string    `json:"kept,omitempty"`     // Current, sealed under a key that only the holder of Previous can derive

	id     string       // not stored: it is in the record's key
	record store.Record // as last read or written
}

// A refresh token is a generated secret whose ID is the handle of its family:
//
//	jeton_rt_<handle>_<random>_<crc>
//
// The handle is the same for all tokens of a family and itself a secret: the
// family's ID is its hash, and that ID is what access tokens show. So nobody
// who has seen only access tokens can present something that looks like a spent
// token and thereby end the family.
const refreshPrefix = directory.GeneratedPrefix + "rt_"

func newRefreshToken(handle string) jeton.Secret { return directory.Generate(refreshPrefix, handle) }

// parseRefreshToken returns the handle, or false for what was never a refresh
// token of ours.
func parseRefreshToken(token jeton.Secret) (handle string, ok bool) {
	return directory.ParseGenerated(refreshPrefix, token)
}

func familyID(handle string) string {
	sum := sha256.Sum256([]byte("jeton refresh family\x00" + handle))
	return hex.EncodeToString(sum[:16])
}

// hashToken is how a refresh token is stored. The tokens are random, so a plain
// hash suffices.
func hashToken(token jeton.Secret) string {
	sum := sha256.Sum256([]byte("jeton refresh token\x00" + token.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func sameHash(a, b string) bool {
	return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

// successorCipher returns the cipher for the successor of a refresh token. Its
// key derives from the token itself under a label of its own, so the stored
// hash does not help.
func successorCipher(token jeton.Secret) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(token.Reveal()), nil, "jeton refresh successor 1", chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	return chacha20poly1305.NewX(key)
}

// sealSuccessor encrypts next for whoever holds token.
func sealSuccessor(token, next jeton.Secret, id string) (string, error) {
	aead, err := successorCipher(token)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(next.Reveal()), []byte(id))), nil
}

func openSuccessor(token jeton.Secret, kept, id string) (jeton.Secret, error) {
	aead, err := successorCipher(token)
	if err != nil {
		return jeton.Secret{}, err
	}
	sealed, err := base64.RawURLEncoding.DecodeString(kept)
	if err != nil || len(sealed) < aead.NonceSize() {
		return jeton.Secret{}, errors.New("kept successor is damaged")
	}
	next, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(id))
	return jeton.NewSecret(string(next)), err
}

// families keeps the refresh families of one realm.
type families struct {
	store    store.Store
	realm    string
	lifetime time.Duration // of a refresh token, from its making
	window   time.Duration // how long a spent token may be presented again; see use
	feed     *feed
}

func (fs *families) key(id string) string { return store.Key("realm", fs.realm, "family", id) }

// create stores a new family under the ID that follows from handle and returns
// its first refresh token.
func (fs *families) create(ctx context.Context, f *family, handle string) (jeton.Secret, error) {
	token := newRefreshToken(handle)
	f.V, f.id, f.Current = 1, familyID(handle), hashToken(token)
	return token, fs.put(ctx, f)
}

// put writes the family if its record is as it was read. A changed current
// token starts a new lifetime.
func (fs *families) put(ctx context.Context, f *family) error {
	value, err := json.Marshal(f)
	if err != nil {
		return err
	}
	r := f.record
	r.Key, r.Value, r.Due = fs.key(f.id), value, time.Now().Add(fs.lifetime)
	if f.record, err = fs.store.Put(ctx, r); err != nil {
		return fmt.Errorf("issuer: write a refresh family: %w", err)
	}
	return nil
}

// find returns the family that the token is or was of, or an error that matches
// jeton.InvalidGrant. It does not say whether the token is still good: see use.
func (fs *families) find(ctx context.Context, token jeton.Secret) (*family, error) {
	handle, ok := parseRefreshToken(token)
	if !ok {
		return nil, jeton.InvalidGrant
	}
	f, err := fs.get(ctx, familyID(handle))
	if errors.Is(err, store.ErrNotFound) {
		return nil, jeton.InvalidGrant
	}
	return f, err
}

// get returns a living family, or store.ErrNotFound.
func (fs *families) get(ctx context.Context, id string) (*family, error) {
	r, err := fs.store.Get(ctx, fs.key(id))
	if err != nil {
		return nil, fmt.Errorf("issuer: read a refresh family: %w", err)
	}
	f := &family{id: id, record: r}
	if err := json.Unmarshal(r.Value, f); err != nil || f.V != 1 {
		return nil, fmt.Errorf("issuer: the refresh family %s has a form that this version does not know", id)
	}
	if !time.Now().Before(r.Due) {
		return nil, store.ErrNotFound
	}
	return f, nil
}

// What a refresh token of a family is.
type standing int

const (
	spent   standing = iota // presenting it ends the family
	current                 // good
	again                   // replaced a moment ago, and its successor was not used: the answer was lost
)

func (fs *families) standing(f *family, token jeton.Secret) standing {
	hash := hashToken(token)
	switch {
	case sameHash(f.Current, hash):
		return current
	case sameHash(f.Previous, hash) && f.Kept != "" && time.Since(f.Rotated) < fs.window:
		return again
	}
	return spent
}

// use returns the successor of token. The current token is replaced; one that
// was replaced within the window, and whose successor was not used yet, gets
// the same successor once more. The error is store.ErrConflict if the family
// changed since it was read. The caller has made sure that the token is not
// spent.
func (fs *families) use(ctx context.Context, f *family, token jeton.Secret) (jeton.Secret, error) {
	if fs.standing(f, token) == again {
		return openSuccessor(token, f.Kept, f.id)
	}
	handle, _ := parseRefreshToken(token)
	next := newRefreshToken(handle)
	kept, err := sealSuccessor(token, next, f.id)
	if err != nil {
		return jeton.Secret{}, err
	}
	changed := *f
	changed.Previous, changed.Current = hashToken(token), hashToken(next)
	changed.Rotated, changed.Kept = time.Now().UTC(), kept
	return next, fs.put(ctx, &changed)
}

// end ends a family, and with it every token of it and the kept successor. A
// family that is no more is no error.
//
// The record that says so comes before the family goes, for those who do not
// look at the family; see feed. If that is interrupted the next use of the
// family completes it, or at the latest who sweeps that record; see renew.
func (fs *families) end(ctx context.Context, id string) error {
	until := fs.feed.until(time.Now())
	_, err := fs.store.Put(ctx, store.Record{Key: store.Key("realm", fs.realm, "ended", id), Due: until, Value: []byte(`{"v":1}`)})
	if err != nil && !errors.Is(err, store.ErrConflict) { // a conflict: somebody is ending it too
		return fmt.Errorf("issuer: end a refresh family: %w", err)
	}
	fs.feed.add(revocation.Event{Family: id, Until: until})
	return fs.remove(ctx, id)
}

// remove deletes the record of a family, if it is there.
func (fs *families) remove(ctx context.Context, id string) error {
	for {
		r, err := fs.store.Get(ctx, fs.key(id))
		if err == nil {
			err = fs.store.Delete(ctx, r)
		}
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil
		case err == nil:
			return nil
		case !errors.Is(err, store.ErrConflict):
			return fmt.Errorf("issuer: end a refresh family: %w", err)
		}
	}
}

// sweep removes what has expired under a prefix and returns how many records.
// Before one goes, first is called if it is not nil.
func sweep(ctx context.Context, st store.Store, prefix string, first func(store.Record) error) (int, error) {
	const batch = 256
	removed := 0
	for {
		due, err := st.Due(ctx, prefix, time.Now(), batch)
		if err != nil {
			return removed, err
		}
		for _, r := range due {
			if first != nil {
				if err := first(r); err != nil {
					return removed, err
				}
			}
			err := st.Delete(ctx, r)
			switch {
			case err == nil:
				removed++
			case !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound):
				return removed, err // a conflict: it was refreshed meanwhile
			}
		}
		if len(due) < batch {
			return removed, nil
		}
	}
}
