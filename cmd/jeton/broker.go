package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/broker"
)

// newBroker builds the broker of some accounts.
func newBroker(accounts []accountConfig, s *state, logger *slog.Logger) *broker.Broker {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	host, _ := os.Hostname() // only people read it
	b := &broker.Broker{Store: s.store, Logger: logger, Name: fmt.Sprintf("%s:%d", host, os.Getpid())}
	for _, account := range accounts {
		secrets := func(credential int) func(context.Context) (jeton.Vars, error) {
			return func(context.Context) (jeton.Vars, error) { return account.resolve(credential) }
		}
		one := broker.Account{Name: account.name, Dialect: account.dialect.Dialect, Origin: account.origin, Secrets: secrets(0), Sinks: newSinks(account.sinks, logger)}
		for n := 1; n < account.credentials(); n++ {
			one.Others = append(one.Others, secrets(n))
		}
		b.Accounts = append(b.Accounts, one)
	}
	return b
}
