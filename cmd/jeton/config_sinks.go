package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
	sinkredis "github.com/jetonhq/jeton/sink/redis"
	sinkvault "github.com/jetonhq/jeton/sink/vault"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/yamlnode"
)

// A sinkConfig is a place that gets a copy of an account's token.
type sinkConfig struct {
	kind   string // one of sinkKinds
	format sink.Format

	path, text string   // file: from the working directory, and as written
	server     storeURL // redis, vault: where it is, and what it takes to get in
	key        string   // redis
	plain      bool     // redis: without TLS to another machine

	region, project, secret string   // aws: the first and the last; gcp: the last two
	create                  bool     // aws, gcp: the secret, if it is not there
	keep                    int      // gcp: versions; zero: all
	endpoint                *url.URL // aws, gcp; nil: the vendor's own

	node yamlnode.Node
}

var sinkKinds = []string{"aws", "file", "gcp", "redis", "vault"}

// name names the place to people.
func (c sinkConfig) name() string {
	switch c.kind {
	case "file":
		return "file:" + c.text
	case "redis":
		return "redis:" + c.server.remote.Hosts[0] + "/" + firstOf(c.server.remote.Path, "0") + "/" + c.key
	case "vault":
		name := "vault:" + c.server.remote.Hosts[0] + "/" + strings.Trim(c.server.remote.Path, "/")
		if prefix := c.server.remote.Query.Get("prefix"); prefix != "" { // the path is that of the mount
			name += "/" + prefix
		}
		if namespace := strings.Trim(c.server.remote.Query.Get("namespace"), "/"); namespace != "" {
			name += "?namespace=" + namespace
		}
		return name
	case "aws":
		return "aws:" + c.region + "/" + c.secret
	default:
		return "gcp:" + c.project + "/" + c.secret
	}
}

// place says all that tells the place, and what stands there, from others; see
// [sink.Copy].
func (c sinkConfig) place() string {
	if c.kind == "file" {
		return ""
	}
	endpoint := ""
	if c.endpoint != nil {
		endpoint = c.endpoint.String()
	}
	return fmt.Sprintf("%s %q %q %q", c.name(), c.server.remote, endpoint, c.format)
}

// sinks reads the sinks of an account.
func (p *parser) sinks(n yamlnode.Node, what string) (list []sinkConfig) {
	if !p.want(n, what+": sinks", yamlnode.List) {
		return nil
	}
	for _, item := range n.Items {
		before := len(p.errs)
		if c := p.sink(item, what); len(p.errs) == before {
			list = append(list, c)
		}
	}
	return list
}

func (p *parser) sink(n yamlnode.Node, what string) sinkConfig {
	c := sinkConfig{node: n}
	if !p.mapping(n, what+": a sink", sinkPlaces.names()...) {
		return c
	}
	var place yamlnode.Node
	for _, pair := range n.Pairs {
		switch {
		case pair.Key.Text == "format":
		case c.kind != "":
			p.fail(pair.Key, "%s: one sink is one place; begin another with a dash", what)
		default:
			c.kind, place = pair.Key.Text, pair.Value
		}
	}
	if c.kind == "" {
		p.fail(n, "%s: a sink is one of %s", what, strings.Join(sinkKinds, ", "))
		return c
	}
	what += ": " + c.kind
	if v, ok := n.Get("format"); ok && p.want(v, what+": format", yamlnode.Text) {
		switch {
		case c.kind == "vault":
			p.fail(v, "%s: a secret there has fields, so that there is no format", what)
		case v.Text == "json":
			c.format = sink.JSON
		default:
			p.fail(v, "%s: format is json; without it the place gets the token and nothing else", what)
		}
	}
	switch c.kind {
	case "file":
		if p.want(place, what, yamlnode.Text) {
			c.text, c.path = place.Text, p.path(place.Text)
		}
	case "redis":
		p.redisSink(&c, place, what)
	case "vault":
		if p.mapping(place, what, vaultKeys.names()...) {
			p.sinkServer(&c, place, what, "vault", sinkvault.Check)
		}
	case "aws":
		p.awsSink(&c, place, what)
	case "gcp":
		p.gcpSink(&c, place, what)
	}
	return c
}

func (p *parser) redisSink(c *sinkConfig, n yamlnode.Node, what string) {
	if !p.mapping(n, what, redisKeys.names()...) {
		return
	}
	if v, ok := n.Get("plain"); ok && p.want(v, what+": plain", yamlnode.Bool) {
		c.plain = v.Text == "true"
	}
	p.sinkServer(c, n, what, "redis", sinkredis.Check)
	if c.key = p.text(n, n, what, "key"); strings.ContainsFunc(c.key, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		v, _ := n.Get("key")
		p.fail(v, "%s: a key has no spaces", what)
	}
}

// sinkServer reads where a server is, in the words of a store.
func (p *parser) sinkServer(c *sinkConfig, n yamlnode.Node, what, scheme string, check func(store.Address) error) {
	u := storeURL{kind: c.kind, node: n, dir: p.dir}
	at, ok := n.Get("url")
	if !ok {
		p.fail(n, "%s: `url` is missing", what)
		return
	}
	if !p.want(at, what+": url", yamlnode.Text) {
		return
	}
	a, err := store.ParseAddress(at.Text)
	if errors.Is(err, store.ErrPassword) {
		err = errors.New("the password does not belong in the URL; write password: env:NAME beside it")
	}
	if err != nil {
		p.fail(at, "%s: %v", what, err)
		return
	}
	u.remote = a
	for name, to := range map[string]*reference{"password": &u.password, "cert_key": &u.key} {
		if v, ok := n.Get(name); ok && p.want(v, what+": "+name, yamlnode.Text) {
			*to = p.reference(v)
		}
	}
	for name, to := range map[string]*string{"ca": &u.ca, "cert": &u.cert} {
		if v, ok := n.Get(name); ok && p.want(v, what+": "+name, yamlnode.Text) {
			*to = v.Text
		}
	}
	if (u.cert == "") != u.key.isZero() {
		p.fail(n, "%s: cert and cert_key go together", what)
	}
	if u.ca != "" || u.cert != "" {
		a.TLS = new(tls.Config) // the files are read later
	}
	if !u.password.isZero() {
		a.Reread = u.password.read
	}
	err = check(a)
	if err == nil && slices.ContainsFunc(a.HostPorts("1"), func(at string) bool { return !isLoopback(at) }) {
		switch {
		case a.Scheme == "vault+http":
			err = errors.New("vault+http:// shows the token to the network; it is for this machine only")
		case a.Scheme == "redis" && !c.plain:
			err = errors.New("redis:// shows the token to the network; write rediss://, or plain: true beside it for a network that may see it")
		}
	}
	if err != nil {
		p.fail(at, "%s: %v", what, err)
	}
	c.server = u
}

var (
	validRegion  = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+)+-[0-9]+$`)
	validAWS     = regexp.MustCompile(`^[A-Za-z0-9/_+=.@:-]{1,512}$`)
	validProject = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,99}$`)
	validGCP     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)
)

func (p *parser) awsSink(c *sinkConfig, n yamlnode.Node, what string) {
	if !p.mapping(n, what, awsKeys.names()...) {
		return
	}
	c.region = p.matching(n, what, "region", validRegion, "a region such as eu-west-1")
	c.secret = p.matching(n, what, "secret", validAWS, "the name or the ARN of a secret")
	p.sinkCommon(c, n, what)
	if c.create && strings.HasPrefix(c.secret, "arn:") {
		v, _ := n.Get("create")
		p.fail(v, "%s: a secret is made by its name, not by an ARN", what)
	}
}

func (p *parser) gcpSink(c *sinkConfig, n yamlnode.Node, what string) {
	if !p.mapping(n, what, gcpKeys.names()...) {
		return
	}
	c.project = p.matching(n, what, "project", validProject, "the id of a project")
	c.secret = p.matching(n, what, "secret", validGCP, "the id of a secret: letters, digits, dashes and underscores")
	p.sinkCommon(c, n, what)
	if v, ok := n.Get("keep"); ok {
		keep, err := strconv.ParseUint(v.Text, 10, 7)
		if err != nil || keep < 2 {
			p.fail(v, "%s: keep is how many versions stay: from 2 to 127", what)
		}
		c.keep = int(keep)
	}
}

// sinkCommon reads what both clouds have.
func (p *parser) sinkCommon(c *sinkConfig, n yamlnode.Node, what string) {
	if v, ok := n.Get("create"); ok && p.want(v, what+": create", yamlnode.Bool) {
		c.create = v.Text == "true"
	}
	if v, ok := n.Get("endpoint"); ok {
		c.endpoint = p.url(v, what+": endpoint")
		if c.endpoint != nil && c.endpoint.Scheme != "https" && !jeton.IsLoopback(c.endpoint.Hostname()) {
			p.fail(v, "%s: an endpoint is https://, or on this machine: it gets the token", what)
		}
	}
}

// matching reads a text that must be there and look like one.
func (p *parser) matching(n yamlnode.Node, what, key string, valid *regexp.Regexp, example string) string {
	text := p.text(n, n, what, key)
	if text != "" && !valid.MatchString(text) {
		v, _ := n.Get(key)
		p.fail(v, "%s: %s is to be %s", what, key, example)
	}
	return text
}

// sinksApart checks that no place gets two tokens.
func (p *parser) sinksApart(accounts []accountConfig) {
	by := map[string]string{} // :: name of a place -> account
	for _, a := range accounts {
		for _, c := range a.sinks {
			name := c.name()
			if c.kind == "file" {
				name = c.path
			}
			if other, taken := by[name]; taken {
				p.fail(c.node, "account %s: %s gets the token of account %s already", a.name, c.name(), other)
			}
			by[name] = a.name
		}
	}
}

// sinkReferences lists the secrets that the account's sinks need.
func (a accountConfig) sinkReferences() (list []reference) {
	for _, c := range a.sinks {
		list = append(list, c.server.references()...)
	}
	return list
}

// tree returns the sink in the shape in which the file says it.
func (c sinkConfig) tree() yaml.MapSlice {
	var place any = c.text
	if c.kind != "file" {
		t := yaml.MapSlice{}
		add := func(key string, value any) {
			if !slices.Contains([]any{"", false, 0}, value) {
				t = append(t, yaml.MapItem{Key: key, Value: value})
			}
		}
		add("url", c.server.remote.String())
		add("password", c.server.password.text())
		add("ca", c.server.ca)
		add("cert", c.server.cert)
		add("cert_key", c.server.key.text())
		add("key", c.key)
		add("plain", c.plain)
		add("region", c.region)
		add("project", c.project)
		add("secret", c.secret)
		add("create", c.create)
		add("keep", c.keep)
		if c.endpoint != nil {
			add("endpoint", c.endpoint.String())
		}
		place = t
	}
	t := yaml.MapSlice{{Key: c.kind, Value: place}}
	if c.format != sink.Bare {
		t = append(t, yaml.MapItem{Key: "format", Value: string(c.format)})
	}
	return t
}
