package issuer

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

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

// Where two steps answer with the same variable, what the first gave does not
// buy what the second is to: whoever has only a password gets past no second
// factor.
func TestStepTokenOfEarlierStep(t *testing.T) {
	for name, hole := range map[string]string{"a code": "login_code", "an access token": "access_token"} {
		d, err := dialect.Parse("test.yaml", []byte(strings.ReplaceAll(`dialect: x
token:
- {POST: https://a.test/password, json: {user: $username, password: $password}, returns: {code: $HOLE}}
- {POST: https://a.test/factor, json: {code: $HOLE, pin: $pin}, returns: {code: $HOLE}}
- {POST: https://a.test/token, json: {code: $HOLE}, returns: {t: $access_token}}
accept: [{POST: /token2, json: {code: $HOLE}, returns: {t: $access_token}}]
call: https://a.test
`, "HOLE", hole)))
		must(t, err)
		v := vend(t, d, false, nil)
		account := v.invented("ann")
		v.admit(account)
		first, err := v.exchange(v.d.Steps[0], account, nil)
		must(t, err)
		second, err := v.exchange(v.d.Steps[1], first, nil)
		must(t, err)
		for _, x := range []*dialect.Exchange{v.d.Login, v.d.Accept[0]} {
			if _, err := v.exchange(x, first, nil); !jeton.Refused(err) {
				t.Errorf("%s of the first step at %s: %v", name, x.Path(), err)
			}
			if _, err := v.exchange(x, second, nil); err != nil {
				t.Errorf("%s of the second step at %s: %v", name, x.Path(), err)
			}
		}
		if _, err := v.exchange(v.d.Steps[1], second, nil); !jeton.Refused(err) {
			t.Errorf("%s of the second step in the second step: %v", name, err)
		}
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
