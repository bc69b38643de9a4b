package dialect

import (
	"encoding/base64"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/strictjson"
)

// secretParameters are the parameters that must not stand in a URL (RFC 6749
// section 2.3.1) unless a dialect says so.
var secretParameters = []string{"client_secret", "password", "refresh_token", "access_token", "client_assertion"}

// exchanges returns every exchange that a server takes, in the order in which
// an error is reported for one of them.
func (d *Dialect) exchanges() []*Exchange {
	var list []*Exchange
	if d.Login.Method != "" {
		list = append(list, d.Login)
	}
	list = slices.Concat(list, d.Steps, d.Then, d.Refresh, d.Accept)
	if d.Standard {
		list = append(list, standardPassword(d.Login))
		for _, x := range d.Accept {
			if x.url.where() != d.Login.url.where() {
				list = append(list, standardRefresh(x), standardPassword(x))
			}
		}
	}
	for _, x := range []*Exchange{d.Verify, d.Introspect, d.Revoke} {
		if x != nil {
			list = append(list, x)
		}
	}
	return list
}

// ReadRequest finds the exchange that a request belongs to and binds its
// holes. The URL of r is relative to the realm: what the realm is mounted at
// is cut off already. The exchange is chosen by shape: path, method, fixed
// texts and required holes. Of two paths that fit, the one with more fixed
// segments is meant; a message that then fits two exchanges is refused, unless nothing
// but the meaning of a field tells them apart: see [Received]. What was read is
// not proven yet: see [Received.Prove].
//
// The error is [ErrNotFound], a [*MethodError], or a [*jeton.Error] with
// invalid_request, unsupported_grant_type or invalid_client, whose description
// names the field that is wrong and never shows what stood in it.
func (d *Dialect) ReadRequest(r *http.Request, body []byte) (*Received, error) {
	m := &message{r: r, body: body}
	var allow []string
	var found *Received
	var wrong error
	most := -1
	for _, x := range d.all {
		b := newBound()
		if !x.url.read(r.URL.EscapedPath(), b) {
			continue
		}
		if x.Method != r.Method && !(r.Method == http.MethodHead && x.Method == http.MethodGet) {
			if !slices.Contains(allow, x.Method) {
				allow = append(allow, x.Method)
			}
			continue
		}
		fits := 0
		err := x.read(d, m, b, &fits)
		if err == nil {
			err = asProof(d.opened(b))
		}
		switch {
		case err != nil && fits > most:
			most, wrong = fits, err
		case err != nil:
		case found != nil && x.url.fixed() < found.Exchange.url.fixed(): // a path that is named is that one's
		case found == nil || x.url.fixed() > found.Exchange.url.fixed():
			found = d.received(x, m, b)
		case x.differs(d, found.Exchange) || found.Exchange.differs(d, x):
			return nil, jeton.Refuse(jeton.InvalidRequest, "the message has two documented forms at once; send one of them")
		default:
			found.Others = append(found.Others, d.received(x, m, b))
		}
	}
	switch {
	case found != nil:
		return found, nil
	case wrong != nil:
		return nil, wrong
	case allow != nil:
		return nil, &MethodError{allow}
	}
	return nil, ErrNotFound
}

// received is what reading a request comes to.
func (d *Dialect) received(x *Exchange, m *message, b *bound) *Received {
	d.fromWire(b.vars)
	r := d.carried(m.r, x, x.tls, b)
	if x.sign != nil {
		r.checks = append(r.checks, func(e *env) error { return x.sign.check(r.sent(m.r), m.body, e) })
	}
	return r
}

// carried is what a request or a call binds, and what is to be proven about it,
// but for a signature.
func (d *Dialect) carried(from *http.Request, x *Exchange, certificate *pair, b *bound) *Received {
	r := &Received{Exchange: x, Vars: b.vars, dialect: d, proofs: b.proofs, certificate: certificate, plain: from.TLS == nil}
	if from.TLS != nil && len(from.TLS.PeerCertificates) > 0 {
		r.peer = from.TLS.PeerCertificates[0].Raw
	}
	if len(b.proofs) > 0 {
		r.checks = append(r.checks, func(e *env) error { return d.recent(b.vars, e) })
	}
	return r
}

// asProof makes invalid_client of what is wrong with what a client has made.
func asProof(err error) error {
	if err == nil {
		return nil
	}
	return &jeton.Error{Code: jeton.InvalidClient, Description: "the client's proof does not have the documented form", Cause: err}
}

// A message is a request being read: each part is parsed once, when the first
// exchange asks for it.
type message struct {
	r    *http.Request
	body []byte

	query, form       url.Values
	queryErr, formErr error
	doc               any
	docErr            error
	docRead           bool
	xml               any
	xmlErr            error
	xmlRead           bool
}

func (m *message) parseQuery() (url.Values, error) {
	if m.query == nil && m.queryErr == nil {
		m.query, m.queryErr = parseParameters(m.r.URL.RawQuery, "the query")
	}
	return m.query, m.queryErr
}

func (m *message) parseForm() (url.Values, error) {
	if m.form == nil && m.formErr == nil {
		if len(m.body) == 0 {
			m.form = url.Values{}
		} else {
			m.form, m.formErr = parseParameters(string(m.body), "the body")
		}
	}
	return m.form, m.formErr
}

func (m *message) parseJSON() (any, error) {
	if !m.docRead {
		m.docRead = true
		doc, err := strictjson.Parse(m.body)
		if err != nil {
			m.docErr = jeton.Refuse(jeton.InvalidRequest, "the body is not one JSON document: "+err.Error())
		}
		m.doc = doc
	}
	return m.doc, m.docErr
}

func (m *message) parseXML() (any, error) {
	if !m.xmlRead {
		m.xmlRead = true
		if m.xml, m.xmlErr = parseXML(m.body); m.xmlErr != nil {
			m.xmlErr = jeton.Refuse(jeton.InvalidRequest, "the body is not one XML document: "+m.xmlErr.Error())
		}
	}
	return m.xml, m.xmlErr
}

// media are the content types of each kind of body.
var media = map[bodyKind][]string{
	bodyForm: {"application/x-www-form-urlencoded"}, bodyJSON: {"application/json"}, bodyXML: {"application/xml", "text/xml"}, bodyText: {"text/plain"},
}

// media returns the content types of the body: the vendor's own where the
// exchange has that among its headers. An empty form has none.
func (x *Exchange) media() []string {
	for _, f := range x.headers {
		if text, ok := f.value.literal(); ok && strings.EqualFold(f.name, "Content-Type") {
			if own, _, err := mime.ParseMediaType(text); err == nil {
				return []string{own}
			}
		}
	}
	return media[x.body]
}

func (m *message) contentType(want []string) error {
	refusal := jeton.Refuse(jeton.InvalidRequest, "the content type is to be "+want[0])
	values := m.r.Header.Values("Content-Type")
	if len(values) != 1 {
		return refusal
	}
	got, params, err := mime.ParseMediaType(values[0])
	if err != nil || !slices.Contains(want, got) {
		return refusal
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return jeton.Refuse(jeton.InvalidRequest, "the character set is to be UTF-8")
	}
	if m.r.Header.Get("Content-Encoding") != "" {
		return jeton.Refuse(jeton.InvalidRequest, "the body is not to be compressed")
	}
	return nil
}

// maxParameters bounds the parameters of one message.
const maxParameters = 100

// parseParameters reads name=value pairs. RFC 6749 section 3.2: none may stand
// twice, and one without a value counts as absent; RFC 8707 section 2 lets
// resource stand more than once.
func parseParameters(raw, where string) (url.Values, error) {
	if strings.Count(raw, "&") >= maxParameters {
		return nil, jeton.Refuse(jeton.InvalidRequest, where+" has too many parameters")
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, jeton.Refuse(jeton.InvalidRequest, where+" is not form-encoded")
	}
	for name, list := range values {
		if !utf8.ValidString(name) || slices.ContainsFunc(list, func(s string) bool { return !utf8.ValidString(s) }) {
			return nil, jeton.Refuse(jeton.InvalidRequest, where+" is not UTF-8")
		}
		if len(list) > 1 && name != "resource" {
			return nil, jeton.Refuse(jeton.InvalidRequest, "a parameter stands twice in "+where)
		}
		if len(list) == 1 && list[0] == "" {
			delete(values, name)
		}
	}
	return values, nil
}

// read binds the holes of the request. It counts the fields that fit, so that
// the error of the nearest exchange is the one that is reported.
func (x *Exchange) read(d *Dialect, m *message, into *bound, fits *int) error {
	query, err := m.parseQuery()
	if err != nil {
		return err
	}
	if err := x.readSecretsInURL(query); err != nil {
		return err
	}
	var wrong error
	keep := func(err error) {
		if wrong == nil {
			wrong = err
		}
	}
	keep(readFields(x.query, query, d.optional, into, fits))
	if x.body != bodyNone && !(x.body == bodyForm && len(m.body) == 0) {
		if err := m.contentType(x.media()); err != nil {
			return err
		}
	}
	switch x.body {
	case bodyForm:
		form, err := m.parseForm()
		if err != nil {
			return err
		}
		keep(readFields(x.formFields(), form, d.optional, into, fits))
		keep(x.agree(form, into))
		if x.clientAuth {
			keep(readClientAuth(m.r, form, into))
		}
	case bodyJSON:
		doc, err := m.parseJSON()
		if err != nil {
			return err
		}
		keep(asRefusal(x.json.read(doc, "", reading{literals: true, optional: d.optional}, into, fits)))
	case bodyXML:
		doc, err := m.parseXML()
		if err != nil {
			return err
		}
		keep(asRefusal(x.xml.read(doc, "", reading{literals: true, optional: d.optional, text: true}, into, fits)))
	case bodyText:
		if !utf8.Valid(m.body) || !x.text.read(string(m.body), into) {
			keep(jeton.Refuse(jeton.InvalidRequest, "the body does not have the documented form"))
		}
	}
	keep(readCookies(m.r, x.cookies, d.optional, into, fits))
	keep(readHeaders(m.r, x.headers, d.optional, into, fits))
	if x.basic != nil {
		keep(readBasic(m.r, x.basic, into, fits))
	}
	if x.bearer != nil {
		keep(readBearer(m.r, x.bearer, into, fits))
	}
	return wrong
}

// formFields leaves out what readClientAuth reads.
func (x *Exchange) formFields() []field {
	if !x.clientAuth {
		return x.form
	}
	return slices.DeleteFunc(slices.Clone(x.form), func(f field) bool {
		return f.name == "client_id" || f.name == "client_secret"
	})
}

func (x *Exchange) readSecretsInURL(query url.Values) error {
	for _, name := range secretParameters {
		if query.Has(name) && !slices.ContainsFunc(x.query, func(f field) bool { return f.name == name }) {
			return jeton.Refuse(jeton.InvalidRequest, name+" must not stand in the URL, where logs keep it")
		}
	}
	return nil
}

// agree refuses a form that says something else about a variable of the path
// than the path does. Alvys documents tenant_id in both places.
func (x *Exchange) agree(form url.Values, into *bound) error {
	for _, name := range x.url.pathHoles() {
		if form.Has(name) && form.Get(name) != into.vars[name] {
			return jeton.Refuse(jeton.InvalidRequest, name+" in the body differs from the one in the path")
		}
	}
	return nil
}

func readFields(fields []field, values url.Values, optional func(string) bool, into *bound, fits *int) error {
	var wrong error
	for _, f := range fields {
		if err := readField(f, values, optional, into); err != nil {
			if wrong == nil || errors.Is(err, jeton.UnsupportedGrantType) {
				wrong = err
			}
			continue
		}
		if len(values[f.name]) > 0 {
			*fits++
		}
	}
	return wrong
}

func readField(f field, values url.Values, optional func(string) bool, into *bound) error {
	list := values[f.name]
	fixed, literal := f.value.literal()
	switch {
	case len(list) == 0 && f.value.mayBeAbsent(optional):
		return nil
	case len(list) == 0:
		return jeton.Refuse(jeton.InvalidRequest, f.name+" is missing")
	case literal && fixed == "":
		return jeton.Refuse(jeton.InvalidRequest, f.name+" is to have no value")
	case literal && f.name == "grant_type" && list[0] != fixed:
		return jeton.Refuse(jeton.UnsupportedGrantType, "grant_type is to be "+fixed)
	case literal && list[0] != fixed:
		return jeton.Refuse(jeton.InvalidRequest, f.name+" is to be "+fixed)
	case !f.value.read(strings.Join(list, " "), into):
		return jeton.Refuse(jeton.InvalidRequest, f.name+" does not have the documented form")
	}
	return nil
}

func readHeaders(r *http.Request, headers []field, optional func(string) bool, into *bound, fits *int) error {
	for _, f := range headers {
		list := r.Header.Values(f.name)
		if len(list) > 1 {
			return jeton.Refuse(jeton.InvalidRequest, "the header "+f.name+" stands twice")
		}
		for _, s := range list {
			if !utf8.ValidString(s) {
				return jeton.Refuse(jeton.InvalidRequest, "the header "+f.name+" is not UTF-8")
			}
		}
		if len(list) == 1 && list[0] == "" {
			list = nil
		}
		if err := readField(f, url.Values{f.name: list}, optional, into); err != nil {
			return err
		}
		*fits++
	}
	return nil
}

// readCookies reads cookies as they are written: a pair that is none, or one that
// stands twice, is refused if it is asked for.
func readCookies(r *http.Request, cookies []field, optional func(string) bool, into *bound, fits *int) error {
	if len(cookies) == 0 {
		return nil
	}
	values, all := url.Values{}, []string(nil)
	for _, line := range r.Header.Values("Cookie") {
		for text := range strings.SplitSeq(line, ";") {
			if name, value, ok := strings.Cut(strings.TrimSpace(text), "="); ok && value != "" {
				values.Add(name, value)
				all = append(all, name+"="+value)
			}
		}
	}
	if len(all) > 0 {
		values[every] = []string{strings.Join(all, "; ")}
	}
	for _, f := range cookies {
		if len(values[f.name]) > 1 {
			return jeton.Refuse(jeton.InvalidRequest, "the cookie "+f.name+" stands twice")
		}
	}
	return readFields(cookies, values, optional, into, fits)
}

// scheme returns what follows an authentication scheme in the Authorization
// header, and that header's text, of which it is the end. The scheme's case does
// not matter (RFC 9110 section 11.1).
func scheme(r *http.Request, name string) (credentials string, in *string, ok bool, err error) {
	list := r.Header["Authorization"]
	if len(list) > 1 {
		return "", nil, false, jeton.Refuse(jeton.InvalidRequest, "the header Authorization stands twice")
	}
	if len(list) == 0 {
		return "", nil, false, nil
	}
	if text, n := list[0], len(name); len(text) > n+1 && text[:n] == name && text[n] == ' ' && text[n+1] != ' ' {
		return text[n+1:], &list[0], true, nil // as nearly everybody writes it
	}
	got, rest, _ := strings.Cut(list[0], " ")
	return strings.TrimLeft(rest, " "), &list[0], strings.EqualFold(got, name), nil
}

// basicPair splits Basic credentials (RFC 7617 section 2).
func basicPair(r *http.Request) (user, password string, ok bool, err error) {
	credentials, _, ok, err := scheme(r, "Basic")
	if err != nil || !ok {
		return "", "", false, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(credentials)
	if err != nil || !utf8.Valid(b) {
		return "", "", false, jeton.Refuse(jeton.InvalidClient, "the Basic credentials are not base64 of UTF-8 text")
	}
	user, password, colon := strings.Cut(string(b), ":")
	if !colon {
		return "", "", false, jeton.Refuse(jeton.InvalidClient, "the Basic credentials have no colon between name and password")
	}
	return user, password, true, nil
}

func readBasic(r *http.Request, p *pair, into *bound, fits *int) error {
	user, password, ok, err := basicPair(r)
	if err != nil {
		return err
	}
	if !ok {
		return jeton.Refuse(jeton.InvalidClient, "the Authorization header is to hold Basic credentials")
	}
	if !p.user.read(user, into) || !p.password.read(password, into) {
		return jeton.Refuse(jeton.InvalidClient, "the Basic credentials do not have the documented form")
	}
	*fits++
	return nil
}

func readBearer(r *http.Request, bearer value, into *bound, fits *int) error {
	token, _, ok, err := scheme(r, "Bearer")
	if err != nil {
		return err
	}
	if !ok || token == "" {
		return jeton.Refuse(jeton.InvalidRequest, "the Authorization header is to hold the access token as Bearer")
	}
	if !bearer.read(token, into) {
		return jeton.Refuse(jeton.InvalidRequest, "the bearer token does not have the documented form")
	}
	*fits++
	return nil
}

// readClientAuth takes a client's credentials from Basic, where RFC 6749
// section 2.3.1 has them form-encoded first, or from the form; never both.
func readClientAuth(r *http.Request, form url.Values, into *bound) error {
	user, password, basic, err := basicPair(r)
	if err != nil {
		return err
	}
	if !basic {
		if !form.Has("client_id") || !form.Has("client_secret") {
			return jeton.Refuse(jeton.InvalidClient, "the client is to authenticate: by Basic, or by client_id and client_secret in the body")
		}
		return bindClient(into, form.Get("client_id"), form.Get("client_secret"))
	}
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	if err1 != nil || err2 != nil || id == "" || secret == "" || !utf8.ValidString(id) || !utf8.ValidString(secret) {
		return jeton.Refuse(jeton.InvalidClient, "the Basic credentials are not a form-encoded client_id and client_secret")
	}
	if form.Has("client_secret") {
		return jeton.Refuse(jeton.InvalidRequest, "the client authenticates by Basic and in the body; use one of them")
	}
	if form.Has("client_id") && form.Get("client_id") != id {
		return jeton.Refuse(jeton.InvalidRequest, "client_id in the body differs from the one in Basic")
	}
	return bindClient(into, id, secret)
}

func bindClient(into *bound, id, secret string) error {
	if !into.bind("client_id", id) || !into.bind("client_secret", secret) {
		return jeton.Refuse(jeton.InvalidRequest, "two fields disagree about the client")
	}
	return nil
}

// asRefusal turns the codec's field errors into invalid_request.
func asRefusal(err error) error {
	if f, ok := errors.AsType[*fieldError](err); ok {
		if f.literal && f.field == "grant_type" {
			return jeton.Refuse(jeton.UnsupportedGrantType, fmt.Sprintf("%s %s", f.field, f.problem))
		}
		return jeton.Refuse(jeton.InvalidRequest, f.Error())
	}
	return err
}
