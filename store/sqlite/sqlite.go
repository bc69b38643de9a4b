// Package sqlite keeps records in one SQLite file, which several processes of
// one machine may share. It is the store of a single node.
//
// A write is on the disk when its method returns: the write-ahead log is synced
// at every commit, so neither kill -9 nor a power cut takes back an answer.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"github.com/jetonhq/jeton/store"
)

// Store is a [store.Store] and a [store.Follower] in an SQLite file.
type Store struct {
	path  string
	write *sql.DB // one connection, so that writers of this process queue here and not in SQLite
	read  *sql.DB

	// What follows is in watch.go.
	poller    sync.WaitGroup
	closing   context.Context
	shut      context.CancelFunc
	mu        sync.Mutex    // guards polling
	polling   bool          // there is a poller
	stirred   chan struct{} // wakes it: somebody may have written
	wal       string        // the file that everybody writes to
	watchers  store.Watchers
	followers store.Followers
	writes    writes
}

// DB returns the handle on which this process writes, for tables that live
// beside the records. It has one connection: who holds it must not ask for it
// again, nor write to the store meanwhile.
func (s *Store) DB() *sql.DB { return s.write }

// Close ends watching and closes the file. Operations fail from then on.
func (s *Store) Close() error {
	s.shut()
	s.poller.Wait()
	if err := errors.Join(s.read.Close(), s.write.Close()); err != nil {
		return s.wrap(context.Background(), err)
	}
	return nil
}

// wrap names the file. Where the context ended, that is the error: what SQLite
// says of it is only that it was interrupted.
func (s *Store) wrap(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("sqlite: %s: %w", s.path, err)
}

const columns = "key, version, due, value"

// scan reads the columns of one row.
func scan(row interface{ Scan(...any) error }) (r store.Record, err error) {
	var key []byte
	var version int64
	var due sql.NullInt64
	if err := row.Scan(&key, &version, &due, &r.Value); err != nil {
		return store.Record{}, err
	}
	r.Key, r.Version = string(key), strconv.FormatInt(version, 10)
	if due.Valid {
		r.Due = time.UnixMicro(due.Int64).UTC()
	}
	return r, nil
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	r, err := scan(s.read.QueryRowContext(ctx, `SELECT `+columns+` FROM record WHERE key = ?`, []byte(key)))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Record{}, store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, s.wrap(ctx, err)
	}
	return r, nil
}

// Put implements [store.Store].
func (s *Store) Put(ctx context.Context, r store.Record) (store.Record, error) {
	at, ok := parseVersion(r.Version)
	if r.Version != "" && !ok {
		return store.Record{}, store.ErrConflict
	}
	r.Value = append([]byte{}, r.Value...) // the caller's own, and nil is not NULL
	r.Due = store.RoundDue(r.Due)
	due := sql.NullInt64{Int64: r.Due.UnixMicro(), Valid: !r.Due.IsZero()}
	next, err := s.change(ctx, r.Key, func(tx *sql.Tx, next int64) error {
		if r.Version == "" {
			return changed(tx.ExecContext(ctx, `INSERT INTO record (`+columns+`) VALUES (?, ?, ?, ?)
				ON CONFLICT (key) DO NOTHING`, []byte(r.Key), next, due, r.Value))
		}
		return changed(tx.ExecContext(ctx, `UPDATE record SET version = ?, due = ?, value = ? WHERE key = ? AND version = ?`,
			next, due, r.Value, []byte(r.Key), at))
	})
	if err != nil {
		return store.Record{}, err
	}
	r.Version = strconv.FormatInt(next, 10)
	return r, nil
}

// Delete implements [store.Store].
func (s *Store) Delete(ctx context.Context, r store.Record) error {
	at, _ := parseVersion(r.Version) // 0, which no record is at, where it is none
	_, err := s.change(ctx, r.Key, func(tx *sql.Tx, _ int64) error {
		err := changed(tx.ExecContext(ctx, `DELETE FROM record WHERE key = ? AND version = ?`, []byte(r.Key), at))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		var there bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM record WHERE key = ?)`, []byte(r.Key)).Scan(&there); err != nil {
			return err
		}
		if !there {
			return store.ErrNotFound
		}
		return store.ErrConflict
	})
	return err
}

// change runs f in a transaction with the number of this write, one larger than
// that of the write before, by whatever process. Once it is on the disk, those
// who watch or follow key are told. It returns the number.
func (s *Store) change(ctx context.Context, key string, f func(tx *sql.Tx, next int64) error) (next int64, err error) {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return 0, s.wrap(ctx, err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	err = tx.QueryRowContext(ctx, `UPDATE counter SET last = last + 1 RETURNING last`).Scan(&next)
	if err == nil {
		err = f(tx, next)
	}
	switch {
	case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound):
		return 0, err
	case err != nil:
		return 0, s.wrap(ctx, err)
	}
	if err := s.commit(tx, key, next); err != nil {
		return 0, s.wrap(ctx, err)
	}
	return next, nil
}

// changed returns ErrConflict if the statement found no row to change.
func changed(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = store.ErrConflict
	}
	return err
}

// parseVersion reads a version in the one form in which Put writes it.
func parseVersion(v string) (int64, bool) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != v {
		return 0, false
	}
	return n, true
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, prefix, after string, limit int) ([]store.Record, error) {
	where, args := under(prefix)
	return s.query(ctx, `SELECT `+columns+` FROM record WHERE `+where+` AND key > ? ORDER BY key LIMIT ?`,
		append(args, []byte(after), max(limit, 0))...)
}

// Due implements [store.Store].
func (s *Store) Due(ctx context.Context, prefix string, t time.Time, limit int) ([]store.Record, error) {
	where, args := under(prefix)
	return s.query(ctx, `SELECT `+columns+` FROM record WHERE `+where+` AND due <= ? ORDER BY due, key LIMIT ?`,
		append(args, t.UnixMicro(), max(limit, 0))...)
}

// under returns the condition that a key begins with prefix, as a range of the
// index. Keys are blobs, so SQLite compares them byte by byte.
func under(prefix string) (where string, args []any) {
	end := store.PrefixEnd(prefix)
	if end == "" {
		return `key >= ?`, []any{[]byte(prefix)}
	}
	return `key >= ? AND key < ?`, []any{[]byte(prefix), []byte(end)}
}

func (s *Store) query(ctx context.Context, query string, args ...any) ([]store.Record, error) {
	rows, err := s.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var list []store.Record
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, s.wrap(ctx, err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, s.wrap(ctx, err)
	}
	return list, nil
}
