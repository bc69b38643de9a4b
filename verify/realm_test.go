package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/jws"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/verify"
)

// TestRealmKeyRemoved: what a removed key of a realm had signed is
// refused by those who know it, in the process that removes it at once.
func TestRealmKeyRemoved(t *testing.T) {
	d, err := dialects.Load("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	base := "http://" + server.Listener.Addr().String()
	realm, err := issuer.OpenRealm(t.Context(), issuer.Config{
		Name: "r", Dialect: d, Store: store.NewMemory(), Audit: audit.NewMemory(), URL: base, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = realm
	server.Start()
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { realm.Run(ctx) })
	defer running.Wait()
	defer cancel()

	c, secret, err := realm.Directory().AddClient(t.Context(), "test", directory.Client{Name: "c"}, jeton.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.PostForm(base+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {c.ID}, "client_secret": {secret.Reveal()}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&granted); err != nil || granted.AccessToken == "" {
		t.Fatalf("%d %v", resp.StatusCode, err)
	}
	bearer := jeton.NewSecret(granted.AccessToken)
	token, ok := jws.Parse(granted.AccessToken)
	if !ok {
		t.Fatal("not a token")
	}
	here := &verify.Cache{Verifier: realm, Table: realm.Revocations(), Epoch: realm.Keys().Epoch}
	there := &verify.JWT{Issuer: base, Keys: &verify.JWKS{URL: base + "/.well-known/jwks.json"}}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err = here.Verify(t.Context(), bearer); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	mine, err := here.Verify(t.Context(), bearer)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := there.Verify(t.Context(), bearer)
	if err != nil {
		t.Fatal(err)
	}
	if mine.ID != theirs.ID || mine.Subject != theirs.Subject || mine.ClientID != theirs.ClientID || !mine.Expiry.Equal(theirs.Expiry) ||
		strings.Join(mine.Audience, " ") != strings.Join(theirs.Audience, " ") || len(mine.Generations) == 0 || len(mine.Generations) != len(theirs.Generations) {
		t.Errorf("the realm says %+v, by its keys it is %+v", mine, theirs)
	}
	if err := realm.Keys().Remove(t.Context(), token.KeyID); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Verify(t.Context(), bearer); !errors.Is(err, jeton.InvalidToken) {
		t.Errorf("a token of a removed key that is known: %v", err)
	}
}
