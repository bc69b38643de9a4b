package audit

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"
)

// SQL is a Log in a table of an SQLite or a PostgreSQL database.
//
// Entries that are appended at the same time share one transaction, and so one
// wait for the disk: a login costs an insert, not a sync of its own.
type SQL struct {
	db    *sql.DB
	table string // quoted

	mu   sync.Mutex
	next *batch // the batch that takes entries; nil: there is none
}

// A batch is what one transaction commits. Entries join it until it is taken.
type batch struct {
	entries []Entry
	done    chan struct{} // closed when err is set
	err     error
}

const schema = `
CREATE TABLE IF NOT EXISTS audit (
	id       INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: cursors point at it
	time     INTEGER NOT NULL,                  -- microseconds since 1970, UTC
	realm    TEXT NOT NULL,
	actor    TEXT NOT NULL,
	action   TEXT NOT NULL,
	target   TEXT NOT NULL,
	outcome  TEXT NOT NULL,
	ip       TEXT NOT NULL,
	token_id TEXT NOT NULL,
	detail   TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS audit_target ON audit (target);`

// NewSQL returns the log in db, making its table if there is none. The caller
// closes db, after the last Append.
func NewSQL(ctx context.Context, db *sql.DB) (*SQL, error) {
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return &SQL{db: db, table: "audit"}, nil
}

// What differs in PostgreSQL, with the quoted names of the table and its index.
const postgresSchema = `
CREATE TABLE IF NOT EXISTS %[1]s (
	id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	time     bigint NOT NULL,
	realm    text NOT NULL,
	actor    text NOT NULL,
	action   text NOT NULL,
	target   text NOT NULL,
	outcome  text NOT NULL,
	ip       text NOT NULL,
	token_id text NOT NULL,
	detail   text NOT NULL
);
CREATE INDEX IF NOT EXISTS %[2]s ON %[1]s (target);`

// NewPostgres returns the log in the table PREFIX_audit of a PostgreSQL
// database, making it if there is none; several processes may do so at once.
// The caller closes db, after the last Append.
func NewPostgres(ctx context.Context, db *sql.DB, prefix string) (*SQL, error) {
	quote := func(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
	l := &SQL{db: db, table: quote(prefix + "_audit")}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	var there bool
	// The lock is for those who come at once: IF NOT EXISTS is none.
	for _, lock := range []bool{false, true} {
		if lock {
			if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtext($1))`, l.table); err != nil {
				return nil, fmt.Errorf("audit: %w", err)
			}
		}
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables
			WHERE schemaname = current_schema() AND tablename = $1)`, prefix+"_audit").Scan(&there); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		if there {
			return l, nil
		}
	}
	if _, err = tx.ExecContext(ctx, fmt.Sprintf(postgresSchema, l.table, quote(prefix+"_audit_target"))); err == nil {
		err = tx.Commit()
	}
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return l, nil
}

// Append implements [Log].
func (l *SQL) Append(ctx context.Context, e Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	first := l.next == nil
	if first {
		l.next = &batch{done: make(chan struct{})}
	}
	b := l.next
	b.entries = append(b.entries, e.cleaned())
	l.mu.Unlock()
	if first {
		go l.commit(b)
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commitTimeout bounds the wait for a database that another process has locked.
const commitTimeout = 30 * time.Second

// commit writes the batch, which takes entries until the transaction begins:
// those that come while the one before is being written share the next. No
// context of a caller ends it, as the entries of the others stand in it too.
func (l *SQL) commit(b *batch) {
	defer close(b.done)
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	tx, err := l.db.BeginTx(ctx, nil)
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	if err == nil {
		err = l.insert(ctx, tx, b.entries)
	}
	if err != nil {
		b.err = fmt.Errorf("audit: %w", err)
	}
}

func (l *SQL) insert(ctx context.Context, tx *sql.Tx, entries []Entry) error {
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	for _, e := range entries {
		if _, err := tx.ExecContext(ctx, `INSERT INTO `+l.table+`
			(time, realm, actor, action, target, outcome, ip, token_id, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			e.Time.UnixMicro(), e.Realm, e.Actor, e.Action, e.Target, e.Outcome, e.IP, e.TokenID, e.Detail); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// List implements [Log].
func (l *SQL) List(ctx context.Context, q Query) ([]Entry, error) {
	q = q.cleaned()
	where, args := []string{"TRUE"}, []any{}
	for _, c := range []struct{ column, value string }{{"realm", q.Realm}, {"action", q.Action}, {"target", q.Target}} {
		if c.value != "" {
			args = append(args, c.value)
			where = append(where, fmt.Sprintf("%s = $%d", c.column, len(args)))
		}
	}
	if q.Before > 0 {
		args = append(args, q.Before)
		where = append(where, fmt.Sprintf("id < $%d", len(args)))
	}
	args = append(args, max(q.Limit, 0))
	rows, err := l.db.QueryContext(ctx, fmt.Sprintf(`SELECT id, time, realm, actor, action, target, outcome, ip, token_id, detail
		FROM %s WHERE %s ORDER BY id DESC LIMIT $%d`, l.table, strings.Join(where, " AND "), len(args)), args...)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var list []Entry
	for rows.Next() {
		var e Entry
		var micros int64
		if err := rows.Scan(&e.ID, &micros, &e.Realm, &e.Actor, &e.Action, &e.Target, &e.Outcome, &e.IP, &e.TokenID, &e.Detail); err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		e.Time = time.UnixMicro(micros).UTC()
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return list, nil
}
