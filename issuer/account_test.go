package issuer

import (
	"crypto/tls"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
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

// eachConstruct runs a test at a vendor of each construct, where a client has an
// account.
func eachConstruct(t *testing.T, test func(t *testing.T, v *vendor, id string, account jeton.Vars)) {
	for name := range constructs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := vend(t, construct(t, name), strings.HasPrefix(name, "certificate"), nil)
			if v.accounts == nil {
				t.Fatal("the realm takes the dialect for one that the directory can check")
			}
			account := v.invented("a")
			test(t, v, v.admit(account), account)
		})
	}
}

func TestConstructs(t *testing.T) {
	for name := range constructs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testEvery(t, construct(t, name))
		})
	}
}

// Two clients have nothing of one another: with one value of the other's account
// in place of its own nobody gets in.
func TestAccountsApart(t *testing.T) {
	eachConstruct(t, func(t *testing.T, v *vendor, id string, account jeton.Vars) {
		other := v.invented("b")
		v.admit(other)
		v.mustCall(v.entered(other))
		for name, text := range other {
			mixed := account.Clone()
			if mixed[name] = text; mixed[name] == account[name] || !v.travels(name) || v.d.Kinds()[name] == "certificate" {
				continue
			}
			if len(account) > 1 && v.enters(mixed) {
				t.Errorf("$%s of another account is taken", name)
			}
		}
		if got := v.mustCall(v.entered(account)); got != id {
			t.Errorf("the call is %s's, want %s", got, id)
		}
	})
}

// Whoever is disabled, removed or given another account is out at once, with the
// tokens that there are, and only those who still may get in again.
func TestAccountEnds(t *testing.T) {
	for what, end := range map[string]func(v *vendor, id string) error{
		"disabled": func(v *vendor, id string) error {
			return v.directory.SetClientDisabled(v.t.Context(), "test", "", id, true)
		},
		"removed": func(v *vendor, id string) error { return v.directory.RemoveClient(v.t.Context(), "test", "", id) },
		"another account": func(v *vendor, id string) error {
			return v.directory.SetAccount(v.t.Context(), "test", "", id, jeton.Vars{"username": "somebody", "api_key": "else"})
		},
		"no account": func(v *vendor, id string) error {
			return v.directory.SetAccount(v.t.Context(), "test", "", id, nil)
		},
	} {
		t.Run(what, func(t *testing.T) {
			eachConstruct(t, func(t *testing.T, v *vendor, id string, account jeton.Vars) {
				vars := v.entered(account)
				v.mustCall(vars)
				must(t, end(v, id))
				if v.d.Login.Method != "" || v.d.Minted() {
					if status, _ := v.call(vars, nil); status != http.StatusUnauthorized {
						t.Errorf("a token from before is answered %d", status)
					}
				}
				if v.enters(account) {
					t.Error("gets in again")
				}
				for _, x := range v.d.Refresh {
					if _, err := v.exchange(x, vars, nil); err == nil {
						t.Error("refreshes")
					}
				}
			})
		})
	}
}

// An account that lacks a variable lets nobody in, whatever stands in its place.
func TestAccountLacks(t *testing.T) {
	eachConstruct(t, func(t *testing.T, v *vendor, id string, account jeton.Vars) {
		for name := range account {
			if !v.travels(name) || v.d.LeadsTo(name) != "" {
				continue
			}
			short := account.Clone()
			delete(short, name)
			must(t, v.directory.SetAccount(t.Context(), "test", "", id, short))
			if v.enters(account) {
				t.Errorf("without $%s somebody gets in", name)
			}
		}
		must(t, v.directory.SetAccount(t.Context(), "test", "", id, account))
		v.mustCall(v.entered(account))
	})
}

// Who is not known is answered like who has a wrong secret.
func TestAccountTellsNothing(t *testing.T) {
	eachConstruct(t, func(t *testing.T, v *vendor, _ string, account jeton.Vars) {
		v.entered(account)
		refused := func(account jeton.Vars) string {
			vars, err := v.enter(account)
			if err != nil {
				return err.Error()
			}
			status, body := v.call(vars, nil)
			if v.d.Login.Method != "" {
				return "" // the login says nothing of what only calls wear
			}
			return http.StatusText(status) + body
		}
		answers := map[string]bool{}
		wrongs := v.wrongs(account)
		nobody := account.Clone()
		for _, wrong := range wrongs {
			for name, text := range wrong {
				if text != account[name] {
					nobody[name] = text
				}
			}
		}
		for _, wrong := range append(wrongs, nobody) {
			// In a login of steps the step that sees what is wrong refuses it.
			if len(v.d.Sequence()) < 2 {
				answers[refused(wrong)] = true
				delete(answers, "")
			}
		}
		if len(answers) > 1 {
			t.Errorf("%d different answers: %v", len(answers), answers)
		}
	})
}

// To find out that somebody is unknown costs as many reads as that a secret is
// wrong, or the client disabled.
func TestAccountCostsTheSame(t *testing.T) {
	eachConstruct(t, func(t *testing.T, v *vendor, id string, account jeton.Vars) {
		v.entered(account)
		v.stop() // nothing else reads
		reads := map[int64]bool{}
		try := func(account jeton.Vars) {
			before := v.reads.n.Load()
			if len(v.d.Sequence()) > 1 {
				return // each step ends where something is wrong
			}
			switch {
			case v.d.Login.Method != "":
				if _, err := v.exchange(v.d.Login, account, nil); err == nil {
					return // it is only for calls
				}
			case v.d.Minted():
				token, err := v.d.Mint(account, time.Now())
				must(t, err)
				if _, err := v.Verify(t.Context(), token.AccessToken); err == nil {
					return // likewise
				}
			case v.enters(account):
				t.Error("somebody gets in")
			}
			reads[v.reads.n.Load()-before] = true
		}
		for _, wrong := range v.wrongs(account) {
			try(wrong)
		}
		must(t, v.directory.SetClientDisabled(t.Context(), "test", "", id, true))
		try(account)
		if len(reads) > 1 {
			t.Errorf("%v reads", reads)
		}
	})
}

// What is presented and what accounts hold is in no log.
func TestAccountsAreNotLogged(t *testing.T) {
	eachConstruct(t, func(t *testing.T, v *vendor, _ string, account jeton.Vars) {
		v.entered(account)
		for _, wrong := range v.wrongs(account) {
			v.enters(wrong)
		}
		text := v.lines.String()
		for _, action := range []string{"login", "step", "refresh"} {
			for _, e := range v.entries(action) {
				text += " " + e.Actor + " " + e.Target + " " + e.Detail
			}
		}
		for name, secret := range account {
			if !v.d.Public(name) && strings.Contains(text, secret) {
				t.Errorf("$%s is in a log", name)
			}
		}
	})
}

// A login that cannot be written down gives nothing.
func TestAccountAuditFails(t *testing.T) {
	for _, name := range []string{"code of a step", "token for a token", "HMAC", "its own refresh"} {
		t.Run(name, func(t *testing.T) {
			v := vend(t, construct(t, name), false, nil)
			account := v.invented("a")
			v.admit(account)
			v.Realm.log = &failingLog{v.log, true}
			if vars, err := v.exchange(v.d.Sequence()[0], account, nil); !errors.Is(err, jeton.Unavailable) {
				t.Error(vars, err)
			}
		})
	}
}

// A step token is good for the client and the variable that it was made for, and
// nothing else.
func TestStepToken(t *testing.T) {
	v := vend(t, construct(t, "code of a step"), false, nil)
	ann, bob := v.invented("ann"), v.invented("bob")
	annID := v.admit(ann)
	v.admit(bob)
	first, err := v.exchange(v.d.Steps[0], ann, nil)
	must(t, err)
	if _, err := v.exchange(v.d.Login, first, nil); err != nil {
		t.Fatal(err)
	}
	if v.good(first["login_code"]) {
		t.Error("a step token is taken for an access token")
	}
	// An access token is no step token.
	vars := v.entered(ann)
	vars["login_code"] = vars["access_token"]
	if _, err := v.exchange(v.d.Login, vars, nil); err == nil {
		t.Error("an access token is taken for a step token")
	}
	for _, forged := range []string{first["login_code"] + "x", "x", strings.Repeat("x.", 3)} {
		if _, err := v.exchange(v.d.Login, jeton.Vars{"login_code": forged}, nil); !jeton.Refused(err) {
			t.Error(err)
		}
	}
	must(t, v.directory.SetClientDisabled(t.Context(), "test", "", annID, true))
	if _, err := v.exchange(v.d.Login, first, nil); err == nil {
		t.Error("the step token of who is disabled is good")
	}
}

// A step token of one variable is nothing in the place of another, and none buys
// what the token itself does.
func TestStepTokenInPlace(t *testing.T) {
	v := vend(t, construct(t, "two codes"), false, nil)
	account := v.invented("a")
	id := v.admit(account)
	vars := v.entered(account)
	if vars["user_id"] == "" {
		t.Error("nobody says who it is")
	}
	third, me := v.d.Steps[2], v.d.Then[0]
	if _, err := v.exchange(third, vars, nil); err != nil {
		t.Error(err)
	}
	for x, swap := range map[*dialect.Exchange][2]string{
		third: {"second_code", "first_code"}, v.d.Login: {"session", "second_code"}, me: {"access_token", "session"},
	} {
		wrong := vars.Clone()
		wrong[swap[0]] = vars[swap[1]]
		if _, err := v.exchange(x, wrong, nil); !jeton.Refused(err) {
			t.Errorf("$%s in place of $%s: %v", swap[1], swap[0], err)
		}
	}
	// Another account ends it.
	must(t, v.directory.SetAccount(t.Context(), "test", "", id, account))
	if _, err := v.exchange(third, vars, nil); !jeton.Refused(err) {
		t.Error("the step token of an account that was replaced:", err)
	}
}

// What a message presents is one client's, and one login's.
func TestTokensTogether(t *testing.T) {
	v := vend(t, construct(t, "two codes"), false, nil)
	ann, bob := v.invented("ann"), v.invented("bob")
	v.admit(ann)
	v.admit(bob)
	one, two, other := v.entered(ann), v.entered(ann), v.entered(bob)
	for name, worn := range map[string]string{"another client": other["access_token"], "another login": two["access_token"], "nobody": "none"} {
		mixed := one.Clone()
		mixed["access_token"] = worn
		if _, err := v.exchange(v.d.Refresh[0], mixed, nil); !jeton.Refused(err) {
			t.Errorf("the token of %s: %v", name, err)
		}
	}
	next, err := v.exchange(v.d.Refresh[0], one, nil)
	must(t, err)
	v.mustCall(next)
}

// A token that is the cookies of a login has one form.
func TestCookieToken(t *testing.T) {
	v := vend(t, construct(t, "all cookies"), false, nil)
	account := v.invented("a")
	v.admit(account)
	token := v.entered(account)["access_token"]
	if !v.good(token) {
		t.Error("not good")
	}
	bare, _ := strings.CutPrefix(token, sessionCookie)
	for _, other := range []string{bare, "other=" + bare, token + "; a=b", strings.ToUpper(sessionCookie) + bare} {
		if v.good(other) {
			t.Errorf("good in another form, too")
		}
	}
}

// A step token of one client is nothing in the hands of another.
func TestStepTokenOfAnother(t *testing.T) {
	v := vend(t, construct(t, "token for a token"), false, nil)
	ann, bob := v.invented("ann"), v.invented("bob")
	v.admit(ann)
	v.admit(bob)
	first, err := v.exchange(v.d.Steps[0], ann, nil)
	must(t, err)
	bob["access_token"] = first["access_token"]
	if _, err := v.exchange(v.d.Login, bob, nil); err == nil {
		t.Error("taken")
	}
	if status, _ := v.call(first, nil); status != http.StatusUnauthorized {
		t.Errorf("the API takes the token of a step: %d", status)
	}
	if _, err := v.exchange(v.d.Then[0], first, nil); !errors.Is(err, jeton.InvalidToken) {
		t.Error("what comes after the token takes that of a step:", err)
	}
	// And the token that counts does not buy another one.
	vars := v.entered(ann)
	if _, err := v.exchange(v.d.Login, vars, nil); err == nil {
		t.Error("the token itself is taken for that of a step")
	}
}

// A step token is good for ten minutes.
func TestStepTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vendHere(t, construct(t, "code of a step"))
		account := v.invented("a")
		v.admit(account)
		first, err := v.exchange(v.d.Steps[0], account, nil)
		must(t, err)
		time.Sleep(stepLifetime - time.Second)
		if _, err := v.exchange(v.d.Login, first, nil); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if _, err := v.exchange(v.d.Login, first, nil); !jeton.Refused(err) {
			t.Error(err)
		}
	})
}

// A token that the client made is good for as long as it says, or the dialect.
func TestMintedExpires(t *testing.T) {
	for name, lifetime := range map[string]time.Duration{"WSSE": 5 * time.Minute, "minted JWT": 20 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			v := vendHere(t, construct(t, name))
			account := v.invented("a")
			id := v.admit(account)
			vars := v.entered(account)
			claims, err := v.Verify(t.Context(), jeton.NewSecret(vars["access_token"]))
			must(t, err)
			if left := time.Until(claims.Expiry); left < lifetime-time.Second || left > lifetime || claims.ClientID != id || claims.Subject != id {
				t.Errorf("%s: %v left", name, left)
			}
			time.Sleep(lifetime - time.Second)
			v.mustCall(vars)
			time.Sleep(2 * time.Second)
			if status, _ := v.call(vars, nil); status != http.StatusUnauthorized {
				t.Errorf("%s: status %d", name, status)
			}
		})
	}
}

// An access token expires, and a worn one that has does not buy the next.
func TestWornExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vendHere(t, construct(t, "its own refresh"))
		account := v.invented("a")
		v.admit(account)
		vars := v.entered(account)
		time.Sleep(time.Hour)
		if _, err := v.exchange(v.d.Refresh[0], vars, nil); !jeton.Refused(err) {
			t.Error(err)
		}
	})
}

// A refresh token goes with the account that it was given to.
func TestAccountRefresh(t *testing.T) {
	v := vend(t, construct(t, "token for a token"), false, nil)
	ann, bob := v.invented("ann"), v.invented("bob")
	annID := v.admit(ann)
	v.admit(bob)
	vars := v.entered(ann)
	x := v.d.Refresh[0]
	bob["refresh_token"] = vars["refresh_token"]
	if _, err := v.exchange(x, bob, nil); !errors.Is(err, jeton.InvalidGrant) {
		t.Error(err)
	}
	next, err := v.exchange(x, vars, nil)
	must(t, err)
	if v.mustCall(next) != annID || next["refresh_token"] == vars["refresh_token"] {
		t.Error("not renewed")
	}
	last, err := v.exchange(x, next, nil)
	must(t, err)
	// A spent token ends the family.
	if _, err := v.exchange(x, vars, nil); !errors.Is(err, jeton.InvalidGrant) {
		t.Error(err)
	}
	if status, _ := v.call(last, nil); status != http.StatusUnauthorized {
		t.Errorf("status %d after a spent refresh token was presented", status)
	}
}

// Where a refresh answers with no new refresh token the first one stays good.
func TestRefreshTokenStays(t *testing.T) {
	v := vend(t, construct(t, "password digest"), false, nil)
	account := v.invented("a")
	v.admit(account)
	vars := v.entered(account)
	if vars["refresh_expires_in"] == "" {
		t.Error("the answer does not say for how long it can be refreshed")
	}
	for range 3 {
		next, err := v.exchange(v.d.Refresh[0], vars, nil)
		must(t, err)
		v.mustCall(next)
	}
}

// A token that is its own refresh token: the next one ends it, and what has
// ended buys nothing.
func TestOwnRefresh(t *testing.T) {
	v := vend(t, construct(t, "its own refresh"), false, nil)
	account := v.invented("a")
	v.admit(account)
	vars := v.entered(account)
	next, err := v.exchange(v.d.Refresh[0], vars, nil)
	must(t, err)
	v.mustCall(next)
	if status, _ := v.call(vars, nil); status != http.StatusUnauthorized {
		t.Errorf("the old token is answered %d", status)
	}
	if _, err := v.exchange(v.d.Refresh[0], vars, nil); err == nil {
		t.Error("the old token buys another one")
	}
	if _, err := v.exchange(v.d.Refresh[0], jeton.Vars{"access_token": "nothing"}, nil); err == nil {
		t.Error("nothing buys a token")
	}
}

// What calls wear beside the token is the account's own.
func TestAccountBound(t *testing.T) {
	for name, header := range map[string]string{"HMAC": "X-Key", "whoami": "X-Tenant-Id", "subscription key": "Ocp-Apim-Subscription-Key", "minted JWT": "X-Team"} {
		v := vend(t, construct(t, name), false, nil)
		account := v.invented("a")
		v.admit(account)
		vars := v.entered(account)
		v.mustCall(vars)
		for _, other := range []string{"another", ""} {
			status, _ := v.call(vars, func(r *http.Request) {
				if r.Header.Get(header) == "" {
					t.Fatal("the call does not wear", header)
				}
				r.Header.Set(header, other)
			})
			if status != http.StatusUnauthorized && !(other == "" && status == http.StatusBadRequest) {
				t.Errorf("%s: %q in %s is answered %d", name, other, header, status)
			}
		}
	}
}

// A client shows its own certificate, on a connection with TLS; without TLS only
// where the realm says so.
func TestCertificate(t *testing.T) {
	d := construct(t, "certificate")
	v := vend(t, d, true, nil)
	account := v.invented("a")
	v.admit(account)
	r, err := d.WriteRequest(t.Context(), d.Login, v.origin, account)
	must(t, err)
	own, err := d.Certificate(d.Login, account)
	must(t, err)
	other := *v.served.TLS.Certificates[0].Leaf
	for name, c := range map[string]struct {
		cert   *tls.Certificate
		status int
	}{"own": {own, 200}, "none": {nil, 401}, "another": {&tls.Certificate{Certificate: [][]byte{other.Raw}, PrivateKey: v.served.TLS.Certificates[0].PrivateKey}, 401}} {
		r := r.Clone(t.Context())
		r.Body, _ = r.GetBody()
		answer, err := v.client(c.cert).Do(r)
		must(t, err)
		_ = answer.Body.Close()
		if answer.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d", name, answer.StatusCode, c.status)
		}
	}
	for _, insecure := range []bool{false, true} {
		v := vend(t, d, false, func(c *Config) { c.InsecureCertificates = insecure })
		v.admit(account)
		if _, err := v.exchange(d.Login, account, nil); (err == nil) != insecure {
			t.Errorf("insecure %v: %v", insecure, err)
		}
	}
}

// Where calls show a certificate, are signed, or hold a digest, a token alone is
// not enough.
func TestWholeCall(t *testing.T) {
	v := vend(t, construct(t, "certificate in calls"), true, nil)
	account := v.invented("a")
	v.admit(account)
	vars := v.entered(account)
	v.mustCall(vars)
	base, err := v.d.CallURL(v.origin, vars)
	must(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base.String()+"/things", nil)
	must(t, err)
	must(t, v.d.WriteCall(r, vars))
	answer, err := v.client(nil).Do(r)
	must(t, err)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("status %d without a certificate", answer.StatusCode)
	}
	for name, header := range map[string]string{"digest in calls": "X-Sum", "token and signature": "X-Amz-Date"} {
		v := vend(t, construct(t, name), false, nil)
		account := v.invented("a")
		v.admit(account)
		vars := v.entered(account)
		v.mustCall(vars)
		status, _ := v.call(vars, func(r *http.Request) {
			if r.Header.Get(header) == "" {
				t.Fatal("the call does not wear", header)
			}
			r.Header.Set(header, "20260101T000000Z")
		})
		if status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", name, status)
		}
	}
}

// The vendor's own ways to ask about tokens and to end them are for whose they
// are.
func TestOwnWords(t *testing.T) {
	v := vend(t, construct(t, "digest in calls"), false, nil)
	ann, bob := v.invented("ann"), v.invented("bob")
	v.admit(ann)
	v.admit(bob)
	vars := v.entered(ann)
	if _, err := v.exchange(v.d.Introspect, vars, nil); err != nil {
		t.Error(err)
	}
	bob["access_token"] = vars["access_token"]
	if _, err := v.exchange(v.d.Introspect, bob, nil); err == nil {
		t.Error("another client learns about the token")
	}
	bob["client_secret"] = "wrong"
	if _, err := v.exchange(v.d.Introspect, bob, nil); !errors.Is(err, jeton.InvalidClient) {
		t.Error(err)
	}
	// RFC 7662 as the realm's metadata has it stands beside it.
	want(t, v.form("/introspect", []string{"token", "x", "client_id", "nobody", "client_secret", "x"}), 401, jeton.InvalidClient)

	w := vend(t, construct(t, "certificate in calls"), true, nil)
	ann, bob = w.invented("ann"), w.invented("bob")
	w.admit(ann)
	w.admit(bob)
	vars = w.entered(ann)
	bob["access_token"] = vars["access_token"]
	if _, err := w.exchange(w.d.Revoke, bob, nil); err != nil {
		t.Error(err)
	}
	w.mustCall(vars)
	_, err := w.exchange(w.d.Revoke, vars, nil)
	must(t, err)
	if status, _ := w.call(vars, nil); status != http.StatusUnauthorized {
		t.Errorf("status %d", status)
	}
}

// A login that says when it was made, and proves it, is not good for ever.
func TestOldLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vendHere(t, construct(t, "HMAC"))
		account := v.invented("a")
		v.admit(account)
		for wait, good := range map[time.Duration]bool{14 * time.Minute: true, 16 * time.Minute: false} {
			_, err := v.exchange(v.d.Login, account, func(*http.Request) { time.Sleep(wait) })
			if (err == nil) != good {
				t.Errorf("after %v: %v", wait, err)
			}
		}
	})
}

// A scope that the client may not have is refused, and where its entry has none
// it is that of the account.
func TestAccountScope(t *testing.T) {
	v := vend(t, construct(t, "private_key_jwt"), false, nil)
	account := v.invented("a")
	id := v.admit(account)
	ask := func(scope string) error {
		vars := account.Clone()
		vars["scope"] = scope
		_, err := v.exchange(v.d.Login, vars, nil)
		return err
	}
	if err := ask("admin"); !errors.Is(err, jeton.InvalidScope) {
		t.Error(err)
	}
	with := account.Clone()
	with["scope"] = "read write"
	must(t, v.directory.SetAccount(t.Context(), "test", "", id, with))
	if err := ask("read"); err != nil {
		t.Error(err)
	}
	if err := ask("read admin"); !errors.Is(err, jeton.InvalidScope) {
		t.Error(err)
	}
}

// Wrong secrets are limited for each name, and right ones elsewhere go on.
func TestAccountLimits(t *testing.T) {
	v := vend(t, construct(t, "password digest"), false, nil)
	account := v.invented("a")
	v.admit(account)
	other := v.invented("b")
	v.admit(other)
	wrong := maps.Clone(account)
	wrong["password"] = "wrong"
	var err error
	for range 20 {
		if _, err = v.enter(wrong); errors.Is(err, jeton.SlowDown) {
			break
		}
	}
	if !errors.Is(err, jeton.SlowDown) {
		t.Error(err)
	}
	v.entered(other)
}

// When the store is down nobody is blamed.
func TestAccountUndecided(t *testing.T) {
	eachConstruct(t, func(t *testing.T, v *vendor, _ string, account jeton.Vars) {
		vars := v.entered(account)
		if len(v.d.Sequence()) > 0 {
			x := v.d.Login
			if len(v.d.Steps) > 0 {
				x = v.d.Steps[0]
			}
			if len(v.d.Shape(x).Travels) == 0 {
				return // it asks for nobody
			}
			v.down()
			if _, err := v.exchange(x, vars, nil); !errors.Is(err, jeton.Unavailable) {
				t.Error(err)
			}
			return
		}
		v.down()
		if status, _ := v.call(vars, nil); status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
	})
}
