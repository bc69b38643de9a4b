package learn

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// request returns the template of a request and what comes out when it is
// filled.
func (m *maker) request(r *request) (template, sample *request, err error) {
	m.names = map[string]bool{}
	for _, p := range slices.Concat(r.query, r.form) {
		m.names[letters(p.name)] = true
	}
	if r.doc != nil {
		r.doc.leaves(func(path []string, _ *doc) {
			if len(path) > 0 {
				m.names[letters(path[len(path)-1])] = true
			}
		})
	}
	t, s := &request{method: r.method, scheme: r.scheme, body: r.body, tls: r.tls, line: r.line}, &request{}
	*s = *t
	m.url(r, t, s)
	if t.query, s.query, err = m.pairs(r.query, "the query"); err != nil {
		return nil, nil, err
	}
	if t.headers, s.headers, err = m.pairs(quiet(r), "the headers"); err != nil {
		return nil, nil, err
	}
	if t.cookies, s.cookies, err = m.pairs(r.cookies, "the cookies"); err != nil {
		return nil, nil, err
	}
	if t.form, s.form, err = m.pairs(r.form, "the form"); err != nil {
		return nil, nil, err
	}
	if r.basic != nil {
		if err := m.basic(r, t, s); err != nil {
			return nil, nil, err
		}
	}
	if r.bearer != "" {
		t.bearer, s.bearer = m.bearer(r.bearer)
	}
	if r.doc != nil {
		for _, name := range r.doc.names() {
			if err := m.named(name, "the body"); err != nil {
				return nil, nil, err
			}
		}
		t.doc, s.doc = m.tree("", r.doc)
	}
	if r.body == bodyText {
		t.text, s.text = m.value("assertion", r.text)
	}
	return t, s, nil
}

// named refuses what is no name of a field: it would stand in the file, and
// could be a secret.
func (m *maker) named(name, where string) error {
	if name == "" || revealing(name) || len(name) > 60 || slices.Contains(m.secrets, name) {
		return fmt.Errorf("the name of a field in %s is not a word: is a quote missing, or the value's encoding?", where)
	}
	return nil
}

func (m *maker) pairs(list []pair, where string) (templates, samples []pair, err error) {
	for i, p := range list {
		if err := m.named(p.name, where); err != nil {
			return nil, nil, err
		}
		twice := func(o pair) bool { return strings.EqualFold(o.name, p.name) }
		switch at := slices.IndexFunc(list, twice); {
		case at == i:
		case list[at].text == p.text:
			continue
		default:
			return nil, nil, fmt.Errorf("%s stands twice in %s, which a dialect cannot say", shown(p.name, "a field"), where)
		}
		if p.text == "" {
			if m.sentEmpty(p.name, where) {
				templates, samples = append(templates, p), append(samples, p)
			}
			continue
		}
		t, s := m.value(p.name, p.text)
		templates, samples = append(templates, pair{p.name, t}), append(samples, pair{p.name, s})
	}
	return templates, samples, nil
}

// sentEmpty reports whether the login has a field that the page leaves empty.
// In a query the name alone says what is wanted; elsewhere the value is cut.
func (m *maker) sentEmpty(name, where string) bool {
	switch where {
	case "the query":
		m.notef("The page has %s without a value in the query: it is sent so.", name)
		return true
	case "the form":
		m.notef("The page leaves %s empty in the form: left out. To send it so, write %s: \"\" there.", name, name)
	default:
		m.notef("The page leaves %s empty in %s: left out.", name, where)
	}
	return false
}

// tree makes a template of a document.
func (m *maker) tree(field string, d *doc) (template, sample *doc) {
	switch d.kind {
	case docText:
		if d.text == "" {
			return text(""), text("")
		}
		t, s := m.value(field, d.text)
		return &doc{text: t, quoted: quotedHole(t)}, text(s)
	case docLiteral:
		if d.number() && (secretName(field) || revealing(d.text) || canonical[letters(field)] != "") {
			t, s := m.real(m.variable(field), field, d.text)
			m.notef("The page sends %s as a number; a hole in JSON is written as a string.", snake(field))
			return text(t), text(s)
		}
		return d, d
	}
	template, sample = &doc{kind: d.kind}, &doc{kind: d.kind}
	for i, kid := range d.kids {
		key := field
		if d.kind == docObject {
			key = d.keys[i]
			template.keys, sample.keys = append(template.keys, key), append(sample.keys, key)
		}
		if key == "#text" {
			key = field
		}
		t, s := m.tree(key, kid)
		template.kids, sample.kids = append(template.kids, t), append(sample.kids, s)
	}
	return template, sample
}

// quotedHole reports whether a hole needs quotes to be a JSON string.
func quotedHole(t string) bool { return t == "$expires_in" }

// noise are headers that say nothing to the vendor's login.
var noisy = strings.Fields(`Accept-Encoding Accept-Language Cache-Control Connection Content-Length Dnt Expect Host Origin
Postman-Token Pragma Priority Referer Te Transfer-Encoding Upgrade-Insecure-Requests User-Agent Traceparent Tracestate X-Requested-With`)

// quiet returns the headers that matter.
func quiet(r *request) []pair {
	var list []pair
	for _, h := range r.headers {
		name := http.CanonicalHeaderKey(h.name)
		value, _, _ := strings.Cut(strings.ToLower(h.text), ";")
		value = strings.TrimSpace(value)
		switch {
		case slices.Contains(noisy, name), strings.HasPrefix(name, "Sec-"), strings.HasPrefix(name, ":"):
		case name == "Accept" && (strings.Contains(h.text, "application/json") || strings.Contains(h.text, "*/*")):
		case name == "Content-Type" && (r.body == bodyNone || usual(r.body, value)):
		case name == "Content-Type" && value == "application/json" && r.body == bodyForm:
		default:
			list = append(list, h)
		}
	}
	return list
}

func usual(body bodyKind, contentType string) bool {
	switch body {
	case bodyForm:
		return contentType == "application/x-www-form-urlencoded" || contentType == "multipart/form-data"
	case bodyJSON:
		return contentType == "application/json" || contentType == "application/x-www-form-urlencoded"
	case bodyXML:
		return contentType == "application/xml"
	}
	return contentType == "text/plain"
}

// basic names the halves of a Basic pair.
func (m *maker) basic(r, t, s *request) error {
	user, password := "client_id", "client_secret"
	name, nameStands := placeholder(r.basic.name)
	secret, secretStands := placeholder(r.basic.text)
	grant := ""
	for _, p := range slices.Concat(r.query, r.form) {
		if p.name == "grant_type" {
			grant = p.text
		}
	}
	fixed := fixedUser.MatchString(r.basic.name) && r.basic.text != "" && !strings.Contains(secret, "secret")
	switch {
	case fixed:
		password = "api_key"
	case r.basic.text == "":
		user = "api_key"
		if nameStands && name != "" && name != "value" {
			user = name
		}
	case secretStands && secret == "password" && grant != "client_credentials" && (!nameStands || name == "" || name == "value"):
		user, password = "username", "password"
	case nameStands && name != "" && name != "value":
		user, password = name, "password"
		if name != "username" {
			password = "client_secret"
		}
	case strings.Contains(r.basic.name, "@"):
		user, password = "username", "password"
	case grant == "password" && !m.names["username"], grant == "" && !m.names["clientid"] && (r.body == bodyNone || r.body == bodyForm && len(r.form) == 0):
		choice, err := m.ask("What is the pair of the Basic header?", "username and password", "client_id and client_secret", "api_key and a secret")
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(choice, "api_key"):
			user, password = "api_key", "api_secret"
		case strings.HasPrefix(choice, "username"):
			user, password = "username", "password"
		}
	}
	if secretStands && secret != "" && secret != "value" && secret != user && !(secret == "password" && user == "client_id") {
		password = secret
		if secret == "secret" && user == "client_id" {
			password = "client_secret"
		}
	}
	t.basic, s.basic = &pair{}, &pair{}
	if fixed {
		t.basic.name, s.basic.name = literal(r.basic.name), r.basic.name // the same for everybody
	} else {
		t.basic.name, s.basic.name = m.half(user, r.basic.name, nameStands)
	}
	t.basic.text, s.basic.text = m.half(password, r.basic.text, secretStands)
	return nil
}

var fixedUser = regexp.MustCompile(`^(?:\$oauthtoken|oauth2?|apikey|token|_token|x-token|bearer|x|api)$`)

func (m *maker) half(name, value string, stands bool) (template, sample string) {
	if value == "" {
		return "", ""
	}
	if from, ok := m.bound[strings.ReplaceAll(name, "_", "")]; stands && ok {
		return hole(from), m.vars[from]
	}
	if known, ok := m.texts[value]; ok {
		return hole(known), value
	}
	if stands {
		name, sample = m.bind(name, name, "", false)
		return hole(name), sample
	}
	if t, s, ok := m.composite(name, value, false); ok {
		return t, s
	}
	return m.real(name, name, value)
}

// bearer names what a login wears.
func (m *maker) bearer(value string) (template, sample string) {
	name, stands := placeholder(value)
	switch {
	case stands && (name == "" || name == "value" || name == "token" || name == "access_token"):
		name = "api_key"
	case !stands && jwtForm.MatchString(value):
		name = "assertion"
	case !stands:
		name = "api_key"
	}
	return m.half(name, value, stands)
}
