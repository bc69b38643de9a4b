package main

import "slices"

// A dialectKeys makes the key sets of dialect files. A file that extends a
// dialect has the same keys, none of which has to be there, and ~ takes one
// away.
type dialectKeys struct{ changes bool }

// dialectSchema describes dialect files.
func dialectSchema() *schema {
	whole, changes := dialectKeys{}, dialectKeys{changes: true}
	return &schema{
		Schema: draft7, ID: schemaURL("dialect"),
		Description: "A Jeton dialect: a vendor's documented messages, with $holes where the values are.",
		If:          &schema{Required: []string{"extend"}},
		Then:        changes.file(),
		Else:        whole.file(),
		Definitions: keySet{
			{"value", aValue, "", false}, {"url", aDialectURL, "", false},
			{"fields", whole.fields(), "", false}, {"changed_fields", changes.fields(), "", false},
			{"headers", whole.headers(), "", false}, {"changed_headers", changes.headers(), "", false},
			{"exchange", whole.exchange(), "", false}, {"changed_exchange", changes.exchange(), "", false},
			{"refresh", whole.refresh(), "", false}, {"changed_refresh", changes.refresh(), "", false},
			{"call", whole.call(), "", false}, {"changed_call", changes.call(), "", false},
			{"refusal", whole.refusal(), "", false}, {"changed_refusal", changes.refusal(), "", false},
			{"sign", aSigner(), "", false}, {"tls", aCertificate(), "", false},
		},
	}
}

// object is a mapping of a file, or the changes to one.
func (d dialectKeys) object(keys keySet) *schema {
	if !d.changes {
		return object(keys)
	}
	s := &schema{Type: "object", AdditionalProperties: false}
	for _, k := range keys {
		s.Properties = append(s.Properties, d.orNone(k))
	}
	return s
}

// orNone lets ~ take a key away.
func (d dialectKeys) orNone(k key) key {
	is := *k.is
	if name, ok := is.Type.(string); ok && is.Enum == nil {
		is.Type = []string{name, "null"}
	} else {
		is = schema{AnyOf: []*schema{k.is, {Type: "null"}}}
	}
	return key{k.name, &is, k.about, false}
}

// ref refers to the definition of a mapping, or to that of the changes to one.
func (d dialectKeys) ref(name string) *schema {
	if d.changes {
		name = "changed_" + name
	}
	return ref(name)
}

// Types of a dialect's values.
var (
	aValue = &schema{Type: []string{"string", "number", "boolean"}, Pattern: `^([^$]|\$\$|\$[a-z][a-z0-9_]*|\$\{[a-z][a-z0-9_]*\})*$`,
		PatternMessage: "a $ is followed by a name in lower case: $name, ${name} or $function(value); write $$ for the sign itself"}
	aDialectURL = matching(`^(https://[^/?#@ ]+|http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?|/|\$)[^?# ]*$`,
		"write a URL that begins with https://, a path, or a URL that begins with a $hole; its query stands under query", "https://auth.example.com/oauth/token")
	aTree    = &schema{} // JSON of any shape
	aPair    = matching(`^[^:]*:`, "write name:password, each with its hole: $client_id:$client_secret", "$client_id:$client_secret")
	aVarName = matching(`^[a-z][a-z0-9_]*$`, "the name of a variable has a-z, 0-9 and _")
	aStatus  = between(200, 599)
	methods  = []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
)

func (d dialectKeys) file() *schema {
	token, refresh := d.ref("exchange"), d.ref("refresh")
	keys := keySet{
		{"dialect", matching(`^[a-z0-9_-]+$`, "a name has a-z, 0-9, - and _"), "The name of the dialect, and of its file.", true},
		{"extend", matching(`^[a-z0-9_-]+$`, "write the name of a dialect"), "Another dialect, of which this file says what differs: mappings are merged key by key, lists and texts replace, ~ takes a key away. In a user's own file only.", d.changes},
		{"title", text("UPS, shipping APIs"), "Vendor and product, on one line.", false},
		{"source", anyOf(text(), listOf(text())), "The vendor's own pages that this file was written from: one URL or several.", false},
		{"params", &schema{Type: "object", PropertyNames: aVarName, AdditionalProperties: text()}, "What an account gives or may give: one line for each variable, in the vendor's words.", false},
		{"vars", &schema{Type: "object", PropertyNames: aVarName, AdditionalProperties: aVar}, "Public settings: name: default. ~ is one that may be absent; a list is a choice, the first being the default.", false},
		{"hosts", listOf(text("vendor.example", "$domain")), "Where a URL may lead that begins with a hole which an answer bound: each host, or one below it.", false},
		{"let", mapOf(aVarName, anyOf(ref("value"), aLet(), anAssertion())), "Values that the client makes, by the name under which $name uses them: a text with functions, {jwt: claims}, or {saml: assertion}.", false},
		{"token", anyOf(ref("url"), token, listOf(anyOf(ref("url"), ref("exchange")))), "How to log in: the URL of a standard token endpoint (RFC 6749 section 4.4), one exchange, or a list of steps. What the answer of a step bound is a variable of the next.", false},
		{"refresh", anyOf(choice("none"), ref("url"), refresh, listOf(ref("refresh"))), "How to refresh. Left out: RFC 6749 section 6 if the login answers with a refresh token, else log in again. none: always log in again.", false},
		{"call", anyOf(ref("url"), d.ref("call")), "Where the API is and how a call wears the token. A call that does not mention $access_token wears it as Authorization: Bearer.", false},
		{"verify", anyOf(ref("url"), token), "A call that says whether the token is good. Its URL may be a path below call.", false},
		{"introspect", anyOf(ref("url"), token), "The call that says what a token is (RFC 7662). Its URL may be a path below call.", false},
		{"revoke", anyOf(ref("url"), token), "The call that ends a token (RFC 7009). Its URL may be a path below call.", false},
		{"accept", listOf(anyOf(ref("url"), ref("exchange"))), "For servers: other documented forms of the login.", false},
		{"scope", d.object(d.scopeKeys()), "How scopes are written, and which includes which.", false},
		{"permissions", d.permissions(), "The least scope that each resource and verb needs.", false},
		{"lifetime", aDuration, "How long a token lives whose answer does not say.", false},
		{"early", aDuration, "How long before its end a token is replaced. Default: 5m, or a tenth of its life.", false},
		{"active", &schema{Type: "integer", Enum: []any{1}}, "1: a new token ends the one before it. Left out: any number live at once.", false},
		{"rate", &schema{Type: "object", AdditionalProperties: d.orNoneIf(aRate)}, "How many logins are allowed, for each ip or for each value of a variable of the login, such as username.", false},
		{"errors", d.errors(), "Answers that differ from the standard's (RFC 6749 section 5.2, RFC 6750 section 3): a text is the description, a number the status.", false},
		{"issue", d.object(keySet{{"access_token", d.object(issueKeys), "The access token, as a JWT.", true}}), "For servers: values that they make.", false},
	}
	if !d.changes {
		s := object(keys)
		s.AnyOf = []*schema{{Required: []string{"token"}}, {Required: []string{"call"}}}
		return s
	}
	s := d.object(keys[2:])
	s.Properties, s.Required = slices.Concat(keys[:2], s.Properties), []string{"dialect", "extend"}
	return s
}

// orNoneIf is orNone for the values of a mapping with names of one's own.
func (d dialectKeys) orNoneIf(s *schema) *schema {
	if !d.changes {
		return s
	}
	return d.orNone(key{is: s}).is
}

// aVar is a public setting.
var aVar = anyOf(&schema{Type: []string{"string", "number", "boolean", "null"}}, listOf(&schema{Type: []string{"string", "number", "boolean"}}))

// aLet is a JWT that the client makes.
func aLet() *schema {
	return object(keySet{
		{"jwt", &schema{Type: "object"}, "The claims. iat and exp are added unless they are there.", true},
		{"alg", choice("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"), "The algorithm of the signature.", false},
		{"key", ref("value"), "The key that signs: a hole whose value is PEM, base64 of PEM, or a JWK.", false},
		{"header", &schema{Type: "object"}, "More of the header, such as {kid: $key_id}.", false},
		{"lifetime", aDuration, "How long the JWT is good.", false},
	})
}

// anAssertion is a SAML 2.0 assertion that the client makes.
func anAssertion() *schema {
	value := ref("value")
	return object(keySet{
		{"saml", object(keySet{
			{"issuer", value, "Who issues the assertion.", true},
			{"subject", value, "Whom it is about: the NameID.", true},
			{"format", value, "The format of the subject. Default: urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified.", false},
			{"audience", value, "For whom it is.", true},
			{"recipient", value, "The URL where it is taken.", true},
			{"attributes", ref("fields"), "Attributes of the subject, each with one value.", false},
		}), "A SAML 2.0 bearer assertion (RFC 7522). Its ID, its moments and its signature are added.", true},
		{"alg", choice("RS256", "RS384", "RS512"), "The algorithm of the signature. Default: RS256.", false},
		{"key", value, "The key that signs: a hole whose value is PEM, base64 of PEM, or a JWK.", true},
		{"cert", value, "The certificate that goes along: a hole whose value is PEM. Default: none.", false},
		{"lifetime", aDuration, "How long the assertion is good. Default: 5m.", false},
	})
}

var issueKeys = keySet{
	{"jwt", &schema{Type: "object"}, "Claims beside the standard ones.", false},
	{"alg", choice(realmAlgs...), "The algorithm of the signature. Default: ES256.", false},
	{"typ", text("JWT"), "The typ of its header. Default: JWT.", false},
}

func (d dialectKeys) scopeKeys() keySet {
	word := &schema{Type: []string{"string", "number", "boolean"}, Pattern: `^[^\s"\\]+$`, PatternMessage: "a scope is one word"}
	return keySet{
		{"separator", matching(`^.$`, "write one character in quotes", ","), "What stands between scopes on the wire. Default: a space.", false},
		{"default", &schema{Type: "array", Items: word}, "The scopes that are asked for when an account names none.", false},
		{"order", &schema{Type: "array", Items: word}, "Scopes from the least to the most: each includes those before it.", false},
	}
}

func (d dialectKeys) permissions() *schema {
	s := permissionTable()
	if d.changes {
		s.AdditionalProperties = d.orNoneIf(d.object(s.AdditionalProperties.(*schema).Properties))
	}
	return s
}

// refusals are the codes that a dialect may answer otherwise.
var refusals = []struct{ code, about string }{
	{"invalid_request", "Something is missing or malformed. 400."},
	{"invalid_client", "The client is unknown or its secret wrong. 401."},
	{"invalid_grant", "The user, the password or the refresh token is wrong. 400."},
	{"unauthorized_client", "The client may not log in this way. 400."},
	{"unsupported_grant_type", "The grant type is wrong. 400."},
	{"invalid_scope", "The scope is malformed or too much. 400."},
	{"invalid_target", "The resource is malformed or not allowed (RFC 8707). 400."},
	{"invalid_token", "The access token is not good. 401."},
	{"insufficient_scope", "The token may not do this. 403."},
	{"slow_down", "Too many logins. 429."},
	{"temporarily_unavailable", "Not now. 503."},
	{"server_error", "Something broke. 500."},
}

func (d dialectKeys) errors() *schema {
	keys := keySet{}
	for _, r := range refusals {
		keys = append(keys, key{r.code, anyOf(text(), aStatus, d.ref("refusal")), r.about, false})
	}
	return d.object(keys)
}

// refusal is an answer to an error.
func (d dialectKeys) refusal() *schema {
	return d.object(keySet{
		{"status", aStatus, "The status of the answer.", false},
		{"description", text(), "The error_description.", false},
		{"json", aTree, "The body. $error and $error_description may stand in it.", false},
	})
}

// fields is a mapping from names of the wire to values.
func (d dialectKeys) fields() *schema {
	value := ref("value")
	if d.changes {
		value = anyOf(value, &schema{Type: "null"})
	}
	return &schema{Type: "object", AdditionalProperties: value}
}

// headers is a mapping from names of headers or cookies (RFC 9110 section 5.6.2)
// to values.
func (d dialectKeys) headers() *schema {
	s := d.fields()
	s.PropertyNames = matching("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", "this is not the name of a header or a cookie")
	return s
}

// cookies is a mapping from names, or one hole that stands for every cookie.
func (d dialectKeys) cookies() *schema {
	return anyOf(d.ref("headers"), matching(`^\$([a-z][a-z0-9_]*|\{[a-z][a-z0-9_]*\})$`, "write one hole, such as $access_token"))
}

// wornKeys are the parts of a request in which a token may be.
func (d dialectKeys) wornKeys() keySet {
	return keySet{
		{"query", d.ref("fields"), "The query of the URL.", false},
		{"headers", d.ref("headers"), "Headers.", false},
		{"cookies", d.cookies(), "Cookies; or one hole that stands for every cookie of the login.", false},
		{"basic", aPair, "Authorization: Basic, written as name:password.", false},
		{"bearer", ref("value"), "Authorization: Bearer.", false},
	}
}

// requestKeys are the parts of a request that calls have too.
func (d dialectKeys) requestKeys() keySet {
	return append(d.wornKeys(), keySet{
		{"tls", ref("tls"), "The certificate that the client shows.", false},
		{"sign", ref("sign"), "The signature of the request.", false},
	}...)
}

func (d dialectKeys) exchangeKeys(url *schema) keySet {
	keys := keySet{}
	for _, method := range methods {
		keys = append(keys, key{method, url, "The URL, which is asked with " + method + ".", false})
	}
	return slices.Concat(keys, d.requestKeys(), keySet{
		{"form", d.ref("fields"), "The body: application/x-www-form-urlencoded. {} is an empty body.", false},
		{"json", aTree, "The body: JSON with holes.", false},
		{"xml", d.xmlTree(), "The body: XML. Keys are elements in order, \"@name\" an attribute, \"#text\" the text beside attributes; a list repeats the element.", false},
		{"text", ref("value"), "The body, as it is.", false},
		{"returns", aTree, "The answer: the vendor's sample, with holes where the values are; or one value that is the whole body.", false},
		{"returns_xml", d.xmlTree(), "The answer, in XML.", false},
		{"returns_headers", d.ref("headers"), "Headers of the answer.", false},
		{"set_cookie", d.cookies(), "Cookies that the answer sets; or one hole that stands for all of them.", false},
		{"ok", aTree, "What the answer must say for a 200 to mean yes.", false},
		{"status", aStatus, "The status of the answer. Default: 200.", false},
	})
}

// xmlTree is a mapping with the element at the root.
func (d dialectKeys) xmlTree() *schema {
	if d.changes {
		return &schema{Type: "object"}
	}
	return &schema{Type: "object", MinProperties: 1, MaxProperties: 1}
}

// exchange is a request and its answer.
func (d dialectKeys) exchange() *schema { return d.whole(d.exchangeKeys(ref("url"))) }

// refresh is an exchange whose URL may be that of the login.
func (d dialectKeys) refresh() *schema {
	keys := d.exchangeKeys(anyOf(ref("url"), &schema{Type: "null"}))
	for i := range methods {
		keys[i].about += " Nothing: that of the login."
	}
	when := key{"when", choice("valid", "expired"), "For clients: whether this is for a token that is good still, or for one that has expired.", false}
	return d.whole(append(keySet{when}, keys...))
}

// whole sees to it that an exchange has one method and one body at most.
func (d dialectKeys) whole(keys keySet) *schema {
	s := d.object(keys)
	if d.changes {
		return s
	}
	s.AllOf = []*schema{oneOfKeys(methods...)}
	bodies := []string{"form", "json", "xml", "text"}
	for i, body := range bodies {
		for _, other := range bodies[i+1:] {
			s.AllOf = append(s.AllOf, &schema{Not: &schema{Required: []string{body, other}}})
		}
	}
	return s
}

// call is how calls wear the token.
func (d dialectKeys) call() *schema {
	base := keySet{{"base", ref("url"), "Where the API is.", false}}
	accept := keySet{{"accept", listOf(object(dialectKeys{}.wornKeys())), "For servers: other forms in which a call may wear the token.", false}}
	return d.object(slices.Concat(base, d.requestKeys(), accept))
}

// aCertificate is a certificate and its key.
func aCertificate() *schema {
	return object(keySet{
		{"cert", ref("value"), "The certificate: a hole whose value is PEM.", true},
		{"key", ref("value"), "Its key: a hole whose value is PEM.", true},
	})
}

// aSigner is what signs each request.
func aSigner() *schema {
	value := ref("value")
	given := func(keys keySet) *schema { return anyOf(object(keys), &schema{Type: "null"}) }
	s := object(keySet{
		{"aws4", given(keySet{
			{"key_id", value, "The access key ID. Default: $access_key_id.", false},
			{"secret", value, "The secret access key. Default: $secret_access_key.", false},
			{"region", value, "The region, such as eu-west-1. Default: $region.", false},
			{"service", value, "The service, such as execute-api. Default: $service.", false},
			{"session", value, "The session token of temporary credentials.", false},
		}), "AWS Signature Version 4.", false},
		{"oauth1", given(keySet{
			{"consumer_key", value, "The key of the client. Default: $consumer_key.", false},
			{"consumer_secret", value, "Its secret. Default: $consumer_secret.", false},
			{"token", value, "The token.", false},
			{"token_secret", value, "Its secret.", false},
			{"realm", value, "The realm of the header.", false},
			{"method", choice("HMAC-SHA256", "HMAC-SHA1"), "How it is signed. Default: HMAC-SHA256.", false},
		}), "OAuth 1.0 (RFC 5849).", false},
	})
	s.AllOf = []*schema{oneOfKeys("aws4", "oauth1")}
	return anyOf(choice("aws4", "oauth1"), s)
}
