// Package sink copies each new token of an account to places outside, for
// readers that look there and not at a broker: a secret manager, a cache, a
// file. A sink coordinates nothing. Which token is the newest is decided by the
// store of the brokers, and the copy follows.
//
// This package has the contract and what keeps a copy up to date; the packages
// below it adapt one place each.
package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jetonhq/jeton"
)

// A Sink is one place for the token of one account.
type Sink interface {
	// Put puts the token at its place, over what is there. It returns when the
	// place has it, and gives up when ctx ends. After an error it is not known
	// whether the token got there; it is then put again. An error shows neither
	// the token nor another secret.
	//
	// Put is called from one goroutine at a time. A Sink that is an io.Closer
	// is closed when it is needed no longer.
	Put(ctx context.Context, t *jeton.Token) error
}

// A Format says how a token is written where there is one text for it.
type Format string

// The formats.
const (
	Bare Format = ""     // the access token and nothing else
	JSON Format = "json" // what the token API answers, without what changes with time
)

// Text writes a token. It is the secret itself.
func (f Format) Text(t *jeton.Token) string {
	if f != JSON {
		return t.AccessToken.Reveal()
	}
	b, _ := json.Marshal(Fields(t)) // strings and a number: it never fails
	return string(b)
}

// Fields returns what the token API answers, by name, without what changes with
// time: access_token, token_type, expires_at, scope and generation. Those that
// are unknown are absent. It holds the secret itself.
func Fields(t *jeton.Token) map[string]any {
	fields := map[string]any{"access_token": t.AccessToken.Reveal(), "token_type": t.Type, "generation": t.Generation}
	if t.Type == "" {
		fields["token_type"] = "Bearer"
	}
	if !t.Expiry.IsZero() {
		fields["expires_at"] = t.Expiry.UTC().Truncate(time.Second).Format(time.RFC3339)
	}
	if len(t.Scope) > 0 {
		fields["scope"] = t.Scope.String()
	}
	return fields
}

// A StatusError is the answer of a place that was reached and did not take the
// token. It holds nothing of the answer's body but the code.
type StatusError struct {
	Place  string // the kind of it
	Status int    // of HTTP
	Code   string // what the place calls it; empty: unknown
}

// NewStatusError returns an error with a code, unless it does not look like one.
func NewStatusError(place string, status int, code string) *StatusError {
	if !validCode.MatchString(code) {
		code = ""
	}
	return &StatusError{place, status, code}
}

var validCode = regexp.MustCompile(`^[A-Za-z_]{1,64}$`)

// refused reports whether an error says that the place did not take the token,
// and will not.
func refused(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.Status/100 == 4
}

// Error names the place, the status and the code.
func (e *StatusError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("%s: answered %d", e.Place, e.Status)
	}
	return fmt.Sprintf("%s: answered %d %s", e.Place, e.Status, e.Code)
}
