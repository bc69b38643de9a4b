package sign

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// Bounds of an assertion that is read: enough for two hundred attributes, and too
// little to make anybody work long for it.
const (
	maxSAML           = 64 << 10 // bytes
	maxSAMLDepth      = 12
	maxSAMLElements   = 500
	maxSAMLAttributes = 16 // of one element
)

// parseSAML reads XML that is one element of text, attributes and elements, and
// nothing else.
func parseSAML(text string) (*etree.Element, error) {
	if len(text) > maxSAML {
		return nil, fmt.Errorf("sign: SAML: longer than %d bytes", maxSAML)
	}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{PreserveDuplicateAttrs: true, MaxDepth: maxSAMLDepth}
	if err := doc.ReadFromString(text); err != nil {
		return nil, errors.New("sign: SAML: not well-formed XML")
	}
	var root *etree.Element
	for i, token := range doc.Child {
		switch token := token.(type) {
		case *etree.Element:
			if root != nil {
				return nil, errors.New("sign: SAML: more than one element at the root")
			}
			root = token
		case *etree.CharData:
			if !token.IsWhitespace() {
				return nil, errors.New("sign: SAML: text beside the root")
			}
		case *etree.ProcInst:
			if i > 0 || token.Target != "xml" {
				return nil, errors.New("sign: SAML: a processing instruction, which is not read")
			}
		default:
			return nil, errors.New("sign: SAML: a document type declaration or a comment, which are not read")
		}
	}
	if root == nil {
		return nil, errors.New("sign: SAML: no element")
	}
	names := map[string]int{}
	if err := plainSAML(root, names); err != nil {
		return nil, err
	}
	if names["Assertion"] != 1 || names[dsig.SignatureTag] != 1 {
		return nil, errors.New("sign: SAML: not one assertion with one signature")
	}
	return root, nil
}

// plainSAML refuses what two readers may understand in two ways: comments and
// instructions inside of a text, text between elements, an attribute twice. It
// counts the elements by their names, whatever schema they are of; "" is all.
func plainSAML(e *etree.Element, names map[string]int) error {
	names[e.Tag]++
	if names[""]++; names[""] > maxSAMLElements || len(e.Attr) > maxSAMLAttributes {
		return errors.New("sign: SAML: too many elements or attributes")
	}
	seen := map[string]bool{}
	for _, a := range e.Attr {
		if seen[a.FullKey()] {
			return errors.New("sign: SAML: an attribute stands twice")
		}
		seen[a.FullKey()] = true
	}
	kids, text := false, false
	for _, token := range e.Child {
		switch token := token.(type) {
		case *etree.Element:
			kids = true
			if err := plainSAML(token, names); err != nil {
				return err
			}
		case *etree.CharData:
			text = text || !token.IsWhitespace()
		default:
			return errors.New("sign: SAML: a comment, an instruction or a declaration, which are not read")
		}
	}
	if kids && text {
		return errors.New("sign: SAML: text between elements")
	}
	return nil
}

// readSAML reads an assertion: as it travels, or what its signature covers, which
// is all but the signature.
func readSAML(root *etree.Element, covered bool) (Assertion, error) {
	r := samlReader{space: samlNamespace}
	a := r.assertion(root, covered)
	return a, r.err
}

// A samlReader reads elements and keeps the first thing that is wrong.
type samlReader struct {
	space string // of the elements
	err   error
}

func (r *samlReader) fail(problem string) {
	if r.err == nil {
		r.err = errors.New("sign: SAML: " + problem)
	}
}

func (r *samlReader) assertion(root *etree.Element, covered bool) (a Assertion) {
	if root.Tag != "Assertion" || root.NamespaceURI() != samlNamespace {
		r.fail("the root is not an assertion")
		return a
	}
	at := r.attrs(root, "ID", "IssueInstant", "Version")
	if a.ID = at["ID"]; !samlID(a.ID) || at["Version"] != "2.0" {
		r.fail("the ID or the version is missing, or is not one")
	}
	r.past(&a, at["IssueInstant"])
	names := []string{"Issuer", "Signature", "Subject", "Conditions", "AuthnStatement*", "AttributeStatement*"}
	if covered {
		names = slices.Delete(names, 1, 2)
	}
	parts := r.parts(root, names...)
	if r.err != nil {
		return a
	}
	if !covered {
		s := samlReader{space: dsig.Namespace}
		s.signature(parts["Signature"][0], a.ID)
		if s.err != nil {
			r.err = s.err
			return a
		}
	}
	issuer := parts["Issuer"][0]
	a.Issuer = r.text(issuer)
	if format := r.attrs(issuer, "Format")["Format"]; format != "" && format != samlEntity && format != Unspecified {
		r.fail("the issuer is not named as one")
	}
	r.subject(&a, parts["Subject"][0])
	r.conditions(&a, parts["Conditions"][0])
	for _, e := range parts["AuthnStatement"] {
		r.authn(&a, e)
	}
	for _, e := range parts["AttributeStatement"] {
		r.attributes(&a, e)
	}
	if a.NotOnOrAfter.IsZero() {
		r.fail("it never ends")
	}
	return a
}

func (r *samlReader) subject(a *Assertion, e *etree.Element) {
	parts := r.parts(e, "NameID", "SubjectConfirmation")
	if r.err != nil {
		return
	}
	name, confirmation := parts["NameID"][0], parts["SubjectConfirmation"][0]
	a.Subject = r.text(name)
	if a.Format = r.attrs(name, "Format")["Format"]; a.Format == "" {
		a.Format = Unspecified
	}
	if !XMLText(a.Format) {
		r.fail("the format of the subject is not one")
	}
	if r.attrs(confirmation, "Method")["Method"] != samlBearer {
		r.fail("the subject is not confirmed as bearer")
	}
	data := r.parts(confirmation, "SubjectConfirmationData")["SubjectConfirmationData"]
	if r.err != nil {
		return
	}
	at := r.attrs(data[0], "NotBefore", "NotOnOrAfter", "Recipient")
	r.parts(data[0])
	if a.Recipient = at["Recipient"]; a.Recipient == "" || !XMLText(a.Recipient) {
		r.fail("the recipient is missing, or is not one")
	}
	r.window(a, at)
}

func (r *samlReader) conditions(a *Assertion, e *etree.Element) {
	r.window(a, r.attrs(e, "NotBefore", "NotOnOrAfter"))
	list := r.parts(e, "AudienceRestriction")["AudienceRestriction"]
	if r.err != nil {
		return
	}
	r.attrs(list[0])
	list = r.parts(list[0], "Audience")["Audience"]
	if r.err != nil {
		return
	}
	r.attrs(list[0])
	a.Audience = r.text(list[0])
}

// authn reads when the subject authenticated; how is nobody's business here.
func (r *samlReader) authn(a *Assertion, e *etree.Element) {
	at := r.attrs(e, "AuthnInstant", "SessionIndex", "SessionNotOnOrAfter")
	r.past(a, at["AuthnInstant"])
	r.window(a, map[string]string{"NotOnOrAfter": at["SessionNotOnOrAfter"]})
}

func (r *samlReader) attributes(a *Assertion, e *etree.Element) {
	r.attrs(e)
	for _, e := range r.parts(e, "Attribute*")["Attribute"] {
		name := r.attrs(e, "Name", "NameFormat", "FriendlyName")["Name"]
		values := r.parts(e, "AttributeValue*")["AttributeValue"]
		if name == "" || !XMLText(name) || slices.ContainsFunc(a.Attributes, func(at Attribute) bool { return at.Name == name }) {
			r.fail("an attribute has no name, or the name of another one")
		}
		if len(values) != 1 || len(values[0].ChildElements()) > 0 || !XMLText(values[0].Text()) {
			values = nil // nothing that a dialect could have: it counts as another attribute without a value
		}
		at := Attribute{Name: name}
		if values != nil {
			at.Value = values[0].Text()
		}
		a.Attributes = append(a.Attributes, at)
	}
}

// signature holds that there is one signature, by means that are not broken, over
// all of the assertion but itself. Whether it is good the library says.
func (r *samlReader) signature(e *etree.Element, id string) {
	r.attrs(e, "Id")
	parts := r.parts(e, "SignedInfo", "SignatureValue", "KeyInfo?")
	if r.err != nil {
		return
	}
	r.base64(parts["SignatureValue"][0])
	info := parts["SignedInfo"][0]
	r.attrs(info, "Id")
	parts = r.parts(info, "CanonicalizationMethod", "SignatureMethod", "Reference")
	if r.err != nil {
		return
	}
	r.algorithm(parts["CanonicalizationMethod"][0], exclusive)
	r.algorithm(parts["SignatureMethod"][0], dsig.RSASHA256SignatureMethod, dsig.RSASHA384SignatureMethod, dsig.RSASHA512SignatureMethod)
	reference := parts["Reference"][0]
	if r.attrs(reference, "Id", "Type", "URI")["URI"] != "#"+id {
		r.fail("the signature is not over the assertion")
	}
	parts = r.parts(reference, "Transforms", "DigestMethod", "DigestValue")
	if r.err != nil {
		return
	}
	r.algorithm(parts["DigestMethod"][0], samlDigests...)
	r.base64(parts["DigestValue"][0])
	r.attrs(parts["Transforms"][0])
	r.transforms(r.parts(parts["Transforms"][0], "Transform*")["Transform"])
}

var exclusive = dsig.CanonicalXML10ExclusiveAlgorithmId.String()

// samlDigests are the SHA-2 of XML signatures (XML Encryption section 5.8, RFC
// 4051 section 2.1.3).
var samlDigests = []string{
	"http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmldsig-more#sha384", "http://www.w3.org/2001/04/xmlenc#sha512",
}

// transforms are the two that SAML allows (SAML 2.0 core section 5.4.4), in their
// order. The second may name prefixes, as OpenSAML does.
func (r *samlReader) transforms(list []*etree.Element) {
	if len(list) != 2 {
		r.fail("the signature is over something else than the assertion as it stands")
		return
	}
	r.algorithm(list[0], dsig.EnvelopedSignatureAltorithmId.String())
	for _, kid := range list[1].ChildElements() {
		if kid.Tag != dsig.InclusiveNamespacesTag || kid.NamespaceURI() != exclusive {
			r.fail("the signature is over something else than the assertion as it stands")
		}
	}
	if r.attrs(list[1], "Algorithm")["Algorithm"] != exclusive || len(list[1].ChildElements()) > 1 {
		r.fail("the signature is over something else than the assertion as it stands")
	}
}

// algorithm holds that an element names one of these and adds nothing.
func (r *samlReader) algorithm(e *etree.Element, allowed ...string) {
	r.parts(e)
	if !slices.Contains(allowed, r.attrs(e, "Algorithm")["Algorithm"]) {
		r.fail(e.Tag + " of the signature is not one that is taken")
	}
}

// base64 holds that a text is base64 in its one form, but for newlines.
func (r *samlReader) base64(e *etree.Element) {
	r.attrs(e, "Id")
	r.parts(e)
	if _, err := base64.StdEncoding.Strict().DecodeString(e.Text()); err != nil || e.Text() == "" {
		r.fail(e.Tag + " of the signature is not base64")
	}
}

// parts returns the children by name, which have to be these, in this order, each
// once: or at most once, with ?, or any number of times, with *.
func (r *samlReader) parts(e *etree.Element, names ...string) map[string][]*etree.Element {
	found := map[string][]*etree.Element{}
	kids := e.ChildElements()
	for _, name := range names {
		tag := strings.TrimRight(name, "?*")
		space := r.space
		if tag == dsig.SignatureTag {
			space = dsig.Namespace
		}
		for len(kids) > 0 && kids[0].Tag == tag && kids[0].NamespaceURI() == space && (len(found[tag]) == 0 || strings.HasSuffix(name, "*")) {
			found[tag], kids = append(found[tag], kids[0]), kids[1:]
		}
		if len(found[tag]) == 0 && tag == name {
			r.fail(e.Tag + " has no " + tag + " where it is to stand")
		}
	}
	if len(kids) > 0 {
		r.fail(e.Tag + " has an element that is not known there, or twice")
	}
	return found
}

// attrs returns the attributes, of which there may be these, beside namespaces and
// what a schema says of types.
func (r *samlReader) attrs(e *etree.Element, names ...string) map[string]string {
	found := map[string]string{}
	for _, a := range e.Attr {
		switch {
		case a.Space == "xmlns" || a.FullKey() == "xmlns":
		case !slices.Contains(names, a.FullKey()):
			r.fail(e.Tag + " has an attribute that is not known there")
		default:
			found[a.Key] = a.Value
		}
	}
	return found
}

// text returns what an element holds, which is text and nothing else.
func (r *samlReader) text(e *etree.Element) string {
	s := e.Text()
	if len(e.ChildElements()) > 0 || s == "" || !XMLText(s) {
		r.fail(e.Tag + " is empty, or is not plain text")
	}
	return s
}

// window narrows when the assertion is good.
func (r *samlReader) window(a *Assertion, at map[string]string) {
	if text := at["NotBefore"]; text != "" {
		if t := r.instant(text); t.After(a.NotBefore) {
			a.NotBefore = t
		}
	}
	if text := at["NotOnOrAfter"]; text != "" {
		if t := r.instant(text); a.NotOnOrAfter.IsZero() || t.Before(a.NotOnOrAfter) {
			a.NotOnOrAfter = t
		}
	}
}

// past reads a moment that is not in the future.
func (r *samlReader) past(a *Assertion, text string) {
	if t := r.instant(text); t.After(a.Issued) {
		a.Issued = t
	}
}

// instant reads a moment, which is in UTC (SAML 2.0 core section 1.3.3).
func (r *samlReader) instant(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || !strings.HasSuffix(text, "Z") || t.Year() < 1970 {
		r.fail("a moment is missing, or is not one in UTC")
	}
	return t
}
