package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store/storetest"
)

// startRedis starts a Redis for a test and returns it with the URL of a store
// in it.
func startRedis(t *testing.T) (*storetest.Server, string) {
	t.Helper()
	s, err := storetest.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, "redis://" + s.Addr + "/0"
}

// TestStorm has eight brokers and everybody who can come, come at once.
func TestStorm(t *testing.T) {
	t.Parallel()
	redis, url := startRedis(t)
	v := newCounter(t)
	v.takes = 300 * time.Millisecond
	accounts := []string{"support"}
	for n := range 20 {
		accounts = append(accounts, fmt.Sprintf("account%d", n))
	}
	f := newFleet(t, v, accounts...)
	stormOfStarts(t, f, url)
	stormOfCallers(t, f)
	readersDoNotWait(t, f)
	readsStayHome(t, f, redis)
}

// stormOfStarts starts all brokers on an empty store while callers of all
// accounts wait at their doors: one login for each account.
func stormOfStarts(t *testing.T, f *fleet, url string) {
	f.start(t, repeated(url, 8)...)
	var done sync.WaitGroup
	for _, account := range f.accounts[1:] {
		done.Go(func() {
			for _, a := range gather(f.brokers, account, 1) {
				if want := "-of-" + account; a.status != 200 || !strings.HasSuffix(a.text("access_token"), want) {
					t.Errorf("%s: %d %s", account, a.status, a.body)
				}
			}
		})
	}
	done.Wait()
	seen := map[string]int{}
	for _, a := range f.vendor.logins() {
		seen[a.client]++
	}
	for _, account := range f.accounts[1:] {
		if seen[account] != 1 {
			t.Errorf("%d logins of %s, want 1", seen[account], account)
		}
	}
	f.vendor.want(t, len(f.accounts)-1)
}

// stormOfCallers has a hundred callers at each broker before there is a token.
func stormOfCallers(t *testing.T, f *fleet) {
	before := len(f.vendor.logins())
	f.vendor.set(func() { f.vendor.lifetime = 40 * time.Second }) // due when half of it is over
	wantAll(t, gather(f.brokers, "support", 100))
	f.vendor.want(t, before+1)
}

// readsStayHome counts the commands that the store gets while there are ten
// thousand readers of a fresh token: none of them comes from a reader.
func readsStayHome(t *testing.T, f *fleet, redis *storetest.Server) {
	const readers, each = 100, 100
	before := commandsOf(t, redis)
	var done sync.WaitGroup
	for range readers {
		done.Go(func() {
			for range each {
				a, err := send("GET", f.brokers[0].broker+"/v1/tokens/support", "")
				if err != nil || a.status != 200 {
					t.Errorf("%d %s %v", a.status, a.body, err)
					return
				}
			}
		})
	}
	done.Wait()
	for command, calls := range commandsOf(t, redis) {
		// These keep connections and the clock right, whether anybody reads or not.
		if grown := calls - before[command]; grown > 0 && command != "ping" && command != "exists" && command != "time" && command != "info" && command != "quit" {
			t.Errorf("%d x %s during %d reads", grown, command, readers*each)
		}
	}
}

// commandsOf asks Redis how often each command was called.
func commandsOf(t *testing.T, redis *storetest.Server) map[string]int {
	t.Helper()
	calls := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^cmdstat_([^:]+):calls=(\d+)`).FindAllStringSubmatch(tell(t, redis, "INFO commandstats"), -1) {
		calls[m[1]], _ = strconv.Atoi(m[2])
	}
	if calls["hmget"] == 0 {
		t.Fatalf("the brokers have read nothing yet: %v", calls)
	}
	return calls
}

// tell sends a command to Redis and returns all that it says.
func tell(t *testing.T, redis *storetest.Server, command string) string {
	t.Helper()
	c, err := net.Dial("tcp", redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := fmt.Fprintf(c, "%s\r\nQUIT\r\n", command); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readersDoNotWait: while the vendor sits on a login, readers of every broker
// get the token that there is.
func readersDoNotWait(t *testing.T, f *fleet) {
	before := len(f.vendor.logins())
	f.vendor.hold()
	f.vendor.await(t, before+1)
	old := wantAll(t, gather(f.brokers, "support", 125)) // or it would not return
	if want := fmt.Sprintf("token-%d-of-support", before); old != want {
		t.Errorf("during the login readers got %s, want %s", old, want)
	}
	f.vendor.set(func() { f.vendor.lifetime = time.Hour })
	f.vendor.release()
	f.settle(t, before+1, f.brokers...)
	f.vendor.want(t, before+1)
}

// TestRetryAfterOfFleet has the vendor answer 429 for a minute. Nobody of the fleet
// asks it again before the minute is over, though brokers die and are started
// again and readers go on asking; then one does.
func TestRetryAfterOfFleet(t *testing.T) {
	t.Parallel()
	const wait = time.Minute
	_, url := startRedis(t)
	v := newCounter(t)
	v.limit = wait
	f := newFleet(t, v)
	f.start(t, repeated(url, 8)...)
	for _, a := range gather(f.brokers, "support", 100) {
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Fatalf("%d %s %v", a.status, a.body, a.header)
		}
	}
	v.want(t, 1)
	v.set(func() { v.limit = 0 })
	var all []*readers
	for n, m := range f.brokers {
		all = append(all, read([]*member{m}, 10, 2*time.Second))
		if n < 3 {
			m.kill(t)
			m.again(t)
			all = append(all, read([]*member{m}, 10, 2*time.Second))
		}
	}
	f.settle(t, 2, f.brokers...)
	for _, r := range all {
		for got := range r.end() {
			if got != "token-2-of-support" && !strings.Contains(got, "back off after slow_down") {
				t.Errorf("a reader got %s", got)
			}
		}
	}
	logins := v.logins()
	if apart := logins[1].at.Sub(logins[0].at); apart < wait {
		t.Errorf("the vendor was asked again after %v", apart)
	}
	v.want(t, 2)
}
