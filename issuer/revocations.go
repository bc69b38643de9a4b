package issuer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/revocation"
	"github.com/jetonhq/jeton/store"
)

// A Guard may follow the revocations of a realm, and introspect every token of
// it. It authenticates with its key as a bearer token (RFC 7662 section 2.1).
// While its key is being replaced a guard stands twice, with one name.
type Guard struct {
	Name string       // for the log, and for counting its canaries
	Key  jeton.Secret // at least 32 bytes, from a random source
}

const minGuardKey = 32

// A guard is a Guard as a realm keeps it.
type guard struct {
	name   string
	digest [sha256.Size]byte // of the key
}

// openRevocations makes the realm's log of what ended, and learns its guards.
func (r *Realm) openRevocations(ctx context.Context, guards []Guard) error {
	for _, g := range guards {
		digest := sha256.Sum256([]byte(g.Key.Reveal()))
		switch {
		case g.Name == "":
			return errors.New("a guard has no name")
		case len(g.Key.Reveal()) < minGuardKey:
			return fmt.Errorf("the key of guard %s is shorter than %d bytes; make one with: openssl rand -hex 32", g.Name, minGuardKey)
		}
		for _, other := range r.guards {
			if other.digest == digest {
				return fmt.Errorf("guards %s and %s have one key; give each its own", other.name, g.Name)
			}
		}
		r.guards = append(r.guards, guard{g.Name, digest})
	}
	r.ended = revocation.NewLog(new(revocation.Table))
	var err error
	r.ended.Instance, err = r.instance(ctx)
	return err
}

// instance returns what the records of the realm are called. Where they were
// lost, counters begin anew and the name is another one.
//
// Stored at realm/<realm>/instance.
func (r *Realm) instance(ctx context.Context) (string, error) {
	type record struct {
		V    int    `json:"v"`
		Name string `json:"name"`
	}
	key := store.Key("realm", r.name, "instance")
	for {
		found, err := r.store.Get(ctx, key)
		if err == nil {
			var i record
			if err := json.Unmarshal(found.Value, &i); err != nil || i.V != 1 || i.Name == "" {
				return "", errors.New("the instance record has a form that this version does not know")
			}
			return i.Name, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return "", fmt.Errorf("read the name of the instance: %w", err)
		}
		value, err := json.Marshal(record{1, rand.Text()})
		if err != nil {
			return "", err
		}
		// After a conflict another process made it; read that one.
		if _, err := r.store.Put(ctx, store.Record{Key: key, Value: value}); err != nil && !errors.Is(err, store.ErrConflict) {
			return "", fmt.Errorf("name the instance: %w", err)
		}
	}
}

// Revocations returns the table of what ended before its time, for guards in
// this process. It is to be read. It is complete and fresh while [Realm.Run]
// runs; before, it is never fresh.
func (r *Realm) Revocations() *revocation.Table { return r.ended.Table() }

// Close ends the connections of those who follow the realm's revocations, and
// takes no more of them. Everything else goes on. A server that is about to shut
// down calls it, since these requests have no end.
func (r *Realm) Close() { r.ended.Close() }

// guard returns the name of the guard that a request is from, empty if it bears
// no key. Every key is compared, in a time that depends on none. A wrong key is
// counted; a good one is taken however many wrong ones there were.
func (r *Realm) guard(req *http.Request, a *attempt) (string, error) {
	lines := req.Header.Values("Authorization")
	if len(lines) > 1 {
		return "", jeton.Refuse(jeton.InvalidRequest, "authenticate once")
	}
	if len(lines) == 0 {
		return "", nil
	}
	scheme, key, _ := strings.Cut(lines[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	name := ""
	digest := sha256.Sum256([]byte(key))
	for _, g := range r.guards {
		if subtle.ConstantTimeCompare(g.digest[:], digest[:]) == 1 {
			name = g.name
		}
	}
	if name == "" {
		if err := r.limits.wrongGuard(a.ip); err != nil {
			return "", err
		}
		return "", jeton.Refuse(jeton.InvalidToken, "the bearer is no guard's key")
	}
	a.entry.Actor = "guard " + name
	return name, nil
}

// serveRevocations tells a guard what ends, and ends the guard's canaries.
func (r *Realm) serveRevocations(w http.ResponseWriter, req *http.Request) {
	if !allow(w, req, http.MethodGet, http.MethodPost) {
		return
	}
	a := r.newAttempt(req, "follow")
	if req.Method == http.MethodPost {
		a.entry.Action = "canary"
	}
	body, ok := readBody(w, req)
	if !ok {
		return
	}
	name, err := r.guard(req, a)
	if err == nil && name == "" {
		err = jeton.Refuse(jeton.InvalidToken, "the request bears no guard's key")
	}
	if err == nil && req.Method == http.MethodGet {
		r.ended.ServeHTTP(w, req)
		return
	}
	if err == nil {
		err = r.canary(req, body, name, a)
	}
	if err != nil {
		r.dialect.WriteTokenError(w, r.name, r.refuse(req.Context(), a, err))
		return
	}
	writeJSON(w, http.StatusAccepted, map[string]any{})
}

// canaryLife is for how long a canary is kept: it has long arrived then, or is
// lost.
const canaryLife = time.Minute

// canary ends a token that does not exist, the way of one that does.
func (r *Realm) canary(req *http.Request, body []byte, guard string, a *attempt) error {
	form, err := readForm(req, body)
	if err != nil {
		return err
	}
	id, ok := revocation.CanaryToken(form.Get("canary"))
	if !ok {
		return jeton.Refuse(jeton.InvalidRequest, "canary is to be 16 to 64 letters and digits")
	}
	if err := r.limits.canary(guard, a.ip); err != nil {
		return err
	}
	return r.endToken(req.Context(), id, time.Now().Add(canaryLife))
}

// introspectForGuard answers about what a call can wear: access tokens of the
// realm, whoever they are for, and API keys that are enough by themselves. The
// answer has the claim that says what can end them.
func (r *Realm) introspectForGuard(ctx context.Context, bearer jeton.Secret) (map[string]any, error) {
	inactive := map[string]any{"active": false}
	if directory.IsAPIKey(bearer) {
		c, err := r.verifyKey(ctx, bearer)
		if err != nil && jeton.Refused(err) {
			return inactive, nil
		}
		if err != nil {
			return nil, err
		}
		// No exp: what can end the key is in the counters.
		return present(map[string]any{
			"active": true, "token_type": "Bearer", "iss": r.url, "jti": c.ID, "sub": c.Subject, "tenant_id": c.Tenant,
			"scope": c.Scope.String(), "aud": single(c.Audience), "iat": c.IssuedAt.Unix(),
			revocation.ClaimName: revocation.Claim{Generations: c.Generations},
		}), nil
	}
	t, err := r.open(ctx, bearer)
	if err != nil && jeton.Refused(err) {
		return inactive, nil
	}
	if err != nil {
		return nil, err
	}
	answer := r.introspected(t)
	answer[revocation.ClaimName] = t.ends
	return answer, nil
}
