package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) execCommand() *cobra.Command {
	var names []string
	var minTTL time.Duration
	c := &cobra.Command{
		Use:   "exec ACCOUNT -- COMMAND [ARG...]",
		Short: "Run a command with a token in its environment",
		Long: `Runs a command with a token of an account in JETON_TOKEN and in each variable that
--env names, and, if a broker is running, with its address in JETON_BROKER, where a
command that outlives the token asks for the next one.

jeton becomes the command: its signals and its exit code are the command's own.`,
		Example: "  jeton exec iadvize -- sh -c 'curl -H \"Authorization: Bearer $JETON_TOKEN\" ...'",
		Args: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return errors.New("wants an account, two dashes and a command: jeton exec ACCOUNT -- COMMAND")
			}
			return nil
		},
		ValidArgsFunction: a.completeAccounts,
		RunE: func(c *cobra.Command, args []string) error {
			for _, name := range names {
				if !validVariable.MatchString(name) {
					return usagef("--env wants the name of a variable: letters, digits and underscores")
				}
			}
			path, err := exec.LookPath(args[1])
			if err != nil {
				return fmt.Errorf("there is no command %s", args[1])
			}
			token, broker, err := a.token(c.Context(), args[0], minTTL)
			if err != nil {
				return err
			}
			env := os.Environ()
			for _, name := range append([]string{"JETON_TOKEN"}, names...) {
				env = setenv(env, name, token.AccessToken)
			}
			env = setenv(env, "JETON_BROKER", broker)
			return fmt.Errorf("run %s: %w", args[1], syscall.Exec(path, args[1:], env)) // returns only if it fails
		},
	}
	c.Flags().StringArrayVar(&names, "env", nil, "another `name` for the token; may be repeated")
	c.Flags().DurationVar(&minTTL, "min-ttl", 0, "how `long` the token is to be good for at least")
	return c
}

var validVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// setenv sets a variable, or removes it if there is no value.
func setenv(env []string, name, value string) []string {
	env = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	if value == "" {
		return env
	}
	return append(env, name+"="+value)
}
