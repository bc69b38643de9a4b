package main

import (
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialects"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/yamlnode"

	_ "embed"
)

// A guardTarget is which guard a command is about.
type guardTarget struct{ upstream, dialect string }

func (t *guardTarget) flags(a *app, c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&t.upstream, "upstream", "", "`name` of an upstream of the configuration; may be left out if there is one")
	c.Flags().StringVar(&t.dialect, "dialect", "", "dialect, `name` or file, instead of a configuration")
	_ = c.RegisterFlagCompletionFunc("dialect", completeDialects)
	_ = c.RegisterFlagCompletionFunc("upstream", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		guards, err := a.guards(new(guardTarget))
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.Sorted(maps.Keys(guards)), cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

// guards returns the guards that a command is about, by upstream or dialect.
func (a *app) guards(t *guardTarget) (map[string]*guard.Guard, error) {
	if t.dialect != "" && t.upstream != "" {
		return nil, usagef("--upstream is for a configuration, --dialect for none: give one of them")
	}
	if t.dialect != "" {
		all, err := readCatalogue("", asWritten) // without a configuration
		if err != nil {
			return nil, err
		}
		ref, err := all.load(t.dialect)
		if err != nil {
			return nil, err
		}
		return map[string]*guard.Guard{ref.Name: {Dialect: ref.Dialect}}, nil
	}
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	guards, err := guardsOf(c)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(guards))
	g, ok := guards[t.upstream]
	switch {
	case len(names) == 0:
		return nil, fmt.Errorf("%s declares no upstreams under guard; --dialect explains one of %s", c.file, strings.Join(dialects.Names(), ", "))
	case t.upstream == "":
		return guards, nil
	case !ok:
		return nil, fmt.Errorf("unknown upstream %s%s", yamlnode.Quote(t.upstream), yamlnode.Suggest(t.upstream, names))
	}
	return map[string]*guard.Guard{t.upstream: g}, nil
}

// guardsOf makes the guards of a configuration, without a verifier: they can say
// what they decide, and decide nothing.
func guardsOf(c *config) (map[string]*guard.Guard, error) {
	guards := map[string]*guard.Guard{} // :: upstream -> guard
	if c.guard == nil {
		return guards, nil
	}
	for _, u := range c.guard.upstreams {
		r, _ := c.realm(u.realm)
		d := r.dialect.Dialect
		if u.from != nil {
			d = u.from.dialect.Dialect
		}
		g, err := u.open(d)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.node.Position(), err)
		}
		guards[u.name] = g
	}
	return guards, nil
}

func (a *app) guardExplainCommand() *cobra.Command {
	t := new(guardTarget)
	var scope []string
	var claims jeton.Claims
	var document, operation string
	c := a.jsonFlag(&cobra.Command{
		Use:   "explain METHOD PATH",
		Short: "Say which rule decides a call, and why",
		Long: `Says what becomes of a call with a good token: the rule that decides it, what it needs,
what the token has, and the status of a refusal. The path is as the API behind the guard
gets it. Nobody is called and no token is needed.

Exits with 0 if the call is let through and with 1 if it is refused, so that a pipeline
can hold a permission fast:

  jeton guard explain DELETE /v2/users/7 --dialect web1on1 --scope agent && exit 1

A call to the GraphQL endpoint is decided by its document, which --query gives:

  jeton guard explain POST /graphql --query '{ users { email } }' --scope agent`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			guards, err := a.guards(t)
			if err != nil {
				return err
			}
			if len(guards) > 1 {
				return usagef("which upstream? Add --upstream with one of %s", strings.Join(slices.Sorted(maps.Keys(guards)), ", "))
			}
			claims.Scope = jeton.ParseScope(strings.Join(scope, " "))
			for _, g := range guards {
				e, err := explain(g, args[0], args[1], document, operation, &claims)
				if err != nil {
					return err
				}
				return a.writeExplanation(e, &claims)
			}
			return nil
		},
	})
	c.Flags().StringSliceVar(&scope, "scope", nil, "`scope` of the token; several by commas, or --scope again")
	c.Flags().StringVar(&claims.Subject, "subject", "", "`subject` of the token: who calls")
	c.Flags().StringVar(&claims.Tenant, "tenant", "", "`tenant` of the token")
	c.Flags().StringVar(&document, "query", "", "GraphQL `document` of the call")
	c.Flags().StringVar(&operation, "operation", "", "`name` of the operation of the document that is to be executed, if it has several")
	return t.flags(a, c)
}

func explain(g *guard.Guard, method, target, document, operation string, claims *jeton.Claims) (*guard.Explanation, error) {
	if document == "" && operation == "" {
		return g.Explain(method, target, claims)
	}
	return g.ExplainDocument(method, target, document, operation, claims)
}

// writeExplanation writes it and fails without a word if the call is refused.
func (a *app) writeExplanation(e *guard.Explanation, c *jeton.Claims) error {
	outcome, rule, needs := "allowed", "none names the call", ""
	if !e.Allowed {
		outcome = strings.TrimSpace("refused: " + strconv.Itoa(e.Status) + " " + string(e.Code))
	}
	if e.Rule != nil {
		rule = fmt.Sprintf("%s: %s %s -> %s", e.Rule.Kind, e.Rule.Method, e.Rule.Path, e.Rule.Needs)
		if needs = "a good token"; e.Rule.Scope != "" {
			needs = "scope " + e.Rule.Scope
		}
	}
	var err error
	if a.json {
		err = a.writeJSON(e)
	} else {
		err = a.writeFields([]field{{"call", e.Method + " " + e.Path}, {"outcome", outcome}, {"rule", rule}, {"needs", needs},
			{"scope", e.Has.String()}, {"subject", c.Subject}, {"tenant", c.Tenant}, {"why", e.Why}, {"allow", strings.Join(e.Allow, ", ")}})
	}
	if err == nil && !e.Allowed {
		return exitStatus(exitFailure)
	}
	return err
}

func (a *app) guardRoutesCommand() *cobra.Command {
	t := new(guardTarget)
	asHTML := false
	c := a.jsonFlag(&cobra.Command{
		Use:   "routes",
		Short: "Print who may do what: every route against every scope",
		Long: `Prints the whole of what a guard lets through: its routes, the ones that the permission
table stands for, and the fields of GraphQL, sorted by path, against the scopes. What it
does not print is refused. A scope of a dialect with an order includes those before it.

{self} is the caller's own record, {tenant} the tenant of the token. The column "(none)"
is a token without a scope.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asHTML && a.json {
				return usagef("--html or --json, not both")
			}
			guards, err := a.guards(t)
			if err != nil {
				return err
			}
			var list []matrixView
			for _, name := range slices.Sorted(maps.Keys(guards)) {
				m, err := guards[name].Matrix()
				if err != nil {
					return err
				}
				list = append(list, matrixView{name, guards[name].Dialect.Name, m})
			}
			switch {
			case asHTML:
				return matrixPage.Execute(a.out, list)
			case a.json:
				return a.writeJSON(list)
			}
			return a.writeMatrices(list)
		},
	})
	c.Flags().BoolVar(&asHTML, "html", false, "write a page for a browser")
	return t.flags(a, c)
}

// A matrixView is the matrix of one upstream as the command line shows it.
type matrixView struct {
	Upstream string `json:"upstream"` // or the dialect, where that is all there is
	Dialect  string `json:"dialect"`
	*guard.Matrix
}

// Closed reports whether what has no row is refused.
func (m matrixView) Closed() bool {
	return !slices.ContainsFunc(m.Rows, func(r guard.Row) bool { return r.Kind == guard.KindOpen })
}

func (a *app) writeMatrices(list []matrixView) error {
	for i, m := range list {
		if i > 0 {
			_, _ = fmt.Fprintln(a.out)
		}
		if len(list) > 1 {
			_, _ = fmt.Fprintf(a.out, "%s (%s)\n", printable(m.Upstream), m.Dialect)
		}
		heads := []string{"METHOD", "PATH", "NEEDS", "BY"}
		for _, scope := range m.Scopes {
			heads = append(heads, firstOf(scope, "(none)"))
		}
		rows := [][]string{heads}
		for _, r := range m.Rows {
			row := []string{r.Method, strings.TrimSpace(r.Path + " " + r.Field), r.Needs, r.Kind}
			for _, ok := range r.Allowed {
				row = append(row, map[bool]string{true: "yes"}[ok])
			}
			rows = append(rows, row)
		}
		if err := a.writeTable(rows); err != nil {
			return err
		}
		if m.Closed() {
			a.sayf("%s: whatever is not in the table is refused", m.Upstream)
		}
	}
	return nil
}

//go:embed guard_routes.html
var matrixHTML string

var matrixPage = template.Must(template.New("routes").Parse(matrixHTML))
