package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fleet is brokers that share a store and log in to one vendor.
type fleet struct {
	vendor   *counter
	dialect  string // what describes the vendor
	seal     string
	accounts []string
	brokers  []*member
}

// A member is one broker of a fleet, on a machine of its own as it were.
type member struct {
	*process
	dir string
}

// dialectHalf is of a vendor whose tokens are replaced after half their life,
// so that a test of what happens then is short.
const dialectHalf = `dialect: counting
token: /token
call: /
early: 24h
`

// newFleet returns a fleet of no brokers yet.
func newFleet(t *testing.T, v *counter, accounts ...string) *fleet {
	t.Helper()
	if len(accounts) == 0 {
		accounts = []string{"support"}
	}
	return &fleet{vendor: v, dialect: dialectHalf, seal: newSealKey(t), accounts: accounts}
}

// start starts brokers, all at once: one for each store URL.
func (f *fleet) start(t *testing.T, stores ...string) {
	t.Helper()
	first := len(f.brokers)
	for _, store := range stores {
		m := &member{dir: t.TempDir()}
		listen := freeAddress(t)
		text := "store: " + store + "\nseal: file:" + f.seal + "\nbroker:\n  listen: " + listen + "\n  accounts:\n"
		for _, name := range f.accounts {
			text += "    " + name + ": {dialect: ./counting.yaml, origin: " + f.vendor.url + ", client_id: " + name + ", client_secret: file:secret}\n"
		}
		m.write(t, "jeton.yaml", text)
		m.write(t, "counting.yaml", f.dialect)
		m.write(t, "secret", "first secret")
		m.process = start(t, "serve", "-c", filepath.Join(m.dir, "jeton.yaml"))
		m.broker = "http://" + listen
		f.brokers = append(f.brokers, m)
	}
	for _, m := range f.brokers[first:] {
		m.up(t)
	}
}

// up waits until the broker listens. One that ended because its store took too
// long, on a machine that has much else to do, is started again, as a
// supervisor would.
func (m *member) up(t *testing.T) {
	t.Helper()
	for range 5 {
		for running := true; running; {
			text, grown := m.stderr.read()
			if strings.Contains(text, "listening") {
				return
			}
			select {
			case <-grown:
			case <-m.ended:
				running = false
			}
		}
		if text, _ := m.stderr.read(); !strings.Contains(text, "deadline exceeded") {
			break
		}
		base := m.broker
		m.process = start(t, "serve", "-c", filepath.Join(m.dir, "jeton.yaml"))
		m.broker = base
	}
	m.await(t, m.stderr, `listening`)
}

// write replaces a file of the member in one step.
func (m *member) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// again starts a member that was killed.
func (m *member) again(t *testing.T) {
	t.Helper()
	base := m.broker
	m.process = start(t, "serve", "-c", filepath.Join(m.dir, "jeton.yaml"))
	m.broker = base
	m.await(t, m.stderr, `listening`)
}

// repeated returns n times the same.
func repeated(text string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = text
	}
	return list
}

// leader waits until a login is being made and returns who makes it, and the
// others.
func (f *fleet) leader(t *testing.T) (leader *member, others []*member) {
	t.Helper()
	holder := eventually(t, func() (string, bool) {
		var list struct{ Accounts []struct{ Holder string } }
		a := ask(t, "GET", f.brokers[0].broker+"/v1/accounts", "")
		if err := json.Unmarshal([]byte(a.body), &list); err != nil {
			t.Fatal(err)
		}
		return list.Accounts[0].Holder, list.Accounts[0].Holder != ""
	})
	for _, m := range f.brokers {
		if strings.Contains(holder, fmt.Sprintf(":%d/", m.cmd.Process.Pid)) {
			leader = m
		} else {
			others = append(others, m)
		}
	}
	if leader == nil {
		t.Fatalf("%s is no broker of the fleet", holder)
	}
	return leader, others
}

// settle waits until all members give out the token of a login.
func (f *fleet) settle(t *testing.T, login int, members ...*member) {
	t.Helper()
	want := fmt.Sprintf("token-%d-of-support", login)
	for _, m := range members {
		eventually(t, func() (string, bool) {
			a := ask(t, "GET", m.broker+"/v1/tokens/support", "")
			return fmt.Sprintf("%s: %d %s", m.broker, a.status, a.body), a.text("access_token") == want
		})
	}
}

// gather has so many callers ask each member for the token of an account, all
// at the same time, and returns what they get.
func gather(members []*member, account string, callers int) []answer {
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	answers := make([]answer, callers*len(members))
	for i := range answers {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-begin
			a, err := send("GET", members[i%len(members)].broker+"/v1/tokens/"+account, "")
			if err != nil {
				a.body = err.Error()
			}
			answers[i] = a
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
	return answers
}

// wantAll checks that all callers got the same token, and returns it.
func wantAll(t *testing.T, answers []answer) string {
	t.Helper()
	first := answers[0].text("access_token")
	for _, a := range answers {
		if a.status != http.StatusOK || first == "" || a.text("access_token") != first {
			t.Fatalf("%d %s; want %q", a.status, a.body, first)
		}
	}
	return first
}

// Readers ask members for a token again and again.
type readers struct {
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	answers map[string]int // :: token, or status and title -> how many; guarded by mu
}

// read starts readers, so many of each member. One whose broker was killed goes
// home.
func read(members []*member, each int, every time.Duration) *readers {
	r := &readers{stop: make(chan struct{}), answers: map[string]int{}}
	for _, m := range members {
		p := m.process // again makes another
		for range each {
			r.done.Go(func() { r.run(p, every) })
		}
	}
	return r
}

func (r *readers) run(p *process, every time.Duration) {
	for {
		a, err := send("GET", p.broker+"/v1/tokens/support", "")
		got := a.text("access_token")
		switch {
		case err != nil:
			select { // it may be dying
			case <-p.ended:
			case <-time.After(patience):
			}
			got = "no answer: " + err.Error()
		case a.status != http.StatusOK:
			got = fmt.Sprintf("%d %s: %s", a.status, a.text("title"), a.text("detail"))
		}
		select {
		case <-p.ended: // what it answered while it was killed counts for nothing
			return
		default:
		}
		r.mu.Lock()
		r.answers[got]++
		r.mu.Unlock()
		select {
		case <-r.stop:
			return
		case <-p.ended:
			return
		case <-time.After(every):
		}
	}
}

// soFar returns what the readers got until now.
func (r *readers) soFar() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.answers)
}

// end stops the readers and returns what they got.
func (r *readers) end() map[string]int {
	close(r.stop)
	r.done.Wait()
	return r.soFar()
}

// wantTokens checks that readers got nothing but tokens of these logins.
func wantTokens(t *testing.T, got map[string]int, logins ...int) {
	t.Helper()
	rest := maps.Clone(got)
	total := 0
	for _, n := range logins {
		token := fmt.Sprintf("token-%d-of-support", n)
		total += rest[token]
		delete(rest, token)
	}
	if len(rest) > 0 || total == 0 {
		t.Errorf("readers got %v; want tokens of the logins %v only", got, logins)
	}
	t.Logf("%d answers to readers: %v", total, got)
}
