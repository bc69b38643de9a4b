package console

import (
	"maps"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/directory"
)

// accounts are the applications of a realm whose logins present something else
// than an ID and a secret: keys, signatures, several secrets.
func accounts() *section {
	s := applications()
	s.about = "An application logs in by itself, with what the dialect's logins present."
	s.columns = []string{"Client ID", "Scopes", "Created"}
	s.items = func(p *place, after string, limit int) ([]item, error) {
		list, err := p.directory().Clients(p.Context(), p.tenant, after, limit)
		return itemsOf(list, accountItem), err
	}
	s.item = func(p *place, id string) (item, error) {
		c, err := p.directory().Client(p.Context(), p.tenant, id)
		return accountItem(c), err
	}
	s.create.fields, s.create.do = accountFields, addAccount
	s.create.about = func(*place, item) string {
		return "What its logins present is kept, since signatures are checked with it. Of a pair of keys the public one is enough."
	}
	s.operations = slices.DeleteFunc(s.operations, func(o operation) bool { return o.path == "rotate" || o.path == "end-old" })
	s.operations = slices.Insert(s.operations, 0, operation{
		path: "account", label: "Replace credentials", do: replaceAccount, fields: variableFields,
		about: func(*place, item) string {
			return "It logs in with what is typed here only, and its tokens end at once."
		},
	})
	return s
}

func accountItem(c directory.Client) item {
	return item{id: c.ID, name: c.Name, disabled: c.Disabled, cells: []string{c.ID, none(c.Scope.String()), day(c.Created)}}
}

func accountFields(p *place, it item) []field {
	fields := []field{
		{Name: "name", Label: "Name", Type: "text", Value: p.value("name"), Hint: "For people, such as: night import"},
		p.scopeField("What its tokens may do at most.", true),
	}
	return append(fields, variableFields(p, it)...)
}

// variableFields asks for what logins present. What is secret is not shown again.
func variableFields(p *place, _ item) []field {
	d := p.realm.Dialect()
	kinds, defaults := d.Kinds(), d.Defaults()
	var fields []field
	for _, name := range accountVariables(d) {
		f := field{Name: variablePrefix + name, Label: name, Type: "password", Hint: d.Params[name], Optional: !slices.Contains(d.LoginVars(), name)}
		switch {
		case dialect.PEM(kinds[name]):
			f.Type = "lines"
		case d.Public(name):
			f.Type, f.Value = "text", p.value(f.Name)
			if f.Value == "" {
				f.Value = defaults[name]
			}
		}
		fields = append(fields, f)
	}
	return fields
}

// variablePrefix keeps variables apart from the other fields of a form.
const variablePrefix = "var-"

// accountVariables are what an account may have here. What its tokens may do is
// the application's own.
func accountVariables(d *dialect.Dialect) []string {
	return slices.DeleteFunc(d.AccountVars(), func(name string) bool { return name == "scope" || name == "resource" })
}

// account returns the variables that were typed.
func (p *place) account() (jeton.Vars, error) {
	d, vars := p.realm.Dialect(), jeton.Vars{}
	for _, name := range accountVariables(d) {
		text := strings.ReplaceAll(strings.TrimSpace(p.value(variablePrefix+name)), "\r\n", "\n")
		if text == "" && slices.Contains(d.LoginVars(), name) {
			return nil, jeton.Refuse(jeton.InvalidRequest, "the field "+name+" is empty; logins need it")
		}
		if text != "" {
			vars[name] = text
		}
	}
	return vars, nil
}

func addAccount(p *place, _ item) (*shown, error) {
	vars, err := p.account()
	if err != nil {
		return nil, err
	}
	c, _, err := p.directory().AddClient(p.Context(), actor, directory.Client{Tenant: p.tenant, Name: p.value("name"), Scope: p.scope()}, jeton.Secret{})
	if err == nil {
		err = p.directory().SetAccount(p.Context(), actor, p.tenant, c.ID, vars)
	}
	if err != nil {
		return nil, err
	}
	return &shown{Title: "Application created", Subject: c.Name, Facts: []fact{{Label: "Client ID", Value: c.ID}},
		Note: "It logs in with " + strings.Join(slices.Sorted(maps.Keys(vars)), ", ") + "."}, nil
}

func replaceAccount(p *place, it item) (*shown, error) {
	vars, err := p.account()
	if err == nil {
		err = p.directory().SetAccount(p.Context(), actor, p.tenant, it.id, vars)
	}
	return nil, err
}
