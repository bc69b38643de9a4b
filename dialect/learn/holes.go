package learn

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/jetonhq/jeton"
)

// A maker puts holes where values were.
type maker struct {
	Options
	vars    jeton.Vars        // hole -> what fills it when the draft is tried
	stands  map[string]bool   // holes whose value the page does not show, so that it is invented
	texts   map[string]string // texts of the paste -> the hole that they are
	secrets []string          // texts that must be nowhere in what comes out
	names   map[string]bool   // letters of the names of fields in the request at hand
	bound   map[string]string // letters of a name in an earlier answer -> its hole
	scope   []string          // that the page asks for
	comma   bool              // scopes are separated by commas
	notes   []string
	failed  error // of a question

	settings *doc   // vars: public settings and their choice
	lifetime string // that somebody told
}

func newMaker(o Options) *maker {
	return &maker{Options: o, vars: jeton.Vars{}, stands: map[string]bool{}, texts: map[string]string{}, bound: map[string]string{}}
}

func (m *maker) notef(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(m.notes, note) {
		m.notes = append(m.notes, note)
	}
}

// ask returns the answer to a question; the first choice is the likeliest, and
// taken with a note where nobody can be asked.
func (m *maker) ask(question string, choices ...string) (string, error) {
	if m.Ask == nil {
		m.notef("%s Assumed: %s.", question, choices[0])
		return choices[0], nil
	}
	return m.Ask(Question{question, choices})
}

func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

// bind gives a hole its value and returns the hole's name, which is another
// one if the name has another value already.
func (m *maker) bind(hole, other, value string, real bool) (name, sample string) {
	names := []string{hole}
	if other = strings.TrimPrefix(snake(other), "x_"); other != "" && !revealing(other) && len(other) <= 40 && other[0] >= 'a' {
		names = append(names, other)
	}
	for n := 2; ; n++ {
		for _, name := range names {
			old, taken := m.vars[name]
			if !taken {
				m.vars[name] = value
				if !real {
					m.vars[name], m.stands[name] = "sample-"+strings.ReplaceAll(name, "_", "-"), true
				} else if len(value) >= 6 && secretLooking(value) {
					m.texts[value] = name
				}
				return name, m.vars[name]
			}
			if old == value || !real || m.stands[name] {
				return name, old
			}
		}
		names = []string{fmt.Sprintf("%s_%d", hole, n)}
	}
}

// answered reports whether an earlier answer gives the value of a hole.
func (m *maker) answered(name string) bool {
	for _, bound := range m.bound {
		if bound == name {
			return true
		}
	}
	return false
}

func hole(name string) string { return "$" + name }

// secret remembers a text that must not come out.
func (m *maker) secret(text string) {
	if secretLooking(text) && !slices.Contains(m.secrets, text) {
		m.secrets = append(m.secrets, text)
	}
}

// variable names the hole for a field of the request at hand.
func (m *maker) variable(field string) string {
	switch l := letters(strings.TrimPrefix(field, "@")); {
	case l == "secret" && (m.names["clientid"] || m.names["id"]):
		return "client_secret"
	case l == "id" && m.names["secret"]:
		return "client_id"
	case l == "login" && (m.names["user"] || m.names["username"] || m.names["email"]):
		return "login"
	}
	return variableName(field)
}

// value returns the template for the text of a field, and what it comes out as
// when it is filled.
func (m *maker) value(field, s string) (template, sample string) {
	if name, ok := m.texts[s]; ok && (!secretName(field) || m.variable(field) == name || m.answered(name)) {
		return hole(name), s
	}
	loud := len(holesIn(s)) > 0 || strings.ContainsRune(s, varOpen)
	if fixedName(field) && !loud && fixedText.MatchString(s) && !revealing(s) {
		return literal(s), s
	}
	name := m.variable(field)
	own := canonical[strings.TrimPrefix(letters(field), "x")] != "" || canonical[letters(field)] != "" || secretName(field) || name == "client_id" || name == "client_secret"
	if from, ok := m.bound[strings.ReplaceAll(placeholderName(s), "_", "")]; ok && len(holesIn(s)) == 1 {
		return hole(from), m.vars[from]
	}
	if called, ok := placeholder(s); ok && (loud || own || upperSnake.MatchString(s) || talks.MatchString(s) || crossed.MatchString(s)) {
		if from, ok := m.bound[strings.ReplaceAll(called, "_", "")]; ok {
			return hole(from), m.vars[from]
		}
		vague := slices.Contains([]string{"secret", "token", "code", "auth"}, name)
		if (!own || vague) && called != "" && called != "value" {
			name = called // says more than the field does
		}
		name, sample = m.bind(name, field, "", false)
		return hole(name), sample
	}
	switch {
	case name == "scope":
		return m.scopeValue(s)
	case name == "token_type":
		return literal(s), s
	case own || name == "resource" && !loud:
		return m.real(name, field, s)
	}
	if template, sample, ok := m.composite(field, s, false); ok {
		return template, sample
	}
	if always(field, s) {
		return literal(s), s
	}
	if plain(s) && m.same(field) {
		return literal(s), s
	}
	return m.real(name, field, s)
}

// same asks whether a field has the same text for every account.
func (m *maker) same(field string) bool {
	if m.failed != nil {
		return false
	}
	const own, same = "an account's own", "the same for every account"
	choice, err := m.ask("What is the text of the field "+shown(field)+"?", own, same)
	m.failed = err
	return choice == same
}

// always reports whether a field surely has the same text for every account:
// what it says is no secret.
func always(field, s string) bool {
	switch l := letters(field); {
	case fixedName(field), l == "accept", l == "contenttype", strings.HasSuffix(l, "version"):
		return plain(s)
	case l == "audience", l == "redirecturi", l == "soapaction", strings.HasPrefix(field, "@"):
		return plainURL.MatchString(s) && !revealing(s) || strings.HasPrefix(s, "urn:") && plain(s) || strings.HasPrefix(field, "@xsi:") && plain(s)
	}
	return fixedValue.MatchString(s) || graphQL.MatchString(s) && !revealing(s)
}

// fixedValue matches what is hardly an account's own.
var fixedValue = regexp.MustCompile(`^(?i:true|false|yes|no|\d{1,3}|json|xml|live|test|sandbox|production|client_credentials|password|bearer)$`)

var graphQL = regexp.MustCompile(`^\s*(?:mutation|query)\b[^"]*$`)

// real makes a hole of a value that the page shows.
func (m *maker) real(name, field, s string) (template, sample string) {
	if s == "" {
		return "", ""
	}
	if name != "client_id" && name != "username" && name != "tenant_id" && name != "user_id" && name != "resource" {
		m.secret(s)
	}
	name, sample = m.bind(name, field, s, true)
	return hole(name), sample
}

var quotedArgument = regexp.MustCompile(`(\w+)(\s*:\s*)"((?:[^"\\]|\\.)*)"`)

// A span is a part of a text that becomes a hole.
type span struct {
	from, to         int
	template, sample string
}

// composite makes a template of a text that holds values among other words.
// Its holes are named as the page names them, which inURL allows for any word.
func (m *maker) composite(field, s string, inURL bool) (template, sample string, ok bool) {
	spans := append(m.known(s), m.arguments(s)...)
	for _, at := range holesIn(s) {
		called := placeholderName(holeWords(s[at[0]:at[1]]))
		if !familiar(called) && !inURL {
			return "", "", false // a secret can have braces
		}
		if from, ok := m.bound[strings.ReplaceAll(called, "_", "")]; ok {
			called = from
		}
		name, sample := m.bind(called, field, "", false)
		spans = append(spans, span{at[0], at[1], hole(name), sample})
	}
	sort.Slice(spans, func(i, j int) bool {
		return spans[i].from < spans[j].from || spans[i].from == spans[j].from && spans[i].to > spans[j].to
	})
	return join(s, spans)
}

// known finds the texts that are holes already.
func (m *maker) known(s string) []span {
	var spans []span
	for text, name := range m.texts {
		for at := 0; ; {
			i := strings.Index(s[at:], text)
			if i < 0 {
				break
			}
			spans = append(spans, span{at + i, at + i + len(text), hole(name), text})
			at += i + len(text)
		}
	}
	return spans
}

// arguments finds the credentials in a GraphQL document.
func (m *maker) arguments(s string) []span {
	if !strings.Contains(s, "{") {
		return nil
	}
	var spans []span
	for _, at := range quotedArgument.FindAllStringSubmatchIndex(s, -1) {
		arg := s[at[2]:at[3]]
		if at[6] == at[7] || canonical[letters(arg)] == "" && !secretName(arg) {
			continue
		}
		if t, sample := m.value(arg, s[at[6]:at[7]]); strings.HasPrefix(t, "$") {
			spans = append(spans, span{at[6] - 1, at[7] + 1, "$json(" + t + ")", `"` + sample + `"`})
		}
	}
	return spans
}

// join writes a text with holes for its spans. Two holes need text between
// them, and no text may be a secret itself.
func join(s string, spans []span) (template, sample string, ok bool) {
	var t, filled strings.Builder
	at := 0
	for i, sp := range spans {
		if sp.from < at {
			continue
		}
		between := s[at:sp.from]
		if i > 0 && between == "" || !harmless(between) {
			return "", "", false
		}
		if next := s[sp.to:]; next != "" && inName(next[0]) && !strings.HasSuffix(sp.template, ")") {
			sp.template = "${" + sp.template[1:] + "}"
		}
		t.WriteString(literal(between) + sp.template)
		filled.WriteString(between + sp.sample)
		at = sp.to
	}
	if at == 0 || !harmless(s[at:]) {
		return "", "", false
	}
	return t.String() + literal(s[at:]), filled.String() + s[at:], true
}

// inName reports whether a hole's name would go on with c.
func inName(c byte) bool {
	return c == '_' || c == '(' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z'
}

func harmless(s string) bool { return !revealing(strings.Trim(s, `"'{}()`)) }

// scopeValue keeps the scopes that the page asks for as the default.
func (m *maker) scopeValue(s string) (template, sample string) {
	words := strings.Fields(s)
	if len(words) == 1 && strings.Contains(s, ",") {
		words, m.comma = strings.Split(s, ","), true
	}
	for _, w := range words {
		if revealing(strings.Trim(w, `"`)) || w == "" || strings.ContainsAny(w, "\"\\<>{}$") {
			return m.real("scope", "scope", s)
		}
	}
	if len(words) == 0 {
		return "", ""
	}
	m.scope = words
	m.vars["scope"] = strings.Join(words, " ")
	if m.comma {
		return "$scope", strings.Join(words, ",")
	}
	return "$scope", m.vars["scope"]
}

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
		t.doc, s.doc = m.tree("", r.doc)
	}
	if r.body == bodyText {
		t.text, s.text = m.value("assertion", r.text)
	}
	return t, s, nil
}

func (m *maker) pairs(list []pair, where string) (templates, samples []pair, err error) {
	for i, p := range list {
		if p.name == "" || revealing(p.name) || len(p.name) > 60 || slices.Contains(m.secrets, p.name) {
			return nil, nil, fmt.Errorf("the name of a field in %s is not a word: is a quote missing, or the value's encoding?", where)
		}
		twice := func(o pair) bool { return strings.EqualFold(o.name, p.name) }
		switch at := slices.IndexFunc(list, twice); {
		case at == i:
		case list[at].text == p.text:
			continue
		default:
			return nil, nil, fmt.Errorf("%s stands twice in %s, which a dialect cannot say", shown(p.name), where)
		}
		t, s := m.value(p.name, p.text)
		if t == "" {
			m.notef("The page leaves %s empty in %s: left out.", p.name, where)
			continue
		}
		templates, samples = append(templates, pair{p.name, t}), append(samples, pair{p.name, s})
	}
	return templates, samples, nil
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
	case grant == "password" && !m.names["username"], grant == "" && !m.names["clientid"] && r.body == bodyNone:
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

// url makes templates of the host and of each segment of the path.
func (m *maker) url(r, t, s *request) {
	for text, name := range m.texts {
		if rest, ok := strings.CutPrefix(r.origin()+r.path, text); ok && strings.HasPrefix(text, "http") && (rest == "" || rest[0] == '/') {
			t.scheme, t.host = "", hole(name)
			u, err := url.Parse(text)
			if err != nil {
				continue
			}
			s.scheme, s.host = u.Scheme, u.Host
			t.path, s.path = m.path(rest)
			s.path = strings.TrimSuffix(u.Path, "/") + s.path
			return
		}
	}
	t.host, s.host = m.host(r.host)
	if t.host == "" {
		t.scheme, s.scheme = "", "https"
		s.host = "origin.example"
	}
	t.path, s.path = m.path(r.path)
}

var (
	yours = regexp.MustCompile(`^(?i:(?:your|my)[-_]?[a-z_-]+|subdomain|sub-domain|company|companyname|mycompany|customer|tenant|instance|account|organization|acme|xxx+)$`)
	whole = regexp.MustCompile(`(?:^|_)(?:url|uri|endpoint|origin)$|^base`)
)

// host returns an empty template where the page leaves the whole origin open.
func (m *maker) host(h string) (template, sample string) {
	if holes := holesIn(h); len(holes) == 1 && holes[0][0] == 0 && holes[0][1] == len(h) {
		name := placeholderName(holeWords(h))
		if _, bound := m.bound[strings.ReplaceAll(name, "_", "")]; !bound && whole.MatchString(name) {
			m.notef("The page leaves the host open: an account gives it as its origin.")
			return "", ""
		}
	}
	h, port, _ := cutOutside(h, ':')
	if port != "" {
		port = ":" + port
	}
	if strings.HasPrefix(h, "[") || jeton.IsLoopback(h) {
		return h + port, h + port
	}
	if len(holesIn(h)) > 0 {
		if t, s, ok := m.composite("host", h, true); ok {
			return t + port, s + port
		}
	}
	labels := strings.Split(h, ".")
	templates, samples := slices.Clone(labels), slices.Clone(labels)
	for i, label := range labels {
		if i >= len(labels)-2 {
			break
		}
		switch name, ok := m.texts[label]; {
		case ok:
			templates[i] = hole(name)
		case yours.MatchString(label):
			name := placeholderName(label)
			if strings.EqualFold(label, "acme") || crossed.MatchString(label) || name == "value" {
				name = "subdomain"
			}
			name, samples[i] = m.bind(name, "subdomain", "", false)
			templates[i] = hole(name)
		case revealing(label) || upperSnake.MatchString(label):
			name, _ := m.bind("subdomain", "subdomain", label, true)
			templates[i] = hole(name)
		}
	}
	return strings.Join(templates, ".") + port, strings.Join(samples, ".") + port
}

// path returns the templates of the segments, unescaped as a dialect file has
// them, and the escaped path that comes out.
func (m *maker) path(p string) (template, sample string) {
	if p == "" {
		return "", ""
	}
	var t, s strings.Builder
	before := ""
	for segment := range strings.SplitSeq(p[1:], "/") {
		template, sample := m.segment(before, segment)
		t.WriteString("/" + template)
		s.WriteString("/" + url.PathEscape(sample))
		before = segment
	}
	return t.String(), s.String()
}

var colonHole = regexp.MustCompile(`^:([A-Za-z_][A-Za-z0-9_]*)$`)

func (m *maker) segment(before, segment string) (template, sample string) {
	plainSegment := segment
	if u, err := url.PathUnescape(segment); err == nil && !percentHole.MatchString(segment) {
		plainSegment = u
	}
	if name, ok := m.texts[plainSegment]; ok {
		return hole(name), plainSegment
	}
	if c := colonHole.FindStringSubmatch(plainSegment); c != nil {
		name, sample := m.bind(placeholderName(c[1]), "", "", false)
		return hole(name), sample
	}
	if len(holesIn(plainSegment)) > 0 {
		if t, s, ok := m.composite(ownerID(before), plainSegment, true); ok {
			return t, s
		}
	}
	loud := upperSnake.MatchString(plainSegment) || talks.MatchString(plainSegment) || crossed.MatchString(plainSegment)
	if called, ok := placeholder(plainSegment); ok && loud {
		if called == "" {
			called = ownerID(before)
		}
		name, sample := m.bind(called, ownerID(before), "", false)
		return hole(name), sample
	}
	if revealing(plainSegment) || plainSegment == "." || plainSegment == ".." {
		name := ownerID(before)
		m.notef("A segment of the path differs from account to account: it became $%s.", name)
		name, sample := m.bind(name, "path_id", plainSegment, true)
		return hole(name), sample
	}
	return literal(plainSegment), plainSegment
}

// ownerID names what stands behind a segment: tenants/1234 is a tenant_id.
func ownerID(before string) string {
	s := snake(before)
	switch {
	case s == "" || regexp.MustCompile(`^(?:api|oauth\d?|auth|v\d+.*|token|rest|login|identity|authentication|realms)$`).MatchString(s) || revealing(s):
		return "tenant_id"
	case strings.HasSuffix(s, "ies"):
		s = strings.TrimSuffix(s, "ies") + "y"
	case strings.HasSuffix(s, "s"):
		s = strings.TrimSuffix(s, "s")
	}
	return s + "_id"
}
