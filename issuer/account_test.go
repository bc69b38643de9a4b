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
)

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
