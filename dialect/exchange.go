package dialect

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
)

// A Kind says what an exchange is for.
type Kind string

// The kinds of exchanges.
const (
	KindStep       Kind = "step" // of a login, before the exchange that gives the token
	KindLogin      Kind = "login"
	KindRefresh    Kind = "refresh"
	KindVerify     Kind = "verify"
	KindIntrospect Kind = "introspect"
	KindRevoke     Kind = "revoke"
)

// An Exchange is one request with holes and its answer with holes.
type Exchange struct {
	Kind   Kind
	When   string      // of a refresh: "valid", "expired", or empty for both; it steers only the client
	Grant  jeton.Grant // what a login or a refresh presents
	Method string

	url address
	wearing
	content

	plain  bool // the answer is that of RFC 6749 section 5.1
	status int  // of the answer; zero: 200
	returned
	ok *tree // literals that must hold for a 200 to mean yes
}

// A wearing is where variables stand in a request beside its path and its body.
type wearing struct {
	query   []field
	headers []field
	cookies []field
	basic   *pair
	bearer  value
	sign    *signer // of all of the request; nil: none
	tls     *pair   // the client's certificate and its key; nil: none
}

// A content is the body of a request.
type content struct {
	body bodyKind
	form []field
	json *tree
	xml  *tree
	text value

	// clientAuth says that client_id and client_secret travel as RFC 6749
	// section 2.3.1 says: a client writes them into the form, a server also
	// takes them by Basic.
	clientAuth bool
}

// A returned is where variables stand in an answer.
type returned struct {
	returns        *tree
	returnsXML     *tree
	returnsHeaders []field
	setCookie      []field
}

type bodyKind int

const (
	bodyNone bodyKind = iota
	bodyForm
	bodyJSON
	bodyXML
	bodyText
)

// A field is a named value in a form, a query or a header.
type field struct {
	name  string
	value value
}

// A pair is the two halves of HTTP Basic.
type pair struct{ user, password value }

// Has reports whether the request has the hole, in its path or after it.
func (x *Exchange) Has(hole string) bool { return slices.Contains(x.Holes(), hole) }

// Returns reports whether the answer has the hole.
func (x *Exchange) Returns(hole string) bool { return slices.Contains(x.answerHoles(), hole) }

// answerHoles returns the names that reading the answer binds.
func (r *returned) answerHoles() []string {
	names := appendNew(r.returns.holes(), r.returnsXML.holes()...)
	for _, f := range slices.Concat(r.returnsHeaders, r.setCookie) {
		names = appendNew(names, f.value.holes()...)
	}
	return names
}

// said reports whether the dialect says where variables stand in the answer.
func (r *returned) said() bool {
	return r.returns != nil || r.returnsXML != nil || r.returnsHeaders != nil || r.setCookie != nil
}

// Answers reports whether the dialect says what the answer holds.
func (x *Exchange) Answers() bool { return x.ok != nil || x.said() }

// Wears reports whether the request carries an access token as its bearer.
func (x *Exchange) Wears() bool { return x.bearer.has("access_token") }

// Basic reports whether the credentials travel in HTTP Basic only.
func (x *Exchange) Basic() bool { return x.basic != nil }

// Path returns the path of the URL as the dialect has it, holes as $name.
func (x *Exchange) Path() string { return address{path: x.url.path}.String() }

// Holes returns the names of the request's holes, but for those that stand
// only in the host: a server does not read its own name.
func (x *Exchange) Holes() []string {
	return appendNew(appendNew(nil, x.url.pathHoles()...), bindsOf(x.each)...)
}

// allHoles is Holes with those of the host.
func (x *Exchange) allHoles() []string { return appendNew(x.Holes(), x.url.holes()...) }

// each calls f for every part of the request but for those of its URL.
func (x *Exchange) each(f func(p *part, digested bool)) {
	x.wearing.each(f)
	for _, field := range x.form {
		field.value.each(f)
	}
	x.json.each(f)
	x.xml.each(f)
	x.text.each(f)
}

// each calls f for every part that stands in the request itself.
func (w *wearing) each(f func(p *part, digested bool)) {
	for _, field := range slices.Concat(w.query, w.headers, w.cookies) {
		field.value.each(f)
	}
	if w.basic != nil {
		w.basic.user.each(f)
		w.basic.password.each(f)
	}
	w.bearer.each(f)
}

// needs returns the names that writing the request takes; lets are among them.
func (x *Exchange) needs() []string {
	names := appendNew(nil, x.url.pathNeeds()...)
	names = appendNew(names, needsOf(x.each)...)
	names = appendNew(names, x.url.host.needs()...)
	if x.url.root != "" {
		names = appendNew(names, x.url.root)
	}
	return appendNew(names, x.proves()...)
}

// wears reports whether anything stands there.
func (w *wearing) wears() bool {
	return w.query != nil || w.headers != nil || w.cookies != nil || w.basic != nil || w.bearer != nil || w.sign != nil || w.tls != nil
}

// needs returns the names that wearing it takes.
func (w *wearing) needs() []string { return appendNew(needsOf(w.each), w.proves()...) }

// binds returns the names that reading it binds.
func (w *wearing) binds() []string { return bindsOf(w.each) }

// proves returns the names that the certificate and the signature take.
func (w *wearing) proves() []string {
	var names []string
	if w.tls != nil {
		names = appendNew(w.tls.user.needs(), w.tls.password.needs()...)
	}
	return appendNew(names, w.sign.needs()...)
}

// WriteRequest fills the request of an exchange. An origin, if not nil,
// replaces the scheme and the host of the dialect's URL and puts its path in
// front of the URL's. The body can be sent again (GetBody). It refuses values
// that the other side could not read back; the error names the hole and never
// shows a value.
func (d *Dialect) WriteRequest(ctx context.Context, x *Exchange, origin *url.URL, vars jeton.Vars) (*http.Request, error) {
	e, err := d.env(vars, time.Now())
	if err != nil {
		return nil, fmt.Errorf("dialect: %s: write the %s request: %w", d.Name, x.Kind, err)
	}
	r, err := d.writeRequest(ctx, x, origin, e)
	if err != nil {
		return nil, fmt.Errorf("dialect: %s: write the %s request: %w", d.Name, x.Kind, err)
	}
	return r, nil
}

// env returns where a client fills values.
func (d *Dialect) env(vars jeton.Vars, now time.Time) (*env, error) {
	full, err := d.complete(vars)
	if err != nil {
		return nil, err
	}
	return &env{vars: d.toWire(full), lets: d.lets, now: now, absent: d.optional}, nil
}

func (d *Dialect) writeRequest(ctx context.Context, x *Exchange, origin *url.URL, e *env) (*http.Request, error) {
	u, err := x.url.fill(origin, e)
	if err != nil {
		return nil, err
	}
	if d.leads(x.url) {
		if err := d.led(u, origin, e); err != nil {
			return nil, err
		}
	}
	if u.RawQuery, err = d.encode(x.query, e); err != nil {
		return nil, err
	}
	body, contentType, err := d.writeBody(x, e)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, x.Method, "/", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.URL, r.Host = u, u.Host
	if body == "" {
		r.Body, r.GetBody, r.ContentLength = http.NoBody, func() (io.ReadCloser, error) { return http.NoBody, nil }, 0
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	r.Header.Set("Accept", "application/json")
	if x.returnsXML != nil {
		r.Header.Set("Accept", "application/xml")
	}
	if err := d.writeHeaders(r, &x.wearing, e); err != nil {
		return nil, err
	}
	if x.sign != nil {
		return r, x.sign.sign(r, []byte(body), e)
	}
	return r, nil
}

// writeBody returns the body of a request and its content type.
func (d *Dialect) writeBody(x *Exchange, e *env) (body, contentType string, err error) {
	var b []byte
	switch x.body {
	case bodyForm:
		body, err = d.encode(x.form, e)
		if body == "" {
			return "", "", err // nothing was to be sent
		}
		return body, "application/x-www-form-urlencoded", err
	case bodyJSON:
		b, err = x.json.fill(nil, e, d.optional)
		return string(b), "application/json", err
	case bodyXML:
		b, err = x.xml.fillXML(e, d.optional)
		return string(b), "application/xml", err
	case bodyText:
		body, err = x.text.fill(e)
		return body, "text/plain", err
	}
	return "", "", nil
}

// writeHeaders fills the headers in which a request carries credentials.
func (d *Dialect) writeHeaders(r *http.Request, w *wearing, e *env) error {
	err := filled(w.headers, e, d.optional, func(f field, text string) error {
		if !headerSafe(text) {
			return fmt.Errorf("$%s holds a character that the header %s cannot carry", strings.Join(f.value.needs(), ", $"), f.name)
		}
		r.Header.Set(f.name, text)
		return nil
	})
	if err != nil {
		return err
	}
	if err := d.writeCookies(r, w.cookies, e); err != nil {
		return err
	}
	if w.basic != nil {
		pair, err := w.basic.fill(e)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	if w.bearer != nil {
		s, err := w.bearer.fill(e)
		if err != nil {
			return err
		}
		if !headerSafe(s) || strings.ContainsAny(s, " \t") {
			return errors.New("the token holds a character that the Authorization header cannot carry")
		}
		r.Header.Set("Authorization", "Bearer "+s)
	}
	return nil
}

// fill returns user:password (RFC 7617 section 2).
func (p *pair) fill(e *env) (string, error) {
	user, err := p.user.fill(e)
	if err != nil {
		return "", err
	}
	password, err := p.password.fill(e)
	if err != nil {
		return "", err
	}
	if strings.Contains(user, ":") {
		return "", fmt.Errorf("$%s holds a colon, which HTTP Basic cannot carry there", strings.Join(p.user.needs(), ", $"))
	}
	return user + ":" + password, nil
}

// writeCookies adds cookies as they are: nothing in them is quoted or dropped.
func (d *Dialect) writeCookies(r *http.Request, cookies []field, e *env) error {
	var list []string
	err := filled(cookies, e, d.optional, func(f field, text string) error {
		pairs, ok := cookiePairs(f, text)
		if !ok {
			return fmt.Errorf("$%s holds what a cookie cannot carry", strings.Join(f.value.needs(), ", $"))
		}
		list = append(list, pairs...)
		return nil
	})
	if err != nil {
		return err
	}
	if len(list) > 0 {
		r.Header.Set("Cookie", strings.Join(list, "; "))
	}
	return nil
}

// cookiePairs returns the pairs name=value that a field comes to: one, or every
// cookie that its text holds.
func cookiePairs(f field, text string) ([]string, bool) {
	if f.name != every {
		return []string{f.name + "=" + text}, cookieSafe(text)
	}
	pairs := strings.Split(text, "; ")
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" || strings.ContainsFunc(name, notTokenChar) || value == "" || !cookieSafe(value) {
			return nil, false
		}
	}
	return pairs, true
}

// cookieSafe is RFC 6265 section 4.1.1, cookie-octet, for a value without quotes.
func cookieSafe(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == ';' || c == '\\' {
			return false
		}
	}
	return true
}

// headerSafe reports whether a header brings the value over unchanged: no
// control characters, and no space at an end, which readers trim.
func headerSafe(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return strings.TrimSpace(s) == s
}

// encode writes fields in their order as application/x-www-form-urlencoded.
func (d *Dialect) encode(fields []field, e *env) (string, error) {
	var b strings.Builder
	err := filled(fields, e, d.optional, func(f field, text string) error {
		values := []string{text}
		if f.name == "resource" && f.value.has("resource") {
			values = strings.Fields(text) // RFC 8707 section 2: may stand more than once
		}
		for _, text := range values {
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(url.QueryEscape(f.name) + "=" + url.QueryEscape(text))
		}
		return nil
	})
	return b.String(), err
}

// complete adds the defaults of variables that are absent and refuses a value
// that is not among the choice of its variable.
func (d *Dialect) complete(vars jeton.Vars) (jeton.Vars, error) {
	full := d.Defaults()
	for name, text := range vars {
		full[name] = text
	}
	for _, v := range d.Vars {
		if text := full[v.Name]; v.Choice != nil && !slices.Contains(v.Choice, text) {
			return nil, fmt.Errorf("$%s is to be one of %s", v.Name, strings.Join(v.Choice, ", "))
		}
	}
	return full, nil
}

// toWire returns the variables with the scope as the vendor separates it.
func (d *Dialect) toWire(vars jeton.Vars) jeton.Vars {
	scope, ok := vars["scope"]
	vars = vars.Clone()
	if !ok || d.Scope.Separator == "" || d.Scope.Separator == " " {
		return vars
	}
	vars["scope"] = strings.Join(strings.Fields(scope), d.Scope.Separator)
	return vars
}

// fromWire undoes toWire in place.
func (d *Dialect) fromWire(vars jeton.Vars) {
	if scope, ok := vars["scope"]; ok && d.Scope.Separator != "" && d.Scope.Separator != " " {
		vars["scope"] = strings.Join(strings.FieldsFunc(scope, func(r rune) bool {
			return strings.ContainsRune(d.Scope.Separator+" ", r)
		}), " ")
	}
}
