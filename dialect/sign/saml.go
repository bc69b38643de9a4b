package sign

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/jetonhq/jeton/jws"
)

// SAMLAlgs are the algorithms that [MakeSAML] and [CheckSAML] know, by their
// names in JWS. Others are missing because the library of XML signatures writes
// ECDSA in a form that XML does not have (RFC 4051 section 2.3.6), and has no
// RSASSA-PSS; and SHA-1 because it is broken.
var SAMLAlgs = []string{"RS256", "RS384", "RS512"}

// samlMethods are the names that XML has for SAMLAlgs.
var samlMethods = map[string]string{
	"RS256": dsig.RSASHA256SignatureMethod, "RS384": dsig.RSASHA384SignatureMethod, "RS512": dsig.RSASHA512SignatureMethod,
}

// Unspecified is the format of a subject that says none (SAML 2.0 core section
// 8.3.1).
const Unspecified = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"

const (
	samlNamespace = "urn:oasis:names:tc:SAML:2.0:assertion"
	samlBearer    = "urn:oasis:names:tc:SAML:2.0:cm:bearer"
	samlContext   = "urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified"
	samlEntity    = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity"
	samlInstant   = "2006-01-02T15:04:05Z"
)

// An Assertion is what a SAML 2.0 bearer assertion says (RFC 7522 section 3).
type Assertion struct {
	ID                  string // unlike that of any other assertion
	Issuer              string
	Subject, Format     string // an empty format is Unspecified
	Audience, Recipient string
	Attributes          []Attribute

	Issued       time.Time // of one that was read: the latest moment that it calls past
	NotBefore    time.Time // of one that was read: zero if it does not say
	NotOnOrAfter time.Time
}

// An Attribute of an assertion has one value.
type Attribute struct{ Name, Value string }

// MakeSAML returns the assertion as signed XML: an enveloped signature by
// exclusive canonicalization, and elements in the order of the schema. The key is
// text as [ParseKey] reads it, a private one that fits alg; the certificate, PEM
// as [ParseCertificate] reads it, goes along and has to be that of the key; empty:
// none goes along. It refuses a text that XML does not bring over unchanged:
// control characters, newlines among them, and blanks at an end.
func MakeSAML(alg, key, certificate string, a Assertion) (string, error) {
	if err := a.check(); err != nil {
		return "", err
	}
	k, certificates, err := samlKeys(alg, key, certificate)
	if err != nil {
		return "", err
	}
	signer, err := dsig.NewSigningContext(k, certificates)
	if err != nil {
		return "", errSAMLSign
	}
	signer.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := signer.SetSignatureMethod(samlMethods[alg]); err != nil {
		return "", errSAMLSign
	}
	root := a.element(stamps{a.ID, a.Issued.UTC().Format(samlInstant), a.NotBefore.UTC().Format(samlInstant), a.NotOnOrAfter.UTC().Format(samlInstant)})
	signature, err := signer.ConstructSignature(root.Copy(), true) // it changes what it signs
	if err != nil {
		return "", errSAMLSign
	}
	if certificates == nil {
		removeKeyInfo(signature)
	}
	root.InsertChildAt(1, signature) // after the issuer
	text, err := samlText(root)
	if err == nil && len(text) > maxSAML {
		err = fmt.Errorf("sign: SAML: longer than %d bytes", maxSAML)
	}
	return text, err
}

// SketchSAML returns an assertion without its signature, indented, with the texts
// that are given in place of its moments: for people.
func SketchSAML(a Assertion, issued, notBefore, notOnOrAfter string) string {
	root := a.element(stamps{a.ID, issued, notBefore, notOnOrAfter})
	doc := etree.NewDocumentWithRoot(root)
	doc.WriteSettings = canonical
	doc.Indent(2)
	s, _ := doc.WriteToString() // to memory
	return s
}

var canonical = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}

func samlText(root *etree.Element) (string, error) {
	doc := etree.NewDocumentWithRoot(root)
	doc.WriteSettings = canonical
	text, err := doc.WriteToString()
	if err != nil {
		return "", errSAMLSign
	}
	return text, nil
}

var errSAMLSign = errors.New("sign: SAML: the assertion could not be signed")

// samlKeys reads the key that signs, and the certificate that goes along.
func samlKeys(alg, key, certificate string) (crypto.Signer, [][]byte, error) {
	k, err := samlKey(alg, key)
	if err != nil {
		return nil, nil, err
	}
	if k.private == nil {
		return nil, nil, errors.New("sign: SAML: the key is a public one; signing needs the private key")
	}
	if certificate == "" {
		return k.private, nil, nil
	}
	c, err := ParseCertificate(certificate)
	if err != nil {
		return nil, nil, err
	}
	if public, ok := c.PublicKey.(*rsa.PublicKey); !ok || !public.Equal(k.public) {
		return nil, nil, errors.New("sign: SAML: the certificate is not that of the key")
	}
	return k.private, [][]byte{c.Raw}, nil
}

func samlKey(alg, key string) (Key, error) {
	if !slices.Contains(SAMLAlgs, alg) {
		return Key{}, errors.New("sign: SAML: alg is to be one of " + strings.Join(SAMLAlgs, ", "))
	}
	k, err := ParseKey(key)
	if err != nil {
		return Key{}, err
	}
	if !jws.Fits(alg, k.public) {
		return Key{}, errors.New("sign: SAML: the key does not fit " + alg + ", which wants RSA of 2048 to 8192 bits")
	}
	return k, nil
}

// check refuses what nobody could read back.
func (a Assertion) check() error {
	for _, text := range []struct{ what, text string }{
		{"ID", a.ID}, {"issuer", a.Issuer}, {"subject", a.Subject}, {"audience", a.Audience}, {"recipient", a.Recipient},
	} {
		if text.text == "" {
			return errors.New("sign: SAML: the " + text.what + " is empty")
		}
		if !XMLText(text.text) {
			return errors.New("sign: SAML: the " + text.what + errNotXML)
		}
	}
	seen := map[string]bool{}
	for _, at := range a.Attributes {
		switch {
		case at.Name == "" || at.Value == "":
			return errors.New("sign: SAML: an attribute has no name or no value")
		case !XMLText(at.Name) || !XMLText(at.Value):
			return errors.New("sign: SAML: an attribute" + errNotXML)
		case seen[at.Name]:
			return errors.New("sign: SAML: an attribute stands twice")
		}
		seen[at.Name] = true
	}
	if !XMLText(a.Format) {
		return errors.New("sign: SAML: the format of the subject" + errNotXML)
	}
	if !samlID(a.ID) {
		return errors.New("sign: SAML: the ID holds more than letters, digits, dots, hyphens and underscores")
	}
	return nil
}

const errNotXML = " holds a character that XML cannot carry, or a blank at an end"

// XMLText reports whether XML brings a text over unchanged, whoever reads it: it
// is UTF-8 without control characters, and without blanks at an end, which
// readers trim.
func XMLText(s string) bool {
	return utf8.ValidString(s) && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd || r == 0xfffe || r == 0xffff
	})
}

func samlID(s string) bool {
	return s != "" && len(s) <= 200 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// stamps are what an assertion has anew each time.
type stamps struct{ id, issued, notBefore, notOnOrAfter string }

// element builds the assertion in the order of the schema (SAML 2.0 core section
// 2.3.3).
func (a Assertion) element(at stamps) *etree.Element {
	root := etree.NewElement("saml2:Assertion")
	attributes(root, "xmlns:saml2", samlNamespace, "ID", at.id, "IssueInstant", at.issued, "Version", "2.0")
	root.CreateElement("saml2:Issuer").SetText(a.Issuer)

	subject := root.CreateElement("saml2:Subject")
	name := subject.CreateElement("saml2:NameID")
	attributes(name, "Format", a.format()).SetText(a.Subject)
	confirmation := attributes(subject.CreateElement("saml2:SubjectConfirmation"), "Method", samlBearer)
	attributes(confirmation.CreateElement("saml2:SubjectConfirmationData"), "NotOnOrAfter", at.notOnOrAfter, "Recipient", a.Recipient)

	conditions := attributes(root.CreateElement("saml2:Conditions"), "NotBefore", at.notBefore, "NotOnOrAfter", at.notOnOrAfter)
	conditions.CreateElement("saml2:AudienceRestriction").CreateElement("saml2:Audience").SetText(a.Audience)

	authn := attributes(root.CreateElement("saml2:AuthnStatement"), "AuthnInstant", at.issued)
	authn.CreateElement("saml2:AuthnContext").CreateElement("saml2:AuthnContextClassRef").SetText(samlContext)
	if len(a.Attributes) == 0 {
		return root
	}
	statement := root.CreateElement("saml2:AttributeStatement")
	for _, at := range a.Attributes {
		attributes(statement.CreateElement("saml2:Attribute"), "Name", at.Name).CreateElement("saml2:AttributeValue").SetText(at.Value)
	}
	return root
}

func (a Assertion) format() string {
	if a.Format == "" {
		return Unspecified
	}
	return a.Format
}

func attributes(e *etree.Element, pairs ...string) *etree.Element {
	for i := 0; i < len(pairs); i += 2 {
		e.CreateAttr(pairs[i], pairs[i+1])
	}
	return e
}

// OpenSAML takes an assertion apart without judging its signature: nobody has
// vouched for what it returns before [CheckSAML] says so. It is strict: one
// document of 64 KiB at most, with one assertion at its root, with what an
// [Assertion] has and nothing that could change its meaning, and one enveloped
// signature over all of it; no document type declaration, no comment, no
// processing instruction.
func OpenSAML(text string) (Assertion, error) {
	root, err := parseSAML(text)
	if err != nil {
		return Assertion{}, err
	}
	return readSAML(root, false)
}

// CheckSAML checks that the assertion was signed by exactly this alg with the
// key, and returns what the signature covers, which is what [OpenSAML] returns of
// the same text, else an error. The keys
// are text as [ParseKey] reads it, of which the public half is used; if there are
// several, they all have to be the same one. No key is taken from the text: a
// certificate that travels in it is only compared with those among keys, if there
// are any. The validity of certificates and the moments of the assertion are not
// judged.
func CheckSAML(text, alg string, keys ...string) (Assertion, error) {
	root, err := parseSAML(text)
	if err != nil {
		return Assertion{}, err
	}
	opened, err := readSAML(root, false)
	if err != nil {
		return Assertion{}, err
	}
	public, err := samlPublic(alg, keys)
	if err != nil {
		return Assertion{}, err
	}
	signature := child(root, dsig.SignatureTag)
	info := child(signature, dsig.SignedInfoTag)
	if child(info, dsig.SignatureMethodTag).SelectAttrValue("Algorithm", "") != samlMethods[alg] {
		return Assertion{}, errors.New("sign: SAML: not signed by " + alg)
	}
	if !shownCertificate(signature, keys) {
		return Assertion{}, errors.New("sign: SAML: the certificate that goes along is another one")
	}
	removeKeyInfo(signature)
	check := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{
		Roots: []*x509.Certificate{{PublicKey: public, PublicKeyAlgorithm: x509.RSA}},
	})
	check.Clock = dsig.NewFakeClockAt(time.Time{}) // a key has no validity
	signed, err := check.Validate(root)
	if err != nil || signed == nil {
		return Assertion{}, errSAMLSignature
	}
	covered, err := readSAML(signed, true)
	if err != nil || !reflect.DeepEqual(opened, covered) {
		return Assertion{}, errors.New("sign: SAML: what was signed is not what is read")
	}
	return covered, nil
}

var errSAMLSignature = errors.New("sign: SAML: the signature is not by this key")

// samlPublic returns the one key that all of keys are.
func samlPublic(alg string, keys []string) (public *rsa.PublicKey, err error) {
	for _, text := range keys {
		k, err := samlKey(alg, text)
		if err != nil {
			return nil, err
		}
		other := k.public.(*rsa.PublicKey) // it fits
		if public != nil && !public.Equal(other) {
			return nil, errors.New("sign: SAML: the certificate is not that of the key")
		}
		public = other
	}
	if public == nil {
		return nil, errors.New("sign: SAML: there is no key")
	}
	return public, nil
}

// shownCertificate reports whether the certificate that travels with a signature
// is one of keys. None among keys, or none that travels, is good: it says nothing
// that counts.
func shownCertificate(signature *etree.Element, keys []string) bool {
	var own [][]byte
	for _, text := range keys {
		if c, err := ParseCertificate(text); err == nil {
			own = append(own, c.Raw)
		}
	}
	info := child(signature, dsig.KeyInfoTag)
	if info == nil || own == nil {
		return true
	}
	for _, shown := range info.FindElements(".//" + dsig.X509CertificateTag) {
		der, err := base64.StdEncoding.Strict().DecodeString(dropSpace(shown.Text()))
		if err != nil || !slices.ContainsFunc(own, func(raw []byte) bool { return slices.Equal(raw, der) }) {
			return false
		}
	}
	return true
}

func removeKeyInfo(signature *etree.Element) {
	if info := child(signature, dsig.KeyInfoTag); info != nil {
		signature.RemoveChild(info)
	}
}

// child returns the first child of a name, or nil; whose namespaces are in order
// readSAML has seen.
func child(e *etree.Element, tag string) *etree.Element {
	for _, kid := range e.ChildElements() {
		if kid.Tag == tag {
			return kid
		}
	}
	return nil
}
