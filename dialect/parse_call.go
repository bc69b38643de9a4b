package dialect

import (
	"slices"

	"github.com/jetonhq/jeton/yamlnode"
)

func parseCall(d *Dialect, root yamlnode.Node) error {
	d.Call = &Call{base: address{scheme: d.Login.url.scheme, host: d.Login.url.host}}
	n, ok := root.Get("call")
	if !ok {
		n = root
	} else if err := parseCallNode(n, d.Call); err != nil {
		return err
	}
	if d.Login.Method == "" && d.let("access_token") == nil {
		return d.parseTokenless(root)
	}
	wear(d.Call)
	return d.Call.onceEach(n)
}

// parseTokenless is for vendors whose calls wear credentials of the account, or
// a signature, and no token.
func (d *Dialect) parseTokenless(root yamlnode.Node) error {
	if n, ok := root.Get("call"); ok && (d.Call.sign != nil || d.Call.tls != nil) || len(d.Call.needs()) > 0 {
		if slices.Contains(d.Call.Holes(), "access_token") {
			return n.Errorf("nothing makes $access_token: token, or let, is to")
		}
		return nil
	}
	return root.Errorf("the key token is missing: it is the URL of the token endpoint, or the exchange there")
}

// wear makes a call that does not mention the token wear it as its bearer.
func wear(c *Call) {
	if !slices.Contains(c.Holes(), "access_token") {
		c.bearer = must("$access_token")
	}
}

func parseCallNode(n yamlnode.Node, c *Call) error {
	if n.Kind == yamlnode.Text {
		return parseBase(n, c)
	}
	if err := n.Want("call", yamlnode.Map); err != nil {
		return err
	}
	if err := n.Only(append([]string{"base", "accept"}, wearingKeys...)...); err != nil {
		return err
	}
	for _, p := range n.Pairs {
		var err error
		switch p.Key.Text {
		case "base":
			err = parseBase(p.Value, c)
		case "accept": // needs what the call wears itself
		default:
			err = c.wearing.parse(p.Key.Text, p.Value)
		}
		if err != nil {
			return err
		}
	}
	list, ok := n.Get("accept")
	if !ok {
		return nil
	}
	return parseCallAccept(list, c)
}

func parseBase(n yamlnode.Node, c *Call) (err error) {
	if c.base, err = compileAddress(n.Text); err != nil {
		return n.Errorf("%v", err)
	}
	return nil
}

// parseCallAccept reads other ways to wear the token. The headers in which a
// call wears something else go along with each.
func parseCallAccept(list yamlnode.Node, c *Call) error {
	if err := list.Want("accept", yamlnode.List); err != nil {
		return err
	}
	for _, item := range list.Items {
		if err := item.Want("call", yamlnode.Map); err != nil {
			return err
		}
		if err := item.Only("headers", "query", "cookies", "basic", "bearer"); err != nil {
			return err
		}
		other := &Call{}
		for _, p := range item.Pairs {
			if err := other.wearing.parse(p.Key.Text, p.Value); err != nil {
				return err
			}
		}
		wear(other)
		for _, f := range c.headers {
			if !f.value.has("access_token") {
				other.headers = append(other.headers, f)
			}
		}
		if err := other.onceEach(item); err != nil {
			return err
		}
		c.accept = append(c.accept, other)
	}
	return nil
}
