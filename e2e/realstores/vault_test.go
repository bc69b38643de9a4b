//go:build realstores && linux

package realstores

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
	"github.com/jetonhq/jeton/store/vault"
	"github.com/jetonhq/jeton/vaultkv"
	"github.com/jetonhq/jeton/vaultkv/kvfake"
)

// A vaultServer is a real one, unsealed, with an engine of version 2 at kv and one
// of version 1 at old.
type vaultServer struct {
	url  string // http://HOST:PORT
	key  string // that unseals it
	root string // token
}

func startVault(t *testing.T) *vaultServer {
	t.Helper()
	c := command("vault")
	c.Stderr = t.Output()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close() // ends it
		_ = c.Wait()
	})
	var addr string
	r := &vaultServer{}
	if _, err := fmt.Fscanln(out, &addr, &r.key, &r.root); err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + addr
	r.ask(t, "POST", "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	r.ask(t, "POST", "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	if err := until(func() error { // an engine of version 2 prepares itself for a moment
		if status, answer := r.try(t, "POST", "kv/data/ready", map[string]any{"data": map[string]string{}}); status != http.StatusOK {
			return fmt.Errorf("the engine is not ready: %d %v", status, answer)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *vaultServer) seal(t *testing.T) { r.ask(t, "POST", "sys/seal", nil) }

func (r *vaultServer) try(t *testing.T, method, path string, body any) (status int, answer map[string]any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	ask, err := http.NewRequest(method, r.url+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	ask.Header.Set("X-Vault-Token", r.root)
	got, err := http.DefaultClient.Do(ask)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	_ = json.NewDecoder(got.Body).Decode(&answer)
	return got.StatusCode, answer
}

func (r *vaultServer) ask(t *testing.T, method, path string, body any) map[string]any {
	t.Helper()
	status, answer := r.try(t, method, path, body)
	if status/100 != 2 {
		t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

// allow makes a policy for a store with the prefix jeton, as docs/operations.md
// has it.
func (r *vaultServer) allow(t *testing.T) {
	r.ask(t, "POST", "sys/policies/acl/jeton", map[string]string{"policy": `
		path "kv/data/jeton/*"     { capabilities = ["create", "update", "read"] }
		path "kv/metadata/jeton/*" { capabilities = ["list"] }`})
}

func (r *vaultServer) token(t *testing.T, body map[string]any) string {
	t.Helper()
	return r.ask(t, "POST", "auth/token/create", body)["auth"].(map[string]any)["client_token"].(string)
}

func (r *vaultServer) address(t testing.TB, rest, password string) store.Address {
	t.Helper()
	a, err := store.ParseAddress(strings.Replace(r.url, "http://", "vault+http://", 1) + rest)
	if err != nil {
		t.Fatal(err)
	}
	a.Password = jeton.NewSecret(password)
	return a
}

func openVault(t *testing.T, a store.Address) *vault.Store {
	t.Helper()
	s, err := vault.Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var prefixes atomic.Int64

// The exam, with a token that may do no more than the documentation says.
func TestVaultStore(t *testing.T) {
	r := startVault(t)
	r.allow(t)
	token := r.token(t, map[string]any{"policies": []string{"jeton"}, "ttl": "1h"})
	storetest.Run(t, func(t *testing.T) store.Store {
		return openVault(t, r.address(t, fmt.Sprint("/kv/jeton/test-", prefixes.Add(1)), token))
	})
}

// The stand-in answers as the real server does, to all that the client asks.
func TestVaultFakeIsLikeReal(t *testing.T) {
	fake := kvfake.New()
	here := httptest.NewServer(fake)
	defer here.Close()
	r := startVault(t)
	fake.AddRole("approle", "jeton", "s", kvfake.Role{Life: time.Hour})
	secret := func(text string) func() (jeton.Secret, error) {
		return func() (jeton.Secret, error) { return jeton.NewSecret(text), nil }
	}
	for name, c := range map[string]vaultkv.Config{
		"fake": {Server: here.URL, Mount: "secret", Secret: secret("root")},
		"real": {Server: r.url, Mount: "kv", Secret: secret(r.root)},
	} {
		t.Run(name, func(t *testing.T) {
			kv, err := vaultkv.New(c)
			if err != nil {
				t.Fatal(err)
			}
			defer kv.Close()
			readsAndWrites(t, kv)
			wrong := c
			wrong.Secret = secret("hvs.wrong")
			wantStatus(t, wrong, "", http.StatusForbidden)
			wrong = c
			wrong.Mount = "nowhere"
			wantStatus(t, wrong, "nothing is mounted there", http.StatusNotFound)
		})
	}
	sealed := func(c vaultkv.Config, seal func()) {
		t.Helper()
		seal()
		wantStatus(t, c, "sealed", http.StatusServiceUnavailable)
	}
	sealed(vaultkv.Config{Server: here.URL, Secret: secret("root")}, func() { fake.Seal(true) })
	sealed(vaultkv.Config{Server: r.url, Mount: "kv", Secret: secret(r.root)}, func() { r.seal(t) })
}

func readsAndWrites(t *testing.T, kv *vaultkv.Client) {
	ctx := t.Context()
	write := func(path string, at, want int) {
		t.Helper()
		n, err := kv.Write(ctx, path, map[string]string{"a": path}, at)
		if n != want || (want == 0) != errors.Is(err, vaultkv.ErrConflict) {
			t.Errorf("write %q at %d: %d, %v; want %d", path, at, n, err, want)
		}
	}
	read := func(path string, want int) {
		t.Helper()
		data, n, err := kv.Read(ctx, path)
		if err != nil || n != want || want > 0 && data["a"] != path || want == 0 && data != nil {
			t.Errorf("read %q: %v at %d, %v; want %d", path, data, n, err, want)
		}
	}
	read("a/b", 0)
	write("a/b", 1, 0)
	write("a/b", 0, 1)
	write("a/b", 0, 0)
	write("a/b", 1, 2)
	write("a/b", 1, 0)
	write("a/b", 7, 0)
	write("a/b", vaultkv.Any, 3)
	read("a/b", 3)
	read("a", 0)
	read("a/b/c", 0)
	for _, path := range []string{"a/b/c", "A/b", "~", "~/~2f", "x-_", strings.Repeat("k", 400)} {
		write(path, 0, 1)
		read(path, 1)
	}
	for path, want := range map[string][]string{"a": {"b", "b/"}, "a/b": {"c"}, "a/b/c": nil, "~": {"~2f"}, "nowhere": nil} {
		got, err := kv.List(ctx, path)
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("list %q: %q, %v; want %q", path, got, err, want)
		}
	}
	top, err := kv.List(ctx, "")
	if err != nil || !slices.Contains(top, "a/") || !slices.Contains(top, "~") || !slices.Contains(top, "~/") {
		t.Errorf("list of the top: %q, %v", top, err)
	}
	if n, err := kv.Write(ctx, "empty", map[string]string{}, 0); n != 1 || err != nil {
		t.Errorf("write of nothing: %d, %v", n, err)
	}
	if data, n, err := kv.Read(ctx, "empty"); data == nil || n != 1 || err != nil {
		t.Errorf("read of nothing: %v at %d, %v", data, n, err)
	}
}

func wantStatus(t *testing.T, c vaultkv.Config, text string, status int) {
	t.Helper()
	kv, err := vaultkv.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer kv.Close()
	_, _, err = kv.Read(t.Context(), "a")
	if e, ok := errors.AsType[*vaultkv.Error](err); !ok || e.Status != status || !strings.Contains(err.Error(), text) {
		t.Errorf("read: %v; want %d, %q", err, status, text)
	}
}

// Somebody deletes a secret by hand: the record is gone, and made anew without a
// version that was given before.
func TestVaultDeletedByHand(t *testing.T) {
	r := startVault(t)
	s := openVault(t, r.address(t, "/kv/jeton", r.root))
	for _, path := range []string{"kv/data/jeton/~records/a", "kv/metadata/jeton/~records/a"} {
		old, err := s.Put(t.Context(), store.Record{Key: "a"})
		if err != nil {
			t.Fatal(err)
		}
		r.ask(t, "DELETE", path, nil)
		if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get after DELETE %s: %v", path, err)
		}
		now, err := s.Put(t.Context(), store.Record{Key: "a"})
		if err != nil || now.Version == old.Version {
			t.Errorf("Put after DELETE %s: version %q, %v", path, now.Version, err)
		}
		if _, err := s.Put(t.Context(), old); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Put at a version from before: %v", err)
		}
		if err := s.Delete(t.Context(), now); err != nil {
			t.Error(err)
		}
	}
}

// Seal the server under a store, and unseal it.
func TestVaultSealed(t *testing.T) {
	r := startVault(t)
	s := openVault(t, r.address(t, "/kv/jeton", r.root))
	record, err := s.Put(t.Context(), store.Record{Key: "a"})
	if err != nil {
		t.Fatal(err)
	}
	r.seal(t)
	if _, err := s.Put(t.Context(), record); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Errorf("Put to a sealed server: %v", err)
	}
	r.ask(t, "POST", "sys/unseal", map[string]string{"key": r.key})
	if err := until(func() error {
		_, err := s.Put(t.Context(), record)
		return err
	}); err != nil {
		t.Errorf("Put after unsealing: %v", err)
	}
}

// Open says what is wrong, without the token.
func TestVaultOpenRefuses(t *testing.T) {
	r := startVault(t)
	r.allow(t)
	r.ask(t, "POST", "sys/auth/approle", map[string]string{"type": "approle"})
	for _, c := range []struct{ rest, password, want string }{
		{"/kv/jeton", "hvs.wrong", "permission denied"},
		{"/kv/jeton", "", "permission denied"},
		{"/nowhere/jeton", r.root, "nothing is mounted there"},
		{"/old/jeton", r.root, "no key-value engine of version 2"},
		{"/kv/other", r.token(t, map[string]any{"policies": []string{"jeton"}}), "permission denied"},
	} {
		s, err := vault.Open(t.Context(), r.address(t, c.rest, c.password))
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: opened, want %q", c.rest, c.want)
		} else if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hvs.") {
			t.Errorf("%s: %v; want %q", c.rest, err, c.want)
		}
	}
	a := r.address(t, "/kv/jeton", "wrong")
	a.User = "jeton"
	if s, err := vault.Open(t.Context(), a); err == nil {
		_ = s.Close()
		t.Error("opened with a wrong secret_id")
	} else if !strings.Contains(err.Error(), "the login is refused") {
		t.Error(err)
	}
}

// A token is renewed, and one that cannot be renewed any more is replaced by
// another login, while a store is in use.
func TestVaultTokensLiveOn(t *testing.T) {
	r := startVault(t)
	r.allow(t)
	r.ask(t, "POST", "sys/auth/approle", map[string]string{"type": "approle"})
	r.ask(t, "POST", "auth/approle/role/jeton", map[string]any{"token_policies": "jeton", "token_ttl": "20s", "token_max_ttl": "25s"})
	a := r.address(t, "/kv/jeton", r.ask(t, "POST", "auth/approle/role/jeton/secret-id", nil)["data"].(map[string]any)["secret_id"].(string))
	a.User = r.ask(t, "GET", "auth/approle/role/jeton/role-id", nil)["data"].(map[string]any)["role_id"].(string)
	byRole := openVault(t, a)
	byToken := openVault(t, r.address(t, "/kv/jeton", r.token(t, map[string]any{"policies": []string{"jeton"}, "ttl": "20s"})))
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	for tick := time.NewTicker(time.Second); ; {
		for name, s := range map[string]*vault.Store{"role": byRole, "token": byToken} {
			if _, err := s.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
				t.Fatalf("by %s: %v", name, err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
