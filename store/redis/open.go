package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/jetonhq/jeton/store"
)

const (
	dialTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second // until an answer

	format = "1" // of what is kept; see Store
)

// Check reports what Open would refuse about an address without asking a
// server. The URL is
//
//	redis://[USER@]HOST[:6379][,HOST...][/DB][?prefix=jeton]
//
// or rediss:// for TLS. Several hosts are nodes of one cluster.
func Check(a store.Address) error {
	_, _, err := options(a)
	return err
}

func options(a store.Address) (o rueidis.ClientOption, prefix string, err error) {
	if prefix, err = a.Prefix(); err != nil {
		return o, "", err
	}
	if err := a.Only("prefix"); err != nil {
		return o, "", err
	}
	o, err = ClientOption(a)
	return o, prefix, err
}

// ClientOption returns how the servers of an address are reached. What stands in
// its query is the caller's to read.
func ClientOption(a store.Address) (o rueidis.ClientOption, err error) {
	o = rueidis.ClientOption{
		InitAddress:       a.HostPorts("6379"),
		Username:          a.User,
		Password:          a.Password.Reveal(),
		Dialer:            net.Dialer{Timeout: dialTimeout, KeepAlive: time.Second},
		ConnWriteTimeout:  writeTimeout,
		PipelineMultiplex: -1,   // all keys are in one slot, which has one connection
		DisableCache:      true, // Watch tells when to read
		DisableRetry:      true, // whoever calls decides again
	}
	if a.Path != "" {
		if o.SelectDB, err = strconv.Atoi(a.Path); err != nil || o.SelectDB < 0 {
			return o, errors.New("the path is to be the number of a database, such as /0")
		}
	}
	switch a.Scheme {
	case "redis":
		if a.TLS != nil {
			return o, errors.New("certificates are for a URL with TLS, which begins with rediss://")
		}
	case "rediss":
		if o.TLSConfig = a.TLS.Clone(); o.TLSConfig == nil {
			o.TLSConfig = new(tls.Config)
		}
		if len(o.InitAddress) == 1 && o.TLSConfig.ServerName == "" {
			o.TLSConfig.ServerName, _, _ = net.SplitHostPort(o.InitAddress[0])
		}
	default:
		return o, errors.New("the URL is to begin with redis:// or rediss://")
	}
	return o, nil
}

// Open connects to the server. An error names its address, never the password.
func Open(ctx context.Context, a store.Address) (*Store, error) {
	s := &Store{server: strings.Join(a.HostPorts("6379"), ",")}
	o, prefix, err := options(a)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	s.names = namesOf(prefix)
	s.feed.Listen = s.listen
	if s.client, err = Dial(ctx, o); err != nil {
		return nil, s.wrap(ctx, err)
	}
	if err := s.identify(ctx); err != nil {
		s.client.Close()
		return nil, s.wrap(ctx, err)
	}
	return s, nil
}

// Dial connects as long as ctx allows.
func Dial(ctx context.Context, o rueidis.ClientOption) (rueidis.Client, error) {
	type connected struct {
		client rueidis.Client
		err    error
	}
	done := make(chan connected, 1)
	go func() { // the library knows no context here
		client, err := rueidis.NewClient(o)
		done <- connected{client, err}
	}()
	select {
	case c := <-done:
		return c.client, c.err
	case <-ctx.Done():
		go func() {
			if c := <-done; c.err == nil {
				c.client.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// identify marks what is kept with its format and refuses what this program
// does not know, and a server that throws records out.
func (s *Store) identify(ctx context.Context) error {
	b := s.client.B()
	if err := s.client.Do(ctx, b.Setnx().Key(s.names.format).Value(format).Build()).Error(); err != nil {
		return err
	}
	switch got, err := s.client.Do(ctx, s.client.B().Get().Key(s.names.format).Build()).ToString(); {
	case err != nil:
		return err
	case got != format:
		return fmt.Errorf("written by a newer jeton: its format is %q, this one knows %s", got, format)
	}
	info, err := s.client.Do(ctx, s.client.B().Info().Section("memory").Build()).ToString()
	if err == nil && strings.Contains(info, "maxmemory_policy:allkeys-") { // an error: this user may not ask
		return errors.New("the server throws records out when its memory is full; set its maxmemory-policy to noeviction")
	}
	return nil
}

// lookEvery is how often a connection that says nothing is tried.
const lookEvery = 5 * time.Second

// listen hears of every change to a record, until the connection breaks.
func (s *Store) listen(ctx context.Context, up func()) error {
	c, release := s.client.Dedicate()
	defer release()
	gone := c.SetOnInvalidations(s.invalidated)
	look := func() error { // also finds the node of a cluster that has the slot
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		return c.Do(ctx, c.B().Exists().Key(s.names.format).Build()).Error()
	}
	if err := look(); err != nil {
		return err
	}
	if err := c.Do(ctx, c.B().ClientTracking().On().Prefix().Prefix(s.names.record).Bcast().Build()).Error(); err != nil {
		return err
	}
	up()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-gone:
			return err
		case <-tick.C:
			if err := look(); err != nil {
				return err
			}
		}
	}
}

// invalidated is told the names of what changed; none after FLUSHALL, or when
// the connection broke.
func (s *Store) invalidated(names []rueidis.RedisMessage) {
	if len(names) == 0 {
		s.feed.SignalAll()
	}
	for _, m := range names {
		if name, err := m.ToString(); err == nil {
			s.feed.Signal(strings.TrimPrefix(name, s.names.record))
		}
	}
}
