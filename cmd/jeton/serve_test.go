package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestEndsWithinASecond interrupts a server that has an unfinished request, a
// connection that says nothing and one that waits for its next request.
func TestEndsWithinASecond(t *testing.T) {
	withinASecond(t, endWithRequests)
}

func endWithRequests(t *testing.T) time.Duration {
	cmd, tour := startDev(t)
	_, rest, _ := strings.Cut(tour, "issuer and guarded APIs   http://")
	addr, _, _ := strings.Cut(rest, "\n")
	for _, text := range []string{
		"", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /iadvize/oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nusername=",
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := fmt.Fprint(c, text); err != nil {
			t.Fatal(err)
		}
	}
	return end(t, cmd)
}

// TestEndsDuringALogin interrupts a server whose broker waits for a vendor that
// does not answer, and a caller who waits for that token.
func TestEndsDuringALogin(t *testing.T) {
	withinASecond(t, endDuringALogin)
}

func endDuringALogin(t *testing.T) time.Duration {
	vendor, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = vendor.Close() }()
	reached := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := vendor.Accept()
			if err != nil {
				return
			}
			reached <- c
		}
	}()
	dir := t.TempDir()
	config := `broker:
  listen: unix:broker.sock
  accounts: {slow: {dialect: iadvize, origin: "http://` + vendor.Addr().String() + `", username: ann, password: env:HOME}}
`
	if err := os.WriteFile(dir+"/jeton.yaml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "jeton", "serve", "-c", dir+"/jeton.yaml")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	caller := askSlow(t, dir)
	defer func() { _ = caller.Close() }()
	login := <-reached
	defer func() { _ = login.Close() }()
	return end(t, cmd)
}

// withinASecond fails unless a program once ends within a second.
func withinASecond(t *testing.T, run func(*testing.T) time.Duration) {
	t.Helper()
	var took []time.Duration
	if !sometime(func() bool {
		took = append(took, run(t))
		return took[len(took)-1] < time.Second
	}) {
		t.Errorf("it took %v to end", took)
	}
}

// sometime reports whether what has to be done in a time succeeds. It has ten
// tries, since a busy machine can make any one of them too slow, and none too
// fast.
func sometime(try func() bool) bool {
	for range 10 {
		if try() {
			return true
		}
	}
	return false
}

// end interrupts a program and returns how long it took to end well.
func end(t *testing.T, cmd *exec.Cmd) time.Duration {
	t.Helper()
	start := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	return time.Since(start)
}

// TestLoginIsNotLost interrupts a server while its broker logs in, to a vendor
// that answers some time after that. The token is in the store all the same,
// and the next process does not log in.
func TestLoginIsNotLost(t *testing.T) {
	var said string
	if !sometime(func() (ok bool) { said, ok = keepsLogin(t); return ok }) {
		t.Error(said)
	}
}

func keepsLogin(t *testing.T) (said string, ok bool) {
	var logins atomic.Int32
	reached, answer := make(chan bool, 8), make(chan bool)
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		logins.Add(1)
		reached <- true
		<-answer
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"the-token","expires_in":86400,"token_type":"Bearer","refresh_token":"none"}`)
	}))
	defer vendor.Close()
	dir := t.TempDir()
	key, err := exec.Command("jeton", "config", "new-key").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"seal.key": string(key), "jeton.yaml": `store: sqlite:jeton.db
seal: file:seal.key
broker:
  listen: unix:broker.sock
  accounts: {slow: {dialect: iadvize, origin: "` + vendor.URL + `", username: ann, password: env:HOME}}
`} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "jeton", "serve", "-c", dir+"/jeton.yaml")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	caller := askSlow(t, dir)
	defer func() { _ = caller.Close() }()
	<-reached
	time.AfterFunc(200*time.Millisecond, func() { close(answer) }) // a slow vendor, but not too slow
	end(t, cmd)
	out, err := exec.Command("jeton", "token", "slow", "-c", dir+"/jeton.yaml").CombinedOutput()
	return fmt.Sprintf("%d logins, then %s%v", logins.Load(), out, err), err == nil && string(out) == "the-token\n" && logins.Load() == 1
}

// askSlow asks the broker of a folder for the token of its account slow.
func askSlow(t *testing.T, dir string) net.Conn {
	t.Helper()
	for {
		c, err := net.Dial("unix", dir+"/broker.sock")
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if _, err := io.WriteString(c, "GET /v1/tokens/slow HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
}
