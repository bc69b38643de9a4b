package sqlite

import (
	"context"
	"database/sql"
	"time"
)

// pollEvery is how soon a change by another process is noticed.
const pollEvery = 100 * time.Millisecond

// Watch implements [store.Watcher]. A write by this process signals at once, one
// by another within a tenth of a second. SQLite tells that the file changed and
// not where, so the latter reaches every watcher, whatever its prefix.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Err() != nil {
		return nil, s.wrap(ctx, sql.ErrConnDone)
	}
	if !s.polling {
		// The first look is now: whatever comes after Watch returned is news.
		p := &poll{db: s.read}
		if _, err := p.news(ctx); err != nil {
			return nil, s.wrap(ctx, err)
		}
		s.polling = true
		s.poller.Go(func() { s.poll(p) })
	}
	return s.watchers.Add(ctx, prefix), nil
}

// poll signals all watchers when the file has changed, until Close.
func (s *Store) poll(p *poll) {
	defer p.end()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.closing.Done():
			return
		case <-tick.C:
		}
		// Who cannot look must assume the worst, which costs a read.
		if news, err := p.news(s.closing); news || err != nil {
			s.watchers.SignalAll()
		}
	}
}

// A poll compares PRAGMA data_version with what it was, on a connection of its
// own, as the number has a meaning within one connection only.
type poll struct {
	db   *sql.DB
	conn *sql.Conn // nil: none yet, or the last one broke
	seen int64
}

// news reports whether any connection wrote to the file since the last call.
func (p *poll) news(ctx context.Context) (bool, error) {
	fresh := p.conn == nil
	if fresh {
		conn, err := p.db.Conn(ctx)
		if err != nil {
			return false, err
		}
		p.conn = conn
	}
	var now int64
	if err := p.conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&now); err != nil {
		p.end()
		return false, err
	}
	news := fresh || now != p.seen
	p.seen = now
	return news, nil
}

func (p *poll) end() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}
