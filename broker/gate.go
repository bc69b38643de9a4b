package broker

import "sync"

// A gate counts the calls that use a token which the next one ends. It lets
// everybody in: who entered looks at the view, and leaves if the token is being
// swapped. So a broker that publishes a view which says so, and then finds the
// gate empty, knows that no call uses the token. Its zero value is empty.
type gate struct {
	mu      sync.Mutex
	running int
	entered uint64        // how many ever did
	idle    chan struct{} // closed when the last running call ends; nil: nobody waits
}

// enter counts a call in. Who entered leaves.
func (g *gate) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running++
	g.entered++
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// empty returns a channel that is closed when no call runs.
func (g *gate) empty() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.running == 0:
		return closed
	case g.idle == nil:
		g.idle = make(chan struct{})
	}
	return g.idle
}

// count returns how many calls run, and how many ever entered.
func (g *gate) count() (running int, entered uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, g.entered
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
