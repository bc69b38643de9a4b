package issuer

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

func (b *bench) iadvize(user, password string, tweaks ...tweak) answer {
	b.t.Helper()
	return b.form("/oauth2/token", []string{"grant_type", "password", "username", user, "password", password}, tweaks...)
}

func retryAfter(t *testing.T, a answer) time.Duration {
	t.Helper()
	want(t, a, http.StatusTooManyRequests)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Fatalf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second
}

// Ten logins a minute for a user; the block ends by itself, and sooner for
// those who wait than for those who hammer on.
func TestLimitUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "iadvize", nil, nil)
		for range 10 {
			want(t, b.login(), 200)
		}
		wait := retryAfter(t, b.login())
		if wait > time.Minute {
			t.Errorf("the first block is %v", wait)
		}
		time.Sleep(wait)
		want(t, b.login(), 200)
		for range 9 {
			b.login()
		}
		short := retryAfter(t, b.login())
		var long time.Duration
		for range 5 {
			long = retryAfter(t, b.login())
		}
		if long <= short {
			t.Errorf("hammering did not lengthen the block: %v, then %v", short, long)
		}
		time.Sleep(long)
		want(t, b.login(), 200)
	})
}

// Over the limit the answer is the same for a right and a wrong password, for a
// user who is there and one who is not.
func TestLimitTellsNothing(t *testing.T) {
	b := seeded(t, "iadvize", nil, nil)
	for _, user := range []string{"demo@example.com", "nobody@example.com"} {
		for range 10 {
			want(t, b.iadvize(user, "wrong"), 400, jeton.InvalidGrant)
		}
	}
	right, wrong, nobody := b.login(), b.iadvize("demo@example.com", "wrong"), b.iadvize("nobody@example.com", "wrong")
	for _, a := range []answer{right, wrong, nobody} {
		want(t, a, 429)
		if a.raw != right.raw {
			t.Errorf("the answers differ: %s and %s", a.raw, right.raw)
		}
	}
	if log := b.entries("login"); log[0].Outcome != string(jeton.SlowDown) {
		t.Errorf("a blocked login is in the audit log as %q", log[0].Outcome)
	}
}

// However the name is typed, it is one budget.
func TestLimitFoldsNames(t *testing.T) {
	b := seeded(t, "iadvize", nil, nil)
	spellings := []string{"demo@example.com", "DEMO@example.com", " demo@Example.com ", "ｄｅｍｏ@example.com"}
	for i := range 10 {
		want(t, b.iadvize(spellings[i%len(spellings)], "wrong"), 400)
	}
	for _, spelling := range spellings {
		want(t, b.iadvize(spelling, "demo-password"), 429)
	}
	want(t, b.iadvize("another@example.com", "wrong"), 400)
}

// A stranger's wrong passwords do not lock a user out, and the vendor's ten
// logins a minute hold over all addresses all the same.
func TestLimitStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "iadvize", nil, nil)
		for i := range 50 {
			b.iadvize("demo@example.com", "wrong", from(fmt.Sprintf("198.51.100.%d", i%4)))
		}
		for i := range 10 {
			want(t, b.login(from(fmt.Sprintf("203.0.113.%d", i))), 200)
		}
		retryAfter(t, b.login(from("203.0.113.99")))
		retryAfter(t, b.iadvize("demo@example.com", "wrong", from("203.0.113.98")))
		time.Sleep(time.Minute)
		want(t, b.login(from("203.0.113.99")), 200)
	})
}

// A hundred logins a minute for an address, whoever they are for.
func TestLimitAddress(t *testing.T) {
	b := seeded(t, "iadvize", nil, nil)
	for i := range 100 {
		want(t, b.iadvize(fmt.Sprintf("user%d@example.com", i), "x"), 400)
	}
	want(t, b.login(), 429)
	want(t, b.login(from("198.51.100.7")), 200)
}

// Guesses at the same time are counted one by one.
func TestLimitParallelGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := seeded(t, "iadvize", slow(), nil)
		var tried atomic.Int32
		together(1000, func(int) {
			if b.iadvize("demo@example.com", "wrong").status != 429 {
				tried.Add(1)
			}
		})
		if tried.Load() != 10 {
			t.Errorf("%d of 1000 parallel guesses were looked at, want 10", tried.Load())
		}
	})
}

// A flood of wrong passwords does not stop the holder of a refresh token.
func TestLimitSparesRefresh(t *testing.T) {
	b := seeded(t, "oauth2", nil, func(c *Config) {
		c.Rate = map[string]dialect.Rate{"username": {Count: 3, Per: time.Minute}, "client_id": {Count: 3, Per: time.Minute}, "ip": {Count: 5, Per: time.Minute}}
	})
	token := b.password().text("refresh_token")
	for range 20 {
		b.form("/token", []string{"grant_type", "password", "username", "demo@example.com", "password", "wrong"}, basic("demo-client", "demo-secret"))
	}
	want(t, b.password(), 429)
	want(t, b.refreshWith(token), 200)

	w := seeded(t, "web1on1", nil, func(c *Config) {
		c.Rate = map[string]dialect.Rate{"username": {Count: 3, Per: time.Minute}, "ip": {Count: 5, Per: time.Minute}}
	})
	login := w.login()
	for range 20 {
		w.loginWith("wrong")
		w.postRefresh("wrong", "admin@example.org")
	}
	want(t, w.login(), 429)
	want(t, w.postRefresh("wrong", "admin@example.org"), 429)
	want(t, w.postRefresh(login.text("refreshToken"), "admin@example.org"), 200)
}

// Every route that checks a password is limited.
func TestLimitEveryRoute(t *testing.T) {
	b := seeded(t, "iadvize", nil, nil)
	for _, path := range []string{"/introspect", "/revoke"} {
		for range 10 {
			b.form(path, []string{"token", "x"}, basic("demo@example.com", "wrong"))
		}
		want(t, b.form(path, []string{"token", "x"}, basic("demo@example.com", "demo-password")), 429)
	}
	want(t, b.login(), 200)
}

func TestClientIP(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"198.51.100.1:1", nil, "198.51.100.1"},
		{"198.51.100.1:1", []string{"203.0.113.1"}, "198.51.100.1"}, // the peer is no proxy
		{"10.0.0.1:1", nil, "10.0.0.1"},
		{"10.0.0.1:1", []string{"203.0.113.1"}, "203.0.113.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, 203.0.113.1"}, "203.0.113.1"}, // the client wrote the first
		{"10.0.0.1:1", []string{"6.6.6.6, 203.0.113.1, 10.0.0.2"}, "203.0.113.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, 203.0.113.1", "10.0.0.2"}, "203.0.113.1"},
		{"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1:1", []string{"6.6.6.6, unknown"}, "10.0.0.1"},
		{"10.0.0.1:1", []string{"6.6.6.6, , 10.0.0.2"}, "10.0.0.2"},
		{"10.0.0.1:1", []string{"203.0.113.1:5555"}, "203.0.113.1"},
		{"[fd00::1]:1", []string{"2001:db8::5"}, "2001:db8::5"},
		{"[fd00::1]:1", []string{"[2001:db8::5]:443"}, "2001:db8::5"},
		{"[::ffff:10.0.0.1]:1", []string{"::ffff:203.0.113.1"}, "203.0.113.1"},
		{"@", nil, "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header["X-Forwarded-For"] = c.forwarded
		if got := clientIP(r, trusted).String(); got != c.want {
			t.Errorf("from %s, forwarded for %q: %s, want %s", c.peer, c.forwarded, got, c.want)
		}
	}
	for ip, want := range map[string]string{
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::ffff": "2001:db8:1:2::/64", "203.0.113.1": "203.0.113.1",
	} {
		if got := network(netip.MustParseAddr(ip)); got != want {
			t.Errorf("network of %s is %s, want %s", ip, got, want)
		}
	}
}

// Where the rate says nothing of users, wrong passwords are bounded all the
// same, for who guesses.
func TestLimitGuessesWithoutRate(t *testing.T) {
	b := seeded(t, "web1on1", nil, nil)
	guess := func(tweaks ...tweak) answer {
		return b.json("/v2/auth/token", `{"email":"admin@example.org","password":"guess"}`, tweaks...)
	}
	for range guessRate.Count {
		want(t, guess(), 400)
	}
	retryAfter(t, guess())
	retryAfter(t, b.login())
	want(t, guess(from("198.51.100.7")), 400)
	want(t, b.login(from("198.51.100.7")), 200)
}

// So are wrong client secrets, at whatever route a client authenticates, each
// route for itself; and no flood of them stops who has a good refresh token.
func TestLimitGuessesAtEveryRoute(t *testing.T) {
	b := seeded(t, "oauth2", nil, nil)
	token := b.password().text("refresh_token")
	wrong := basic("demo-client", "guess")
	refresh := []string{"grant_type", "refresh_token", "refresh_token", "none"}
	for _, c := range []struct {
		path  string
		pairs []string
		good  int // what the right secret gives as long as nobody guesses
	}{
		{"/introspect", []string{"token", "x"}, 200},
		{"/token", refresh, 400},
	} {
		for range guessRate.Count {
			want(t, b.form(c.path, c.pairs, wrong), 401, jeton.InvalidClient)
		}
		retryAfter(t, b.form(c.path, c.pairs, wrong))
		retryAfter(t, b.form(c.path, c.pairs, demo))
		want(t, b.form(c.path, c.pairs, demo, from("198.51.100.7")), c.good)
	}
	want(t, b.login(), 200)
	next := b.refreshWith(token)
	want(t, next, 200)

	refresh[3] = next.text("refresh_token")
	for range guessRate.Count {
		want(t, b.form("/token", refresh, wrong), 401, jeton.InvalidClient)
	}
	retryAfter(t, b.form("/token", refresh, wrong))
	want(t, b.login(), 200)
}

// Wrong passwords for ever other names cost a hash each; one network has a
// bound on them, and others do not feel it.
func TestLimitGuessesOfANetwork(t *testing.T) {
	b := seeded(t, "web1on1", nil, nil)
	guess := func(name string, tweaks ...tweak) answer {
		return b.json("/v2/auth/token", `{"email":"`+name+`","password":"guess"}`, tweaks...)
	}
	for i := range networkGuessRate.Count {
		if a := guess(fmt.Sprint(i)); a.status != 400 {
			t.Fatalf("guess %d: %d", i, a.status)
		}
	}
	retryAfter(t, guess("one more"))
	want(t, guess("one more", from("198.51.100.7")), 400)
	want(t, b.login(from("198.51.100.7")), 200)
}
