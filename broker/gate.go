package broker

import (
	"context"
	"sync"
	"time"
)

// A gate counts the calls that use a token, and can be held while the token is
// swapped: new calls wait, running ones end. Its zero value is open.
type gate struct {
	mu      sync.Mutex
	running int
	held    chan struct{} // closed on release; nil: open
	idle    chan struct{} // closed when the last running call ends; nil: nobody waits
}

// enter waits while the gate is held, and counts a call in. Who entered
// leaves.
func (g *gate) enter(ctx context.Context) error {
	for {
		g.mu.Lock()
		held := g.held
		if held == nil {
			g.running++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// hold lets nobody in and waits until the running calls have ended, for as
// long as the bound allows. The function that it returns lets callers in
// again. There is one holder at a time: the one who has the lease.
func (g *gate) hold(ctx context.Context, bound time.Duration) (release func()) {
	g.mu.Lock()
	held := make(chan struct{})
	g.held = held
	var idle chan struct{}
	if g.running > 0 {
		idle = make(chan struct{})
		g.idle = idle
	}
	g.mu.Unlock()
	if idle != nil {
		t := time.NewTimer(bound)
		defer t.Stop()
		select {
		case <-idle:
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return func() {
		g.mu.Lock()
		g.held, g.idle = nil, nil
		g.mu.Unlock()
		close(held)
	}
}
