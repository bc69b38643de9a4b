package learn

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// A worn says how calls wear the token.
type worn struct {
	doc    *doc // nil: as a dialect has it that does not say
	verify *doc
	base   string
}

var (
	tokenHeader = regexp.MustCompile(`token|session|^auth|jwt|ticket|bearer|sid$`)
	notTheWorn  = regexp.MustCompile(`apikey|clientid|clientsecret|csrf|refresh|subscription`)
	version     = regexp.MustCompile(`^(?:v\d+(?:\.\d+)*(?:beta|alpha)?\d*|\d{4}-\d{2}(?:-\d{2})?|\d+\.\d+)$`)
	apiWord     = regexp.MustCompile(`^(?:api|rest|services?|public|gateway|ws|open-?api|webapi)$`)
	verifyPath  = regexp.MustCompile(`^/(?:me|whoami|userinfo|_authenticated|users/me|user/me|account/me|ping|authenticated|current_user|users/current|session)$`)
)

// call says how a call wears the token, from the commands that show one.
func (m *maker) call(p page, login *request, token string) (worn, *doc, error) {
	if len(p.calls) == 0 {
		m.notef("The paste has no call: calls are assumed to go to the login's host, with the token as Authorization: Bearer.")
		return worn{}, nil, nil
	}
	r := p.calls[0].request
	t, s := &request{scheme: r.scheme}, &request{scheme: r.scheme}
	base := *r
	if base.path = basePath(r.path); r.whole {
		base.path = strings.TrimSuffix(r.path, "/resource")
	}
	m.url(&base, t, s)
	d := &doc{kind: docObject, block: true}
	d.set("base", t.url())
	w := wearer{m: m, token: token}
	_, stands := placeholder(r.bearer)
	w.found = r.bearer != "" && (!stands || w.is("", r.bearer)) // fields are not guessed at then
	headers := w.pairs(quiet(r), true)
	query, cookies := w.pairs(r.query, false), w.pairs(r.cookies, true)
	basic := ""
	if r.basic != nil {
		basic = w.basic(r.basic)
	}
	elsewhere := slices.ContainsFunc(slices.Concat(headers, query, cookies), func(p pair) bool { return strings.Contains(p.text, "$access_token") })
	switch {
	case r.bearer != "" && elsewhere && w.is("", r.bearer):
		d.set("bearer", text("$access_token"))
	case r.bearer != "" && elsewhere:
		bearer, _ := m.bearer(r.bearer)
		d.set("bearer", text(bearer))
	case r.bearer == "" && !w.found:
		m.notef("The call in the paste does not show the token: Authorization: Bearer is assumed.")
		basic = ""
		headers = slices.DeleteFunc(headers, func(h pair) bool { return strings.EqualFold(h.name, "Authorization") })
	}
	if basic != "" {
		d.set("basic", text(basic))
	}
	if len(headers) > 0 {
		d.set("headers", pairsDoc(headers))
	}
	if len(query) > 0 {
		d.set("query", pairsDoc(query))
	}
	if len(cookies) > 0 {
		d.set("cookies", pairsDoc(cookies))
	}
	if r.tls {
		d.set("tls", certificateDoc())
	}
	out := worn{doc: d, base: t.url().text}
	if len(d.keys) == 1 {
		out.doc = t.url()
	}
	out.verify = m.verify(p, base.path, r.host)
	return out, m.hosts(t, s), nil
}

// hosts lists the domain of an address that an answer gives.
func (m *maker) hosts(t, s *request) *doc {
	if t.scheme != "" || !strings.HasPrefix(t.host, "$") {
		return nil
	}
	labels := strings.Split(s.host, ".")
	return &doc{kind: docList, kids: []*doc{text(strings.Join(labels[max(len(labels)-2, 0):], "."))}}
}

// basePath guesses which part of a call's path all calls have: up to a version,
// else a word such as api.
func basePath(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments[:max(len(segments)-1, 0)] {
		if version.MatchString(s) && i < 4 {
			return "/" + strings.Join(segments[:i+1], "/")
		}
	}
	n := 0
	for n < len(segments)-1 && apiWord.MatchString(strings.ToLower(segments[n])) {
		n++
	}
	if n == 0 {
		return ""
	}
	return "/" + strings.Join(segments[:n], "/")
}

// verify finds a call that does nothing but show whether a token is good.
func (m *maker) verify(p page, base, host string) *doc {
	for _, c := range p.calls {
		rest, ok := strings.CutPrefix(c.request.path, base)
		if !ok || c.request.host != host || c.request.method != "GET" || !verifyPath.MatchString(rest) {
			continue
		}
		d := &doc{kind: docObject}
		d.set("GET", text(rest))
		if c.answer != nil && c.answer.doc != nil && c.answer.doc.kind == docObject && len(c.answer.doc.keys) == 1 {
			if kid := c.answer.doc.kids[0]; statusWord.MatchString(letters(c.answer.doc.keys[0])) && good.MatchString(kid.text) {
				d.set("ok", c.answer.doc)
			}
		}
		return d
	}
	return nil
}

// A wearer finds the token in a call.
type wearer struct {
	m     *maker
	token string
	found bool
}

// is reports whether a text is the token, or stands for it.
func (w *wearer) is(name, text string) bool {
	if w.token != "" && text == w.token {
		return true
	}
	if w.found && name != "" {
		return false
	}
	called, stands := placeholder(text)
	l, n := strings.ReplaceAll(called, "_", ""), strings.TrimPrefix(letters(name), "x")
	if stands && (l == "accesstoken" || l == "token" || l == "bearertoken" || l == "jwt" || l == "authtoken") {
		return true
	}
	return tokenHeader.MatchString(n) && !notTheWorn.MatchString(n) && !strings.ContainsAny(placeholderless(text), " \t") ||
		stands && l != "" && tokenHeader.MatchString(l) && !notTheWorn.MatchString(l)
}

// template writes $access_token where the token stands in a text; ok is false
// if it is not there.
func (w *wearer) template(name, text string) (string, bool) {
	if w.token != "" && len(w.token) >= 6 && strings.Contains(text, w.token) {
		before, after, _ := strings.Cut(text, w.token)
		if harmless(before) && harmless(after) {
			w.found = true
			return literal(before) + "$access_token" + literal(after), true
		}
	}
	if p := schemeForm.FindStringSubmatch(text); p != nil && letters(name) == "authorization" && plain(strings.Trim(p[1], ` ="`)) &&
		(w.is("", p[2]) || !strings.ContainsAny(placeholderless(p[2]), " ,=")) {
		w.found = true
		return literal(p[1]) + "$access_token" + p[3], true
	}
	if w.is(name, text) {
		w.found = true
		return "$access_token", true
	}
	return "", false
}

// schemeForm matches what Authorization has before the token: a scheme, or a
// name, or both, as in Token token="...".
var schemeForm = regexp.MustCompile(`^([^\s=",]+(?: +|=)(?:[A-Za-z_-]+=)?"?)([^"]+)("?)$`)

// pairs keeps the fields that carry the token or another credential.
func (w *wearer) pairs(list []pair, header bool) []pair {
	var out []pair
	for _, p := range list {
		if revealing(p.name) || strings.EqualFold(p.name, "Content-Type") || strings.EqualFold(p.name, "Accept") {
			continue
		}
		if !header && !secretName(p.name) && p.text != w.token && canonical[letters(p.name)] != "api_key" {
			continue
		}
		if t, ok := w.template(p.name, p.text); ok {
			out = append(out, pair{p.name, t})
			continue
		}
		l := letters(p.name)
		known := canonical[l] != "" || canonical[strings.TrimPrefix(l, "x")] != "" || secretName(p.name)
		if _, stands := placeholder(p.text); !known && !stands {
			if header {
				w.m.notef("The call's field %s was left out: it is no credential.", shown(http.CanonicalHeaderKey(p.name), "of a long name"))
			}
			continue
		}
		if t, _ := w.m.value(p.name, p.text); strings.Contains(t, "$") {
			out = append(out, pair{p.name, t})
		}
	}
	return out
}

// basic says which half of a Basic pair is the token.
func (w *wearer) basic(p *pair) string {
	half := func(name, value string) string {
		if value == "" {
			return ""
		}
		if t, ok := w.template(name, value); ok {
			return t
		}
		called, stands := placeholder(value)
		if fixedUser.MatchString(value) {
			return literal(value)
		}
		if !stands || called == "" {
			called = name
		}
		t, _ := w.m.half(called, value, stands)
		return t
	}
	user := half("username", p.name)
	return user + ":" + half("password", p.text)
}

// refreshes writes how to refresh, unless it is as RFC 6749 section 6 has it.
func (m *maker) refreshes(list []exchange, login *request, returns []*reply, token string) (*doc, error) {
	out := &doc{kind: docList}
	if len(token) >= 6 && !plain(token) { // a refresh may wear it elsewhere than as the bearer
		m.texts[token], m.vars["access_token"], m.bound["accesstoken"] = "access_token", token, "access_token"
		defer func() {
			delete(m.texts, token)
			delete(m.vars, "access_token")
			delete(m.bound, "accesstoken")
		}()
	}
	m.sent = map[string]bool{}
	for name := range m.vars {
		m.sent[name] = true
	}
	defer func() { m.sent = nil }()
	loginReply := returns[len(returns)-1]
	for _, e := range list {
		if len(out.kids) == 2 {
			break
		}
		called, _ := placeholder(e.request.bearer)
		own := e.request.bearer != "" && (e.request.bearer == m.refresh || strings.HasPrefix(called, "refresh"))
		wears := !own && (e.request.bearer != "" || e.request.header("Authorization") != "")
		t, _, err := m.request(e.request.withoutToken())
		if err != nil {
			return nil, err
		}
		t.texts(func(_, text string) { wears = wears || strings.Contains(text, "$access_token") })
		switch {
		case own:
			t.bearer = "$refresh_token"
		case wears && e.request.bearer+e.request.header("Authorization") != "":
			t.bearer = "$access_token"
		}
		if t.standardRefresh(login) && len(list) == 1 && loginReply != nil && strings.Contains(loginReply.body.flowOrEmpty(), "$refresh_token") {
			return nil, nil
		}
		when := ""
		if len(list) > 1 || wears {
			when = "expired"
			if wears {
				when = "valid"
			}
		}
		reply, err := m.refreshReply(e.answer, loginReply)
		if err != nil {
			return nil, err
		}
		x := t.exchangeDoc(when, reply, login.url().text)
		out.kids = append(out.kids, x)
	}
	switch len(out.kids) {
	case 0:
		return nil, nil
	case 1:
		return out.kids[0], nil
	}
	return out, nil
}

func (d *doc) flowOrEmpty() string {
	if d == nil {
		return ""
	}
	return d.flow()
}

// refreshReply returns nil if a refresh is answered as the login is.
func (m *maker) refreshReply(a *answer, login *reply) (*reply, error) {
	if a == nil {
		return nil, nil
	}
	f, ok, err := m.pickToken(a)
	if err != nil || !ok {
		return nil, err
	}
	r, err := m.reply(a, &f, nil)
	if err != nil || r.standard() && (login.empty() || login.standard()) {
		return nil, err
	}
	if !login.empty() && r.body.flowOrEmpty() == login.body.flowOrEmpty() && len(r.headers) == len(login.headers) && len(r.cookies) == len(login.cookies) {
		return nil, nil
	}
	return r, nil
}

// standardRefresh reports whether the request is that of RFC 6749 section 6 at
// the URL of the login, with its way to authenticate the client.
func (r *request) standardRefresh(login *request) bool {
	if r.url().text != login.url().text || r.method != "POST" || r.body != bodyForm || len(r.query) > 0 || r.bearer != "" {
		return false
	}
	if login.body != bodyForm || (r.basic == nil) != (login.basic == nil) {
		return false
	}
	want := map[string]string{"grant_type": "refresh_token", "refresh_token": "$refresh_token", "scope": "$scope"}
	for _, name := range []string{"client_id", "client_secret"} {
		if slices.Contains(login.form, pair{name, hole(name)}) {
			want[name] = hole(name)
		}
	}
	n := 0
	for _, p := range r.form {
		if want[p.name] != p.text {
			return false
		}
		n++
	}
	return n >= 2
}

// revoke writes how to end a token.
func (m *maker) revoke(p page, call worn) *doc {
	if p.revoke == nil {
		return nil
	}
	r := p.revoke.request.withoutToken()
	for i, f := range r.form {
		if letters(f.name) == "token" || letters(f.name) == "accesstoken" {
			r.form[i].text = "<access_token>"
		}
	}
	t, _, err := m.request(r)
	if err != nil {
		return nil
	}
	t.bare = t.body == bodyNone
	d := t.exchangeDoc("", nil, "")
	if d.kind == docText {
		d = &doc{kind: docObject, keys: []string{t.method}, kids: []*doc{d}}
	}
	if rest, ok := strings.CutPrefix(t.url().text, call.base+"/"); ok && call.base != "" {
		d.kids[slices.Index(d.keys, t.method)] = text("/" + rest)
	}
	d.block = len(d.keys) > 1
	return d
}
