package broker

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/dialect"
)

const spoken = `dialect: own
token:
  POST: https://vendor.test/v1/token
  json: {user: $username, pass: $password}
  returns: {token: $access_token, expires_in: $expires_in}
call: {base: "https://vendor.test/api", headers: {x-token: $access_token}}
lifetime: 1h
`

func parsed(t *testing.T, changes ...string) *dialect.Dialect {
	t.Helper()
	d, err := dialect.Parse("own.yaml", []byte(strings.NewReplacer(changes...).Replace(spoken)))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestSetDialect: the next call and the next login are in the new words, and the
// token that there is stays.
func TestSetDialect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "oauth2")
		v.d = parsed(t)
		b := v.broker(slowStore(), newCredentials())
		defer closeBroker(t, b)
		ctx := context.Background()
		client := &http.Client{Transport: b.Source("a", nil)}
		call := func() string {
			answer, err := client.Get("http://vendor.test/prefix/api/x")
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			text, _ := io.ReadAll(answer.Body)
			return answer.Status + " " + string(text)
		}
		if got := call(); got != "200 OK GET /api/x " {
			t.Fatalf("got %s", got)
		}
		first, err := b.Token(ctx, "a", 0)
		if err != nil {
			t.Fatal(err)
		}

		next := parsed(t, "/v1/token", "/v2/token", "pass:", "secret:", "x-token", "x-other")
		if err := b.SetDialect(ctx, "a", next); err != nil {
			t.Fatal(err)
		}
		v.set(func() { v.d = next })
		time.Sleep(2 * resolveEvery)
		if got := call(); got != "200 OK GET /api/x " {
			t.Errorf("the call is not in the new words: %s", got)
		}
		if token, err := b.Token(ctx, "a", 0); err != nil || token.Generation != first.Generation {
			t.Errorf("%v, %v: the token did not stay", token, err)
		}
		token, err := b.Report(ctx, "a", first.Generation)
		if logins, _, _ := v.count(); err != nil || token.Generation == first.Generation || logins != 2 {
			t.Errorf("%v after %d logins: the login is not in the new words", err, logins)
		}
	})
}

// TestSetDialectRefuses: what would make the account another one is refused, and
// the account goes on as before.
func TestSetDialectRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, "oauth2")
		v.d = parsed(t)
		b := v.broker(slowStore(), newCredentials())
		defer closeBroker(t, b)
		ctx := context.Background()
		first, err := b.Token(ctx, "a", 0)
		if err != nil {
			t.Fatal(err)
		}
		for name, d := range map[string]*dialect.Dialect{
			"name":      parsed(t, "dialect: own", "dialect: other"),
			"active":    parsed(t, "lifetime: 1h", "active: 1"),
			"identity":  parsed(t, "user: $username", "user: $client_id"),
			"setting":   parsed(t, "lifetime: 1h", "vars: {region: eu}", "v1/token", "$region/token"),
			"variable":  parsed(t, "pass: $password", "pass: $pin"),
			"tokenless": parsed(t, spoken, "dialect: own\ncall: {base: https://vendor.test/api, basic: \"$username:$password\"}\n"),
		} {
			if err := b.SetDialect(ctx, "a", d); err == nil {
				t.Errorf("%s: it was taken", name)
			}
		}
		if err := b.SetDialect(ctx, "b", v.d); !errors.Is(err, ErrUnknownAccount) {
			t.Errorf("got %v", err)
		}
		if token, err := b.Report(ctx, "a", first.Generation); err != nil || token.Generation == first.Generation {
			t.Errorf("%v: the account does not go on", err)
		}
	})
}
