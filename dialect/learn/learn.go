// Package learn writes a dialect from what a vendor's page shows: curl commands
// and the answers to them, an entry of a HAR file, or an OpenAPI document.
//
// It puts holes where values stand, by the names of their fields and by their
// form, and leaves out what RFC 6749 says anyway. What is pasted may hold real
// credentials: they are neither in a [Draft], nor in a note, nor in an error.
//
// The package opens no file and no connection, and has no state.
package learn

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
)

// Modeline is the first line of every file that is written: it tells editors how
// such files look.
const Modeline = "# yaml-language-server: $schema=https://raw.githubusercontent.com/jetonhq/jeton/main/schema/dialect.json"

// Options say what a paste does not.
type Options struct {
	Name   string // of the dialect; empty: the word before the host's public suffix
	Title  string // of the vendor, for people; may be empty
	Source string // the vendor's page; may be empty

	// Ask answers a question that the paste leaves open with one of its
	// choices. If it is nil, the first choice is taken and a note says so.
	Ask func(Question) (string, error)
}

// A Question is one that a paste leaves open. It never shows a pasted value.
type Question struct {
	Text    string
	Choices []string // the likeliest first
}

// A Draft is a dialect that was learned, with the messages that it was learned
// from. It does not change.
type Draft struct {
	Name  string
	Notes []string // what was assumed, a sentence each

	file  []byte
	vars  jeton.Vars // that fill the login's templates as pasted
	steps []tried
}

// A tried is one message of the login and what the dialect is to make of it.
type tried struct {
	sample *request
	answer *answer // nil: none was pasted
	token  string  // that the answer holds; "" for a step before the last
}

// YAML returns the text of the dialect file.
func (d *Draft) YAML() []byte { return slices.Clone(d.file) }

// Curl learns a dialect from a text with curl commands, each followed by its
// answer or not. Several logins of which a later one uses what an earlier one
// answered become steps; a command that wears the token shows how calls do, and
// one that sends a refresh token how to refresh. An error says what is wrong in
// which line of the paste.
func Curl(paste string, o Options) (*Draft, error) {
	list, err := parsePaste(paste)
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	d, err := newMaker(o).learn(list)
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	return d, nil
}

// A page is what the exchanges of a paste are for.
type page struct {
	steps   []exchange // the login
	refresh []exchange
	calls   []exchange
	revoke  *exchange
}

var (
	loginPath   = regexp.MustCompile(`(?i)token|login|auth|sign-?in|session|logon|oauth|jwt|connect|identity`)
	refreshPath = regexp.MustCompile(`(?i)refresh|renew`)
	revokePath  = regexp.MustCompile(`(?i)revoke|logout|logoff|signout|sign-out|invalidate`)
)

// sortExchanges says what each exchange is for.
func sortExchanges(list []exchange) (page, error) {
	first, best := -1, 0
	for i, e := range list {
		if score := loginScore(e); score > best {
			first, best = i, score
		}
	}
	if first < 0 {
		return page{}, errors.New("none of the commands looks like a login: it sends credentials, or its answer has a token")
	}
	for i := first - 1; i >= 0; i-- {
		if list[i].answer != nil && uses(list[first].request, list[i].answer) && !isRefresh(list[i].request) {
			first = i
		}
	}
	p := page{steps: []exchange{list[first]}}
	for i, e := range list {
		last := p.steps[len(p.steps)-1]
		switch {
		case i == first:
		case revokePath.MatchString(e.request.path) && i > first:
			if p.revoke == nil {
				p.revoke = &list[i]
			}
		case isRefresh(e.request):
			p.refresh = append(p.refresh, e)
		case i > first && last.answer != nil && e.answer != nil && len(tokens(e.answer)) > 0 && loginScore(e) > 2 && uses(e.request, last.answer):
			p.steps = append(p.steps, e)
		case i > first && !sameURL(e.request, list[first].request):
			p.calls = append(p.calls, e)
		}
	}
	return p, nil
}

func sameURL(a, b *request) bool {
	return a.host == b.host && a.path == b.path && a.method == b.method
}

// texts calls fn for every name and text of a request.
func (r *request) texts(fn func(name, text string)) {
	fn("", r.host)
	fn("", r.path)
	for _, p := range slices.Concat(r.query, r.headers, r.cookies, r.form) {
		fn(p.name, p.text)
	}
	if r.basic != nil {
		fn("basic", r.basic.name)
		fn("basic", r.basic.text)
	}
	fn("bearer", r.bearer)
	fn("", r.text)
	if r.doc != nil {
		r.doc.leaves(func(path []string, leaf *doc) {
			name := ""
			if len(path) > 0 {
				name = path[len(path)-1]
			}
			fn(name, leaf.text)
		})
	}
}

func isRefresh(r *request) bool {
	refresh := refreshPath.MatchString(r.path) && r.method != "GET"
	r.texts(func(name, text string) {
		l := letters(name)
		refresh = refresh || strings.HasPrefix(l, "refreshtoken") || l == "granttype" && text == "refresh_token"
	})
	return refresh
}

// loginScore says how much an exchange looks like a login.
func loginScore(e exchange) int {
	r, score := e.request, 0
	credentials := false
	r.texts(func(name, text string) {
		switch l := letters(name); {
		case l == "granttype":
			score += 3
		case text != "" && name != "" && (secretName(name) && name != "bearer" && l != "authorization" || canonical[l] == "client_id" || canonical[l] == "username" || name == "basic"):
			credentials = true
		}
	})
	if credentials {
		score += 2
	}
	if loginPath.MatchString(r.path) || loginPath.MatchString(r.host) {
		score += 2
	}
	if e.answer != nil && len(tokens(e.answer)) > 0 {
		score += 3
	}
	if r.method == "GET" || r.method == "HEAD" {
		score -= 2
	}
	if r.bearer != "" {
		score--
	}
	if isRefresh(r) {
		score -= 4
	}
	if revokePath.MatchString(r.path) {
		score -= 5
	}
	return score
}

// uses reports whether a request has something that an answer gave.
func uses(r *request, a *answer) bool {
	used := false
	given := a.all()
	r.texts(func(_, text string) {
		for _, f := range given {
			used = used || shares(text, f)
		}
	})
	return used
}

// shares reports whether a text of a request holds a text of an answer, or a
// placeholder of its name.
func shares(text string, f found) bool {
	if text == "" {
		return false
	}
	value := strings.TrimPrefix(f.text, "Bearer ")
	if len(value) >= 6 && !plain(value) && strings.Contains(text, value) {
		return true
	}
	words := []string{}
	for _, at := range holesIn(text) {
		words = append(words, placeholderName(holeWords(text[at[0]:at[1]])))
	}
	if name, ok := placeholder(text); ok {
		words = append(words, name)
	}
	for _, w := range words {
		l := strings.ReplaceAll(w, "_", "")
		if l != "" && len(l) > 3 && (l == letters(f.name) || l == strings.TrimPrefix(letters(f.name), "x")) && f.where != "header" {
			return true
		}
	}
	return false
}

// A file collects the parts of a dialect file.
type file struct {
	doc
}

func (f *file) add(key string, value *doc) {
	if value != nil {
		f.set(key, value)
	}
}

func (m *maker) learn(list []exchange) (*Draft, error) {
	p, err := sortExchanges(list)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		m.gather(e)
	}
	d := &Draft{vars: m.vars}
	token, returns, steps, err := m.login(p, d)
	if err != nil {
		return nil, err
	}
	if m.failed != nil {
		return nil, m.failed
	}
	last := steps[len(steps)-1]
	if d.Name, err = m.name(p.steps[0].request); err != nil {
		return nil, err
	}
	refresh, err := m.refreshes(p.refresh, last, returns)
	if err != nil {
		return nil, err
	}
	call, hosts, err := m.call(p, last, token)
	if err != nil {
		return nil, err
	}
	f := &file{}
	f.kind = docObject
	f.add("dialect", text(d.Name))
	if m.Title != "" {
		f.add("title", text(oneLine(m.Title)))
	}
	if m.Source != "" {
		f.add("source", text(oneLine(m.Source)))
	}
	f.add("vars", m.settings)
	f.add("hosts", hosts)
	f.add("token", tokenDoc(steps, saidAnyway(returns)))
	f.add("refresh", refresh)
	f.add("call", call.doc)
	f.add("verify", call.verify)
	f.add("revoke", m.revoke(p, call))
	f.add("scope", m.scopeDoc())
	if m.lifetime != "" {
		f.add("lifetime", text(m.lifetime))
	}
	return m.finish(d, f)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// finish writes the file, unless a secret would stand in it.
func (m *maker) finish(d *Draft, f *file) (*Draft, error) {
	var b strings.Builder
	b.WriteString(Modeline + "\n")
	for i, key := range f.keys {
		if kid := f.kids[i]; kid.kind == docText && sentence.MatchString(kid.text) {
			b.WriteString(key + ": " + kid.text + "\n")
			continue
		}
		b.WriteString(key + ":")
		f.kids[i].writeYAML(&b, 2)
	}
	d.file, d.Notes = []byte(b.String()), m.notes
	for _, secret := range m.secrets {
		if strings.Contains(b.String(), secret) {
			return nil, errors.New("a secret of the paste also stands where no hole can be; write <password> or the like in its place")
		}
		for i, note := range d.Notes {
			d.Notes[i] = strings.ReplaceAll(note, secret, "...")
		}
	}
	return d, nil
}

// sentence matches words that need no quotes as the value of a key.
var sentence = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*(?:,? [A-Za-z0-9]+)+$`)

// gather remembers the secrets of a paste before anything is written.
func (m *maker) gather(e exchange) {
	e.request.texts(func(name, text string) {
		switch {
		case name == "bearer":
			m.secret(text)
		case secretName(name) && !fixedName(name):
			m.secret(text)
		}
	})
	if e.request.basic != nil {
		m.secret(e.request.basic.text)
	}
	if e.answer != nil {
		for _, f := range e.answer.all() {
			if looksLikeSecretField(f) && !fixedName(f.name) {
				m.secret(strings.TrimPrefix(f.text, "Bearer "))
			}
		}
	}
}

// login makes the templates of the login's steps.
func (m *maker) login(p page, d *Draft) (token string, returns []*reply, steps []*request, err error) {
	for i, e := range p.steps {
		if e.request.method == "HEAD" {
			return "", nil, nil, fmt.Errorf("line %d: a HEAD has no answer that could hold a token", e.request.line)
		}
		if e.request.method == "GET" && e.request.body != bodyNone {
			return "", nil, nil, fmt.Errorf("line %d: a GET has no body in a dialect: is the option -G missing, or -X POST meant?", e.request.line)
		}
		t, s, err := m.request(e.request)
		if err != nil {
			return "", nil, nil, fmt.Errorf("line %d: %w", e.request.line, err)
		}
		if e.request.loose {
			m.notef("The body of the login on the page is not quite JSON: it was read as it is meant.")
		}
		if e.request.multi {
			m.notef("The page sends multipart/form-data; the dialect sends a plain form, as RFC 6749 has it.")
		}
		steps = append(steps, t)
		try := tried{sample: s, answer: e.answer}
		var r *reply
		switch {
		case i+1 < len(p.steps):
			if r, err = m.stepReply(e.answer, p, i); err != nil {
				return "", nil, nil, err
			}
		case e.answer == nil:
			m.notef("The paste has no answer to the login: that of RFC 6749 section 5.1 is assumed.")
		default:
			if token, r, err = m.lastReply(e.answer, p); err != nil {
				return "", nil, nil, err
			}
			try.token = token
		}
		returns = append(returns, r)
		d.steps = append(d.steps, try)
	}
	return token, returns, steps, nil
}

// lastReply makes the template of the answer that has the token.
func (m *maker) lastReply(a *answer, p page) (string, *reply, error) {
	f, ok, err := m.pickToken(a)
	if err != nil {
		return "", nil, err
	}
	if !ok {
		return "", nil, errors.New("the answer to the login has no field that looks like a token: paste the whole answer, with its headers (curl -i) if the token is there")
	}
	r, err := m.reply(a, &f, m.later(a, p, f))
	if err != nil {
		return "", nil, err
	}
	if a.loose {
		m.notef("The answer on the page is not quite JSON: it was read as it is meant.")
	}
	if m.lifetime == "" && r.body != nil && !strings.Contains(r.body.flow(), "expires") && !jwtForm.MatchString(f.text) && !strings.Contains(f.text, "eyJ") {
		m.notef("The answer does not say how long a token lives: add lifetime, such as lifetime: 1h, if the page says it.")
	}
	token := strings.TrimPrefix(f.text, "Bearer ")
	if f.where == "text" {
		token = strings.Trim(token, `"`)
		if formAnswer.MatchString(f.text) {
			for _, p := range parseForm(f.text) {
				if letters(p.name) == "accesstoken" {
					token = p.text
				}
			}
		}
	}
	return token, r, nil
}

// later returns what of the last answer calls use, beside the token: a base.
func (m *maker) later(a *answer, p page, token found) map[string]string {
	more := map[string]string{}
	for _, f := range a.all() {
		if f.where != "body" || f.text == token.text {
			continue
		}
		for _, c := range p.calls {
			base := c.request.origin() + c.request.path
			if strings.HasPrefix(f.text, "http") && strings.HasPrefix(base+"/", strings.TrimSuffix(f.text, "/")+"/") {
				name := variableName(f.name)
				more[f.text], m.texts[f.text] = name, name
				m.vars[name] = f.text
			}
		}
	}
	return more
}

// stepReply makes the template of an answer whose values later steps use.
func (m *maker) stepReply(a *answer, p page, at int) (*reply, error) {
	more := map[string]string{}
	for _, f := range a.all() {
		used := false
		for _, later := range p.steps[at+1:] {
			later.request.texts(func(_, text string) { used = used || shares(text, f) })
		}
		if !used || f.text == "" {
			continue
		}
		name := variableName(f.name)
		if name == "access_token" || name == "value" || f.name == "" {
			name = "login_token"
		}
		if old, taken := m.vars[name]; taken && old != f.text {
			name = "login_" + name
		}
		text := strings.TrimPrefix(f.text, "Bearer ")
		m.vars[name], m.texts[text], m.bound[letters(f.name)] = text, name, name
		m.bound[strings.TrimPrefix(letters(f.name), "x")] = name
		more[f.text] = name
		m.secret(text)
	}
	return m.reply(a, nil, more)
}

// saidAnyway drops the last answer if it is as RFC 6749 has it.
func saidAnyway(returns []*reply) []*reply {
	if last := len(returns) - 1; returns[last].standard() {
		returns[last] = nil
	}
	return returns
}

var publicSuffix = regexp.MustCompile(`^(?:com?|org|net|gov|edu|ac|or|ne|gob|gouv|govt|nom)$`)

// name names the dialect for its host.
func (m *maker) name(r *request) (string, error) {
	if m.Name != "" {
		if !goodName.MatchString(m.Name) {
			return "", fmt.Errorf("the name of a dialect has a-z, 0-9 and - only, and begins with a letter or a digit")
		}
		return m.Name, nil
	}
	host, _, _ := cutOutside(r.host, ':')
	labels := strings.Split(strings.ToLower(host), ".")
	n := len(labels)
	for n > 1 && (n == len(labels) || publicSuffix.MatchString(labels[n-1]) && len(labels)-n < 2) {
		n--
	}
	name := strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(labels[n-1], "-"), "-")
	if jeton.IsLoopback(host) || len(holesIn(r.host)) > 0 && len(labels) < 2 || !goodName.MatchString(name) || len(name) > 40 {
		m.notef("The host names no vendor: the dialect is called vendor; choose its name with --name.")
		return "vendor", nil
	}
	for _, secret := range m.secrets {
		if strings.Contains(name, strings.ToLower(secret)) {
			return "vendor", nil
		}
	}
	return name, nil
}

var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func (m *maker) scopeDoc() *doc {
	if len(m.scope) == 0 && !m.comma {
		return nil
	}
	f := &doc{kind: docObject}
	if m.comma {
		f.set("separator", &doc{text: ",", quoted: true})
	}
	list := &doc{kind: docList}
	for _, s := range m.scope {
		list.kids = append(list.kids, text(s))
	}
	f.set("default", list)
	return f
}

// tokenDoc writes the login.
func tokenDoc(steps []*request, returns []*reply) *doc {
	if len(steps) == 1 {
		return steps[0].exchangeDoc("", returns[0], "")
	}
	list := &doc{kind: docList}
	for i, s := range steps {
		x := s.exchangeDoc("", returns[i], "")
		if x.kind == docText { // a step that is nothing but a URL
			o := &doc{kind: docObject}
			o.set("POST", x)
			x = o
		}
		list.kids = append(list.kids, x)
	}
	return list
}

func (r *request) url() *doc {
	u := r.host
	if r.scheme != "" {
		u = r.origin()
	}
	if r.host == "" && r.path == "" {
		return text("/")
	}
	return text(u + r.path)
}

func pairsDoc(list []pair) *doc {
	d := &doc{kind: docObject}
	for _, p := range list {
		d.set(p.name, text(p.text))
	}
	return d
}

// exchangeDoc writes an exchange: its URL alone if RFC 6749 says the rest. same
// is the URL that need not be said again.
func (r *request) exchangeDoc(when string, returns *reply, same string) *doc {
	d := &doc{kind: docObject, block: true}
	if when != "" {
		d.set("when", text(when))
	}
	u := r.url()
	if u.text == same {
		u = &doc{kind: docLiteral, text: ""}
	}
	d.set(r.method, u)
	if r.tls {
		cert := &doc{kind: docObject}
		cert.set("cert", text("$client_certificate"))
		cert.set("key", text("$client_private_key"))
		d.set("tls", cert)
	}
	if len(r.query) > 0 {
		d.set("query", pairsDoc(r.query))
	}
	if len(r.headers) > 0 {
		d.set("headers", pairsDoc(r.headers))
	}
	if len(r.cookies) > 0 {
		d.set("cookies", pairsDoc(r.cookies))
	}
	if r.basic != nil {
		d.set("basic", text(r.basic.name+":"+r.basic.text))
	}
	if r.bearer != "" {
		d.set("bearer", text(r.bearer))
	}
	switch {
	case r.body == bodyForm && !r.standardForm():
		d.set("form", pairsDoc(r.form))
	case r.body == bodyNone && r.method == "POST" && len(r.query) == 0 && !r.bare:
		d.set("form", &doc{kind: docObject}) // else the form of RFC 6749 is sent
	case r.body == bodyJSON:
		d.set("json", r.doc)
	case r.body == bodyXML:
		d.set("xml", r.doc)
	case r.body == bodyText:
		d.set("text", text(r.text))
	}
	if !returns.empty() {
		if returns.body != nil && returns.xml {
			d.set("returns_xml", returns.body)
		} else if returns.body != nil {
			d.set("returns", returns.body)
		}
		if len(returns.headers) > 0 {
			d.set("returns_headers", pairsDoc(returns.headers))
		}
		if len(returns.cookies) > 0 {
			d.set("set_cookie", pairsDoc(returns.cookies))
		}
	}
	if len(d.keys) == 1 && r.method == "POST" && u.kind == docText {
		return u
	}
	return d
}

// standardForm reports whether the form is that of RFC 6749 section 4.4.2,
// which a POST without a body and a query stands for.
func (r *request) standardForm() bool {
	if r.method != "POST" || len(r.query) > 0 || r.bearer != "" {
		return false
	}
	want := map[string]string{"grant_type": "client_credentials", "scope": "$scope"}
	if r.basic == nil {
		want["client_id"], want["client_secret"], want["resource"] = "$client_id", "$client_secret", "$resource"
	}
	has := map[string]bool{}
	for _, p := range r.form {
		if want[p.name] != p.text || has[p.name] {
			return false
		}
		has[p.name] = true
	}
	return has["grant_type"] && (r.basic != nil || has["client_id"] && has["client_secret"])
}
