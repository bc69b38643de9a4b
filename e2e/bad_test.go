package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// wrongSecret is in every login that is to be refused. No answer repeats it.
const wrongSecret = "c4nary-wr0ng"

// A message is a request to an endpoint of a realm.
type message struct {
	method, path string
	contentType  string
	body         string
	header       []string
}

func (m message) send(t *testing.T, p *process) answer {
	t.Helper()
	header := m.header
	if m.contentType != "" {
		header = append(slices.Clip(header), "Content-Type", m.contentType)
	}
	return ask(t, m.method, p.issuer+m.path, m.body, header...)
}

// with returns the message with something else in it.
func (m message) with(change func(*message)) message {
	m.header = slices.Clone(m.header)
	change(&m)
	return m
}

func (m message) withBody(body string) message { return m.with(func(m *message) { m.body = body }) }

func basicAuth(text string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(text))}
}

// logins are the documented logins, with credentials that work in jeton dev.
var logins = map[string]message{
	"iadvize": {"POST", "/iadvize/oauth2/token", form, "grant_type=password&username=demo@example.com&password=demo-password", nil},
	"altrata": {"POST", "/altrata/oauth2/token?grant_type=client_credentials", form, "", append(basicAuth("demo:demo-password"), "x-api-key", "demo-api-key")},
	"alvys":   {"POST", "/alvys/api/authentication/acme/token", form, "grant_type=client_credentials&client_id=demo-client&client_secret=demo-secret", nil},
	"web1on1": {"POST", "/web1on1/v2/auth/token", "application/json", `{"email":"agent@example.org","password":"t0pZ3kR3t"}`, nil},
	"oauth2":  {"POST", "/oauth2/token", form, "grant_type=client_credentials", basicAuth("demo-client:demo-secret")},
}

// calls are requests that want a token of the realm, which stands for $TOKEN.
var calls = map[string]message{
	"iadvize":    {"POST", "/iadvize/graphql", "application/json", `{"query":"{ me { id } }"}`, []string{"Authorization", "Bearer $TOKEN"}},
	"iadvize ok": {"GET", "/iadvize/_authenticated", "", "", []string{"Authorization", "Bearer $TOKEN"}},
	"altrata":    {"POST", "/altrata/v1/graphql", "application/json", `{"query":"{ profiles(first: 1) { name } }"}`, []string{"Authorization", "Bearer $TOKEN", "x-api-key", "demo-api-key"}},
	"alvys":      {"GET", "/alvys/v1/me", "", "", []string{"Authorization", "Bearer $TOKEN"}},
	"web1on1":    {"GET", "/web1on1/v2/users/me", "", "", []string{"Authorization", "Bearer $TOKEN"}},
}

func (m message) worn(token string) message {
	return m.with(func(m *message) {
		for i, text := range m.header {
			m.header[i] = strings.ReplaceAll(text, "$TOKEN", token)
		}
	})
}

// token logs in and returns the access token.
func token(t *testing.T, p *process, realm string) string {
	t.Helper()
	a := logins[realm].send(t, p).want(t, 200, "")
	if realm == "web1on1" {
		return a.text("token")
	}
	return a.text("access_token")
}

// refusal checks what holds for every answer to bad input: it is a refusal in
// the realm's error shape, that no cache keeps, and it repeats no secret.
func (a answer) refusal(t *testing.T, status int, code string) {
	t.Helper()
	if a.status != status || code != "" && a.text("error") != code {
		t.Errorf("%d %s, want %d %s", a.status, a.body, status, code)
	}
	if a.status < 400 || a.status > 499 {
		t.Errorf("status %d for bad input", a.status)
	}
	if a.text("error") == "" {
		t.Errorf("the body has no error code: %s", a.body)
	}
	if status != 405 && status != 413 && a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control: %q", a.header.Get("Cache-Control"))
	}
	for _, secret := range []string{wrongSecret, "demo-password", "demo-secret", "demo-api-key", "t0pZ3kR3t"} {
		if strings.Contains(a.body, secret) || strings.Contains(strings.Join(a.header["Www-Authenticate"], " "), secret) {
			t.Errorf("the answer repeats %s: %s", secret, a.body)
		}
	}
}

// TestBadInput sends what is wrong to every realm of one server, which answers
// all of it and still works in the end.
func TestBadInput(t *testing.T) {
	p := startDev(t)
	for name, test := range map[string]func(*testing.T, *process){
		"forms": badFormLogins, "methods": wrongMethodNamesTheRightOnes, "JSON": badJSONLogins, "Basic": badBasicLogins,
		"people": nobodyLearnsWhoExists, "tokens": badTokens, "introspection": introspectForeignTokens, "paths": badPaths,
	} {
		t.Run(name, func(t *testing.T) { test(t, p) })
	}
	for realm := range logins {
		token(t, p, realm)
	}
}

// badFormLogins sends every realm whose login is a form each way in which a
// form can be wrong.
func badFormLogins(t *testing.T, p *process) {
	for _, realm := range []string{"iadvize", "alvys", "oauth2"} {
		good := logins[realm]
		fields, err := url.ParseQuery(good.body)
		if err != nil {
			t.Fatal(err)
		}
		try := func(name string, status int, code string, m message) {
			t.Helper()
			t.Run(realm+"/"+name, func(t *testing.T) {
				t.Helper()
				m.send(t, p).refusal(t, status, code)
			})
		}
		for name := range fields {
			less := url.Values{}
			for other, values := range fields {
				if other != name {
					less[other] = values
				}
			}
			status, code := 400, "invalid_request"
			if strings.HasPrefix(name, "client_") { // RFC 6749 section 5.2: no client authentication included
				status, code = 401, "invalid_client"
			}
			try("missing "+name, status, code, good.withBody(less.Encode()))
			try("empty "+name, status, code, good.withBody(less.Encode()+"&"+name+"="))
			try("repeated "+name, 400, "invalid_request", good.withBody(good.body+"&"+name+"="+url.QueryEscape(fields.Get(name))))
			try("repeated "+name+" with another value", 400, "invalid_request", good.withBody(good.body+"&"+name+"=other"))
		}
		try("another grant_type", 400, "unsupported_grant_type", good.withBody(strings.Replace(good.body, "grant_type=", "grant_type=x", 1)))
		try("no body", 400, "invalid_request", good.withBody(""))
		try("broken escape", 400, "invalid_request", good.withBody(good.body+"&x=%zz"))
		try("not UTF-8", 400, "invalid_request", good.withBody(good.body+"&scope=%ff%fe"))
		try("semicolons", 400, "invalid_request", good.withBody(strings.ReplaceAll(good.body, "&", ";")+";x"))
		try("too large", 413, "invalid_request", good.withBody(good.body+"&x="+strings.Repeat("x", 1<<20)))
		try("JSON as a form", 400, "invalid_request", good.withBody(`{"grant_type":"password"}`))
		for _, other := range []string{"", "text/plain", "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded; charset=utf-16", "///"} {
			try("content type "+other, 400, "invalid_request", good.with(func(m *message) { m.contentType = other }))
		}
		for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"} {
			try(method, 405, "invalid_request", good.with(func(m *message) { m.method = method }))
		}
	}
}

// wrongMethodNamesTheRightOnes checks RFC 9110 section 15.5.6.
func wrongMethodNamesTheRightOnes(t *testing.T, p *process) {
	for realm, allowed := range map[string]string{"iadvize": "POST", "altrata": "POST", "alvys": "POST", "oauth2": "POST", "web1on1": "GET, POST"} {
		a := logins[realm].with(func(m *message) { m.method = "PUT" }).send(t, p)
		a.refusal(t, 405, "")
		got := strings.Split(strings.ReplaceAll(a.header.Get("Allow"), " ", ""), ",")
		slices.Sort(got)
		if strings.Join(got, ", ") != allowed {
			t.Errorf("%s: Allow %q, want %q", realm, a.header.Get("Allow"), allowed)
		}
	}
}

func badJSONLogins(t *testing.T, p *process) {
	good := logins["web1on1"]
	for name, body := range map[string]string{
		"nothing": "", "no object": `["email"]`, "text": `"email"`, "null": "null", "cut off": `{"email":"agent@example.org","password":"t0`,
		"something behind it": good.body + "{}", "not JSON": "email=agent@example.org", "deep": strings.Repeat("[", 100000),
		"no password": `{"email":"agent@example.org"}`, "no email": `{"password":"t0pZ3kR3t"}`, "empty": "{}",
		"null password": `{"email":"agent@example.org","password":null}`, "number": `{"email":"agent@example.org","password":1}`,
		"list":      `{"email":["agent@example.org"],"password":"t0pZ3kR3t"}`,
		"repeated":  `{"email":"agent@example.org","email":"admin@example.org","password":"t0pZ3kR3t"}`,
		"not UTF-8": "{\"email\":\"agent\xff@example.org\",\"password\":\"t0pZ3kR3t\"}",
	} {
		t.Run(name, func(t *testing.T) { good.withBody(body).send(t, p).refusal(t, 400, "invalid_request") })
	}
	t.Run("another case", func(t *testing.T) {
		// A member of another name is not read: this is agent, never admin.
		a := good.withBody(`{"email":"agent@example.org","Email":"admin@example.org","password":"t0pZ3kR3t"}`).send(t, p)
		if a.status == 200 && a.text("scope") != "agent" {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("half a surrogate", func(t *testing.T) {
		a := good.withBody(`{"email":"agent\ud800@example.org","password":"t0pZ3kR3t"}`).send(t, p)
		a.refusal(t, 400, "")
	})
	t.Run("too large", func(t *testing.T) {
		good.withBody(`{"email":"`+strings.Repeat("x", 1<<20)+`"}`).send(t, p).refusal(t, 413, "invalid_request")
	})
	for _, other := range []string{"", "text/plain", form, "application/json; charset=utf-16"} {
		t.Run("content type "+other, func(t *testing.T) {
			good.with(func(m *message) { m.contentType = other }).send(t, p).refusal(t, 400, "invalid_request")
		})
	}
	t.Run("refresh without anything", func(t *testing.T) {
		good.with(func(m *message) { m.method, m.body = "GET", "" }).send(t, p).refusal(t, 400, "invalid_request")
	})
}

func badBasicLogins(t *testing.T, p *process) {
	for _, realm := range []string{"altrata", "oauth2"} {
		good := logins[realm]
		for name, value := range map[string]string{
			"no colon":          basicAuth("demo" + wrongSecret)[1],
			"no base64":         "Basic demo:" + wrongSecret,
			"base64 cut off":    "Basic ZGVtbzpkZW1",
			"nothing":           "Basic",
			"another scheme":    "Digest username=demo",
			"wrong password":    basicAuth("demo:" + wrongSecret)[1],
			"empty password":    basicAuth("demo:")[1],
			"unknown user":      basicAuth("nobody:" + wrongSecret)[1],
			"empty":             basicAuth(":")[1],
			"control character": basicAuth("de\x00mo:" + wrongSecret)[1],
			"not UTF-8":         basicAuth("demo\xff:" + wrongSecret)[1],
		} {
			t.Run(realm+"/"+name, func(t *testing.T) {
				a := good.with(func(m *message) { m.header[1] = value }).send(t, p)
				a.refusal(t, 401, "invalid_client")
				if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic ") {
					t.Errorf("WWW-Authenticate: %q", got) // RFC 6749 section 5.2
				}
			})
		}
		t.Run(realm+"/twice", func(t *testing.T) {
			a := good.with(func(m *message) { m.header = append(m.header, basicAuth("demo:"+wrongSecret)...) }).send(t, p)
			a.refusal(t, a.status, "")
		})
	}
	good := logins["altrata"]
	for name, m := range map[string]message{
		"no api key":       good.with(func(m *message) { m.header = m.header[:2] }),
		"wrong api key":    good.with(func(m *message) { m.header[3] = wrongSecret }),
		"two api keys":     good.with(func(m *message) { m.header = append(m.header, "x-api-key", wrongSecret) }),
		"no grant_type":    good.with(func(m *message) { m.path = "/altrata/oauth2/token" }),
		"two grant_types":  good.with(func(m *message) { m.path += "&grant_type=client_credentials" }),
		"other grant_type": good.with(func(m *message) { m.path = "/altrata/oauth2/token?grant_type=password" }),
	} {
		t.Run("altrata/"+name, func(t *testing.T) {
			a := m.send(t, p)
			a.refusal(t, a.status, "")
		})
	}
	t.Run("oauth2/two ways to authenticate", func(t *testing.T) {
		// RFC 6749 section 2.3: not more than one method in each request.
		logins["oauth2"].withBody("grant_type=client_credentials&client_id=demo-client&client_secret=demo-secret").
			send(t, p).refusal(t, 400, "invalid_request")
	})
	t.Run("oauth2/secret in the URL", func(t *testing.T) {
		logins["oauth2"].with(func(m *message) {
			m.path, m.header = m.path+"?client_id=demo-client&client_secret=demo-secret", nil
		}).send(t, p).refusal(t, 400, "")
	})
}

// nobodyLearnsWhoExists compares whole answers for somebody who exists with
// a wrong secret, and for nobody.
func nobodyLearnsWhoExists(t *testing.T, p *process) {
	pairs := map[string][]message{
		"iadvize": {
			logins["iadvize"].withBody("grant_type=password&username=demo@example.com&password=" + wrongSecret),
			logins["iadvize"].withBody("grant_type=password&username=nobody@example.com&password=" + wrongSecret),
		},
		"altrata": {
			logins["altrata"].with(func(m *message) { m.header[1] = basicAuth("demo:" + wrongSecret)[1] }),
			logins["altrata"].with(func(m *message) { m.header[1] = basicAuth("nobody:" + wrongSecret)[1] }),
			logins["altrata"].with(func(m *message) { m.header[3] = wrongSecret }),
			logins["altrata"].with(func(m *message) { m.header[1] = basicAuth("broker:" + wrongSecret)[1] }),
		},
		"alvys": {
			logins["alvys"].withBody("grant_type=client_credentials&client_id=demo-client&client_secret=" + wrongSecret),
			logins["alvys"].withBody("grant_type=client_credentials&client_id=nobody&client_secret=" + wrongSecret),
			logins["alvys"].with(func(m *message) { m.path = "/alvys/api/authentication/globex/token" }),
			logins["alvys"].with(func(m *message) { m.path = "/alvys/api/authentication/nowhere/token" }),
		},
		"web1on1": {
			logins["web1on1"].withBody(`{"email":"agent@example.org","password":"` + wrongSecret + `"}`),
			logins["web1on1"].withBody(`{"email":"nobody@example.org","password":"` + wrongSecret + `"}`),
		},
		"oauth2 client": {
			logins["oauth2"].with(func(m *message) { m.header[1] = basicAuth("demo-client:" + wrongSecret)[1] }),
			logins["oauth2"].with(func(m *message) { m.header[1] = basicAuth("nobody:" + wrongSecret)[1] }),
		},
		"oauth2 user": {
			logins["oauth2"].withBody("grant_type=password&username=demo@example.com&password=" + wrongSecret),
			logins["oauth2"].withBody("grant_type=password&username=nobody@example.com&password=" + wrongSecret),
		},
	}
	for name, messages := range pairs {
		first := messages[0].send(t, p)
		first.refusal(t, first.status, "")
		for _, m := range messages[1:] {
			a := m.send(t, p)
			a.refusal(t, a.status, "")
			if a.status != first.status || a.body != first.body || a.header.Get("WWW-Authenticate") != first.header.Get("WWW-Authenticate") {
				t.Errorf("%s: %d %s\nand %d %s", name, first.status, first.body, a.status, a.body)
			}
		}
	}
}

// badTokens wears every kind of token that is not good at every API.
func badTokens(t *testing.T, p *process) {
	tokens := map[string]string{}
	for realm := range logins {
		tokens[realm] = token(t, p, realm)
	}
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range calls {
		realm, _, _ := strings.Cut(name, " ")
		good := tokens[realm]
		if a := call.worn(good).send(t, p); a.status != 200 {
			t.Fatalf("%s: the good token: %d %s", name, a.status, a.body)
		}
		status := 401
		if realm == "web1on1" {
			status = 403 // as the vendor answers what is not good any more
		}
		parts := strings.Split(good, ".")
		bad := map[string]string{
			"tampered claims":    parts[0] + "." + flip(parts[1]) + "." + parts[2],
			"tampered signature": parts[0] + "." + parts[1] + "." + flip(parts[2]),
			"no signature":       parts[0] + "." + parts[1] + ".",
			"two parts":          parts[0] + "." + parts[1],
			"four parts":         good + "." + parts[2],
			"alg none":           encode(`{"alg":"none","typ":"JWT"}`) + "." + parts[1] + ".",
			"alg NONE, signed":   encode(`{"alg":"NONE","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
			"another key":        sign(t, jose.ES256, stranger, good),
			"HMAC with its kid":  sign(t, jose.HS256, []byte("0123456789abcdef0123456789abcdef"), good),
			"garbage":            "garbage-" + wrongSecret,
			"many dots":          strings.Repeat(".", 4000),
			"large":              strings.Repeat("x", 20000),
			"padded":             good + "=",
		}
		for other, foreign := range tokens {
			if other != realm {
				bad["token of "+other] = foreign
			}
		}
		for what, token := range bad {
			t.Run(name+"/"+what, func(t *testing.T) {
				a := call.worn(token).send(t, p)
				a.refusal(t, status, "invalid_token")
				if got := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer ") {
					t.Errorf("WWW-Authenticate: %q", got)
				}
				if strings.Contains(a.body, token) {
					t.Error("the answer repeats the token")
				}
			})
		}
		t.Run(name+"/no token", func(t *testing.T) {
			a := call.with(func(m *message) { m.header = m.header[2:] }).send(t, p)
			if a.status != 401 || strings.Contains(a.header.Get("WWW-Authenticate"), "error=") {
				t.Errorf("%d with %q, want 401 and a challenge without an error (RFC 6750 section 3.1)", a.status, a.header.Get("WWW-Authenticate"))
			}
		})
		t.Run(name+"/two tokens", func(t *testing.T) {
			a := call.worn(good).with(func(m *message) { m.header = append(m.header, "Authorization", "Bearer "+good) }).send(t, p)
			a.refusal(t, 400, "invalid_request")
		})
	}
}

// TestExpiredTokens waits for tokens of a realm with a short lifetime to end.
func TestExpiredTokens(t *testing.T) {
	s := serve(t, "lifetime: 2s")
	worn := map[string]message{}
	for realm := range s.logins {
		worn[realm] = s.calls[realm].worn(s.login(t, realm))
		if a := worn[realm].send(t, s.process); a.status != 200 {
			t.Errorf("%s: a new token: %d %s", realm, a.status, a.body)
		}
	}
	for realm, call := range worn {
		want := 401
		if realm == "web1on1" {
			want = 403
		}
		eventually(t, func() (answer, bool) {
			a := call.send(t, s.process)
			return a, a.status != 200
		}).refusal(t, want, "invalid_token")
	}
}

func flip(part string) string {
	c := byte('A')
	if part[len(part)/2] == c {
		c = 'B'
	}
	return part[:len(part)/2] + string(c) + part[len(part)/2+1:]
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// sign makes a token with the claims and the kid of another, and a key that is
// not the issuer's.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, like string) string {
	t.Helper()
	parts := strings.Split(like, ".")
	head, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	var header map[string]any
	if err := json.Unmarshal(head, &header); err != nil {
		t.Fatal(err)
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	kid, _ := header["kid"].(string)
	typ, _ := header["typ"].(string)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// introspectForeignTokens checks the standard realm, whose tokens no sample
// API takes: what is not good is inactive, and nothing more is said.
func introspectForeignTokens(t *testing.T, p *process) {
	asker := func(path, body string) answer {
		return message{"POST", "/oauth2" + path, form, body, basicAuth("demo-client:demo-secret")}.send(t, p)
	}
	good := token(t, p, "oauth2")
	parts := strings.Split(good, ".")
	if a := asker("/introspect", "token="+good); a.object(t)["active"] != true {
		t.Fatalf("a good token: %s", a.body)
	}
	for name, bad := range map[string]string{
		"of iadvize": token(t, p, "iadvize"), "of web1on1": token(t, p, "web1on1"), "garbage": "x",
		"alg none": encode(`{"alg":"none","typ":"at+jwt"}`) + "." + parts[1] + ".", "tampered": parts[0] + "." + flip(parts[1]) + "." + parts[2],
	} {
		if a := asker("/introspect", "token="+bad); a.status != http.StatusOK || strings.TrimSpace(a.body) != `{"active":false}` {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		asker("/revoke", "token="+bad).want(t, 200, "")
	}
	if a := asker("/introspect", "token="+good); a.object(t)["active"] != true {
		t.Errorf("revoking other tokens ended this one: %s", a.body)
	}
	for _, path := range []string{"/introspect", "/revoke"} {
		asker(path, "").refusal(t, 400, "invalid_request")
		asker(path, "token=a&token=b").refusal(t, 400, "invalid_request")
		message{"POST", "/oauth2" + path, form, "token=x", nil}.send(t, p).refusal(t, 401, "invalid_client")
		message{"POST", "/oauth2" + path, form, "token=x", basicAuth("demo-client:" + wrongSecret)}.send(t, p).refusal(t, 401, "invalid_client")
		message{"GET", "/oauth2" + path + "?token=x", "", "", basicAuth("demo-client:demo-secret")}.send(t, p).refusal(t, 405, "")
	}
}

// badPaths checks that no part of the system reads a path in another way
// than the guard.
func badPaths(t *testing.T, p *process) {
	for path, status := range map[string]int{
		"/nowhere": 404, "/iadvize/oauth2/token/x": 401, "/IADVIZE/oauth2/token": 404, "/iadvizeoauth2/token": 404,
		"//iadvize/oauth2/token": 400, "/iadvize//oauth2/token": 400, "/altrata/%2e%2e/iadvize/oauth2/token": 400,
		"/iadvize/oauth2%2ftoken": 400, "/iadvize/./oauth2/token": 400, "/iadvize/..;/oauth2/token": 400,
		`/iadvize/oauth2\token`: 400, "/iadvize/oauth2/token%00": 400, "/iadvize/%252e/oauth2/token": 400,
		"/alvys/api/authentication/acme%2f..%2fglobex/token": 400, "/alvys/api/authentication//token": 400,
		"/alvys/api/authentication/../token": 400,
	} {
		t.Run(path, func(t *testing.T) {
			a := rawPath(t, p, path)
			if a.status != status {
				t.Errorf("%d %s, want %d", a.status, a.body, status)
			}
		})
	}
}
