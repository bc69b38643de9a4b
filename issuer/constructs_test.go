package issuer

import (
	"testing"

	"github.com/jetonhq/jeton/dialect"
)

// constructs are dialects that have between them what vendors do beyond a name
// and a password.
var constructs = map[string]string{
	"JWT bearer": `
params: {app_id: a, private_key: its key}
let: {assertion: {jwt: {iss: $app_id}, alg: RS256, key: $private_key, lifetime: 10m}}
token:
  POST: https://api.a.test/app/installations/$installation_id/access_tokens
  bearer: $assertion
  status: 201
  returns: {token: $access_token, expires_at: $iso($expires_at)}
call: https://api.a.test
lifetime: 1h`,
	"SAML bearer": `
vars: {certificate: ~}
let:
  assertion:
    saml: {issuer: $client_id, subject: $username, audience: www.a.test, recipient: "https://a.test/oauth/token", attributes: {api_key: $client_id}}
    key: $private_key
    cert: $certificate
    lifetime: 10m
token:
  POST: https://a.test/oauth/token
  form: {grant_type: "urn:ietf:params:oauth:grant-type:saml2-bearer", company_id: $company_id, client_id: $client_id, assertion: $base64($assertion)}
call: https://a.test`,
	"SAML bearer with a certificate": `
let: {assertion: {saml: {issuer: $issuer, subject: $username, audience: www.a.test, recipient: "https://a.test/oauth/token"}, key: $private_key, cert: $certificate}}
token:
  POST: https://a.test/oauth/token
  form: {grant_type: "urn:ietf:params:oauth:grant-type:saml2-bearer", assertion: $base64url($assertion)}
call: https://a.test`,
	"private_key_jwt": `
let: {client_assertion: {jwt: {iss: $client_id, sub: $client_id, aud: "https://a.test/token", jti: $uuid()}, alg: ES256, key: $private_key, header: {kid: $key_id}}}
token:
  POST: https://a.test/token
  form: {grant_type: client_credentials, client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", client_assertion: $client_assertion, scope: $scope}
call: https://a.test`,
	"HMAC": `
let: {nonce: $nonce(), created: $now()}
token:
  POST: https://a.test/login
  headers: {x-key: $api_key, x-nonce: $nonce, x-time: $created, x-signature: "$base64($hmac_sha256($api_secret, $api_key$nonce$created))"}
  json: {}
  returns: {data: {token: $access_token}}
call: {base: https://a.test, headers: {x-key: $api_key}}
lifetime: 2h`,
	"WSSE": `
let:
  nonce: $nonce()
  created: $now()
  access_token: 'UsernameToken Username="$username", PasswordDigest="$base64($hex($sha1($nonce$created$password)))", Nonce="$nonce", Created="$created"'
call: {base: https://a.test, headers: {x-wsse: $access_token}}
lifetime: 5m`,
	"minted JWT": `
let: {access_token: {jwt: {iss: $issuer_id, aud: appstoreconnect-v1}, alg: ES256, key: $private_key, header: {kid: $key_id}, lifetime: 20m}}
call: {base: https://a.test, headers: {x-team: $team}}
revoke: {DELETE: /session, status: 204}`,
	"discovery": `
token:
- {GET: https://$subdomain.a.test/Platform/IdentityServiceInfo, returns: {IdentityServiceUrl: $identity_url}}
- {GET: $identity_url/.well-known/openid-configuration, returns: {token_endpoint: $token_endpoint}}
- POST: $token_endpoint
  form: {grant_type: password, username: $username, password: $password, client_id: public}
call: https://$subdomain.a.test/Platform
hosts: [a.test]`,
	"whoami": `
token:
- {POST: https://id.a.test/oauth2/token, form: {grant_type: client_credentials, client_id: $client_id, client_secret: $client_secret, scope: token}}
- {GET: https://api.a.test/whoami/v1, bearer: $access_token, returns: {id: $tenant_id, apiHosts: {dataRegion: $api_url}}}
call: {base: $api_url, headers: {x-tenant-id: $tenant_id}}
hosts: [a.test]`,
	"token for a token": `
token:
- {POST: https://a.test/first, basic: $client_id:$client_secret, form: {grant_type: client_credentials}}
- {POST: https://a.test/second, bearer: $access_token, json: {team: $team}, returns: {token: $access_token, refresh: $refresh_token}}
- {GET: https://a.test/me, bearer: $access_token, returns: {name: $team_name}}
refresh: {POST: https://a.test/third, json: {refresh: $refresh_token, team: $team}, returns: {token: $access_token, refresh: $refresh_token}}
call: https://a.test`,
	"code of a step": `
token:
- {POST: https://a.test/first, json: {user: $username, password: $password}, returns: {code: $login_code}}
- {POST: https://a.test/second, json: {code: $login_code}, returns: {token: $access_token, until: $unix($expires_at)}}
call: https://a.test`,
	"refresh token of a step": `
token:
- {POST: https://a.test/first, basic: $client_id:$client_secret, form: {grant_type: client_credentials}, returns: {t: $access_token, r: $refresh_token}}
- {POST: https://a.test/second, bearer: $access_token, json: {}, returns: {token: $access_token}}
refresh: {POST: https://a.test/refresh, json: {refresh: $refresh_token}, returns: {token: $access_token}}
call: https://a.test`,
	"two codes": `
token:
- {POST: https://a.test/first, json: {user: $username, password: $password}, returns: {code: $first_code}}
- {POST: https://a.test/second, json: {code: $first_code}, returns: {code: $second_code}}
- {POST: https://a.test/third, json: {code: $second_code}, returns: {token: $session}}
- {POST: https://a.test/fourth, bearer: $session, returns: {token: $access_token, refresh: $refresh_token}}
- {GET: https://a.test/me, bearer: $access_token, returns: {id: $user_id}}
refresh: {POST: https://a.test/refresh, bearer: $access_token, json: {refresh: $refresh_token}, returns: {token: $access_token, refresh: $refresh_token}}
call: https://a.test`,
	"challenge": `
token:
- {GET: https://a.test/challenge, query: {user: $username}, returns: {challenge: $challenge}}
- {POST: https://a.test/login, form: {user: $username, proof: $md5($challenge$access_key)}, returns: {session: $access_token, id: $user_id}}
call: {base: https://a.test, query: {sessionName: $access_token}}`,
	"cookies": `
token:
  POST: https://a.test/b1s/v1/Login
  json: {CompanyDB: $company, UserName: $username, Password: $password}
  returns: {SessionTimeout: $min($expires_in)}
  set_cookie: {B1SESSION: $access_token, ROUTEID: $route}
call: {base: https://a.test/b1s/v1, cookies: {B1SESSION: $access_token, ROUTEID: $route}}
lifetime: 30m`,
	"all cookies": `
token:
- {POST: https://a.test/start, json: {user: $username}, set_cookie: $start}
- {POST: https://a.test/login, cookies: $start, json: {user: $username, password: $password}, set_cookie: $access_token}
call: {base: https://a.test, cookies: $access_token}
lifetime: 30m`,
	"XML": `
token:
  POST: https://a.test/xml
  xml: {request: {control: {senderid: $sender_id, password: $sender_password, controlid: $uuid()}, operation: {login: {userid: $username, companyid: $company_id, password: $password}}}}
  returns_xml: {response: {status: success, session: $access_token, endpoint: $api_url, until: $iso($expires_at)}}
call: $api_url
hosts: [a.test]`,
	"header token": `
token:
  POST: https://a.test/v3/auth/tokens
  json: {auth: {identity: {methods: [password], password: {user: {name: $username, password: $password, domain: {id: $domain}}}}}}
  status: 201
  returns: {token: {expires_at: $expires_at}}
  returns_headers: {X-Subject-Token: $access_token}
call: {base: https://a.test, headers: {X-Auth-Token: $access_token}}
vars: {domain: default}`,
	"API key": `
token: {POST: https://a.test/token, headers: {x-api-key: $api_key}, json: {}, returns: {token: $access_token, expires: $expires_in}}
call: https://a.test`,
	"its own refresh": `
token: {POST: https://a.test/token, bearer: $api_key, form: {}, returns: {token: $access_token, expires_in: $expires_in}}
refresh: {when: valid, POST: https://a.test/token, bearer: $access_token, form: {}}
call: https://a.test
active: 1`,
	"oauth1": `
call:
  base: https://a.test/services
  sign: {oauth1: {consumer_key: $consumer_key, consumer_secret: $consumer_secret, token: $token_id, token_secret: $token_secret, realm: $account_id}}`,
	"aws4": `
call: {base: https://a.test/x, sign: {aws4: {key_id: $key_id, secret: $secret, region: eu-1, service: x}}}`,
	"a digest of the token": `
let: {created: $now()}
token: {POST: https://a.test/token, json: {user: $username, password: $password}, returns: {token: $access_token}}
call: {base: https://a.test, headers: {authorization: Bearer $access_token, x-time: $created, x-sum: "$hmac_sha256($client_secret, $access_token$created)"}}`,
	"a path that the login answers": `
token: {POST: https://a.test/token, json: {user: $username, password: $password}, returns: {token: $access_token, domain: $domain}}
call: https://a.test/domains/$domain`,
	"a digest of the account": `
call: {base: https://a.test, basic: "$username:$sha256($password)"}`,
	"key in calls": `
call: {base: https://a.test, headers: {x-api-key: $api_key, x-account: $account}}`,
	"certificate": `
token: {POST: https://a.test/token, tls: {cert: $client_certificate, key: $client_private_key}, form: {grant_type: client_credentials, client_id: $client_id}}
call: https://a.test`,
	"certificate in calls": `
token: {POST: https://a.test/token, tls: {cert: $client_certificate, key: $client_private_key}, form: {grant_type: client_credentials, client_id: $client_id}}
call: {base: https://a.test, tls: {cert: $client_certificate, key: $client_private_key}}
revoke: {POST: /revoke, form: {token: $access_token, client_id: $client_id}}`,
	"digest in calls": `
let: {created: $now()}
token: {POST: https://a.test/token, form: {grant_type: client_credentials, client_id: $client_id, client_secret: $client_secret}}
call: {base: https://a.test, headers: {x-time: $created, x-sum: "$hmac_sha256($client_secret, $created)"}}
introspect: {POST: https://a.test/introspect, basic: "$client_id:$client_secret", form: {token: $access_token}, ok: {active: true}}`,
	"token and signature": `
token: {POST: https://a.test/token, form: {grant_type: client_credentials, client_id: $client_id, client_secret: $client_secret}}
call: {base: https://a.test, headers: {x-amz-access-token: $access_token}, sign: {aws4: {key_id: $key_id, secret: $secret, region: eu-1, service: x}}}`,
	"subscription key": `
token: {POST: https://a.test/token, form: {grant_type: client_credentials, client_id: $client_id, client_secret: $client_secret}}
call: {base: https://a.test, headers: {Ocp-Apim-Subscription-Key: $subscription_key}}`,
	"password digest": `
token: {POST: https://a.test/token, json: {user: $username, hash: $sha256($password)}, returns: {token: $access_token, refresh: $refresh_token, ttl: $refresh_expires_in}}
refresh: {POST: https://a.test/refresh, json: {token: $refresh_token}, returns: {token: $access_token}}
call: https://a.test
rate: {username: 10/min}`,
}

func construct(t testing.TB, name string) *dialect.Dialect {
	t.Helper()
	source, ok := constructs[name]
	if !ok {
		t.Fatal("no construct", name)
	}
	d, err := dialect.Parse("test.yaml", []byte("dialect: x"+source+"\n"))
	if err != nil {
		t.Fatal(name, err)
	}
	return d
}
