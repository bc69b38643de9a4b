package guard

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// HeaderStatus says in an answer of [Guard.ForwardAuth] which status the guard
// would have answered by itself. nginx knows only some.
const HeaderStatus = "X-Auth-Status"

// An asker is a proxy that asks about a call before it forwards it: where it
// writes what the call is. Names are folded.
type asker struct {
	known   []string // each may stand once; the first two, method and URI, must; nil: those of the question itself
	foreign []string // beside those that none may send: other proxies write the same in them
	status  func(status int) int
	good    int  // the status for a call that is let through; 204 costs least
	whole   bool // it writes something else for an identity header that is not there, so that one is empty
}

// askers are the proxies that ForwardAuth knows.
var askers = map[string]asker{ // :: name -> how it asks
	"nginx": {
		known:   []string{"x-original-method", "x-original-uri"},
		foreign: []string{"x-forwarded-method", "x-forwarded-uri"},
		status:  nginxStatus,
		good:    http.StatusNoContent,
	},
	"traefik": forwardedAsker(false),
	"caddy":   forwardedAsker(true),
	"envoy": {
		foreign: []string{"x-forwarded-method", "x-forwarded-uri"},
		status:  func(status int) int { return status },
		good:    http.StatusOK, // it takes no other
	},
}

func forwardedAsker(whole bool) asker {
	return asker{
		known:  []string{"x-forwarded-method", "x-forwarded-uri", "x-forwarded-host", "x-forwarded-proto"},
		status: func(status int) int { return status },
		good:   http.StatusNoContent,
		whole:  whole,
	}
}

// nginxStatus is what auth_request makes no 500 of. A guard that cannot decide
// is one: it blames nobody.
func nginxStatus(status int) int {
	if status == http.StatusUnauthorized || status >= 500 {
		return status
	}
	return http.StatusForbidden
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// ForwardAuth returns a handler that decides for a proxy in front of the API,
// which asks before it forwards a call: nginx (auth_request), traefik, caddy or
// envoy (ext_authz over HTTP). A good call is 204, or 200 for Envoy, with the identity headers,
// which the proxy has to copy; another one is refused as [Guard.Handler] would.
// Nothing may be kept.
//
// Each proxy says in its own headers what the call is, and only those are read:
//
//	nginx           X-Original-Method and X-Original-URI
//	traefik, caddy  X-Forwarded-Method and X-Forwarded-Uri
//	envoy           the method and the path of the question
//
// A question is refused if one of them is missing or stands twice in any
// spelling, if it has those of another proxy or any other header that only the
// guard or the proxy writes, since a client sent it, or if it does not come from
// an address in From.
//
// Over nginx a refusal is 401, 403 or 500, since it passes on no other; what it
// should have been is in [HeaderStatus]. GraphQL calls are refused: the API would
// see another body than the one that was written anew. Calls that go on do not
// end with their token, as those of [Guard.Proxy] do.
func (g *Guard) ForwardAuth(proxy string) (http.Handler, error) {
	a, ok := askers[proxy]
	if !ok {
		return nil, fmt.Errorf("guard: no proxy is called %q; these are known: %s", proxy, strings.Join(slices.Sorted(maps.Keys(askers)), ", "))
	}
	from := g.From
	if len(from) == 0 {
		from = loopback
	}
	running := g.newRunning()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		g.showAge(w.Header())
		if !within(address(r.RemoteAddr), from) {
			problem(w, http.StatusForbidden, "this address may not ask")
			return
		}
		asked, err := a.call(r)
		if err != nil {
			g.refuse(&refusal{ResponseWriter: w, status: a.status}, r, err)
			return
		}
		claims, err := g.Decide(asked)
		if err == nil && g.Revocations != nil {
			err = running.ended(claims)
		}
		if err == nil {
			err = a.tell(w.Header(), claims)
		}
		if g.Decided != nil {
			g.Decided(err)
		}
		if err != nil {
			g.refuse(&refusal{ResponseWriter: w, status: a.status}, asked, err)
			return
		}
		w.WriteHeader(a.good)
	}), nil
}

// tell says whose call it is, or nothing if there is an error.
func (a *asker) tell(h http.Header, claims *jeton.Claims) error {
	if err := identify(h, claims); err != nil {
		return undecided(err)
	}
	for _, name := range identityHeaders {
		if a.whole && h[name] == nil {
			h[name] = []string{""}
		}
	}
	return nil
}

// call returns the call that a question is about.
func (a *asker) call(r *http.Request) (*http.Request, error) {
	var said [4]string // of known
	var seen uint      // bit i: a.known[i] was there
	for name, values := range r.Header {
		if !suspect(name) {
			continue // of no interest, and the most frequent
		}
		switch i := indexHeader(a.known, name); {
		case i >= 0 && (len(values) != 1 || seen&(1<<i) != 0):
			return nil, jeton.Refuse(jeton.InvalidRequest, "the header "+dialect.FoldHeader(name)+" stands twice")
		case i >= 0:
			said[i] = values[0]
			seen |= 1 << i
		case indexHeader(a.foreign, name) >= 0, foreign(name):
			return nil, jeton.Refuse(jeton.InvalidRequest, "a client may not send the header "+dialect.FoldHeader(name))
		}
	}
	asked := new(http.Request)
	*asked = *r
	asked.Body, asked.ContentLength = http.NoBody, 0
	if len(a.known) == 0 {
		return asked, nil
	}
	method, uri := said[0], said[1]
	if method == "" || uri == "" {
		return nil, undecided(errors.New("guard: forward-auth: the proxy does not send " + a.known[0] + " and " + a.known[1]))
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil || uri[0] != '/' || strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }) {
		return nil, jeton.Refuse(jeton.InvalidRequest, "the URI of the call is malformed")
	}
	asked.Method, asked.URL, asked.RequestURI = method, u, uri
	return asked, nil
}

// indexHeader returns where a header is in a list of folded names, or -1.
func indexHeader(list []string, name string) int {
	return slices.IndexFunc(list, func(s string) bool { return dialect.SameHeader(s, name) })
}

// A refusal is an answer in whose place the proxy wants another status.
type refusal struct {
	http.ResponseWriter
	status func(int) int
}

// WriteHeader begins the answer.
func (f *refusal) WriteHeader(status int) {
	f.Header().Set(HeaderStatus, strconv.Itoa(status))
	f.ResponseWriter.WriteHeader(f.status(status))
}
