package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
)

func (a *app) keyCommand() *cobra.Command {
	t := new(target)
	c := group(&cobra.Command{
		Use:   "key",
		Short: "Add, list, show, rotate, disable and remove API keys",
		Long:  "Works on the realm's store. A running server sees each change at once.",
	},
		a.keyAdd(t), a.keyList(t), a.keyShow(t), a.keyRotate(t),
		a.change(t, "end-old-key ID", "End the older of an API key's two values", "has one value left, the newer",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.EndOldKey(ctx, actor, t.tenant, id)
			}),
		a.change(t, "disable ID", "Refuse an API key", "is disabled",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.SetAPIKeyDisabled(ctx, actor, t.tenant, id, true)
			}),
		a.change(t, "enable ID", "Take a disabled API key again", "is enabled",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.SetAPIKeyDisabled(ctx, actor, t.tenant, id, false)
			}),
		a.change(t, "remove ID", "Remove an API key", "is removed",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.RemoveAPIKey(ctx, actor, t.tenant, id)
			}))
	t.flags(a, c)
	return c
}

// A keyView is an API key as the command line shows one. Key is there only when
// it was just made: nobody can show it again.
type keyView struct {
	ID       string       `json:"id"`
	Key      string       `json:"key,omitempty"`
	Name     string       `json:"name"`
	Tenant   string       `json:"tenant,omitempty"`
	Owner    string       `json:"owner,omitempty"`
	Scopes   []string     `json:"scopes"`
	Disabled bool         `json:"disabled"`
	Created  time.Time    `json:"created"`
	Secrets  []secretView `json:"secrets"`
}

func viewKey(k directory.APIKey, secret jeton.Secret) keyView {
	return keyView{k.ID, secret.Reveal(), k.Name, k.Tenant, k.Owner, append([]string{}, k.Scope...), k.Disabled,
		k.Created.UTC(), viewSecrets(k.Secrets)}
}

func (a *app) writeKey(k directory.APIKey, secret jeton.Secret) error {
	if !secret.IsZero() {
		a.sayf("The key is shown this once only.")
	}
	if a.json {
		return a.writeJSON(viewKey(k, secret))
	}
	return a.writeFields([]field{{"id", k.ID}, {"key", secret.Reveal()}, {"name", k.Name}, {"tenant", k.Tenant},
		{"owner", k.Owner}, {"scope", k.Scope.String()}, {"state", enabled(k.Disabled)}, {"created", stamp(k.Created)},
		{"secrets", secretText(k.Secrets)}})
}

func (a *app) keyAdd(t *target) *cobra.Command {
	var owner, file string
	var scopes []string
	c := a.jsonFlag(&cobra.Command{
		Use:   "add NAME",
		Short: "Add an API key and print it",
		Long:  "Adds an API key, which is worn as the bearer of a call, or next to it where the dialect\nsays so. It is generated and printed this once, unless --key-file names one.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var chosen jeton.Secret
			if file != "" {
				var err error
				if chosen, err = a.readSecretFlag(c.Context(), file); err != nil {
					return err
				}
			}
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				k := directory.APIKey{Tenant: t.tenant, Name: args[0], Scope: scopes}
				if owner != "" {
					u, err := d.User(c.Context(), t.tenant, owner)
					if err != nil {
						return err
					}
					k.Owner = u.ID
				}
				k, secret, err := d.AddAPIKey(c.Context(), actor, k, chosen)
				if err != nil {
					return err
				}
				if file != "" {
					secret = jeton.Secret{} // whoever chose it knows it
				}
				return a.writeKey(k, secret)
			})
		},
	})
	c.Flags().StringVar(&owner, "owner", "", "`name` of the user that the key belongs to")
	c.Flags().StringSliceVar(&scopes, "scope", nil, "`scope` that the key has; may be repeated, or a list with commas")
	secretFlags(c, "key", &file)
	return c
}

func (a *app) keyRotate(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "rotate ID",
		Short: "Give an API key a new value and print it",
		Long:  "Gives an API key a new value. The one before stays valid until `key end-old-key`, or until\nthe next rotation: two are valid at most.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				k, secret, err := d.RotateAPIKey(c.Context(), actor, t.tenant, args[0])
				if err != nil {
					return err
				}
				return a.writeKey(k, secret)
			})
		},
	})
}

func (a *app) keyList(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "list",
		Short: "List the API keys",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				keys, err := list(c.Context(), t, d, func(k directory.APIKey) string { return k.ID },
					func(tenant, after string) ([]directory.APIKey, error) {
						return d.APIKeys(c.Context(), tenant, after, page)
					})
				if err != nil {
					return err
				}
				views := make([]keyView, 0, len(keys))
				rows := [][]string{{"ID", "NAME", "TENANT", "SCOPE", "STATE"}}
				for _, k := range keys {
					views = append(views, viewKey(k, jeton.Secret{}))
					rows = append(rows, []string{k.ID, k.Name, k.Tenant, k.Scope.String(), enabled(k.Disabled)})
				}
				if a.json {
					return a.writeJSON(views)
				}
				return a.writeTable(rows)
			})
		},
	})
}

func (a *app) keyShow(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "show ID",
		Short: "Show an API key, without its value",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				k, err := d.APIKey(c.Context(), t.tenant, args[0])
				if err != nil {
					return err
				}
				return a.writeKey(k, jeton.Secret{})
			})
		},
	})
}
