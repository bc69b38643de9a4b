package verify

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/revocation"
)

// readClaims turns what a token or an introspection answer says into claims, and
// reports whether everything that has a meaning here has the right type. It
// compares nothing. It takes what it read out of the document; the rest is
// Extra.
func readClaims(document map[string]any) (*jeton.Claims, bool) {
	r := reader{document, true}
	c := &jeton.Claims{
		ID: r.text("jti"), Issuer: r.text("iss"), ClientID: r.text("client_id"), Tenant: r.text("tenant_id"),
		Audience: r.texts("aud"), IssuedAt: r.instant("iat"), Expiry: r.instant("exp"),
	}
	if azp := r.text("azp"); c.ClientID == "" {
		c.ClientID = azp // OpenID Connect, of issuers older than RFC 9068
	}
	scope, scp := r.scope("scope"), r.scope("scp")
	if c.Scope = scope; scope == nil {
		c.Scope = scp
	}
	private := r.claim()
	c.Generations, c.Family, c.Bound = private.Generations, private.Family, private.Bound
	if c.Subject = private.Subject; c.Subject == "" {
		c.Subject = r.text("sub")
	}
	if len(document) > 0 {
		c.Extra = maps.Clone(document) // of the size that is needed now
	}
	return c, r.ok
}

// A reader takes members out of a document. It is not ok after one that has a
// type which it cannot have.
type reader struct {
	document map[string]any
	ok       bool
}

func (r *reader) take(name string) (any, bool) {
	value, there := r.document[name]
	delete(r.document, name)
	return value, there
}

func (r *reader) text(name string) string {
	value, there := r.take(name)
	text, ok := value.(string)
	if there && !ok {
		r.ok = false
	}
	return text
}

// texts reads a string or a list of them, as an audience is (RFC 7519 section
// 4.1.3).
func (r *reader) texts(name string) []string {
	value, there := r.take(name)
	switch value := value.(type) {
	case string:
		return []string{value}
	case []any:
		list := make([]string, len(value))
		for i, item := range value {
			text, ok := item.(string)
			r.ok = r.ok && ok
			list[i] = text
		}
		return list
	}
	r.ok = r.ok && !there
	return nil
}

// scope reads scope tokens in one string (RFC 9068 section 2.2.3) or a list. A
// member of a list with a space in it is not one token, and not two.
func (r *reader) scope(name string) jeton.Scope {
	_, single := r.document[name].(string)
	list := r.texts(name)
	for _, text := range list {
		r.ok = r.ok && jeton.ValidScope(text) && (single || text != "" && !strings.Contains(text, " "))
	}
	return jeton.ParseScope(strings.Join(list, " "))
}

// instant reads a time in whole seconds.
func (r *reader) instant(name string) time.Time {
	value, there := r.take(name)
	if !there {
		return time.Time{}
	}
	number, _ := value.(json.Number)
	seconds, err := number.Int64()
	if err != nil || seconds <= 0 || seconds > 1<<40 {
		r.ok = false
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

// claim reads what Jeton's tokens say about their end.
func (r *reader) claim() (c revocation.Claim) {
	value, there := r.take(revocation.ClaimName)
	if !there {
		return c
	}
	private, ok := value.(map[string]any)
	if !ok {
		r.ok = false
		return c
	}
	inner := reader{private, true}
	c.Family, c.Subject = inner.text("f"), inner.text("s")
	if bound, there := inner.take("b"); there {
		list, ok := bound.(map[string]any)
		inner.ok = inner.ok && ok
		c.Bound = make(map[string]string, len(list))
		for name, value := range list {
			c.Bound[name], ok = value.(string)
			inner.ok = inner.ok && ok
		}
	}
	generations, _ := inner.take("g")
	list, ok := generations.(map[string]any)
	inner.ok = inner.ok && ok && len(list) > 0
	c.Generations = make(map[string]uint64, len(list))
	for name, value := range list {
		number, _ := value.(json.Number)
		n, err := strconv.ParseUint(number.String(), 10, 64)
		inner.ok = inner.ok && err == nil
		c.Generations[name] = n
	}
	r.ok = r.ok && inner.ok
	return c
}

// A policy is what a token must say to be good at one API.
type policy struct {
	issuer, audience string
	leeway           time.Duration
}

// judge compares claims, and lets a token live as long as the leeway says.
func (p policy) judge(c *jeton.Claims, validFrom, now time.Time) error {
	switch {
	case c.Issuer != p.issuer:
		return jeton.Refuse(jeton.InvalidToken, "the access token is from another issuer")
	case !slices.Contains(c.Audience, p.audience):
		return jeton.Refuse(jeton.InvalidToken, "the access token is for another audience")
	case c.Subject == "" && c.ClientID == "":
		return refuse() // it is nobody's
	case !c.Expiry.IsZero() && !now.Before(c.Expiry.Add(p.leeway)):
		return jeton.Refuse(jeton.InvalidToken, "the access token has expired")
	case now.Add(p.leeway).Before(validFrom):
		return jeton.Refuse(jeton.InvalidToken, "the access token is not valid yet")
	}
	if !c.Expiry.IsZero() {
		c.Expiry = c.Expiry.Add(p.leeway)
	}
	return nil
}
