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
	"github.com/jetonhq/jeton/dialects"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

func load(t testing.TB, name string) *dialect.Dialect {
	t.Helper()
	d, err := dialects.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func request(method, target, contentType, body string, headers ...string) (*http.Request, []byte) {
	r := httptest.NewRequest(method, target, nil)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r, []byte(body)
}

func basic(text string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(text))
}

// TestReadRequestRefusals: each way in which a login can be malformed has its
// code and names what is wrong.
func TestReadRequestRefusals(t *testing.T) {
	const form = "username=u&password=p&grant_type=password"
	const altrata = "/oauth2/token?grant_type=client_credentials"
	for _, c := range []struct {
		dialect, method, target, contentType, body string
		headers                                    []string
		want                                       jeton.Code
		says                                       string
	}{
		{"iadvize", "POST", "/oauth2/token", formType, "username=u&grant_type=password", nil, jeton.InvalidRequest, "password is missing"},
		{"iadvize", "POST", "/oauth2/token", formType, "username=&password=p&grant_type=password", nil, jeton.InvalidRequest, "username is missing"},
		{"iadvize", "POST", "/oauth2/token", formType, form + "&username=v", nil, jeton.InvalidRequest, "stands twice"},
		{"iadvize", "POST", "/oauth2/token", formType, "username=%ff&password=p&grant_type=password", nil, jeton.InvalidRequest, "UTF-8"},
		{"iadvize", "POST", "/oauth2/token", formType, "username=%zz&password=p&grant_type=password", nil, jeton.InvalidRequest, "not form-encoded"},
		{"iadvize", "POST", "/oauth2/token", jsonType, form, nil, jeton.InvalidRequest, "content type"},
		{"iadvize", "POST", "/oauth2/token", "", form, nil, jeton.InvalidRequest, "content type"},
		{"iadvize", "POST", "/oauth2/token", formType + "; charset=latin1", form, nil, jeton.InvalidRequest, "UTF-8"},
		{"iadvize", "POST", "/oauth2/token", formType, "username=u&password=p", nil, jeton.InvalidRequest, "grant_type is missing"},
		{"iadvize", "POST", "/oauth2/token", formType, "grant_type=client_credentials&client_id=a&client_secret=b", nil, jeton.UnsupportedGrantType, "password"},
		{"iadvize", "POST", "/oauth2/token?password=p", formType, form, nil, jeton.InvalidRequest, "must not stand in the URL"},
		{"iadvize", "POST", "/oauth2/token", formType, form + strings.Repeat("&a=b", 200), nil, jeton.InvalidRequest, "too many"},
		{"altrata", "POST", altrata, formType, "", []string{"X-Api-Key", "k"}, jeton.InvalidClient, "Basic"},
		{"altrata", "POST", altrata, "", "", []string{"Authorization", basic("nocolon"), "X-Api-Key", "k"}, jeton.InvalidClient, "no colon"},
		{"altrata", "POST", altrata, "", "", []string{"Authorization", "Basic %%%", "X-Api-Key", "k"}, jeton.InvalidClient, "base64"},
		{"altrata", "POST", altrata, "", "", []string{"Authorization", basic("u:p")}, jeton.InvalidRequest, "x-api-key is missing"},
		{"altrata", "POST", altrata, "", "", []string{"Authorization", basic("u:p"), "X-Api-Key", "k", "X-Api-Key", "l"}, jeton.InvalidRequest, "stands twice"},
		{"altrata", "POST", altrata, "", "", []string{"Authorization", basic("u:p"), "Authorization", basic("v:p"), "X-Api-Key", "k"}, jeton.InvalidRequest, "stands twice"},
		{"altrata", "POST", "/oauth2/token", "", "", []string{"Authorization", basic("u:p"), "X-Api-Key", "k"}, jeton.InvalidRequest, "grant_type is missing"},
		{"altrata", "POST", "/oauth2/token?grant_type=password", "", "", []string{"Authorization", basic("u:p"), "X-Api-Key", "k"}, jeton.UnsupportedGrantType, "client_credentials"},
		{"alvys", "POST", "/api/authentication/acme/token", formType, "grant_type=client_credentials&client_id=a&client_secret=b&tenant_id=globex", nil, jeton.InvalidRequest, "differs"},
		{"alvys", "POST", "/api/authentication/acme/token", formType, "grant_type=client_credentials&client_id=a", nil, jeton.InvalidClient, "authenticate"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, `{"email": "a"}`, nil, jeton.InvalidRequest, "password is missing"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, `{"email": 5, "password": "p"}`, nil, jeton.InvalidRequest, "email is to be text"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, `{"email": "a", "email": "b", "password": "p"}`, nil, jeton.InvalidRequest, "twice"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, `{"email": "a"`, nil, jeton.InvalidRequest, "not one JSON document"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, `["a"]`, nil, jeton.InvalidRequest, "JSON object"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, ``, nil, jeton.InvalidRequest, "not one JSON document"},
		{"web1on1", "POST", "/v2/auth/token", formType, `{"email": "a", "password": "p"}`, nil, jeton.InvalidRequest, "content type"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, `{"email": "a", "password": "p", "refreshToken": "r", "clientId": "c"}`, nil, jeton.InvalidRequest, "two documented forms"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, `{"refreshToken": "r"}`, nil, jeton.InvalidRequest, "clientId is missing"},
		{"web1on1", "GET", "/v2/auth/token?refreshToken=r", "", "", nil, jeton.InvalidRequest, "Authorization"},
		{"web1on1", "POST", "/v2/auth/token", jsonType, strings.Repeat("[", 5000), nil, jeton.InvalidRequest, "not one JSON document"},
		{"oauth2", "POST", "/token", formType, "grant_type=foo&client_id=a&client_secret=b", nil, jeton.UnsupportedGrantType, ""},
		{"oauth2", "POST", "/token", formType, "grant_type=client_credentials&client_id=a&client_secret=b", []string{"Authorization", basic("a:b")}, jeton.InvalidRequest, "use one of them"},
		{"oauth2", "POST", "/token", formType, "grant_type=client_credentials&client_id=c", []string{"Authorization", basic("a:b")}, jeton.InvalidRequest, "differs"},
		{"oauth2", "POST", "/token", formType, "grant_type=client_credentials", nil, jeton.InvalidClient, "authenticate"},
		{"oauth2", "POST", "/token?client_secret=b", formType, "grant_type=client_credentials&client_id=a", nil, jeton.InvalidRequest, "URL"},
		{"oauth2", "POST", "/token", formType, "grant_type=refresh_token&client_id=a&client_secret=b", nil, jeton.InvalidRequest, "refresh_token is missing"},
	} {
		r, body := request(c.method, c.target, c.contentType, c.body, c.headers...)
		_, _, err := received(load(t, c.dialect).ReadRequest(r, body))
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s %s %s:\n got %v\nwant %s: %s", c.dialect, c.target, c.body, err, c.want, c.says)
		}
	}
}

// TestNameWithoutValue: RFC 6749 section 3.2 makes no difference between a
// parameter without a value and none.
func TestNameWithoutValue(t *testing.T) {
	d, err := dialect.Parse("f.yaml", []byte("dialect: x\ntoken:\n  POST: https://x.example/t\n  query: {flag: ''}\n  form: {user: $username, otp: ''}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for target, says := range map[string]string{
		"/t?flag=":     "",
		"/t?flag":      "",
		"/t":           "",
		"/t?flag=true": "flag is to have no value",
	} {
		r, body := request("POST", target, formType, "user=u&otp=")
		_, vars, err := received(d.ReadRequest(r, body))
		switch {
		case says == "" && (err != nil || vars["username"] != "u"):
			t.Errorf("%s: %v, %v", target, vars, err)
		case says != "" && (!errors.Is(err, jeton.InvalidRequest) || !strings.Contains(err.Error(), says)):
			t.Errorf("%s: %v, want %s", target, err, says)
		}
	}
}

func TestReadRequestElsewhere(t *testing.T) {
	d := load(t, "web1on1")
	r, _ := request("POST", "/v2/auth/other", jsonType, "{}")
	if _, _, err := received(d.ReadRequest(r, nil)); !errors.Is(err, dialect.ErrNotFound) {
		t.Errorf("an unknown path: %v", err)
	}
	r, _ = request("DELETE", "/v2/auth/token", "", "")
	_, _, err := received(d.ReadRequest(r, nil))
	if e, ok := errors.AsType[*dialect.MethodError](err); !ok || strings.Join(e.Allow, " ") != "POST GET" {
		t.Errorf("an unknown method: %v", err)
	}
}

// TestStandardForms: a standard realm takes what RFC 6749 has beside client
// credentials, and either form of client authentication.
func TestStandardForms(t *testing.T) {
	for _, c := range []struct {
		body  string
		basic string
		grant jeton.Grant
		want  jeton.Vars
	}{
		{"grant_type=client_credentials&scope=", "a%3Ab:s%20e", jeton.GrantClientCredentials, jeton.Vars{"client_id": "a:b", "client_secret": "s e"}},
		{"grant_type=client_credentials&client_id=a&client_secret=b&scope=x+y", "", jeton.GrantClientCredentials, jeton.Vars{"client_id": "a", "client_secret": "b", "scope": "x y"}},
		{"grant_type=client_credentials&resource=https://x&resource=https://y", "a:b", jeton.GrantClientCredentials, jeton.Vars{"client_id": "a", "client_secret": "b", "resource": "https://x https://y"}},
		{"grant_type=password&username=u&password=p", "a:b", jeton.GrantPassword, jeton.Vars{"client_id": "a", "client_secret": "b", "username": "u", "password": "p"}},
		{"grant_type=refresh_token&refresh_token=r&unknown=ignored", "a:b", jeton.GrantRefreshToken, jeton.Vars{"client_id": "a", "client_secret": "b", "refresh_token": "r"}},
	} {
		r, body := request("POST", "/token", formType, c.body)
		if c.basic != "" {
			r.Header.Set("Authorization", basic(c.basic))
		}
		x, vars, err := received(load(t, "oauth2").ReadRequest(r, body))
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		if diff := cmp.Diff(c.want, vars); diff != "" || x.Grant != c.grant {
			t.Errorf("%s: %s %s", c.body, x.Grant, diff)
		}
	}
}

func TestReadCall(t *testing.T) {
	altrata, iadvize := load(t, "altrata"), load(t, "iadvize")
	for _, c := range []struct {
		d       *dialect.Dialect
		headers []string
		want    jeton.Vars
		code    error
	}{
		{iadvize, []string{"Authorization", "bEARER t"}, jeton.Vars{"access_token": "t"}, nil},
		{iadvize, nil, nil, dialect.ErrNoCredentials},
		{iadvize, []string{"Authorization", "Basic dTpw"}, nil, dialect.ErrNoCredentials},
		{iadvize, []string{"Authorization", "Bearer"}, nil, dialect.ErrNoCredentials},
		{iadvize, []string{"Authorization", "Bearer a b"}, nil, jeton.InvalidRequest},
		{iadvize, []string{"Authorization", "Bearer a", "Authorization", "Bearer b"}, nil, jeton.InvalidRequest},
		{iadvize, []string{"Authorization", "Bearer a, Bearer b"}, nil, jeton.InvalidRequest},
		{altrata, []string{"Authorization", "Bearer t", "x-api-key", "k"}, jeton.Vars{"access_token": "t", "api_key": "k"}, nil},
		{altrata, []string{"Authorization", "t", "x-api-key", "k"}, jeton.Vars{"access_token": "t", "api_key": "k"}, nil},
		{altrata, []string{"Authorization", "Bearer t"}, nil, jeton.InvalidToken},
		{altrata, []string{"x-api-key", "k"}, nil, dialect.ErrNoCredentials},
		{altrata, []string{"Authorization", "Bearer t", "x-api-key", "k", "x-api-key", "l"}, nil, jeton.InvalidRequest},
	} {
		r, _ := request("GET", "/", "", "", c.headers...)
		vars, err := c.d.ReadCall(r)
		if c.code == nil && err != nil || c.code != nil && !errors.Is(err, c.code) {
			t.Errorf("%v: %v, want %v", c.headers, err, c.code)
		}
		if diff := cmp.Diff(c.want, vars); diff != "" {
			t.Errorf("%v: %s", c.headers, diff)
		}
	}
}

// TestReadResponseRefusals: what a broker decides by: latch, wait or give up.
func TestReadResponseRefusals(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		dialect string
		status  int
		retry   string
		body    string
		want    jeton.Code
		after   time.Duration
	}{
		{"iadvize", 429, "60", `{"error":"invalid_grant"}`, jeton.SlowDown, time.Minute},
		{"iadvize", 429, "Fri, 02 Jan 2026 03:05:05 GMT", "", jeton.SlowDown, time.Minute},
		{"iadvize", 400, "", `{"error":"invalid_grant","error_description":"hunter2"}`, jeton.InvalidGrant, 0},
		{"iadvize", 401, "", "<html>", jeton.InvalidGrant, 0},
		{"altrata", 401, "", "", jeton.InvalidClient, 0},
		{"altrata", 400, "", "", jeton.InvalidRequest, 0},
		{"altrata", 503, "7", `{"error":"invalid_client"}`, jeton.Unavailable, 7 * time.Second},
		{"altrata", 302, "", "", jeton.InvalidRequest, 0},
		{"altrata", 429, "99999999999999999999", "", jeton.SlowDown, 100 * 365 * 24 * time.Hour},
		{"altrata", 429, "-1", "", jeton.SlowDown, 0},
	} {
		d := load(t, c.dialect)
		_, err := d.ReadResponse(d.Login, c.status, http.Header{"Retry-After": {c.retry}}, []byte(c.body), now)
		e, ok := errors.AsType[*jeton.Error](err)
		if !ok || e.Code != c.want || e.RetryAfter != c.after {
			t.Errorf("%s %d %s: %v", c.dialect, c.status, c.body, err)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("what the vendor wrote is shown: %v", err)
		}
	}
	d := load(t, "iadvize")
	for _, body := range []string{"", "{}", `{"access_token": ""}`, `{"access_token": 5}`, "[]", `{"access_token":"a"} x`} {
		if vars, err := d.ReadResponse(d.Login, 200, nil, []byte(body), now); err == nil {
			t.Errorf("%q was read as %v", body, vars)
		}
	}
}

// TestRefusedByTheBody: an answer with the body of a refusal is that refusal,
// also under a status that means yes as well.
func TestRefusedByTheBody(t *testing.T) {
	d, err := dialect.Parse("d.yaml", []byte(`dialect: d
token:
  GET: https://a.test/token
  query: {appid: $client_id, secret: $client_secret}
  returns: {access_token: $access_token}
errors:
  invalid_client: {status: 200, json: {errcode: 40013, errmsg: $error_description}}
  invalid_scope: {status: 400, json: {errcode: 40014}}
  unauthorized_client: {status: 400, json: {errcode: 40015}}
  invalid_request: {status: 200, json: {message: $error_description}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		body   string
		want   jeton.Code // empty: an error of no kind
	}{
		{200, `{"errcode": 40013, "errmsg": "hunter2", "rid": 7}`, jeton.InvalidClient},
		{200, `{"errcode": 40013}`, jeton.InvalidClient},
		{400, `{"errcode": 40015}`, jeton.UnauthorizedClient},
		{200, `{"errcode": 40015}`, ""},
		{200, `{"errcode": "40013"}`, ""},
		{200, `{"message": "which has no fixed text"}`, ""},
		{200, `{"errcode": 1}`, ""},
	} {
		_, err := d.ReadResponse(d.Login, c.status, nil, []byte(c.body), time.Now())
		if e, ok := errors.AsType[*jeton.Error](err); err == nil || ok != (c.want != "") || ok && e.Code != c.want {
			t.Errorf("%d %s: %v, want %s", c.status, c.body, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("what the vendor wrote is shown: %v", err)
		}
	}
}

// TestRefusedWithoutAToken: where an answer has no token to miss, the body of a
// refusal is one all the same, and no yes.
func TestRefusedWithoutAToken(t *testing.T) {
	for _, returns := range []string{"", ", returns: {name: $user_id}", ", returns_headers: {x-name: $user_id}"} {
		d := parsed(t, "dialect: d\ntoken: https://a.test/token\ncall: https://a.test\nverify: {GET: /me"+returns+"}\n"+
			"revoke: {POST: /end, form: {token: $access_token}"+returns+"}\n"+
			"errors:\n  invalid_token: {status: 200, json: {success: false, code: 601}}\n  invalid_client: {status: 200, json: {success: false, code: 602}}\n")
		for body, want := range map[string][2]jeton.Code{ // of verify and of revoke; empty: a yes
			`{"success": false, "code": 601}`: {jeton.InvalidToken, ""},
			`{"success": false, "code": 602}`: {jeton.InvalidClient, jeton.InvalidClient},
			`{"success": true}`:               {},
			`welcome`:                         {},
		} {
			for i, x := range []*dialect.Exchange{d.Verify, d.Revoke} {
				_, err := d.ReadResponse(x, 200, http.Header{}, []byte(body), time.Now())
				e, refused := errors.AsType[*jeton.Error](err)
				if refused != (want[i] != "") || refused && e.Code != want[i] {
					t.Errorf("%s%s: %s: %v, want %q", x.Kind, returns, body, err, want[i])
				}
			}
		}
	}
}

// TestExpiry: the earliest of what is known counts.
func TestExpiry(t *testing.T) {
	const century = 100 * 365 * 24 * time.Hour
	now := time.Unix(1_800_000_000, 0)
	jwt := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
	}
	for _, c := range []struct {
		dialect string
		vars    jeton.Vars
		want    time.Duration // 0: unknown
	}{
		{"iadvize", jeton.Vars{"access_token": "x", "expires_in": "60"}, time.Minute},
		{"iadvize", jeton.Vars{"access_token": "x"}, 24 * time.Hour},
		{"iadvize", jeton.Vars{"access_token": "x", "expires_in": "9e300"}, 24 * time.Hour},
		{"iadvize", jeton.Vars{"access_token": jwt(`{"exp":1800000030}`), "expires_in": "60"}, 30 * time.Second},
		{"web1on1", jeton.Vars{"access_token": jwt(`{"exp":1900000000}`)}, 24 * time.Hour},
		{"alvys", jeton.Vars{"access_token": "x"}, 0},
		{"alvys", jeton.Vars{"access_token": "x", "expires_in": "9e300"}, century},
		{"alvys", jeton.Vars{"access_token": "x", "expires_at": "9223372036854775807"}, century}, // a year that no record can hold
		{"alvys", jeton.Vars{"access_token": jwt(`{"exp":1000000000000}`)}, century},
		{"alvys", jeton.Vars{"access_token": jwt(`{"exp":"soon"}`)}, 0},
	} {
		got := load(t, c.dialect).NewToken(c.vars, now).Expiry
		if c.want == 0 && !got.IsZero() || c.want != 0 && !got.Equal(now.Add(c.want)) {
			t.Errorf("%s %v: %v, want %v", c.dialect, c.vars["expires_in"], got.Sub(now), c.want)
		}
	}
}

// TestMade: a token that the client made says when, by itself or by what it is
// made of, or it does not.
func TestMade(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	nowhere := parsed(t, `dialect: x
let: {access_token: key-$api_key}
call: https://x.example
`)
	token := func(d *dialect.Dialect, vars jeton.Vars) jeton.Secret {
		t.Helper()
		made, err := d.Mint(vars, now)
		if err != nil {
			t.Fatal(err)
		}
		return made.AccessToken
	}
	user := token(load(t, "emarsys"), jeton.Vars{"username": "u", "password": "p"})
	signed := token(load(t, "vonage"), jeton.Vars{"application_id": "a", "private_key": law.Key("RS256")})
	without, err := sign.MakeJWT("RS256", law.Key("RS256"), nil, map[string]any{"application_id": "a", "jti": "1f0b6c3e-2b1f-4c3e-8c55-0d9f3a5c7e11"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		d    *dialect.Dialect
		made jeton.Secret
		want time.Time
	}{
		{"by a let", load(t, "emarsys"), user, now},
		{"by iat", load(t, "vonage"), signed, now},
		{"a JWT that does not say", load(t, "vonage"), jeton.NewSecret(without), time.Time{}},
		{"a text", nowhere, token(nowhere, jeton.Vars{"api_key": "k"}), time.Time{}},
	} {
		m, err := c.d.Open(c.made)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := m.Made(); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRefreshWith(t *testing.T) {
	now := time.Now()
	d := load(t, "web1on1")
	token := d.NewToken(jeton.Vars{"access_token": "a", "refresh_token": "r", "expires_in": "60"}, now)
	if x := d.RefreshWith(token, now); x == nil || x.When != "valid" {
		t.Errorf("while it is valid: %+v", x)
	}
	if x := d.RefreshWith(token, now.Add(25*time.Hour)); x == nil || x.When != "expired" {
		t.Errorf("after expiry: %+v", x)
	}
	iadvize := load(t, "iadvize")
	vars, err := iadvize.ReadResponse(iadvize.Login, 200, nil, []byte(`{"access_token":"a","expires_in":1,"token_type":"Bearer","refresh_token":"none"}`), now)
	if err != nil {
		t.Fatal(err)
	}
	if token := iadvize.NewToken(vars, now); !token.RefreshToken.IsZero() || iadvize.RefreshWith(token, now) != nil {
		t.Error(`the text "none" became a refresh token`)
	}
}

func TestWriteErrors(t *testing.T) {
	for _, c := range []struct {
		dialect   string
		call      bool
		err       error
		status    int
		challenge string
		body      string
	}{
		{"iadvize", true, jeton.Refuse(jeton.InvalidToken, "x"), 401, `Bearer realm="r", error="invalid_token", error_description="x"`, `{"error":"invalid_token","error_description":"access token not valid"}`},
		{"iadvize", true, dialect.ErrNoCredentials, 401, `Bearer realm="r"`, `{"error":"invalid_token","error_description":"access token not valid"}`},
		{"web1on1", true, jeton.Refuse(jeton.InvalidToken, "expired"), 403, `Bearer realm="r", error="invalid_token", error_description="expired"`, `{"error":"invalid_token","error_description":"expired"}`},
		{"web1on1", true, dialect.ErrNoCredentials, 401, `Bearer realm="r"`, `{"error":"invalid_token","error_description":"the call carries no access token"}`},
		{"web1on1", true, &jeton.Error{Code: jeton.InsufficientScope, Scope: jeton.Scope{"admin"}}, 403, `Bearer realm="r", error="insufficient_scope", scope="admin"`, `{"error":"insufficient_scope"}`},
		{"oauth2", true, dialect.ErrNoCredentials, 401, `Bearer realm="r"`, `{}`},
		{"alvys", true, dialect.ErrNoCredentials, 401, `Bearer realm="r"`, `{}`},
		{"oauth2", true, errors.New("disk on fire"), 503, "", `{"error":"temporarily_unavailable","error_description":"the token could not be checked; try again later"}`},
		{"oauth2", false, errors.New("disk on fire"), 503, "", `{"error":"server_error","error_description":"the request could not be decided; try again later"}`},
		{"oauth2", false, jeton.Refuse(jeton.InvalidClient, ""), 401, `Basic realm="r"`, `{"error":"invalid_client"}`},
		{"iadvize", false, jeton.Refuse(jeton.InvalidGrant, ""), 400, "", `{"error":"invalid_grant"}`},
		{"iadvize", false, &jeton.Error{Code: jeton.SlowDown, RetryAfter: 1500 * time.Millisecond}, 429, "", `{"error":"slow_down"}`},
	} {
		w := httptest.NewRecorder()
		d := load(t, c.dialect)
		if c.call {
			d.WriteCallError(w, "r", c.err)
		} else {
			d.WriteTokenError(w, "r", c.err)
		}
		if w.Code != c.status || w.Header().Get("WWW-Authenticate") != c.challenge || w.Body.String() != c.body || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %v: %d %q %s", c.dialect, c.err, w.Code, w.Header().Get("WWW-Authenticate"), w.Body)
		}
		if c.status == 429 && w.Header().Get("Retry-After") != "2" {
			t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
		}
	}
}

// TestOrigin: an origin stands in for every host of a dialect, and what an
// account chooses cannot leave its segment of the path or its place in a host.
func TestOrigin(t *testing.T) {
	d := load(t, "altrata")
	u, err := d.CallURL(nil, jeton.Vars{"service": "events"})
	if err != nil || u.String() != "https://events.altrata.com" {
		t.Errorf("%v %v", u, err)
	}
	if _, err := d.CallURL(nil, jeton.Vars{"service": "evil.example/"}); err == nil {
		t.Error("a service that is not among the choice was accepted")
	}
	origin, _ := url.Parse("http://127.0.0.1:8080/altrata/")
	if u, err = d.CallURL(origin, nil); err != nil || u.String() != "http://127.0.0.1:8080/altrata" {
		t.Errorf("%v %v", u, err)
	}
	alvys := load(t, "alvys")
	for tenant, want := range map[string]string{"a/b": "/p/api/authentication/a%2Fb/token", "é": "/p/api/authentication/%C3%A9/token", "..": ""} {
		origin, _ := url.Parse("http://h/p")
		r, err := alvys.WriteRequest(t.Context(), alvys.Login, origin, jeton.Vars{"tenant_id": tenant, "client_id": "a", "client_secret": "b"})
		if want == "" && err == nil || want != "" && (err != nil || r.URL.EscapedPath() != want) {
			t.Errorf("tenant %q: %v", tenant, err)
		}
	}
}

// FuzzReadRequest: whatever comes in, the reader neither panics nor binds a
// hole to nothing, every refusal has a code, and what was read can be written,
// if the server knows all that it is made of, and is read again as the same.
func FuzzReadRequest(f *testing.F) {
	f.Add("POST", "/oauth2/token", formType, "username=u&password=p&grant_type=password", "")
	f.Add("POST", "/oauth2/token?grant_type=client_credentials", "", "", basic("u:p"))
	f.Add("POST", "/v2/auth/token", jsonType, `{"email":"a","password":"b"}`, "")
	f.Add("GET", "/v2/auth/token?refreshToken=r", "", "", "Bearer t")
	f.Add("POST", "/api/p/authentication/a%2Fb/token", formType, "grant_type=client_credentials&client_id=a&client_secret=b", "")
	f.Add("POST", "/token", formType, "grant_type=refresh_token&refresh_token=r&client_id=a&client_secret=b&scope=x+y", "")
	f.Add("POST", "/security/v1/oauth/token", formType, "grant_type=client_credentials", basic("a:b"))
	account := jeton.Vars{"client_id": "app", "username": "ann", "user_id": "ann", "company_id": "c", "host": "h", "api_host": "h",
		"private_key": law.Key("RS256"), "certificate": law.Key("signing certificate"), "use_username": "true"}
	for _, d := range []*dialect.Dialect{parsed(f, samlSource), load(f, "sap-successfactors")} {
		r, err := d.WriteRequest(f.Context(), d.Login, nil, account)
		if err != nil {
			f.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("POST", "/oauth/token", formType, string(body), "")
	}
	all := append(shipped(f), parsed(f, samlSource))
	f.Fuzz(func(t *testing.T, method, target, contentType, body, authorization string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{"Content-Type": {contentType}, "Authorization": {authorization}, "X-Api-Key": {"k"}}}
		for _, d := range all {
			got, err := d.ReadRequest(r, []byte(body))
			if err == nil {
				readAgain(t, d, got)
				continue
			}
			_, refused := errors.AsType[*jeton.Error](err)
			_, method := errors.AsType[*dialect.MethodError](err)
			if !refused && !method && !errors.Is(err, dialect.ErrNotFound) {
				t.Errorf("%s: an error without a code: %v", d.Name, err)
			}
		}
	})
}

func shipped(t testing.TB) (all []*dialect.Dialect) {
	for _, name := range dialects.Names() {
		all = append(all, load(t, name))
	}
	return all
}

// readAgain writes what was read and reads it again.
func readAgain(t *testing.T, d *dialect.Dialect, got *dialect.Received) {
	t.Helper()
	for name, text := range got.Vars {
		if text == "" {
			t.Errorf("%s: $%s is bound to nothing", d.Name, name)
		}
	}
	r, err := d.WriteRequest(t.Context(), got.Exchange, &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, got.Vars)
	if err != nil {
		return // it is made of what a server does not see, or nobody could have sent it
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.ReadRequest(r, body)
	if err != nil {
		t.Errorf("%s: %s %s: what was read is written, and then not read: %v", d.Name, got.Exchange.Method, got.Exchange.Path(), err)
		return
	}
	for name, text := range again.Vars {
		if want, ok := got.Vars[name]; (ok || d.Defaults()[name] != text) && want != text {
			t.Errorf("%s: %s: $%s was %q and is %q", d.Name, got.Exchange.Kind, name, want, text)
		}
	}
	if len(again.Vars) < len(got.Vars) {
		t.Errorf("%s: %s: a variable is lost", d.Name, got.Exchange.Kind)
	}
}

// FuzzReadResponse: a vendor may answer anything. What is taken for an answer
// can be written, and is read again as the same.
func FuzzReadResponse(f *testing.F) {
	f.Add(200, `{"access_token":"a","expires_in":1}`, "")
	f.Add(200, `{"token":"a","refreshToken":"b","user":"c","scope":"d"}`, "")
	f.Add(200, `{"data":{"token":"a","expires_at":"2030-01-31T23:59:59Z"}}`, "")
	f.Add(200, `<response><token>a</token></response>`, "session=1; Path=/")
	f.Add(400, `{"error":"invalid_grant"}`, "")
	all := shipped(f)
	f.Fuzz(func(t *testing.T, status int, body, cookie string) {
		header := http.Header{"Set-Cookie": {cookie}}
		for _, d := range all {
			for _, x := range append(d.Sequence(), d.Refresh...) {
				vars, err := d.ReadResponse(x, status, header, []byte(body), time.Now())
				if err != nil {
					continue
				}
				if x == d.Login && d.NewToken(vars, time.Now()).AccessToken.IsZero() {
					t.Errorf("%s: %q is taken for a token", d.Name, body)
				}
				w := httptest.NewRecorder()
				if err := d.WriteResponse(w, x, vars); err != nil || !x.Answers() {
					continue // no server could have sent it
				}
				again, err := d.ReadResponse(x, w.Code, w.Header(), w.Body.Bytes(), time.Now())
				if diff := cmp.Diff(vars, again); err != nil || diff != "" {
					t.Errorf("%s: the answer to a %s: %v\n%s", d.Name, x.Kind, err, diff)
				}
			}
		}
	})
}

// received is what a request was read as.
func received(m *dialect.Received, err error) (*dialect.Exchange, jeton.Vars, error) {
	if err != nil {
		return nil, nil, err
	}
	return m.Exchange, m.Vars, nil
}
