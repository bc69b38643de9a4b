package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

func (a *app) dialectTryCommand() *cobra.Command {
	t := new(try)
	c := &cobra.Command{
		Use:   "try NAME|FILE [VARIABLE=VALUE...]",
		Short: "Log in once with your credentials, and see how the answer is understood",
		Long: `Makes one real login as the dialect says, and shows what was sent, what came back, and
which field was understood as what. Secrets are shown as their length only. What is
secret is given as VARIABLE=env:NAME or VARIABLE=file:PATH, or typed when asked for.

A vendor may count the login, and may end the token before it. Where the answer is not
as the dialect says, a change to the file is proposed.`,
		Example: `  jeton dialect try iadvize username=me@example.com password=env:IADVIZE_PASSWORD
  jeton dialect try ./our-vendor.yaml --origin https://sandbox.vendor.example`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeDialects,
		RunE:              func(c *cobra.Command, args []string) error { return a.tryDialect(c, t, args) },
	}
	c.Flags().StringVar(&t.origin, "origin", "", "`URL` in place of the scheme and host of the dialect's URLs, such as a sandbox or a stand-in")
	c.Flags().DurationVar(&t.timeout, "timeout", 30*time.Second, "how `long` one exchange may take")
	return c
}

// A try is one run of `jeton dialect try`.
type try struct {
	origin  string
	timeout time.Duration

	d  *dialect.Dialect
	to *url.URL
}

// errNotUnderstood says that the vendor answered otherwise than the dialect says.
var errNotUnderstood = errors.New("the answer is not as the dialect says")

func (a *app) tryDialect(c *cobra.Command, t *try, args []string) (err error) {
	ctx := c.Context()
	if t.d, err = a.oneDialect(c, args[0]); err != nil {
		return err
	}
	if t.origin != "" {
		if t.to, err = url.Parse(t.origin); err != nil || t.to.Host == "" || t.to.User != nil ||
			t.to.Scheme != "https" && !(t.to.Scheme == "http" && jeton.IsLoopback(t.to.Hostname())) {
			return usagef("--origin is to be an https:// URL, or http:// to this machine")
		}
	}
	if t.to == nil && exampleOrigin(t.d) != nil {
		return usagef("the dialect %s names no host; say where the vendor is with --origin", t.d.Name)
	}
	vars, err := a.variables(ctx, t.d, args[1:], true)
	if err != nil {
		return err
	}
	if t.d.Tokenless() {
		return fmt.Errorf("the dialect %s has no login: each call wears the credentials, or is signed", t.d.Name)
	}
	if t.d.Minted() {
		token, err := t.d.Mint(vars, time.Now())
		if err != nil {
			return err
		}
		return a.sayToken(token)
	}
	return a.trySequence(ctx, t, vars)
}

// trySequence makes the exchanges of a login.
func (a *app) trySequence(ctx context.Context, t *try, vars jeton.Vars) error {
	given, all := vars, jeton.Vars{}
	vars = vars.Clone()
	for i, x := range t.d.Sequence() {
		title := fmt.Sprintf("exchange %d of %d", i+1, len(t.d.Sequence()))
		bound, err := a.tryExchange(ctx, t, x, title, vars, given)
		if err != nil {
			return err
		}
		maps.Copy(vars, bound)
		maps.Copy(all, bound)
	}
	return a.sayToken(t.d.NewToken(all, time.Now()))
}

func (a *app) sayToken(token *jeton.Token) error {
	expiry := "nobody said; it is held until a call is refused"
	if !token.Expiry.IsZero() {
		expiry = stamp(token.Expiry)
	}
	return a.writeFields([]field{
		{"\ntoken", hidden(token.AccessToken.Reveal())}, {"expires", expiry}, {"scope", token.Scope.String()},
		{"refresh token", hidden(token.RefreshToken.Reveal())},
	})
}

func (a *app) tryExchange(ctx context.Context, t *try, x *dialect.Exchange, title string, vars, given jeton.Vars) (jeton.Vars, error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	r, err := t.d.WriteRequest(ctx, x, t.to, vars)
	if err != nil {
		return nil, err
	}
	sent, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(sent))
	if err := a.saySent(t.d, x, title, r, vars); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if cert, err := t.d.Certificate(x, vars); err != nil {
		return nil, err
	} else if cert != nil {
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}}
	}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(r) // follows no redirect
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("the vendor did not answer within %v; what it did is unknown", t.timeout)
	}
	if err != nil {
		return nil, fmt.Errorf("the vendor could not be reached: %w", jeton.WithoutURL(err))
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("the answer ends early: %w", jeton.WithoutURL(err))
	}
	bound, failed := t.d.ReadResponse(x, answer.StatusCode, answer.Header, body, time.Now())
	if err := a.sayAnswer(t.d, x, answer, body, bound); err != nil {
		return nil, err
	}
	if failed == nil {
		a.sayMore(t, x, answer, body)
		return bound, nil
	}
	a.propose(t, x, answer, body, failed)
	if refusal, ok := errors.AsType[*jeton.Error](failed); ok {
		return nil, fmt.Errorf("the vendor refused: %s (%d)", refusal.Code, answer.StatusCode)
	}
	return nil, errNotUnderstood
}

// saySent shows a request place by place: what the dialect has there, and what
// went there.
func (a *app) saySent(d *dialect.Dialect, x *dialect.Exchange, title string, r *http.Request, vars jeton.Vars) error {
	sent, err := d.Sent(x, vars)
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n# %s: sent\n%s %s, at %s\n", title, r.Method, printable(x.URL()), r.URL.Host) // what fills the path may be secret
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PLACE\tDIALECT\tSENT")
	for _, f := range sent {
		fmt.Fprintf(w, "%s\t%s\t%s\n", printable(f.Place), printable(f.Want), printable(or(f.Got, "(left out)")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = io.WriteString(a.out, b.String())
	return err
}

// sayAnswer shows an answer field by field: what the dialect has there, what
// came, and as what it was understood.
func (a *app) sayAnswer(d *dialect.Dialect, x *dialect.Exchange, answer *http.Response, body []byte, bound jeton.Vars) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n# came back\n%s %s\n", answer.Proto, printable(answer.Status))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIELD\tDIALECT\tCAME\t")
	for _, f := range d.Understand(x, answer.StatusCode, answer.Header, body) {
		verdict := "understood"
		switch {
		case answer.StatusCode > 299:
			verdict = ""
		case f.Want == "":
			verdict = "not in the dialect; nobody reads it"
		case f.Got == "":
			verdict = "did not come"
		case !f.Fits:
			verdict = "is not as the dialect says"
		case f.Fixed:
			verdict = "as expected"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(f.Place), printable(or(f.Want, "-")), printable(or(f.Got, "-")), verdict)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(a.out, b.String())
	return err
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// hidden shows how long a secret is.
func hidden(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf("(%d characters)", len(text))
}

// askVariable asks for a variable at the terminal; what is secret is not shown
// while it is typed.
func (a *app) askVariable(ctx context.Context, d *dialect.Dialect, name string) (string, error) {
	terminal, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		if d.Public(name) {
			return "", usagef("%s is missing; give %s=VALUE", name, name)
		}
		return "", usagef("%s is missing; give %s=env:NAME or %s=file:PATH", name, name, name)
	}
	prompt := name
	if line := d.Params[name]; line != "" {
		prompt += " (" + line + ")"
	}
	if !d.Public(name) {
		secret, err := a.promptSecret(ctx, terminal, prompt+": ")
		return secret.Reveal(), err
	}
	_, _ = fmt.Fprint(a.talk, printable(prompt)+": ")
	text, err := await(ctx, func() (string, error) { return readLine(terminal) })
	if err != nil || text == "" {
		return "", fmt.Errorf("%s was not given", name)
	}
	return text, nil
}

// readLine reads to the end of a line and no further.
func readLine(r io.Reader) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxSecret {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' {
			break
		}
		line = append(line, one[:n]...)
		if err != nil {
			return strings.TrimSpace(string(line)), err
		}
	}
	return strings.TrimSpace(string(line)), nil
}
