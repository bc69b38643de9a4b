package sign_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton/dialect/sign"
)

var samlNow = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)

// anAssertion is one with values that break whoever quotes by hand.
func anAssertion() sign.Assertion {
	return sign.Assertion{
		ID: "_4f2e", Issuer: "client <1>", Subject: `ann & "bob" 'x' ]]> &lt;`, Format: sign.Unspecified,
		Audience: "www.example.com", Recipient: `https://api.example/oauth/token?a=1&b="2"'`,
		Attributes: []sign.Attribute{{"api_key", "k<&>'\""}, {`"na&me"`, "日本語 🔑"}},
		Issued:     samlNow, NotBefore: samlNow.Add(-time.Minute), NotOnOrAfter: samlNow.Add(10 * time.Minute),
	}
}

// made returns an assertion that the first key of the kind has signed.
func made(t testing.TB, change func(*sign.Assertion)) string {
	t.Helper()
	a := anAssertion()
	if change != nil {
		change(&a)
	}
	private, _, _ := texts(t, "RS256")
	text, err := sign.MakeSAML("RS256", private, "", a)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSAML signs by every alg, opens what came out, and checks it with either half
// of the key.
func TestSAML(t *testing.T) {
	for _, alg := range sign.SAMLAlgs {
		private, public, foreign := texts(t, alg)
		own := certificatePEM(t, private)
		for _, certificate := range []string{"", own} {
			text, err := sign.MakeSAML(alg, private, certificate, anAssertion())
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			if strings.Contains(text, "KeyInfo") != (certificate != "") {
				t.Errorf("%s: a certificate goes along that nobody gave, or none does", alg)
			}
			opened, err := sign.OpenSAML(text)
			if diff := cmp.Diff(anAssertion(), opened); err != nil || diff != "" {
				t.Errorf("%s: opened: %v\n%s", alg, err, diff)
			}
			for _, keys := range [][]string{{private}, {public}, {private, own}, {own}} {
				checked, err := sign.CheckSAML(text, alg, keys...)
				if diff := cmp.Diff(anAssertion(), checked); err != nil || diff != "" {
					t.Errorf("%s: checked: %v\n%s", alg, err, diff)
				}
			}
			for _, keys := range [][]string{{foreign}, {private, foreign}, {own, foreign}, {foreign, private}, {}, {""}} {
				if _, err := sign.CheckSAML(text, alg, keys...); err == nil {
					t.Errorf("%s: believed of somebody else's key, or of none", alg)
				}
			}
			for _, other := range sign.SAMLAlgs {
				if _, err := sign.CheckSAML(text, other, public); (err == nil) != (other == alg) {
					t.Errorf("signed by %s, and checked by %s: %v", alg, other, err)
				}
			}
		}
	}
}

// TestSAMLOrder: elements stand as the schema has them.
func TestSAMLOrder(t *testing.T) {
	text, at := made(t, nil), 0
	for _, name := range []string{"<saml2:Assertion ", "<saml2:Issuer>", "<ds:Signature ", "<saml2:Subject>", "<saml2:NameID ", "<saml2:SubjectConfirmation ",
		"<saml2:SubjectConfirmationData ", "<saml2:Conditions ", "<saml2:AudienceRestriction>", "<saml2:AuthnStatement ", "<saml2:AttributeStatement>"} {
		i := strings.Index(text, name)
		if i < at || strings.Count(text, name) != 1 {
			t.Errorf("%s is missing, twice, or out of order in\n%s", name, text)
		}
		at = i
	}
}

// TestSAMLRefusesToWrite: what XML does not bring over unchanged is not written,
// and no error shows it.
func TestSAMLRefusesToWrite(t *testing.T) {
	private, public, foreign := texts(t, "RS256")
	ec, _, _ := texts(t, "ES256")
	for _, text := range []string{"a\x00secret", "a\x1bsecret", "line\nsecret", "line\rsecret", "tab\tsecret", " secret", "secret ", "\xffsecret", "secret\uffff",
		"secret\u0085x", "secret\x7fx", "secret\ufffdx", ""} {
		for _, change := range []func(a *sign.Assertion){
			func(a *sign.Assertion) { a.ID = text },
			func(a *sign.Assertion) { a.Issuer = text },
			func(a *sign.Assertion) { a.Subject = text },
			func(a *sign.Assertion) { a.Audience = text },
			func(a *sign.Assertion) { a.Recipient = text },
			func(a *sign.Assertion) { a.Attributes[1].Value = text },
			func(a *sign.Assertion) { a.Attributes[1].Name = text },
		} {
			a := anAssertion()
			change(&a)
			if _, err := sign.MakeSAML("RS256", private, "", a); err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
	long, twice := anAssertion(), anAssertion()
	long.Subject = strings.Repeat("x", 70_000)
	twice.Attributes[1].Name = "api_key"
	for name, c := range map[string]struct {
		alg, key, certificate string
		a                     sign.Assertion
	}{
		"longer than is read":        {"RS256", private, "", long},
		"an attribute twice":         {"RS256", private, "", twice},
		"another alg":                {"RS1", private, "", anAssertion()},
		"an EC key":                  {"RS256", ec, "", anAssertion()},
		"a public key":               {"RS256", public, "", anAssertion()},
		"no key":                     {"RS256", "", "", anAssertion()},
		"somebody's certificate":     {"RS256", private, foreignCertificate(t), anAssertion()},
		"a certificate that is none": {"RS256", private, foreign, anAssertion()},
	} {
		if _, err := sign.MakeSAML(c.alg, c.key, c.certificate, c.a); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestSAMLSketch: people see the assertion with texts in place of its moments.
func TestSAMLSketch(t *testing.T) {
	s := sign.SketchSAML(anAssertion(), "$now()", "$now(-60s)", "$now(10m)")
	for _, want := range []string{`IssueInstant="$now()"`, `NotBefore="$now(-60s)" NotOnOrAfter="$now(10m)"`, "\n  <saml2:Issuer>"} {
		if !strings.Contains(s, want) {
			t.Errorf("%s is not in\n%s", want, s)
		}
	}
}

// TestSAMLOfAnother: what xmlsec1 signed is believed. It is as SAP's own program
// writes it, by OpenSAML: an ID that begins with a digit, prefixes that the
// canonical form keeps, two statements of attributes, a certificate along. xmlsec1
// also verified what MakeSAML writes.
func TestSAMLOfAnother(t *testing.T) {
	text, err := os.ReadFile("testdata/xmlsec.xml")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := os.ReadFile("testdata/xmlsec.pem")
	if err != nil {
		t.Fatal(err)
	}
	got, err := sign.CheckSAML(string(text), "RS256", string(certificate))
	if err != nil {
		t.Fatal(err)
	}
	at := samlNow.Add(123 * time.Millisecond)
	want := sign.Assertion{
		ID: "9d0b6a7e-1c1f-4a52-8d26-0d6a3f7c1b11", Issuer: "www.successfactors.com", Subject: `ann & "bob" 'x' é`, Format: sign.Unspecified,
		Audience: "www.successfactors.com", Recipient: "https://api.example.com/oauth/token?a=1&b=2",
		Attributes: []sign.Attribute{{"api_key", "key-1"}, {"use_username", "true"}},
		Issued:     at, NotBefore: at.Add(-10 * time.Minute), NotOnOrAfter: at.Add(10 * time.Minute),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	_, public, _ := texts(t, "RS256")
	if _, err := sign.CheckSAML(string(text), "RS256", public); err == nil {
		t.Error("believed of another key, by the certificate that goes along")
	}
}
