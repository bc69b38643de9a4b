package vaultkv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jetonhq/jeton"
)

// A session is the use of one token.
type session struct {
	token jeton.Secret
	began time.Time
	life  time.Duration // from then on; 0: it does not end, or nobody may know
	ended context.CancelFunc
}

const (
	// young is how long a token is not suspected to be the reason of a refusal:
	// where a policy allows too little, another login helps nobody.
	young = time.Minute

	loginFirst = time.Second // until another try after the server refused a login
	loginMost  = 30 * time.Second
)

// take waits for the turn of whoever calls.
func (v *Client) take(ctx context.Context) error {
	select {
	case v.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return v.unreached(ctx, ctx.Err())
	}
}

func (v *Client) give() { <-v.turn }

// loggedIn returns the session, and logs in if there is none. A server that
// refused a login is not asked again at once: it may count them.
func (v *Client) loggedIn(ctx context.Context) (*session, error) {
	if err := v.take(ctx); err != nil {
		return nil, err
	}
	defer v.give()
	if v.session != nil {
		return v.session, nil
	}
	if time.Now().Before(v.retryAt) {
		return nil, v.refused
	}
	s, err := v.login(ctx)
	if err != nil {
		v.refuse(err)
		return nil, err
	}
	v.use(s)
	return s, nil
}

// refuse notes how a login ended. Whoever calls has the turn.
func (v *Client) refuse(err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status/100 != 4 {
		return
	}
	delay := loginFirst
	if v.refused != nil {
		delay = loginMost
	}
	v.refused, v.retryAt = err, time.Now().Add(delay)
}

// use makes s the session. Whoever calls has the turn.
func (v *Client) use(s *session) {
	if v.session != nil {
		v.session.ended()
	}
	var ctx context.Context
	ctx, s.ended = context.WithCancel(v.closing)
	v.session, v.refused = s, nil
	if s.life > 0 && v.closing.Err() == nil {
		v.running.Go(func() { v.keep(ctx, s) })
	}
}

// suspect ends a session whose token was refused, and reports whether to try
// again.
func (v *Client) suspect(ctx context.Context, s *session) bool {
	if v.take(ctx) != nil {
		return false
	}
	defer v.give()
	if v.session != s {
		return true // there is another one already
	}
	if age := time.Since(s.began); age < young && (s.life == 0 || age < s.life) {
		return false
	}
	s.ended()
	v.session = nil
	return true
}

// keep renews the token at half its life. What cannot be renewed, or not for as
// long as in the beginning, is replaced by another login while it is good.
func (v *Client) keep(ctx context.Context, s *session) {
	end, life := s.began.Add(s.life), s.life
	for wait := life / 2; ; wait = time.Until(end) / 2 {
		t := time.NewTimer(max(wait, time.Second))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		asked := time.Now()
		if renewed, err := v.renew(ctx, s); err == nil && renewed > 0 {
			if end = asked.Add(renewed); renewed >= life/2 {
				continue
			}
		}
		if v.replace(ctx, s) || time.Now().After(end) {
			return
		}
	}
}

// replace logs in again and reports whether s is in use no more.
func (v *Client) replace(ctx context.Context, s *session) bool {
	if v.take(ctx) != nil {
		return true
	}
	defer v.give()
	if v.session != s {
		return true
	}
	if time.Now().Before(v.retryAt) {
		return false
	}
	next, err := v.login(ctx)
	if err != nil {
		v.refuse(err)
		return false
	}
	v.use(next)
	return true
}

// An auth is what the server says about a token that it gives or renews.
type auth struct {
	Auth struct {
		ClientToken   string `json:"client_token"`
		LeaseDuration int64  `json:"lease_duration"` // seconds
	}
}

func (a auth) life() time.Duration { return time.Duration(a.Auth.LeaseDuration) * time.Second }

// renew returns for how long the token is good now.
func (v *Client) renew(ctx context.Context, s *session) (time.Duration, error) {
	var got auth
	err := v.send(ctx, http.MethodPost, "auth/token/renew-self", s.token, struct{}{}, &got)
	return got.life(), err
}

// login gets a token, or looks at the one that there is.
func (v *Client) login(ctx context.Context) (*session, error) {
	s := &session{began: time.Now()}
	if v.c.Secret == nil {
		return s, nil
	}
	secret, err := v.c.Secret()
	if err != nil {
		return nil, fmt.Errorf("vault: %s: %w", v.host(), err)
	}
	if v.c.Method == "" {
		s.token = secret
		s.life, err = v.lookup(ctx, secret)
		return s, err
	}
	ask := map[string]string{"role": v.c.Role, "jwt": secret.Reveal()}
	if v.c.Method == "approle" {
		ask = map[string]string{"role_id": v.c.Role, "secret_id": secret.Reveal()}
	}
	at, _ := escape(v.c.At)
	var got auth
	if err := v.send(ctx, http.MethodPost, "auth/"+at+"/login", jeton.Secret{}, ask, &got); err != nil {
		return nil, err
	}
	if got.Auth.ClientToken == "" {
		return nil, fmt.Errorf("vault: %s: a login brought no token", v.host())
	}
	s.token, s.life = jeton.NewSecret(got.Auth.ClientToken), got.life()
	return s, nil
}

// lookup returns for how long a token is good. One that may not look at itself
// is used as long as it works.
func (v *Client) lookup(ctx context.Context, token jeton.Secret) (time.Duration, error) {
	var found struct{ Data struct{ TTL int64 } }
	err := v.send(ctx, http.MethodGet, "auth/token/lookup-self", token, nil, &found)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusForbidden {
		return 0, nil
	}
	return time.Duration(found.Data.TTL) * time.Second, err
}
