package issuer

import (
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
	"github.com/jetonhq/jeton/dialect/sign"
	"github.com/jetonhq/jeton/store"
)

// A call that proves when it was made is not good for ever: whoever sees one must
// not be able to make it again as long as the token lives.
func TestOldCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vendHere(t, construct(t, "digest in calls"))
		account := v.invented("a")
		v.admit(account)
		vars := v.entered(account)
		for wait, want := range map[time.Duration]int{14 * time.Minute: http.StatusOK, 16 * time.Minute: http.StatusUnauthorized} {
			status, _ := v.call(vars, func(*http.Request) { time.Sleep(wait) })
			if status != want {
				t.Errorf("after %v: status %d, want %d", wait, status, want)
			}
		}
	})
}

// A secret that some clients have and others have not is demanded of those who
// have it.
func TestOptionalSecret(t *testing.T) {
	d, err := dialect.Parse("test.yaml", []byte(`dialect: x
vars: {client_secret: ~, tenant_id: ~}
token:
  POST: https://a.test/token
  json: {id: $client_id, secret: $client_secret, tenant: $tenant_id, user: $username}
  returns: {token: $access_token}
call: https://a.test
`))
	must(t, err)
	v := vend(t, d, false, nil)
	guarded := jeton.Vars{"client_id": "guarded", "username": "u", "client_secret": "its-secret", "tenant_id": "acme"}
	v.admit(guarded)
	open := jeton.Vars{"client_id": "open", "username": "u2"}
	v.admit(open)
	without := func(account jeton.Vars, name string) jeton.Vars {
		short := account.Clone()
		delete(short, name)
		return short
	}
	d, err = dialect.Parse("test.yaml", []byte(`dialect: x
vars: {api_key: ~}
call: {base: https://a.test, headers: {x-account: $account, x-api-key: $api_key}}
`))
	must(t, err)
	w := vend(t, d, false, nil)
	w.admit(jeton.Vars{"account": "guarded", "api_key": "its-key"})
	w.admit(jeton.Vars{"account": "open"})
	for _, c := range []struct {
		account jeton.Vars
		status  int
	}{
		{jeton.Vars{"account": "guarded", "api_key": "its-key"}, http.StatusOK},
		{jeton.Vars{"account": "guarded"}, http.StatusUnauthorized},
		{jeton.Vars{"account": "open"}, http.StatusOK},
		{jeton.Vars{"account": "open", "api_key": "its-key"}, http.StatusUnauthorized},
	} {
		if status, _ := w.call(c.account, nil); status != c.status {
			t.Errorf("a call with %d variables as %s: status %d, want %d", len(c.account), c.account["account"], status, c.status)
		}
	}
	for what, c := range map[string]struct {
		account jeton.Vars
		good    bool
	}{
		"all of it":                {guarded, true},
		"without the secret":       {without(guarded, "client_secret"), false},
		"without a setting":        {without(guarded, "tenant_id"), true},
		"one that has no secret":   {open, true},
		"a secret that it has not": {jeton.Vars{"client_id": "open", "username": "u2", "client_secret": "its-secret"}, false},
	} {
		if got := v.enters(c.account); got != c.good {
			t.Errorf("%s: gets in %v", what, got)
		}
	}
}

// Nobody guesses the password of calls that wear one: wrong ones are limited for
// each name and network, whatever the right one's are elsewhere.
func TestGuessedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := dialect.Parse("test.yaml", []byte("dialect: x\ncall: {base: https://a.test, basic: $email:$password}\n"))
		must(t, err)
		v := vendHere(t, d)
		ann, bob := jeton.Vars{"email": "ann@a.test", "password": "right"}, jeton.Vars{"email": "bob@a.test", "password": "right too"}
		v.admit(ann)
		v.admit(bob)
		counts := map[int]int{}
		for i := range guessRate.Count + 10 {
			status, _ := v.call(jeton.Vars{"email": "ann@a.test", "password": fmt.Sprint("wrong", i)}, nil)
			counts[status]++
		}
		if counts[http.StatusUnauthorized] != guessRate.Count || counts[http.StatusTooManyRequests] != 10 {
			t.Errorf("guesses are answered %v", counts)
		}
		if status, _ := v.call(ann, nil); status != http.StatusTooManyRequests {
			t.Errorf("the right password tells itself: status %d", status)
		}
		v.mustCall(bob)
		if status, _ := v.call(ann, func(r *http.Request) { r.Header.Set("X-From", "192.0.2.9:1") }); status != http.StatusOK {
			t.Errorf("who comes from elsewhere is answered %d", status)
		}
		time.Sleep(guessRate.Per)
		v.mustCall(ann)
	})
}

// A token that a client made and that was revoked stays so in every other form of
// its signature: (r, s) and (r, n-s) are both good for ECDSA.
func TestRevokedMintedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vendHere(t, construct(t, "minted JWT"))
		account := v.invented("a")
		v.admit(account)
		text := v.entered(account)["access_token"]
		claims, err := v.Verify(t.Context(), jeton.NewSecret(text))
		must(t, err)
		must(t, v.endToken(t.Context(), claims.ID, claims.Expiry))
		i := strings.LastIndexByte(text, '.') + 1
		b, err := base64.RawURLEncoding.DecodeString(text[i:])
		must(t, err)
		s := new(big.Int).SetBytes(b[32:])
		s.Sub(elliptic.P256().Params().N, s).FillBytes(b[32:])
		for _, form := range []string{text, text[:i] + base64.RawURLEncoding.EncodeToString(b)} {
			if _, err := v.Verify(t.Context(), jeton.NewSecret(form)); err == nil {
				t.Error("a revoked token is good")
			}
		}
		time.Sleep(time.Second)
		v.mustCall(v.entered(account)) // another one is another token
	})
}

// An assertion that is good for years is refused: nobody could take it back.
func TestAssertionForEver(t *testing.T) {
	v := vend(t, construct(t, "JWT bearer"), false, nil)
	account := v.invented("a")
	v.admit(account)
	for life, good := range map[time.Duration]bool{10 * time.Minute: true, time.Hour: true, 365 * 24 * time.Hour: false} {
		text, err := sign.MakeJWT("RS256", account["private_key"], nil, map[string]any{
			"iss": account["app_id"], "iat": time.Now().Unix(), "exp": time.Now().Add(life).Unix(),
		})
		must(t, err)
		_, err = v.exchange(v.d.Login, account, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+text) })
		if (err == nil) != good {
			t.Errorf("good for %v: %v", life, err)
		}
	}
}

// Whoever an assertion is said to be about, and whatever is wrong with its proof,
// the answer is one and the same, to the letter.
func TestSAMLTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := vendHere(t, construct(t, "SAML bearer"))
		account := v.invented("a")
		v.admit(account)
		v.mustCall(v.entered(account))
		now := time.Now()
		answer := func(key string, change func(*sign.Assertion)) string {
			a := sign.Assertion{ID: "_1", Issuer: account["client_id"], Subject: account["username"], Audience: "www.a.test", Recipient: "https://a.test/oauth/token",
				Attributes: []sign.Attribute{{Name: "api_key", Value: account["client_id"]}}, Issued: now, NotBefore: now, NotOnOrAfter: now.Add(time.Minute)}
			change(&a)
			text, err := sign.MakeSAML("RS256", key, "", a)
			must(t, err)
			with := account.Clone()
			with["assertion"] = text
			r, err := v.d.WriteRequest(t.Context(), v.d.Login, v.origin, with)
			must(t, err)
			got, err := v.client(nil).Do(r)
			must(t, err)
			defer got.Body.Close()
			body, err := io.ReadAll(got.Body)
			must(t, err)
			return got.Status + " " + string(body)
		}
		keys, _ := law.Keys("RS256")
		own, foreign := account["private_key"], keys[1]
		if got := answer(own, func(*sign.Assertion) {}); !strings.HasPrefix(got, "200 ") {
			t.Fatal(got)
		}
		want := answer(foreign, func(*sign.Assertion) {})
		for name, got := range map[string]string{
			"an unknown user":              answer(own, func(a *sign.Assertion) { a.Subject = "nobody" }),
			"an unknown user of a forger":  answer(foreign, func(a *sign.Assertion) { a.Subject = "nobody" }),
			"expired":                      answer(own, func(a *sign.Assertion) { a.NotOnOrAfter = now }),
			"expired, and of a forger":     answer(foreign, func(a *sign.Assertion) { a.NotOnOrAfter = now }),
			"for years":                    answer(own, func(a *sign.Assertion) { a.NotOnOrAfter = now.AddDate(1, 0, 0) }),
			"of a time to come":            answer(own, func(a *sign.Assertion) { a.Issued = now.Add(time.Hour) }),
			"good later, and of a forger":  answer(foreign, func(a *sign.Assertion) { a.NotBefore = now.Add(time.Hour) }),
			"an unknown user, and expired": answer(own, func(a *sign.Assertion) { a.Subject, a.NotOnOrAfter = "nobody", now }),
		} {
			if got != want || strings.HasPrefix(got, "200 ") {
				t.Errorf("%s: %s, and a wrong signature: %s", name, got, want)
			}
		}
		for name, change := range map[string]func(*sign.Assertion){
			"another client in the attributes": func(a *sign.Assertion) { a.Attributes[0].Value = "other" },
			"another issuer":                   func(a *sign.Assertion) { a.Issuer = "other" },
			"for another audience":             func(a *sign.Assertion) { a.Audience = "www.b.test" },
			"for another place":                func(a *sign.Assertion) { a.Recipient = "https://b.test/oauth/token" },
		} {
			if good, forged := answer(own, change), answer(foreign, change); good != forged || strings.HasPrefix(good, "200 ") {
				t.Errorf("%s: %s, and of a forger: %s", name, good, forged)
			}
		}
	})
}

// A realm whose logins or calls ask for nothing but names lets everybody in, so
// there is none.
func TestNothingSecret(t *testing.T) {
	for source, good := range map[string]bool{
		"token: {POST: https://a.test/t, json: {id: $client_id}, returns: {t: $access_token}}":                                                                                                                                                                                                                   false,
		"token: {POST: https://a.test/t/$account, json: {user: $username}, returns: {t: $access_token}}":                                                                                                                                                                                                         false,
		"token:\n- {POST: https://a.test/t, json: {user: $username}, returns: {code: $login_code}}\n- {POST: https://a.test/u, json: {code: $login_code}, returns: {t: $access_token}}":                                                                                                                          false,
		"call: {base: https://a.test, query: {user: $username}}":                                                                                                                                                                                                                                                 false,
		"token: {POST: https://a.test/t, json: {id: $client_id, pin: $pin}, returns: {t: $access_token}}":                                                                                                                                                                                                        true,
		"token:\n- {POST: https://a.test/t, json: {user: $username}, returns: {code: $login_code}}\n- {POST: https://a.test/u, json: {code: $login_code, hash: $sha256($login_code$password)}, returns: {t: $access_token}}":                                                                                     true,
		"token: {POST: https://a.test/t, json: {id: $client_id, pin: $pin}, returns: {t: $access_token}}\naccept: [{POST: /u, json: {id: $client_id}}]":                                                                                                                                                          false,
		"token: {POST: https://a.test/t, json: {id: $client_id, pin: $pin}, returns: {t: $access_token}}\nrefresh: {POST: https://a.test/u, json: {id: $client_id}}":                                                                                                                                             false,
		"token:\n- {POST: https://a.test/t, json: {user: $username, pin: $pin}, returns: {name: $full_name}}\n- {POST: https://a.test/u, json: {user: $username}, returns: {t: $access_token}}":                                                                                                                  false,
		"token:\n- {POST: https://a.test/t, json: {user: $username}, returns: {t: $access_token}}\n- {POST: https://a.test/u, bearer: $access_token, json: {pin: $pin}, returns: {name: $full_name}}":                                                                                                            false,
		"token:\n- {POST: https://a.test/t, json: {user: $username}, returns: {code: $login_code}}\n- {POST: https://a.test/u, json: {code: $login_code, pin: $pin}, returns: {code: $login_code}}\n- {POST: https://a.test/v, json: {code: $login_code}, returns: {t: $access_token}}":                          false,
		"token:\n- {POST: https://a.test/t, json: {user: $username}, returns: {r: $refresh_token, code: $login_code}}\n- {POST: https://a.test/u, json: {code: $login_code, pin: $pin}, returns: {t: $access_token}}\nrefresh: {POST: https://a.test/v, json: {r: $refresh_token}, returns: {t: $access_token}}": false,
		"token: {POST: https://a.test/t, json: {id: $client_id, pin: $pin}, returns: {t: $access_token}}\naccept: [{POST: /u, json: {id: $client_id, key: $api_key}}]":                                                                                                                                           true,
		"token: {POST: https://a.test/t, json: {id: $client_id, pin: $pin}, returns: {t: $access_token}}\nrefresh: {POST: https://a.test/u, bearer: $access_token}":                                                                                                                                              true,
		"call: {base: https://a.test, query: {key: $key}}": true,
	} {
		d, err := dialect.Parse("test.yaml", []byte("dialect: x\n"+source+"\n"))
		must(t, err)
		err = Config{Name: "x", Dialect: d, Store: store.NewMemory(), Audit: audit.NewMemory(), URL: "https://a.test"}.check()
		if (err == nil) != good || err != nil && !strings.Contains(err.Error(), "nothing that is secret") {
			t.Errorf("%s: %v", source, err)
		}
	}
}
