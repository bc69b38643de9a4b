// Package postgres keeps records in PostgreSQL 12 or later, for a fleet of
// issuers and brokers. A write is durable when its method returns, as far as
// the server's synchronous_commit says so.
//
// It needs a session of its own to hear of changes, so a pooler in front of the
// server is to pool sessions, not transactions.
package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/jetonhq/jeton/store"
)

// Store is a [store.Store], a [store.Follower] and a [store.Clock] in the tables of
// one prefix.
type Store struct {
	server  string // for errors
	prefix  string
	table   string // quoted
	channel string // of LISTEN and NOTIFY
	conn    *pgx.ConnConfig
	pool    *pgxpool.Pool
	db      *sql.DB
	feed    store.Feed
}

// DB returns a handle that shares the connections of the store, for tables that
// live beside the records.
func (s *Store) DB() *sql.DB { return s.db }

// Prefix returns what the names of the tables begin with.
func (s *Store) Prefix() string { return s.prefix }

// Close ends watching and closes the connections. Operations fail from then on.
func (s *Store) Close() error {
	s.feed.Close()
	err := s.db.Close()
	s.pool.Close()
	if err != nil {
		return s.wrap(context.Background(), err)
	}
	return nil
}

// wrap names the server. Where the context of the caller ended, that is the
// error.
func (s *Store) wrap(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("postgres: %s: %w", s.server, err)
}

// attempts is how often a statement is tried that met another one. Only a
// server whose default_transaction_isolation is not "read committed" asks for
// more than one.
const attempts = 20

// do runs f, again if the server asks for it.
func (s *Store) do(ctx context.Context, f func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i := 1; ; i++ {
		err := f(limited)
		var e *pgconn.PgError
		const serializationFailure, deadlock = "40001", "40P01"
		switch {
		case err == nil, errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict):
			return err
		case i < attempts && errors.As(err, &e) && (e.Code == serializationFailure || e.Code == deadlock):
		default:
			return s.wrap(ctx, err)
		}
	}
}

const columns = "key, version, due, value"

// scan reads the columns of one row.
func scan(row pgx.CollectableRow) (r store.Record, err error) {
	var key []byte
	var due *int64
	if err := row.Scan(&key, &r.Version, &due, &r.Value); err != nil {
		return store.Record{}, err
	}
	r.Key = string(key)
	if due != nil {
		r.Due = time.UnixMicro(*due).UTC()
	}
	return r, nil
}

func (s *Store) query(ctx context.Context, query string, args ...any) (list []store.Record, err error) {
	err = s.do(ctx, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		list, err = pgx.CollectRows(rows, scan)
		return err
	})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	list, err := s.query(ctx, `SELECT `+columns+` FROM `+s.table+` WHERE key = $1`, []byte(key))
	if err != nil {
		return store.Record{}, err
	}
	if len(list) == 0 {
		return store.Record{}, store.ErrNotFound
	}
	return list[0], nil
}

// change runs a statement that returns the row which it changes, if any, and
// tells those who watch in the same transaction.
func (s *Store) change(ctx context.Context, key, statement string, args ...any) (changed bool, err error) {
	tag, err := s.pool.Exec(ctx, `WITH changed AS (`+statement+` RETURNING key)
		SELECT pg_notify($1, $2) FROM changed`, append([]any{s.channel, payload(key)}, args...)...)
	return tag.RowsAffected() == 1, err
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) (store.Record, error) {
	// A sequence goes back with a restored backup, and may with a fail-over;
	// 128 random bits are never the same.
	next := rand.Text()
	r.Value = append([]byte{}, r.Value...) // the caller's own, and nil is not NULL
	r.Due = store.RoundDue(r.Due)
	var due *int64
	if !r.Due.IsZero() {
		micros := r.Due.UnixMicro()
		due = &micros
	}
	err := s.do(ctx, func(ctx context.Context) error {
		var done bool
		var err error
		if r.Version == "" {
			done, err = s.change(ctx, r.Key, `INSERT INTO `+s.table+` (`+columns+`) VALUES ($3, $4, $5, $6)
				ON CONFLICT (key) DO NOTHING`, []byte(r.Key), next, due, r.Value)
		} else {
			done, err = s.change(ctx, r.Key, `UPDATE `+s.table+` SET version = $4, due = $5, value = $6
				WHERE key = $3 AND version = $7`, []byte(r.Key), next, due, r.Value, r.Version)
		}
		if err == nil && !done {
			err = store.ErrConflict
		}
		return err
	})
	if err != nil {
		return store.Record{}, err
	}
	r.Version = next
	return r, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, r store.Record) error {
	return s.do(ctx, func(ctx context.Context) error {
		done, err := s.change(ctx, r.Key, `DELETE FROM `+s.table+` WHERE key = $3 AND version = $4`, []byte(r.Key), r.Version)
		if err != nil || done {
			return err
		}
		var there bool
		err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+s.table+` WHERE key = $1)`, []byte(r.Key)).Scan(&there)
		switch {
		case err != nil:
			return err
		case !there:
			return store.ErrNotFound
		}
		return store.ErrConflict
	})
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	where, args := under(prefix)
	return s.query(ctx, `SELECT `+columns+` FROM `+s.table+` WHERE key > $1 AND `+where+` ORDER BY key LIMIT $2`,
		append([]any{[]byte(after), max(limit, 0)}, args...)...)
}

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, prefix string, t time.Time, limit int) ([]store.Record, error) {
	where, args := under(prefix)
	return s.query(ctx, `SELECT `+columns+` FROM `+s.table+` WHERE due <= $1 AND `+where+` ORDER BY due, key LIMIT $2`,
		append([]any{t.UnixMicro(), max(limit, 0)}, args...)...)
}

// under returns the condition that a key begins with prefix, as a range of the
// index, with its arguments from $3 on.
func under(prefix string) (where string, args []any) {
	end := store.PrefixEnd(prefix)
	if end == "" {
		return `key >= $3`, []any{[]byte(prefix)}
	}
	return `key >= $3 AND key < $4`, []any{[]byte(prefix), []byte(end)}
}

// Now implements [store.Clock].
func (s *Store) Now(ctx context.Context) (now time.Time, within time.Duration, err error) {
	err = s.do(ctx, func(ctx context.Context) error {
		return s.pool.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&now)
	})
	return now, time.Microsecond, err
}
