package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton/seal"
)

func (a *app) resealCommand() *cobra.Command {
	var dry bool
	c := a.jsonFlag(&cobra.Command{
		Use:   "reseal",
		Short: "Seal every record of the store with the first sealing key",
		Long: `Seals every record of the store with the first of the sealing keys, so that the others
can be dropped, and prints how many records each key seals then. It may run beside
servers and be stopped and repeated at any time. To rotate a key, wherever the store is
used:

  1. seal: [file:old.key, file:new.key]    restart, one after the other
  2. seal: [file:new.key, file:old.key]    restart, one after the other
  3. jeton config reseal                   once
  4. seal: file:new.key                    restart, one after the other

Keep a copy of the old key for as long as there are backups from before.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.reseal(cmd.Context(), dry) },
	})
	c.Flags().BoolVar(&dry, "dry-run", false, "change nothing, only count")
	return c
}

// A sealedCount is how many records a key seals.
type sealedCount struct {
	Key     string `json:"key,omitempty"` // as the configuration has it; empty: it is not there
	ID      string `json:"id"`
	Records int    `json:"records"`
}

func (a *app) reseal(ctx context.Context, dry bool) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	if c.store.kind == "memory" {
		return fmt.Errorf("%s keeps its state in memory:, which nothing seals", c.file)
	}
	keys, err := c.sealKeys()
	if err != nil {
		return err
	}
	s, err := openUnsealed(ctx, c.store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var report seal.Report
	if dry {
		report, err = seal.Survey(ctx, s.store, keys...)
	} else {
		report, err = seal.Reseal(ctx, s.store, sealMark, keys...)
	}
	if report.Sealed == nil { // the store failed on the way
		return errors.Join(fmt.Errorf("%d records were sealed anew; run this again", report.Resealed), err)
	}
	counts := countSealed(c, keys, report)
	if err := a.writeSealed(counts, report); err != nil {
		return err
	}
	return a.sayResealed(c, counts, report, dry, err)
}

// countSealed lists the keys of the configuration in their order, and then
// those of which only the ID is known.
func countSealed(c *config, keys []seal.Key, report seal.Report) (counts []sealedCount) {
	var known []string
	for i, key := range keys {
		if id := key.ID(); !slices.Contains(known, id) {
			counts = append(counts, sealedCount{c.seal[i].text(), id, report.Sealed[id]})
			known = append(known, id)
		}
	}
	var others []sealedCount
	for id, n := range report.Sealed {
		if !slices.Contains(known, id) {
			others = append(others, sealedCount{"", id, n})
		}
	}
	slices.SortFunc(others, func(a, b sealedCount) int { return strings.Compare(a.ID, b.ID) })
	return append(counts, others...)
}

func (a *app) writeSealed(counts []sealedCount, report seal.Report) error {
	if a.json {
		return a.writeJSON(map[string]any{"keys": counts, "resealed": report.Resealed, "unreadable": report.Broken})
	}
	rows := [][]string{{"KEY", "ID", "RECORDS"}}
	for _, n := range counts {
		rows = append(rows, []string{n.Key, n.ID, strconv.Itoa(n.Records)})
	}
	return a.writeTable(rows)
}

// sayResealed says what the counts mean, or what is in the way.
func (a *app) sayResealed(c *config, counts []sealedCount, report seal.Report, dry bool, err error) error {
	first, older := c.seal[0].text(), 0
	for _, n := range counts[1:] {
		older += n.Records
	}
	switch {
	case errors.Is(err, seal.ErrSealedAgain):
		return fmt.Errorf("%d records were sealed with an older key meanwhile: a process has that key first; give every process %s first, restart it, and run this again", older, first)
	case err != nil && report.Broken > 0:
		return errors.Join(fmt.Errorf("%d records do not open, so no key can be dropped; add the key that sealed them behind the others, or restore or remove them", report.Broken), err)
	case err != nil:
		return err
	case dry && older > 0:
		a.sayf("%d records wait to be sealed with %s: run `jeton config reseal`", older, first)
	case len(c.seal) == 1:
		a.sayf("every record opens with %s", first)
	default:
		a.sayf("%d records were sealed anew; only %s is needed, if every process has it first. Keep a copy of the others as long as backups from before", report.Resealed, first)
	}
	return nil
}

// textOf writes references as a sentence has them.
func textOf(refs []reference) string {
	var list []string
	for _, from := range refs {
		list = append(list, from.text())
	}
	return strings.Join(list, ", ")
}
