package audit

import (
	"fmt"
	"sync"
	"testing"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/postgres"
	"github.com/jetonhq/jeton/store/storetest"
)

// The same log in PostgreSQL, also over a single connection that the store
// uses too, and made by several processes at once.
func TestPostgres(t *testing.T) {
	server, err := storetest.StartPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	for _, options := range []string{"prefix=a/b", "prefix=one&pool_max_conns=1"} {
		t.Run(options, func(t *testing.T) {
			var all sync.WaitGroup
			logs := make([]*SQL, 4)
			stores := make([]*postgres.Store, len(logs))
			for i := range logs {
				all.Go(func() { stores[i], logs[i] = openPostgres(t, server, options) })
			}
			all.Wait()
			if t.Failed() {
				return
			}
			testLog(t, logs[0])
			for i, l := range logs {
				for n := range 10 {
					all.Go(func() {
						if err := l.Append(t.Context(), Entry{Target: "together"}); err != nil {
							t.Error(err)
						}
						if _, err := stores[i].Put(t.Context(), store.Record{Key: fmt.Sprint(i, "/", n)}); err != nil {
							t.Error(err)
						}
					})
				}
			}
			all.Wait()
			if got := list(t, logs[1], Query{Target: "together", Limit: 100}); len(got) != 40 {
				t.Errorf("%d entries, want 40", len(got))
			}
		})
	}
}

func openPostgres(t *testing.T, server *storetest.Server, options string) (*postgres.Store, *SQL) {
	a, err := store.ParseAddress("postgres://postgres@" + server.Addr + "/postgres?sslmode=disable&" + options)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	s, err := postgres.Open(t.Context(), a)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	t.Cleanup(func() { _ = s.Close() })
	l, err := NewPostgres(t.Context(), s.DB(), s.Prefix())
	if err != nil {
		t.Error(err)
	}
	return s, l
}
