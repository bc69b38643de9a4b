package console

import (
	"errors"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/store"
)

func apiKeys() *section {
	return &section{
		path: apiKeysPath, title: "API keys", noun: "API key",
		about:   "An API key is a secret that does not expire.",
		columns: []string{"Key ID", "Owner", "Scopes", "Secrets", "Created"},
		items: func(p *place, after string, limit int) ([]item, error) {
			list, err := p.directory().APIKeys(p.Context(), p.tenant, after, limit)
			return itemsOf(list, p.keyItem), err
		},
		item: func(p *place, id string) (item, error) {
			k, err := p.directory().APIKey(p.Context(), p.tenant, id)
			return p.keyItem(k), err
		},
		create: operation{path: "new", label: "New API key", fields: keyFields, do: addKey},
		operations: []operation{
			rotation(func(p *place, it item) (*shown, error) {
				k, secret, err := p.directory().RotateAPIKey(p.Context(), actor, p.tenant, it.id)
				if err != nil {
					return nil, err
				}
				return keyShown(p, k, secret, "New secret"), nil
			}),
			endingOld("The newer one stays valid. Tokens that belong to the key end, too.", func(p *place, it item) error {
				return p.directory().EndOldKey(p.Context(), actor, p.tenant, it.id)
			}),
			disabling("It stops working at once, and tokens that belong to it end.", func(p *place, it item) error {
				return p.directory().SetAPIKeyDisabled(p.Context(), actor, p.tenant, it.id, true)
			}),
			enabling(func(p *place, it item) error {
				return p.directory().SetAPIKeyDisabled(p.Context(), actor, p.tenant, it.id, false)
			}),
			removing("It stops working at once, and tokens that belong to it end.", func(p *place, it item) error {
				return p.directory().RemoveAPIKey(p.Context(), actor, p.tenant, it.id)
			}),
		},
	}
}

// owner returns the name of the user who owns a key, or the ID of one who cannot
// be found.
func (p *place) owner(k directory.APIKey) string {
	if k.Owner == "" {
		return ""
	}
	u, err := p.directory().UserByID(p.Context(), k.Owner)
	if err != nil {
		return k.Owner
	}
	return u.Name
}

func (p *place) keyItem(k directory.APIKey) item {
	return item{
		id: k.ID, name: k.Name, disabled: k.Disabled, secrets: k.Secrets,
		cells: []string{k.ID, none(p.owner(k)), none(k.Scope.String()), secretsText(k.Secrets), day(k.Created)},
	}
}

func keyFields(p *place, _ item) []field {
	nextToPassword := p.realm.Dialect().Login.Has("api_key")
	owner := field{Name: "owner", Label: "Owner", Type: "text", Value: p.value("owner"), Optional: !nextToPassword,
		Hint: "The name of the user whom its calls are to count as."}
	if nextToPassword {
		owner.Hint = "The name of the user who logs in with it."
	}
	return []field{
		{Name: "name", Label: "Name", Type: "text", Value: p.value("name"), Hint: "For people, such as: billing export"},
		owner,
		p.scopeField("What it may do.", len(p.realm.Dialect().Scope.Order) == 0),
	}
}

func addKey(p *place, _ item) (*shown, error) {
	k := directory.APIKey{Tenant: p.tenant, Name: p.value("name"), Scope: p.scope()}
	if name := p.value("owner"); name != "" {
		u, err := p.directory().User(p.Context(), p.tenant, name)
		if errors.Is(err, store.ErrNotFound) {
			return nil, refuse("there is no user of the name that stands under owner; leave it empty or create the user first")
		}
		if err != nil {
			return nil, err
		}
		k.Owner = u.ID
	} else if p.realm.Dialect().Login.Has("api_key") {
		return nil, refuse("the owner is missing; in this realm an API key goes with a user's password")
	}
	k, secret, err := p.directory().AddAPIKey(p.Context(), actor, k, jeton.Secret{})
	if err != nil {
		return nil, err
	}
	return keyShown(p, k, secret, "API key created"), nil
}

func keyShown(p *place, k directory.APIKey, secret jeton.Secret, title string) *shown {
	s := &shown{
		Title: title, Subject: k.Name, Text: onceText, Note: "This calls the API with it:",
		Facts: []fact{{Label: "API key", Value: secret.Reveal(), Secret: true}},
	}
	if !p.realm.Dialect().Login.Has("api_key") {
		return s.with(callLine(p.Context(), p.realm, k.Scope, secret))
	}
	s.Note = "This gets an access token, with the user's password in the place of PASSWORD:"
	return s.with(loginLine(p.Context(), p.realm, jeton.Vars{"tenant_id": p.tenant, "username": p.owner(k), "api_key": secret.Reveal()}))
}
