package broker

import "context"

// turns bound the logins that run at one vendor at once. A hundred thousand
// accounts may fall due together, after a night without a network: they come
// one after another, and a vendor that hangs holds up its own accounts only.
type turns struct {
	all   chan struct{} // full of those that run
	ahead chan struct{} // of these, refreshes that nobody waits for: half at most, so that readers have room
}

func newTurns(n int) *turns {
	return &turns{all: make(chan struct{}, n), ahead: make(chan struct{}, (n+1)/2)}
}

// take waits for a turn, as long as ctx allows. Who has it gives it back.
func (t *turns) take(ctx context.Context, ahead bool) (back func(), err error) {
	if ahead {
		select {
		case t.ahead <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case t.all <- struct{}{}:
	case <-ctx.Done():
		if ahead {
			<-t.ahead
		}
		return nil, ctx.Err()
	}
	return func() {
		<-t.all
		if ahead {
			<-t.ahead
		}
	}, nil
}

// vendorOf names where an account logs in, for whom turns are counted.
func vendorOf(a *Account) string {
	if a.Origin != nil {
		return a.dialect().Name + "\n" + a.Origin.Host
	}
	return a.dialect().Name
}
