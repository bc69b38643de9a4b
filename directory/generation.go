package directory

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton/store"
)

// Generations are counters that end tokens. A token carries the numbers that
// the counters had at its login and is good while they are still the same;
// there is no row for it. They outlive what they count, so that whoever is
// removed and added again finds the old tokens ended.
//
// Whoever ends something writes the new state first and raises the counter
// then. Whoever logs in reads the counter first and the state then. So of a
// login and a disabling that race, either the login sees the state and fails,
// or its token carries a number that is about to be passed.
//
// Stored at realm/<realm>/generation/<kind>/<id>, never deleted.
type generation struct {
	V  int       `json:"v"`
	N  uint64    `json:"n"`
	At time.Time `json:"at,omitzero"` // when it was raised to N; zero: written before that was
}

// A Raise is that a counter was raised.
type Raise struct {
	Kind, ID string
	Number   uint64    // that it has now
	At       time.Time // on the clock of who raised it; zero: unknown
}

// Generation returns the number of a counter, 0 if it was never raised. Kinds
// are "user", "client", "key", "tenant" and "grant"; the ID is that of the
// entry, and whatever the caller makes of it for a grant.
func (d *Directory) Generation(ctx context.Context, kind, id string) (uint64, error) {
	g, _, err := d.generation(ctx, kind, id)
	return g.N, err
}

func (d *Directory) generation(ctx context.Context, kind, id string) (generation, store.Record, error) {
	key := d.key("generation", kind, id)
	g, r, err := load[generation](ctx, d, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return generation{V: 1}, store.Record{Key: key}, nil
	case err != nil:
		return g, r, fmt.Errorf("directory: read the generation of %s %q: %w", kind, id, err)
	}
	return g, r, nil
}

// Raises calls f with every counter of a kind that was ever raised, until that
// fails.
func (d *Directory) Raises(ctx context.Context, kind string, f func(Raise) error) error {
	const batch = 1000
	prefix := d.key("generation", kind) + "/"
	for after := ""; ; {
		records, err := d.store.List(ctx, prefix, after, batch)
		if err != nil {
			return fmt.Errorf("directory: list the generations: %w", err)
		}
		for _, r := range records {
			raise, err := readRaise(kind, strings.TrimPrefix(r.Key, prefix), r)
			if err == nil {
				err = f(raise)
			}
			if err != nil {
				return err
			}
			after = r.Key
		}
		if len(records) < batch {
			return nil
		}
	}
}

// Counter reads the counter whose record is stored under a key, and reports
// false if the key is none of a counter of this realm.
func (d *Directory) Counter(ctx context.Context, key string) (Raise, bool, error) {
	kind, id, ok := strings.Cut(strings.TrimPrefix(key, d.key("generation")+"/"), "/")
	if !ok || !strings.HasPrefix(key, d.key("generation")+"/") {
		return Raise{}, false, nil
	}
	r, err := d.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return Raise{}, false, nil
	}
	if err != nil {
		return Raise{}, false, fmt.Errorf("directory: read a generation: %w", err)
	}
	raise, err := readRaise(kind, id, r)
	return raise, err == nil, err
}

// readRaise reads the record of a counter. The ID is as it stands in the key.
func readRaise(kind, id string, r store.Record) (Raise, error) {
	g, err := decode[generation](r)
	if err == nil {
		id, err = url.PathUnescape(id)
	}
	if err != nil {
		return Raise{}, fmt.Errorf("directory: read a generation: %w", err)
	}
	return Raise{kind, id, g.N, g.At}, nil
}

// Raise adds 1 to a counter and returns the sum, which no other call returns.
// It tells Raised.
func (d *Directory) Raise(ctx context.Context, kind, id string) (uint64, error) {
	// Compare-and-swap alone would be right. But of n callers it lets one pass
	// in each round, which is n²/2 writes for a thousand logins at once.
	done, err := d.raising.enter(ctx, kind+"/"+id)
	if err != nil {
		return 0, fmt.Errorf("directory: raise the generation of %s %q: %w", kind, id, err)
	}
	defer done()
	for {
		g, r, err := d.generation(ctx, kind, id)
		if err != nil {
			return 0, err
		}
		g.N++
		g.At = time.Now().UTC().Truncate(time.Millisecond)
		_, err = d.save(ctx, r, g)
		switch {
		case err == nil:
			if d.Raised != nil {
				d.Raised(Raise{kind, id, g.N, g.At})
			}
			return g.N, nil
		case !errors.Is(err, store.ErrConflict): // a conflict: another process raised it
			return 0, fmt.Errorf("directory: raise the generation of %s %q: %w", kind, id, err)
		}
	}
}

// queues let one caller at a time in for each name. The zero value is ready.
type queues struct {
	mu     sync.Mutex
	queues map[string]*queue // :: name -> those who are in or wait
}

type queue struct {
	turn   chan struct{} // holds one value while somebody is in
	people int           // who are in or wait; guarded by queues.mu
}

// enter waits for its turn. The caller calls done when it leaves. If the error
// is not nil the context ended, and there is nothing to leave.
func (q *queues) enter(ctx context.Context, name string) (done func(), err error) {
	q.mu.Lock()
	mine := q.queues[name]
	if mine == nil {
		mine = &queue{turn: make(chan struct{}, 1)}
		if q.queues == nil {
			q.queues = map[string]*queue{}
		}
		q.queues[name] = mine
	}
	mine.people++
	q.mu.Unlock()
	leave := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if mine.people--; mine.people == 0 {
			delete(q.queues, name)
		}
	}
	select {
	case mine.turn <- struct{}{}:
		return func() { <-mine.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
