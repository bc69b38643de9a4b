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
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
)

// modeline tells editors how such files look.
const modeline = "# yaml-language-server: $schema=https://raw.githubusercontent.com/jetonhq/jeton/main/schema/dialect.json"

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

// YAML returns the text of the dialect file, whose first line tells editors how
// such files look.
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
	refresh, err := m.refreshes(p.refresh, last, returns, token)
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
	if !ok && a.status >= http.StatusBadRequest {
		return "", nil, fmt.Errorf("the answer to the login is a refusal (%d): paste what the vendor answers to a good login, or leave it out", a.status)
	}
	if !ok && a.html {
		return "", nil, errors.New("the answer to the login is an HTML page without a token: paste what the vendor answers to a good login, or leave it out")
	}
	if !ok {
		return "", nil, errors.New("the answer to the login has no field that looks like a token: paste the whole answer, with its headers (curl -i) if the token is there")
	}
	more := m.later(a, p, f)
	m.renews(a, p, f, more)
	r, err := m.reply(a, &f, more)
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

// renews finds what a refresh sends of the last answer under another name than
// refresh token.
func (m *maker) renews(a *answer, p page, token found, more map[string]string) {
	for _, e := range p.refresh {
		e.request.texts(func(_, sent string) {
			for _, f := range a.all() {
				if f.where != "body" || f.text != sent || len(sent) < 6 || plain(sent) || sent == token.text || refreshName(letters(f.name)) {
					continue
				}
				m.refresh, m.vars["refresh_token"] = sent, sent
				more[sent], m.texts[sent], m.bound[letters(f.name)] = "refresh_token", "refresh_token", "refresh_token"
				m.secret(sent)
			}
		})
	}
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
