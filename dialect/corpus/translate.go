package corpus

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A Translation is an entry as a dialect.
type Translation struct {
	Source  string   // the dialect file
	Uses    []string // the constructs of the language that it uses
	Assumed []string // what the facts do not say and the dialect has to
}

// Translate writes an entry as a dialect. The error says which fact the
// language, or this translation, cannot say.
func (e *Entry) Translate() (Translation, error) {
	t := &translator{Entry: e, bound: map[string]string{}, root: mapping("dialect", text(name(e.Name)))}
	for _, step := range []func() error{t.call, t.login, t.refresh, t.others, t.meaning} {
		if err := step(); err != nil {
			return Translation{}, err
		}
	}
	slices.Sort(t.uses)
	return Translation{t.file(), slices.Compact(t.uses), t.assumed}, nil
}

// A Gap is a fact that is missing, so that nobody could write the dialect. Any
// other error of [Entry.Translate] is about the language or the translation.
type Gap struct{ text string }

// Error says what is missing.
func (g *Gap) Error() string { return g.text }

func unknown(format string, args ...any) error { return &Gap{fmt.Sprintf(format, args...)} }

// name makes a name of a dialect of an entry's.
func name(s string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(s), "-"), "-")
}

// A translator is at work on one entry.
type translator struct {
	*Entry
	bound map[string]string // :: name in the facts -> variable that an answer or a let binds

	root, let *node

	hosts, uses, assumed []string
	used                 []string // variables of the account that stand anywhere
}

func (t *translator) use(construct string) { t.uses = append(t.uses, construct) }
func (t *translator) assume(format string, args ...any) {
	t.assumed = append(t.assumed, fmt.Sprintf(format, args...))
}

// file puts the keys in the order in which people read them.
func (t *translator) file() string {
	file := mapping()
	for _, key := range []string{"dialect", "vars", "hosts", "let", "token", "refresh", "call", "verify", "introspect", "scope", "lifetime"} {
		if n := t.root.get(key); n != nil {
			file.set(key, n)
		}
	}
	return file.String()
}

// snake makes a variable's name of a vendor's word.
func snake(s string) string {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		s = s[i+1:]
	}
	var b strings.Builder
	for i, c := range s {
		switch {
		case unicode.IsUpper(c) && i > 0 && !unicode.IsUpper(rune(s[i-1])):
			b.WriteByte('_')
			b.WriteRune(unicode.ToLower(c))
		case c == '-' || c == ' ':
			b.WriteByte('_')
		default:
			b.WriteRune(unicode.ToLower(c))
		}
	}
	return b.String()
}

// assertionName is the variable that holds what the client makes, as the
// credentials call it.
func (e *Entry) assertionName() string {
	for _, s := range e.Steps {
		for _, c := range s.Credentials {
			if e.Assertion != nil && (c.Computed != "" || !slices.Contains(e.Inputs, c.Var) && c.From == "" && !strings.Contains(c.Var, ".")) {
				return c.Var
			}
		}
	}
	return ""
}

// given reports whether the account gives a variable.
func (e *Entry) given(name string) bool {
	if slices.Contains(e.Inputs, name) || slices.Contains(e.OptionalInputs, name) {
		return true
	}
	for _, a := range []*Assertion{e.Assertion, e.Mint} {
		if a == nil {
			continue
		}
		if key, err := parseTemplate(a.Key); err == nil && slices.Contains(key.names(), name) {
			return true
		}
	}
	return false
}

// everyCookie reports whether calls send whatever cookies the login sets.
func (e *Entry) everyCookie() bool {
	return e.Response != nil && slices.Contains(e.Response.Headers, "set-cookie") &&
		slices.ContainsFunc(e.Attach, func(a Attach) bool { return a.In == "cookie" })
}

// kept reports whether the answer of the login holds something that is kept
// under a name.
func (e *Entry) kept(name string) bool {
	return e.Response != nil && slices.ContainsFunc(e.Response.Metadata, func(m string) bool { return snake(m) == name })
}

// variable returns what a name of the facts is in the dialect.
func (t *translator) variable(name string) (string, error) {
	if v, ok := t.bound[name]; ok {
		return "$" + v, nil
	}
	switch {
	case t.given(name):
		t.used = append(t.used, name)
		return "$" + name, nil
	case name == t.assertionName():
		return "$" + name, nil
	case name == "access_token" || name == "token":
		return "$access_token", nil
	case name == "refresh_token" && t.Response != nil && t.Response.RefreshToken == t.Response.AccessToken:
		return "$access_token", nil // it is its own refresh token
	case name == "refresh_token" && t.Response != nil && t.Response.RefreshToken != "":
		return "$refresh_token", nil
	case name == "scope":
		return "$scope", nil
	case name == "token_url" && len(t.Steps) > 0:
		return t.template(t.Steps[len(t.Steps)-1].URL)
	case t.kept(name):
		return "$" + name, nil
	case strings.HasPrefix(name, "step"):
		return "", unknown("no answer has %s", name)
	}
	return "", unknown("the facts do not say where {%s} comes from", name)
}

// template writes a text of the facts as a value of the language.
func (t *translator) template(s string) (string, error) {
	parsed, err := parseTemplate(s)
	if err != nil {
		return "", err
	}
	for _, e := range parsed {
		if e.call && len(e.args) > 0 {
			t.use("$" + e.name + "()")
		} else if e.call {
			t.use("generators")
		}
	}
	return parsed.write(t.variable)
}

// url writes a URL. A second form of it, for accounts that give another
// variable, becomes a let: the first form's variable is made of the second's.
func (t *translator) url(s string, others ...string) (string, error) {
	if first, second, ok := strings.Cut(s, " || "); ok {
		s, others = first, append(others, second)
	}
	for _, other := range others {
		if err := t.alternative(s, other); err != nil {
			return "", err
		}
	}
	v, err := t.template(s)
	if err != nil {
		return "", err
	}
	if strings.Contains(v, "$") {
		t.use("hole in URL")
	}
	if strings.HasPrefix(v, "$") {
		t.use("URL from an answer")
		return v, t.allow()
	}
	return v, nil
}

func (t *translator) alternative(first, second string) error {
	for _, hole := range regexp.MustCompile(`\{[a-z0-9_]+\}`).FindAllString(first, -1) {
		before, after, _ := strings.Cut(first, hole)
		if len(second) < len(before)+len(after) || !strings.HasPrefix(second, before) || !strings.HasSuffix(second, after) {
			continue
		}
		v, err := t.template(second[len(before) : len(second)-len(after)])
		if err != nil {
			return err
		}
		name := strings.Trim(hole, "{}")
		if t.let == nil || t.let.get(name) == nil {
			t.letValue(name, text(v))
			t.use("let: value")
		}
		return nil
	}
	return fmt.Errorf("%s has a second form, %s, that differs by more than one variable", first, second)
}

func (t *translator) letValue(name string, n *node) {
	if t.let == nil {
		t.let = mapping()
		t.let.block = true
		t.root.set("let", t.let)
	}
	t.let.set(name, n)
}

// allow says that a URL from an answer may lead to where the login goes. The
// facts do not say where such URLs lead.
func (t *translator) allow() error {
	if t.hosts != nil || len(t.Steps) == 0 {
		return nil
	}
	_, rest, _ := strings.Cut(t.Steps[0].URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	if !strings.HasPrefix(host, "{") || !strings.HasSuffix(host, "}") {
		labels := strings.Split(host, ".")
		host = strings.Join(labels[max(0, len(labels)-2):], ".")
		if strings.ContainsAny(host, "{}") {
			return fmt.Errorf("nothing says where a URL from an answer may lead")
		}
	}
	v, err := t.template(host)
	if err != nil {
		return err
	}
	t.hosts = []string{v}
	t.assume("a URL from an answer leads to %s or below", v)
	t.root.set("hosts", list(text(v)))
	t.use("hosts")
	return nil
}

// refresh writes how the next token is had.
func (t *translator) refresh() error {
	switch t.Refresh.Kind {
	case "same_login":
		if t.Response.RefreshToken != "" {
			t.root.set("refresh", text("none"))
			t.use("refresh: none")
		}
	case "mint_again", "none":
		if t.Response != nil {
			return fmt.Errorf("refresh %s after an exchange is not understood", t.Refresh.Kind)
		}
	case "prior_token_as_bearer", "refresh_endpoint":
		x, err := t.exchange(*t.Refresh.Request)
		if err != nil {
			return err
		}
		t.use("refresh")
		if t.Response.RefreshToken == t.Response.AccessToken {
			x.keys, x.kids = append([]string{"when"}, x.keys...), append([]*node{text("valid")}, x.kids...)
			t.use("when")
		}
		t.root.set("refresh", x)
	default:
		return fmt.Errorf("refresh of the kind %s is not understood", t.Refresh.Kind)
	}
	return nil
}

// others writes the calls that are documented by name.
func (t *translator) others() error {
	if t.Verify != nil {
		x := mapping(t.Verify.Method, text(t.Verify.Endpoints[0]))
		if t.Verify.Method != "GET" {
			x.set("form", mapping())
		}
		t.root.set("verify", x)
		t.use("verify")
	}
	if t.Introspection != "" {
		method, url, _ := strings.Cut(t.Introspection, " ")
		path, ok := strings.CutPrefix(url, t.BaseURL)
		if !ok {
			return fmt.Errorf("introspection is not under the URL of calls")
		}
		t.root.set("introspect", mapping(method, text(path), "form", mapping("token", text("$access_token"))))
		t.assume("the introspection request is that of RFC 7662")
		t.use("introspect")
	}
	return nil
}

// meaning writes what is known beside the messages.
func (t *translator) meaning() error {
	scope := mapping()
	if t.ScopeSeparator != "" && t.ScopeSeparator != " " {
		scope.set("separator", text(t.ScopeSeparator))
		t.use("scope.separator")
	}
	if len(t.DefaultScopes) > 0 {
		n := list()
		for _, s := range t.DefaultScopes {
			n.kids = append(n.kids, text(s))
		}
		scope.set("default", n)
		t.use("scope.default")
	}
	if len(scope.kids) > 0 {
		t.root.set("scope", scope)
	}
	seconds := t.DocumentedLifetime
	if t.Expiry.Form == "fixed_by_doc" {
		seconds = t.Expiry.Seconds
	}
	if seconds > 0 {
		t.root.set("lifetime", text(duration(seconds)))
		t.use("lifetime")
	}
	for _, name := range t.OptionalInputs {
		if slices.Contains(t.used, name) && name != "scope" {
			t.root.under("vars", name, bare("~"))
			t.use("vars: absent")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.DefaultInputs)) {
		if !slices.Contains(t.used, name) {
			continue
		}
		if v := t.DefaultInputs[name]; v != "" {
			t.root.under("vars", name, text(v))
			t.use("vars: default")
		} else {
			t.root.under("vars", name, bare("~"))
			t.use("vars: absent")
		}
	}
	return nil
}

func duration(seconds int) string {
	for _, unit := range []struct {
		seconds int
		name    string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}} {
		if seconds%unit.seconds == 0 {
			return fmt.Sprintf("%d%s", seconds/unit.seconds, unit.name)
		}
	}
	return fmt.Sprintf("%ds", seconds)
}

// literal writes a value that is the same for everybody.
func literal(v any) (*node, error) {
	switch v := v.(type) {
	case string:
		return text(strings.ReplaceAll(v, "$", "$$")), nil
	case bool:
		return bare(fmt.Sprint(v)), nil
	case json.Number:
		return bare(v.String()), nil
	}
	return nil, fmt.Errorf("a fixed value of the kind %T is not understood", v)
}
