package dialect

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/yamlnode"
)

var topKeys = []string{"dialect", "title", "source", "params", "vars", "hosts", "let", "token", "refresh", "call", "verify", "introspect",
	"revoke", "accept", "scope", "permissions", "lifetime", "early", "active", "rate", "errors", "issue"}

// Parse reads a dialect file; file is its name in messages. Every error is a
// [*yamlnode.Error] that says where, what is wrong and, for a name, which
// valid one is nearest.
func Parse(file string, src []byte) (*Dialect, error) {
	root, err := yamlnode.Parse(file, src)
	if err != nil {
		return nil, err
	}
	return parseRoot(root)
}

func parseRoot(root yamlnode.Node) (*Dialect, error) {
	if err := root.Want("a dialect file", yamlnode.Map); err != nil {
		return nil, err
	}
	if err := root.Only(topKeys...); err != nil {
		return nil, err
	}
	d := &Dialect{}
	for _, step := range []func(*Dialect, yamlnode.Node) error{
		parseName, parseAbout, parseVars, parseHosts, parseLet, parseToken, parseCall, parseRefresh, parseOthers, parseSemantics, parseErrors, parseIssue,
	} {
		if err := step(d, root); err != nil {
			return nil, err
		}
	}
	d.generate()
	d.Call.whole = d.wholeCall()
	d.all = d.exchanges()
	return d, d.check(root)
}

func parseName(d *Dialect, root yamlnode.Node) error {
	n, ok := root.Get("dialect")
	if !ok {
		return root.Errorf("the key dialect is missing: it names the vendor")
	}
	if err := n.Want("dialect", yamlnode.Text); err != nil {
		return err
	}
	for _, c := range n.Text {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return n.Errorf("the name of a dialect has a-z, 0-9, - and _ only")
		}
	}
	d.Name = n.Text
	return nil
}

func parseVars(d *Dialect, root yamlnode.Node) error {
	n, ok := root.Get("vars")
	if !ok {
		return nil
	}
	if err := n.Want("vars", yamlnode.Map); err != nil {
		return err
	}
	for _, p := range n.Pairs {
		if err := variableName(p.Key); err != nil {
			return err
		}
		v := Var{Name: p.Key.Text}
		switch p.Value.Kind {
		case yamlnode.Null:
			v.Optional = true
		case yamlnode.List:
			for _, item := range p.Value.Items {
				v.Choice = append(v.Choice, item.Text)
			}
			if len(v.Choice) == 0 {
				return p.Value.Errorf("a choice is to have at least one value")
			}
			v.Default = v.Choice[0]
		case yamlnode.Map:
			return p.Value.Errorf("a variable is to be its default, a list to choose from, or ~ if it may be absent")
		default:
			v.Default = p.Value.Text
		}
		d.Vars = append(d.Vars, v)
	}
	return nil
}

func variableName(n yamlnode.Node) error {
	if name, rest, err := holeName(n.Text); err != nil || name != n.Text || rest != "" {
		return n.Errorf("the name of a variable has a-z, 0-9 and _ only")
	}
	return nil
}

// parseAbout reads what the file says for people.
func parseAbout(d *Dialect, root yamlnode.Node) error {
	if n, ok := root.Get("title"); ok {
		if err := n.Want("title", yamlnode.Text); err != nil {
			return err
		}
		d.Title = n.Text
	}
	if n, ok := root.Get("source"); ok {
		if n.Kind == yamlnode.Text {
			n.Items = []yamlnode.Node{n}
		} else if err := n.Want("source", yamlnode.Text, yamlnode.List); err != nil {
			return err
		}
		for _, item := range n.Items {
			if u, err := url.Parse(item.Text); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
				return item.Errorf("source is to be the address of the vendor's page")
			}
			d.Source = append(d.Source, item.Text)
		}
	}
	n, ok := root.Get("params")
	if !ok {
		return nil
	}
	if err := n.Want("params", yamlnode.Map); err != nil {
		return err
	}
	d.Params = map[string]string{}
	for _, p := range n.Pairs {
		if err := p.Value.Want("params."+p.Key.Text, yamlnode.Text); err != nil {
			return err
		}
		d.Params[p.Key.Text] = p.Value.Text
	}
	return nil
}

func parseHosts(d *Dialect, root yamlnode.Node) error {
	n, ok := root.Get("hosts")
	if !ok {
		return nil
	}
	if err := n.Want("hosts", yamlnode.List); err != nil {
		return err
	}
	for _, item := range n.Items {
		v, err := parseValue(item, "hosts")
		if err != nil {
			return err
		}
		if strings.ContainsAny(item.Text, "/@ ") || item.Text == "" || !strings.ContainsAny(item.Text, ".$") {
			return item.Errorf("a host is to be a name such as example.com, below which every host is meant too")
		}
		d.hosts = append(d.hosts, v)
	}
	return nil
}

// parseToken reads the exchange of a login, or the steps of which the last one
// is it. A dialect without it makes the token by a let, or signs every call.
func parseToken(d *Dialect, root yamlnode.Node) error {
	n, ok := root.Get("token")
	if !ok {
		d.Login = &Exchange{Kind: KindLogin, Grant: jeton.GrantClientCredentials}
		return nil
	}
	items := []yamlnode.Node{n}
	if n.Kind == yamlnode.List {
		if items = n.Items; len(items) == 0 {
			return n.Errorf("token is to have at least one exchange")
		}
	}
	var list []*Exchange
	gives := -1
	for i, item := range items {
		x, err := parseLogin(item, len(items) == 1)
		if err != nil {
			return err
		}
		if list = append(list, x); x.Returns("access_token") {
			gives = i
		}
	}
	if gives < 0 {
		return items[len(items)-1].Errorf("nothing makes $access_token: the answer under returns is to have it where the token stands")
	}
	d.Steps, d.Login, d.Then = list[:gives:gives], list[gives], list[gives+1:]
	d.Login.Kind = KindLogin
	d.Standard = len(list) == 1 && d.Login.standard()
	return nil
}

// parseLogin reads an exchange of a login.
func parseLogin(n yamlnode.Node, only bool) (*Exchange, error) {
	x, err := parseExchange(n, &Exchange{Kind: KindStep})
	if err != nil {
		return nil, err
	}
	if x.asStandard() {
		standardLogin(x)
	}
	if !x.Answers() || only && x.ok != nil && !x.said() {
		x.returns = standardReturns()
		x.plain = x.ok == nil && x.status == 0
	}
	x.Grant = loginGrant(x)
	return x, nil
}

// asStandard reports whether a request leaves its body to RFC 6749.
func (x *Exchange) asStandard() bool {
	return x.Method == "POST" && x.body == bodyNone && x.query == nil && x.bearer == nil
}

// standard reports whether a login is RFC 6749 section 4.4 with nothing changed
// but its URL.
func (x *Exchange) standard() bool {
	return x.clientAuth && x.plain && x.headers == nil && x.cookies == nil && x.tls == nil && x.sign == nil
}

func loginGrant(x *Exchange) jeton.Grant {
	switch grant := grantType(x); {
	case grant != "":
		return grant
	case x.Has("password"):
		return jeton.GrantPassword
	}
	return jeton.GrantClientCredentials
}

// grantType returns the fixed grant_type of a request, if it has one.
func grantType(x *Exchange) jeton.Grant {
	for _, f := range slices.Concat(x.query, x.form) {
		if text, ok := f.value.literal(); ok && f.name == "grant_type" {
			return jeton.Grant(text)
		}
	}
	return ""
}

func parseRefresh(d *Dialect, root yamlnode.Node) error {
	n, ok := root.Get("refresh")
	switch {
	case !ok && grantType(d.Login) != "" && d.Login.Returns("refresh_token") && d.Login.Method == "POST":
		d.Refresh = []*Exchange{standardRefresh(d.Login)}
		return nil
	case !ok:
		return nil
	case n.Kind == yamlnode.Text && n.Text == "none":
		d.NoRefresh = true
		return nil
	case n.Kind == yamlnode.Text || n.Kind == yamlnode.Map:
		n.Items = []yamlnode.Node{n}
	case n.Kind != yamlnode.List:
		return n.Want("refresh", yamlnode.Text, yamlnode.Map, yamlnode.List)
	}
	for _, item := range n.Items {
		x, err := parseExchange(item, &Exchange{Kind: KindRefresh, Grant: jeton.GrantRefreshToken, url: d.Login.url})
		if err != nil {
			return err
		}
		if !x.Answers() {
			x.returned = d.Login.returned
		}
		if x.asStandard() {
			standard := standardRefresh(d.Login)
			x.body, x.form, x.clientAuth = bodyForm, standard.form, standard.clientAuth && x.basic == nil
		}
		if !x.Returns("access_token") {
			return item.Errorf("nothing makes $access_token: the answer under returns is to have it where the token stands")
		}
		d.Refresh = append(d.Refresh, x)
	}
	return nil
}

func parseOthers(d *Dialect, root yamlnode.Node) error {
	for _, o := range []struct {
		key  string
		kind Kind
		to   **Exchange
	}{{"verify", KindVerify, &d.Verify}, {"introspect", KindIntrospect, &d.Introspect}, {"revoke", KindRevoke, &d.Revoke}} {
		n, ok := root.Get(o.key)
		if !ok {
			continue
		}
		x, err := parseExchange(n, &Exchange{Kind: o.kind})
		if err != nil {
			return err
		}
		x.url = x.url.under(d.Call.base)
		*o.to = x
	}
	n, ok := root.Get("accept")
	if !ok {
		return nil
	}
	if err := n.Want("accept", yamlnode.List); err != nil {
		return err
	}
	for _, item := range n.Items {
		x, err := parseAccept(item, d.Login)
		if err != nil {
			return err
		}
		d.Accept = append(d.Accept, x)
	}
	return nil
}

// parseAccept reads another form of a login. One that says only its URL is the
// login at that URL.
func parseAccept(n yamlnode.Node, login *Exchange) (*Exchange, error) {
	x, err := parseExchange(n, &Exchange{Kind: KindLogin})
	if err != nil {
		return nil, err
	}
	if !x.Answers() {
		x.returned = login.returned
	}
	bare := x.body == bodyNone && !x.wears()
	switch {
	case bare && (x.Method != "GET" || login.body == bodyNone):
		x.wearing, x.content = login.wearing, login.content
	case x.asStandard():
		standardLogin(x)
	}
	x.url, x.Grant = x.url.under(address{scheme: login.url.scheme, host: login.url.host}), loginGrant(x)
	return x, nil
}

// duration reads 24h, 5m, 30s or, beyond what Go's syntax has, 30d.
func duration(n yamlnode.Node, what string) (time.Duration, error) {
	t, err := parseLength(n.Text)
	if err != nil {
		return 0, n.Errorf("%s is to be a length of time such as 24h, 30m or 7d", what)
	}
	return t, nil
}

func parseLength(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if k, err := strconv.Atoi(days); err == nil && k > 0 && k < 36500 {
			return time.Duration(k) * 24 * time.Hour, nil
		}
	}
	t, err := time.ParseDuration(text)
	if err == nil && t <= 0 {
		err = fmt.Errorf("not a length of time")
	}
	return t, err
}

// ParseRate reads "10/min". The units are s, min, h and day.
func ParseRate(text string) (Rate, error) {
	count, unit, ok := strings.Cut(text, "/")
	per := map[string]time.Duration{"s": time.Second, "sec": time.Second, "min": time.Minute, "h": time.Hour, "hour": time.Hour, "day": 24 * time.Hour}[unit]
	k, err := strconv.Atoi(count)
	if !ok || per == 0 || err != nil || k < 1 {
		return Rate{}, fmt.Errorf("a rate is to be a number of logins and a unit: 10/min, 100/h")
	}
	return Rate{k, per}, nil
}
