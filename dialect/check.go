package dialect

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jetonhq/jeton/yamlnode"
)

// known refuses a hole that nobody binds.
func (d *Dialect) known(n yamlnode.Node, holes, bound []string) error {
	bound = appendNew(nil, bound...)
	for _, v := range d.Vars {
		bound = appendNew(bound, v.Name)
	}
	for _, hole := range holes {
		if !slices.Contains(bound, hole) {
			return n.Errorf("unknown hole $%s: neither the login nor its answer binds it, and vars does not declare it%s", hole, yamlnode.Suggest(hole, bound))
		}
	}
	return nil
}

// rfcNames are the holes that issuers and brokers know by name.
var rfcNames = []string{"username", "password", "client_id", "client_secret", "access_token", "refresh_token",
	"expires_in", "token_type", "scope", "api_key", "tenant_id", "user_id"}

// misspelt returns the well-known name that a hole nearly is: a letter too
// many, too few or other, or two that changed places. An app_key is none: many
// vendors have one, some beside an api_key.
func misspelt(hole string) string {
	if hole == "app_key" {
		return ""
	}
	return nearly(hole, rfcNames)
}

func nearly(hole string, names []string) string {
	if slices.Contains(names, hole) {
		return ""
	}
	for _, name := range names {
		if len(hole) < 5 || strings.ReplaceAll(hole, "_", "") == strings.ReplaceAll(name, "_", "") || strings.HasPrefix(hole, name) {
			continue
		}
		if near := yamlnode.Suggest(hole, []string{name}); strings.HasPrefix(near, "; did you mean") && abs(len(hole)-len(name)) <= 1 && sameLetters(hole, name) {
			return name
		}
	}
	return ""
}

func abs(n int) int { return max(n, -n) }

// sameLetters reports whether a and b have the same letters but for one, which
// the other may have another in place of.
func sameLetters(a, b string) bool {
	count := [256]int{}
	for _, c := range []byte(a) {
		count[c]++
	}
	for _, c := range []byte(b) {
		count[c]--
	}
	off := 0
	for _, n := range count {
		off += abs(n)
	}
	return off <= 1 || off == 2 && len(a) == len(b)
}

// check refuses a dialect that is well-formed but cannot work.
func (d *Dialect) check(root yamlnode.Node) error {
	for _, wrong := range []func(yamlnode.Node) error{
		d.unbound, d.astray, d.described, d.ordered, d.contradictory, d.bodiless, d.unknowable, d.exchanged, d.worthless, d.lesser, d.ambiguous,
	} {
		if err := wrong(root); err != nil {
			return err
		}
	}
	return nil
}

// unbound refuses holes that are misspelt, or that nobody binds.
func (d *Dialect) unbound(root yamlnode.Node) error {
	if err := d.spelt(tokenNode(root), d.loginNeeds(), nil); err != nil {
		return err
	}
	made := d.madeByLogin()
	if n, ok := root.Get("refresh"); ok {
		for _, x := range d.Refresh {
			if err := d.known(n, x.allHoles(), append(made, "access_token")); err != nil {
				return err
			}
		}
	}
	if n, ok := root.Get("call"); ok {
		return d.spelt(n, d.CallVars(), made)
	}
	return nil
}

// madeByLogin returns the names that there are after a login.
func (d *Dialect) madeByLogin() []string {
	made := slices.Concat(d.loginNeeds(), d.stepAnswers(), d.Login.allHoles())
	for _, l := range d.lets {
		made = append(made, l.name)
	}
	if d.Standard {
		made = append(made, "username", "password")
	}
	return made
}

// tokenNode is where the login stands in the file.
func tokenNode(root yamlnode.Node) yamlnode.Node {
	if n, ok := root.Get("token"); ok {
		return n
	}
	return root
}

// bodiless refuses an answer with a body and a status that has none (RFC 9110
// section 6.4.1).
func (d *Dialect) bodiless(root yamlnode.Node) error {
	for _, x := range d.all {
		if !hasBody(x.status) && (x.returns != nil || x.returnsXML != nil || x.ok != nil) {
			return root.Errorf("an answer with the status %d has no body, but the one to the %s at %s is to have one", x.status, x.Kind, x.Path())
		}
	}
	return nil
}

func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusResetContent && status != http.StatusNotModified
}

// worthless refuses a token that anybody could make.
func (d *Dialect) worthless(root yamlnode.Node) error {
	if !d.Minted() {
		return nil
	}
	s := d.MintShape()
	if len(s.Secrets) == 0 && !slices.ContainsFunc(s.Travels, func(name string) bool { return !d.Public(name) && d.let(name) == nil }) {
		n, _ := root.Get("let")
		return n.Errorf("nothing in $access_token is secret, so anybody could make it")
	}
	return nil
}

// lesser refuses another way to wear the token that leaves out what else a call
// wears: whoever stole the token would choose that.
func (d *Dialect) lesser(root yamlnode.Node) error {
	first := d.Call.wearing
	first.sign = nil // which is asked of each way
	for _, way := range d.Call.accept {
		own := d.made(way.needs())
		for _, name := range d.made(first.needs()) {
			if !slices.Contains(own, name) {
				n, _ := root.Get("call")
				n, _ = n.Get("accept")
				return n.Errorf("a call wears $%s beside the token, which another way to wear that is to have too", name)
			}
		}
	}
	return nil
}

// unknowable refuses a digest over what is new each time and does not travel with
// it: nobody could make it again.
func (d *Dialect) unknowable(root yamlnode.Node) error {
	for _, x := range d.all {
		if err := d.digested(root, x.Holes(), x.each); err != nil {
			return err
		}
	}
	return d.digested(root, d.Call.binds(), d.Call.each)
}

// digested is unknowable for one message.
func (d *Dialect) digested(root yamlnode.Node, holes []string, each func(func(*part, bool))) error {
	carried := holes
	for i := 0; i < len(carried); i++ {
		if l := d.let(carried[i]); l != nil {
			carried = appendNew(carried, l.binds()...)
		}
	}
	wrong := ""
	look := func(p *part, digested bool) {
		if digested && wrong == "" && (p.fn != nil && p.fn.kind == isGenerator || !slices.Contains(carried, p.hole) && d.random(p.hole)) {
			wrong = p.what()
		}
	}
	each(look)
	for _, l := range d.lets {
		if slices.Contains(carried, l.name) {
			l.each(look)
		}
	}
	if wrong != "" {
		return root.Errorf("a digest is made of %s, which is new each time and does not travel with it, so nobody could make it again; make it a let, and send that too", wrong)
	}
	return nil
}

// random reports whether a let is new each time.
func (d *Dialect) random(name string) bool {
	l := d.let(name)
	if l == nil {
		return false
	}
	found := l.signed != nil
	l.each(func(p *part, _ bool) {
		found = found || p.fn != nil && p.fn.kind == isGenerator || p.hole != "" && p.hole != name && d.random(p.hole)
	})
	return found
}

// each calls f for every part of the let that a server takes apart.
func (l *let) each(f func(p *part, digested bool)) {
	l.value.each(f)
	if l.signed != nil {
		l.signed.each(f)
	}
}

// contradictory refuses a variable in a path beside a field of its name in the
// form that is something else: a server takes no form that says something else about a
// variable than the path does.
func (d *Dialect) contradictory(root yamlnode.Node) error {
	for _, x := range d.all {
		for _, f := range x.form {
			same := len(f.value) == 1 && f.value[0].hole == f.name
			if slices.Contains(x.url.pathHoles(), f.name) && !same {
				return root.Errorf("the path of the %s at %s has $%s, which its form has as something else; give the variable another name", x.Kind, x.Path(), f.name)
			}
		}
	}
	return nil
}

// stepAnswers returns what the answers of a login bind.
func (d *Dialect) stepAnswers() []string {
	var names []string
	for _, x := range d.Sequence() {
		names = appendNew(names, x.answerHoles()...)
	}
	return names
}

// spelt refuses a hole that is nearly one which means something: of the RFC's,
// or of bound.
func (d *Dialect) spelt(n yamlnode.Node, holes, bound []string) error {
	for _, hole := range holes {
		if _, declared := d.variable(hole); declared || d.Params[hole] != "" {
			continue
		}
		near := misspelt(hole)
		if near == "" {
			near = nearly(hole, bound)
		}
		if near != "" {
			return n.Errorf("unknown hole $%s; did you mean %s? If it is the vendor's own word, declare it under vars or params", hole, near)
		}
	}
	return nil
}

// ordered refuses a step that takes what only a later one is answered.
func (d *Dialect) ordered(root yamlnode.Node) error {
	steps := d.Sequence()
	if len(steps) < 2 {
		return nil
	}
	for i, x := range steps {
		for _, name := range x.needs() {
			later := func(y *Exchange) bool { return y.Returns(name) }
			earlier := slices.ContainsFunc(steps[:i], later)
			if !earlier && slices.ContainsFunc(steps[i:], later) && (name == "access_token" || name == "refresh_token") {
				return tokenNode(root).Errorf("step %d takes $%s, which no step before it is answered", i+1, name)
			}
		}
	}
	return nil
}

// astray refuses a URL whose host an answer would choose: it could lead the
// credentials, or the token, anywhere. It may if hosts says where.
func (d *Dialect) astray(root yamlnode.Node) error {
	wrong := func(key string, a address) error {
		if !d.leads(a) || d.hosts != nil || a.root == "" && (sameDomain(a.host, d.first().url.host)) {
			return nil
		}
		holes := a.host.holes()
		if a.root != "" {
			holes = []string{a.root}
		}
		n, _ := root.Get(key)
		return n.Errorf("the answer of a login would choose the host ($%s), and could lead credentials astray; list where it may lead under hosts, such as hosts: [example.com]",
			strings.Join(holes, ", $"))
	}
	for _, v := range d.hosts {
		if i := slices.IndexFunc(v.holes(), d.answered); i >= 0 {
			n, _ := root.Get("hosts")
			return n.Errorf("an answer binds $%s, and is not to say itself where it may lead; list fixed hosts, or what an account says", v.holes()[i])
		}
	}
	for _, x := range d.Sequence() {
		if err := wrong("token", x.url); err != nil {
			return err
		}
	}
	for _, x := range d.Refresh {
		if err := wrong("refresh", x.url); err != nil {
			return err
		}
	}
	return wrong("call", d.Call.base)
}

// described refuses a line under params for what is no variable.
func (d *Dialect) described(root yamlnode.Node) error {
	n, ok := root.Get("params")
	if !ok {
		return nil
	}
	names := append(d.CallVars(), d.madeByLogin()...)
	for _, v := range d.Vars {
		names = append(names, v.Name)
	}
	for _, p := range n.Pairs {
		if !slices.Contains(names, p.Key.Text) {
			return p.Key.Errorf("there is no variable %s%s", yamlnode.Quote(p.Key.Text), yamlnode.Suggest(p.Key.Text, names))
		}
	}
	return nil
}

// sameDomain reports whether a host ends in the fixed last two labels of
// another.
func sameDomain(host, login value) bool {
	if len(host) == 0 || len(login) == 0 {
		return false
	}
	labels := strings.Split(login[len(login)-1].text, ".")
	if len(labels) < 2 {
		return false
	}
	domain := "." + strings.Join(labels[len(labels)-2:], ".")
	return strings.HasSuffix(host[len(host)-1].text, domain)
}

// ambiguous refuses two exchanges at one URL of which one asks for nothing that
// the other does not: a message of the other is also one of it. Where neither
// does, but they have different variables in one place, the server knows by what
// it gave out.
func (d *Dialect) ambiguous(root yamlnode.Node) error {
	for i, x := range d.all {
		for _, y := range d.all[i+1:] {
			more, less := x.differs(d, y), y.differs(d, x)
			if x.Method != y.Method || !x.url.meets(y.url) || more && less || !more && !less && !sameNames(x.Holes(), y.Holes()) {
				continue
			}
			return root.Errorf("the %s and the %s at %s %s cannot be told apart: each is to have a field that the other lacks", x.Kind, y.Kind, x.Method, x.Path())
		}
	}
	return nil
}

func sameNames(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(name string) bool { return !slices.Contains(b, name) })
}

// differs reports whether x requires a field that y does not have, or has
// with another fixed text.
func (x *Exchange) differs(d *Dialect, y *Exchange) bool {
	has := y.shape(func(value) bool { return true })
	if y.clientAuth {
		has["basic"] = fixed{}
	}
	for name, text := range x.shape(func(v value) bool { return !v.mayBeAbsent(d.optional) }) {
		if x.clientAuth && (name == "form client_id" || name == "form client_secret") {
			continue // they may also travel by Basic
		}
		if other, ok := has[name]; !ok || text.differs(other) {
			return true
		}
	}
	return false
}

// A fixed is the text with which a field begins, and whether that is all of it.
type fixed struct {
	text string
	all  bool
}

func (v value) fixed() fixed {
	text, all := v.literal()
	if !all && v[0].fixed() {
		text = v[0].text
	}
	return fixed{text, all}
}

// differs reports whether no field can begin with both.
func (f fixed) differs(g fixed) bool {
	if len(f.text) > len(g.text) {
		f, g = g, f
	}
	return !strings.HasPrefix(g.text, f.text) || f.all && f.text != g.text
}

// shape returns the fields of a request that count: where and name -> what is
// fixed of it.
func (x *Exchange) shape(counts func(value) bool) map[string]fixed {
	shape := map[string]fixed{}
	add := func(where string, list []field) {
		for _, f := range list {
			if counts(f.value) {
				shape[where+f.name] = f.value.fixed()
			}
		}
	}
	add("query ", x.query)
	for _, f := range x.headers {
		add("header ", []field{{strings.ToLower(f.name), f.value}}) // however it is written
	}
	add("cookie ", x.cookies)
	add("form ", x.form)
	x.json.shape("json", counts, shape)
	x.xml.shape("xml", counts, shape)
	if x.text != nil {
		shape["text"] = x.text.fixed()
	}
	if x.sign != nil {
		shape["sign"] = fixed{}
	}
	if x.basic != nil {
		shape["basic"] = fixed{}
	}
	if x.bearer != nil {
		shape["bearer"] = fixed{}
	}
	if x.body != bodyNone && (x.body != bodyForm || len(x.form) > 0) {
		shape["body "+strconv.Itoa(int(x.body))] = fixed{}
	}
	return shape
}

// shape adds the fields of a document that count, to any depth. One that is
// nothing, such as null, may always be absent.
func (t *tree) shape(path string, counts func(value) bool, into map[string]fixed) {
	switch {
	case t == nil:
	case t.kind == treeLiteral:
		if t.raw != "null" {
			into[path] = fixed{t.raw, true}
		}
	case t.kind == treeText:
		if text := t.value.fixed(); text != (fixed{all: true}) && counts(t.value) {
			into[path] = text
		}
	default:
		for i, kid := range t.kids {
			key := strconv.Itoa(i)
			if t.kind == treeObject {
				key = t.keys[i]
			}
			kid.shape(path+" "+key, counts, into)
		}
	}
}
