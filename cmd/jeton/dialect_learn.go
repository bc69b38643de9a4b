package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/learn"
)

// A learning is the command line of learn and new.
type learning struct {
	learn.Options
	output string // file; empty: NAME.yaml; "-": standard output
	force  bool
	ask    bool

	har     string
	entry   int
	openapi string
}

func (l *learning) flags(c *cobra.Command) *cobra.Command {
	c.Flags().StringVarP(&l.output, "output", "o", "", "`file` to write; - is standard output (default NAME.yaml)")
	c.Flags().BoolVar(&l.force, "force", false, "overwrite the file")
	return c
}

func (a *app) dialectLearnCommand() *cobra.Command {
	l := &learning{}
	c := l.flags(&cobra.Command{
		Use:   "learn [FILE...]",
		Short: "Write a dialect from a vendor's curl command and its answer",
		Long: `Reads what a vendor's page shows, from files or from standard input, and writes a
dialect: a curl command that logs in, or where there is none the request as HTTP, and
behind it the answer, as JSON, XML or with its headers (curl -i), if there is one. A
second curl command shows how calls wear the token, or how to refresh it.

Values become holes: no credential that is pasted gets into the file. What the
paste does not tell is asked on the terminal; elsewhere the likeliest is taken and
said on standard error.`,
		Example: "  jeton dialect learn < paste.txt\n  jeton dialect learn --name acme -o - page.txt\n  jeton dialect learn --har login.har\n  jeton dialect learn --openapi openapi.yaml",
		RunE:    func(c *cobra.Command, args []string) error { return a.learnDialect(c.Context(), l, args) },
	})
	c.Flags().StringVar(&l.Name, "name", "", "`name` of the dialect (default: after the host)")
	c.Flags().StringVar(&l.Title, "title", "", "the vendor's name, for people")
	c.Flags().StringVar(&l.Source, "source", "", "`URL` of the vendor's page")
	c.Flags().BoolVar(&l.ask, "ask", false, "ask, also if standard input is not a terminal; answers are read there")
	c.Flags().StringVar(&l.har, "har", "", "learn from an HTTP archive (`file`) instead")
	c.Flags().IntVar(&l.entry, "entry", 0, "the entry of the archive that logs in, from 1 (default: the likeliest)")
	c.Flags().StringVar(&l.openapi, "openapi", "", "learn from an OpenAPI document (`file`, JSON or YAML) instead")
	return c
}

func (a *app) dialectNewCommand() *cobra.Command {
	l := &learning{}
	return l.flags(&cobra.Command{
		Use:   "new",
		Short: "Write a dialect by answering questions",
		Long: `Asks for a vendor's login and writes a dialect. An empty line takes what stands in
brackets. Answers can also come from a file on standard input, a line each.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.newDialect(c.Context(), l) },
	})
}

func (a *app) terminal() bool {
	in, ok := a.in.(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

func (a *app) learnDialect(ctx context.Context, l *learning, files []string) error {
	if l.har != "" && l.openapi != "" || l.har+l.openapi != "" && len(files) > 0 {
		return usagef("learn from one of a paste, --har and --openapi")
	}
	if l.entry != 0 && l.har == "" {
		return usagef("--entry goes with --har")
	}
	pasted := len(files) == 0 && l.har+l.openapi == ""
	if l.ask && pasted && !a.terminal() {
		return usagef("with --ask the answers come from standard input; give the paste as a FILE")
	}
	if l.ask || a.terminal() {
		p := &prompter{ctx: ctx, in: bufio.NewReader(a.in), a: a}
		l.Ask = p.choose
	}
	draft, err := a.draft(ctx, l, files)
	if err != nil {
		return err
	}
	return a.writeDraft(l, draft)
}

func (a *app) draft(ctx context.Context, l *learning, files []string) (*learn.Draft, error) {
	switch {
	case l.har != "":
		src, err := os.ReadFile(l.har)
		if err != nil {
			return nil, unreadable(l.har, err)
		}
		return learn.HAR(src, l.entry, l.Options)
	case l.openapi != "":
		src, err := os.ReadFile(l.openapi)
		if err != nil {
			return nil, unreadable(l.openapi, err)
		}
		return learn.OpenAPI(src, l.Options)
	}
	paste, err := a.paste(ctx, files)
	if err != nil {
		return nil, err
	}
	return learn.Curl(paste, l.Options)
}

func unreadable(file string, err error) error {
	return fmt.Errorf("%s cannot be read: %w", file, reason(err))
}

// paste reads the files one after the other, else standard input.
func (a *app) paste(ctx context.Context, files []string) (string, error) {
	var b strings.Builder
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			return "", unreadable(file, err)
		}
		b.Write(src)
		b.WriteByte('\n')
	}
	if len(files) > 0 {
		return b.String(), nil
	}
	if a.terminal() {
		a.sayf("Paste the curl command and its answer, then press Ctrl-D on a line of its own:")
	}
	src, err := await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.in, 2<<20)) })
	if err != nil {
		return "", fmt.Errorf("read the paste: %w", err)
	}
	if strings.TrimSpace(string(src)) == "" {
		return "", errors.New("the paste is empty: put a curl command and its answer on standard input, or name a file")
	}
	return string(src), nil
}

// writeDraft tries a draft and writes its file.
func (a *app) writeDraft(l *learning, draft *learn.Draft) error {
	if err := draft.Check(); err != nil {
		return err
	}
	for _, note := range draft.Notes {
		a.sayf("note: %s", printable(note))
	}
	src := draft.YAML()
	if l.output == "-" {
		_, err := a.out.Write(src)
		return err
	}
	file := l.output
	if file == "" {
		file = draft.Name + ".yaml"
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if l.force {
		mode = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(file, mode, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already; choose another name with -o, or overwrite it with --force", file)
	}
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s cannot be written: there is no folder %s; make it first", file, filepath.Dir(file))
	}
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", file, reason(err))
	}
	_, err = f.Write(src)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s cannot be written: %w", file, reason(err))
	}
	d, err := dialect.Parse(file, src)
	if err != nil {
		return err
	}
	shown := file
	if !filepath.IsAbs(file) && !isPath(file) {
		shown = "./" + file
	}
	a.sayf("wrote %s: an account gives %s; see it with: jeton dialect show %s", file, strings.Join(d.LoginVars(), ", "), shown)
	return nil
}

// A prompter asks on the terminal, or reads the answers of a script.
type prompter struct {
	ctx context.Context
	in  *bufio.Reader
	a   *app
}

// line asks for one line. An empty one is the fallback.
func (p *prompter) line(question, fallback string) (string, error) {
	if fallback != "" {
		question += " [" + fallback + "]"
	}
	_, _ = fmt.Fprint(p.a.talk, printable(question)+": ")
	text, err := p.read()
	if !p.a.terminal() {
		p.a.sayf("")
	}
	if err != nil {
		return "", fmt.Errorf("the input ended before this was answered: %s", question)
	}
	if text = strings.TrimSpace(text); text == "" {
		text = fallback
	}
	return text, nil
}

func (p *prompter) read() (string, error) {
	text, err := await(p.ctx, func() (string, error) { return p.in.ReadString('\n') })
	if errors.Is(err, io.EOF) && text != "" {
		err = nil
	}
	return strings.TrimRight(text, "\r\n"), err
}

// choose asks for one of several, by number or by name.
func (p *prompter) choose(q learn.Question) (string, error) {
	p.a.sayf("%s", printable(q.Text))
	for i, choice := range q.Choices {
		p.a.sayf("  %d) %s", i+1, printable(choice))
	}
	for {
		answer, err := p.line("Which", "1")
		if err != nil {
			return "", err
		}
		if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(q.Choices) {
			return q.Choices[n-1], nil
		}
		if slices.Contains(q.Choices, answer) {
			return answer, nil
		}
		if !p.a.terminal() {
			return "", fmt.Errorf("%s: the answer is to be a number from 1 to %d", strings.TrimRight(q.Text, "?"), len(q.Choices))
		}
	}
}

// newDialect asks for a vendor's login.
func (a *app) newDialect(ctx context.Context, l *learning) error {
	p := &prompter{ctx: ctx, in: bufio.NewReader(a.in), a: a}
	v, err := p.vendor(&l.Options)
	if err != nil {
		return err
	}
	l.Ask = p.choose
	draft, err := learn.New(v, l.Options)
	if err != nil {
		return err
	}
	return a.writeDraft(l, draft)
}

func (p *prompter) vendor(o *learn.Options) (v learn.Vendor, err error) {
	o.Name, v.TokenURL, v.Travel = "vendor", "https://vendor.example/token", learn.Ways[0] // until they are told
	good := func() error {
		_, err := learn.New(v, learn.Options{Name: o.Name})
		return err
	}
	line := func(question, fallback string, to *string) func() error {
		return p.again(func() (err error) {
			*to, err = p.line(question, fallback)
			return err
		}, good)
	}
	for _, ask := range []func() error{
		line("Name of the dialect (a-z, 0-9, -)", "", &o.Name),
		line("The vendor's name, for people (may be empty)", "", &o.Title),
		line("URL of the vendor's page (may be empty)", "", &o.Source),
		line("URL of the login; an account's value as {tenant_id}", "", &v.TokenURL),
		p.again(func() error { return p.credentials(&v) }, good),
		p.again(func() (err error) {
			v.Answer, err = p.answer()
			return err
		}, good),
		line("How do calls wear the token: bearer, header NAME, query NAME or cookie NAME", "bearer", &v.Wear),
		line("URL that all calls begin with (empty: the login's host)", "", &v.CallURL),
		line("How long a token lives, such as 24h (empty: the answer says it)", "", &v.Lifetime),
	} {
		if err := ask(); err != nil {
			return v, err
		}
	}
	return v, nil
}

// again asks until the answer will do; a script has one answer to each question.
func (p *prompter) again(ask, good func() error) func() error {
	return func() error {
		for {
			if err := ask(); err != nil {
				return err
			}
			err := good()
			if err == nil || !p.a.terminal() {
				return err
			}
			p.a.sayf("%s", printable(strings.TrimPrefix(err.Error(), "learn: ")))
		}
	}
}

// credentials asks how they travel, and what is sent.
func (p *prompter) credentials(v *learn.Vendor) (err error) {
	if v.Travel, err = p.choose(learn.Question{Text: "How do the credentials travel?", Choices: learn.Ways}); err != nil {
		return err
	}
	return p.fields(v)
}

// fields asks for what is sent.
func (p *prompter) fields(v *learn.Vendor) (err error) {
	fallback := map[string]string{
		"form":  "grant_type=client_credentials client_id client_secret",
		"basic": "grant_type=client_credentials",
		"json":  "username password",
		"query": "grant_type=client_credentials client_id client_secret",
	}[v.Travel]
	if v.Travel == "headers" {
		fallback = "X-API-Key={api_key}"
	}
	if v.Travel == "basic" {
		if v.Pair, err = p.line("The two halves of the pair", "client_id:client_secret"); err != nil {
			return err
		}
	}
	text, err := p.line("Fields: name for an account's value, name=value for a fixed text; - for none", fallback)
	if v.Fields = strings.Fields(text); text == "-" {
		v.Fields = nil
	}
	return err
}

// answer reads lines up to one that is a dot.
func (p *prompter) answer() (string, error) {
	p.a.sayf("A sample answer to the login, then a line with a dot (only the dot: as RFC 6749 has it):")
	var b strings.Builder
	for {
		line, err := p.read()
		if err != nil {
			return "", errors.New("the input ended inside the sample answer: a line with a dot ends it")
		}
		if strings.TrimSpace(line) == "." {
			return b.String(), nil
		}
		b.WriteString(line + "\n")
	}
}
