package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// writeJSON writes a value for machines.
func (a *app) writeJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeTable writes rows in columns, the first row being their heads.
func (a *app) writeTable(rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if cell == "" {
				cell = "-"
			}
			if row[i] = printable(cell); i < len(row)-1 {
				row[i] += "\t"
			}
		}
		if _, err := fmt.Fprintln(w, strings.Join(row, "")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// A field is one line of what `show` writes.
type field struct{ name, value string }

// writeFields writes the fields that have a value.
func (a *app) writeFields(fields []field) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, f := range fields {
		if f.value == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\n", f.name, printable(f.value)); err != nil {
			return err
		}
	}
	return w.Flush()
}

// printable keeps a text on its line, and out of the terminal's control codes.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}

func (a *app) sayf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.talk, format+"\n", args...) // there is nobody to tell if this fails
}

// stamp writes an instant in RFC 3339, in UTC; zero is empty.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func enabled(disabled bool) string {
	if disabled {
		return "disabled"
	}
	return "enabled"
}
