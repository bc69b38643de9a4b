package console

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/directory"
)

const (
	acme   = "/console/realms/alvys/applications?tenant=acme"
	create = "/console/realms/alvys/applications/new?tenant=acme"
)

// TestApplication takes one through its whole life.
func TestApplication(t *testing.T) {
	b := open(t, base)
	w, d := b.signedIn(), b.realms["alvys"].Directory()
	good := func(id, secret string) bool {
		t.Helper()
		_, err := d.AuthenticateClient(t.Context(), "acme", id, jeton.NewSecret(secret))
		if err != nil && !errors.Is(err, jeton.InvalidClient) {
			t.Fatal(err)
		}
		return err == nil
	}
	want(t, w.get(acme), http.StatusOK, "There is no application yet.")
	first, curl := w.post(create, "name", "night import", "scope", "loads:read loads:write").secret(t)
	list, err := d.Clients(t.Context(), "acme", "", 10)
	if err != nil || len(list) != 1 || list[0].Name != "night import" || list[0].Scope.String() != "loads:read loads:write" {
		t.Fatalf("made %+v, %v", list, err)
	}
	id := list[0].ID
	if !good(id, first) || !strings.Contains(curl, base+"/alvys/api/authentication/acme/token") {
		t.Fatalf("the secret is wrong, or the command: %s", curl)
	}
	page := w.get(acme)
	want(t, page, http.StatusOK, "night import", id, "loads:read loads:write", "enabled")
	if strings.Contains(page.body, "end-old") || strings.Contains(page.body, "applications/enable") {
		t.Error("the list offers what cannot be done")
	}

	rotate := page.follow(t, "/rotate?")
	old := w.get(rotate) // a page that is open in another tab
	csrf := w.csrf
	second, _ := w.post(rotate).secret(t)
	if second == first || !good(id, first) || !good(id, second) {
		t.Error("after a rotation both secrets are to be good")
	}
	// Loading the page with the secret again does not rotate again.
	latest := hidden.FindAllStringSubmatch(old.body, -1)
	form := url.Values{"csrf": {csrf}}
	for _, m := range latest {
		form.Set(m[1], html.UnescapeString(m[2]))
	}
	want(t, w.send(http.MethodPost, rotate, form), http.StatusUnprocessableEntity, "nothing was done")
	if !good(id, first) || !good(id, second) {
		t.Error("a page that was loaded again ended a secret")
	}
	want(t, w.get(rotate), http.StatusOK, "the older one stops working at once")

	page = w.get(acme)
	endOld := page.follow(t, "/end-old?")
	want(t, w.post(endOld), http.StatusSeeOther)
	if good(id, first) || !good(id, second) {
		t.Error("ending the old secret ended the wrong one")
	}
	want(t, w.get(endOld), http.StatusSeeOther) // there is none any more

	want(t, w.post(page.follow(t, "/disable?")), http.StatusSeeOther)
	page = w.get(acme)
	want(t, page, http.StatusOK, "disabled")
	if good(id, second) {
		t.Error("a disabled application logs in")
	}
	want(t, w.post(page.follow(t, "/enable?")), http.StatusSeeOther)
	if !good(id, second) {
		t.Error("an enabled application does not log in")
	}
	want(t, w.post(page.follow(t, "/remove?")), http.StatusSeeOther)
	want(t, w.get(acme), http.StatusOK, "There is no application yet.")
	want(t, w.get(page.follow(t, "/remove?")), http.StatusNotFound)

	var actions []string
	for _, e := range b.entries("") {
		if e.Realm == "alvys" && e.Actor == "console" {
			actions = append(actions, e.Action)
		}
	}
	if len(actions) != 6 {
		t.Errorf("audited %v", actions)
	}
}

// TestNothingByGet: a link changes nothing; it asks.
func TestNothingByGet(t *testing.T) {
	b := open(t, base)
	w, d := b.signedIn(), b.realms["alvys"].Directory()
	w.post(create, "name", "app").secret(t)
	before, _ := d.Clients(t.Context(), "acme", "", 10)
	for _, operation := range []string{"rotate", "disable", "remove"} {
		path := w.get(acme).follow(t, "/"+operation+"?")
		want(t, w.get(path), http.StatusOK, "app")
		want(t, w.send(http.MethodDelete, path, nil, header("Sec-Fetch-Site", "same-origin")), http.StatusMethodNotAllowed)
	}
	after, _ := d.Clients(t.Context(), "acme", "", 10)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("was %v, is %v", before, after)
	}
}

func TestOtherTenant(t *testing.T) {
	b := open(t, base)
	w := b.signedIn()
	w.post(create, "name", "of acme").secret(t)
	page := w.get(acme)
	remove := page.follow(t, "/remove?")
	want(t, w.get(strings.Replace(remove, "tenant=acme", "tenant=globex", 1)), http.StatusNotFound)
	form := url.Values{"csrf": {w.csrf}}
	want(t, w.send(http.MethodPost, strings.Replace(remove, "tenant=acme", "tenant=globex", 1), form), http.StatusNotFound)
	if strings.Contains(w.get("/console/realms/alvys/applications?tenant=globex").body, "of acme") {
		t.Error("one tenant's list shows another's application")
	}
	for _, tenant := range []string{"", "nobody", "../acme", strings.Repeat("x", 300)} {
		want(t, w.get("/console/realms/alvys/users?tenant="+url.QueryEscape(tenant)), http.StatusNotFound)
	}
	want(t, w.get(acme), http.StatusOK, "of acme")
}

func TestTenant(t *testing.T) {
	b := open(t, base)
	w, d := b.signedIn(), b.realms["alvys"].Directory()
	r := w.get("/console/realms/alvys")
	want(t, r, http.StatusSeeOther)
	const list = "/console/realms/alvys/tenants"
	if r.header.Get("Location") != list {
		t.Errorf("to %s", r.header.Get("Location"))
	}
	want(t, w.post(list+"/new", "id", "initech", "name", "Initech & Co"), http.StatusSeeOther)
	page := w.get(list)
	want(t, page, http.StatusOK, "Initech & Co", "globex")
	want(t, w.get(page.follow(t, "applications?tenant=initech")), http.StatusOK)
	want(t, w.post(page.follow(t, "/disable?id=initech")), http.StatusSeeOther)
	if tenant, err := d.Tenant(t.Context(), "initech"); err != nil || !tenant.Disabled {
		t.Errorf("%+v, %v", tenant, err)
	}
	want(t, w.post(list+"/enable?id=initech"), http.StatusSeeOther)
	want(t, w.post(list+"/remove?id=initech"), http.StatusSeeOther)
	want(t, w.get(list+"/remove?id=initech"), http.StatusNotFound)
	want(t, w.post(list+"/new", "id", "acme"), http.StatusUnprocessableEntity, "already", "acme")
	// A realm without tenants has no such page.
	want(t, w.get("/console/realms/iadvize/tenants"), http.StatusNotFound)
}

func TestUser(t *testing.T) {
	b := open(t, base)
	w, d := b.signedIn(), b.realms["web1on1"].Directory()
	const list = "/console/realms/web1on1/users"
	good := func(name, password string) bool {
		t.Helper()
		_, err := d.AuthenticateUser(t.Context(), "", name, jeton.NewSecret(password))
		if err != nil && !errors.Is(err, jeton.InvalidGrant) {
			t.Fatal(err)
		}
		return err == nil
	}
	made, curl := w.post(list+"/new", "name", "Ann@Example.org", "scope", "agent").secret(t)
	if !good("ann@example.org", made) || !strings.Contains(curl, made) || len(made) < 22 {
		t.Errorf("the made password is not good, or not in the command: %s", curl)
	}
	r := w.post(list+"/new", "name", "bob@example.org", "scope", "admin", "password", "typed by hand", "again", "typed by hand")
	want(t, r, http.StatusOK, "bob@example.org", "PASSWORD")
	if strings.Contains(r.body, "typed by hand") || !good("bob@example.org", "typed by hand") {
		t.Error("a typed password is shown, or not good")
	}
	if u, err := d.User(t.Context(), "", "bob@example.org"); err != nil || u.Scope.String() != "admin" {
		t.Errorf("%+v, %v", u, err)
	}
	page := w.get(list)
	want(t, page, http.StatusOK, "Ann@Example.org", "bob@example.org")
	set := page.follow(t, "/password?", "Ann")
	next, _ := w.post(set).secret(t)
	if good("ann@example.org", made) || !good("ann@example.org", next) {
		t.Error("the new password is not the password")
	}
	want(t, w.post(set, "password", "a", "again", "b"), http.StatusUnprocessableEntity, "differ")
	want(t, w.post(page.follow(t, "/disable?", "Ann")), http.StatusSeeOther)
	if good("ann@example.org", next) {
		t.Error("a disabled user logs in")
	}
	want(t, w.post(w.get(list).follow(t, "/enable?", "Ann")), http.StatusSeeOther)
	if !good("ann@example.org", next) {
		t.Error("an enabled user does not log in")
	}
	want(t, w.post(page.follow(t, "/remove?", "Ann")), http.StatusSeeOther)
	if good("ann@example.org", next) {
		t.Error("a removed user logs in")
	}
}

func TestAPIKey(t *testing.T) {
	b := open(t, base)
	w, d := b.signedIn(), b.realms["web1on1"].Directory()
	const list = "/console/realms/web1on1/keys"
	good := func(value string) bool {
		t.Helper()
		_, err := d.AuthenticateAPIKey(t.Context(), "", jeton.NewSecret(value))
		if err != nil && !errors.Is(err, jeton.InvalidToken) {
			t.Fatal(err)
		}
		return err == nil
	}
	form := w.get(list + "/new")
	for _, scope := range []string{"guest", "agent", "bot", "admin"} {
		if !strings.Contains(form.body, `type="checkbox" name="scope" value="`+scope+`"`) {
			t.Errorf("no box for %s", scope)
		}
	}
	want(t, w.post("/console/realms/web1on1/users/new", "name", "ann", "scope", "admin"), http.StatusOK)
	first, curl := w.post(list+"/new", "name", "export", "owner", "ANN", "scope", "agent", "scope", "bot").secret(t)
	if !good(first) || !strings.Contains(curl, "/web1on1/v2/") || !strings.Contains(curl, "Authorization: Bearer "+first) {
		t.Errorf("the key is not good, or the command: %s", curl)
	}
	page := w.get(list)
	want(t, page, http.StatusOK, "export", "ann", "agent bot")
	second, _ := w.post(page.follow(t, "/rotate?")).secret(t)
	if !good(first) || !good(second) {
		t.Error("after a rotation both values are to be good")
	}
	want(t, w.post(w.get(list).follow(t, "/end-old?")), http.StatusSeeOther)
	if good(first) || !good(second) {
		t.Error("ending the old value ended the wrong one")
	}
	want(t, w.post(page.follow(t, "/disable?")), http.StatusSeeOther)
	if good(second) {
		t.Error("a disabled key is good")
	}
	want(t, w.post(w.get(list).follow(t, "/enable?")), http.StatusSeeOther)
	if !good(second) {
		t.Error("an enabled key is not good")
	}
	want(t, w.post(page.follow(t, "/remove?")), http.StatusSeeOther)
	if good(second) {
		t.Error("a removed key is good")
	}
	want(t, w.post(list+"/new", "name", "none"), http.StatusUnprocessableEntity, "at least one scope")
	want(t, w.post("/console/realms/altrata/keys/new", "name", "x"), http.StatusUnprocessableEntity, "owner is missing")
}

// TestErrorsKeepWhatWasTyped, but for passwords.
func TestErrorsKeepWhatWasTyped(t *testing.T) {
	b := open(t, base)
	w := b.signedIn()
	const typed = `carol "the admin" <c@example.org>`
	r := w.post("/console/realms/web1on1/users/new", "name", typed, "scope", "bot", "password", "one-secret", "again", "another-secret")
	want(t, r, http.StatusUnprocessableEntity, "The two passwords differ", typed)
	if !strings.Contains(r.body, `role="alert"`) || !strings.Contains(r.body, `value="bot" checked`) {
		t.Errorf("the problem is not told, or the boxes are empty:\n%s", r.body)
	}
	if strings.Contains(r.body, "one-secret") || strings.Contains(r.body, "another-secret") {
		t.Error("a password is shown")
	}
	r = w.post("/console/realms/web1on1/users/new", "name", "dave", "scope", "boss")
	want(t, r, http.StatusUnprocessableEntity, `no scope "boss"`, "guest, agent, bot, admin", "dave")
	r = w.post("/console/realms/oauth2/applications/new", "name", "app", "scope", "read", "resources", "https://a.example/\nnot a URL")
	want(t, r, http.StatusUnprocessableEntity, "RFC 8707", "https://a.example/\nnot a URL", "app", "read")
	r = w.post("/console/realms/web1on1/keys/new", "name", "key", "owner", "nobody", "scope", "bot")
	want(t, r, http.StatusUnprocessableEntity, "no user of the name", "nobody")
	for name, problem := range map[string]string{"": "empty", "a\x00b": "does not print", "a\nb": "does not print", strings.Repeat("x", 257): "257 bytes", "a\xffb": "not UTF-8"} {
		want(t, w.post(create, "name", name), http.StatusUnprocessableEntity, problem)
	}
	r = w.send(http.MethodPost, create, url.Values{"csrf": {w.csrf}, "name": {strings.Repeat("x", maxBody)}})
	want(t, r, http.StatusRequestEntityTooLarge)
}

// hostile names are what somebody may call a thing to harm who looks at it.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `{{.CSRF}}`, `javascript:alert(1)`,
	`a/../b?c=d&e#f`, `%3Cscript%3E`, `</code></pre><h1>x`, `$(touch /tmp/x) ` + "`id`" + ` ; rm -rf ~`, `\'; DROP TABLE`, `..`, `=cmd|x`, `🔑 naïve 名前`,
}

func TestHostileNames(t *testing.T) {
	b := open(t, base)
	w, d := b.signedIn(), b.realms["oauth2"].Directory()
	owner, err := d.AddUser(t.Context(), "test", directory.User{Name: hostile[0]}, jeton.NewSecret("x"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range hostile {
		for section, add := range map[string]func() error{
			"users": func() error {
				if i == 0 {
					return nil
				}
				_, err := d.AddUser(t.Context(), name, directory.User{Name: name}, jeton.NewSecret("x"))
				return err
			},
			"applications": func() error {
				_, _, err := d.AddClient(t.Context(), name, directory.Client{Name: name}, jeton.Secret{})
				return err
			},
			"keys": func() error {
				_, _, err := d.AddAPIKey(t.Context(), name, directory.APIKey{Name: name, Owner: owner.ID}, jeton.Secret{})
				return err
			},
		} {
			if err := add(); err != nil {
				t.Fatal(err)
			}
			list := "/console/realms/oauth2/" + section
			clean(t, w.get(list), name)
			// Its links lead to it and not elsewhere.
			if section == "users" {
				disable := list + "/disable?id=" + url.QueryEscape(name)
				if !strings.Contains(html.UnescapeString(w.get(list).body), `href="`+disable+`"`) {
					t.Errorf("the list has no link to %s", disable)
				}
				clean(t, w.get(disable), name)
				want(t, w.post(disable), http.StatusSeeOther)
				if u, err := d.User(t.Context(), "", name); err != nil || !u.Disabled {
					t.Errorf("%q was not disabled: %v", name, err)
				}
				clean(t, w.post(list+"/password?id="+url.QueryEscape(name)), name)
			}
		}
		clean(t, w.post("/console/realms/oauth2/applications/new", "name", name, "scope", "read"), name)
		clean(t, w.get("/console/realms/oauth2/audit"), name)
		clean(t, w.get("/console/audit"), name)
		w.get("/console/sign-in?link=" + url.QueryEscape(name)).noMarkup(t)
		w.get("/console/realms/oauth2/users?after=" + url.QueryEscape(name)).noMarkup(t)
		w.get("/console/" + url.PathEscape(name)).noMarkup(t)
	}
}

// clean makes sure that a page shows the name, as text.
func clean(t *testing.T, r reply, name string) {
	t.Helper()
	if text := html.UnescapeString(r.body); r.status != http.StatusOK || !strings.Contains(text, name) && !strings.Contains(text, audit.Clean(name)) {
		t.Errorf("status %d, or the page lacks %q", r.status, name)
	}
	r.noMarkup(t)
}

var (
	tags   = regexp.MustCompile(`<[a-zA-Z!/][^<>"]*(?:"[^"]*"[^<>"]*)*>`)
	quoted = regexp.MustCompile(`"[^"]*"`)
	runs   = regexp.MustCompile(`(?i)^<(?:script|iframe|object|embed|base|style)|\son[a-z]+\s*=|\sstyle\s*=|'`)
)

// noMarkup makes sure that a page holds nothing that runs, and one heading.
func (r reply) noMarkup(t *testing.T) {
	t.Helper()
	for _, tag := range tags.FindAllString(r.body, -1) {
		if runs.MatchString(quoted.ReplaceAllString(tag, "")) || strings.Contains(tag, `href="javascript:`) || strings.Contains(tag, `action="javascript:`) {
			t.Errorf("the page holds %s", tag)
		}
	}
	if n := strings.Count(r.body, "<h1>"); n != 1 {
		t.Errorf("the page has %d main headings", n)
	}
}

// TestSecretsShownOnce visits every page that a link leads to, and looks where
// secrets could have gone.
func TestSecretsShownOnce(t *testing.T) {
	b := open(t, base)
	w := b.signedIn()
	var secrets []string
	for path, form := range map[string][]string{
		create: {"name", "app"}, "/console/realms/oauth2/applications/new": {"name", "app"},
		"/console/realms/web1on1/users/new": {"name", "ann", "scope", "admin"},
		"/console/realms/iadvize/users/new": {"name", "ann"}, "/console/realms/web1on1/keys/new": {"name", "key", "scope", "bot"},
	} {
		secret, _ := w.post(path, form...).secret(t)
		secrets = append(secrets, secret)
		if strings.Contains(path, "keys") || strings.Contains(path, "applications") {
			list := strings.Replace(path, "/new", "", 1)
			secret, _ = w.post(w.get(list).follow(t, "/rotate?")).secret(t)
			secrets = append(secrets, secret)
		}
	}
	link := b.link()
	secrets = append(secrets, w.cookie, strings.TrimPrefix(link[strings.Index(link, "link="):], "link="))
	look := func(where, text string) {
		t.Helper()
		for i, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("secret %d stands in %s", i, where)
			}
		}
	}
	seen, todo := map[string]bool{}, []string{"/console/"}
	for len(todo) > 0 {
		path := todo[0]
		todo = todo[1:]
		r := w.get(path)
		look(path, r.body+fmt.Sprint(r.header))
		if r.status != http.StatusOK && r.status != http.StatusSeeOther {
			t.Errorf("the link to %s is broken: %d", path, r.status)
		}
		for _, m := range hrefX.FindAllStringSubmatch(r.body, -1) {
			to := html.UnescapeString(m[1])
			if strings.HasPrefix(to, "/console/") && !seen[to] {
				seen[to] = true
				todo = append(todo, to)
			}
		}
	}
	if len(seen) < 50 {
		t.Errorf("visited only %d pages", len(seen))
	}
	look("the log", b.lines.String())
	records, err := b.memory.List(context.Background(), "", "", 1000)
	if err != nil || len(records) < 20 {
		t.Fatal(err)
	}
	for _, r := range records {
		look("record "+r.Key, r.Key+string(r.Value))
	}
	for _, e := range b.entries("") {
		look("the audit log", fmt.Sprint(e))
	}
}

func TestRoutes(t *testing.T) {
	b := open(t, base)
	w := b.signedIn()
	for _, path := range []string{
		"/console/nothing", "/console/realms", "/console/realms/", "/console/realms/nobody", "/console/realms/oauth2/", "/console/realms/oauth2/nothing",
		"/console/realms/oauth2/users/nothing", "/console/realms/oauth2/users/new/more", "/console/realms/oauth2/users/disable", "/console/realms/oauth2/users/disable?id=nobody",
		"/console/realms/oauth2/applications/rotate?id=nobody", "/console/realms/oauth2/keys/remove?id=", "/console/%2e%2e/", "/console//", "/console/realms/oauth2%2Fusers", "/other", "/consolex",
		"/console/realms/oauth2/audit/more",
	} {
		r := w.get(path)
		want(t, r, http.StatusNotFound)
		r.noMarkup(t)
	}
	for path, allow := range map[string]string{
		"/console/": "GET", "/console/style.css": "GET", "/console/realms/oauth2/users": "GET", "/console/realms/oauth2/audit": "GET", "/console/audit": "GET",
		"/console/realms/oauth2": "GET", "/console/realms/oauth2/users/new": "GET, POST", "/console/sign-in": "GET, POST", "/console/sign-out": "POST",
	} {
		r := w.send("PUT", path, nil, header("Sec-Fetch-Site", "same-origin"))
		want(t, r, http.StatusMethodNotAllowed)
		if r.header.Get("Allow") != allow {
			t.Errorf("%s allows %q, want %q", path, r.header.Get("Allow"), allow)
		}
	}
	// Nobody learns without signing in which pages there are.
	stranger := b.browser()
	for _, path := range []string{"/console/", "/console/nothing", "/console/realms/oauth2", "/console/realms/nobody", "/console/audit", "/console/realms/oauth2/users/new"} {
		want(t, stranger.get(path), http.StatusUnauthorized)
	}
}

func TestNew(t *testing.T) {
	b := open(t, base)
	for _, u := range []string{"", "console", "ftp://h/", "http:///console/", "http://u:p@h/", "http://h/?q=1", "http://h/#f", "http://h\x00/"} {
		if _, err := New(Config{Store: b.memory, Audit: b.log, URL: u}); err == nil {
			t.Errorf("the URL %q is taken", u)
		}
	}
	if _, err := New(Config{URL: base}); err == nil {
		t.Error("a console without a store")
	}
}
