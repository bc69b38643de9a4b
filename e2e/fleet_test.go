package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store/storetest"
)

// TestIssuersShareAStore has two issuers on one PostgreSQL, behind one URL: what
// one of them issues and ends, the other one knows.
func TestIssuersShareAStore(t *testing.T) {
	server, err := storetest.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	key, dir := newSealKey(t), t.TempDir()
	file := filepath.Join(dir, "jeton.yaml")
	var issuers []*process
	for range 2 {
		listen := freeAddress(t)
		text := `store: postgres://postgres@` + server.Addr + `/postgres?sslmode=disable
seal: file:` + key + `
issuer:
  listen: ` + listen + `
  url: https://auth.example.com
  realms: {orders: {dialect: oauth2, at: /}}
`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := start(t, "serve", "-c", file)
		p.issuer = "http://" + listen
		p.await(t, p.stderr, `listening`)
		issuers = append(issuers, p)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(canarySecret), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", "client", "add", "app", "--realm", "orders", "--id", "app", "--secret-file", secret, "-c", file)

	const contentType = "Content-Type"
	post := func(p *process, path, body string) answer {
		t.Helper()
		header := append(basicAuth("app:"+canarySecret), contentType, form)
		return ask(t, "POST", p.issuer+path, body, header...).want(t, 200, "")
	}
	token := post(issuers[0], "/token", "grant_type=client_credentials").text("access_token")
	for _, p := range issuers {
		if a := post(p, "/introspect", "token="+token); a.object(t)["active"] != true {
			t.Errorf("%s", a.body)
		}
	}
	post(issuers[1], "/revoke", "token="+token)
	for _, p := range issuers {
		if a := post(p, "/introspect", "token="+token); a.object(t)["active"] != false {
			t.Errorf("after it was revoked at the other one: %s", a.body)
		}
	}
}

// startBroker starts a broker of one account, which is at the iadvize realm of
// a jeton dev with its data in a folder, over a shared store.
func startBroker(t *testing.T, vendor *process, data, key, store string) *process {
	t.Helper()
	file, listen := filepath.Join(t.TempDir(), "jeton.yaml"), freeAddress(t)
	text := `store: ` + store + `
seal: file:` + key + `
broker:
  listen: ` + listen + `
  accounts:
    support:
      dialect: iadvize
      origin: ` + vendor.issuer + `/iadvize
      username: broker@example.com
      password: file:` + filepath.Join(data, "secrets", "iadvize-password") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "serve", "-c", file)
	p.broker = "http://" + listen
	p.await(t, p.stderr, `listening`)
	return p
}

func newSealKey(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "seal.key")
	key, _ := run(t, "", "config", "new-key")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestFleetLogsInOnce has two brokers on one store, with a hundred callers each,
// who all come before there is a token.
func TestFleetLogsInOnce(t *testing.T) {
	data, key := t.TempDir(), newSealKey(t)
	vendor := startDev(t, "--data", data)
	for logins, server := range []struct {
		url   string
		start func() (*storetest.Server, error)
	}{
		{"redis://%s/0?prefix=fleet", storetest.StartRedis},
		{"etcd://%s?prefix=fleet", storetest.StartEtcd},
	} {
		s, err := server.start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		// Next door it would answer so soon that no two brokers ever meet.
		url := fmt.Sprintf(server.url, newLink(t, s.Addr, condition{delay: 10 * time.Millisecond}).addr)
		brokers := []*process{startBroker(t, vendor, data, key, url), startBroker(t, vendor, data, key, url)}
		first := askTogether(t, brokers, 100)
		entries, err := auditLog(t, data).List(t.Context(), audit.Query{Realm: "iadvize", Action: "login", Limit: 10})
		if err != nil || len(entries) != logins+1 || entries[0].Outcome != "ok" {
			t.Fatalf("%s: %d logins, %v; want %d: %+v", url, len(entries), err, logins+1, entries)
		}

		// A reader waits for no store: the token is in the memory of each broker.
		s.Stop()
		for _, p := range brokers {
			ask(t, "GET", p.broker+"/v1/tokens/support", "").want(t, 200, "")
		}
		for _, p := range brokers {
			p.interrupt(t)
			if strings.Contains(p.stderr.String(), first) {
				t.Error("the token is in the log")
			}
		}
	}
}

// askTogether has so many callers ask each broker for a token at the same time,
// and returns the one that they all get.
func askTogether(t *testing.T, brokers []*process, callers int) string {
	t.Helper()
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	answers := make([]answer, callers*len(brokers))
	for i := range answers {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-begin
			a, err := send("GET", brokers[i%len(brokers)].broker+"/v1/tokens/support", "")
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
	return first
}
