// Command jeton issues, guards and brokers API access tokens; see the README.
//
// This package is the only one that reads files, flags and the environment. It
// builds the parts that the others are made of and passes them down.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// The exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

// run is the whole program. It returns the exit code.
func run(args []string, in io.Reader, out, talk io.Writer) int {
	// The second signal ends the program at once, whatever it waits for.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop()
	}()
	a := &app{in: in, out: out, talk: talk}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(talk)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[exitStatus](err); ok {
		return int(exit)
	}
	for _, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintln(talk, "jeton:", line)
	}
	if _, usage := errors.AsType[usageError](err); usage || !a.started {
		fmt.Fprintf(talk, "jeton: see `%s --help`\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailure
}

// An exitStatus is the exit code of a command that was run, and nothing that
// went wrong here.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// A usageError is a command line that does not make sense.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// An app is one run of the program.
type app struct {
	in        io.Reader
	out, talk io.Writer // data, and what is said about it

	configFile string // of -c
	json       bool   // --json
	started    bool   // the command line was understood
}

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "jeton",
		Short:         "Issue, guard and broker API access tokens",
		Long:          "Jeton is one program for the whole life of an API access token: it issues tokens,\nguards APIs with them, and brokers other vendors' tokens so that a fleet logs in once.\n\nTo see all of it on this machine: jeton dev",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.started = true
		},
	}
	file := os.Getenv("JETON_CONFIG")
	if file == "" {
		file = "jeton.yaml"
	}
	root.PersistentFlags().StringVarP(&a.configFile, "config", "c", file, "configuration `file` (JETON_CONFIG)")
	root.AddGroup(&cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "token", Title: "Tokens:"},
		&cobra.Group{ID: "admin", Title: "Administration:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("run", a.devCommand(), a.serveCommand())
	add("token", a.tokenCommand(), a.execCommand(), a.statusCommand(), a.whyCommand(), a.checkCommand())
	add("admin", a.userCommand(), a.clientCommand(), a.keyCommand(), a.tenantCommand(), a.consoleCommand(),
		a.guardCommand(), a.dialectCommand(), a.configCommand(), a.schemaCommand())
	root.AddCommand(a.versionCommand())
	return group(root)
}

// group makes a command that only holds others say so when it is called alone.
func group(c *cobra.Command, children ...*cobra.Command) *cobra.Command {
	c.AddCommand(children...)
	c.SuggestionsMinimumDistance = 2
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return fmt.Errorf("unknown command %q for %q%s", args[0], c.CommandPath(), suggestCommand(c, args[0]))
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		c.SetOut(c.ErrOrStderr()) // nobody asked for help, so it is no data
		if err := c.Help(); err != nil {
			return err
		}
		return usagef("%s wants a command", c.CommandPath())
	}
	return c
}

func suggestCommand(c *cobra.Command, typed string) string {
	if near := c.SuggestionsFor(typed); len(near) > 0 {
		return "; did you mean " + near[0] + "?"
	}
	return ""
}

// config loads the configuration file that the command line names.
func (a *app) config() (*config, error) { return loadConfig(a.configFile) }

// jsonFlag gives a command --json.
func (a *app) jsonFlag(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&a.json, "json", false, "write JSON")
	return c
}
