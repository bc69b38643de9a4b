package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
)

func (a *app) dialectCommand() *cobra.Command {
	named := func(c *cobra.Command) bool { return c.Flags().Changed("config") || os.Getenv("JETON_CONFIG") != "" }
	return group(&cobra.Command{Use: "dialect", Short: "List, show and check the descriptions of vendors"},
		a.jsonFlag(&cobra.Command{
			Use:   "list",
			Short: "List the dialects that ship with jeton, and those of the configuration",
			Args:  cobra.NoArgs,
			RunE:  func(c *cobra.Command, _ []string) error { return a.listDialects(named(c)) },
		}),
		&cobra.Command{
			Use:               "show NAME|FILE",
			Short:             "Print a dialect and the HTTP that it stands for",
			Long:              "Prints a dialect's file and then the requests that an account sends, with $name where\na value goes.",
			Args:              cobra.ExactArgs(1),
			ValidArgsFunction: completeDialects,
			RunE:              func(c *cobra.Command, args []string) error { return a.showDialect(named(c), args[0]) },
		},
		&cobra.Command{
			Use:   "check FILE...",
			Short: "Say what is wrong with dialect files, if anything",
			Args:  cobra.MinimumNArgs(1),
			RunE:  func(c *cobra.Command, args []string) error { return a.checkDialects(named(c), args) },
		},
		a.dialectTryCommand(), a.dialectServeCommand(), a.dialectLearnCommand(), a.dialectNewCommand(), a.dialectCoverageCommand())
}

func completeDialects(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return dialects.Names(), cobra.ShellCompDirectiveDefault
}

func (a *app) listDialects(named bool) error {
	type entry struct {
		Name  string   `json:"name"`
		Login string   `json:"login"`
		Wants []string `json:"wants"`
		File  string   `json:"file,omitempty"`
	}
	all, wrong := a.catalogue(named)
	if all == nil {
		return wrong
	}
	var list []entry
	rows := [][]string{{"NAME", "LOGIN", "AN ACCOUNT GIVES"}}
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
		e := entry{name, loginOf(d.Dialect), d.LoginVars(), all.own[name].file}
		list = append(list, e)
		rows = append(rows, []string{e.Name, e.Login, strings.Join(e.Wants, " "), e.File}[:len(rows[0])])
	}
	write := func() error { return a.writeTable(rows) }
	if a.json {
		write = func() error { return a.writeJSON(list) }
	}
	return errors.Join(write(), wrong)
}

// loginOf says in a line how one logs in.
func loginOf(d *dialect.Dialect) string {
	switch {
	case d.Minted():
		return "none: the token is made here"
	case d.Tokenless():
		return "none: every call proves itself"
	}
	first := d.Sequence()[0]
	if r, err := example(d, first); err == nil {
		return r.Method + " " + exampleURL(r)
	}
	return first.Method + " " + first.URL()
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
	var b strings.Builder
	b.Write(src)
	login := d.Sequence()
	for i, x := range login {
		title := "log in"
		if len(login) > 1 {
			title += fmt.Sprintf(", step %d", i+1)
		}
		writeExchange(&b, title, d.Dialect, x)
	}
	for _, x := range d.Refresh {
		title := "refresh"
		if x.When != "" {
			title += ", while the token is " + x.When
		}
		writeExchange(&b, title, d.Dialect, x)
	}
	if r, err := exampleCall(d.Dialect); err == nil {
		writeExample(&b, "call", r)
	} else {
		fmt.Fprintf(&b, "\n# call\nGET %s/...\n", strings.TrimSuffix(d.Call.URL(), "/"))
	}
	_, err = io.WriteString(a.out, b.String())
	return err
}

// writeExchange writes the example of an exchange or, where one cannot be made
// of placeholders, such as a signature, where it goes.
func writeExchange(b *strings.Builder, title string, d *dialect.Dialect, x *dialect.Exchange) {
	if r, err := example(d, x); err == nil {
		writeExample(b, title, r)
		return
	}
	fmt.Fprintf(b, "\n# %s\n%s %s\n", title, x.Method, x.URL())
}

// placeholder stands for a hole in an example. It has no character that any
// part of a request would escape.
func placeholder(hole string) string { return "HOLE." + hole + ".HOLE" }

// examples returns variables whose values are placeholders, but for those that
// the dialect gives a value.
func examples(d *dialect.Dialect, holes []string) jeton.Vars {
	vars := jeton.Vars{}
	for _, hole := range holes {
		vars[hole] = placeholder(hole)
	}
	for name, value := range d.Defaults() {
		vars[name] = value
	}
	return vars
}

// example writes a request of the dialect with placeholders for what an account
// must give, what logins answer and what the client makes.
func example(d *dialect.Dialect, x *dialect.Exchange) (*http.Request, error) {
	vars := examples(d, slices.Concat(x.Holes(), d.LoginVars(), []string{"access_token", "refresh_token"}))
	return d.WriteRequest(context.Background(), x, exampleOrigin(d), vars)
}

func exampleCall(d *dialect.Dialect) (*http.Request, error) {
	vars := examples(d, append(d.LoginVars(), d.CallVars()...))
	vars["access_token"] = placeholder("access_token")
	u, err := d.CallURL(exampleOrigin(d), vars)
	if err != nil {
		return nil, err
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/...", ""
	r := &http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}
	return r, d.WriteCall(r, vars)
}

// writeExample writes a request as it goes over the wire, holes as $name and
// Basic credentials as they are before encoding.
func writeExample(b *strings.Builder, title string, r *http.Request) {
	fmt.Fprintf(b, "\n# %s\n%s %s\n", title, r.Method, exampleURL(r))
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			if pair, ok := strings.CutPrefix(value, "Basic "); ok {
				if text, err := base64.StdEncoding.DecodeString(pair); err == nil {
					value = "Basic base64(" + string(text) + ")"
				}
			}
			fmt.Fprintf(b, "%s: %s\n", name, asHoles(value))
		}
	}
	if r.Body == nil {
		return
	}
	defer func() { _ = r.Body.Close() }()
	if body, err := io.ReadAll(r.Body); err == nil && len(body) > 0 {
		fmt.Fprintf(b, "\n%s\n", asHoles(string(body)))
	}
}

// exampleOrigin stands for the host that an account is to give.
func exampleOrigin(d *dialect.Dialect) *url.URL {
	if !d.NeedsOrigin() {
		return nil
	}
	return &url.URL{Scheme: "https", Host: placeholder("origin")}
}

func exampleURL(r *http.Request) string {
	return strings.Replace(asHoles(r.URL.String()), "https://$origin", "$origin", 1)
}

var holes = regexp.MustCompile(`HOLE\.([a-z0-9_]+)\.HOLE`)

// asHoles writes placeholders as the dialect file has them.
func asHoles(text string) string { return holes.ReplaceAllString(text, "$$$1") }
