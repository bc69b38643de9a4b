package broker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
)

// A record is what all brokers know of one login credential, kept as JSON
// under broker/<dialect>/<digest of the identity>. Its times are on the store's
// clock.
type record struct {
	V   int    `json:"v"`   // 1
	Rev uint64 `json:"rev"` // counts writes, so that an answer which is overtaken can be told

	Generation uint64       `json:"generation"`          // of Token; counts up with every new one
	Token      *storedToken `json:"token,omitempty"`     // nil: none yet
	Obtained   time.Time    `json:"obtained,omitzero"`   // when it came
	RefreshAt  time.Time    `json:"refresh_at,omitzero"` // when to replace it; zero: never ahead
	Ended      bool         `json:"ended,omitempty"`     // a login was sent that may have ended Token, and did not bring another

	Fence  uint64  `json:"fence"`            // counts leases; a save is only for who has the last one
	Lease  *lease  `json:"lease,omitempty"`  // who is logging in now
	Intent *intent `json:"intent,omitempty"` // what was about to be sent, and its answer is not known

	Salt    []byte    `json:"salt"`              // random; keys the fingerprints, and tells this record from one made anew
	Taken   string    `json:"taken,omitempty"`   // fingerprint of the credential that logged in last
	Refused []refusal `json:"refused,omitempty"` // credentials that the vendor refused, until it refuses the one that was right
	Latch   *latch    `json:"latch,omitempty"`

	Failures  int       `json:"failures,omitempty"` // in a row, without an answer that says something else
	NotBefore time.Time `json:"not_before,omitzero"`
	LastError string    `json:"last_error,omitempty"`

	History []Event `json:"history,omitempty"` // the last attempts, oldest first; not in the views of readers

	Reported   uint64 `json:"reported,omitempty"`   // generation that a report brought about
	Permission uint64 `json:"permission,omitempty"` // generation that was fresh and rejected all the same
}

type storedToken struct {
	Access  string            `json:"access"`
	Type    string            `json:"type,omitempty"`
	Refresh string            `json:"refresh,omitempty"`
	Expiry  time.Time         `json:"expiry,omitzero"`
	Scope   string            `json:"scope,omitempty"`
	Vars    map[string]string `json:"vars,omitempty"`
}

type lease struct {
	Holder string `json:"holder"`
	Beat   uint64 `json:"beat"` // counts renewals: the version changes with each
}

type intent struct {
	Kind  string `json:"kind"`  // login or refresh; handover: nothing yet, calls are let end first
	Since uint64 `json:"since"` // the generation that it is to replace
}

type refusal struct {
	Fingerprint string     `json:"fingerprint"` // of the credential
	Code        jeton.Code `json:"code"`
	Since       time.Time  `json:"since"`
}

type latch struct {
	Code  jeton.Code `json:"code"`
	Since time.Time  `json:"since"`
}

// token returns the token with its expiry on the store's clock.
func (r *record) token() *jeton.Token {
	if r.Token == nil {
		return nil
	}
	return &jeton.Token{
		AccessToken: jeton.NewSecret(r.Token.Access), Type: r.Token.Type, RefreshToken: jeton.NewSecret(r.Token.Refresh),
		Expiry: r.Token.Expiry, Scope: jeton.ParseScope(r.Token.Scope), Generation: r.Generation, Vars: r.Token.Vars,
	}
}

// storeToken keeps the wall clock only: it goes on while a machine sleeps.
func storeToken(t *jeton.Token) *storedToken {
	return &storedToken{
		Access: t.AccessToken.Reveal(), Type: t.Type, Refresh: t.RefreshToken.Reveal(),
		Expiry: t.Expiry.Round(0), Scope: t.Scope.String(), Vars: t.Vars,
	}
}

// spend forgets the refresh token: it was sent, and no answer came that says
// whether the vendor took it. To present it again can end all tokens that came
// of the same login, the access token that is good among them.
func (r *record) spend() {
	if r.Token != nil {
		token := *r.Token // views share it
		token.Refresh = ""
		r.Token = &token
	}
}

// fingerprint tells credentials apart without showing them. It is keyed, so
// that whoever reads the record cannot try passwords against it.
func (r *record) fingerprint(d *dialect.Dialect, vars jeton.Vars) string {
	only := d.CallVars()
	mac := hmac.New(sha256.New, r.Salt)
	mac.Write([]byte(canonical(vars, func(name string) bool { return !slices.Contains(only, name) })))
	return hex.EncodeToString(mac.Sum(nil))
}

// refuse notes that the vendor refused a credential. If it is the one that
// logged in last, the vendor's password has changed, and what it said of other
// credentials before is void: a fleet may have learnt the new one too early.
func (r *record) refuse(fingerprint string, code jeton.Code, now time.Time) {
	const most = 16 // a fleet has two or three
	if fingerprint == r.Taken {
		r.Taken, r.Refused = "", nil
	}
	r.Latch = &latch{Code: code, Since: now}
	r.Refused = append(r.Refused, refusal{fingerprint, code, now})
	r.Refused = r.Refused[max(0, len(r.Refused)-most):]
}

// canonical writes variables so that different ones never read the same.
func canonical(vars jeton.Vars, only func(name string) bool) string {
	var names []string
	for name := range vars {
		if only == nil || only(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "%q=%q\n", name, vars[name])
	}
	return b.String()
}

// choose returns the first credential that the vendor has not refused, or what
// it said of the first one.
func (r *record) choose(d *dialect.Dialect, list []jeton.Vars) (jeton.Vars, *refusal) {
	if len(r.Refused) == 0 {
		return list[0], nil
	}
	var first *refusal
	for _, vars := range list {
		mine := r.fingerprint(d, vars)
		i := slices.IndexFunc(r.Refused, func(f refusal) bool { return f.Fingerprint == mine })
		if i < 0 {
			return vars, nil
		}
		if first == nil {
			first = &r.Refused[i]
		}
	}
	return nil, first
}

// credentials resolves the account's credentials in the order in which they
// are tried; there is one at least. One that cannot be read is passed over if
// another can.
func (a *Account) credentials(ctx context.Context) (list []jeton.Vars, err error) {
	list = make([]jeton.Vars, 0, 1)
	vars, err := a.resolve(ctx, a.Secrets)
	if err == nil {
		list = append(list, vars)
	}
	for _, other := range a.Others {
		if vars, err := a.resolve(ctx, other); err == nil {
			list = append(list, vars)
		}
	}
	if len(list) == 0 {
		return nil, err
	}
	return list, nil
}

// variables returns the first of the account's credentials.
func (a *Account) variables(ctx context.Context) (jeton.Vars, error) {
	list, err := a.credentials(ctx)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// resolve resolves one credential; variables with a default may be absent, the
// others may not.
func (a *Account) resolve(ctx context.Context, secrets func(context.Context) (jeton.Vars, error)) (jeton.Vars, error) {
	vars := a.dialect().Defaults()
	given, err := secrets(ctx)
	if err != nil {
		return nil, &UnavailableError{Account: a.Name, Reason: "its credentials could not be read", RetryAfter: time.Second, Cause: err}
	}
	for name, text := range given {
		vars[name] = text
	}
	for _, name := range a.dialect().LoginVars() {
		if vars[name] == "" {
			return nil, &UnavailableError{Account: a.Name, Reason: "it has no " + name, RetryAfter: time.Second}
		}
	}
	return vars, nil
}

// recordKey names the record of an identity: where it logs in, as whom, and
// with which settings. A secret is no part of it, so that the record stays when
// one is changed; where a login names nobody in public, as with an API key
// alone, the account's name does, or two keys would share a token.
func (a *Account) recordKey(vars jeton.Vars) string {
	needed, only := a.dialect().LoginVars(), a.dialect().CallVars()
	for _, v := range a.dialect().Vars {
		if !slices.Contains(only, v.Name) {
			needed = append(needed, v.Name)
		}
	}
	identity := canonical(vars, func(name string) bool {
		return a.dialect().Public(name) && (slices.Contains(needed, name) || name == "scope" || name == "resource")
	})
	if !slices.Contains(needed, "username") && !slices.Contains(needed, "client_id") {
		identity += "account=" + strconv.Quote(a.Name)
	}
	origin := ""
	if a.Origin != nil {
		origin = a.Origin.String()
	}
	sum := sha256.Sum256([]byte(origin + "\n" + identity))
	return store.Key("broker", a.dialect().Name, hex.EncodeToString(sum[:16]))
}

// load reads the record, and puts back what the store has lost of it.
func (k *keeper) load(ctx context.Context) (record, store.Record, error) {
	r, at, err := k.fetch(ctx)
	if err != nil {
		return r, at, err
	}
	return k.putBack(ctx, r, at)
}

// fetch reads the record. A record that is not there is a new one.
func (k *keeper) fetch(ctx context.Context) (record, store.Record, error) {
	unclear := k.b.readClock(ctx)
	at, err := k.b.Store.Get(ctx, k.key)
	if unclear != nil && (err == nil || errors.Is(err, store.ErrNotFound)) {
		return record{}, store.Record{}, unclear
	}
	if errors.Is(err, store.ErrNotFound) {
		return newRecord(), store.Record{Key: k.key}, nil
	}
	if err != nil {
		k.b.clock.deaf.Store(0) // it answers nothing at all
		k.b.metrics.store.WithLabelValues("read").Inc()
		return record{}, store.Record{}, fmt.Errorf("broker: read the record: %w", err)
	}
	r, err := k.decode(at)
	if err != nil {
		return record{}, store.Record{}, err
	}
	r.mend(k.b.now())
	return r, at, nil
}

// A decoded is a record as it was read last.
type decoded struct {
	version string
	record  record
}

// decode reads a record. While a lease is followed most looks find the version
// that the one before found, and no version is ever used twice.
func (k *keeper) decode(at store.Record) (record, error) {
	if last := k.last.Load(); last != nil && last.version == at.Version {
		return last.record, nil
	}
	r, err := decode(at)
	if err == nil && k.flying.Load() {
		k.last.Store(&decoded{at.Version, r})
	}
	return r, err
}

// decode reads a record.
func decode(at store.Record) (r record, err error) {
	if json.Unmarshal(at.Value, &r) != nil { // the cause could show a token
		return record{}, errors.New("broker: the record is damaged")
	}
	if r.V != 1 {
		return record{}, fmt.Errorf("broker: the record has form %d, which this version does not know", r.V)
	}
	r.Refused = slices.Clip(r.Refused) // who appends does not write into what others read
	return r, nil
}

// mend drops what only a clock that was far ahead can have written: a machine's
// that was set right since, or a store's. Else an account would wait for years.
func (r *record) mend(now time.Time) {
	if r.NotBefore.Sub(now) > 2*longestRetry {
		r.NotBefore = time.Time{}
	}
	if r.Obtained.Sub(now) > time.Hour && !r.RefreshAt.IsZero() {
		r.RefreshAt = time.Unix(0, 0).UTC() // the token may have expired
	}
}

// save writes the record if it is still at the version that was read, and
// takes it over.
func (k *keeper) save(ctx context.Context, r record, at store.Record) (store.Record, error) {
	r.Rev++
	value, err := json.Marshal(r)
	if err != nil {
		return at, fmt.Errorf("broker: encode the record: %w", err)
	}
	at.Value, at.Due = value, r.RefreshAt
	next, err := k.b.Store.Put(ctx, at)
	if err != nil {
		if !errors.Is(err, store.ErrConflict) {
			k.b.metrics.store.WithLabelValues("write").Inc()
		}
		return at, fmt.Errorf("broker: write the record: %w", err)
	}
	k.publish(r)
	return next, nil
}

// change edits the record until the edit is in; the edit returns false to
// leave it as it is.
func (k *keeper) change(ctx context.Context, edit func(*record) bool) error {
	for {
		r, at, err := k.load(ctx)
		if err != nil {
			return err
		}
		if !edit(&r) {
			k.publish(r)
			return nil
		}
		if _, err := k.save(ctx, r, at); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}
