package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/jetonhq/jeton"
)

// An Error is a refusal of the broker (RFC 9457): 401 and 403 for the caller,
// 404 for an unknown account, 424 for one that is latched, 503 if there is no
// good token.
type Error struct {
	Status     int
	Title      string
	Detail     string
	RetryAfter time.Duration // zero: unknown
}

// Error returns what the broker says.
func (e *Error) Error() string {
	text := e.Title
	if e.Detail != "" {
		text = e.Detail
	}
	return fmt.Sprintf("client: the broker answers %d: %s", e.Status, text)
}

// ErrNotABroker says that what answered is something else.
var ErrNotABroker = errors.New("client: what answers is no broker of this version")

// maxAnswer bounds an answer and a line of the stream, in bytes.
const maxAnswer = 1 << 20

// send makes a request to the broker and returns an answer that is 200.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", jeton.WithoutURL(err))
	}
	if !c.config.Key.IsZero() {
		r.Header.Set("Authorization", "Bearer "+c.config.Key.Reveal())
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("client: ask the broker: %w", jeton.WithoutURL(err))
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer func() { _ = answer.Body.Close() }()
	refusal := &Error{Status: answer.StatusCode}
	var problem struct{ Title, Detail string }
	if json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&problem) != nil || problem.Title == "" {
		return nil, ErrNotABroker
	}
	refusal.Title, refusal.Detail = problem.Title, problem.Detail
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		refusal.RetryAfter = time.Duration(seconds) * time.Second
	}
	return nil, refusal
}

// ask makes a request that is answered with a token.
func (c *Client) ask(ctx context.Context, method, path string, body []byte) (*jeton.Token, error) {
	answer, err := c.send(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("client: ask the broker: %w", jeton.WithoutURL(err))
	}
	return parse(text)
}

// parse reads the JSON of a token.
func parse(text []byte) (*jeton.Token, error) {
	var a struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresAt   time.Time `json:"expires_at"`
		Scope       string    `json:"scope"`
		Generation  uint64    `json:"generation"`
	}
	if json.Unmarshal(text, &a) != nil || a.AccessToken == "" { // the cause could show the token
		return nil, ErrNotABroker
	}
	return &jeton.Token{
		AccessToken: jeton.NewSecret(a.AccessToken), Type: a.TokenType, Expiry: a.ExpiresAt,
		Scope: jeton.ParseScope(a.Scope), Generation: a.Generation,
	}, nil
}

const (
	silence    = 45 * time.Second // after which a stream is dead: three heartbeats
	firstPause = time.Second      // before a stream is begun again; it doubles
	lastPause  = 30 * time.Second
)

// follow reads the broker's stream, and begins it again when it ends, until the
// client is closed.
func (c *Client) follow() {
	pause := firstPause
	for c.ctx.Err() == nil {
		began := time.Now()
		_ = c.stream() // whoever needs a token and has none is told why
		if time.Since(began) > lastPause {
			pause = firstPause
		}
		t := time.NewTimer(pause/2 + rand.N(pause/2)) // a fleet does not come back at once
		select {
		case <-t.C:
		case <-c.ctx.Done():
			t.Stop()
		}
		pause = min(2*pause, lastPause)
	}
}

// stream reads one stream to its end.
func (c *Client) stream() error {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	dead := time.AfterFunc(silence, cancel)
	defer dead.Stop()
	answer, err := c.send(ctx, http.MethodGet, "/stream", nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, maxAnswer)
	for lines.Scan() {
		dead.Reset(silence)
		if len(lines.Bytes()) == 0 {
			continue // a heartbeat
		}
		t, err := parse(lines.Bytes())
		if err != nil {
			return err
		}
		c.learn(t, false)
	}
	return lines.Err()
}
