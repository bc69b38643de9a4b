package store_test

import (
	"testing"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return store.NewMemory() })
}
