package learn

import (
	"errors"
	"regexp"
	"strings"
)

// A file collects the parts of a dialect file.
type file struct {
	doc
}

func (f *file) add(key string, value *doc) {
	if value != nil {
		f.set(key, value)
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// finish writes the file, unless a secret would stand in it.
func (m *maker) finish(d *Draft, f *file) (*Draft, error) {
	var b strings.Builder
	b.WriteString(modeline + "\n")
	for i, key := range f.keys {
		if kid := f.kids[i]; kid.kind == docText && sentence.MatchString(kid.text) {
			b.WriteString(key + ": " + kid.text + "\n")
			continue
		}
		b.WriteString(key + ":")
		f.kids[i].writeYAML(&b, 2)
	}
	d.file, d.Notes = []byte(b.String()), m.notes
	for _, secret := range m.secrets {
		if strings.Contains(b.String(), secret) {
			return nil, errors.New("a secret of the paste also stands where no hole can be; write <password> or the like in its place")
		}
		for i, note := range d.Notes {
			d.Notes[i] = strings.ReplaceAll(note, secret, "...")
		}
	}
	return d, nil
}

// sentence matches words that need no quotes as the value of a key.
var sentence = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*(?:,? [A-Za-z0-9]+)+$`)

func (m *maker) scopeDoc() *doc {
	if len(m.scope) == 0 && !m.comma {
		return nil
	}
	f := &doc{kind: docObject}
	if m.comma {
		f.set("separator", &doc{text: ",", quoted: true})
	}
	list := &doc{kind: docList}
	for _, s := range m.scope {
		list.kids = append(list.kids, text(s))
	}
	f.set("default", list)
	return f
}

// tokenDoc writes the login.
func tokenDoc(steps []*request, returns []*reply) *doc {
	if len(steps) == 1 {
		return steps[0].exchangeDoc("", returns[0], "")
	}
	list := &doc{kind: docList}
	for i, s := range steps {
		x := s.exchangeDoc("", returns[i], "")
		if x.kind == docText { // a step that is nothing but a URL
			o := &doc{kind: docObject}
			o.set("POST", x)
			x = o
		}
		list.kids = append(list.kids, x)
	}
	return list
}

func (r *request) url() *doc {
	u := r.host
	if r.scheme != "" {
		u = r.origin()
	}
	if r.host == "" && r.path == "" {
		return text("/")
	}
	return text(u + r.path)
}

func pairsDoc(list []pair) *doc {
	d := &doc{kind: docObject}
	for _, p := range list {
		d.set(p.name, text(p.text))
	}
	return d
}

func certificateDoc() *doc {
	d := &doc{kind: docObject}
	d.set("cert", text("$client_certificate"))
	d.set("key", text("$client_private_key"))
	return d
}

// exchangeDoc writes an exchange: its URL alone if RFC 6749 says the rest. same
// is the URL that need not be said again.
func (r *request) exchangeDoc(when string, returns *reply, same string) *doc {
	d := &doc{kind: docObject, block: true}
	if when != "" {
		d.set("when", text(when))
	}
	u := r.url()
	if u.text == same {
		u = &doc{kind: docLiteral, text: ""}
	}
	d.set(r.method, u)
	if r.tls {
		d.set("tls", certificateDoc())
	}
	if len(r.query) > 0 {
		d.set("query", pairsDoc(r.query))
	}
	if len(r.headers) > 0 {
		d.set("headers", pairsDoc(r.headers))
	}
	if len(r.cookies) > 0 {
		d.set("cookies", pairsDoc(r.cookies))
	}
	if r.basic != nil {
		d.set("basic", text(r.basic.name+":"+r.basic.text))
	}
	if r.bearer != "" {
		d.set("bearer", text(r.bearer))
	}
	switch {
	case r.body == bodyForm && !r.standardForm():
		d.set("form", pairsDoc(r.form))
	case r.body == bodyNone && r.method == "POST" && len(r.query) == 0 && !r.bare:
		d.set("form", &doc{kind: docObject}) // else the form of RFC 6749 is sent
	case r.body == bodyJSON:
		d.set("json", r.doc)
	case r.body == bodyXML:
		d.set("xml", r.doc)
	case r.body == bodyText:
		d.set("text", text(r.text))
	}
	if !returns.empty() {
		if returns.body != nil && returns.xml {
			d.set("returns_xml", returns.body)
		} else if returns.body != nil {
			d.set("returns", returns.body)
		}
		if len(returns.headers) > 0 {
			d.set("returns_headers", pairsDoc(returns.headers))
		}
		if len(returns.cookies) > 0 {
			d.set("set_cookie", pairsDoc(returns.cookies))
		}
	}
	if len(d.keys) == 1 && r.method == "POST" && u.kind == docText {
		return u
	}
	return d
}

// standardForm reports whether the form is that of RFC 6749 section 4.4.2,
// which a POST without a body and a query stands for.
func (r *request) standardForm() bool {
	if r.method != "POST" || len(r.query) > 0 || r.bearer != "" {
		return false
	}
	want := map[string]string{"grant_type": "client_credentials", "scope": "$scope"}
	if r.basic == nil {
		want["client_id"], want["client_secret"], want["resource"] = "$client_id", "$client_secret", "$resource"
	}
	has := map[string]bool{}
	for _, p := range r.form {
		if want[p.name] != p.text || has[p.name] {
			return false
		}
		has[p.name] = true
	}
	return has["grant_type"] && (r.basic != nil || has["client_id"] && has["client_secret"])
}
