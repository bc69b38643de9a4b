package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/sqlite"
	"github.com/jetonhq/jeton/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func toText(v any) string { return fmt.Sprint(v) }

// Bad input, for every realm: a clear answer in the dialect's own shape, never
// a 500, never a word about whether a user exists.
func TestBadInput(t *testing.T) {
	type request struct {
		method, path, contentType, body string
		tweaks                          []tweak
		status                          int
		code                            jeton.Code
	}
	const form = "application/x-www-form-urlencoded"
	const sent = "grant_type=password&username=demo@example.com&password=demo-password"
	cc := "grant_type=client_credentials&client_id=demo-client&client_secret=demo-secret"
	big := strings.Repeat("x", maxBody)
	key := header("x-api-key", "demo-api-key")
	for name, requests := range map[string][]request{
		"iadvize": {
			{"GET", "/oauth2/token", "", "", nil, 405, jeton.InvalidRequest},
			{"POST", "/oauth2/token", form, "", nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token", form, "grant_type=password&username=demo@example.com", nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token", form, "grant_type=password&username=demo@example.com&password=", nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token", form, sent + "&username=x", nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token", form, strings.Replace(sent, "=password&", "=magic&", 1), nil, 400, jeton.UnsupportedGrantType},
			{"POST", "/oauth2/token", form, cc, nil, 400, ""},
			{"POST", "/oauth2/token", form, sent + "%zz", nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token", form, sent + "%ff", nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token", form, sent + "&x=" + big, nil, 413, jeton.InvalidRequest},
			{"POST", "/oauth2/token", "application/json", sent, nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token", "", sent, nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token?" + sent, form, "", nil, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token", form, strings.Replace(sent, "demo-password", "wrong", 1), nil, 400, jeton.InvalidGrant},
			{"POST", "/oauth2/token", form, strings.Replace(sent, "demo@", "nobody@", 1), nil, 400, jeton.InvalidGrant},
		},
		"altrata": {
			{"POST", "/oauth2/token", "", "", []tweak{basic("demo", "demo-password"), key}, 400, ""},
			{"POST", "/oauth2/token?grant_type=password", "", "", []tweak{basic("demo", "demo-password"), key}, 400, jeton.UnsupportedGrantType},
			{"POST", "/oauth2/token?grant_type=client_credentials", "", "", []tweak{key}, 401, jeton.InvalidClient},
			{"POST", "/oauth2/token?grant_type=client_credentials", "", "", []tweak{basic("demo", "demo-password")}, 400, jeton.InvalidRequest},
			{"POST", "/oauth2/token?grant_type=client_credentials", "", "", []tweak{header("Authorization", "Basic ZGVtbw=="), key}, 401, jeton.InvalidClient},
			{"POST", "/oauth2/token?grant_type=client_credentials", "", "", []tweak{header("Authorization", "Basic !!!"), key}, 401, jeton.InvalidClient},
			{"POST", "/oauth2/token?grant_type=client_credentials", "", "", []tweak{basic("demo", "wrong"), key}, 401, jeton.InvalidClient},
			{"POST", "/oauth2/token?grant_type=client_credentials", "", "", []tweak{basic("nobody", "demo-password"), key}, 401, jeton.InvalidClient},
			{"POST", "/oauth2/token?grant_type=client_credentials", "", "", []tweak{basic("demo", "demo-password"), header("x-api-key", "wrong")}, 401, jeton.InvalidClient},
		},
		"alvys": {
			{"POST", "/api/authentication/globex/token", form, cc, nil, 401, jeton.InvalidClient},
			{"POST", "/api/authentication/nowhere/token", form, cc, nil, 401, jeton.InvalidClient},
			{"POST", "/api/p/authentication/acme/token", form, cc, nil, 200, ""},
			{"POST", "/api/authentication/acme/token", form, cc + "&tenant_id=acme", nil, 200, ""},
			{"POST", "/api/authentication/acme/token", form, cc + "&tenant_id=globex", nil, 400, jeton.InvalidRequest},
			{"POST", "/api/authentication/ACME/token", form, cc, nil, 401, jeton.InvalidClient},
			{"POST", "/api/authentication//token", form, cc, nil, 404, "not_found"},
			{"POST", "/api/authentication/acme/token", form, strings.Replace(cc, "demo-secret", "wrong", 1), nil, 401, jeton.InvalidClient},
			{"POST", "/api/authentication/acme/token", form, strings.Replace(cc, "demo-client", "nobody", 1), nil, 401, jeton.InvalidClient},
			{"POST", "/api/authentication/acme/token", form, "grant_type=client_credentials", nil, 401, jeton.InvalidClient},
		},
		"web1on1": {
			{"POST", "/v2/auth/token", "application/json", `{"email":"admin@example.org"}`, nil, 400, jeton.InvalidRequest},
			{"POST", "/v2/auth/token", "application/json", `{"email":"admin@example.org","password":1}`, nil, 400, jeton.InvalidRequest},
			{"POST", "/v2/auth/token", "application/json", `{"email":"admin@example.org","email":"x","password":"t0pZ3kR3t"}`, nil, 400, jeton.InvalidRequest},
			{"POST", "/v2/auth/token", "application/json", `{"email":`, nil, 400, jeton.InvalidRequest},
			{"POST", "/v2/auth/token", "application/json", strings.Repeat("[", 100_000), nil, 400, jeton.InvalidRequest},
			{"POST", "/v2/auth/token", "application/json", ``, nil, 400, jeton.InvalidRequest},
			{"POST", "/v2/auth/token", "text/plain", `{"email":"admin@example.org","password":"t0pZ3kR3t"}`, nil, 400, jeton.InvalidRequest},
			{"POST", "/v2/auth/token", "application/json", `{"email":"admin@example.org","password":"wrong"}`, nil, 400, jeton.InvalidGrant},
			{"POST", "/v2/auth/token", "application/json", `{"email":"nobody@example.org","password":"wrong"}`, nil, 400, jeton.InvalidGrant},
			{"POST", "/v2/auth/token", "application/json", `{"refreshToken":"x","clientId":"admin@example.org"}`, nil, 400, jeton.InvalidGrant},
			{"GET", "/v2/auth/token?refreshToken=x", "", "", nil, 400, jeton.InvalidRequest},
			{"GET", "/v2/auth/token", "", "", nil, 400, jeton.InvalidRequest},
			{"DELETE", "/v2/auth/token", "", "", nil, 405, jeton.InvalidRequest},
			{"HEAD", "/v2/auth/token?refreshToken=x", "", "", []tweak{bearer("x")}, 405, ""},
		},
		"oauth2": {
			{"POST", "/token", form, "", []tweak{demo}, 400, jeton.InvalidRequest},
			{"POST", "/token", form, "grant_type=authorization_code&code=x", []tweak{demo}, 400, jeton.UnsupportedGrantType},
			{"POST", "/token", form, "grant_type=client_credentials", nil, 401, jeton.InvalidClient},
			{"POST", "/token", form, cc, []tweak{demo}, 400, jeton.InvalidRequest},
			{"POST", "/token?client_id=demo-client&client_secret=demo-secret", form, "grant_type=client_credentials", nil, 400, jeton.InvalidRequest},
			{"POST", "/token", form, "grant_type=client_credentials&grant_type=client_credentials", []tweak{demo}, 400, jeton.InvalidRequest},
			{"POST", "/token", form, "grant_type=client_credentials&scope=", []tweak{demo}, 200, ""},
			{"POST", "/token", form, "grant_type=client_credentials&scope=admin", []tweak{demo}, 400, jeton.InvalidScope},
			{"POST", "/token", form, "grant_type=client_credentials&scope=read%22", []tweak{demo}, 400, jeton.InvalidScope},
			{"POST", "/token", form, "grant_type=client_credentials&scope=%20", []tweak{demo}, 400, jeton.InvalidScope},
			{"POST", "/token", form, "grant_type=client_credentials&resource=https://elsewhere.example.com/", []tweak{demo}, 400, jeton.InvalidTarget},
			{"POST", "/token", form, "grant_type=client_credentials&resource=/x", []tweak{demo}, 400, jeton.InvalidTarget},
			{"POST", "/token", form, "grant_type=password&username=demo@example.com&password=wrong", []tweak{demo}, 400, jeton.InvalidGrant},
			{"POST", "/token", form, "grant_type=refresh_token&refresh_token=x", []tweak{demo}, 400, jeton.InvalidGrant},
			{"POST", "/token", form, "grant_type=refresh_token", []tweak{demo}, 400, jeton.InvalidRequest},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := seeded(t, name, nil, nil)
			for i, r := range requests {
				ip := from(fmt.Sprintf("198.51.100.%d", i)) // limits are another test's
				a := send(t, b, r.method, r.path, r.contentType, r.body, append([]tweak{ip}, r.tweaks...)...)
				if a.status != r.status || r.code != "" && a.text("error") != string(r.code) {
					t.Errorf("%s %.80s %.80s: %d %.200s, want %d %s", r.method, r.path, r.body, a.status, a.raw, r.status, r.code)
				}
				if a.status == 401 && a.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s %.80s: 401 without a challenge", r.method, r.path)
				}
				for _, secret := range []string{"demo-password", "demo-secret", "demo-api-key", "t0pZ3kR3t"} {
					if strings.Contains(a.raw, secret) || strings.Contains(b.lines.String(), secret) {
						t.Errorf("%s %.80s: a secret is shown", r.method, r.path)
					}
				}
			}
			list, err := b.log.List(t.Context(), audit.Query{Limit: 1000})
			if err != nil || len(list) == 0 {
				t.Fatal(len(list), err)
			}
			for _, secret := range []string{"demo-password", "demo-secret", "demo-api-key", "t0pZ3kR3t"} {
				if strings.Contains(fmt.Sprint(list), secret) {
					t.Error("the audit log holds a secret")
				}
			}
		})
	}
}

// Unknown, wrong and disabled read the same.
func TestNothingTellsWhoExists(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		wrong := b.loginWith("wrong")
		ctx, d := t.Context(), b.directory
		var err error
		switch b.name {
		case "iadvize":
			err = d.SetUserDisabled(ctx, "test", "", "demo@example.com", true)
		case "altrata":
			err = d.SetUserDisabled(ctx, "test", "", "demo", true)
		case "web1on1":
			err = d.SetUserDisabled(ctx, "test", "", "admin@example.org", true)
		case "alvys":
			err = d.SetClientDisabled(ctx, "test", "acme", "demo-client", true)
		default:
			err = d.SetClientDisabled(ctx, "test", "", "demo-client", true)
		}
		if err != nil {
			t.Fatal(err)
		}
		disabled := b.login()
		unknown := open(t, b.name, nil, nil) // at alvys not even the tenant is there
		for name, a := range map[string]answer{"disabled": disabled, "unknown": unknown.login()} {
			if a.status != wrong.status || a.raw != wrong.raw || fmt.Sprint(a.header) != fmt.Sprint(wrong.header) {
				t.Errorf("%s: %d %s, wrong secret: %d %s", name, a.status, a.raw, wrong.status, wrong.raw)
			}
		}
	})
}

func TestPasswordGrantOff(t *testing.T) {
	b := seeded(t, "oauth2", nil, func(c *Config) { c.Password = false })
	want(t, b.password(), 400, jeton.UnsupportedGrantType)
	want(t, b.login(), 200)
}

// A failing log stops what it cannot write down.
type failingLog struct {
	audit.Log
	fail bool
}

func (l *failingLog) Append(ctx context.Context, e audit.Entry) error {
	if l.fail {
		return errors.New("disk full")
	}
	return l.Log.Append(ctx, e)
}

func TestAuditFails(t *testing.T) {
	log := &failingLog{Log: audit.NewMemory()}
	b := seeded(t, "oauth2", nil, func(c *Config) { c.Audit = log })
	a := seeded(t, "altrata", nil, func(c *Config) { c.Audit = log })
	login, single := b.password(), a.token()
	log.fail = true
	for _, answer := range []answer{b.login(), b.password(), b.loginWith("wrong"), b.refreshWith(login.text("refresh_token")), a.login(),
		b.form("/revoke", []string{"token", login.text("access_token")}, demo)} {
		want(t, answer, 503, jeton.Unavailable)
		if answer.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	log.fail = false
	if !a.good(single) || !b.good(login.text("access_token")) {
		t.Error("something happened that was not written down")
	}
	want(t, b.refreshWith(login.text("refresh_token")), 200)
}

// A store that fails is 503 and logged once; nobody is told that a secret was
// wrong, and nothing that was not answered is lost.
func TestStoreFails(t *testing.T) {
	each(t, func(t *testing.T, _ *bench) {
		var faults storetest.Faults
		name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		b := seeded(t, name, storetest.Faulty(store.NewMemory(), &faults), nil)
		token := b.token()
		faults.Set(storetest.Down)
		b.lines.Reset()
		for _, a := range []answer{b.login(), b.loginWith("wrong")} {
			want(t, a, 503, jeton.Unavailable)
		}
		if n := strings.Count(b.lines.String(), "request not decided"); n != 2 {
			t.Errorf("%d log lines about 2 failures: %s", n, b.lines)
		}
		faults.Set(storetest.Healthy)
		if !b.good(token) {
			t.Error("a login that failed ended a token")
		}
		want(t, b.login(), 200)
	})
}

// A refresh whose write was done and whose answer was lost is asked again.
func TestRefreshAnswerLost(t *testing.T) {
	var faults storetest.Faults
	b := seeded(t, "oauth2", storetest.Faulty(store.NewMemory(), &faults), nil)
	token := b.password().text("refresh_token")
	faults.Decide(func(op, key string) storetest.Fault {
		if op == "put" && strings.Contains(key, "family") {
			return storetest.LoseAnswer
		}
		return storetest.Healthy
	})
	want(t, b.refreshWith(token), 503)
	faults.Set(storetest.Healthy)
	a := b.refreshWith(token)
	want(t, a, 200)
	want(t, b.refreshWith(a.text("refresh_token")), 200)
}

// The state is in the store: a realm that is opened again knows everything.
func TestReopenSQLite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jeton.db")
	st, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	b := seeded(t, "oauth2", st, nil)
	good, revoked, login := b.token(), b.token(), b.password()
	want(t, b.form("/revoke", []string{"token", revoked}, demo), http.StatusOK)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if st, err = sqlite.Open(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	b = open(t, "oauth2", st, nil)
	if !b.good(good) || b.good(revoked) || !b.good(login.text("access_token")) {
		t.Error("a good token is not good or a revoked one is")
	}
	want(t, b.login(), 200)
	want(t, b.refreshWith(login.text("refresh_token")), 200)
}
