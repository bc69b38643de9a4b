package dialect

import (
	"fmt"
	"net/http"
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
	if x.body == bodyNone && x.query == nil && x.Method == "POST" && x.bearer == nil {
		standardLogin(x)
	}
	if !x.Answers() || only && x.ok != nil && x.returns == nil && x.returnsXML == nil && x.returnsHeaders == nil && x.setCookie == nil {
		x.returns = standardReturns()
		x.plain = x.ok == nil && x.status == 0
	}
	x.Grant = loginGrant(x)
	return x, nil
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
			x.returns, x.returnsXML, x.returnsHeaders, x.setCookie = d.Login.returns, d.Login.returnsXML, d.Login.returnsHeaders, d.Login.setCookie
		}
		if x.body == bodyNone && x.query == nil && x.Method == "POST" && x.bearer == nil {
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

var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

var exchangeKeys = append(slices.Clone(methods), "when", "query", "headers", "cookies", "basic", "bearer", "form", "json", "xml", "text", "tls", "sign",
	"returns", "returns_xml", "returns_headers", "set_cookie", "ok", "status")

// parseExchange reads an exchange into x, which holds what an absent key
// means. A text is the URL of a POST.
func parseExchange(n yamlnode.Node, x *Exchange) (*Exchange, error) {
	if n.Kind == yamlnode.Text {
		a, err := compileAddress(n.Text)
		if err != nil {
			return nil, n.Errorf("%v", err)
		}
		x.Method, x.url = "POST", a
		return x, nil
	}
	if err := n.Want("an exchange", yamlnode.Map); err != nil {
		return nil, err
	}
	keys := exchangeKeys
	if x.Kind != KindRefresh {
		keys = slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "when" })
	}
	if err := n.Only(keys...); err != nil {
		return nil, err
	}
	for _, p := range n.Pairs {
		if err := parseExchangeKey(p.Key, p.Value, x); err != nil {
			return nil, err
		}
	}
	if x.Method == "" {
		return nil, n.Errorf("an exchange is to have a method: GET, POST, PUT, PATCH or DELETE, and its URL")
	}
	if x.Method == "GET" && x.body != bodyNone {
		return nil, n.Errorf("a GET has no body; use query")
	}
	return x, onceEach(n, worn{x.headers, x.cookies, x.basic, x.bearer})
}

// onceEach refuses two values for one header: the second would be written over
// the first.
func onceEach(n yamlnode.Node, w worn) error {
	seen := map[string]bool{}
	names := make([]string, 0, len(w.headers)+3)
	for _, f := range w.headers {
		names = append(names, http.CanonicalHeaderKey(f.name))
	}
	if w.basic != nil {
		names = append(names, "Authorization")
	}
	if w.bearer != nil {
		names = append(names, "Authorization")
	}
	if w.cookies != nil {
		names = append(names, "Cookie")
	}
	for _, name := range names {
		if seen[name] {
			return n.Errorf("the header %s has two values here: headers, basic, bearer and cookies are to give it one", name)
		}
		seen[name] = true
	}
	return nil
}

func parseExchangeKey(key, n yamlnode.Node, x *Exchange) (err error) {
	switch key.Text {
	case "GET", "POST", "PUT", "PATCH", "DELETE":
		if x.Method != "" {
			return key.Errorf("the exchange has a method already")
		}
		x.Method = key.Text
		if n.Kind == yamlnode.Null && (len(x.url.path) > 0 || x.url.root != "") {
			return nil // the token's
		}
		if err := n.Want(key.Text, yamlnode.Text); err != nil {
			return err
		}
		if x.url, err = compileAddress(n.Text); err != nil {
			return n.Errorf("%v", err)
		}
	case "when":
		if n.Text != "valid" && n.Text != "expired" {
			return n.Errorf("when is to be valid or expired")
		}
		x.When = n.Text
	case "query":
		x.query, err = parseFields(n, "query")
	case "headers":
		x.headers, err = parseFields(n, "headers")
	case "cookies":
		x.cookies, err = parseCookies(n, "cookies")
	case "xml":
		x.xml, err = parseXMLTree(n, "xml")
		err = oneBody(key, x, bodyXML, err)
	case "text":
		x.text, err = parseValue(n, "text")
		err = oneBody(key, x, bodyText, err)
	case "tls":
		x.tls, err = parseTLS(n)
	case "sign":
		x.sign, err = parseSigner(n)
	case "returns_xml":
		x.returnsXML, err = parseXMLTree(n, "returns_xml")
	case "returns_headers":
		x.returnsHeaders, err = parseFields(n, "returns_headers")
	case "set_cookie":
		x.setCookie, err = parseCookies(n, "set_cookie")
	case "form":
		x.form, err = parseFields(n, "form")
		err = oneBody(key, x, bodyForm, err)
	case "json":
		x.json, err = compileTree(n)
		err = oneBody(key, x, bodyJSON, err)
	case "basic":
		x.basic, err = parsePair(n)
	case "bearer":
		x.bearer, err = parseValue(n, "bearer")
	case "returns":
		x.returns, err = compileTree(n)
	case "ok":
		x.ok, err = parseObject(n, "ok")
	case "status":
		x.status, err = parseStatus(n)
	}
	return err
}

func oneBody(key yamlnode.Node, x *Exchange, kind bodyKind, err error) error {
	if err == nil && x.body != bodyNone {
		return key.Errorf("the exchange has a body already; a request has one of form, json, xml and text")
	}
	x.body = kind
	return err
}

func parseStatus(n yamlnode.Node) (int, error) {
	status, err := strconv.Atoi(n.Text)
	if n.Kind != yamlnode.Number || err != nil || status < 200 || status > 599 {
		return 0, n.Errorf("a status is to be a number from 200 to 599")
	}
	return status, nil
}

func parseValue(n yamlnode.Node, what string) (value, error) {
	if err := n.Want(what, yamlnode.Text, yamlnode.Number, yamlnode.Bool); err != nil {
		return nil, err
	}
	v, err := compile(n.Text)
	if err != nil {
		return nil, n.Errorf("%v", err)
	}
	return v, nil
}

// parseCookies reads cookies by name, or one hole that stands for all of them.
func parseCookies(n yamlnode.Node, what string) ([]field, error) {
	if n.Kind != yamlnode.Text {
		return parseFields(n, what)
	}
	v, err := parseValue(n, what)
	if err == nil && (len(v) != 1 || v[0].hole == "") {
		err = n.Errorf("%s is to be a mapping of names, or one hole that stands for every cookie", what)
	}
	return []field{{every, v}}, err
}

// every is the name of the field that stands for every cookie: name=value pairs,
// as they stand in the header Cookie.
const every = ""

func parseFields(n yamlnode.Node, what string) ([]field, error) {
	if err := n.Want(what, yamlnode.Map); err != nil {
		return nil, err
	}
	var list []field
	for _, p := range n.Pairs {
		v, err := parseValue(p.Value, what+"."+p.Key.Text)
		if err != nil {
			return nil, err
		}
		if len(v) == 0 {
			return nil, p.Value.Errorf("an empty value counts as absent; leave the field out")
		}
		if (strings.HasSuffix(what, "headers") || strings.Contains(what, "cookie")) && (p.Key.Text == "" || strings.ContainsFunc(p.Key.Text, notTokenChar)) {
			return nil, p.Key.Errorf("this is not the name of a header or a cookie")
		}
		if strings.HasSuffix(what, "headers") && slices.Contains(framing, http.CanonicalHeaderKey(p.Key.Text)) {
			return nil, p.Key.Errorf("this header says how a message travels, and HTTP itself writes it")
		}
		list = append(list, field{p.Key.Text, v})
	}
	return list, nil
}

// framing are headers that a dialect cannot write.
var framing = []string{"Connection", "Content-Length", "Host", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// notTokenChar is the complement of RFC 9110 section 5.6.2.
func notTokenChar(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

func parsePair(n yamlnode.Node) (*pair, error) {
	if err := n.Want("basic", yamlnode.Text); err != nil {
		return nil, err
	}
	user, password, ok := cutPair(n.Text)
	if !ok {
		return nil, n.Errorf("basic is to be name:password, each with its hole, for example $client_id:$client_secret")
	}
	u, err := compile(user)
	if err == nil {
		var p value
		if p, err = compile(password); err == nil {
			return &pair{u, p}, nil
		}
	}
	return nil, n.Errorf("%v", err)
}

// cutPair cuts at the first colon that does not stand in the arguments of a call.
func cutPair(s string) (user, password string, ok bool) {
	depth := 0
	for i := range len(s) {
		switch {
		case s[i] == '(' && (depth > 0 || callAt(s, i)):
			depth++
		case s[i] == ')' && depth > 0:
			depth--
		case s[i] == ':' && depth == 0:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// parseTLS reads with which certificate, and its key, the client shows itself.
func parseTLS(n yamlnode.Node) (*pair, error) {
	if err := n.Want("tls", yamlnode.Map); err != nil {
		return nil, err
	}
	if err := n.Only("cert", "key"); err != nil {
		return nil, err
	}
	cert, _ := n.Get("cert")
	key, _ := n.Get("key")
	c, err := parseValue(cert, "tls.cert")
	if err != nil {
		return nil, err
	}
	k, err := parseValue(key, "tls.key")
	return &pair{c, k}, err
}

func parseCall(d *Dialect, root yamlnode.Node) error {
	d.Call = &Call{base: address{scheme: d.Login.url.scheme, host: d.Login.url.host}}
	n, ok := root.Get("call")
	if ok {
		if err := parseCallNode(n, d.Call, "base", "headers", "query", "cookies", "basic", "bearer", "sign", "tls", "accept"); err != nil {
			return err
		}
		if list, ok := n.Get("accept"); ok {
			if err := list.Want("accept", yamlnode.List); err != nil {
				return err
			}
			for _, item := range list.Items {
				other := &Call{}
				if err := parseCallNode(item, other, "headers", "query", "cookies", "basic", "bearer"); err != nil {
					return err
				}
				wear(other)
				for _, f := range d.Call.headers {
					if !f.value.has("access_token") {
						other.headers = append(other.headers, f)
					}
				}
				if err := onceEach(item, worn{other.headers, other.cookies, other.basic, other.bearer}); err != nil {
					return err
				}
				d.Call.accept = append(d.Call.accept, other)
			}
		}
	}
	if d.Login.Method == "" && d.let("access_token") == nil {
		return d.parseTokenless(root)
	}
	wear(d.Call)
	if !ok {
		n = root
	}
	return onceEach(n, worn{d.Call.headers, d.Call.cookies, d.Call.basic, d.Call.bearer})
}

// parseTokenless is for vendors whose calls wear credentials of the account, or
// a signature, and no token.
func (d *Dialect) parseTokenless(root yamlnode.Node) error {
	if n, ok := root.Get("call"); ok && (d.Call.sign != nil || d.Call.tls != nil) || len(d.Call.wornHoles()) > 0 {
		if slices.Contains(d.Call.holes(), "access_token") {
			return n.Errorf("nothing makes $access_token: token, or let, is to")
		}
		return nil
	}
	return root.Errorf("the key token is missing: it is the URL of the token endpoint, or the exchange there")
}

// wear makes a call that does not mention the token wear it as its bearer.
func wear(c *Call) {
	if !slices.Contains(c.holes(), "access_token") {
		c.bearer = must("$access_token")
	}
}

func parseCallNode(n yamlnode.Node, c *Call, keys ...string) error {
	if n.Kind == yamlnode.Text && slices.Contains(keys, "base") {
		a, err := compileAddress(n.Text)
		if err != nil {
			return n.Errorf("%v", err)
		}
		c.base = a
		return nil
	}
	if err := n.Want("call", yamlnode.Map); err != nil {
		return err
	}
	if err := n.Only(keys...); err != nil {
		return err
	}
	for _, p := range n.Pairs {
		var err error
		switch p.Key.Text {
		case "base":
			if c.base, err = compileAddress(p.Value.Text); err != nil {
				err = p.Value.Errorf("%v", err)
			}
		case "headers":
			c.headers, err = parseFields(p.Value, "headers")
		case "query":
			c.query, err = parseFields(p.Value, "query")
		case "cookies":
			c.cookies, err = parseCookies(p.Value, "cookies")
		case "sign":
			c.sign, err = parseSigner(p.Value)
		case "tls":
			c.tls, err = parseTLS(p.Value)
		case "basic":
			c.basic, err = parsePair(p.Value)
		case "bearer":
			c.bearer, err = parseValue(p.Value, "bearer")
		}
		if err != nil {
			return err
		}
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
		x, err := parseExchange(item, &Exchange{Kind: KindLogin})
		if err != nil {
			return err
		}
		login := d.Login
		if !x.Answers() {
			x.returns, x.returnsXML, x.returnsHeaders, x.setCookie = login.returns, login.returnsXML, login.returnsHeaders, login.setCookie
		}
		if x.body == bodyNone && x.query == nil && x.Method == "POST" {
			x.query, x.headers, x.cookies, x.basic, x.bearer, x.tls = login.query, login.headers, login.cookies, login.basic, login.bearer, login.tls
			x.body, x.form, x.json, x.xml, x.text, x.clientAuth = login.body, login.form, login.json, login.xml, login.text, login.clientAuth
		}
		x.url, x.Grant = x.url.under(address{scheme: d.Login.url.scheme, host: d.Login.url.host}), loginGrant(x)
		d.Accept = append(d.Accept, x)
	}
	return nil
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
