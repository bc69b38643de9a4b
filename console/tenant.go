package console

import "github.com/jetonhq/jeton/directory"

func tenants() *section {
	return &section{
		path: tenantsPath, title: "Tenants", noun: "tenant",
		about:   "Everything else of this realm belongs to a tenant. Choose one to see its applications, users and API keys.",
		columns: []string{"Tenant ID", "Created"},
		items: func(p *place, after string, limit int) ([]item, error) {
			list, err := p.directory().Tenants(p.Context(), after, limit)
			items := itemsOf(list, tenantItem)
			for i := range items {
				items[i].open = p.to(firstOfTenant(p.realm), "", "tenant", items[i].id)
			}
			return items, err
		},
		item: func(p *place, id string) (item, error) {
			t, err := p.directory().Tenant(p.Context(), id)
			return tenantItem(t), err
		},
		create: operation{path: "new", label: "New tenant", do: addTenant, fields: func(p *place, _ item) []field {
			return []field{
				{Name: "id", Label: "Tenant ID", Type: "text", Value: p.value("id"), Optional: true,
					Hint: "Stands in the address at which its applications log in, and cannot be changed later. One is made if this is empty."},
				{Name: "name", Label: "Name", Type: "text", Value: p.value("name"), Optional: true, Hint: "For people; the ID if it is empty."},
			}
		}},
		operations: []operation{
			disabling("All tokens of the tenant end at once, and nobody of it can log in until it is enabled again. Old tokens stay ended then, too.",
				func(p *place, it item) error {
					return p.directory().SetTenantDisabled(p.Context(), actor, it.id, true)
				}),
			enabling(func(p *place, it item) error {
				return p.directory().SetTenantDisabled(p.Context(), actor, it.id, false)
			}),
			removing("All its applications, users and API keys are removed with it, and their tokens end at once.", func(p *place, it item) error {
				return p.directory().RemoveTenant(p.Context(), actor, it.id)
			}),
		},
	}
}

func tenantItem(t directory.Tenant) item {
	return item{id: t.ID, name: t.Name, disabled: t.Disabled, cells: []string{t.ID, day(t.Created)}}
}

func addTenant(p *place, _ item) (*shown, error) {
	_, err := p.directory().AddTenant(p.Context(), actor, directory.Tenant{ID: p.value("id"), Name: p.value("name")})
	return nil, err
}
