package issuer

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
)

// serveIntrospect answers what a token is (RFC 7662). Whoever asks learns about
// its own tokens and about those whose audience it is; everything else is not
// active, whether it exists or not. A guard learns about all that a call can
// wear.
func (r *Realm) serveIntrospect(w http.ResponseWriter, req *http.Request) {
	r.serveForm(w, req, "introspect", func(ctx context.Context, a *attempt, p *party, bearer jeton.Secret) (map[string]any, error) {
		inactive := map[string]any{"active": false}
		if p.guard != "" {
			return r.introspectForGuard(ctx, bearer)
		}
		if f, err := r.families.find(ctx, bearer); err == nil {
			return r.introspectRefresh(ctx, f, p, bearer)
		} else if !jeton.Refused(err) {
			return nil, err
		}
		t, err := r.open(ctx, bearer)
		if err != nil {
			if jeton.Refused(err) {
				return inactive, nil
			}
			return nil, err
		}
		if !t.has(p.name()) && !slices.Contains(t.audience, p.clientID()) {
			return inactive, nil
		}
		return r.introspected(t), nil
	})
}

// introspected says of a good access token what RFC 7662 section 2.2 has words for.
func (r *Realm) introspected(t *token) map[string]any {
	return present(map[string]any{
		"active": true, "token_type": "Bearer", "iss": r.url, "jti": t.id, "sub": t.subject,
		"client_id": t.clientID, "tenant_id": t.tenant, "scope": t.scope.String(),
		"aud": single(t.audience), "iat": t.issued.Unix(), "exp": t.expiry.Unix(),
	})
}

func (r *Realm) introspectRefresh(ctx context.Context, f *family, p *party, bearer jeton.Secret) (map[string]any, error) {
	inactive := map[string]any{"active": false}
	if !f.owned(p) || r.families.standing(f, bearer) != current {
		return inactive, nil
	}
	switch _, err := r.reload(ctx, f); {
	case err != nil && jeton.Refused(err):
		return inactive, nil
	case err != nil:
		return nil, err
	}
	return present(map[string]any{
		"active": true, "iss": r.url, "sub": f.subject(), "username": f.Name, "client_id": f.Client, "tenant_id": f.Tenant,
		"scope": f.Scope, "aud": single(f.Audience), "exp": f.record.Due.Unix(),
	}), nil
}

// owned reports whether the family is the party's own: that of the client that
// it was issued to, else of the user.
func (f *family) owned(p *party) bool {
	if f.Client != "" {
		return p.client != nil && p.client.ID == f.Client && p.tenant == f.Tenant
	}
	return p.user != nil && p.user.ID == f.User
}

// present drops what is empty.
func present(answer map[string]any) map[string]any {
	for name, value := range answer {
		if value == "" {
			delete(answer, name)
		}
	}
	return answer
}

// single is how an audience of one is written (RFC 7519 section 4.1.3).
func single(audience []string) any {
	if len(audience) == 1 {
		return audience[0]
	}
	return audience
}

// serveRevoke ends a token (RFC 7009): an access token by itself, a refresh
// token with everything that came out of its login. A token that is not the
// caller's own, or is none, is answered like one that was ended, and nothing
// happens to it.
func (r *Realm) serveRevoke(w http.ResponseWriter, req *http.Request) {
	r.serveForm(w, req, "revoke", func(ctx context.Context, a *attempt, p *party, bearer jeton.Secret) (map[string]any, error) {
		if directory.IsAPIKey(bearer) {
			return nil, jeton.Refuse(jeton.UnsupportedTokenType, "an API key is ended by an administrator")
		}
		if f, err := r.families.find(ctx, bearer); err == nil {
			if !f.owned(p) {
				return nil, nil
			}
			a.entry.Target, a.entry.Detail = f.subject(), "refresh token; its family ended"
			if err := r.accept(ctx, a); err != nil {
				return nil, err
			}
			return nil, r.families.end(ctx, f.id)
		} else if !jeton.Refused(err) {
			return nil, err
		}
		t, err := r.open(ctx, bearer)
		switch {
		case err != nil && jeton.Refused(err):
			return nil, nil // it has ended already, or never was one
		case err != nil:
			return nil, err
		case !t.has(p.name()):
			return nil, nil
		}
		a.entry.Target, a.entry.TokenID = t.subject, t.id
		if err := r.accept(ctx, a); err != nil {
			return nil, err
		}
		return nil, r.endToken(ctx, t.id, t.expiry.Add(revocation.Grace)) // a guard whose clock differs may take it for so long
	})
}

// endToken ends an access token by itself. Due is when nobody would take it any
// more.
func (r *Realm) endToken(ctx context.Context, id string, due time.Time) error {
	_, err := r.store.Put(ctx, store.Record{Key: r.revokedKey(id), Due: due, Value: []byte(`{"v":1}`)})
	if errors.Is(err, store.ErrConflict) {
		err = nil // somebody else revoked it in this moment
	}
	if err == nil {
		r.feed.add(revocation.Event{Token: id, Until: due})
	}
	return err
}

// serveForm answers a request that authenticates like a login and is about one
// token. A nil answer of do is an empty object.
func (r *Realm) serveForm(w http.ResponseWriter, req *http.Request, action string,
	do func(context.Context, *attempt, *party, jeton.Secret) (map[string]any, error)) {
	if !allow(w, req, http.MethodPost) {
		return
	}
	body, ok := readBody(w, req)
	if !ok {
		return
	}
	ctx, a := req.Context(), r.newAttempt(req, action)
	answer, err := func() (map[string]any, error) {
		form, err := readForm(req, body)
		if err != nil {
			return nil, err
		}
		p, err := r.caller(ctx, req, form, a)
		if err != nil {
			return nil, err
		}
		if form.Get("token") == "" {
			return nil, jeton.Refuse(jeton.InvalidRequest, "the token is missing")
		}
		return do(ctx, a, p, jeton.NewSecret(form.Get("token")))
	}()
	switch {
	case err != nil:
		r.dialect.WriteTokenError(w, r.name, r.refuse(ctx, a, err))
	case answer == nil:
		// RFC 7009 section 2.2 leaves the body open, and simple-oauth2 reads
		// nothing but JSON.
		writeJSON(w, http.StatusOK, map[string]any{})
	default:
		writeJSON(w, http.StatusOK, answer)
	}
}

// readForm reads form parameters as strictly as a token endpoint: none twice,
// none in the URL.
func readForm(req *http.Request, body []byte) (url.Values, error) {
	contentType, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil || contentType != "application/x-www-form-urlencoded" {
		return nil, jeton.Refuse(jeton.InvalidRequest, "the content type is to be application/x-www-form-urlencoded")
	}
	if req.URL.RawQuery != "" {
		return nil, jeton.Refuse(jeton.InvalidRequest, "parameters must not stand in the URL, where logs keep them")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !utf8.ValidString(form.Encode()) {
		return nil, jeton.Refuse(jeton.InvalidRequest, "the body is not form-encoded")
	}
	for _, values := range form {
		if len(values) > 1 {
			return nil, jeton.Refuse(jeton.InvalidRequest, "a parameter stands twice")
		}
	}
	return form, nil
}

// caller authenticates whoever asks about a token: a client by either method of
// RFC 6749 section 2.3.1, or by Basic a user in a realm where users log in by
// themselves. In a realm of tenants the parameter tenant_id says which. It is a
// login like every other, so its attempts are limited; they have a budget of
// their own.
func (r *Realm) caller(ctx context.Context, req *http.Request, form url.Values, a *attempt) (*party, error) {
	vars := jeton.Vars{}
	if tenant := form.Get("tenant_id"); tenant != "" {
		vars["tenant_id"] = tenant
	}
	if a.entry.Action == "introspect" {
		if name, err := r.guard(req, a); name != "" || err != nil {
			return &party{guard: name}, err
		}
	}
	name, secret, basic := req.BasicAuth()
	inBody := form.Get("client_secret") != ""
	switch {
	case len(req.Header.Values("Authorization")) > 1 || basic && inBody:
		return nil, jeton.Refuse(jeton.InvalidRequest, "authenticate once: by Basic or in the body")
	case basic && r.users():
		vars["username"], vars["password"] = name, secret
	case basic:
		id, err1 := url.QueryUnescape(name)
		secret, err2 := url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return nil, jeton.Refuse(jeton.InvalidClient, "the Basic credentials are not a form-encoded client_id and client_secret")
		}
		if form.Has("client_id") && form.Get("client_id") != id {
			return nil, jeton.Refuse(jeton.InvalidRequest, "client_id in the body differs from the one in Basic")
		}
		vars["client_id"], vars["client_secret"] = id, secret
	case inBody && form.Get("client_id") != "":
		vars["client_id"], vars["client_secret"] = form.Get("client_id"), form.Get("client_secret")
	default:
		return nil, jeton.Refuse(jeton.InvalidClient, "authenticate by Basic, or by client_id and client_secret in the body")
	}
	ids := identities(vars)
	a.vars = vars
	a.name(ids)
	if err := r.limits.guess("ask", ids, a.ip); err != nil {
		return nil, err
	}
	p, err := r.authenticate(ctx, vars)
	if err != nil && jeton.Refused(err) {
		r.limits.wrong("ask", ids, a.ip)
	}
	if errors.Is(err, jeton.InvalidGrant) {
		err = jeton.InvalidClient
	}
	return p, err
}

// users reports whether the realm's logins are users' own, without a client.
func (r *Realm) users() bool { return r.accounts == nil && r.dialect.Login.Has("username") }
