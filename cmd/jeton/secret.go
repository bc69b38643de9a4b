package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/jetonhq/jeton"
)

// readSecret reads one secret to the end of r. One line end at the end does not
// belong to it.
func readSecret(r io.Reader) (jeton.Secret, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return jeton.Secret{}, fmt.Errorf("cannot be read: %w", reason(err))
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case text == "":
		return jeton.Secret{}, errors.New("is empty")
	case len(b) > maxSecret:
		return jeton.Secret{}, fmt.Errorf("is larger than %d bytes", maxSecret)
	}
	return jeton.NewSecret(text), nil
}

// secretFlags gives a command --NAME-file, and refuses a secret on the command
// line, where every process on the machine could read it.
func secretFlags(c *cobra.Command, name string, file *string) {
	c.Flags().StringVar(file, name+"-file", "", "`file` with the "+name+"; - is standard input")
	c.Flags().String(name, "", "")
	_ = c.Flags().MarkHidden(name) // it exists: the line above made it
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if c.Flags().Changed(name) {
			return usagef("a %s on the command line can be seen by everybody on this machine; use --%s-file, or pipe it in with --%s-file -", name, name, name)
		}
		return nil
	}
}

// await returns what f does, or ctx's error if that ends first: a read from
// standard input takes no context.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var zero T
		return zero, errors.New("interrupted")
	}
}

// readSecretFlag reads what a --NAME-file flag names.
func (a *app) readSecretFlag(ctx context.Context, file string) (jeton.Secret, error) {
	if file != "-" {
		return readSecretFile(file)
	}
	secret, err := await(ctx, func() (jeton.Secret, error) { return readSecret(a.in) })
	if err != nil {
		return jeton.Secret{}, fmt.Errorf("the secret on standard input %w", err)
	}
	return secret, nil
}

// askPassword reads a new password from the file, if one is named, else from
// the terminal, where it is asked for twice, else from standard input.
func (a *app) askPassword(ctx context.Context, file, whose string) (jeton.Secret, error) {
	if file != "" {
		return a.readSecretFlag(ctx, file)
	}
	terminal, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		line, err := await(ctx, func() (string, error) {
			return bufio.NewReader(io.LimitReader(a.in, maxSecret)).ReadString('\n')
		})
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			if err == nil || errors.Is(err, io.EOF) {
				err = errors.New("is empty; pipe it in, or name a file with --password-file")
			}
			return jeton.Secret{}, fmt.Errorf("the password on standard input %w", err)
		}
		return jeton.NewSecret(line), nil
	}
	first, err := a.promptSecret(ctx, terminal, "Password for "+whose+": ")
	if err != nil {
		return jeton.Secret{}, err
	}
	second, err := a.promptSecret(ctx, terminal, "Again: ")
	if err != nil {
		return jeton.Secret{}, err
	}
	if !first.Equal(second) {
		return jeton.Secret{}, errors.New("the two passwords differ; nothing was changed")
	}
	return first, nil
}

func (a *app) promptSecret(ctx context.Context, terminal *os.File, prompt string) (jeton.Secret, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return jeton.Secret{}, fmt.Errorf("read the password: %w", err)
	}
	_, _ = fmt.Fprint(a.talk, printable(prompt))
	b, err := await(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	_ = term.Restore(fd, before) // so that the terminal shows again what is typed, also when interrupted
	_, _ = fmt.Fprintln(a.talk)
	if err != nil {
		return jeton.Secret{}, fmt.Errorf("read the password: %w", err)
	}
	if len(b) == 0 {
		return jeton.Secret{}, errors.New("the password is empty; nothing was changed")
	}
	return jeton.NewSecret(string(b)), nil
}
