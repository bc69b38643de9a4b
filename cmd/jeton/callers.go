package main

import (
	"context"
	"io/fs"
	"slices"
	"strconv"

	"github.com/goccy/go-yaml"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/broker"
	"github.com/jetonhq/jeton/yamlnode"
)

// A callerConfig is a local program that the broker knows by a key.
type callerConfig struct {
	name     string
	keys     []reference // all are good; two while one is being replaced
	accounts []string
	all      bool // every account
}

// A socketConfig says who may open a Unix socket.
type socketConfig struct {
	mode fs.FileMode // zero: 0600
	uids []int       // whose processes are let in; none: whom the mode lets in
}

func (p *parser) callers(n yamlnode.Node) (list []callerConfig) {
	if !p.mapping(n, "broker.callers") {
		return nil
	}
	if len(n.Pairs) == 0 {
		p.fail(n, "broker.callers: an empty list lets every local program in; leave it out if that is meant")
	}
	for _, pair := range n.Pairs {
		c := callerConfig{name: p.name(pair.Key, "caller")}
		what := "caller " + c.name
		if !p.mapping(pair.Value, what, callerKeys.names()...) {
			continue
		}
		key, ok := pair.Value.Get("key")
		if !ok {
			p.fail(pair.Key, "%s: `key` is missing; write env:NAME or file:PATH", what)
		} else {
			c.keys = p.references(key, "key")
		}
		accounts, ok := pair.Value.Get("accounts")
		switch {
		case !ok:
			p.fail(pair.Key, "%s: `accounts` is missing; write a list of accounts, or all", what)
		case accounts.Kind == yamlnode.Text && accounts.Text == "all":
			c.all = true
		case p.want(accounts, what+": accounts", yamlnode.List):
			for _, item := range accounts.Items {
				c.accounts = append(c.accounts, p.name(item, "account"))
			}
		}
		list = append(list, c)
	}
	return list
}

// callersWith checks that what callers may use is there.
func (p *parser) callersWith(n yamlnode.Node, c *brokerConfig) {
	var names []string
	known := map[string]bool{}
	for _, a := range c.accounts {
		names = append(names, a.name)
		known[a.name] = true
	}
	for _, caller := range c.callers {
		for _, name := range caller.accounts {
			if !known[name] {
				p.fail(n, "caller %s: unknown account %s%s", caller.name, yamlnode.Quote(name), yamlnode.Suggest(name, names))
			}
		}
	}
}

// socket reads who may open the broker's Unix socket.
func (p *parser) socket(n yamlnode.Node, listen address) (s socketConfig) {
	for _, key := range []string{"mode", "uids"} {
		if v, ok := n.Get(key); ok && !listen.unix() {
			p.fail(v, "broker.%s is for a Unix socket; write `listen: unix:PATH`", key)
		}
	}
	if v, ok := n.Get("mode"); ok && p.want(v, "broker.mode", yamlnode.Text, yamlnode.Number) {
		mode, err := strconv.ParseUint(v.Text, 8, 16)
		if err != nil || mode > 0o777 || mode&0o600 != 0o600 {
			p.fail(v, "broker.mode: %s is no mode of a socket; write 0600, 0660 or 0666", yamlnode.Quote(v.Text))
		}
		s.mode = fs.FileMode(mode)
	}
	if v, ok := n.Get("uids"); ok && p.want(v, "broker.uids", yamlnode.List) {
		if !knowsPeers {
			p.fail(v, "broker.uids works on Linux only")
		}
		for _, item := range v.Items {
			uid, err := strconv.ParseUint(item.Text, 10, 32)
			if err != nil {
				p.fail(item, "broker.uids: %s is no user id; write numbers", yamlnode.Quote(item.Text))
			}
			s.uids = append(s.uids, int(uid))
		}
		if len(v.Items) == 0 {
			p.fail(v, "broker.uids: an empty list lets nobody in; leave it out")
		}
	}
	return s
}

// references reads one reference or a list of them.
func (p *parser) references(n yamlnode.Node, what string) (refs []reference) {
	items := []yamlnode.Node{n}
	if n.Kind == yamlnode.List {
		items = n.Items
		if len(items) == 0 {
			p.fail(n, "%s: the list is empty", what)
		}
	}
	for _, item := range items {
		// In a list within braces the decoder takes file:x for a mapping.
		if item.Kind == yamlnode.Map && len(item.Pairs) == 1 && item.Pairs[0].Value.Kind == yamlnode.Text {
			item.Kind, item.Text = yamlnode.Text, item.Pairs[0].Key.Text+":"+item.Pairs[0].Value.Text
		}
		if p.want(item, what, yamlnode.Text) {
			refs = append(refs, p.reference(item))
		}
	}
	return refs
}

// read reads the caller's keys. A file that is gone took its key away. With an
// error come the keys that could be read.
func (c callerConfig) read() (keys []jeton.Secret, err error) {
	for _, from := range c.keys {
		key, failed := from.read()
		switch {
		case failed == nil:
			keys = append(keys, key)
		case !from.gone():
			err = failed
		}
	}
	return keys, err
}

// brokerCallers makes callers of what the file declares.
func brokerCallers(list []callerConfig) (callers []broker.Caller) {
	for _, c := range list {
		callers = append(callers, broker.Caller{
			Name: c.name, Accounts: c.accounts, All: c.all,
			Keys: func(context.Context) ([]jeton.Secret, error) { return c.read() },
		})
	}
	return callers
}

// ownKey returns the key with which a command of this program calls the broker
// that the same file declares: that of a caller who may use the account or, for
// an empty name, of the one who may use most.
func (c *brokerConfig) ownKey(account string) (jeton.Secret, error) {
	if c.listen.unix() {
		return jeton.Secret{}, nil
	}
	var best *callerConfig
	for i, caller := range c.callers {
		may := caller.all || slices.Contains(caller.accounts, account)
		more := best == nil || !best.all && (caller.all || len(caller.accounts) > len(best.accounts))
		if (may || account == "") && more {
			best = &c.callers[i]
		}
	}
	if best == nil {
		return jeton.Secret{}, nil
	}
	if keys, _ := best.read(); len(keys) > 0 {
		return keys[0], nil
	}
	return best.keys[0].read() // to say what is wrong with it
}

// referenceTree writes references as the file has them.
func referenceTree(refs []reference) any {
	var list []string
	for _, from := range refs {
		list = append(list, from.text())
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

// accessTree writes who may reach the broker.
func (c *brokerConfig) accessTree() (t yaml.MapSlice) {
	if c.socket.mode != 0 {
		t = append(t, yaml.MapItem{Key: "mode", Value: "0" + strconv.FormatUint(uint64(c.socket.mode), 8)})
	}
	if len(c.socket.uids) > 0 {
		t = append(t, yaml.MapItem{Key: "uids", Value: c.socket.uids})
	}
	callers := yaml.MapSlice{}
	for _, caller := range c.callers {
		var accounts any = caller.accounts
		if caller.all {
			accounts = "all"
		}
		callers = append(callers, yaml.MapItem{Key: caller.name, Value: yaml.MapSlice{
			{Key: "key", Value: referenceTree(caller.keys)}, {Key: "accounts", Value: accounts}}})
	}
	if len(callers) > 0 {
		t = append(t, yaml.MapItem{Key: "callers", Value: callers})
	}
	return t
}
