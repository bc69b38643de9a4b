package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/strictjson"
)

// An Introspection is a [jeton.Verifier] that asks the issuer about each token
// (RFC 7662). Put a [Cache] with a TTL in front of it.
//
// What the issuer does not answer with a yes or no, for whatever reason, could
// not be decided: an endpoint that refuses the guard's own credentials says
// nothing about a token. Its fields are not changed once it is in use; it is
// then safe for concurrent use.
type Introspection struct {
	// URL is the introspection endpoint: https, or http to this machine.
	// Required.
	URL string

	// Issuer and Audience are what iss and aud must be where the answer has
	// them. An empty Audience is the issuer.
	Issuer, Audience string

	// Key is the guard's key at a Jeton issuer, worn as a bearer token.
	Key jeton.Secret

	// ClientID and ClientSecret authenticate the guard at other issuers, by
	// Basic (RFC 6749 section 2.3.1). They are used if there is no Key.
	ClientID     string
	ClientSecret jeton.Secret

	// Untyped takes answers without a token_type, which RFC 7662 leaves optional,
	// if they say themselves that the token is for the audience. Without the
	// type it is up to the issuer that a refresh token is never said to be active.
	Untyped bool

	// Client makes the calls. Nil: one that reads no environment.
	Client *http.Client

	// Concurrency is how many calls run at once. More wait, for 5 seconds at
	// most. Zero: 32.
	Concurrency int

	once   sync.Once
	client *http.Client
	slots  chan struct{}
}

// Verify returns what the token grants. The claims expire when the answer says,
// and if it does not, never.
func (i *Introspection) Verify(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	i.once.Do(i.start)
	if text := bearer.Reveal(); text == "" || len(text) > maxToken || strings.ContainsFunc(text, outside) {
		return nil, refuse()
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case i.slots <- struct{}{}:
		defer func() { <-i.slots }()
	case <-ctx.Done():
		return nil, undecided(fmt.Errorf("verify: wait for the introspection endpoint: %w", ctx.Err()))
	}
	body, err := i.ask(ctx, bearer)
	if err != nil {
		e := &jeton.Error{Code: jeton.Unavailable, Description: "the access token could not be verified; try again later",
			Cause: fmt.Errorf("verify: introspection: %w", err)}
		if answer, ok := errors.AsType[*errStatus](err); ok {
			seconds, _ := strconv.ParseUint(answer.header.Get("Retry-After"), 10, 16)
			e.RetryAfter = time.Duration(seconds) * time.Second
		}
		return nil, e
	}
	return i.judge(body, time.Now())
}

// outside reports what a bearer token never has (RFC 6750 section 2.1).
func outside(r rune) bool { return r <= ' ' || r > '~' }

func (i *Introspection) start() {
	n := i.Concurrency
	if n <= 0 {
		n = 32
	}
	i.slots = make(chan struct{}, n)
	if i.client = i.Client; i.client == nil {
		i.client = newClient()
	}
}

func (i *Introspection) ask(ctx context.Context, bearer jeton.Secret) ([]byte, error) {
	if err := checkURL(i.URL); err != nil {
		return nil, err
	}
	form := url.Values{"token": {bearer.Reveal()}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequest(http.MethodPost, i.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("not a URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	switch {
	case !i.Key.IsZero():
		req.Header.Set("Authorization", "Bearer "+i.Key.Reveal())
	case i.ClientID != "":
		req.SetBasicAuth(url.QueryEscape(i.ClientID), url.QueryEscape(i.ClientSecret.Reveal()))
	}
	body, _, err := call(ctx, i.client, req)
	return body, err
}

// isAccess tells access tokens apart. Refresh tokens are active too; what is no
// access token has another type, or none.
func (i *Introspection) isAccess(answer map[string]any) bool {
	if use, there := answer["token_use"]; there && use != "access_token" && use != "access" {
		return false
	}
	kind, typed := answer["token_type"]
	if !typed && i.Untyped {
		return answer["aud"] != nil && isAccess("", answer)
	}
	name, _ := kind.(string)
	return strings.EqualFold(name, "Bearer")
}

// judge reads an answer (RFC 7662 section 2.2).
func (i *Introspection) judge(body []byte, now time.Time) (*jeton.Claims, error) {
	answer, err := strictjson.Object(body)
	if err != nil {
		return nil, undecided(fmt.Errorf("verify: introspection: the answer is %w", err))
	}
	active, ok := answer["active"].(bool)
	if !ok {
		return nil, undecided(errors.New("verify: introspection: the answer does not say whether the token is active"))
	}
	if !active {
		return nil, jeton.Refuse(jeton.InvalidToken, "the access token is not active")
	}
	if constrained(answer) || !i.isAccess(answer) {
		return nil, jeton.Refuse(jeton.InvalidToken, "the issuer does not say that this is an access token for any bearer")
	}
	for _, name := range []string{"active", "token_type", "token_use"} {
		delete(answer, name)
	}
	claims, ok := readClaims(answer)
	if !ok {
		return nil, undecided(errors.New("verify: introspection: a member of the answer has another type than it must"))
	}
	audience := orElse(i.Audience, i.Issuer)
	if claims.Issuer == "" {
		claims.Issuer = i.Issuer
	}
	if claims.Audience == nil {
		claims.Audience = []string{audience} // we asked as who we are
	}
	if name, _ := claims.Extra["username"].(string); claims.Subject == "" {
		claims.Subject = name
	}
	// Whether the token is valid already, the issuer has just said, by its clock.
	if err := (policy{issuer: i.Issuer, audience: audience}).judge(claims, time.Time{}, now); err != nil {
		return nil, err
	}
	return claims, nil
}
