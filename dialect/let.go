package dialect

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect/sign"
	"github.com/jetonhq/jeton/yamlnode"
)

// A let is a value that the client makes and the server takes apart.
type let struct {
	name   string
	value  value  // or
	signed signed // what the client signs
}

// A signed is what a client makes and signs as a whole, with holes: it is outside
// of the grammar of values.
type signed interface {
	make(e *env) (string, error)

	// each calls f for every part that whoever reads it takes apart.
	each(f func(p *part, digested bool))

	// keys returns the names that the signature is made of.
	keys() []string

	// open takes apart what a client claims to have signed.
	open(text string, optional func(string) bool, into *bound) error

	// prove checks what open took apart: the signature and the times.
	prove(p proof, e *env) error

	// identity returns what of a text has only one form that is proven.
	identity(text string) string

	kinds(kinds map[string]string) // adds to those of [Dialect.Kinds]
	sketch(name string, b *strings.Builder)
}

// A jwtTemplate is a JSON Web Token with holes (RFC 7519), such as the assertion
// of RFC 7523. What it does not say is iat, now, and exp, a lifetime later.
type jwtTemplate struct {
	claims, header *tree
	alg            string
	key            value
	lifetime       time.Duration
}

const defaultAssertionLifetime = 5 * time.Minute

func (l *let) make(e *env) (string, error) {
	if l.signed == nil {
		return l.value.fill(e)
	}
	text, err := l.signed.make(e)
	if _, missing := errors.AsType[missingError](err); err != nil && !missing {
		err = fmt.Errorf("$%s: %w", l.name, err)
	}
	return text, err
}

func (t *jwtTemplate) make(e *env) (string, error) {
	claims, err := t.claims.object(e)
	if err != nil {
		return "", err
	}
	header, err := t.header.object(e)
	if err != nil {
		return "", err
	}
	for name, at := range map[string]time.Time{"iat": e.now, "exp": e.now.Add(t.lifetime)} {
		if _, ok := claims[name]; !ok {
			claims[name] = at.Unix()
		}
	}
	key, err := t.key.fill(e)
	if err != nil {
		return "", err
	}
	return sign.MakeJWT(t.alg, key, header, claims)
}

func (t *jwtTemplate) each(f func(p *part, digested bool)) {
	t.claims.each(f)
	t.header.each(f)
}

func (t *jwtTemplate) keys() []string { return t.key.needs() }

// identity leaves out the signature: that by ECDSA has several forms.
func (t *jwtTemplate) identity(text string) string {
	return text[:strings.LastIndexByte(text, '.')+1]
}

func (t *jwtTemplate) kinds(kinds map[string]string) {
	t.key.each(kindsOf(kinds))
	if names := t.key.needs(); len(names) == 1 && !strings.HasPrefix(t.alg, "HS") {
		kinds[names[0]] = t.alg
	}
}

// needs returns the names of which the let is made.
func (l *let) needs() []string {
	names := needsOf(l.each)
	if l.signed != nil {
		names = appendNew(names, l.signed.keys()...)
	}
	return names
}

// binds returns the names that taking the let apart binds.
func (l *let) binds() []string { return bindsOf(l.each) }

// open takes apart what stands for the let, and keeps what is to be proven. An
// optional claim may be absent.
func (l *let) open(text string, optional func(string) bool, into *bound) error {
	if l.signed == nil {
		if !l.value.read(text, into) {
			return fmt.Errorf("%s does not have the documented form", l.name)
		}
		return nil
	}
	if err := l.signed.open(text, optional, into); err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	return nil
}

func (t *jwtTemplate) open(text string, optional func(string) bool, into *bound) error {
	header, claims, err := sign.OpenJWT(text)
	if err != nil {
		return errors.New("not a signed JSON Web Token")
	}
	how, fits := reading{literals: true, optional: optional, words: true}, 0
	err = t.header.read(header, "header", how, into, &fits)
	if err == nil {
		err = t.claims.read(claims, "claim", how, into, &fits)
	}
	if err != nil {
		return err
	}
	into.proofs = append(into.proofs, proof{signed: t, text: text})
	return nil
}

// maxAssertion is for how long a token may be good that the client makes, unless
// the dialect says that it lives longer: nobody can take one back (RFC 7523
// section 3 lets a server refuse an exp that is unreasonably far).
const maxAssertion = 24 * time.Hour

// leeway is by how much clocks may differ.
const leeway = 5 * time.Minute

func (t *jwtTemplate) prove(p proof, e *env) error {
	key, err := t.key.fill(e)
	if err != nil {
		return err
	}
	if err := sign.CheckJWT(p.text, t.alg, key); err != nil {
		return errors.New("its signature is not good")
	}
	_, claims, err := sign.OpenJWT(p.text)
	if err != nil {
		return err
	}
	exp, ok := numericDate(claims["exp"])
	if !ok || !e.now.Before(exp) {
		return errors.New("it has expired")
	}
	if _, own := t.claims.field("exp"); !own && exp.After(e.now.Add(max(t.lifetime, maxAssertion)+leeway)) {
		return errors.New("it is good for too long")
	}
	for _, name := range []string{"iat", "nbf"} {
		at, ok := numericDate(claims[name])
		if _, there := claims[name]; there && (!ok || at.After(e.now.Add(leeway))) {
			return errors.New("it is of a time to come")
		}
	}
	return nil
}

// numericDate reads RFC 7519 section 2.
func numericDate(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || math.IsNaN(f) || f <= 0 || f > maxInstant {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// let returns the let of a name, or nil.
func (d *Dialect) let(name string) *let {
	for _, l := range d.lets {
		if l.name == name {
			return l
		}
	}
	return nil
}

// opened takes apart every let that a message holds. What is in one may be the
// next.
func (d *Dialect) opened(b *bound) error {
	done := []string{}
	for again := true; again; {
		again = false
		for _, l := range d.lets {
			text, ok := b.vars[l.name]
			if !ok || slices.Contains(done, l.name) {
				continue
			}
			if err := l.open(text, d.optional, b); err != nil {
				return err
			}
			done, again = append(done, l.name), true
		}
	}
	return nil
}

// made returns what of names an account must give: a let stands for what it is
// made of.
func (d *Dialect) made(names []string) []string {
	var out []string
	seen := map[string]bool{}
	var add func(names []string)
	add = func(names []string) {
		for _, name := range names {
			if l := d.let(name); l != nil && !seen[name] {
				seen[name] = true
				add(l.needs())
			} else if l == nil {
				out = appendNew(out, name)
			}
		}
	}
	add(names)
	return out
}

// A Received is a request that a server has read: which exchange it belongs to,
// and what its holes bound. Nothing in it is proven.
type Received struct {
	Exchange *Exchange
	Vars     jeton.Vars

	// Others are further exchanges that the request may belong to: they differ
	// in the meaning of a field only, which the server has to decide. Nil: there
	// are none, as nearly always.
	Others []*Received

	// WithoutTLS lets Prove pass a client that has shown no certificate because
	// the connection has no TLS. It is for stand-ins on this machine only: on a
	// connection with TLS it changes nothing.
	WithoutTLS bool

	// Sent is the request as the client sent it, with all of its URL, where that
	// differs from what was read: a signature is over that. Nil: it does not
	// differ.
	Sent *http.Request

	dialect     *Dialect
	proofs      []proof
	certificate *pair                // of the client; nil: none is asked for
	peer        []byte               // DER of the certificate that the client has shown; nil: none
	plain       bool                 // the connection has no TLS
	checks      []func(e *env) error // of all of the message: its signature, and when it was made
}

// Prove checks what only somebody with an account's own values can: digests,
// signatures, and that the client has shown its certificate. account has the
// variables of the account that the request claims to be from; a key in it may
// be the public one. The error is a [*jeton.Error] with the code invalid_client,
// also where the account lacks a variable that the dialect is proven by. It
// shows no value. The time that it takes does not tell which proof failed.
func (m *Received) Prove(account jeton.Vars, now time.Time) error {
	vars := account.Clone()
	for name, text := range m.Vars {
		if vars[name] == "" {
			vars[name] = text
		}
	}
	var wrong error
	fail := func(err error) {
		if err != nil && wrong == nil {
			wrong = &jeton.Error{Code: jeton.InvalidClient, Description: "the client's proof is not good", Cause: err}
		}
	}
	for _, p := range m.proofs {
		e := &env{vars: vars, lets: m.dialect.lets, now: now, absent: m.dialect.optional, account: account}
		if p.signed != nil {
			fail(p.signed.prove(p, e))
			continue
		}
		want, err := p.part.fill(e)
		if err == nil && !jeton.NewSecret(want).Equal(jeton.NewSecret(p.text)) {
			err = errors.New("a digest differs")
		}
		fail(err)
	}
	if m.certificate != nil && !(m.WithoutTLS && m.plain) {
		fail(m.proveCertificate(&env{vars: vars, now: now}))
	}
	for _, check := range m.checks {
		fail(check(&env{vars: vars, now: now}))
	}
	return wrong
}

// proveCertificate compares the certificate that the client has shown with that
// of the account (RFC 8705 section 2.2).
func (m *Received) proveCertificate(e *env) error {
	text, err := m.certificate.user.fill(e)
	if err != nil {
		return err
	}
	own, err := sign.ParseCertificate(text)
	if err != nil {
		return err
	}
	if len(m.peer) == 0 || !slices.Equal(own.Raw, m.peer) {
		return errors.New("the client has shown no certificate, or another one")
	}
	return nil
}

// parseLet reads what the client makes. The names come first, so that a let may
// be made of a later one.
func parseLet(d *Dialect, root yamlnode.Node) error {
	n, ok := root.Get("let")
	if !ok {
		return nil
	}
	if err := n.Want("let", yamlnode.Map); err != nil {
		return err
	}
	for _, p := range n.Pairs {
		if err := variableName(p.Key); err != nil {
			return err
		}
		l := &let{name: p.Key.Text}
		var err error
		_, saml := p.Value.Get("saml")
		switch {
		case saml:
			l.signed, err = parseSAML(p.Value)
		case p.Value.Kind == yamlnode.Map:
			l.signed, err = parseJWT(p.Value)
		default:
			l.value, err = parseValue(p.Value, "let."+l.name)
		}
		if err != nil {
			return err
		}
		d.lets = append(d.lets, l)
	}
	return d.circular(n)
}

// circular refuses lets that are made of one another.
func (d *Dialect) circular(n yamlnode.Node) error {
	var visit func(name string, path []string) error
	visit = func(name string, path []string) error {
		l := d.let(name)
		if l == nil {
			return nil
		}
		if slices.Contains(path, name) {
			return n.Errorf("$%s is made of itself: %s", name, strings.Join(append(path, name), ", "))
		}
		for _, next := range l.needs() {
			if next == name && isGeneratorName(name) {
				continue
			}
			if err := visit(next, append(path, name)); err != nil {
				return err
			}
		}
		return nil
	}
	for _, l := range d.lets {
		if err := visit(l.name, nil); err != nil {
			return err
		}
	}
	return nil
}

func parseJWT(n yamlnode.Node) (signed, error) {
	if err := n.Only("jwt", "alg", "key", "header", "lifetime"); err != nil {
		return nil, err
	}
	t := &jwtTemplate{header: &tree{kind: treeObject}, lifetime: defaultAssertionLifetime}
	for _, p := range n.Pairs {
		var err error
		switch p.Key.Text {
		case "jwt":
			t.claims, err = parseObject(p.Value, "jwt")
		case "header":
			t.header, err = parseJOSEHeader(p.Value)
		case "key":
			t.key, err = parseValue(p.Value, "key")
		case "lifetime":
			t.lifetime, err = duration(p.Value, "lifetime")
		case "alg":
			if t.alg = p.Value.Text; !slices.Contains(sign.Algs, t.alg) {
				err = p.Value.Errorf("unknown algorithm%s", yamlnode.Suggest(t.alg, sign.Algs))
			}
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case t.claims == nil:
		return nil, n.Errorf("the key jwt is missing: it has the claims")
	case t.alg == "":
		return nil, n.Errorf("the key alg is missing: it is one of %s", strings.Join(sign.Algs, ", "))
	case t.key == nil:
		return nil, n.Errorf("the key named key is missing: it is the hole with the key, such as $private_key")
	case !strings.HasPrefix(t.alg, "HS") && !t.key.whole():
		key, _ := n.Get("key")
		return nil, key.Errorf("the key of %s is to be one hole, which holds all of it in PEM", t.alg)
	}
	return t, nil
}

// parseJOSEHeader reads a header (RFC 7515 section 4.1) without what is not the
// file's to say.
func parseJOSEHeader(n yamlnode.Node) (*tree, error) {
	t, err := parseObject(n, "header")
	if err != nil {
		return nil, err
	}
	for i, p := range n.Pairs {
		switch {
		case slices.Contains([]string{"alg", "crit", "b64"}, p.Key.Text):
			return nil, p.Key.Errorf("the header's %s is not for a file to say; alg stands beside jwt", p.Key.Text)
		case (p.Key.Text == "kid" || p.Key.Text == "typ") && t.kids[i].kind != treeText:
			return nil, p.Value.Errorf("%s is to be a text", p.Key.Text)
		}
	}
	return t, nil
}

func parseObject(n yamlnode.Node, what string) (*tree, error) {
	if err := n.Want(what, yamlnode.Map); err != nil {
		return nil, err
	}
	return compileTree(n)
}
