package store

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// A Clock is a Store that can say what time it is on its own clock, which is
// one for all who share the store, while theirs may be minutes apart. A store
// that lives on its user's machine has none: the clock there is the user's.
//
// All stores of a fleet have one. A store that is reached over HTTP has one by
// [Date], which reads it from any answer.
type Clock interface {
	// Now returns the time on the store's clock. Some moment between the call
	// and the return, the clock was within the given length of time of it: a
	// store that knows whole seconds says the middle of one, and half a second.
	Now(ctx context.Context) (now time.Time, within time.Duration, err error)
}

// Date reads the clock of who sent an HTTP answer (RFC 9110 section 6.6.1), as
// [Clock] tells it.
func Date(h http.Header) (now time.Time, within time.Duration, err error) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("the answer has no Date: %w", err)
	}
	return date.Add(time.Second / 2), time.Second / 2, nil
}

// Like returns outer, which wraps inner, as a store that is a [Watcher], a
// [Follower] or a [Clock] if inner is one: by outer's own methods where it has
// them, else by those of inner.
func Like(outer, inner Store) Store {
	watcher, watches := own[Watcher](outer, inner)
	follower, follows := own[Follower](outer, inner)
	clock, tells := own[Clock](outer, inner)
	switch {
	case follows && tells:
		return struct {
			Store
			Follower
			Clock
		}{outer, follower, clock}
	case follows:
		return struct {
			Store
			Follower
		}{outer, follower}
	case watches && tells:
		return struct {
			Store
			Watcher
			Clock
		}{outer, watcher, clock}
	case watches:
		return struct {
			Store
			Watcher
		}{outer, watcher}
	case tells:
		return struct {
			Store
			Clock
		}{outer, clock}
	}
	return struct{ Store }{outer}
}

func own[T any](outer, inner Store) (_ T, has bool) {
	of, has := inner.(T)
	if mine, ok := outer.(T); ok && has {
		return mine, true
	}
	return of, has
}
