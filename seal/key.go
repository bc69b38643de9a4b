package seal

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jetonhq/jeton"
)

// A Key is 256 random bits from which all other keys are derived. It is shown
// as "[redacted]" wherever it is printed. The zero Key is none: it neither
// seals nor derives.
type Key struct{ secret jeton.Secret } // the bytes, not the text

const (
	textPrefix = "jeton-seal-"
	keySize    = 32
	sumSize    = 4
)

// NewKey makes a key.
func NewKey() Key {
	var b [keySize]byte
	_, _ = rand.Read(b[:]) // never fails, it ends the program instead
	return Key{jeton.NewSecret(string(b[:]))}
}

var encoding = base64.RawURLEncoding.Strict()

// Reveal returns the text form: "jeton-seal-" and then, in base64url, the key
// followed by the first four bytes of its SHA-256, which tell a slip of the
// keyboard from another key.
func (k Key) Reveal() string {
	if k.IsZero() {
		return ""
	}
	b := []byte(k.secret.Reveal())
	return textPrefix + encoding.EncodeToString(append(b, checksum(b)...))
}

// ParseKey reads the text form, with or without white space around it. The
// error does not show the text.
func ParseKey(text string) (Key, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), textPrefix)
	if !ok {
		return Key{}, errors.New("seal: a sealing key begins with " + textPrefix)
	}
	b, err := encoding.DecodeString(body)
	// The decoder passes over line ends, so the length of the text counts too.
	if err != nil || len(b) != keySize+sumSize || len(body) != encoding.EncodedLen(len(b)) {
		return Key{}, errors.New("seal: the sealing key is incomplete or has a wrong sign in it")
	}
	b, sum := b[:keySize], b[keySize:]
	if subtle.ConstantTimeCompare(sum, checksum(b)) != 1 {
		return Key{}, errors.New("seal: the checksum of the sealing key is wrong: a sign was changed")
	}
	return Key{jeton.NewSecret(string(b))}, nil
}

func checksum(key []byte) []byte {
	sum := sha256.Sum256(key)
	return sum[:sumSize]
}

// IsZero reports whether k is the zero Key.
func (k Key) IsZero() bool { return k.secret.IsZero() }

// ID names the key without giving it away. It stands beside every sealed value
// and in errors.
func (k Key) ID() string {
	id := k.id()
	return hex.EncodeToString(id[:])
}

// derive returns the key for one use, which info names, by HKDF-SHA256 (RFC
// 5869). Nothing that is derived for one use tells about the key, nor about what
// is derived for another. It panics if k is zero.
//
// It is for this package alone: whatever else came from a sealing key would end
// with it when the key is rotated.
func (k Key) derive(info string) (out [32]byte) {
	if k.IsZero() {
		panic("seal: the zero key")
	}
	b, err := hkdf.Key(sha256.New, []byte(k.secret.Reveal()), nil, info, len(out))
	if err != nil {
		panic(err) // the length is fixed and far below the limit
	}
	copy(out[:], b)
	return out
}

func (k Key) id() (id [idSize]byte) {
	sum := k.derive("jeton seal id")
	copy(id[:], sum[:])
	return id
}

// Format writes "[redacted]", whatever the verb.
func (k Key) Format(f fmt.State, verb rune) { k.secret.Format(f, verb) }

// String returns "[redacted]", or nothing for the zero key.
func (k Key) String() string { return k.secret.String() }

// GoString returns what String does.
func (k Key) GoString() string { return k.String() }

// LogValue redacts the key in slog.
func (k Key) LogValue() slog.Value { return k.secret.LogValue() }

// MarshalText redacts the key in JSON, YAML and XML.
func (k Key) MarshalText() ([]byte, error) { return k.secret.MarshalText() }
