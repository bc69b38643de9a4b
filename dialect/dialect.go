// Package dialect reads and writes the messages of a vendor's token endpoint.
//
// A dialect is a set of HTTP messages with holes. The client fills a request
// and reads the answer; the server reads the request and fills the answer.
// Nothing in a dialect file says client or server: the same template runs
// forwards or backwards, so that the file which lets the broker log in to a
// vendor also lets the issuer be that vendor. The law on which everything rests
// is that the two directions are inverse:
//
//	ReadRequest(WriteRequest(x)) == x        ReadResponse(WriteResponse(y)) == y
//
// The zero value is the standard: a dialect that says nothing is RFC 6749
// section 4.4, client credentials.
//
// The package has no store, no configuration and no log, and never dials. A
// Dialect does not change after [Parse] and is safe for concurrent use.
package dialect

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect/sign"
)

// A Dialect is one parsed dialect file.
type Dialect struct {
	Name string

	Title  string            // of the vendor, for people; may be empty
	Source []string          // the vendor's pages that the file is written from
	Params map[string]string // :: variable -> what it is, in a line

	Login   *Exchange   // token: the exchange that gives the token; without Method there is none
	Steps   []*Exchange // what comes before it, in order; nil: nothing
	Then    []*Exchange // what comes after it, such as where calls go; nil: nothing
	Refresh []*Exchange // how to refresh; nil: RFC 6749 section 6 where a login grants a refresh token, else log in again
	Accept  []*Exchange // other forms of the login that only a server needs to know

	// Verify, Introspect and Revoke are nil where the vendor documents none.
	Verify, Introspect, Revoke *Exchange

	// Standard says that the login is RFC 6749 section 4.4 with nothing
	// changed but its URL. A server then also takes the password and
	// refresh_token grants there, either form of client authentication
	// (section 2.3.1), scope, and resource (RFC 8707).
	Standard bool

	Call        *Call       // how an API call wears the token; never nil
	Scope       ScopeRule   // how scopes are written and which includes which
	Permissions Permissions // what a call needs; nil: a good token suffices

	Lifetime time.Duration // of an access token whose answer does not say; zero: unknown
	Early    time.Duration // how long before expiry to refresh; zero: the broker's default
	Active   int           // how many tokens of one credential live at once; zero: any number

	Rate map[string]Rate // :: "username", "client_id" or "ip" -> logins allowed

	Errors map[jeton.Code]Refusal // answers that differ from the RFC's

	Alg string // JWS algorithm of issued access tokens; empty: the issuer's default
	Typ string // JOSE typ of issued access tokens; empty: at+jwt in a standard realm, else JWT

	Vars []Var // public settings

	NoRefresh bool // refresh: none

	lets   []*let      // what the client makes
	hosts  []value     // where a vendor's answer may lead
	claims *tree       // issue.access_token.jwt
	all    []*Exchange // what a server takes
}

// A Var is a public setting of an account, declared under vars.
type Var struct {
	Name     string
	Default  string   // empty with Optional: absent
	Optional bool     // a field whose only hole it is may be left out
	Choice   []string // the values that it may have; nil: any
}

// A ScopeRule says how a vendor writes scopes.
type ScopeRule struct {
	Separator string      // between scope tokens on the wire; empty: a space
	Default   jeton.Scope // asked for when an account names none
	Order     []string    // ascending: each includes those before it; nil: none includes another
}

// Grants reports whether a token with scope s may do what needs least: s holds
// it or one that is above it in the order.
func (r ScopeRule) Grants(s jeton.Scope, least string) bool {
	need := slices.Index(r.Order, least)
	for _, t := range s {
		if t == least || need >= 0 && slices.Index(r.Order, t) >= need {
			return true
		}
	}
	return false
}

// Permissions is a vendor's permission table: the least scope by resource and
// verb. Verbs are list, fetch, create, update and delete; fetch_self and
// update_self speak of the caller's own record.
type Permissions map[string]map[string]string

// verbs are the verbs that a permission table may name.
var verbs = []string{"list", "fetch", "create", "update", "delete", "fetch_self", "update_self"}

// A Rate is a number of logins in a sliding window.
type Rate struct {
	Count int
	Per   time.Duration
}

// A Refusal says how a vendor's answer to an error differs from the RFC's.
type Refusal struct {
	Status      int    // zero: the RFC's
	Description string // error_description; empty: the issuer's own
	body        *tree  // nil: {error, error_description}
}

// ErrNotFound says that the dialect has no exchange at a path.
var ErrNotFound = errors.New("dialect: no exchange at this path")

// ErrNoCredentials says that a call carries no token at all. RFC 6750 section
// 3.1 wants a challenge without an error code for it.
var ErrNoCredentials = errors.New("dialect: the call carries no token")

// A MethodError says that there is an exchange at the path, but none with the
// request's method.
type MethodError struct{ Allow []string }

// Error names the methods that are allowed.
func (e *MethodError) Error() string {
	return "dialect: method not allowed; allowed are " + strings.Join(e.Allow, ", ")
}

// Public reports whether a variable may be shown. Everything is secret but the
// public names of the RFC, what stands in vars, and what stands in a URL's host
// or path and is not called a secret: whoever writes a dialect has no marker to
// forget.
func (d *Dialect) Public(name string) bool {
	switch name {
	case "client_id", "username", "scope", "token_type", "expires_in", "resource", "tenant_id", "user_id", "grant_type":
		return true
	}
	v, declared := d.variable(name)
	if secretName(name) && v.Default == "" {
		return false // wherever it stands; what has a default has it in the dialect
	}
	if declared {
		return true
	}
	for _, x := range d.Sequence() {
		if x.url.has(name) {
			return true
		}
	}
	return d.Call.base.has(name)
}

// Sequence returns the exchanges of a login in their order; nil if there are none.
func (d *Dialect) Sequence() []*Exchange {
	if d.Login.Method == "" {
		return nil
	}
	return slices.Concat(d.Steps, []*Exchange{d.Login}, d.Then)
}

// secretName reports whether a variable is secret by what it is called, also in a
// URL: some vendors have a key in the path.
func secretName(name string) bool {
	for _, end := range []string{"password", "secret", "token", "api_key", "private_key", "assertion", "signature"} {
		if name == end || strings.HasSuffix(name, "_"+end) {
			return true
		}
	}
	return false
}

// first returns the exchange that a login begins with.
func (d *Dialect) first() *Exchange {
	if len(d.Steps) > 0 {
		return d.Steps[0]
	}
	return d.Login
}

// answered reports whether an answer of the vendor binds the variable.
func (d *Dialect) answered(name string) bool {
	for _, x := range slices.Concat(d.Sequence(), d.Refresh) {
		if x.Returns(name) {
			return true
		}
	}
	return false
}

func (d *Dialect) variable(name string) (Var, bool) {
	i := slices.IndexFunc(d.Vars, func(v Var) bool { return v.Name == name })
	if i < 0 {
		return Var{}, false
	}
	return d.Vars[i], true
}

// optional reports whether a field may be left out when the hole has no value.
func (d *Dialect) optional(name string) bool {
	v, ok := d.variable(name)
	return ok && v.Optional || !ok && (name == "scope" || name == "resource")
}

// Defaults returns the values of vars that have one.
func (d *Dialect) Defaults() jeton.Vars {
	vars := jeton.Vars{}
	for _, v := range d.Vars {
		if v.Default != "" {
			vars[v.Name] = v.Default
		}
	}
	if len(d.Scope.Default) > 0 {
		vars["scope"] = d.Scope.Default.String()
	}
	return vars
}

// LoginVars returns what a login needs and the dialect does not say: what an
// account must give. Optional ones are not among them.
func (d *Dialect) LoginVars() []string {
	var names []string
	for _, name := range d.loginNeeds() {
		if v, ok := d.variable(name); d.optional(name) || ok && v.Default != "" {
			continue
		}
		names = append(names, name)
	}
	return names
}

// loginNeeds returns all that a login takes from an account: not what an answer
// binds before it is needed, and of what a let makes, what that is made of.
func (d *Dialect) loginNeeds() []string {
	if d.Minted() {
		return d.made([]string{"access_token"})
	}
	if d.Login.Method == "" {
		return d.made(d.Call.needs())
	}
	var names, answered []string
	for _, x := range d.Sequence() {
		for _, name := range d.made(x.needs()) {
			if !slices.Contains(answered, name) {
				names = appendNew(names, name)
			}
		}
		answered = append(answered, x.answerHoles()...)
	}
	return names
}

// CallVars returns the variables that calls use and logins do not, Altrata's
// service for one. They are chosen per call, or given by the account.
func (d *Dialect) CallVars() []string {
	login := d.loginNeeds()
	var names []string
	for _, name := range d.made(d.Call.Holes()) {
		if name != "access_token" && !slices.Contains(login, name) && !d.answered(name) {
			names = append(names, name)
		}
	}
	return names
}

// FreeVars returns those of [Dialect.CallVars] that whoever makes a call may
// choose. What stands in the host is not free, unless vars lists what there is to
// choose from: a call takes the token and the account's credentials there.
func (d *Dialect) FreeVars() []string {
	base := d.Call.base
	where := base.host.needs()
	if base.root != "" {
		where = append(where, base.root)
	}
	return slices.DeleteFunc(d.CallVars(), func(name string) bool {
		v, _ := d.variable(name)
		return v.Choice == nil && slices.Contains(d.made(where), name)
	})
}

// Certificate returns the certificate with which a client shows itself in an
// exchange, or nil if it shows none. The error shows no value.
func (d *Dialect) Certificate(x *Exchange, vars jeton.Vars) (*tls.Certificate, error) {
	return d.certificate(x.tls, vars)
}

// CallCertificate is [Dialect.Certificate] for calls.
func (d *Dialect) CallCertificate(vars jeton.Vars) (*tls.Certificate, error) {
	return d.certificate(d.Call.tls, vars)
}

func (d *Dialect) certificate(p *pair, vars jeton.Vars) (*tls.Certificate, error) {
	if p == nil {
		return nil, nil
	}
	e, err := d.env(vars, time.Now())
	if err != nil {
		return nil, err
	}
	cert, err := p.user.fill(e)
	if err != nil {
		return nil, err
	}
	key, err := p.password.fill(e)
	if err != nil {
		return nil, err
	}
	parsed, err := sign.ParseCertificate(cert)
	if err != nil {
		return nil, err
	}
	private, err := sign.ParseKey(key)
	if err != nil {
		return nil, err
	}
	if private.Private() == nil {
		return nil, errors.New("dialect: the key of the client certificate is a public one")
	}
	return &tls.Certificate{Certificate: [][]byte{parsed.Raw}, PrivateKey: private.Private(), Leaf: parsed}, nil
}
