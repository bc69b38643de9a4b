package issuer

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jetonhq/jeton/dialect"
)

// SetDialect has a mounted realm speak another dialect from the next request on.
// A request that is being answered is answered as it was asked.
//
// It refuses a dialect of which an issuer cannot check some message, and one that
// would make the realm another one: that differs in whether the directory checks
// logins, in tenants, API keys next to passwords, the order of scopes or one token
// at a time, in whether it is the standard, and in how tokens are signed, how long
// they live and how often one may log in; and one with tokens that clients make,
// with none, or with calls that are more than their token, which the realm checks
// for others. Such a one takes a new realm. The realm then goes on as before.
// [Realm.Dialect] is the one that the realm was opened with.
func (s *Server) SetDialect(realm string, d *dialect.Dialect) error {
	i := slices.IndexFunc(s.mounts, func(m mount) bool { return m.realm.name == realm })
	if i < 0 {
		return fmt.Errorf("issuer: there is no realm %s", realm)
	}
	next, err := s.mounts[i].realm.speaking(d)
	if err != nil {
		return fmt.Errorf("issuer: realm %s: %w", realm, err)
	}
	s.mounts[i].spoken.Store(next)
	return nil
}

// speaking returns the realm with another dialect. All else is shared.
func (r *Realm) speaking(d *dialect.Dialect) (*Realm, error) {
	if err := (Config{Name: r.name, Dialect: d, Store: r.store, Audit: r.log, URL: r.url}).check(); err != nil {
		return nil, err
	}
	next := *r
	next.dialect, next.cookies, next.accounts = d, cookies(d), newAccounts(d)
	was := r.dialect
	for _, other := range []struct {
		what string
		is   bool
	}{
		{"has tokens that clients make, or none", d.Login.Method == "" || was.Login.Method == ""},
		{"differs in whether a token is the cookies of a login", !maps.Equal(cookies(d), r.cookies)},
		{"has calls that are more than their token", d.WholeCall() || was.WholeCall()},
		{"differs in whether logins are more than the directory checks", (next.accounts == nil) != (r.accounts == nil)},
		{"differs in tenants", d.Login.Has("tenant_id") != was.Login.Has("tenant_id")},
		{"differs in API keys", d.Login.Has("api_key") != was.Login.Has("api_key")},
		{"differs in the order of scopes", !slices.Equal(d.Scope.Order, was.Scope.Order)},
		{"differs in active", d.Active != was.Active},
		{"differs in whether it is the standard", d.Standard != was.Standard},
		{"differs in how tokens are signed", d.Alg != was.Alg || d.Typ != was.Typ},
		{"differs in lifetime", d.Lifetime != was.Lifetime},
		{"differs in rate", !maps.Equal(d.Rate, was.Rate)},
	} {
		if other.is {
			return nil, errors.New("the dialect " + other.what)
		}
	}
	return &next, nil
}
