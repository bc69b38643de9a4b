package dialect_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
	"github.com/jetonhq/jeton/dialect/sign"
)

const samlSource = `dialect: x
vars: {certificate: ~, use_username: ~}
let:
  assertion:
    saml: {issuer: $client_id, subject: $username, audience: www.x.example, recipient: "https://$host/oauth/token", attributes: {api_key: $client_id, use_username: $use_username}}
    key: $private_key
    cert: $certificate
    lifetime: 10m
token:
  POST: https://$host/oauth/token
  form: {grant_type: "urn:ietf:params:oauth:grant-type:saml2-bearer", client_id: $client_id, assertion: $base64($assertion)}
`

func parsed(t testing.TB, source string) *dialect.Dialect {
	t.Helper()
	d, err := dialect.Parse("x.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func samlAccount() jeton.Vars {
	return jeton.Vars{"client_id": "app", "username": "ann", "host": "api.x.example", "private_key": law.Key("RS256")}
}

// said is what a good client says at a moment.
func said(now time.Time) sign.Assertion {
	return sign.Assertion{
		ID: "_1", Issuer: "app", Subject: "ann", Audience: "www.x.example", Recipient: "https://api.x.example/oauth/token",
		Attributes: []sign.Attribute{{Name: "api_key", Value: "app"}, {Name: "groups", Value: "beside ours"}},
		Issued:     now, NotBefore: now.Add(-time.Minute), NotOnOrAfter: now.Add(10 * time.Minute),
	}
}

// sendSAML has a server read a login with an assertion, and prove it.
func sendSAML(d *dialect.Dialect, text string, account jeton.Vars, now time.Time) error {
	form := url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:saml2-bearer"}, "client_id": {"app"},
		"assertion": {base64.StdEncoding.EncodeToString([]byte(text))}, "private_key": {law.Key("RS256")}, "certificate": {law.Key("signing certificate")}}
	r := httptest.NewRequest(http.MethodPost, "/oauth/token", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	m, err := d.ReadRequest(r, []byte(form.Encode()))
	if err != nil {
		return err
	}
	for name, text := range m.Vars {
		if want, ok := account[name]; ok && want != text && name != "private_key" && name != "certificate" {
			return errors.New("$" + name + " is not the account's")
		}
	}
	return m.Prove(account, now)
}

// TestSAMLAssertion: what a client writes, a server reads, and each other thing that
// it could say is refused. Moments are those of the caller.
func TestSAMLAssertion(t *testing.T) {
	now := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	d := parsed(t, samlSource)
	shift := func(at *time.Time, by time.Duration) { *at = at.Add(by) }
	for name, c := range map[string]struct {
		change func(a *sign.Assertion)
		good   bool
	}{
		"as it should be":                         {func(*sign.Assertion) {}, true},
		"another issuer":                          {func(a *sign.Assertion) { a.Issuer = "app2" }, false},
		"another subject":                         {func(a *sign.Assertion) { a.Subject = "bob" }, false},
		"another audience":                        {func(a *sign.Assertion) { a.Audience = "www.y.example" }, false},
		"another recipient":                       {func(a *sign.Assertion) { a.Recipient = "https://api.y.example/oauth/token" }, false},
		"another place at the recipient":          {func(a *sign.Assertion) { a.Recipient = "https://api.x.example/oauth/token2" }, false},
		"another format":                          {func(a *sign.Assertion) { a.Format = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress" }, false},
		"no attribute":                            {func(a *sign.Assertion) { a.Attributes = nil }, false},
		"another attribute":                       {func(a *sign.Assertion) { a.Attributes[0].Value = "app2" }, false},
		"one more attribute, which may be absent": {func(a *sign.Assertion) { a.Attributes[1] = sign.Attribute{Name: "use_username", Value: "true"} }, true},
		"at its last moment":                      {func(a *sign.Assertion) { a.NotOnOrAfter = now.Add(time.Second) }, true},
		"expired at this moment":                  {func(a *sign.Assertion) { a.NotOnOrAfter = now }, false},
		"expired":                                 {func(a *sign.Assertion) { a.NotOnOrAfter = now.Add(-time.Second) }, false},
		"for a day":                               {func(a *sign.Assertion) { a.NotOnOrAfter = now.Add(24 * time.Hour) }, true},
		"for years":                               {func(a *sign.Assertion) { a.NotOnOrAfter = now.Add(365 * 24 * time.Hour) }, false},
		"from soon on":                            {func(a *sign.Assertion) { shift(&a.NotBefore, 6*time.Minute) }, true},
		"from later on":                           {func(a *sign.Assertion) { shift(&a.NotBefore, 6*time.Minute+time.Second) }, false},
		"issued soon":                             {func(a *sign.Assertion) { shift(&a.Issued, 5*time.Minute) }, true},
		"issued later":                            {func(a *sign.Assertion) { shift(&a.Issued, 5*time.Minute+time.Second) }, false},
	} {
		a := said(now)
		c.change(&a)
		text, err := sign.MakeSAML("RS256", law.Key("RS256"), "", a)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := sendSAML(d, text, samlAccount(), now); (err == nil) != c.good {
			t.Errorf("%s: %v", name, errors.Join(err, errors.Unwrap(err)))
		}
		if err := sendSAML(d, text, samlAccount(), now.Add(48*time.Hour)); err == nil && a.NotOnOrAfter.Before(now.Add(48*time.Hour)) {
			t.Errorf("%s: good for ever", name)
		}
	}
}

// TestSAMLKeys: what counts is the account's key, or its certificate, and never
// anything that the message brings: neither in the assertion nor beside it.
func TestSAMLKeys(t *testing.T) {
	now := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	d := parsed(t, samlSource)
	beside := parsed(t, strings.Replace(samlSource, "form: {", "form: {private_key: $private_key, certificate: $certificate, ", 1))
	text, err := sign.MakeSAML("RS256", law.Key("RS256"), law.Key("signing certificate"), said(now))
	if err != nil {
		t.Fatal(err)
	}
	key, certificate := law.Key("RS256"), law.Key("signing certificate")
	for name, c := range map[string]struct {
		key, certificate string
		good             bool
	}{
		"key and certificate":             {key, certificate, true},
		"the key alone":                   {key, "", true},
		"no key":                          {"", certificate, false},
		"the certificate in its place":    {certificate, certificate, true},
		"neither":                         {"", "", false},
		"another key":                     {law.Key("ES256"), certificate, false},
		"another certificate":             {key, law.Key("certificate"), false},
		"a certificate that is not there": {key, "-----BEGIN CERTIFICATE-----", false},
	} {
		account := samlAccount()
		account["private_key"], account["certificate"] = c.key, c.certificate
		for _, name := range []string{"private_key", "certificate"} {
			if account[name] == "" {
				delete(account, name)
			}
		}
		for where, d := range map[string]*dialect.Dialect{"": d, ", and both beside the assertion": beside} {
			if err := sendSAML(d, text, account, now); (err == nil) != c.good {
				t.Errorf("%s%s: %v", name, where, err)
			}
		}
	}
}

// TestSAMLHostile: what XML cannot carry is refused, by the name of its hole and
// without the value; everything else comes back.
func TestSAMLHostile(t *testing.T) {
	d := parsed(t, samlSource)
	for _, c := range []struct {
		text string
		good bool
	}{
		{`<&>'"`, true}, {"]]>", true}, {"<!--x-->", true}, {"&lt;", true}, {"日本語 🔑", true}, {"<?x?>", true}, {"a  b", true},
		{"secret\nline", false}, {"secret\r", false}, {"secret\ttab", false}, {"secret\x00", false}, {"secret\x1b", false}, {" secret", false}, {"secret ", false},
		{"secret\uffff", false}, {"secret\xff", false}, {"secret\ufffd", false},
	} {
		account := samlAccount()
		account["username"] = c.text
		r, err := d.WriteRequest(t.Context(), d.Login, nil, account)
		if !c.good {
			if err == nil || !strings.Contains(err.Error(), "$username") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", c.text, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		m, err := d.ReadRequest(r, body(t, r))
		if err != nil {
			t.Fatal(c.text, err)
		}
		if err := m.Prove(account, time.Now()); err != nil {
			t.Errorf("%q: %v", c.text, errors.Unwrap(err))
		}
		if m.Vars["username"] != c.text {
			t.Errorf("%q is read as %q", c.text, m.Vars["username"])
		}
	}
}

// TestSAMLNew: each assertion is a new one, with an ID of its own.
func TestSAMLNew(t *testing.T) {
	d := parsed(t, samlSource)
	seen := map[string]bool{}
	for range 3 {
		r, err := d.WriteRequest(t.Context(), d.Login, nil, samlAccount())
		if err != nil {
			t.Fatal(err)
		}
		m, err := d.ReadRequest(r, body(t, r))
		if err != nil {
			t.Fatal(err)
		}
		a, err := sign.OpenSAML(m.Vars["assertion"])
		if err != nil || seen[a.ID] || len(a.ID) < 30 {
			t.Errorf("%q, %v", a.ID, err)
		}
		seen[a.ID] = true
	}
}

// TestSAMLSketch: people see what the assertion says, and its key as the file has it.
func TestSAMLSketch(t *testing.T) {
	d := parsed(t, samlSource)
	got := d.SketchRequest(d.Login)
	want := `# $assertion is a SAML 2.0 assertion, signed by RS256 with $private_key, with the certificate $certificate in its KeyInfo:
#   <saml2:Assertion xmlns:saml2="urn:oasis:names:tc:SAML:2.0:assertion" ID="_$nonce()" IssueInstant="$now()" Version="2.0">
#     <saml2:Issuer>$client_id</saml2:Issuer>
#     <saml2:Subject>
#       <saml2:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified">$username</saml2:NameID>
#       <saml2:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
#         <saml2:SubjectConfirmationData NotOnOrAfter="$now(10m)" Recipient="https://$host/oauth/token"/>
#       </saml2:SubjectConfirmation>
#     </saml2:Subject>
#     <saml2:Conditions NotBefore="$now(-1m)" NotOnOrAfter="$now(10m)">
#       <saml2:AudienceRestriction>
#         <saml2:Audience>www.x.example</saml2:Audience>
#       </saml2:AudienceRestriction>
#     </saml2:Conditions>
#     <saml2:AuthnStatement AuthnInstant="$now()">
#       <saml2:AuthnContext>
#         <saml2:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml2:AuthnContextClassRef>
#       </saml2:AuthnContext>
#     </saml2:AuthnStatement>
#     <saml2:AttributeStatement>
#       <saml2:Attribute Name="api_key">
#         <saml2:AttributeValue>$client_id</saml2:AttributeValue>
#       </saml2:Attribute>
#       <saml2:Attribute Name="use_username">
#         <saml2:AttributeValue>$use_username</saml2:AttributeValue>
#       </saml2:Attribute>
#     </saml2:AttributeStatement>
#   </saml2:Assertion>
POST https://$host/oauth/token
Accept: application/json
Content-Type: application/x-www-form-urlencoded

grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Asaml2-bearer&client_id=$client_id&assertion=$base64($assertion)
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSAMLSent: whoever tries a dialect sees how long the assertion is, and nothing
// of it.
func TestSAMLSent(t *testing.T) {
	d := parsed(t, samlSource)
	sent, err := d.Sent(d.Login, samlAccount())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range sent {
		if f.Place == "form assertion" && (f.Want != "$base64($assertion)" || !strings.HasPrefix(f.Got, "(text of ")) {
			t.Errorf("%+v", f)
		}
	}
}

// TestSAMLRefused: what the loader says about a template that cannot be one.
func TestSAMLRefused(t *testing.T) {
	for from, c := range map[string]struct{ to, want string }{
		"issuer: $client_id, ":             {"", "the key issuer is missing"},
		"subject: $username, ":             {"", "the key subject is missing"},
		"audience: www.x.example, ":        {"", "the key audience is missing"},
		"recipient: ":                      {"recipent: ", `unknown key "recipent"; did you mean recipient?`},
		"    key: $private_key\n":          {"", "the key named key is missing"},
		"lifetime: 10m":                    {"alg: ES256", "unknown algorithm; did you mean RS256?"},
		"lifetime: 10":                     {"header: {kid: x}\n    lifetime: 10", `unknown key "header"`},
		"www.x.example":                    {`"www\nx"`, "a character that XML cannot carry"},
		"{api_key: ":                       {`{"a\tb": `, "a character that XML cannot carry"},
		"saml: {":                          {"saml: x\n    xml: {", "unknown key"},
		"issuer: $client_id":               {"issuer: $client_id$username", "no text between them"},
		"issuer: $client_id, s":            {`issuer: "", s`, "an empty value counts as absent"},
		"attributes: {api_key: $client_id": {"attributes: {api_key: ''", "an empty value counts as absent"},
	} {
		if !strings.Contains(samlSource, from) {
			t.Fatal(from)
		}
		_, err := dialect.Parse("x.yaml", []byte(strings.Replace(samlSource, from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "x.yaml:") {
			t.Errorf("%q: got %v, want %s", c.to, err, c.want)
		}
	}
	minted := "dialect: x\nlet:\n  inner: {saml: {issuer: a, subject: $username, audience: b, recipient: c}, key: $private_key}\n  access_token: $base64($inner)\ncall: https://x.example\n"
	if _, err := dialect.Parse("x.yaml", []byte(minted)); err == nil || !strings.Contains(err.Error(), "is to be exchanged for a token") {
		t.Errorf("a token that is an assertion: %v", err)
	}
}

func body(t *testing.T, r *http.Request) []byte {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
