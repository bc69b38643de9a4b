package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
)

// A plan is what a seed says of a run before it begins.
type plan struct {
	seed     uint64
	name     string        // of the dialect
	lifetime time.Duration // of access tokens
	rotates  bool          // logins grant refresh tokens, where the dialect leaves that open
	rate     dialect.Rate  // zero: the dialect's own
	brokers  int
	lease    time.Duration
	latency  time.Duration   // of one way to the store, at most
	polls    bool            // the store cannot watch
	skews    []time.Duration // :: slot -> how far its clock is off; empty: the store has no clock, and all are on one machine
	silent   bool            // the vendor does not say when a token expires
	minTTL   bool            // some readers want a token to live for long
	aside    bool            // another account shares the login limits
	lists    bool            // brokers know the password before this one too
	calls    bool            // programs call the API through the brokers
	every    time.Duration   // between reads of one broker, on average
	calm     time.Duration   // when all faults are over
	faults   []*fault
}

// A fault is something that goes wrong.
type fault struct {
	kind    string
	at      time.Duration // since the beginning
	onLease bool          // begin at the next attempt after that, because renewals are rare
	lasts   time.Duration
	slot    int // whom it befalls; -1: everybody
	n       int // means something else to each kind
	text    string

	from, to time.Time // once it has begun
}

func (f *fault) String() string {
	when := ""
	if f.onLease {
		when = " on the next lease"
	}
	return fmt.Sprintf("%s(%s %d) at %v%s for %v slot %d", f.kind, f.text, f.n, f.at, when, f.lasts, f.slot)
}

// String tells a plan to a person.
func (p plan) String() string {
	var faults strings.Builder
	for _, f := range p.faults {
		faults.WriteString("\n    " + f.String())
	}
	return fmt.Sprintf("%s, lifetime %v, refresh %v, rate %v, %d brokers, lease %v, latency %v, polls %v, clocks %v, silent %v, min_ttl %v, aside %v, lists %v, calls %v, calm at %v%s",
		p.name, p.lifetime, p.rotates, p.rate, p.brokers, p.lease, p.latency, p.polls, p.skews, p.silent, p.minTTL, p.aside, p.lists, p.calls, p.calm, faults.String())
}

// seedDialects are parsed once; each world changes a copy.
var seedDialects = sync.OnceValue(func() map[string]*dialect.Dialect {
	all := map[string]*dialect.Dialect{}
	for _, name := range []string{"oauth2", "iadvize", "altrata", "alvys", "web1on1"} {
		d, err := dialects.Load(name)
		if err != nil {
			panic(err)
		}
		all[name] = d
	}
	return all
})

var vendorOrigin = &url.URL{Scheme: "http", Host: "vendor.test"}

// maxSkew is how far a broker's clock is off at most.
const maxSkew = 10 * time.Minute

// phases are the steps of an attempt at which a broker can die.
var phases = []string{"put-before", "put-after", "budget-before", "budget-after", "send", "executed", "answered"}

func newPlan(seed uint64) plan {
	r := rand.New(rand.NewPCG(seed, 0x6a65746f6e))
	between := func(lo, hi time.Duration) time.Duration { return lo + time.Duration(r.Int64N(int64(hi-lo))) }
	p := plan{seed: seed, name: []string{"oauth2", "iadvize", "altrata", "altrata", "alvys", "web1on1", "web1on1"}[r.IntN(7)]}
	switch n := r.IntN(100); {
	case n < 93:
		p.brokers = 2 + r.IntN(3)
	case n < 99:
		p.brokers = 5 + r.IntN(8)
	default:
		p.brokers = 13 + r.IntN(52)
	}
	p.lifetime = between(5*time.Minute, 30*time.Minute) // a short one takes less to simulate
	if r.IntN(6) == 0 {
		p.lifetime = between(30*time.Minute, 2*time.Hour)
	}
	p.polls = r.IntN(10) == 0 && p.brokers < 5
	if p.polls {
		p.lifetime = between(5*time.Minute, 15*time.Minute)
	} else if documented := seedDialects()[p.name].Lifetime; r.IntN(20) == 0 && documented > 0 {
		p.lifetime = documented
	}
	p.rotates = r.IntN(2) == 0
	if r.IntN(3) == 0 {
		p.rate = dialect.Rate{Count: 1 + r.IntN(3), Per: between(10*time.Second, 5*time.Minute)}
	}
	p.lifetime = p.lifetime.Truncate(time.Second) // expires_in has no fractions
	p.lease = []time.Duration{3 * time.Second, 15 * time.Second}[r.IntN(2)]
	p.latency = between(time.Millisecond, 60*time.Millisecond)
	if r.IntN(10) < 8 {
		for range p.brokers {
			p.skews = append(p.skews, between(-maxSkew, maxSkew))
		}
	}
	p.silent = (p.name == "oauth2" || p.name == "alvys") && r.IntN(4) == 0
	p.minTTL = r.IntN(4) == 0
	p.aside = p.rate.Count > 0 && p.name != "altrata" && r.IntN(3) == 0 // whose logins would end this one's token
	p.lists = r.IntN(3) == 0
	lives := 1 + r.IntN(2)
	p.calm = time.Duration(lives)*p.lifetime + between(0, p.lifetime)
	p.every = p.calm / 60
	p.calls = p.name == "altrata" && r.IntN(3) == 0
	if r.IntN(20) == 0 || p.calls && r.IntN(2) == 0 {
		return p // nothing goes wrong
	}
	for range 1 + r.IntN(7) {
		p.faults = append(p.faults, p.fault(r, between))
	}
	return p
}

func (p *plan) fault(r *rand.Rand, between func(lo, hi time.Duration) time.Duration) *fault {
	kinds := []string{"crash", "crash", "crash", "close", "partition", "partition", "partition", "lose", "lose", "slow", "slow",
		"429", "429", "5xx", "5xx", "dial", "password", "revoke", "picky", "step", "step", "clock"}
	f := &fault{kind: kinds[r.IntN(len(kinds))], slot: r.IntN(p.brokers), at: between(0, p.calm), onLease: r.IntN(4) > 0}
	if r.IntN(4) == 0 {
		f.at = 0 // in the first login
	}
	f.lasts = between(time.Second, time.Duration(1+r.IntN(20))*time.Minute)
	switch f.kind {
	case "crash":
		f.n, f.text, f.lasts = r.IntN(3), phases[r.IntN(len(phases))], p.calm
		f.slot = -1
	case "close":
		f.slot = -1
	case "partition":
		f.n, f.text = 5+r.IntN(60), []string{"down", "down", "lossy", "slow"}[r.IntN(4)]
		if r.IntN(3) == 0 {
			f.slot = -1
		} else if r.IntN(3) > 0 {
			f.slot = -2 // the one that leads
		}
	case "slow":
		f.lasts = between(time.Second, 3*time.Minute)
	case "lose":
		f.n = 1 + r.IntN(3)
	case "429":
		f.n = []int{0, 5, 30, 60, 300}[r.IntN(5)]
	case "5xx":
		f.n, f.text = []int{500, 502, 503}[r.IntN(3)], []string{"before", "after"}[r.IntN(2)]
	case "dial":
		f.slot = []int{-1, f.slot}[r.IntN(2)]
	case "password":
		f.n, f.onLease, f.lasts = r.IntN(10), false, between(time.Second, p.calm) // until the last broker has learnt it
	case "revoke":
		f.onLease = false
	case "step":
		f.slot = r.IntN(p.brokers)
	case "clock":
		f.slot, f.onLease = []int{-1, f.slot}[r.IntN(2)], false
	}
	return f
}

// bound is how long it takes until an account is healthy once the faults are
// over: the longest back-off or Retry-After, a lease that must die, an exchange
// that is still on its way, a budget's window, and a look at a latched account.
func (p plan) bound() time.Duration {
	return 6*time.Minute + p.lease + 2*time.Minute + 2*max(p.rate.Per, time.Minute) + latchedEvery + time.Minute
}

// dialect returns the vendor's dialect with what the plan changes in it.
func (p plan) dialect() *dialect.Dialect {
	d := *seedDialects()[p.name]
	if d.Lifetime = p.lifetime; p.silent {
		d.Lifetime = 0
	}
	if p.rate.Count > 0 {
		kind := "username"
		if !slices.Contains(d.LoginVars(), kind) {
			kind = "client_id"
		}
		d.Rate = map[string]dialect.Rate{kind: p.rate}
	}
	return &d
}

// strike waits for the time of a fault and lets it happen.
func (w *world) strike(f *fault) {
	time.Sleep(f.at)
	w.mu.Lock()
	if !w.quiet {
		w.begin(f)
	}
	w.mu.Unlock()
}

// leaseBegins lets the faults begin that wait for an attempt. The caller holds mu.
func (w *world) leaseBegins(n *node) {
	for _, f := range w.pending {
		if f.onLease && f.from.IsZero() && time.Since(w.begun) >= f.at {
			if f.slot == -2 {
				f.slot = n.slot
			}
			w.begin(f)
		}
	}
}

// begin starts a fault. The caller holds mu.
func (w *world) begin(f *fault) {
	now := time.Now()
	f.from, f.to = now, now.Add(min(f.lasts, time.Until(w.begun.Add(w.calm))))
	w.log("begin %v", f)
	switch f.kind {
	case "close":
		if n := w.slots[int(w.draw("close")%uint64(len(w.slots)))]; n != nil {
			time.AfterFunc(w.within("close", 0, 3*time.Second), func() { w.stop(n) })
		}
	case "revoke":
		w.revoke()
	case "password":
		w.changePassword(f)
	case "step":
		if len(w.skews) > 0 {
			skew := w.within("step", -maxSkew, maxSkew)
			w.log("the clock of slot %d is %v off", f.slot, skew)
			w.clocks[f.slot].Store(int64(skew))
		}
	}
}

// stop ends a broker in good order, as a deployment does.
func (w *world) stop(n *node) {
	w.mu.Lock()
	if n.dead || w.over {
		w.mu.Unlock()
		return
	}
	w.log("close %d", n.id)
	n.dead = true
	n.kill()
	w.mu.Unlock()
	<-n.ended
	w.mu.Lock()
	w.again(n.slot, w.within("restart", 100*time.Millisecond, time.Minute))
	w.mu.Unlock()
}

// changePassword changes it at the vendor, and at each broker at a time of its
// own: some know it before. The caller holds mu.
func (w *world) changePassword(f *fault) {
	w.passwords++
	next := fmt.Sprintf("password-%d", w.passwords)
	change := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.quiet {
			return
		}
		w.log("the password is %s", next)
		w.password = next
		if f.n >= 5 {
			w.revoke()
		}
	}
	time.AfterFunc(w.within("change "+next, 0, min(time.Minute, f.lasts/2)), change)
	for slot := range w.slots {
		time.AfterFunc(w.within("learn "+strconv.Itoa(slot), 0, f.lasts), func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.quiet || w.secrets[slot] > next && strings.HasPrefix(w.secrets[slot], "password-") {
				return
			}
			w.log("slot %d learns %s", slot, next)
			w.learns(slot, next)
		})
	}
	// An operator comes when all know it: who knew it too early was refused.
	if f.n%2 == 0 {
		time.AfterFunc(f.lasts+time.Second, func() {
			w.mu.Lock()
			quiet := w.quiet
			w.mu.Unlock()
			if !quiet {
				w.release()
			}
		})
	}
}

// learns tells a password to the brokers of a slot. The caller holds mu.
func (w *world) learns(slot int, next string) {
	if w.secrets[slot] != next {
		w.older[slot], w.secrets[slot] = w.secrets[slot], next
	}
	if n := w.slots[slot]; n != nil {
		n.creds.set(w.secretName(), next)
		n.older.set(w.secretName(), w.older[slot])
	}
}

// active returns the fault of a kind that befalls a slot now. The caller holds mu.
func (w *world) active(kind string, slot int) *fault {
	now := time.Now()
	for _, f := range w.pending {
		if f.kind == kind && !f.from.IsZero() && !now.Before(f.from) && now.Before(f.to) && (f.slot < 0 || f.slot == slot || slot < 0) {
			return f
		}
	}
	return nil
}

// dies crashes a broker if a fault says that it dies at this step. The caller
// holds mu.
func (w *world) dies(n *node, phase string) bool {
	f := w.active("crash", n.slot)
	if f == nil || f.text != phase {
		// Another crash may wait for this step.
		f = nil
		for _, g := range w.pending {
			if g.kind == "crash" && g.text == phase && !g.from.IsZero() && time.Now().Before(g.to) {
				f = g
			}
		}
	}
	if f == nil || n.dead {
		return false
	}
	if f.n > 0 {
		f.n--
		return false
	}
	w.pending = slices.DeleteFunc(slices.Clone(w.pending), func(g *fault) bool { return g == f })
	w.crash(n, phase)
	return true
}

// pause waits as long as ctx allows.
func pause(ctx context.Context, d time.Duration) error {
	if !sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}
