package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/client"
	"github.com/jetonhq/jeton/sink/file"
)

// follow calls do with each token of an account that is newer than a
// generation, until ctx ends or do fails. The running broker is followed; if
// there is none, the account is kept from here.
func (a *app) follow(ctx context.Context, name string, generation uint64, do func(*tokenAnswer) error) (err error) {
	next, stop, err := a.following(ctx, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	for pause := time.Second; ; {
		token, err := next(ctx, generation)
		if err == nil {
			generation, pause = token.Generation, time.Second
			err = do(newTokenAnswer(token, time.Now()))
		}
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			continue
		}
		a.sayf("jeton: %s", printable(err.Error())) // and go on: it may pass
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
		pause = min(2*pause, 30*time.Second)
	}
}

// following returns what waits for the next token.
func (a *app) following(ctx context.Context, name string) (next func(context.Context, uint64) (*jeton.Token, error), stop func() error, err error) {
	c, err := a.config()
	if err != nil {
		return nil, nil, err
	}
	account, err := c.account(name)
	if err != nil {
		return nil, nil, err
	}
	if _, err := askBroker(ctx, c.broker, name, 0); !errors.Is(err, errNoBroker) {
		remote, err := newClient(c.broker, name)
		if err != nil {
			return nil, nil, err
		}
		return remote.Next, func() error { remote.Close(); return nil }, nil
	}
	s, err := openState(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	account.sinks = nil // they are for the broker of the machine
	b := newBroker([]accountConfig{account}, s, nil)
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() { b.Run(running); close(ended) }()
	next = func(ctx context.Context, generation uint64) (*jeton.Token, error) {
		return b.Next(ctx, name, generation)
	}
	return next, func() error { cancel(); <-ended; return s.close() }, nil
}

// newClient returns a client of the broker that the configuration declares.
func newClient(c *brokerConfig, account string) (*client.Client, error) {
	key, err := c.ownKey(account)
	if err != nil {
		return nil, err
	}
	config := client.Config{URL: c.listen.url(), Account: account, Key: key}
	if path, unix := strings.CutPrefix(c.listen.text, "unix:"); unix {
		config.URL, config.Socket = "", path
	}
	return client.New(config)
}

// writeTokenFile writes a token to a file; see [file.Write].
func writeTokenFile(path string, token *tokenAnswer, asJSON bool) error {
	text := token.AccessToken
	if asJSON {
		b, err := json.Marshal(token)
		if err != nil {
			return err
		}
		text = string(b)
	}
	return file.Write(path, text)
}
