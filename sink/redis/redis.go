// Package redis copies a token to a key in Redis 6 or later, or in what speaks
// its protocol, which loses it when the token expires.
package redis

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
	"github.com/jetonhq/jeton/store"
	storeredis "github.com/jetonhq/jeton/store/redis"
)

// Sink is a [sink.Sink] that is a key. It expires with the token, by the
// length of time that the token has left on this machine's clock; a token whose
// expiry is unknown stays.
type Sink struct {
	// Address says where the server is; see [Check]. It is called for each
	// token, so that a changed password is seen.
	Address func() (store.Address, error)

	Key    string
	Format sink.Format

	client rueidis.Client // nil: not connected
}

// Check reports what a Sink would refuse about an address. The URL is
//
//	redis://[USER@]HOST[:6379][,HOST...][/DB]
//
// or rediss:// for TLS. Several hosts are nodes of one cluster.
func Check(a store.Address) error {
	_, err := options(a)
	return err
}

func options(a store.Address) (rueidis.ClientOption, error) {
	if len(a.Query) > 0 {
		return rueidis.ClientOption{}, errors.New("the URL is to have no query")
	}
	return storeredis.ClientOption(a)
}

// Put implements [sink.Sink]. A connection that failed is made anew by the next
// one.
func (s *Sink) Put(ctx context.Context, t *jeton.Token) error {
	a, err := s.Address()
	if err != nil {
		return err
	}
	if err := s.put(ctx, a, t); err != nil {
		_ = s.Close() // it reports nothing
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("redis: %s: %w", strings.Join(a.HostPorts("6379"), ","), brief(err))
	}
	return nil
}

var validCode = regexp.MustCompile(`^[A-Z]{1,32}$`)

// brief leaves no more of a server's answer than its code: the rest may repeat
// the command, with the token or the password in it.
func brief(err error) error {
	answer, ok := errors.AsType[*rueidis.RedisError](err)
	if !ok {
		return err
	}
	code, _, _ := strings.Cut(answer.Error(), " ")
	if !validCode.MatchString(code) {
		code = "ERR" // which the library takes away
	}
	return fmt.Errorf("the server answered %s", code)
}

func (s *Sink) put(ctx context.Context, a store.Address, t *jeton.Token) error {
	if s.client == nil {
		o, err := options(a)
		if err != nil {
			return err
		}
		if s.client, err = storeredis.Dial(ctx, o); err != nil {
			s.client = nil
			return err
		}
	}
	set := s.client.B().Set().Key(s.Key).Value(s.Format.Text(t))
	if t.Expiry.IsZero() {
		return s.client.Do(ctx, set.Build()).Error()
	}
	left := time.Until(t.Expiry).Milliseconds()
	if left <= 0 {
		return errors.New("the token has expired")
	}
	return s.client.Do(ctx, set.PxMilliseconds(left).Build()).Error()
}

// Close ends the connection.
func (s *Sink) Close() error {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
	return nil
}
