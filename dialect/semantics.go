package dialect

import (
	"slices"
	"strconv"
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
	if err := n.Only("username", "client_id", "ip"); err != nil {
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
			known := append([]string{"user_id", "username", "client_id", "tenant_id", "scope", "expires_in"}, d.Login.Holes()...)
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

// known refuses a hole that nobody binds.
func (d *Dialect) known(n yamlnode.Node, holes, bound []string) error {
	for _, v := range d.Vars {
		bound = append(bound, v.Name)
	}
	for _, hole := range holes {
		if !slices.Contains(bound, hole) {
			return n.Errorf("unknown hole $%s: neither the login nor its answer binds it, and vars does not declare it%s", hole, yamlnode.Suggest(hole, bound))
		}
	}
	return nil
}

// rfcNames are the holes that issuers and brokers know by name.
var rfcNames = []string{"username", "password", "client_id", "client_secret", "access_token", "refresh_token",
	"expires_in", "token_type", "scope", "api_key", "tenant_id", "user_id"}

// misspelt returns the well-known name that a hole nearly is: a letter too
// many, too few or other, or two that changed places.
func misspelt(hole string) string {
	for _, name := range rfcNames {
		if hole == name {
			return ""
		}
	}
	for _, name := range rfcNames {
		if len(hole) < 5 || strings.ReplaceAll(hole, "_", "") == strings.ReplaceAll(name, "_", "") || strings.HasPrefix(hole, name) {
			continue
		}
		if near := yamlnode.Suggest(hole, []string{name}); strings.HasPrefix(near, "; did you mean") && abs(len(hole)-len(name)) <= 1 && sameLetters(hole, name) {
			return name
		}
	}
	return ""
}

func abs(n int) int { return max(n, -n) }

// sameLetters reports whether a and b have the same letters but for one.
func sameLetters(a, b string) bool {
	count := [256]int{}
	for _, c := range []byte(a) {
		count[c]++
	}
	for _, c := range []byte(b) {
		count[c]--
	}
	off := 0
	for _, n := range count {
		off += abs(n)
	}
	return off <= 1
}

// check refuses a dialect that is well-formed but cannot work.
func (d *Dialect) check(root yamlnode.Node) error {
	token, _ := root.Get("token")
	for _, hole := range d.Login.allHoles() {
		if _, declared := d.variable(hole); declared {
			continue
		}
		if near := misspelt(hole); near != "" {
			return token.Errorf("unknown hole $%s; did you mean %s? If it is the vendor's own word, declare it under vars", hole, near)
		}
	}
	made := append(d.Login.allHoles(), d.Login.returns.holes()...)
	if d.Standard {
		made = append(made, "username", "password")
	}
	if n, ok := root.Get("refresh"); ok {
		for _, x := range d.Refresh {
			if err := d.known(n, x.allHoles(), made); err != nil {
				return err
			}
		}
	}
	if n, ok := root.Get("call"); ok {
		if err := d.known(n, d.Call.holes(), made); err != nil {
			return err
		}
		for _, hole := range d.Call.base.host.holes() {
			if d.Login.Returns(hole) && !slices.Contains(d.Login.allHoles(), hole) && !sameDomain(d.Call.base.host, d.Login.url.host) {
				return n.Errorf("the answer of a login would choose the host that calls go to ($%s), and could lead the token astray; write the vendor's domain out", hole)
			}
		}
	}
	return d.ambiguous(root)
}

// sameDomain reports whether a host ends in the fixed last two labels of
// another.
func sameDomain(host, login value) bool {
	if len(host) == 0 || len(login) == 0 {
		return false
	}
	labels := strings.Split(login[len(login)-1].text, ".")
	if len(labels) < 2 {
		return false
	}
	domain := "." + strings.Join(labels[len(labels)-2:], ".")
	return strings.HasSuffix(host[len(host)-1].text, domain)
}

// ambiguous refuses two exchanges at one URL of which neither asks for
// something that the other does not.
func (d *Dialect) ambiguous(root yamlnode.Node) error {
	for i, x := range d.all {
		for _, y := range d.all[i+1:] {
			if x.Method == y.Method && (address{path: x.url.path}).String() == (address{path: y.url.path}).String() && !x.differs(d, y) && !y.differs(d, x) {
				return root.Errorf("the %s and the %s at %s %s cannot be told apart: one of them is to have a field that the other lacks", x.Kind, y.Kind, x.Method, x.Path())
			}
		}
	}
	return nil
}

// differs reports whether x requires a field that y does not have, or has
// with another fixed text.
func (x *Exchange) differs(d *Dialect, y *Exchange) bool {
	has := y.shape(d)
	for name, text := range x.shape(d) {
		if other, ok := has[name]; !ok || text != other && text != "" && other != "" {
			return true
		}
	}
	return false
}

// shape returns what a request requires: where and name -> fixed text or "".
func (x *Exchange) shape(d *Dialect) map[string]string {
	shape := map[string]string{}
	add := func(where string, list []field) {
		for _, f := range list {
			text, _ := f.value.literal()
			if holes := f.value.holes(); len(holes) == 0 || slices.ContainsFunc(holes, func(h string) bool { return !d.optional(h) }) {
				shape[where+f.name] = text
			}
		}
	}
	add("query ", x.query)
	add("header ", x.headers)
	add("form ", x.form)
	if x.json != nil {
		for i, key := range x.json.keys {
			text, _ := x.json.kids[i].value.literal()
			shape["json "+key] = text
		}
	}
	if x.basic != nil {
		shape["basic"] = ""
	}
	if x.bearer != nil {
		shape["bearer"] = ""
	}
	shape["body "+strconv.Itoa(int(x.body))] = ""
	return shape
}
