package verify

import (
	"context"
	"errors"
	"sync"

	"github.com/jetonhq/jeton/revocation"
)

// Revocations returns what is known to have ended at the issuer, for the guard
// that takes its tokens; nil if there is neither a Table nor a Key. It is to be
// read.
func (r *Remote) Revocations() *revocation.Table {
	r.once.Do(r.start)
	return r.table
}

// follow keeps the table as the issuer's is. An issuer that tells nobody what
// ended leaves it empty and never fresh, so nothing is decided: whoever has a
// key of a guard there means to hear of it.
func (r *Remote) follow(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-r.found:
	}
	endpoint := r.metadata.Load().RevocationsEndpoint
	if endpoint == "" {
		r.keys.logger().Error("verify: nothing is decided about the tokens of an issuer, since it tells nobody what ended and this guard has a key for that", "issuer", r.Issuer)
		return
	}
	stream := &revocation.Stream{URL: endpoint, Key: r.Key, Table: r.table, Logger: r.keys.logger()}
	canary := &revocation.Canary{URL: endpoint, Key: r.Key, Table: r.table, Observe: r.Delay, MaxStale: r.MaxStale, Logger: r.keys.logger()}
	if r.Client != nil {
		stream.Transport, canary.Transport = r.Client.Transport, r.Client.Transport
	}
	var group sync.WaitGroup
	failed := make([]error, 2)
	group.Go(func() { failed[0] = stream.Run(ctx) })
	if r.Delay != nil {
		group.Go(func() { failed[1] = canary.Run(ctx) })
	}
	group.Wait()
	if err := errors.Join(failed...); err != nil {
		r.keys.logger().Error("verify: what ends at an issuer cannot be followed", "issuer", r.Issuer, "error", err.Error())
	}
}
