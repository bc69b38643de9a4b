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

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/strictjson"
)

// WriteResponse writes the answer to an exchange that went well, never to be
// cached (RFC 6749 section 5.1). Fields whose variable is absent are left out.
// If it fails it has written nothing.
func (d *Dialect) WriteResponse(w http.ResponseWriter, x *Exchange, vars jeton.Vars) error {
	t := x.returns
	if x.ok != nil {
		t = x.ok
	}
	body := []byte("{}")
	if t != nil {
		var err error
		if body, err = t.fill(nil, d.toWire(vars), func(hole string) bool { return hole != "access_token" }); err != nil {
			return fmt.Errorf("dialect: %s: write the answer to a %s: %w", d.Name, x.Kind, err)
		}
	}
	status := x.status
	if status == 0 {
		status = http.StatusOK
	}
	if t != nil && t.kind == treeText {
		var text string
		if err := json.Unmarshal(body, &text); err != nil {
			return fmt.Errorf("dialect: %s: write the answer to a %s: %w", d.Name, x.Kind, err)
		}
		writeBody(w, status, "text/plain; charset=utf-8", []byte(text))
		return nil
	}
	writeBody(w, status, "application/json", body)
	return nil
}

func writeBody(w http.ResponseWriter, status int, contentType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
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
	vars := jeton.Vars{}
	if x.returns != nil && x.returns.kind == treeText {
		if !x.returns.value.read(string(body), vars) {
			return nil, fmt.Errorf("dialect: %s: the answer to a %s does not have the documented form", d.Name, x.Kind)
		}
		return vars, nil
	}
	doc, err := strictjson.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("dialect: %s: the answer to a %s is not one JSON document", d.Name, x.Kind)
	}
	fits := 0
	if x.ok != nil {
		if err := x.ok.read(doc, "", reading{literals: true, optional: d.optional}, vars, &fits); err != nil {
			return nil, d.refusal(x, http.StatusUnauthorized, header, body, now)
		}
	}
	if x.returns != nil {
		needed := reading{optional: func(hole string) bool { return hole != "access_token" }}
		if err := x.returns.read(doc, "", needed, vars, &fits); err != nil {
			if code, ok := errorCode(doc); ok {
				return nil, &jeton.Error{Code: code, Description: fmt.Sprintf("the vendor answered %d with an error in the body", status)}
			}
			return nil, fmt.Errorf("dialect: %s: the answer to a %s: %w", d.Name, x.Kind, err)
		}
	}
	d.fromWire(vars)
	return vars, nil
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
		if code, ok := errorCode(doc); ok {
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
// of expires_in, the exp of a token that is a JWT, and the dialect's lifetime;
// zero if none of them says. Generation is left to the caller.
func (d *Dialect) NewToken(vars jeton.Vars, now time.Time) *jeton.Token {
	t := &jeton.Token{
		AccessToken:  jeton.NewSecret(vars["access_token"]),
		Type:         vars["token_type"],
		RefreshToken: jeton.NewSecret(vars["refresh_token"]),
		Scope:        jeton.ParseScope(vars["scope"]),
		Vars:         vars.Clone(),
	}
	for _, name := range []string{"access_token", "token_type", "refresh_token", "scope", "expires_in"} {
		delete(t.Vars, name)
	}
	if t.Type == "" {
		t.Type = "Bearer"
	}
	earliest := func(at time.Time) {
		if t.Expiry.IsZero() || at.Before(t.Expiry) {
			t.Expiry = at
		}
	}
	if seconds, err := strconv.ParseFloat(vars["expires_in"], 64); err == nil && seconds >= 0 {
		earliest(now.Add(seconds64(seconds)))
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
	if t == nil || t.RefreshToken.IsZero() || d.NoRefresh {
		return nil
	}
	when := "expired"
	if t.Valid(now, 0) {
		when = "valid"
	}
	for _, x := range d.Refresh {
		if x.When == "" || x.When == when {
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
	b, err := d.claims.fill(nil, vars, func(string) bool { return true })
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
	vars := jeton.Vars{}
	if d.claims != nil {
		fits := 0
		_ = d.claims.read(claims, "", reading{optional: func(string) bool { return true }}, vars, &fits)
	}
	return vars
}
