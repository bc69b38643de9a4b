package dialect_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
)

// TestAccept: another form of a login that says only its URL is the login at
// that URL, signature and all; one that says more keeps what it says, and
// leaves the rest to RFC 6749 as a login does.
func TestAccept(t *testing.T) {
	vars := jeton.Vars{"client_id": "app", "client_secret": "s3cret", "username": "ann", "api_key": "k",
		"access_key_id": "AKIDEXAMPLE", "secret_access_key": "sk"}
	for _, c := range []struct{ token, accept, header, want, body string }{
		{"https://a.example/t", "{POST: /p/t}", "Authorization", "", "grant_type=client_credentials&client_id=app&client_secret=s3cret"},
		{"https://a.example/t", "{POST: /p/t, basic: $client_id:$client_secret}", "Authorization", basic("app:s3cret"), "grant_type=client_credentials"},
		{"https://a.example/t", "{POST: /p/t, headers: {x-key: $api_key}}", "X-Key", "k", "grant_type=client_credentials&client_id=app&client_secret=s3cret"},
		{"{POST: https://a.example/t, json: {u: $username}, sign: {aws4: {region: eu-1, service: auth}}, returns: {t: $access_token}}",
			"{POST: /p/t}", "X-Amz-Date", "+", `{"u":"ann"}`},
		{"{GET: https://a.example/t, query: {k: $api_key}, returns: {t: $access_token}}", "{POST: /p/t, headers: {x-key: $api_key}, text: go}", "X-Key", "k", "go"},
	} {
		d, err := dialect.Parse("x", []byte("dialect: x\ntoken: "+c.token+"\naccept: ["+c.accept+"]\n"))
		if err != nil {
			t.Errorf("%s: %v", c.accept, err)
			continue
		}
		r, err := d.WriteRequest(t.Context(), d.Accept[0], nil, vars)
		if err != nil {
			t.Errorf("%s: %v", c.accept, err)
			continue
		}
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		got := r.Header.Get(c.header)
		if body := string(text); body != c.body || r.URL.Path != "/p/t" || c.want != "+" && got != c.want || c.want == "+" && got == "" {
			t.Errorf("%s: %s %s: %q, body %s", c.accept, r.URL, c.header, got, body)
		}
	}
}

// TestAcceptBasic: a login as RFC 6749 has it takes the client's name and secret
// by Basic already, so saying so again is no second form.
func TestAcceptBasic(t *testing.T) {
	for _, basicOf := range []string{"$client_id:$client_secret", "name:secret"} {
		d, err := dialect.Parse("x", []byte("dialect: x\ntoken: https://a.example/t\naccept: [{POST: /t, basic: "+basicOf+"}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := law.Check(d, 5, 1).Err(); err != nil {
			t.Error(err)
		}
	}
}

// TestCallAccept: whichever way a call wears its token, it wears all that the
// first way has beside it, the client's certificate too.
func TestCallAccept(t *testing.T) {
	cert, key := law.Key("certificate"), law.Key("key")
	account := jeton.Vars{"access_token": "tok", "api_key": "k", "username": "ann", "password": "s3cret",
		"client_secret": "cs", "cert": cert, "private_key": key}
	for what, c := range map[string]struct{ call, without, with string }{
		"a certificate": {"{bearer: $access_token, tls: {cert: $cert, key: $private_key}, accept: [{headers: {x-token: $access_token}}]}",
			"X-Token: tok", ""},
		"a query":   {"{bearer: $access_token, query: {key: $api_key}, accept: [{headers: {x-token: $access_token}}]}", "/?x=y X-Token: tok", "/?key=k X-Token: tok"},
		"a cookie":  {"{bearer: $access_token, cookies: {key: $api_key}, accept: [{headers: {x-token: $access_token}}]}", "X-Token: tok", "X-Token: tok;Cookie: key=k"},
		"Basic":     {"{headers: {x-token: $access_token}, basic: $username:$password, accept: [{query: {t: $access_token}}]}", "/?t=tok", "/?t=tok Authorization: " + basic("ann:s3cret")},
		"a digest":  {"{headers: {x-token: $access_token, x-sum: '$hex($sha256($client_secret$access_token))'}, accept: [{query: {t: $access_token}}]}", "/?t=tok", ""},
		"own place": {"{bearer: $access_token, headers: {x-key: $api_key}, accept: [{headers: {x-token: $access_token, X-Key: v1 $api_key}}]}", "X-Token: tok;X-Key: k", "X-Token: tok;X-Key: v1 k"},
	} {
		d, err := dialect.Parse("x", []byte("dialect: x\ntoken: https://a.example/t\ncall: "+c.call+"\n"))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		taken := func(request string) bool {
			m, err := d.ReceiveCall(requestOf(t, request), nil)
			return err == nil && m.Prove(account, time.Now()) == nil
		}
		if taken(c.without) || c.with != "" && !taken(c.with) {
			t.Errorf("%s: taken without: %v, with: %v", what, taken(c.without), taken(c.with))
		}
	}
}

// requestOf reads "/path Name: value;Name: value", the path of which may be
// absent.
func requestOf(t *testing.T, text string) *http.Request {
	t.Helper()
	path := "/"
	if strings.HasPrefix(text, "/") {
		path, text, _ = strings.Cut(text, " ")
	}
	r := httptest.NewRequest("GET", path, nil)
	for line := range strings.SplitSeq(text, ";") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			r.Header.Set(name, value)
		}
	}
	return r
}

// TestCallAcceptLess: another way that leaves out what the first has is refused,
// and so is one of what is no token.
func TestCallAcceptLess(t *testing.T) {
	for source, want := range map[string]string{
		"token: https://a.example/t\ncall: {headers: {x-token: '$access_token:$hex($sha256($client_secret$access_token))'}, accept: [{bearer: $access_token}]}": "wears $client_secret",
		"token: https://a.example/t\ncall: {headers: {x-token: $access_token}, basic: $username:$password, accept: [{bearer: $access_token}]}":                  "wears $username",
		"call: {base: 'https://a.example', headers: {x-id: $client_id}, tls: {cert: $cert, key: $private_key}, accept: [{query: {id: $client_id}}]}":            "here is none",
	} {
		if _, err := dialect.Parse("x", []byte("dialect: x\n"+source+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}
