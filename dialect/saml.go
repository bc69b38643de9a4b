package dialect

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton/dialect/sign"
	"github.com/jetonhq/jeton/yamlnode"
)

// A samlTemplate is a SAML 2.0 bearer assertion with holes (RFC 7522). What it
// does not say is how long it is good, an ID, and who signed it.
type samlTemplate struct {
	texts      []field // of samlTexts, all of them
	attributes []field
	alg        string
	key        value
	cert       value // that goes along; nil: none
	lifetime   time.Duration
}

// skew is by how much the vendor's clock may be behind: an assertion that is good
// from this moment on is refused there.
const skew = time.Minute

// samlTexts are what an assertion says once. Without a format of the subject it
// is unspecified.
var samlTexts = []string{"issuer", "subject", "format", "audience", "recipient"}

// samlText is where one of samlTexts stands.
func samlText(a *sign.Assertion, name string) *string {
	switch name {
	case "issuer":
		return &a.Issuer
	case "subject":
		return &a.Subject
	case "format":
		return &a.Format
	case "audience":
		return &a.Audience
	}
	return &a.Recipient
}

func (t *samlTemplate) each(f func(p *part, digested bool)) {
	for _, text := range slices.Concat(t.texts, t.attributes) {
		text.value.each(f)
	}
}

func (t *samlTemplate) keys() []string { return appendNew(t.key.needs(), t.cert.needs()...) }

func (t *samlTemplate) make(e *env) (string, error) {
	a := sign.Assertion{ID: "_" + nonce(), Issued: e.now, NotBefore: e.now.Add(-skew), NotOnOrAfter: e.now.Add(t.lifetime)}
	for _, f := range t.texts {
		text, err := f.value.carried(e)
		if err != nil {
			return "", err
		}
		*samlText(&a, f.name) = text
	}
	for _, f := range t.attributes {
		text, err := f.value.carried(e)
		if _, missing := errors.AsType[missingError](err); missing && f.value.leftOut(e.optional) && f.value.unset(e) {
			continue
		}
		if err != nil {
			return "", err
		}
		a.Attributes = append(a.Attributes, sign.Attribute{Name: f.name, Value: text})
	}
	key, err := t.key.fill(e)
	if err != nil {
		return "", err
	}
	cert, err := t.certificate(e)
	if err != nil {
		return "", err
	}
	return sign.MakeSAML(t.alg, key, cert, a)
}

// carried fills a value that XML is to bring over unchanged.
func (v value) carried(e *env) (string, error) {
	text, err := v.fill(e)
	if err == nil && !sign.XMLText(text) {
		err = errors.New("$" + strings.Join(v.needs(), ", $") + " holds a character that XML cannot carry, or a blank at an end")
	}
	return text, err
}

func (t *samlTemplate) open(text string, optional func(string) bool, into *bound) error {
	a, err := sign.OpenSAML(text)
	if err != nil {
		return err
	}
	into.proofs = append(into.proofs, proof{signed: t, text: text})
	return t.read(a, optional, into)
}

// read binds the holes from an assertion. Attributes that the template does not
// have may stand beside its own.
func (t *samlTemplate) read(a sign.Assertion, optional func(string) bool, b *bound) error {
	for _, f := range t.texts {
		if !f.value.read(*samlText(&a, f.name), b) {
			return errors.New("the " + f.name + " is not the documented one")
		}
	}
	for _, f := range t.attributes {
		i := slices.IndexFunc(a.Attributes, func(at sign.Attribute) bool { return at.Name == f.name })
		if i < 0 && f.value.leftOut(optional) {
			continue
		}
		if i < 0 || !f.value.read(a.Attributes[i].Value, b) {
			return errors.New("the attribute " + f.name + " is missing, or is not the documented one")
		}
	}
	return nil
}

// prove checks the signature by what the account has, never by what the message
// brings. What open bound is then what the signature covers.
func (t *samlTemplate) prove(p proof, e *env) error {
	keys, err := t.own(e)
	if err != nil {
		return err
	}
	a, err := sign.CheckSAML(p.text, t.alg, keys...)
	if err != nil {
		return errors.New("its signature is not good")
	}
	switch {
	case !e.now.Before(a.NotOnOrAfter):
		return errors.New("it has expired")
	case a.NotOnOrAfter.After(e.now.Add(max(t.lifetime, maxAssertion) + leeway)):
		return errors.New("it is good for too long")
	case a.NotBefore.After(e.now.Add(leeway)), a.Issued.After(e.now.Add(leeway)):
		return errors.New("it is of a time to come")
	}
	return nil
}

// own returns the account's key, which may be the public half or the certificate,
// and its certificate if it has one.
func (t *samlTemplate) own(e *env) ([]string, error) {
	account := &env{vars: e.account.Clone(), now: e.now, absent: e.absent}
	key, err := t.key.fill(account)
	if err != nil {
		return nil, err
	}
	cert, err := t.certificate(account)
	if err != nil || cert == "" {
		return []string{key}, err
	}
	return []string{key, cert}, nil
}

// certificate returns what goes along; "" is nothing.
func (t *samlTemplate) certificate(e *env) (string, error) {
	text, err := t.cert.fill(e)
	if _, missing := errors.AsType[missingError](err); missing && t.cert.leftOut(e.optional) {
		return "", nil
	}
	return text, err
}

// identity is the text itself: an assertion is exchanged for a token, and is none.
func (t *samlTemplate) identity(text string) string { return text }

func (t *samlTemplate) kinds(kinds map[string]string) {
	if names := t.key.needs(); len(names) == 1 {
		kinds[names[0]] = t.alg
	}
	if names := t.cert.needs(); len(names) == 1 {
		kinds[names[0]] = "signing certificate"
	}
}

func (t *samlTemplate) sketch(name string, b *strings.Builder) {
	a := sign.Assertion{ID: "_$nonce()"}
	for _, f := range t.texts {
		*samlText(&a, f.name) = f.value.String()
	}
	for _, f := range t.attributes {
		a.Attributes = append(a.Attributes, sign.Attribute{Name: f.name, Value: f.value.String()})
	}
	b.WriteString("# $" + name + " is a SAML 2.0 assertion, signed by " + t.alg + " with " + t.key.String())
	if t.cert != nil {
		b.WriteString(", with the certificate " + t.cert.String() + " in its KeyInfo")
	}
	b.WriteString(":\n")
	for line := range strings.Lines(sign.SketchSAML(a, "$now()", "$now(-"+lengthText(skew)+")", "$now("+lengthText(t.lifetime)+")")) {
		b.WriteString("#   " + strings.TrimRight(line, "\n") + "\n")
	}
}

func parseSAML(n yamlnode.Node) (signed, error) {
	if err := n.Only("saml", "alg", "key", "cert", "lifetime"); err != nil {
		return nil, err
	}
	t := &samlTemplate{alg: "RS256", lifetime: defaultAssertionLifetime}
	for _, p := range n.Pairs {
		var err error
		switch p.Key.Text {
		case "saml":
			err = t.parse(p.Value)
		case "key":
			t.key, err = parseWhole(p.Value, "key")
		case "cert":
			t.cert, err = parseWhole(p.Value, "cert")
		case "lifetime":
			t.lifetime, err = duration(p.Value, "lifetime")
		case "alg":
			if t.alg = p.Value.Text; !slices.Contains(sign.SAMLAlgs, t.alg) {
				err = p.Value.Errorf("unknown algorithm%s", yamlnode.Suggest(t.alg, sign.SAMLAlgs))
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if t.key == nil {
		return nil, n.Errorf("the key named key is missing: it is the hole with the key, such as $private_key")
	}
	return t, nil
}

// parse reads what the assertion says.
func (t *samlTemplate) parse(n yamlnode.Node) (err error) {
	if err := n.Want("saml", yamlnode.Map); err != nil {
		return err
	}
	if err := n.Only(append(samlTexts[:len(samlTexts):len(samlTexts)], "attributes")...); err != nil {
		return err
	}
	for _, key := range samlTexts {
		f := field{key, value{{text: sign.Unspecified}}}
		p, ok := n.Get(key)
		if !ok && key != "format" {
			return n.Errorf("the key %s is missing: an assertion says who issues it, about whom, for whom and where it is taken", key)
		}
		if ok {
			if f.value, err = parseValue(p, key); err != nil {
				return err
			}
			if err := xmlTexts(p, f.value); err != nil {
				return err
			}
		}
		t.texts = append(t.texts, f)
	}
	if p, ok := n.Get("attributes"); ok {
		if t.attributes, err = parseFields(p, "attributes"); err != nil {
			return err
		}
		for i, f := range t.attributes {
			if err := xmlTexts(p.Pairs[i].Value, append(value{{text: f.name}}, f.value...)); err != nil {
				return err
			}
		}
	}
	return nil
}

// xmlTexts refuses a value whose fixed text XML does not bring over unchanged.
func xmlTexts(n yamlnode.Node, v value) error {
	if len(v) == 0 {
		return n.Errorf("an empty value counts as absent")
	}
	for _, p := range v {
		if p.fixed() && !sign.XMLText("x"+p.text+"x") {
			return n.Errorf("this holds a character that XML cannot carry")
		}
	}
	return nil
}

// exchanged refuses a token that is made of an assertion: one is exchanged for a
// token, and says nothing of how a call could wear it.
func (d *Dialect) exchanged(root yamlnode.Node) error {
	if !d.Minted() {
		return nil
	}
	n, _ := root.Get("let")
	names := []string{"access_token"}
	for i := 0; i < len(names); i++ {
		l := d.let(names[i])
		if l == nil {
			continue
		}
		if _, ok := l.signed.(*samlTemplate); ok {
			return n.Errorf("$access_token is made of the SAML assertion $%s, which is to be exchanged for a token (RFC 7522); add token", l.name)
		}
		names = appendNew(names, l.needs()...)
	}
	return nil
}
