package revocation

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
)

func TestTable(t *testing.T) {
	var table Table
	until := time.Now().Add(time.Hour)
	claims := &jeton.Claims{ID: "j", Family: "f", Generations: map[string]uint64{"user/u": 3, "grant/g": 7}, Expiry: until}
	if err := table.Ended(claims); err != nil {
		t.Fatal(err)
	}
	older := &jeton.Claims{ID: "i", Generations: map[string]uint64{"user/u": 3, "grant/g": 6}, Expiry: until}
	if table.Ended(older) == nil {
		t.Error("a token is good after its successor was seen")
	}
	for _, e := range []Event{
		{Counter: "user/u", Number: 4, Until: until},
		{Token: "j", Until: until},
		{Family: "f", Until: until},
	} {
		var table Table
		before := table.Version()
		if !table.Add(e) || table.Add(e) {
			t.Errorf("%v: the first time is news and the second is not", e)
		}
		if table.Version() == before {
			t.Errorf("%v: the version stayed", e)
		}
		if table.Ended(claims) == nil {
			t.Errorf("%v: the token is still good", e)
		}
	}
	if table.Add(Event{Until: until}, Event{Counter: "user/v", Until: until}) || table.Len() != 1 {
		t.Error("an event about nothing is news")
	}
}

// What ends a token never has the name of something else.
func TestTableNames(t *testing.T) {
	until := time.Now().Add(time.Hour)
	var table Table
	table.Add(Event{Counter: "token/j", Number: 9, Until: until}, Event{Token: "family/f", Until: until}, Event{Family: "token/j", Until: until})
	if err := table.Ended(&jeton.Claims{ID: "j", Family: "f", Expiry: until}); err != nil {
		t.Error(err)
	}
}

var start = time.Unix(1_800_000_000, 0)

// anEvent draws an event about one of few things, so that many are about the
// same.
var anEvent = rapid.Custom(func(t *rapid.T) Event {
	id := strconv.Itoa(rapid.IntRange(0, 3).Draw(t, "id"))
	e := Event{Until: start.Add(time.Duration(rapid.IntRange(0, 3600).Draw(t, "until")) * time.Second)}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		e.Token = id
	case 1:
		e.Family = id
	case 2:
		e.Counter, e.Number = "user/"+id, rapid.Uint64Range(1, 5).Draw(t, "number")
	default:
		e.Counter, e.Number = "grant/"+id, rapid.Uint64Range(1, 5).Draw(t, "number")
	}
	return e
})

// someClaims draws a token that could have been ended by an event of anEvent.
var someClaims = rapid.Custom(func(t *rapid.T) *jeton.Claims {
	id := func(name string) string { return strconv.Itoa(rapid.IntRange(0, 3).Draw(t, name)) }
	return &jeton.Claims{
		ID: id("jti"), Family: id("family"), Expiry: start.Add(time.Hour),
		Generations: map[string]uint64{
			"user/" + id("user"):   rapid.Uint64Range(0, 5).Draw(t, "of user"),
			"grant/" + id("grant"): rapid.Uint64Range(1, 5).Draw(t, "of grant"),
		},
	}
})

// endedBy is the plain meaning of events.
func endedBy(events []Event, c *jeton.Claims) bool {
	return slices.ContainsFunc(events, func(e Event) bool {
		number, carries := c.Generations[e.Counter]
		return e.Token != "" && e.Token == c.ID || e.Family != "" && e.Family == c.Family || carries && number < e.Number
	})
}

func contents(t *Table) []Event {
	return slices.SortedFunc(t.All(), func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Counter, b.Counter), cmp.Compare(a.Token, b.Token), cmp.Compare(a.Family, b.Family))
	})
}

// However often events come, and in whatever order, the table is the same, and
// ends just those tokens that the events end.
func TestTableOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(anEvent, 0, 20).Draw(t, "events")
		again := rapid.SliceOfN(rapid.SampledFrom(append(events, Event{})), 0, 20).Draw(t, "again")
		var one, other Table
		one.Add(events...)
		for _, e := range rapid.Permutation(append(again, events...)).Draw(t, "order") {
			other.Add(e)
		}
		if diff := gocmp.Diff(contents(&one), contents(&other)); diff != "" {
			t.Fatal(diff)
		}
		c := someClaims.Draw(t, "token")
		if got := one.Ended(c) != nil; got != endedBy(events, c) {
			t.Fatalf("ended is %v", got)
		}
	})
}

// Sweeping changes no answer about a token that can still be good, and in the
// end nothing is left.
func TestSweep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table Table
		var model []Event
		now := start
		for range rapid.IntRange(1, 10).Draw(t, "rounds") {
			for _, e := range rapid.SliceOfN(anEvent, 0, 5).Draw(t, "events") {
				table.Add(e)
				model = append(model, e)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 1200).Draw(t, "pass")) * time.Second)
			table.Sweep(now)
			for _, e := range model {
				// A token that the event ends, and that expires when the event says.
				c := &jeton.Claims{ID: e.Token, Family: e.Family, Expiry: e.Until}
				if e.Counter != "" {
					c.Generations = map[string]uint64{e.Counter: e.Number - 1}
				}
				if now.Before(e.Until.Add(Grace)) && table.Ended(c) == nil {
					t.Fatalf("%+v was forgotten %v before it may be", e, e.Until.Add(Grace).Sub(now))
				}
			}
		}
		table.Sweep(start.Add(time.Hour + Grace + 2*time.Minute))
		if n := table.Len(); n != 0 || len(table.due) != 0 {
			t.Fatalf("%d events and %d minutes are left", n, len(table.due))
		}
	})
}

// A name that is told again and again stands in the table once, and in the list
// of what can go once.
func TestTableStaysSmall(t *testing.T) {
	var table Table
	for i := range 10_000 {
		table.Add(Event{Counter: "grant/g", Number: uint64(i + 1), Until: start.Add(time.Duration(i) * time.Second)})
		if i%1000 == 0 {
			table.Sweep(start.Add(time.Duration(i) * time.Second))
		}
	}
	listed := 0
	for _, names := range table.due {
		listed += len(names)
	}
	if table.Len() != 1 || listed != 1 {
		t.Errorf("%d entries, listed %d times", table.Len(), listed)
	}
	for i := range 10 * sweepStep {
		table.Add(Event{Token: strconv.Itoa(i), Until: start})
	}
	if n := table.Sweep(start.Add(Grace + 2*time.Minute)); n != 10*sweepStep || table.most > 1 {
		t.Errorf("%d removed; the map was made for %d", n, table.most)
	}
	if all := contents(&table); len(all) != 1 || all[0].Number != 10_000 {
		t.Errorf("left: %v", all)
	}
}

// What a table learned from a token is still told to those who follow when the
// event comes.
func TestLearnedIsTold(t *testing.T) {
	var table Table
	until := time.Now().Add(time.Hour)
	var told []uint64
	tell := func(e Event) { told = append(told, e.Number) }
	_ = table.Ended(&jeton.Claims{Generations: map[string]uint64{"grant/g": 8}, Expiry: until.Add(time.Hour)})
	for _, n := range []uint64{7, 8, 8, 7} {
		if table.add([]Event{{Counter: "grant/g", Number: n, Until: until}}, tell) {
			t.Errorf("%d is news to a table that saw the token 8", n)
		}
	}
	if len(told) != 2 || told[1] != 8 {
		t.Errorf("told: %v", told)
	}
}

func TestReset(t *testing.T) {
	var table Table
	table.Add(Event{Counter: "grant/g", Number: 57, Until: time.Now().Add(time.Hour)})
	table.Confirm(time.Now())
	version, changed := table.Version(), table.Changed()
	table.Reset()
	if _, fresh := table.Age(time.Now()); fresh || table.Len() != 0 || table.Version() == version {
		t.Error("something is left")
	}
	<-changed
	if err := table.Ended(&jeton.Claims{Generations: map[string]uint64{"grant/g": 1}, Expiry: time.Now().Add(time.Hour)}); err != nil {
		t.Error(err)
	}
}

func TestAge(t *testing.T) {
	var table Table
	now := time.Now()
	if _, ok := table.Age(now); ok {
		t.Error("the zero table is fresh")
	}
	table.Confirm(now)
	table.Confirm(now.Add(-time.Hour))
	if age, ok := table.Age(now.Add(time.Second)); !ok || age != time.Second {
		t.Error(age, ok)
	}
	if age, _ := table.Age(now.Add(-time.Second)); age != 0 {
		t.Error(age)
	}
	// The machine slept for an hour: only the wall clock knows.
	table.Confirm(now.Round(0).Add(2 * time.Hour))
	if age, _ := table.Age(now.Add(3 * time.Hour)); age != time.Hour {
		t.Error(age)
	}
}

// Everything at once; the race detector looks on. No reader may see a token good
// again that had ended.
func TestTableRace(t *testing.T) {
	var table Table
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	until := time.Now().Add(time.Hour)
	for w := range 4 {
		writers.Go(func() {
			for i := range 2000 {
				table.Add(Event{Counter: "grant/g", Number: uint64(i + 2), Until: until})
				table.Add(Event{Token: strconv.Itoa(w) + "." + strconv.Itoa(i), Until: time.Now().Add(-time.Hour)})
				table.Confirm(time.Now())
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			over := false
			for {
				select {
				case <-done:
					return
				default:
				}
				ended := table.Ended(&jeton.Claims{Generations: map[string]uint64{"grant/g": 1000}, Expiry: until}) != nil
				if over && !ended {
					t.Error("a token is good again")
				}
				over = over || ended
				table.Sweep(time.Now())
				for range table.All() {
					if rand.IntN(100) == 0 {
						break
					}
				}
				_, _ = table.Age(time.Now())
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	table.Sweep(time.Now())
	if all := slices.Collect(table.All()); len(all) != 1 || all[0].Number != 2001 {
		t.Errorf("left: %d", len(all))
	}
}

func BenchmarkEnded(b *testing.B) {
	var table Table
	until := time.Now().Add(time.Hour)
	for i := range 100_000 {
		table.Add(Event{Counter: "grant/" + strconv.Itoa(i), Number: 3, Until: until})
	}
	claims := &jeton.Claims{
		ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Family: "0123456789abcdef0123456789abcdef", Expiry: until,
		Generations: map[string]uint64{"user/0123456789abcdef": 1, "grant/77": 3},
	}
	b.ReportAllocs()
	for b.Loop() {
		if table.Ended(claims) != nil {
			b.Fatal("ended")
		}
	}
}

// BenchmarkMemory says how many bytes an event takes.
func BenchmarkMemory(b *testing.B) {
	const events = 1_000_000
	for b.Loop() {
		before := heap()
		var table Table
		for i := range events {
			table.Add(Event{Token: "ABCDEFGHIJKLMNOPQRST" + strconv.Itoa(i), Until: start.Add(time.Duration(i%3600) * time.Second)})
		}
		b.ReportMetric(float64(heap()-before)/events, "bytes/event")
		runtime.KeepAlive(&table)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
