package dialect

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/strictjson"
)

// WriteResponse writes the answer to an exchange that went well, never to be
// cached (RFC 6749 section 5.1). Fields whose variable is absent are left out.
// If it fails it has written nothing.
func (d *Dialect) WriteResponse(w http.ResponseWriter, x *Exchange, vars jeton.Vars) error {
	a, err := d.answer(x, vars)
	if err != nil {
		return fmt.Errorf("dialect: %s: write the answer to a %s: %w", d.Name, x.Kind, err)
	}
	for name, values := range a.header {
		w.Header()[name] = values
	}
	writeBody(w, a.status, a.contentType, a.body)
	return nil
}

// An answer is one that is ready to be written.
type answer struct {
	status      int
	header      http.Header
	contentType string
	body        []byte
}

func (d *Dialect) answer(x *Exchange, vars jeton.Vars) (a answer, err error) {
	e := &env{vars: d.toWire(vars), now: time.Now()}
	absent := func(hole string) bool { return hole != "access_token" }
	a = answer{status: x.status, header: http.Header{}, contentType: "application/json", body: []byte("{}")}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	if a.status == http.StatusNoContent {
		a.contentType, a.body = "", nil // RFC 9110 section 15.3.5
	}
	err = filled(x.returnsHeaders, e, absent, func(f field, text string) error {
		if !headerSafe(text) {
			return fmt.Errorf("$%s holds a character that a header cannot carry", strings.Join(f.value.needs(), ", $"))
		}
		a.header.Set(f.name, text)
		return nil
	})
	if err == nil {
		err = filled(x.setCookie, e, absent, func(f field, text string) error {
			pairs, ok := cookiePairs(f, text)
			if !ok {
				return fmt.Errorf("$%s holds what a cookie cannot carry", strings.Join(f.value.needs(), ", $"))
			}
			for _, pair := range pairs {
				a.header.Add("Set-Cookie", pair+"; Path=/; Secure; HttpOnly")
			}
			return nil
		})
	}
	t := x.returns
	if x.ok != nil && t == nil {
		t = x.ok
	}
	switch {
	case err != nil:
	case x.returnsXML != nil:
		a.contentType = "application/xml"
		a.body, err = x.returnsXML.fillXML(e, absent)
	case t != nil && t.kind == treeText:
		var text string
		text, err = t.value.fill(e)
		if strings.TrimSpace(text) != text {
			err = fmt.Errorf("$%s has a blank at an end, which whoever reads the body trims", strings.Join(t.value.needs(), ", $"))
		}
		if a.body = []byte(text); !t.value.isJSON() {
			a.contentType = "text/plain; charset=utf-8"
		}
	case t != nil:
		if a.body, err = t.fill(nil, e, absent); err == nil && x.ok != nil && x.returns != nil {
			a.body, err = merged(a.body, x.ok, e)
		}
	}
	return a, err
}

// filled calls f for every field with its text, but for those whose hole may be
// absent and is.
func filled(fields []field, e *env, absent func(string) bool, f func(field, string) error) error {
	for _, field := range fields {
		text, err := field.value.fill(e)
		if _, missing := errors.AsType[missingError](err); missing && field.value.leftOut(absent) && field.value.unset(e) {
			continue
		}
		if err == nil {
			err = f(field, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// merged adds to an answer what tells yes from no in it.
func merged(body []byte, ok *tree, e *env) ([]byte, error) {
	yes, err := ok.fill(nil, e, func(string) bool { return true })
	if err != nil || len(yes) <= 2 || yes[0] != '{' || body[0] != '{' {
		return body, err
	}
	have, err := strictjson.Parse(body)
	if err != nil {
		return nil, err
	}
	object, _ := have.(map[string]any)
	for _, key := range ok.keys {
		if _, there := object[key]; there {
			return body, nil // returns says it already
		}
	}
	if len(body) == 2 {
		return yes, nil
	}
	return append(append(yes[:len(yes)-1:len(yes)-1], ','), body[1:]...), nil
}

// isJSON reports whether a value is one JSON string.
func (v value) isJSON() bool { return len(v) == 1 && v[0].fn != nil && v[0].fn.name == "json" }

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	if body != nil {
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// ReadResponse binds the holes of an answer. A refusal of the other side is a
// [*jeton.Error]: its code is the one in the answer, else the one that the
// status stands for; its description holds nothing that the other side wrote,
// because that can repeat a secret. An answer of 200 that has no token, or
// that is not as documented, is another error.
func (d *Dialect) ReadResponse(x *Exchange, status int, header http.Header, body []byte, now time.Time) (jeton.Vars, error) {
	want := x.status
	if want == 0 {
		want = http.StatusOK
	}
	if status != want && (status < 200 || status > 299) {
		return nil, d.refusal(x, status, header, body, now)
	}
	b := newBound()
	if err := d.readAnswer(x, status, header, body, b, func(status int) error { return d.refusal(x, status, header, body, now) }); err != nil {
		return nil, err
	}
	d.fromWire(b.vars)
	return b.vars, nil
}

// readAnswer binds the holes of the headers and the body of an answer.
func (d *Dialect) readAnswer(x *Exchange, status int, header http.Header, body []byte, b *bound, refusal func(status int) error) error {
	if err := readAnswerHeaders(x, header, b); err != nil {
		return fmt.Errorf("dialect: %s: the answer to a %s: %w", d.Name, x.Kind, err)
	}
	needed := reading{optional: func(hole string) bool { return hole != "access_token" }, text: x.returnsXML != nil}
	fits := 0
	switch {
	case x.returns != nil && x.returns.kind == treeText:
		if !utf8.Valid(body) || !x.returns.value.read(strings.TrimSpace(string(body)), b) {
			return fmt.Errorf("dialect: %s: the answer to a %s does not have the documented form", d.Name, x.Kind)
		}
		return nil
	case x.returnsXML != nil:
		doc, err := parseXML(body)
		if err != nil {
			return fmt.Errorf("dialect: %s: the answer to a %s is not one XML document", d.Name, x.Kind)
		}
		if x.ok != nil && x.ok.read(doc, "", reading{literals: true, optional: d.optional, text: true}, b, &fits) != nil {
			return refusal(http.StatusUnauthorized)
		}
		if err := x.returnsXML.read(doc, "", needed, b, &fits); err != nil {
			return fmt.Errorf("dialect: %s: the answer to a %s: %w", d.Name, x.Kind, err)
		}
		return nil
	case x.returns == nil && x.ok == nil:
		if doc, err := strictjson.Parse(body); err == nil {
			return d.silent(x, status, doc)
		}
		return nil // whatever stands there
	}
	doc, err := strictjson.Parse(body)
	if err != nil {
		return fmt.Errorf("dialect: %s: the answer to a %s is not one JSON document", d.Name, x.Kind)
	}
	if x.ok != nil {
		if err := x.ok.read(doc, "", reading{literals: true, optional: d.optional}, b, &fits); err != nil {
			return refusal(http.StatusUnauthorized)
		}
	}
	if x.returns == nil {
		return nil
	}
	if err := x.returns.read(doc, "", needed, b, &fits); err != nil {
		code, ok := errorCode(doc)
		if !ok {
			code, ok = d.refusedBy(x, status, doc)
		}
		if ok {
			return inBody(code, status)
		}
		return fmt.Errorf("dialect: %s: the answer to a %s: %w", d.Name, x.Kind, err)
	}
	if b.vars["access_token"] == "" {
		return d.silent(x, status, doc)
	}
	return nil
}

// silent judges an answer without a token, which is good unless the dialect has a
// refusal that looks so.
func (d *Dialect) silent(x *Exchange, status int, doc any) error {
	if code, ok := d.refusedBy(x, status, doc); ok {
		return inBody(code, status)
	}
	return nil
}

func inBody(code jeton.Code, status int) error {
	return &jeton.Error{Code: code, Description: fmt.Sprintf("the vendor answered %d with an error in the body", status)}
}

// readAnswerHeaders binds what an answer has in headers and cookies. Of these,
// too, only the token has to be there.
func readAnswerHeaders(x *Exchange, header http.Header, b *bound) error {
	read := func(where string, f field, values []string) error {
		if !f.value.variable() {
			return nil
		}
		if len(values) != 1 || values[0] == "" {
			if f.value.has("access_token") {
				return &fieldError{where + f.name, "is missing, or stands more than once", false}
			}
			return nil
		}
		if !utf8.ValidString(values[0]) || !f.value.read(values[0], b) {
			return &fieldError{where + f.name, "does not have the documented form", false}
		}
		return nil
	}
	for _, f := range x.returnsHeaders {
		if err := read("the header ", f, header.Values(f.name)); err != nil {
			return err
		}
	}
	for _, f := range x.setCookie {
		var values []string
		for _, line := range header.Values("Set-Cookie") {
			pair, _, _ := strings.Cut(line, ";")
			name, text, ok := strings.Cut(strings.TrimSpace(pair), "=")
			switch {
			case ok && f.name == every && text != "":
				values = append(values, name+"="+text)
			case ok && name == f.name:
				values = append(values, text)
			}
		}
		if f.name == every && len(values) > 1 {
			values = []string{strings.Join(values, "; ")}
		}
		if err := read("the cookie ", f, values); err != nil {
			return err
		}
	}
	return nil
}

func (d *Dialect) refusal(x *Exchange, status int, header http.Header, body []byte, now time.Time) *jeton.Error {
	e := &jeton.Error{Description: fmt.Sprintf("the vendor answered %d", status), RetryAfter: retryAfter(header, now)}
	switch {
	case status == http.StatusTooManyRequests:
		e.Code = jeton.SlowDown
		return e
	case status >= 500 || status == http.StatusRequestTimeout:
		e.Code = jeton.Unavailable
		return e
	}
	if doc, err := strictjson.Parse(body); err == nil {
		code, ok := errorCode(doc)
		if !ok {
			code, ok = d.refusedBy(x, status, doc)
		}
		if ok {
			e.Code = code
			return e
		}
	}
	for _, text := range codes {
		if code := jeton.Code(text); d.Errors[code].Status == status && code != jeton.InvalidToken {
			e.Code = code
			return e
		}
	}
	switch {
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		e.Code = jeton.InvalidRequest
	case x.Kind == KindVerify:
		e.Code = jeton.InvalidToken
	case x.Kind == KindRefresh || x.Grant == jeton.GrantPassword:
		e.Code = jeton.InvalidGrant
	default:
		e.Code = jeton.InvalidClient
	}
	return e
}

// refusedBy finds the refusal whose body, as the dialect has it, a document is:
// it has every fixed text of that. A status that means yes as well tells nothing.
func (d *Dialect) refusedBy(x *Exchange, status int, doc any) (jeton.Code, bool) {
	for _, text := range codes {
		code := jeton.Code(text)
		own := d.Errors[code]
		if code == jeton.InvalidToken && x.Kind != KindVerify || own.Status >= 300 && own.Status != status || own.Status == 0 && status < 300 {
			continue
		}
		if own.says(doc) {
			return code, true
		}
	}
	return "", false
}

// says reports whether a document is the refusal's body: it has every fixed text of
// that, and there is one.
func (r Refusal) says(doc any) bool {
	fixed := false
	r.body.places("", func(_ string, t *tree) { fixed = fixed || !t.value.variable() })
	fits, any := 0, func(string) bool { return true }
	return fixed && r.body.read(doc, "", reading{literals: true, optional: any}, newBound(), &fits) == nil
}

// errorCode finds a code that we know in an answer of RFC 6749 section 5.2.
func errorCode(doc any) (jeton.Code, bool) {
	object, _ := doc.(map[string]any)
	text, _ := object["error"].(string)
	switch code := jeton.Code(text); code {
	case jeton.InvalidRequest, jeton.InvalidClient, jeton.InvalidGrant, jeton.UnauthorizedClient,
		jeton.UnsupportedGrantType, jeton.InvalidScope, jeton.InvalidTarget, jeton.InvalidToken,
		jeton.InsufficientScope, jeton.SlowDown, jeton.Unavailable, jeton.ServerError:
		return code, true
	}
	return "", false
}

// retryAfter reads RFC 9110 section 10.2.3: seconds or a date.
func retryAfter(header http.Header, now time.Time) time.Duration {
	s := header.Get("Retry-After")
	if n, err := strconv.ParseUint(s, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return seconds64(float64(n)) // however many they are
	}
	if t, err := http.ParseTime(s); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}

// NewToken makes a token of what an answer bound. Its expiry is the earliest
// of expires_in, expires_at, the exp of a token that is a JWT, and the dialect's
// lifetime, and no later than a century from now; zero if none of them says. Generation is left to the caller.
func (d *Dialect) NewToken(vars jeton.Vars, now time.Time) *jeton.Token {
	t := &jeton.Token{
		AccessToken:  jeton.NewSecret(vars["access_token"]),
		Type:         vars["token_type"],
		RefreshToken: jeton.NewSecret(vars["refresh_token"]),
		Scope:        jeton.ParseScope(vars["scope"]),
		Vars:         vars.Clone(),
	}
	for _, name := range []string{"access_token", "token_type", "refresh_token", "scope", "expires_in", "expires_at"} {
		delete(t.Vars, name)
	}
	if t.Type == "" {
		t.Type = "Bearer"
	}
	latest := now.Add(seconds64(math.MaxFloat64))
	earliest := func(at time.Time) {
		if at.After(latest) {
			at = latest // a record cannot hold every year
		}
		if t.Expiry.IsZero() || at.Before(t.Expiry) {
			t.Expiry = at
		}
	}
	if seconds, err := strconv.ParseFloat(vars["expires_in"], 64); err == nil && seconds >= 0 {
		earliest(now.Add(seconds64(seconds)))
	}
	if at, err := parseInstant(vars["expires_at"]); err == nil {
		earliest(at)
	}
	if at, ok := jwtExpiry(vars["access_token"]); ok {
		earliest(at)
	}
	if d.Lifetime > 0 {
		earliest(now.Add(d.Lifetime))
	}
	return t
}

// seconds64 caps at a century, so that a wild number cannot wrap around.
func seconds64(seconds float64) time.Duration {
	const century = 100 * 365 * 24 * 3600
	return time.Duration(math.Min(seconds, century) * float64(time.Second))
}

// jwtExpiry reads the exp of a JWT without looking at its signature: the token
// is ours to use, not to judge.
func jwtExpiry(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		Expiry float64 `json:"exp"`
	}
	if json.Unmarshal(b, &claims) != nil || claims.Expiry <= 0 || claims.Expiry > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(claims.Expiry), 0), true
}

// RefreshWith returns the exchange that renews a token, or nil if the way to
// a new token is to log in again.
func (d *Dialect) RefreshWith(t *jeton.Token, now time.Time) *Exchange {
	if t == nil || d.NoRefresh {
		return nil
	}
	when := "expired"
	if t.Valid(now, 0) {
		when = "valid"
	}
	for _, x := range d.Refresh {
		if (x.When == "" || x.When == when) && (!t.RefreshToken.IsZero() || !x.Has("refresh_token")) {
			return x
		}
	}
	return nil
}

// Claims fills the claims that the vendor's access tokens have (issue:
// access_token: jwt:). A claim whose variable is absent is left out. It
// returns nil if the dialect names no claims.
func (d *Dialect) Claims(vars jeton.Vars) map[string]any {
	if d.claims == nil {
		return nil
	}
	b, err := d.claims.fill(nil, &env{vars: vars.Clone(), now: time.Now()}, func(string) bool { return true })
	if err != nil {
		return nil
	}
	var claims map[string]any
	if json.Unmarshal(b, &claims) != nil {
		return nil
	}
	return claims
}

// ReadClaims binds the holes of the vendor's claims; it is the inverse of
// [Dialect.Claims].
func (d *Dialect) ReadClaims(claims map[string]any) jeton.Vars {
	b := newBound()
	if d.claims != nil {
		fits := 0
		_ = d.claims.read(claims, "", reading{optional: func(string) bool { return true }}, b, &fits)
	}
	return b.vars
}
