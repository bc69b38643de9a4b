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

// take adds what another one wears beside the token, but for what stands where
// something else does.
func (w *wearing) take(from *wearing) {
	beside := func(own, list []field, same func(a, b string) bool) []field {
		for _, f := range list {
			if !f.value.has("access_token") && !slices.ContainsFunc(own, func(o field) bool { return same(o.name, f.name) }) {
				own = append(own, f)
			}
		}
		return own
	}
	exactly := func(a, b string) bool { return a == b }
	w.headers = beside(w.headers, from.headers, SameHeader)
	w.query = beside(w.query, from.query, exactly)
	w.cookies = beside(w.cookies, from.cookies, exactly)
	if b := from.basic; b != nil && w.authorization() == 0 && !b.user.has("access_token") && !b.password.has("access_token") {
		w.basic = b
	}
	w.tls = from.tls
}

// authorization returns how many values the header of that name has.
func (w *wearing) authorization() (n int) {
	for _, f := range w.headers {
		if SameHeader(f.name, "Authorization") {
			n++
		}
	}
	if w.basic != nil {
		n++
	}
	if w.bearer != nil {
		n++
	}
	return n
}

// parseTokenless is for vendors whose calls wear credentials of the account, or
// a signature, and no token.
func (d *Dialect) parseTokenless(root yamlnode.Node) error {
	if n, ok := root.Get("call"); ok && (d.Call.sign != nil || d.Call.tls != nil) || len(d.Call.needs()) > 0 {
		if slices.Contains(d.Call.Holes(), "access_token") {
			return n.Errorf("nothing makes $access_token: token, or let, is to")
		}
		if d.Call.accept != nil {
			return n.Errorf("accept is other ways to wear the token, and here is none")
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

// parseCallAccept reads other ways to wear the token. What else a call wears goes
// along with each.
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
		other.take(&c.wearing)
		if err := other.onceEach(item); err != nil {
			return err
		}
		c.accept = append(c.accept, other)
	}
	return nil
}
