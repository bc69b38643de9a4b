package issuer

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/verify"
)

// A guard elsewhere is in another process and sees a realm over HTTP only.
type elsewhere struct {
	*verify.Remote
	t   *testing.T
	url string // of the realm
	cut func() // ends the connection, for good
}

// guardElsewhere returns a bench whose realm is served, and a guard elsewhere
// that follows it.
func guardElsewhere(t *testing.T, dialect string, maxStale time.Duration) (*bench, *elsewhere) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	b := seeded(t, dialect, nil, func(c *Config) {
		guarded(c)
		c.URL = "http://" + server.Listener.Addr().String()
	})
	server.Config.Handler = b
	server.Start()
	g := &elsewhere{t: t, url: server.URL, Remote: &verify.Remote{
		Issuer: b.url, Key: jeton.NewSecret(edgeKey), Table: b.follow(server.URL), MaxStale: maxStale, Logger: slog.New(slog.DiscardHandler),
	}}
	g.cut = sync.OnceFunc(func() { b.Close(); server.Close() })
	t.Cleanup(g.cut)
	background(t, g.Run)
	return b, g
}

// background runs something until the test ends.
func background(t *testing.T, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// verdict returns nil, or the code of the refusal.
func (g *elsewhere) verdict(token string) error {
	g.t.Helper()
	_, err := g.Verify(context.Background(), jeton.NewSecret(token))
	for _, code := range []jeton.Code{jeton.InvalidToken, jeton.Unavailable} {
		if errors.Is(err, code) {
			return code
		}
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return nil
}

// known waits until the guard takes a token, which it never blames.
func (g *elsewhere) known(token string) {
	g.t.Helper()
	eventually(g.t, "the guard takes the token", func() bool {
		err := g.verdict(token)
		if err == jeton.InvalidToken {
			g.t.Fatal("a good token is blamed")
		}
		return err == nil
	})
}

// What ends here is refused by a guard elsewhere, and not before.
func TestEndsAtGuardElsewhere(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			b, g := guardElsewhere(t, e.dialect, time.Minute)
			login := e.login(b)
			want(t, login, 200)
			token := login.text("access_token")
			g.known(token)
			for range 100 {
				if err := g.verdict(token); err != nil {
					t.Fatal(err)
				}
			}
			must(t, e.end(b, login))
			eventually(t, "the guard refuses the token", func() bool {
				err := g.verdict(token)
				if err == jeton.Unavailable {
					t.Fatal(err)
				}
				return err == jeton.InvalidToken
			})
		})
	}
}

// An API key ends elsewhere too, and a new password of its owner makes no call
// fail.
func TestAPIKeyAtGuardElsewhere(t *testing.T) {
	b, g := guardElsewhere(t, "web1on1", time.Minute)
	u := b.addUser("", "owner@example.org", "t0pZ3kR3t", "agent")
	k, secret, err := b.directory.AddAPIKey(t.Context(), "test", directory.APIKey{Name: "a key", Owner: u.ID, Scope: jeton.Scope{"agent"}}, jeton.Secret{})
	must(t, err)
	key := secret.Reveal()
	g.known(key)
	for n := range 5 {
		must(t, b.directory.SetPassword(t.Context(), "test", "", u.Name, jeton.NewSecret("another-password-"+strconv.Itoa(n))))
		for range 100 {
			if err := g.verdict(key); err != nil {
				t.Fatal(err)
			}
		}
	}
	must(t, b.directory.SetAPIKeyDisabled(t.Context(), "test", "", k.ID, true))
	eventually(t, "the guard refuses the key", func() bool { return g.verdict(key) == jeton.InvalidToken })
}

// When the connection is cut a guard elsewhere decides for a while, and then no
// more. It blames no token for that.
func TestGuardElsewhereIsCutOff(t *testing.T) {
	b, g := guardElsewhere(t, "oauth2", 2*time.Second)
	token := b.token()
	g.known(token)
	g.cut()
	eventually(t, "the guard decides nothing", func() bool {
		err := g.verdict(token)
		if err == jeton.InvalidToken {
			t.Fatal("the token is blamed")
		}
		if age, ok := g.Table.Age(time.Now()); err == nil && (!ok || age > 2*time.Second+time.Minute) {
			t.Fatal("the guard decided by what is too old")
		}
		return err == jeton.Unavailable
	})
}

// A canary goes through the store and the stream like what really ends.
func TestCanaryAtGuardElsewhere(t *testing.T) {
	b, g := guardElsewhere(t, "oauth2", time.Minute)
	seen := make(chan bool, 100)
	c := &revocation.Canary{
		URL: g.url + revocationsPath, Key: g.Key, Table: g.Table, Every: 10 * time.Millisecond, MaxStale: time.Minute,
		Observe: func(_ time.Duration, lost bool) { seen <- lost }, Logger: slog.New(slog.DiscardHandler),
	}
	background(t, func(ctx context.Context) { _ = c.Run(ctx) })
	for range 10 {
		if <-seen {
			t.Error("a canary is lost")
		}
	}
	if n := len(b.entries("canary")); n > 0 {
		t.Errorf("%d entries in the audit log", n)
	}
}
