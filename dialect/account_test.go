package dialect_test

import (
	"slices"
	"testing"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
)

// TestAccountVars: all that an account may give is what logins demand, what calls
// wear, what vars has, and what a login leaves out without it, be it in what the
// client signs or in a step before the last.
func TestAccountVars(t *testing.T) {
	for src, want := range map[string][]string{
		"token: https://a.example/token": {"client_id", "client_secret", "scope", "resource"},
		`vars: {region: eu}
let: {assertion: {jwt: {iss: $client_id, scope: $scope}, alg: RS256, key: $private_key}}
token: {POST: https://a.example/token, form: {assertion: $assertion}}
call: https://$shop.a.example`: {"client_id", "private_key", "shop", "region", "scope"},
		`token:
- {POST: https://a.example/one, form: {user: $username, scope: $scope}, returns: {ticket: $ticket}}
- {POST: https://a.example/two, form: {ticket: $ticket, password: $password}}`: {"username", "password", "scope"},
	} {
		d, err := dialect.Parse("a.yaml", []byte("dialect: a\n"+src+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := d.AccountVars(); !slices.Equal(got, want) {
			t.Errorf("%s\nan account may give %v, want %v", src, got, want)
		}
	}
}

// TestPEM: the kinds of which law makes keys and certificates are in PEM, and no
// others.
func TestPEM(t *testing.T) {
	for _, kind := range []string{
		"certificate", "signing certificate", "key", "RS256", "RS512", "PS384", "ES256", "EdDSA",
		"", "seconds", "minutes", "hours", "instant", "day", "words", "url", "cookies", "HS256", "hex", "base64",
	} {
		if want := law.Key(kind) != ""; dialect.PEM(kind) != want {
			t.Errorf("%q is in PEM: %v, want %v", kind, !want, want)
		}
	}
}
