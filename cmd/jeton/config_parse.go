package main

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/jetonhq/jeton/broker"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/yamlnode"
)

// A parser reads a configuration and collects what is wrong with it, so that
// one run tells everything.
type parser struct {
	dir  string // where relative paths start
	errs []error

	catalogue *catalogue
}

// maxConfig bounds a configuration file, in bytes. A hundred thousand accounts
// are 20 MB.
const maxConfig = 64 << 20

// memoryColon finds the one value that the language of the file cannot say
// without quotes, though every store is written as a URL.
var memoryColon = regexp.MustCompile(`(?m)^(\s*store:\s+memory):[ \t]*(#.*)?$`)

// readConfig reads the text of a configuration file.
func readConfig(file string, src []byte) (yamlnode.Node, error) {
	return yamlnode.ParseUpTo(maxConfig, file, memoryColon.ReplaceAll(src, []byte("$1 $2")))
}

func parseConfig(file, dir string, src []byte) (*config, error) {
	root, err := readConfig(file, src)
	if err != nil {
		return nil, err
	}
	if root.Kind == yamlnode.Null {
		return nil, root.Errorf("the file declares nothing; it wants at least one of issuer, guard, broker")
	}
	p := &parser{dir: dir}
	c := &config{file: file, store: storeURL{kind: "memory"}}
	if !p.mapping(root, "the file", configKeys.names()...) {
		return nil, errors.Join(p.errs...)
	}
	p.ownDialects(root, c) // first: the others refer to them
	for _, pair := range root.Pairs {
		n := pair.Value
		switch pair.Key.Text {
		case "store":
			c.store = p.store(n)
		case "seal":
			c.seal = p.references(n, "seal")
		case "issuer":
			c.issuer = p.issuer(n)
		case "guard":
			c.guard = p.guard(n)
		case "broker":
			c.broker = p.broker(n)
		case "console":
			c.console = p.console(n)
		case "traces":
			c.traces = p.traces(n)
		}
	}
	if len(p.errs) == 0 {
		p.together(root, c)
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	if c.dialects != "" || slices.ContainsFunc(c.dialectRefs(), func(r dialectRef) bool { return r.src != "" }) {
		c.src = src
	}
	return c, nil
}

// ownDialects reads the folder of the user's dialects.
func (p *parser) ownDialects(root yamlnode.Node, c *config) {
	dir := ""
	v, ok := root.Get("dialects")
	if ok && p.want(v, "dialects", yamlnode.Text) {
		c.dialects, dir = v.Text, p.path(v.Text)
		if v.Text == "" {
			p.fail(v, "dialects is to be a folder")
		}
	}
	var err error
	p.catalogue, err = readCatalogue(dir, p.path)
	c.catalogue = p.catalogue
	if err != nil && len(p.catalogue.bad) == 0 {
		err = v.Errorf("%v", err)
	}
	if err != nil {
		p.errs = append(p.errs, err)
	}
}

// dialectRefs lists the dialects that the file refers to, those of realms first.
func (c *config) dialectRefs() (list []dialectRef) {
	if c.issuer != nil {
		for _, r := range c.issuer.realms {
			list = append(list, r.dialect)
		}
	}
	if c.guard != nil {
		for _, u := range c.guard.upstreams {
			if u.from != nil {
				list = append(list, u.from.dialect)
			}
		}
	}
	if c.broker != nil {
		for _, a := range c.broker.accounts {
			list = append(list, a.dialect)
		}
	}
	return list
}

// together checks what only the whole file can tell.
func (p *parser) together(root yamlnode.Node, c *config) {
	if c.issuer == nil && c.guard == nil && c.broker == nil {
		p.fail(root, "the file declares none of issuer, guard and broker")
	}
	if c.store.kind != "memory" && len(c.seal) == 0 {
		n, _ := root.Get("store")
		p.fail(n, "the store %s keeps secrets and needs a sealing key: run `jeton config new-key > seal.key` and add `seal: file:seal.key`", c.store)
	}
	if c.issuer != nil && c.store.brokersOnly() {
		n, _ := root.Get("store")
		p.fail(n, "the state of an issuer lives in memory, SQLite or PostgreSQL; %s serves brokers only", c.store)
	}
	if c.console != nil && c.issuer == nil {
		n, _ := root.Get("console")
		p.fail(n, "the console shows realms, and the file declares no issuer")
	}
	if c.traces != nil && c.broker == nil {
		n, _ := root.Get("traces")
		p.fail(n, "the broker is what traces tell of, and the file declares none")
	}
	if c.guard != nil {
		p.upstreamsWith(c)
	}
	if c.broker != nil {
		p.brokerWith(root, c)
	}
	if c.console != nil && c.issuer != nil && c.console.listen.text == c.issuer.listen.text {
		for _, r := range c.issuer.realms {
			if r.at == consolePath {
				p.fail(r.node, "realm %s: the console stands at %s of the same address", r.name, consolePath)
			}
		}
	}
}

// brokerWith keeps what gives tokens away apart from what others may reach.
func (p *parser) brokerWith(root yamlnode.Node, c *config) {
	n, _ := root.Get("broker")
	if v, ok := n.Get("listen"); ok {
		n = v
	}
	if err := broker.CheckListen(c.broker.listen.text); err != nil {
		p.fail(n, "broker.listen: whoever reaches the broker gets its tokens, so it listens on loopback or unix:PATH only")
	}
	for _, a := range c.addresses() {
		if a.text == c.broker.listen.text && a.key != c.broker.listen.key {
			p.fail(n, "broker.listen: the broker wants an address of its own; %s is %s too", a.key, a.text)
		}
	}
}

func (p *parser) issuer(n yamlnode.Node) *issuerConfig {
	c := &issuerConfig{listen: address{"127.0.0.1:8080", "issuer.listen"}}
	if !p.mapping(n, "issuer", issuerKeys.names()...) {
		return c
	}
	p.listen(n, &c.listen)
	c.url = p.issuerURL(n, c.listen.text)
	if list, ok := n.Get("trusted_proxies"); ok {
		c.trusted = p.prefixes(list)
	}
	realms, ok := n.Get("realms")
	if !ok || realms.Kind == yamlnode.Null {
		p.fail(n, "issuer declares no realms; add `realms: {NAME: {dialect: oauth2}}`")
		return c
	}
	if p.mapping(realms, "issuer.realms") {
		for _, pair := range realms.Pairs {
			c.realms = append(c.realms, p.realm(pair))
		}
	}
	if guards, ok := n.Get("guards"); ok {
		c.guards = p.guardKeys(guards, c.names())
	}
	for i, r := range c.realms {
		for _, other := range c.realms[:i] {
			if r.at == other.at {
				p.fail(r.node, "realms %s and %s are both at %s/; give each an `at` of its own", other.name, r.name, r.at)
			}
		}
	}
	return c
}

func (p *parser) realm(pair yamlnode.Pair) realmConfig {
	n := pair.Value
	r := realmConfig{name: p.name(pair.Key, "realm"), node: pair.Key}
	r.at = "/" + r.name
	if !p.mapping(n, "realm "+r.name, realmKeys.names()...) {
		return r
	}
	r.dialect = p.dialect(n, pair.Key, "realm "+r.name)
	if at, ok := n.Get("at"); ok {
		r.at = p.prefix(at)
	}
	if v, ok := n.Get("password"); ok && p.want(v, "password", yamlnode.Bool) {
		r.password = v.Text == "true"
		if r.password && r.dialect.Dialect != nil && !r.dialect.Standard {
			p.fail(v, "realm %s: password is for the standard dialect; %s says itself what logs in", r.name, r.dialect.text)
		}
	}
	if v, ok := n.Get("alg"); ok && p.want(v, "alg", yamlnode.Text) {
		r.alg = p.oneOf(v, "alg", realmAlgs...)
	}
	r.lifetime = p.duration(n, "lifetime")
	r.refreshLifetime = p.duration(n, "refresh_lifetime")
	if v, ok := n.Get("rate"); ok && p.mapping(v, "rate", rateKeys.names()...) {
		r.rate = map[string]dialect.Rate{}
		for _, pair := range v.Pairs {
			rate, err := dialect.ParseRate(pair.Value.Text)
			if err != nil {
				p.fail(pair.Value, "%v", err)
			}
			r.rate[pair.Key.Text] = rate
		}
	}
	return r
}

func (p *parser) broker(n yamlnode.Node) *brokerConfig {
	c := &brokerConfig{listen: address{"127.0.0.1:8081", "broker.listen"}}
	if !p.mapping(n, "broker", brokerKeys.names()...) {
		return c
	}
	p.listen(n, &c.listen)
	c.socket = p.socket(n, c.listen)
	accounts, ok := n.Get("accounts")
	if !ok || !p.mapping(accounts, "broker.accounts") {
		p.fail(n, "broker declares no accounts; add `accounts: {NAME: {dialect: DIALECT, ...}}`")
		return c
	}
	for _, pair := range accounts.Pairs {
		c.accounts = append(c.accounts, p.account(pair))
	}
	p.sinksApart(c.accounts)
	if callers, ok := n.Get("callers"); ok {
		c.callers = p.callers(callers)
		p.callersWith(callers, c)
	}
	return c
}

func (p *parser) console(n yamlnode.Node) *consoleConfig {
	c := &consoleConfig{listen: address{"127.0.0.1:8083", "console.listen"}}
	if !p.mapping(n, "console", consoleKeys.names()...) {
		return c
	}
	p.listen(n, &c.listen)
	c.url = c.defaultURL(c.listen.text)
	if v, ok := n.Get("url"); ok {
		if u := p.url(v, "console.url"); u != nil {
			if c.url = u.String(); strings.TrimSuffix(u.Path, "/") != consolePath {
				p.fail(v, "console.url is to end in %s/", consolePath)
			}
		}
	}
	return c
}

func (p *parser) account(pair yamlnode.Pair) accountConfig {
	n := pair.Value
	a := accountConfig{name: p.name(pair.Key, "account"), node: pair.Key}
	what := "account " + a.name
	if !p.want(n, what, yamlnode.Map) {
		return a
	}
	a.dialect = p.dialect(n, pair.Key, what)
	if v, ok := n.Get("origin"); ok {
		a.origin = p.url(v, "origin")
	}
	if a.dialect.Dialect == nil {
		return a
	}
	d := a.dialect.Dialect
	if a.origin == nil && d.NeedsOrigin() {
		p.fail(pair.Key, "%s: the dialect %s names no host; add `origin: URL`", what, a.dialect.text)
	}
	valid := append(accountKeys.names(), d.AccountVars()...)
	if err := n.Only(valid...); err != nil {
		p.errs = append(p.errs, err)
		return a
	}
	for _, name := range d.LoginVars() {
		if _, ok := n.Get(name); !ok {
			p.fail(pair.Key, "%s: %s is missing; the dialect %s logs in with %s", what, name, a.dialect.text, strings.Join(d.LoginVars(), ", "))
		}
	}
	for _, pair := range n.Pairs {
		switch name := pair.Key.Text; name {
		case "dialect", "origin":
		case "sinks":
			a.sinks = p.sinks(pair.Value, what)
		default:
			a.vars = append(a.vars, p.accountVar(what, d, name, pair.Value))
		}
	}
	return a
}

func (p *parser) accountVar(what string, d *dialect.Dialect, name string, n yamlnode.Node) accountVar {
	v := accountVar{name: name}
	if n.Kind == yamlnode.List {
		if d.Public(name) {
			p.fail(n, "%s: %s is to be one text; only secrets may be lists", what, name)
		} else if refs := p.references(n, what+": "+name); len(refs) > 0 {
			v.from, v.others = refs[0], refs[1:]
		}
		return v
	}
	if n.Kind == yamlnode.Map || n.Kind == yamlnode.Null {
		p.fail(n, "%s: %s is to be text", what, name)
		return v
	}
	if isReference(n.Text) {
		v.from = p.reference(n)
		return v
	}
	if !d.Public(name) {
		p.fail(n, "%s: %s is secret and does not belong in this file; write env:NAME or file:PATH", what, name)
		return v
	}
	v.value = n.Text
	return v
}

// reference reads env:NAME or file:PATH. The error does not show what stands
// there instead: it may be the secret.
func (p *parser) reference(n yamlnode.Node) reference {
	kind, name, _ := strings.Cut(n.Text, ":")
	r := reference{kind: kind, name: name, node: n}
	switch {
	case kind != "env" && kind != "file" || name == "":
		p.fail(n, "a secret is to be a reference: env:NAME or file:PATH")
	case kind == "file":
		r.path = p.path(name)
	}
	return r
}

// dialect finds the dialect of a realm or an account.
func (p *parser) dialect(n, at yamlnode.Node, what string) dialectRef {
	text := p.text(n, at, what, "dialect")
	if text == "" || p.catalogue.bad[text] != nil { // that was told
		return dialectRef{text: text}
	}
	ref, err := p.catalogue.load(text)
	if err != nil {
		v, _ := n.Get("dialect")
		if _, positioned := errors.AsType[*yamlnode.Error](err); positioned {
			p.errs = append(p.errs, err)
		} else {
			p.fail(v, "%v", err)
		}
		return dialectRef{text: text}
	}
	return ref
}
