package console

import (
	"context"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/issuer"
)

// ShellQuote returns s as one word of a POSIX shell, whatever s holds but NUL,
// which no argument can. A word that needs no quotes gets none.
func ShellQuote(s string) string {
	special := strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@,", r))
	}) >= 0
	if s != "" && !special {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// CurlLine returns the command that sends a request, whose body it reads. What
// the request writes encoded, HTTP Basic and forms, the command has in plain text,
// so that a person can read it; curl encodes it again.
func CurlLine(r *http.Request) string {
	words := []string{"curl --request " + r.Method, "--url " + ShellQuote(r.URL.String())}
	header := r.Header.Clone()
	header.Del("Accept")
	if encoded, ok := strings.CutPrefix(header.Get("Authorization"), "Basic "); ok {
		if pair, err := base64.StdEncoding.DecodeString(encoded); err == nil && strings.Contains(string(pair), ":") { // else curl asks for the password
			words = append(words, "--user "+ShellQuote(string(pair)))
			header.Del("Authorization")
		}
	}
	isForm := header.Get("Content-Type") == "application/x-www-form-urlencoded"
	if isForm {
		header.Del("Content-Type") // curl says so itself
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		words = append(words, "--header "+ShellQuote(name+": "+header.Get(name)))
	}
	return strings.Join(append(words, dataWords(r, isForm)...), " \\\n  ")
}

// dataWords are the words of the command that give it the request's body.
func dataWords(r *http.Request, isForm bool) (words []string) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	body, _ := io.ReadAll(r.Body) // it is in memory
	if !isForm {
		return []string{"--data-raw " + ShellQuote(string(body))}
	}
	for part := range strings.SplitSeq(string(body), "&") {
		name, value, ok := strings.Cut(part, "=")
		text, err := url.QueryUnescape(value)
		if ok && err == nil {
			words = append(words, "--data-urlencode "+ShellQuote(name+"="+text))
		}
	}
	return words
}

// loginLine returns the command that logs in at a realm. Where vars has no
// value for what the login needs, the line has the name in capitals.
func loginLine(ctx context.Context, realm *issuer.Realm, vars jeton.Vars) (string, error) {
	d, vars := realm.Dialect(), vars.Clone()
	for _, name := range d.LoginVars() {
		if vars[name] == "" {
			vars[name] = strings.ToUpper(name)
		}
	}
	return request(realm, func(origin *url.URL) (*http.Request, error) {
		return d.WriteRequest(ctx, d.Login, origin, vars)
	})
}

// passwordLine returns the command for the password grant of RFC 6749 section
// 4.3 at a realm that speaks the standard.
func passwordLine(ctx context.Context, realm *issuer.Realm, tenant, user, password string) (string, error) {
	return request(realm, func(origin *url.URL) (*http.Request, error) {
		d := realm.Dialect()
		r, err := d.WriteRequest(ctx, d.Login, origin, jeton.Vars{"tenant_id": tenant, "client_id": "CLIENT_ID", "client_secret": "CLIENT_SECRET"})
		if err != nil {
			return nil, err
		}
		var fields []string
		for _, f := range [][2]string{{"grant_type", "password"}, {"username", user}, {"password", password},
			{"client_id", "CLIENT_ID"}, {"client_secret", "CLIENT_SECRET"}} {
			fields = append(fields, f[0]+"="+url.QueryEscape(f[1]))
		}
		r.Body = io.NopCloser(strings.NewReader(strings.Join(fields, "&")))
		return r, nil
	})
}

// callLine returns the command for an API call that wears an API key as its
// token: the dialect's own check of a token, or a call that a key of this scope
// may make.
func callLine(ctx context.Context, realm *issuer.Realm, scope jeton.Scope, key jeton.Secret) (string, error) {
	d := realm.Dialect()
	vars := jeton.Vars{"access_token": key.Reveal()}
	return request(realm, func(origin *url.URL) (*http.Request, error) {
		var r *http.Request
		var err error
		if d.Verify != nil {
			r, err = d.WriteRequest(ctx, d.Verify, origin, vars)
		} else {
			var u *url.URL
			if u, err = d.CallURL(origin, vars); err == nil {
				r, err = http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(allowed(realm, scope)).String(), nil)
			}
		}
		if err != nil {
			return nil, err
		}
		return r, d.WriteCall(r, vars)
	})
}

// allowed returns the path of something that the scope may read.
func allowed(realm *issuer.Realm, scope jeton.Scope) string {
	d := realm.Dialect()
	path := "/"
	for resource, verbs := range d.Permissions {
		list, self := verbs["list"], verbs["fetch_self"]
		switch {
		case list != "" && d.Scope.Grants(scope, list):
			resource = "/" + resource
		case self != "" && d.Scope.Grants(scope, self):
			resource = "/" + resource + "/me"
		default:
			continue
		}
		if path == "/" || resource < path {
			path = resource
		}
	}
	return path
}

// request writes the command of a request to a realm.
func request(realm *issuer.Realm, write func(origin *url.URL) (*http.Request, error)) (string, error) {
	origin, err := url.Parse(realm.URL())
	if err != nil {
		return "", err
	}
	r, err := write(origin)
	if err != nil {
		return "", err
	}
	return CurlLine(r), nil
}
