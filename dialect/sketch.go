package dialect

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// SketchRequest returns the request of an exchange as it goes over the wire,
// with $name, and $function(...), where the file has them. What holds no value
// is written exactly; JSON and XML that is wider than a screen is indented.
// Before it stands, in lines that begin with #, what goes along and is no part
// of the message's text: the lets, and a client certificate.
// What is made as a call, such as verify, wears the token.
func (d *Dialect) SketchRequest(x *Exchange) string {
	x = d.asCall(x)
	body, contentType := d.sketchBody(x)
	header := map[string]string{"Accept": "application/json"}
	if x.returnsXML != nil {
		header["Accept"] = "application/xml"
	}
	if contentType != "" {
		header["Content-Type"] = contentType
	}
	return d.sketch(x, header, body)
}

// SketchCall is [Dialect.SketchRequest] for a call of the vendor's API.
func (d *Dialect) SketchCall() string {
	c := d.Call
	x := &Exchange{Method: "GET", url: c.base, wearing: c.wearing}
	x.url.path = slices.Clone(x.url.path)
	if n := len(x.url.path); n > 0 && len(x.url.path[n-1]) == 0 {
		x.url.path = x.url.path[:n-1] // the base ends in a slash
	}
	x.url.path = append(x.url.path, value{{text: "..."}})
	return d.sketch(x, map[string]string{}, "")
}

// asCall adds what a call wears to an exchange that is made as one: at the host
// of calls, and in the places that the exchange does not fill itself.
func (d *Dialect) asCall(x *Exchange) *Exchange {
	c := d.Call
	if made := x.Kind == KindVerify || x.Kind == KindIntrospect || x.Kind == KindRevoke; !made ||
		x.url.root != c.base.root || x.url.host.String() != c.base.host.String() {
		return x
	}
	worn := *x
	add := func(to *[]field, more []field) {
		for _, f := range more {
			if !slices.ContainsFunc(*to, func(own field) bool { return strings.EqualFold(own.name, f.name) }) {
				*to = append(slices.Clone(*to), f)
			}
		}
	}
	add(&worn.headers, c.headers)
	add(&worn.query, c.query)
	add(&worn.cookies, c.cookies)
	if x.basic == nil && x.bearer == nil {
		worn.basic, worn.bearer = c.basic, c.bearer
	}
	if x.sign == nil {
		worn.sign = c.sign
	}
	if x.tls == nil {
		worn.tls = c.tls
	}
	return &worn
}

func (d *Dialect) sketch(x *Exchange, header map[string]string, body string) string {
	var b strings.Builder
	d.sketchLets(&b, x)
	if x.tls != nil {
		fmt.Fprintf(&b, "# over TLS with the client certificate %s and its key %s\n", x.tls.user, x.tls.password)
	}
	fmt.Fprintf(&b, "%s %s\n", x.Method, x.sketchURL())
	for _, f := range x.headers {
		header[http.CanonicalHeaderKey(f.name)] = f.value.String()
	}
	switch {
	case x.basic != nil:
		header["Authorization"] = fmt.Sprintf("Basic $base64(%s:%s)", x.basic.user, x.basic.password)
	case x.bearer != nil:
		header["Authorization"] = "Bearer " + x.bearer.String()
	}
	if len(x.cookies) > 0 {
		header["Cookie"] = sketchFields(x.cookies, "; ", strings.Clone)
	}
	x.sign.sketch(header)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, header[name])
	}
	if body != "" {
		b.WriteString("\n" + body + "\n")
	}
	return b.String()
}

func (x *Exchange) sketchURL() string {
	s := "$origin"
	if x.url.root != "" {
		s = "$" + x.url.root
	} else if x.url.scheme != "" {
		s = x.url.scheme + "://" + x.url.host.String()
	}
	for _, segment := range x.url.path {
		s += "/" + segment.sketch(url.PathEscape)
	}
	if len(x.query) > 0 {
		s += "?" + sketchFields(x.query, "&", url.QueryEscape)
	}
	return s
}

// sketch is String with the fixed text as it goes over the wire.
func (v value) sketch(escape func(string) string) string {
	s := ""
	for _, p := range v {
		if p.fixed() {
			s += escape(p.text)
		} else {
			s += value{p}.String()
		}
	}
	return s
}

func sketchFields(fields []field, between string, escape func(string) string) string {
	var list []string
	for _, f := range fields {
		s := f.value.sketch(escape)
		if f.name != every {
			s = escape(f.name) + "=" + s
		}
		list = append(list, s)
	}
	return strings.Join(list, between)
}

func (d *Dialect) sketchBody(x *Exchange) (body, contentType string) {
	switch x.body {
	case bodyForm:
		if len(x.form) > 0 {
			return sketchFields(x.form, "&", url.QueryEscape), "application/x-www-form-urlencoded"
		}
	case bodyJSON:
		return x.json.sketch(), "application/json"
	case bodyXML:
		return x.xml.sketchXML(), "application/xml"
	case bodyText:
		return x.text.sketch(strings.Clone), "text/plain"
	}
	return "", ""
}

// screen is how wide a document may be before it is indented.
const screen = 120

// sketch returns the document on one line as it is sent, or indented if that
// line were wider than a screen.
func (t *tree) sketch() string {
	if s := t.lines("", ""); len(s) <= screen {
		return s
	}
	return t.lines("\n", "  ")
}

// lines writes the document with newline before what stands inside, which is
// indented by one more step unless it is short; both empty: on one line.
func (t *tree) lines(newline, step string) string {
	if step != "" {
		if s := t.lines("", ""); len(s) <= screen/2 {
			return s
		}
	}
	begin, end := "{", "}"
	switch t.kind {
	case treeLiteral:
		return t.raw
	case treeText:
		s := t.value.sketch(func(text string) string {
			quoted, _ := quoteJSON(text) // ours, and UTF-8
			return quoted[1 : len(quoted)-1]
		})
		if t.numeric() {
			return s
		}
		return `"` + s + `"`
	case treeList:
		begin, end = "[", "]"
	}
	if len(t.kids) == 0 {
		return begin + end
	}
	var list []string
	for i, kid := range t.kids {
		s := ""
		if t.kind == treeObject {
			s, _ = quoteJSON(t.keys[i])
			s += ":"
		}
		if step != "" && t.kind == treeObject {
			s += " "
		}
		inner := newline + step
		if newline == "" {
			inner = ""
		}
		list = append(list, inner+s+kid.lines(inner, step))
	}
	return begin + strings.Join(list, ",") + newline + end
}

// sketchXML is sketch for the root of an XML document.
func (t *tree) sketchXML() string {
	const declaration = `<?xml version="1.0" encoding="UTF-8"?>`
	root := xmlElem{name: t.keys[0]}
	t.kids[0].sketchElement(&root)
	s := root.lines("", "")
	if len(declaration)+len(s) > screen {
		s = root.lines("\n", "  ")
	}
	return declaration + s
}

func (t *tree) sketchElement(into *xmlElem) {
	switch t.kind {
	case treeLiteral:
		into.text = strings.TrimPrefix(t.raw, "null")
	case treeText:
		into.text = t.value.sketch(strings.Clone)
	}
	for i, key := range t.keys {
		kids := []*tree{t.kids[i]}
		if t.kids[i].kind == treeList {
			kids = t.kids[i].kids
		}
		for _, kid := range kids {
			child := xmlElem{name: key}
			kid.sketchElement(&child)
			switch {
			case strings.HasPrefix(key, "@"):
				into.attrs = append(into.attrs, [2]string{key[1:], child.text})
			case key == "#text":
				into.text = child.text
			default:
				into.kids = append(into.kids, child)
			}
		}
	}
}

func (e xmlElem) lines(newline, step string) string {
	kids := e.kids
	if e.kids = nil; len(kids) == 0 || e.text != "" {
		e.kids = kids
		b, _ := e.append([]byte(newline)) // of the file, whose names the loader has seen
		return string(b)
	}
	b, _ := e.append([]byte(newline))
	s := strings.TrimSuffix(string(b), "/>") + ">"
	inner := newline
	if newline != "" {
		inner += step
	}
	for _, kid := range kids {
		s += kid.lines(inner, step)
	}
	return s + newline + "</" + e.name + ">"
}

// sketchLets says what the lets in a request are, and those in them.
func (d *Dialect) sketchLets(b *strings.Builder, x *Exchange) {
	var seen []string
	var visit func(names []string)
	visit = func(names []string) {
		for _, name := range names {
			l := d.let(name)
			if l == nil || slices.Contains(seen, name) {
				continue
			}
			seen = append(seen, name)
			l.sketch(b)
			visit(l.needs())
		}
	}
	names := x.needs()
	if x.Kind != "" { // the token of an exchange was answered, or made, before
		names = slices.DeleteFunc(names, func(name string) bool { return name == "access_token" })
	}
	visit(names)
}

func (l *let) sketch(b *strings.Builder) {
	if l.signed == nil {
		fmt.Fprintf(b, "# $%s is %s\n", l.name, l.value)
		return
	}
	l.signed.sketch(l.name, b)
}

func (t *jwtTemplate) sketch(name string, b *strings.Builder) {
	header := &tree{kind: treeObject}
	header.setDefault(t.header, "alg", value{{text: t.alg}})
	header.setDefault(t.header, "typ", value{{text: "JWT"}})
	header.keys, header.kids = append(header.keys, t.header.keys...), append(header.kids, t.header.kids...)
	claims := &tree{kind: treeObject, keys: slices.Clone(t.claims.keys), kids: slices.Clone(t.claims.kids)}
	claims.setDefault(t.claims, "iat", must("$unix($now())"))
	claims.setDefault(t.claims, "exp", must("$unix($now("+lengthText(t.lifetime)+"))"))
	fmt.Fprintf(b, "# $%s is a JSON Web Token, signed by %s with %s:\n", name, t.alg, t.key)
	for _, doc := range []*tree{header, claims} {
		for line := range strings.Lines(doc.sketch() + "\n") {
			b.WriteString("#   " + line)
		}
	}
}

// setDefault adds a key that given has not.
func (t *tree) setDefault(given *tree, name string, v value) {
	if !slices.Contains(given.keys, name) {
		t.keys, t.kids = append(t.keys, name), append(t.kids, &tree{value: v})
	}
}

// lengthText writes a length of time as the file has it.
func lengthText(t time.Duration) string {
	s := t.String()
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, nothing) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// sketch adds the headers of a signed request; ... is what is worked out.
func (s *signer) sketch(header map[string]string) {
	switch {
	case s == nil:
	case s.kind == "aws4":
		f := s.fields
		header["Authorization"] = fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/.../%s/%s/aws4_request, SignedHeaders=..., Signature=...",
			f["key_id"], f["region"], f["service"])
		header["X-Amz-Date"] = "..."
		if f["session"] != nil {
			header["X-Amz-Security-Token"] = f["session"].String()
		}
	default:
		var list []string
		for _, p := range [][2]string{{"realm", "realm"}, {"consumer_key", "oauth_consumer_key"}, {"token", "oauth_token"}} {
			if v := s.fields[p[0]]; v != nil {
				list = append(list, p[1]+`="`+v.String()+`"`)
			}
		}
		method := "HMAC-SHA256"
		if v := s.fields["method"]; v != nil {
			method = v.String()
		}
		list = append(list, `oauth_signature_method="`+method+`"`, `oauth_timestamp="..."`, `oauth_nonce="..."`, `oauth_version="1.0"`, `oauth_signature="..."`)
		header["Authorization"] = "OAuth " + strings.Join(list, ", ")
	}
}

// SketchAnswer returns the answer to an exchange as a server gives it, with
// $name where the file has it. "" is a dialect that says nothing of it: any good
// answer will do. A line that begins with # says what tells yes from no.
func (d *Dialect) SketchAnswer(x *Exchange) string {
	if !x.Answers() && x.status == 0 {
		return ""
	}
	var b strings.Builder
	status := x.status
	if status == 0 {
		status = http.StatusOK
	}
	if x.ok != nil && (x.returns != nil || x.returnsXML != nil) {
		fmt.Fprintf(&b, "# no, whatever the status, unless it has %s\n", x.ok.lines("", ""))
	}
	if slices.ContainsFunc(x.setCookie, func(f field) bool { return f.name == every }) {
		fmt.Fprintf(&b, "# %s is every cookie of the answer, name=value; name=value\n", x.setCookie[0].value)
	}
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\n", status, http.StatusText(status))
	for _, f := range x.returnsHeaders {
		fmt.Fprintf(&b, "%s: %s\n", http.CanonicalHeaderKey(f.name), f.value)
	}
	if len(x.setCookie) > 0 {
		fmt.Fprintf(&b, "Set-Cookie: %s\n", sketchFields(x.setCookie, "\nSet-Cookie: ", strings.Clone))
	}
	switch t := x.returns; {
	case x.returnsXML != nil:
		b.WriteString("Content-Type: application/xml\n\n" + x.returnsXML.sketchXML() + "\n")
	case t != nil && t.kind == treeText && !t.value.isJSON():
		b.WriteString("Content-Type: text/plain; charset=utf-8\n\n" + t.value.sketch(strings.Clone) + "\n")
	case t != nil && t.kind == treeText:
		b.WriteString("Content-Type: application/json\n\n" + t.value.String() + "\n")
	case t != nil:
		b.WriteString("Content-Type: application/json\n\n" + t.sketch() + "\n")
	case x.ok != nil:
		b.WriteString("Content-Type: application/json\n\n" + x.ok.sketch() + "\n")
	}
	return b.String()
}

// Hosts returns the hosts that logins and calls go to, and those where an answer
// may lead, as the file has them.
func (d *Dialect) Hosts() []string {
	var list []string
	for _, x := range d.Sequence() {
		list = appendNew(list, x.url.host.String())
	}
	list = appendNew(list, d.Call.base.host.String())
	for _, v := range d.hosts {
		list = appendNew(list, v.String())
	}
	return slices.DeleteFunc(list, func(host string) bool { return host == "" })
}

// Functions returns the names of the functions that values may call, in
// alphabetical order.
func Functions() []string { return slices.Sorted(maps.Keys(functions)) }
