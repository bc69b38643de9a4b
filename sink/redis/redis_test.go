package redis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

var server *storetest.Server

func TestMain(m *testing.M) {
	var err error
	if server, err = storetest.StartRedis(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Close()
	os.Exit(code)
}

const canary = "canary-8f3a"

func token(expiry time.Time) *jeton.Token {
	return &jeton.Token{AccessToken: jeton.NewSecret(canary), Generation: 7, Expiry: expiry}
}

func at(t *testing.T, url, password string) func() (store.Address, error) {
	a, err := store.ParseAddress(url)
	if err != nil {
		t.Fatal(err)
	}
	if a.Password = jeton.NewSecret(password); a.Scheme == "rediss" {
		a.TLS = server.TLS
	}
	if err := Check(a); err != nil {
		t.Fatal(err)
	}
	return func() (store.Address, error) { return a, nil }
}

// reader is a program that knows nothing but Redis.
func reader(t *testing.T, db int) rueidis.Client {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr}, DisableCache: true, SelectDB: db})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func do(t *testing.T, c rueidis.Client, words ...string) rueidis.RedisResult {
	t.Helper()
	r := c.Do(t.Context(), c.B().Arbitrary(words...).Build())
	if err := r.Error(); err != nil && !rueidis.IsRedisNil(err) {
		t.Fatal(err)
	}
	return r
}

// TestPut: a program that reads the key gets the token, plain and by TLS, in
// the database of the URL, until the token expires.
func TestPut(t *testing.T) {
	for _, url := range []string{"redis://" + server.Addr + "/3", "rediss://" + server.AddrTLS + "/3"} {
		s := &Sink{Address: at(t, url, ""), Key: "tokens/support"}
		c := reader(t, 3)
		do(t, c, "SET", "tokens/support", "another", "EX", "5")
		if err := s.Put(t.Context(), token(time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
		if got, err := do(t, c, "GET", "tokens/support").ToString(); got != canary || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if left, err := do(t, c, "PTTL", "tokens/support").AsInt64(); left <= 0 || left > time.Hour.Milliseconds() || left < (50*time.Minute).Milliseconds() {
			t.Errorf("%d ms left, %v", left, err)
		}
		s.Format = sink.JSON
		if err := s.Put(t.Context(), token(time.Time{})); err != nil {
			t.Fatal(err)
		}
		if got, _ := do(t, c, "GET", "tokens/support").ToString(); got != `{"access_token":"`+canary+`","generation":7,"token_type":"Bearer"}` {
			t.Error(got)
		}
		if left, _ := do(t, c, "PTTL", "tokens/support").AsInt64(); left != -1 {
			t.Errorf("an unknown expiry became %d ms", left)
		}
		if err := s.Put(t.Context(), token(time.Now().Add(-time.Second))); err == nil {
			t.Error("an expired token was put")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestExpires: when the token expires, Redis removes it.
func TestExpires(t *testing.T) {
	s, c := &Sink{Address: at(t, "redis://"+server.Addr, ""), Key: "brief"}, reader(t, 0)
	defer s.Close()
	life := 100 * time.Millisecond // more where a busy machine takes longer to put it there
	for s.Put(t.Context(), token(time.Now().Add(life))) != nil {
		if life *= 2; life > time.Minute {
			t.Fatal("it cannot be put there")
		}
	}
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if n, _ := do(t, c, "EXISTS", "brief").AsInt64(); n == 0 {
			return
		}
	}
	t.Error("it is still there")
}

// TestServerRestarts: a server that went away and came back gets the token by
// one of the next tries, on a new connection.
func TestServerRestarts(t *testing.T) {
	s := &Sink{Address: at(t, "redis://"+server.Addr, ""), Key: "k"}
	defer s.Close()
	if err := s.Put(t.Context(), token(time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := s.Put(t.Context(), token(time.Now().Add(time.Hour))); err == nil || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), server.Addr) {
		t.Errorf("%v", err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 100 {
		if err = s.Put(t.Context(), token(time.Now().Add(time.Hour))); err == nil {
			break
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// TestPassword: a changed password is seen, and no error shows one.
func TestPassword(t *testing.T) {
	c := reader(t, 0)
	do(t, c, "ACL", "SETUSER", "copier", "on", ">right-8f3a", "~tokens/*", "+set", "+client", "+ping", "+hello", "+select")
	address := at(t, "redis://copier@"+server.Addr, "wrong-8f3a")
	s := &Sink{Address: func() (store.Address, error) { return address() }, Key: "tokens/x"}
	defer s.Close()
	if err := s.Put(t.Context(), token(time.Now().Add(time.Hour))); err == nil || strings.Contains(err.Error(), "8f3a") {
		t.Errorf("%v", err)
	}
	address = at(t, "redis://copier@"+server.Addr, "right-8f3a")
	if err := s.Put(t.Context(), token(time.Now().Add(time.Hour))); err != nil {
		t.Error(err)
	}
	s.Key = "elsewhere"
	if err := s.Put(t.Context(), token(time.Now().Add(time.Hour))); err == nil || !strings.Contains(err.Error(), "NOPERM") || strings.Contains(err.Error(), "8f3a") {
		t.Errorf("%v", err)
	}
}

// TestAnswersShowNothing: of what a server answers the code is shown, and not
// the command that it repeats.
func TestAnswersShowNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go withoutSET(l)
	s := &Sink{Address: at(t, "redis://"+l.Addr().String(), ""), Key: "k"}
	defer s.Close()
	if err := s.Put(t.Context(), token(time.Now().Add(time.Hour))); err == nil || !strings.HasSuffix(err.Error(), ": the server answered ERR") {
		t.Errorf("%v", err)
	}
}

// withoutSET plays a server that knows no SET: it asks the real one for a command
// that there is not.
func withoutSET(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", server.Addr)
		if err != nil {
			_ = c.Close()
			continue
		}
		go func() { _, _ = io.Copy(c, to); _ = c.Close() }()
		go func() {
			defer to.Close()
			for text := make([]byte, 1<<16); ; {
				n, err := c.Read(text)
				if err != nil {
					return
				}
				_, _ = to.Write(bytes.ReplaceAll(text[:n], []byte("\r\nSET\r\n"), []byte("\r\nXET\r\n")))
			}
		}()
	}
}

// TestHanging: a server that takes the connection and says nothing is given up
// when the context ends.
func TestHanging(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &Sink{Address: at(t, "redis://"+l.Addr().String(), ""), Key: "k"}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Put(ctx, token(time.Now().Add(time.Hour))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestCheck: addresses that are none.
func TestCheck(t *testing.T) {
	for _, url := range []string{"redis://h/x", "redis://h/0?prefix=p", "http://h"} {
		if a, err := store.ParseAddress(url); err == nil && Check(a) == nil {
			t.Errorf("%s is taken", url)
		}
	}
}
