package law

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// origin is where the vendor stands, for the length of a check: a realm is
// mounted at a path.
var origin = &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: prefix}

const prefix = "/prefix"

// request checks one request of an exchange.
func (c *checker) request(x *dialect.Exchange) {
	shape := c.d.Shape(x)
	vars := c.vars(shape.Needs, c.round)
	w, err := c.send(x, vars)
	if err != nil {
		c.refused(err, vars)
		return
	}
	got, err := c.receive(x, w)
	if err != nil {
		c.violate("inverse", "what was written is not read: %v", err)
		c.silent(err, vars)
		return
	}
	c.same(shape.Travels, c.given(vars), got.Vars)
	if err := got.Prove(vars, time.Now()); err != nil {
		c.violate("proof", "the account that wrote it is not believed: %v", err)
		return
	}
	c.count(Tally{Written: 1})
	c.forgeAccount(shape, got, vars, time.Now())
	c.forgeLets(x, shape, got, vars)
	c.forgePlace(x, shape, w, vars)
}

// given adds what the dialect says where the account says nothing.
func (c *checker) given(vars jeton.Vars) jeton.Vars {
	full := c.d.Defaults()
	for name, text := range vars {
		full[name] = text
	}
	return full
}

// send writes a request and carries it over the wire.
func (c *checker) send(x *dialect.Exchange, vars jeton.Vars) (wire, error) {
	r, err := c.d.WriteRequest(context.Background(), x, origin, vars)
	if err != nil {
		return wire{}, err
	}
	w, err := carry(r, prefix)
	if err != nil {
		return wire{}, fmt.Errorf("the wire cannot carry it: %w", err)
	}
	certificate, err := c.d.Certificate(x, vars)
	if err != nil {
		return wire{}, err
	}
	return w, w.show(certificate)
}

// read reads a request that a realm gets: a signature is over the URL as the
// client wrote it, with the path that the realm is mounted at.
func (c *checker) read(w wire) (*dialect.Received, error) {
	got, err := c.d.ReadRequest(w.r, w.body)
	if err != nil {
		return nil, err
	}
	sent := w.clone().r
	sent.URL.Path, sent.URL.RawPath = prefix+sent.URL.Path, prefix+sent.URL.EscapedPath()
	for _, m := range append([]*dialect.Received{got}, got.Others...) {
		m.Sent = sent
	}
	return got, nil
}

// receive reads a request as the server. The message may have two meanings that
// the server tells apart later; then it is the one that is expected.
func (c *checker) receive(x *dialect.Exchange, w wire) (*dialect.Received, error) {
	got, err := c.read(w)
	if err != nil {
		return nil, err
	}
	for _, other := range append([]*dialect.Received{got}, got.Others...) {
		if other.Exchange == x {
			return other, nil
		}
	}
	return nil, fmt.Errorf("it was read as a %s", got.Exchange.Kind)
}

// forgeAccount proves the message by an account that has one value other: one
// of those that do not travel, but that a digest or a signature is made of.
func (c *checker) forgeAccount(shape dialect.Shape, got *dialect.Received, vars jeton.Vars, now time.Time) {
	if len(shape.Secrets) == 0 {
		return
	}
	name := shape.Secrets[c.IntN(len(shape.Secrets))]
	other, ok := c.other(name, vars[name])
	if !ok || vars[name] == "" {
		return
	}
	account := vars.Clone()
	account[name] = other
	err := got.Prove(account, now)
	if err == nil {
		c.violate("forgery", "an account with another $%s is believed", name)
		return
	}
	c.silent(err, account)
	c.count(Tally{Forged: 1})
}

// forgeLets sends what the client makes with one character changed: in front,
// in the middle and at the end.
func (c *checker) forgeLets(x *dialect.Exchange, shape dialect.Shape, got *dialect.Received, vars jeton.Vars) {
	for _, name := range shape.Proofs {
		text, ok := got.Vars[name]
		if !ok || vars[name] != "" {
			continue
		}
		forged := vars.Clone()
		forged[name] = c.changed(text)
		w, err := c.send(x, forged)
		if err != nil {
			continue // nobody could send it
		}
		if again, err := c.receive(x, w); err == nil && again.Prove(vars, time.Now()) == nil && !differs(shape.Travels, c.given(vars), again.Vars) {
			c.violate("forgery", "a changed $%s is believed", name)
			continue
		}
		c.count(Tally{Forged: 1})
	}
}

// changed changes a character in front, in the middle or near the end.
func (c *checker) changed(text string) string {
	at := []int{len(text) / 10, len(text) / 2, len(text) * 9 / 10}[c.IntN(3)]
	return changeFrom(text, at)
}

// absence is the forgery that empties a place.
const absence = "the absence"

// forgePlace changes one place of the message, or empties it. It must then be
// refused, or be read as what the account's values give away.
func (c *checker) forgePlace(x *dialect.Exchange, shape dialect.Shape, w wire, vars jeton.Vars) {
	places := w.leaves()
	if len(places) == 0 {
		return
	}
	place := places[c.IntN(len(places))]
	if slices.Contains(shape.Fresh, place.name) {
		return // whatever stands there is new each time
	}
	if _, field, _ := strings.Cut(place.name, " "); field != "" && strings.Contains(x.Path(), "$"+field) {
		return // the path says it too: without the field the message says the same
	}
	how, forged, ok := c.forge(w, place)
	if !ok || how == absence && slices.Contains(shape.Again, place.name) {
		return
	}
	got, err := c.read(forged)
	if err == nil {
		err = got.Prove(vars, time.Now())
		if err == nil && got.Exchange == x && !differs(shape.Travels, c.given(vars), got.Vars) {
			c.violate("forgery", "%s of %s is not seen", how, place.name)
			return
		}
	}
	c.silent(err, vars)
	c.count(Tally{Forged: 1})
}

// forge changes one place of a message, or empties it; ok is false if there was
// nothing to empty.
func (c *checker) forge(w wire, place leaf) (how string, forged wire, ok bool) {
	forged = w.clone()
	if c.IntN(3) > 0 {
		place.change(&forged, another)
		return "a change", forged, true
	}
	place.change(&forged, func(string) string { return "" })
	untouched := w.clone()
	place.change(&untouched, func(s string) string { return s })
	return absence, forged, !forged.equal(untouched)
}
