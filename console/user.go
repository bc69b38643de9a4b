package console

import (
	"crypto/rand"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
)

func users() *section {
	return &section{
		path: usersPath, title: "Users", noun: "user",
		about:   "A user logs in with a name and a password.",
		columns: []string{"User ID", "Scopes", "Created"},
		items: func(p *place, after string, limit int) ([]item, error) {
			list, err := p.directory().Users(p.Context(), p.tenant, after, limit)
			return itemsOf(list, userItem), err
		},
		item: func(p *place, id string) (item, error) {
			u, err := p.directory().User(p.Context(), p.tenant, id)
			return userItem(u), err
		},
		create: operation{path: "new", label: "New user", do: addUser, fields: func(p *place, _ item) []field {
			return append([]field{
				{Name: "name", Label: "Name or e-mail address", Type: "text", Value: p.value("name"), Hint: "Upper and lower case are the same."},
				p.scopeField("What the tokens may do.", true),
			}, passwordFields()...)
		}},
		operations: []operation{
			{
				path: "password", label: "Set password", do: setPassword,
				about:  func(*place, item) string { return "The old password and all tokens of the user end at once." },
				fields: func(*place, item) []field { return passwordFields() },
			},
			disabling("The user's tokens end at once, and logins fail until the user is enabled again. Old tokens stay ended then, too.",
				func(p *place, it item) error {
					return p.directory().SetUserDisabled(p.Context(), actor, p.tenant, it.id, true)
				}),
			enabling(func(p *place, it item) error {
				return p.directory().SetUserDisabled(p.Context(), actor, p.tenant, it.id, false)
			}),
			removing("The user's tokens end at once.", func(p *place, it item) error {
				return p.directory().RemoveUser(p.Context(), actor, p.tenant, it.id)
			}),
		},
	}
}

func userItem(u directory.User) item {
	return item{id: u.Name, name: u.Name, disabled: u.Disabled, cells: []string{u.ID, none(u.Scope.String()), day(u.Created)}}
}

func passwordFields() []field {
	return []field{
		{Name: "password", Label: "Password", Type: "password", Optional: true, Hint: "Leave both empty to have one made and shown once."},
		{Name: "again", Label: "The same password again", Type: "password", Optional: true},
	}
}

// password returns the password that was typed twice, or a new one of 128
// random bits.
func (p *place) password() (password jeton.Secret, generated bool, err error) {
	typed, again := jeton.NewSecret(p.value("password")), jeton.NewSecret(p.value("again"))
	switch {
	case !typed.Equal(again):
		return typed, false, refuse("the two passwords differ; type the same twice")
	case typed.IsZero():
		return jeton.NewSecret(rand.Text()), true, nil
	}
	return typed, false, nil
}

func addUser(p *place, _ item) (*shown, error) {
	password, generated, err := p.password()
	if err != nil {
		return nil, err
	}
	u, err := p.directory().AddUser(p.Context(), actor, directory.User{Tenant: p.tenant, Name: p.value("name"), Scope: p.scope()}, password)
	if err != nil {
		return nil, err
	}
	return userShown(p, u.Name, password, generated, "User created"), nil
}

func setPassword(p *place, it item) (*shown, error) {
	password, generated, err := p.password()
	if err != nil {
		return nil, err
	}
	if err := p.directory().SetPassword(p.Context(), actor, p.tenant, it.id, password); err != nil {
		return nil, err
	}
	return userShown(p, it.name, password, generated, "Password set"), nil
}

// userShown shows a password only if it is not known to whoever typed it.
func userShown(p *place, name string, password jeton.Secret, generated bool, title string) *shown {
	s := &shown{Title: title, Subject: name, Facts: []fact{{Label: "Name", Value: name}}, Note: "This gets an access token:"}
	inLine := "PASSWORD"
	if generated {
		inLine = password.Reveal()
		s.Text = onceText
		s.Facts = append(s.Facts, fact{Label: "Password", Value: inLine, Secret: true})
	} else {
		s.Note = "This gets an access token, with the password in the place of PASSWORD:"
	}
	switch d := p.realm.Dialect(); {
	case d.Login.Has("password"):
		if d.Login.Has("api_key") {
			s.Note = "This gets an access token. The user needs an API key too, which goes in the place of API_KEY" +
				map[bool]string{true: ":", false: ", and the password in the place of PASSWORD:"}[generated]
		}
		return s.with(loginLine(p.Context(), p.realm, jeton.Vars{"tenant_id": p.tenant, "username": name, "password": inLine}))
	case d.Standard:
		s.Note = "Where the realm's configuration allows the password grant, this gets an access token through an application:"
		return s.with(passwordLine(p.Context(), p.realm, p.tenant, name, inLine))
	}
	return s
}
