package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton/dialect/corpus"
)

func (a *app) dialectCoverageCommand() *cobra.Command {
	var print string
	var rounds int
	var seed uint64
	c := a.jsonFlag(&cobra.Command{
		Use:   "coverage FILE",
		Short: "Say how many of a collection of logins the language can say",
		Long: `Reads a JSON list of facts about logins, writes each mechanically as a dialect, and holds
that against the facts and against the law that its two directions are inverse: requests,
answers and calls are built by hand from the facts and compared, hostile values travel both
ways, and forged messages have to be refused. A fact that cannot be said is not passed over.

Exit code 1 means that an entry does not pass.`,
		Example: "  jeton dialect coverage logins.json\n  jeton dialect coverage logins.json --print acme",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			entries, err := readCorpus(args[0])
			if err != nil {
				return err
			}
			if print != "" {
				return a.printEntry(entries, print)
			}
			return a.writeCoverage(corpus.Run(entries, rounds, seed))
		},
	})
	c.Flags().StringVar(&print, "print", "", "print the dialect of the entry of that `name`, and nothing else")
	c.Flags().IntVar(&rounds, "rounds", 60, "how many messages of each kind are written")
	c.Flags().Uint64Var(&seed, "seed", 1, "what the values are drawn from")
	return c
}

func readCorpus(file string) ([]corpus.Entry, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	entries, err := corpus.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return entries, nil
}

func (a *app) printEntry(entries []corpus.Entry, name string) error {
	i := slices.IndexFunc(entries, func(e corpus.Entry) bool { return e.Name == name })
	if i < 0 {
		return fmt.Errorf("there is no entry %s", strconv.Quote(name))
	}
	t, err := entries[i].Translate()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err = io.WriteString(a.out, t.Source)
	return err
}

func (a *app) writeCoverage(results []corpus.Result) error {
	sum := corpus.Summarize(results)
	if a.json {
		if err := a.writeJSON(struct {
			Summary corpus.Summary  `json:"summary"`
			Entries []corpus.Result `json:"entries"`
		}{sum, results}); err != nil {
			return err
		}
	} else if err := a.writeCoverageTable(results, sum); err != nil {
		return err
	}
	if sum.Passes < sum.Entries {
		return errors.New(strconv.Itoa(sum.Entries-sum.Passes) + " of " + strconv.Itoa(sum.Entries) + " entries do not pass")
	}
	return nil
}

func (a *app) writeCoverageTable(results []corpus.Result, sum corpus.Summary) error {
	rows := [][]string{{"ENTRY", "LINES", "SAID", "PASSES", "CONSTRUCTS, OR WHY NOT"}}
	yes := map[bool]string{true: "yes", false: "no"}
	for _, r := range results {
		last := strings.Join(r.Uses, ", ")
		if r.Outcome != corpus.Passes {
			last = string(r.Outcome) + ": " + r.Why[0]
		}
		lines := ""
		if r.Lines > 0 {
			lines = strconv.Itoa(r.Lines)
		}
		rows = append(rows, []string{r.Name, lines, yes[r.Outcome.Said()], yes[r.Outcome == corpus.Passes], last})
	}
	if err := a.writeTable(rows); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d of %d can be said, %d pass\n", sum.Said, sum.Entries, sum.Passes)
	for _, o := range []corpus.Outcome{corpus.NoFact, corpus.Unsaid, corpus.Refused, corpus.Differs, corpus.Lawless} {
		for _, r := range results {
			if r.Outcome == o {
				fmt.Fprintf(&b, "  %s %s: %s\n", r.Name, o, printable(strings.Join(r.Why, "; ")))
			}
		}
	}
	fmt.Fprintf(&b, "lines: median %d, 95th percentile %d, longest %d\n", sum.Median, sum.P95, sum.Longest)
	fmt.Fprintf(&b, "messages: %d written and read back, %d forged and refused\n", sum.Written, sum.Forged)
	for _, r := range results {
		for _, text := range r.Assumed {
			fmt.Fprintf(&b, "assumed for %s: %s\n", r.Name, printable(text))
		}
	}
	_, err := io.WriteString(a.out, b.String())
	return err
}
