// Package bench_test measures the system against the least that could do the
// same work, in the same run on the same machine, so that the ratios mean
// something elsewhere. ./bench/run prints them; no test asserts a time.
package bench_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/seal"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/sqlite"
)

func load(b *testing.B) *dialect.Dialect {
	b.Helper()
	d, err := dialects.Load("oauth2")
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// A realm is a standard one with a client in it.
type realm struct {
	*issuer.Realm
	form string // the client's login
}

func openRealm(b *testing.B, st store.Store, log audit.Log) *realm {
	b.Helper()
	r, err := issuer.OpenRealm(b.Context(), issuer.Config{
		Name: "bench", Dialect: load(b), Store: st, Audit: log, URL: "http://auth.test", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }() // as in a server
	b.Cleanup(func() { cancel(); <-ended })
	<-r.Ready()
	c, secret, err := r.Directory().AddClient(b.Context(), "bench", directory.Client{Name: "bench", Scope: jeton.Scope{"read"}}, jeton.Secret{})
	if err != nil {
		b.Fatal(err)
	}
	return &realm{r, url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ID}, "client_secret": {secret.Reveal()}}.Encode()}
}

// login logs in without a network and returns the access token.
func (r *realm) login(b *testing.B) string {
	b.Helper()
	in := httptest.NewRequest("POST", "/token", strings.NewReader(r.form))
	in.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	out := httptest.NewRecorder()
	r.ServeHTTP(out, in)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(out.Body.Bytes(), &answer); err != nil || answer.AccessToken == "" {
		b.Fatalf("%d %v", out.Code, err)
	}
	return answer.AccessToken
}

// BenchmarkVerify checks one token again and again: go-jose the signature and
// nothing else; the realm also claims, counters and revocation; the guard also
// the path and the request around it.
func BenchmarkVerify(b *testing.B) {
	r := openRealm(b, store.NewMemory(), audit.NewMemory())
	token := r.login(b)
	b.Run("gojose", func(b *testing.B) {
		out := httptest.NewRecorder()
		r.ServeHTTP(out, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(out.Body.Bytes(), &set); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				b.Fatal(err)
			}
			payload, err := signed.Verify(set.Key(signed.Signatures[0].Header.KeyID)[0].Key)
			if err != nil {
				b.Fatal(err)
			}
			var claims map[string]any
			if err := json.Unmarshal(payload, &claims); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("realm", func(b *testing.B) {
		secret := jeton.NewSecret(token)
		for b.Loop() {
			if _, err := r.Verify(b.Context(), secret); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("guard", func(b *testing.B) {
		g := &guard.Guard{Realm: "bench", Dialect: r.Dialect(), Verifier: r}
		in := httptest.NewRequest("GET", "/orders/1", nil)
		in.Header.Set("Authorization", "Bearer "+token)
		for b.Loop() {
			if _, err := g.Decide(in); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkIssue asks for tokens over HTTP on loopback, the client on the same
// machine: a handler that only signs the same claims, and a realm that limits,
// authenticates, audits and signs, in memory and in a sealed SQLite file.
func BenchmarkIssue(b *testing.B) {
	memory := openRealm(b, store.NewMemory(), audit.NewMemory())
	b.Run("bare", func(b *testing.B) { issue(b, bareSigner(b, memory.login(b)), memory.form) })
	b.Run("memory", func(b *testing.B) { issue(b, memory, memory.form) })
	b.Run("sqlite", func(b *testing.B) {
		db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "jeton.db"))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		log, err := audit.NewSQL(b.Context(), db.DB())
		if err != nil {
			b.Fatal(err)
		}
		r := openRealm(b, seal.Wrap(db, seal.NewKey()), log)
		issue(b, r, r.form)
	})
}

// issue sends logins from 16 connections at once.
func issue(b *testing.B, h http.Handler, form string) {
	server := httptest.NewServer(h)
	defer server.Close()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.Post(server.URL+"/token", "application/x-www-form-urlencoded", strings.NewReader(form))
			if err != nil {
				b.Error(err)
				return
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), `"access_token":"ey`) {
				b.Errorf("%d %s %v", resp.StatusCode, body, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}

// bareSigner reads the form and signs the claims of a token with a key of its
// own, and does nothing else.
func bareSigner(b *testing.B, like string) http.Handler {
	b.Helper()
	key := newKey(b)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", "bench"))
	if err != nil {
		b.Fatal(err)
	}
	claims := payload(b, like)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, "form", http.StatusBadRequest)
			return
		}
		signed, err := signer.Sign(claims)
		if err != nil {
			http.Error(w, "sign", http.StatusInternalServerError)
			return
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			http.Error(w, "serialize", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": text, "token_type": "Bearer", "expires_in": 3600})
	})
}
