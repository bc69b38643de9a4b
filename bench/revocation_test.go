package bench_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/sqlite"
)

// BenchmarkRevocation revokes tokens at an issuer, as RFC 7009 says, and waits
// until the table of a guard that follows over HTTP has each. It reports two
// delays: from asking, which has the issuer's write to its store in it, and from
// the issuer's answer, which is what a caller who was told "revoked" could see.
func BenchmarkRevocation(b *testing.B) {
	b.Run("memory", func(b *testing.B) { revoke(b, store.NewMemory(), audit.NewMemory()) })
	b.Run("sqlite", func(b *testing.B) {
		st, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bench.db"))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = st.Close() })
		log, err := audit.NewSQL(b.Context(), st.DB())
		if err != nil {
			b.Fatal(err)
		}
		revoke(b, st, log)
	})
}

func revoke(b *testing.B, st store.Store, log audit.Log) {
	const key = "a-guard-key-of-more-than-thirty-two-bytes"
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	server := httptest.NewUnstartedServer(nil)
	base := "http://" + server.Listener.Addr().String()
	r, err := issuer.OpenRealm(ctx, issuer.Config{
		Name: "bench", Dialect: load(b), Store: st, Audit: log, URL: base, Logger: slog.New(slog.DiscardHandler),
		Guards: []issuer.Guard{{Name: "edge", Key: jeton.NewSecret(key)}},
	})
	if err != nil {
		b.Fatal(err)
	}
	c, secret, err := r.Directory().AddClient(ctx, "bench", directory.Client{Name: "bench"}, jeton.Secret{})
	if err != nil {
		b.Fatal(err)
	}
	own := &realm{r, url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ID}, "client_secret": {secret.Reveal()}}.Encode()}
	server.Config.Handler = r
	server.Start()
	defer server.Close()
	defer r.Close()
	go r.Run(ctx)
	table := new(revocation.Table)
	stream := &revocation.Stream{URL: base + "/revocations", Key: jeton.NewSecret(key), Table: table, Logger: slog.New(slog.DiscardHandler)}
	go func() { _ = stream.Run(ctx) }()
	for _, fresh := table.Age(time.Now()); !fresh; _, fresh = table.Age(time.Now()) {
		time.Sleep(time.Millisecond)
	}
	var asked, answered []time.Duration
	for range 1000 {
		token := own.login(b)
		claims, err := r.Verify(ctx, jeton.NewSecret(token))
		if err != nil {
			b.Fatal(err)
		}
		known := make(chan time.Time, 1)
		go func() {
			for {
				changed := table.Changed()
				if table.Ended(claims) != nil {
					known <- time.Now()
					return
				}
				<-changed
			}
		}()
		start := time.Now()
		in, _ := http.NewRequest("POST", base+"/revoke", strings.NewReader("token="+token))
		in.SetBasicAuth(c.ID, secret.Reveal())
		in.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer, err := http.DefaultClient.Do(in)
		if err != nil || answer.StatusCode != 200 {
			b.Fatal(answer, err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		told := time.Now()
		at := <-known
		asked, answered = append(asked, at.Sub(start)), append(answered, max(at.Sub(told), 0))
	}
	slices.Sort(asked)
	slices.Sort(answered)
	for name, list := range map[string][]time.Duration{"asked": asked, "answered": answered} {
		b.ReportMetric(list[len(list)/2].Seconds()*1e6, name+"-p50-us")
		b.ReportMetric(list[len(list)*99/100].Seconds()*1e6, name+"-p99-us")
	}
	b.ReportMetric(0, "ns/op")
}
