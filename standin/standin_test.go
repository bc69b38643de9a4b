package standin_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/broker"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/sign"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/standin"
	"github.com/jetonhq/jeton/store"
)

// wire brings requests to a handler with some delay, as a network does.
type wire struct {
	to    http.Handler
	delay time.Duration
	shown *tls.ConnectionState // what a client certificate comes to; nil: none is shown
}

func (w wire) WithCertificate(c tls.Certificate) http.RoundTripper {
	w.shown = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.Leaf}}
	return w
}

func (w wire) RoundTrip(r *http.Request) (answer *http.Response, err error) {
	time.Sleep(w.delay)
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
	}
	in := httptest.NewRequest(r.Method, r.URL.RequestURI(), bytes.NewReader(body)).WithContext(r.Context())
	in.Header, in.Host, in.RemoteAddr, in.TLS = r.Header.Clone(), r.Host, "127.0.0.1:1", w.shown
	out := httptest.NewRecorder()
	defer func() {
		if recover() != nil {
			answer, err = nil, io.ErrUnexpectedEOF
		}
	}()
	w.to.ServeHTTP(out, in)
	time.Sleep(w.delay)
	return out.Result(), nil
}

// TestEveryVendor: for each dialect that ships, a stand-in logs the broker in,
// lets its calls through, renews the token when it runs out, and takes none that
// was ended.
func TestEveryVendor(t *testing.T) {
	for _, name := range dialects.Names() {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { day(t, name) }) })
	}
}

func day(t *testing.T, name string) {
	d, err := dialects.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	origin := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	s, err := standin.New(t.Context(), standin.Config{Dialect: d, URL: origin.String()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	b := &broker.Broker{
		Store: store.NewMemory(), HTTP: wire{to: s, delay: 20 * time.Millisecond},
		Accounts: []broker.Account{{Name: "a", Dialect: d, Origin: origin, Secrets: func(context.Context) (jeton.Vars, error) { return s.Vars(), nil }}},
	}
	defer func() { _ = b.Close(context.Background()) }()
	call := func() (int, []byte) {
		t.Helper()
		u, err := d.CallURL(origin, s.Vars())
		if err != nil {
			u = origin
		}
		r, _ := http.NewRequestWithContext(ctx, "GET", u.JoinPath(thing(d)).String(), nil)
		answer, err := b.Source("a", nil).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, body
	}
	good := func(what string) {
		t.Helper()
		if status, body := call(); status != 200 || !bytes.Contains(body, []byte(`"ok":true`)) {
			t.Fatalf("%s is answered %d %s", what, status, body)
		}
	}
	good("the first call")
	if d.Tokenless() {
		return
	}
	first, err := b.Token(ctx, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if first.Expiry.IsZero() {
		t.Fatal("nobody knows when the token expires")
	}
	// The vendor ends it early, in its own words: the broker understands, and the
	// caller sees nothing of it.
	s.SetFaults([]standin.Fault{{On: "call", Expire: standin.Duration(30 * time.Second), Times: 1}})
	good("a call with a fresh token")
	if len(s.Faults()) == 0 {
		t.Error("a fresh token ended early")
	}
	time.Sleep(time.Minute)
	good("a call with a token that ended early")
	if next, err := b.Token(ctx, "a", 0); err != nil || next.AccessToken.Equal(first.AccessToken) || len(s.Faults()) > 0 {
		t.Errorf("the token that ended early is still the one: %v", err)
	} else {
		first = next
	}
	time.Sleep(time.Until(first.Expiry) + time.Second)
	second, err := b.Token(ctx, "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	if second.AccessToken.Equal(first.AccessToken) || !second.Valid(time.Now(), 0) {
		t.Error("the token was not renewed")
	}
	good("a call with the next token")
	old := s.Vars()
	old["access_token"] = first.AccessToken.Reveal()
	for name, text := range first.Vars {
		old[name] = text
	}
	u, err := d.CallURL(origin, old)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequestWithContext(ctx, "GET", u.JoinPath(thing(d)).String(), nil)
	if err := d.WriteCall(r, old); err != nil {
		t.Fatal(err)
	}
	answer, err := wire{to: s}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	if !d.Rejected(answer.StatusCode, answer.Header) && !(d.InBody(answer.StatusCode, answer.Header) && d.RejectedBy(body)) {
		t.Errorf("a call with a token that has expired is answered %d", answer.StatusCode)
	}
	if c := s.Counters(); !d.Minted() && (c.Logins.OK == 0 || c.Logins.OK+c.Refreshes.OK < 2 || c.Logins.Refused > 0) {
		t.Errorf("the stand-in counts %+v", c)
	}
}

// thing is what an API of the vendor has: of what its permission table names, or
// anything.
func thing(d *dialect.Dialect) string {
	for resource, verbs := range d.Permissions {
		if verbs["list"] != "" {
			return resource
		}
	}
	return "v9/things"
}

func newStandin(t *testing.T, name string) *standin.Server {
	t.Helper()
	d, err := dialects.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := standin.New(t.Context(), standin.Config{Dialect: d, URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// login logs in by HTTP.
func login(t *testing.T, s *standin.Server) (status int, token string, header http.Header, lost bool) {
	t.Helper()
	d := s.Realm().Dialect()
	origin, _ := url.Parse("http://127.0.0.1:1")
	r, err := d.WriteRequest(t.Context(), d.Login, origin, s.Vars())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := wire{to: s}.RoundTrip(r)
	if err != nil {
		return 0, "", nil, true
	}
	body, _ := io.ReadAll(answer.Body)
	if vars, err := d.ReadResponse(d.Login, answer.StatusCode, answer.Header, body, time.Now()); err == nil {
		token = vars["access_token"]
	}
	return answer.StatusCode, token, answer.Header, false
}

func (c control) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, standin.Control+path, strings.NewReader(body))
	r.RemoteAddr, r.Host = c.from, "127.0.0.1:9000"
	if c.host != "" {
		r.Host = c.host
	}
	if c.origin != "" {
		r.Header.Set("Origin", c.origin)
	}
	out := httptest.NewRecorder()
	c.s.ServeHTTP(out, r)
	return out.Code, out.Body.String()
}

type control struct {
	s                  *standin.Server
	from, origin, host string
}

// TestFaults: each fault does what it says, as often as it says.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStandin(t, "iadvize")
		c := control{s, "127.0.0.1:9", "", ""}
		set := func(text string) {
			t.Helper()
			if code, body := c.do(t, "PUT", "/faults", text); code != 200 {
				t.Fatalf("%s: %d %s", text, code, body)
			}
		}
		set(`{"on":"login","status":429,"retry_after":"1500ms","times":2}`)
		for range 2 {
			if status, _, h, _ := login(t, s); status != 429 || h.Get("Retry-After") != "2" {
				t.Errorf("got %d, Retry-After %q", status, h.Get("Retry-After"))
			}
		}
		status, token, _, _ := login(t, s)
		if status != 200 || token == "" {
			t.Fatalf("after two faults a login is answered %d", status)
		}
		set(`[{"on":"login","lose":true,"times":1},{"on":"login","delay":"3s"}]`)
		if _, _, _, lost := login(t, s); !lost {
			t.Error("the answer was not lost")
		}
		began := time.Now()
		if status, _, _, _ := login(t, s); status != 200 || time.Since(began) != 3*time.Second {
			t.Errorf("a slow login is answered %d after %v", status, time.Since(began))
		}
		if got := s.Counters(); got.Logins.OK != 3 || got.Faults != 4 || got.Logins.ByIP["127.0.0.1"] != 3 {
			t.Errorf("counters: %+v", got) // the lost one was done
		}
		set(`{"on":"call","expire":"1m","times":1}`)
		get := func() int {
			r := httptest.NewRequest("GET", "/_authenticated", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			out := httptest.NewRecorder()
			s.ServeHTTP(out, r)
			return out.Code
		}
		api := func() int {
			r := httptest.NewRequest("GET", "/rest/things", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			out := httptest.NewRecorder()
			s.ServeHTTP(out, r)
			return out.Code
		}
		if got := api(); got != 200 {
			t.Errorf("a fresh token is answered %d", got)
		}
		time.Sleep(2 * time.Minute)
		if got := api(); got != 401 {
			t.Errorf("a token that is to expire early is answered %d", got)
		}
		if got, verify := api(), get(); got != 200 || verify != 200 {
			t.Errorf("after the fault: %d, %d", got, verify)
		}
		if code, _ := c.do(t, "DELETE", "/faults", ""); code != 200 || len(s.Faults()) != 0 {
			t.Error("faults cannot be switched off")
		}
	})
}

// TestFaultWords: what a fault answers has the vendor's own shape, as a client of
// the vendor would meet it, and the status that was asked for.
func TestFaultWords(t *testing.T) {
	for _, c := range []struct {
		vendor, path, fault, want string
		status                    int
	}{
		{"iadvize", "/oauth2/token", `{"status":429}`, `{"error":"slow_down","error_description":"a fault is switched on"}`, 429},
		{"iadvize", "/oauth2/token", `{"status":503}`, `{"error":"temporarily_unavailable","error_description":"a fault is switched on"}`, 503},
		{"iadvize", "/oauth2/token", `{"status":500}`, `{"error":"server_error","error_description":"a fault is switched on"}`, 500},
		{"iadvize", "/oauth2/token", `{"status":418}`, `{"error":"invalid_request","error_description":"a fault is switched on"}`, 418},
		{"iadvize", "/graphql", `{"status":401}`, `{"error":"invalid_token","error_description":"access token not valid"}`, 401},
		{"web1on1", "/v2/conversations", `{"status":403}`, `{"error":"invalid_token","error_description":"a fault is switched on"}`, 403},
		{"x-twitter", "/oauth2/token", `{"status":403}`, `{"errors":[{"code":99,"label":"authenticity_token_error","message":"Unable to verify your credentials"}]}`, 403},
		{"salesforce", "/services/data", `{"status":401}`, `[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]`, 401},
	} {
		s := newStandin(t, c.vendor)
		if code, body := (control{s, "127.0.0.1:9", "", ""}).do(t, "PUT", "/faults", c.fault); code != 200 {
			t.Fatalf("%s: %d %s", c.fault, code, body)
		}
		out := httptest.NewRecorder()
		s.ServeHTTP(out, httptest.NewRequest("POST", c.path, nil))
		challenged := out.Header().Get("WWW-Authenticate") != ""
		if got := strings.TrimSpace(out.Body.String()); out.Code != c.status || got != c.want || challenged && c.status != 401 && c.status != 403 {
			t.Errorf("%s %s is answered %d %s\n%v", c.vendor, c.fault, out.Code, got, out.Header())
		}
	}
}

// TestExpireFaults: of several faults that end tokens early the first strikes
// that the token is too old for, and that one is used up.
func TestExpireFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStandin(t, "iadvize")
		_, token, _, _ := login(t, s)
		call := func() int {
			r := httptest.NewRequest("GET", "/rest/things", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			out := httptest.NewRecorder()
			s.ServeHTTP(out, r)
			return out.Code
		}
		hour := standin.Fault{On: "call", Expire: standin.Duration(time.Hour), Times: 1}
		minute := standin.Fault{On: "call", Expire: standin.Duration(time.Minute), Times: 1}
		for _, faults := range [][]standin.Fault{{hour, minute}, {minute, hour}} {
			s.SetFaults(faults)
			time.Sleep(2 * time.Minute)
			if first, second := call(), call(); first != 401 || second != 200 {
				t.Errorf("%v: %d, %d", faults, first, second)
			}
			if left := s.Faults(); len(left) != 1 || left[0] != hour {
				t.Errorf("%v are left of %v", left, faults)
			}
		}
	})
}

// TestKinds: what asks about a token or ends one is no login, in the vendor's
// words and in those of the RFCs, for faults and in the counters; what is none of
// a dialect's exchanges is struck by faults for every request only.
func TestKinds(t *testing.T) {
	s := newStandin(t, "commercetools")
	d, vars := s.Realm().Dialect(), s.Vars()
	status, token, _, _ := login(t, s)
	if status != 200 {
		t.Fatalf("a login is answered %d", status)
	}
	vars["access_token"] = token
	origin, _ := url.Parse("http://127.0.0.1:1")
	own, err := d.WriteRequest(t.Context(), d.Introspect, origin, vars)
	if err != nil {
		t.Fatal(err)
	}
	about := func(path, secret string) *http.Request {
		form := url.Values{"token": {token}, "client_id": {vars["client_id"]}, "client_secret": {secret}}
		r, _ := http.NewRequest("POST", origin.String()+path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	keys, _ := http.NewRequest("GET", origin.String()+"/.well-known/jwks.json", nil)
	for _, c := range []struct {
		name, kind string
		r          *http.Request
		status     int
	}{
		{"the vendor's introspection", "introspect", own, 200},
		{"introspection", "introspect", about("/introspect", vars["client_secret"]), 200},
		{"introspection by nobody", "introspect", about("/introspect", "wrong"), 401},
		{"revocation by nobody", "revoke", about("/revoke", "wrong"), 401},
		{"revocation", "revoke", about("/revoke", vars["client_secret"]), 200},
		{"keys", "", keys, 200},
	} {
		for _, on := range []string{"login", "refresh", "introspect", "revoke", "call", ""} {
			s.SetFaults([]standin.Fault{{On: on, Status: 503}})
			want := c.status
			if on == "" || on == c.kind {
				want = 503
			}
			r := c.r.Clone(t.Context())
			if c.r.GetBody != nil {
				r.Body, _ = c.r.GetBody()
			}
			answer, err := wire{to: s}.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != want {
				t.Errorf("%s with a fault on %q is answered %d, want %d", c.name, on, answer.StatusCode, want)
			}
		}
	}
	got := s.Counters()
	for _, c := range []struct {
		name        string
		is          standin.Tally
		ok, refused int
	}{
		{"logins", got.Logins, 1, 0}, {"introspections", got.Introspections, 8, 4}, {"revocations", got.Revocations, 4, 4},
	} {
		if c.is.OK != c.ok || c.is.Refused != c.refused || c.is.ByIP["127.0.0.1"] != c.ok+c.refused {
			t.Errorf("%s: %+v, want %d and %d refused", c.name, c.is, c.ok, c.refused)
		}
	}
}

// TestControl: only this machine's programs may ask, and a wrong fault is told.
func TestControl(t *testing.T) {
	s := newStandin(t, "alvys")
	for _, c := range []control{
		{s, "192.0.2.1:9", "", ""}, {s, "127.0.0.1:9", "https://evil.example", ""},
		{s, "127.0.0.1:9", "", "evil.example:9000"}, {s, "127.0.0.1:9", "", "127.0.0.1.evil.example"}, // a name that leads here is a page's
	} {
		if code, _ := c.do(t, "GET", "/counters", ""); code != 403 {
			t.Errorf("%+v is answered %d", c.from+c.origin+c.host, code)
		}
	}
	for _, host := range []string{"localhost:9000", "[::1]:9000", "127.0.0.1"} {
		if code, _ := (control{s, "127.0.0.1:9", "", host}).do(t, "GET", "/counters", ""); code != 200 {
			t.Errorf("%s is answered %d", host, code)
		}
	}
	here := control{s, "[::1]:9", "", ""}
	code, body := here.do(t, "GET", "/counters", "")
	var got standin.Counters
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 {
		t.Errorf("%d %s %v", code, body, err)
	}
	for text, says := range map[string]string{
		`{"on":"logins","status":429}`:               "fault 1: on is to be login, refresh, introspect, revoke or call, or left out",
		`{"status":200}`:                             "status is to be from 400 to 599",
		`{"on":"call"}`:                              "one of status, lose, expire and delay",
		`{"status":429,"lose":true}`:                 "one of status, lose and expire",
		`{"expire":"1m"}`:                            "expire is for calls",
		`{"status":429,"delay":"1 minute"}`:          "like 3s",
		`[{"status":429},{"stauts":1,"delay":"1s"}]`: "stauts",
		`nonsense`:                                   "JSON object",
	} {
		if code, body := here.do(t, "PUT", "/faults", text); code != 400 || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s", text, code, body)
		}
	}
	if code, _ := here.do(t, "POST", "/faults", ""); code != 405 {
		t.Error("POST is taken")
	}
	if code, _ := here.do(t, "GET", "/nothing", ""); code != 404 {
		t.Error("a path that is none is answered")
	}
}

// TestInventCertificate: a certificate that is made up is of the account's key,
// whoever gave that: of the one that connections show, or of the one that signs.
func TestInventCertificate(t *testing.T) {
	for name, source := range map[string]string{
		"signing": `dialect: x
let: {assertion: {saml: {issuer: $client_id, subject: $username, audience: x, recipient: "https://x.example/t"}, key: $private_key, cert: $certificate}}
token: {POST: https://x.example/t, form: {assertion: $base64url($assertion)}}
`,
		"named in a token": `dialect: x
let: {assertion: {jwt: {iss: $client_id}, header: {"x5t#S256": $thumbprint($certificate)}, alg: PS256, key: $private_key}}
token: {POST: https://x.example/t, form: {assertion: $assertion}, returns: {access_token: $access_token}}
`,
		"of connections": `dialect: x
token: {POST: https://x.example/t, form: {client_id: $client_id}, tls: {cert: $certificate, key: $private_key}, returns: {access_token: $access_token}}
`,
	} {
		d, err := dialect.Parse("x.yaml", []byte(source))
		if err != nil {
			t.Fatal(err)
		}
		all, err := standin.Invent(d, nil)
		if err != nil {
			t.Fatal(err)
		}
		some, err := standin.Invent(d, jeton.Vars{"private_key": all["private_key"]})
		if err != nil {
			t.Fatal(err)
		}
		for _, vars := range []jeton.Vars{all, some} {
			key, err := sign.ParseKey(vars["private_key"])
			if err != nil {
				t.Fatal(err)
			}
			c, err := sign.ParseCertificate(vars["certificate"])
			if err != nil || !key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(c.PublicKey) {
				t.Errorf("%s: the certificate is not the key's: %v", name, err)
			}
			if _, err := d.WriteRequest(t.Context(), d.Login, nil, vars); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := standin.Invent(d, jeton.Vars{"private_key": "file:key.pem"}); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: a certificate of a key that is none: %v", name, err)
		}
	}
}
