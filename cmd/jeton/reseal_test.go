package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton/seal"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// A countingVendor gives out tokens and counts the logins of each client.
type countingVendor struct {
	mu     sync.Mutex
	logins map[string]int // :: client -> logins
}

func (v *countingVendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	client, _, basic := r.BasicAuth()
	if !basic {
		client = r.FormValue("client_id")
	}
	v.logins[client]++
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":"%s-%d","token_type":"Bearer","expires_in":86400}`, client, v.logins[client])
}

// A resealFleet is two brokers over one Redis, whose sealing key rotates.
type resealFleet struct {
	t       *testing.T
	dir     string
	store   string
	vendor  string
	brokers [2]*exec.Cmd
}

// resealAccounts are "idle", whose record nobody writes twice, and one for each
// step at which a token is replaced.
var resealAccounts = []string{"idle", "first", "second", "third", "fourth"}

// roll restarts the brokers one after the other with some sealing keys.
func (f *resealFleet) roll(keys string) {
	for i := range f.brokers {
		if f.brokers[i] != nil {
			end(f.t, f.brokers[i])
		}
		cmd := exec.CommandContext(f.t.Context(), "jeton", "serve", "-c", f.config(i, keys))
		if err := cmd.Start(); err != nil {
			f.t.Fatal(err)
		}
		f.brokers[i] = cmd
		f.await(i, "idle", 1)
	}
}

// config writes the file of a broker.
func (f *resealFleet) config(i int, keys string) string {
	file := filepath.Join(f.dir, fmt.Sprintf("broker-%d.yaml", i))
	text := fmt.Sprintf("store: %s\nseal: %s\nbroker:\n  listen: unix:%d.sock\n  accounts:\n", f.store, keys, i)
	for _, name := range resealAccounts {
		text += fmt.Sprintf("    %s: {dialect: oauth2, origin: %q, client_id: %s, client_secret: file:old.secret}\n", name, f.vendor, name)
	}
	f.write(filepath.Base(file), text)
	return file
}

func (f *resealFleet) write(name, text string) {
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// token asks a broker for a token, or for the one after the generation that is
// reported to it; ok is false while the broker is not there.
func (f *resealFleet) token(i int, account string, reported uint64) (generation uint64, ok bool) {
	client, base := address{text: fmt.Sprintf("unix:%s/%d.sock", f.dir, i)}.client()
	defer client.CloseIdleConnections()
	var answer *http.Response
	var err error
	if reported == 0 {
		answer, err = client.Get(base + "/v1/tokens/" + account)
	} else {
		answer, err = client.Post(base+"/v1/tokens/"+account+"/rejected", "application/json", strings.NewReader(fmt.Sprintf(`{"generation":%d}`, reported)))
	}
	if err != nil {
		return 0, false
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, false
	}
	var token struct{ Generation uint64 }
	if answer.StatusCode != http.StatusOK || json.Unmarshal(body, &token) != nil {
		f.t.Errorf("broker %d, account %s: %s %s", i, account, answer.Status, body)
	}
	return token.Generation, true
}

// await waits until a broker has a generation.
func (f *resealFleet) await(i int, account string, generation uint64) {
	f.t.Helper()
	for range 3000 {
		if got, ok := f.token(i, account, 0); ok && got >= generation {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.t.Fatalf("broker %d never had generation %d of %s", i, generation, account)
}

// replace has one broker replace an account's first token, and waits until the
// other one has the next.
func (f *resealFleet) replace(i int, account string) {
	f.t.Helper()
	if got, ok := f.token(i, account, 1); !ok || got != 2 {
		f.t.Errorf("broker %d: the token after generation 1 of %s is of %d", i, account, got)
	}
	f.await(1-i, account, 2)
}

// reseal runs the command and returns how many records each key seals.
func (f *resealFleet) reseal(keys string, more ...string) map[string]int {
	f.t.Helper()
	args := append([]string{"config", "reseal", "--json", "-c", f.config(9, keys)}, more...)
	out, err := exec.Command("jeton", args...).Output()
	var report struct{ Keys []sealedCount }
	if err != nil || json.Unmarshal(out, &report) != nil {
		f.t.Fatalf("reseal: %v: %s", err, out)
	}
	counts := map[string]int{}
	for _, n := range report.Keys {
		counts[n.Key] = n.Records
	}
	return counts
}

// refused fails unless a broker with these keys alone does not start, and says
// why.
func (f *resealFleet) refused(keys string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute) // or it serves for ever
	defer cancel()
	out, err := exec.CommandContext(ctx, "jeton", "serve", "-c", f.config(8, keys)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "sealed with another key") {
		f.t.Errorf("%s: a start with %s alone: %v: %s", f.store, keys, err, out)
	}
}

// TestResealFleet: the sealing key of a fleet on Redis rotates in the order
// that the manual gives. Readers, who never stop, see no error, no account logs
// in once more than it would, and in the end the old key is gone.
func TestResealFleet(t *testing.T) {
	redis, err := storetest.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	v := &countingVendor{logins: map[string]int{}}
	vendor := httptest.NewServer(v)
	t.Cleanup(vendor.Close)
	f := &resealFleet{t: t, dir: t.TempDir(), store: "redis://" + redis.Addr + "/0", vendor: vendor.URL}
	f.write("old.secret", "a-secret")
	for _, name := range []string{"old.key", "new.key"} {
		key, err := exec.Command("jeton", "config", "new-key").Output()
		if err != nil {
			t.Fatal(err)
		}
		f.write(name, string(key))
	}
	f.roll("file:old.key")
	for _, account := range resealAccounts {
		f.await(0, account, 1)
		f.await(1, account, 1)
	}
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for i := range f.brokers {
		readers.Go(func() {
			for ctx.Err() == nil {
				for _, account := range resealAccounts {
					f.token(i, account, 0)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	const both = "[file:new.key, file:old.key]"
	f.roll("[file:old.key, file:new.key]")
	f.replace(0, "first")
	f.roll(both)
	f.replace(1, "second")
	if left := f.reseal(both, "--dry-run"); left["file:old.key"] == 0 || left["file:new.key"] == 0 {
		t.Errorf("before it is sealed anew: %v", left)
	}
	if left := f.reseal(both); left["file:old.key"] != 0 || left["file:new.key"] <= len(resealAccounts) {
		t.Errorf("after it was sealed anew: %v", left)
	}
	f.replace(0, "third")
	if left := f.reseal(both, "--dry-run"); left["file:old.key"] != 0 {
		t.Errorf("a broker seals with the old key: %v", left)
	}
	f.refused("file:old.key")
	f.roll("file:new.key")
	if err := os.Remove(filepath.Join(f.dir, "old.key")); err != nil {
		t.Fatal(err)
	}
	f.replace(1, "fourth")
	stop()
	readers.Wait()
	for _, cmd := range f.brokers {
		end(t, cmd)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, account := range resealAccounts {
		want := 2
		if account == "idle" {
			want = 1
		}
		if v.logins[account] != want {
			t.Errorf("account %s logged in %d times, want %d", account, v.logins[account], want)
		}
	}
}

// TestResealKilled: a reseal that is killed in the midst of it leaves a store
// that both keys open and that does not start without the old one; the next
// run ends it, and every record is there as it was.
func TestResealKilled(t *testing.T) {
	redis, err := storetest.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	for _, url := range []string{"sqlite:try%d.db", "redis://" + redis.Addr + "/0?prefix=try%d"} {
		try := 0
		if !sometime(func() bool { try++; return resealKilled(t, fmt.Sprintf(url, try)) }) {
			t.Errorf("%s: no reseal was killed before its end", url)
		}
	}
}

// resealKilled returns false if the reseal was at its end before it was killed:
// then nothing was tried.
func resealKilled(t *testing.T, url string) bool {
	f := &resealFleet{t: t, dir: t.TempDir(), store: url, vendor: "http://127.0.0.1:1"}
	old, young := seal.NewKey(), seal.NewKey()
	f.write("old.secret", "a-secret")
	f.write("old.key", old.Reveal())
	f.write("new.key", young.Reveal())
	const both = "[file:new.key, file:old.key]"
	file := f.config(0, both)
	c, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openUnsealed(t.Context(), c.store)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	const n = 3000
	fill(t, seal.Wrap(s.store, old), n)
	after := seal.Wrap(s.store, young)
	killBegun(t, after, file)

	left := f.reseal(both, "--dry-run")
	if left["file:old.key"] < 2 { // the mark is the last
		return false
	}
	if left["file:new.key"] < 1 || left["file:old.key"]+left["file:new.key"] != n {
		t.Errorf("%s: killed in the midst of it: %v", url, left)
	}
	f.refused("file:new.key")
	if left := f.reseal(both); left["file:old.key"] != 0 || left["file:new.key"] != n {
		t.Errorf("%s: in the end %v", url, left)
	}
	for i := range n - 1 {
		r, err := after.Get(t.Context(), fmt.Sprintf("record/%04d", i+1))
		if want := fmt.Sprintf("value %d", i+1); err != nil || string(r.Value) != want {
			t.Fatalf("%s: %q, want %q, %v", url, r.Value, want, err)
		}
	}
	return true
}

// fill puts n records into a store, of which the first is the mark of its key.
func fill(t *testing.T, s store.Store, n int) {
	t.Helper()
	for i := range n {
		r := store.Record{Key: fmt.Sprintf("record/%04d", i), Value: fmt.Appendf(nil, "value %d", i)}
		if i == 0 {
			r.Key = sealMark
		}
		if _, err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// killBegun runs a reseal and kills it when the key after it opens a record.
func killBegun(t *testing.T, after store.Store, file string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "jeton", "config", "reseal", "-c", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 60_000 {
		if _, err := after.Get(t.Context(), "record/0001"); err == nil {
			break // it has begun
		}
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()
}
