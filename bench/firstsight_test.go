package bench_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/verify"
)

// BenchmarkFirstSight verifies tokens of a realm that a guard elsewhere has
// never seen, by the keys that it fetched, and keeps them; the peer checks the
// ES256 signature over the same text with the same key and does nothing else.
// The cache is a small one: what a process pays once for the memory of a large
// one is not a part of a verification.
// Both go in turn, and the median of the ratios counts.
func BenchmarkFirstSight(b *testing.B) {
	const rounds, tokens = 41, 100
	r := openRealm(b, store.NewMemory(), audit.NewMemory())
	out := httptest.NewRecorder()
	r.ServeHTTP(out, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(out.Body.Bytes()) }))
	defer server.Close()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(out.Body.Bytes(), &set); err != nil {
		b.Fatal(err)
	}
	var list []string
	for range tokens {
		list = append(list, r.login(b))
	}
	v := &verify.JWT{Issuer: r.URL(), Keys: &verify.JWKS{URL: server.URL}}
	table := &revocation.Table{}
	table.Confirm(time.Now().Add(time.Hour))
	var ours, peer, ratios []float64
	for b.Loop() {
		for range rounds {
			o := firstTime(b, &verify.Cache{Verifier: v, Table: table, Size: 1024}, list)
			p := rawTime(b, set, list)
			ours, peer, ratios = append(ours, o), append(peer, p), append(ratios, o/p)
		}
	}
	b.ReportMetric(median(ours), "ours-ns")
	b.ReportMetric(median(peer), "peer-ns")
	b.ReportMetric(median(ratios), "time-ratio")
}

func firstTime(b *testing.B, c *verify.Cache, list []string) float64 {
	secrets := make([]jeton.Secret, len(list))
	for i, token := range list {
		secrets[i] = jeton.NewSecret(token)
	}
	_, _ = c.Verify(b.Context(), jeton.NewSecret("x")) // makes the cache
	started := time.Now()
	for _, s := range secrets {
		if _, err := c.Verify(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
	return float64(time.Since(started)) / float64(len(list))
}

func rawTime(b *testing.B, set jose.JSONWebKeySet, list []string) float64 {
	type input struct {
		key       *ecdsa.PublicKey
		signed    []byte
		signature []byte
	}
	var inputs []input
	for _, token := range list {
		signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			b.Fatal(err)
		}
		dot := strings.LastIndex(token, ".")
		signature, _ := base64.RawURLEncoding.DecodeString(token[dot+1:])
		inputs = append(inputs, input{set.Key(signed.Signatures[0].Header.KeyID)[0].Key.(*ecdsa.PublicKey), []byte(token[:dot]), signature})
	}
	started := time.Now()
	for _, in := range inputs {
		digest := sha256.Sum256(in.signed)
		if !ecdsa.Verify(in.key, digest[:], new(big.Int).SetBytes(in.signature[:32]), new(big.Int).SetBytes(in.signature[32:])) {
			b.Fatal("not signed")
		}
	}
	return float64(time.Since(started)) / float64(len(list))
}

// BenchmarkKnownTokens keeps as many live tokens as the cache has room for, of
// the length and with the claims of a realm's own.
func BenchmarkKnownTokens(b *testing.B) {
	for _, size := range []int{65536, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var c *verify.Cache
			for b.Loop() {
				c = &verify.Cache{Verifier: minted{}, Size: size}
				before := memory()
				for i := range size + size/4 { // some more, so that others have to go
					if _, err := c.Verify(b.Context(), minted{}.token(i)); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric((memory()-before)/float64(size), "B/token")
				b.ReportMetric((memory()-before)/(1<<20), "MB")
			}
			runtime.KeepAlive(c)
		})
	}
}

// minted is a verifier that makes what a realm's token says without a signature.
type minted struct{}

func (minted) token(i int) jeton.Secret {
	return jeton.NewSecret(strings.Repeat("eyJhbGciOiJFUzI1NiIsImtpZCI6Ii", 18) + fmt.Sprintf("%043d", i) + strings.Repeat("x", 43))
}

func (minted) Verify(_ context.Context, bearer jeton.Secret) (*jeton.Claims, error) {
	text := bearer.Reveal()
	id := strings.Clone(text[len(text)-70 : len(text)-44])
	clone := strings.Clone
	return &jeton.Claims{
		ID: id, Issuer: clone("https://auth.example.com/partners"), Subject: clone(id[:20]), ClientID: clone(id[:20]), Audience: []string{clone("https://auth.example.com/partners")},
		Scope: jeton.Scope{clone("read"), clone("write")}, IssuedAt: time.Now(), Expiry: time.Now().Add(time.Hour),
		Generations: map[string]uint64{"client/" + id[:20]: 1, "user/" + id: 1},
	}, nil
}
