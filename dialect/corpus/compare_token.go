package corpus

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

const (
	opaque  = "opaque-token-1"
	cookies = "SESSION=of-1; ROUTE=.node2"
)

// An expiring is one way in which an answer can say how long its token is good.
type expiring struct {
	token string
	value any       // at the path of the expiry; nil: nothing
	until time.Time // what that means; zero: not known
}

// expirings makes up answers of the form that the facts have.
func (c *comparison) expirings() ([]expiring, error) {
	at := func(d time.Duration) time.Time { return c.now.Add(d) }
	day := time.Date(c.now.Year()+1, 3, 4, 5, 6, 7, 0, time.UTC)
	switch x := c.Expiry; x.Form {
	case "relative_s":
		return []expiring{{opaque, 1234, at(1234 * time.Second)}}, nil
	case "relative_ms":
		return []expiring{{opaque, 1234000, at(1234 * time.Second)}}, nil
	case "duration_d:hh:mm":
		return []expiring{{opaque, "1:02:03", at(26*time.Hour + 3*time.Minute)}}, nil
	case "absolute":
		list := []expiring{{opaque, day.Format(time.RFC3339), day}}
		if x.Value == "" { // the facts do not say in which form
			list = append(list, expiring{opaque, day.Unix(), day})
		}
		return list, nil
	case "fixed_by_doc":
		return []expiring{{opaque, nil, at(time.Duration(x.Seconds) * time.Second)}}, nil
	case "unstated", "jwt_exp":
		return []expiring{{unsigned(day), nil, day}, {opaque, nil, time.Time{}}}, nil
	case "none":
		return []expiring{{opaque, nil, time.Time{}}}, nil
	}
	return nil, fmt.Errorf("an expiry of the form %s is not understood", c.Expiry.Form)
}

// unsigned is a JWT that nobody has signed, good until then.
func unsigned(until time.Time) string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"none"}`) + "." + part(fmt.Sprintf(`{"exp":%d}`, until.Unix())) + "." + part("signature")
}

// compareAnswers reads answers that are built by hand, and makes a call with the
// token.
func (c *comparison) compareAnswers(x *dialect.Exchange) {
	list, err := c.expirings()
	if err != nil {
		c.wrong("%v", err)
		return
	}
	for _, e := range list {
		token := c.answer(x, e)
		if token == nil {
			return
		}
		c.compareRefresh(token)
		c.compareCall(token)
	}
}

// answer reads one answer and compares the token that it gives.
func (c *comparison) answer(x *dialect.Exchange, e expiring) *jeton.Token {
	doc := map[string]any{}
	put(doc, c.Response.AccessToken, e.token)
	if e.value != nil {
		put(doc, c.Expiry.Path, e.value)
	}
	if c.Response.RefreshToken != "" && c.Response.RefreshToken != c.Response.AccessToken {
		put(doc, c.Response.RefreshToken, "refresh-1")
	}
	for _, m := range c.Response.Metadata {
		v, given := c.facts[snake(m)]
		switch {
		case given && slices.Contains(c.Inputs, snake(m)): // the vendor says again what it was told
		case strings.HasPrefix(c.BaseURL, "{"+snake(m)+"}"):
			v = c.ownURL()
		default:
			v = "kept-" + m
		}
		put(doc, m, v)
		c.facts[snake(m)] = v
	}
	body, err := encodeAnswer(c.Response.Format, doc)
	if err != nil {
		c.wrong("the answer: %v", err)
		return nil
	}
	header := http.Header{}
	if c.everyCookie() {
		for _, cookie := range strings.Split(cookies, "; ") {
			header.Add("Set-Cookie", cookie+"; Path=/; HttpOnly")
		}
	}
	bound, err := c.d.ReadResponse(x, http.StatusOK, header, body, c.now)
	if err != nil {
		c.wrong("the answer: %v", err)
		return nil
	}
	token := c.d.NewToken(bound, c.now)
	got := token.AccessToken.Reveal()
	if c.everyCookie() {
		if got != cookies {
			c.wrong("the answer: not every cookie is kept")
		}
		got = bound[snake(c.Response.AccessToken)]
	}
	if got != e.token {
		c.wrong("the answer: the token is not at %s", c.Response.AccessToken)
	}
	until := e.until
	if d := time.Duration(c.DocumentedLifetime) * time.Second; d > 0 && (until.IsZero() || c.now.Add(d).Before(until)) {
		until = c.now.Add(d)
	}
	if !token.Expiry.Equal(until) {
		c.wrong("the answer: the token is good until %s and not %s", token.Expiry.UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339))
	}
	for _, m := range c.Response.Metadata {
		if bound[snake(m)] != c.facts[snake(m)] {
			c.wrong("the answer: %s is not kept", m)
		}
	}
	c.facts["access_token"], c.facts["token"] = e.token, e.token
	return token
}

func encodeAnswer(format string, doc map[string]any) ([]byte, error) {
	if format == "json" {
		return json.Marshal(doc)
	}
	var b strings.Builder
	var write func(doc map[string]any) error
	write = func(doc map[string]any) error {
		for _, key := range slices.Sorted(maps.Keys(doc)) {
			b.WriteString("<" + key + ">")
			if inner, ok := doc[key].(map[string]any); ok {
				if err := write(inner); err != nil {
					return err
				}
			} else if err := xml.EscapeText(&b, []byte(fmt.Sprint(doc[key]))); err != nil {
				return err
			}
			b.WriteString("</" + key + ">")
		}
		return nil
	}
	err := write(doc)
	return []byte(b.String()), err
}

// compareRefresh compares how the next token is had.
func (c *comparison) compareRefresh(token *jeton.Token) {
	x := c.d.RefreshWith(token, c.now)
	if c.Refresh.Request == nil {
		if x != nil {
			c.wrong("the dialect refreshes, and the facts have it log in again")
		}
		return
	}
	if x == nil {
		c.wrong("the dialect logs in again, and the facts have it refresh")
		return
	}
	before := c.vars.Clone()
	c.vars["access_token"], c.vars["refresh_token"] = token.AccessToken.Reveal(), token.RefreshToken.Reveal()
	c.facts["refresh_token"] = "refresh-1"
	if c.Response.RefreshToken == c.Response.AccessToken {
		c.facts["refresh_token"] = token.AccessToken.Reveal()
	}
	c.compareRequest("the refresh", *c.Refresh.Request, x)
	c.vars = before
}

// compareCall compares how a call wears the token, and where it goes.
func (c *comparison) compareCall(token *jeton.Token) {
	vars := c.vars.Clone()
	maps.Copy(vars, token.Vars)
	vars["access_token"] = token.AccessToken.Reveal()
	c.compareBase(vars)
	r, err := http.NewRequest(http.MethodGet, "https://vendor.test/x", nil)
	if err != nil {
		c.wrong("a call: %v", err)
		return
	}
	if err := c.d.WriteCall(r, vars); err != nil {
		c.wrong("a call: %v", err)
		return
	}
	got, err := flatten(r)
	if err != nil {
		c.wrong("a call: %v", err)
		return
	}
	want := map[string]expectation{"method": {text: "GET"}, "host": {text: "https://vendor.test"}, "path": {text: "/x"}}
	add := func(in, name, form string) {
		if m := basicTemplate.FindStringSubmatch(form); m != nil {
			form = "Basic " + m[1]
		}
		text, err := c.eval(form)
		if m, ok := err.(missing); ok && c.optional(string(m)) {
			return
		}
		if err != nil {
			c.wrong("a call: %s: %v", name, err)
		}
		want[in+" "+strings.ToLower(name)] = expectation{text: text}
	}
	for _, a := range c.Attach {
		if a.In == "cookie" {
			want["header cookie"] = expectation{text: cookies}
			continue
		}
		add(a.In, a.Name, a.Template)
	}
	for _, x := range c.AttachExtra {
		add(x.In, x.Name, x.Value)
	}
	c.same("a call", want, got)
}

// compareBase compares where calls go, and where the calls that have a name do.
func (c *comparison) compareBase(vars jeton.Vars) {
	want, err := c.first(strings.Split(c.BaseURL, " || "))
	if err != nil {
		c.wrong("the URL of calls: %v", err)
		return
	}
	u, err := c.d.CallURL(nil, vars)
	if err != nil {
		c.wrong("the URL of calls: %v", err)
		return
	}
	if got := u.Scheme + "://" + u.Host + u.Path; strings.TrimSuffix(got, "/") != strings.TrimSuffix(want, "/") {
		c.wrong("calls go elsewhere")
	}
	named := func(what, method, url string, x *dialect.Exchange) {
		if x == nil {
			c.wrong("%s is missing", what)
			return
		}
		r, err := c.d.WriteRequest(context.Background(), x, nil, vars)
		if err != nil {
			c.wrong("%s: %v", what, err)
			return
		}
		if got := r.Method + " " + r.URL.Scheme + "://" + r.URL.Host + r.URL.Path; got != method+" "+url {
			c.wrong("%s goes elsewhere", what)
		}
	}
	if c.Verify != nil {
		named("verify", c.Verify.Method, strings.TrimSuffix(want, "/")+c.Verify.Endpoints[0], c.d.Verify)
	}
	if method, form, ok := strings.Cut(c.Introspection, " "); ok {
		url, err := c.eval(form)
		if err != nil {
			c.wrong("introspect: %v", err)
		}
		named("introspect", method, url, c.d.Introspect)
	}
}

// compareMint compares a token that the client makes itself.
func (c *comparison) compareMint() {
	token, err := c.d.Mint(c.vars, c.now)
	if err != nil {
		c.wrong("the token: %v", err)
		return
	}
	text := token.AccessToken.Reveal()
	if c.Mint.Template != "" {
		err = c.compareTemplate(c.Mint.Template, text)
	} else {
		err = c.compareJWT(c.Mint, text)
	}
	if err != nil {
		c.wrong("the token: %v", err)
	}
	if want := c.now.Add(time.Duration(c.Expiry.Seconds) * time.Second); !token.Expiry.Equal(want) {
		c.wrong("the token is good until %s and not %s", token.Expiry.UTC().Format(time.RFC3339), want.UTC().Format(time.RFC3339))
	}
	if x := c.d.RefreshWith(token, c.now); x != nil {
		c.wrong("the dialect refreshes what it makes itself")
	}
	c.facts["access_token"], c.facts["token"] = text, text
	c.compareCall(token)
}

// compareTemplate takes what is made anew each time from the text, and works the
// rest out by hand.
func (c *comparison) compareTemplate(form, text string) error {
	t, err := parseTemplate(form)
	if err != nil {
		return err
	}
	pattern := "^"
	var names []string
	for _, e := range t {
		switch {
		case e.call:
			pattern += "(?:.*)"
		case e.name != "" && c.facts[e.name] == "":
			pattern += "(.*)"
			names = append(names, e.name)
		case e.name != "":
			pattern += regexp.QuoteMeta(c.facts[e.name])
		default:
			pattern += regexp.QuoteMeta(e.text)
		}
	}
	m := regexp.MustCompile(pattern + "$").FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("is not of the form of the facts")
	}
	for i, name := range names {
		c.facts[name] = m[i+1]
	}
	want, err := t.eval(c.lookup, c.now)
	for _, name := range names {
		delete(c.facts, name)
	}
	if err == nil && want != text {
		err = fmt.Errorf("has another digest")
	}
	return err
}

// compareSigned compares a call that is signed. The signature itself is proven
// by the laws; here it is the names that it goes by.
func (c *comparison) compareSigned() {
	c.compareBase(c.vars)
	r, err := http.NewRequest(http.MethodGet, "https://vendor.test/x?a=b", nil)
	if err != nil {
		c.wrong("a call: %v", err)
		return
	}
	if err := c.d.SignCall(r, nil, c.vars, c.now); err != nil {
		c.wrong("a call: %v", err)
		return
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	said := map[string]string{}
	for _, p := range strings.Split(rest, ", ") {
		name, text, _ := strings.Cut(p, "=")
		said[name] = strings.Trim(text, `"`)
	}
	words := strings.Join(c.Quirks, " ")
	if scheme != c.Attach[0].Scheme || !strings.Contains(words, said["oauth_signature_method"]) || said["oauth_signature"] == "" {
		c.wrong("a call is signed by %s %s", scheme, said["oauth_signature_method"])
	}
	for name, ends := range map[string]string{"oauth_consumer_key": "consumer_key", "oauth_token": "token_id", "realm": "account_id"} {
		i := slices.IndexFunc(c.Inputs, func(s string) bool { return strings.HasSuffix(s, ends) })
		if i >= 0 && said[name] != c.facts[c.Inputs[i]] {
			c.wrong("a call does not say %s", name)
		}
	}
}
