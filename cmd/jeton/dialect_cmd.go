package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialects"
)

func (a *app) dialectCommand() *cobra.Command {
	return group(&cobra.Command{Use: "dialect", Short: "List, show and check the descriptions of vendors"},
		a.jsonFlag(&cobra.Command{
			Use:   "list",
			Short: "List the dialects that ship with jeton",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return a.listDialects() },
		}),
		&cobra.Command{
			Use:               "show NAME|FILE",
			Short:             "Print a dialect and the HTTP that it stands for",
			Long:              "Prints a dialect's file and then the requests that an account sends, with $name where\na value goes.",
			Args:              cobra.ExactArgs(1),
			ValidArgsFunction: completeDialects,
			RunE:              func(_ *cobra.Command, args []string) error { return a.showDialect(args[0]) },
		},
		&cobra.Command{
			Use:   "check FILE...",
			Short: "Say what is wrong with dialect files, if anything",
			Args:  cobra.MinimumNArgs(1),
			RunE:  func(_ *cobra.Command, args []string) error { return a.checkDialects(args) },
		})
}

func completeDialects(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return dialects.Names(), cobra.ShellCompDirectiveDefault
}

func (a *app) listDialects() error {
	type entry struct {
		Name  string   `json:"name"`
		Login string   `json:"login"`
		Wants []string `json:"wants"`
	}
	var list []entry
	rows := [][]string{{"NAME", "LOGIN", "AN ACCOUNT GIVES"}}
	for _, name := range dialects.Names() {
		d, err := dialects.Load(name)
		if err != nil {
			return err
		}
		r, err := example(d, d.Login)
		if err != nil {
			return err
		}
		e := entry{name, r.Method + " " + exampleURL(r), d.LoginVars()}
		list = append(list, e)
		rows = append(rows, []string{e.Name, e.Login, strings.Join(e.Wants, " ")})
	}
	if a.json {
		return a.writeJSON(list)
	}
	return a.writeTable(rows)
}

func (a *app) checkDialects(files []string) error {
	var wrong []string
	for _, file := range files {
		if !isPath(file) {
			file = "./" + file // here a name is a file, never one that ships
		}
		d, err := loadDialect(file, asWritten)
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

func asWritten(path string) string { return path }

func (a *app) showDialect(name string) error {
	d, err := loadDialect(name, asWritten)
	if err != nil {
		return err
	}
	src, err := readDialect(name)
	if err != nil {
		return err
	}
	var b strings.Builder
	b.Write(src)
	exchanges := []struct {
		title string
		x     *dialect.Exchange
	}{{"log in", d.Login}}
	for _, x := range d.Refresh {
		title := "refresh"
		if x.When != "" {
			title += ", while the token is " + x.When
		}
		exchanges = append(exchanges, struct {
			title string
			x     *dialect.Exchange
		}{title, x})
	}
	for _, e := range exchanges {
		r, err := example(d, e.x)
		if err != nil {
			return err
		}
		writeExample(&b, e.title, r)
	}
	r, err := exampleCall(d)
	if err != nil {
		return err
	}
	writeExample(&b, "call", r)
	_, err = io.WriteString(a.out, b.String())
	return err
}

// readDialect returns the text of a dialect, by name or from a file.
func readDialect(name string) ([]byte, error) {
	if !isPath(name) {
		return dialects.Source(name)
	}
	return os.ReadFile(name)
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

// needsOrigin reports whether the dialect names no host of its own.
func needsOrigin(d *dialect.Dialect) bool {
	_, err := d.WriteRequest(context.Background(), d.Login, nil, examples(d, d.LoginVars()))
	return err != nil
}

// example writes a request of the dialect with placeholders for what an account
// must give and what logins answer.
func example(d *dialect.Dialect, x *dialect.Exchange) (*http.Request, error) {
	vars := examples(d, append(d.LoginVars(), "access_token", "refresh_token"))
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
	if !needsOrigin(d) {
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
