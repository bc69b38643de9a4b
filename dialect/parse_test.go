package dialect_test

import (
	"strings"
	"testing"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
	"github.com/jetonhq/jeton/dialects"
)

const minimal = "dialect: x\ntoken: https://x.example/token\n"

func TestParseErrorsSayWhereAndWhat(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"", "f.yaml:1:1: a dialect file is to be a mapping, not nothing"},
		{"- a", "f.yaml:1:1: a dialect file is to be a mapping, not a list"},
		{"dialect: x\n", "f.yaml:1:1: the key token is missing"},
		{"token: https://x.example/\n", "f.yaml:1:1: the key dialect is missing"},
		{minimal + "lifetme: 24h\n", `f.yaml:3:1: unknown key "lifetme"; did you mean lifetime?`},
		{minimal + "lifetime: long\n", "f.yaml:3:11: lifetime is to be a length of time such as 24h"},
		{minimal + "active: 2\n", "f.yaml:3:9: active is to be 1"},
		{minimal + "rate: {user: 10/min}\n", `f.yaml:3:8: unknown key "user"; did you mean username?`},
		{minimal + "rate: {ip: ten}\n", "f.yaml:3:12: a rate is to be a number of logins and a unit"},
		{minimal + "errors: {invalid_tokn: 403}\n", `f.yaml:3:10: unknown key "invalid_tokn"; did you mean invalid_token?`},
		{minimal + "errors: {invalid_token: 9}\n", "f.yaml:3:25: a status is to be a number from 200 to 599"},
		{minimal + "call: {headers: {x-key: $api_kee}}\n", "f.yaml:3:7: unknown hole $api_kee"},
		{minimal + "call: ftp://x\n", "f.yaml:3:7: a URL is to begin with https://"},
		{"dialect: x\ntoken: http://x.example/token\n", "f.yaml:2:8: a secret must not travel over http://"},
		{"dialect: x\ntoken: https://x.example/t?a=b\n", "f.yaml:2:8: write the query under query:"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  form: {user: $usernmae}\n", "f.yaml:3:3: unknown hole $usernmae; did you mean username?"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  form: {user: $username$password}\n", "f.yaml:4:16: $username and $password have no text between them"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  form: {user: $}\n", "f.yaml:4:16: a $ is to be followed by a name"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  form: {user: $sha3(x)}\n", "f.yaml:4:16: there is no function $sha3"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  form: [a]\n", "f.yaml:4:9: form is to be a mapping, not a list"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  json: {a: $username}\n  form: {a: $username}\n", "f.yaml:5:3: the exchange has a body already"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  json: {a: $username}\n  returns: {t: $token}\n", "f.yaml:3:3: nothing makes $access_token"},
		{"dialect: x\ntoken:\n  PSOT: https://x.example/t\n", `f.yaml:3:3: unknown key "PSOT"; did you mean POST?`},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  json: {a: $username}\nrefresh: {POST: , json: {b: $refresh_token, a: $clientid}}\n", "unknown hole $clientid: neither"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  json: {a: $username}\n  returns: {t: $access_token, host: $where}\ncall: https://$where/api\n", "could lead credentials astray"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  json: {a: $username}\nrefresh: {POST: , json: {a: $username}}\n", "cannot be told apart"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  json: {a: $username}\naccept: [{POST: /t, json: {a: $username, b: c}}]\n", "cannot be told apart"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  headers: {X-Key: $api_key}\n  json: {}\naccept: [{POST: /t, headers: {x-key: $api_key, x-pin: $pin}, json: {}}]\n", "cannot be told apart"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  json: {a: $username}\naccept: [{POST: /t, query: {b: ''}, json: {a: $username}}]\n", "cannot be told apart"},
		{"dialect: x\ntoken:\n  POST: https://x.example/t\n  headers: {a: ''}\n", "f.yaml:4:16: an empty value counts as absent"},
		{"dialect: x\ntoken:\n  POST: https://x.example/api/$tenant_id/t\n  json: {a: $username}\naccept: [{POST: /api/$region/t, json: {a: $username, b: c}}]\n", "cannot be told apart"},
		{minimal + "let: {a: {jwt: {x: $username}, alg: RS256, key: $p.$q}}\n", "the key of RS256 is to be one hole"},
		{minimal + "let: {a: \"$fingerprint($p$q)\"}\n", "$fingerprint takes one hole, which holds all of the key in PEM"},
		{"dialect: x\ntoken: https://x.example/t\ndialect: y\n", "f.yaml:3:1: the key stands twice: dialect"},
		{minimal + "call: {headers: {authorization: a}}\n", "f.yaml:3:7: the header Authorization has two values here"},
		{"dialect: x\ntoken: {POST: https://x.example/t, headers: {x-a: $a, X-A: $b}, form: {}}\n", "the header X-A has two values here"},
		{"dialect: x\ntoken: {POST: https://x.example/t, basic: $a:$b, bearer: $c, form: {}}\n", "the header Authorization has two values here"},
		{"dialect: x\ntoken: {POST: https://x.example/t, headers: {Host: $a}, form: {}}\n", "HTTP itself writes it"},
		{minimal + "scope: {order: [a, b]}\npermissions: {things: {list: c}}\n", `f.yaml:4:30: unknown scope "c"`},
		{minimal + "permissions: {things: {lst: a}}\n", `f.yaml:3:24: unknown key "lst"; did you mean list?`},
		{minimal + "issue: {access_token: {jwt: {sub: $usr}}}\n", "unknown hole $usr"},
		{minimal + "issue: {access_token: {alg: HS265}}\n", "unknown algorithm; did you mean HS256?"},
		{minimal + "vars: {Region: eu}\n", "f.yaml:3:8: the name of a variable"},
		{minimal + "dialect: y\n", "f.yaml:3:"},
	} {
		_, err := dialect.Parse("f.yaml", []byte(c.src))
		if err == nil {
			t.Errorf("%q was accepted, want %s", c.src, c.want)
		} else if !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("%q:\n got %v\nwant %s", c.src, err, c.want)
		}
	}
}

// TestThreeLines: a vendor that follows the RFC takes three lines.
func TestThreeLines(t *testing.T) {
	d, err := dialect.Parse("f.yaml", []byte("dialect: x\ntoken: https://x.example/oauth/token\ncall: https://api.x.example/v1\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(d.LoginVars(), " "); got != "client_id client_secret" || !d.Standard || len(d.Refresh) != 1 {
		t.Errorf("it needs %s, standard %v, %d refreshes", got, d.Standard, len(d.Refresh))
	}
}

// FuzzParse: whatever a file holds, the parser does not panic, says where it is
// wrong, and takes nothing for which the laws do not hold.
func FuzzParse(f *testing.F) {
	for _, name := range dialects.Names() {
		src, err := dialects.Source(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		d, err := dialect.Parse("f.yaml", src)
		if err != nil && !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("an error without a place: %v", err)
		}
		if err != nil {
			return
		}
		d.LoginVars()
		d.CallVars()
		if err := law.Check(d, 3, 1).Err(); err != nil {
			t.Error(err)
		}
	})
}
