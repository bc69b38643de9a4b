package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store/storetest"
)

// One path, read by everyone in turn: the address that a prefix stands at, the
// guard, and three upstreams that each resolve it in their own way. However a
// path is written, no upstream serves what its caller may not have, nor anything
// under another prefix, and a Go upstream sees the bytes that were sent.
func TestPathsBeforeRealUpstreams(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 1)
	mux := http.NewServeMux()
	for _, pattern := range []string{"/open/{id}", "/secret/", "/"} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.SplitN(pattern, "/", 3)[1])
		})
	}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case seen <- r.RequestURI:
		default:
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(api.Close)
	static, err := storetest.StartNginx(func(addr, dir string) string {
		for _, name := range []string{"open", "secret"} {
			if err := os.MkdirAll(filepath.Join(dir, "api", name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "api", name, "1"), []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return "server { listen " + addr + "; location / { root " + dir + "/api; } }\n"
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(static.Close)
	upstreams := map[string]string{"mux": api.URL, "node": "http://" + startNode(t), "nginx": "http://" + static.Addr}

	addr, token := servePaths(t, upstreams)
	for _, at := range []string{"mux", "node", "nginx"} {
		for _, path := range pathBattery(at) {
			select {
			case <-seen:
			default:
			}
			status, body := rawGet(t, addr, path, token)
			if strings.Contains(body, "secret") {
				t.Errorf("%s: %d, and the API served %q", path, status, body)
			}
			if path == "/"+at+"/open/1" && (status != 200 || body != "open") {
				t.Errorf("%s: %d %q", path, status, body)
			}
			select {
			case uri := <-seen:
				if at != "mux" || "/mux"+uri != path {
					t.Errorf("%s: the API saw %s", path, uri)
				}
			default:
			}
		}
	}
}

// pathBattery are ways to write what a caller may have and may not have, under
// a prefix.
func pathBattery(at string) []string {
	paths := []string{"/" + at + "/open/1", "/" + at + "/secret/1"}
	for _, dots := range []string{"..", "%2e%2e", "%2E.", ".%2e", "..;", "..;x=y", "..%00", "..%20", "%252e%252e", "%c0%ae%c0%ae", "...", "..%09"} {
		for _, slash := range []string{"/", "%2f", "%2F", `\`, "%5c", "%252f", "//", "/./", ";/"} {
			paths = append(paths, "/"+at+"/open/1"+slash+dots+slash+dots+slash+"secret"+slash+"1", "/"+at+"/open"+slash+dots+slash+"secret/1",
				"/"+at+"/open/"+dots+slash+"secret/1", "/x"+slash+dots+"/"+at+slash+"secret/1")
		}
	}
	for _, target := range []string{"/AT/secret%2f1", "/AT//secret/1", "//AT/secret/1", "/AT/./secret/1", "/AT/%73ecret/1", "/AT/SECRET/1", "/AT/secret/1/", "/AT/secret;/1", "/AT/secret/1;x",
		"/AT/secret/1?", "/AT/open/1?/../../secret/1", "/AT/open/1#/../../secret/1", "/AT/open/1%3f/../../secret/1", "/AT/open/1%23", "/AT/secret/1%00", "/AT/secret%20/1", "/AT%2fsecret/1", `/AT\secret\1`,
		"http://evil/AT/secret/1", "http://127.0.0.1/AT/open/1", "/ATsecret/1", "/AT/../mux/secret/1", "/AT/../node/secret/1", "/AT/%2e%2e/nginx/secret/1", "/AT", "/AT/", "*", "AT/secret/1",
		"/AT/open/1 /secret/1", "/AT/open/\xff", "/AT/open/é", "/AT/open/%zz"} {
		paths = append(paths, strings.ReplaceAll(target, "AT", at))
	}
	return paths
}

// rawGet sends a path as it stands; status 0 is no answer.
func rawGet(t *testing.T, addr, path, token string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\n\r\n")
	a, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, ""
	}
	text, _ := io.ReadAll(a.Body)
	return a.StatusCode, string(text)
}

// servePaths starts an issuer and guards for the upstreams, each at its name,
// and returns where the guards are and a token of somebody who may have what is
// open.
func servePaths(t *testing.T, upstreams map[string]string, routes ...string) (addr, token string) {
	t.Helper()
	if routes == nil {
		routes = []string{"GET /open/{id} -> token", "GET /secret/{rest...} -> scope:admin"}
	}
	dir, issuer := t.TempDir(), freeAddress(t)
	addr = freeAddress(t)
	key, _ := run(t, "", "config", "new-key")
	config := "store: sqlite:jeton.db\nseal: file:seal.key\nissuer:\n  listen: " + issuer + "\n  realms:\n    std: {dialect: oauth2, at: /std}\n" +
		"guard:\n  listen: " + addr + "\n  upstreams:\n"
	for at, to := range upstreams {
		config += fmt.Sprintf("    %s: {realm: std, to: %q, at: /%s, routes: [\"%s\"]}\n", at, to, at, strings.Join(routes, `", "`))
	}
	for name, text := range map[string]string{"seal.key": key, "secret": canarySecret + "\n", "jeton.yaml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "jeton.yaml")
	p := start(t, "serve", "-c", file)
	p.await(t, p.stderr, "listening")
	run(t, "", "client", "add", "app", "--realm", "std", "--id", "app", "--scope", "read", "--secret-file", filepath.Join(dir, "secret"), "-c", file)
	a := ask(t, "POST", "http://"+issuer+"/std/token", "grant_type=client_credentials", append(basicAuth("app:"+canarySecret), "Content-Type", form)...)
	return addr, a.want(t, 200, "").text("access_token")
}

// A wide route is for what no other names. nginx finds a file by its folder, by
// its name without .html, and moves one to a path that is in a header: nothing
// that a narrower route closes is reached, nor put somewhere else.
func TestWideRoutesBeforeNginx(t *testing.T) {
	t.Parallel()
	var folder string
	static, err := storetest.StartNginx(func(addr, dir string) string {
		folder = dir + "/api"
		for name, text := range map[string]string{"pub/1": "open", "reports/index.html": "secret", "pay.html": "secret", "front/admin": "secret"} {
			if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o777), os.WriteFile(filepath.Join(folder, name), []byte(text), 0o666)); err != nil {
				t.Fatal(err)
			}
		}
		return "server { listen " + addr + "; root " + folder + "; dav_methods MOVE COPY; create_full_put_path on;\n" +
			"location / { try_files $uri $uri.html $uri/index.html =404; }\n" +
			"location ~ ^/index\\.php/(.*)$ { try_files /front/$1 =404; } }\n" // as a front controller reads its path
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(static.Close)
	addr, token := servePaths(t, map[string]string{"x": "http://" + static.Addr}, "* /{rest...} -> token", "* /reports/index.html -> scope:admin",
		"* /pay.html -> scope:admin", "* /admin -> scope:admin", "* /front/{rest...} -> scope:admin")
	if status, body := rawGet(t, addr, "/x/pub/1", token); status != 200 || body != "open" {
		t.Fatalf("what is open: %d %q", status, body)
	}
	for _, path := range []string{"/reports/index.html", "/reports/", "/reports", "/Reports/", "/pay.html", "/pay", "/PAY", "/pay.", "/index.php/admin", "/front/admin"} {
		if status, body := rawGet(t, addr, "/x"+path, token); status == 200 {
			t.Errorf("%s: %d %q", path, status, body)
		}
		if a := ask(t, "GET", "http://"+static.Addr+path, ""); path == "/pay" && a.body != "secret" {
			t.Errorf("nginx does not do what is tried here: %s", a.body)
		}
	}
	for _, method := range []string{"COPY", "MOVE"} {
		a := ask(t, method, "http://"+addr+"/x/pub/1", "", "Authorization", "Bearer "+token, "Destination", "http://"+static.Addr+"/front/stolen")
		if a.status != 405 {
			t.Errorf("%s: %d", method, a.status)
		}
		if _, err := os.Stat(filepath.Join(folder, "front", "stolen")); err == nil {
			t.Errorf("%s put a file where its caller may not", method)
		}
	}
}

// startNode starts a server that resolves paths as servers of static files in
// Node.js do, and returns where it listens.
func startNode(t *testing.T) (addr string) {
	t.Helper()
	need(t, "node")
	addr = freeAddress(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("node", "-e", `
		const path = require("path");
		require("http").createServer((q, r) => {
			try {
				r.end(path.posix.normalize(decodeURIComponent(new URL(q.url, "http://x").pathname)).split("/")[1]);
			} catch {
				r.writeHead(400).end();
			}
		}).listen(`+port+`, "127.0.0.1")`)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal("node does not listen")
		}
	}
}
