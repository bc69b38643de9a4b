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
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/broker"
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

// A slowVendor answers every login, each one but the first after a delay.
type slowVendor struct {
	lifetime string // in seconds
	delay    time.Duration
	logins   int
}

func (v *slowVendor) RoundTrip(r *http.Request) (*http.Response, error) {
	if v.logins++; v.logins > 1 {
		time.Sleep(v.delay)
	}
	out := httptest.NewRecorder()
	out.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(out, `{"access_token":"token","token_type":"Bearer","expires_in":`+v.lifetime+`}`)
	return out.Result(), nil
}

// Token makes it a source for x/oauth2 too.
func (v *slowVendor) Token() (*oauth2.Token, error) {
	if v.logins++; v.logins > 1 {
		time.Sleep(v.delay)
	}
	lifetime, err := time.ParseDuration(v.lifetime + "s")
	return &oauth2.Token{AccessToken: "token", Expiry: time.Now().Add(lifetime)}, err
}

func newBroker(b *testing.B, v *slowVendor, early time.Duration) *broker.Broker {
	b.Helper()
	br := &broker.Broker{Store: store.NewMemory(), HTTP: v, Early: early, Accounts: []broker.Account{{
		Name: "account", Dialect: load(b), Origin: &url.URL{Scheme: "http", Host: "vendor.test"},
		Secrets: func(context.Context) (jeton.Vars, error) {
			return jeton.Vars{"client_id": "id", "client_secret": "secret"}, nil
		},
	}}}
	b.Cleanup(func() {
		if err := br.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return br
}

// BenchmarkRead reads a token that is fresh, which is what nearly every read
// of a token is.
func BenchmarkRead(b *testing.B) {
	sources := func(b *testing.B) map[string]func() error {
		v := &slowVendor{lifetime: "86400"}
		br := newBroker(b, v, 0)
		reuse := oauth2.ReuseTokenSource(nil, v)
		return map[string]func() error{
			"jeton":   func() error { _, err := br.Token(context.Background(), "account", 0); return err },
			"xoauth2": func() error { _, err := reuse.Token(); return err },
		}
	}
	for name, read := range sources(b) {
		b.Run("one/"+name, func(b *testing.B) {
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("parallel/"+name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := read(); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkWorstRead reads without a pause while the token is replaced a
// second ahead of its expiry by a login that takes 200 ms, and reports the
// longest read.
func BenchmarkWorstRead(b *testing.B) {
	for _, name := range []string{"jeton", "xoauth2"} {
		b.Run(name, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				v := &slowVendor{lifetime: "3", delay: 200 * time.Millisecond}
				br := newBroker(b, v, time.Second)
				reuse := oauth2.ReuseTokenSourceWithExpiry(nil, v, time.Second)
				read := func() error { _, err := br.Token(context.Background(), "account", 0); return err }
				if name == "xoauth2" {
					read = func() error { _, err := reuse.Token(); return err }
				}
				if err := read(); err != nil { // the first login, which all wait for
					b.Fatal(err)
				}
				for end := time.Now().Add(2500 * time.Millisecond); time.Now().Before(end); {
					started := time.Now()
					if err := read(); err != nil {
						b.Fatal(err)
					}
					worst = max(worst, time.Since(started))
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(worst), "worst-ns")
		})
	}
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
