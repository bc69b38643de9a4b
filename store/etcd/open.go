package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/jetonhq/jeton/store"
)

const (
	dialTimeout = 5 * time.Second
	patience    = 10 * time.Second // for the answer to an operation

	format = "1" // of what is kept; see Store
)

// Check reports what Open would refuse about an address without asking a
// server. The URL is
//
//	etcd://[USER@]HOST[:2379][,HOST...][?prefix=jeton]
//
// or etcds:// for TLS. Several hosts are members of one cluster.
func Check(a store.Address) error {
	_, _, err := config(a)
	return err
}

func config(a store.Address) (c clientv3.Config, prefix string, err error) {
	if prefix, err = a.Prefix(); err != nil {
		return c, "", err
	}
	if err := a.Only("prefix"); err != nil {
		return c, "", err
	}
	if a.Path != "" {
		return c, "", errors.New("the URL has no path; what keys begin with is ?prefix=")
	}
	c = clientv3.Config{
		Username: a.User, Password: a.Password.Reveal(),
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    dialTimeout, // finds connections to hosts that are gone
		DialKeepAliveTimeout: dialTimeout,
		MaxUnaryRetries:      2,            // the second is for a login that ran out; else whoever calls decides again
		Logger:               zap.NewNop(), // errors are returned
		DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(failFast),
			grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: dialTimeout,
				Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second}}),
		},
	}
	scheme := "http://"
	switch a.Scheme {
	case "etcd":
		if a.TLS != nil {
			return c, "", errors.New("certificates are for a URL with TLS, which begins with etcds://")
		}
	case "etcds":
		scheme = "https://"
		if c.TLS = a.TLS.Clone(); c.TLS == nil {
			c.TLS = new(tls.Config)
		}
	default:
		return c, "", errors.New("the URL is to begin with etcd:// or etcds://")
	}
	for _, host := range a.HostPorts("2379") {
		c.Endpoints = append(c.Endpoints, scheme+host)
	}
	return c, prefix, nil
}

// failFast has an operation fail with the reason why there is no connection,
// where the client would wait for one.
func failFast(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, cc, append(opts, grpc.WaitForReady(false))...)
}

// Open connects to the cluster. An error names its addresses, never the
// password.
func Open(ctx context.Context, a store.Address) (*Store, error) {
	s := &Store{server: strings.Join(a.HostPorts("2379"), ",")}
	c, prefix, err := config(a)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	s.names = namesOf(prefix)
	s.web = &http.Client{Transport: &http.Transport{TLSClientConfig: c.TLS.Clone()}, Timeout: dialTimeout}
	s.feed.Listen = s.listen
	running, cancel := context.WithCancel(context.Background())
	c.Context = running
	stop := context.AfterFunc(ctx, cancel) // to log in takes a while
	if s.client, err = clientv3.New(c); err == nil {
		err = s.identify(ctx)
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		cancel()
		if s.client != nil {
			_ = s.client.Close()
		}
		return nil, s.wrap(ctx, err)
	}
	return s, nil
}

// identify marks what is kept with its format and refuses what this program
// does not know.
func (s *Store) identify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	absent := clientv3.Compare(clientv3.CreateRevision(s.names.format), "=", 0)
	found, err := s.client.Txn(ctx).If(absent).Then(clientv3.OpPut(s.names.format, format)).
		Else(clientv3.OpGet(s.names.format)).Commit()
	if err != nil || found.Succeeded {
		return err
	}
	for _, kv := range found.Responses[0].GetResponseRange().Kvs {
		if string(kv.Value) != format {
			return fmt.Errorf("written by a newer jeton: its format is %q, this one knows %s", kv.Value, format)
		}
	}
	return nil
}

// Watch implements [store.Watcher]. Changes that were made while the connection
// was broken are told when it is back.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan struct{}, error) {
	changed, err := s.feed.Watch(ctx, prefix)
	if err != nil {
		return nil, s.wrap(ctx, err)
	}
	return changed, nil
}

// listen hears of changes. The client itself goes on behind the last one when a
// connection breaks; listen returns when it cannot, since the cluster has
// forgotten what came then.
func (s *Store) listen(ctx context.Context, up func()) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	changes := s.client.Watch(ctx, s.names.record, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	begin := time.NewTimer(patience)
	defer begin.Stop()
	for {
		select {
		case <-begin.C:
			return context.DeadlineExceeded
		case c, open := <-changes:
			if !open {
				return ctx.Err()
			}
			if err := c.Err(); err != nil {
				return err
			}
			if c.Created {
				begin.Stop()
				up()
			}
			for _, e := range c.Events {
				s.feed.Signal(strings.TrimPrefix(string(e.Kv.Key), s.names.record))
			}
		}
	}
}
