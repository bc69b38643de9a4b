package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// An api asks a server about the Secrets of one namespace.
type api struct {
	base string // URL of the namespace's Secrets
	name string // HOST:PORT/NAMESPACE, for errors
	http *http.Client

	reread func() (jeton.Secret, error) // nil: the token is as it is
	closed atomic.Bool

	mu    sync.Mutex // guards the two below
	token jeton.Secret
	read  time.Time // when the token was
}

const (
	patience   = 10 * time.Second // for an answer
	maxAnswer  = 256 << 20        // bytes of one: a page of the largest Secrets
	tokenFresh = 30 * time.Second // a cluster replaces the file of a token minutes before it expires
)

func (a *api) String() string { return a.name }

// transport finds a host that is gone also where nothing is sent to it for long,
// as in a watch.
func transport() *http.Transport {
	return &http.Transport{
		DialContext: (&net.Dialer{Timeout: patience / 2, KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: patience, Interval: patience / 2, Count: 3}}).DialContext,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
	}
}

// bearer returns the token as it is now. The one before it goes on while what it
// is read from is away.
func (a *api) bearer() (jeton.Secret, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.reread != nil && (a.token.IsZero() || time.Since(a.read) > tokenFresh) {
		token, err := a.reread()
		switch {
		case err == nil:
			a.token, a.read = token, time.Now()
		case a.token.IsZero():
			return jeton.Secret{}, err
		}
	}
	return a.token, nil
}

// forget has the next request read the token again.
func (a *api) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.read = time.Time{}
}

// do makes a request about the Secret with a name, or about all of them, and
// reads the answer into out, unless that is nil.
func (a *api) do(ctx context.Context, method, name string, query url.Values, in, out any) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := a.send(limited, method, name, query, in)
	if err != nil {
		return ended(ctx, err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return ended(ctx, err)
	}
	if out != nil && json.Unmarshal(text, out) != nil {
		return errors.New("its answer is not what Kubernetes answers")
	}
	return nil
}

// send returns an answer of success, whose body is to be closed. A token that is
// refused is read again once.
func (a *api) send(ctx context.Context, method, name string, query url.Values, in any) (*http.Response, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, errors.New("what is to be sent is no JSON")
		}
	}
	target := a.base
	if name != "" {
		target += "/" + url.PathEscape(name)
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	for again := a.reread != nil; ; again = false {
		if a.closed.Load() {
			return nil, store.ErrClosed
		}
		r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
		if err != nil {
			return nil, errors.New("not a request")
		}
		token, err := a.bearer()
		if err != nil {
			return nil, err
		}
		if !token.IsZero() {
			r.Header.Set("Authorization", "Bearer "+token.Reveal())
		}
		r.Header.Set("Accept", "application/json")
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("User-Agent", "jeton")
		answer, err := a.http.Do(r)
		if err != nil {
			return nil, ended(ctx, err)
		}
		if answer.StatusCode/100 == 2 {
			return answer, nil
		}
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // what it has is enough
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized || !again {
			return nil, refusalOf(answer.StatusCode, text)
		}
		a.forget()
	}
}

// ended strips the URL from an error of the connection, and has the context be
// the error where it ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return jeton.WithoutURL(err)
}

// A refusal is an answer that is no success. It holds nothing of what the server
// said but the reason, a word, since the rest may repeat what it was sent.
type refusal struct {
	status int
	reason string
}

// A status is what the server says in a refusal.
type status struct {
	Code   int
	Reason string
}

var validReason = regexp.MustCompile(`^[A-Za-z]{1,40}$`)

func refusalOf(code int, body []byte) *refusal {
	var said status
	_ = json.Unmarshal(body, &said) // whatever else it is says nothing
	if !validReason.MatchString(said.Reason) {
		said.Reason = http.StatusText(code)
	}
	return &refusal{code, said.Reason}
}

// Error says what the status means to somebody who has to mend it.
func (r *refusal) Error() string {
	what := "an answer that Kubernetes does not give"
	switch {
	case r.status == http.StatusUnauthorized:
		what = "the token or certificate is not accepted"
	case r.status == http.StatusForbidden:
		what = "forbidden: the account needs get, list, watch, create, update and delete on secrets in a namespace that is neither full nor being deleted"
	case r.status == http.StatusNotFound:
		what = "not found: there is no such namespace"
	case r.status == http.StatusConflict:
		what = "somebody else is writing"
	case r.status == http.StatusGone:
		what = "what was asked for is too old"
	case r.status == http.StatusRequestEntityTooLarge, r.status == http.StatusUnprocessableEntity:
		what = "the record is too large, or not allowed in this cluster"
	case r.status == http.StatusTooManyRequests:
		what = "the server has too much to do"
	case r.status/100 == 3:
		what = "the server sends elsewhere; put that into the URL"
	case r.status/100 == 4:
		what = "the request is refused"
	case r.status/100 == 5:
		what = "the server failed"
	}
	return fmt.Sprintf("%s (%d %s)", what, r.status, r.reason)
}
