// Package storetest is the exam that every store passes, and the stores that
// tests of other packages break things with: a slow one and a faulty one.
package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
)

// Run examines the stores that open returns. Each must be empty and independent of the
// others; open cleans up by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, part := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"Model", testModel},
		{"Absent", testAbsent},
		{"OneWinner", testOneWinner},
		{"OneCreator", testOneCreator},
		{"OneDeleter", testOneDeleter},
		{"NoLostUpdate", testNoLostUpdate},
		{"VersionsNeverReused", testVersions},
		{"List", testList},
		{"Due", testDue},
		{"Values", testValues},
		{"NotAliased", testNotAliased},
		{"Canceled", testCanceled},
		{"Watch", testWatch},
		{"Follow", testFollow},
		{"Clock", testClock},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// must returns v and ends the test on an error.
func must[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// put writes a record and ends the test if the store refuses.
func put(t testing.TB, s store.Store, r store.Record) store.Record {
	t.Helper()
	r, err := s.Put(t.Context(), r)
	return must(t, r, err)
}

// race runs f in n goroutines that start together and returns their errors.
func race(n int, f func(i int) error) []error {
	var (
		wg    sync.WaitGroup
		start = make(chan struct{})
		errs  = make([]error, n)
	)
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func keysOf(records []store.Record) []string {
	keys := make([]string, len(records))
	for i, r := range records {
		keys[i] = r.Key
	}
	return keys
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func describe(r store.Record) string {
	return fmt.Sprintf("%q at %s, due %v, %d bytes", r.Key, r.Version, r.Due, len(r.Value))
}
