package e2e_test

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// A link is the network between a program and a server, for TCP. It is safe
// for concurrent use.
type link struct {
	addr   string // where the server is to be reached by it
	server string

	mu    sync.Mutex
	is    condition // guarded by mu, as what follows
	lines []*line
}

// A condition is how a link does. The zero value carries everything at once.
type condition struct {
	delay time.Duration // of each way
	cut   bool          // connections are reset, and new ones too
	there bool          // what goes to the server vanishes, and nobody is told
	back  bool          // likewise what comes from it
}

// A line is one connection through a link.
type line struct {
	near, far net.Conn
	dead      bool // something vanished on it, so nothing comes through any more; guarded by the link's mu
}

// hole is a network in which packets vanish.
var hole = condition{there: true, back: true}

// newLink returns a link to a server.
func newLink(t *testing.T, server string, is condition) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{addr: listener.Addr().String(), server: server, is: is}
	t.Cleanup(func() {
		_ = listener.Close()
		l.set(condition{cut: true})
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			l.join(near)
		}
	}()
	return l
}

// set changes the condition. What vanished before does not come back.
func (l *link) set(is condition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.is = is
	if is.cut {
		for _, c := range l.lines {
			reset(c.near)
			reset(c.far)
		}
		l.lines = nil
	}
}

// reset ends a connection so that the other end is told.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

func (l *link) join(near net.Conn) {
	far, err := net.Dial("tcp", l.server)
	if err != nil {
		reset(near)
		return
	}
	c := &line{near: near, far: far}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.is.cut {
		reset(near)
		reset(far)
		return
	}
	l.lines = append(l.lines, c)
	go l.carry(c, near, far)
	go l.carry(c, far, near)
}

// carry carries what comes from one end to the other, the end of it too.
func (l *link) carry(c *line, from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		l.mu.Lock()
		is := l.is
		c.dead = c.dead || is.back && from == c.far || is.there && from == c.near
		dead := c.dead
		l.mu.Unlock()
		if !dead {
			time.Sleep(is.delay)
			if n > 0 {
				_, _ = to.Write(buffer[:n]) // if that fails, to ends too
			}
			if err != nil {
				_ = to.Close()
			}
		}
		if err != nil {
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = slices.DeleteFunc(l.lines, func(other *line) bool { return other == c && !c.dead })
}
