package broker

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/store"
)

// The simulation lets brokers that share a store keep one account at a vendor
// through hours of faults, in virtual time, and checks the promise of the
// package at every write, every exchange and every read. See sim_check_test.go
// for what is checked, with the bounds.
//
// All of it follows from the seed: what happens when (sim_plan_test.go), how
// long each step takes, and the brokers' own jitter. Lengths of time are drawn
// to the nanosecond, so that hardly ever two things happen at once; and what one
// event wakes at the same instant draws the same, whatever the order of its
// goroutines. Not drawn from the seed are that order, which hardly ever matters,
// and random texts (salts, names of brokers), which nothing depends on.

// A world is one run.
type world struct {
	plan
	d      *dialect.Dialect
	mem    *store.Memory
	key    string  // of the account's record
	mutant *mutant // nil: the package as it is
	begun  time.Time

	mu       sync.Mutex     // guards what follows, and the nodes
	slots    []*node        // :: slot -> the broker that runs there now; nil: none
	nodes    []*node        // all that ever ran
	pending  []*fault       // those that are not over
	clocks   []atomic.Int64 // :: slot -> how far its clock is off
	older    []string       // :: slot -> the password that it knew before
	password string         // what the vendor takes
	ops      int
	quiet    bool // no more faults
	over     bool

	vendorState
	truth

	verbose    bool
	trace      []string // what happened, if verbose
	violations []string
	caught     chan struct{} // closed when it is of no use to go on
}

// A node is one broker process.
type node struct {
	w       *world
	id      int
	slot    int
	b       *Broker
	creds   *credentials
	older   *credentials // those before
	started time.Time
	kill    context.CancelFunc
	ended   chan struct{} // closed when Run has returned

	dead      bool      // told to stop, or cut off
	cut       bool      // nothing that it does reaches anybody
	slowUntil time.Time // when an operation of the store ends that takes long
	lease     *leased   // the last one that it took
	served    *minted   // what its readers got last
	servedAt  time.Time // when
}

// simulate runs a seed and returns what went wrong.
func simulate(t *testing.T, seed uint64, m *mutant, verbose bool) *world {
	w := &world{plan: newPlan(seed), mutant: m, verbose: verbose}
	synctest.Test(t, func(t *testing.T) {
		w.caught = make(chan struct{})
		w.run()
	})
	return w
}

func (w *world) run() {
	w.begun = time.Now()
	w.d, w.password = w.dialect(), rightPassword
	w.mem = store.NewMemory()
	w.tokens, w.spent = map[string]*minted{}, map[string]*minted{}
	w.generations = map[uint64]string{}
	w.slots = make([]*node, w.brokers)
	w.secrets, w.older = make([]string, w.brokers), make([]string, w.brokers)
	w.clocks = make([]atomic.Int64, w.brokers)
	for slot, skew := range w.skews {
		w.clocks[slot].Store(int64(skew))
	}
	own := w.account(newCredentials())
	vars, err := own.variables(context.Background())
	if err != nil {
		panic(err)
	}
	w.key = own.recordKey(vars)
	w.pending = w.faults
	for slot := range w.slots {
		w.secrets[slot], w.older[slot] = rightPassword, rightPassword
		w.start(slot)
	}
	var background sync.WaitGroup
	for slot := range w.slots {
		background.Go(func() { w.readers(slot) })
	}
	for _, f := range w.faults {
		if !f.onLease {
			background.Go(func() { w.strike(f) })
		}
	}
	if w.passes(w.calm) {
		w.settle()
	}
	if w.passes(w.bound()) {
		w.healthy("after the faults", false)
	}
	if w.passes(w.lifetime + w.bound()) {
		w.healthy("a lifetime later", true)
	}

	w.mu.Lock()
	w.quiet, w.over, w.pending = true, true, nil
	for _, n := range w.slots {
		if n != nil { // else one is about to start, and finds that it is over
			n.dead = true
			n.kill()
		}
	}
	w.mu.Unlock()
	for _, n := range w.nodes {
		<-n.ended
		n.b.work.Wait()
	}
	background.Wait()
	time.Sleep(2 * time.Minute) // for what is on its way to the vendor, and back
}

// passes lets time pass, and reports whether it is of use to go on.
func (w *world) passes(d time.Duration) bool {
	select {
	case <-w.caught:
		return false
	case <-time.After(d):
		return true
	}
}

// draw returns a number that follows from the seed, the name and the time.
// Goroutines that draw under the same name at the same instant get the same, or
// their order would matter.
func (w *world) draw(name string) uint64 {
	x := w.seed ^ 14695981039346656037
	for i := range len(name) {
		x = (x ^ uint64(name[i])) * 1099511628211
	}
	x += uint64(time.Since(w.begun)) * 0x9e3779b97f4a7c15
	// That was FNV, which hardly mixes, and this is the end of splitmix64.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// within draws a length of time from lo up to hi.
func (w *world) within(name string, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.draw(name)%uint64(hi-lo+1))
}

// odds draws true in so many percent of cases.
func (w *world) odds(name string, percent uint64) bool { return w.draw(name)%100 < percent }

// start begins a broker in a slot that is free. The caller does not hold mu.
func (w *world) start(slot int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slots[slot] != nil || w.over {
		return
	}
	n := &node{w: w, id: len(w.nodes), slot: slot, creds: newCredentials(), older: newCredentials(), started: time.Now(), ended: make(chan struct{})}
	n.creds.set(w.secretName(), w.secrets[slot])
	n.older.set(w.secretName(), w.older[slot])
	name := "jitter " + strconv.Itoa(n.id)
	accounts := []Account{w.account(n.creds)}
	if w.lists {
		accounts[0].Others = []func(context.Context) (jeton.Vars, error){n.older.resolve}
	}
	if w.aside {
		other := w.account(n.creds)
		other.Name, other.Origin = "b", asideOrigin
		accounts = append(accounts, other)
	}
	n.b = &Broker{
		Store: w.store(n), HTTP: roundTripper(n.roundTrip), Lease: w.lease, Accounts: accounts,
		skew: func() time.Duration { return time.Duration(w.clocks[slot].Load()) },
		chance: func(d time.Duration) time.Duration {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.within(name, 0, d)
		},
	}
	ctx, kill := context.WithCancel(context.Background())
	n.kill = kill
	w.slots[slot] = n
	w.nodes = append(w.nodes, n)
	w.log("start %d in slot %d", n.id, slot)
	go func() {
		defer close(n.ended)
		n.b.Run(ctx)
	}()
}

// account is the account that the world watches.
func (w *world) account(c *credentials) Account {
	return Account{Name: "a", Dialect: w.d, Origin: vendorOrigin, Secrets: c.resolve}
}

// crash cuts a broker off for good: nothing that it does from now on reaches
// anybody, and what it has sent is on its way. The caller holds mu.
func (w *world) crash(n *node, why string) {
	if n.dead {
		return
	}
	w.log("crash %d: %s", n.id, why)
	n.dead, n.cut = true, true
	n.b.stop()
	n.b.abort()
	n.kill()
	w.again(n.slot, w.within("restart", 100*time.Millisecond, 5*time.Minute))
}

// again starts a broker in a slot after a while. The caller holds mu.
func (w *world) again(slot int, after time.Duration) {
	if w.quiet {
		after = time.Second
	}
	w.slots[slot] = nil
	time.AfterFunc(after, func() { w.start(slot) })
}

// settle ends all faults: every broker runs and knows the right password.
func (w *world) settle() {
	w.mu.Lock()
	w.quiet, w.pending = true, nil
	w.log("quiet")
	for slot := range w.slots {
		w.learns(slot, w.password)
	}
	w.mu.Unlock()
	for slot := range w.slots {
		w.start(slot)
	}
	w.release()
}

// release is what an operator does once the password is right everywhere.
func (w *world) release() {
	w.mu.Lock()
	n := w.slots[0]
	w.epoch++
	w.forgetRefusals()
	w.mu.Unlock()
	for n != nil && n.b.Release(context.Background(), "a") != nil && !n.gone() && w.passes(time.Second) {
	}
	w.mu.Lock()
	w.epoch++
	w.forgetRefusals()
	w.mu.Unlock()
}

func (n *node) gone() bool {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.dead
}

// secretName is the variable that holds the password.
func (w *world) secretName() string {
	if slices.Contains(w.d.LoginVars(), "client_secret") {
		return "client_secret"
	}
	return "password"
}

// readers ask the broker of a slot from time to time: many at first, then one.
func (w *world) readers(slot int) {
	name := "reader " + strconv.Itoa(slot)
	first := 3
	var reading sync.WaitGroup
	for {
		w.mu.Lock()
		wait := w.within(name, 0, 2*w.every)
		if first > 0 {
			first--
			wait = w.within(name, 0, 300*time.Millisecond)
		}
		over := w.over
		w.mu.Unlock()
		if over {
			break
		}
		time.Sleep(wait)
		reading.Go(func() { w.read(slot) })
	}
	reading.Wait()
}

// read asks for a token as a program does that calls the vendor's API with it,
// and reports a token that the API refuses.
func (w *world) read(slot int) {
	w.mu.Lock()
	n := w.slots[slot]
	var minTTL time.Duration
	if w.minTTL && n != nil && !w.quiet && w.odds(n.name("min_ttl"), 30) {
		minTTL = w.within(n.name("min_ttl"), 0, 2*w.lifetime)
	}
	w.mu.Unlock()
	if n == nil || n.gone() {
		return
	}
	if w.calls {
		w.call(n)
	}
	if w.aside {
		_, _ = n.b.Token(context.Background(), "b", 0)
	}
	began := time.Now()
	token, err := n.b.Token(context.Background(), "a", minTTL)
	refused, picky := w.sawToken(n, began, token, err)
	if !refused && !picky {
		return
	}
	began = time.Now()
	token, err = n.b.Report(context.Background(), "a", token.Generation)
	w.sawReport(n, began, token, err)
}

// log notes an event. The caller holds mu.
func (w *world) log(format string, args ...any) {
	if w.verbose {
		w.trace = append(w.trace, fmt.Sprintf("%15v ", time.Since(w.begun))+fmt.Sprintf(format, args...))
	}
}

// violate notes that the promise was broken. The caller holds mu.
func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.log("VIOLATION %s", text)
	if w.mutant != nil {
		w.end()
	}
	if len(w.violations) < 20 {
		w.violations = append(w.violations, fmt.Sprintf("%v: %s", time.Since(w.begun), text))
	}
}

// end cuts the run short. The caller holds mu.
func (w *world) end() {
	select {
	case <-w.caught:
	default:
		close(w.caught)
	}
}

// number reads a count from the environment.
func number(t *testing.T, name string) (uint64, bool) {
	text := os.Getenv(name)
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s is to be a number", name)
	}
	return n, true
}

// TestSimulation runs SIM_SEEDS seeds from SIM_FROM on, 2,000 from 1 unless they
// are set; SIM_SEED=n runs one and prints what happened in it. Under the race
// detector, with which a seed takes five times as long, a process of its own
// that was built without it runs most of them.
func TestSimulation(t *testing.T) {
	if seed, ok := number(t, "SIM_SEED"); ok {
		w := simulate(t, seed, nil, true)
		t.Logf("%s\n%s", w.plan, strings.Join(w.trace, "\n"))
		for _, v := range w.violations {
			t.Error(v)
		}
		return
	}
	count, chosen := number(t, "SIM_SEEDS")
	if !chosen {
		count = 2000
	}
	first, ok := number(t, "SIM_FROM")
	if !ok {
		first = 1
	}
	const here = 300
	if raced && !chosen {
		t.Run("without the race detector", func(t *testing.T) {
			child := exec.CommandContext(t.Context(), "go", "test", "-race=false", "-count=1", "-timeout=9m", "-run=TestSimulation$", ".")
			child.Env = append(os.Environ(), fmt.Sprintf("SIM_FROM=%d", first+here), fmt.Sprintf("SIM_SEEDS=%d", count-here))
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
		count = here
	}
	began := time.Now()
	var next, ran, failed atomic.Uint64
	t.Run("seeds", func(t *testing.T) {
		for shard := range 2 {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				for failed.Load() < 5 {
					n := next.Add(1)
					if n > count {
						return
					}
					seed := first + n - 1
					w := simulate(t, seed, nil, false)
					ran.Add(1)
					if len(w.violations) > 0 {
						failed.Add(1)
						t.Errorf("seed %d: %s\n  %s\nreplay: SIM_SEED=%d go test -run 'TestSimulation$' -v ./broker",
							seed, w.plan, strings.Join(w.violations, "\n  "), seed)
					}
				}
			})
		}
	})
	t.Logf("%d seeds in %v", ran.Load(), time.Since(began).Round(time.Millisecond))
}

// TestSimulationReplays: a seed is the same run each time, to the nanosecond, or
// its replay would show something else. Where the scheduler chose another order
// for goroutines that run at the same instant, which is rare, a second replay
// shows it.
func TestSimulationReplays(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		var runs [][]string
		for len(runs) < 5 {
			trace := simulate(t, seed, nil, true).trace
			if slices.ContainsFunc(runs, func(other []string) bool { return slices.Equal(trace, other) }) {
				break
			}
			runs = append(runs, trace)
		}
		if len(runs) == 5 {
			t.Errorf("seed %d: no two of five runs are the same", seed)
		}
	}
}
