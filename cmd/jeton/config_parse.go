package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/yamlnode"
)

// A parser reads a configuration and collects what is wrong with it, so that
// one run tells everything.
type parser struct {
	dir  string // where relative paths start
	errs []error
}

// memoryColon finds the one value that the language of the file cannot say
// without quotes, though every store is written as a URL.
var memoryColon = regexp.MustCompile(`(?m)^(\s*store:\s+memory):[ \t]*(#.*)?$`)

func parseConfig(file, dir string, src []byte) (*config, error) {
	root, err := yamlnode.Parse(file, memoryColon.ReplaceAll(src, []byte("$1 $2")))
	if err != nil {
		return nil, err
	}
	if root.Kind == yamlnode.Null {
		return nil, root.Errorf("the file declares nothing; it wants at least one of issuer, guard, broker")
	}
	p := &parser{dir: dir}
	c := &config{file: file, store: storeURL{kind: "memory"}}
	if !p.mapping(root, "the file", "store", "seal", "issuer", "guard", "broker", "console") {
		return nil, errors.Join(p.errs...)
	}
	for _, pair := range root.Pairs {
		n := pair.Value
		switch pair.Key.Text {
		case "store":
			c.store = p.store(n)
		case "seal":
			c.seal = p.seals(n)
		case "issuer":
			c.issuer = p.issuer(n)
		case "guard":
			c.guard = p.guard(n)
		case "broker":
			c.broker = p.broker(n)
		case "console":
			c.console = p.console(n)
		}
	}
	if len(p.errs) == 0 {
		p.together(root, c)
	}
	if len(p.errs) > 0 {
		return nil, errors.Join(p.errs...)
	}
	return c, nil
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
	if c.console != nil && c.issuer == nil {
		n, _ := root.Get("console")
		p.fail(n, "the console shows realms, and the file declares no issuer")
	}
	if c.guard == nil {
		return
	}
	for _, u := range c.guard.upstreams {
		var names []string
		if c.issuer != nil {
			for _, r := range c.issuer.realms {
				names = append(names, r.name)
			}
		}
		if !slices.Contains(names, u.realm) {
			p.fail(u.node, "upstream %s: unknown realm %s%s", u.name, yamlnode.Quote(u.realm), yamlnode.Suggest(u.realm, names))
		}
	}
}

func (p *parser) issuer(n yamlnode.Node) *issuerConfig {
	c := &issuerConfig{listen: address{"127.0.0.1:8080", "issuer.listen"}}
	if !p.mapping(n, "issuer", "listen", "url", "trusted_proxies", "realms") {
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
	if !p.mapping(n, "realm "+r.name, "dialect", "at", "password", "alg", "lifetime", "refresh_lifetime", "rate") {
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
		r.alg = p.oneOf(v, "alg", "ES256", "EdDSA", "RS256", "HS256")
	}
	r.lifetime = p.duration(n, "lifetime")
	r.refreshLifetime = p.duration(n, "refresh_lifetime")
	if v, ok := n.Get("rate"); ok && p.mapping(v, "rate", "username", "client_id", "ip") {
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

func (p *parser) guard(n yamlnode.Node) *guardConfig {
	c := &guardConfig{listen: address{"127.0.0.1:8082", "guard.listen"}}
	if !p.mapping(n, "guard", "listen", "upstreams") {
		return c
	}
	p.listen(n, &c.listen)
	upstreams, ok := n.Get("upstreams")
	if !ok || !p.mapping(upstreams, "guard.upstreams") {
		p.fail(n, "guard declares no upstreams; add `upstreams: {NAME: {realm: REALM, to: URL}}`")
		return c
	}
	for _, pair := range upstreams.Pairs {
		u := upstreamConfig{name: p.name(pair.Key, "upstream"), node: pair.Key}
		v := pair.Value
		if issuer, ok := v.Get("issuer"); ok {
			p.fail(issuer, "upstream %s: a remote issuer is not supported yet; name a realm of this file with `realm:`", u.name)
			continue
		}
		if !p.mapping(v, "upstream "+u.name, "realm", "to", "at") {
			continue
		}
		u.realm = p.text(v, pair.Key, "upstream "+u.name, "realm")
		if to, ok := v.Get("to"); ok {
			u.to = p.url(to, "to")
		} else {
			p.fail(pair.Key, "upstream %s: `to` is missing: the URL of the API behind the guard", u.name)
		}
		if at, ok := v.Get("at"); ok {
			u.at = p.prefix(at)
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

func (p *parser) broker(n yamlnode.Node) *brokerConfig {
	c := &brokerConfig{listen: address{"127.0.0.1:8081", "broker.listen"}}
	if !p.mapping(n, "broker", "listen", "accounts") {
		return c
	}
	p.listen(n, &c.listen)
	accounts, ok := n.Get("accounts")
	if !ok || !p.mapping(accounts, "broker.accounts") {
		p.fail(n, "broker declares no accounts; add `accounts: {NAME: {dialect: DIALECT, ...}}`")
		return c
	}
	for _, pair := range accounts.Pairs {
		c.accounts = append(c.accounts, p.account(pair))
	}
	return c
}

func (p *parser) console(n yamlnode.Node) *consoleConfig {
	c := &consoleConfig{listen: address{"127.0.0.1:8083", "console.listen"}}
	if !p.mapping(n, "console", "listen", "url") {
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
	if a.origin == nil && needsOrigin(d) {
		p.fail(pair.Key, "%s: the dialect %s names no host; add `origin: URL`", what, a.dialect.text)
	}
	valid := []string{"dialect", "origin"}
	valid = append(valid, accountVars(d)...)
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
		if name := pair.Key.Text; name != "dialect" && name != "origin" {
			a.vars = append(a.vars, p.accountVar(what, d, name, pair.Value))
		}
	}
	return a
}

// accountVars lists what an account of a dialect may say.
func accountVars(d *dialect.Dialect) []string {
	names := slices.Concat(d.LoginVars(), d.CallVars())
	for _, v := range d.Vars {
		names = append(names, v.Name)
	}
	if d.Login.Has("scope") {
		names = append(names, "scope")
	}
	if d.Login.Has("resource") {
		names = append(names, "resource")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (p *parser) accountVar(what string, d *dialect.Dialect, name string, n yamlnode.Node) accountVar {
	v := accountVar{name: name}
	if n.Kind == yamlnode.Map || n.Kind == yamlnode.List || n.Kind == yamlnode.Null {
		p.fail(n, "%s: %s is to be text", what, name)
		return v
	}
	if strings.HasPrefix(n.Text, "env:") || strings.HasPrefix(n.Text, "file:") {
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

func (p *parser) seals(n yamlnode.Node) []reference {
	items := []yamlnode.Node{n}
	if n.Kind == yamlnode.List {
		items = n.Items
	}
	var refs []reference
	for _, item := range items {
		if p.want(item, "seal", yamlnode.Text) {
			refs = append(refs, p.reference(item))
		}
	}
	return refs
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

func (p *parser) store(n yamlnode.Node) storeURL {
	if !p.want(n, "store", yamlnode.Text) {
		return storeURL{}
	}
	kind, path, _ := strings.Cut(n.Text, ":")
	switch {
	case kind == "memory" && path == "":
		return storeURL{kind: kind}
	case kind == "sqlite" && path != "":
		return storeURL{kind: kind, text: path, path: p.path(path)}
	case kind == "sqlite":
		p.fail(n, "sqlite: wants a path: sqlite:jeton.db")
	default:
		// What stands there may hold a password, so only its kind is shown.
		p.fail(n, "unknown store %s; this jeton has memory: and sqlite:PATH", yamlnode.Quote(kind+":"))
	}
	return storeURL{}
}

// dialect loads the dialect of a realm or an account.
func (p *parser) dialect(n, at yamlnode.Node, what string) dialectRef {
	text := p.text(n, at, what, "dialect")
	if text == "" {
		return dialectRef{}
	}
	d, err := loadDialect(text, p.path)
	if err != nil {
		v, _ := n.Get("dialect")
		if _, positioned := errors.AsType[*yamlnode.Error](err); positioned {
			p.errs = append(p.errs, err)
		} else {
			p.fail(v, "%v", err)
		}
	}
	return dialectRef{text, d}
}

// loadDialect loads a dialect by name, or from a file if it looks like a path.
func loadDialect(text string, path func(string) string) (*dialect.Dialect, error) {
	if !isPath(text) {
		return dialects.Load(text)
	}
	file := path(text)
	src, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the dialect file %s cannot be read: %w", file, reason(err))
	}
	return dialect.Parse(file, src)
}

func isPath(text string) bool {
	return strings.ContainsRune(text, '/') || strings.HasSuffix(text, ".yaml") || strings.HasSuffix(text, ".yml")
}

// listen reads the key listen into a, which has the default.
func (p *parser) listen(n yamlnode.Node, a *address) {
	v, ok := n.Get("listen")
	if !ok || !p.want(v, a.key, yamlnode.Text, yamlnode.Number) {
		return
	}
	if path, ok := strings.CutPrefix(v.Text, "unix:"); ok {
		if a.key != "broker.listen" {
			p.fail(v, "%s: only the broker listens on a Unix socket; write HOST:PORT", a.key)
		} else if path == "" {
			p.fail(v, "%s: unix: wants a path", a.key)
		}
		a.text = "unix:" + p.path(path)
		return
	}
	if err := checkAddress(v.Text); err != nil {
		p.fail(v, "%s: %v", a.key, err)
	}
	a.text = v.Text
}

// checkAddress reports whether text is HOST:PORT.
func checkAddress(text string) error {
	_, port, err := net.SplitHostPort(text)
	if n, numErr := strconv.Atoi(port); err != nil || numErr != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s is no address; write HOST:PORT, such as 127.0.0.1:8080", yamlnode.Quote(text))
	}
	return nil
}

// issuerURL reads the base of issuer identifiers.
func (p *parser) issuerURL(n yamlnode.Node, listen string) string {
	if v, ok := n.Get("url"); ok {
		if u := p.url(v, "issuer.url"); u != nil {
			return strings.TrimSuffix(u.String(), "/")
		}
		return ""
	}
	host, _, _ := net.SplitHostPort(listen)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		p.fail(n, "issuer.url is missing; clients cannot reach %s, so say under which URL they do", yamlnode.Quote(listen))
	}
	return "http://" + listen
}

// url reads an http or https URL without credentials, query and fragment.
func (p *parser) url(n yamlnode.Node, what string) *url.URL {
	if !p.want(n, what, yamlnode.Text) {
		return nil
	}
	u, err := url.Parse(n.Text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		p.fail(n, "%s is to be a URL that begins with http:// or https://", what)
	case u.User != nil:
		p.fail(n, "%s: credentials do not belong in a URL", what)
	case u.RawQuery != "" || u.Fragment != "":
		p.fail(n, "%s is to have neither ? nor #", what)
	default:
		return u
	}
	return nil
}

// prefix reads a path prefix such as /support; "/" is the whole path space and
// returned empty.
func (p *parser) prefix(n yamlnode.Node) string {
	if !p.want(n, "at", yamlnode.Text) {
		return ""
	}
	at := strings.TrimSuffix(n.Text, "/")
	if n.Text == "/" {
		return ""
	}
	if !validPrefix.MatchString(at) || slices.Contains(strings.Split(at, "/"), "..") || slices.Contains(strings.Split(at, "/"), ".") {
		p.fail(n, "at: %s is no prefix; write a path such as /support", yamlnode.Quote(n.Text))
	}
	return at
}

var (
	validPrefix = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
	validName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

// name reads the name of a realm, an upstream or an account. It becomes part of
// paths and keys.
func (p *parser) name(n yamlnode.Node, what string) string {
	if !validName.MatchString(n.Text) {
		p.fail(n, "%s is no name for a %s: letters, digits, dots, dashes and underscores, 64 at most", yamlnode.Quote(n.Text), what)
	}
	return n.Text
}

func (p *parser) prefixes(n yamlnode.Node) (list []netip.Prefix) {
	if !p.want(n, "trusted_proxies", yamlnode.List) {
		return nil
	}
	for _, item := range n.Items {
		prefix, err := netip.ParsePrefix(item.Text)
		if ip, ipErr := netip.ParseAddr(item.Text); ipErr == nil {
			prefix, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			p.fail(item, "%s is no address; write 10.0.0.1 or 10.0.0.0/8", yamlnode.Quote(item.Text))
		}
		list = append(list, prefix)
	}
	return list
}

func (p *parser) duration(n yamlnode.Node, key string) time.Duration {
	v, ok := n.Get(key)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(v.Text)
	if days, ok := strings.CutSuffix(v.Text, "d"); ok {
		n, numErr := strconv.ParseUint(days, 10, 15)
		d, err = time.Duration(n)*24*time.Hour, numErr
	}
	if err != nil || d <= 0 {
		p.fail(v, "%s: %s is no duration; write 30d, 24h, 90m or 30s", key, yamlnode.Quote(v.Text))
	}
	return d
}

func (p *parser) oneOf(n yamlnode.Node, key string, valid ...string) string {
	if !slices.Contains(valid, n.Text) {
		p.fail(n, "unknown %s %s%s", key, yamlnode.Quote(n.Text), yamlnode.Suggest(n.Text, valid))
	}
	return n.Text
}

// text reads a key that must be there.
func (p *parser) text(n, at yamlnode.Node, what, key string) string {
	v, ok := n.Get(key)
	if !ok {
		p.fail(at, "%s: `%s` is missing", what, key)
		return ""
	}
	if !p.want(v, key, yamlnode.Text) {
		return ""
	}
	return v.Text
}

// mapping reports whether n is a mapping with no keys but the valid ones, if
// any are given.
func (p *parser) mapping(n yamlnode.Node, what string, valid ...string) bool {
	if !p.want(n, what, yamlnode.Map) {
		return false
	}
	if len(valid) == 0 {
		return true
	}
	err := n.Only(valid...)
	if err != nil {
		p.errs = append(p.errs, err)
	}
	return err == nil
}

func (p *parser) want(n yamlnode.Node, what string, kinds ...yamlnode.Kind) bool {
	err := n.Want(what, kinds...)
	if err != nil {
		p.errs = append(p.errs, err)
	}
	return err == nil
}

func (p *parser) fail(n yamlnode.Node, format string, args ...any) {
	p.errs = append(p.errs, n.Errorf(format, args...))
}

// path returns a path of the file as seen from the working directory.
func (p *parser) path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.dir, path)
}
