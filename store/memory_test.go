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
	l.Write("a/b", func() error { _, err := s.Put(t.Context(), store.Record{Key: "a/b"}); return err })
	if !l.Told("a/b") {
		t.Error("the write returned and was not told")
	}
}
