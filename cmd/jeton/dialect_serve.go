package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/console"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/standin"
)

func (a *app) dialectServeCommand() *cobra.Command {
	s := new(standinRun)
	c := &cobra.Command{
		Use:   "serve NAME|FILE [VARIABLE=VALUE...]",
		Short: "Be a vendor on this machine, to try clients against",
		Long: `Starts a stand-in for a vendor on loopback: it logs in, refreshes and takes calls as the
dialect says, with one account whose credentials it prints. Variables that are not given
are made up. It keeps everything in memory.

  ` + standin.Control + `/counters   logins by user and address, refreshes, revoked families and more, as JSON
  ` + standin.Control + `/faults     GET, PUT and DELETE what goes wrong:

  {"on": "login", "status": 429, "retry_after": "5s", "times": 3}   refuse three logins
  {"on": "refresh", "lose": true, "times": 1}                       do it, and lose the answer
  {"delay": "10s"}                                                  be slow
  {"on": "call", "expire": "1m"}                                    tokens end early
  {"on": "revoke", "status": 503}                                   also introspect; without on: everything`,
		Example: `  jeton dialect serve iadvize
  jeton dialect serve okta client_id=test --listen 127.0.0.1:9000
  jeton dialect serve ./our-vendor.yaml --fault '{"on": "login", "status": 503, "times": 2}'`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeDialects,
		RunE:              func(c *cobra.Command, args []string) error { return a.serveDialect(c, s, args) },
	}
	c.Flags().StringVar(&s.listen, "listen", "127.0.0.1:0", "loopback `address`; port 0 takes a free one")
	c.Flags().StringArrayVar(&s.faults, "fault", nil, "switch a fault on from the start: `JSON` as above; may be given several times")
	c.Flags().DurationVar(&s.lifetime, "lifetime", 0, "`length` of a token's life, such as 2m; default: the dialect's")
	return a.jsonFlag(c)
}

type standinRun struct {
	listen   string
	faults   []string
	lifetime time.Duration

	dialect    string            // as the command line names it
	references map[string]string // :: variable -> env:NAME or file:PATH
}

func (a *app) serveDialect(c *cobra.Command, run *standinRun, args []string) error {
	ctx := c.Context()
	if err := checkAddress(run.listen); err != nil {
		return usagef("--listen: %v", err)
	}
	if !isLoopback(run.listen) {
		return usagef("--listen: a stand-in listens on loopback only, since it shows its credentials; write 127.0.0.1:PORT")
	}
	faults, err := readFaults(run.faults)
	if err != nil {
		return err
	}
	d, err := a.oneDialect(c, args[0])
	if err != nil {
		return err
	}
	vars, err := a.variables(ctx, d, args[1:], false)
	if err != nil {
		return err
	}
	run.dialect, run.references = args[0], referencesIn(args[1:])
	l, err := bind(address{run.listen, "--listen"}, socketConfig{})
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	origin := &url.URL{Scheme: "http", Host: l.Addr().String()}
	s, err := standin.New(ctx, standin.Config{
		Dialect: d, URL: origin.String(), Vars: vars, Life: run.lifetime,
		Logger: slog.New(slog.NewTextHandler(a.talk, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	s.SetFaults(faults)
	if err := a.sayStandin(ctx, run, d, s, origin); err != nil {
		return err
	}
	return serveUntil(ctx, l, s)
}

// oneDialect returns a dialect by name, of the configuration's folder too, or from
// a file.
func (a *app) oneDialect(c *cobra.Command, name string) (*dialect.Dialect, error) {
	all, err := a.catalogue(c.Flags().Changed("config") || os.Getenv("JETON_CONFIG") != "")
	if all == nil {
		return nil, err
	}
	ref, err := all.load(name)
	return ref.Dialect, err
}

func readFaults(texts []string) ([]standin.Fault, error) {
	var list []standin.Fault
	for _, text := range texts {
		more, err := standin.ReadFaults(strings.NewReader(text))
		if err != nil {
			return nil, usagef("--fault: %v", err)
		}
		list = append(list, more...)
	}
	return list, nil
}

// serveUntil serves until ctx ends.
func serveUntil(ctx context.Context, l net.Listener, s *standin.Server) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go s.Run(ctx)
	server := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the stand-in: %w", err)
	}
	return nil
}

// sayStandin tells where the stand-in is and how to log in. Of what was given by
// a reference it shows that, since it may be good elsewhere too.
func (a *app) sayStandin(ctx context.Context, run *standinRun, d *dialect.Dialect, s *standin.Server, origin *url.URL) error {
	control := origin.String() + standin.Control
	account := s.Vars()
	maps.Copy(account, run.references)
	if a.json {
		return a.writeJSON(map[string]any{
			"dialect": d.Name, "origin": origin.String(), "account": map[string]string(account),
			"counters": control + "/counters", "faults": control + "/faults",
		})
	}
	lines := []string{fmt.Sprintf("# %s stands in at %s until it is interrupted.\n", d.Name, origin)}
	curl := run.curl(ctx, d, origin, account)
	exports := run.export(d, account)
	lines[0] += run.yaml(d, origin, account)
	if exports != "" {
		lines = append(lines, exports)
	}
	if !d.Tokenless() {
		lines = append(lines, "# one login, field by field\n"+run.try(d, origin, account)+"\n")
	}
	lines = append(append(lines, curl...), fmt.Sprintf("# what happened, and what is to go wrong\ncurl %s/counters\ncurl -X PUT %s/faults -d %s\n",
		control, control, console.ShellQuote(`{"on":"login","status":429,"retry_after":"5s","times":1}`)))
	_, err := io.WriteString(a.out, strings.Join(lines, "\n"))
	return err
}

// curl returns the commands that log in. They show the account's values, so there
// are none if one was given by a reference.
func (run *standinRun) curl(ctx context.Context, d *dialect.Dialect, origin *url.URL, account jeton.Vars) (lines []string) {
	if len(run.references) > 0 {
		return nil
	}
	for _, x := range d.Sequence() {
		if r, err := d.WriteRequest(ctx, x, origin, account); err == nil {
			lines = append(lines, "# "+string(x.Kind)+"\n"+console.CurlLine(r)+" \\\n  --include\n")
		}
	}
	return lines
}

// yaml returns the account as the configuration of a broker has it.
func (run *standinRun) yaml(d *dialect.Dialect, origin *url.URL, account jeton.Vars) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Its account, for the configuration of a broker; what is made up is good here only.\n#\n# broker:\n#   accounts:\n#     %s:\n#       dialect: %s\n#       origin: %s\n", d.Name, oneLine(run.dialect), origin)
	for _, name := range slices.Sorted(maps.Keys(account)) {
		fmt.Fprintf(&b, "#       %s: %s\n", name, oneLine(account[name]))
	}
	return b.String()
}

// try returns the command that makes one login.
func (run *standinRun) try(d *dialect.Dialect, origin *url.URL, account jeton.Vars) string {
	words := []string{console.ShellQuote(program()), "dialect try", console.ShellQuote(run.dialect), "--origin", origin.String()}
	defaults := d.Defaults()
	for _, name := range slices.Sorted(maps.Keys(account)) {
		if account[name] != defaults[name] {
			words = append(words, console.ShellQuote(name)+"="+console.ShellQuote(account[name]))
		}
	}
	return strings.Join(words, " ")
}

// export puts references in place of the secrets of an account that were made
// up, and returns the lines that set what they refer to.
func (run *standinRun) export(d *dialect.Dialect, account jeton.Vars) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(account)) {
		if run.references[name] != "" || d.Public(name) {
			continue
		}
		variable := strings.ToUpper(strings.ReplaceAll(d.Name+"_"+name, "-", "_"))
		if variable[0] >= '0' && variable[0] <= '9' {
			variable = "_" + variable
		}
		fmt.Fprintf(&b, "export %s=%s\n", variable, console.ShellQuote(account[name]))
		account[name] = "env:" + variable
	}
	return b.String()
}

// referencesIn returns what of VARIABLE=VALUE is a reference.
func referencesIn(args []string) map[string]string {
	refs := map[string]string{}
	for _, arg := range args {
		if name, text, _ := strings.Cut(arg, "="); isReference(text) {
			refs[name] = text
		}
	}
	return refs
}

func isReference(text string) bool {
	return strings.HasPrefix(text, "env:") || strings.HasPrefix(text, "file:")
}

// oneLine writes a value in YAML on one line.
func oneLine(text string) string {
	rest := text
	if isReference(text) {
		_, rest, _ = strings.Cut(text, ":") // that colon says nothing to YAML
	}
	if strings.ContainsAny(rest, "\n:#{}[]\"'&*!|>%@` ") {
		b, _ := json.Marshal(text)
		return string(b)
	}
	return text
}

// variables reads VARIABLE=VALUE. What is secret is a reference: every process
// on the machine can read a command line. With ask, what a login takes and is
// missing is asked for at the terminal.
func (a *app) variables(ctx context.Context, d *dialect.Dialect, args []string, ask bool) (jeton.Vars, error) {
	vars := jeton.Vars{}
	known := d.AccountVars()
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, usagef("%s is to be VARIABLE=VALUE", printable(name))
		}
		if !slices.Contains(known, name) {
			return nil, usagef("the dialect %s has no variable %s; it has %s", d.Name, printable(name), strings.Join(known, ", "))
		}
		value, err := a.value(ctx, d, name, text)
		if err != nil {
			return nil, err
		}
		vars[name] = value
	}
	if !ask {
		return vars, nil
	}
	defaults := d.Defaults()
	for _, name := range d.LoginVars() {
		if vars[name] != "" || defaults[name] != "" {
			continue
		}
		value, err := a.askVariable(ctx, d, name)
		if err != nil {
			return nil, err
		}
		vars[name] = value
	}
	return vars, nil
}

func (a *app) value(ctx context.Context, d *dialect.Dialect, name, text string) (string, error) {
	if variable, ok := strings.CutPrefix(text, "env:"); ok {
		if value := os.Getenv(variable); value != "" {
			return value, nil
		}
		return "", fmt.Errorf("%s: the environment has no %s", name, printable(variable))
	}
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		secret, err := a.readSecretFlag(ctx, path)
		return secret.Reveal(), err
	}
	if !d.Public(name) {
		return "", usagef("%s is secret, and a command line can be seen by everybody on this machine; write %s=env:NAME or %s=file:PATH", name, name, name)
	}
	return text, nil
}
