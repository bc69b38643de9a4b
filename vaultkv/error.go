package vaultkv

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// An Error is an answer of the server that is no success. It holds nothing of
// what the server said, which may repeat what it was sent.
type Error struct {
	Server string // HOST:PORT
	Status int    // of HTTP

	noEngine bool // there is nothing at the mount
	casOnly  bool // a write is to name a version
}

// Error says what the status means to somebody who has to mend it.
func (e *Error) Error() string {
	what := "an answer that Vault does not give"
	switch {
	case e.Status == http.StatusForbidden:
		what = "permission denied: the token or login is not accepted, or its policy does not allow this"
	case e.noEngine:
		what = "nothing is mounted there"
	case e.casOnly:
		what = "the engine wants every write to name a version"
	case e.Status == http.StatusNotFound:
		what = "not found"
	case e.Status == http.StatusBadRequest:
		what = "the request or the login is refused"
	case e.Status/100 == 3:
		what = "a standby that sends elsewhere; name the active server, or what balances between them"
	case e.Status == http.StatusPreconditionFailed:
		what = "this server has not seen an earlier write yet"
	case e.Status == http.StatusRequestEntityTooLarge:
		what = "the secret is too large"
	case e.Status == http.StatusTooManyRequests:
		what = "over a rate limit, or a standby"
	case e.Status == 472:
		what = "a replica for disaster recovery, which serves nobody"
	case e.Status == 473:
		what = "a performance standby, which does not do this"
	case e.Status == http.StatusServiceUnavailable:
		what = "sealed, or a standby without an active server, or under maintenance"
	case e.Status/100 == 5:
		what = "the server failed"
	}
	return fmt.Sprintf("vault: %s: %s (%d)", e.Server, what, e.Status)
}

// judge makes an error of an answer, or none.
func (v *Client) judge(status int, body []byte) error {
	if status/100 == 2 {
		return nil
	}
	var said struct{ Errors []string }
	_ = json.Unmarshal(body, &said) // whatever else it is says nothing
	errors := strings.Join(said.Errors, "\n")
	if status == http.StatusBadRequest && strings.Contains(errors, "check-and-set parameter did not match") {
		return ErrConflict
	}
	return &Error{
		Server: v.host(), Status: status,
		noEngine: status == http.StatusNotFound && strings.Contains(errors, "no handler for route"),
		casOnly:  status == http.StatusBadRequest && strings.Contains(errors, "check-and-set parameter required"),
	}
}
