package sign_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton/dialect/sign"
)

var (
	example = sign.AWS4{KeyID: "AKIDEXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", Region: "us-east-1", Service: "service"}
	day     = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
)

// TestAWS4Vectors has the documented requests: those of the Signature Version 4
// test suite, and the worked example of the IAM User Guide, ListUsers.
func TestAWS4Vectors(t *testing.T) {
	const letters = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	temporary := "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
	tests := []struct {
		name, method, target string
		headers              [][2]string
		session              string
		signature            string
	}{
		{name: "get-vanilla", target: "/",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "post-vanilla", method: "POST", target: "/",
			signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{name: "post-vanilla-query", method: "POST", target: "/?Param1=value1",
			signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
		{name: "get-vanilla-query-order-key-case", target: "/?Param2=value2&Param1=value1",
			signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{name: "get-vanilla-query-order-encoded", target: "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
			signature: "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
		{name: "get-vanilla-query-unreserved", target: "/?" + letters + "=" + letters,
			signature: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
		{name: "get-vanilla-utf8-query", target: "/?ሴ=bar",
			signature: "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		{name: "get-relative-relative-normalized", target: "/example1/example2/../..",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		{name: "get-slashes-normalized", target: "//example//",
			signature: "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		{name: "get-slash-pointless-dot-normalized", target: "/./example",
			signature: "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
		{name: "get-header-value-trim", target: "/", headers: [][2]string{{"My-Header1", " value1"}, {"My-Header2", ` "a   b   c"`}},
			signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{name: "get-header-value-order", target: "/",
			headers:   [][2]string{{"My-Header1", "value4"}, {"My-Header1", "value1"}, {"My-Header1", "value3"}, {"My-Header1", "value2"}},
			signature: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
		{name: "get-header-key-duplicate", target: "/",
			headers:   [][2]string{{"My-Header1", "value2"}, {"My-Header1", "value2"}, {"My-Header1", "value1"}},
			signature: "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{name: "post-header-key-sort", method: "POST", target: "/", headers: [][2]string{{"My-Header1", "value1"}},
			signature: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
		{name: "get-vanilla-with-session-token", target: "/", session: temporary,
			signature: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},
	}
	for _, test := range tests {
		r := request(t, test.method, "https://example.amazonaws.com"+test.target, "")
		for _, h := range test.headers {
			r.Header.Add(h[0], h[1])
		}
		s := example
		s.Session = test.session
		vector(t, test.name, s, r, nil, test.signature)
	}
	list := request(t, "GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", "")
	list.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	iam := example
	iam.Service = "iam"
	vector(t, "ListUsers", iam, list, nil, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
}

// TestAWS4VectorsS3 has the examples of the Amazon S3 API Reference,
// "Authenticating Requests: Using the Authorization Header".
func TestAWS4VectorsS3(t *testing.T) {
	s3 := sign.AWS4{KeyID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", Region: "us-east-1", Service: "s3"}
	friday := time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)

	get := request(t, "GET", "https://examplebucket.s3.amazonaws.com/test.txt", "")
	get.Header.Set("Range", "bytes=0-9")
	vectorAt(t, friday, "GET Object", s3, get, nil, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")

	put := request(t, "PUT", "https://examplebucket.s3.amazonaws.com/test$file.text", "")
	put.Header.Set("Date", "Fri, 24 May 2013 00:00:00 GMT")
	put.Header.Set("X-Amz-Storage-Class", "REDUCED_REDUNDANCY")
	vectorAt(t, friday, "PUT Object", s3, put, []byte("Welcome to Amazon S3."), "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")

	list := request(t, "GET", "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", "")
	vectorAt(t, friday, "GET Bucket", s3, list, nil, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
}

func vector(t *testing.T, name string, s sign.AWS4, r *http.Request, body []byte, signature string) {
	t.Helper()
	vectorAt(t, day, name, s, r, body, signature)
}

func vectorAt(t *testing.T, day time.Time, name string, s sign.AWS4, r *http.Request, body []byte, signature string) {
	t.Helper()
	target := r.URL.String()
	if err := s.Sign(r, body, day); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if r.URL.String() != target {
		t.Errorf("%s: the URL became %s", name, r.URL)
	}
	if _, got, _ := strings.Cut(r.Header.Get("Authorization"), "Signature="); got != signature {
		t.Errorf("%s: signature %s, want %s", name, got, signature)
	}
	received, b := wire(t, r, body)
	if err := s.Check(received, b, day); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// request makes a request as a client has it. The target goes in as it is,
// which http.NewRequest would refuse or rewrite for some vectors.
func request(t testing.TB, method, target, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wire writes a request as a client does and reads it as a server does.
func wire(t testing.TB, r *http.Request, body []byte) (*http.Request, []byte) {
	t.Helper()
	sent := r.Clone(t.Context())
	sent.Body, sent.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	var b bytes.Buffer
	if err := sent.Write(&b); err != nil {
		t.Fatal(err)
	}
	received, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(received.Body)
	if err != nil {
		t.Fatal(err)
	}
	return received, got
}

// TestAWS4RoundTrip has a server take what a client signed, whatever stands in
// the message: the one is written by AWS, the other here.
func TestAWS4RoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("aZ0-._~ &=+%\"\\é/:;?#$,!'()*@[]{}<>|^`")))
		s := example
		s.Service = rapid.SampledFrom([]string{"execute-api", "s3", "aoss"}).Draw(rt, "service")
		s.Session = rapid.SampledFrom([]string{"", "session/+="}).Draw(rt, "session")
		u := url.URL{Scheme: "https", Host: rapid.SampledFrom([]string{"api.example", "api.example:8443", "api.example:443"}).Draw(rt, "host"),
			Path: "/" + text.Draw(rt, "path"), RawQuery: url.Values{text.Draw(rt, "name"): {text.Draw(rt, "value"), "b-", "b/"}, "é": {""}}.Encode()}
		body := []byte(text.Draw(rt, "body"))
		r, err := http.NewRequest("PUT", u.String(), nil)
		if err != nil {
			rt.Fatal(err)
		}
		r.Header.Set("X-Other", "a  b "+s.Service)
		r.Header.Set("User-Agent", "test")
		if err := s.Sign(r, body, day); err != nil {
			rt.Fatal(err)
		}
		received, b := wire(t, r, body)
		if err := s.Check(received, b, day); err != nil {
			rt.Fatalf("%s: %v", &u, err)
		}
		received.URL.Path, received.URL.RawPath = received.URL.Path+"x", ""
		if s.Check(received, b, day) == nil {
			rt.Fatalf("%s: another path is taken", &u)
		}
	})
}

// signedAWS4 returns a request as a server reads it.
func signedAWS4(t testing.TB, s sign.AWS4, now time.Time) (*http.Request, []byte) {
	t.Helper()
	r := request(t, "POST", "https://api.example/v1/orders?limit=5&after=a%2Fb", "")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Amz-Target", "Orders.List")
	body := []byte(`{"state":"open"}`)
	if err := s.Sign(r, body, now); err != nil {
		t.Fatal(err)
	}
	return wire(t, r, body)
}

// TestAWS4Forged changes one thing of a good request after another.
func TestAWS4Forged(t *testing.T) {
	session := example
	session.Session = "session-token"
	replace := func(name, old, new string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, strings.Replace(r.Header.Get(name), old, new, 1)) }
	}
	const auth = "Authorization"
	tests := map[string]func(r *http.Request){
		"method":                    func(r *http.Request) { r.Method = "PUT" },
		"host":                      func(r *http.Request) { r.Host = "other.example" },
		"path":                      func(r *http.Request) { r.URL.Path = "/v1/order" },
		"query value":               func(r *http.Request) { r.URL.RawQuery = "limit=6&after=a%2Fb" },
		"query name":                func(r *http.Request) { r.URL.RawQuery += "&all" },
		"query without one":         func(r *http.Request) { r.URL.RawQuery = "limit=5" },
		"query that is none":        func(r *http.Request) { r.URL.RawQuery += "&a=%zz" },
		"query with a semicolon":    func(r *http.Request) { r.URL.RawQuery += "&a;b" },
		"header":                    func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
		"header twice":              func(r *http.Request) { r.Header.Add("Content-Type", "text/plain") },
		"header gone":               func(r *http.Request) { r.Header.Del("Content-Type") },
		"x-amz header":              func(r *http.Request) { r.Header.Set("X-Amz-Target", "Orders.Delete") },
		"x-amz header on top":       func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") },
		"body hash of another body": func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") },
		"session":                   func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "else") },
		"no session":                func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") },
		"date":                      replace("X-Amz-Date", "T1236", "T1237"),
		"date of another form":      func(r *http.Request) { r.Header.Set("X-Amz-Date", day.Format(time.RFC1123)) },
		"no date":                   func(r *http.Request) { r.Header.Del("X-Amz-Date") },
		"day of the scope":          replace(auth, "/20150830/", "/20150829/"),
		"key":                       replace(auth, "AKIDEXAMPLE", "AKIDEXAMPLF"),
		"region":                    replace(auth, "us-east-1", "us-east-2"),
		"service":                   replace(auth, "/service/", "/iam/"),
		"end of the scope":          replace(auth, "aws4_request", "aws5_request"),
		"scope of more parts":       replace(auth, "aws4_request", "aws4_request/x"),
		"algorithm":                 replace(auth, "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
		"fewer headers":             replace(auth, "content-type;", ""),
		"a header that is not":      replace(auth, "content-type;", "content-type;from;"),
		"headers out of order":      replace(auth, "content-type;host", "host;content-type"),
		"a header named twice":      replace(auth, "content-type;", "content-type;content-type;"),
		"host not signed":           replace(auth, "host;", ""),
		"date not signed":           replace(auth, "x-amz-date;", ""),
		"signature":                 func(r *http.Request) { r.Header.Set(auth, flip(r.Header.Get(auth))) },
		"upper case signature": func(r *http.Request) {
			a := r.Header.Get(auth)
			n := len(a) - 64
			r.Header.Set(auth, a[:n]+strings.ToUpper(a[n:]))
		},
		"half a signature":   func(r *http.Request) { a := r.Header.Get(auth); r.Header.Set(auth, a[:len(a)-2]) },
		"no signature":       replace(auth, "Signature=", "Signature"),
		"two of a field":     replace(auth, "SignedHeaders=", "Credential="),
		"no Authorization":   func(r *http.Request) { r.Header.Del(auth) },
		"two Authorizations": func(r *http.Request) { r.Header.Add(auth, r.Header.Get(auth)) },
	}
	for name, change := range tests {
		r, body := signedAWS4(t, session, day)
		if err := session.Check(r, body, day); err != nil {
			t.Fatal(err)
		}
		change(r)
		if err := session.Check(r, body, day); err == nil {
			t.Errorf("another %s is taken", name)
		}
	}
	r, body := signedAWS4(t, session, day)
	for _, other := range [][]byte{nil, []byte("{}"), append(body, ' ')} {
		if session.Check(r, other, day) == nil {
			t.Errorf("the body %q is taken", other)
		}
	}
	for name, s := range map[string]sign.AWS4{
		"another secret":  {session.KeyID, "else", session.Session, session.Region, session.Service},
		"another session": {session.KeyID, session.Secret, "else", session.Region, session.Service},
		"no session":      {session.KeyID, session.Secret, "", session.Region, session.Service},
		"no secret":       {session.KeyID, "", session.Session, session.Region, session.Service},
		"another region":  {session.KeyID, session.Secret, session.Session, "eu-west-1", session.Service},
		"nothing":         {},
	} {
		if s.Check(r, body, day) == nil {
			t.Errorf("%s takes the request", name)
		}
	}
}

// signAWS4By signs as a client does that chooses itself which headers to sign,
// after the steps of the documentation. The path is signed as it is sent, which
// is right for S3; the query is empty.
func signAWS4By(s sign.AWS4, r *http.Request, signed string, body string) {
	digest := func(text string) string { sum := sha256.Sum256([]byte(text)); return hex.EncodeToString(sum[:]) }
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	request := r.Method + "\n" + r.URL.EscapedPath() + "\n\n"
	for name := range strings.SplitSeq(signed, ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		request += name + ":" + value + "\n"
	}
	request += "\n" + signed + "\n" + digest(body)
	scope := strings.Join([]string{"20150830", s.Region, s.Service, "aws4_request"}, "/")
	key := []byte("AWS4" + s.Secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	signature := mac(key, "AWS4-HMAC-SHA256\n20150830T123600Z\n"+scope+"\n"+digest(request))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.KeyID+"/"+scope+",SignedHeaders="+signed+",Signature="+hex.EncodeToString(signature))
}

// TestAWS4Uncovered refuses signatures that are good and cover too little.
func TestAWS4Uncovered(t *testing.T) {
	tests := []struct {
		signed string
		s      sign.AWS4
		change func(r *http.Request)
		want   string // of the error; empty: taken
	}{
		{signed: "host;x-amz-date"},
		{signed: "content-type;host;x-amz-date"},
		{signed: "x-amz-date", want: "form"},
		{signed: "host", want: "form"},
		{signed: "x-amz-date;host", want: "form"},
		{signed: "host;host;x-amz-date", want: "form"},
		{signed: "from;host;x-amz-date", want: "not there"},
		{signed: "host;x-amz-date", want: "x-amz-* is not signed", change: func(r *http.Request) { r.Header.Set("X-Amz-Acl", "public-read") }},
		{signed: "host;x-amz-content-sha256;x-amz-date", want: "not that of the body",
			change: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }},
		{signed: "host;x-amz-date;x-amz-security-token", want: "session",
			change: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "of nobody") }},
		{signed: "host;x-amz-date", want: "needed", s: sign.AWS4{KeyID: "k", Region: "r", Service: "s"}},
		{signed: "host;x-amz-date", want: "slash", s: sign.AWS4{KeyID: "k/", Secret: "s", Region: "r", Service: "s"}},
		{signed: "host;x-amz-date", want: "session", s: sign.AWS4{KeyID: "k", Secret: "s", Session: "a b", Region: "r", Service: "s"}},
	}
	for _, test := range tests {
		r := request(t, "GET", "https://api.example/v1", "")
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("X-Amz-Date", "20150830T123600Z")
		if test.change != nil {
			test.change(r)
		}
		s := test.s
		if s.KeyID == "" {
			s = example
		}
		signAWS4By(s, r, test.signed, "")
		err := s.Check(r, nil, day)
		if taken := err == nil; taken != (test.want == "") || !taken && !strings.Contains(err.Error(), test.want) {
			t.Errorf("signed %s: %v, want %q", test.signed, err, test.want)
		}
	}
}

// TestAWS4Path has the two ways to sign a path: S3 takes it as it is sent, any
// other service normalizes it and encodes it once more.
func TestAWS4Path(t *testing.T) {
	for service, asSent := range map[string][]string{
		"s3":          {"/", "/a%20b", "/a//../b/", "/%C3%A9", "/a/b/"},
		"execute-api": {"/", "/a/b/"},
	} {
		for _, path := range []string{"/", "/a%20b", "/a//../b/", "/%C3%A9", "/a/b/"} {
			r := request(t, "GET", "https://api.example"+path, "")
			r.Header.Set("X-Amz-Date", "20150830T123600Z")
			s := example
			s.Service = service
			signAWS4By(s, r, "host;x-amz-date", "")
			if err := s.Check(r, nil, day); (err == nil) != slices.Contains(asSent, path) {
				t.Errorf("%s %s: %v", service, path, err)
			}
		}
	}
}

// flip changes the last digit.
func flip(s string) string {
	last := s[len(s)-1]
	if last == '0' {
		return s[:len(s)-1] + "1"
	}
	return s[:len(s)-1] + "0"
}

func TestAWS4Stale(t *testing.T) {
	stale(t, 15*time.Minute, func(t *testing.T, at time.Time) (*http.Request, []byte) { return signedAWS4(t, example, at) }, example.Check)
}

// stale checks that a request is taken as long as the clocks of its client and
// its server are no more than skew apart.
func stale(t *testing.T, skew time.Duration, signed func(*testing.T, time.Time) (*http.Request, []byte), check func(*http.Request, []byte, time.Time) error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, body := signed(t, time.Now())
		time.Sleep(skew)
		if err := check(r, body, time.Now()); err != nil {
			t.Errorf("after %s: %v", skew, err)
		}
		time.Sleep(time.Second)
		if check(r, body, time.Now()) == nil {
			t.Errorf("taken after more than %s", skew)
		}
		ahead, body := signed(t, time.Now().Add(skew+time.Second))
		if check(ahead, body, time.Now()) == nil {
			t.Errorf("taken from more than %s ahead", skew)
		}
		time.Sleep(time.Second)
		if err := check(ahead, body, time.Now()); err != nil {
			t.Errorf("from %s ahead: %v", skew, err)
		}
	})
}

func TestAWS4KeyID(t *testing.T) {
	r, _ := signedAWS4(t, example, day)
	keyID, region, service, ok := sign.AWS4KeyID(r)
	if keyID != example.KeyID || region != example.Region || service != example.Service || !ok {
		t.Errorf("%s %s %s %v", keyID, region, service, ok)
	}
	r.Header.Set("Authorization", "Bearer x")
	if keyID, region, service, ok = sign.AWS4KeyID(r); ok || keyID+region+service != "" {
		t.Errorf("of a bearer token: %s %s %s %v", keyID, region, service, ok)
	}
}

// TestAWS4Signs looks at what the request carries, and signs it a second time.
func TestAWS4Signs(t *testing.T) {
	s := example
	s.Service, s.Session = "s3", "session-token"
	r := request(t, "PUT", "https://bucket.example:443/a//b$", "")
	for range 2 {
		if err := s.Sign(r, []byte("x"), day); err != nil {
			t.Fatal(err)
		}
	}
	want := http.Header{
		"X-Amz-Date":           {"20150830T123600Z"},
		"X-Amz-Security-Token": {"session-token"},
		"X-Amz-Content-Sha256": {"2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
	}
	for name, values := range want {
		if got := r.Header.Values(name); len(got) != 1 || got[0] != values[0] {
			t.Errorf("%s: %q, want %q", name, got, values)
		}
	}
	if r.Host != "bucket.example" {
		t.Errorf("Host is %s", r.Host)
	}
	received, body := wire(t, r, []byte("x"))
	if err := s.Check(received, body, day); err != nil {
		t.Error(err)
	}
	// The same without a session leaves nothing of the one before.
	if err := example.Sign(r, nil, day); err != nil {
		t.Fatal(err)
	}
	if r.Header.Get("X-Amz-Security-Token") != "" || r.Header.Get("X-Amz-Content-Sha256") != "" {
		t.Errorf("left over: %v", r.Header)
	}
	r.URL.RawQuery = "a=%zz"
	if example.Sign(r, nil, day) == nil {
		t.Error("signed a query that is none")
	}
	if (sign.AWS4{KeyID: "k", Region: "r", Service: "s"}).Sign(r, nil, day) == nil {
		t.Error("signed without a secret")
	}
}

// FuzzAWS4Authorization looks for a header that breaks the reader, names
// nobody, or is taken though the client did not write it.
func FuzzAWS4Authorization(f *testing.F) {
	r, body := signedAWS4(f, example, day)
	good := r.Header.Get("Authorization")
	f.Add(good)
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request,SignedHeaders=host;x-amz-date,Signature=00")
	f.Add("AWS4-HMAC-SHA256 ,,")
	f.Fuzz(func(t *testing.T, authorization string) {
		r := r.Clone(t.Context())
		r.Header.Set("Authorization", authorization)
		keyID, region, service, ok := sign.AWS4KeyID(r)
		if ok != (keyID != "" && region != "" && service != "") {
			t.Fatalf("%q %q %q %v", keyID, region, service, ok)
		}
		if err := example.Check(r, body, day); err == nil && !(ok && strings.Contains(authorization, good[len(good)-64:])) {
			t.Fatalf("taken: %q", authorization)
		}
	})
}
