package store

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Watchers are those who wait for a store to change. The zero value has none.
// It is for those who write a [Watcher], and safe for concurrent use.
type Watchers struct {
	mu       sync.Mutex
	byPrefix map[string]map[*watcher]bool // :: prefix -> watchers
	longest  int                          // bytes of the longest prefix ever
}

type watcher struct {
	changed chan struct{} // holds one pending signal at most
}

// Add returns a channel for the changes under prefix. It is closed when ctx
// ends.
func (ws *Watchers) Add(ctx context.Context, prefix string) <-chan struct{} {
	w := &watcher{changed: make(chan struct{}, 1)}
	ws.mu.Lock()
	if ws.byPrefix == nil {
		ws.byPrefix = map[string]map[*watcher]bool{}
	}
	if ws.byPrefix[prefix] == nil {
		ws.byPrefix[prefix] = map[*watcher]bool{}
	}
	ws.byPrefix[prefix][w] = true
	ws.longest = max(ws.longest, len(prefix))
	ws.mu.Unlock()
	context.AfterFunc(ctx, func() {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		if delete(ws.byPrefix[prefix], w); len(ws.byPrefix[prefix]) == 0 {
			delete(ws.byPrefix, prefix)
		}
		close(w.changed)
	})
	return w.changed
}

// Signal tells those who watch key. Its cost does not grow with the number of
// the others: a broker watches each of its accounts.
func (ws *Watchers) Signal(key string) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for i := range min(len(key), ws.longest) + 1 {
		for w := range ws.byPrefix[key[:i]] {
			w.signal()
		}
	}
}

// SignalAll tells everyone: any record may have changed.
func (ws *Watchers) SignalAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, same := range ws.byPrefix {
		for w := range same {
			w.signal()
		}
	}
}

func (w *watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default: // one is pending already
	}
}

// A Feed is Watchers that hear of changes over a connection, which may break.
// No change is missed: when the connection is there again everyone is told, and
// as long as it is not, every few seconds.
type Feed struct {
	// Listen connects, calls up as soon as it hears of every change, tells
	// them by Signal or SignalAll, and returns when the connection broke or
	// ctx ended. Where the store is a [Follower] it tells Followers too, and
	// them only while the connection is there.
	Listen func(ctx context.Context, up func()) error

	Watchers
	Followers Followers // those of Follow

	mu      sync.Mutex
	stop    context.CancelFunc // nil: nobody ever watched
	running sync.WaitGroup
	closed  chan struct{} // closed by Close; nil: nobody ever watched or closed
}

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("the store is closed")

const (
	relistenFirst = 50 * time.Millisecond
	relistenMost  = 5 * time.Second // also how often watchers look for themselves meanwhile
)

// Watch implements [Watcher].
func (f *Feed) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var changed <-chan struct{}
	_, err := f.join(func() { changed = f.Add(ctx, prefix) })
	return changed, err
}

// Follow implements [Follower] for a store whose Listen tells Followers.
func (f *Feed) Follow(ctx context.Context, prefix string, changed func(key string), fresh func(time.Time)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var leave func()
	closed, err := f.join(func() { leave = f.Followers.Add(prefix, changed, fresh) })
	if err != nil {
		return err
	}
	defer leave()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-closed:
		return ErrClosed
	}
}

// join calls add, makes sure that the feed listens, and returns what Close
// closes. Whoever was added hears of the first connection.
func (f *Feed) join(add func()) (closed <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.ending():
		return nil, ErrClosed
	default:
	}
	add()
	if f.stop == nil {
		var running context.Context
		running, f.stop = context.WithCancel(context.Background())
		f.running.Go(func() { f.run(running) })
	}
	return f.closed, nil
}

// ending returns the channel that Close closes. The caller holds mu.
func (f *Feed) ending() chan struct{} {
	if f.closed == nil {
		f.closed = make(chan struct{})
	}
	return f.closed
}

// run listens until ctx ends.
func (f *Feed) run(ctx context.Context) {
	delay := relistenFirst
	for {
		_ = f.Listen(ctx, func() { // those who read or write the store see the error too
			delay = relistenFirst
			f.SignalAll()
			f.Followers.Tell("")
		})
		t := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		delay = min(2*delay, relistenMost)
		f.SignalAll()
	}
}

// Close ends listening. The channels stay open until their contexts end.
func (f *Feed) Close() {
	f.mu.Lock()
	select {
	case <-f.ending():
	default:
		close(f.closed)
	}
	if f.stop != nil {
		f.stop()
	}
	f.mu.Unlock()
	f.running.Wait()
}
