package e2e_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/audit"
)

// TestSecretsStayIn uses a served system in all ways, good and bad, and then
// searches everything that it printed, answered and stored for every secret
// that went in or came out.
func TestSecretsStayIn(t *testing.T) {
	s := serve(t)
	c := &canaries{secrets: map[string]string{"password": canaryPassword, "client secret": canarySecret, "API key": canaryKey, "wrong secret": wrongSecret}}
	seal, err := os.ReadFile(filepath.Join(s.data, "seal.key"))
	if err != nil {
		t.Fatal(err)
	}
	c.secrets["sealing key"] = strings.TrimSpace(string(seal))

	for realm := range s.logins {
		login := s.logins[realm].send(t, s.process).want(t, 200, "")
		c.own(login, realm)
		call := s.calls[realm].worn(login.text("access_token") + login.text("token"))
		c.seen(realm+" call", call.send(t, s.process).want(t, 200, "").body)
		c.refusals(t, s, realm, call)
	}
	c.spend(t, s)
	c.commands(t, s)

	// The console shows people and clients, and no secret of theirs.
	c.console(t, s)
	c.broker(t, s)

	p := s.process
	p.interrupt(t)
	c.seen("stdout", p.stdout.String())
	c.seen("stderr", p.stderr.String())
	c.search(t)
	c.files(t, s)
}

// canaries are secrets by what they are, and outputs by where they appeared.
type canaries struct {
	secrets map[string]string
	outputs []string // pairs of place and text
}

func (c *canaries) seen(place, text string) { c.outputs = append(c.outputs, place, text) }

// own remembers the tokens that an answer gives out.
func (c *canaries) own(a answer, whose string) {
	for _, field := range []string{"access_token", "token", "refresh_token", "refreshToken"} {
		if text := a.text(field); text != "" && text != "none" {
			c.secrets[whose+" "+field] = text
		}
	}
}

// refusals sends logins and calls that are wrong, with secrets in every place
// where a secret may stand.
func (c *canaries) refusals(t *testing.T, s *served, realm string, call message) {
	t.Helper()
	login := s.logins[realm]
	token := strings.TrimPrefix(call.header[1], "Bearer ")
	for _, m := range []message{
		login.withBody(strings.NewReplacer(canaryPassword, wrongSecret, canarySecret, wrongSecret).Replace(login.body)),
		login.withBody(login.body + "&password=" + canaryPassword + "&client_secret=" + canarySecret),
		login.withBody(login.body + "}{" + wrongSecret),
		login.with(func(m *message) { m.contentType = "text/plain; x=" + wrongSecret }),
		login.with(func(m *message) { m.path += "?password=" + canaryPassword + "&access_token=" + token }),
		login.with(func(m *message) { m.path += "/" + wrongSecret }),
		login.with(func(m *message) { m.method = "PUT" }),
		login.with(func(m *message) { m.header = append(m.header, "Authorization", "Basic "+wrongSecret) }),
		login.with(func(m *message) { m.header = append(m.header, "X-Api-Key", wrongSecret) }),
		call.with(func(m *message) { m.header[1] += "x" }),
		call.with(func(m *message) { m.path += "/../" + wrongSecret }),
		call.with(func(m *message) { m.path += "?access_token=" + token }),
		call.with(func(m *message) { m.header = append(m.header, "Authorization", "Bearer "+token) }),
		{"POST", "/" + realm + "/introspect", form, "token=" + token + "&token=" + token, nil},
		{"POST", "/" + realm + "/revoke", form, "token=" + token, basicAuth("app:" + wrongSecret)},
	} {
		a := m.send(t, s.process)
		if a.status == 200 && (a.text("access_token") != "" || a.text("token") != "") {
			c.own(a, realm+" another")
			continue
		}
		c.seen(m.method+" "+realm, a.body)
		for name, values := range a.header {
			c.seen(m.method+" "+realm+" "+name, strings.Join(values, ", "))
		}
	}
}

// spend refreshes, replays and revokes.
func (c *canaries) spend(t *testing.T, s *served) {
	t.Helper()
	first := c.secrets["web1on1 refreshToken"]
	second := refreshMessage(first).send(t, s.process).want(t, 200, "")
	c.own(second, "second")
	c.own(refreshMessage(second.text("refreshToken")).send(t, s.process).want(t, 200, ""), "third")
	c.seen("replay", refreshMessage(first).send(t, s.process).want(t, 400, "").body)
	revoke := s.logins["oauth2"].with(func(m *message) {
		m.path, m.body = "/oauth2/revoke", "token="+url.QueryEscape(c.secrets["oauth2 refresh_token"])
	})
	c.seen("revoke", revoke.send(t, s.process).want(t, 200, "").body)
}

// commands runs what an operator runs. What makes a secret prints it once, on
// standard output; nothing else does.
func (c *canaries) commands(t *testing.T, s *served) {
	t.Helper()
	for _, line := range []string{
		"user list --realm iadvize", "user show ann@example.com --realm iadvize --json", "user list --realm web1on1 --json",
		"client list --realm oauth2 --json", "client show app --realm oauth2", "key list --realm altrata --json",
		"config check", "config print", "tenant list --realm alvys",
	} {
		out, talk := run(t, "", append(strings.Fields(line), "-c", s.config)...)
		c.seen(line, out+talk)
	}
	out, talk := run(t, "", "client", "rotate", "app", "--realm", "oauth2", "-c", s.config)
	_, made, _ := strings.Cut(out, "jeton_cs_")
	c.secrets["generated secret"] = "jeton_cs_" + strings.Fields(made)[0]
	c.seen("client rotate", talk)
	out, talk = run(t, "", "token", "iadvize", "-c", s.config)
	c.secrets["token of the broker"] = strings.TrimSpace(out)
	c.seen("token", talk)
}

func (c *canaries) console(t *testing.T, s *served) {
	t.Helper()
	link, _ := run(t, "", "console", "link", "-c", s.config)
	link = strings.TrimSpace(link)
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	a := ask(t, "POST", u.Scheme+"://"+u.Host+u.Path, u.RawQuery, "Content-Type", form, "Origin", u.Scheme+"://"+u.Host, "Sec-Fetch-Site", "same-origin")
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	_, session, ok := strings.Cut(cookie, "=")
	if !ok {
		t.Fatalf("signing in at %s answers %d without a cookie: %s", u.Path, a.status, a.body)
	}
	c.secrets["session"], c.secrets["link"] = session, u.Query().Get("link")
	pages := map[string]bool{"/console/": true}
	for range 3 { // follow the links on the pages, and those on the pages behind them
		for path := range pages {
			page := ask(t, "GET", s.issuer+path, "", "Cookie", cookie)
			c.seen(path, page.body)
			for _, rest := range strings.Split(page.body, `href="`)[1:] {
				if next, _, _ := strings.Cut(rest, `"`); strings.HasPrefix(next, "/console/") && !strings.Contains(next, "&") {
					pages[next] = true
				}
			}
		}
	}
	if len(pages) < 10 {
		t.Errorf("only %d pages of the console were found: %v", len(pages), pages)
	}
}

func (c *canaries) broker(t *testing.T, s *served) {
	t.Helper()
	for _, path := range []string{"/v1/accounts", "/v1/tokens/nowhere", "/to/nowhere/x", "/to/iadvize/_authenticated", "/to/iadvize/../" + wrongSecret} {
		c.seen(path, ask(t, "GET", s.broker+path, "", "Authorization", "Bearer "+wrongSecret).body)
	}
}

// search looks for every secret in every output.
func (c *canaries) search(t *testing.T) {
	t.Helper()
	if len(c.secrets) < 15 || len(c.outputs) < 200 {
		t.Errorf("the test saw too little: %d secrets, %d outputs", len(c.secrets), len(c.outputs)/2)
	}
	for i := 0; i < len(c.outputs); i += 2 {
		if what := c.find(c.outputs[i+1]); what != "" {
			t.Errorf("%s shows the %s", c.outputs[i], what)
		}
	}
}

// find returns the name of a secret that stands in text, as it is or in one of
// the forms in which secrets travel.
func (c *canaries) find(text string) string {
	for what, secret := range c.secrets {
		for _, form := range []string{
			secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret)),
			base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		} {
			if strings.Contains(text, form) {
				return what
			}
		}
	}
	return ""
}

// files searches what the server left on disk, but for the files that an
// operator put secrets in.
func (c *canaries) files(t *testing.T, s *served) {
	t.Helper()
	ours := map[string]bool{"seal.key": true, "password": true, "canary-password": true, "canary-secret": true, "canary-key": true}
	entries, err := os.ReadDir(s.data)
	if err != nil {
		t.Fatal(err)
	}
	searched := 0
	for _, e := range entries {
		if ours[e.Name()] {
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.data, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		searched += len(text)
		if what := c.find(string(text)); what != "" {
			t.Errorf("the file %s holds the %s", e.Name(), what)
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("the file %s is open to others: %v %v", e.Name(), info.Mode(), err)
		}
	}
	if searched < 50_000 {
		t.Errorf("only %d bytes on disk: the test looks in the wrong place", searched)
	}
	log, err := auditLog(t, s.data).List(t.Context(), audit.Query{Limit: 1000})
	if err != nil || len(log) < 50 {
		t.Errorf("%d audit entries, %v", len(log), err)
	}
}
