package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/graphql"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/verify"
)

// rulesWith checks the rules of an upstream against its dialect.
func (p *parser) rulesWith(u upstreamConfig, d dialectRef) {
	if d.Dialect == nil {
		return // that was told
	}
	before := len(p.errs)
	for _, r := range u.routes {
		if _, err := guard.ParseRoute(r.text); err != nil {
			p.fail(r.node, "upstream %s: %s", u.name, bare(err))
		}
	}
	if u.graphql != nil {
		if _, err := u.graphql.open(); err != nil {
			p.fail(u.graphql.node, "upstream %s: %s", u.name, bare(err))
		}
	}
	if len(p.errs) > before {
		return
	}
	if g, err := u.open(d.Dialect); err != nil {
		p.fail(u.node, "upstream %s: %s", u.name, bare(err))
	} else if err := g.Check(); err != nil {
		p.fail(u.node, "upstream %s: %s", u.name, bare(err))
	}
}

// bare returns an error of package guard for a message that says itself what it
// is about.
func bare(err error) string { return strings.TrimPrefix(err.Error(), "guard: ") }

// open returns the guard of an upstream, which lacks its verifier.
func (u upstreamConfig) open(d *dialect.Dialect) (*guard.Guard, error) {
	g := &guard.Guard{
		Dialect: d, Realm: firstOf(u.realm, u.name), Permissions: u.permissions,
		MaxBody: u.maxBody, MaxResponse: u.maxResponse,
		Timeout: u.timeout, IdleTimeout: u.idleTimeout, CallTimeout: u.callTimeout,
		MaxStale: u.maxStale, ShowAge: u.showAge, From: u.peers,
	}
	for _, r := range u.routes {
		route, err := guard.ParseRoute(r.text)
		if err != nil {
			return nil, err
		}
		g.Routes = append(g.Routes, route)
	}
	if u.graphql != nil {
		var err error
		if g.GraphQL, err = u.graphql.open(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// open reads the schema and the persisted documents.
func (c *graphqlConfig) open() (*guard.GraphQL, error) {
	q := &guard.GraphQL{At: c.at, GET: c.get, MaxBytes: c.limits["bytes"], Policy: graphql.Policy{
		Fields: c.fields, Introspection: c.introspection,
		MaxTokens: c.limits["tokens"], MaxDepth: c.limits["depth"], MaxComplexity: c.limits["complexity"],
		MaxAliases: c.limits["aliases"], MaxRootFields: c.limits["root_fields"],
		MaxBatch: c.limits["batch"], MaxDirectives: c.limits["directives"],
	}}
	if c.schema != "" {
		src, err := os.ReadFile(c.schema)
		if err != nil {
			return nil, fmt.Errorf("graphql: the schema %s cannot be read: %w", c.schema, reason(err))
		}
		q.Schema = string(src)
	}
	if c.persisted != "" {
		src, err := os.ReadFile(c.persisted)
		if err != nil {
			return nil, fmt.Errorf("graphql: the persisted documents %s cannot be read: %w", c.persisted, reason(err))
		}
		if err := json.Unmarshal(src, &q.Persisted); err != nil {
			return nil, fmt.Errorf("graphql: %s is to be a JSON object of documents by their SHA-256", c.persisted)
		}
	}
	return q, q.Check()
}

// openGuards makes the guards of the configuration and puts them where they
// stand. An upstream that stands where its realm does is served with that, by
// openIssuer.
func (s *server) openGuards() error {
	c := s.config.guard
	f := s.front(c.listen)
	if c.tls.cert != "" {
		k := &keyPair{from: c.tls, logger: s.logger}
		if err := k.read(); err != nil {
			return err
		}
		f.tls = &tls.Config{GetCertificate: k.get, MinVersion: tls.VersionTLS12}
	}
	if c.metrics.text != "" {
		f := s.front(c.metrics)
		f.routes = append(f.routes, route{prefix: "/metrics", handler: s.guardMetrics.handler()})
	}
	for _, u := range c.upstreams {
		if s.inRealm(u) {
			continue
		}
		h, err := s.upstream(u)
		if err != nil {
			return err
		}
		f.routes = append(f.routes, route{prefix: u.at, cut: true, handler: streaming(h)})
	}
	return nil
}

// upstream returns what stands at an upstream's place.
func (s *server) upstream(u upstreamConfig) (http.Handler, error) {
	g, err := s.guardOf(u)
	if err != nil {
		return nil, fmt.Errorf("%s: upstream %s: %s", u.node.Position(), u.name, bare(err))
	}
	guarded := &guarded{upstream: u, guard: g}
	s.guarded = append(s.guarded, guarded)
	return guarded, guarded.set(g)
}

// A guarded is what stands at an upstream's place: its guard, whose dialect may
// be replaced.
type guarded struct {
	upstream upstreamConfig
	guard    *guard.Guard // the first one; what is not of the dialect is of all
	now      atomic.Pointer[http.Handler]
}

func (h *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*h.now.Load()).ServeHTTP(w, r) }

func (h *guarded) set(g *guard.Guard) error {
	var handler http.Handler
	if h.upstream.forwardAuth != "" {
		var err error
		if handler, err = g.ForwardAuth(h.upstream.forwardAuth); err != nil {
			return err
		}
	} else {
		handler = g.Proxy(h.upstream.to)
	}
	h.now.Store(&handler)
	return nil
}

// setDialect has the guard read the next call in another dialect.
func (h *guarded) setDialect(d *dialect.Dialect) error {
	g, err := h.upstream.open(d)
	if err != nil {
		return err
	}
	g.Verifier, g.Revocations, g.Logger = h.guard.Verifier, h.guard.Revocations, h.guard.Logger
	g.Trusted, g.Decided = h.guard.Trusted, h.guard.Decided
	if err := g.Check(); err != nil {
		return err
	}
	return h.set(g)
}

// guardOf makes the guard of an upstream. What keeps its knowledge fresh runs
// once the server starts.
func (s *server) guardOf(u upstreamConfig) (*guard.Guard, error) {
	var d *dialect.Dialect
	if u.from != nil {
		d = u.from.dialect.Dialect
	} else {
		d = s.realms[u.realm].Dialect()
	}
	g, err := u.open(d)
	if err != nil {
		return nil, err
	}
	g.Logger, g.Trusted = s.logger, s.config.guard.trusted
	g.Decided = s.guardMetrics.decided(u.name)
	if u.from != nil {
		return g, s.follow(u, g)
	}
	s.know(g, u.realm)
	s.guardMetrics.age(u.name, g.Revocations)
	return g, nil
}

// know gives a guard what is known of the tokens of a realm of this process.
func (s *server) know(g *guard.Guard, realm string) {
	r := s.realms[realm]
	g.Revocations = r.Revocations()
	if r.Dialect().WholeCall() {
		g.Verifier = r // a token that is known says nothing about the rest of the call
		return
	}
	g.Verifier = &verify.Cache{Verifier: r, Table: g.Revocations, MaxStale: g.MaxStale, Epoch: r.Keys().Epoch}
}

// follow gives a guard what is known of the tokens of an issuer elsewhere.
func (s *server) follow(u upstreamConfig, g *guard.Guard) error {
	c := u.from
	r := &verify.Remote{
		Issuer: c.issuer.String(), Audience: c.audience, Algs: c.algs, Types: c.types, Leeway: c.leeway,
		ClientID: c.clientID, Untyped: c.untyped, MaxStale: u.maxStale, Logger: s.logger,
	}
	g.Verifier = r
	var err error
	if !c.secret.isZero() {
		if r.ClientSecret, err = c.secret.read(); err != nil {
			return err
		}
	}
	s.runs = append(s.runs, r.Run)
	if c.key.isZero() {
		return nil
	}
	if r.Key, err = c.key.read(); err != nil {
		return err
	}
	r.Delay = s.guardMetrics.heard(u.name)
	g.Revocations = r.Revocations()
	s.guardMetrics.age(u.name, g.Revocations)
	return nil
}

// issuerGuards returns the guards that may follow a realm.
func (c *issuerConfig) issuerGuards(realm string) (list []issuer.Guard, err error) {
	for _, g := range c.guards {
		if !g.follows(realm) {
			continue
		}
		for _, from := range g.keys {
			key, err := from.read()
			if err != nil {
				return nil, err
			}
			list = append(list, issuer.Guard{Name: g.name, Key: key})
		}
	}
	return list, nil
}
