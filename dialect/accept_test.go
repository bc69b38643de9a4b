package dialect_test

import (
	"io"
	"testing"

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
