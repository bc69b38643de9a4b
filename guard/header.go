package guard

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// The identity headers say behind the guard whose call it is. One whose claim
// the token does not have is absent.
const (
	HeaderSubject = "X-Auth-Subject"
	HeaderClient  = "X-Auth-Client"
	HeaderTenant  = "X-Auth-Tenant"
	HeaderScope   = "X-Auth-Scope" // separated by spaces
	HeaderIssuer  = "X-Auth-Issuer"
)

// foreign are the headers, folded, that a client may not send: those that say
// who calls, and those by which frameworks take another method or path than the
// ones that were judged.
var foreign = []string{
	"x-auth-subject", "x-auth-client", "x-auth-tenant", "x-auth-scope", "x-auth-issuer",
	"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url",
}

// admit returns the request as what is behind the guard is to see it.
func (g *Guard) admit(r *http.Request, claims *jeton.Claims) (*http.Request, error) {
	id, err := identity(claims)
	if err != nil {
		return r, undecided(err)
	}
	in := r.WithContext(context.WithValue(r.Context(), claimsKey{}, claims))
	in.Header = r.Header.Clone()
	in.Trailer = nil // receivers may take a trailer for a header, and it comes after the judgement
	g.strip(in.Header)
	maps.Copy(in.Header, id)
	return in, nil
}

// identity returns the identity headers. A value that a header field cannot
// hold as it is (RFC 9110 section 5.5) would arrive as somebody else's name.
func identity(c *jeton.Claims) (http.Header, error) {
	h := http.Header{}
	for name, value := range map[string]string{
		HeaderSubject: c.Subject,
		HeaderClient:  c.ClientID,
		HeaderTenant:  c.Tenant,
		HeaderScope:   c.Scope.String(),
		HeaderIssuer:  c.Issuer,
	} {
		if value != strings.TrimSpace(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, errors.New("guard: identify: a claim does not fit in the header " + name)
		}
		if value != "" {
			h.Set(name, value)
		}
	}
	return h, nil
}

// strip removes what a client must not tell those behind the guard.
func (g *Guard) strip(h http.Header) {
	credentials := g.Dialect.Call.Headers()
	for name := range h {
		folded := dialect.FoldHeader(name)
		for _, c := range credentials {
			// Of what is kept, only the one spelling was judged.
			if folded == dialect.FoldHeader(c) && !(g.KeepCredentials && name == c) {
				delete(h, name)
			}
		}
		if slices.Contains(foreign, folded) {
			delete(h, name)
		}
	}
	g.stripConnection(h, credentials)
}

// stripConnection sees to it that no hop-by-hop rule takes away what the guard
// sets or keeps, and that a connection changes to nothing but a WebSocket: over
// one that became HTTP/2, more calls would follow, not judged by anyone.
func (g *Guard) stripConnection(h http.Header, credentials []string) {
	upgrade := h.Values("Upgrade")
	if len(upgrade) != 1 || !strings.EqualFold(upgrade[0], "websocket") {
		h.Del("Upgrade")
	}
	var options []string
	for _, value := range h.Values("Connection") {
		for option := range strings.SplitSeq(value, ",") {
			option = strings.TrimSpace(option)
			folded := dialect.FoldHeader(option)
			switch {
			case option == "", slices.Contains(foreign, folded),
				slices.ContainsFunc(credentials, func(c string) bool { return dialect.FoldHeader(c) == folded }):
			default:
				options = append(options, option)
			}
		}
	}
	h.Del("Connection")
	if len(options) > 0 {
		h.Set("Connection", strings.Join(options, ", "))
	}
}
