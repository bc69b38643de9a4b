package main

import (
	"bytes"
	"regexp"
	"slices"
	"testing"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
)

// TestSchemaTakesDialects: every dialect that ships, or that the reference
// shows, is good for an editor too.
func TestSchemaTakesDialects(t *testing.T) {
	v := validator(t, dialectSchema())
	for _, name := range dialects.Names() {
		src, err := dialects.Source(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Validate(document(t, name, src)); err != nil {
			t.Error(name, err)
		}
	}
	for _, src := range blocks(t, "../../docs/dialects.md") {
		if bytes.HasPrefix(src, []byte("dialect:")) || bytes.HasPrefix(src, []byte("extend:")) {
			if err := v.Validate(document(t, "docs/dialects.md", src)); err != nil {
				t.Errorf("%v\n%s", err, src)
			}
		}
	}
}

// fullDialects have each key of a dialect at least once.
var fullDialects = []string{`
dialect: steps
title: Steps, API
source: ["https://steps.example/docs"]
params: {client_id: ID of the app}
vars: {region: eu, db: ~, kind: [x, y]}
hosts: [steps.example]
let:
  assertion: {jwt: {iss: $client_id, aud: "https://steps.example", jti: $uuid()}, alg: RS256, key: $private_key, header: {kid: $key_id}, lifetime: 5m}
  digest: $base64($hmac_sha256($secret, $client_id))
  saml_assertion:
    saml: {issuer: $client_id, subject: $username, format: x, audience: steps, recipient: "https://steps.example", attributes: {api_key: $client_id}}
    alg: RS512
    key: $private_key
    cert: $certificate
    lifetime: 10m
token:
- POST: https://$region.steps.example/session
  json: {kind: $kind, digest: $digest}
  headers: {x-db: $db}
  cookies: {c: $client_id}
  returns: {session: $session}
  returns_headers: {x-place: $place}
  set_cookie: {sid: $sid}
  status: 201
- PUT: https://steps.example/token
  query: {place: $place}
  form: {assertion: $assertion, saml: $base64url($saml_assertion), session: $session, sid: $sid}
  tls: {cert: $client_certificate, key: $client_private_key}
  returns: {token: $access_token, refresh: $refresh_token, expires_in: $expires_in}
refresh:
- when: valid
  GET:
  query: {refresh: $refresh_token}
  bearer: $access_token
- when: expired
  PATCH: https://steps.example/again
  text: $refresh_token
call:
  base: https://api.steps.example
  headers: {x-db: $db}
  query: {region: $region}
  cookies: {token: $access_token}
  tls: {cert: $client_certificate, key: $client_private_key}
  accept:
  - {headers: {x-token: $access_token}}
  - {query: {token: $access_token}}
  - {cookies: {other: $access_token}}
  - {basic: "$client_id:$access_token"}
  - {bearer: $access_token}
verify: {GET: /me, ok: {good: true}}
introspect: {POST: /check, form: {token: $access_token}, basic: "$client_id:$secret"}
revoke: {DELETE: /token}
scope: {separator: ",", default: [low], order: [low, high]}
permissions: {users: {list: low, fetch: low, create: low, update: high, delete: high, fetch_self: low, update_self: low}}
lifetime: 8h
early: 5m
active: 1
rate: {ip: 10/min, client_id: 100/h}
errors:
  invalid_request: 400
  invalid_client: 401
  invalid_grant: no
  unauthorized_client: {status: 403, description: no, json: {code: 7, text: $error_description}}
  unsupported_grant_type: 400
  invalid_scope: 400
  invalid_target: 400
  invalid_token: 403
  insufficient_scope: 403
  slow_down: 429
  temporarily_unavailable: 503
  server_error: 500
`, `
dialect: xml
token:
  POST: https://xml.example/login
  xml: {login: {user: $username, password: $password}}
  returns_xml: {session: {token: $access_token}}
call:
  base: https://xml.example
  basic: "$username:$access_token"
accept:
- {POST: /other, json: {user: $username, password: $password}, returns: {token: $access_token}}
- {PATCH: /text, text: "$username:$password", bearer: x, returns: $access_token}
issue: {access_token: {jwt: {sub: $username}, alg: ES256, typ: JWT}}
`, `
dialect: aws
call: {base: "https://aws.example", sign: {aws4: {key_id: $key_id, secret: $secret, region: eu-west-1, service: execute-api, session: $session}}}
`, `
dialect: one
token: {POST: "https://one.example/token", form: {a: b}, sign: {oauth1: {consumer_key: $client_id, consumer_secret: $client_secret, token: $token, token_secret: $token_secret, realm: r, method: HMAC-SHA1}}, returns: {token: $access_token}}
call: {base: "https://one.example", bearer: $access_token}
`}

// TestDialectSchemaIsTheParser does the same to dialects. What a dialect means
// is for the parser alone; that it knows a key is for both.
func TestDialectSchemaIsTheParser(t *testing.T) {
	v := validator(t, dialectSchema())
	all := slices.Clone(fullDialects)
	for _, name := range []string{"altrata", "alvys", "iadvize", "oauth2", "web1on1"} {
		src, err := dialects.Source(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(src))
	}
	parse := func(src []byte) error {
		_, err := dialect.Parse("a.yaml", src)
		return err
	}
	seen := map[string]bool{"/extend": true} // see TestSchemaTakesChanges
	for _, src := range all {
		doc := document(t, "a.yaml", []byte(src))
		agree(t, v, doc, parse, regexp.MustCompile(`^(set|remove) `))
		used(dialectSchema(), dialectSchema(), doc, "", seen)
	}
	allSeen(t, dialectSchema(), seen)
}

// TestSchemaTakesChanges: a file that extends a dialect needs none of its keys,
// and takes any of them away.
func TestSchemaTakesChanges(t *testing.T) {
	v := validator(t, dialectSchema())
	for _, src := range []string{
		"extend: alvys\ndialect: our-alvys\n",
		"extend: alvys\ndialect: our-alvys\ntoken: {headers: {x-a: b, x-c: ~}, form: ~, json: {a: $b}}\nverify: ~\ncall: {base: ~, query: {a: ~}}\n",
		"extend: alvys\ndialect: our-alvys\nlifetime: ~\nrate: {ip: ~}\nerrors: {invalid_token: ~}\npermissions: {users: ~, posts: {list: ~}}\nscope: {order: ~}\n",
	} {
		if err := v.Validate(document(t, "src", []byte(src))); err != nil {
			t.Errorf("%v\n%s", err, src)
		}
	}
}
