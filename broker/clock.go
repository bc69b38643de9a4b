package broker

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jetonhq/jeton/store"
)

// Records hold times, and are read on machines whose clocks may be minutes
// apart. So the times in them are those of one clock: the store's if it has
// one, else that of the machine on which all who share the store run. The
// broker reckons on that clock throughout (now); what leaves it is on this
// machine's clock (here). How long something takes is asked of no wall clock.

// An instant is one moment by both clocks of this machine.
type instant struct {
	wall time.Time // can be set; goes on while the machine sleeps
	mono time.Time // has Go's monotonic reading, with which neither is so
}

// jump returns by how much the wall clock was set, or how long the machine
// slept, between two instants.
func (i instant) jump(later instant) time.Duration {
	return later.wall.Sub(i.wall) - later.mono.Sub(i.mono)
}

// A reckoning is what is known of the store's clock.
type reckoning struct {
	instant               // when it was read
	ahead   time.Duration // of this machine's wall clock
	wrong   time.Duration // by how much that may be off
}

// A storeClock is the clock of the store as a broker reads it from time to time.
type storeClock struct {
	known atomic.Pointer[reckoning] // nil: nothing
	deaf  atomic.Int32              // readings that failed in a row, while the store answered otherwise
	turn  chan struct{}             // full while somebody reads, who alone may use what follows
	tried time.Time                 // when a reading failed last
}

const (
	readEvery    = 5 * time.Minute  // how often the store's clock is read
	clockTimeout = 10 * time.Second // for that
	mostDeaf     = 10               // readings that fail until a broker goes on without any
	jumpEvery    = 30 * time.Second // how often a broker looks whether its wall clock jumped
	leastJump    = time.Second      // that is one
)

// instant is now.
func (b *Broker) instant() instant {
	i := instant{mono: time.Now()}
	i.wall = i.mono.Round(0)
	if b.skew != nil {
		i.wall = i.wall.Add(b.skew())
	}
	return i
}

// now is the time on the clock that the records are on. When this machine's
// clock is set back, time goes on all the same.
func (b *Broker) now() time.Time {
	i, r := b.instant(), b.clock.known.Load()
	if r == nil {
		return i.wall
	}
	if r.jump(i) < 0 {
		i.wall = r.wall.Add(i.mono.Sub(r.mono))
	}
	return i.wall.Add(r.ahead)
}

// here returns a time of a record as this machine's clock shows it.
func (b *Broker) here(t time.Time) time.Time {
	if r := b.clock.known.Load(); r != nil && !t.IsZero() {
		return t.Add(-r.ahead)
	}
	return t
}

// earliest and latest are the bounds of what now may be: it is as wrong as the
// reading of the store's clock was, and when the wall clock jumped ahead since,
// it is not known yet whether it was set or the machine slept. By these bounds no
// vendor is asked too soon, and no token expires too late.
func (b *Broker) earliest() time.Time { return b.now().Add(-b.unsure()) }

func (b *Broker) latest() time.Time {
	if r := b.clock.known.Load(); r != nil {
		return b.now().Add(r.wrong)
	}
	return b.now()
}

// unsure is how long before now the earliest is.
func (b *Broker) unsure() time.Duration {
	if r := b.clock.known.Load(); r != nil {
		return r.wrong + max(0, r.jump(b.instant()))
	}
	return 0
}

// errNoClock says that nobody knows yet what the times in the records mean.
var errNoClock = errors.New("broker: the store's clock could not be read")

// readClock reads the store's clock if that is due. When it cannot be read,
// what was known goes on. Where nothing is known, or the wall clock jumped since,
// that is an error for a while; then this machine's clock is believed.
func (b *Broker) readClock(ctx context.Context) error {
	c, ok := b.Store.(store.Clock)
	if !ok || !b.clockDue() {
		return nil
	}
	known := b.clock.known.Load()
	select {
	case b.clock.turn <- struct{}{}:
		defer func() { <-b.clock.turn }()
	default:
		if known != nil {
			return nil // somebody does it
		}
		select {
		case b.clock.turn <- struct{}{}:
			defer func() { <-b.clock.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	missing, gap := error(nil), 30*time.Second
	if (known == nil || known.jump(b.instant()).Abs() >= leastJump) && b.clock.deaf.Load() < mostDeaf {
		missing, gap = errNoClock, time.Second
	}
	if !b.clockDue() {
		return nil
	}
	if !b.clock.tried.IsZero() && time.Since(b.clock.tried) < gap {
		return missing
	}
	limited, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	began := b.instant()
	is, within, err := c.Now(limited)
	if err == nil && b.reckon(began, is, time.Since(began.mono), within) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.clock.tried = time.Now()
	if missing != nil && b.clock.deaf.Add(1) == mostDeaf {
		b.Logger.Warn("the store's clock cannot be read; this machine's is to be right", "error", err)
	}
	return missing
}

func (b *Broker) clockDue() bool {
	r, i := b.clock.known.Load(), b.instant()
	return r == nil || i.mono.Sub(r.mono) >= readEvery || r.jump(i).Abs() >= leastJump
}

// reckon takes a reading of the store's clock over, which said that it is some
// time during the way there and back. What was known before, and may be right
// by this reading too, stays; a reading that was slow says less than what was
// known, and reckon returns false.
func (b *Broker) reckon(began instant, is time.Time, way, within time.Duration) bool {
	next := &reckoning{instant: began, ahead: is.Sub(began.wall.Add(way / 2)), wrong: way/2 + within}
	old := b.clock.known.Load()
	if old == nil {
		old = new(reckoning)
	} else if next.wrong > max(leastJump, old.wrong) && old.jump(began).Abs() < leastJump {
		return false
	}
	off := (next.ahead - old.ahead).Abs()
	if off <= next.wrong {
		next.ahead, next.wrong = old.ahead, next.wrong+off
	}
	b.clock.known.Store(next)
	b.clock.deaf.Store(0)
	if next.ahead != old.ahead {
		b.Logger.Info("this machine's clock is not the store's", "ahead", -next.ahead, "wrong", next.wrong)
		b.showAgain()
	}
	return true
}

// showAgain has every keeper look at its record anew.
func (b *Broker) showAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.keepers {
		k.showAgain()
	}
}

// watchClock looks for jumps of the wall clock until ctx ends. Timers do not
// see them: after a sleep of the machine, what was due meanwhile is late.
func (b *Broker) watchClock(ctx context.Context) {
	for last := b.instant(); sleep(ctx, jumpEvery); {
		now := b.instant()
		jump := last.jump(now)
		last = now
		_ = b.readClock(ctx)
		if jump.Abs() >= leastJump {
			b.Logger.Info("the wall clock was set, or the machine slept", "jump", jump)
			b.showAgain()
		}
	}
}

// maxOffset bounds what is believed of a vendor's clock. One that is further
// off is more likely a server that writes its local time as GMT, while its
// tokens say the right one.
const maxOffset = 30 * time.Minute

// clockOffset estimates by how much a vendor's clock is ahead of this one, from
// the Date of an answer (RFC 9110 section 6.6.1) to a request that left at
// began. It matters where a token says when it expires, such as a JWT's exp,
// which is on the vendor's clock. Date counts whole seconds, and was written
// at some time on the way; an offset that is within that error is none.
func clockOffset(h http.Header, began, arrived time.Time) time.Duration {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	way := arrived.Sub(began)
	offset := date.Add(time.Second / 2).Sub(began.Add(way / 2))
	if size := offset.Abs(); size <= time.Second+way/2 || size > maxOffset {
		return 0
	}
	return offset
}
