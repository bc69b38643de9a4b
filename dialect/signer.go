package dialect

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect/sign"
	"github.com/jetonhq/jeton/yamlnode"
)

// A signer signs a request as a whole, by one of the functions of package sign.
type signer struct {
	kind   string // "aws4" or "oauth1"
	fields map[string]value
}

// signers are the functions that there are :: name -> what they take. What must
// be given comes first, each with the variable that it is unless the file says
// otherwise.
var signers = map[string]struct {
	fields   []string
	standard []string // variables, of the first fields
}{
	"aws4":   {[]string{"key_id", "secret", "region", "service", "session"}, []string{"$access_key_id", "$secret_access_key", "$region", "$service"}},
	"oauth1": {[]string{"consumer_key", "consumer_secret", "token", "token_secret", "realm", "method"}, []string{"$consumer_key", "$consumer_secret"}},
}

func parseSigner(n yamlnode.Node) (*signer, error) {
	if err := n.Want("sign", yamlnode.Text, yamlnode.Map); err != nil {
		return nil, err
	}
	s := &signer{kind: n.Text, fields: map[string]value{}}
	var inner yamlnode.Node
	if n.Kind == yamlnode.Map {
		if len(n.Pairs) != 1 {
			return nil, n.Errorf("sign is to have one function: aws4 or oauth1")
		}
		s.kind, inner = n.Pairs[0].Key.Text, n.Pairs[0].Value
		n = n.Pairs[0].Key
	}
	takes, ok := signers[s.kind]
	if !ok {
		return nil, n.Errorf("there is no signer %s%s", yamlnode.Quote(s.kind), yamlnode.Suggest(s.kind, []string{"aws4", "oauth1"}))
	}
	for i, variable := range takes.standard {
		s.fields[takes.fields[i]] = must(variable)
	}
	if inner.Kind == "" || inner.Kind == yamlnode.Null {
		return s, nil
	}
	if err := inner.Want(s.kind, yamlnode.Map); err != nil {
		return nil, err
	}
	if err := inner.Only(takes.fields...); err != nil {
		return nil, err
	}
	for _, p := range inner.Pairs {
		v, err := parseValue(p.Value, s.kind+"."+p.Key.Text)
		if err != nil {
			return nil, err
		}
		s.fields[p.Key.Text] = v
	}
	return s, nil
}

// needs returns the names that signing takes, in the order of the function's
// fields.
func (s *signer) needs() []string {
	if s == nil {
		return nil
	}
	var names []string
	for _, field := range signers[s.kind].fields {
		names = appendNew(names, s.fields[field].needs()...)
	}
	return names
}

func (s *signer) fill(e *env) (map[string]string, error) {
	texts := map[string]string{}
	for name, v := range s.fields {
		text, err := v.fill(e)
		if _, missing := errors.AsType[missingError](err); missing && !slices.Contains(signers[s.kind].fields[:len(signers[s.kind].standard)], name) {
			continue
		}
		if err != nil {
			return nil, err
		}
		texts[name] = text
	}
	return texts, nil
}

// signature is what aws4 and oauth1 have in common.
type signature interface {
	Sign(r *http.Request, body []byte, now time.Time) error
	Check(r *http.Request, body []byte, now time.Time) error
}

func (s *signer) with(e *env) (signature, error) {
	f, err := s.fill(e)
	if err != nil {
		return nil, err
	}
	if s.kind == "aws4" {
		return sign.AWS4{KeyID: f["key_id"], Secret: f["secret"], Session: f["session"], Region: f["region"], Service: f["service"]}, nil
	}
	return sign.OAuth1{ConsumerKey: f["consumer_key"], ConsumerSecret: f["consumer_secret"], Token: f["token"], TokenSecret: f["token_secret"],
		Realm: f["realm"], Method: f["method"]}, nil
}

func (s *signer) sign(r *http.Request, body []byte, e *env) error {
	by, err := s.with(e)
	if err != nil {
		return err
	}
	return by.Sign(r, body, e.now)
}

func (s *signer) check(r *http.Request, body []byte, e *env) error {
	by, err := s.with(e)
	if err != nil {
		return err
	}
	return by.Check(r, body, e.now)
}

// identity binds what a signed request says about who signed it.
func (s *signer) identity(r *http.Request, into *bound) bool {
	said := map[string]string{}
	var ok bool
	if s.kind == "aws4" {
		said["key_id"], said["region"], said["service"], ok = sign.AWS4KeyID(r)
	} else {
		said["consumer_key"], said["token"], said["realm"], ok = sign.OAuth1Identity(r)
	}
	for name, text := range said {
		v := s.fields[name]
		if !ok || v == nil || text == "" {
			continue
		}
		ok = v.read(text, into)
	}
	return ok
}

// Tokenless reports whether there is no token at all: calls wear credentials of
// the account, or are signed.
func (d *Dialect) Tokenless() bool { return d.Login.Method == "" && !d.Minted() }

// Signs reports whether every call is signed, so that no token can be handed
// out: who has the account makes the call.
func (d *Dialect) Signs() bool { return d.Call.sign != nil }

// SignCall signs a call that is complete, with all of its body (nil: none). It
// replaces what r had in Authorization.
func (d *Dialect) SignCall(r *http.Request, body []byte, vars jeton.Vars, now time.Time) error {
	e, err := d.env(vars, now)
	if err != nil {
		return err
	}
	return d.Call.sign.sign(r, body, e)
}

// ReadSignedCall says who claims to have signed a call; [Received.Prove] says
// whether it is true. The error is [ErrNoCredentials] if the call is not signed.
func (d *Dialect) ReadSignedCall(r *http.Request, body []byte) (*Received, error) {
	b := newBound()
	if !d.Call.sign.identity(r, b) {
		return nil, ErrNoCredentials
	}
	m := &Received{Exchange: d.Login, Vars: b.vars, dialect: d}
	m.checks = append(m.checks, func(e *env) error { return d.Call.sign.check(m.sent(r), body, e) })
	return m, nil
}

// Minted reports whether the client makes the token itself, without asking
// anybody.
func (d *Dialect) Minted() bool { return d.Login.Method == "" && d.let("access_token") != nil }

// Mint makes a token of an account's variables. Its expiry is that of the let,
// the exp of a JWT, and the dialect's lifetime, whichever comes first. The error
// names what is missing and shows no value.
func (d *Dialect) Mint(vars jeton.Vars, now time.Time) (*jeton.Token, error) {
	e, err := d.env(vars, now)
	if err != nil {
		return nil, err
	}
	text, err := e.get("access_token")
	if err != nil {
		return nil, err
	}
	return d.NewToken(jeton.Vars{"access_token": text}, now), nil
}

// Open takes a minted token apart, as the server does that a call with it
// reaches.
func (d *Dialect) Open(bearer jeton.Secret) (*Received, error) {
	b := newBound()
	l := d.let("access_token")
	if err := l.open(bearer.Reveal(), d.optional, b); err != nil {
		return nil, &jeton.Error{Code: jeton.InvalidToken, Description: "the token does not have the documented form", Cause: err}
	}
	if err := d.opened(b); err != nil {
		return nil, &jeton.Error{Code: jeton.InvalidToken, Description: "the token does not have the documented form", Cause: err}
	}
	m := &Received{Exchange: d.Login, Vars: b.vars, dialect: d, proofs: b.proofs}
	m.checks = append(m.checks, func(e *env) error { return d.fresh(b.vars, e) })
	return m, nil
}

// fresh refuses a minted token whose let of a moment is older than the dialect's
// lifetime. One that is a JWT has its own expiry.
func (d *Dialect) fresh(vars jeton.Vars, e *env) error {
	if d.Lifetime == 0 {
		return nil
	}
	return d.within(d.Lifetime, vars, e)
}

// maxAge is how old a request may be that says when it was made, and proves it.
const maxAge = 15 * time.Minute

// recent refuses a request that was made some time ago, so that nobody can use it
// again for ever.
func (d *Dialect) recent(vars jeton.Vars, e *env) error { return d.within(maxAge, vars, e) }

func (d *Dialect) within(age time.Duration, vars jeton.Vars, e *env) error {
	made, err := d.moments(vars)
	if err != nil {
		return err
	}
	for _, at := range made {
		if e.now.Sub(at) > age || at.Sub(e.now) > leeway {
			return errors.New("it is of another time")
		}
	}
	return nil
}

// moments returns when a message says that it was made.
func (d *Dialect) moments(vars jeton.Vars) ([]time.Time, error) {
	var list []time.Time
	for _, l := range d.lets {
		text, ok := vars[l.name]
		if !ok || !l.moment() {
			continue
		}
		if len(l.value[0].args) > 0 && l.value[0].fn.kind == isCodec {
			var err error
			if text, err = l.value[0].fn.decode(text); err != nil {
				return nil, err
			}
		}
		at, err := parseInstant(text)
		if err != nil {
			return nil, errors.New("it is of no time")
		}
		list = append(list, at)
	}
	return list, nil
}

// moment reports whether the let is the time at which it was made.
func (l *let) moment() bool {
	if l.signed != nil || len(l.value) != 1 || l.value[0].fn == nil {
		return false
	}
	p := l.value[0]
	if p.fn.kind == isCodec && p.fn.instant && p.fn.name != "date" && len(p.args[0]) == 1 && p.args[0][0].fn != nil {
		p = p.args[0][0]
	}
	return p.fn.name == "now" && len(p.args) == 0
}
