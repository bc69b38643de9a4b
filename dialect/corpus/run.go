package corpus

import (
	"errors"
	"slices"
	"strings"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
)

// A Result says what became of one entry.
type Result struct {
	Name    string    `json:"name"`
	Lines   int       `json:"lines"` // of the dialect; zero: there is none
	Outcome Outcome   `json:"outcome"`
	Why     []string  `json:"why,omitempty"`     // why it does not pass
	Uses    []string  `json:"uses,omitempty"`    // constructs of the language
	Assumed []string  `json:"assumed,omitempty"` // what the facts do not say and the dialect has to
	Laws    law.Tally `json:"laws"`
	Source  string    `json:"-"` // the dialect file
}

// An Outcome is how far an entry came.
type Outcome string

// The outcomes, from the worst to the best.
const (
	NoFact  Outcome = "a fact is missing" // nobody could write the dialect from these facts
	Unsaid  Outcome = "cannot be said"    // the language has no word for a fact
	Refused Outcome = "is refused"        // by the loader
	Differs Outcome = "differs"           // the dialect does something else than the facts say
	Lawless Outcome = "breaks a law"      // its two directions are not inverse, or it believes what is forged
	Passes  Outcome = "passes"
)

// Said reports whether there is a dialect.
func (o Outcome) Said() bool { return o != NoFact && o != Unsaid }

// Run takes each entry through everything: translation, parser, comparison and
// laws, these so many rounds.
func Run(entries []Entry, rounds int, seed uint64) []Result {
	var list []Result
	for _, e := range entries {
		list = append(list, e.Run(rounds, seed))
	}
	return list
}

// Run takes one entry through everything.
func (e *Entry) Run(rounds int, seed uint64) Result {
	r := Result{Name: e.Name}
	fail := func(o Outcome, why ...string) Result {
		r.Outcome, r.Why = o, why
		return r
	}
	t, err := e.Translate()
	if err != nil {
		if gap := (*Gap)(nil); errors.As(err, &gap) {
			return fail(NoFact, err.Error())
		}
		return fail(Unsaid, err.Error())
	}
	r.Source, r.Lines, r.Uses, r.Assumed = t.Source, strings.Count(t.Source, "\n"), t.Uses, t.Assumed
	d, err := dialect.Parse(e.Name+".yaml", []byte(t.Source))
	if err != nil {
		return fail(Refused, err.Error())
	}
	if problems := e.Compare(d); len(problems) > 0 {
		return fail(Differs, problems...)
	}
	report := law.Check(d, rounds, seed)
	r.Laws = report.Total()
	if len(report.Violations) > 0 {
		var why []string
		for _, v := range report.Violations {
			why = append(why, v.Error())
		}
		return fail(Lawless, why...)
	}
	r.Outcome = Passes
	return r
}

// A Summary adds results up.
type Summary struct {
	Entries int             `json:"entries"`
	Said    int             `json:"said"`
	Passes  int             `json:"passes"`
	By      map[Outcome]int `json:"by_outcome"`
	Written int             `json:"messages_written"`
	Forged  int             `json:"messages_forged_and_refused"`
	Median  int             `json:"median_lines"`
	P95     int             `json:"p95_lines"`
	Longest int             `json:"longest"`
}

// Summarize adds results up. Sizes are of the dialects that there are.
func Summarize(results []Result) Summary {
	s := Summary{Entries: len(results), By: map[Outcome]int{}}
	var lines []int
	for _, r := range results {
		s.By[r.Outcome]++
		s.Written, s.Forged = s.Written+r.Laws.Written, s.Forged+r.Laws.Forged
		if r.Outcome.Said() {
			s.Said++
			lines = append(lines, r.Lines)
		}
		if r.Outcome == Passes {
			s.Passes++
		}
	}
	if len(lines) > 0 {
		slices.Sort(lines)
		s.Median, s.P95, s.Longest = lines[len(lines)/2], lines[min(len(lines)-1, len(lines)*95/100)], lines[len(lines)-1]
	}
	return s
}
