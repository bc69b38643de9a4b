package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
)

func (a *app) tokenCommand() *cobra.Command {
	var minTTL time.Duration
	var release, watch bool
	var file string
	c := a.jsonFlag(&cobra.Command{
		Use:               "token ACCOUNT",
		Short:             "Print a token of an account that is good now",
		Long:              "Prints a token of an account. The running broker is asked; if there is none, the\naccount logs in from here, through the same store, so that no token is fetched twice.\n\nWith --out-file it goes to a file instead, for programs that read one: the token and\nnothing else, mode 0600, replaced in one step. With --watch jeton stays and replaces it\nwhenever there is a new one.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAccounts,
		RunE: func(c *cobra.Command, args []string) error {
			if minTTL < 0 {
				return usagef("--min-ttl is to be a duration such as 10m")
			}
			if watch && file == "" {
				return usagef("--watch wants --out-file")
			}
			if release {
				if err := a.release(c.Context(), args[0]); err != nil {
					return err
				}
			}
			token, _, err := a.token(c.Context(), args[0], minTTL)
			if err != nil {
				return err
			}
			if file != "" {
				if err := writeTokenFile(file, token, a.json); err != nil || !watch {
					return err
				}
				return a.follow(c.Context(), args[0], token.Generation, func(token *tokenAnswer) error {
					return writeTokenFile(file, token, a.json)
				})
			}
			if a.json {
				return a.writeJSON(token)
			}
			_, err = fmt.Fprintln(a.out, token.AccessToken)
			return err
		},
	})
	c.Flags().DurationVar(&minTTL, "min-ttl", 0, "how `long` the token is to be good for at least, if the vendor gives such a one")
	c.Flags().StringVar(&file, "out-file", "", "`file` to write the token to, instead of standard output")
	c.Flags().BoolVar(&watch, "watch", false, "stay, and keep the file fresh")
	c.Flags().BoolVar(&release, "release", false, "log in again even if the vendor refused these very credentials before")
	return c
}

func (a *app) completeAccounts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if c, err := a.config(); err == nil && c.broker != nil && len(args) == 0 {
		for _, account := range c.broker.accounts {
			names = append(names, account.name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// A tokenAnswer is what the token API answers. It is not a [jeton.Token],
// because it exists to be printed.
type tokenAnswer struct {
	AccessToken string     `json:"access_token"`
	TokenType   string     `json:"token_type"`
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
	ExpiresIn   *int64     `json:"expires_in,omitempty"`
	Scope       string     `json:"scope,omitempty"`
	Generation  uint64     `json:"generation"`
}

// token returns a token of an account, and the URL of the broker that gave it,
// or nothing if it was fetched from here.
func (a *app) token(ctx context.Context, name string, minTTL time.Duration) (*tokenAnswer, string, error) {
	c, err := a.config()
	if err != nil {
		return nil, "", err
	}
	account, err := c.account(name)
	if err != nil {
		return nil, "", err
	}
	token, err := askBroker(ctx, c.broker, account.name, minTTL)
	if !errors.Is(err, errNoBroker) {
		return token, c.broker.listen.url(), err
	}
	token, err = fetchToken(ctx, c, account, minTTL)
	return token, "", err
}

var errNoBroker = errors.New("no broker is running")

// url returns the address in the form in which a program is told it.
func (a address) url() string {
	if a.unix() {
		return a.text
	}
	return "http://" + a.text
}

// client returns an HTTP client for the address, and the URL to begin with.
func (a address) client() (*http.Client, string) {
	path, unix := strings.CutPrefix(a.text, "unix:")
	transport := &http.Transport{DisableKeepAlives: true}
	base := a.url()
	if unix {
		base = "http://localhost"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       time.Minute, // the broker itself waits 30 seconds for a login
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, base
}

const maxAnswer = 1 << 20 // bytes

// askBroker asks the broker that listens at an address. Nobody listening there
// is errNoBroker; a refusal is an error, and not a reason to try without.
func askBroker(ctx context.Context, c *brokerConfig, account string, minTTL time.Duration) (*tokenAnswer, error) {
	path := "/v1/tokens/" + url.PathEscape(account)
	if minTTL > 0 {
		path += "?min_ttl=" + url.QueryEscape(minTTL.String())
	}
	var token tokenAnswer
	if err := readBroker(ctx, c, account, path, &token); err != nil {
		return nil, err
	}
	if token.AccessToken == "" {
		return nil, fmt.Errorf("what listens on %s is no broker of this version", c.listen.text)
	}
	return &token, nil
}

// brokerError reads a problem (RFC 9457).
func brokerError(at address, answer *http.Response, body []byte) error {
	var problem struct{ Title, Detail string }
	if json.Unmarshal(body, &problem) != nil || problem.Title == "" && problem.Detail == "" {
		return fmt.Errorf("what listens on %s answers %s, as no broker does", at.text, answer.Status)
	}
	text := firstOf(problem.Detail, problem.Title)
	if after := answer.Header.Get("Retry-After"); after != "" {
		text += "; try again in " + after + " s"
	}
	return errors.New("the broker says: " + printable(text))
}

// fetchToken gets a token as the broker would, from here.
func fetchToken(ctx context.Context, c *config, account accountConfig, minTTL time.Duration) (_ *tokenAnswer, err error) {
	if err := c.checkSecrets(); err != nil {
		return nil, err
	}
	s, err := openState(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := newBroker([]accountConfig{account}, s, nil)
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	token, err := b.Token(ctx, account.name, minTTL)
	if err != nil {
		return nil, err
	}
	return newTokenAnswer(token, time.Now()), nil
}

// release takes the latch off an account, for a running broker too: the latch
// is in the store.
func (a *app) release(ctx context.Context, name string) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	account, err := c.account(name)
	if err != nil {
		return err
	}
	s, err := openShared(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := newBroker([]accountConfig{account}, s, nil)
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	return b.Release(ctx, account.name)
}

func newTokenAnswer(t *jeton.Token, now time.Time) *tokenAnswer {
	answer := &tokenAnswer{
		AccessToken: t.AccessToken.Reveal(), TokenType: firstOf(t.Type, "Bearer"),
		Scope: t.Scope.String(), Generation: t.Generation,
	}
	if !t.Expiry.IsZero() {
		at, in := t.Expiry.UTC(), int64(t.Expiry.Sub(now)/time.Second)
		answer.ExpiresAt, answer.ExpiresIn = &at, &in
	}
	return answer
}
