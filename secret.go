package jeton

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// A Secret is a string that cannot be printed by accident: every way in which
// fmt, slog and the encoders show a value shows "[redacted]" in its place. It
// holds its text behind a pointer, so that a struct that keeps a Secret in an
// unexported field, which fmt would read past any method, leaks nothing either.
//
// The zero Secret is the empty one. Compare with [Secret.Equal], never with ==.
type Secret struct {
	text *string
	from int // where in *text the secret begins
}

// NewSecret wraps s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{text: &s}
}

// SecretIn returns the secret that stands in *text from a byte on, and copies
// nothing: a token in the header of a request costs no allocation. *text is not
// to change as long as the secret is in use.
func SecretIn(text *string, from int) Secret { return Secret{text, from} }

// Reveal returns the text. A call of Reveal is a place to look at in review.
func (s Secret) Reveal() string {
	if s.text == nil || s.from > len(*s.text) {
		return ""
	}
	return (*s.text)[s.from:]
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.text == nil || s.from >= len(*s.text) }

// Equal compares in a time that depends on neither text.
func (s Secret) Equal(t Secret) bool {
	a, b := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(t.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// Format writes "[redacted]", whatever the verb.
func (s Secret) Format(f fmt.State, verb rune) { _, _ = f.Write([]byte(s.String())) }

// String returns "[redacted]", or nothing for an empty secret.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString returns what String does.
func (s Secret) GoString() string { return s.String() }

// LogValue redacts the secret in slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText redacts the secret in JSON, YAML and XML. To store a secret, say
// so with [Secret.Reveal].
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Fingerprint returns a digest of a credential that is bound to the token with
// the given jti. It tells two credentials apart and, being salted with the jti,
// does not show that two tokens were bound to the same one.
func Fingerprint(jti string, credential Secret) string {
	sum := sha256.Sum256([]byte(jti + "\x00" + credential.Reveal()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
