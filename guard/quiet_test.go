package guard

import (
	"testing"
	"testing/synctest"
	"time"
)

// An outage that a million calls meet is a line a second, which says how many.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q quiet
		lines, told := 0, 0
		for range 10_000 {
			if unsaid, ok := q.say("x"); ok {
				lines++
				told += 1 + unsaid
			}
			time.Sleep(time.Millisecond)
		}
		if lines != 10 || told < 9_000 {
			t.Errorf("%d lines that tell of %d calls, want 10 of nearly 10,000", lines, told)
		}
		if _, ok := q.say("y"); !ok {
			t.Error("another message had to wait")
		}
	})
}
