// Package console has the admin pages: who runs a realm creates, rotates,
// disables and removes its client applications, users, API keys and tenants
// there, and reads the audit log.
//
// The pages make the same [directory.Directory] calls as the command line and keep
// no state but sign-in links and sessions, which are records of the store. They
// are rendered here, work without scripts, and load nothing from elsewhere.
//
// There are no accounts: whoever can write to the store can make a sign-in link
// with [Console.NewLink], and whoever holds one can sign in once.
package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/store"
)

// A Config declares a console. Store, Audit and URL must be there.
type Config struct {
	Realms []*issuer.Realm // in any order; none: the console can still make sign-in links
	Store  store.Store     // keeps links and sessions; give it sealed
	Audit  audit.Log

	// URL is where browsers find the console: scheme, host and the path that
	// all its pages begin with, such as http://127.0.0.1:8080/console/.
	// Sign-in links begin with it. Cookies are marked Secure if it is https.
	URL string

	Logger *slog.Logger // nil: slog.Default
}

// Console serves the admin pages. It is an http.Handler for requests with their
// whole path, the prefix included, and safe for concurrent use. Several
// processes may serve one console over the same store.
type Console struct {
	url    *url.URL
	base   string // path of all pages; begins and ends with a slash
	realms []*issuer.Realm
	store  store.Store
	log    audit.Log
	logger *slog.Logger
	cross  *http.CrossOriginProtection
}

// New returns a console.
func New(c Config) (*Console, error) {
	if c.Store == nil || c.Audit == nil {
		return nil, errors.New("console: store and audit log must be given")
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("console: the URL must be http or https, with a host and without query, fragment and user")
	}
	u = u.JoinPath("/")
	s := &Console{
		url: u, base: u.EscapedPath(), realms: slices.Clone(c.Realms), store: c.Store, log: c.Audit, logger: c.Logger,
		cross: http.NewCrossOriginProtection(),
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	slices.SortFunc(s.realms, func(a, b *issuer.Realm) int { return cmp.Compare(a.Name(), b.Name()) })
	// A proxy in front may change the Host header, with which the origin would
	// else be compared.
	if err := s.cross.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return s, nil
}

// A visit is one request of somebody who is signed in.
type visit struct {
	*http.Request
	csrf string // what every form must carry
	ip   string
}

// An answer is what a page function returns: a page, or where to go on.
type answer struct {
	status   int    // zero: 200
	page     string // name of the template
	view     view
	redirect string // if not empty, the answer is 303 to this path and nothing else
	allow    string // with 405: the methods
}

const maxBody = 64 << 10 // bytes of a form

// ServeHTTP serves a page.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer c.recoverPanic(w)
	writeSecurityHeaders(w.Header())
	a, err := c.serve(w, r)
	if err != nil {
		a = c.failure(r, err)
	}
	c.write(w, a)
}

// writeSecurityHeaders forbids the browser whatever a page does not need.
func writeSecurityHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; "+
		"form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// serve makes the checks that hold for every page, in the order of how little
// they need, and finds the page.
func (c *Console) serve(w http.ResponseWriter, r *http.Request) (answer, error) {
	if !c.ownHost(r.Host) {
		return answer{}, &pageError{status: http.StatusMisdirectedRequest, title: "Wrong host",
			text: "The console does not answer under this host name. Use " + c.url.String()}
	}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), c.base)
	if !ok {
		if r.URL.EscapedPath()+"/" == c.base {
			return answer{redirect: c.base}, nil
		}
		return answer{}, errNoPage
	}
	if err := c.cross.Check(r); err != nil {
		return answer{}, errForged
	}
	if r.Method == http.MethodPost {
		if err := readForm(w, r); err != nil {
			return answer{}, err
		}
	}
	switch path {
	case "style.css", "icon.svg":
		return answer{page: path}, only(r, http.MethodGet)
	case "sign-in":
		return c.signIn(w, r)
	}
	cookie, err := c.session(r)
	if err != nil {
		return answer{}, err
	}
	v := &visit{Request: r, csrf: csrfToken(cookie), ip: remoteIP(r)}
	if r.Method == http.MethodPost && !sameText(r.PostForm.Get("csrf"), v.csrf) {
		return answer{}, errForged
	}
	if path == "sign-out" {
		return c.signOut(w, v, cookie)
	}
	return c.route(v, path)
}

// route finds the page for those who are signed in.
func (c *Console) route(v *visit, path string) (answer, error) {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		text, err := url.PathUnescape(s)
		if err != nil {
			return answer{}, errNoPage
		}
		segments[i] = text
	}
	switch {
	case path == "":
		return c.overview(v)
	case path == "audit":
		return c.auditLog(v, nil)
	case segments[0] != "realms" || len(segments) < 2 || len(segments) > 4:
		return answer{}, errNoPage
	}
	i := slices.IndexFunc(c.realms, func(r *issuer.Realm) bool { return r.Name() == segments[1] })
	if i < 0 {
		return answer{}, errNoPage
	}
	realm := c.realms[i]
	if len(segments) == 3 && segments[2] == "audit" {
		return c.auditLog(v, realm)
	}
	if len(segments) == 2 {
		return answer{redirect: c.path(realm, sectionsOf(realm)[0].path)}, only(v.Request, http.MethodGet)
	}
	p, err := c.open(v, realm, segments[2])
	if err != nil {
		return answer{}, err
	}
	if len(segments) == 3 {
		return p.list()
	}
	return p.operate(segments[3])
}

// ownHost reports whether a Host header is one under which browsers find the
// console by right. Another name that resolves to this address belongs to
// whoever wants to read the pages with it (DNS rebinding).
func (c *Console) ownHost(hostport string) bool {
	host := (&url.URL{Host: hostport}).Hostname()
	return strings.EqualFold(host, c.url.Hostname()) || jeton.IsLoopback(host)
}

// readForm reads the fields of a POST. They count only if they stand in the
// body: what stands in the URL is in histories and logs.
func readForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	err := r.ParseForm()
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return &pageError{status: http.StatusRequestEntityTooLarge, title: "Too much", text: "The form is larger than the console takes."}
	}
	if err != nil {
		return &pageError{status: http.StatusBadRequest, title: "Bad request", text: "The form could not be read."}
	}
	return nil
}

// only refuses all other methods. Where GET is good, HEAD is.
func only(r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) || r.Method == http.MethodHead && slices.Contains(methods, http.MethodGet) {
		return nil
	}
	allow := strings.Join(methods, ", ")
	return &pageError{status: http.StatusMethodNotAllowed, title: "Method not allowed", text: "This page takes " + allow + " only.", allow: allow}
}

func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

// recoverPanic answers a panic with 500 and logs it once, without its value,
// which may hold a secret. http.ErrAbortHandler goes on its way.
func (c *Console) recoverPanic(w http.ResponseWriter) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	c.logger.Error("panic", "type", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
	http.Error(w, "The page could not be made.", http.StatusInternalServerError)
}

// append writes an audit entry about the console itself.
func (c *Console) append(ctx context.Context, e audit.Entry) error {
	e.Actor = cmp.Or(e.Actor, actor)
	if err := c.log.Append(ctx, e); err != nil {
		return fmt.Errorf("console: write the audit log: %w", err)
	}
	return nil
}

// actor is who the audit log says did what a page does.
const actor = "console"
