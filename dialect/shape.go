package dialect

import (
	"slices"
	"strconv"
	"strings"
)

// A Shape says of what a message is made, for whoever writes messages of any
// dialect: package law, which checks them, for one.
//
// A place is where in a message something stands: "path 2", "query q", "header
// x-api-key", "cookie c", "cookie " for every cookie, "form client_id", "json site.name", "json list[0]",
// "xml request.control", "xml request.@id" or "text".
type Shape struct {
	Needs   []string // variables that writing it takes; a let stands for what it is made of
	Travels []string // variables that reading it binds, those inside lets among them
	Secrets []string // variables that do not travel, but that prove it: a digest or a signature is made of them
	Proofs  []string // lets that it carries and that hold a digest or a signature
	Fresh   []string // places where something new stands each time, whatever it is
	Again   []string // places that may be empty, of variables that stand elsewhere too
	Read    []string // of an answer or a call: places that whoever reads it looks at
}

// Shape returns the shape of a request.
func (d *Dialect) Shape(x *Exchange) Shape {
	s := d.shapeOf(x.needs(), x.Holes())
	s.Secrets = d.proving(x, s)
	eachPlace(x, func(place string, v value) {
		if d.renewed(x, v) {
			s.Fresh = append(s.Fresh, place)
		}
	})
	s.Again = d.again(x)
	return s
}

// again returns the places that may be empty, of variables that stand elsewhere
// too: in another place, or in a let.
func (d *Dialect) again(x *Exchange) (places []string) {
	stands := map[string]int{}
	eachPlace(x, func(_ string, v value) {
		for _, name := range v.holes() {
			stands[name]++
			for _, inner := range d.shapeOf(nil, []string{name}).Travels {
				if inner != name {
					stands[inner]++
				}
			}
		}
	})
	eachPlace(x, func(place string, v value) {
		if v.leftOut(d.optional) && !slices.ContainsFunc(v.holes(), func(name string) bool { return stands[name] == 1 }) {
			places = append(places, place)
		}
	})
	return places
}

// proving returns what a message is proven by: what its digests, its signature
// and its lets are made of, and the client's certificate.
func (d *Dialect) proving(x *Exchange, s Shape) []string {
	secrets := s.Secrets
	x.each(func(p *part, digested bool) {
		if digested && p.hole != "" {
			secrets = appendNew(secrets, d.made([]string{p.hole})...)
		}
	})
	if x.tls != nil {
		secrets = appendNew(secrets, d.made(x.tls.user.needs())...)
	}
	secrets = appendNew(secrets, d.made(x.sign.needs())...)
	return slices.DeleteFunc(secrets, func(name string) bool { return slices.Contains(s.Travels, name) })
}

// renewed reports whether something new stands in a value each time and nothing in
// the message is made of it: a generator, or a let that is one.
func (d *Dialect) renewed(x *Exchange, v value) bool {
	if v.generated() {
		return true
	}
	var proven []string
	x.each(func(p *part, digested bool) {
		if digested && p.hole != "" {
			proven = append(proven, p.hole)
		}
	})
	for _, l := range d.lets {
		proven = append(proven, l.proof()...)
	}
	return slices.ContainsFunc(v.holes(), func(name string) bool {
		l := d.let(name)
		return l != nil && l.value.generated() && !slices.Contains(proven, name)
	})
}

// shapeOf resolves lets: names are what the message is made of, and holes what
// reading it binds at once.
func (d *Dialect) shapeOf(names, holes []string) (s Shape) {
	s.Needs = d.made(names)
	var visit func(names []string)
	seen := map[string]bool{}
	visit = func(names []string) {
		for _, name := range names {
			l := d.let(name)
			if l == nil {
				s.Travels = appendNew(s.Travels, name)
			} else if !seen[name] {
				seen[name] = true
				if made := l.proof(); len(made) > 0 {
					s.Proofs = append(s.Proofs, name)
					s.Secrets = appendNew(s.Secrets, d.made(made)...)
				}
				visit(l.binds())
			}
		}
	}
	visit(holes)
	s.Secrets = slices.DeleteFunc(s.Secrets, func(name string) bool { return slices.Contains(s.Travels, name) })
	return s
}

// proof returns the names that the digests and the signature of a let are made
// of; nil: it has none.
func (l *let) proof() []string {
	var names []string
	digested := func(p *part, digested bool) {
		if digested && p.hole != "" {
			names = appendNew(names, p.hole)
		}
	}
	l.each(digested)
	if l.signed != nil {
		names = appendNew(names, l.signed.keys()...)
	}
	return names
}

// generated reports whether a generator stands in a value, outside of digests.
func (v value) generated() bool {
	found := false
	v.each(func(p *part, digested bool) {
		found = found || !digested && p.fn != nil && p.fn.kind == isGenerator
	})
	return found
}

// eachPlace calls f for every value of a request and where it stands.
func eachPlace(x *Exchange, f func(place string, v value)) {
	for i, segment := range x.url.path {
		f("path "+strconv.Itoa(i+1), segment)
	}
	for _, part := range []struct {
		name   string
		fields []field
	}{{"query ", x.query}, {"header ", x.headers}, {"cookie ", x.cookies}, {"form ", x.form}} {
		for _, field := range part.fields {
			name := field.name
			if part.name == "header " {
				name = strings.ToLower(name)
			}
			f(part.name+name, field.value)
		}
	}
	if x.basic != nil {
		f("header authorization", slices.Concat(x.basic.user, value{{text: ":"}}, x.basic.password))
	}
	if x.bearer != nil {
		f("header authorization", x.bearer)
	}
	x.json.places("", func(path string, t *tree) { f("json "+path, t.value) })
	x.xml.places("", func(path string, t *tree) { f("xml "+xmlPath(path), t.value) })
	if x.text != nil {
		f("text", x.text)
	}
}

// places calls f for every text and literal of a tree and its path.
func (t *tree) places(path string, f func(path string, t *tree)) {
	switch {
	case t == nil:
	case t.kind == treeObject:
		for i, key := range t.keys {
			t.kids[i].places(join(path, key), f)
		}
	case t.kind == treeList:
		for i, kid := range t.kids {
			kid.places(path+"["+strconv.Itoa(i)+"]", f)
		}
	default:
		f(path, t)
	}
}

// xmlPath is a path without the numbers of what is repeated.
func xmlPath(path string) string {
	path = strings.TrimSuffix(path, ".#text")
	for {
		before, rest, ok := strings.Cut(path, "[")
		if !ok {
			return path
		}
		_, after, _ := strings.Cut(rest, "]")
		path = before + after
	}
}

// AnswerShape returns the shape of the answer to an exchange.
func (d *Dialect) AnswerShape(x *Exchange) (s Shape) {
	s.Needs = x.answerHoles()
	s.Travels = s.Needs
	read := func(kind string, t *tree, literals bool) {
		if t != nil && t.kind == treeText {
			s.Read = append(s.Read, "text")
			return
		}
		t.places("", func(path string, leaf *tree) {
			if literals || len(leaf.value.holes()) > 0 {
				s.Read = appendNew(s.Read, kind+path)
			}
		})
	}
	kind := "json "
	if x.returnsXML != nil {
		kind = "xml "
		read(kind, x.returnsXML, false)
	}
	read(kind, x.returns, false)
	read(kind, x.ok, true)
	return s
}

// CallShape returns the shape of what a call wears.
func (d *Dialect) CallShape() (s Shape) {
	x := &Exchange{wearing: d.Call.wearing}
	token := func(name string) bool { return name == "access_token" } // whoever makes a call has it, however it was made
	s = d.shapeOf(slices.DeleteFunc(x.needs(), token), slices.DeleteFunc(x.Holes(), token))
	if slices.ContainsFunc(x.needs(), token) {
		s.Needs = appendNew(s.Needs, "access_token")
	}
	if x.Has("access_token") {
		s.Travels = append(s.Travels, "access_token")
	}
	s.Secrets = slices.DeleteFunc(d.proving(x, s), token)
	s.Again = d.again(x)
	eachPlace(x, func(place string, v value) {
		if !d.renewed(x, v) {
			s.Read = appendNew(s.Read, place)
		}
	})
	return s
}

// MintShape returns the shape of a token that the client makes itself.
func (d *Dialect) MintShape() Shape {
	s := d.shapeOf([]string{"access_token"}, []string{"access_token"})
	if l := d.let("access_token"); l != nil && d.renewed(&Exchange{}, l.value) {
		s.Fresh = []string{"access_token"}
	}
	return s
}

// Kinds says what the variables must look like that cannot be any text:
//
//	"seconds", "minutes", "hours"  a number of seconds, whole minutes or whole hours
//	"instant", "day"               RFC 3339; of a day, its beginning
//	"hex", "base64"                bytes, written so
//	"words"                        words with one blank between them
//	"url"                          the URL of a host
//	"cookies"                      name=value pairs with a semicolon and a blank between them
//	"certificate"                  PEM
//	"signing certificate"          PEM, of the key that signs
//	"key"                          a private key in PEM
//	"RS256", "ES256", ...          a private key in PEM for that JWS algorithm
func (d *Dialect) Kinds() map[string]string {
	kinds := map[string]string{"expires_in": "seconds", "refresh_expires_in": "seconds", "expires_at": "instant", "scope": "words", "resource": "words"}
	each := kindsOf(kinds)
	list := slices.Concat(d.all, d.Steps, d.Accept, []*Exchange{d.Login})
	for _, x := range list {
		x.each(each)
		x.returns.each(each)
		x.returnsXML.each(each)
		for _, f := range slices.Concat(x.returnsHeaders, x.setCookie) {
			f.value.each(each)
		}
		for _, segment := range x.url.path {
			segment.each(each)
		}
		d.kindsOfTLS(x.tls, kinds)
		kindsOfCookies(append(x.cookies[:len(x.cookies):len(x.cookies)], x.setCookie...), kinds)
		if x.url.root != "" {
			kinds[x.url.root] = "url"
		}
	}
	c := d.Call
	c.each(each)
	d.kindsOfTLS(c.tls, kinds)
	kindsOfCookies(c.cookies, kinds)
	if c.base.root != "" {
		kinds[c.base.root] = "url"
	}
	for _, l := range d.lets {
		l.each(each)
		if l.signed != nil {
			l.signed.kinds(kinds)
		}
	}
	return kinds
}

func kindsOfCookies(fields []field, kinds map[string]string) {
	for _, f := range fields {
		if f.name == every {
			kinds[f.value[0].hole] = "cookies"
		}
	}
}

func (d *Dialect) kindsOfTLS(p *pair, kinds map[string]string) {
	if p == nil {
		return
	}
	for _, name := range d.made(p.user.needs()) {
		kinds[name] = "certificate"
	}
	for _, name := range d.made(p.password.needs()) {
		kinds[name] = "key"
	}
}

// kindsOf notes what the arguments of functions must look like.
func kindsOf(kinds map[string]string) func(*part, bool) {
	return func(p *part, _ bool) {
		if p.fn == nil || p.fn.takes() == "" {
			return
		}
		for _, arg := range p.args {
			for _, name := range arg.needs() {
				kinds[name] = p.fn.takes()
			}
		}
	}
}

// takes says what a function's argument must look like; "": any text.
func (f *function) takes() string {
	switch f.name {
	case "ms":
		return "seconds"
	case "min", "dhm":
		return "minutes"
	case "hours":
		return "hours"
	case "iso", "unix", "unix_ms":
		return "instant"
	case "date":
		return "day"
	case "comma":
		return "words"
	case "unhex":
		return "hex"
	case "unbase64":
		return "base64"
	case "fingerprint":
		return "key"
	case "thumbprint":
		return "certificate"
	}
	return ""
}
