package jeton_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jetonhq/jeton"
)

var codes = []jeton.Code{
	jeton.InvalidRequest, jeton.InvalidClient, jeton.InvalidGrant, jeton.UnauthorizedClient, jeton.UnsupportedGrantType,
	jeton.InvalidScope, jeton.InvalidTarget, jeton.InvalidToken, jeton.InsufficientScope, jeton.UnsupportedTokenType,
	jeton.SlowDown, jeton.Unavailable, jeton.ServerError,
}

// TestErrorMatchesItsCode checks that errors.Is works the same for a bare code,
// for a refusal and for one that was wrapped on its way, and for no other code.
func TestErrorMatchesItsCode(t *testing.T) {
	for _, code := range codes {
		refusal := jeton.Refuse(code, "description")
		for name, err := range map[string]error{
			"code":    code,
			"refusal": refusal,
			"wrapped": fmt.Errorf("issuer: login: %w", refusal),
			"joined":  errors.Join(io.EOF, refusal),
			"cause":   &jeton.Error{Code: code, Cause: io.EOF},
		} {
			for _, other := range codes {
				if got, want := errors.Is(err, other), code == other; got != want {
					t.Errorf("%s of %s: errors.Is(%s) = %v", name, code, other, got)
				}
			}
		}
	}
}

func TestErrorCause(t *testing.T) {
	err := fmt.Errorf("broker: %w", &jeton.Error{Code: jeton.Unavailable, Description: "try later", Cause: io.ErrUnexpectedEOF})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause of a refusal cannot be found")
	}
	var refusal *jeton.Error
	if !errors.As(err, &refusal) || refusal.Code != jeton.Unavailable {
		t.Error("a wrapped refusal cannot be found")
	}
	// The cause is for the log: a refusal may be shown, its cause may not.
	if got, want := err.Error(), "broker: temporarily_unavailable: try later"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
	if got, want := jeton.Refuse(jeton.InvalidGrant, "").Error(), "invalid_grant"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
}
