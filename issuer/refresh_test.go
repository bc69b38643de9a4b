package issuer

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

// getRefresh and postRefresh are web1on1's two forms.
func (b *bench) getRefresh(access, refresh string) answer {
	b.t.Helper()
	return b.get("/v2/auth/token?refreshToken="+url.QueryEscape(refresh), bearer(access))
}

func (b *bench) postRefresh(refresh, user string) answer {
	b.t.Helper()
	body, _ := json.Marshal(map[string]string{"refreshToken": refresh, "clientId": user})
	return b.json("/v2/auth/token", string(body))
}

func TestRefreshWeb1on1(t *testing.T) {
	b := seeded(t, "web1on1", nil, nil)
	login := b.login()
	want(t, login, http.StatusOK)
	for name, refresh := range map[string]func(answer) answer{
		"GET before expiry": func(a answer) answer { return b.getRefresh(a.text("token"), a.text("refreshToken")) },
		"POST after expiry": func(a answer) answer { return b.postRefresh(a.text("refreshToken"), " ADMIN@example.org") },
	} {
		next := refresh(login)
		want(t, next, http.StatusOK)
		for _, field := range []string{"tokenType", "user", "scope"} {
			if next.body[field] != login.body[field] {
				t.Errorf("%s: %s is %v, at the login it was %v", name, field, next.body[field], login.body[field])
			}
		}
		if next.text("refreshToken") == login.text("refreshToken") || !b.good(next.text("token")) || !b.good(login.text("token")) {
			t.Errorf("%s: want a new refresh token, and both access tokens good", name)
		}
		login = next
	}
	if n := len(b.entries("refresh")); n != 2 {
		t.Errorf("%d audit entries about refreshing, want 2", n)
	}
}

func TestRefreshStandard(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	login := b.password()
	want(t, login, http.StatusOK)
	next := b.refreshWith(login.text("refresh_token"))
	want(t, next, http.StatusOK)
	if next.text("scope") != "read write" || !b.good(next.text("access_token")) {
		t.Error(next.raw)
	}
	narrow := b.form("/token", []string{"grant_type", "refresh_token", "refresh_token", next.text("refresh_token"), "scope", "read"}, basic("demo-client", "demo-secret"))
	want(t, narrow, http.StatusOK)
	if narrow.text("scope") != "read" {
		t.Error("the scope was not narrowed")
	}
	wide := b.form("/token", []string{"grant_type", "refresh_token", "refresh_token", narrow.text("refresh_token"), "scope", "read admin"}, basic("demo-client", "demo-secret"))
	want(t, wide, 400, jeton.InvalidScope)
	none := b.form("/token", []string{"grant_type", "refresh_token", "refresh_token", narrow.text("refresh_token"), "scope", " "}, basic("demo-client", "demo-secret"))
	want(t, none, 400, jeton.InvalidScope)
	// Neither a refused nor a narrowed request narrows the grant (section 6).
	want(t, b.refreshWith(narrow.text("refresh_token")), 200)
}

// A refresh token is good only with the client, the user and the access token
// that it was issued with, and trying with others does not spend it.
func TestRefreshBinding(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	login := b.password()
	token := login.text("refresh_token")
	want(t, b.refreshWith(token, basic("other-client", "other-secret")), 400, jeton.InvalidGrant)
	want(t, b.refreshWith(token, basic("demo-client", "wrong")), 401, jeton.InvalidClient)
	want(t, b.form("/token", []string{"grant_type", "refresh_token", "refresh_token", token}), 401, jeton.InvalidClient)
	want(t, b.refreshWith(login.text("access_token")), 400, jeton.InvalidGrant)
	want(t, b.refreshWith(token), 200)

	w := seeded(t, "web1on1", nil, nil)
	one, two := w.login(), w.login()
	refresh := one.text("refreshToken")
	want(t, w.postRefresh(refresh, "guest@example.org"), 400, jeton.InvalidGrant)
	want(t, w.getRefresh(two.text("token"), refresh), 400, jeton.InvalidGrant)
	want(t, w.getRefresh("garbage", refresh), 403, jeton.InvalidToken)
	want(t, w.getRefresh(one.text("token"), refresh), 200)
}

// An answer that was lost is given again, and a replay is caught.
func TestRefreshRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "oauth2", nil, nil)
		first := b.password().text("refresh_token")
		lost := b.refreshWith(first)
		want(t, lost, 200)
		time.Sleep(30*time.Second - time.Nanosecond)
		again := b.refreshWith(first)
		want(t, again, 200)
		if again.text("refresh_token") != lost.text("refresh_token") {
			t.Fatal("the retry got another refresh token")
		}
		if !b.good(lost.text("access_token")) || !b.good(again.text("access_token")) {
			t.Error("one of the access tokens is not good")
		}
		time.Sleep(time.Nanosecond)
		want(t, b.refreshWith(first), 400, jeton.InvalidGrant)
		want(t, b.refreshWith(lost.text("refresh_token")), 400, jeton.InvalidGrant)
		if b.good(lost.text("access_token")) {
			t.Error("the family ended and its access token did not")
		}
	})
	t.Run("successor used", func(t *testing.T) {
		b := seeded(t, "oauth2", nil, nil)
		first := b.password().text("refresh_token")
		second := b.refreshWith(first).text("refresh_token")
		third := b.refreshWith(second)
		want(t, third, 200)
		want(t, b.refreshWith(first), 400, jeton.InvalidGrant)
		want(t, b.refreshWith(third.text("refresh_token")), 400, jeton.InvalidGrant)
		if b.good(third.text("access_token")) {
			t.Error("a replay did not end the family")
		}
		if detail := b.entries("refresh")[1].Detail; !strings.Contains(detail, "spent") {
			t.Errorf("the audit log does not say why: %q", detail)
		}
	})
	t.Run("never", func(t *testing.T) {
		b := seeded(t, "oauth2", nil, func(c *Config) { c.RetryWindow = -1 })
		first := b.password().text("refresh_token")
		want(t, b.refreshWith(first), 200)
		want(t, b.refreshWith(first), 400, jeton.InvalidGrant)
	})
}

// What an access token shows of its family is not enough to end the family.
func TestRefreshGarbage(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	login := b.password()
	good := login.text("refresh_token")
	for _, garbage := range []string{
		good + "0", good[:len(good)-1], strings.ToUpper(good), "jeton_rt_", "jeton_rt___", "none", strings.Repeat("x", 10_000),
		newRefreshToken(b.families.familyOf(t, b)).Reveal(),
	} {
		want(t, b.refreshWith(garbage), 400, jeton.InvalidGrant)
	}
	want(t, b.refreshWith(good), 200)
}

// familyOf returns the ID of the only family that is there.
func (fs *families) familyOf(t *testing.T, b *bench) string {
	list, err := b.store.List(t.Context(), fs.key(""), "", 10)
	if err != nil || len(list) != 1 {
		t.Fatalf("%d families, %v", len(list), err)
	}
	return strings.TrimPrefix(list[0].Key, fs.key(""))
}

// The record of a family holds neither of its tokens, and what it keeps of the
// successor opens for the token before it only.
func TestFamilyAtRest(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	first := b.password().text("refresh_token")
	second := b.refreshWith(first).text("refresh_token")
	id := b.families.familyOf(t, b)
	f, err := b.families.get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{first, second} {
		for _, part := range strings.Split(strings.TrimPrefix(token, refreshPrefix), "_") {
			if strings.Contains(string(f.record.Value)+f.record.Key, part) {
				t.Errorf("the record shows a part of a token: %s", f.record.Value)
			}
		}
	}
	if next, err := openSuccessor(jeton.NewSecret(first), f.Kept, id); err != nil || next.Reveal() != second {
		t.Errorf("the token before it does not open the successor: %v", err)
	}
	for _, key := range []string{second, f.Previous, f.Current, ""} {
		if _, err := openSuccessor(jeton.NewSecret(key), f.Kept, id); err == nil {
			t.Errorf("the successor opens with something else than the token before it")
		}
	}
	if _, err := openSuccessor(jeton.NewSecret(first), f.Kept, "another"); err == nil {
		t.Error("the successor opens in another family")
	}
}

// slow makes races show: with a store that answers at once, most of them pass
// without compare-and-swap, too. Now and then it is slower than several of its
// other answers together.
func slow() store.Store {
	return storetest.Slow(store.NewMemory(), func() time.Duration {
		most := time.Millisecond
		if rand.IntN(4) == 0 {
			most = 20 * time.Millisecond
		}
		return rand.N(most)
	})
}

// together runs f n times at once.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// 64 refreshes at once leave one family with one good token.
func TestRefreshTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "oauth2", slow(), nil)
		first := b.password().text("refresh_token")
		answers := make([]answer, 64)
		together(64, func(i int) { answers[i] = b.refreshWith(first) })
		successors := map[string]bool{}
		for _, a := range answers {
			want(t, a, 200)
			successors[a.text("refresh_token")] = true
			if !b.good(a.text("access_token")) {
				t.Fatal("an access token that was answered is not good")
			}
		}
		if len(successors) != 1 {
			t.Fatalf("%d successors of one refresh token", len(successors))
		}
		want(t, b.refreshWith(answers[0].text("refresh_token")), 200)
	})
}

// A refresh that races an end loses: after both, nothing of the
// family is good.
func TestRefreshRaces(t *testing.T) {
	ends := map[string]func(b *bench, refresh string) error{
		"revoke": func(b *bench, refresh string) error {
			want(b.t, b.form("/revoke", []string{"token", refresh}, basic("demo-client", "demo-secret")), 200)
			return nil
		},
		"disable user": func(b *bench, _ string) error {
			return b.directory.SetUserDisabled(context.Background(), "test", "", "demo@example.com", true)
		},
		"disable client": func(b *bench, _ string) error {
			return b.directory.SetClientDisabled(context.Background(), "test", "", "demo-client", true)
		},
		"spent": func(b *bench, _ string) error { return nil },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for range 20 {
					b := seeded(t, "oauth2", slow(), nil)
					login := b.password()
					zero := login.text("refresh_token")
					first := b.refreshWith(zero).text("refresh_token")
					second := b.refreshWith(first).text("refresh_token")
					answers := make([]answer, 8)
					together(9, func(i int) {
						switch {
						case i == 8 && name == "spent":
							b.refreshWith(zero)
						case i == 8:
							if err := end(b, second); err != nil {
								t.Error(err)
							}
						default:
							answers[i] = b.refreshWith(second)
						}
					})
					for _, a := range append(answers, login) {
						if a.status == 200 && b.good(a.text("access_token")) {
							t.Fatal("an access token outlived the end of its family")
						}
						if a.status == 200 && b.refreshWith(a.text("refresh_token")).status == 200 {
							t.Fatal("a refresh token outlived the end of its family")
						}
					}
				}
			})
		})
	}
}

// A user who is disabled and enabled again logs in again: nothing old revives.
func TestEnableRevivesNothing(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	login := b.password()
	for _, disabled := range []bool{true, false} {
		if err := b.directory.SetUserDisabled(t.Context(), "test", "", "demo@example.com", disabled); err != nil {
			t.Fatal(err)
		}
		want(t, b.refreshWith(login.text("refresh_token")), 400, jeton.InvalidGrant)
		if b.good(login.text("access_token")) {
			t.Errorf("disabled %v: the access token is good", disabled)
		}
	}
	want(t, b.password(), 200)
}

// Refresh tokens expire, each a lifetime after it was made, and go then.
func TestRefreshExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "oauth2", nil, func(c *Config) { c.Lifetime, c.RefreshLifetime = 5*time.Minute, time.Hour })
		token := b.password().text("refresh_token")
		time.Sleep(54 * time.Minute)
		token = b.refreshWith(token).text("refresh_token")
		time.Sleep(54 * time.Minute)
		if n, err := b.Sweep(t.Context()); n != 0 || err != nil {
			t.Fatalf("swept %d living families, %v", n, err)
		}
		a := b.refreshWith(token)
		want(t, a, 200)
		time.Sleep(time.Hour)
		want(t, b.refreshWith(a.text("refresh_token")), 400, jeton.InvalidGrant)
		if n, err := b.Sweep(t.Context()); n != 1 || err != nil {
			t.Fatalf("swept %d dead families, %v", n, err)
		}
	})
}

// The refresh tokens of before and after expiry, in virtual time: an expired
// access token is worn in vain and answered 403, as the vendor documents.
func TestRefreshAfterExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "web1on1", nil, nil)
		login := b.login()
		time.Sleep(24*time.Hour - time.Second)
		if !b.good(login.text("token")) {
			t.Fatal("the token expired early")
		}
		time.Sleep(time.Second)
		if b.good(login.text("token")) {
			t.Fatal("the token did not expire")
		}
		want(t, b.getRefresh(login.text("token"), login.text("refreshToken")), 403, jeton.InvalidToken)
		want(t, b.postRefresh(login.text("refreshToken"), "admin@example.org"), 200)
	})
}
