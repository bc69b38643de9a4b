package jeton

import (
	"errors"
	"time"
)

// A Code is an error code of RFC 6749 section 5.2, RFC 6750 section 3.1, or one
// of our two for what those leave unsaid. It is itself an error, so that
// errors.Is(err, jeton.InvalidGrant) works on both sides of the wire.
type Code string

const (
	InvalidRequest       Code = "invalid_request"        // malformed, repeated or missing parameter
	InvalidClient        Code = "invalid_client"         // client authentication failed
	InvalidGrant         Code = "invalid_grant"          // wrong password or refresh token
	UnauthorizedClient   Code = "unauthorized_client"    // the client may not use this grant
	UnsupportedGrantType Code = "unsupported_grant_type" // no realm of this dialect takes it
	InvalidScope         Code = "invalid_scope"          // unknown, malformed or beyond what was granted
	InvalidTarget        Code = "invalid_target"         // RFC 8707 section 2: a resource that the client may not have
	InvalidToken         Code = "invalid_token"          // expired, revoked, malformed or foreign access token
	InsufficientScope    Code = "insufficient_scope"     // the token is good and the permission missing
	UnsupportedTokenType Code = "unsupported_token_type" // RFC 7009 section 2.2.1
	SlowDown             Code = "slow_down"              // over a login limit: 429; the code is that of RFC 8628 section 3.5
	Unavailable          Code = "temporarily_unavailable"
	ServerError          Code = "server_error"
)

// Error returns the code.
func (c Code) Error() string { return string(c) }

// An Error is a refusal that may be shown to the other side. Anything that is
// not an Error is shown as server_error and logged where it stops.
type Error struct {
	Code        Code
	Description string        // for the developer on the other side; never a secret, never whether a user exists
	RetryAfter  time.Duration // positive: when to come again
	Scope       Scope         // with insufficient_scope: what would have sufficed
	Cause       error         // for the log, not shown; may be nil
}

// Refuse returns an Error with a code and a description.
func Refuse(code Code, description string) *Error {
	return &Error{Code: code, Description: description}
}

// Error returns the code and the description.
func (e *Error) Error() string {
	if e.Description == "" {
		return string(e.Code)
	}
	return string(e.Code) + ": " + e.Description
}

// Is makes errors.Is match the code.
func (e *Error) Is(target error) bool { return target == error(e.Code) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Refused reports whether an error is a decision, an [*Error] or a [Code], and
// not a failure to decide.
func Refused(err error) bool {
	if _, ok := errors.AsType[*Error](err); ok {
		return true
	}
	_, ok := errors.AsType[Code](err)
	return ok
}
