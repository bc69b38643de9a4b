package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGuardLint: what slips is listed and is exit code 1, and nothing shows the
// token.
func TestGuardLint(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("c4nary-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	trusting := false
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch good := r.Header.Get("Authorization") == "Bearer c4nary-token"; {
		case trusting && r.Header.Get("X-Forwarded-Uri") == "/public/x", good && r.RequestURI == "/mine":
		case good:
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer api.Close()
	lint := func(args ...string) (code int, out, talk string) {
		var o, e bytes.Buffer
		code = run(append([]string{"guard", "lint", "--pause", "1us", "--url", api.URL + "/all"}, args...), strings.NewReader("c4nary-token"), &o, &e)
		if strings.Contains(o.String()+e.String(), "c4nary") {
			t.Errorf("%v: the token is shown: %s%s", args, &o, &e)
		}
		return code, o.String(), e.String()
	}
	if code, out, talk := lint(); code != 0 || out != "" || !strings.Contains(talk, "and none slipped") {
		t.Errorf("%d %s%s", code, out, talk)
	}
	if code, out, talk := lint("--token-file", file, "--allow", "/mine", "--deny", "/all"); code != 0 || !strings.Contains(out, "does not show what it sees") {
		t.Errorf("%d %s%s", code, out, talk)
	}
	trusting = true
	if code, out, talk := lint("--token-file", "-", "--allow", "/mine", "--deny", "/all"); code != 1 ||
		!strings.Contains(out, "X-Forwarded-Uri: /public/x") || !strings.Contains(talk, "slipped past") {
		t.Errorf("%d %s%s", code, out, talk)
	}
	code, out, _ := lint("--json")
	var report struct {
		Requests, Slips int
		Results         []struct{ Verdict, Request string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Slips != 1 || len(report.Results) < 1 || report.Requests < 100 {
		t.Errorf("%d, %v: %s", code, err, out)
	}
	for _, args := range [][]string{{"--allow", "/mine"}, {"--url", "ftp://x"}, {"--url", "http://user:word@x/"}, {"--path", "x y"}, {"--token", "x"}} {
		if code, _, _ := lint(args...); code != 2 {
			t.Errorf("%v: exit code %d, want 2", args, code)
		}
	}
}
