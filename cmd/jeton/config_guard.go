package main

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/yamlnode"
)

type guardConfig struct {
	listen    address
	tls       tlsConfig      // zero: the listener speaks plain HTTP
	metrics   address        // empty text: nobody can ask
	trusted   []netip.Prefix // whose X-Forwarded-For counts
	upstreams []upstreamConfig
}

// An upstreamConfig declares one API behind the guard, and which calls reach
// it. Either to or forwardAuth is set.
type upstreamConfig struct {
	name  string
	realm string        // of this file; empty: remote
	from  *remoteConfig // nil: the realm
	at    string        // prefix; empty: the whole path space

	to          *url.URL
	forwardAuth string         // the proxy that asks
	peers       []netip.Prefix // who may ask; none: this machine

	routes      []ruleConfig
	permissions dialect.Permissions // nil: the dialect's
	graphql     *graphqlConfig      // nil: none

	maxBody, maxResponse                        int64 // bytes; zero: the guard's own limits
	timeout, idleTimeout, callTimeout, maxStale time.Duration
	showAge                                     bool

	node yamlnode.Node
}

// A ruleConfig is a rule as it was written.
type ruleConfig struct {
	text string
	node yamlnode.Node
}

// A remoteConfig says whose tokens an upstream takes, if they are not of a realm
// of the same file.
type remoteConfig struct {
	issuer   *url.URL // as its tokens and its metadata have it: a slash at the end counts
	dialect  dialectRef
	key      reference // to the issuer's revocations; zero: it has none to follow
	clientID string    // with secret: for introspection; empty: none
	secret   reference
	audience string // empty: the issuer's URL
	algs     []string
	types    []string
	leeway   time.Duration
	untyped  bool
}

// A graphqlConfig says which path of an upstream is GraphQL, and what its fields
// need.
type graphqlConfig struct {
	at            string
	schema        string            // path; empty: none
	persisted     string            // path of a JSON object of queries by their hash; empty: none
	fields        map[string]string // :: "Type.field" -> scope; nil: no table
	introspection bool
	get           bool
	limits        map[string]int // :: name -> limit; the others are the guard's own
	node          yamlnode.Node
}

// A guardKeyConfig is a guard in a process of its own, which follows what ends.
type guardKeyConfig struct {
	name   string
	keys   []reference // all are good; two while one is being replaced
	realms []string    // empty: all
}

func (p *parser) guardKeys(n yamlnode.Node, realms []string) (list []guardKeyConfig) {
	if !p.mapping(n, "issuer.guards") {
		return nil
	}
	for _, pair := range n.Pairs {
		g := guardKeyConfig{name: p.name(pair.Key, "guard")}
		what := "guard " + g.name
		if !p.mapping(pair.Value, what, guardOfIssuerKeys.names()...) {
			continue
		}
		if key, ok := pair.Value.Get("key"); ok {
			g.keys = p.references(key, "key")
		} else {
			p.fail(pair.Key, "%s: `key` is missing; write env:NAME or file:PATH", what)
		}
		if v, ok := pair.Value.Get("realms"); ok {
			g.realms = p.words(v, what+": realms")
			for i, name := range g.realms {
				if !slices.Contains(realms, name) {
					p.fail(v.Items[i], "%s: unknown realm %s%s", what, yamlnode.Quote(name), yamlnode.Suggest(name, realms))
				}
			}
		}
		list = append(list, g)
	}
	return list
}

// follows reports whether the guard may follow a realm.
func (g guardKeyConfig) follows(realm string) bool {
	return len(g.realms) == 0 || slices.Contains(g.realms, realm)
}

func (p *parser) guard(n yamlnode.Node) *guardConfig {
	c := &guardConfig{listen: address{"127.0.0.1:8082", "guard.listen"}}
	if !p.mapping(n, "guard", guardKeys.names()...) {
		return c
	}
	p.listen(n, &c.listen)
	if v, ok := n.Get("metrics"); ok && p.want(v, "guard.metrics", yamlnode.Text) {
		c.metrics = address{v.Text, "guard.metrics"}
		if err := checkAddress(v.Text); err != nil {
			p.fail(v, "guard.metrics: %v", err)
		}
	}
	if v, ok := n.Get("tls"); ok && p.mapping(v, "guard.tls", tlsKeys.names()...) {
		c.tls.cert = p.path(p.text(v, v, "guard.tls", "cert"))
		if key, ok := v.Get("key"); ok {
			c.tls.key = p.reference(key)
		} else {
			p.fail(v, "guard.tls: `key` is missing; write file:PATH")
		}
	}
	if v, ok := n.Get("trusted_proxies"); ok {
		c.trusted = p.prefixes(v)
	}
	upstreams, ok := n.Get("upstreams")
	if !ok || !p.mapping(upstreams, "guard.upstreams") {
		p.fail(n, "guard declares no upstreams; add `upstreams: {NAME: {realm: REALM, to: URL}}`")
		return c
	}
	for _, pair := range upstreams.Pairs {
		u, ok := p.upstream(pair)
		if !ok {
			continue
		}
		for _, other := range c.upstreams {
			if u.at == other.at {
				p.fail(pair.Key, "upstreams %s and %s are both at %s/; give each an `at` of its own", other.name, u.name, u.at)
			}
		}
		c.upstreams = append(c.upstreams, u)
	}
	return c
}

func (p *parser) upstream(pair yamlnode.Pair) (u upstreamConfig, ok bool) {
	u, n := upstreamConfig{name: p.name(pair.Key, "upstream"), node: pair.Key}, pair.Value
	what := "upstream " + u.name
	keys := upstreamKeys.names()
	_, remote := n.Get("issuer")
	if remote {
		keys = append(keys, remoteKeys.names()...)
	} else {
		keys = append(keys, localKeys.names()...)
	}
	if _, both := n.Get("realm"); both && remote {
		p.fail(pair.Key, "%s: tokens are of one issuer: write `realm` or `issuer`", what)
		return u, false
	}
	if !p.mapping(n, what, keys...) {
		return u, false
	}
	if remote {
		u.from = p.remote(n, pair.Key, what)
	} else {
		u.realm = p.text(n, pair.Key, what, "realm")
	}
	p.way(n, pair.Key, what, &u)
	p.rules(n, what, &u)
	u.maxBody, u.maxResponse = p.bytes(n, "max_body"), p.bytes(n, "max_response")
	u.timeout, u.idleTimeout, u.callTimeout = p.duration(n, "timeout"), p.duration(n, "idle_timeout"), p.duration(n, "call_timeout")
	u.maxStale = p.duration(n, "max_stale")
	u.showAge = p.flag(n, "show_age")
	return u, true
}

// forwardAuths are the proxies that a guard answers.
var forwardAuths = []string{"nginx", "traefik", "caddy", "envoy"}

// way reads how calls come and where they go.
func (p *parser) way(n, at yamlnode.Node, what string, u *upstreamConfig) {
	to, proxied := n.Get("to")
	by, asked := n.Get("forward_auth")
	switch {
	case proxied && asked:
		p.fail(by, "%s: write `to`, the API to forward to, or `forward_auth`, the proxy that asks and forwards itself", what)
	case proxied:
		u.to = p.upstreamURL(to)
	case asked && p.want(by, "forward_auth", yamlnode.Text):
		u.forwardAuth = p.oneOf(by, "forward_auth", forwardAuths...)
	default:
		p.fail(at, "%s: `to` is missing: the URL of the API behind the guard", what)
	}
	if v, ok := n.Get("from"); ok {
		if !asked {
			p.fail(v, "%s: `from` says which proxy may ask; it goes with `forward_auth`", what)
		}
		u.peers = p.prefixes(v)
	}
	if v, ok := n.Get("at"); ok {
		u.at = p.prefix(v)
	}
}

// upstreamURL reads the URL of an API. With h2c:// it speaks HTTP/2 without TLS.
func (p *parser) upstreamURL(n yamlnode.Node) *url.URL {
	rest, h2c := strings.CutPrefix(n.Text, "h2c://")
	if !h2c {
		return p.url(n, "to")
	}
	n.Text = "http://" + rest
	u := p.url(n, "to")
	if u != nil {
		u.Scheme = "h2c"
	}
	return u
}

// remote reads whose tokens an upstream takes.
func (p *parser) remote(n, at yamlnode.Node, what string) *remoteConfig {
	c := new(remoteConfig)
	v, _ := n.Get("issuer")
	if c.issuer = p.url(v, "issuer"); c.issuer != nil && c.issuer.Scheme != "https" && !jeton.IsLoopback(c.issuer.Hostname()) {
		p.fail(v, "%s: issuer: whoever is in between could change its keys; write https://", what)
	}
	if _, ok := n.Get("dialect"); ok {
		c.dialect = p.dialect(n, at, what)
	} else {
		ref, err := p.catalogue.load("oauth2")
		if err != nil {
			p.fail(at, "%v", err)
		}
		c.dialect = ref
	}
	if v, ok := n.Get("key"); ok {
		c.key = p.reference(v)
	}
	if v, ok := n.Get("client_id"); ok && p.want(v, "client_id", yamlnode.Text) {
		c.clientID = v.Text
	}
	if v, ok := n.Get("client_secret"); ok {
		c.secret = p.reference(v)
	}
	if (c.clientID == "") != c.secret.isZero() {
		p.fail(at, "%s: `client_id` and `client_secret` go together", what)
	}
	if v, ok := n.Get("audience"); ok && p.want(v, "audience", yamlnode.Text) {
		c.audience = v.Text
	}
	if v, ok := n.Get("algs"); ok {
		for _, item := range p.list(v, "algs") {
			c.algs = append(c.algs, p.oneOf(item, "alg", remoteAlgs...))
		}
	}
	if v, ok := n.Get("types"); ok {
		c.types = p.words(v, "types")
	}
	c.untyped = p.flag(n, "untyped")
	c.leeway = p.duration(n, "leeway")
	if v, ok := n.Get("leeway"); ok && c.leeway > 5*time.Minute {
		p.fail(v, "%s: a leeway of more than 5m lets tokens live that have ended", what)
	}
	return c
}

// rules reads what the routes of an upstream need.
func (p *parser) rules(n yamlnode.Node, what string, u *upstreamConfig) {
	if v, ok := n.Get("routes"); ok {
		for _, item := range p.list(v, what+": routes") {
			u.routes = append(u.routes, ruleConfig{item.Text, item})
		}
	}
	if v, ok := n.Get("permissions"); ok {
		var err error
		if u.permissions, err = dialect.ParsePermissions(v, nil); err != nil {
			p.errs = append(p.errs, err)
		}
	}
	if v, ok := n.Get("graphql"); ok {
		u.graphql = p.graphql(v, what)
	}
}

func (p *parser) graphql(n yamlnode.Node, what string) *graphqlConfig {
	c := &graphqlConfig{at: "/graphql", node: n}
	what += ": graphql"
	if !p.mapping(n, what, graphqlKeys.names()...) {
		return c
	}
	if v, ok := n.Get("at"); ok {
		c.at = firstOf(p.prefix(v), "/")
	}
	for key, path := range map[string]*string{"schema": &c.schema, "persisted": &c.persisted} {
		if v, ok := n.Get(key); ok && p.want(v, what+"."+key, yamlnode.Text) {
			*path = p.path(v.Text)
		}
	}
	if v, ok := n.Get("fields"); ok && p.mapping(v, what+".fields") {
		c.fields = map[string]string{}
		for _, pair := range v.Pairs {
			if p.want(pair.Value, pair.Key.Text, yamlnode.Text) {
				c.fields[pair.Key.Text] = pair.Value.Text
			}
		}
	}
	c.introspection = p.flag(n, "introspection")
	c.get = p.flag(n, "get")
	if v, ok := n.Get("limits"); ok && p.mapping(v, what+".limits", limitKeys.names()...) {
		c.limits = map[string]int{}
		for _, pair := range v.Pairs {
			limit, err := strconv.Atoi(pair.Value.Text)
			if err != nil || limit <= 0 {
				p.fail(pair.Value, "%s.limits.%s: %s is no limit; write a number from 1", what, pair.Key.Text, yamlnode.Quote(pair.Value.Text))
			}
			c.limits[pair.Key.Text] = limit
		}
	}
	return c
}

// list returns the items of a list of texts, which is not empty.
func (p *parser) list(n yamlnode.Node, what string) (items []yamlnode.Node) {
	if !p.want(n, what, yamlnode.List) {
		return nil
	}
	if len(n.Items) == 0 {
		p.fail(n, "%s: the list is empty; leave it out", what)
	}
	for _, item := range n.Items {
		if p.want(item, what, yamlnode.Text) {
			items = append(items, item)
		}
	}
	return items
}

// words returns the texts of a list.
func (p *parser) words(n yamlnode.Node, what string) (words []string) {
	for _, item := range p.list(n, what) {
		words = append(words, item.Text)
	}
	return words
}

// flag reads true or false.
func (p *parser) flag(n yamlnode.Node, key string) bool {
	v, ok := n.Get(key)
	return ok && p.want(v, key, yamlnode.Bool) && v.Text == "true"
}

var sizes = regexp.MustCompile(`^([0-9]{1,15})$|^([0-9]{1,6})(KiB|MiB|GiB)$`)

// bytes reads a size such as 10MiB.
func (p *parser) bytes(n yamlnode.Node, key string) int64 {
	v, ok := n.Get(key)
	if !ok {
		return 0
	}
	m := sizes.FindStringSubmatch(v.Text)
	if m == nil || strings.Trim(v.Text, "0KMGiB") == "" {
		p.fail(v, "%s: %s is no size; write 10MiB, 64KiB or a number of bytes", key, yamlnode.Quote(v.Text))
		return 0
	}
	size, _ := strconv.ParseInt(m[1]+m[2], 10, 64) // as many digits as fit
	return size << map[string]int{"KiB": 10, "MiB": 20, "GiB": 30}[m[3]]
}

// upstreamsWith checks upstreams against the realms.
func (p *parser) upstreamsWith(c *config) {
	var names []string
	if c.issuer != nil {
		names = c.issuer.names()
	}
	for _, u := range c.guard.upstreams {
		if u.from != nil {
			p.rulesWith(u, u.from.dialect)
			continue
		}
		r, ok := c.realm(u.realm)
		if !ok {
			p.fail(u.node, "upstream %s: unknown realm %s%s", u.name, yamlnode.Quote(u.realm), yamlnode.Suggest(u.realm, names))
			continue
		}
		p.rulesWith(u, r.dialect)
	}
	p.askedByPath(c)
	if c.issuer == nil || c.guard.listen.text != c.issuer.listen.text {
		return
	}
	if c.guard.tls.cert != "" {
		p.fail(c.guard.tls.key.node, "guard.tls: the issuer has the same address and no TLS; give guard.listen one of its own")
	}
	for _, u := range c.guard.upstreams {
		for _, r := range c.issuer.realms {
			if u.at == r.at && (u.realm != r.name || u.to == nil) {
				whose := ""
				if u.realm != "" {
					whose = " of realm " + u.realm
				}
				p.fail(u.node, "upstream %s%s stands where realm %s does; give it another `at`", u.name, whose, r.name)
			}
		}
	}
}

// askedByPath sees to it that nobody else answers the questions of Envoy. They
// have the path of the call that they are about, and any 200 lets it through.
func (p *parser) askedByPath(c *config) {
	for _, u := range c.guard.upstreams {
		if u.forwardAuth != "envoy" {
			continue
		}
		for _, a := range c.addresses() {
			if a.text == c.guard.listen.text && a.key != c.guard.listen.key {
				p.fail(u.node, "upstream %s: Envoy would take the answers of others at %s for the guard's; give %s an address of its own", u.name, a.text, a.key)
			}
		}
		if len(c.guard.upstreams) > 1 {
			p.fail(u.node, "upstream %s: Envoy would take the answers of other upstreams for the guard's; give it a guard of its own, in another file", u.name)
		}
		if u.at != "" {
			p.fail(u.node, "upstream %s: Envoy asks about the whole path, and forwards it; leave `at` out, and name whole paths in `routes`", u.name)
		}
	}
}

// guardReferences lists the references of guards.
func (c *config) guardReferences() (list []reference) {
	if c.issuer != nil {
		for _, g := range c.issuer.guards {
			list = append(list, g.keys...)
		}
	}
	if c.guard != nil {
		for _, u := range c.guard.upstreams {
			if u.from == nil {
				continue
			}
			for _, from := range []reference{u.from.key, u.from.secret} {
				if !from.isZero() {
					list = append(list, from)
				}
			}
		}
		if !c.guard.tls.key.isZero() {
			list = append(list, c.guard.tls.key)
		}
	}
	return list
}
