package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// A supervisor runs a command and tells it of new tokens.
type supervisor struct {
	app     *app
	account string
	path    string // of the program
	args    []string
	names   []string // variables that hold the token
	broker  string   // its URL, or nothing
	file    string   // that holds the token; empty: none

	stays  bool           // as the parent of the command
	signal syscall.Signal // to send at a new token; zero: restart the command instead
	grace  time.Duration  // between TERM and KILL

	child *exec.Cmd
	ended chan error // of the child
}

// parse reads --on-rotate.
func (s *supervisor) parse(text string) error {
	switch text {
	case "none":
		if s.file != "" {
			s.stays, s.signal = true, noSignal // somebody has to keep the file fresh
		}
		return nil
	case "restart":
		s.stays = true
		return nil
	}
	s.signal = rotateSignals[strings.TrimPrefix(strings.ToUpper(text), "SIG")]
	if s.signal == 0 {
		return usagef("--on-rotate wants restart, none, or a signal such as HUP or USR1")
	}
	s.stays = true
	return nil
}

// noSignal says that a command is not told of a new token.
const noSignal = syscall.Signal(-1)

// rotateSignals are those that programs use to read something again.
var rotateSignals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM,
	"QUIT": syscall.SIGQUIT, "CONT": syscall.SIGCONT, "WINCH": syscall.SIGWINCH,
}

// environ returns the command's environment.
func (s *supervisor) environ(token *tokenAnswer) []string {
	env := os.Environ()
	for _, name := range s.names {
		env = setenv(env, name, token.AccessToken)
	}
	env = setenv(env, "JETON_TOKEN_FILE", s.file)
	return setenv(env, "JETON_BROKER", s.broker)
}

// start starts the command.
func (s *supervisor) start(token *tokenAnswer) error {
	s.child = exec.Command(s.path)
	s.child.Args, s.child.Env = s.args, s.environ(token)
	s.child.Stdin, s.child.Stdout, s.child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := s.child.Start(); err != nil {
		return fmt.Errorf("run %s: %w", s.args[0], reason(err))
	}
	ended, child := make(chan error, 1), s.child
	s.ended = ended
	go func() { ended <- child.Wait() }()
	return nil
}

// run runs the command until it ends by itself or by a signal that was passed
// on to it.
func (s *supervisor) run(ctx context.Context, token *tokenAnswer) error {
	// A signal to end is the command's to obey: the program's own way of
	// ending would leave the command behind.
	signals := make(chan os.Signal, 16)
	forward := []os.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGQUIT}
	signal.Notify(signals, forward...)
	defer signal.Stop(signals)
	if err := s.start(token); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	tokens, followed := make(chan *tokenAnswer), make(chan error, 1)
	defer func() { cancel(); <-followed }()
	go func() {
		followed <- s.app.follow(ctx, s.account, token.Generation, func(t *tokenAnswer) error {
			select {
			case tokens <- t:
			case <-ctx.Done():
			}
			return nil
		})
	}()
	terminal := term.IsTerminal(int(os.Stdin.Fd()))
	for ending := false; ; {
		select {
		case err := <-s.ended:
			return exitOf(err)
		case sig := <-signals:
			ending = ending || sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT
			if !terminal || sig != syscall.SIGINT && sig != syscall.SIGQUIT { // the terminal has sent those to the command too
				_ = s.child.Process.Signal(sig)
			}
		case t := <-tokens:
			if ending {
				continue
			}
			if err := s.rotate(t, signals); err != nil {
				return err
			}
		case err := <-followed:
			followed <- nil
			if err != nil {
				s.app.sayf("jeton: %s; the command gets no more new tokens", printable(err.Error()))
			}
			tokens = nil
			return exitOf(s.await(signals))
		}
	}
}

// await passes signals on until the command ends.
func (s *supervisor) await(signals <-chan os.Signal) error {
	for {
		select {
		case err := <-s.ended:
			return err
		case sig := <-signals:
			_ = s.child.Process.Signal(sig)
		}
	}
}

// rotate tells the command of a new token. An error is the command's end, or
// says why it could not be started again.
func (s *supervisor) rotate(token *tokenAnswer, signals <-chan os.Signal) error {
	if s.file != "" {
		if err := writeTokenFile(s.file, token, false); err != nil {
			s.app.sayf("jeton: %v", err)
		}
	}
	switch s.signal {
	case noSignal:
		return nil
	case 0:
	default:
		_ = s.child.Process.Signal(s.signal)
		return nil
	}
	_ = s.child.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(s.grace)
	defer late.Stop()
	for {
		select {
		case <-s.ended:
			return s.start(token)
		case <-late.C:
			_ = s.child.Process.Kill()
		case sig := <-signals:
			_ = s.child.Process.Signal(sig)
			if sig != syscall.SIGHUP && sig != syscall.SIGUSR1 && sig != syscall.SIGUSR2 {
				return exitOf(s.await(signals)) // it is to end, not to begin again
			}
		}
	}
}

// exitOf makes the end of a command the end of this program.
func exitOf(err error) error {
	if err == nil {
		return exitStatus(0)
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitStatus(128 + int(status.Signal()))
	}
	return exitStatus(exit.ExitCode())
}
