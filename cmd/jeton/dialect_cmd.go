package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
	"github.com/jetonhq/jeton/dialects"
)

func (a *app) dialectCommand() *cobra.Command {
	named := func(c *cobra.Command) bool { return c.Flags().Changed("config") || os.Getenv("JETON_CONFIG") != "" }
	return group(&cobra.Command{Use: "dialect", Short: "List, show and check the descriptions of vendors"},
		a.dialectListCommand(named),
		&cobra.Command{
			Use:               "show NAME|FILE",
			Short:             "Print a dialect and the HTTP that it stands for",
			Long:              "Prints a dialect's file, every message that it stands for, as it goes over the wire and\nwith $name where a value goes, and what an account gives. Of an answer only the token\nhas to be there.",
			Args:              cobra.ExactArgs(1),
			ValidArgsFunction: completeDialects,
			RunE:              func(c *cobra.Command, args []string) error { return a.showDialect(named(c), args[0]) },
		},
		&cobra.Command{
			Use:   "check FILE...",
			Short: "Say what is wrong with dialect files, if anything",
			Long:  "Reads dialect files, and writes some of their messages in both directions: what a client\nwrites, a server is to read back, and what was changed on the way is to be refused.",
			Args:  cobra.MinimumNArgs(1),
			RunE:  func(c *cobra.Command, args []string) error { return a.checkDialects(named(c), args) },
		},
		a.dialectTryCommand(), a.dialectServeCommand(), a.dialectLearnCommand(), a.dialectNewCommand(), a.dialectCoverageCommand())
}

func (a *app) dialectListCommand(named func(*cobra.Command) bool) *cobra.Command {
	var words []string
	c := &cobra.Command{
		Use:   "list",
		Short: "List the dialects that ship with jeton, and those of the configuration",
		Long: "Lists the dialects that ship with jeton, and those of the configuration. --search finds\n" +
			"them by words in the name, the title, the hosts and the addresses of the vendor's pages;\nall of the words must be there.",
		Example: "  jeton dialect list --search 'oracle rest'",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return a.listDialects(named(c), words) },
	}
	c.Flags().StringArrayVar(&words, "search", nil, "only those that have these `WORDS`")
	return a.jsonFlag(c)
}

func completeDialects(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return dialects.Names(), cobra.ShellCompDirectiveDefault
}

// listDialects lists the dialects that have all of the words.
func (a *app) listDialects(named bool, words []string) error {
	type entry struct {
		Name   string   `json:"name"`
		Title  string   `json:"title,omitempty"`
		Wants  []string `json:"wants"`
		Hosts  []string `json:"hosts,omitempty"`
		Source []string `json:"source,omitempty"`
		File   string   `json:"file,omitempty"`
	}
	all, wrong := a.catalogue(named)
	if all == nil {
		return wrong
	}
	var list []entry
	rows := [][]string{{"NAME", "TITLE", "AN ACCOUNT GIVES"}}
	if all.dir != "" {
		rows[0] = append(rows[0], "FILE")
	}
	for _, name := range all.names() {
		if all.bad[name] != nil {
			continue
		}
		d, err := all.load(name)
		if err != nil {
			return err
		}
		e := entry{name, d.Title, wanted(d.Dialect), d.Hosts(), d.Source, all.own[name].file}
		if found(words, slices.Concat([]string{e.Name, e.Title}, e.Hosts, e.Source)) {
			list = append(list, e)
			rows = append(rows, []string{e.Name, e.Title, strings.Join(e.Wants, " "), e.File}[:len(rows[0])])
		}
	}
	if len(list) == 0 {
		return errors.Join(fmt.Errorf("no dialect has %s in its name, its title, its hosts or the addresses of its pages", strings.Join(words, " ")), wrong)
	}
	write := func() error { return a.writeTable(rows) }
	if a.json {
		write = func() error { return a.writeJSON(list) }
	}
	return errors.Join(write(), wrong)
}

// found reports whether every word stands in one of the texts, in any case.
func found(words, texts []string) bool {
	all := strings.ToLower(strings.Join(texts, "\n"))
	for _, word := range strings.Fields(strings.ToLower(strings.Join(words, " "))) {
		if !strings.Contains(all, word) {
			return false
		}
	}
	return true
}

// wanted returns what an account must give, for logins and for calls.
func wanted(d *dialect.Dialect) []string {
	names := d.LoginVars()
	for _, name := range d.CallVars() {
		declared := slices.ContainsFunc(d.Vars, func(v dialect.Var) bool { return v.Name == name })
		if !declared && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (a *app) checkDialects(named bool, files []string) error {
	all, err := a.catalogue(named)
	if all == nil {
		return err
	}
	var wrong []string
	for _, file := range files {
		if !isPath(file) {
			file = "./" + file // here a name is a file, never one that ships
		}
		d, err := all.load(file)
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		if broken := inverse(d.Dialect); len(broken) > 0 {
			for _, v := range broken {
				wrong = append(wrong, file+": what one side writes the other does not read back: "+v.Error())
			}
			continue
		}
		a.sayf("%s is good: dialect %s, an account gives %s", file, d.Name, strings.Join(d.LoginVars(), ", "))
		if d.Verify == nil {
			a.sayf("%s: note: there is no `verify`, so a token cannot be checked without a call", file)
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s", strings.Join(wrong, "\n"))
	}
	return nil
}

// lawRounds is how many messages of each kind are written and read to check a
// dialect: as many as nobody waits for.
const lawRounds = 12

// inverse returns where the two directions of a dialect do not agree.
func inverse(d *dialect.Dialect) []law.Violation { return law.Check(d, lawRounds, 1).Violations }

func (a *app) showDialect(named bool, name string) error {
	all, err := a.catalogue(named)
	if all == nil {
		return err
	}
	d, err := all.load(name)
	if err != nil {
		return err
	}
	src, err := all.source(name)
	if err != nil {
		return err
	}
	_, err = a.out.Write(append(src, shown(d.Dialect)...))
	return err
}

// placeholder stands for a hole in an example. It has no character that any
// part of a request would escape.
func placeholder(hole string) string { return "HOLE." + hole + ".HOLE" }

// example writes a request of the dialect with placeholders for what an account
// must give, what logins answer and what the client makes. It cannot where a
// codec or a signature takes no placeholder.
func example(d *dialect.Dialect, x *dialect.Exchange) (*http.Request, error) {
	vars := jeton.Vars{}
	for _, hole := range slices.Concat(x.Holes(), d.LoginVars(), []string{"access_token", "refresh_token"}) {
		vars[hole] = placeholder(hole)
	}
	maps.Copy(vars, d.Defaults())
	return d.WriteRequest(context.Background(), x, exampleOrigin(d), vars)
}

// exampleOrigin stands for the host that an account is to give.
func exampleOrigin(d *dialect.Dialect) *url.URL {
	if !d.NeedsOrigin() {
		return nil
	}
	return &url.URL{Scheme: "https", Host: placeholder("origin")}
}
