package learn

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A Vendor is a login told in words rather than pasted. Where an account's own
// value stands in a URL or a field, write its name in braces: {tenant_id}.
type Vendor struct {
	TokenURL string
	Travel   string   // how credentials travel: "form", "json", "basic", "query" or "headers"
	Pair     string   // of basic: name:password, such as client_id:client_secret
	Fields   []string // name=value for a fixed text, name alone or name={variable} for an account's value
	Answer   string   // a sample answer, with status and headers or not; empty: that of RFC 6749
	Wear     string   // how calls wear the token: "bearer", "header NAME", "query NAME" or "cookie NAME"
	CallURL  string   // under which calls go; empty: the login's host
	Lifetime string   // of a token, such as 24h; empty: the answer says
}

// Ways are the values that [Vendor.Travel] may have, the most common first.
var Ways = []string{"form", "basic", "json", "query", "headers"}

var lifetime = regexp.MustCompile(`^[1-9][0-9]*(?:d|h|m|s)$`)

// New learns a dialect from words.
func New(v Vendor, o Options) (*Draft, error) {
	list, err := v.exchanges()
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	m := newMaker(o)
	if v.Lifetime != "" && !lifetime.MatchString(v.Lifetime) {
		return nil, errors.New("learn: the lifetime is to be a length of time such as 24h, 30m or 7d")
	}
	m.lifetime = v.Lifetime
	d, err := m.learn(list)
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	return d, nil
}

func (v Vendor) exchanges() ([]exchange, error) {
	if v.TokenURL == "" {
		return nil, errors.New("a login has a URL")
	}
	l := &line{url: []string{v.TokenURL}, method: "POST"}
	for _, f := range v.Fields {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			value = "{" + name + "}"
		}
		if name == "" || value == "" {
			return nil, errors.New("a field is to be a name, or name=value")
		}
		if v.Travel == "headers" {
			l.headers = append(l.headers, name+": "+value)
			continue
		}
		l.data = append(l.data, pair{"=" + name, value})
	}
	switch v.Travel {
	case "basic":
		l.user = v.braced()
	case "query":
		l.get = true
	case "json":
		body := &doc{kind: docObject}
		for _, d := range l.data {
			body.set(d.name[1:], text(d.text))
		}
		l.json, l.data = true, []pair{{"", string(body.appendJSON(nil))}}
	case "form", "headers":
	default:
		return nil, fmt.Errorf("credentials travel by %s", strings.Join(Ways, ", "))
	}
	login, err := l.request()
	if err != nil {
		return nil, fmt.Errorf("the token URL: %w", err)
	}
	e := exchange{request: login}
	if strings.TrimSpace(v.Answer) != "" {
		if e.answer = findAnswer(tidy(v.Answer)); e.answer == nil {
			return nil, errors.New("the sample answer is neither JSON nor XML nor a token alone")
		}
	}
	call, err := v.call(login)
	if err != nil {
		return nil, err
	}
	return []exchange{e, {request: call}}, nil
}

// braced writes both halves of the pair as placeholders.
func (v Vendor) braced() string {
	name, password, _ := strings.Cut(v.Pair, ":")
	half := func(s string) string {
		if s == "" || strings.ContainsAny(s, "{<$") {
			return s
		}
		return "{" + s + "}"
	}
	return half(name) + ":" + half(password)
}

func (v Vendor) call(login *request) (*request, error) {
	u := strings.TrimRight(v.CallURL, "/")
	if u == "" {
		u = login.origin()
	}
	l := &line{url: []string{u + "/resource"}, method: "GET"}
	how, name, _ := strings.Cut(v.Wear, " ")
	switch {
	case how == "bearer" || how == "":
		l.bearer = "{access_token}"
	case name == "" || strings.ContainsFunc(name, notToken):
		return nil, errors.New("calls wear the token as bearer, header NAME, query NAME or cookie NAME")
	case how == "header":
		l.headers = []string{name + ": {access_token}"}
	case how == "query":
		l.get, l.data = true, []pair{{"=" + name, "{access_token}"}}
	case how == "cookie":
		l.cookies = []string{name + "={access_token}"}
	default:
		return nil, errors.New("calls wear the token as bearer, header NAME, query NAME or cookie NAME")
	}
	r, err := l.request()
	if err != nil {
		return nil, fmt.Errorf("the URL of calls: %w", err)
	}
	r.whole = true
	return r, nil
}
