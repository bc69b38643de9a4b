// Package jeton is the vocabulary of the system: the words of RFC 6749 and the
// few of our own that every other package shares. It does no input or output
// and imports the standard library only.
//
// A token is issued (package issuer), guarded (package guard) and brokered
// (package broker); those three never import one another. They meet here, in
// [Source] and [Verifier].
package jeton

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"
)

// A Source hands out a token that is valid now.
//
// Token blocks at most as long as ctx allows. The token that it returns is the
// caller's to read but not to change. An error is an [*Error] if the token
// endpoint refused, else the wrapped cause. Implementations are safe for
// concurrent use.
type Source interface {
	Token(ctx context.Context) (*Token, error)
}

// A Verifier decides whether a bearer token is good. The text is whatever a
// call wore, of any length and with any bytes.
//
// The error matches [InvalidToken] if the token is not good, for whatever
// reason; any other error means that the verifier could not decide, and the
// caller must then refuse without blaming the token (503, not 401). The claims
// may be shared with others: they are to be read, not changed. Implementations
// are safe for concurrent use.
type Verifier interface {
	Verify(ctx context.Context, bearer Secret) (*Claims, error)
}

// A Token is an access token as its holder knows it (RFC 6749 section 5.1).
type Token struct {
	AccessToken  Secret
	Type         string    // token_type as the endpoint wrote it; empty reads as Bearer
	RefreshToken Secret    // zero: there is none
	Expiry       time.Time // zero: unknown, hold it until a call says invalid_token
	Scope        Scope     // nil: as asked for
	Generation   uint64    // counts the logins and refreshes of one account, from 1

	// Vars holds what else the answer bound, by hole name, for example
	// user_id. It may be nil and may hold secrets.
	Vars Vars
}

// Valid reports whether the token exists and does not expire before now+margin.
func (t *Token) Valid(now time.Time, margin time.Duration) bool {
	return t != nil && !t.AccessToken.IsZero() && (t.Expiry.IsZero() || now.Add(margin).Before(t.Expiry))
}

// Claims say what a good access token grants, whatever its form was.
// Times are zero and strings empty where the token did not say.
type Claims struct {
	ID       string // jti
	Issuer   string
	Subject  string
	ClientID string
	Tenant   string
	Audience []string
	Scope    Scope
	IssuedAt time.Time
	Expiry   time.Time

	// Generations are the counters that can end the token, each with the number
	// that it had when the token was made, and Family is the refresh family that
	// the token ends with. Package revocation compares them.
	Generations map[string]uint64 // :: "user/5f2c…" -> number
	Family      string

	// Bound maps the name of a credential that must accompany the token in a
	// call to its [Fingerprint]. Altrata's x-api-key is one.
	Bound map[string]string // :: variable -> fingerprint

	// Extra holds claims that have no field here, as decoded from JSON.
	Extra map[string]any
}

// Vars are the values of holes by name, as RFC 6749 names them where it does:
// client_id, client_secret, username, password, scope, access_token,
// refresh_token, expires_in. A name that is absent differs from an empty value.
// Nothing formats Vars: they hold secrets.
type Vars map[string]string

// String names the variables and shows no value.
func (v Vars) String() string {
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	sort.Strings(names)
	return "vars[" + strings.Join(names, " ") + "]"
}

// Format names the variables and shows no value, whatever the verb. It does not
// reach Vars in an unexported field; do not print a struct that has one.
func (v Vars) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(v.String())) }

// Clone returns a copy that the caller may change; it is never nil.
func (v Vars) Clone() Vars {
	c := make(Vars, len(v))
	for name, value := range v {
		c[name] = value
	}
	return c
}

// A Request is a message to a token endpoint after a dialect has read it: what
// is asked for, in RFC 6749 words, with nothing left of the vendor's own.
type Request struct {
	Grant Grant
	Vars  Vars // the holes that the message filled
}

// A Grant names what a request presents. The first three are the grant_type
// values of RFC 6749 sections 4.3, 4.4 and 6.
type Grant string

const (
	GrantPassword          Grant = "password"
	GrantClientCredentials Grant = "client_credentials"
	GrantRefreshToken      Grant = "refresh_token"
)

// A Scope is a set of scope tokens in the order in which they were written
// (RFC 6749 section 3.3).
type Scope []string

// ParseScope splits a space-delimited string. It drops repeats.
func ParseScope(s string) Scope {
	var scope Scope
	for _, token := range strings.Fields(s) {
		if !scope.Has(token) {
			scope = append(scope, token)
		}
	}
	return scope
}

// String joins the tokens with single spaces.
func (s Scope) String() string { return strings.Join(s, " ") }

// Has reports whether the scope holds the token.
func (s Scope) Has(token string) bool {
	for _, t := range s {
		if t == token {
			return true
		}
	}
	return false
}

// Within reports whether every token of s is in outer.
func (s Scope) Within(outer Scope) bool {
	for _, t := range s {
		if !outer.Has(t) {
			return false
		}
	}
	return true
}

// ValidScope reports whether s has only the characters that RFC 6749 section
// 3.3 gives a scope.
func ValidScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
