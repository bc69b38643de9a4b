package issuer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/revocation"
)

// The vendor's own ways to ask about a token and to end one. They name the token
// in a field, or are calls that wear it; a client may authenticate with it. Who
// has a token may ask about it and end it; who authenticates, its own only.

// serveOwnOr answers a request at a path of the realm's that the dialect may use
// for the same thing in its own words.
func (r *Realm) serveOwnOr(w http.ResponseWriter, req *http.Request, kind dialect.Kind, otherwise http.HandlerFunc) {
	x := map[dialect.Kind]*dialect.Exchange{dialect.KindIntrospect: r.dialect.Introspect, dialect.KindRevoke: r.dialect.Revoke}[kind]
	if x == nil || x.Path() != req.URL.Path {
		otherwise(w, req)
		return
	}
	body, ok := readBody(w, req)
	if !ok {
		return
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	m, err := r.dialect.ReadRequest(req, body)
	if err != nil || m.Exchange.Kind != kind {
		otherwise(w, req)
		return
	}
	r.serveDialect(w, req)
}

// A subject is the token that a vendor's own request is about.
type subject struct {
	claims *jeton.Claims // nil: it is not good
	family *family       // that it is a refresh token of; nil: it is none
	vars   jeton.Vars    // of the request, and of the call that it is
	caller *party        // who authenticated; nil: nobody did
	named  bool          // the token stands in a field, so that it can be no good without harm
}

// own reports whether who asks may know about the token.
func (s *subject) own() bool {
	switch {
	case s.family != nil:
		return s.caller == nil || s.family.owned(s.caller)
	case s.claims == nil:
		return false
	}
	if id, named := s.vars["client_id"]; named && s.caller == nil && s.claims.Bound["client_id"] == "" && id != s.claims.ClientID {
		return false
	}
	if s.caller == nil {
		return true
	}
	_, has := s.claims.Generations[s.caller.name()]
	return has
}

// subject authenticates who asks, and finds the token.
func (r *Realm) subject(req *http.Request, body []byte, a *attempt) (*subject, error) {
	ctx := req.Context()
	s := &subject{vars: a.vars.Clone()}
	var err error
	if s.caller, err = r.asker(ctx, a); err != nil {
		return nil, err
	}
	if text := a.vars["refresh_token"]; text != "" {
		s.named = true
		s.family, err = r.families.find(ctx, jeton.NewSecret(text))
		if err != nil && !jeton.Refused(err) || err == nil {
			return s, err
		}
	}
	s.named = s.named || a.vars["access_token"] != ""
	vars, claims, err := r.verifyRequest(req, body, a.message)
	switch {
	case err == nil:
		s.claims = claims
		for name, text := range vars {
			s.vars[name] = text
		}
	case s.named && jeton.Refused(err):
	case errors.Is(err, dialect.ErrNoCredentials):
		return nil, invalidToken("the call carries no access token")
	default:
		return nil, err
	}
	return s, nil
}

// asker authenticates the client, or the user, of a request that presents
// credentials beside the token; nil if it presents none.
func (r *Realm) asker(ctx context.Context, a *attempt) (*party, error) {
	p := r.presentedBeside(a.message)
	switch {
	case r.accounts == nil && a.vars["client_secret"] == "" && a.vars["password"] == "":
		return nil, nil
	case r.accounts != nil && len(r.accounts.lookups(r.dialect, p.names)) == 0 && !proves(r.dialect.Shape(a.x)):
		return nil, nil
	}
	ids := identities(a.vars)
	a.name(ids)
	if err := r.limits.guess("ask", ids, a.ip); err != nil {
		return nil, err
	}
	var who *party
	var err error
	if r.accounts == nil {
		who, err = r.authenticate(ctx, a.vars)
	} else {
		var found *recognised
		if found, err = r.recognise(ctx, p); err == nil {
			who = found.party
		}
	}
	if err != nil && jeton.Refused(err) {
		r.limits.wrong("ask", ids, a.ip)
		err = jeton.InvalidClient
	}
	return who, err
}

// presentedBeside is what a message presents beside the token that it is about.
func (r *Realm) presentedBeside(m *dialect.Received) presented {
	if r.accounts == nil {
		return presented{}
	}
	p := r.presented(m)
	p.names = slices.DeleteFunc(slices.Clone(p.names), func(name string) bool {
		return name == "access_token" || name == "refresh_token" || m.Vars[name] == ""
	})
	return p
}

// ownRevoke ends a token in the vendor's own words. One that is no good, or not
// the asker's, is answered like one that was ended, if it stands in a field (RFC
// 7009 section 2.2); a call that wears it is refused.
func (r *Realm) ownRevoke(req *http.Request, body []byte, a *attempt) (jeton.Vars, error) {
	ctx := req.Context()
	s, err := r.subject(req, body, a)
	if err != nil {
		return nil, err
	}
	answer := s.vars
	r.fill(a.x, &party{account: s.vars}, r.lifetime, answer)
	if !s.own() {
		return answer, nil
	}
	if s.family != nil {
		a.entry.Target, a.entry.Detail = s.family.subject(), "refresh token; its family ended"
		if err := r.accept(ctx, a); err != nil {
			return nil, err
		}
		return answer, r.families.end(ctx, s.family.id)
	}
	a.entry.Target, a.entry.TokenID = s.claims.Subject, s.claims.ID
	if s.claims.Expiry.IsZero() {
		return nil, jeton.Refuse(jeton.UnsupportedTokenType, "such a credential is ended by an administrator")
	}
	if err := r.accept(ctx, a); err != nil {
		return nil, err
	}
	return answer, r.endToken(ctx, s.claims.ID, s.claims.Expiry.Add(revocation.Grace))
}

// serveOwnIntrospect answers what a token is in the vendor's own words.
func (r *Realm) serveOwnIntrospect(w http.ResponseWriter, req *http.Request, body []byte, a *attempt) {
	a.entry.Action = "introspect"
	s, err := r.subject(req, body, a)
	if err == nil && !s.own() && !s.named {
		err = jeton.InvalidToken
	}
	switch {
	case err != nil:
		refusal := r.refuse(req.Context(), a, err)
		if refusal.Code == jeton.InvalidToken {
			r.dialect.WriteCallError(w, r.name, refusal)
			return
		}
		r.dialect.WriteTokenError(w, r.name, refusal)
		return
	case !s.own() || s.claims == nil:
		writeJSON(w, http.StatusOK, map[string]any{"active": false})
		return
	case !a.x.Answers():
		c := s.claims
		writeJSON(w, http.StatusOK, present(map[string]any{
			"active": true, "token_type": "Bearer", "iss": c.Issuer, "jti": c.ID, "sub": c.Subject, "client_id": c.ClientID,
			"tenant_id": c.Tenant, "scope": c.Scope.String(), "aud": single(c.Audience), "exp": c.Expiry.Unix(),
		}))
		return
	}
	if err := r.dialect.WriteResponse(w, a.x, answerOf(s.claims, s.vars)); err != nil {
		r.dialect.WriteTokenError(w, r.name, r.refuse(req.Context(), a, err))
	}
}
