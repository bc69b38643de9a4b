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

	"github.com/jetonhq/jeton"
)

// A Kind says what an exchange is for.
type Kind string

// The kinds of exchanges.
const (
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

	url     address
	query   []field
	headers []field
	basic   *pair
	bearer  value

	body bodyKind
	form []field
	json *tree

	// clientAuth says that client_id and client_secret travel as RFC 6749
	// section 2.3.1 says: a client writes them into the form, a server also
	// takes them by Basic.
	clientAuth bool

	status  int // of the answer; zero: 200
	returns *tree
	ok      *tree // literals that must hold for a 200 to mean yes
}

type bodyKind int

const (
	bodyNone bodyKind = iota
	bodyForm
	bodyJSON
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
func (x *Exchange) Returns(hole string) bool { return slices.Contains(x.returns.holes(), hole) }

// Answers reports whether the dialect says what the answer holds.
func (x *Exchange) Answers() bool { return x.returns != nil || x.ok != nil }

// Wears reports whether the request carries an access token as its bearer.
func (x *Exchange) Wears() bool { return x.bearer.has("access_token") }

// Basic reports whether the credentials travel in HTTP Basic only.
func (x *Exchange) Basic() bool { return x.basic != nil }

// Path returns the path of the URL as the dialect has it, holes as $name.
func (x *Exchange) Path() string { return address{path: x.url.path}.String() }

// Holes returns the names of the request's holes, but for those that stand
// only in the host: a server does not read its own name.
func (x *Exchange) Holes() []string {
	var names []string
	add := func(more []string) {
		for _, name := range more {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	add(x.url.pathHoles())
	for _, f := range slices.Concat(x.query, x.headers, x.form) {
		add(f.value.holes())
	}
	if x.basic != nil {
		add(x.basic.user.holes())
		add(x.basic.password.holes())
	}
	add(x.bearer.holes())
	add(x.json.holes())
	return names
}

func (x *Exchange) allHoles() []string {
	names := x.Holes()
	for _, name := range x.url.host.holes() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// WriteRequest fills the request of an exchange. An origin, if not nil,
// replaces the scheme and the host of the dialect's URL and puts its path in
// front of the URL's. The body can be sent again (GetBody). It refuses values
// that the other side could not read back; the error names the hole and never
// shows a value.
func (d *Dialect) WriteRequest(ctx context.Context, x *Exchange, origin *url.URL, vars jeton.Vars) (*http.Request, error) {
	vars, err := d.complete(vars)
	if err != nil {
		return nil, fmt.Errorf("dialect: %s: write the %s request: %w", d.Name, x.Kind, err)
	}
	r, err := d.writeRequest(ctx, x, origin, d.toWire(vars))
	if err != nil {
		return nil, fmt.Errorf("dialect: %s: write the %s request: %w", d.Name, x.Kind, err)
	}
	return r, nil
}

func (d *Dialect) writeRequest(ctx context.Context, x *Exchange, origin *url.URL, vars jeton.Vars) (*http.Request, error) {
	u, err := x.url.fill(origin, vars)
	if err != nil {
		return nil, err
	}
	if u.RawQuery, err = d.encode(x.query, vars); err != nil {
		return nil, err
	}
	body, contentType := "", ""
	switch x.body {
	case bodyForm:
		contentType = "application/x-www-form-urlencoded"
		body, err = d.encode(x.form, vars)
	case bodyJSON:
		contentType = "application/json"
		var b []byte
		b, err = x.json.fill(nil, vars, d.optional)
		body = string(b)
	}
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
	return r, d.writeHeaders(r, x.headers, x.basic, x.bearer, vars)
}

// writeHeaders fills the headers in which a request carries credentials.
func (d *Dialect) writeHeaders(r *http.Request, headers []field, basic *pair, bearer value, vars jeton.Vars) error {
	for _, f := range headers {
		s, err := f.value.fill(vars)
		if missing, ok := errors.AsType[missingError](err); ok && d.optional(missing.hole) {
			continue
		}
		if err != nil {
			return err
		}
		if !headerSafe(s) {
			return fmt.Errorf("$%s holds a character that the header %s cannot carry", strings.Join(f.value.holes(), ", $"), f.name)
		}
		r.Header.Set(f.name, s)
	}
	if basic != nil {
		user, err := basic.user.fill(vars)
		if err != nil && len(basic.user) > 0 {
			return err
		}
		password, err := basic.password.fill(vars)
		if err != nil && len(basic.password) > 0 {
			return err
		}
		if strings.Contains(user, ":") {
			return fmt.Errorf("$%s holds a colon, which HTTP Basic cannot carry there", strings.Join(basic.user.holes(), ", $"))
		}
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	}
	if bearer != nil {
		s, err := bearer.fill(vars)
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
func (d *Dialect) encode(fields []field, vars jeton.Vars) (string, error) {
	var b strings.Builder
	for _, f := range fields {
		s, err := f.value.fill(vars)
		if missing, ok := errors.AsType[missingError](err); ok && d.optional(missing.hole) {
			continue
		}
		if err != nil {
			return "", err
		}
		values := []string{s}
		if f.name == "resource" && f.value.has("resource") {
			values = strings.Fields(s) // RFC 8707 section 2: may stand more than once
		}
		for _, s := range values {
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(url.QueryEscape(f.name) + "=" + url.QueryEscape(s))
		}
	}
	return b.String(), nil
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
	if !ok || d.Scope.Separator == "" || d.Scope.Separator == " " {
		return vars
	}
	vars = vars.Clone()
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
