package store_test

import (
	"testing"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return store.NewMemory() })
}

// A write is told before it returns.
func TestMemoryFollowAtOnce(t *testing.T) {
	s := store.NewMemory()
	l := storetest.FollowStore(t, s, "a/")
	c := store.Change{Key: "a/b"}
	l.Write(c, func() error { _, err := s.Put(t.Context(), store.Record{Key: c.Key}); return err })
	if !l.Told(c) {
		t.Error("the write returned and was not told")
	}
}
