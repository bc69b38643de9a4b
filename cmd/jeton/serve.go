package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/jetonhq/jeton/broker"
	"github.com/jetonhq/jeton/console"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/limit"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run what the configuration declares: issuer, guard, broker, console",
		Long: `Runs what the configuration declares: issuer, guard, broker and console, any mix of
them. Parts that name the same address share it. Everything that the configuration names
is checked before anything listens. SIGINT and SIGTERM end it within a second.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			config, err := a.config()
			if err != nil {
				return err
			}
			if err := config.checkSecrets(); err != nil {
				return err
			}
			logger := slog.New(slog.NewTextHandler(a.talk, nil))
			l, err := lockState(config.store)
			if err != nil {
				return err
			}
			s := &server{config: config, logger: logger, lock: l}
			if err := s.open(c.Context()); err != nil {
				return errors.Join(err, s.close())
			}
			s.start()
			return s.wait(c.Context())
		},
	}
}

// A server is what one process runs.
type server struct {
	config *config
	logger *slog.Logger
	lock   *lock
	state  *state
	fronts []*front
	bound  map[string]net.Listener // :: address -> listener that is open already

	realms  map[string]*issuer.Realm // :: name -> realm
	issuer  *issuer.Server           // nil: none
	broker  *broker.Broker           // nil: none
	console *console.Console         // nil: none

	guarded      []*guarded // one for each upstream
	guardMetrics *guardMetrics
	traces       *sdktrace.TracerProvider // nil: none
	runs         []func(context.Context)  // what guards want to have run
	samples      map[string]http.Handler  // :: realm -> API behind a guard at the realm's own prefix; only dev has any

	cancel     context.CancelFunc // ends requests
	cancelWork context.CancelFunc // ends what runs in the background
	failed     chan error         // of a listener
	work       sync.WaitGroup
}

// open opens the store and builds what the configuration declares. It listens,
// but answers nobody yet. Whatever it returns, close is to be called.
func (s *server) open(ctx context.Context) (err error) {
	c := s.config
	s.guardMetrics = newGuardMetrics()
	for _, a := range c.addresses() {
		if s.front(a) != nil {
			continue // parts that name the same address share it
		}
		f := &front{address: a, listener: s.bound[a.text]}
		if f.listener == nil {
			if f.listener, err = s.bind(a); err != nil {
				return err
			}
		}
		s.fronts = append(s.fronts, f)
	}
	if s.state, err = openState(ctx, c); err != nil {
		return err
	}
	if c.issuer != nil {
		if err := s.openIssuer(ctx); err != nil {
			return err
		}
	}
	if c.guard != nil {
		if err := s.openGuards(); err != nil {
			return err
		}
	}
	if c.console != nil {
		if err := s.openConsole(); err != nil {
			return err
		}
	}
	if c.issuer != nil { // last, so that what else stands at "/" goes first
		f := s.front(c.issuer.listen)
		f.routes = append(f.routes, route{handler: s.issuer})
	}
	if c.broker != nil {
		s.broker = newBroker(c.broker.accounts, s.state, s.logger)
		s.broker.Callers = brokerCallers(c.broker.callers)
		if c.traces != nil {
			if s.traces, err = newTraces(c.traces, s.broker.Name, s.logger); err != nil {
				return err
			}
			s.broker.Traces, s.broker.Propagate = s.traces, c.traces.propagate
		}
		f := s.front(c.broker.listen)
		f.routes = append(f.routes, route{prefix: "/to", handler: streaming(s.broker.Egress())}, route{handler: s.broker.TokenAPI()})
	}
	return nil
}

// bind opens the listener of a part. The broker's Unix socket lets in whom the
// configuration says.
func (s *server) bind(a address) (net.Listener, error) {
	var socket socketConfig
	if b := s.config.broker; b != nil && b.listen.text == a.text {
		socket = b.socket
	}
	l, err := bind(a, socket)
	if err == nil && len(socket.uids) > 0 {
		l = &peerListener{l, socket.uids, s.logger}
	}
	return l, err
}

// addresses returns where the parts listen.
func (c *config) addresses() []address {
	var list []address
	if c.issuer != nil {
		list = append(list, c.issuer.listen)
	}
	if c.guard != nil {
		list = append(list, c.guard.listen)
		if c.guard.metrics.text != "" {
			list = append(list, c.guard.metrics)
		}
	}
	if c.broker != nil {
		list = append(list, c.broker.listen)
	}
	if c.console != nil {
		list = append(list, c.console.listen)
	}
	return list
}

// front returns what serves an address, or nil.
func (s *server) front(a address) *front {
	for _, f := range s.fronts {
		if f.address.text == a.text {
			return f
		}
	}
	return nil
}

// wellKnown is where a realm's metadata stands with its prefix at the end (RFC
// 8414 section 3.1).
const wellKnown = "/.well-known/oauth-authorization-server"

func (s *server) openIssuer(ctx context.Context) error {
	c := s.config.issuer
	f := s.front(c.listen)
	if c.url == "http://"+c.listen.text {
		c.url = "http://" + f.listener.Addr().String() // port 0 is now known
	}
	s.issuer = issuer.NewServer(s.state.store, s.logger)
	s.realms = map[string]*issuer.Realm{}
	limiter := new(limit.Limiter)
	for _, r := range c.realms {
		guards, err := c.issuerGuards(r.name)
		if err != nil {
			return err
		}
		realm, err := openRealm(ctx, s.config, r, s.state, guards, limiter, s.logger)
		if err != nil {
			return err
		}
		s.realms[r.name] = realm
		rest, err := s.rest(r)
		if err != nil {
			return err
		}
		if err := s.issuer.Mount(r.at, realm, rest); err != nil {
			return fmt.Errorf("%s: %w", r.node.Position(), err)
		}
		f.routes = append(f.routes, route{prefix: r.at, handler: s.issuer})
	}
	f.routes = append(f.routes, route{prefix: "/healthz", handler: s.issuer},
		route{prefix: wellKnown, handler: s.issuer})
	return nil
}

// rest returns what answers at a realm's prefix where the realm does not: the
// guarded API of an upstream that stands at the same place, or nil.
func (s *server) rest(r realmConfig) (http.Handler, error) {
	if api := s.samples[r.name]; api != nil {
		g := &guard.Guard{Dialect: r.dialect.Dialect, Realm: r.name, Logger: s.logger, ShowAge: true}
		s.know(g, r.name)
		return streaming(g.Handler(api)), nil
	}
	if s.config.guard != nil {
		for _, u := range s.config.guard.upstreams {
			if u.realm == r.name && s.inRealm(u) {
				h, err := s.upstream(u)
				return streaming(h), err
			}
		}
	}
	return nil, nil
}

// inRealm reports whether an upstream stands where its realm does.
func (s *server) inRealm(u upstreamConfig) bool {
	r, ok := s.config.realm(u.realm)
	return ok && s.config.guard.listen.text == s.config.issuer.listen.text && u.at == r.at
}

func (s *server) openConsole() (err error) {
	c := s.config.console
	f := s.front(c.listen)
	if c.url == c.defaultURL(c.listen.text) {
		c.url = c.defaultURL(f.listener.Addr().String()) // port 0 is now known
	}
	if s.console, err = newConsole(s.config, s.state, s.realms, s.logger); err != nil {
		return err
	}
	f.routes = append(f.routes, route{prefix: consolePath, handler: s.console})
	return nil
}

const (
	sweepEvery = 5 * time.Minute
	grace      = 400 * time.Millisecond // for requests that run when the server is to end

	// readyWithin is how long the listeners wait for the realms to know what has
	// ended. After that each token is looked up in the store for as long as they
	// do not.
	readyWithin = 500 * time.Millisecond
)

// start begins to answer.
func (s *server) start() {
	// Requests end some time after the signal to end, not with it.
	base, cancel := context.WithCancel(context.Background())
	work, cancelWork := context.WithCancel(context.Background())
	s.cancel, s.cancelWork = cancel, cancelWork
	s.failed = make(chan error, len(s.fronts))
	if s.issuer != nil {
		s.work.Go(func() { s.issuer.Run(work) })
		s.work.Go(func() { s.sweep(work) })
		s.issuer.Ready(work, readyWithin)
	}
	for _, run := range s.runs {
		s.work.Go(func() { run(work) })
	}
	if s.config.src != nil {
		s.work.Go(func() { s.watchDialects(work) })
	}
	for _, f := range s.fronts {
		f.start(base, s.logger, s.failed)
		s.logger.Info("listening", "address", f.listener.Addr().String())
	}
	if s.broker != nil {
		s.work.Go(func() { s.broker.Run(work) })
	}
}

// wait serves until ctx ends or a listener fails, lets what runs finish for a
// moment, and closes everything.
func (s *server) wait(ctx context.Context) (err error) {
	select {
	case <-ctx.Done():
		s.logger.Info("ending")
	case err = <-s.failed:
	}
	ending, cancel := context.WithTimeout(context.Background(), 900*time.Millisecond) // all of it is to take less than a second
	defer cancel()
	s.cancelWork() // the broker waits a moment for a login that was sent
	s.shutdown()
	s.cancel()
	s.work.Wait()
	if s.traces != nil {
		_ = s.traces.Shutdown(ending) // sends what there is; an error was logged
	}
	return errors.Join(err, s.close())
}

// shutdown stops taking requests and gives those that run a moment.
func (s *server) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if s.issuer != nil {
		s.issuer.Close() // the guards that follow would stay
	}
	var all sync.WaitGroup
	for _, f := range s.fronts {
		all.Go(func() {
			if f.server.Shutdown(ctx) != nil {
				_ = f.server.Close() // what still runs has had its moment
			}
		})
	}
	all.Wait()
}

// sweep removes expired records now and then.
func (s *server) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := s.issuer.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.logger.Error("expired records were not removed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// close gives back whatever is open.
func (s *server) close() error {
	var errs []error
	for _, l := range s.bound {
		_ = l.Close()
	}
	for _, f := range s.fronts {
		_ = f.listener.Close() // the server may have closed it
	}
	if s.state != nil {
		errs = append(errs, s.state.close())
	}
	return errors.Join(append(errs, s.lock.release())...)
}
