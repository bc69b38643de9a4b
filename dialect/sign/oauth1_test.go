package sign_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton/dialect/sign"
)

// TestOAuth1Vectors has the signed requests of RFC 5849: the three of section
// 1.2, and that of section 3.1 whose signature erratum 2550 puts right.
func TestOAuth1Vectors(t *testing.T) {
	printer := sign.OAuth1{ConsumerKey: "dpf43f3p2l4k3l03", ConsumerSecret: "kd94hf93k423kf44", Realm: "Photos", Method: "HMAC-SHA1"}
	temporary, photos := printer, printer
	temporary.Token, temporary.TokenSecret = "hh5s93j4hdidpola", "hdhd0244k9j7ao03"
	photos.Token, photos.TokenSecret = "nnch734d00sl2jdk", "pfkkdhi9sl3r4s00"
	tests := map[string]struct {
		s            sign.OAuth1
		method, url  string
		form         string
		header       string
		seconds      int64
		alsoChanging string // of the header, to see that it is signed
	}{
		"initiate": {
			s: printer, method: "POST", url: "https://photos.example.net/initiate",
			header: `OAuth realm="Photos",
				oauth_consumer_key="dpf43f3p2l4k3l03", oauth_signature_method="HMAC-SHA1",
				oauth_timestamp="137131200", oauth_nonce="wIjqoS",
				oauth_callback="http%3A%2F%2Fprinter.example.com%2Fready",
				oauth_signature="74KNZJeDHnMBp0EMJ9ZHt%2FXKycU%3D"`,
			seconds: 137131200, alsoChanging: "ready",
		},
		"token": {
			s: temporary, method: "POST", url: "https://photos.example.net/token",
			header: `OAuth realm="Photos",
				oauth_consumer_key="dpf43f3p2l4k3l03", oauth_token="hh5s93j4hdidpola",
				oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201",
				oauth_nonce="walatlh", oauth_verifier="hfdp7dh39dks9884",
				oauth_signature="gKgrFCywp7rO0OXSjdot%2FIHF7IU%3D"`,
			seconds: 137131201, alsoChanging: "hfdp7dh39dks9884",
		},
		"photos": {
			s: photos, method: "GET", url: "http://photos.example.net/photos?file=vacation.jpg&size=original",
			header: `OAuth realm="Photos",
				oauth_consumer_key="dpf43f3p2l4k3l03", oauth_token="nnch734d00sl2jdk",
				oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131202",
				oauth_nonce="chapoH", oauth_signature="MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D"`,
			seconds: 137131202, alsoChanging: "chapoH",
		},
		"section 3.1": {
			s: sign.OAuth1{ConsumerKey: "9djdj82h48djs9d2", ConsumerSecret: "j49sk3j29djd",
				Token: "kkk9d7dh3k39sjv7", TokenSecret: "dh893hdasih9", Realm: "Example", Method: "HMAC-SHA1"},
			method: "POST", url: "http://example.com/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b", form: "c2&a3=2+q",
			header: `OAuth realm="Example",
				oauth_consumer_key="9djdj82h48djs9d2", oauth_token="kkk9d7dh3k39sjv7",
				oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131201",
				oauth_nonce="7d8f3e4a", oauth_signature="r6%2FTJjbCOr97%2F%2BUU0NsvSne7s5g%3D"`,
			seconds: 137131201, alsoChanging: "7d8f3e4a",
		},
	}
	for name, test := range tests {
		r := request(t, test.method, test.url, "")
		if test.form != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		header := strings.NewReplacer("\n", " ", "\t", "").Replace(test.header)
		r.Header.Set("Authorization", header)
		now := time.Unix(test.seconds, 0)
		if err := test.s.Check(r, []byte(test.form), now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// A plus that a client does not encode is a plus here, not a blank.
		r.Header.Set("Authorization", strings.ReplaceAll(header, "%2B", "+"))
		if err := test.s.Check(r, []byte(test.form), now); err != nil {
			t.Errorf("%s, with a plus: %v", name, err)
		}
		r.Header.Set("Authorization", strings.Replace(header, test.alsoChanging, "x"+test.alsoChanging, 1))
		if test.s.Check(r, []byte(test.form), now) == nil {
			t.Errorf("%s: another %s is taken", name, test.alsoChanging)
		}
	}
}

// TestOAuth1NetSuite has the example of NetSuite's page on the signature for
// RESTlets, whose credentials are published there.
func TestOAuth1NetSuite(t *testing.T) {
	s := sign.OAuth1{
		ConsumerKey:    "ef40afdd8abaac111b13825dd5e5e2ddddb44f86d5a0dd6dcf38c20aae6b67e4",
		ConsumerSecret: "d26ad321a4b2f23b0741c8d38392ce01c3e23e109df6c96eac6d099e9ab9e8b5",
		Token:          "2b0ce516420110bcbd36b69e99196d1b7f6de3c6234c5afb799b73d87569f5cc",
		TokenSecret:    "c29a677df7d5439a458c063654187e3d678d73aca8e3c9d8bea1478a3eb0d295",
		Realm:          "123456",
	}
	r := request(t, "POST", "https://123456.restlets.api.netsuite.com/app/site/hosting/restlet.nl?script=6&deploy=1&customParam=someValue&testParam=someOtherValue", "")
	r.Header.Set("Authorization", `OAuth realm="123456", oauth_consumer_key="`+s.ConsumerKey+`", oauth_token="`+s.Token+`", `+
		`oauth_nonce="fjaLirsIcCGVZWzBX0pg", oauth_timestamp="1508242306", oauth_signature_method="HMAC-SHA256", oauth_version="1.0", `+
		`oauth_signature="%2BKK4SKNgz4ZiILGLwOMtfYlgcXSy1eis8ldE9X90azQ%3D"`)
	if err := s.Check(r, nil, time.Unix(1508242306, 0)); err != nil {
		t.Error(err)
	}
}

// TestOAuth1BaseURI has pairs of URLs that are the same where it is signed
// (RFC 5849 section 3.4.1.2), and some that are not.
func TestOAuth1BaseURI(t *testing.T) {
	tests := []struct {
		signed, checked string
		same            bool
	}{
		{"https://API.Example/x", "https://api.example/x", true},
		{"https://api.example:443/x", "https://api.example/x", true},
		{"http://api.example:80/x", "http://api.example/x", true},
		{"HTTPS://api.example", "https://api.example/", true},
		{"https://api.example:80/x", "https://api.example/x", false},
		{"http://api.example:443/x", "http://api.example/x", false},
		{"https://api.example:8443/x", "https://api.example/x", false},
		{"http://api.example/x", "https://api.example/x", false},
		{"https://api.example/X", "https://api.example/x", false},
		{"https://api.example/a%2Fb", "https://api.example/a/b", false},
	}
	for _, test := range tests {
		r := request(t, "GET", test.signed, "")
		if err := netsuite.Sign(r, nil, day); err != nil {
			t.Fatal(err)
		}
		received := request(t, "GET", test.checked, "")
		received.Header = r.Header
		if err := netsuite.Check(received, nil, day); (err == nil) != test.same {
			t.Errorf("%s as %s: %v", test.signed, test.checked, err)
		}
	}
}

// TestOAuth1Unsaid refuses signatures that are good and say something else
// than they are to say.
func TestOAuth1Unsaid(t *testing.T) {
	good := map[string]string{"oauth_consumer_key": "key", "oauth_signature_method": "HMAC-SHA256", "oauth_timestamp": "1440938160", "oauth_nonce": "nonce"}
	s := sign.OAuth1{ConsumerKey: "key", ConsumerSecret: "secret"}
	tests := []struct {
		name, value string // what differs
		query       string
		want        string // of the error; empty: taken
	}{
		{},
		{name: "oauth_version", value: "1.0"},
		{name: "oauth_body_hash", value: "of an extension"},
		{name: "oauth_version", value: "2.0", want: "oauth_version 1.0"},
		{name: "oauth_nonce", want: "oauth_nonce"},
		{name: "oauth_signature_method", value: "HMAC-SHA512", want: "oauth_signature_method"},
		{name: "oauth_consumer_key", value: "other", want: "consumer key"},
		{name: "oauth_token", value: "other", want: "token"},
		{name: "oauth_timestamp", value: "0x55e2f6f0", want: "number"},
		{name: "oauth_timestamp", value: "-1440938160", want: "number"},
		{name: "%72ealm", value: "other", want: "form"},
		{query: "oauth_callback=x", want: "outside"},
	}
	for _, test := range tests {
		params := maps.Clone(good)
		if test.name != "" {
			params[test.name] = test.value
		}
		header, pairs := "OAuth ", []string{}
		for name, value := range params {
			header += name + `="` + url.QueryEscape(value) + `",`
			pairs = append(pairs, name+"="+strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
		}
		if test.query != "" {
			pairs = append(pairs, test.query)
		}
		slices.Sort(pairs) // no name here begins another
		h := hmac.New(sha256.New, []byte("secret&"))
		h.Write([]byte("GET&https%3A%2F%2Fapi.example%2F&" + url.QueryEscape(strings.Join(pairs, "&"))))
		r := request(t, "GET", "https://api.example/?"+test.query, "")
		r.Header.Set("Authorization", strings.ReplaceAll(header, "+", "%20")+
			`oauth_signature="`+url.QueryEscape(base64.StdEncoding.EncodeToString(h.Sum(nil)))+`"`)
		err := s.Check(r, nil, day)
		if taken := err == nil; taken != (test.want == "") || !taken && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s=%s?%s: %v, want %q", test.name, test.value, test.query, err, test.want)
		}
	}
}

// netsuite has the form of the credentials on NetSuite's page on token-based
// authentication.
var netsuite = sign.OAuth1{
	ConsumerKey: "ef40afdd8abaac11", ConsumerSecret: "d26ad321a4b2 &=+%\"é/:", Realm: "1234567_SB1",
	Token: "2b0ce516420110bc", TokenSecret: "c29a677df7d5&439a",
}

func signedOAuth1(t testing.TB, s sign.OAuth1, now time.Time) (*http.Request, []byte) {
	t.Helper()
	r := request(t, "POST", "https://1234567-sb1.restlets.api.netsuite.com/app/site/hosting/restlet.nl?script=6&deploy=1", "")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	body := []byte("a=1&b=2+3")
	if err := s.Sign(r, body, now); err != nil {
		t.Fatal(err)
	}
	received, body := wire(t, r, body)
	received.TLS = &tls.ConnectionState{}
	return received, body
}

func TestOAuth1RoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("aZ0-._~ &=+%\"\\é/:;?#$,!'()*@[]{}<>|^`")))
		some := rapid.StringMatching(`[!-~é ]+`)
		s := sign.OAuth1{ConsumerKey: some.Draw(rt, "key"), ConsumerSecret: some.Draw(rt, "secret"),
			Realm:  rapid.SampledFrom([]string{"", "123456_SB1", "https://api.example/ a,b=c%20"}).Draw(rt, "realm"),
			Method: rapid.SampledFrom([]string{"", "HMAC-SHA256", "HMAC-SHA1"}).Draw(rt, "method")}
		if rapid.Bool().Draw(rt, "with token") {
			s.Token, s.TokenSecret = some.Draw(rt, "token"), text.Draw(rt, "token secret")
		}
		u := url.URL{Scheme: rapid.SampledFrom([]string{"http", "https"}).Draw(rt, "scheme"),
			Host: rapid.SampledFrom([]string{"API.example", "api.example:8443", "api.example:443", "api.example:80"}).Draw(rt, "host"),
			Path: "/" + text.Draw(rt, "path"), RawQuery: url.Values{text.Draw(rt, "name"): {text.Draw(rt, "value"), "b-", "b/"}}.Encode()}
		r, err := http.NewRequest("POST", u.String(), nil)
		if err != nil {
			rt.Fatal(err)
		}
		body := []byte(text.Draw(rt, "body"))
		form := rapid.Bool().Draw(rt, "form")
		if form {
			body = []byte(url.Values{"x": {string(body)}}.Encode())
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if err := s.Sign(r, body, day); err != nil {
			rt.Fatal(err)
		}
		received, b := wire(t, r, body)
		if u.Scheme == "https" {
			received.TLS = &tls.ConnectionState{}
		}
		if err := s.Check(received, b, day); err != nil {
			rt.Fatalf("%s: %v", &u, err)
		}
		key, token, realm, ok := sign.OAuth1Identity(received)
		if key != s.ConsumerKey || token != s.Token || realm != s.Realm || !ok {
			rt.Fatalf("identity %q %q %q %v", key, token, realm, ok)
		}
		if form && s.Check(received, append(b, '1'), day) == nil {
			rt.Fatal("another form is taken")
		}
	})
}

// TestOAuth1Forged changes one thing of a good request after another.
func TestOAuth1Forged(t *testing.T) {
	replace := func(old, new string) func(*http.Request) {
		return func(r *http.Request) {
			before := r.Header.Get("Authorization")
			after := strings.Replace(before, old, new, 1)
			if after == before {
				t.Errorf("%q is not in the header", old)
			}
			r.Header.Set("Authorization", after)
		}
	}
	tests := map[string]func(r *http.Request){
		"method":              func(r *http.Request) { r.Method = "PUT" },
		"host":                func(r *http.Request) { r.Host = "other.example" },
		"port":                func(r *http.Request) { r.Host += ":8443" },
		"scheme":              func(r *http.Request) { r.TLS = nil },
		"path":                func(r *http.Request) { r.URL.Path += "x" },
		"query value":         func(r *http.Request) { r.URL.RawQuery = "script=7&deploy=1" },
		"query on top":        func(r *http.Request) { r.URL.RawQuery += "&deploy=2" },
		"query that is none":  func(r *http.Request) { r.URL.RawQuery += "&a=%zz" },
		"query with oauth_":   func(r *http.Request) { r.URL.RawQuery += "&oauth_token=else" },
		"kind of body":        func(r *http.Request) { r.Header.Set("Content-Type", "application/json") },
		"consumer key":        replace(netsuite.ConsumerKey, "else"),
		"token":               replace(netsuite.Token, "else"),
		"no token":            replace(`oauth_token="`+netsuite.Token+`", `, ""),
		"realm":               replace("_SB1", "_SB2"),
		"no realm":            replace(`realm="1234567_SB1", `, ""),
		"signature method":    replace("HMAC-SHA256", "HMAC-SHA1"),
		"plain text":          replace("HMAC-SHA256", "PLAINTEXT"),
		"version":             replace(`oauth_version="1.0"`, `oauth_version="2.0"`),
		"timestamp":           replace(`oauth_timestamp="1440938160"`, `oauth_timestamp="1440938161"`),
		"timestamp of a form": replace(`oauth_timestamp="1440938160"`, `oauth_timestamp="+1440938160"`),
		"nonce":               replace(`oauth_nonce="`, `oauth_nonce="A`),
		"no nonce":            replace(`oauth_nonce=`, `oauth_no=`),
		"signature":           replace(`oauth_signature="`, `oauth_signature="AAAA`),
		"signature of a form": replace(`%3D"`, `"`),
		"signature's last bits": func(r *http.Request) {
			const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
			a := r.Header.Get("Authorization")
			last := len(a) - len(`0%3D"`)
			r.Header.Set("Authorization", a[:last]+digits[strings.IndexByte(digits, a[last])+1:][:1]+a[last+1:])
		},
		"no signature":         replace(`oauth_signature=`, `oauth_sign=`),
		"a parameter on top":   replace(`oauth_nonce`, `oauth_verifier="x", oauth_nonce`),
		"a parameter twice":    replace(`oauth_nonce`, `oauth_token="`+netsuite.Token+`", oauth_nonce`),
		"a realm twice":        replace(`oauth_nonce`, `realm="1234567_SB1", oauth_nonce`),
		"a realm in disguise":  replace(`oauth_nonce`, `%72ealm="1234567_SB1", oauth_nonce`),
		"a name in disguise":   replace(`oauth_nonce`, `oauth%5Ftoken="`+netsuite.Token+`", oauth_nonce`),
		"another scheme":       replace("OAuth ", "Bearer "),
		"no quotes":            replace(`oauth_version="1.0"`, `oauth_version=1.0`),
		"bad encoding":         replace(`oauth_nonce="`, `oauth_nonce="%zz`),
		"a comma at the end":   func(r *http.Request) { r.Header.Set("Authorization", r.Header.Get("Authorization")+",") },
		"more at the end":      func(r *http.Request) { r.Header.Set("Authorization", r.Header.Get("Authorization")+" x") },
		"no Authorization":     func(r *http.Request) { r.Header.Del("Authorization") },
		"two Authorizations":   func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) },
		"empty Authorizations": func(r *http.Request) { r.Header.Set("Authorization", "OAuth ") },
	}
	for name, change := range tests {
		r, body := signedOAuth1(t, netsuite, day)
		if err := netsuite.Check(r, body, day); err != nil {
			t.Fatal(err)
		}
		change(r)
		if err := netsuite.Check(r, body, day); err == nil {
			t.Errorf("another %s is taken", name)
		}
	}
	r, body := signedOAuth1(t, netsuite, day)
	for _, other := range []string{"", "a=1", "a=1&b=2+4", "a=1&b=2+3&c", "a=1&b=2+3&oauth_nonce=x", "a=%zz"} {
		if netsuite.Check(r, []byte(other), day) == nil {
			t.Errorf("the form %q is taken", other)
		}
	}
	for name, change := range map[string]func(s *sign.OAuth1){
		"consumer secret":    func(s *sign.OAuth1) { s.ConsumerSecret = "else" },
		"token secret":       func(s *sign.OAuth1) { s.TokenSecret = "else" },
		"no consumer secret": func(s *sign.OAuth1) { s.ConsumerSecret = "" },
		"no token secret":    func(s *sign.OAuth1) { s.TokenSecret = "" },
		"no token":           func(s *sign.OAuth1) { s.Token = "" },
		"method":             func(s *sign.OAuth1) { s.Method = "HMAC-SHA1" },
	} {
		s := netsuite
		change(&s)
		if s.Check(r, body, day) == nil {
			t.Errorf("with another %s the request is taken", name)
		}
	}
}

func TestOAuth1Stale(t *testing.T) {
	stale(t, 5*time.Minute, func(t *testing.T, at time.Time) (*http.Request, []byte) { return signedOAuth1(t, netsuite, at) }, netsuite.Check)
}

// TestOAuth1Nonce says that no two requests are signed alike.
func TestOAuth1Nonce(t *testing.T) {
	one, _ := signedOAuth1(t, netsuite, day)
	two, _ := signedOAuth1(t, netsuite, day)
	if one.Header.Get("Authorization") == two.Header.Get("Authorization") {
		t.Error("two requests have one nonce")
	}
}

func TestOAuth1Refuses(t *testing.T) {
	r := request(t, "GET", "https://api.example/", "")
	for name, s := range map[string]sign.OAuth1{
		"nothing":                {},
		"no secret":              {ConsumerKey: "k"},
		"no key":                 {ConsumerSecret: "s"},
		"a method":               {ConsumerKey: "k", ConsumerSecret: "s", Method: "PLAINTEXT"},
		"a realm with a quote":   {ConsumerKey: "k", ConsumerSecret: "s", Realm: `a"b`},
		"a realm with a newline": {ConsumerKey: "k", ConsumerSecret: "s", Realm: "a\r\nb"},
	} {
		if s.Sign(r, nil, day) == nil {
			t.Errorf("%s: signed", name)
		}
		if s.Check(r, nil, day) == nil {
			t.Errorf("%s: checked", name)
		}
	}
	r.URL.RawQuery = "oauth_nonce=1"
	if netsuite.Sign(r, nil, day) == nil {
		t.Error("signed with a parameter oauth_* in the query")
	}
	if _, _, _, ok := sign.OAuth1Identity(r); ok {
		t.Error("who a request without Authorization is from")
	}
}

// FuzzOAuth1Authorization looks for a header that breaks the reader, or that is
// taken though the client did not write what it says.
//
// The good one is that of RFC 5849 section 1.2: processes share what is found,
// and a nonce of its own each would make it another request.
func FuzzOAuth1Authorization(f *testing.F) {
	photos := sign.OAuth1{ConsumerKey: "dpf43f3p2l4k3l03", ConsumerSecret: "kd94hf93k423kf44",
		Token: "nnch734d00sl2jdk", TokenSecret: "pfkkdhi9sl3r4s00", Realm: "Photos", Method: "HMAC-SHA1"}
	good := `OAuth realm="Photos", oauth_consumer_key="dpf43f3p2l4k3l03", oauth_token="nnch734d00sl2jdk", ` +
		`oauth_signature_method="HMAC-SHA1", oauth_timestamp="137131202", ` +
		`oauth_nonce="chapoH", oauth_signature="MdpQcU8iPSUjWoN%2FUDMsK2sui9I%3D"`
	r := request(f, "GET", "http://photos.example.net/photos?file=vacation.jpg&size=original", "")
	now := time.Unix(137131202, 0)
	f.Add(good)
	f.Add(`OAuth realm="",oauth_consumer_key="%zz"`)
	f.Add(`oauth a="b" , c="d"`)
	f.Fuzz(func(t *testing.T, authorization string) {
		r := r.Clone(t.Context())
		r.Header.Set("Authorization", authorization)
		key, _, _, ok := sign.OAuth1Identity(r)
		if ok && key == "" {
			t.Fatal("from nobody")
		}
		if err := photos.Check(r, nil, now); err == nil {
			plain, err := url.PathUnescape(authorization)
			if err != nil || !ok || !strings.Contains(plain, "MdpQcU8iPSUjWoN/UDMsK2sui9I=") || !strings.Contains(plain, "chapoH") {
				t.Fatalf("taken: %q", authorization)
			}
		}
	})
}
