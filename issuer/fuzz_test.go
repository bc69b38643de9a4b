package issuer

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jetonhq/jeton/store"
)

// FuzzServer sends anything at all to all realms. Whatever comes, the answer is
// no 5xx, and a token is in it only if the right credentials are in the request.
func FuzzServer(f *testing.F) {
	const form = "application/x-www-form-urlencoded"
	f.Add("POST", "/iadvize/oauth2/token", form, "", "", "grant_type=password&username=demo@example.com&password=demo-password")
	f.Add("POST", "/altrata/oauth2/token?grant_type=client_credentials", "", "Basic ZGVtbzpkZW1vLXBhc3N3b3Jk", "demo-api-key", "")
	f.Add("POST", "/alvys/api/authentication/acme/token", form, "", "", "grant_type=client_credentials&client_id=demo-client&client_secret=demo-secret")
	f.Add("POST", "/web1on1/v2/auth/token", "application/json", "", "", `{"email":"admin@example.org","password":"t0pZ3kR3t"}`)
	f.Add("GET", "/web1on1/v2/auth/token?refreshToken=x", "", "Bearer x", "", "")
	f.Add("POST", "/oauth2/token", form, "Basic ZGVtby1jbGllbnQ6ZGVtby1zZWNyZXQ=", "", "grant_type=client_credentials&scope=read&resource=x")
	f.Add("POST", "/oauth2/token", form, "Basic ZGVtby1jbGllbnQ6eA==", "", "grant_type=refresh_token&refresh_token=jeton_rt_a_b_c")
	f.Add("POST", "/oauth2/introspect", form, "Basic ZGVtby1jbGllbnQ6ZGVtby1zZWNyZXQ=", "", "token=a.b.c")
	f.Add("POST", "/oauth2/revoke", form, "", "", "token=x&client_id=demo-client&client_secret=demo-secret")
	f.Add("GET", "/iadvize/_authenticated", "", "Bearer e30.e30.", "", "")
	f.Add("GET", "/.well-known/oauth-authorization-server/oauth2", "", "", "", "")
	f.Add("GET", "/%2e%2e/healthz", "", "", "", "")

	st := store.NewMemory()
	s := NewServer(st, nil)
	for _, name := range names {
		if err := s.Mount("/"+name, seeded(f, name, st, nil).Realm, nil); err != nil {
			f.Fatal(err)
		}
	}
	secrets := []string{"demo-password", "demo-api-key", "demo-secret", "t0pZ3kR3t"}
	f.Fuzz(func(t *testing.T, method, target, contentType, authorization, apiKey, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		for name, value := range map[string]string{"Content-Type": contentType, "Authorization": authorization, "X-Api-Key": apiKey} {
			if value != "" {
				r.Header[name] = []string{value}
			}
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code >= 500 || w.Code < 100 {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if !strings.Contains(w.Body.String(), "eyJ") {
			return
		}
		user, password, _ := r.BasicAuth()
		sent := strings.Join([]string{target, body, user, password, apiKey}, " ")
		if decoded, err := url.QueryUnescape(sent); err == nil {
			sent += decoded
		}
		if !slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(sent, s) }) && !strings.Contains(body, `\u`) {
			t.Fatalf("a token for nothing: %q %q", target, body)
		}
	})
}
