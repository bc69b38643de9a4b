package dialect

import "github.com/jetonhq/jeton"

// The messages of RFC 6749, which a dialect is until it says otherwise.

func must(s string) value {
	v, err := compile(s)
	if err != nil {
		panic(err) // the texts below are ours
	}
	return v
}

func fields(pairs ...string) []field {
	var list []field
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, field{pairs[i], must(pairs[i+1])})
	}
	return list
}

// standardLogin makes x an RFC 6749 section 4.4.2 request, or, where
// credentials travel by Basic, one without them in the form.
func standardLogin(x *Exchange) {
	x.body, x.Grant = bodyForm, jeton.GrantClientCredentials
	if x.basic != nil {
		x.form = fields("grant_type", "client_credentials", "scope", "$scope")
		return
	}
	x.clientAuth = true
	x.form = fields("grant_type", "client_credentials", "client_id", "$client_id", "client_secret", "$client_secret",
		"scope", "$scope", "resource", "$resource")
}

// standardReturns is RFC 6749 section 5.1.
func standardReturns() *tree {
	t := &tree{kind: treeObject}
	for _, name := range []string{"access_token", "token_type", "expires_in", "refresh_token", "scope"} {
		t.keys, t.kids = append(t.keys, name), append(t.kids, &tree{value: must("$" + name)})
	}
	return t
}

// standardRefresh is RFC 6749 section 6 at the URL of a login, and with the
// login's own way to authenticate the client.
func standardRefresh(login *Exchange) *Exchange {
	x := &Exchange{
		Kind: KindRefresh, Grant: jeton.GrantRefreshToken, Method: "POST", url: login.url,
		wearing: wearing{headers: login.headers, basic: login.basic, tls: login.tls}, content: content{body: bodyForm}, returned: login.returned,
	}
	x.form = fields("grant_type", "refresh_token", "refresh_token", "$refresh_token")
	if login.basic == nil && login.Has("client_id") {
		x.clientAuth = login.clientAuth
		x.form = append(x.form, fields("client_id", "$client_id")...)
	}
	if login.basic == nil && login.Has("client_secret") {
		x.form = append(x.form, fields("client_secret", "$client_secret")...)
	}
	for _, f := range login.form { // RFC 7521 section 4.2
		if f.name == "client_assertion" || f.name == "client_assertion_type" {
			x.form = append(x.form, f)
		}
	}
	x.form = append(x.form, fields("scope", "$scope")...)
	return x
}

// standardPassword is RFC 6749 section 4.3.2 at the URL of a standard login.
func standardPassword(login *Exchange) *Exchange {
	return &Exchange{
		Kind: KindLogin, Grant: jeton.GrantPassword, Method: login.Method, url: login.url,
		content: content{body: bodyForm, clientAuth: true,
			form: fields("grant_type", "password", "username", "$username", "password", "$password",
				"client_id", "$client_id", "client_secret", "$client_secret", "scope", "$scope", "resource", "$resource")},
		returned: login.returned,
	}
}
