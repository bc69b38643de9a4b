package law

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// answerTo checks one answer to an exchange.
func (c *checker) answerTo(x *dialect.Exchange) {
	shape := c.d.AnswerShape(x)
	vars := c.vars(shape.Needs, c.round)
	w := &answer{header: http.Header{}}
	if err := c.d.WriteResponse(w, x, vars); err != nil {
		c.refused(err, vars)
		return
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		c.violate("inverse", "an answer may be cached")
	}
	a, err := w.carry()
	if err != nil {
		c.refused(err, vars)
		return
	}
	back, err := c.d.ReadResponse(x, a.status, a.header, a.body, time.Now())
	if err != nil {
		c.violate("inverse", "what was written is not read: %v", err)
		c.silent(err, vars)
		return
	}
	c.same(shape.Travels, vars, back)
	c.count(Tally{Written: 1})
	c.forgeAnswer(x, shape, a, vars)
}

// An answer is one as it is written, and as a client gets it.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}

// carry writes an answer to its wire text and reads it as a client does.
func (a *answer) carry() (*answer, error) {
	var text bytes.Buffer
	sent := &http.Response{
		ProtoMajor: 1, ProtoMinor: 1, StatusCode: a.status, Header: a.header,
		Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: int64(len(a.body)),
	}
	if err := sent.Write(&text); err != nil {
		return nil, err
	}
	r, err := http.ReadResponse(bufio.NewReader(&text), nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	return &answer{r.StatusCode, r.Header, body}, err
}

// forgeAnswer changes one place of an answer that has a hole, or a text that
// tells yes from no. It must be refused, or bind something else.
func (c *checker) forgeAnswer(x *dialect.Exchange, shape dialect.Shape, a *answer, vars jeton.Vars) {
	w := wire{&http.Request{Header: http.Header{"Content-Type": a.header["Content-Type"]}}, a.body}
	var places []leaf
	for _, place := range w.bodyLeaves() {
		if slices.Contains(shape.Read, place.name) {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return
	}
	place := places[c.IntN(len(places))]
	place.change(&w, another)
	back, err := c.d.ReadResponse(x, a.status, a.header, w.body, time.Now())
	if err == nil && !differs(shape.Travels, vars, back) {
		c.violate("forgery", "a change of %s is not seen", place.name)
		return
	}
	c.silent(err, vars)
	c.count(Tally{Forged: 1})
}

// call checks how a call wears the token. What it carried before is gone.
func (c *checker) call() {
	shape := c.d.CallShape()
	vars := c.vars(shape.Needs, c.round)
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Scheme: "https", Host: "vendor.test", Path: "/x", RawQuery: "a=b"}, Header: http.Header{}}
	for _, name := range c.d.Call.Headers() {
		r.Header.Set(name, "somebody-else")
	}
	if err := c.d.WriteCall(r, vars); err != nil {
		c.refused(err, vars)
		return
	}
	w, err := c.carryCall(r, vars)
	if err != nil {
		c.refused(err, vars)
		return
	}
	got, err := c.d.ReceiveCall(w.r, nil)
	if err != nil && (strings.ContainsAny(vars["access_token"], ", \t") || w.list()) {
		c.count(Tally{Refused: 1})
		return // a list of tokens, or another scheme, is never taken
	}
	if err != nil {
		c.violate("inverse", "what was written is not read: %v", err)
		c.silent(err, vars)
		return
	}
	c.same(shape.Travels, c.given(vars), got.Vars)
	now := time.Now()
	if err := got.Prove(vars, now); err != nil {
		c.violate("proof", "the account that made it is not believed: %v", err)
		return
	}
	c.count(Tally{Written: 1})
	c.forgeAccount(shape, got, vars, now)
	c.forgeCall(shape, w, vars)
}

// carryCall carries a call over the wire, with the certificate that the client
// shows.
func (c *checker) carryCall(r *http.Request, vars jeton.Vars) (wire, error) {
	w, err := carry(r, "")
	if err != nil {
		return wire{}, err
	}
	certificate, err := c.d.CallCertificate(vars)
	if err != nil {
		return wire{}, err
	}
	return w, w.show(certificate)
}

func (c *checker) forgeCall(shape dialect.Shape, w wire, vars jeton.Vars) {
	var places []leaf
	for _, place := range w.leaves() {
		if slices.Contains(shape.Read, place.name) || strings.HasPrefix(place.name, "cookie ") && slices.Contains(shape.Read, "cookie ") {
			places = append(places, place)
		}
	}
	if len(places) == 0 {
		return
	}
	place := places[c.IntN(len(places))]
	how, forged, ok := c.forge(w, place)
	if !ok || how == absence && slices.Contains(shape.Again, place.name) {
		return
	}
	got, err := c.d.ReceiveCall(forged.r, nil)
	if err == nil {
		err = got.Prove(vars, time.Now())
		if err == nil && !differs(shape.Travels, c.given(vars), got.Vars) {
			c.violate("forgery", "%s of %s is not seen", how, place.name)
			return
		}
	}
	c.silent(err, vars)
	c.count(Tally{Forged: 1})
}

// minted checks a token that the client makes itself.
func (c *checker) minted() {
	shape := c.d.MintShape()
	vars := c.vars(shape.Needs, c.round)
	now := time.Now()
	token, err := c.d.Mint(vars, now)
	if err != nil {
		c.refused(err, vars)
		return
	}
	text := token.AccessToken.Reveal()
	got, err := c.d.Open(token.AccessToken)
	if err != nil {
		c.violate("inverse", "what was made is not read: %v", err)
		return
	}
	c.same(shape.Travels, c.given(vars), got.Vars)
	if err := got.Prove(vars, now); err != nil {
		c.violate("proof", "the account that made it is not believed: %v", err)
		return
	}
	c.count(Tally{Written: 1})
	c.forgeAccount(shape, got, vars, now)
	if len(shape.Fresh) > 0 {
		return // a change may be of what is new each time
	}
	again, err := c.d.Open(jeton.NewSecret(c.changed(text)))
	if err == nil && again.Prove(vars, now) == nil && !differs(nil, vars, again.Vars) {
		c.violate("forgery", "a changed token is believed")
		return
	}
	c.count(Tally{Forged: 1})
}

// signedCall checks a call that is signed.
func (c *checker) signedCall() {
	shape := c.d.CallShape()
	vars := c.vars(shape.Needs, c.round)
	body := []byte(c.hostile())
	r, err := http.NewRequest(http.MethodPost, "https://vendor.test/items/a%20b?x=1&y=a+b%2Fc&x=0", bytes.NewReader(body))
	if err != nil {
		c.violate("use", "the call is not one: %v", err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	now := time.Now()
	if err := c.d.SignCall(r, body, vars, now); err != nil {
		c.refused(err, vars)
		return
	}
	w, err := carry(r, "")
	if err != nil {
		c.refused(err, vars)
		return
	}
	w.r.TLS = &tls.ConnectionState{} // the scheme is signed too
	got, err := c.d.ReadSignedCall(w.r, w.body)
	if err != nil {
		c.violate("inverse", "what was written is not read: %v", err)
		return
	}
	for name, read := range got.Vars {
		if want, ok := vars[name]; ok && want != read {
			c.violate("inverse", "$%s was read with another value", name)
		}
	}
	if err := got.Prove(vars, now); err != nil {
		c.violate("proof", "the account that signed it is not believed: %v", err)
		return
	}
	c.count(Tally{Written: 1})
	c.forgeSigned(w, vars, now)
	shape.Secrets = slices.DeleteFunc(shape.Secrets, func(name string) bool { _, travels := got.Vars[name]; return travels })
	c.forgeAccount(shape, got, vars, now)
}

// forgeSigned changes what a signature covers, and the signature.
func (c *checker) forgeSigned(w wire, vars jeton.Vars, now time.Time) {
	for _, forge := range []struct {
		what   string
		change func(*wire)
	}{
		{"the method", func(w *wire) { w.r.Method = "PUT" }},
		{"the path", func(w *wire) { w.r.URL.Path, w.r.URL.RawPath = "/items/other", "" }},
		{"the query", func(w *wire) { w.r.URL.RawQuery += "&z=1" }},
		{"the signature", func(w *wire) { w.r.Header.Set("Authorization", endChanged(w.r.Header.Get("Authorization"))) }},
	} {
		forged := w.clone()
		forge.change(&forged)
		again, err := c.d.ReadSignedCall(forged.r, forged.body)
		if err == nil && again.Prove(vars, now) == nil {
			c.violate("forgery", "a change of %s is not seen", forge.what)
			continue
		}
		c.count(Tally{Forged: 1})
	}
}

// endChanged changes a character near the end, where signatures stand.
func endChanged(text string) string {
	return changeFrom(text, max(0, len(text)-8))
}
