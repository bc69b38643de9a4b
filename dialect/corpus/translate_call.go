package corpus

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// call writes how a call wears the token. It comes first, because a name in the
// URL of calls may be what a login's answer keeps.
func (t *translator) call() error {
	t.stepNames()
	base, err := t.url(t.BaseURL)
	if err != nil {
		return fmt.Errorf("the URL of calls: %w", err)
	}
	c := mapping("base", text(base))
	if t.Kind == "sign" {
		if err := t.sign(c); err != nil {
			return err
		}
	} else if err := t.attach(c); err != nil {
		return err
	}
	for _, x := range t.AttachExtra {
		v, err := t.template(x.Value)
		if err != nil {
			return fmt.Errorf("the header %s of calls: %w", x.Name, err)
		}
		if x.In != "header" {
			return fmt.Errorf("a value in the %s of calls is not understood", x.In)
		}
		c.under("headers", x.Name, text(v))
	}
	if h := c.get("headers"); h != nil {
		t.use("call headers")
	}
	if b := c.get("bearer"); b != nil && b.text == "$access_token" && (c.get("headers") == nil || !strings.Contains(c.get("headers").flow(), "$access_token")) {
		i := slices.Index(c.keys, "bearer")
		c.keys, c.kids = slices.Delete(c.keys, i, i+1), slices.Delete(c.kids, i, i+1)
	}
	for _, key := range []string{"basic", "bearer"} {
		if c.get(key) != nil {
			t.use("call " + key)
		}
	}
	t.root.set("call", c)
	if len(c.keys) == 1 {
		t.root.kids[len(t.root.kids)-1] = c.kids[0]
	}
	t.use("call")
	return nil
}

// stepNames lets the URL of calls name what a step's answer bound by the
// vendor's word.
func (t *translator) stepNames() {
	parsed, err := parseTemplate(t.BaseURL)
	if err != nil {
		return
	}
	for _, name := range parsed.names() {
		for i, s := range t.Steps {
			step, err := parseTemplate(s.URL)
			if err != nil {
				continue
			}
			for _, path := range step.names() {
				if strings.HasPrefix(path, "step") && i > 0 && snake(path) == name && !t.given(name) {
					t.bound[name] = name
				}
			}
		}
	}
}

func (t *translator) attach(c *node) error {
	for _, a := range t.Attach {
		switch {
		case a.In == "header" && strings.EqualFold(a.Name, "authorization"):
			key, v, err := t.scheme(a.Template)
			if err != nil {
				return fmt.Errorf("how calls wear the token: %w", err)
			}
			if key == "authorization" {
				c.under("headers", key, text(v))
				continue
			}
			c.set(key, text(v))
		case a.In == "header" && a.Template != "":
			v, err := t.template(a.Template)
			if err != nil {
				return fmt.Errorf("how calls wear the token: %w", err)
			}
			c.under("headers", a.Name, text(v))
		case a.In == "cookie":
			if !t.everyCookie() {
				return unknown("the facts do not say that the login sets the cookies that calls send")
			}
			c.set("cookies", text("$access_token"))
			t.use("call cookies")
		default:
			return fmt.Errorf("a token worn in the %s %s is not understood", a.In, a.Name)
		}
	}
	return nil
}

// mint writes a token that the client makes itself.
func (t *translator) mint() error {
	t.use("minted token")
	if t.Mint.Type == "jwt" {
		return t.jwt("access_token", t.Mint)
	}
	parsed, err := parseTemplate(t.Mint.Template)
	if err != nil || t.Mint.Template == "" {
		return fmt.Errorf("a token of the kind %s is not understood", t.Mint.Type)
	}
	// What the account does not give is made anew each time, and once for all
	// its places.
	for _, name := range parsed.names() {
		generator, ok := made[name]
		if t.given(name) || t.bound[name] != "" {
			continue
		}
		if !ok {
			return unknown("the facts do not say where {%s} comes from", name)
		}
		t.bound[name] = name
		t.letValue(name, text(generator))
	}
	v, err := t.template(t.Mint.Template)
	if err != nil {
		return err
	}
	t.letValue("access_token", text(v))
	t.use("let: value")
	t.use("digests")
	return nil
}

// made are the names of values that a client makes anew each time.
var made = map[string]string{"nonce": "$nonce()", "created": "$now()", "timestamp": "$now()"}

// jwt writes a let whose value is a JWT.
func (t *translator) jwt(name string, a *Assertion) error {
	if a.Type != "jwt" || a.Template != "" {
		return fmt.Errorf("an assertion of the kind %s is not understood", a.Type)
	}
	claims, err := t.claims(a.Claims)
	if err != nil {
		return err
	}
	key, err := t.template(a.Key)
	if err != nil {
		return err
	}
	n := mapping("jwt", claims, "alg", text(a.Alg), "key", text(key))
	header := mapping()
	for _, field := range slices.Sorted(maps.Keys(a.Header)) {
		v, _ := a.Header[field].(string)
		if field == "typ" && v == "JWT" || field == "kid" && v == "{jwk.kid}" {
			continue // every JWT says so, and a key that is a JWK brings its kid
		}
		if v, err = t.template(v); err != nil {
			return err
		}
		header.set(field, text(v))
	}
	if len(header.kids) > 0 {
		n.set("header", header)
	}
	if a.Lifetime > 0 {
		n.set("lifetime", text(duration(a.Lifetime)))
	}
	t.letValue(name, n)
	t.use("let: jwt")
	return nil
}

func (t *translator) claims(claims map[string]any) (*node, error) {
	tree := mapping()
	for _, field := range slices.Sorted(maps.Keys(claims)) {
		v, err := t.claim(claims[field])
		if err != nil {
			return nil, fmt.Errorf("the claim %s: %w", field, err)
		}
		tree.set(field, v)
	}
	return tree, nil
}

func (t *translator) claim(v any) (*node, error) {
	switch v := v.(type) {
	case string:
		s, err := t.template(v)
		return text(s), err
	case []any:
		n := list()
		for _, item := range v {
			kid, err := t.claim(item)
			if err != nil {
				return nil, err
			}
			n.kids = append(n.kids, kid)
		}
		return n, nil
	}
	return literal(v)
}

var (
	signatureMethod = regexp.MustCompile(`HMAC-SHA(1|256)\b`)
	signatureRealm  = regexp.MustCompile(`realm=([a-z_]+)`)
)

// sign writes that every call is signed. The facts have the method and the
// realm in words only.
func (t *translator) sign(c *node) error {
	words := strings.Join(t.Quirks, "; ")
	if len(t.Attach) != 1 || t.Attach[0].Scheme != "OAuth" || !strings.Contains(words, "OAuth 1.0a") {
		return fmt.Errorf("needs a way to sign calls that the language does not have")
	}
	n := mapping()
	used := []string{}
	add := func(key string, fits func(string) bool) error {
		i := slices.IndexFunc(t.Inputs, func(s string) bool { return fits(s) && !slices.Contains(used, s) })
		if i < 0 {
			return unknown("the facts do not say what the %s of the signature is", key)
		}
		used = append(used, t.Inputs[i])
		v, err := t.variable(t.Inputs[i])
		n.set(key, text(v))
		return err
	}
	ends := func(part string) func(string) bool { return func(s string) bool { return strings.HasSuffix(s, part) } }
	for _, f := range []struct {
		key  string
		fits func(string) bool
	}{{"consumer_key", ends("consumer_key")}, {"consumer_secret", ends("consumer_secret")}, {"token", ends("token_id")}, {"token_secret", ends("token_secret")}} {
		if err := add(f.key, f.fits); err != nil {
			return err
		}
	}
	if m := signatureRealm.FindStringSubmatch(words); m != nil {
		if err := add("realm", func(s string) bool { return strings.HasPrefix(s, m[1]) }); err != nil {
			return err
		}
	}
	if m := signatureMethod.FindString(words); m != "" {
		n.set("method", text(m))
	}
	c.set("sign", mapping("oauth1", n))
	t.use("sign: oauth1")
	return nil
}
