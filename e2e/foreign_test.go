package e2e_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/verify"
)

// A foreignIssuer is node-oidc-provider at an address of its own.
type foreignIssuer struct {
	addr string
	*process
}

func (f *foreignIssuer) url() string { return "http://" + f.addr }

// startForeign starts the issuer, or starts it again, with one key for alg.
func startForeign(t *testing.T, addr, kid, alg string) *foreignIssuer {
	t.Helper()
	need(t, "node")
	if _, err := os.Stat(filepath.Join("node", "node_modules", "oidc-provider")); err != nil {
		t.Fatal("the npm package oidc-provider is missing; ./test installs it, or: cd e2e/node && npm ci")
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"port": json.Number(port), "alg": alg,
		"keys": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: foreignKey(t, alg), KeyID: kid, Algorithm: alg, Use: "sig"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command("node", "provider.js"), stdout: newOutput(), stderr: newOutput(), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdin = "node", bytes.NewReader(config)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	f := &foreignIssuer{addr, p}
	t.Cleanup(func() { f.stop(t) })
	p.await(t, p.stdout, `(ready)`)
	return f
}

func (f *foreignIssuer) stop(t *testing.T) {
	t.Helper()
	select {
	case <-f.ended:
	default:
		f.kill(t)
	}
}

func foreignKey(t *testing.T, alg string) crypto.Signer {
	t.Helper()
	var k crypto.Signer
	var err error
	switch alg {
	case "ES256":
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, k, err = ed25519.GenerateKey(rand.Reader)
	default:
		k, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// token logs in as a client of the foreign issuer, for an API.
func (f *foreignIssuer) token(t *testing.T, client, resource string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}, "resource": {resource}}
	a := ask(t, http.MethodPost, f.url()+"/token", form.Encode(), formOf(client)...)
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &granted); err != nil || a.status != http.StatusOK || granted.AccessToken == "" {
		t.Fatalf("the foreign issuer says %d %s", a.status, a.body)
	}
	return granted.AccessToken
}

func formOf(client string) []string {
	return append(basicAuth(client+":secret"), "Content-Type", "application/x-www-form-urlencoded")
}

const foreignAPI = "https://api.example"

// guarded serves an API behind a guard that knows the issuer by its URL, and
// returns what calls it with a token.
func guarded(t *testing.T, remote *verify.Remote) func(token string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { remote.Run(ctx) })
	d, err := dialects.Load("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	g := &guard.Guard{Dialect: d, Verifier: remote}
	server := httptest.NewServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := guard.ClaimsFrom(r.Context())
		_, _ = fmt.Fprintf(w, "%s %s", claims.ClientID, claims.Scope)
	})))
	t.Cleanup(func() { server.Close(); cancel(); group.Wait() })
	return func(token string) (int, string) {
		t.Helper()
		a := ask(t, http.MethodGet, server.URL+"/things", "", "Authorization", "Bearer "+token)
		return a.status, a.body
	}
}

// TestForeignIssuer guards an API with the tokens of an issuer that is not
// Jeton, signed ones and opaque ones, found by its URL alone.
func TestForeignIssuer(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
		t.Run(alg, func(t *testing.T) {
			f := startForeign(t, freeAddress(t), "first", alg)
			remote := &verify.Remote{Issuer: f.url(), Audience: foreignAPI, ClientID: "guard+1", ClientSecret: jeton.NewSecret("100% se:cret"), TTL: time.Second}
			call := guarded(t, remote)
			signed, opaque := f.token(t, "signed", foreignAPI), f.token(t, "opaque", foreignAPI)
			if strings.Count(signed, ".") != 2 || strings.Contains(opaque, ".") {
				t.Fatal("the tokens are not of the two kinds")
			}
			for client, token := range map[string]string{"signed": signed, "opaque": opaque} {
				for range 2 {
					if status, body := call(token); status != http.StatusOK || body != client+" read" {
						t.Errorf("%s token: %d %q\n%s", client, status, body, f.stderr)
					}
				}
			}
			for what, token := range map[string]string{
				"signed, for another API": f.token(t, "signed", "https://other.example"), "opaque, for another API": f.token(t, "opaque", "https://other.example"),
				"signed, cut": signed[:len(signed)-4], "opaque, cut": opaque[:len(opaque)-4], "signed, longer": signed + "A", "no token": "x",
			} {
				if status, _ := call(token); status != http.StatusUnauthorized {
					t.Errorf("%s: %d", what, status)
				}
			}
			wrong := guarded(t, &verify.Remote{Issuer: f.url(), Audience: foreignAPI, ClientID: "guard+1", ClientSecret: jeton.NewSecret("wrong")})
			if status, _ := wrong(opaque); status != http.StatusServiceUnavailable {
				t.Errorf("a guard that the issuer does not know: %d", status)
			}
			if status, _ := wrong(signed); status != http.StatusOK {
				t.Errorf("such a guard with a signed token: %d", status)
			}
			f.revoke(t, opaque)
			eventually(t, func() (int, bool) { status, _ := call(opaque); return status, status == http.StatusUnauthorized })
		})
	}
}

// revoke ends a token at its issuer (RFC 7009).
func (f *foreignIssuer) revoke(t *testing.T, token string) {
	t.Helper()
	a := ask(t, http.MethodPost, f.url()+"/token/revocation", url.Values{"token": {token}}.Encode(), formOf("opaque")...)
	if a.status != http.StatusOK {
		t.Fatalf("revoke: %d %s", a.status, a.body)
	}
}

// TestForeignIssuerComesAndGoes: a guard starts before its issuer, goes on
// without it, and learns the key that it comes back with.
func TestForeignIssuerComesAndGoes(t *testing.T) {
	t.Parallel()
	addr := freeAddress(t)
	call := guarded(t, &verify.Remote{Issuer: "http://" + addr, Audience: foreignAPI})
	if status, _ := call("x"); status != http.StatusServiceUnavailable {
		t.Errorf("before the issuer was there: %d", status)
	}
	f := startForeign(t, addr, "first", "ES256")
	first, later := f.token(t, "signed", foreignAPI), f.token(t, "signed", foreignAPI)
	eventually(t, func() (int, bool) { status, _ := call(first); return status, status == http.StatusOK })
	f.stop(t)
	for _, token := range []string{first, later} {
		if status, _ := call(token); status != http.StatusOK {
			t.Errorf("without the issuer: %d", status)
		}
	}
	f = startForeign(t, addr, "second", "ES256")
	rotated := f.token(t, "signed", foreignAPI)
	eventually(t, func() (int, bool) { status, _ := call(rotated); return status, status == http.StatusOK })
	// The first key is gone from the set, so a token that it signed is not good
	// any more, also one that the guard knows.
	eventually(t, func() (int, bool) { status, _ := call(first); return status, status == http.StatusUnauthorized })
	if status, _ := call(later); status != http.StatusUnauthorized {
		t.Errorf("the removed key, another token: %d", status)
	}
}
