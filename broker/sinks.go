package broker

import (
	"context"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
)

// copy keeps every sink up to date until ctx ends, and then takes less than a
// second.
func (b *Broker) copy(ctx context.Context) *sync.WaitGroup {
	copying := new(sync.WaitGroup)
	for _, a := range b.Accounts {
		for _, c := range a.Sinks {
			copying.Go(func() { c.Run(ctx, b.copied(a.Name)) })
		}
	}
	return copying
}

// copied is what sinks are told of an account.
func (b *Broker) copied(account string) sink.Account {
	return sink.Account{
		Name: account, Broker: b.id, Store: b.Store, Logger: b.Logger,
		Newest: func(ctx context.Context) (*jeton.Token, time.Time, error) { return b.newest(ctx, account) },
		Newer: func(ctx context.Context, generation uint64) (*jeton.Token, error) {
			return b.newer(ctx, account, generation)
		},
	}
}

// newest returns the token of an account that is in the store, and when it
// came; nil if it is not good.
func (b *Broker) newest(ctx context.Context, account string) (*jeton.Token, time.Time, error) {
	k, err := b.keeper(ctx, account)
	if err == nil {
		err = k.read(ctx)
	}
	if err != nil {
		return nil, time.Time{}, err
	}
	if v := k.view.Load(); v.good(b.now()) {
		return v.parsed, b.here(v.Obtained), nil
	}
	return nil, time.Time{}, nil
}

// newer is [Broker.Next] for those who have nobody to tell of an error: it
// waits until the account is well again.
func (b *Broker) newer(ctx context.Context, account string, generation uint64) (*jeton.Token, error) {
	for {
		pause := 10 * time.Second // a secret that is not there yet
		k, err := b.keeper(ctx, account)
		if err == nil {
			v := k.view.Load() // first: what changes after this wakes the wait below
			t, err := b.Next(ctx, account, generation)
			if err == nil {
				return t, nil
			}
			waiting, cancel := context.WithTimeout(ctx, heartbeat)
			_ = k.changed(waiting, v)
			cancel()
			pause = time.Second // should it change all the time, or the broker be closed
		}
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}
