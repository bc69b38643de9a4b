package limit

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

var ten = Rule{"u", 10, time.Minute}

// TestWindow: ten at once, not the eleventh, and one more when the first is a
// minute old.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(Limiter)
		for i := range 10 {
			if wait := l.Attempt(ten); wait != 0 {
				t.Fatalf("attempt %d waits %v", i+1, wait)
			}
			time.Sleep(time.Second)
		}
		if wait := l.Attempt(ten); wait != 50*time.Second {
			t.Fatalf("the eleventh waits %v, want 50s", wait)
		}
		time.Sleep(50 * time.Second)
		if wait := l.Attempt(ten); wait != 0 {
			t.Fatalf("after the wait there is another of %v", wait)
		}
	})
}

// TestHammering: who goes on during a block waits longer and longer, up to the
// cap; the block then ends by itself.
func TestHammering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{MaxBlock: 10 * time.Minute}
		for range 10 {
			l.Attempt(ten)
		}
		var last time.Duration
		for i := range 8 {
			wait := l.Attempt(ten)
			if wait < last || wait > 10*time.Minute {
				t.Fatalf("attempt %d during the block waits %v after %v", i, wait, last)
			}
			last = wait
		}
		if last != 10*time.Minute {
			t.Fatalf("the block grew to %v, want the cap", last)
		}
		time.Sleep(10*time.Minute - time.Nanosecond)
		if l.Peek(ten) != time.Second {
			t.Fatal("the block ended early")
		}
		time.Sleep(time.Nanosecond)
		if wait := l.Attempt(ten); wait != 0 {
			t.Fatalf("the block did not end: %v", wait)
		}
	})
}

// TestOnlyTheFirstRuleIsBlocked: a pair that hammers does not block what other
// pairs share with it, and a refused attempt counts nowhere.
func TestOnlyTheFirstRuleIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(Limiter)
		pair, ip := Rule{"pair", 2, time.Minute}, Rule{"ip", 100, time.Minute}
		for range 50 {
			l.Attempt(pair, ip)
		}
		if wait := l.Peek(ip); wait != 0 {
			t.Fatalf("the shared rule is blocked for %v", wait)
		}
		left := 0
		for l.Attempt(ip) == 0 {
			left++
		}
		if left != 98 {
			t.Fatalf("%d are left of 100 after two that counted", left)
		}
	})
}

// TestParallelGuesses: the count is exact however many ask at once.
func TestParallelGuesses(t *testing.T) {
	l := new(Limiter)
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if l.Attempt(ten) == 0 {
				allowed.Add(1)
			}
		})
	}
	wg.Wait()
	if allowed.Load() != 10 {
		t.Fatalf("%d of 1000 parallel attempts were allowed, want 10", allowed.Load())
	}
}

// TestLongestWait: who waits as long as it was told is not refused by another
// rule then.
func TestLongestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(Limiter)
		short, long := Rule{"s", 1, time.Second}, Rule{"l", 1, time.Hour}
		l.Attempt(short, long)
		if wait := l.Attempt(short, long); wait != time.Hour {
			t.Fatalf("the wait is %v, want that of the longer rule", wait)
		}
		time.Sleep(time.Hour)
		if wait := l.Attempt(short, long); wait != 0 {
			t.Fatalf("after the wait there is another of %v", wait)
		}
	})
}

// TestRoundUp: waits are in whole seconds, and waiting so long is enough.
func TestRoundUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(Limiter)
		rule := Rule{"u", 1, time.Minute}
		l.Attempt(rule)
		time.Sleep(time.Millisecond)
		if wait := l.Attempt(rule); wait != time.Minute {
			t.Fatalf("the wait is %v, want a whole minute", wait)
		}
	})
}

// TestCount: what is counted without asking weighs as much, and the latest
// events are those that are remembered.
func TestCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := new(Limiter)
		for range 30 {
			l.Count(ten)
			time.Sleep(time.Second)
		}
		if n := len(l.entries["u"].Value.(*entry).times); n != 10 {
			t.Errorf("%d times are kept, want 10", n)
		}
		if wait := l.Attempt(ten); wait != 50*time.Second {
			t.Errorf("the wait is %v, want 50s", wait)
		}
	})
}

// TestOddRules: none allowed, and no span to count in.
func TestOddRules(t *testing.T) {
	l := new(Limiter)
	for range 3 {
		if l.Attempt(Rule{"none", 0, time.Minute}) < time.Minute {
			t.Error("a rule that allows none allowed one")
		}
		if wait := l.Attempt(Rule{"void", 1, 0}); wait != 0 {
			t.Errorf("a rule without a span refused for %v", wait)
		}
	}
}

// TestBoundedMemory: random keys neither grow the memory nor free one who is
// blocked, not even if most keys are; and long keys take no more than short.
func TestBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Limiter{MaxKeys: 100}
		one := func(i int) Rule { return Rule{strings.Repeat("x", 1000) + fmt.Sprint(i), 1, time.Hour} }
		for i := range 99 {
			for range 2 {
				l.Attempt(one(i))
			}
		}
		for i := range 1000 {
			l.Attempt(Rule{fmt.Sprint(i), 10, time.Minute})
		}
		if n := len(l.entries); n != 100 || n != l.free.Len()+l.blocked.Len() {
			t.Fatalf("%d keys are kept, in lists of %d and %d, want 100", n, l.free.Len(), l.blocked.Len())
		}
		for i := range 99 {
			if l.Peek(one(i)) == 0 {
				t.Fatal("a flood of other keys ended a block")
			}
		}
		for key := range l.entries {
			if len(key) > 64 {
				t.Fatalf("a key of %d bytes is kept", len(key))
			}
		}
		for i := range 1000 { // all blocked: one of them has to go
			for range 2 {
				l.Attempt(one(i))
			}
		}
		if n := len(l.entries); n != 100 {
			t.Fatalf("%d keys are kept, want 100", n)
		}
		time.Sleep(2 * time.Hour)
		for i := range 100 {
			l.Attempt(Rule{fmt.Sprint(i), 10, time.Minute})
		}
		time.Sleep(2 * time.Hour)
		for range 50 {
			l.Attempt(Rule{"again" + fmt.Sprint(rand.Int()), 10, time.Minute})
		}
		if n := len(l.entries); n > 60 {
			t.Errorf("%d keys are kept, most of which say nothing any more", n)
		}
	})
}

// TestLaw: in no window are more than Count allowed, whatever the timing.
func TestLaw(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Int64Range(0, int64(30*time.Second)), 1, 100).Draw(rt, "steps")
		count := rapid.IntRange(1, 5).Draw(rt, "count")
		synctest.Test(t, func(t *testing.T) {
			l := new(Limiter)
			var allowed []time.Time
			for _, step := range steps {
				time.Sleep(time.Duration(step))
				if l.Attempt(Rule{"k", count, time.Minute}) == 0 {
					allowed = append(allowed, time.Now())
				}
			}
			for i := count; i < len(allowed); i++ {
				if allowed[i].Sub(allowed[i-count]) < time.Minute {
					t.Fatalf("%d in %v", count+1, allowed[i].Sub(allowed[i-count]))
				}
			}
		})
	})
}
