package law_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
)

// constructs are dialects that have between them all that the language says.
var constructs = map[string]string{
	"standard": `
token: https://a.test/token
call: https://a.test/v1
revoke: {POST: /revoke, form: {token: $access_token}}`,
	"assertion RS256":            assertion("RS256"),
	"assertion PS384":            assertion("PS384"),
	"assertion ES256":            assertion("ES256"),
	"assertion ES384":            assertion("ES384"),
	"assertion ES512":            assertion("ES512"),
	"assertion EdDSA":            assertion("EdDSA"),
	"assertion HS256":            assertion("HS256"),
	"SAML assertion":             samlAssertion("RS256", "cert: $certificate", "$base64"),
	"SAML without a certificate": samlAssertion("RS512", "lifetime: 1h", "$base64url"),
	"digest of a body": `
let: {digest: "$base64($hmac_sha256($secret, $key_id.$created))", created: $now()}
token:
  POST: https://a.test/login
  json: {id: $key_id, time: $created, proof: {digest: $digest, id: $uuid()}}
  returns: {data: {token: $access_token, expires: $dhm($expires_in)}}`,
	"digest in a header": `
token:
  POST: https://a.test/login
  headers: {x-signature: "$key_id:$sha256($key_id$secret)", x-finger: $fingerprint($private_key)}
  form: {}
  returns: {token: $access_token, until: $unix_ms($expires_at)}`,
	"minted JWT": `
let: {access_token: {jwt: {iss: $issuer, sub: "$name.$fingerprint($private_key)"}, alg: RS256, key: $private_key, header: {kid: $key_id}, lifetime: 5m}}
call: {base: https://a.test, headers: {x-kind: KEYPAIR}}`,
	"minted JWT, a key in hex": `
let: {access_token: {jwt: {aud: /admin/}, alg: HS256, key: $unhex($secret), header: {kid: $key_id}, lifetime: 5m}}
call: {base: https://a.test, headers: {authorization: Ghost $access_token}}`,
	"a key in base64": `
token:
  POST: https://a.test/login
  json: {id: $key_id, time: $now(), proof: "$base64($hmac_sha256($unbase64($secret), $key_id))"}
  returns: {token: $access_token}
call: https://a.test`,
	"fields without a value": `
token:
  POST: https://a.test/login
  query: {access_token: ""}
  form: {username: $username, password: $password, otp: ""}
  returns: {refresh_token: $access_token}
call: {base: https://a.test, query: {v2: ""}}`,
	"a digest in upper case": `
let: {ts: $unix_ms($now())}
token:
  POST: https://a.test/auth/token/create
  form: {app_key: $client_id, code: $code, timestamp: $ts, sign: "$base16($hmac_sha256($client_secret, /auth/token/createapp_key$client_id$,code$code$,timestamp$ts))"}
  returns: {token: $access_token, seconds: $expires_in}
call: {base: https://a.test, headers: {x-token: $base16($access_token)}}`,
	"minted digest": `
let:
  nonce: $nonce()
  created: $now()
  access_token: 'UsernameToken Username="$username", PasswordDigest="$base64($hex($sha1($nonce$created$password)))", Nonce="$nonce", Created="$created"'
call: {base: https://a.test, headers: {x-wsse: $access_token}}
lifetime: 5m`,
	"minted and new each time": `
let: {created: $now(), access_token: "$api_key.$created"}
call: https://a.test`,
	"steps": `
token:
- {GET: https://a.test/where, query: {team: $team}, returns: {url: $place}}
- {POST: $place/token, json: {user: $username, password: $password}, returns: {token: $first}}
- {GET: https://a.test/exchange/$team, bearer: $first, returns: {token: $access_token, at: $iso($expires_at)}}
call: $place/v1
hosts: [a.test]`,
	"a step after the token": `
token:
- {POST: https://a.test/token, json: {id: $client_id, secret: $client_secret}}
- {GET: https://a.test/whoami, bearer: $access_token, returns: {id: $tenant_id, hosts: {api: $api_url}}}
call: {base: $api_url, headers: {x-tenant-id: $tenant_id}}
hosts: [a.test]`,
	"XML": `
token:
  POST: https://a.test/xml
  xml: {request: {"@id": $uuid(), control: {user: $username, password: $password, time: $now()}, item: [{"@kind": a, "#text": $company}, fixed]}}
  returns_xml: {response: {result: {"@ok": "1", session: $access_token}, until: $iso($expires_at)}}
call: https://a.test`,
	"a key for calls only": `
call: {base: https://a.test, headers: {x-api-key: $api_key}}`,
	"certificate": `
token: {POST: https://a.test/token, tls: {cert: $client_certificate, key: $client_private_key}}
call: https://a.test`,
	"its own refresh token": `
token: {POST: https://a.test/token, bearer: $api_key, form: {}}
refresh: {when: valid, POST: https://a.test/token, bearer: $access_token, form: {}}
call: https://a.test`,
	"cookies": `
token:
  POST: https://a.test/login
  cookies: {tenant: $tenant}
  json: {Company: $company, User: $username, Password: $password}
  set_cookie: {SESSION: $access_token}
  returns_headers: {x-expires: $expires_in}
call: {base: https://a.test, cookies: {SESSION: $access_token}}`,
	"the whole body": `
token: {POST: https://a.test/login, json: {key: $api_key}, returns: $access_token}
call: https://a.test`,
	"a body that is one value": `
token: {POST: $login_url, json: go, bearer: $api_key, returns: {t: $access_token, r: $refresh_token}}
refresh: {POST: /, json: $refresh_token, bearer: $api_key}
call: https://a.test
hosts: [a.test]`,
	"two bodies that are one value": `
token: {POST: https://a.test/login, json: key $api_key, returns: {t: $access_token}}
accept: [{POST: /login, json: secret $api_key}]
call: https://a.test`,
	"every cookie": `
token:
  POST: https://a.test/login
  json: {User: $username, Password: $password}
  set_cookie: $access_token
  returns: {id: $session_id}
call: {base: https://a.test, cookies: $access_token}`,
	"codecs": `
vars: {region: [eu, us], extra: ~, page: "1"}
token:
  PUT: https://$region.a.test/$tenant/$region/login
  query: {page: $page, x: $extra, d: $date($day), u: $unix($moment)}
  headers: {x-both: "$base64url($hex($username))"}
  basic: $tenant:$password
  text: 'mutation { login(user: $json($username), words: "$comma($list)") { ok } }'
  returns: {ok: true, a: [{token: $access_token}, $user_id], min: $min($expires_in)}
  ok: {ok: true}
call: {base: https://a.test, basic: $page:$access_token, query: {key: $tenant}}`,
	"said twice": `
vars: {db: ~}
token:
  POST: https://a.test/login
  query: {db: $db}
  headers: {x-db: $db}
  json: {p: $password}
  returns: {t: $access_token}
call: https://a.test`,
	"aws4": `
call:
  base: https://a.test
  sign: {aws4: {key_id: $key_id, secret: $secret, region: eu-west-1, service: execute-api, session: $session}}`,
	"a signed login": `
token:
  POST: https://a.test/login
  sign: {aws4: {key_id: $key_id, secret: $secret, region: eu-west-1, service: sts}}
  form: {Action: AssumeRole, RoleArn: $role}
  returns: {token: $access_token}
call: https://a.test`,
	"calls with a digest": `
let: {created: $unix($now()), once: $nonce()}
call:
  base: https://a.test
  headers: {authorization: 'KEY key="$api_key", time="$created", sum="$sha512($api_key$secret$created)"', x-once: $once}
  query: {sum: "$hmac_sha1($secret, $once)"}`,
	"calls with a token, a JWT and a certificate": `
let: {actor: {jwt: {iss: $key_id}, alg: HS256, key: $secret}}
token: {POST: https://a.test/login, json: {user: $username, password: $password}, returns: {token: $access_token}}
call:
  base: https://a.test
  headers: {x-actor: $actor, x-sum: "$hmac_sha256($secret, $access_token)"}
  basic: $username:$access_token
  tls: {cert: $client_certificate, key: $client_private_key}`,
	"what may be absent stands twice": `
vars: {org: ~, team: ~}
let: {assertion: {jwt: {iss: $client_id, scope: $scope}, alg: HS256, key: $client_secret}}
token:
  POST: https://a.test/login
  query: {team: $team}
  headers: {x-org: $org}
  json: {org: $org, deep: {team: $team}, assertion: $assertion, scope: $scope}
  returns: {token: $access_token}
call: {base: https://a.test, headers: {x-org: $org, authorization: Bearer $access_token}, query: {org: $org}}`,
	"two messages of GraphQL at one URL": `
token:
  POST: https://a.test/graphql
  json: {query: "mutation($$user: String!) { login(user: $$user) { token } }", variables: {user: $username, password: $password}}
  returns: {data: {login: {token: $access_token, refresh: $refresh_token}}}
refresh:
  POST:
  json: {query: "mutation { renew(token: $json($refresh_token)) { token } }"}
call: https://a.test`,
	"content types of the vendor's own": `
token:
- POST: https://a.test/start
  headers: {content-type: application/vnd.api+json}
  json: {data: {type: sessions, attributes: {app: $app_key}}}
  returns: {data: {id: $session}}
- POST: https://a.test/login
  headers: {Content-Type: application/soap+xml; charset=utf-8}
  xml: {login: {session: $session, user: $username, password: $password}}
  returns_xml: {token: {"#text": $access_token}}
refresh:
  when: valid
  PUT: https://a.test/renew
  headers: {content-type: application/x-token}
  text: token $access_token
call: https://a.test`,
	"a bearer of the account": `
call: {base: https://a.test, bearer: $tenant.$api_key}`,
	"oauth1": `
call:
  base: https://a.test
  sign: {oauth1: {consumer_key: $key, consumer_secret: $secret, token: $token, token_secret: $token_secret, realm: $account}}`,
}

func assertion(alg string) string {
	return `
let:
  assertion: {jwt: {iss: $client_id, sub: $client_id, aud: "https://a.test/token", jti: $uuid(), role: [$role]}, alg: ` + alg + `, key: $private_key, header: {kid: $key_id}, lifetime: 5m}
token:
  POST: https://a.test/token
  form: {grant_type: client_credentials, client_id: $client_id, client_assertion_type: jwt, client_assertion: $assertion}
call: https://a.test`
}

func samlAssertion(alg, more, codec string) string {
	return `
vars: {locale: ~}
let:
  assertion:
    saml:
      issuer: $client_id
      subject: $username@$company
      format: urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress
      audience: www.a.test
      recipient: https://$host/oauth/token
      attributes: {api_key: $client_id, locale: $locale, proof: "$hmac_sha256($secret, $username)", "<a&b>": '"fixed" & <text>'}
    alg: ` + alg + `
    key: $private_key
    ` + more + `
token:
  POST: https://a.test/token
  form: {grant_type: "urn:ietf:params:oauth:grant-type:saml2-bearer", client_id: $client_id, assertion: ` + codec + `($assertion)}
call: https://a.test`
}

// TestConstructs: the laws hold for everything that the language says, and
// messages are written, read and forged.
func TestConstructs(t *testing.T) {
	for name, text := range constructs {
		t.Run(name, func(t *testing.T) {
			d, err := dialect.Parse("d.yaml", []byte("dialect: d"+text+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			r := law.Check(d, 60, 1)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			for message, tally := range r.Messages {
				if tally.Written < 15 {
					t.Errorf("%s: only %d were written", message, tally.Written)
				}
			}
			if sum := r.Total(); sum.Forged < 40 {
				t.Errorf("only %d were forged", sum.Forged)
			}
		})
	}
}

// TestSameSeedSameReport: what was found can be found again.
func TestSameSeedSameReport(t *testing.T) {
	d, err := dialect.Parse("d.yaml", []byte("dialect: d"+constructs["codecs"]+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	one, two, other := law.Check(d, 50, 7), law.Check(d, 50, 7), law.Check(d, 50, 8)
	if fmt.Sprint(one) != fmt.Sprint(two) {
		t.Errorf("%v\n%v", one, two)
	}
	if fmt.Sprint(one) == fmt.Sprint(other) {
		t.Error("another seed draws the same values")
	}
}

// TestKeys: a kind has two keys for the whole process, and a certificate has its
// own.
func TestKeys(t *testing.T) {
	for _, kind := range []string{"RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA", "key", "certificate", "signing certificate"} {
		pair, ok := law.Keys(kind)
		again, _ := law.Keys(kind)
		if !ok || pair != again || pair[0] == pair[1] || pair[0] != law.Key(kind) || !strings.HasPrefix(pair[1], "-----BEGIN ") {
			t.Errorf("%s: no keys, or others each time", kind)
		}
	}
	for kind, of := range map[string]string{"certificate": "key", "signing certificate": "RS256"} {
		certificates, _ := law.Keys(kind)
		keys, _ := law.Keys(of)
		for i := range certificates {
			if _, err := tls.X509KeyPair([]byte(certificates[i]), []byte(keys[i])); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
	}
	if _, ok := law.Keys("HS256"); ok || law.Key("HS256") != "" {
		t.Error("HS256 has a key of a form")
	}
}
