package learn

import (
	"fmt"
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
	refresh string          // the refresh token of the last answer
	sent    map[string]bool // holes of the login and its answers; nil until refreshes are read
	failed  error           // of a question

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
			if old == value || !real || m.stands[name] || name == "refresh_token" { // there is one, however a page cuts it
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
	case l == "secret" && (m.names["login"] || m.names["user"] || m.names["username"] || m.names["email"]) && !m.names["password"]:
		return "password"
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
	choice, err := m.ask("What is the text of the field "+shown(field, "without a name")+"?", own, same)
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
		if l == "soapaction" {
			s = strings.Trim(s, `"`)
		}
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
	if m.isUser(name, s) {
		m.notef("The refresh sends an e-mail address as %s, and the login none of that name: it is taken for the login's user name.", shown(field, "a field"))
		return "$username", m.vars["username"]
	}
	name, sample = m.bind(name, field, s, true)
	return hole(name), sample
}

// isUser reports whether a value that the login does not send by that name is
// the user whom a refresh is for: a page may show another one in each sample.
func (m *maker) isUser(name, s string) bool {
	if m.sent == nil || m.sent[name] || !m.sent["username"] || !email.MatchString(s) {
		return false
	}
	return m.stands["username"] || email.MatchString(m.vars["username"])
}

var email = regexp.MustCompile(`^[^@\s]+@[^@\s]+\.[^@\s]+$`)

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
