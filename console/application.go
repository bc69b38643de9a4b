package console

import (
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
)

// applications are the clients of a realm (RFC 6749 section 2); vendors call
// them client applications.
func applications() *section {
	return &section{
		path: applicationsPath, title: "Applications", noun: "application",
		about:   "An application logs in by itself, with a client ID and a client secret.",
		columns: []string{"Client ID", "Scopes", "Secrets", "Created"},
		items: func(p *place, after string, limit int) ([]item, error) {
			list, err := p.directory().Clients(p.Context(), p.tenant, after, limit)
			return itemsOf(list, clientItem), err
		},
		item: func(p *place, id string) (item, error) {
			c, err := p.directory().Client(p.Context(), p.tenant, id)
			return clientItem(c), err
		},
		create: operation{
			path: "new", label: "New application", fields: clientFields, do: addClient,
			about: func(*place, item) string { return "It gets a client ID and a client secret." },
		},
		operations: []operation{
			rotation(func(p *place, it item) (*shown, error) {
				c, secret, err := p.directory().RotateClient(p.Context(), actor, p.tenant, it.id)
				if err != nil {
					return nil, err
				}
				return clientShown(p, c, secret, "New client secret"), nil
			}),
			endingOld("The newer one stays valid.", func(p *place, it item) error {
				return p.directory().EndOldSecret(p.Context(), actor, p.tenant, it.id)
			}),
			disabling("Its tokens end at once and it gets no new ones until it is enabled again. Its old tokens stay ended then, too.",
				func(p *place, it item) error {
					return p.directory().SetClientDisabled(p.Context(), actor, p.tenant, it.id, true)
				}),
			enabling(func(p *place, it item) error {
				return p.directory().SetClientDisabled(p.Context(), actor, p.tenant, it.id, false)
			}),
			removing("Its tokens end at once, and its client ID will never work again.", func(p *place, it item) error {
				return p.directory().RemoveClient(p.Context(), actor, p.tenant, it.id)
			}),
		},
	}
}

func clientItem(c directory.Client) item {
	return item{
		id: c.ID, name: c.Name, disabled: c.Disabled, secrets: c.Secrets,
		cells: []string{c.ID, none(c.Scope.String()), secretsText(c.Secrets), day(c.Created)},
	}
}

func clientFields(p *place, _ item) []field {
	fields := []field{
		{Name: "name", Label: "Name", Type: "text", Value: p.value("name"), Hint: "For people, such as: night import"},
		p.scopeField("What its tokens may do at most.", true),
	}
	if p.realm.Dialect().Standard {
		fields = append(fields, field{Name: "resources", Label: "Resources", Type: "lines", Value: p.value("resources"), Optional: true,
			Hint: "The APIs beside this realm that it may ask for tokens for (RFC 8707): one URL a line."})
	}
	return fields
}

func addClient(p *place, _ item) (*shown, error) {
	c, secret, err := p.directory().AddClient(p.Context(), actor, directory.Client{
		Tenant: p.tenant, Name: p.value("name"), Scope: p.scope(), Resources: strings.Fields(p.value("resources")),
	}, jeton.Secret{})
	if err != nil {
		return nil, err
	}
	return clientShown(p, c, secret, "Application created"), nil
}

func clientShown(p *place, c directory.Client, secret jeton.Secret, title string) *shown {
	s := &shown{
		Title: title, Subject: c.Name, Text: onceText,
		Facts: []fact{{Label: "Client ID", Value: c.ID}, {Label: "Client secret", Value: secret.Reveal(), Secret: true}},
		Note:  "This gets an access token:",
	}
	return s.with(loginLine(p.Context(), p.realm, jeton.Vars{"tenant_id": p.tenant, "client_id": c.ID, "client_secret": secret.Reveal()}))
}

const onceText = "Copy the secret now. It is shown this once and kept nowhere in a form that could be shown again."

// secretsText tells the secrets of an item apart without showing any.
func secretsText(secrets []directory.SecretInfo) string {
	var texts []string
	for _, s := range secrets {
		texts = append(texts, s.ID+" ("+day(s.Created)+")")
	}
	return none(strings.Join(texts, ", "))
}

func itemsOf[T any](list []T, convert func(T) item) []item {
	items := make([]item, len(list))
	for i, v := range list {
		items[i] = convert(v)
	}
	return items
}

// The operations that sections share.

func rotation(do func(p *place, it item) (*shown, error)) operation {
	return operation{
		path: "rotate", label: "Rotate", fields: latest,
		about: func(_ *place, it item) string {
			if len(it.secrets) > 1 {
				return "It gets a new secret, which is shown once. It has two already: the older one stops working at once, the newer stays valid."
			}
			return "It gets a new secret, which is shown once. The present one stays valid until you end it, so that nothing stops while you replace it."
		},
		do: func(p *place, it item) (*shown, error) {
			if err := p.checkLatest(it); err != nil {
				return nil, err
			}
			return do(p, it)
		},
	}
}

func endingOld(about string, do func(p *place, it item) error) operation {
	return operation{
		path: "end-old", label: "End old secret", danger: true, fields: latest,
		applies: func(it item) bool { return len(it.secrets) > 1 },
		about: func(*place, item) string {
			return "The older of its two secrets stops working at once. " + about
		},
		do: func(p *place, it item) (*shown, error) {
			if err := p.checkLatest(it); err != nil {
				return nil, err
			}
			return nil, do(p, it)
		},
	}
}

func disabling(about string, do func(p *place, it item) error) operation {
	return operation{
		path: "disable", label: "Disable", danger: true,
		about:   func(*place, item) string { return about },
		applies: func(it item) bool { return !it.disabled },
		do:      func(p *place, it item) (*shown, error) { return nil, do(p, it) },
	}
}

func enabling(do func(p *place, it item) error) operation {
	return operation{
		path: "enable", label: "Enable",
		about:   func(*place, item) string { return "It works again from now on. Tokens that ended stay ended." },
		applies: func(it item) bool { return it.disabled },
		do:      func(p *place, it item) (*shown, error) { return nil, do(p, it) },
	}
}

func removing(about string, do func(p *place, it item) error) operation {
	return operation{
		path: "remove", label: "Remove", danger: true,
		about: func(*place, item) string { return about + " This cannot be undone." },
		do:    func(p *place, it item) (*shown, error) { return nil, do(p, it) },
	}
}
