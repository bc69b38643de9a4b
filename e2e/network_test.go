package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store/storetest"
)

// TestNetwork has the network between a store and one of three brokers fail in
// several ways while the token is being replaced: that of the broker which
// logs in, or of one which follows. No reader of any broker sees an error. At
// most one login is made twice, where nobody can tell that the first one works.
// When the network is whole again, all have the newest token.
func TestNetwork(t *testing.T) {
	t.Parallel()
	const redis, postgres, etcd = "redis://%s/0", "postgres://postgres@%s/postgres?sslmode=disable", "etcd://%s"
	start := map[string]func() (*storetest.Server, error){
		redis: storetest.StartRedis, postgres: storetest.StartPostgres, etcd: storetest.StartEtcd,
	}
	for name, c := range map[string]struct {
		store    string
		is       condition
		follower bool // befalls one that follows
		logins   int  // all in all
	}{
		"Redis, hole at the leader":               {redis, hole, false, 3},
		"PostgreSQL, hole at the leader":          {postgres, hole, false, 3},
		"etcd, hole at the leader":                {etcd, hole, false, 3},
		"Redis, hole at a follower":               {redis, hole, true, 2},
		"PostgreSQL, hole at a follower":          {postgres, hole, true, 2},
		"etcd, hole at a follower":                {etcd, hole, true, 2},
		"Redis, the leader is cut off":            {redis, condition{cut: true}, false, 3},
		"Redis, a follower is cut off":            {redis, condition{cut: true}, true, 2},
		"Redis, the leader hears nothing":         {redis, condition{back: true}, false, 2},
		"Redis, the leader is half a second away": {redis, condition{delay: 500 * time.Millisecond}, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := start[c.store]()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Close)
			v := newCounter(t)
			v.lifetime = time.Minute // due when half of it is over
			f := newFleet(t, v)
			links := map[*member]*link{}
			for range 3 {
				l := newLink(t, server.Addr, condition{})
				f.start(t, fmt.Sprintf(c.store, l.addr))
				links[f.brokers[len(f.brokers)-1]] = l
			}
			wantAll(t, gather(f.brokers, "support", 10))
			v.want(t, 1)
			r := read(f.brokers, 5, 250*time.Millisecond)

			v.hold()
			v.await(t, 2)
			leader, others := f.leader(t)
			struck, whole := leader, others
			if c.follower {
				struck, whole = others[0], []*member{leader, others[1]}
			}
			links[struck].set(c.is)
			v.set(func() { v.lifetime = time.Hour })
			v.release()
			f.settle(t, 2, leader) // from memory
			f.settle(t, c.logins, whole...)
			links[struck].set(condition{})
			f.settle(t, c.logins, f.brokers...)
			v.want(t, c.logins)
			wantTokens(t, r.end(), 1, 2, c.logins)
		})
	}
}

// TestFarStore has eight brokers half a second away from their store, and a
// hundred callers at each before there is a token.
func TestFarStore(t *testing.T) {
	t.Parallel()
	redis, _ := startRedis(t)
	v := newCounter(t)
	v.takes = 300 * time.Millisecond
	f := newFleet(t, v)
	var urls []string
	for range 8 {
		urls = append(urls, "redis://"+newLink(t, redis.Addr, condition{delay: 500 * time.Millisecond}).addr+"/0")
	}
	f.start(t, urls...)
	wantAll(t, gather(f.brokers, "support", 100))
	v.want(t, 1)
}
