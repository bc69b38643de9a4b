package e2e_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store/sqlite"
)

// auditLog opens the audit log in a data folder, also while a server uses it.
func auditLog(t *testing.T, data string) audit.Log {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(data, "jeton.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	log, err := audit.NewSQL(t.Context(), db.DB())
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// TestThousandFirstCallers asks a broker that has no tokens yet for one of each
// account, a thousand times at once, and counts the logins in the issuer's own
// audit log.
func TestThousandFirstCallers(t *testing.T) {
	const callers = 1000
	data := t.TempDir()
	p := startDev(t, "--data", data)
	log := auditLog(t, data)
	actors := map[string]string{
		"iadvize": "broker@example.com", "altrata": "broker", "alvys": "broker-client", "web1on1": "broker@example.org",
	}
	for account, actor := range actors {
		t.Run(account, func(t *testing.T) {
			var ready, done sync.WaitGroup
			begin := make(chan struct{})
			answers := make([]answer, callers)
			for i := range callers {
				ready.Add(1)
				done.Go(func() {
					ready.Done()
					<-begin
					a, err := send("GET", p.broker+"/v1/tokens/"+account, "")
					if err != nil {
						t.Error(err)
					}
					answers[i] = a
				})
			}
			ready.Wait()
			close(begin)
			done.Wait()
			first := answers[0].text("access_token")
			for _, a := range answers {
				if a.status != 200 || a.text("access_token") != first || a.object(t)["generation"] != 1.0 {
					t.Fatalf("%d %s", a.status, a.body)
				}
			}
			entries, err := log.List(t.Context(), audit.Query{Realm: account, Action: "login", Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) != 1 || entries[0].Outcome != "ok" || entries[0].Actor != actor {
				t.Errorf("%d logins by %d callers: %+v", len(entries), callers, entries)
			}
		})
	}
}

// TestRejectedTokenIsReplacedOnce ends the broker's token behind its back. All
// callers who report it share one new login.
func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	data := t.TempDir()
	p := startDev(t, "--data", data)
	ask(t, "GET", p.broker+"/v1/tokens/alvys", "").want(t, 200, "")
	ask(t, "GET", p.broker+"/to/alvys/me", "").want(t, 200, "")
	config := filepath.Join(data, "jeton.yaml")
	for _, action := range []string{"disable", "enable"} { // enabling does not revive a token
		run(t, "", "client", action, "broker-client", "--realm", "alvys", "--tenant", "acme", "-c", config)
	}
	var done sync.WaitGroup
	for range 100 {
		done.Go(func() {
			a, err := send("POST", p.broker+"/v1/tokens/alvys/rejected", `{"generation": 1}`, "Content-Type", "application/json")
			if err != nil || a.status != 200 || a.object(t)["generation"] != 2.0 {
				t.Errorf("%d %s %v", a.status, a.body, err)
			}
		})
	}
	done.Wait()
	ask(t, "GET", p.broker+"/to/alvys/me", "").want(t, 200, "")
	entries, err := auditLog(t, data).List(t.Context(), audit.Query{Realm: "alvys", Action: "login", Limit: 10})
	if err != nil || len(entries) != 2 {
		t.Errorf("%d logins, %v, want 2: %+v", len(entries), err, entries)
	}
}

// TestEgressSurvivesAnEndedToken does the same to a caller of the egress proxy,
// who sees nothing of it.
func TestEgressSurvivesAnEndedToken(t *testing.T) {
	data := t.TempDir()
	p := startDev(t, "--data", data)
	call := func() answer {
		return ask(t, "POST", p.broker+"/to/iadvize/graphql", `{"query":"{ me { id } }"}`,
			"Content-Type", "application/json", "Authorization", "Bearer of-the-caller")
	}
	call().want(t, 200, "")
	for _, action := range []string{"disable", "enable"} {
		run(t, "", "user", action, "broker@example.com", "--realm", "iadvize", "-c", filepath.Join(data, "jeton.yaml"))
	}
	call().want(t, 200, "")
	if a := ask(t, "GET", p.broker+"/v1/tokens/iadvize", ""); a.object(t)["generation"] != 2.0 {
		t.Errorf("after one replacement: %s", a.body)
	}
}

// TestWebPagesDoNotReachTheBroker sends what browsers send.
func TestWebPagesDoNotReachTheBroker(t *testing.T) {
	p := startDev(t)
	for _, path := range []string{"/v1/tokens/iadvize", "/v1/accounts", "/to/alvys/me"} {
		ask(t, "GET", p.broker+path, "", "Origin", p.broker).want(t, 403, "")
		ask(t, "GET", p.broker+path, "", "Sec-Fetch-Site", "same-origin").want(t, 403, "")
	}
	term := newTerminal(t, p)
	term.curl(`curl -H 'Host: evil.example' $BROKER/v1/tokens/iadvize`).want(t, 403, "")
	term.curl(`curl $BROKER/v1/tokens/nowhere`).want(t, 404, "")
	term.curl(`curl -X DELETE $BROKER/v1/tokens/iadvize`).want(t, 405, "")
}
