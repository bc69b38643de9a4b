package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
)

// A token is an access token before it is signed, or after it was read.
type token struct {
	id       string // jti
	owner    string // whose it is, as a counter's name; before it is signed
	subject  string
	username string
	clientID string
	tenant   string
	scope    jeton.Scope
	audience []string
	family   string
	counters map[string]uint64
	bound    map[string]jeton.Secret // :: variable -> credential that must be worn with the token
	party    *party                  // whom it is for, before it is signed

	issued, expiry time.Time        // of one that was read
	ends           revocation.Claim // likewise: what can end it
	claims         map[string]any   // likewise
}

// newToken returns a token for the party, with an ID of its own.
func (r *Realm) newToken(p *party) *token {
	t := &token{
		id: rand.Text(), owner: p.name(), subject: p.subject(), clientID: p.clientID(),
		tenant: p.tenant, counters: p.counters, bound: r.bound(p), party: p,
	}
	if p.account != nil {
		t.tenant = p.account["tenant_id"]
	}
	if p.user != nil {
		t.username = p.user.Name
	}
	return t
}

// mint signs the token and binds what the answer needs. Where a new token ends
// the one before it, counting up is the last thing that can fail, and the order
// in which the counts were committed says which token is the last.
func (r *Realm) mint(ctx context.Context, t *token, answer jeton.Vars) error {
	now := time.Now()
	p := revocation.Claim{Generations: t.counters, Family: t.family, Bound: fingerprints(t.id, t.bound)}
	account := t.party.account
	bind := func(name, value string) {
		if value != "" {
			answer[name] = value
		}
	}
	bind("token_type", "Bearer")
	bind("expires_in", strconv.FormatInt(int64(r.lifetime/time.Second), 10))
	bind("scope", t.scope.String())
	bind("username", t.username)
	if account == nil {
		bind("client_id", t.clientID)
		bind("tenant_id", t.tenant)
	}
	if t.username != "" {
		bind("user_id", t.subject)
	}
	claims := map[string]any{"sub": t.subject}
	for name, value := range map[string]string{"scope": t.scope.String(), "client_id": t.clientID, "tenant_id": t.tenant} {
		if value != "" {
			claims[name] = value
		}
	}
	for name, value := range r.dialect.Claims(t.says(answer)) {
		claims[name] = value
	}
	if claims["sub"] != t.subject {
		p.Subject = t.subject
	}
	claims["iss"], claims["jti"] = r.url, t.id
	claims["iat"], claims["exp"] = now.Unix(), now.Add(r.lifetime).Unix()
	claims["aud"] = t.audience
	if len(t.audience) == 1 {
		claims["aud"] = t.audience[0]
	}
	if r.dialect.Active > 0 {
		// Whatever can fail fails before the raise ends the older token: a token
		// with the largest number there is is the longest.
		p.Generations = map[string]uint64{counterName("grant", grantID(t.owner, t.audience)): math.MaxUint64}
		maps.Copy(p.Generations, t.counters)
		claims[revocation.ClaimName] = p
		if _, err := r.ring.Sign(ctx, r.typ, claims); err != nil {
			return err
		}
		grant := grantID(t.owner, t.audience)
		n, err := r.directory.Raise(ctx, "grant", grant)
		if err != nil {
			return err
		}
		p.Generations = maps.Clone(t.counters)
		p.Generations[counterName("grant", grant)] = n
		// The token before this one has ended. Nobody can cancel this one now.
		ctx = context.WithoutCancel(ctx)
	}
	claims[revocation.ClaimName] = p
	signed, err := r.ring.Sign(ctx, r.typ, claims)
	answer["access_token"] = r.wrapped("access_token", signed)
	return err
}

// says returns what the vendor's claims are filled from: the answer, and in an
// account realm what the account says.
func (t *token) says(answer jeton.Vars) jeton.Vars {
	if t.party.account == nil {
		return answer
	}
	vars := t.party.account.Clone()
	for name, text := range answer {
		vars[name] = text
	}
	for _, name := range []string{"client_id", "user_id"} {
		if vars[name] == "" {
			vars[name] = t.subject
		}
	}
	return vars
}

// sessionCookie is the one that a token is in where it is all cookies of a login.
const sessionCookie = "session="

// cookies returns the variables that are all cookies of a login; nil: there is
// none, as nearly everywhere.
func cookies(d *dialect.Dialect) map[string]bool {
	var names map[string]bool
	for name, kind := range d.Kinds() {
		if kind != "cookies" {
			continue
		}
		if names == nil {
			names = map[string]bool{}
		}
		names[name] = true
	}
	return names
}

// wrapped returns a token as the dialect has the variable.
func (r *Realm) wrapped(variable, token string) string {
	if r.cookies[variable] {
		return sessionCookie + token
	}
	return token
}

// unwrapped undoes wrapped. There is one form of a token.
func (r *Realm) unwrapped(variable string, text jeton.Secret) (jeton.Secret, bool) {
	if len(r.cookies) == 0 || !r.cookies[variable] {
		return text, true
	}
	token, ok := strings.CutPrefix(text.Reveal(), sessionCookie)
	return jeton.NewSecret(token), ok
}

// grantID names the counter of the tokens of one owner for one audience.
func grantID(owner string, audience []string) string {
	sum := sha256.Sum256([]byte(owner + "\x00" + strings.Join(audience, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// invalidToken refuses a token with a description of the kind that RFC 6750
// section 3.1 has.
func invalidToken(description string) error {
	return jeton.Refuse(jeton.InvalidToken, description)
}

// open reads an access token of this realm, whatever its audience, and makes
// sure that nothing has ended it. The error matches jeton.InvalidToken if it is
// not good, and is another one if that could not be decided.
func (r *Realm) open(ctx context.Context, bearer jeton.Secret) (*token, error) {
	t, err := r.read(ctx, bearer)
	if err != nil {
		return nil, err
	}
	if err := r.alive(ctx, t); err != nil {
		return nil, err
	}
	return t, nil
}

// read checks the signature of a token, that it is this realm's and that it has
// not expired, and not whether something ended it before.
func (r *Realm) read(ctx context.Context, bearer jeton.Secret) (*token, error) {
	return r.readAs(ctx, r.typ, "access_token", bearer)
}

// readAs is read for what the realm signed with another type, to be a variable.
func (r *Realm) readAs(ctx context.Context, as, variable string, bearer jeton.Secret) (*token, error) {
	bare, ok := r.unwrapped(variable, bearer)
	if !ok {
		return nil, invalidToken("the token is not an access token of this realm")
	}
	typ, claims, err := r.ring.Verify(ctx, bare)
	if err != nil {
		return nil, err
	}
	t := &token{claims: claims}
	text := func(name string) string { s, _ := claims[name].(string); return s }
	if typ != as || text("iss") != r.url {
		return nil, invalidToken("the token is not an access token of this realm")
	}
	// One round trip through JSON; the claim was signed, so it is ours.
	b, err := json.Marshal(claims[revocation.ClaimName])
	if err == nil {
		err = json.Unmarshal(b, &t.ends)
	}
	var ok1, ok2 bool
	t.expiry, ok1 = instant(claims["exp"])
	t.issued, ok2 = instant(claims["iat"])
	t.audience = texts(claims["aud"])
	if err != nil || !ok1 || !ok2 || len(t.ends.Generations) == 0 {
		return nil, invalidToken("the token is not an access token of this realm")
	}
	t.id, t.clientID, t.tenant = text("jti"), text("client_id"), text("tenant_id")
	t.scope, t.family, t.counters = jeton.ParseScope(text("scope")), t.ends.Family, t.ends.Generations
	if t.subject = t.ends.Subject; t.subject == "" {
		t.subject = text("sub")
	}
	if r.accounts != nil {
		t.clientID = t.subject // the vendor's client_id is the account's own
	}
	if !time.Now().Before(t.expiry) {
		return nil, invalidToken("the access token has expired")
	}
	return t, nil
}

// has reports whether the token is, through whatever role, one of the user or
// client that the counter belongs to.
func (t *token) has(counter string) bool {
	_, ok := t.counters[counter]
	return ok
}

// alive makes sure, by reading the store, that nothing ended the token: no
// counter moved on, the family is there, and its ID was not revoked.
func (r *Realm) alive(ctx context.Context, t *token) error {
	ended := invalidToken("the access token was revoked")
	for counter, n := range t.counters {
		kind, id, _ := strings.Cut(counter, "/")
		now, err := r.directory.Generation(ctx, kind, id)
		if err != nil {
			return err
		}
		if now != n && kind == "grant" {
			return invalidToken("the access token was ended by a newer one")
		}
		if now != n {
			return ended
		}
	}
	if t.family != "" {
		switch _, err := r.families.get(ctx, t.family); {
		case errors.Is(err, store.ErrNotFound):
			return ended
		case err != nil:
			return err
		}
	}
	return r.revoked(ctx, t.id)
}

// revoked looks for the record of a token that was revoked by itself.
func (r *Realm) revoked(ctx context.Context, id string) error {
	switch _, err := r.store.Get(ctx, r.revokedKey(id)); {
	case err == nil:
		return invalidToken("the access token was revoked")
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("issuer: look for the revoked token: %w", err)
	}
	return nil
}

func (r *Realm) revokedKey(jti string) string { return store.Key("realm", r.name, "revoked", jti) }

// instant reads a time of RFC 7519 section 2, in whole seconds as we write it.
func instant(v any) (time.Time, bool) {
	var seconds int64
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		if err != nil {
			return time.Time{}, false
		}
		seconds = n
	case float64:
		seconds = int64(v)
		if float64(seconds) != v {
			return time.Time{}, false
		}
	case int64:
		seconds = v
	default:
		return time.Time{}, false
	}
	return time.Unix(seconds, 0), seconds > 0 && seconds < 1<<40
}

// texts reads a claim that is a string or a list of strings.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var list []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}
