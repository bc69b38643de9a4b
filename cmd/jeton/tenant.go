package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton/directory"
)

func (a *app) tenantCommand() *cobra.Command {
	t := new(target)
	c := group(&cobra.Command{
		Use:   "tenant",
		Short: "Add, list, show, disable and remove tenants of a realm that has them",
		Long:  "Works on the realm's store. A running server sees each change at once.",
	},
		a.tenantAdd(t), a.tenantList(t), a.tenantShow(t),
		a.change(t, "disable ID", "End all tokens of a tenant and refuse its logins", "is disabled, and every token of the tenant has ended",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.SetTenantDisabled(ctx, actor, id, true)
			}),
		a.change(t, "enable ID", "Let a disabled tenant log in again", "is enabled; tokens from before stay ended",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.SetTenantDisabled(ctx, actor, id, false)
			}),
		a.change(t, "remove ID", "Remove a tenant and all that is in it", "is removed",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.RemoveTenant(ctx, actor, id)
			}))
	t.flags(a, c)
	_ = c.PersistentFlags().MarkHidden("tenant") // here it is the argument
	return c
}

// A tenantView is a tenant as the command line shows one.
type tenantView struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

func viewTenant(t directory.Tenant) tenantView {
	return tenantView{t.ID, t.Name, t.Disabled, t.Created.UTC()}
}

func (a *app) writeTenant(t directory.Tenant) error {
	if a.json {
		return a.writeJSON(viewTenant(t))
	}
	return a.writeFields([]field{{"id", t.ID}, {"name", t.Name}, {"state", enabled(t.Disabled)}, {"created", stamp(t.Created)}})
}

func (a *app) tenantAdd(t *target) *cobra.Command {
	var name string
	c := a.jsonFlag(&cobra.Command{
		Use:   "add ID",
		Short: "Add a tenant; its id stands in the URL of its logins",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				tenant, err := d.AddTenant(c.Context(), actor, directory.Tenant{ID: args[0], Name: firstOf(name, args[0])})
				if err != nil {
					return err
				}
				return a.writeTenant(tenant)
			})
		},
	})
	c.Flags().StringVar(&name, "name", "", "`name` for people; default: the id")
	return c
}

func (a *app) tenantList(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "list",
		Short: "List the tenants",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				tenants, err := everything(func(after string) ([]directory.Tenant, error) {
					return d.Tenants(c.Context(), after, page)
				}, func(t directory.Tenant) string { return t.ID })
				if err != nil {
					return err
				}
				views := make([]tenantView, 0, len(tenants))
				rows := [][]string{{"ID", "NAME", "STATE"}}
				for _, t := range tenants {
					views = append(views, viewTenant(t))
					rows = append(rows, []string{t.ID, t.Name, enabled(t.Disabled)})
				}
				if a.json {
					return a.writeJSON(views)
				}
				return a.writeTable(rows)
			})
		},
	})
}

func (a *app) tenantShow(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "show ID",
		Short: "Show a tenant",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				tenant, err := d.Tenant(c.Context(), args[0])
				if err != nil {
					return err
				}
				return a.writeTenant(tenant)
			})
		},
	})
}
