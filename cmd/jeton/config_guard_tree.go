package main

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/goccy/go-yaml"
)

func (c *guardConfig) tree() yaml.MapSlice {
	t := yaml.MapSlice{{Key: "listen", Value: c.listen.text}}
	if c.tls.cert != "" {
		t = append(t, yaml.MapItem{Key: "tls", Value: yaml.MapSlice{
			{Key: "cert", Value: c.tls.cert}, {Key: "key", Value: c.tls.key.text()}}})
	}
	if c.metrics.text != "" {
		t = append(t, yaml.MapItem{Key: "metrics", Value: c.metrics.text})
	}
	if len(c.trusted) > 0 {
		t = append(t, yaml.MapItem{Key: "trusted_proxies", Value: prefixTexts(c.trusted)})
	}
	upstreams := yaml.MapSlice{}
	for _, u := range c.upstreams {
		upstreams = append(upstreams, yaml.MapItem{Key: u.name, Value: u.tree()})
	}
	return append(t, yaml.MapItem{Key: "upstreams", Value: upstreams})
}

// A mapTree is a mapping that is being written. What is zero is left out.
type mapTree struct{ yaml.MapSlice }

func put[T comparable](t *mapTree, key string, value T) {
	var zero T
	if value != zero {
		t.MapSlice = append(t.MapSlice, yaml.MapItem{Key: key, Value: value})
	}
}

func putList[T any](t *mapTree, key string, list []T) {
	if len(list) > 0 {
		t.MapSlice = append(t.MapSlice, yaml.MapItem{Key: key, Value: list})
	}
}

func putDuration(t *mapTree, key string, d time.Duration) {
	if d != 0 {
		put(t, key, durationText(d))
	}
}

func (u upstreamConfig) tree() yaml.MapSlice {
	t := new(mapTree)
	if u.from != nil {
		u.from.write(t)
	} else {
		put(t, "realm", u.realm)
	}
	if u.to != nil {
		put(t, "to", u.to.String())
	}
	put(t, "forward_auth", u.forwardAuth)
	putList(t, "from", prefixTexts(u.peers))
	put(t, "at", firstOf(u.at, "/"))
	var routes []string
	for _, r := range u.routes {
		routes = append(routes, r.text)
	}
	putList(t, "routes", routes)
	if u.permissions != nil {
		t.MapSlice = append(t.MapSlice, yaml.MapItem{Key: "permissions", Value: u.permissions})
	}
	if u.graphql != nil {
		t.MapSlice = append(t.MapSlice, yaml.MapItem{Key: "graphql", Value: u.graphql.tree()})
	}
	put(t, "max_body", u.maxBody)
	put(t, "max_response", u.maxResponse)
	putDuration(t, "timeout", u.timeout)
	putDuration(t, "idle_timeout", u.idleTimeout)
	putDuration(t, "call_timeout", u.callTimeout)
	putDuration(t, "max_stale", u.maxStale)
	put(t, "show_age", u.showAge)
	return t.MapSlice
}

func (c *remoteConfig) write(t *mapTree) {
	put(t, "issuer", c.issuer.String())
	put(t, "dialect", c.dialect.text)
	put(t, "key", c.key.text())
	put(t, "client_id", c.clientID)
	put(t, "client_secret", c.secret.text())
	put(t, "audience", cmp.Or(c.audience, c.issuer.String()))
	putList(t, "algs", c.algs)
	putList(t, "types", c.types)
	putDuration(t, "leeway", c.leeway)
	put(t, "untyped", c.untyped)
}

func (c *graphqlConfig) tree() yaml.MapSlice {
	t := new(mapTree)
	put(t, "at", firstOf(c.at, "/"))
	put(t, "schema", c.schema)
	put(t, "persisted", c.persisted)
	if c.fields != nil {
		t.MapSlice = append(t.MapSlice, yaml.MapItem{Key: "fields", Value: c.fields})
	}
	put(t, "introspection", c.introspection)
	put(t, "get", c.get)
	if c.limits != nil {
		t.MapSlice = append(t.MapSlice, yaml.MapItem{Key: "limits", Value: c.limits})
	}
	return t.MapSlice
}

func guardKeysTree(list []guardKeyConfig) yaml.MapSlice {
	all := yaml.MapSlice{}
	for _, g := range list {
		t := new(mapTree)
		t.MapSlice = append(t.MapSlice, yaml.MapItem{Key: "key", Value: referenceTree(g.keys)})
		putList(t, "realms", g.realms)
		all = append(all, yaml.MapItem{Key: g.name, Value: t.MapSlice})
	}
	return all
}

func prefixTexts(list []netip.Prefix) (texts []string) {
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}
