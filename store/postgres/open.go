package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/jetonhq/jeton/store"
)

const (
	dialTimeout = 5 * time.Second
	patience    = 15 * time.Second // for the answer to an operation; a host that is gone gives none
)

// knows are what a URL may say. All but prefix are PostgreSQL's own, or those
// of its Go driver.
var knows = []string{"prefix", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation", "connect_timeout",
	"application_name", "search_path", "target_session_attrs", "pool_max_conns", "default_query_exec_mode"}

// Check reports what Open would refuse about an address without asking a
// server. The URL is
//
//	postgres://[USER@]HOST[:5432][,HOST...]/DATABASE[?prefix=jeton&sslmode=verify-full...]
//
// Several hosts are tried in order; target_session_attrs=read-write finds the
// primary among them.
func Check(a store.Address) error {
	_, _, err := config(a)
	return err
}

func config(a store.Address) (*pgxpool.Config, string, error) {
	prefix, err := a.Prefix()
	if err != nil {
		return nil, "", err
	}
	if err := a.Only(knows...); err != nil {
		return nil, "", err
	}
	if a.Scheme != "postgres" && a.Scheme != "postgresql" {
		return nil, "", errors.New("the URL is to begin with postgres://")
	}
	if a.TLS != nil {
		return nil, "", errors.New("certificates stand in the URL: sslmode=verify-full, sslrootcert, sslcert and sslkey")
	}
	if a.Path == "" {
		return nil, "", errors.New("the path is to name the database, such as /jeton")
	}
	c, err := pgxpool.ParseConfig(a.String())
	if err != nil {
		return nil, "", err // shows the URL, in which there is no password
	}
	params := c.ConnConfig.RuntimeParams
	delete(params, "prefix") // the driver takes what it does not know for a setting of the server
	if params["application_name"] == "" {
		params["application_name"] = "jeton"
	}
	if !a.Query.Has("connect_timeout") {
		c.ConnConfig.ConnectTimeout = dialTimeout
	}
	if !a.Password.IsZero() {
		c.ConnConfig.Password = a.Password.Reveal()
	}
	return c, prefix, nil
}

// migrations are the schema, with the prefix in place of %[1]s. The table
// prefix_schema says how many of them there were; a new one is added at the end
// and none is ever changed.
var migrations = []string{`
CREATE TABLE "%[1]s_record" (
	key     bytea PRIMARY KEY,         -- bytes, whose order no locale changes
	version text NOT NULL,
	due     bigint,                    -- microseconds since 1970; NULL: never
	value   bytea NOT NULL
);
CREATE INDEX "%[1]s_record_due" ON "%[1]s_record" (due, key) WHERE due IS NOT NULL;`}

// Open connects to the server and makes the tables if there are none. An error
// names the server's address, never the password.
func Open(ctx context.Context, a store.Address) (*Store, error) {
	s := &Store{server: strings.Join(a.HostPorts("5432"), ",")}
	c, prefix, err := config(a)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	s.conn = c.ConnConfig
	s.prefix, s.table = prefix, pgx.Identifier{prefix + "_record"}.Sanitize()
	s.feed.Listen = s.listen
	if s.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
		return nil, s.wrap(ctx, err)
	}
	opening, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.prepare(opening); err != nil {
		s.pool.Close()
		return nil, s.wrap(ctx, err)
	}
	s.db = stdlib.OpenDBFromPool(s.pool)
	return s, nil
}

// prepare brings the tables to the present schema and finds out where they are.
func (s *Store) prepare(ctx context.Context) error {
	var schema *string
	if err := s.pool.QueryRow(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
		return err
	}
	if schema == nil {
		return errors.New("there is no schema to put tables in; see search_path")
	}
	// The names of channels are short, and those of a whole database.
	s.channel = fmt.Sprintf("jeton_%x", sha256.Sum256([]byte(*schema+"."+s.prefix)))[:32]
	version, err := s.version(ctx, s.pool)
	if err == nil && version < len(migrations) {
		err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.migrate(ctx, tx) })
	}
	return err
}

// querier is a pool or a transaction.
type querier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

// version returns how many migrations there were.
func (s *Store) version(ctx context.Context, q querier) (int, error) {
	// Not to_regclass, which may answer from a cache that is older than the
	// lock of migrate.
	var there bool
	err := q.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_tables
		WHERE schemaname = current_schema() AND tablename = $1)`, s.prefix+"_schema").Scan(&there)
	if err != nil || !there {
		return 0, err
	}
	var version int
	if err := q.QueryRow(ctx, `SELECT version FROM `+pgx.Identifier{s.prefix + "_schema"}.Sanitize()).Scan(&version); err != nil {
		return 0, err
	}
	if version > len(migrations) {
		return 0, fmt.Errorf("written by a newer jeton: its schema is %d, this one knows %d", version, len(migrations))
	}
	return version, nil
}

// migrate brings the schema up to date. Of several processes that open the
// store, one does and the others wait.
func (s *Store) migrate(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext($1))`, s.channel); err != nil {
		return err
	}
	version, err := s.version(ctx, tx)
	if err != nil || version == len(migrations) {
		return err
	}
	for _, migration := range migrations[version:] {
		if _, err := tx.Exec(ctx, fmt.Sprintf(migration, s.prefix)); err != nil {
			return err
		}
	}
	table := pgx.Identifier{s.prefix + "_schema"}.Sanitize()
	if _, err := tx.Exec(ctx, `CREATE TABLE IF NOT EXISTS `+table+` (version integer NOT NULL)`); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM `+table); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO `+table+` VALUES ($1)`, len(migrations))
	return err
}
