package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// applicationID marks a file as ours, in the header field that SQLite keeps for
// it. It reads "JETO".
const applicationID = 0x4a45544f

// migrations are the schema. The file's user_version says how many of them it
// has had; a new one is added at the end and none is ever changed.
var migrations = []string{`
CREATE TABLE record (
	key     BLOB PRIMARY KEY NOT NULL,
	version INTEGER NOT NULL,
	due     INTEGER,                   -- microseconds since 1970; NULL: never
	value   BLOB NOT NULL
) STRICT;
CREATE INDEX record_due ON record (due, key) WHERE due IS NOT NULL;
CREATE TABLE counter (
	only INTEGER PRIMARY KEY CHECK (only = 1),
	last INTEGER NOT NULL              -- the version given last, to whatever record
) STRICT;
INSERT INTO counter VALUES (1, 0);`}

var errNoDatabase = errors.New("not an SQLite database")

const (
	smallest = 512 // bytes of the smallest page that SQLite knows

	readers = 4     // connections for reading, besides the one that watches
	busy    = 10000 // milliseconds to wait for a writer in another process
)

// Open opens the file at path, which may be new, as may its folder. A file that
// it makes is for its owner only, and so are the two files (-wal, -shm) that
// SQLite puts beside it.
func Open(ctx context.Context, path string) (*Store, error) {
	s := &Store{path: path, stirred: make(chan struct{}, 1)}
	err := s.open(ctx)
	// While another process begins or ends with the file, SQLite can refuse at
	// once whatever the time-out says: to wait could be a deadlock there.
	for end := time.Now().Add(busy * time.Millisecond); isBusy(err) && time.Now().Before(end) && ctx.Err() == nil; err = s.open(ctx) {
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return nil, s.wrap(ctx, explain(err))
	}
	s.closing, s.shut = context.WithCancel(context.Background())
	return s, nil
}

func (s *Store) open(ctx context.Context) (err error) {
	path, err := filepath.Abs(s.path)
	if err != nil {
		return err
	}
	if err := create(path); err != nil {
		return err
	}
	// Look before the journal mode is set: that would change the file of
	// another program.
	look, err := connect(path, 1, "query_only(1)")
	if err != nil {
		return err
	}
	_, err = identify(ctx, look)
	if err = errors.Join(err, look.Close()); err != nil {
		return err
	}
	modes := []string{"journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)"}
	if s.write, err = connect(path, 1, modes...); err != nil {
		return err
	}
	if err := migrate(ctx, s.write); err != nil {
		return errors.Join(err, s.write.Close())
	}
	if s.read, err = connect(path, readers+1, append(modes, "query_only(1)")...); err != nil {
		return errors.Join(err, s.write.Close())
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // that is where SQLite writes
	}
	s.wal = path + "-wal"
	return nil
}

// create makes the file if there is none. It never opens one that is there: to
// close it again would drop the locks that this process holds on it (see "How
// To Corrupt An SQLite Database File", section 2.2, at sqlite.org), which is
// why it is made under another name first.
func create(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return errors.New("not a regular file")
	case err == nil && info.Size() > 0 && info.Size() < smallest:
		return errNoDatabase // SQLite would take it for an empty file and write over it
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil // another process was faster
}

// connect returns a pool of n connections that stay open. The pragmas stand in
// the name, because each holds for one connection only.
func connect(path string, n int, pragmas ...string) (*sql.DB, error) {
	query := url.Values{
		"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busy)}, pragmas...),
		"_txlock": {"immediate"}, // a transaction that read first and then wants to write cannot wait, it fails
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// querier is a database or a transaction in one.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// identify returns how many migrations the file has had, and an error if it is
// not ours to open.
func identify(ctx context.Context, q querier) (version int, err error) {
	var id, objects int
	// One statement, so that all three are of one moment.
	if err := q.QueryRowContext(ctx, `SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id, pragma_user_version`).Scan(&id, &version, &objects); err != nil {
		return 0, err
	}
	switch {
	case id == 0 && version == 0 && objects == 0:
		return 0, nil // new
	case id != applicationID:
		return 0, errors.New("a database of another program")
	case version > len(migrations):
		return 0, fmt.Errorf("written by a newer jeton: its schema is %d, this one knows %d", version, len(migrations))
	}
	return version, nil
}

// migrate brings the file to the present schema. Of several processes that open
// it, one does and the others wait.
func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	version, err := identify(ctx, tx)
	if err != nil || version == len(migrations) {
		return err
	}
	for _, migration := range migrations[version:] {
		if _, err := tx.ExecContext(ctx, migration); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`,
		applicationID, len(migrations))); err != nil {
		return err
	}
	return tx.Commit()
}

func isBusy(err error) bool {
	e, ok := errors.AsType[*driver.Error](err)
	return ok && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

// explain says in plain words what SQLite says in its own.
func explain(err error) error {
	var e *driver.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff { // the primary result code
		case sqlite3.SQLITE_NOTADB:
			return errNoDatabase
		case sqlite3.SQLITE_BUSY:
			return fmt.Errorf("another process holds the database: %w", err)
		}
	}
	return err
}
