package dialect

import (
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/yamlnode"
)

// parseSemantics reads what a vendor's page says beside its messages.
func parseSemantics(d *Dialect, root yamlnode.Node) (err error) {
	if n, ok := root.Get("lifetime"); ok {
		if d.Lifetime, err = duration(n, "lifetime"); err != nil {
			return err
		}
	}
	if n, ok := root.Get("early"); ok {
		if d.Early, err = duration(n, "early"); err != nil {
			return err
		}
	}
	if n, ok := root.Get("active"); ok {
		if n.Kind != yamlnode.Number || n.Text != "1" {
			return n.Errorf("active is to be 1: a new token ends the one before it; leave it out where any number may live")
		}
		d.Active = 1
	}
	if n, ok := root.Get("rate"); ok {
		if err := parseRates(d, n); err != nil {
			return err
		}
	}
	if n, ok := root.Get("scope"); ok {
		if err := parseScope(d, n); err != nil {
			return err
		}
	}
	if n, ok := root.Get("permissions"); ok {
		return parsePermissions(d, n)
	}
	return nil
}

func parseRates(d *Dialect, n yamlnode.Node) error {
	if err := n.Want("rate", yamlnode.Map); err != nil {
		return err
	}
	if err := n.Only(appendNew([]string{"username", "client_id", "ip"}, d.loginNeeds()...)...); err != nil {
		return err
	}
	d.Rate = map[string]Rate{}
	for _, p := range n.Pairs {
		r, err := ParseRate(p.Value.Text)
		if err != nil {
			return p.Value.Errorf("%v", err)
		}
		d.Rate[p.Key.Text] = r
	}
	return nil
}

func parseScope(d *Dialect, n yamlnode.Node) error {
	if err := n.Want("scope", yamlnode.Map); err != nil {
		return err
	}
	if err := n.Only("separator", "default", "order"); err != nil {
		return err
	}
	for _, p := range n.Pairs {
		if p.Key.Text == "separator" {
			if len(p.Value.Text) != 1 || p.Value.Kind != yamlnode.Text {
				return p.Value.Errorf("separator is to be one character in quotes")
			}
			d.Scope.Separator = p.Value.Text
			continue
		}
		if err := p.Value.Want("scope."+p.Key.Text, yamlnode.List); err != nil {
			return err
		}
		var tokens []string
		for _, item := range p.Value.Items {
			if item.Text == "" || strings.ContainsAny(item.Text, " \t\"\\") || slices.Contains(tokens, item.Text) {
				return item.Errorf("a scope is to be one word, and stand once")
			}
			tokens = append(tokens, item.Text)
		}
		if p.Key.Text == "order" {
			d.Scope.Order = tokens
		} else {
			d.Scope.Default = tokens
		}
	}
	return nil
}

func parsePermissions(d *Dialect, n yamlnode.Node) (err error) {
	d.Permissions, err = ParsePermissions(n, d.Scope.Order)
	return err
}

// ParsePermissions reads a permission table. The scopes in it are of order, if
// that is not empty. The error has the place of the mistake.
func ParsePermissions(n yamlnode.Node, order []string) (Permissions, error) {
	if err := n.Want("permissions", yamlnode.Map); err != nil {
		return nil, err
	}
	permissions := Permissions{}
	for _, resource := range n.Pairs {
		if err := resource.Value.Want("the permissions of "+resource.Key.Text, yamlnode.Map); err != nil {
			return nil, err
		}
		if err := resource.Value.Only(verbs...); err != nil {
			return nil, err
		}
		table := map[string]string{}
		for _, p := range resource.Value.Pairs {
			if order != nil && !slices.Contains(order, p.Value.Text) {
				return nil, p.Value.Errorf("unknown scope %s%s", yamlnode.Quote(p.Value.Text), yamlnode.Suggest(p.Value.Text, order))
			}
			table[p.Key.Text] = p.Value.Text
		}
		permissions[resource.Key.Text] = table
	}
	return permissions, nil
}

var codes = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
	"invalid_scope", "invalid_target", "invalid_token", "insufficient_scope", "slow_down", "temporarily_unavailable", "server_error"}

func parseErrors(d *Dialect, root yamlnode.Node) error {
	n, ok := root.Get("errors")
	if !ok {
		return nil
	}
	if err := n.Want("errors", yamlnode.Map); err != nil {
		return err
	}
	if err := n.Only(codes...); err != nil {
		return err
	}
	d.Errors = map[jeton.Code]Refusal{}
	for _, p := range n.Pairs {
		r, err := parseRefusal(p.Value)
		if err != nil {
			return err
		}
		d.Errors[jeton.Code(p.Key.Text)] = r
	}
	return nil
}

func parseRefusal(n yamlnode.Node) (r Refusal, err error) {
	switch n.Kind {
	case yamlnode.Text:
		return Refusal{Description: n.Text}, nil
	case yamlnode.Number:
		r.Status, err = parseStatus(n)
		return r, err
	}
	if err := n.Want("an error", yamlnode.Text, yamlnode.Number, yamlnode.Map); err != nil {
		return r, err
	}
	if err := n.Only("status", "description", "json"); err != nil {
		return r, err
	}
	for _, p := range n.Pairs {
		switch p.Key.Text {
		case "status":
			r.Status, err = parseStatus(p.Value)
		case "description":
			r.Description, err = p.Value.Text, p.Value.Want("description", yamlnode.Text)
		case "json":
			r.body, err = compileTree(p.Value)
			for _, hole := range r.body.holes() {
				if hole != "error" && hole != "error_description" {
					return r, p.Value.Errorf("unknown hole $%s%s", hole, yamlnode.Suggest(hole, []string{"error", "error_description"}))
				}
			}
		}
		if err != nil {
			return r, err
		}
	}
	if r.body != nil && r.Status != 0 && !hasBody(r.Status) {
		return r, n.Errorf("an answer with the status %d has no body", r.Status)
	}
	return r, nil
}

func parseIssue(d *Dialect, root yamlnode.Node) error {
	n, ok := root.Get("issue")
	if !ok {
		return nil
	}
	if err := n.Want("issue", yamlnode.Map); err != nil {
		return err
	}
	if err := n.Only("access_token"); err != nil {
		return err
	}
	n, _ = n.Get("access_token")
	if err := n.Want("issue.access_token", yamlnode.Map); err != nil {
		return err
	}
	if err := n.Only("jwt", "alg", "typ"); err != nil {
		return err
	}
	for _, p := range n.Pairs {
		switch p.Key.Text {
		case "jwt":
			if err := p.Value.Want("jwt", yamlnode.Map); err != nil {
				return err
			}
			t, err := compileTree(p.Value)
			if err != nil {
				return err
			}
			known := append([]string{"user_id", "username", "client_id", "tenant_id", "scope", "expires_in"}, d.loginNeeds()...)
			if err := d.known(p.Value, t.holes(), known); err != nil {
				return err
			}
			d.claims = t
		case "alg":
			algs := []string{"ES256", "EdDSA", "RS256", "HS256"}
			if !slices.Contains(algs, p.Value.Text) {
				return p.Value.Errorf("unknown algorithm%s", yamlnode.Suggest(p.Value.Text, algs))
			}
			d.Alg = p.Value.Text
		case "typ":
			d.Typ = p.Value.Text
		}
	}
	return nil
}

// generate makes generators of $uuid, $nonce and $now where nothing else has that
// name.
func (d *Dialect) generate() {
	taken := func(name string) bool {
		_, declared := d.variable(name)
		return declared || d.answered(name)
	}
	make := func(own string) func(*part, bool) {
		return func(p *part, _ bool) {
			if p.fn == nil && isGeneratorName(p.hole) && !taken(p.hole) && (d.let(p.hole) == nil || p.hole == own) {
				p.fn, p.hole = functions[p.hole], ""
			}
		}
	}
	for _, l := range d.lets {
		l.each(make(l.name))
	}
	for _, x := range slices.Concat(d.Sequence(), d.Refresh, d.Accept) {
		x.each(make(""))
	}
	d.Call.each(make(""))
	d.Call.each(func(p *part, _ bool) {
		own := p.hole != "access_token" && d.let(p.hole) != nil // the token is there, however it was made
		d.Call.once = d.Call.once || own || p.fn != nil && p.fn.kind == isGenerator
	})
}

func isGeneratorName(name string) bool {
	fn, ok := functions[name]
	return ok && fn.kind == isGenerator
}
