package broker

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/jetonhq/jeton/store"
)

// A store may lose what it answered: a Redis that keeps nothing is restarted,
// a replica that lacks the last second takes over, a snapshot is restored. But
// every broker remembers the record as it saw it last. Who finds it gone, or
// as it was before, puts it back by compare-and-swap: token, lease, latch and
// back-off outlive the store, and nobody logs in because of it. Of several who
// put it back, the one who saw most has the last word, since the others'
// records are older to it.

// putBack returns the record as it is to be, when what was read of the store
// is less than what this broker knows; the error is the store's.
func (k *keeper) putBack(ctx context.Context, r record, at store.Record) (record, store.Record, error) {
	for k.lost(r, at) {
		back := k.view.Load().record
		back.History = r.History // memory has none
		next, err := k.save(ctx, back, at)
		if err == nil {
			k.b.Logger.Warn("the store had lost the record; put it back", "account", k.account.Name, "generation", back.Generation)
			back.Rev++
			return back, next, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			return record{}, store.Record{}, err
		}
		if r, at, err = k.fetch(ctx); err != nil { // another broker did, or the first read was overtaken
			return record{}, store.Record{}, err
		}
	}
	return r, at, nil
}

// lost reports whether a record that was read has been seen later than that.
func (k *keeper) lost(r record, at store.Record) bool {
	v := k.view.Load()
	switch {
	case v.Rev == 0:
		return false // it was never seen
	case at.Version == "":
		return true
	}
	// A result that is on its way into the store is seen here before.
	return bytes.Equal(v.Salt, r.Salt) && r.Rev < v.Rev && !k.saving.Load()
}

// begunAnew reports whether a record is one that a broker began which knew
// nothing of the one before, and has no token yet. What is in memory is better.
func (v *view) begunAnew(next *view, now time.Time) bool {
	return !bytes.Equal(v.Salt, next.Salt) && next.Generation == 0 && !next.Ended && !next.held && v.good(now)
}
