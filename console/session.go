package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/store"
)

const (
	linkLifetime    = time.Hour
	sessionLifetime = 12 * time.Hour // from the sign-in, however busy the session is

	cookieName = "jeton_console"
)

// A pass is the stored form of a link or a session. The record's key holds the
// SHA-256 of the token, which is 256 random bits, so that whoever reads the
// store can use neither:
//
//	console/link/<hash>      {"v":1,"expires":"2026-01-02T15:04:05Z"}
//	console/session/<hash>   {"v":1,"expires":"2026-01-02T15:04:05Z"}
//
// The expiry stands in the value, where a seal protects it, and in the record's
// Due, by which the expired are swept.
type pass struct {
	V       int       `json:"v"`
	Expires time.Time `json:"expires"`
}

const passVersion = 1

func passKey(kind, token string) string {
	sum := sha256.Sum256([]byte(token))
	return store.Key("console", kind, base64.RawURLEncoding.EncodeToString(sum[:]))
}

// issue makes a link or a session and returns its token.
func (c *Console) issue(ctx context.Context, kind string, lifetime time.Duration) (token string, err error) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	token = base64.RawURLEncoding.EncodeToString(random[:])
	p := pass{V: passVersion, Expires: time.Now().Add(lifetime).UTC()}
	value, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	_, err = c.store.Put(ctx, store.Record{Key: passKey(kind, token), Due: p.Expires, Value: value})
	return token, err
}

// find returns the record of a link or a session that has not expired, else
// store.ErrNotFound.
func (c *Console) find(ctx context.Context, kind, token string) (store.Record, error) {
	if len(token) != base64.RawURLEncoding.EncodedLen(32) {
		return store.Record{}, store.ErrNotFound
	}
	r, err := c.store.Get(ctx, passKey(kind, token))
	if err != nil {
		return r, err
	}
	var p pass
	if err := json.Unmarshal(r.Value, &p); err != nil || p.V != passVersion {
		return r, fmt.Errorf("console: a %s record has a form that this version does not know", kind)
	}
	if !time.Now().Before(p.Expires) {
		return r, store.ErrNotFound
	}
	return r, nil
}

// end deletes a record and reports whether this call was the one that did. A
// record that is there at another version was sealed anew: nothing else writes
// it twice.
func (c *Console) end(ctx context.Context, r store.Record) (bool, error) {
	for {
		err := c.store.Delete(ctx, r)
		if errors.Is(err, store.ErrConflict) {
			if r, err = c.store.Get(ctx, r.Key); err == nil {
				continue
			}
		}
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}
}

// sweep deletes what has expired. Nothing waits for it.
func (c *Console) sweep(ctx context.Context) {
	due, err := c.store.Due(ctx, "console/", time.Now(), 100)
	for _, r := range due {
		_, e := c.end(ctx, r)
		err = errors.Join(err, e)
	}
	if err != nil {
		c.logger.WarnContext(ctx, "expired console sessions not removed", "err", err)
	}
}

// NewLink makes a sign-in link: a URL that is good for one sign-in within the
// next hour, at every console over the same store. It is a secret. The audit
// log is told before it exists.
func (c *Console) NewLink(ctx context.Context) (string, error) {
	if err := c.append(ctx, audit.Entry{Action: "link.create", Target: "console", Outcome: "ok"}); err != nil {
		return "", err
	}
	c.sweep(ctx)
	token, err := c.issue(ctx, "link", linkLifetime)
	if err != nil {
		return "", fmt.Errorf("console: make a sign-in link: %w", err)
	}
	u := c.url.JoinPath("sign-in")
	u.RawQuery = url.Values{"link": {token}}.Encode()
	return u.String(), nil
}

// signIn shows a button for a link, and signs in when it is pressed. A GET
// spends nothing: chat programs and mail scanners look at links.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) (answer, error) {
	if err := only(r, http.MethodGet, http.MethodPost); err != nil {
		return answer{}, err
	}
	if r.Method != http.MethodPost {
		return answer{page: "sign-in", view: view{Title: "Sign in to the console", Body: r.URL.Query().Get("link")}}, nil
	}
	ctx := r.Context()
	entry := audit.Entry{Action: "session.create", Target: "console", IP: remoteIP(r)}
	link, err := c.find(ctx, "link", r.PostForm.Get("link"))
	spent := err == nil
	if err == nil {
		spent, err = c.end(ctx, link) // of several who try at once, one gets true
	}
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return answer{}, err
	case !spent:
		entry.Outcome = string(jeton.InvalidGrant)
		if err := c.append(ctx, entry); err != nil {
			return answer{}, err
		}
		return answer{}, &pageError{status: http.StatusForbidden, title: "This link is not good",
			text: "It was used already or is older than an hour.", signIn: true}
	}
	entry.Outcome = "ok"
	if err := c.append(ctx, entry); err != nil {
		return answer{}, err
	}
	// The session that the browser may have had ends, and the new one has a
	// token of our own making: nobody can plant one.
	if old, err := r.Cookie(cookieName); err == nil {
		if s, err := c.find(ctx, "session", old.Value); err == nil {
			_, _ = c.end(ctx, s)
		}
	}
	c.sweep(ctx)
	token, err := c.issue(ctx, "session", sessionLifetime)
	if err != nil {
		return answer{}, err
	}
	http.SetCookie(w, c.cookie(token, int(sessionLifetime/time.Second)))
	return answer{redirect: c.base}, nil
}

// signOut ends the session.
func (c *Console) signOut(w http.ResponseWriter, v *visit, token string) (answer, error) {
	if err := only(v.Request, http.MethodPost); err != nil {
		return answer{}, err
	}
	// The session ends even if that cannot be written down: nobody is to stay
	// signed in because a disk is full.
	logged := c.append(v.Context(), audit.Entry{Action: "session.remove", Target: "console", IP: v.ip, Outcome: "ok"})
	r, err := c.find(v.Context(), "session", token)
	if err == nil {
		_, err = c.end(v.Context(), r)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return answer{}, err
	}
	http.SetCookie(w, c.cookie("", -1))
	return answer{page: "message", view: view{Title: "Signed out", Body: pageError{text: "The session has ended.", signIn: true}}}, logged
}

func (c *Console) cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: value, Path: c.base, MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: c.url.Scheme == "https",
	}
}

// session returns the token of the session that a request belongs to. The error
// is a [*pageError] if there is none.
func (c *Console) session(r *http.Request) (token string, err error) {
	cookies := r.CookiesNamed(cookieName)
	if len(cookies) == 1 {
		if _, err = c.find(r.Context(), "session", cookies[0].Value); err == nil {
			return cookies[0].Value, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
	}
	return "", &pageError{status: http.StatusUnauthorized, title: "Sign in", text: "You are not signed in, or the session has ended.", signIn: true}
}

// csrfToken returns what every form of a session carries. It comes from the
// session's token by a one-way function, so that it needs no record and does
// not give the session away.
func csrfToken(session string) string {
	mac := hmac.New(sha256.New, []byte(session))
	mac.Write([]byte("jeton console csrf"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// sameText compares in a time that depends on neither text.
func sameText(a, b string) bool {
	return strings.TrimSpace(b) != "" && jeton.NewSecret(a).Equal(jeton.NewSecret(b))
}
