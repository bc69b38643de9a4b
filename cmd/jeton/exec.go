package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
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
	var s supervisor
	var rotate string
	c := &cobra.Command{
		Use:   "exec ACCOUNT -- COMMAND [ARG...]",
		Short: "Run a command with a token in its environment",
		Long: `Runs a command with a token of an account in JETON_TOKEN and in each variable that
--env names, and, if a broker is running, with its address in JETON_BROKER, where a
command that outlives the token asks for the next one.

jeton becomes the command: its signals and its exit code are the command's own. With
--on-rotate it stays as the command's parent, passes signals on, ends with its exit code,
and at each new token restarts it or sends it a signal. --out-file keeps the token in a
file too, which JETON_TOKEN_FILE names: a running command's environment cannot change.`,
		Example: "  jeton exec support --on-rotate restart -- ./worker\n  jeton exec support --on-rotate HUP --out-file token -- ./server\n  jeton exec iadvize -- sh -c 'curl -H \"Authorization: Bearer $JETON_TOKEN\" ...'",
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
			if err := s.parse(rotate); err != nil {
				return err
			}
			path, err := exec.LookPath(args[1])
			if err != nil {
				return fmt.Errorf("there is no command %s", args[1])
			}
			token, broker, err := a.token(c.Context(), args[0], minTTL)
			if err != nil {
				return err
			}
			s.app, s.account, s.path, s.args, s.names, s.broker = a, args[0], path, args[1:], append([]string{"JETON_TOKEN"}, names...), broker
			if s.file != "" {
				if s.file, err = filepath.Abs(s.file); err != nil {
					return err
				}
				if err := writeTokenFile(s.file, token, false); err != nil {
					return err
				}
			}
			if s.stays {
				return s.run(c.Context(), token)
			}
			env := s.environ(token)
			return fmt.Errorf("run %s: %w", args[1], syscall.Exec(path, args[1:], env)) // returns only if it fails
		},
	}
	c.Flags().StringArrayVar(&names, "env", nil, "another `name` for the token; may be repeated")
	c.Flags().StringVar(&rotate, "on-rotate", "none", "at a new token: `restart` the command, send it a signal such as HUP, or none")
	c.Flags().StringVar(&s.file, "out-file", "", "`file` to keep the token in")
	c.Flags().DurationVar(&s.grace, "grace", 10*time.Second, "how `long` a command that is restarted may take to end before it is killed")
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
