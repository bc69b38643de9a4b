package sqlite

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// How soon a change by another process is noticed. A look costs ten
// microseconds, and to wake up for it ten times that: who follows is woken by
// the system when somebody writes to the file, and looks often for a while then.
const (
	watchEvery  = 100 * time.Millisecond
	followEvery = 2 * time.Millisecond
	followBlind = 5 * time.Millisecond   // where the system does not wake us
	stirFor     = 200 * time.Millisecond // after a write, until the commit is to be seen
)

// Watch implements [store.Watcher]. A write by this process signals at once, one
// by another within a tenth of a second. SQLite tells that the file changed and
// not where, so the latter reaches every watcher, whatever its prefix.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var watch <-chan struct{}
	err := s.begin(ctx, func() { watch = s.watchers.Add(ctx, prefix) })
	return watch, err
}

// Follow implements [store.Follower]. A write by another process is noticed
// within some milliseconds; which record it was nobody knows.
func (s *Store) Follow(ctx context.Context, prefix string, changed func(key string), fresh func(time.Time)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var leave func()
	if err := s.begin(ctx, func() { leave = s.followers.Add(prefix, changed, fresh) }); err != nil {
		return err
	}
	defer leave()
	s.stir() // for a first look
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing.Done():
		return s.wrap(ctx, sql.ErrConnDone)
	}
}

// begin makes sure that there is a poller, and calls add.
func (s *Store) begin(ctx context.Context, add func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return s.wrap(ctx, sql.ErrConnDone)
	}
	if !s.polling {
		// The first look is now: whatever comes after Watch returned is news.
		p := &poll{store: s}
		if err := p.look(ctx); err != nil {
			return s.wrap(ctx, err)
		}
		s.polling = true
		s.poller.Go(func() { s.poll(p) })
	}
	add()
	return nil
}

func (s *Store) stir() {
	select {
	case s.stirred <- struct{}{}:
	default: // it is being told already
	}
}

// poll looks whether another process wrote, until Close.
func (s *Store) poll(p *poll) {
	defer p.end()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	blind := false
	var often time.Time // until when to look often
	var stop func()     // nil: nobody wakes us
	for every := watchEvery; ; {
		select {
		case <-s.closing.Done():
			if stop != nil {
				stop()
			}
			return
		case <-tick.C:
		case <-s.stirred:
			often = time.Now().Add(stirFor)
		}
		following := s.followers.Any()
		if following && stop == nil && !blind {
			var err error
			stop, err = stir(s.wal, s.stir)
			blind = err != nil
		}
		// Who cannot look must assume the worst, which costs a read.
		if err := p.look(s.closing); err != nil {
			s.tellAll()
		}
		now := watchEvery
		switch {
		case following && blind:
			now = followBlind
		case following && time.Now().Before(often):
			now = followEvery
		}
		if now != every {
			every = now
			tick.Reset(every)
		}
	}
}

func (s *Store) tellAll() {
	s.watchers.SignalAll()
	s.followers.Tell("")
}

// writes says which writes are known to this process. Every write of any process
// has a number, one larger than that before; so a number that is not ours is
// another's.
type writes struct {
	mu    sync.Mutex // held while a write of ours is committed
	known int64      // all up to this number are ours, or others' that were told
}

// commit commits the write of a record and tells it, and whether another
// process wrote before it. If it fails and took effect all the same, the write
// is taken for another's.
func (s *Store) commit(tx *sql.Tx, key string, number int64) error {
	s.writes.mu.Lock()
	defer s.writes.mu.Unlock()
	if err := tx.Commit(); err != nil {
		return err
	}
	if number != s.writes.known+1 {
		s.tellAll()
	}
	s.writes.known = number
	s.watchers.Signal(key)
	s.followers.Tell(key)
	return nil
}

// others tells everybody if another process wrote. Last returns the number of
// the last write.
func (s *Store) others(last func() (int64, error)) error {
	s.writes.mu.Lock()
	defer s.writes.mu.Unlock()
	number, err := last()
	if err == nil && number != s.writes.known { // smaller: a backup was restored
		s.writes.known = number
		s.tellAll()
	}
	return err
}

// A poll compares PRAGMA data_version with what it was, on a connection of its
// own, as the number has a meaning within one connection only.
type poll struct {
	store   *Store
	conn    *sql.Conn // nil: none yet, or the last one broke
	version *sql.Stmt
	last    *sql.Stmt
	seen    int64
}

// look tells everybody if another process wrote since the last call, and those
// who follow how late it is.
func (p *poll) look(ctx context.Context) error {
	at := time.Now()
	first := p.conn == nil
	if err := p.connect(ctx); err != nil {
		return err
	}
	var version int64
	err := p.version.QueryRowContext(ctx).Scan(&version)
	if err == nil && (first || version != p.seen) {
		err = p.store.others(func() (last int64, err error) {
			err = p.last.QueryRowContext(ctx).Scan(&last)
			return last, err
		})
	}
	if err != nil {
		p.end()
		return err
	}
	p.seen = version
	p.store.followers.Fresh(at)
	return nil
}

func (p *poll) connect(ctx context.Context) (err error) {
	if p.conn != nil {
		return nil
	}
	if p.conn, err = p.store.read.Conn(ctx); err != nil {
		p.conn = nil
		return err
	}
	if p.version, err = p.conn.PrepareContext(ctx, `PRAGMA data_version`); err == nil {
		p.last, err = p.conn.PrepareContext(ctx, `SELECT last FROM counter`)
	}
	if err != nil {
		p.end()
	}
	return err
}

func (p *poll) end() {
	for _, s := range []*sql.Stmt{p.version, p.last} {
		if s != nil {
			_ = s.Close()
		}
	}
	if p.conn != nil {
		_ = p.conn.Close()
	}
	p.conn, p.version, p.last = nil, nil, nil
}
