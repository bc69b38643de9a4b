package issuer

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
)

// Verify decides whether a bearer token is good at this realm's API: an access
// token of this realm that is for the realm itself, or one of its generated API
// keys. A dialect whose login takes an API key next to a password is the
// exception: there an API key is no bearer token, else it would be enough
// without the password.
//
// While [Realm.Run] runs an access token is decided from memory. An API key is
// looked up in the store for each call; its claims have what ends it, so that
// they may be kept.
//
// The token in the claims may be bound to other credentials; comparing them is
// up to the caller, who has the call.
func (r *Realm) Verify(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	claims, err := r.verify(ctx, bearer)
	if code, bare := errors.AsType[jeton.Code](err); bare {
		return nil, jeton.Refuse(code, "the access token is not good")
	}
	return claims, err
}

func (r *Realm) verify(ctx context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	if r.dialect.Minted() {
		return r.verifyMinted(ctx, bearer)
	}
	if directory.IsAPIKey(bearer) {
		return r.verifyKey(ctx, bearer)
	}
	t, err := r.read(ctx, bearer)
	if err != nil {
		return nil, err
	}
	claims := &jeton.Claims{
		ID: t.id, Issuer: r.url, Subject: t.subject, ClientID: t.clientID, Tenant: t.tenant,
		Audience: t.audience, Scope: t.scope, IssuedAt: t.issued, Expiry: t.expiry,
		Generations: t.counters, Family: t.family, Bound: t.ends.Bound, Extra: t.claims,
	}
	if r.feed.live.Load() {
		err = r.feed.ended(claims)
	} else {
		err = r.alive(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.audience, r.url) {
		return nil, invalidToken("the access token is for another audience")
	}
	for _, name := range []string{"jti", "iss", "client_id", "tenant_id", "aud", "scope", "iat", "exp", revocation.ClaimName} {
		delete(claims.Extra, name)
	}
	return claims, nil
}

func (r *Realm) verifyKey(ctx context.Context, key jeton.Secret) (*jeton.Claims, error) {
	if r.accounts != nil || r.dialect.Login.Has("api_key") {
		return nil, jeton.InvalidToken
	}
	// The counters first: whoever disables writes the state before he raises one.
	counters, err := r.directory.APIKeyCounters(ctx, key)
	if err != nil {
		return nil, err
	}
	k, err := r.directory.AuthenticateAPIKey(ctx, "", key)
	if err != nil {
		return nil, err
	}
	subject := k.Owner
	if subject == "" {
		subject = k.ID
	}
	return &jeton.Claims{
		ID: k.ID, Issuer: r.url, Subject: subject, Tenant: k.Tenant,
		Audience: []string{r.url}, Scope: k.Scope, IssuedAt: k.Created, Generations: counters,
	}, nil
}

// serveVerify answers the dialect's own question whether a token is good.
func (r *Realm) serveVerify(w http.ResponseWriter, req *http.Request, body []byte, a *attempt) {
	x := a.x
	caller, err := r.asker(req.Context(), a)
	var vars jeton.Vars
	var claims *jeton.Claims
	if err == nil {
		vars, claims, err = r.verifyRequest(req, body, a.message)
	}
	if err == nil && !(&subject{claims: claims, vars: a.vars, caller: caller}).own() {
		err = invalidToken("the access token is another client's")
	}
	if err != nil {
		if !jeton.Refused(err) && err != dialect.ErrNoCredentials && req.Context().Err() == nil {
			r.logger.ErrorContext(req.Context(), "token not verified", "realm", r.name, "err", err)
		}
		if errors.Is(err, jeton.InvalidClient) {
			r.dialect.WriteTokenError(w, r.name, r.refuse(req.Context(), a, err))
			return
		}
		r.dialect.WriteCallError(w, r.name, err)
		return
	}
	if x.Answers() {
		if err := r.dialect.WriteResponse(w, x, answerOf(claims, vars)); err != nil {
			r.dialect.WriteCallError(w, r.name, err)
		}
		return
	}
	said := map[string]any{"sub": claims.Subject}
	for name, value := range map[string]string{"client_id": claims.ClientID, "tenant_id": claims.Tenant, "scope": claims.Scope.String()} {
		if value != "" {
			said[name] = value
		}
	}
	writeJSON(w, http.StatusOK, said)
}

// verifyRequest decides about a call to the realm itself. Where the exchange says
// how the token stands in it, that counts, else how calls wear theirs.
func (r *Realm) verifyRequest(req *http.Request, body []byte, m *dialect.Received) (jeton.Vars, *jeton.Claims, error) {
	if own := m.Vars["access_token"]; own != "" {
		claims, err := r.Verify(req.Context(), jeton.NewSecret(own))
		if err == nil {
			err = wornOf(claims, m.Vars, func(name string) bool { return m.Vars[name] != "" })
		}
		return m.Vars, claims, err
	}
	if r.dialect.WholeCall() {
		claims, err := r.VerifyCall(req.Context(), req, body)
		return nil, claims, err
	}
	vars, err := r.dialect.ReadCall(req)
	if err != nil {
		return nil, nil, err
	}
	claims, err := r.Verify(req.Context(), jeton.NewSecret(vars["access_token"]))
	if err == nil {
		err = worn(claims, vars)
	}
	return vars, claims, err
}

// worn compares the credentials that a call wears with those that the token is
// bound to.
func worn(claims *jeton.Claims, vars jeton.Vars) error {
	return wornOf(claims, vars, func(string) bool { return true })
}

// wornOf is worn for some of the credentials.
func wornOf(claims *jeton.Claims, vars jeton.Vars, these func(name string) bool) error {
	good := true
	for name, want := range claims.Bound {
		if !these(name) {
			continue
		}
		got := jeton.Fingerprint(claims.ID, jeton.NewSecret(vars[name]))
		good = jeton.NewSecret(got).Equal(jeton.NewSecret(want)) && good
	}
	if !good {
		return invalidToken("the access token belongs to other credentials than the call wears")
	}
	return nil
}

func answerOf(claims *jeton.Claims, vars jeton.Vars) jeton.Vars {
	answer := vars.Clone()
	for name, value := range map[string]string{
		"user_id": claims.Subject, "client_id": claims.ClientID, "tenant_id": claims.Tenant, "scope": claims.Scope.String(),
	} {
		if value != "" {
			answer[name] = value
		}
	}
	return answer
}
