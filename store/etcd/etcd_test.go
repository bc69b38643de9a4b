package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

var server *storetest.Server

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, storetest.StartEtcd, &server)) }

var prefixes atomic.Int64

// fresh returns the URL of a store that nobody else uses.
func fresh() string { return fmt.Sprintf("etcd://%s?prefix=test-%d", server.Addr, prefixes.Add(1)) }

func address(t testing.TB, url string) store.Address { return storetest.Address(t, url, "") }

func open(t testing.TB, url string) *Store { return storetest.Open(t, Open, address(t, url)) }

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, fresh()) })
}

// What one process writes, another one is told.
func TestWatchSeesOthers(t *testing.T) {
	url := fresh()
	here, there := open(t, url), open(t, url)
	changed, err := here.Watch(t.Context(), "a/")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		r := storetest.Put(t, there, store.Record{Key: fmt.Sprint("a/", i)})
		storetest.Await(t, changed, "a write")
		if _, err := there.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		storetest.Await(t, changed, "a change")
	}
}

// Index and record never disagree: what leaves, leaves both.
func TestNothingStays(t *testing.T) {
	s := open(t, fresh())
	for range 3 {
		r := storetest.Put(t, s, store.Record{Key: "a", Due: time.Unix(1, 0)})
		r.Due = time.Unix(2, 0)
		r = storetest.Put(t, s, r)
		r.Value = []byte("the same due time")
		r = storetest.Put(t, s, r)
		if due, err := s.Due(t.Context(), "", time.Unix(3, 0), 10); err != nil || len(due) != 1 || due[0].Version != r.Version {
			t.Errorf("due: %v, %v", due, err)
		}
		if err := s.Delete(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	left, err := s.client.Get(t.Context(), strings.TrimSuffix(s.names.record, "r:"), clientv3.WithPrefix())
	if err != nil || len(left.Kvs) != 1 || string(left.Kvs[0].Key) != s.names.format {
		t.Errorf("left: %v, %v", left, err)
	}
}

// A version is right as a whole: the due time in it, too.
func TestForgedVersion(t *testing.T) {
	s := open(t, fresh())
	r := storetest.Put(t, s, store.Record{Key: "a", Due: time.Unix(1, 0)})
	revision, due := parseVersion(r.Version)
	for _, version := range []string{
		formatVersion(revision, formatDue(time.Unix(2, 0))), r.Version + "0", formatVersion(revision+1, due), formatVersion(-1, due), "." + due,
	} {
		r := store.Record{Key: "a", Version: version}
		if _, err := s.Put(t.Context(), r); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Put at %q: %v", version, err)
		}
		if err := s.Delete(t.Context(), r); !errors.Is(err, store.ErrConflict) {
			t.Errorf("Delete at %q: %v", version, err)
		}
	}
}

// More entries of the index than a page of it.
func TestDuePages(t *testing.T) {
	s := open(t, fresh())
	for i := range 2*page + 50 {
		storetest.Put(t, s, store.Record{Key: fmt.Sprintf("%c/%03d", "ab"[i%2], i), Due: time.Unix(int64(i), 0)})
	}
	for limit, want := range map[int]int{1: 1, page: page, page + 20: page + 20, 1000: page + 25} {
		list, err := s.Due(t.Context(), "b/", time.Unix(1000, 0), limit)
		if err != nil || len(list) != want {
			t.Fatalf("limit %d: %d records, %v; want %d", limit, len(list), err, want)
		}
		for i, r := range list {
			if r.Key != fmt.Sprintf("b/%03d", 2*i+1) {
				t.Fatalf("limit %d: record %d is %s", limit, i, r.Key)
			}
		}
	}
}

// Two stores on one server, whose prefixes begin alike, see nothing of each
// other.
func TestPrefixes(t *testing.T) {
	base := fresh()
	var stores []*Store
	for _, url := range []string{base, base + "x", base + "/r", base + "/d"} {
		stores = append(stores, open(t, url))
	}
	storetest.WantApart(t, stores...)
}

func TestRestart(t *testing.T) {
	s := open(t, fresh())
	r, changed := storetest.WantRestart(t, server, s, nil)
	storetest.Put(t, s, r)
	storetest.Await(t, changed, "a write after the restart")
}

// A broker was cut off for so long that the cluster has forgotten what changed.
func TestWatchOutlivesCompaction(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wire := &wire{to: server.Addr}
	go wire.accept(l)
	defer func() { _ = l.Close() }()

	url := fresh()
	there, here := open(t, url), open(t, strings.Replace(url, server.Addr, l.Addr().String(), 1))
	ups := make(chan struct{}, 100)
	here.feed.Listen = func(ctx context.Context, up func()) error {
		return here.listen(ctx, func() { up(); ups <- struct{}{} })
	}
	changed := storetest.Settled(t, here, "a")
	storetest.Await(t, ups, "the first connection")
	wire.cut(true)
	r := storetest.Put(t, there, storetest.Put(t, there, storetest.Put(t, there, store.Record{Key: "a"})))
	revision, _ := parseVersion(r.Version)
	if _, err := there.client.Compact(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	wire.cut(false)
	storetest.Await(t, changed, "what was forgotten")
	storetest.Await(t, ups, "the new watch")
	other, err := here.Watch(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, there, store.Record{Key: "b"})
	storetest.Await(t, other, "a write after it")
}

// A wire leads to a server and can be cut.
type wire struct {
	to    string
	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func (w *wire) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		s, err := net.Dial("tcp", w.to)
		if err != nil || w.down {
			_ = c.Close()
		} else {
			w.conns = append(w.conns, c, s)
			go func() { _, _ = io.Copy(c, s) }()
			go func() { _, _ = io.Copy(s, c) }()
		}
		w.mu.Unlock()
	}
}

func (w *wire) cut(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func wantRefused(t *testing.T, a store.Address, want ...string) {
	t.Helper()
	storetest.WantRefused(t, Open, a, want...)
}

func TestLogin(t *testing.T) {
	ctx := t.Context()
	url := fresh()
	admin := open(t, url)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(admin.client.UserAdd(ctx, "root", storetest.WrongPassword))
	must(admin.client.UserGrantRole(ctx, "root", "root"))
	must(admin.client.UserAdd(ctx, "ann", storetest.Password))
	must(admin.client.RoleAdd(ctx, "jeton"))
	end := strings.TrimSuffix(admin.names.record, ":r:") + ";"
	must(admin.client.RoleGrantPermission(ctx, "jeton", strings.TrimSuffix(admin.names.record, "r:"), end, clientv3.PermissionType(clientv3.PermReadWrite)))
	must(admin.client.UserGrantRole(ctx, "ann", "jeton"))
	must(admin.client.AuthEnable(ctx))
	root := address(t, strings.Replace(fresh(), "//", "//root@", 1))
	root.Password = jeton.NewSecret(storetest.WrongPassword)
	defer func() {
		s, err := Open(context.WithoutCancel(ctx), root)
		must(nil, err)
		must(s.client.AuthDisable(context.WithoutCancel(ctx)))
		must(s.client.UserDelete(context.WithoutCancel(ctx), "root"))
		must(s.client.UserDelete(context.WithoutCancel(ctx), "ann"))
		must(s.client.RoleDelete(context.WithoutCancel(ctx), "jeton"))
		_ = s.Close()
	}()

	a := address(t, strings.Replace(url, "//", "//ann@", 1))
	a.Password = jeton.NewSecret("hunter3")
	wantRefused(t, a, server.Addr, "authentication failed")
	wantRefused(t, address(t, url), server.Addr, "user name is empty")
	a.Password = jeton.NewSecret(storetest.Password)
	s, err := Open(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	changed := storetest.Settled(t, s, "a")
	storetest.Put(t, s, store.Record{Key: "a", Due: time.Unix(1, 0)})
	storetest.Await(t, changed, "a write")
	if list, err := s.Due(ctx, "", time.Now(), 10); err != nil || len(list) != 1 {
		t.Errorf("%d records due, %v", len(list), err)
	}
	// The prefix of another store is not ann's.
	b := address(t, strings.Replace(fresh(), "//", "//ann@", 1))
	b.Password = a.Password
	wantRefused(t, b, "permission denied")
}

func TestTLS(t *testing.T) {
	url := strings.Replace(strings.Replace(fresh(), server.Addr, server.AddrTLS, 1), "etcd:", "etcds:", 1)
	a := address(t, url)
	wantRefused(t, a, "certificate")
	a.TLS = server.TLS
	s, err := Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, s, store.Record{Key: "a"})
	changed := storetest.Settled(t, s, "b")
	storetest.Put(t, s, store.Record{Key: "b"})
	storetest.Await(t, changed, "a write")
	if _, _, err := s.Now(t.Context()); err != nil {
		t.Errorf("the clock: %v", err)
	}
	_ = s.Close()
}

func TestOpenRefuses(t *testing.T) {
	for url, want := range map[string]string{
		"etcd://127.0.0.1:1":          "127.0.0.1:1: ",
		"etcd://127.0.0.1:1?prefix=a": "connection refused",
		"etcd://127.0.0.1/x":          "the URL has no path",
		"etcd://127.0.0.1?prefx=x":    `unknown name "prefx"`,
		"etcd://127.0.0.1?prefix={}":  "the prefix is to be",
		"http://127.0.0.1":            "etcd:// or etcds://",
	} {
		wantRefused(t, address(t, url), want)
	}
	a := address(t, "etcd://ann@127.0.0.1:1")
	a.Password = jeton.NewSecret(storetest.Password)
	wantRefused(t, a, "connection refused")
	a = address(t, fresh())
	a.TLS = server.TLS
	wantRefused(t, a, "etcds://")

	newer := fresh()
	s := open(t, newer)
	if _, err := s.client.Put(t.Context(), s.names.format, "2"); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, address(t, newer), "written by a newer jeton")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, address(t, fresh())); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestClosed(t *testing.T) { storetest.WantClosed(t, open(t, fresh())) }

// What does not look like a record is told, and not taken for none.
func TestForeignData(t *testing.T) {
	s := open(t, fresh())
	for i, value := range []string{"", "\x02", "\x01short"} {
		key := fmt.Sprint(i)
		if _, err := s.client.Put(t.Context(), s.names.record+key, value); err != nil {
			t.Fatal(err)
		}
		if r, err := s.Get(t.Context(), key); err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %+v, %v", value, r, err)
		}
	}
}
