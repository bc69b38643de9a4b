package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/guard/lint"
)

// A lintFlags is what jeton guard lint is told.
type lintFlags struct {
	url, path, allow, deny, tokenFile, echo string
	identity                                []string
	pause                                   time.Duration
	insecure, all                           bool
}

func (a *app) guardLintCommand() *cobra.Command {
	var f lintFlags
	c := a.jsonFlag(&cobra.Command{
		Use:   "lint --url URL",
		Short: "Send confusing requests to a deployed API and say what slips past its guard",
		Long: `Sends some three hundred requests to an API, one after the other, and says which of them
get past what guards it, whatever that is: other spellings of a path, headers that talk a
proxy into another path, method or caller, messages whose end is doubtful. The URL names a
path that needs a token: a request that gets it without one has slipped.

With a token (--token-file), a path that it may have (--allow) and one that it may not
(--deny), it also tries to get more than the token allows, and to be somebody else. The
latter shows only if the API shows what it sees: --echo ADDRESS serves such an API, to be
put behind one route of what is tried.

The requests are GET, HEAD, OPTIONS, TRACE and empty POSTs, and say jeton-guard-lint in
User-Agent. Try what is yours. Exit code 1 means that something slipped.`,
		Example: "  jeton guard lint --url https://api.example.com/v2/users\n" +
			"  jeton guard lint --url https://api.example.com/v2/users --token-file guest.token --allow /v2/me --deny /v2/users",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.echo != "" {
				return a.serveEcho(c.Context(), f.echo)
			}
			return a.lint(c.Context(), f)
		},
	})
	secretFlags(c, "token", &f.tokenFile)
	c.Flags().StringVar(&f.url, "url", "", "`URL` of a path that needs a token")
	c.Flags().StringVar(&f.path, "path", "", "that `path`, if the URL has none")
	c.Flags().StringVar(&f.allow, "allow", "", "`path` that a GET with the token may have")
	c.Flags().StringVar(&f.deny, "deny", "", "`path` that a GET with the token may not have")
	c.Flags().StringSliceVar(&f.identity, "identity", nil, "`headers` that tell the API who calls; default: those of a Jeton guard")
	c.Flags().DurationVar(&f.pause, "pause", 20*time.Millisecond, "time between two requests")
	c.Flags().BoolVar(&f.insecure, "insecure", false, "believe any certificate")
	c.Flags().BoolVar(&f.all, "all", false, "list the requests that were refused, too")
	c.Flags().StringVar(&f.echo, "echo", "", "serve an API at `address` that answers with what it sees, until it is interrupted")
	return c
}

// linter returns what the flags describe.
func (a *app) linter(ctx context.Context, f lintFlags) (*lint.Linter, error) {
	u, err := url.Parse(f.url)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return nil, usagef("--url wants an address such as https://api.example.com/v2/users")
	}
	l := &lint.Linter{URL: &url.URL{Scheme: u.Scheme, Host: u.Host}, Path: f.path, Allow: f.allow, Deny: f.deny, Identity: f.identity, Pause: f.pause}
	if l.Path == "" {
		l.Path = u.EscapedPath()
	}
	if l.Path == "" {
		l.Path = "/"
	}
	for _, path := range []string{l.Path, f.allow, f.deny} {
		if path != "" && (path[0] != '/' || strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c >= 0x7f })) {
			return nil, usagef("%q is no path", path)
		}
	}
	if given := f.tokenFile != ""; given != (f.allow != "") || given != (f.deny != "") {
		return nil, usagef("--token-file, --allow and --deny go together")
	}
	if f.tokenFile != "" {
		secret, err := a.readSecretFlag(ctx, f.tokenFile)
		if err != nil {
			return nil, err
		}
		token := strings.TrimSpace(secret.Reveal())
		if strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
			return nil, errors.New("the token has characters that a header cannot have")
		}
		l.Token = jeton.NewSecret(token)
	}
	if f.insecure {
		l.TLS = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // asked for
	}
	return l, nil
}

// lint runs the battery and writes what it found.
func (a *app) lint(ctx context.Context, f lintFlags) error {
	l, err := a.linter(ctx, f)
	if err != nil {
		return err
	}
	a.sayf("sending confusing requests to %s, one each %v", l.URL.Host, f.pause)
	sent, slips, shown := 0, 0, []lint.Result{}
	err = l.Run(ctx, func(r lint.Result) {
		sent++
		if r.Verdict == lint.Slip {
			slips++
		}
		if f.all || r.Verdict != lint.Refused {
			shown = append(shown, r)
		}
	})
	if err != nil {
		return err
	}
	if a.json {
		err = a.writeJSON(map[string]any{"url": l.URL.String(), "requests": sent, "slips": slips, "results": shown})
	} else if len(shown) > 0 {
		rows := [][]string{{"VERDICT", "TRIES", "HOW", "ANSWER", "WHY", "REQUEST"}}
		for _, r := range shown {
			rows = append(rows, []string{string(r.Verdict), r.Group, r.Name, r.Answer, r.Why, r.Request})
		}
		err = a.writeTable(rows)
	}
	if err != nil {
		return err
	}
	if slips > 0 {
		return fmt.Errorf("%d of %d requests slipped past the guard", slips, sent)
	}
	a.sayf("%d requests, and none slipped", sent)
	return nil
}

// serveEcho serves an API that shows what it sees.
func (a *app) serveEcho(ctx context.Context, address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", address, reason(err))
	}
	a.sayf("echoing requests at http://%s", l.Addr())
	s := &http.Server{Handler: lint.Echo(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
