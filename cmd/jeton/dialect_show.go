package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jetonhq/jeton/dialect"
)

// shown is what `dialect show` writes after the file: every message that it
// stands for, and what one has to know to use it.
func shown(d *dialect.Dialect) string {
	var b strings.Builder
	for _, m := range messages(d) {
		fmt.Fprintf(&b, "\n# %s\n%s", m.title, d.SketchRequest(m.x))
		if answer := d.SketchAnswer(m.x); answer != "" {
			b.WriteString("\n" + answer)
		}
	}
	fmt.Fprintf(&b, "\n# %s\n%s", callTitle(d), d.SketchCall())
	b.WriteString("\n# An account gives\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, in := range inputs(d) {
		line := in.name
		if in.text != "" {
			line += "\t" + in.text
		}
		_, _ = fmt.Fprintln(w, line) // into memory
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "\n# Otherwise\n")
	sentences := []string{"There is no token: nothing expires, and nothing is refreshed."}
	if !d.Tokenless() {
		sentences = []string{lifetimeText(d), refreshText(d), activeText(d), limitText(d)}
	}
	for _, sentence := range sentences {
		b.WriteString(sentence + "\n")
	}
	for i, page := range d.Source {
		if i == 0 {
			b.WriteString("\n# The vendor's pages\n")
		}
		b.WriteString(page + "\n")
	}
	return b.String()
}

// A message is an exchange of a dialect and what it is for.
type message struct {
	title string
	x     *dialect.Exchange
}

func messages(d *dialect.Dialect) []message {
	var list []message
	login := d.Sequence()
	for i, x := range login {
		title := "Log in"
		if len(login) > 1 {
			title += fmt.Sprintf(", step %d of %d", i+1, len(login))
		}
		list = append(list, message{title, x})
	}
	for _, x := range d.Refresh {
		title := "Refresh"
		if x.When != "" {
			title += ", with a token that is " + map[string]string{"valid": "still valid", "expired": "expired"}[x.When]
		}
		list = append(list, message{title, x})
	}
	for _, m := range []message{{"Verify a token", d.Verify}, {"Introspect a token", d.Introspect}, {"Revoke a token", d.Revoke}} {
		if m.x != nil {
			list = append(list, m)
		}
	}
	return list
}

func callTitle(d *dialect.Dialect) string {
	switch {
	case d.Minted():
		return "Call, with a token that the client makes itself"
	case d.Signs():
		return "Call, each one signed"
	case d.Tokenless():
		return "Call, with credentials of the account and no token"
	}
	return "Call"
}

// An input is a variable that an account gives, or may give.
type input struct{ name, text string }

func inputs(d *dialect.Dialect) []input {
	must := wanted(d)
	var list []input
	for _, name := range d.AccountVars() {
		list = append(list, input{name, inputText(d, name, slices.Contains(must, name))})
	}
	return list
}

// inputText says what a variable is and whether it must be there.
func inputText(d *dialect.Dialect, name string, must bool) string {
	var notes []string
	i := slices.IndexFunc(d.Vars, func(v dialect.Var) bool { return v.Name == name })
	switch {
	case i >= 0 && d.Vars[i].Choice != nil:
		notes = append(notes, "one of "+strings.Join(d.Vars[i].Choice, ", ")+"; without it "+d.Vars[i].Default)
	case i >= 0 && d.Vars[i].Default != "":
		notes = append(notes, "without it "+d.Vars[i].Default)
	case name == "scope" && len(d.Scope.Default) > 0:
		notes = append(notes, "without it "+d.Scope.Default.String())
	case !must:
		notes = append(notes, "may be left out")
	}
	if text := d.Params[name]; text != "" {
		notes = append([]string{text}, notes...)
	}
	if len(notes) == 2 {
		return notes[0] + " (" + notes[1] + ")"
	}
	return strings.Join(notes, "")
}

func lifetimeText(d *dialect.Dialect) string {
	says := slices.ContainsFunc(slices.Concat(d.Sequence(), d.Refresh), func(x *dialect.Exchange) bool {
		return x.Returns("expires_in") || x.Returns("expires_at")
	})
	switch {
	case says && d.Lifetime > 0:
		return "A token lives as long as the answer says, and " + length(d.Lifetime) + " at most."
	case says:
		return "A token lives as long as the answer says."
	case d.Lifetime > 0:
		return "A token lives for " + length(d.Lifetime) + "."
	case d.Minted():
		return "A token lives as long as it says itself."
	}
	return "Nothing says how long a token lives, unless it is a JWT: it is used until a call is refused."
}

func refreshText(d *dialect.Dialect) string {
	early := ""
	if d.Early > 0 {
		early = " A token is renewed " + length(d.Early) + " before it expires."
	}
	switch {
	case d.Minted():
		return "A new token is made in place of the one that ends." + early
	case d.NoRefresh || len(d.Refresh) == 0:
		return "There is no refreshing: a new login gives a new token." + early
	case d.Refresh[0].When != "" && len(d.Refresh) == 1:
		return "A token is refreshed while it is " + d.Refresh[0].When + "; otherwise a new login gives a new one." + early
	}
	if !slices.ContainsFunc(d.Refresh, func(x *dialect.Exchange) bool { return !x.Has("refresh_token") }) {
		return "With a refresh token a token is refreshed as above; without one, or if that is refused, a new login gives a new one." + early
	}
	return "A token is refreshed as above; if that is refused, a new login gives a new one." + early
}

func activeText(d *dialect.Dialect) string {
	if d.Active == 1 {
		return "A new token ends the one before it at once."
	}
	return "Tokens of one account live side by side."
}

func limitText(d *dialect.Dialect) string {
	if len(d.Rate) == 0 {
		return "No limit of logins is stated."
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(d.Rate)) {
		what := " with one " + name
		if name == "ip" {
			what = " from one IP address"
		}
		list = append(list, rateText(d.Rate[name])+what)
	}
	return "Logins are limited: " + strings.Join(list, ", ") + "."
}

// length writes a length of time as dialect files have it.
func length(t time.Duration) string {
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if t%unit.of == 0 && (unit.name != "d" || t > unit.of) {
			return fmt.Sprintf("%d%s", t/unit.of, unit.name)
		}
	}
	return t.String()
}
