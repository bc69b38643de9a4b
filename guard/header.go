package guard

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

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

// identityHeaders are in the order in which identify has the claims.
var identityHeaders = [...]string{HeaderSubject, HeaderClient, HeaderTenant, HeaderScope, HeaderIssuer}

// HeaderAge says in an answer how old the knowledge of revocations was by which
// the call was decided, in seconds with three decimals; see [Guard.ShowAge].
const HeaderAge = "X-Auth-Age"

// own are the headers, folded, that only the guard writes.
var own = map[string]bool{
	"x-auth-subject": true, "x-auth-client": true, "x-auth-tenant": true, "x-auth-scope": true, "x-auth-issuer": true,
	"x-auth-age": true, "x-auth-status": true,
}

// misleading are the headers, folded, by which frameworks take another method
// or path than the ones that were judged.
var misleading = map[string]bool{
	"x-http-method-override": true, "x-http-method": true, "x-method-override": true,
	"x-original-url": true, "x-rewrite-url": true,
	"x-original-uri": true, "x-original-method": true, "x-envoy-original-path": true,
	"script-name": true, "path-info": true, "x-script-name": true, // of CGI; some servers take them from the header
	"proxy":           true,                          // which CGI tells programs as the proxy that they are to use
	"x-sendfile-type": true, "x-accel-mapping": true, // by which an API has a proxy in front answer with another file
}

// suspect reports whether a header's name begins as those of own and misleading
// do.
func suspect(name string) bool {
	if name == "" {
		return false
	}
	switch name[0] | 0x20 {
	case 'x', 's', 'p':
		return true
	}
	return false
}

// folded reports whether a header's name, folded, is in one of these sets. It
// allocates nothing for a short name: it looks at each header of each call.
func folded(set map[string]bool, name string) bool {
	var buffer [32]byte
	return suspect(name) && set[string(dialect.AppendFolded(buffer[:0], name))]
}

// foreign reports whether a client may not send the header.
func foreign(name string) bool { return folded(own, name) || folded(misleading, name) }

// dropForeign removes from an answer what only the guard says.
func dropForeign(h http.Header) {
	for name := range h {
		if folded(own, name) {
			delete(h, name)
		}
	}
}

// showAge says how fresh a decision of this moment is.
func (g *Guard) showAge(h http.Header) {
	if !g.ShowAge || g.Revocations == nil {
		return
	}
	if age, ok := g.Revocations.Age(time.Now()); ok {
		h.Set(HeaderAge, strconv.FormatFloat(age.Seconds(), 'f', 3, 64))
	}
}

// admit returns the request as what is behind the guard is to see it.
func (g *Guard) admit(c *runningCall, r *http.Request) (*http.Request, error) {
	in := r.WithContext(c.ctx)
	in.Header = r.Header.Clone()
	in.Trailer = nil // receivers may take a trailer for a header, and it comes after the judgement
	g.strip(in.Header)
	if query := g.Dialect.Call.StripQuery(r.URL.RawQuery); query != r.URL.RawQuery && !g.KeepCredentials {
		u := *r.URL
		u.RawQuery = query
		in.URL, in.RequestURI = &u, u.RequestURI()
	}
	if err := identify(in.Header, c.claims); err != nil {
		return r, undecided(err)
	}
	return in, nil
}

// identify sets the identity headers. A value that a header field cannot hold
// as it is (RFC 9110 section 5.5) would arrive as somebody else's name; then none
// is set.
func identify(h http.Header, c *jeton.Claims) error {
	values := [...]string{c.Subject, c.ClientID, c.Tenant, c.Scope.String(), c.Issuer}
	for i, value := range values {
		if value != strings.TrimSpace(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return errors.New("guard: identify: a claim does not fit in the header " + identityHeaders[i])
		}
	}
	list := slices.Clone(values[:]) // one for all headers
	for i, value := range list {
		if value != "" {
			h[identityHeaders[i]] = list[i : i+1 : i+1]
		}
	}
	return nil
}

// strip removes what a client must not tell those behind the guard.
func (g *Guard) strip(h http.Header) {
	credentials := g.Dialect.Call.Headers()
	for name := range h {
		for _, c := range credentials {
			// Of what is kept, only the one spelling was judged.
			if dialect.SameHeader(name, c) && !(g.KeepCredentials && name == c) {
				delete(h, name)
			}
		}
		if foreign(name) {
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
			switch {
			case option == "", foreign(option),
				slices.ContainsFunc(credentials, func(c string) bool { return dialect.SameHeader(c, option) }):
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
