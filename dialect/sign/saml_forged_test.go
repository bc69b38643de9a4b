package sign_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/jetonhq/jeton/dialect/sign"
)

// The attacks on signed XML. Each begins with an assertion that was really signed,
// or signs something else with the real key, and wants to be somebody else.

func certificateOf(t testing.TB, key crypto.Signer) string {
	t.Helper()
	serial := make([]byte, 8)
	_, _ = rand.Read(serial)                                                                                                                               // never fails
	like := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial), Subject: pkix.Name{CommonName: "client"}, NotAfter: time.Now().Add(-time.Hour)} // expired: nobody asks
	der, err := x509.CreateCertificate(rand.Reader, like, like, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func certificatePEM(t testing.TB, private string) string {
	t.Helper()
	k, err := sign.ParseKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return certificateOf(t, k.Private())
}

func foreignCertificate(t testing.TB) string {
	t.Helper()
	return certificateOf(t, signers()["RSA"][1])
}

// document parses what was made, so that a test can change it.
func document(t testing.TB, text string) *etree.Element {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		t.Fatal(err)
	}
	return doc.Root()
}

func written(t testing.TB, root *etree.Element) string {
	t.Helper()
	doc := etree.NewDocumentWithRoot(root.Copy())
	doc.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	text, err := doc.WriteToString()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A resigning says how an assertion is signed anew, unlike MakeSAML would.
type resigning struct {
	change        func(root *etree.Element) // before it is signed
	reference     func(root *etree.Element) // whose ID the signature is over; nil: the assertion's
	method        string
	canonicalizer dsig.Canonicalizer
	foreign       bool // by somebody else's key
}

func (s resigning) text(t testing.TB) string {
	t.Helper()
	root := document(t, made(t, nil))
	root.RemoveChild(root.FindElement("./Signature"))
	if s.change != nil {
		s.change(root)
	}
	key := signers()["RSA"][0]
	if s.foreign {
		key = signers()["RSA"][1]
	}
	c, err := dsig.NewSigningContext(key, [][]byte{certificateDER(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	if c.Canonicalizer = s.canonicalizer; c.Canonicalizer == nil {
		c.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	}
	if s.method != "" {
		if err := c.SetSignatureMethod(s.method); err != nil {
			t.Fatal(err)
		}
	}
	signed := root.Copy()
	if s.reference != nil {
		s.reference(signed)
	}
	signature, err := c.ConstructSignature(signed, true)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	if issuer := root.FindElement("./Issuer"); issuer != nil {
		at = issuer.Index() + 1
	}
	root.InsertChildAt(at, signature)
	return written(t, root)
}

func certificateDER(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(certificateOf(t, key)))
	return block.Bytes
}

// refused holds that a text is believed neither by the key nor by the certificate.
func refused(t *testing.T, what, text string) {
	t.Helper()
	private, public, _ := texts(t, "RS256")
	for _, keys := range [][]string{{public}, {private, certificatePEM(t, private)}} {
		if a, err := sign.CheckSAML(text, "RS256", keys...); err == nil {
			t.Errorf("%s: believed, of %s", what, a.Subject)
		}
	}
}

// TestSAMLResigned: what is signed anew as it should be is believed, so that the
// attacks below fail for what they change.
func TestSAMLResigned(t *testing.T) {
	_, public, _ := texts(t, "RS256")
	for name, s := range map[string]resigning{
		"as it should be":     {},
		"with prefixes named": {canonicalizer: dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("xs")},
		"pretty": {change: func(root *etree.Element) {
			root.IndentWithSettings(&etree.IndentSettings{Spaces: 2})
		}},
		"an attribute of several values beside ours": {change: func(root *etree.Element) {
			a := root.FindElement("./AttributeStatement").CreateElement("saml2:Attribute")
			a.CreateAttr("Name", "groups")
			a.CreateElement("saml2:AttributeValue").SetText("a")
			a.CreateElement("saml2:AttributeValue").SetText("b")
		}},
		"two statements of attributes": {change: func(root *etree.Element) {
			a := root.CreateElement("saml2:AttributeStatement").CreateElement("saml2:Attribute")
			a.CreateAttr("Name", "use_username")
			a.CreateElement("saml2:AttributeValue").SetText("true")
		}},
	} {
		if _, err := sign.CheckSAML(s.text(t), "RS256", public); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSAMLKeyThatTravels: the certificate in the message proves nothing.
func TestSAMLKeyThatTravels(t *testing.T) {
	refused(t, "somebody's own key, and its certificate along", resigning{foreign: true}.text(t))
	shown := resigning{}.text(t)
	private, _, _ := texts(t, "RS256")
	if _, err := sign.CheckSAML(shown, "RS256", private, foreignCertificate(t)); err == nil {
		t.Error("an account with another certificate than its key's is believed")
	}
	if _, err := sign.CheckSAML(shown, "RS256", private, certificatePEM(t, private)); err == nil {
		t.Error("a certificate goes along that is not the account's, and is not seen")
	}
}

// TestSAMLWeakAlgorithms: no SHA-1, wherever it stands, and no HMAC.
func TestSAMLWeakAlgorithms(t *testing.T) {
	refused(t, "SHA-1", resigning{method: dsig.RSASHA1SignatureMethod}.text(t))
	for from, to := range map[string]string{
		"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256": "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
		"http://www.w3.org/2001/04/xmlenc#sha256":           "http://www.w3.org/2000/09/xmldsig#sha1",
	} {
		refused(t, to, strings.Replace(made(t, nil), from, to, 1))
	}
	only := resigning{}.text(t)
	private, _, _ := texts(t, "RS512")
	if _, err := sign.CheckSAML(only, "RS512", private); err == nil {
		t.Error("signed by RS256, and believed as RS512")
	}
}

// TestSAMLSignedOtherwise: a signature that is good, by the right key, but says of
// itself that it was made in another way than SAML has it.
func TestSAMLSignedOtherwise(t *testing.T) {
	const c14n11 = "http://www.w3.org/2006/12/xml-c14n11"
	set := func(path, algorithm string) func(*etree.Element) {
		return func(info *etree.Element) { info.FindElement(path).CreateAttr("Algorithm", algorithm) }
	}
	transforms := func(algorithms ...string) func(*etree.Element) {
		return func(info *etree.Element) {
			list := info.FindElement("./Reference/Transforms")
			for _, e := range list.ChildElements() {
				list.RemoveChild(e)
			}
			for _, algorithm := range algorithms {
				list.CreateElement("ds:Transform").CreateAttr("Algorithm", algorithm)
			}
		}
	}
	exclusive, enveloped := dsig.CanonicalXML10ExclusiveAlgorithmId.String(), dsig.EnvelopedSignatureAltorithmId.String()
	_, public, _ := texts(t, "RS256")
	for name, c := range map[string]struct {
		change func(info *etree.Element)
		good   bool
	}{
		"as it should be": {func(*etree.Element) {}, true},
		"a digest by SHA-1": {func(info *etree.Element) {
			set("./Reference/DigestMethod", "http://www.w3.org/2000/09/xmldsig#sha1")(info)
			unsigned := document(t, made(t, nil))
			unsigned.RemoveChild(unsigned.FindElement("./Signature"))
			b, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(unsigned)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha1.Sum(b)
			info.FindElement("./Reference/DigestValue").SetText(base64.StdEncoding.EncodeToString(sum[:]))
		}, false},
		"another canonical form of what is signed": {transforms(enveloped, c14n11), false},
		"a transform more":                         {transforms(enveloped, exclusive, exclusive), false},
		"the transforms the other way round":       {transforms(exclusive, enveloped), false},
		"one transform":                            {transforms(enveloped), false},
		"no transform":                             {transforms(), false},
		"another canonical form of the signature":  {set("./CanonicalizationMethod", c14n11), false},
		"a second reference, to nothing": {func(info *etree.Element) {
			second := info.FindElement("./Reference").Copy()
			second.CreateAttr("URI", "#other")
			info.AddChild(second)
		}, false},
		"a second digest": {func(info *etree.Element) {
			value := info.FindElement("./Reference/DigestValue")
			info.FindElement("./Reference").InsertChildAt(value.Index(), value.Copy())
		}, false},
	} {
		root := document(t, made(t, nil))
		info := root.FindElement("./Signature/SignedInfo")
		c.change(info)
		alone := info.Copy()
		alone.CreateAttr("xmlns:ds", dsig.Namespace)
		alone.CreateAttr("xmlns:saml2", "urn:oasis:names:tc:SAML:2.0:assertion")
		canonicalizer := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
		if info.FindElement("./CanonicalizationMethod").SelectAttrValue("Algorithm", "") == c14n11 {
			canonicalizer = dsig.MakeC14N11Canonicalizer()
		}
		b, err := canonicalizer.Canonicalize(alone)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b)
		signature, err := signers()["RSA"][0].Sign(rand.Reader, sum[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		root.FindElement("./Signature/SignatureValue").SetText(base64.StdEncoding.EncodeToString(signature))
		text := written(t, root)
		if !c.good {
			refused(t, name, text)
		} else if _, err := sign.CheckSAML(text, "RS256", public); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSAMLWrapped: what is read is what is signed, wherever the signed assertion
// was moved to.
func TestSAMLWrapped(t *testing.T) {
	for name, wrap := range map[string]func(good, evil *etree.Element) *etree.Element{
		"the signed one inside of the signature of a forged one": func(good, evil *etree.Element) *etree.Element {
			s := good.FindElement("./Signature").Copy()
			evil.InsertChildAt(1, s)
			s.CreateElement("ds:Object").AddChild(good)
			return evil
		},
		"the signed one inside of the KeyInfo of a forged one": func(good, evil *etree.Element) *etree.Element {
			s := good.FindElement("./Signature").Copy()
			evil.InsertChildAt(1, s)
			s.CreateElement("ds:KeyInfo").AddChild(good)
			return evil
		},
		"the signed one without its signature, which the forged one has": func(good, evil *etree.Element) *etree.Element {
			s := good.FindElement("./Signature")
			good.RemoveChild(s)
			evil.InsertChildAt(1, s)
			s.CreateElement("ds:Object").AddChild(good)
			return evil
		},
		"the signed one at the end of a forged one": func(good, evil *etree.Element) *etree.Element {
			evil.AddChild(good)
			return evil
		},
		"the signed one as the value of an attribute": func(good, evil *etree.Element) *etree.Element {
			evil.InsertChildAt(1, good.FindElement("./Signature").Copy())
			evil.FindElement("./AttributeStatement/Attribute/AttributeValue").AddChild(good)
			return evil
		},
		"the signed one in the Advice of a forged one": func(good, evil *etree.Element) *etree.Element {
			evil.InsertChildAt(1, good.FindElement("./Signature").Copy())
			evil.InsertChildAt(4, etree.NewElement("saml2:Advice"))
			evil.FindElement("./Advice").AddChild(good)
			return evil
		},
		"the forged one at the end of the signed one": func(good, evil *etree.Element) *etree.Element {
			good.AddChild(evil)
			return good
		},
		"both below another root": func(good, evil *etree.Element) *etree.Element {
			root := etree.NewElement("saml2:Assertions")
			root.CreateAttr("xmlns:saml2", "urn:oasis:names:tc:SAML:2.0:assertion")
			root.AddChild(evil)
			root.AddChild(good)
			return root
		},
		"the signed one below a response": func(good, _ *etree.Element) *etree.Element {
			root := etree.NewElement("samlp:Response")
			root.CreateAttr("xmlns:samlp", "urn:oasis:names:tc:SAML:2.0:protocol")
			root.AddChild(good)
			return root
		},
		"a forged one with the signature of the signed one": func(good, evil *etree.Element) *etree.Element {
			evil.InsertChildAt(1, good.FindElement("./Signature"))
			return evil
		},
		"two signatures": func(good, _ *etree.Element) *etree.Element {
			good.InsertChildAt(2, good.FindElement("./Signature").Copy())
			return good
		},
		"a forged one in the KeyInfo of the signed one": func(good, evil *etree.Element) *etree.Element {
			good.FindElement("./Signature").CreateElement("ds:KeyInfo").AddChild(evil)
			return good
		},
		"a signature that has another one in it": func(good, _ *etree.Element) *etree.Element {
			good.FindElement("./Signature").CreateElement("ds:KeyInfo").AddChild(good.FindElement("./Signature").Copy())
			return good
		},
	} {
		for _, id := range []string{"_4f2e", "_evil"} {
			evil := document(t, made(t, func(a *sign.Assertion) { a.ID, a.Subject = id, "mallory" }))
			evil.RemoveChild(evil.FindElement("./Signature"))
			text := written(t, wrap(document(t, made(t, nil)), evil))
			refused(t, name, text)
			if a, err := sign.OpenSAML(text); err == nil && a.Subject == "mallory" && !strings.Contains(name, "a forged one with") {
				t.Errorf("%s: opened", name)
			}
		}
	}
}

// TestSAMLTwoDocuments: nothing stands behind the assertion.
func TestSAMLTwoDocuments(t *testing.T) {
	good, evil := made(t, nil), made(t, func(a *sign.Assertion) { a.Subject = "mallory" })
	refused(t, "two roots", good+evil)
	refused(t, "text behind the root", good+"x")
	refused(t, "text before the root", "x"+good)
	if _, err := sign.OpenSAML("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" + good + "\n"); err != nil {
		t.Errorf("with a declaration: %v", err)
	}
}

// TestSAMLReference: a good signature by the right key over something else is
// refused.
func TestSAMLReference(t *testing.T) {
	refused(t, "the ID of something else", resigning{reference: func(root *etree.Element) { root.CreateAttr("ID", "_other") }}.text(t))
	refused(t, "the whole document, whatever it is", resigning{reference: func(root *etree.Element) { root.RemoveAttr("ID") }}.text(t))
	refused(t, "an assertion without an ID", resigning{change: func(root *etree.Element) { root.RemoveAttr("ID") }}.text(t))
	refused(t, "comments in what is signed", resigning{canonicalizer: dsig.MakeC14N10ExclusiveWithCommentsCanonicalizerWithPrefixList("")}.text(t))
	refused(t, "another canonical form", resigning{canonicalizer: dsig.MakeC14N11Canonicalizer()}.text(t))
}

// TestSAMLSecondReference: a signature over several things is none over one.
func TestSAMLSecondReference(t *testing.T) {
	root := document(t, made(t, nil))
	info := root.FindElement("./Signature/SignedInfo")
	info.AddChild(info.FindElement("./Reference").Copy())
	refused(t, "a reference twice", written(t, root))
	for _, path := range []string{"./Signature/SignedInfo", "./Signature/SignatureValue", "./Signature/SignedInfo/Reference/DigestValue", "./Signature/SignedInfo/Reference/Transforms",
		"./Signature/SignedInfo/Reference/Transforms/Transform", "./Signature/SignedInfo/SignatureMethod"} {
		root := document(t, made(t, nil))
		e := root.FindElement(path)
		e.Parent().InsertChildAt(e.Index(), e.Copy())
		refused(t, path+" twice", written(t, root))
		root = document(t, made(t, nil))
		e = root.FindElement(path)
		e.Parent().RemoveChild(e)
		refused(t, path+" missing", written(t, root))
	}
}

// TestSAMLComment: a comment, which the canonical form leaves out, cuts no name in
// two: ann@example.com<!---->.evil.example is not ann@example.com, nor anybody.
func TestSAMLComment(t *testing.T) {
	signed := made(t, func(a *sign.Assertion) { a.Subject = "ann@example.com.evil.example" })
	_, public, _ := texts(t, "RS256")
	if _, err := sign.CheckSAML(signed, "RS256", public); err != nil {
		t.Fatal(err)
	}
	for _, inside := range []string{"<!---->", "<?a b?>", "<!-- x -->"} {
		text := strings.Replace(signed, "ann@example.com.evil", "ann@example.com"+inside+".evil", 1)
		refused(t, inside, text)
		if _, err := sign.OpenSAML(text); err == nil {
			t.Errorf("%s: opened", inside)
		}
	}
	for _, place := range []string{"<saml2:Subject>", "</saml2:Subject>", "<ds:SignatureValue>", "<ds:DigestValue>", "<saml2:Audience>"} {
		refused(t, "a comment at "+place, strings.Replace(signed, place, place+"<!--x-->", 1))
	}
	refused(t, "a comment before the root", "<!--x-->"+signed)
	refused(t, "a comment behind the root", signed+"<!--x-->")
}

// TestSAMLEntities: no document type declaration, so no entities: neither those that
// name a file, nor those that grow.
func TestSAMLEntities(t *testing.T) {
	good := made(t, nil)
	var lol strings.Builder
	lol.WriteString(`<!DOCTYPE a [<!ENTITY l0 "lol">`)
	for i := range 9 {
		next, now := string(rune('1'+i)), string(rune('0'+i))
		lol.WriteString(`<!ENTITY l` + next + ` "` + strings.Repeat("&l"+now+";", 10) + `">`)
	}
	lol.WriteString("]>")
	for name, text := range map[string]string{
		"a DOCTYPE":          "<!DOCTYPE a>" + good,
		"an external entity": `<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + strings.Replace(good, "ann ", "&x;", 1),
		"a billion laughs":   lol.String() + strings.Replace(good, "ann ", "&l9;", 1),
		"an entity alone":    strings.Replace(good, "ann ", "&x;", 1),
		"a DOCTYPE inside":   strings.Replace(good, "<saml2:Subject>", "<!DOCTYPE a><saml2:Subject>", 1),
	} {
		refused(t, name, text)
		if _, err := sign.OpenSAML(text); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestSAMLBounds: nobody makes a server work long.
func TestSAMLBounds(t *testing.T) {
	good := made(t, nil)
	wide := func(what string, n int) string {
		return strings.Replace(good, "<saml2:AttributeStatement>", "<saml2:AttributeStatement>"+strings.Repeat(what, n), 1)
	}
	names := ""
	for i := range 40 {
		names += ` xmlns:n` + string(rune('a'+i%26)) + string(rune('a'+i/26)) + `="x"`
	}
	for name, text := range map[string]string{
		"long":            wide("<a/>", 20_000),
		"many elements":   wide("<a/>", 1000),
		"deep":            strings.Replace(good, "<saml2:Subject>", strings.Repeat("<a>", 2000)+"<saml2:Subject>", 1),
		"deep and closed": strings.Repeat("<a>", 100) + good + strings.Repeat("</a>", 100),
		"many names":      strings.Replace(good, "<saml2:Subject>", "<saml2:Subject"+names+">", 1),
	} {
		refused(t, name, text)
		if _, err := sign.OpenSAML(text); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// TestSAMLForms: what is signed by the right key and does not say what it has to is
// refused.
func TestSAMLForms(t *testing.T) {
	set := func(path, attr, text string) func(*etree.Element) {
		return func(root *etree.Element) { root.FindElement(path).CreateAttr(attr, text) }
	}
	twice := func(path string) func(*etree.Element) {
		return func(root *etree.Element) {
			e := root.FindElement(path)
			e.Parent().InsertChildAt(e.Index(), e.Copy())
		}
	}
	drop := func(path string) func(*etree.Element) {
		return func(root *etree.Element) { e := root.FindElement(path); e.Parent().RemoveChild(e) }
	}
	unset := func(path, attr string) func(*etree.Element) {
		return func(root *etree.Element) { root.FindElement(path).RemoveAttr(attr) }
	}
	const data = "./Subject/SubjectConfirmation/SubjectConfirmationData"
	for name, change := range map[string]func(*etree.Element){
		"another version":    set(".", "Version", "1.1"),
		"an ID that is none": set(".", "ID", "a b"),
		"a root of another schema": func(root *etree.Element) {
			root.CreateAttr("xmlns:x", "urn:x")
			root.Space = "x"
		},
		"no moment of issue":         unset(".", "IssueInstant"),
		"an attribute of its own":    set(".", "id", "_4f2e"),
		"no issuer":                  drop("./Issuer"),
		"two issuers":                twice("./Issuer"),
		"an issuer that is a user":   set("./Issuer", "Format", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"),
		"no subject":                 drop("./Subject"),
		"two subjects":               twice("./Subject"),
		"two names":                  twice("./Subject/NameID"),
		"a name of another place":    set("./Subject/NameID", "NameQualifier", "evil.example"),
		"no confirmation":            drop("./Subject/SubjectConfirmation"),
		"two confirmations":          twice("./Subject/SubjectConfirmation"),
		"holder of key":              set("./Subject/SubjectConfirmation", "Method", "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"),
		"no data":                    drop(data),
		"no recipient":               unset(data, "Recipient"),
		"in response to somebody":    set(data, "InResponseTo", "_1"),
		"no conditions":              drop("./Conditions"),
		"two conditions":             twice("./Conditions"),
		"no audience":                drop("./Conditions/AudienceRestriction"),
		"two restrictions":           twice("./Conditions/AudienceRestriction"),
		"two audiences":              twice("./Conditions/AudienceRestriction/Audience"),
		"a condition that is new":    func(root *etree.Element) { root.FindElement("./Conditions").CreateElement("saml2:OneTimeUse") },
		"an attribute twice":         twice("./AttributeStatement/Attribute"),
		"an attribute without name":  unset("./AttributeStatement/Attribute", "Name"),
		"a moment with a zone":       set("./Conditions", "NotOnOrAfter", "2030-01-31T13:00:00+01:00"),
		"a moment that is none":      set(data, "NotOnOrAfter", "soon"),
		"text between elements":      func(root *etree.Element) { root.FindElement("./Subject").CreateText("mallory") },
		"a name in parts":            func(root *etree.Element) { root.FindElement("./Subject/NameID").CreateElement("b").SetText("x") },
		"a name with a blank":        func(root *etree.Element) { root.FindElement("./Subject/NameID").SetText(" ann") },
		"a name with a line":         func(root *etree.Element) { root.FindElement("./Subject/NameID").SetText("ann\nx") },
		"no name":                    func(root *etree.Element) { root.FindElement("./Subject/NameID").SetText("") },
		"elements of another schema": func(root *etree.Element) { root.FindElement("./Subject").CreateAttr("xmlns:saml2", "urn:x") },
		"it never ends": func(root *etree.Element) {
			root.FindElement("./Conditions").RemoveAttr("NotOnOrAfter")
			root.FindElement(data).RemoveAttr("NotOnOrAfter")
		},
	} {
		refused(t, name, resigning{change: change}.text(t))
	}
}

// TestSAMLAttributeTwice: the same attribute twice in one element, of which readers
// take either.
func TestSAMLAttributeTwice(t *testing.T) {
	refused(t, "an ID twice", strings.Replace(made(t, nil), `ID="_4f2e"`, `ID="_evil" ID="_4f2e"`, 1))
}

// TestSAMLMoments: the narrowest window counts.
func TestSAMLMoments(t *testing.T) {
	_, public, _ := texts(t, "RS256")
	text := resigning{change: func(root *etree.Element) {
		root.FindElement("./Conditions").CreateAttr("NotOnOrAfter", "2030-01-31T12:07:00Z")
		root.FindElement("./Conditions").CreateAttr("NotBefore", "2030-01-31T11:00:00Z")
		root.FindElement("./Subject/SubjectConfirmation/SubjectConfirmationData").CreateAttr("NotOnOrAfter", "2030-01-31T12:05:00.5Z")
		root.FindElement("./Subject/SubjectConfirmation/SubjectConfirmationData").CreateAttr("NotBefore", "2030-01-31T11:30:00Z")
		root.FindElement("./AuthnStatement").CreateAttr("AuthnInstant", "2030-01-31T12:01:00Z")
		root.FindElement("./AuthnStatement").CreateAttr("SessionNotOnOrAfter", "2030-01-31T12:04:00Z")
	}}.text(t)
	a, err := sign.CheckSAML(text, "RS256", public)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ got, want time.Time }{
		"issued": {a.Issued, samlNow.Add(time.Minute)}, "not before": {a.NotBefore, samlNow.Add(-30 * time.Minute)},
		"not on or after": {a.NotOnOrAfter, samlNow.Add(4 * time.Minute)},
	} {
		if !c.got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

// TestSAMLOneForm: a signature has one text. Bits that its base64 does not need are
// not for anybody to choose.
func TestSAMLOneForm(t *testing.T) {
	text := made(t, nil)
	end := strings.Index(text, "==</ds:SignatureValue>")
	if end < 0 {
		t.Fatal("the signature has no spare bits")
	}
	refused(t, "spare bits", text[:end-1]+string(text[end-1]+1)+text[end:])
}

// TestSAMLEveryByte: a change of any byte of an assertion is seen, or says the same.
func TestSAMLEveryByte(t *testing.T) {
	private, _, _ := texts(t, "RS256")
	certificate := certificatePEM(t, private)
	text, err := sign.MakeSAML("RS256", private, certificate, anAssertion())
	if err != nil {
		t.Fatal(err)
	}
	want, err := sign.CheckSAML(text, "RS256", private, certificate)
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		if c := text[i]; c == ' ' || c == '\n' {
			continue
		}
		changed := text[:i] + string(text[i]^1) + text[i+1:]
		if got, err := sign.CheckSAML(changed, "RS256", private, certificate); err == nil && got.Subject != want.Subject {
			t.Errorf("byte %d: believed as %s", i, got.Subject)
		} else if err == nil && !strings.Contains(text[max(0, i-40):i+40], "ds:KeyInfo") {
			t.Errorf("a change of byte %d is not seen: %s", i, changed[max(0, i-40):i+40])
		}
	}
}

// FuzzOpenSAML: whatever comes in, the readers do not panic, and what is believed
// was signed.
func FuzzOpenSAML(f *testing.F) {
	f.Add(made(f, nil))
	f.Add(resigning{foreign: true}.text(f))
	f.Add(resigning{canonicalizer: dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("xs")}.text(f))
	f.Add(`<Assertion xmlns="urn:oasis:names:tc:SAML:2.0:assertion" ID="a" Version="2.0"/>`)
	_, public, _ := texts(f, "RS256")
	f.Fuzz(func(t *testing.T, text string) {
		opened, err := sign.OpenSAML(text)
		checked, wrong := sign.CheckSAML(text, "RS256", public)
		if wrong == nil && (err != nil || opened.Subject != checked.Subject || opened.Issuer != checked.Issuer || checked.Subject == "mallory") {
			t.Errorf("%v, %v, %v", opened, checked, err)
		}
	})
}
