package guard_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/lint"
)

// lintChain tries a chain with a token of a guest and returns what slipped, as
// "group: request".
func lintChain(t *testing.T, address string) []string {
	t.Helper()
	l := &lint.Linter{URL: &url.URL{Scheme: "http", Host: address}, Path: "/v2/users", Token: jeton.NewSecret("guest"),
		Allow: "/v2/conversations/1", Deny: "/v2/users", Pause: time.Microsecond, Timeout: patience}
	var slips []string
	sent, odd := 0, 0
	err := l.Run(t.Context(), func(r lint.Result) {
		sent++
		switch r.Verdict {
		case lint.Slip:
			slips = append(slips, r.Group+": "+r.Request+" ("+r.Why+")")
		case lint.Odd:
			odd++
			t.Logf("odd: %s %s: %s %s %s", r.Group, r.Name, r.Request, r.Answer, r.Why)
		}
		if strings.Contains(r.Request, "guest") {
			t.Errorf("a result shows the token: %s", r.Request)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if sent < 250 || odd > 20 {
		t.Errorf("%d requests, %d odd", sent, odd)
	}
	return slips
}

// Nothing slips past a guard, be it the proxy itself or one of the documented
// chains.
func TestLintFindsNothing(t *testing.T) {
	api := httptest.NewServer(lint.Echo())
	defer api.Close()
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
	front := httptest.NewServer(g.Proxy(parse(t, api.URL)))
	defer front.Close()
	for name, address := range map[string]string{"proxy": front.Listener.Addr().String(), "nginx": "", "caddy": ""} {
		t.Run(name, func(t *testing.T) {
			if address == "" {
				c := newChain(t, name)
				c.api.Config.Handler = lint.Echo()
				address = c.address
			}
			for _, slip := range lintChain(t, address) {
				t.Error(slip)
			}
		})
	}
}

// Each of these chains has a hole that was found in a real one.
func TestLintFindsHoles(t *testing.T) {
	api := httptest.NewServer(lint.Echo())
	defer api.Close()
	plain := httputil.NewSingleHostReverseProxy(parse(t, api.URL))
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}

	// decide judges the path of a request as target, by whoever that comes from.
	decide := func(r *http.Request, target string) bool {
		asked := r.Clone(r.Context())
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return false
		}
		u.RawPath, u.Path = "", path.Clean(u.Path)
		asked.URL = u
		_, err = g.Decide(asked)
		return err == nil
	}
	forbid := func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) }

	for _, tt := range []struct {
		name  string
		chain func(t *testing.T) (address string)
		want  []string // each a part of a slip that must be found
	}{
		{"nginx with an endpoint that believes the client's X-Forwarded-Uri", func(t *testing.T) string {
			ask := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				target := r.Header.Get("X-Forwarded-Uri")
				if target == "" {
					target = r.Header.Get("X-Original-Uri")
				}
				if strings.HasPrefix(target, "/public/") || decide(r, target) {
					w.Header().Set("X-Auth-Subject", "id-of-guest")
					return
				}
				forbid(w)
			}))
			t.Cleanup(ask.Close)
			return startNginx(t, func(addr, _ string) string {
				return `server { listen ` + addr + `; merge_slashes on;
				location / { auth_request /ask; auth_request_set $s $upstream_http_x_auth_subject; proxy_set_header X-Auth-Subject $s; proxy_pass ` + api.URL + `/; }
				location = /ask { internal; proxy_pass ` + ask.URL + `; proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Original-URI $request_uri; } }`
			})
		}, []string{"header: GET /v2/users | X-Forwarded-Uri: /public/x", "permission: GET /v2/users | X-Forwarded-Uri: /v2/conversations/1", "path: GET /public/../v2/users"}},

		{"a proxy that knows one spelling of a header", func(t *testing.T) string {
			return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				claims, err := g.Decide(r)
				if err != nil {
					forbid(w)
					return
				}
				r.Header.Set("X-Auth-Subject", claims.Subject)
				plain.ServeHTTP(w, r)
			}), false).Listener.Addr().String()
		}, []string{"identity: GET /v2/conversations/1 | X_Auth_Subject: ", "identity: GET /v2/conversations/1 | X.Auth.Scope: ", "Connection: close, X-Auth-Subject (the API was not told", "X-HTTP-Method-Override", "SCRIPT_NAME: "}},

		{"a guard that matches by prefix and forwards what it did not match", func(t *testing.T) string {
			return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.RequestURI, "/public/") || strings.HasPrefix(r.RequestURI, "/health") || r.Header.Get("Authorization") == "Bearer guest" && strings.HasPrefix(r.RequestURI, "/v2/conversations/1") {
					plain.ServeHTTP(w, r)
					return
				}
				forbid(w)
			}), false).Listener.Addr().String()
		}, []string{"path: GET /public/../v2/users", "path: GET /healthz/../v2/users", "permission: GET /v2/conversations/1/../../../v2/users", "permission: GET /v2/conversations/1%2f..%2f..%2f..", "permission: GET /v2/conversations/1/%2e%2e/"}},

		{"a guard that lets health checks through", func(t *testing.T) string {
			return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.UserAgent(), "kube-probe") || r.Method == http.MethodHead || r.Header.Get("X-Forwarded-For") == "127.0.0.1" {
					plain.ServeHTTP(w, r)
					return
				}
				g.Proxy(parse(t, api.URL)).ServeHTTP(w, r)
			}), false).Listener.Addr().String()
		}, []string{"User-Agent: kube-probe", "method: HEAD", "X-Forwarded-For: 127.0.0.1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			slips := lintChain(t, tt.chain(t))
			for _, want := range tt.want {
				found := false
				for _, slip := range slips {
					found = found || strings.Contains(slip, want)
				}
				if !found {
					t.Errorf("%q is not among %d slips:\n%s", want, len(slips), strings.Join(slips, "\n"))
				}
			}
		})
	}
}

// Without an API that shows what it sees, nothing is said of what it may have
// seen; with paths that are not what they are said to be, nothing is tried.
func TestLintWants(t *testing.T) {
	api := newUpstream(t, nil)
	g := &guard.Guard{Dialect: load(t, "web1on1"), Verifier: people()}
	front := serve(t, g.Proxy(parse(t, api.URL)), true)
	l := &lint.Linter{URL: parse(t, "https://"+front.Listener.Addr().String()), Path: "/v2/users", Pause: time.Microsecond, Token: jeton.NewSecret("guest"),
		Allow: "/v2/conversations/1", Deny: "/v2/users", TLS: front.Client().Transport.(*http.Transport).TLSClientConfig}
	echo := false
	if err := l.Run(t.Context(), func(r lint.Result) {
		echo = echo || r.Name == "echo" && r.Verdict == lint.Odd
		if r.Verdict == lint.Slip {
			t.Error(r)
		}
	}); err != nil || !echo {
		t.Errorf("%v, echo %v", err, echo)
	}
	for want, change := range map[string]func(*lint.Linter){
		"is to be allowed":     func(l *lint.Linter) { l.Allow = "/v2/users" },
		"is to be denied":      func(l *lint.Linter) { l.Deny = "/v2/conversations/1" },
		"begin with a slash":   func(l *lint.Linter) { l.Path = "x" },
		"connect to 127.0.0.1": func(l *lint.Linter) { l.URL = parse(t, "http://"+freeAddr(t)) },
	} {
		other := *l
		change(&other)
		if err := other.Run(t.Context(), func(lint.Result) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for status, want := range map[int]string{404: "as one that is not there", 502: "nobody judges", 503: "nobody judges"} {
		gone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		l := &lint.Linter{URL: parse(t, gone.URL), Path: "/mistyped", Pause: time.Microsecond}
		if err := l.Run(t.Context(), func(lint.Result) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("an API that answers %d: %v, want %s", status, err, want)
		}
		gone.Close()
	}
	open := httptest.NewServer(reached)
	defer open.Close()
	l = &lint.Linter{URL: parse(t, open.URL), Path: "/"}
	if err := l.Run(t.Context(), func(lint.Result) {}); err == nil || !strings.Contains(err.Error(), "without a token") {
		t.Errorf("%v", err)
	}
}
