package learn

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jetonhq/jeton/yamlnode"
)

const maxOpenAPI = 16 << 20

// OpenAPI learns a dialect from an OpenAPI document of version 2 or 3, JSON or
// YAML: from a security scheme of type oauth2 with the client credentials or
// the password flow, else from an operation that logs in and answers a token.
// The first server is where calls go; keys that a call has beside the token are
// those that the document requires together with it.
func OpenAPI(src []byte, o Options) (*Draft, error) {
	root, err := readDocument(src)
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	m := newMaker(o)
	if title := root.at("info", "title"); m.Title == "" && title != nil && title.kind == docText {
		m.Title = title.text
	}
	api := &api{root: root, m: m}
	api.readServer()
	list, err := api.exchanges()
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	d, err := m.learn(list)
	if err != nil {
		return nil, fmt.Errorf("learn: %w", err)
	}
	return d, nil
}

func readDocument(src []byte) (*doc, error) {
	if trimmed := strings.TrimSpace(string(src[:min(len(src), 512)])); strings.HasPrefix(trimmed, "{") && len(src) <= maxOpenAPI {
		if d, rest, _, err := parseJSON(string(src)); err == nil && strings.TrimSpace(rest) == "" {
			return d, nil
		}
	}
	n, err := yamlnode.ParseUpTo(maxOpenAPI, "the OpenAPI document", src)
	if err != nil {
		return nil, err
	}
	return fromNode(n), nil
}

func fromNode(n yamlnode.Node) *doc {
	switch n.Kind {
	case yamlnode.Map:
		d := &doc{kind: docObject}
		for _, p := range n.Pairs {
			d.set(p.Key.Text, fromNode(p.Value))
		}
		return d
	case yamlnode.List:
		d := &doc{kind: docList}
		for _, item := range n.Items {
			d.kids = append(d.kids, fromNode(item))
		}
		return d
	case yamlnode.Text:
		return text(n.Text)
	case yamlnode.Null:
		return &doc{kind: docLiteral, text: "null"}
	}
	return &doc{kind: docLiteral, text: n.Text}
}

// at follows keys; nil if there is nothing. Of a list it takes the first item
// where the key is "0".
func (d *doc) at(keys ...string) *doc {
	for _, key := range keys {
		switch {
		case d == nil:
			return nil
		case d.kind == docList && key == "0" && len(d.kids) > 0:
			d = d.kids[0]
		default:
			i := slices.Index(d.keys, key)
			if i < 0 || i >= len(d.kids) {
				return nil
			}
			d = d.kids[i]
		}
	}
	return d
}

// str returns the text at the keys, or "".
func (d *doc) str(keys ...string) string {
	if d = d.at(keys...); d != nil && d.kind == docText {
		return d.text
	}
	return ""
}

// An api is an OpenAPI document.
type api struct {
	root   *doc
	m      *maker
	server string // without a slash at its end; where it leaves the host open, {base_url}
}

func (a *api) readServer() {
	server := a.root.str("servers", "0", "url")
	if host := a.root.str("host"); host != "" {
		scheme := "https"
		if list := a.root.at("schemes"); list != nil && len(list.kids) == 1 {
			scheme = list.kids[0].text
		}
		server = scheme + "://" + host + a.root.str("basePath")
	}
	if !strings.Contains(server, "://") {
		server = "{base_url}/" + strings.TrimLeft(server, "/")
	}
	a.server = strings.TrimRight(server, "/")
	variables := a.root.at("servers", "0", "variables")
	if variables == nil {
		return
	}
	for i, name := range variables.keys {
		a.setting(name, variables.kids[i])
	}
}

// setting declares a variable of the server's URL.
func (a *api) setting(name string, v *doc) {
	fallback := v.str("default")
	if fallback == "" || !plain(fallback) || yours.MatchString(fallback) || !strings.Contains(a.server, "{"+name+"}") {
		return
	}
	if name == "protocol" || name == "scheme" || name == "port" || strings.Contains(fallback, "/") || strings.Contains(fallback, ".") {
		a.server = strings.ReplaceAll(a.server, "{"+name+"}", fallback) // hardly an account's to choose
		return
	}
	value := text(fallback)
	if choice := v.at("enum"); choice != nil && len(choice.kids) > 1 {
		value = &doc{kind: docList, kids: []*doc{text(fallback)}}
		for _, kid := range choice.kids {
			if kid.text != fallback && plain(kid.text) {
				value.kids = append(value.kids, text(kid.text))
			}
		}
	}
	if a.m.settings == nil {
		a.m.settings = &doc{kind: docObject}
	}
	hole := placeholderName(name)
	a.m.settings.set(hole, value)
	a.m.vars[hole], a.m.stands[hole] = fallback, true
}

// absolute resolves a URL of the document against its server.
func (a *api) absolute(u string) string {
	switch {
	case strings.Contains(u, "://"):
		return u
	case strings.HasPrefix(u, "//"):
		return "https:" + u
	case strings.HasPrefix(u, "/"):
		scheme, rest, ok := strings.Cut(a.server, "://")
		if !ok {
			return "{base_url}" + u
		}
		host, _, _ := strings.Cut(rest, "/")
		return scheme + "://" + host + u
	}
	return a.server + "/" + strings.TrimPrefix(u, "./")
}

// A scheme is a security scheme of the document.
type scheme struct {
	name string
	*doc
}

func (a *api) schemes() []scheme {
	list := a.root.at("components", "securitySchemes")
	if list == nil {
		list = a.root.at("securityDefinitions")
	}
	var out []scheme
	if list == nil || list.kind != docObject {
		return nil
	}
	for i, name := range list.keys {
		out = append(out, scheme{name, a.resolve(list.kids[i])})
	}
	return out
}

// exchanges returns the login and a call.
func (a *api) exchanges() ([]exchange, error) {
	var have []string
	for _, kind := range []string{"clientCredentials", "application", "password"} {
		for _, s := range a.schemes() {
			if s.str("type") != "oauth2" {
				continue
			}
			flow := s.at("flows", kind)
			if flow == nil && s.str("flow") == kind {
				flow = s.doc
			}
			if u := flow.str("tokenUrl"); u != "" {
				return a.flow(s, kind, u, flow.str("refreshUrl"))
			}
		}
	}
	if list, err := a.operation(); list != nil || err != nil {
		return list, err
	}
	for _, s := range a.schemes() {
		kind := s.str("type")
		if kind == "http" {
			kind += " " + s.str("scheme")
		}
		if plain(kind) && kind != "" && !slices.Contains(have, kind) {
			have = append(have, kind)
		}
	}
	if len(have) == 0 {
		return nil, errors.New("the document has no security scheme and no operation that looks like a login")
	}
	return nil, fmt.Errorf("the document describes no login: an oauth2 scheme with the flow clientCredentials or password, or an operation that answers a token; it has %s", strings.Join(have, ", "))
}

func (a *api) flow(s scheme, kind, tokenURL, refreshURL string) ([]exchange, error) {
	form := []pair{{"", "grant_type=client_credentials"}, {"=client_id", "<client_id>"}, {"=client_secret", "<client_secret>"}}
	if kind == "password" {
		form = []pair{{"", "grant_type=password"}, {"=username", "<username>"}, {"=password", "<password>"}}
		a.m.notef("The document does not say whether the password flow also wants client_id and client_secret: left out.")
	}
	login, err := (&line{url: []string{a.absolute(tokenURL)}, method: "POST", data: form}).request()
	if err != nil {
		return nil, err
	}
	list := []exchange{{login, nil}}
	if refreshURL != "" && refreshURL != tokenURL {
		refresh, err := (&line{url: []string{a.absolute(refreshURL)}, method: "POST", data: []pair{
			{"", "grant_type=refresh_token"}, {"=refresh_token", "<refresh_token>"}}}).request()
		if err != nil {
			return nil, err
		}
		list = append(list, exchange{refresh, nil})
	}
	call, err := a.call(s.name, nil)
	return append(list, call...), err
}

// call returns a call that wears the token, and the keys that the document
// requires together with the scheme.
func (a *api) call(name string, token *scheme) ([]exchange, error) {
	l := &line{url: []string{a.server + "/resource"}, method: "GET"}
	if token == nil || token.str("type") != "apiKey" {
		l.headers = append(l.headers, "Authorization: Bearer <access_token>")
	} else {
		l.wear(*token, "<access_token>")
	}
	for _, other := range a.together(name) {
		if other.str("type") == "apiKey" {
			l.wear(other, "<"+placeholderName(other.str("name"))+">")
		}
	}
	r, err := l.request()
	if err != nil {
		return nil, err
	}
	r.whole = true
	return []exchange{{r, nil}}, nil
}

// wear puts a value where an apiKey scheme has it.
func (l *line) wear(s scheme, value string) {
	name := s.str("name")
	switch s.str("in") {
	case "header":
		if strings.EqualFold(name, "Authorization") && value == "<access_token>" {
			value = "Bearer " + value
		}
		l.headers = append(l.headers, name+": "+value)
	case "query":
		l.get = true
		l.data = append(l.data, pair{"=" + name, value})
	case "cookie":
		l.cookies = append(l.cookies, name+"="+value)
	}
}

// together returns the schemes that the document requires beside one.
func (a *api) together(name string) []scheme {
	requirements := a.root.at("security")
	if requirements == nil {
		return nil
	}
	var list []scheme
	for _, r := range requirements.kids {
		if !slices.Contains(r.keys, name) {
			continue
		}
		for _, s := range a.schemes() {
			if s.name != name && slices.Contains(r.keys, s.name) {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// resolve follows references inside the document.
func (a *api) resolve(d *doc) *doc {
	for range 16 {
		ref, ok := strings.CutPrefix(d.str("$ref"), "#/")
		if !ok {
			return d
		}
		d = a.root.at(strings.Split(strings.NewReplacer("~1", "\x00").Replace(ref), "/")...)
	}
	return nil
}

// operation finds an operation that logs in: a POST whose body has a secret and
// whose answer has a token.
func (a *api) operation() ([]exchange, error) {
	paths := a.root.at("paths")
	if paths == nil || paths.kind != docObject {
		return nil, nil
	}
	var best *exchange
	score := 4
	for i, path := range paths.keys {
		op := a.resolve(paths.kids[i]).at("post")
		if op == nil || !loginPath.MatchString(path) {
			continue
		}
		e, err := a.login(path, op)
		if err != nil || e.answer == nil || len(tokens(e.answer)) == 0 {
			continue
		}
		if s := loginScore(e); s > score {
			best, score = &e, s
		}
	}
	if best == nil {
		return nil, nil
	}
	var token *scheme
	name := ""
	for _, s := range a.schemes() {
		if kind := s.str("type"); token == nil && (kind == "apiKey" || kind == "http" && strings.EqualFold(s.str("scheme"), "bearer")) {
			token, name = &s, s.name
		}
	}
	call, err := a.call(name, token)
	return append([]exchange{*best}, call...), err
}

// login makes an exchange of an operation's schemas and examples.
func (a *api) login(path string, op *doc) (exchange, error) {
	l := &line{url: []string{a.server + path}, method: "POST"}
	if op.at("requestBody") != nil {
		content := a.resolve(op.at("requestBody")).at("content")
		if body := a.example(content.at("application/json"), 0); body != nil {
			l.json, l.data = true, []pair{{"", string(body.appendJSON(nil))}}
		} else if body := a.example(content.at("application/x-www-form-urlencoded"), 0); body != nil {
			l.data = fieldsOf(body)
		}
	}
	if params := op.at("parameters"); params != nil {
		a.parameters(params, l)
	}
	for _, s := range a.schemes() {
		if security := op.at("security", "0"); security != nil && slices.Contains(security.keys, s.name) {
			if s.str("type") == "basic" || strings.EqualFold(s.str("scheme"), "basic") {
				l.user = "<username>:<password>"
				if slices.Contains(l.data, pair{"=grant_type", "client_credentials"}) {
					l.user = "<client_id>:<client_secret>"
				}
			}
		}
	}
	r, err := l.request()
	if err != nil {
		return exchange{}, err
	}
	for _, status := range []string{"200", "201", "default"} {
		response := a.resolve(op.at("responses", status))
		if response == nil {
			continue
		}
		body := a.example(response.at("content", "application/json"), 0)
		if body == nil {
			body = a.example(response, 0) // version 2
		}
		if body != nil {
			return exchange{r, &answer{doc: body}}, nil
		}
	}
	return exchange{r, nil}, nil
}

// parameters adds those of version 2, and the headers of version 3.
func (a *api) parameters(params *doc, l *line) {
	for _, p := range params.kids {
		p = a.resolve(p)
		name := p.str("name")
		if required := p.at("required"); p == nil || name == "" || required == nil || required.text != "true" {
			continue
		}
		switch p.str("in") {
		case "body":
			if body := a.example(p, 0); body != nil {
				l.json, l.data = true, []pair{{"", string(body.appendJSON(nil))}}
			}
		case "formData":
			l.data = append(l.data, pair{"=" + name, stand(name, p)})
		case "header":
			l.headers = append(l.headers, name+": "+stand(name, p))
		}
	}
}

func fieldsOf(body *doc) []pair {
	var list []pair
	for i, name := range body.keys {
		if kid := body.kids[i]; kid.kind == docText {
			list = append(list, pair{"=" + name, kid.text})
		}
	}
	return list
}

// stand returns what stands for the value of a field: its only one, or a
// placeholder.
func stand(name string, schema *doc) string {
	if only := schema.at("enum"); only != nil && len(only.kids) == 1 {
		return only.kids[0].text
	}
	if fixed := schema.str("const"); fixed != "" {
		return fixed
	}
	if fixed := schema.str("default"); fixed != "" && fixedName(name) {
		return fixed
	}
	return "<" + name + ">"
}

// example makes a document of a media type or a schema: its example, or its
// properties with placeholders.
func (a *api) example(d *doc, depth int) *doc {
	if d = a.resolve(d); d == nil || depth > 8 {
		return nil
	}
	if schema := d.at("schema"); schema != nil {
		return a.example(schema, depth+1)
	}
	out := &doc{kind: docObject}
	if all := d.at("allOf"); all != nil {
		for _, kid := range all.kids {
			if part := a.example(kid, depth+1); part != nil {
				out.keys, out.kids = append(out.keys, part.keys...), append(out.kids, part.kids...)
			}
		}
	}
	properties := d.at("properties")
	if properties == nil {
		if len(out.keys) > 0 {
			return out
		}
		return nil
	}
	for i, name := range properties.keys {
		property := a.resolve(properties.kids[i])
		switch property.str("type") {
		case "integer", "number":
			out.set(name, number(property))
		case "boolean":
			out.set(name, &doc{kind: docLiteral, text: "true"})
		case "array":
		default:
			if inner := a.example(property, depth+1); inner != nil {
				out.set(name, inner)
			} else if kind := property.str("type"); kind == "string" || kind == "" {
				out.set(name, text(sampleText(name, property)))
			}
		}
	}
	if len(out.keys) == 0 {
		return nil
	}
	return out
}

func number(property *doc) *doc {
	if example := property.at("example"); example != nil && example.number() {
		return example
	}
	return &doc{kind: docLiteral, text: "3600"}
}

// sampleText keeps an example that says what form a date has.
func sampleText(name string, property *doc) string {
	if example := property.str("example"); rfc3339.MatchString(example) || letters(name) == "tokentype" && plain(example) {
		return example
	}
	if property.str("format") == "date-time" {
		return "2025-01-01T00:00:00Z"
	}
	return stand(name, property)
}
