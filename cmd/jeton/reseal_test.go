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

	"github.com/jetonhq/jeton/store/storetest"
)

// A shortVendor gives out tokens that live for a few seconds, and counts logins
// that come long before the last token of the same client is due.
type shortVendor struct {
	mu    sync.Mutex
	last  map[string]time.Time // :: client -> its last login
	early int
}

func (v *shortVendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	client, _, basic := r.BasicAuth()
	if !basic {
		client = r.FormValue("client_id")
	}
	if now := time.Now(); now.Sub(v.last[client]) < 2*time.Second {
		v.early++
	} else {
		v.last[client] = now
	}
	lifetime := 6
	if client == "idle" {
		lifetime = 86400 // whose record nobody writes again
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":"t-%d","token_type":"Bearer","expires_in":%d}`, time.Now().UnixNano(), lifetime)
}

// A resealFleet is two brokers over one Redis, whose sealing key rotates.
type resealFleet struct {
	t       *testing.T
	dir     string
	store   string
	vendor  string
	brokers [2]*exec.Cmd
}

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
		f.await(i, "a", 1)
	}
}

// config writes the file of a broker.
func (f *resealFleet) config(i int, keys string) string {
	file := filepath.Join(f.dir, fmt.Sprintf("broker-%d.yaml", i))
	text := fmt.Sprintf("store: %s\nseal: %s\nbroker:\n  listen: unix:%d.sock\n  accounts:\n", f.store, keys, i)
	for _, name := range []string{"a", "b", "idle"} {
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

// token reads a token; ok is false while the broker is not there.
func (f *resealFleet) token(i int, account string) (generation uint64, ok bool) {
	client, base := address{text: fmt.Sprintf("unix:%s/%d.sock", f.dir, i)}.client()
	defer client.CloseIdleConnections()
	answer, err := client.Get(base + "/v1/tokens/" + account)
	if err != nil {
		return 0, false
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, false
	}
	var token struct{ Generation uint64 }
	if strings.Contains(string(body), "the broker is stopping") {
		return 0, false
	}
	if answer.StatusCode != http.StatusOK || json.Unmarshal(body, &token) != nil {
		f.t.Errorf("broker %d, account %s: %s %s", i, account, answer.Status, body)
	}
	return token.Generation, true
}

// await waits until a broker has a generation.
func (f *resealFleet) await(i int, account string, generation uint64) (got uint64) {
	for range 3000 {
		if got, ok := f.token(i, account); ok && got >= generation {
			return got
		}
		time.Sleep(20 * time.Millisecond)
	}
	f.t.Fatalf("broker %d never had generation %d of %s", i, generation, account)
	return 0
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

// TestResealFleet: the sealing key of a fleet on Redis rotates in the order
// that the manual gives. Readers, who never stop, see no error, no account logs
// in once more than it would, and in the end the old key is gone.
func TestResealFleet(t *testing.T) {
	redis, err := storetest.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.Close)
	v := &shortVendor{last: map[string]time.Time{}}
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
	f.await(0, "idle", 1)

	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for i := range f.brokers {
		readers.Go(func() {
			for ctx.Err() == nil {
				for _, account := range []string{"a", "b", "idle"} {
					f.token(i, account)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	f.roll("[file:old.key, file:new.key]")
	f.roll("[file:new.key, file:old.key]")
	if left := f.reseal("[file:new.key, file:old.key]", "--dry-run"); left["file:old.key"] == 0 {
		t.Errorf("nothing is left to be sealed anew: %v", left)
	}
	if left := f.reseal("[file:new.key, file:old.key]"); left["file:old.key"] != 0 || left["file:new.key"] < 4 {
		t.Errorf("after it was sealed anew: %v", left)
	}
	f.await(1, "a", f.await(0, "a", 1)+1)
	if left := f.reseal("[file:new.key, file:old.key]", "--dry-run"); left["file:old.key"] != 0 {
		t.Errorf("a broker seals with the old key: %v", left)
	}
	if out, err := exec.Command("jeton", "serve", "-c", f.config(8, "file:old.key")).CombinedOutput(); err == nil || !strings.Contains(string(out), "sealed with another key") {
		t.Errorf("a broker that knows only the old key: %v: %s", err, out)
	}
	f.roll("file:new.key")
	if err := os.Remove(filepath.Join(f.dir, "old.key")); err != nil {
		t.Fatal(err)
	}
	f.await(1, "b", f.await(0, "b", 1)+1)
	stop()
	readers.Wait()
	for i := range f.brokers {
		if got := f.await(i, "idle", 1); got != 1 {
			t.Errorf("broker %d: the idle account logged in again: generation %d", i, got)
		}
		end(t, f.brokers[i])
	}
	if v.early != 0 {
		t.Errorf("%d logins too many", v.early)
	}
}
