package corpus

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// login writes how the token is had: by exchanges, by making it, or not at all.
func (t *translator) login() error {
	switch {
	case t.Kind == "mint":
		return t.mint()
	case t.Kind == "sign":
		return nil // there is no token; see call
	case t.Kind != "exchange" || len(t.Steps) == 0 || t.Response == nil:
		return fmt.Errorf("a login of the kind %s with %d steps is not understood", t.Kind, len(t.Steps))
	}
	if t.Assertion != nil {
		name := t.assertionName()
		if name == "" {
			return fmt.Errorf("no step sends the assertion")
		}
		if err := t.jwt(name, t.Assertion); err != nil {
			return err
		}
	}
	steps := list()
	for i, s := range t.Steps {
		x, err := t.exchange(s)
		if err != nil {
			return err
		}
		if i < len(t.Steps)-1 {
			t.answer(i, x)
		} else if err := t.returns(x); err != nil {
			return err
		}
		steps.kids = append(steps.kids, x)
	}
	if len(steps.kids) > 1 {
		t.root.set("token", steps)
		t.use("steps")
		return nil
	}
	t.root.set("token", t.short(steps.kids[0]))
	return nil
}

// short leaves out of an exchange what RFC 6749 says anyhow.
func (t *translator) short(x *node) *node {
	url, form := x.get("POST"), x.get("form")
	if url == nil || form == nil || len(form.kids) == 0 || x.get("query") != nil {
		return x
	}
	want := map[string]string{"grant_type": "client_credentials", "client_id": "$client_id", "client_secret": "$client_secret", "scope": "$scope"}
	if x.get("basic") != nil {
		want = map[string]string{"grant_type": "client_credentials", "scope": "$scope"}
	}
	got := map[string]string{}
	for i, key := range form.keys {
		got[key] = form.kids[i].text
	}
	if !maps.Equal(got, want) {
		return x
	}
	i := slices.Index(x.keys, "form")
	x.keys, x.kids = slices.Delete(x.keys, i, i+1), slices.Delete(x.kids, i, i+1)
	t.uses = slices.DeleteFunc(t.uses, func(s string) bool { return s == "form" })
	if len(x.keys) > 1 {
		return x
	}
	t.use("token: URL")
	return url
}

// exchange writes the request of a step.
func (t *translator) exchange(s Step) (*node, error) {
	url, err := t.url(s.URL, s.Fallback...)
	if err != nil {
		return nil, err
	}
	x := mapping(s.Method, text(url))
	x.block = true
	if s.Method != "POST" {
		t.use(s.Method)
	}
	fields := mapping() // of the body
	for _, c := range s.Static {
		v, err := literal(c.Value)
		if err != nil {
			return nil, err
		}
		if generated, ok := c.Value.(string); ok && strings.HasPrefix(generated, "{{$") {
			if v.text, err = t.template(generated); err != nil {
				return nil, err
			}
		}
		if err := place(x, fields, s, c.In, c.Name, v); err != nil {
			return nil, err
		}
	}
	for _, c := range append(slices.Clone(s.Credentials), s.Optional...) {
		if err := t.credential(x, fields, s, c); err != nil {
			return nil, err
		}
	}
	for _, c := range s.Computed {
		v, err := t.template(c.Template)
		if err != nil {
			return nil, err
		}
		if err := place(x, fields, s, c.In, c.Name, text(v)); err != nil {
			return nil, err
		}
	}
	if err := t.body(x, fields, s); err != nil {
		return nil, err
	}
	return x, t.certificate(x)
}

// place puts a value where the facts have it.
func place(x, fields *node, s Step, in, field string, v *node) error {
	switch in {
	case "body", "xml":
		if in == "xml" || s.ContentType == "json" {
			fields.path(strings.ReplaceAll(field, ".$", ".@"), v)
		} else {
			fields.set(field, v)
		}
	case "query":
		x.under("query", field, v)
	case "header":
		if strings.EqualFold(field, "accept") && v.text == "application/json" {
			return nil // every request says so
		}
		x.under("headers", field, v)
	default:
		return fmt.Errorf("a value in %s is not understood", in)
	}
	return nil
}

var basicTemplate = regexp.MustCompile(`^Basic \{base64\((.*)\)\}$`)

func (t *translator) credential(x, fields *node, s Step, c Credential) error {
	if c.In == "header:authorization" {
		return t.authorization(x, c)
	}
	form := c.Template
	if form == "" {
		form = "{" + c.Var + "}"
	}
	v, err := t.template(form)
	if err != nil {
		return err
	}
	return place(x, fields, s, c.In, c.Name, text(v))
}

// authorization writes what stands in the Authorization header of a login.
func (t *translator) authorization(x *node, c Credential) error {
	form := c.Template
	if form == "" && c.Scheme != "" {
		form = c.Scheme + " {" + c.Var + "}"
	}
	key, v, err := t.scheme(form)
	if err != nil {
		return err
	}
	if old := x.get(key); old != nil && old.text == v {
		return nil // both halves of the pair are listed
	} else if old != nil {
		return fmt.Errorf("the login has two of %s", key)
	}
	if key == "authorization" {
		x.under("headers", key, text(v))
		return nil
	}
	x.set(key, text(v))
	t.use(key)
	return nil
}

// scheme returns the key under which a text of the Authorization header is
// written, and its value.
func (t *translator) scheme(form string) (key, v string, err error) {
	if m := basicTemplate.FindStringSubmatch(form); m != nil {
		v, err = t.template(m[1])
		return "basic", v, err
	}
	if token, ok := strings.CutPrefix(form, "Bearer "); ok {
		v, err = t.template(token)
		return "bearer", v, err
	}
	if form == "" {
		return "", "", unknown("the facts do not say what stands in the header")
	}
	v, err = t.template(form)
	return "authorization", v, err
}

func (t *translator) body(x, fields *node, s Step) error {
	switch s.ContentType {
	case "form", "json", "xml":
		x.set(s.ContentType, fields)
		t.use(s.ContentType)
	case "query", "none":
		if len(fields.kids) > 0 {
			return fmt.Errorf("a body of the kind %s has fields", s.ContentType)
		}
		if s.Method == "POST" && x.get("query") == nil {
			x.set("form", fields)
		}
	default:
		return fmt.Errorf("a body of the kind %s is not understood", s.ContentType)
	}
	for _, part := range []string{"query", "headers"} {
		if x.get(part) != nil {
			t.use(part)
		}
	}
	return nil
}

// certificate writes that the login shows a client certificate.
func (t *translator) certificate(x *node) error {
	if !strings.Contains(t.ClientAuth, "mTLS") {
		return nil
	}
	find := func(part string) string {
		i := slices.IndexFunc(t.Inputs, func(s string) bool { return strings.Contains(s, part) })
		if i < 0 {
			return ""
		}
		t.used = append(t.used, t.Inputs[i])
		return t.Inputs[i]
	}
	cert, key := find("certificate"), find("private_key")
	if cert == "" || key == "" {
		return unknown("the facts do not say where the client certificate comes from")
	}
	x.set("tls", mapping("cert", text("$"+cert), "key", text("$"+key)))
	t.use("tls")
	return nil
}

// answer writes the answer of a step that is not the last: what later steps
// need of it.
func (t *translator) answer(i int, x *node) {
	prefix := fmt.Sprintf("step%d.", i+1)
	tree := mapping()
	for _, s := range t.Steps[i+1:] {
		forms := []string{s.URL}
		for _, c := range s.Credentials {
			forms = append(forms, c.Template, "{"+c.Var+"}")
		}
		for _, form := range forms {
			parsed, err := parseTemplate(form)
			if err != nil {
				continue // whoever writes it reports it
			}
			for _, name := range parsed.names() {
				path, ok := strings.CutPrefix(name, prefix)
				if _, known := t.bound[name]; !ok || known {
					continue
				}
				v := snake(path)
				if v == "access_token" {
					v = fmt.Sprintf("step%d_%s", i+1, v) // $access_token is what the last step gives
				}
				t.bound[name] = v
				tree.path(path, text("$"+v))
			}
		}
	}
	if len(tree.kids) > 0 {
		x.set("returns", tree)
		t.use("returns")
	}
}

// returns writes the answer of the last step.
func (t *translator) returns(x *node) error {
	r, tree := t.Response, mapping()
	if t.everyCookie() {
		// What calls wear is the token, whatever else the answer calls one.
		tree.path(r.AccessToken, text("$"+snake(r.AccessToken)))
		x.set("set_cookie", text("$access_token"))
		t.use("set_cookie")
	} else {
		tree.path(r.AccessToken, text("$access_token"))
	}
	expiry, err := t.expiry()
	if err != nil {
		return err
	}
	if expiry != "" {
		tree.path(t.Expiry.Path, text(expiry))
	}
	if r.RefreshToken != "" && r.RefreshToken != r.AccessToken {
		tree.path(r.RefreshToken, text("$refresh_token"))
	}
	for _, m := range r.Metadata {
		tree.path(m, text("$"+snake(m)))
	}
	switch r.Format {
	case "json":
		if t.standard(tree) {
			return nil
		}
		x.set("returns", tree)
		t.use("returns")
	case "xml":
		x.set("returns_xml", tree)
		t.use("returns_xml")
	default:
		return fmt.Errorf("an answer in %s is not understood", r.Format)
	}
	return nil
}

// standard reports whether an answer is as RFC 6749 section 5.1 has it.
func (t *translator) standard(tree *node) bool {
	for i, key := range tree.keys {
		if tree.kids[i].text != "$"+key || !slices.Contains([]string{"access_token", "expires_in", "refresh_token"}, key) {
			return false
		}
	}
	return tree.get("expires_in") != nil
}

func (t *translator) expiry() (string, error) {
	switch t.Expiry.Form {
	case "relative_s":
		return "$expires_in", nil
	case "relative_ms":
		t.use("time codecs")
		return "$ms($expires_in)", nil
	case "duration_d:hh:mm":
		t.use("time codecs")
		return "$dhm($expires_in)", nil
	case "absolute":
		t.use("time codecs")
		if strings.Contains(t.Expiry.Value, "8601") {
			return "$iso($expires_at)", nil
		}
		return "$expires_at", nil
	case "unstated", "fixed_by_doc", "jwt_exp", "none":
		if t.Expiry.Path == "" {
			return "", nil
		}
	}
	return "", fmt.Errorf("an expiry of the form %s is not understood", t.Expiry.Form)
}
