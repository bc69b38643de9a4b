package corpus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
)

// Compare builds the requests, the answer and a call of a login by hand from
// the facts, and says where the dialect does something else. It knows nothing of
// how the facts were translated.
func (e *Entry) Compare(d *dialect.Dialect) (problems []string) {
	for _, present := range []bool{true, false} {
		c := &comparison{Entry: e, d: d, now: time.Now().Truncate(time.Second)}
		c.account(present)
		c.inputs()
		c.login()
		if len(c.problems) > 0 {
			return c.problems
		}
	}
	return nil
}

// A comparison is at work on one entry, with one set of inputs.
type comparison struct {
	*Entry
	d   *dialect.Dialect
	now time.Time

	facts map[string]string // :: name in the facts -> value
	vars  jeton.Vars        // what the dialect knows by then
	left  []string          // inputs that the account does not give

	problems []string
}

func (c *comparison) wrong(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// account makes up what an account gives: with what may be absent, or without.
func (c *comparison) account(present bool) {
	c.facts, c.vars = map[string]string{}, jeton.Vars{}
	names := slices.Clone(c.Inputs)
	for _, a := range []*Assertion{c.Assertion, c.Mint} {
		if a != nil {
			key, _ := parseTemplate(a.Key)
			names = append(names, key.names()...)
		}
	}
	for _, s := range c.Steps {
		for _, o := range s.Optional {
			names = append(names, o.Var)
		}
	}
	alternatives := c.alternatives()
	for _, name := range names {
		_, defaulted := c.DefaultInputs[name]
		replaced, alternative := alternatives[name]
		if !present && (replaced || !alternative && (defaulted || c.optional(name))) {
			c.left = append(c.left, name)
			continue
		}
		c.facts[name] = c.value(name)
		c.vars[name] = c.facts[name]
	}
}

// alternatives says of inputs whether another may be given in their place; of
// that other, that it may not be left out then.
func (c *comparison) alternatives() map[string]bool {
	list := map[string]bool{}
	pair := func(first, second string) {
		a, _ := parseTemplate(first)
		b, _ := parseTemplate(second)
		for _, name := range a.names() {
			list[name] = true
		}
		for _, name := range b.names() {
			list[name] = false
		}
	}
	if first, second, ok := strings.Cut(c.BaseURL, " || "); ok {
		pair(first, second)
	}
	for _, s := range c.Steps {
		for _, other := range s.Fallback {
			pair(s.URL, other)
		}
	}
	return list
}

// optional reports whether the account may leave a variable out.
func (c *comparison) optional(name string) bool {
	if slices.Contains(c.OptionalInputs, name) {
		return true
	}
	return slices.ContainsFunc(c.Steps, func(s Step) bool {
		return slices.ContainsFunc(s.Optional, func(o Credential) bool { return o.Var == name })
	})
}

// value makes up a value that every place of the variable can carry, and that
// is hard to carry where that is allowed.
func (c *comparison) value(name string) string {
	for _, a := range []*Assertion{c.Assertion, c.Mint} {
		if a != nil && a.Key == "{"+name+"}" && a.Alg != "HS256" {
			if a.KeyEncoding == "jwk" {
				return keyAsJWK(law.Key(a.Alg), "kid-of-the-key")
			}
			return law.Key(a.Alg)
		}
	}
	switch {
	case strings.Contains(c.ClientAuth, "mTLS") && strings.Contains(name, "certificate"):
		return law.Key("certificate")
	case strings.Contains(c.ClientAuth, "mTLS") && strings.Contains(name, "private_key"):
		return law.Key("key")
	case name == "scope" && c.Kind == "mint":
		return "read"
	case name == "scope":
		return "read write"
	case c.plainPlace(name):
		return strings.ReplaceAll(name, "_", "-") + "1"
	}
	return name + ` "&=+%é/\`
}

// plainPlace reports whether a variable stands in a URL, in a header as it is,
// or beside another one in one text.
func (c *comparison) plainPlace(name string) bool {
	var forms []string
	add := func(list ...string) { forms = append(forms, list...) }
	add(strings.Split(c.BaseURL, " || ")...)
	for _, s := range c.Steps {
		add(append(s.Fallback, s.URL)...)
		for _, x := range append(slices.Clone(s.Credentials), s.Optional...) {
			if strings.HasPrefix(x.In, "header") && x.Scheme != "Basic" && x.Var == name {
				return true
			}
			if x.Scheme != "Basic" {
				add(x.Template)
			}
		}
	}
	for _, x := range c.AttachExtra {
		add(x.Value + " ")
	}
	for _, a := range []*Assertion{c.Assertion, c.Mint} {
		if a == nil {
			continue
		}
		add(a.Template, a.Key)
		for _, v := range a.Claims {
			if s, ok := v.(string); ok && strings.Count(s, "{") > 1 {
				add(s)
			}
		}
	}
	return c.Kind == "sign" || slices.ContainsFunc(forms, func(form string) bool {
		t, err := parseTemplate(form)
		return err == nil && len(t) > 1 && slices.Contains(t.names(), name)
	})
}

// inputs checks that the dialect asks of an account what the facts have it give,
// and no more.
func (c *comparison) inputs() {
	for _, name := range append(c.d.LoginVars(), c.d.CallVars()...) {
		if _, ok := c.facts[name]; !ok && !slices.Contains(c.left, name) {
			c.wrong("an account must give $%s, which is not among the inputs", name)
		}
	}
}

// lookup gives the value of a name in the facts.
func (c *comparison) lookup(name string) (string, bool) {
	if v, ok := c.facts[name]; ok {
		return v, v != ""
	}
	if v, ok := c.DefaultInputs[name]; ok && v != "" {
		return v, true
	}
	if name == "scope" && len(c.DefaultScopes) > 0 {
		return strings.Join(c.DefaultScopes, " "), true
	}
	return "", false
}

// eval works a text of the facts out.
func (c *comparison) eval(form string) (string, error) {
	t, err := parseTemplate(form)
	if err != nil {
		return "", err
	}
	return t.eval(c.lookup, c.now)
}

// first works out the first of several forms for which the account gives what
// it takes.
func (c *comparison) first(forms []string) (text string, err error) {
	for _, form := range forms {
		if text, err = c.eval(form); err == nil {
			return text, nil
		}
	}
	return "", err
}

// login goes through the steps, or makes the token, and then makes a call.
func (c *comparison) login() {
	switch c.Kind {
	case "mint":
		c.compareMint()
		return
	case "sign":
		c.compareSigned()
		return
	}
	sequence := c.d.Sequence()
	if len(sequence) != len(c.Steps) {
		c.wrong("the dialect has %d exchanges, and the facts have %d", len(sequence), len(c.Steps))
		return
	}
	for i, s := range c.Steps {
		c.compareRequest(fmt.Sprintf("step %d", i+1), s, sequence[i])
		if len(c.problems) > 0 {
			return
		}
		if i < len(c.Steps)-1 {
			c.stepAnswer(i, sequence[i])
		}
	}
	c.compareAnswers(sequence[len(sequence)-1])
}

// compareRequest compares a request that is built by hand with the dialect's.
func (c *comparison) compareRequest(what string, s Step, x *dialect.Exchange) {
	r, err := c.today(x)
	if err != nil {
		c.wrong("%s: %v", what, err)
		return
	}
	got, err := flatten(r)
	if err != nil {
		c.wrong("%s: what is written is not read: %v", what, err)
		return
	}
	want, err := c.request(s)
	if err != nil {
		c.wrong("%s: the facts do not make a request: %v", what, err)
		return
	}
	c.same(what, want, got)
	certificate, err := c.d.Certificate(x, c.vars)
	if err != nil || (certificate != nil) != strings.Contains(c.ClientAuth, "mTLS") {
		c.wrong("%s: the client certificate is not shown, or is though it should not be", what)
	}
}

// today writes a request, and again if midnight passes meanwhile: a fact may be
// the date.
func (c *comparison) today(x *dialect.Exchange) (*http.Request, error) {
	for {
		c.now = time.Now().Truncate(time.Second)
		r, err := c.d.WriteRequest(context.Background(), x, nil, c.vars)
		if err != nil || time.Now().UTC().YearDay() == c.now.UTC().YearDay() {
			return r, err
		}
	}
}

// An expectation is what is to stand at a place: a text, or one of a form.
type expectation struct {
	text string
	fits func(string) error // nil: the text
}

func (c *comparison) same(what string, want map[string]expectation, got map[string]string) {
	for _, place := range slices.Sorted(maps.Keys(want)) {
		text, ok := got[place]
		switch x := want[place]; {
		case !ok:
			c.wrong("%s: %s is missing", what, place)
		case x.fits != nil:
			if err := x.fits(text); err != nil {
				c.wrong("%s: %s: %v", what, place, err)
			}
		case x.text != text:
			c.wrong("%s: %s has another value", what, place)
		}
	}
	for _, place := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[place]; !ok {
			c.wrong("%s: %s is too many", what, place)
		}
	}
}

var contentTypes = map[string]string{"form": "application/x-www-form-urlencoded", "json": "application/json", "xml": "application/xml"}

// request builds a request by hand.
func (c *comparison) request(s Step) (map[string]expectation, error) {
	accept := "application/json"
	if c.Response != nil && c.Response.Format == "xml" {
		accept = "application/xml"
	}
	want := map[string]expectation{"method": {text: s.Method}, "header accept": {text: accept}}
	address, err := c.first(append([]string{s.URL}, s.Fallback...))
	if err != nil {
		return nil, err
	}
	scheme, rest, _ := strings.Cut(address, "://")
	host, path, _ := strings.Cut(rest, "/")
	want["host"], want["path"] = expectation{text: scheme + "://" + host}, expectation{text: "/" + path}
	if !strings.Contains(rest, "/") {
		want["path"] = expectation{}
	}
	for _, v := range s.Static {
		text := fmt.Sprint(v.Value)
		if strings.HasPrefix(text, "{{$") {
			want[placeOf(s, v.In, v.Name)] = expectation{fits: present}
			continue
		}
		want[placeOf(s, v.In, v.Name)] = expectation{text: text}
	}
	for _, v := range append(slices.Clone(s.Credentials), s.Optional...) {
		if err := c.credential(want, s, v); err != nil {
			return nil, err
		}
	}
	for _, v := range s.Computed {
		text, err := c.eval(v.Template)
		switch {
		case errors.Is(err, errGenerated):
			want[placeOf(s, v.In, v.Name)] = expectation{fits: present}
		case err != nil:
			return nil, err
		default:
			want[placeOf(s, v.In, v.Name)] = expectation{text: text}
		}
	}
	for p := range want {
		if kind, _, _ := strings.Cut(p, " "); contentTypes[kind] != "" {
			want["header content-type"] = expectation{text: contentTypes[kind]}
		}
	}
	if s.ContentType == "json" {
		want["header content-type"] = expectation{text: contentTypes["json"]} // also around {}
	}
	return want, nil
}

func placeOf(s Step, in, name string) string {
	switch in {
	case "body":
		return s.ContentType + " " + name
	case "header":
		return "header " + strings.ToLower(name)
	}
	return in + " " + name
}

func present(text string) error {
	if text == "" {
		return errors.New("is empty")
	}
	return nil
}

func (c *comparison) credential(want map[string]expectation, s Step, v Credential) error {
	in := placeOf(s, v.In, v.Name)
	if v.In == "header:authorization" {
		in = "header authorization"
	}
	if c.Assertion != nil && v.Var == c.assertionName() {
		want[in] = expectation{fits: func(text string) error {
			token, ok := strings.CutPrefix(text, strings.TrimPrefix(v.Scheme+" ", " "))
			if !ok {
				return fmt.Errorf("is not of the scheme %s", v.Scheme)
			}
			return c.compareJWT(c.Assertion, token)
		}}
		return nil
	}
	form := v.Template
	if form == "" {
		form = "{" + v.Var + "}"
	}
	if m := basicTemplate.FindStringSubmatch(form); m != nil {
		form = "Basic " + m[1]
	}
	text, err := c.eval(form)
	if m, ok := errors.AsType[missing](err); ok && c.optional(string(m)) {
		return nil // left out
	}
	if v.Var == "scope" && c.ScopeSeparator != "" {
		text = strings.ReplaceAll(text, " ", c.ScopeSeparator)
	}
	want[in] = expectation{text: text}
	return err
}

// stepAnswer makes up the answer of a step: all that later steps name of it.
func (c *comparison) stepAnswer(i int, x *dialect.Exchange) {
	prefix := fmt.Sprintf("step%d.", i+1)
	doc := map[string]any{}
	for _, s := range c.Steps[i+1:] {
		forms := []string{s.URL}
		for _, v := range s.Credentials {
			forms = append(forms, v.Template, "{"+v.Var+"}")
		}
		for _, form := range forms {
			t, _ := parseTemplate(form)
			for _, name := range t.names() {
				if path, ok := strings.CutPrefix(name, prefix); ok {
					c.facts[name] = c.answerValue(path, form)
					put(doc, path, c.facts[name])
				}
			}
		}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		c.wrong("the answer of step %d: %v", i+1, err)
		return
	}
	bound, err := c.d.ReadResponse(x, http.StatusOK, http.Header{"Content-Type": {"application/json"}}, body, c.now)
	if err != nil {
		c.wrong("the answer of step %d: %v", i+1, err)
		return
	}
	maps.Copy(c.vars, bound)
}

// answerValue makes up a value: a URL at the login's own host where one begins
// with it.
func (c *comparison) answerValue(name, form string) string {
	if !strings.HasPrefix(form, "{") || !strings.Contains(form, "/") && !strings.Contains(strings.ToLower(name), "endpoint") {
		return "answered-" + strings.ReplaceAll(name, ".", "-")
	}
	return c.ownURL()
}

// ownURL is a URL at the host of the first step.
func (c *comparison) ownURL() string {
	address, _ := c.eval(c.Steps[0].URL)
	scheme, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	return scheme + "://" + host + "/own"
}

// put sets what stands at a path of a document.
func put(doc map[string]any, path string, v any) {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		inner, ok := doc[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			doc[key] = inner
		}
		doc = inner
	}
	doc[keys[len(keys)-1]] = v
}
