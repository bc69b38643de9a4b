// Package vaultkv reads and writes secrets in a key-value engine, version 2, of
// HashiCorp Vault or OpenBao, and keeps the token alive that it does so with.
// It speaks the HTTP interface that the two share, and knows no more of it than
// this.
package vaultkv

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
)

// A Config says where a server is and who asks.
type Config struct {
	Server    string // https://HOST:8200, or http://, which shows the token to the network
	Namespace string // empty: none
	Mount     string // where the engine is, such as secret; empty: secret

	// Method is how to log in: empty where Secret is a token already, or
	// approle, kubernetes or jwt.
	Method string
	At     string // where the method is mounted; empty: at its name
	Role   string // the role_id of approle, the role of the others

	// Secret returns the token, the secret_id or the JWT. It is asked at every
	// login, so that what it reads may be replaced meanwhile. Nil: none is sent,
	// for an agent on this machine that adds its own.
	Secret func() (jeton.Secret, error)

	TLS *tls.Config // nil: the roots of the system
}

// Any is the version for a [Client.Write] whatever is there.
const Any = -1

// ErrConflict says that a Write found another version than it expects.
var ErrConflict = errors.New("vault: the secret is at another version")

// A Client reads and writes the secrets of one engine. Its paths are segments
// separated by slashes; it escapes them. It is safe for concurrent use, and
// waits no longer than 10 seconds for an answer. Errors hold neither secrets
// nor paths.
type Client struct {
	c    Config
	http *http.Client
	base string // of URLs; ends in /v1/

	turn    chan struct{} // full: somebody looks at, or changes, the three below
	session *session      // nil: not logged in
	refused error         // what the last login ended in
	retryAt time.Time     // when the next one is tried

	closing context.Context // ends with Close
	close   context.CancelFunc
	running sync.WaitGroup
}

const (
	patience = 10 * time.Second // for an answer
	maxBytes = 32 << 20         // of one; Vault takes no more either
)

// New returns a client. It asks the server nothing yet. Close it in the end.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.Server)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("vault: the server is to be https://HOST:PORT")
	}
	switch u.Scheme {
	case "https":
	case "http":
		if c.TLS != nil {
			return nil, errors.New("vault: certificates are for a server with https://")
		}
	default:
		return nil, errors.New("vault: the server is to begin with https:// or http://")
	}
	switch c.Method {
	case "":
		if c.Role != "" {
			return nil, errors.New("vault: a role is for a login; a token has none")
		}
	case "approle", "kubernetes", "jwt":
		if c.Role == "" || c.Secret == nil {
			return nil, fmt.Errorf("vault: a login by %s needs a role and a secret", c.Method)
		}
	default:
		return nil, errors.New("vault: the method of a login is approle, kubernetes or jwt")
	}
	if c.Mount == "" {
		c.Mount = "secret"
	}
	if c.At == "" {
		c.At = c.Method
	}
	for _, path := range []string{c.Mount, c.At} {
		if _, err := escape(path); err != nil {
			return nil, err
		}
	}
	v := &Client{c: c, base: u.Scheme + "://" + u.Host + "/v1/", turn: make(chan struct{}, 1)}
	v.closing, v.close = context.WithCancel(context.Background())
	v.http = &http.Client{
		Transport: &http.Transport{ // of HTTP/1.1, which leaves a dead connection with the request that found it
			DialContext:         (&net.Dialer{Timeout: patience / 2}).DialContext,
			TLSClientConfig:     c.TLS.Clone(),
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
		},
		// A redirect would take the token to whomever it names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return v, nil
}

// Close ends renewing and the connections. Operations fail from then on. What a
// login brought stays good at the server until it expires.
func (v *Client) Close() {
	v.close()
	v.running.Wait()
	v.http.CloseIdleConnections()
}

// Server returns HOST:PORT.
func (v *Client) Server() string { return v.host() }

// Read returns the secret at path and its version, which a [Client.Write] that
// is to replace just this one names. Fields that are no text are left out. Where
// there is none, because there never was one or because it was deleted, data is
// nil.
func (v *Client) Read(ctx context.Context, path string) (data map[string]string, version int, err error) {
	var found struct {
		Data struct {
			Data     map[string]any
			Metadata struct{ Version int }
		}
	}
	err = v.do(ctx, http.MethodGet, "data", path, nil, &found)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound && !e.noEngine {
		return nil, found.Data.Metadata.Version, nil // not 0 for one that was deleted
	}
	if err != nil {
		return nil, 0, err
	}
	if found.Data.Data != nil {
		data = map[string]string{}
	}
	for name, value := range found.Data.Data {
		if text, ok := value.(string); ok {
			data[name] = text
		}
	}
	return data, found.Data.Metadata.Version, nil
}

// Write writes a secret if the one at path is at version, where 0 means that
// there never was one and [Any] that it does not matter. Otherwise it changes
// nothing and returns ErrConflict. It returns the new version. After any other
// error the secret may have been written.
func (v *Client) Write(ctx context.Context, path string, data map[string]string, version int) (int, error) {
	type options struct {
		CAS *int `json:"cas,omitempty"`
	}
	ask := struct {
		Options options           `json:"options"`
		Data    map[string]string `json:"data"`
	}{Data: data}
	if version != Any {
		ask.Options.CAS = &version
	}
	var done struct{ Data struct{ Version int } }
	if err := v.do(ctx, http.MethodPost, "data", path, ask, &done); err != nil {
		return 0, err
	}
	if done.Data.Version < 1 { // as version 1 of the engine answers, which knows no versions
		return 0, fmt.Errorf("vault: %s: %s is no key-value engine of version 2", v.host(), v.c.Mount)
	}
	return done.Data.Version, nil
}

// List returns the names below a path, those of folders with a slash at their
// end, in no order that one may rely on. The empty path is the top. Secrets
// that were deleted are among them.
func (v *Client) List(ctx context.Context, path string) ([]string, error) {
	var found struct{ Data struct{ Keys []string } }
	err := v.do(ctx, http.MethodGet, "metadata", path, nil, &found)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusNotFound && !e.noEngine {
		return nil, nil
	}
	return found.Data.Keys, err
}

func (v *Client) host() string {
	return strings.TrimSuffix(v.base[strings.Index(v.base, "//")+2:], "/v1/")
}

// escape makes a path fit to stand in a URL.
func escape(path string) (string, error) {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s == "." || s == ".." || s == "" && path != "" {
			return "", errors.New("vault: a path is names with a slash between any two")
		}
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/"), nil
}

// do makes an authorized request for the part of the engine, data or metadata,
// that has the path. A token that the server accepts no more is replaced once:
// what was refused did not take effect.
func (v *Client) do(ctx context.Context, method, part, path string, ask, answer any) error {
	escaped, err := escape(path)
	if err != nil {
		return err
	}
	mount, _ := escape(v.c.Mount)
	target := mount + "/" + part + "/" + escaped
	if part == "metadata" {
		target += "?list=true"
	}
	for again := true; ; again = false {
		s, err := v.loggedIn(ctx)
		if err != nil {
			return err
		}
		err = v.send(ctx, method, target, s.token, ask, answer)
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != http.StatusForbidden || !again || !v.suspect(ctx, s) {
			return err
		}
	}
}

// send makes one request and reads the answer, also that of a 404.
func (v *Client) send(ctx context.Context, method, target string, token jeton.Secret, ask, answer any) error {
	got, text, err := v.exchange(ctx, method, target, token, ask)
	if err != nil {
		return err
	}
	if got.StatusCode/100 == 2 || got.StatusCode == http.StatusNotFound {
		if len(text) > 0 && json.Unmarshal(text, answer) != nil {
			return fmt.Errorf("vault: %s: its answer is not what Vault answers", v.host())
		}
	}
	return v.judge(got.StatusCode, text)
}

// Header returns the header of an answer that the server gives to everybody, in
// whatever state it is. It has its Date.
func (v *Client) Header(ctx context.Context) (http.Header, error) {
	got, _, err := v.exchange(ctx, http.MethodGet, "sys/health", jeton.Secret{}, nil)
	if err != nil {
		return nil, err
	}
	return got.Header, nil
}

// exchange makes one request. The body of the answer was read.
func (v *Client) exchange(ctx context.Context, method, target string, token jeton.Secret, ask any) (*http.Response, []byte, error) {
	if err := v.closing.Err(); err != nil {
		return nil, nil, fmt.Errorf("vault: %s: the client is closed", v.host())
	}
	var body io.Reader
	if ask != nil {
		text, err := json.Marshal(ask)
		if err != nil {
			return nil, nil, errors.New("vault: what is to be sent is no JSON")
		}
		body = bytes.NewReader(text)
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(limited, method, v.base+target, body)
	if err != nil {
		return nil, nil, fmt.Errorf("vault: %s: not a request", v.host())
	}
	r.Header.Set("X-Vault-Request", "true") // an agent may ask for it
	if !token.IsZero() {
		r.Header.Set("X-Vault-Token", token.Reveal())
	}
	if v.c.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", v.c.Namespace)
	}
	answer, err := v.http.Do(r)
	if err != nil {
		return nil, nil, v.unreached(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBytes))
	if err != nil {
		return nil, nil, v.unreached(ctx, err)
	}
	return answer, text, nil
}

// unreached strips the URL from an error of the connection, and has the context
// of the caller be the error where it ended.
func (v *Client) unreached(ctx context.Context, err error) error {
	err = jeton.WithoutURL(err)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("vault: %s: %w", v.host(), err)
}
