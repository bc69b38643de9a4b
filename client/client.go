// Package client gives a Go program the token of an account that a Jeton broker
// keeps. It asks the broker once, reads from memory then, and follows the
// broker's stream of new tokens. While the broker is away it goes on with the
// token that it has, until that expires.
//
// A program that runs the broker itself uses package broker instead.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/jetonhq/jeton"
)

// A Config says which token of which broker. One of URL and Socket is to be
// set.
type Config struct {
	URL     string       // of the broker, such as http://127.0.0.1:8081
	Socket  string       // path of the broker's Unix socket
	Account string       // whose token
	Key     jeton.Secret // the caller's key, where the broker wants one; zero: none

	// Base sends the calls of [Client.RoundTrip] to the vendor's API; nil:
	// http.DefaultTransport.
	Base http.RoundTripper

	// Rejected reports whether an answer of the vendor's API says that the
	// token is not good; nil: the status is 401. It does not read the body.
	Rejected func(*http.Response) bool
}

// A Client hands out the token of one account. It is a [jeton.Source] and, for
// calls to the vendor's API, an [http.RoundTripper]. It is safe for concurrent
// use.
type Client struct {
	config Config
	url    string       // of the account's token
	http   *http.Client // to the broker

	now atomic.Pointer[state] // what readers see; never nil

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup

	mu        sync.Mutex
	flight    *flight // the request that runs; nil: none
	following bool    // the stream is read
}

// A state is the token as it is known, until the next one.
type state struct {
	token    *jeton.Token  // nil: none yet
	rejected bool          // the vendor's API refused it
	replaced chan struct{} // closed when readers see another state
}

func (s *state) good() bool { return !s.rejected && s.token.Valid(time.Now(), 0) }

var (
	_ jeton.Source      = (*Client)(nil)
	_ http.RoundTripper = (*Client)(nil)
)

// New returns a client. It connects at the first use; close it when it is not
// used any more.
func New(c Config) (*Client, error) {
	base := c.URL
	transport := &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}
	if c.Socket != "" {
		base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
		}
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || c.URL != "" && c.Socket != "" {
		return nil, errors.New("client: the broker is to be named by a URL such as http://127.0.0.1:8081, or by the path of its socket")
	}
	if c.Account == "" {
		return nil, errors.New("client: the account is missing")
	}
	if c.Base == nil {
		c.Base = http.DefaultTransport
	}
	if c.Rejected == nil {
		c.Rejected = func(answer *http.Response) bool { return answer.StatusCode == http.StatusUnauthorized }
	}
	client := &Client{
		config: c, url: u.JoinPath("v1/tokens", url.PathEscape(c.Account)).String(),
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	client.now.Store(&state{replaced: make(chan struct{})})
	client.ctx, client.stop = context.WithCancel(context.Background())
	return client, nil
}

// Close ends what runs in the background. A token that is known is handed out
// until it expires.
func (c *Client) Close() {
	c.mu.Lock()
	c.stop()
	c.mu.Unlock()
	c.work.Wait()
	c.http.CloseIdleConnections()
}

// Token returns a token that is valid now. It comes from memory and does not
// wait, but for the first one and where the last one has expired: those are
// asked for, once for all who wait. The error is an [*Error] if the broker
// refused, that of ctx, or what kept the client from reaching the broker.
func (c *Client) Token(ctx context.Context) (*jeton.Token, error) {
	if s := c.now.Load(); s.good() {
		return s.token, nil
	}
	return c.share(ctx, func(ctx context.Context) (*jeton.Token, error) { return c.ask(ctx, http.MethodGet, "", nil) }, 0)
}

// Next waits for a token that is newer than a generation, as long as ctx
// allows. It is for programs that do something at each new token.
func (c *Client) Next(ctx context.Context, generation uint64) (*jeton.Token, error) {
	for {
		s := c.now.Load()
		t, err := c.Token(ctx)
		if err != nil || t.Generation != generation {
			return t, err
		}
		var expired <-chan time.Time
		if !t.Expiry.IsZero() {
			timer := time.NewTimer(time.Until(t.Expiry))
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-s.replaced:
		case <-expired:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ctx.Done():
			return nil, errClosed
		}
	}
}

var errClosed = errors.New("client: closed")

// Report says that the vendor's API rejected the token of a generation, and
// returns the next one. Where a permission is missing the broker returns the
// same one: more logins would not help.
func (c *Client) Report(ctx context.Context, generation uint64) (*jeton.Token, error) {
	s := c.now.Load()
	if s.good() && s.token.Generation > generation {
		return s.token, nil
	}
	if s.token != nil && s.token.Generation == generation {
		c.replace(s, &state{token: s.token, rejected: true})
	}
	return c.share(ctx, func(ctx context.Context) (*jeton.Token, error) {
		return c.ask(ctx, http.MethodPost, "/rejected", fmt.Appendf(nil, `{"generation":%d}`, generation))
	}, generation)
}

// OAuth2 returns the client as golang.org/x/oauth2 has it. Do not wrap it in
// ReuseTokenSource: that would hold a token which the broker has replaced.
func (c *Client) OAuth2() oauth2.TokenSource { return oauth2Source{c} }

type oauth2Source struct{ c *Client }

// Token returns a token that is valid now.
func (o oauth2Source) Token() (*oauth2.Token, error) {
	t, err := o.c.Token(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.AccessToken.Reveal(), TokenType: t.Type, Expiry: t.Expiry}, nil
}

// A flight is one request that all who want the same share.
type flight struct {
	reported uint64        // the generation that it reports; 0: it only reads
	done     chan struct{} // closed when it ended
	token    *jeton.Token
	err      error
}

// share joins the request that runs, or begins one, and waits for its end. No
// caller can cancel what others wait for.
func (c *Client) share(ctx context.Context, ask func(context.Context) (*jeton.Token, error), reported uint64) (*jeton.Token, error) {
	for {
		c.mu.Lock()
		if c.ctx.Err() != nil {
			c.mu.Unlock()
			return nil, errClosed
		}
		if !c.following {
			c.following = true
			c.work.Go(c.follow)
		}
		f := c.flight
		mine := f == nil || f.reported == reported
		if f == nil {
			if s := c.now.Load(); s.good() && s.token.Generation > reported {
				c.mu.Unlock()
				return s.token, nil
			}
			f = &flight{reported: reported, done: make(chan struct{})}
			c.flight = f
			c.work.Go(func() {
				ctx, cancel := context.WithTimeout(c.ctx, patience)
				defer cancel()
				if f.token, f.err = ask(ctx); f.err == nil {
					c.learn(f.token, true)
				}
				c.mu.Lock()
				c.flight = nil
				c.mu.Unlock()
				close(f.done)
			})
		}
		c.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if mine {
			return f.token, f.err
		}
	}
}

// patience is longer than a broker waits for a login.
const patience = 40 * time.Second

// learn makes a token what readers see. What the stream says can be older than
// what was just asked for.
func (c *Client) learn(t *jeton.Token, asked bool) {
	for {
		s := c.now.Load()
		same := s.token != nil && s.token.Generation == t.Generation && s.token.AccessToken.Equal(t.AccessToken)
		if same && (!s.rejected || !asked) || !asked && s.good() && t.Generation < s.token.Generation {
			return
		}
		if c.replace(s, &state{token: t}) {
			return
		}
	}
}

func (c *Client) replace(old, next *state) bool {
	next.replaced = make(chan struct{})
	if !c.now.CompareAndSwap(old, next) {
		return false
	}
	close(old.replaced)
	return true
}
