package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLeaderDies kills the broker that logs in while the vendor holds the
// answer back: first when nobody has a token yet, then when the old one is
// being refreshed ahead of its expiry. Another broker takes over. It logs in:
// the vendor may have taken the refresh token, and would end the whole family
// if that came again.
func TestLeaderDies(t *testing.T) {
	t.Parallel()
	_, url := startRedis(t)
	v := newCounter(t)
	v.lifetime, v.rotates = time.Minute, true // due when half of it is over
	f := newFleet(t, v)
	f.start(t, repeated(url, 4)...)

	v.hold()
	done := make(chan []answer)
	go func() { done <- gather(f.brokers, "support", 50) }()
	v.await(t, 1)
	dead, living := f.leader(t)
	dead.kill(t)
	v.release()
	served := 0
	for _, a := range <-done {
		if a.status == http.StatusOK && a.text("access_token") == "token-2-of-support" {
			served++
		} else if a.status != 0 { // nobody's, if it was the dead broker's
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if served != 50*len(living) {
		t.Errorf("%d of %d readers got the token", served, 50*len(living))
	}
	v.want(t, 2)

	v.hold()
	dead.again(t)
	f.settle(t, 2, f.brokers...)
	r := read(f.brokers, 10, 250*time.Millisecond)
	v.await(t, 3) // ahead of the expiry
	dead, living = f.leader(t)
	dead.kill(t)
	v.release()
	f.settle(t, 4, living...)
	wantTokens(t, r.end(), 2, 4)
	v.want(t, 4)
	if sent := v.logins(); sent[2].refresh != "refresh-2" || sent[3].refresh != "" {
		t.Errorf("the vendor got %v; want a refresh and then a login", sent[2:])
	}
}

// TestStoreRestarts restarts Redis in the middle of a login, with what it had
// on its disk, and with nothing left. What the brokers know outlives that:
// nobody logs in because of it.
func TestStoreRestarts(t *testing.T) {
	t.Parallel()
	for name, empty := range map[string]bool{"as it was": false, "empty": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis, url := startRedis(t)
			restart := func() {
				redis.Stop()
				if empty {
					if err := os.RemoveAll(filepath.Join(redis.Dir, "appendonlydir")); err != nil {
						t.Fatal(err)
					}
				}
			}
			v := newCounter(t)
			v.lifetime = 40 * time.Second // due when half of it is over
			f := newFleet(t, v)
			f.start(t, repeated(url, 4)...)
			wantAll(t, gather(f.brokers, "support", 1))
			v.want(t, 1)
			r := read(f.brokers, 10, 250*time.Millisecond)

			// The answer comes while the store is away.
			v.hold()
			v.await(t, 2)
			leader, _ := f.leader(t)
			restart()
			v.release()
			f.settle(t, 2, leader) // kept, and served
			if err := redis.Start(); err != nil {
				t.Fatal(err)
			}
			f.settle(t, 2, f.brokers...) // saved
			v.want(t, 2)

			// The answer comes when the store is back.
			v.hold()
			v.await(t, 3)
			restart()
			if err := redis.Start(); err != nil {
				t.Fatal(err)
			}
			v.set(func() { v.lifetime = time.Hour })
			v.release()
			f.settle(t, 3, f.brokers...)
			v.want(t, 3)

			// Nothing is on its way. A broker that knows nothing yet finds the
			// token, since those who know it put it back.
			restart()
			if err := redis.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() (string, bool) {
				names := tell(t, redis, "KEYS *")
				return names, strings.Contains(names, ":r:broker/")
			})
			f.start(t, url)
			f.settle(t, 3, f.brokers...)
			wantTokens(t, r.end(), 1, 2, 3)
			v.want(t, 3)
		})
	}
}

// TestStoreOutage takes the store away from eight brokers for as long as
// OUTAGE says (30s). It is away before there is a first token, and again while
// the token falls due.
func TestStoreOutage(t *testing.T) {
	t.Parallel()
	outage := 30 * time.Second
	if text := os.Getenv("OUTAGE"); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	redis, url := startRedis(t)
	v := newCounter(t)
	v.takes = 300 * time.Millisecond
	v.lifetime = outage * 5 / 3 // due after not quite half of it
	f := newFleet(t, v)
	f.start(t, repeated(url, 8)...)

	redis.Stop()
	for _, a := range gather(f.brokers, "support", 100) {
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Fatalf("without a token and a store: %d %s", a.status, a.body)
		}
	}
	v.want(t, 0) // who logs in without a lease is one of eight
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	early := read(f.brokers, 10, 250*time.Millisecond)
	f.settle(t, 1, f.brokers...)
	early.end()
	v.want(t, 1)

	redis.Stop()
	over := time.After(outage)
	r := read(f.brokers, 10, 250*time.Millisecond)
	<-over
	v.want(t, 1)
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	f.settle(t, 2, f.brokers...)
	wantTokens(t, r.end(), 1, 2)
	v.want(t, 2)
}
