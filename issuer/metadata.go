package issuer

import (
	"net/http"
	"strings"

	"github.com/jetonhq/jeton"
)

// serveMetadata answers with what a client needs to know about the realm (RFC
// 8414 section 2). It says nothing that is not so.
func (r *Realm) serveMetadata(w http.ResponseWriter, req *http.Request) {
	if !allow(w, req, http.MethodGet, http.MethodHead) {
		return
	}
	methods := []string{"client_secret_basic", "client_secret_post"}
	metadata := map[string]any{
		"issuer":                 r.url,
		"jwks_uri":               r.url + jwksPath,
		"grant_types_supported":  r.grants(),
		"introspection_endpoint": r.url + introspectPath,
		"revocation_endpoint":    r.url + revokePath,
		"revocations_endpoint":   r.url + revocationsPath, // also where there are no guards: who is none misses what ends
		// No authorization endpoint, so no response types.
		"response_types_supported":                      []string{},
		"introspection_endpoint_auth_methods_supported": methods,
		"revocation_endpoint_auth_methods_supported":    methods,
		"token_endpoint_auth_methods_supported":         r.loginMethods(),
	}
	if methods := r.loginMethods(); methods == nil {
		delete(metadata, "token_endpoint_auth_methods_supported") // there is no word for them
	}
	if path := r.dialect.Login.Path(); r.dialect.Login.Method != "" && !strings.Contains(path, "$") {
		metadata["token_endpoint"] = r.url + path // one for all tenants; with a tenant in its path there is none
	}
	if len(r.guards) > 0 {
		metadata["introspection_endpoint_auth_methods_supported"] = append(methods, "Bearer")
	}
	if order := r.dialect.Scope.Order; len(order) > 0 {
		metadata["scopes_supported"] = order
	}
	writeJSON(w, http.StatusOK, metadata)
}

// grants returns the grant types that the realm takes.
func (r *Realm) grants() []string {
	if r.dialect.Standard {
		grants := []string{string(jeton.GrantClientCredentials)}
		if r.password {
			grants = append(grants, string(jeton.GrantPassword), string(jeton.GrantRefreshToken))
		}
		return grants
	}
	grants := []string{}
	if r.dialect.Login.Method != "" {
		grants = append(grants, string(r.dialect.Login.Grant))
	}
	if len(r.dialect.Refresh) > 0 && (r.users() || r.accounts != nil && r.refreshes()) && r.dialect.Login.Returns("refresh_token") {
		grants = append(grants, string(jeton.GrantRefreshToken))
	}
	return grants
}

// loginMethods returns how a client authenticates at the token endpoint.
func (r *Realm) loginMethods() []string {
	login := r.dialect.Login
	switch {
	case r.dialect.Standard:
		return []string{"client_secret_basic", "client_secret_post"}
	case login.Basic():
		return []string{"client_secret_basic"}
	case login.Has("client_secret"):
		return []string{"client_secret_post"}
	case r.accounts != nil:
		return nil
	}
	return []string{"none"} // the user's password is the only credential
}

// serveKeys answers with the realm's public keys (RFC 7517).
func (r *Realm) serveKeys(w http.ResponseWriter, req *http.Request) {
	if !allow(w, req, http.MethodGet, http.MethodHead) {
		return
	}
	keys, err := r.ring.JWKS()
	if err != nil {
		r.logger.Error("read the signing keys", "realm", r.name, "err", err)
		writeProblem(w, http.StatusServiceUnavailable, jeton.Unavailable, "")
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(keys)
}
