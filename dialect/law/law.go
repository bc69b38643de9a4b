// Package law checks the law on which dialects rest: that the two directions of
// a dialect are inverse. It writes messages with hostile values over real wire
// text, reads them as the other side does and compares every variable; then it
// forges them, and whoever reads a forged message must refuse it.
//
//	ReadRequest(WriteRequest(x)) == x        ReadResponse(WriteResponse(y)) == y
//	ReadCall(WriteCall(z)) == z              Open(Mint(v)) == v
//
// It needs no vendor, no account and no network, and is for tests as well as
// for whoever loads a dialect that somebody else wrote.
package law

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A Report says what became of a dialect's messages.
type Report struct {
	Dialect    string
	Messages   map[string]Tally // :: message, such as "login" or "answer to login"
	Violations []Violation      // nil: the laws hold
}

// A Tally counts the messages of one kind.
type Tally struct {
	Written int // written, and read back to the same variables
	Refused int // not written, because of a value that could not be read back
	Forged  int // changed on the way, and refused or read as something else
}

// A Violation is a law that does not hold for a message.
type Violation struct {
	Message string
	Law     string // inverse, proof, forgery, silence or use
	Round   int
	Detail  string // names variables and places, and never shows a value
}

// Error says what does not hold, and where.
func (v Violation) Error() string {
	return fmt.Sprintf("%s: %s, round %d: %s", v.Message, v.Law, v.Round, v.Detail)
}

// Err returns nil if the laws hold, else an error with every violation.
func (r Report) Err() error {
	if len(r.Violations) == 0 {
		return nil
	}
	var lines []string
	for _, v := range r.Violations {
		lines = append(lines, v.Error())
	}
	return fmt.Errorf("dialect %s: %s", r.Dialect, strings.Join(lines, "\n"))
}

// Total adds the tallies up.
func (r Report) Total() (sum Tally) {
	for _, t := range r.Messages {
		sum.Written, sum.Refused, sum.Forged = sum.Written+t.Written, sum.Refused+t.Refused, sum.Forged+t.Forged
	}
	return sum
}

// maxViolations bounds a report: what is wrong once is wrong often.
const maxViolations = 10

// Check checks every message of a dialect so many rounds long. The same seed
// draws the same values, but for keys, which are new in each process.
func Check(d *dialect.Dialect, rounds int, seed uint64) Report {
	c := &checker{
		d:      d,
		report: Report{Dialect: d.Name, Messages: map[string]Tally{}},
		source: source{Rand: rand.New(rand.NewPCG(seed, 0x6a65746f6e)), d: d, kinds: d.Kinds(), url: origin.String()},
	}
	for _, m := range c.messages() {
		for c.round = range rounds {
			if len(c.report.Violations) >= maxViolations {
				return c.report
			}
			c.at = m.name
			m.check()
		}
		if t := c.report.Messages[m.name]; rounds >= 6 && t.Written == 0 {
			c.at = m.name
			c.violate("use", "none of %d messages could be written", rounds)
		}
	}
	return c.report
}

// A checker is at work on one dialect.
type checker struct {
	source
	d      *dialect.Dialect
	report Report
	at     string // the message
	round  int
}

// A message is a kind of message with its check.
type message struct {
	name  string
	check func()
}

// messages lists what a dialect has.
func (c *checker) messages() []message {
	var list []message
	for _, x := range exchanges(c.d) {
		name := x.name
		list = append(list, message{name, func() { c.request(x.Exchange) }})
		if x.Answers() {
			list = append(list, message{"answer to " + name, func() { c.answerTo(x.Exchange) }})
		}
	}
	switch {
	case c.d.Signs():
		return append(list, message{"signed call", c.signedCall})
	case c.d.Minted():
		list = append(list, message{"minted token", c.minted})
	}
	return append(list, message{"call", c.call})
}

// A named exchange has a name that a report can show.
type named struct {
	*dialect.Exchange
	name string
}

func exchanges(d *dialect.Dialect) []named {
	var list []named
	for i, x := range d.Sequence() {
		name := "login"
		if x != d.Login {
			name = fmt.Sprintf("login %d", i+1)
		}
		list = append(list, named{x, name})
	}
	for _, x := range d.Refresh {
		list = append(list, named{x, strings.TrimSpace("refresh " + x.When)})
	}
	for i, x := range d.Accept {
		list = append(list, named{x, fmt.Sprintf("accepted login %d", i+1)})
	}
	for _, x := range []*dialect.Exchange{d.Verify, d.Introspect, d.Revoke} {
		if x != nil {
			list = append(list, named{x, string(x.Kind)})
		}
	}
	return list
}

func (c *checker) violate(law, format string, args ...any) {
	c.report.Violations = append(c.report.Violations, Violation{c.at, law, c.round, fmt.Sprintf(format, args...)})
}

func (c *checker) count(add Tally) {
	t := c.report.Messages[c.at]
	t.Written, t.Refused, t.Forged = t.Written+add.Written, t.Refused+add.Refused, t.Forged+add.Forged
	c.report.Messages[c.at] = t
}

// refused counts a message that was not written. The error must not show what
// was in it.
func (c *checker) refused(err error, vars jeton.Vars) {
	c.count(Tally{Refused: 1})
	c.silent(err, vars)
}

// silent checks that an error shows no value.
func (c *checker) silent(err error, vars jeton.Vars) {
	if err == nil {
		return
	}
	for name, text := range vars {
		if len(text) > 6 && strings.Contains(err.Error(), text) && !c.d.Public(name) {
			c.violate("silence", "an error shows $%s", name)
		}
	}
}

// same compares what was written with what was read. Names are those that
// travel.
func (c *checker) same(names []string, written, read jeton.Vars) {
	for _, name := range names {
		if written[name] != read[name] {
			how := "another value"
			switch {
			case written[name] == "":
				how = "a value, though it had none"
			case read[name] == "":
				how = "no value"
			}
			c.violate("inverse", "$%s was read with %s", name, how)
		}
	}
}

// differs reports whether a forged message is read as something that the
// account's values give away.
func differs(names []string, written, read jeton.Vars) bool {
	for name, text := range read {
		if want, ok := written[name]; ok && want != text {
			return true
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return written[name] != read[name] })
}
