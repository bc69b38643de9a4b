package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

const base = "http://127.0.0.1:8080"

func TestSignIn(t *testing.T) {
	b := open(t, base)
	w := b.browser()
	link := b.link()
	if !strings.HasPrefix(link, base+"/console/sign-in?link=") {
		t.Fatalf("the link does not begin with the console's URL")
	}
	u, _ := url.Parse(link)
	for range 3 { // a chat program looks at the link
		want(t, w.get(u.RequestURI()), http.StatusOK, "Sign in")
		want(t, w.send(http.MethodHead, u.RequestURI(), nil), http.StatusOK)
	}
	want(t, w.get("/console/"), http.StatusUnauthorized, "jeton console link")

	r := w.signIn(link)
	want(t, r, http.StatusSeeOther)
	if r.header.Get("Location") != "/console/" {
		t.Errorf("goes on to %q", r.header.Get("Location"))
	}
	if c := r.cookie; c == nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/console/" || c.Secure || c.MaxAge != 12*3600 {
		t.Errorf("cookie %v", c)
	}
	want(t, w.get("/console/"), http.StatusOK, "alvys", "web1on1")

	stranger := b.browser()
	want(t, stranger.signIn(link), http.StatusForbidden, "used already")
	want(t, stranger.get("/console/"), http.StatusUnauthorized)
	for _, guess := range []string{"", "x", strings.Repeat("A", 43), "../session/x", strings.Repeat("é", 100)} {
		want(t, stranger.signIn("/?link="+url.QueryEscape(guess)), http.StatusForbidden)
	}
	// A session's token is no link, and a link's is no session.
	want(t, stranger.signIn("/?link="+w.cookie), http.StatusForbidden)
	second, _ := url.Parse(b.link())
	stranger.cookie = second.Query().Get("link")
	want(t, stranger.get("/console/"), http.StatusUnauthorized)

	var outcomes []string
	for _, e := range b.entries("session.create") {
		outcomes = append(outcomes, e.Outcome)
		if e.Actor != "console" || e.IP != "192.0.2.7" {
			t.Errorf("entry %+v", e)
		}
	}
	if n := len(outcomes); n != 8 || outcomes[n-1] != "ok" || strings.Count(strings.Join(outcomes, " "), "invalid_grant") != 7 {
		t.Errorf("outcomes %v", outcomes)
	}
	if len(b.entries("link.create")) != 2 {
		t.Errorf("links made: %v", b.entries("link.create"))
	}
}

// TestSecureCookie: behind https the cookie never travels in the clear.
func TestSecureCookie(t *testing.T) {
	c, err := New(Config{Store: store.NewMemory(), Audit: audit.NewMemory(), URL: "https://admin.example.com/jeton"})
	if err != nil {
		t.Fatal(err)
	}
	link, err := c.NewLink(t.Context())
	if err != nil || !strings.HasPrefix(link, "https://admin.example.com/jeton/sign-in?") {
		t.Fatalf("a link at another place than the console; %v", err)
	}
	u, _ := url.Parse(link)
	w := &browser{t: t, h: c, host: "admin.example.com"}
	r := w.send(http.MethodPost, "/jeton/sign-in", u.Query())
	want(t, r, http.StatusSeeOther)
	if !r.cookie.Secure || r.cookie.Path != "/jeton/" {
		t.Errorf("cookie %v", r.cookie)
	}
	r = w.get("/jeton")
	want(t, r, http.StatusSeeOther)
	if r.header.Get("Location") != "/jeton/" {
		t.Errorf("to %s", r.header.Get("Location"))
	}
	want(t, w.get("/jeton/"), http.StatusOK, "There are no realms")
}

// TestLinkOfAnotherProcess: `console link` runs beside the server, over the
// same store.
func TestLinkOfAnotherProcess(t *testing.T) {
	b := open(t, base)
	other, err := New(Config{Store: b.memory, Audit: b.log, URL: base + "/console"})
	if err != nil {
		t.Fatal(err)
	}
	link, err := other.NewLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := b.browser()
	want(t, w.signIn(link), http.StatusSeeOther)
	want(t, w.get("/console/"), http.StatusOK)
}

func TestLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, base)
		late := b.link()
		time.Sleep(time.Hour)
		w := b.browser()
		want(t, w.signIn(late), http.StatusForbidden)

		link := b.link()
		time.Sleep(time.Hour - time.Second)
		want(t, w.signIn(link), http.StatusSeeOther)
		for range 12 { // visits do not lengthen a session
			want(t, w.get("/console/"), http.StatusOK)
			time.Sleep(time.Hour - time.Second)
		}
		want(t, w.get("/console/"), http.StatusOK)
		time.Sleep(12 * time.Second)
		want(t, w.get("/console/"), http.StatusUnauthorized)

		b.link() // sweeps
		records, err := b.memory.List(t.Context(), "console/", "", 100)
		if err != nil || len(records) != 1 {
			t.Errorf("%d records are left, want the new link; %v", len(records), err)
		}
	})
}

// TestOneLinkManyBrowsers: of many who press the button at once, one gets in.
func TestOneLinkManyBrowsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := storetest.Slow(store.NewMemory(), func() time.Duration { return time.Millisecond })
		c, err := New(Config{Store: slow, Audit: audit.NewMemory(), URL: base + "/console/"})
		if err != nil {
			t.Fatal(err)
		}
		link, err := c.NewLink(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var in atomic.Int32
		var wait sync.WaitGroup
		for range 32 {
			wait.Go(func() {
				w := &browser{t: t, h: c, host: "localhost"}
				if w.signIn(link).status == http.StatusSeeOther {
					in.Add(1)
				}
			})
		}
		wait.Wait()
		if in.Load() != 1 {
			t.Errorf("%d browsers signed in with one link", in.Load())
		}
	})
}

// TestSessionFixation: a cookie that somebody planted does not become the
// session, and the session from before ends.
func TestSessionFixation(t *testing.T) {
	b := open(t, base)
	w := b.browser()
	planted := strings.Repeat("A", 43)
	w.cookie = planted
	want(t, w.signIn(b.link()), http.StatusSeeOther)
	if w.cookie == planted {
		t.Error("the planted token became the session")
	}
	before := *w
	want(t, w.signIn(b.link()), http.StatusSeeOther)
	want(t, w.get("/console/"), http.StatusOK)
	want(t, before.get("/console/"), http.StatusUnauthorized)

	// A second cookie of the name, planted by a sibling domain, does not win.
	want(t, w.get("/console/", func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: planted})
	}), http.StatusUnauthorized)
}

func TestSignOut(t *testing.T) {
	b := open(t, base)
	w := b.signedIn()
	kept := *w
	want(t, w.get("/console/sign-out"), http.StatusMethodNotAllowed)
	r := w.send(http.MethodPost, "/console/sign-out", url.Values{"csrf": {w.csrf}})
	want(t, r, http.StatusOK, "Signed out")
	if r.cookie == nil || r.cookie.MaxAge >= 0 {
		t.Errorf("the cookie stays: %v", r.cookie)
	}
	want(t, kept.get("/console/"), http.StatusUnauthorized)
}

func TestForgedForms(t *testing.T) {
	b := open(t, base)
	w, other := b.signedIn(), b.signedIn()
	const path = "/console/realms/oauth2/applications/new"
	forms := map[string]struct {
		path  string
		csrf  string
		tweak tweak
	}{
		"from another site":         {path, w.csrf, header("Sec-Fetch-Site", "cross-site")},
		"from another port":         {path, w.csrf, header("Sec-Fetch-Site", "same-site")},
		"by an old browser":         {path, w.csrf, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "http://evil.example") }},
		"from an opaque origin":     {path, w.csrf, func(r *http.Request) { r.Header.Del("Sec-Fetch-Site"); r.Header.Set("Origin", "null") }},
		"without the token":         {path, "", header("X", "")},
		"with an empty token":       {path, " ", header("X", "")},
		"with another one's token":  {path, other.csrf, header("X", "")},
		"with the token in the URL": {path + "?csrf=" + w.csrf, "", header("X", "")},
		"as plain text":             {path, w.csrf, header("Content-Type", "text/plain")},
		"as JSON":                   {path, w.csrf, header("Content-Type", "application/json")},
		"with a multipart body":     {path, w.csrf, header("Content-Type", "multipart/form-data; boundary=x")},
	}
	for name, f := range forms {
		form := url.Values{"name": {"forged"}}
		if f.csrf != "" {
			form.Set("csrf", f.csrf)
		}
		if r := w.send(http.MethodPost, f.path, form, f.tweak); r.status != http.StatusForbidden {
			t.Errorf("%s: status %d", name, r.status)
		}
	}
	if list, err := b.realms["oauth2"].Directory().Clients(t.Context(), "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("forged forms made %v, %v", list, err)
	}
	// The same form without what is forged about it goes through: also behind
	// a proxy that changes the Host header, and from a program.
	for _, change := range []tweak{
		header("Sec-Fetch-Site", "same-origin"),
		func(r *http.Request) {
			r.Host = "localhost:9"
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", base)
		},
		func(r *http.Request) { r.Header.Del("Sec-Fetch-Site") },
	} {
		want(t, w.send(http.MethodPost, path, url.Values{"csrf": {w.csrf}, "name": {"genuine"}}, change), http.StatusOK)
	}
	// Signing in is held to the same rule.
	u, _ := url.Parse(b.link())
	want(t, b.browser().send(http.MethodPost, "/console/sign-in", u.Query(), header("Sec-Fetch-Site", "cross-site")), http.StatusForbidden)
}

// TestOtherHost: a page of evil.example that makes its name resolve to this
// machine reads nothing.
func TestOtherHost(t *testing.T) {
	b := open(t, base)
	w := b.signedIn()
	for host, status := range map[string]int{
		"evil.example": 421, "evil.example:8080": 421, "127.0.0.1.evil.example": 421, "localhost.evil.example": 421,
		"": 421, "192.0.2.1": 421, "[2001:db8::1]:8080": 421, "0.0.0.0:8080": 421,
		"127.0.0.1:8080": 200, "127.8.9.1": 200, "localhost:9999": 200, "LOCALHOST": 200, "[::1]:8080": 200,
	} {
		if r := w.get("/console/", func(r *http.Request) { r.Host = host }); r.status != status {
			t.Errorf("host %q: status %d, want %d", host, r.status, status)
		}
	}
}

func TestHeaders(t *testing.T) {
	b := open(t, base)
	w := b.signedIn()
	for path, status := range map[string]int{
		"/console/": 200, "/console/style.css": 200, "/console/icon.svg": 200, "/console/sign-in": 200,
		"/console/nothing": 404, "/elsewhere": 404, "/console/sign-out": 405, "/console/audit": 200,
		"/console/realms/oauth2/applications/new": 200,
	} {
		for _, visitor := range []*browser{w, b.browser()} {
			r := visitor.get(path)
			if visitor == w && r.status != status {
				t.Errorf("%s: status %d, want %d", path, r.status, status)
			}
			for name, value := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
				"Cache-Control":           "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
				"Cross-Origin-Opener-Policy": "same-origin",
			} {
				if r.header.Get(name) != value {
					t.Errorf("%s: %s: %q", path, name, r.header.Get(name))
				}
			}
			if r.header.Get("Content-Type") == "" {
				t.Errorf("%s has no content type", path)
			}
		}
	}
}

// TestFaults: what cannot be written down is not done, and a store that is down
// is not taken for a session that has ended.
func TestFaults(t *testing.T) {
	b := open(t, base)
	w, link := b.signedIn(), b.link()
	const path = "/console/realms/oauth2/applications/new"
	form := url.Values{"csrf": {w.csrf}, "name": {"not written down"}}

	b.log.broken = true
	want(t, b.browser().signIn(link), http.StatusServiceUnavailable)
	want(t, w.send(http.MethodPost, path, form), http.StatusServiceUnavailable)
	if _, err := b.NewLink(t.Context()); err == nil {
		t.Error("a link was made that the audit log does not know")
	}
	b.log.broken = false
	if list, _ := b.realms["oauth2"].Directory().Clients(t.Context(), "", "", 10); len(list) != 0 {
		t.Errorf("made %v", list)
	}

	b.faults.Set(storetest.Down)
	want(t, w.get("/console/"), http.StatusServiceUnavailable)
	want(t, b.browser().signIn(link), http.StatusServiceUnavailable)
	b.faults.Set(storetest.Healthy)
	want(t, w.get("/console/"), http.StatusOK)

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	lines := b.lines.String()
	w.get("/console/", func(r *http.Request) { *r = *r.WithContext(gone) })
	if b.lines.String() != lines {
		t.Error("a browser that went away is logged as a fault")
	}
	if strings.Count(lines, "console page not made") != 4 {
		t.Errorf("each fault is to be logged once:\n%s", lines)
	}
}

// TestEndsWhatWasSealedAnew: a record that is written again as it was, right
// before it is deleted, is deleted: a link is good for its one sign-in, and who
// signs out is out.
func TestEndsWhatWasSealedAnew(t *testing.T) {
	b := open(t, base)
	rewrite := func() {
		b.faults.Decide(func(op, key string) storetest.Fault {
			if op == "delete" && strings.HasPrefix(key, "console/") {
				b.faults.Set(storetest.Healthy)
				r, err := b.memory.Get(t.Context(), key)
				if err == nil {
					_, err = b.memory.Put(t.Context(), r)
				}
				if err != nil {
					t.Error(err)
				}
			}
			return storetest.Healthy
		})
	}
	link := b.link()
	rewrite()
	w := b.browser()
	want(t, w.signIn(link), http.StatusSeeOther)
	want(t, b.browser().signIn(link), http.StatusForbidden)

	w = b.signedIn()
	kept := *w
	rewrite()
	want(t, w.send(http.MethodPost, "/console/sign-out", url.Values{"csrf": {w.csrf}}), http.StatusOK, "Signed out")
	want(t, kept.get("/console/"), http.StatusUnauthorized)
}
