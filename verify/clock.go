package verify

import (
	"sync/atomic"
	"time"
)

// A clock says what time it is, faster than time.Now: it reads the monotonic
// clock, and the wall clock every few milliseconds only. So it takes that long
// to see that the wall clock was set. It is safe for concurrent use.
type clock struct{ read atomic.Pointer[time.Time] }

// trusted is how long ago the wall clock was read at most.
const trusted = 5 * time.Millisecond

func (c *clock) now() time.Time {
	if at := c.read.Load(); at != nil {
		if passed := time.Since(*at); passed < trusted {
			return at.Add(passed)
		}
	}
	now := time.Now()
	c.read.Store(&now)
	return now
}
