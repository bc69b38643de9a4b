package dialect

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect/sign"
)

// What only a server asks.

// LeadsTo says whether a variable is where a message goes: "url" if the URL of an
// exchange or of calls begins with it, "host" if it is all of a host there, else
// "". A server whose answer has it leads to itself.
func (d *Dialect) LeadsTo(name string) string {
	addresses := []address{d.Call.base}
	for _, x := range slices.Concat(d.Sequence(), d.Refresh, []*Exchange{d.Verify, d.Introspect, d.Revoke}) {
		if x != nil {
			addresses = append(addresses, x.url)
		}
	}
	for _, a := range addresses {
		if a.root == name {
			return "url"
		}
	}
	for _, a := range addresses {
		if len(a.host) == 1 && a.host[0].hole == name {
			return "host"
		}
	}
	return ""
}

// Expiry returns when a token that [Dialect.Open] took apart ends, by what it
// says of itself and what the dialect does; zero if neither says.
func (m *Received) Expiry(bearer jeton.Secret, now time.Time) time.Time {
	expiry := m.dialect.NewToken(jeton.Vars{"access_token": bearer.Reveal()}, now).Expiry
	for _, at := range m.moments() {
		if end := at.Add(m.dialect.Lifetime); m.dialect.Lifetime > 0 && end.Before(expiry) {
			expiry = end
		}
	}
	return expiry
}

// Made returns when a token that [Dialect.Open] took apart says that it was made:
// the iat of a JWT, or a let of that moment, whichever comes first; zero if it
// says neither.
func (m *Received) Made() time.Time {
	var made time.Time
	for _, at := range append(m.issued(), m.moments()...) {
		if made.IsZero() || at.Before(made) {
			made = at
		}
	}
	return made
}

// issued returns the iat of every JWT that the message holds.
func (m *Received) issued() (list []time.Time) {
	for _, p := range m.proofs {
		if _, is := p.signed.(*jwtTemplate); !is {
			continue
		}
		if _, claims, err := sign.OpenJWT(p.text); err == nil {
			if at, ok := numericDate(claims["iat"]); ok {
				list = append(list, at)
			}
		}
	}
	return list
}

// moments returns when the message says that it was made. Prove refuses what is
// wrong with them.
func (m *Received) moments() []time.Time {
	made, _ := m.dialect.moments(m.Vars)
	return made
}

// Identity returns what tells a token that [Dialect.Open] took apart from every
// other one: all of it but what has several forms that prove the same, as a
// signature by ECDSA has.
func (m *Received) Identity(bearer jeton.Secret) string {
	var parts []string
	for _, p := range m.proofs {
		text := p.text
		if p.signed != nil {
			text = p.signed.identity(text)
		}
		parts = append(parts, text)
	}
	if parts == nil {
		return bearer.Reveal()
	}
	return strings.Join(parts, "\x00")
}

// WholeCall reports whether a call is more than its token and what goes with
// that: there is no token, or the call is signed, holds a digest, or shows a
// certificate. Whoever verifies then needs the call; see [Dialect.ReceiveCall].
func (d *Dialect) WholeCall() bool { return d.Call.whole }

func (d *Dialect) wholeCall() bool {
	c := d.Call
	digests := false
	c.each(func(_ *part, digested bool) { digests = digests || digested })
	holes := slices.DeleteFunc(c.binds(), func(name string) bool { return name == "access_token" })
	return d.Tokenless() || c.sign != nil || c.tls != nil || digests || len(d.shapeOf(nil, holes).Proofs) > 0
}

// ReceiveCall reads all of a call: the token if there is one, whose it claims to
// be, and what is to be proven about it; see [Received.Prove]. The error is as that of
// [Dialect.ReadCall].
func (d *Dialect) ReceiveCall(r *http.Request, body []byte) (*Received, error) {
	if !d.Signs() {
		return d.receiveWorn(r)
	}
	m, err := d.ReadSignedCall(r, body)
	if err != nil || len(d.Call.needs()) == len(d.Call.sign.needs()) {
		return m, err
	}
	w, err := d.receiveWorn(r)
	if err != nil {
		return nil, err
	}
	for name, text := range w.Vars {
		m.Vars[name] = text
	}
	m.proofs, m.certificate, m.peer, m.plain = w.proofs, w.certificate, w.peer, w.plain
	m.checks = append(m.checks, w.checks...)
	return m, nil
}

// receiveWorn reads what a call wears, but for its signature.
func (d *Dialect) receiveWorn(r *http.Request) (*Received, error) {
	for _, c := range d.Call.ways() {
		b, err := c.bound(r, d.optional)
		if errors.Is(err, ErrNoCredentials) {
			continue
		}
		if err != nil {
			return nil, err
		}
		token := b.vars["access_token"]
		delete(b.vars, "access_token") // a minted one is opened by Open
		err = asProof(d.opened(b))
		if token != "" {
			b.vars["access_token"] = token
		}
		if err != nil {
			return nil, err
		}
		return d.carried(r, d.Login, c.tls, b), nil
	}
	return nil, ErrNoCredentials
}

// sent returns the request that a signature is over.
func (m *Received) sent(read *http.Request) *http.Request {
	if m.Sent != nil {
		return m.Sent
	}
	return read
}
