// Package directory keeps who may log in at a realm: tenants, users, client
// applications and API keys, with their secrets, accounts and the generations
// that end their tokens. It authenticates; what a login then gets is the issuer's to
// decide. The console and the admin commands call it as the issuer does.
package directory

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store"
)

// Settings say what the entries of a directory must have. The zero value asks
// for nothing.
type Settings struct {
	Tenanted             bool     // every user, client and API key belongs to a tenant
	Scopes               []string // those that there are, in ascending order; nil: any
	ScopeRequiredForKeys bool     // an API key has at least one scope
}

// A Directory holds whoever may log in at one realm: its users, clients and API
// keys, and the tenants that they belong to. Where the settings know no tenants
// the tenant is the empty string in every call.
//
// Calls that change something take the actor who asked for it. They write the
// audit log first and do nothing if that fails. Their errors are an
// [*jeton.Error] with invalid_request if the caller can put it right, match
// [ErrExists] or [ErrNotFound] where that is the matter, and are otherwise the
// store's, wrapped.
//
// Calls that authenticate do the same work and give the same error whether the
// name is unknown, the secret wrong or the entry disabled; an error that is no
// refusal means that it could not be decided.
//
// A Directory is safe for concurrent use, also by several processes on one
// store: nothing that it says is remembered from an earlier call.
type Directory struct {
	// Passwords hashes what people chose. Change it before use only.
	Passwords *PasswordHasher

	// Raised is told of every counter that this process raised, before Raise
	// returns: whoever asked for the raise finds it done. Nil: nobody is. Change
	// it before use only. It must not wait.
	Raised func(Raise)

	store    store.Store
	log      audit.Log
	realm    string
	settings Settings
	pepper   []byte // key of the digests of generated secrets
	proven   proven // chosen secrets that were right
	raising  queues // one raise at a time and counter
}

// Errors of the administrative calls.
var (
	// ErrExists says that there is an entry of that name or ID already.
	ErrExists = errors.New("exists already")

	// ErrNotFound says that there is no such entry. It matches
	// store.ErrNotFound too.
	ErrNotFound error = notFound{}
)

type notFound struct{}

func (notFound) Error() string { return "not found" }
func (notFound) Unwrap() error { return store.ErrNotFound }

// Open opens the directory of a realm.
func Open(ctx context.Context, st store.Store, log audit.Log, realm string, settings Settings) (*Directory, error) {
	d := &Directory{Passwords: new(PasswordHasher), store: st, log: log, realm: realm, settings: settings}
	var err error
	if d.pepper, err = d.openPepper(ctx); err != nil {
		return nil, fmt.Errorf("directory: open the directory of realm %s: %w", realm, err)
	}
	return d, nil
}

// A pepper record holds the key of the digests of generated secrets. It is made
// once, so that a copy of the other records does not suffice to try a secret.
//
// Stored at realm/<realm>/pepper.
type pepperRecord struct {
	V      int    `json:"v"`
	Pepper []byte `json:"pepper"`
}

func (d *Directory) openPepper(ctx context.Context) ([]byte, error) {
	key := d.key("pepper")
	for {
		p, _, err := load[pepperRecord](ctx, d, key)
		if err == nil {
			if len(p.Pepper) < 32 {
				return nil, errors.New("the pepper record is damaged")
			}
			return p.Pepper, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		p = pepperRecord{V: 1, Pepper: make([]byte, 32)}
		_, _ = rand.Read(p.Pepper) // never fails
		// After a conflict another process made it; read that one.
		if _, err := d.save(ctx, store.Record{Key: key}, p); err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, err
		}
	}
}

func (d *Directory) key(segments ...string) string {
	return store.Key(append([]string{"realm", d.realm}, segments...)...)
}

// load reads a record, or returns store.ErrNotFound. Every record is a JSON
// object with its form's version in v.
func load[T any](ctx context.Context, d *Directory, key string) (T, store.Record, error) {
	var v T
	r, err := d.store.Get(ctx, key)
	if err == nil {
		v, err = decode[T](r)
	}
	return v, r, err
}

func decode[T any](r store.Record) (T, error) {
	var form struct {
		V int `json:"v"`
	}
	var v T
	// A cause would show a part of the value.
	if json.Unmarshal(r.Value, &form) != nil || form.V != 1 || json.Unmarshal(r.Value, &v) != nil {
		return v, fmt.Errorf("record %s has a form that this version does not know", r.Key)
	}
	return v, nil
}

// save writes v into the record r if that is as it was read.
func (d *Directory) save(ctx context.Context, r store.Record, v any) (store.Record, error) {
	var err error
	if r.Value, err = json.Marshal(v); err != nil {
		return r, err
	}
	return d.store.Put(ctx, r)
}

// change edits a record, again and again until nobody else changes it in
// between, and returns what was written.
func change[T any](ctx context.Context, d *Directory, key string, edit func(*T) error) (T, store.Record, error) {
	for {
		v, r, err := load[T](ctx, d, key)
		if err == nil {
			err = edit(&v)
		}
		if err == nil {
			r, err = d.save(ctx, r, v)
		}
		if !errors.Is(err, store.ErrConflict) {
			return v, r, err
		}
	}
}

// create writes a new entry down in the audit log and then in the store. The
// name is for messages, the target for the log.
func (d *Directory) create(ctx context.Context, actor, kind, name, target, tenant, key string, v any) error {
	_, err := d.store.Get(ctx, key)
	if err == nil {
		return exists(kind, name)
	}
	if errors.Is(err, store.ErrNotFound) {
		err = d.audit(ctx, actor, kind+".add", target, tenant, name)
	}
	if err == nil {
		_, err = d.save(ctx, store.Record{Key: key}, v)
	}
	if errors.Is(err, store.ErrConflict) {
		return exists(kind, name)
	}
	return fail(kind, name, err)
}

// settle undoes an addition, whose keys it takes, if its tenant was removed
// meanwhile: a tenant that is added later must not find it.
func (d *Directory) settle(ctx context.Context, tenant string, keys ...string) error {
	err := d.checkTenant(ctx, tenant)
	if err == nil {
		return nil
	}
	for _, key := range keys {
		err = errors.Join(err, d.remove(context.WithoutCancel(ctx), key))
	}
	return err
}

// setDisabled audits and changes whether an entry is disabled, by write, and
// raises its counter: after the write when disabling, for the reason that is
// written at generation, and before it when enabling, in case the raise of the
// disabling failed. What is enabled already stays as it is, and so do its
// tokens.
func (d *Directory) setDisabled(ctx context.Context, actor, kind, id, name, tenant string, was, disabled bool, write func() error) error {
	action := kind + ".enable"
	if disabled {
		action = kind + ".disable"
	}
	if err := d.audit(ctx, actor, action, id, tenant, name); err != nil {
		return err
	}
	if !was && !disabled {
		return nil
	}
	if disabled {
		if err := write(); err != nil {
			return err
		}
	}
	// Whoever asked may be gone by now, but the tokens must not live on.
	if _, err := d.Raise(context.WithoutCancel(ctx), kind, id); err != nil || disabled {
		return err
	}
	return write()
}

// retire removes an entry: it disables it, raises its counter and deletes it
// then. If it fails between two of these steps, the entry is there and can be
// removed again.
func retire[T any](ctx context.Context, d *Directory, key, kind, id string, disable func(*T) error) error {
	for {
		_, r, err := change(ctx, d, key, disable)
		if err == nil {
			_, err = d.Raise(context.WithoutCancel(ctx), kind, id)
		}
		if err == nil {
			err = d.store.Delete(ctx, r)
		}
		if !errors.Is(err, store.ErrConflict) { // a conflict: somebody changed it in between
			return err
		}
	}
}

// remove deletes a record. One that is gone is no error.
func (d *Directory) remove(ctx context.Context, key string) error {
	for {
		r, err := d.store.Get(ctx, key)
		if err == nil {
			err = d.store.Delete(ctx, r)
		}
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil
		case !errors.Is(err, store.ErrConflict):
			return err
		}
	}
}

// page returns up to limit of the entries under prefix that keep wants, from
// those that sort after the key after.
func page[T any](ctx context.Context, d *Directory, prefix, after string, limit int, keep func(T) bool) ([]T, error) {
	const batch = 256
	var entries []T
	for limit > 0 {
		records, err := d.store.List(ctx, prefix, after, batch)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			v, err := decode[T](r)
			if err != nil {
				return nil, err
			}
			if after = r.Key; keep == nil || keep(v) {
				entries = append(entries, v)
			}
			if len(entries) == limit {
				return entries, nil
			}
		}
		if len(records) < batch {
			break
		}
	}
	return entries, nil
}

// cursor returns the key to list after, or nothing for the beginning.
func cursor(prefix, after string) string {
	if after == "" {
		return ""
	}
	return prefix + url.PathEscape(after)
}

// audit writes down what is about to be done.
func (d *Directory) audit(ctx context.Context, actor, action, target, tenant, detail string) error {
	if tenant != "" {
		detail = strings.TrimSpace(detail + " tenant " + tenant)
	}
	err := d.log.Append(ctx, audit.Entry{Realm: d.realm, Actor: actor, Action: action, Target: target, Outcome: "ok", Detail: detail})
	if err != nil {
		return fmt.Errorf("write the audit log: %w", err)
	}
	return nil
}

// fail wraps an error of an administrative call about one entry. A refusal
// stays as it is.
func fail(what, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case jeton.Refused(err):
		return err
	case errors.Is(err, store.ErrNotFound):
		err = ErrNotFound
	}
	return fmt.Errorf("directory: %s %q: %w", what, name, err)
}

func invalid(format string, args ...any) error {
	return jeton.Refuse(jeton.InvalidRequest, fmt.Sprintf(format, args...))
}

// firstError returns the first of the errors that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func exists(what, name string) error {
	return &jeton.Error{Code: jeton.InvalidRequest, Description: fmt.Sprintf("there is a %s %q already; choose another name or remove that one", what, name), Cause: ErrExists}
}

const maxName = 256 // bytes

// checkName refuses names that could not be typed, shown or told apart.
func checkName(what, name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return invalid("the %s is empty; give one", what)
	case len(name) > maxName:
		return invalid("the %s has %d bytes; %d are allowed", what, len(name), maxName)
	case !utf8.ValidString(name):
		return invalid("the %s is not UTF-8", what)
	}
	for i, r := range name {
		if !unicode.IsPrint(r) {
			return invalid("the %s has a sign at byte %d that does not print, %s; leave it out", what, i, strconv.QuoteRuneToASCII(r))
		}
	}
	return nil
}

// checkID refuses IDs that do not pass unchanged through a form, a header and a
// path. RFC 6749 appendix A.1 would also allow spaces.
func checkID(what, id string) error {
	if err := checkName(what, id); err != nil {
		return err
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return invalid("the %s has a sign at byte %d that is not a letter, digit or mark of ASCII; leave it out", what, i)
		}
	}
	return nil
}

func (d *Directory) checkScope(scope jeton.Scope) error {
	for _, token := range scope {
		switch {
		case len(token) > maxName:
			return invalid("a scope has %d bytes; %d are allowed", len(token), maxName)
		case token == "" || strings.Contains(token, " ") || !jeton.ValidScope(token):
			return invalid("the scope %q has a sign that RFC 6749 section 3.3 does not allow, or is empty", token)
		case d.settings.Scopes != nil && !slices.Contains(d.settings.Scopes, token):
			return invalid("there is no scope %q; there are %s", token, strings.Join(d.settings.Scopes, ", "))
		}
	}
	return nil
}

// checkTenant makes sure that an entry can belong to the tenant.
func (d *Directory) checkTenant(ctx context.Context, tenant string) error {
	switch {
	case !d.settings.Tenanted && tenant != "":
		return invalid("this realm has no tenants; leave the tenant out")
	case !d.settings.Tenanted:
		return nil
	case tenant == "":
		return invalid("the tenant is missing; every entry of this realm belongs to one")
	}
	_, err := d.Tenant(ctx, tenant)
	if errors.Is(err, ErrNotFound) {
		return &jeton.Error{Code: jeton.InvalidRequest, Description: fmt.Sprintf("there is no tenant %q; add it first", tenant), Cause: ErrNotFound}
	}
	return err
}

// Fold returns the form of a name under which it is found and counted: however
// it was typed, in whatever case and Unicode form, it is one name. Folding
// twice changes nothing more. Of a text that is much longer than any name may
// be, the end is left out.
func Fold(name string) string {
	name = cut(name)
	// One round is NFKC_Casefold of Unicode, but for signs that no name may
	// have. What folds to spaces is trimmed, which may leave room for more.
	for range 4 {
		folded := cut(norm.NFKC.String(cases.Fold().String(norm.NFKC.String(norm.NFD.String(name)))))
		if folded == name {
			break
		}
		name = folded
	}
	return name
}

// cut returns the beginning of a name, without spaces around it. A folded name
// can be many times as long as what was typed.
func cut(name string) string {
	const limit = 4 * maxName
	name = strings.TrimSpace(name)
	if len(name) > limit {
		name = strings.TrimSpace(strings.ToValidUTF8(name[:limit], ""))
	}
	return name
}

// mapped returns f of every entry.
func mapped[T, U any](list []T, f func(T) U) []U {
	mapped := make([]U, len(list))
	for i, v := range list {
		mapped[i] = f(v)
	}
	return mapped
}

// created is the time that an entry gets: what stores, clocks and JSON agree on.
func created() time.Time { return time.Now().UTC().Truncate(time.Second) }
