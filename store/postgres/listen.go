package postgres

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// Watch implements [store.Watcher]: the server notifies at every commit that
// changed a record.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	changed, err := s.feed.Watch(ctx, prefix)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	return changed, nil
}

// Follow implements [store.Follower], also about writes of this process by what
// the server says of them. Fresh comes once a second.
func (s *Store) Follow(ctx context.Context, prefix string, changed func(key string), fresh func(time.Time)) error {
	return s.wrap(ctx, s.feed.Follow(ctx, prefix, changed, fresh))
}

// maxPayload is how much a notification holds.
const maxPayload = 7999 // bytes

// payload names a key in signs that every encoding of a database has. It is
// empty for a key that is too long: any may have changed.
func payload(key string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(key))
	if len(text) > maxPayload {
		return ""
	}
	return text
}

const (
	lookEvery = 15 * time.Second // how often a connection that says nothing is tried
	echoEvery = time.Second      // the same, while somebody follows
)

// An ear is a connection that hears of changes. It is one of its own, so that
// the pool has room for others.
//
// Notifications come in the order of their commits. So the ear notifies itself
// now and then, on a channel of its own: once it hears that, it has heard of
// every change that was committed before.
type ear struct {
	*pgx.Conn
	store *Store
	echo  string    // that channel
	tried time.Time // when the connection was last tried, by an echo or without
	sent  time.Time // when the last echo was sent; zero: there was none
	heard bool      // it has come
}

// listen hears of changes until the connection breaks.
func (s *Store) listen(ctx context.Context, up func()) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.ConnectConfig(limited, s.conn.Copy())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	e := &ear{Conn: conn, store: s, echo: "jeton_" + rand.Text(), tried: time.Now(), heard: true}
	for _, channel := range []string{pgx.Identifier{e.echo}.Sanitize(), s.channel} {
		if _, err := conn.Exec(limited, `LISTEN `+channel); err != nil {
			return err
		}
	}
	up()
	for {
		if err := e.try(ctx); err != nil {
			return err
		}
		if err := e.hear(ctx); err != nil {
			return err
		}
	}
}

// try makes sure now and then that the connection is still one.
func (e *ear) try(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch {
	case !e.heard:
		if time.Since(e.sent) > patience {
			return errors.New("the server does not notify; a pooler in front of it is to pool sessions")
		}
	case e.store.feed.Followers.Any() && time.Since(e.sent) >= echoEvery:
		e.tried = time.Now()
		e.sent, e.heard = e.tried, false
		_, err := e.Exec(limited, `SELECT pg_notify($1, '')`, e.echo)
		return err
	case time.Since(e.tried) >= lookEvery:
		e.tried = time.Now()
		return e.Ping(limited)
	}
	return nil
}

// hear waits for a notification, but no longer than until the next try.
func (e *ear) hear(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, echoEvery)
	defer cancel()
	n, err := e.WaitForNotification(waiting)
	switch {
	case err != nil && ctx.Err() == nil && waiting.Err() != nil && !e.IsClosed():
		return nil
	case err != nil:
		return err
	}
	if n.Channel == e.echo {
		e.heard = true
		e.store.feed.Followers.Fresh(e.sent)
		return nil
	}
	key, err := base64.RawURLEncoding.DecodeString(n.Payload)
	if err != nil || n.Payload == "" {
		e.store.feed.SignalAll()
		e.store.feed.Followers.Tell("")
		return nil
	}
	e.store.feed.Signal(string(key))
	e.store.feed.Followers.Tell(string(key))
	return nil
}
