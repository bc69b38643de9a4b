package console

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/issuer"
)

// A section is one kind of thing that a realm keeps. The sections are tables of
// what can be done; the pages are the same for all.
type section struct {
	path    string // last segment of its address: one of the constants below
	title   string // "Applications"
	noun    string // "application"
	about   string // one sentence under the heading
	columns []string

	items func(p *place, after string, limit int) ([]item, error)
	item  func(p *place, id string) (item, error)

	create     operation
	operations []operation // on one item
}

const (
	applicationsPath = "applications"
	usersPath        = "users"
	apiKeysPath      = "keys"
	tenantsPath      = "tenants" // its things belong to the realm and not to a tenant
)

// An item is one thing of a section.
type item struct {
	id       string // by which the directory finds it
	name     string
	cells    []string // under the section's columns
	disabled bool
	secrets  []directory.SecretInfo
	open     string // where its name leads; empty: nowhere
}

// An operation is a form that does something when it is sent. What destroys
// something has a page of its own like everything else, so that nothing happens
// by one press.
type operation struct {
	path   string // last segment of its address
	label  string // of the link that leads here, and of the button
	danger bool
	about  func(p *place, it item) string // what will happen, before it happens
	fields func(p *place, it item) []field

	// applies reports whether it can be done to the item; nil: always.
	applies func(it item) bool

	// do does it. What it returns is shown on the page that answers; nil: the
	// list is shown.
	do func(p *place, it item) (*shown, error)
}

// A field is one input of a form.
type field struct {
	Name, Label, Hint string
	Type              string // text, password, lines, checks or hidden
	Value             string
	Options           []option // of checks
	Optional          bool
}

type option struct {
	Value   string
	Checked bool
}

// shown is what a page shows once: a secret and how it is used.
type shown struct {
	Title   string
	Text    string
	Facts   []fact
	Note    string // above the line
	Curl    string
	Back    string
	Subject string // what it is about
}

// with puts the command in. What was made is shown also if there is no command
// for it: nobody can show the secret later.
func (s *shown) with(line string, err error) *shown {
	if s.Curl = line; err != nil {
		s.Note = "There is no command that could use it: " + err.Error() + "."
	}
	return s
}

type fact struct {
	Label, Value string
	Secret       bool
}

// sectionsOf returns the sections of a realm, that first which its logins need.
// Where logins take no client there is no use for one.
func sectionsOf(realm *issuer.Realm) []*section {
	if realm.Accounts() {
		return []*section{accounts(), apiKeys()}
	}
	list := []*section{users(), apiKeys()}
	if realm.Dialect().Login.Has("client_id") {
		list = slices.Insert(list, 0, applications())
	}
	if tenanted(realm) {
		list = slices.Insert(list, 0, tenants())
	}
	return list
}

// firstOfTenant returns the path of the section that is shown first of a tenant.
func firstOfTenant(realm *issuer.Realm) string { return sectionsOf(realm)[1].path }

func tenanted(realm *issuer.Realm) bool {
	return !realm.Accounts() && realm.Dialect().Login.Has("tenant_id")
}

// A place is where in the console a visit is: in a section of a realm, and of a
// tenant where the realm has them.
type place struct {
	*visit
	console *Console
	realm   *issuer.Realm
	section *section
	tenant  string
}

// open returns the place of a section. The tenant stands in the query.
func (c *Console) open(v *visit, realm *issuer.Realm, name string) (*place, error) {
	list := sectionsOf(realm)
	i := slices.IndexFunc(list, func(s *section) bool { return s.path == name })
	if i < 0 {
		return nil, errNoPage
	}
	p := &place{visit: v, console: c, realm: realm, section: list[i]}
	if !tenanted(realm) || p.section.path == tenantsPath {
		return p, nil
	}
	p.tenant = v.URL.Query().Get("tenant")
	if p.tenant == "" {
		return nil, errNoPage
	}
	_, err := p.directory().Tenant(v.Context(), p.tenant)
	return p, err
}

func (p *place) directory() *directory.Directory { return p.realm.Directory() }

// path returns the address of a realm's section and what is below it.
func (c *Console) path(realm *issuer.Realm, segments ...string) string {
	path := c.base + "realms/" + url.PathEscape(realm.Name())
	for _, s := range segments {
		path += "/" + s
	}
	return path
}

// to returns the address of an operation of a section, or of the section itself
// if that is empty. Parameters are name, value, name, value ...
func (p *place) to(section, operation string, parameters ...string) string {
	query := url.Values{}
	if p.tenant != "" && section != tenantsPath {
		query.Set("tenant", p.tenant)
	}
	for i := 0; i+1 < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	u := url.URL{RawQuery: query.Encode()}
	segments := []string{section}
	if operation != "" {
		segments = append(segments, operation)
	}
	return p.console.path(p.realm, segments...) + u.String()
}

// view returns the surroundings of a page at this place.
func (p *place) view(title string, body any) view {
	v := view{Title: title, Body: body, Crumbs: []link{{Text: "Realms", To: p.console.base}, {Text: p.realm.Name(), To: p.console.path(p.realm)}}}
	if p.tenant != "" {
		v.Crumbs = append(v.Crumbs, link{Text: p.tenant, To: p.to(firstOfTenant(p.realm), "")})
	}
	for _, s := range sectionsOf(p.realm) {
		if tenanted(p.realm) && p.tenant == "" && s.path != tenantsPath {
			continue // there is no tenant to show them of
		}
		v.Tabs = append(v.Tabs, link{Text: s.title, To: p.to(s.path, ""), Here: p.section != nil && s.path == p.section.path})
	}
	v.Tabs = append(v.Tabs, link{Text: "Audit log", To: p.console.path(p.realm, "audit")})
	return v
}

const pageSize = 50

// A listing is what the list template shows.
type listing struct {
	About, Noun string
	Create      link
	Columns     []string
	Rows        []row
	More        bool   // this is not the first page
	First, Next string // addresses; empty: none
}

type row struct {
	Name, Open string
	Cells      []cell
	Disabled   bool
	Operations []link
}

type cell struct{ Label, Value string }

// list shows the items of the section.
func (p *place) list() (answer, error) {
	if err := only(p.Request, http.MethodGet); err != nil {
		return answer{}, err
	}
	s := p.section
	after := p.URL.Query().Get("after")
	items, err := s.items(p, after, pageSize+1)
	if err != nil {
		return answer{}, err
	}
	l := listing{About: s.about, Noun: s.noun, Columns: s.columns, Create: link{Text: s.create.label, To: p.to(s.path, s.create.path)}}
	if after != "" {
		l.First = p.to(s.path, "")
	}
	if len(items) > pageSize {
		items = items[:pageSize]
		l.Next = p.to(s.path, "", "after", items[pageSize-1].id)
	}
	for _, it := range items {
		r := row{Name: it.name, Open: it.open, Disabled: it.disabled}
		for i, text := range it.cells {
			r.Cells = append(r.Cells, cell{s.columns[i], text})
		}
		for _, o := range s.operations {
			if o.applies == nil || o.applies(it) {
				r.Operations = append(r.Operations, link{Text: o.label, To: p.to(s.path, o.path, "id", it.id)})
			}
		}
		l.Rows = append(l.Rows, r)
	}
	return p.page("list", p.view(s.title, l)), nil
}

// A form is what the form template shows.
type form struct {
	About   string
	Problem string // why it was not done
	Fields  []field
	Action  string
	Button  string
	Danger  bool
	Back    string
}

// operate shows the form of an operation, or does it.
func (p *place) operate(name string) (answer, error) {
	if err := only(p.Request, http.MethodGet, http.MethodPost); err != nil {
		return answer{}, err
	}
	s := p.section
	o, it, id := s.create, item{}, ""
	if name != o.path {
		i := slices.IndexFunc(s.operations, func(o operation) bool { return o.path == name })
		if i < 0 {
			return answer{}, errNoPage
		}
		o, id = s.operations[i], p.URL.Query().Get("id")
		var err error
		if it, err = s.item(p, id); err != nil {
			return answer{}, err
		}
		if o.applies != nil && !o.applies(it) {
			return answer{redirect: p.to(s.path, "")}, nil // somebody else was faster
		}
	}
	title := o.label
	f := form{Button: o.label, Danger: o.danger, Back: p.to(s.path, ""), Action: p.to(s.path, o.path)}
	if id != "" {
		title += ": " + it.name
		f.Action = p.to(s.path, o.path, "id", id)
	}
	if o.about != nil {
		f.About = o.about(p, it)
	}
	if p.Method == http.MethodPost {
		result, err := o.do(p, it)
		refusal, refused := asRefusal(err)
		switch {
		case err == nil && result == nil:
			return answer{redirect: p.to(s.path, "")}, nil
		case err == nil:
			result.Back = p.to(s.path, "")
			return p.page("shown", p.view(result.Title, result)), nil
		case !refused:
			return answer{}, err
		}
		f.Problem = sentence(refusal.Description)
	}
	if o.fields != nil {
		f.Fields = o.fields(p, it)
	}
	a := p.page("form", p.view(title, f))
	if f.Problem != "" {
		a.status = http.StatusUnprocessableEntity
	}
	return a, nil
}

// value returns what was typed into a field. It is empty before that.
func (p *place) value(name string) string { return p.PostForm.Get(name) }

// scopeField asks for a scope: by boxes where the realm knows its scopes.
func (p *place) scopeField(hint string, optional bool) field {
	f := field{Name: "scope", Label: "Scopes", Hint: hint, Type: "text", Value: p.value("scope"), Optional: optional}
	order := p.realm.Dialect().Scope.Order
	if len(order) == 0 {
		f.Hint = strings.TrimSpace(hint + " Separate several by spaces.")
		return f
	}
	f.Type = "checks"
	for _, s := range order {
		f.Options = append(f.Options, option{s, slices.Contains(p.PostForm["scope"], s)})
	}
	return f
}

// scope returns what was asked for.
func (p *place) scope() jeton.Scope {
	return jeton.ParseScope(strings.Join(p.PostForm["scope"], " "))
}

// latest is the hidden field that keeps a page which is loaded again from
// rotating again, which would end the secret that is in use.
func latest(_ *place, it item) []field {
	return []field{{Name: "latest", Type: "hidden", Value: secretIDs(it)}}
}

func secretIDs(it item) string {
	var ids []string
	for _, s := range it.secrets {
		ids = append(ids, s.ID)
	}
	return strings.Join(ids, " ")
}

// checkLatest refuses to rotate what is not as it was when the form was made.
func (p *place) checkLatest(it item) error {
	if p.value("latest") != secretIDs(it) {
		return refuse("the secrets have changed since this form was made; nothing was done. Look at the list and decide again")
	}
	return nil
}

func refuse(text string) error { return jeton.Refuse(jeton.InvalidRequest, text) }

func asRefusal(err error) (*jeton.Error, bool) { return errors.AsType[*jeton.Error](err) }

func none(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
