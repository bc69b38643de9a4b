package main

import (
	"context"
	"log/slog"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/broker"
)

// newBroker builds the broker of some accounts.
func newBroker(accounts []accountConfig, s *state, logger *slog.Logger) *broker.Broker {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	b := &broker.Broker{Store: s.store, Logger: logger}
	for _, account := range accounts {
		b.Accounts = append(b.Accounts, broker.Account{
			Name: account.name, Dialect: account.dialect.Dialect, Origin: account.origin,
			Secrets: func(context.Context) (jeton.Vars, error) { return account.resolve() },
		})
	}
	return b
}
