package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/seal"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/etcd"
	"github.com/jetonhq/jeton/store/kubernetes"
	"github.com/jetonhq/jeton/store/postgres"
	"github.com/jetonhq/jeton/store/redis"
	"github.com/jetonhq/jeton/store/sqlite"
	"github.com/jetonhq/jeton/store/vault"
)

// A state is an open store and the audit log beside it.
type state struct {
	store store.Store
	log   audit.Log
	close func() error
}

// openState opens the store that a configuration names, sealed with its keys.
func openState(ctx context.Context, c *config) (*state, error) {
	keys, err := c.sealKeys()
	if err != nil {
		return nil, err
	}
	s, err := openUnsealed(ctx, c.store)
	if err != nil {
		return nil, err
	}
	if c.store.remote.Scheme != "" {
		s.close = soon(s.close)
	}
	if len(keys) > 0 {
		s.store = seal.Wrap(s.store, keys...)
	}
	if c.store.kind != "memory" {
		if err := s.checkSeal(ctx, c); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	return s, nil
}

// soon gives a store behind a network a moment to close. One that does not answer
// any more does not keep the program from ending, which closes the connections.
func soon(closeStore func() error) func() error {
	return func() error {
		done := make(chan error, 1)
		go func() { done <- closeStore() }()
		select {
		case err := <-done:
			return err
		case <-time.After(grace / 2):
			return nil
		}
	}
}

// openUnsealed opens the store without its keys. What is no place for an issuer
// has no lasting audit log either: only issuers write one.
func openUnsealed(ctx context.Context, u storeURL) (*state, error) {
	a, err := u.address()
	if err != nil {
		return nil, err
	}
	switch u.kind {
	case "sqlite":
		db, err := sqlite.Open(ctx, u.path)
		if err != nil {
			return nil, err
		}
		log, err := audit.NewSQL(ctx, db.DB())
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		return &state{db, log, db.Close}, nil
	case "postgres":
		db, err := postgres.Open(ctx, a)
		if err != nil {
			return nil, err
		}
		log, err := audit.NewPostgres(ctx, db.DB(), db.Prefix())
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		return &state{db, log, db.Close}, nil
	case "etcd":
		s, err := etcd.Open(ctx, a)
		if err != nil {
			return nil, err
		}
		return &state{s, audit.NewMemory(), s.Close}, nil
	case "kubernetes":
		s, err := kubernetes.Open(ctx, a)
		if err != nil {
			return nil, err
		}
		return &state{s, audit.NewMemory(), s.Close}, nil
	case "redis":
		s, err := redis.Open(ctx, a)
		if err != nil {
			return nil, err
		}
		return &state{s, audit.NewMemory(), s.Close}, nil
	case "vault":
		s, err := vault.Open(ctx, a)
		if err != nil {
			return nil, err
		}
		return &state{s, audit.NewMemory(), s.Close}, nil
	default:
		return &state{store.NewMemory(), audit.NewMemory(), func() error { return nil }}, nil
	}
}

// sealMark is the key of a record that only the right key opens, so that a
// wrong one is told at the start and not by each request. It is sealed anew
// last, so that who opens it opens everything.
const sealMark = "seal"

// checkSeal reads the mark, and makes it in a new store.
func (s *state) checkSeal(ctx context.Context, c *config) error {
	_, err := s.store.Get(ctx, sealMark)
	if errors.Is(err, store.ErrNotFound) {
		_, err = s.store.Put(ctx, store.Record{Key: sealMark, Value: []byte(`{"v":1}`)})
		if errors.Is(err, store.ErrConflict) {
			return s.checkSeal(ctx, c) // another process made it
		}
	}
	if errors.Is(err, seal.ErrWrongKey) {
		return fmt.Errorf("%s was sealed with another key than %s; one that was replaced stays behind it in the list until `jeton config reseal` says that it may go (%w)",
			c.store, textOf(c.seal), err)
	}
	return err
}

// openShared opens the store of what may be a running server, whose state a
// command then changes under it.
func openShared(ctx context.Context, c *config) (*state, error) {
	if c.store.kind == "memory" {
		return nil, fmt.Errorf("%s keeps its state in memory:, which only the running process sees; use a store such as sqlite:jeton.db", c.file)
	}
	return openState(ctx, c)
}

// A lock is held by the one server of a database. Commands that only change a
// record do not take it.
type lock struct{ file *os.File }

// lockState takes the lock of an SQLite file; other stores have none, since
// memory is one process's and the rest is for many. Its error says which
// process has it. The file stays when the lock goes: to remove it
// could take it away from under the next holder.
func lockState(u storeURL) (*lock, error) {
	if u.kind != "sqlite" {
		return &lock{}, nil
	}
	path := u.path + ".lock"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", u, reason(err))
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock %s: %w", path, reason(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer func() { _ = f.Close() }()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		pid, _ := io.ReadAll(io.LimitReader(f, 20))
		return nil, fmt.Errorf("%s is already in use by pid %s", u.path, strings.TrimSpace(string(pid)))
	}
	if err = f.Truncate(0); err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write the lock %s: %w", path, err), f.Close())
	}
	return &lock{f}, nil
}

// release gives the lock up.
func (l *lock) release() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}
