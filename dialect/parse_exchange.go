package dialect

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jetonhq/jeton/yamlnode"
)

var methods = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}

var exchangeKeys = slices.Concat(methods, []string{"when", "form", "json", "xml", "text",
	"returns", "returns_xml", "returns_headers", "set_cookie", "ok", "status"}, wearingKeys)

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
	return x, x.onceEach(n)
}

// onceEach refuses two values for one header: the second would be written over
// the first.
func (w *wearing) onceEach(n yamlnode.Node) error {
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
	case "xml":
		x.xml, err = parseXMLTree(n, "xml")
		err = oneBody(key, x, bodyXML, err)
	case "text":
		x.text, err = parseValue(n, "text")
		err = oneBody(key, x, bodyText, err)
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
	case "returns":
		x.returns, err = compileTree(n)
	case "ok":
		x.ok, err = parseObject(n, "ok")
	case "status":
		x.status, err = parseStatus(n)
	default:
		err = x.wearing.parse(key.Text, n)
	}
	return err
}

var wearingKeys = []string{"query", "headers", "cookies", "basic", "bearer", "tls", "sign"}

// parse reads what a key of wearingKeys says.
func (w *wearing) parse(key string, n yamlnode.Node) (err error) {
	switch key {
	case "query":
		w.query, err = parseFields(n, key)
	case "headers":
		w.headers, err = parseFields(n, key)
	case "cookies":
		w.cookies, err = parseCookies(n, key)
	case "basic":
		w.basic, err = parsePair(n)
	case "bearer":
		w.bearer, err = parseValue(n, key)
	case "tls":
		w.tls, err = parseTLS(n)
	case "sign":
		w.sign, err = parseSigner(n)
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
	if err == nil && !v.whole() {
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
		if len(v) == 0 && what != "query" && what != "form" {
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
	c, err := parseWhole(cert, "tls.cert")
	if err != nil {
		return nil, err
	}
	k, err := parseWhole(key, "tls.key")
	return &pair{c, k}, err
}

// parseWhole reads a key or a certificate: a hole, since what stands beside it
// would not count.
func parseWhole(n yamlnode.Node, what string) (value, error) {
	v, err := parseValue(n, what)
	if err == nil && !v.whole() {
		err = n.Errorf("%s is to be one hole, which holds all of it in PEM", what)
	}
	return v, err
}
