package sink

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// A Copy keeps one sink up to date with the token of an account. Set its fields
// before the first use. Run it once; the other methods may be called at any
// time, from many goroutines.
type Copy struct {
	Name string // names the place to people; unique within the account

	// Place says all that tells the place from others, and is no secret. The
	// brokers that write to the same place take turns. Empty: no other broker
	// writes there, as with a file.
	Place string

	Sink Sink

	// Again is how often a token is put again though it is there, for a place
	// that may lose it. Zero: never.
	Again time.Duration

	mu      sync.Mutex // guards what follows
	running bool
	newest  uint64    // generation of the account's token
	behind  time.Time // since when the place lacks a token that is good; zero: it does not
	seen    Status    // without what is derived from the two
	counts  Counts
}

// Counts says how often this process tried to put a token.
type Counts struct{ OK, Failed uint64 }

// An Account is what a broker tells a Copy of the account.
type Account struct {
	Name   string
	Broker string       // names the broker, and no other that shares its store
	Store  store.Store  // where the brokers agree on who writes
	Logger *slog.Logger // not nil

	// Newest returns the token that the store has now, and when it came; nil
	// if there is none that is good. It causes no login.
	Newest func(ctx context.Context) (*jeton.Token, time.Time, error)

	// Newer waits for a good token of another generation than this one, as long
	// as ctx allows. A generation of 0 is that of no token. The error is that
	// of ctx.
	Newer func(ctx context.Context, generation uint64) (*jeton.Token, error)
}

// A Status says how a copy is doing. It holds no secret.
type Status struct {
	Name       string     `json:"name"`
	Generation uint64     `json:"generation"`           // of the copy; 0: none yet
	Behind     uint64     `json:"behind"`               // generations that the place lacks
	LagSeconds int64      `json:"lag_seconds"`          // since the first of them came
	WrittenAt  *time.Time `json:"written_at,omitempty"` // by the clock of the broker that did
	LastError  string     `json:"last_error,omitempty"` // of the last try, if it failed
}

// Status returns how the copy is doing. A copy that does not run here is looked
// up in the store; where only this process could know it reports false.
func (c *Copy) Status(ctx context.Context, a Account, now time.Time) (Status, bool) {
	c.mu.Lock()
	s, running := c.status(now), c.running
	c.mu.Unlock()
	if running {
		return s, true
	}
	w := &writer{Copy: c, a: a}
	if c.Place == "" {
		return s, false
	}
	r, _, err := w.load(ctx)
	if err != nil {
		return s, false
	}
	s = r.status(c.Name)
	if t, came, err := a.Newest(ctx); err == nil && t != nil && !r.has(t) {
		s.Behind, s.LagSeconds = behind(t.Generation, r.Generation), int64(now.Sub(came)/time.Second)
	}
	return s, true
}

// Lag returns for how long the place has lacked a token that is good; zero if it
// has the newest.
func (c *Copy) Lag(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.behind.IsZero() {
		return 0
	}
	return now.Sub(c.behind)
}

// Counts returns how often this process tried to put a token.
func (c *Copy) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

func (c *Copy) status(now time.Time) Status {
	s := c.seen
	s.Name = c.Name
	if !c.behind.IsZero() {
		s.Behind, s.LagSeconds = behind(c.newest, s.Generation), int64(now.Sub(c.behind)/time.Second)
	}
	return s
}

// behind counts generations. A copy of a record that is gone is one behind: the
// generations of the record in its place began anew.
func behind(newest, copied uint64) uint64 {
	if newest > copied {
		return newest - copied
	}
	return 1
}

// wants notes that there is a token which the place may lack.
func (c *Copy) wants(t *jeton.Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.newest = t.Generation
	if c.behind.IsZero() {
		c.behind = time.Now()
	}
}

// has notes that the place lacks nothing that could be put there.
func (c *Copy) has() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behind = time.Time{}
}

// saw notes how the copy is doing, by the record or by this process.
func (c *Copy) saw(s Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = s
}

// failed notes an error, in words for people.
func (c *Copy) failed(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen.LastError = text
}

func (c *Copy) count(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.counts.OK++
	} else {
		c.counts.Failed++
	}
}

// Run copies each new token of the account until ctx ends, and closes the sink.
// That takes less than a second, whatever the sink does. Nobody waits for a
// copy: Run has a goroutine of its own, and keeps one token in memory.
func (c *Copy) Run(ctx context.Context, a Account) {
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
	w := newWriter(c, a)
	w.run(ctx)
	if closer, ok := c.Sink.(io.Closer); ok && w.stuck == nil {
		closed := make(chan struct{})
		go func() { _ = closer.Close(); close(closed) }() // nobody is left to tell
		select {
		case <-closed:
		case <-time.After(moment):
		}
	}
}

// words returns an error as people see it: short, on one line, and without the
// token or a piece of it, whatever a library put into it.
func words(err error, t *jeton.Token) string {
	const most = 300
	text := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error())
	if shows(text, t.AccessToken.Reveal()) {
		return "an error that shows the token"
	}
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}

// shows reports whether a text has a secret in it, or a piece that is long enough
// to tell: one who repeats what it was sent may cut it, or escape a part.
func shows(text, secret string) bool {
	piece := min(len(secret), 16)
	if piece == 0 {
		return false
	}
	for i := range len(secret) - piece + 1 {
		if strings.Contains(text, secret[i:i+piece]) {
			return true
		}
	}
	return false
}
