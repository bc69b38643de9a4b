package dialect

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/strictjson"
)

// A Call says how an API call wears the token.
type Call struct {
	base address
	wearing

	once  bool // something is made for each call
	whole bool // more is to be proven about a call than its token

	// accept are other ways to wear it that the vendor documents; only a
	// server needs to know them.
	accept []*Call
}

// Holes returns the names that a call needs: of its URL and of what it wears.
func (c *Call) Holes() []string { return appendNew(c.base.holes(), c.needs()...) }

// Headers returns the names of the headers in which a call can carry
// credentials, in whichever way it wears them; Authorization is the first.
func (c *Call) Headers() []string {
	names := []string{"Authorization"}
	for _, way := range c.ways() {
		for _, f := range way.headers {
			if name := http.CanonicalHeaderKey(f.name); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		if len(way.cookies) > 0 {
			names = appendNew(names, "Cookie")
		}
		if way.sign != nil && way.sign.kind == "aws4" {
			names = appendNew(names, "X-Amz-Security-Token")
		}
	}
	return names
}

// ways returns the ways to wear the token, the vendor's first one first.
func (c *Call) ways() []*Call { return append([]*Call{c}, c.accept...) }

// StripQuery returns an encoded query without the parameters that can carry
// credentials. It is the same text if there are none.
func (c *Call) StripQuery(query string) string {
	if query == "" {
		return ""
	}
	for _, way := range c.ways() {
		for _, f := range way.query {
			if f.value.variable() {
				query = stripQuery(query, f.name)
			}
		}
	}
	return query
}

// Path returns the path that every call's URL begins with; "" if none.
func (c *Call) Path() string { return strings.TrimSuffix(address{path: c.base.path}.String(), "/") }

// CallURL returns the URL under which the vendor's API stands. An origin, if
// not nil, replaces scheme and host and puts its path in front.
func (d *Dialect) CallURL(origin *url.URL, vars jeton.Vars) (*url.URL, error) {
	e, err := d.env(vars, time.Now())
	var u *url.URL
	if err == nil {
		u, err = d.Call.base.fill(origin, e)
	}
	if err == nil && d.leads(d.Call.base) {
		err = d.led(u, origin, e)
	}
	if err != nil {
		return nil, fmt.Errorf("dialect: %s: write the URL of a call: %w", d.Name, err)
	}
	return u, nil
}

// FoldHeader makes header names equal that some receiver takes for one: CGI and
// its heirs read X-Api-Key, x_api_key and X.Api.Key as the same.
func FoldHeader(name string) string { return string(AppendFolded(nil, name)) }

// AppendFolded appends to b what [FoldHeader] makes of a name.
func AppendFolded(b []byte, name string) []byte {
	for _, r := range name {
		if r >= utf8.RuneSelf {
			r = '-'
		}
		b = append(b, foldByte(byte(r)))
	}
	return b
}

// foldByte is [FoldHeader] for one character of ASCII.
func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}

// SameHeader reports whether two names are the same to [FoldHeader]. It
// allocates nothing for names of ASCII: it runs for every header of every call.
func SameHeader(a, b string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] >= utf8.RuneSelf || b[i] >= utf8.RuneSelf {
			return FoldHeader(a) == FoldHeader(b)
		}
		if foldByte(a[i]) != foldByte(b[i]) {
			return false // as nearly always
		}
	}
	return len(a) == len(b)
}

// WriteCall makes r wear the token: vars holds access_token and whatever else
// a call needs. What r had in those headers and query parameters is replaced.
func (d *Dialect) WriteCall(r *http.Request, vars jeton.Vars) error {
	w, err := d.Wear(vars)
	if err == nil {
		w.Write(r)
	}
	return err
}

// Led reports whether the vendor's answer to a login says where its API stands.
func (d *Dialect) Led() bool { return d.leads(d.Call.base) }

// Wears reports whether calls carry anything of the token, which they do not
// where each is signed.
func (c *Call) Wears() bool { return slices.Contains(c.Holes(), "access_token") }

// A Worn is what makes calls wear one token, worked out once for all of them.
// It holds the token and prints as "[redacted]". It does not change, and is safe
// for concurrent use.
type Worn struct {
	drop   []string    // folded names of the headers that could be read as a credential of the call
	set    [][2]string // :: name, value of headers
	query  []field     // whose parameters could be
	append string      // encoded parameters
	once   bool
}

// Once reports whether it is for one call only: something in it is new for each,
// such as a moment or a nonce.
func (w *Worn) Once() bool { return w.once }

// Wear works out what [Dialect.WriteCall] writes.
func (d *Dialect) Wear(vars jeton.Vars) (*Worn, error) {
	e, err := d.env(vars, time.Now())
	if err != nil {
		return nil, fmt.Errorf("dialect: %s: write a call: %w", d.Name, err)
	}
	c := d.Call
	like := &http.Request{Header: http.Header{}}
	if err := d.writeHeaders(like, &c.wearing, e); err != nil {
		return nil, fmt.Errorf("dialect: %s: write a call: %w", d.Name, err)
	}
	w := &Worn{query: c.query, once: c.once}
	for _, name := range c.Headers() {
		w.drop = append(w.drop, FoldHeader(name))
	}
	for name, values := range like.Header {
		w.set = append(w.set, [2]string{name, values[0]})
	}
	if len(c.query) > 0 {
		if w.append, err = d.encode(c.query, e); err != nil {
			return nil, fmt.Errorf("dialect: %s: write a call: %w", d.Name, err)
		}
	}
	return w, nil
}

// Write makes r wear the token, as [Dialect.WriteCall] does.
func (w *Worn) Write(r *http.Request) {
	for name := range r.Header {
		if slices.ContainsFunc(w.drop, func(own string) bool { return SameHeader(name, own) }) {
			delete(r.Header, name)
		}
	}
	for _, f := range w.set {
		r.Header[f[0]] = []string{f[1]}
	}
	if len(w.query) == 0 {
		return
	}
	for _, f := range w.query {
		r.URL.RawQuery = stripQuery(r.URL.RawQuery, f.name)
	}
	if r.URL.RawQuery != "" {
		r.URL.RawQuery += "&"
	}
	r.URL.RawQuery += w.append
}

// stripQuery returns an encoded query without what a server may read as a
// parameter of that name.
func stripQuery(query, name string) string {
	mine := func(text string) bool {
		got, _, _ := strings.Cut(text, "=")
		got, err := url.QueryUnescape(got)
		return err == nil && got == name
	}
	if query == "" {
		return ""
	}
	kept := slices.DeleteFunc(strings.Split(query, "&"), func(text string) bool {
		return slices.ContainsFunc(strings.Split(text, ";"), mine) // some servers split there too
	})
	return strings.Join(kept, "&")
}

// Format writes "[redacted]", whatever the verb.
func (w *Worn) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// ReadCall finds the token and the other credentials that an API call wears.
// The error is [ErrNoCredentials] if there is no token, a [*jeton.Error] with
// invalid_request if a credential stands twice or is malformed, or one with
// invalid_token if what must go with the token is missing.
func (d *Dialect) ReadCall(r *http.Request) (jeton.Vars, error) {
	for _, c := range d.Call.ways() {
		// What is malformed is not asked whether it fits otherwise.
		if vars, err := c.read(r, d.optional); !errors.Is(err, ErrNoCredentials) {
			return vars, err
		}
	}
	return nil, ErrNoCredentials
}

// Bearer finds the token that an API call wears, and what goes with it by
// name. Where nothing but a bearer token is worn it allocates nothing: vars is
// nil then, and the token is good as long as nobody writes over the header's
// text. It judges as [Dialect.ReadCall] does, but there leaves it to the caller
// to have that look at a token that nobody knows: to read all of a token that
// was found good before is wasted time.
func (d *Dialect) Bearer(r *http.Request) (token jeton.Secret, vars jeton.Vars, err error) {
	if d.Call.plain() {
		// Whatever is wrong is put into words below.
		if token, err := rawBearer(r); err == nil {
			return token, nil, nil
		}
	}
	if vars, err = d.ReadCall(r); err != nil {
		return jeton.Secret{}, nil, err
	}
	if vars["access_token"] == "" {
		return jeton.Secret{}, nil, ErrNoCredentials
	}
	return jeton.NewSecret(vars["access_token"]), vars, nil
}

// plain reports whether all that a call wears is the token, as its bearer.
func (c *Call) plain() bool {
	return len(c.bearer) == 1 && c.bearer[0].hole == "access_token" &&
		c.basic == nil && len(c.headers) == 0 && len(c.query) == 0 && len(c.cookies) == 0 && len(c.accept) == 0
}

// rawBearer returns what stands as a bearer token (RFC 6750 section 2.1) and
// allocates nothing.
func rawBearer(r *http.Request) (jeton.Secret, error) {
	token, in, ok, err := scheme(r, "Bearer")
	if err != nil {
		return jeton.Secret{}, err
	}
	if !ok || token == "" {
		return jeton.Secret{}, ErrNoCredentials
	}
	return jeton.SecretIn(in, len(*in)-len(token)), nil
}

// bearer is rawBearer for what may be a token.
func bearer(r *http.Request) (jeton.Secret, error) {
	token, err := rawBearer(r)
	if text := token.Reveal(); err == nil && (strings.ContainsAny(text, " ,\t") || !utf8.ValidString(text)) {
		return jeton.Secret{}, errBearer
	}
	return token, err
}

var errBearer = jeton.Refuse(jeton.InvalidRequest, "the bearer token is malformed")

func (c *Call) read(r *http.Request, optional func(string) bool) (jeton.Vars, error) {
	b, err := c.bound(r, optional)
	if err != nil {
		return nil, err
	}
	return b.vars, nil
}

func (c *Call) bound(r *http.Request, optional func(string) bool) (*bound, error) {
	b := newBound()
	fits := 0
	for _, name := range c.Headers() {
		if len(r.Header.Values(name)) > 1 {
			return nil, jeton.Refuse(jeton.InvalidRequest, "the header "+name+" stands twice")
		}
	}
	if c.bearer != nil {
		token, err := bearer(r)
		if err != nil {
			return nil, err
		}
		if !c.bearer.read(token.Reveal(), b) {
			return nil, errBearer
		}
	}
	if c.basic != nil {
		if _, _, ok, err := scheme(r, "Basic"); err != nil || !ok {
			return nil, ErrNoCredentials
		}
		if err := readBasic(r, c.basic, b, &fits); err != nil {
			return nil, ErrNoCredentials
		}
	}
	if err := readCookies(r, c.cookies, optional, b, &fits); err != nil {
		return nil, ErrNoCredentials
	}
	for _, f := range c.headers {
		if err := readHeaders(r, []field{f}, optional, b, &fits); err != nil {
			if f.value.has("access_token") {
				return nil, ErrNoCredentials
			}
			return nil, companionError(r, f.name, err)
		}
	}
	if c.bearer == nil && c.alone() && strings.ContainsAny(b.vars["access_token"], " \t,") {
		return nil, ErrNoCredentials // another scheme, or a list
	}
	if len(c.query) > 0 {
		query, err := parseParameters(r.URL.RawQuery, "the query")
		if err != nil {
			return nil, err
		}
		if readFields(c.query, query, optional, b, &fits) != nil {
			return nil, ErrNoCredentials
		}
	}
	return b, nil
}

// alone reports whether the token is all that the Authorization header has, so
// that another scheme there could be taken for it.
func (c *Call) alone() bool {
	return slices.ContainsFunc(c.headers, func(f field) bool {
		return strings.EqualFold(f.name, "Authorization") && len(f.value) == 1 && f.value[0].hole == "access_token"
	})
}

// companionError says that a header which goes with the token is missing.
func companionError(r *http.Request, name string, err error) error {
	if len(r.Header.Values(name)) == 0 {
		return jeton.Refuse(jeton.InvalidToken, "the header "+name+" is missing")
	}
	return err
}

// Rejected reports whether an API's answer means that the token is not, or no
// longer, good: 401, and the dialect's own status for invalid_token. A 403
// with insufficient_scope (RFC 6750 section 3.1) is about the permission. Where a
// vendor refuses with a status that also means yes, only the body tells them
// apart: see [Dialect.RejectedBy].
func (d *Dialect) Rejected(status int, header http.Header) bool {
	own := d.Errors[jeton.InvalidToken].Status
	if status != http.StatusUnauthorized && (own != status || own < 300) {
		return false
	}
	return !strings.Contains(header.Get("WWW-Authenticate"), string(jeton.InsufficientScope))
}

// InBody reports whether the body of an answer may say that the token is not
// good, though the status does not.
func (d *Dialect) InBody(status int, header http.Header) bool {
	own := d.Errors[jeton.InvalidToken]
	return own.body != nil && own.Status == status && status < 300 && strings.Contains(header.Get("Content-Type"), "json")
}

// RejectedBy reports whether a body says that the token is not good: it has every
// fixed text of the dialect's own refusal.
func (d *Dialect) RejectedBy(body []byte) bool {
	t, fits := d.Errors[jeton.InvalidToken].body, 0
	doc, err := strictjson.Parse(body)
	if err != nil || t == nil {
		return false
	}
	return t.read(doc, "", reading{literals: true, optional: func(string) bool { return true }}, newBound(), &fits) == nil && fits > 0
}

// WriteTokenError writes a refusal of a token endpoint: RFC 6749 section 5.2
// unless the dialect says otherwise. What is not a [*jeton.Error] is shown as
// server_error with 503 and nothing more; logging it is up to the caller.
func (d *Dialect) WriteTokenError(w http.ResponseWriter, realm string, err error) {
	e, ok := errors.AsType[*jeton.Error](err)
	if !ok {
		e = jeton.Refuse(jeton.ServerError, "the request could not be decided; try again later")
	}
	status := map[jeton.Code]int{
		jeton.InvalidClient:     http.StatusUnauthorized,
		jeton.InvalidToken:      http.StatusUnauthorized,
		jeton.InsufficientScope: http.StatusForbidden,
		jeton.SlowDown:          http.StatusTooManyRequests,
		jeton.Unavailable:       http.StatusServiceUnavailable,
		jeton.ServerError:       http.StatusServiceUnavailable,
	}[e.Code]
	if status == 0 {
		status = http.StatusBadRequest
	}
	switch e.Code {
	case jeton.InvalidClient:
		w.Header().Set("WWW-Authenticate", "Basic realm="+quoted(realm))
	case jeton.InvalidToken:
		w.Header().Set("WWW-Authenticate", challenge(realm, e))
	}
	d.writeError(w, status, e)
}

// WriteCallError writes a refusal of an API call: RFC 6750 section 3 unless
// the dialect says otherwise. That section wants no error code in the answer to
// a call without a token, so in a standard dialect there is none; a vendor's
// clients find the code of a token that is not good. What is neither a [*jeton.Error] nor
// [ErrNoCredentials] could not be decided and is 503.
func (d *Dialect) WriteCallError(w http.ResponseWriter, realm string, err error) {
	if errors.Is(err, ErrNoCredentials) {
		w.Header().Set("WWW-Authenticate", "Bearer realm="+quoted(realm))
		if _, own := d.Errors[jeton.InvalidToken]; d.Standard && !own {
			writeBody(w, http.StatusUnauthorized, "application/json", []byte("{}"))
			return
		}
		d.writeError(w, http.StatusUnauthorized, jeton.Refuse(jeton.InvalidToken, "the call carries no access token"))
		return
	}
	e, ok := errors.AsType[*jeton.Error](err)
	if !ok {
		e = jeton.Refuse(jeton.Unavailable, "the token could not be checked; try again later")
	}
	status := http.StatusServiceUnavailable
	switch e.Code {
	case jeton.InvalidToken:
		status = http.StatusUnauthorized
		if own := d.Errors[e.Code].Status; own != 0 {
			status = own
		}
	case jeton.InsufficientScope:
		status = http.StatusForbidden
	case jeton.InvalidRequest:
		status = http.StatusBadRequest
	case jeton.SlowDown:
		status = http.StatusTooManyRequests
	}
	if status < 500 {
		w.Header().Set("WWW-Authenticate", challenge(realm, e))
	}
	d.writeError(w, status, e)
}

// challenge is RFC 6750 section 3.
func challenge(realm string, e *jeton.Error) string {
	s := "Bearer realm=" + quoted(realm) + ", error=" + quoted(string(e.Code))
	if e.Description != "" {
		s += ", error_description=" + quoted(e.Description)
	}
	if len(e.Scope) > 0 {
		s += ", scope=" + quoted(e.Scope.String())
	}
	return s
}

// quoted keeps to the characters that RFC 6750 section 3 allows in an
// attribute, which leaves out the quote and the backslash.
func quoted(s string) string {
	return `"` + strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s) + `"`
}

func (d *Dialect) writeError(w http.ResponseWriter, status int, e *jeton.Error) {
	own := d.Errors[e.Code]
	description := e.Description
	if own.Description != "" {
		description = own.Description
	}
	if own.Status != 0 && e.Code != jeton.InvalidToken {
		status = own.Status
	}
	if e.RetryAfter > 0 {
		seconds := int64((e.RetryAfter + 999_999_999) / 1_000_000_000)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	vars := jeton.Vars{"error": string(e.Code), "error_description": description}
	t := own.body
	if t == nil {
		t = errorTree
	}
	body, err := t.fill(nil, &env{vars: vars}, func(string) bool { return true })
	if err != nil {
		body = []byte(`{"error":"server_error"}`)
	}
	writeBody(w, status, "application/json", body)
}

// errorTree is RFC 6749 section 5.2.
var errorTree = &tree{kind: treeObject, keys: []string{"error", "error_description"},
	kids: []*tree{{value: must("$error")}, {value: must("$error_description")}}}
