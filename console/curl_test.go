package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
)

// sh runs a line as somebody does who pastes it, with the status of the answer
// at the end of what it returns.
func sh(t testing.TB, line string) (body string, status string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line+" --silent --show-error --noproxy '*' --write-out '\n%{http_code}'")
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + cmd.Dir} // no .curlrc
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, line)
	}
	i := strings.LastIndexByte(string(out), '\n')
	return string(out[:i]), string(out[i+1:])
}

// wantToken runs a command that logs in.
func wantToken(t testing.TB, line string) (token string) {
	t.Helper()
	body, status := sh(t, line)
	var answer map[string]any
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != "200" {
		t.Fatalf("status %s, %s\n%s", status, body, line)
	}
	for _, name := range []string{"access_token", "token"} {
		if token, _ := answer[name].(string); token != "" {
			return token
		}
	}
	t.Fatalf("no token in %s", body)
	return ""
}

// wantBody runs a command that answers something else.
func wantBody(t testing.TB, line, text string) {
	t.Helper()
	if body, status := sh(t, line); status != "200" || !strings.Contains(body, text) {
		t.Errorf("status %s, %s, want %s\n%s", status, body, text, line)
	}
}

// names that a command must bring through a shell, curl and a dialect.
var shellNames = []string{
	"plain", `o'brien "x" $HOME $(id) ` + "`id`" + ` \n \\ & | ; > < * ? [a-z] {a,b} ! # ~ % %41 + = @ é 名前`, "@/etc/passwd", "-d@/etc/passwd", "=x", "a=b@c", "'", `''\''`, `\`,
}

// TestCommands runs every command that a page shows, with a real shell and a
// real curl against real realms.
func TestCommands(t *testing.T) {
	b := serve(t)
	w := b.signedIn()
	new := func(realm, section, query string) string {
		return "/console/realms/" + realm + "/" + section + "/new" + query
	}
	t.Run("alvys", func(t *testing.T) {
		for _, tenant := range []string{"acme", "o'brien$(id)", "a&b=c", `"x"`, "{a,b}[1-2]", "~!*+,@:"} {
			if tenant != "acme" {
				want(t, w.post(new("alvys", "tenants", ""), "id", tenant), http.StatusSeeOther)
			}
			query := "?tenant=" + urlEscape(tenant)
			_, curl := w.post(new("alvys", "applications", query), "name", "app").secret(t)
			token := wantToken(t, curl)
			wantBody(t, "curl --url "+b.realms["alvys"].URL()+"/v1/me --header 'Authorization: Bearer "+token+"'", `"tenant_id":`)
			_, curl = w.post(new("alvys", "keys", query), "name", "key").secret(t)
			wantBody(t, curl, `"tenant_id":`)
		}
	})
	t.Run("oauth2", func(t *testing.T) {
		_, curl := w.post(new("oauth2", "applications", ""), "name", "app", "scope", "read").secret(t)
		wantToken(t, curl)
		d := b.realms["oauth2"].Directory()
		c, secret, err := d.AddClient(t.Context(), "test", directory.Client{Name: "through"}, jeton.Secret{})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range shellNames {
			_, curl := w.post(new("oauth2", "users", ""), "name", name).secret(t)
			wantToken(t, strings.NewReplacer("CLIENT_ID", c.ID, "CLIENT_SECRET", secret.Reveal()).Replace(curl))
		}
		_, curl = w.post(new("oauth2", "keys", ""), "name", "key").secret(t)
		wantBody(t, curl, "/")
	})
	for _, realm := range []string{"iadvize", "web1on1"} {
		t.Run(realm, func(t *testing.T) {
			for _, name := range shellNames {
				_, curl := w.post(new(realm, "users", ""), "name", name).secret(t)
				wantToken(t, curl)
			}
		})
	}
	t.Run("web1on1 keys", func(t *testing.T) {
		for scope, path := range map[string]string{"guest": "/v2/users/me", "agent": "/v2/contacts", "admin": "/v2/contacts"} {
			_, curl := w.post(new("web1on1", "keys", ""), "name", "key", "scope", scope).secret(t)
			wantBody(t, curl, path)
		}
	})
	t.Run("altrata", func(t *testing.T) {
		for _, name := range shellNames {
			password, line := w.post(new("altrata", "users", ""), "name", name).secret(t)
			key, curl := w.post(new("altrata", "keys", ""), "name", "key", "owner", name).secret(t)
			wantToken(t, strings.ReplaceAll(line, "API_KEY", key))
			wantToken(t, strings.ReplaceAll(curl, "PASSWORD", password))
			page := w.get("/console/realms/altrata/keys")
			_, curl = w.post(page.follow(t, "/rotate?")).secret(t)
			if !strings.Contains(curl, "PASSWORD") || strings.Contains(curl, "USERNAME") {
				t.Error(curl)
			}
			want(t, w.post(page.follow(t, "/remove?")), http.StatusSeeOther)
		}
		// What HTTP Basic cannot carry has no command, but is shown all the same.
		r := w.post(new("altrata", "users", ""), "name", "with:colon")
		if secret, curl := r.secret(t); secret == "" || curl != "" {
			t.Error("a command that cannot work")
		}
		want(t, r, http.StatusOK, "There is no command", "colon")
	})
}

func urlEscape(s string) string {
	return strings.NewReplacer("%", "%25", "&", "%26", "?", "%3F", "=", "%3D", "{", "%7B", "}", "%7D", `"`, "%22", "+", "%2B", "#", "%23").Replace(s)
}

// TestShellQuote is the law that a shell reads back what was quoted.
func TestShellQuote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.OneOf(
			rapid.StringMatching(`['"\\$`+"`"+`!*?~#;&|<>(){}\[\] \n\t-]{0,20}`),
			rapid.Map(rapid.String(), func(s string) string { return strings.ReplaceAll(s, "\x00", "") }),
		), 1, 50).Draw(t, "words")
		line := "printf '%s\\0'"
		for _, w := range words {
			line += " " + ShellQuote(w)
		}
		out, err := exec.Command("sh", "-c", line).Output()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, []byte(strings.Join(words, "\x00")+"\x00")) {
			t.Fatalf("quoted %q, read back %q", words, out)
		}
	})
}
