package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/issuer"
)

func (a *app) clientCommand() *cobra.Command {
	t := new(target)
	c := group(&cobra.Command{
		Use:   "client",
		Short: "Add, list, show, rotate, disable and remove client applications",
		Long:  "Works on the realm's store. A running server sees each change at once.",
	},
		a.clientAdd(t), a.clientAccount(t), a.clientList(t), a.clientShow(t), a.clientRotate(t),
		a.change(t, "end-old-secret CLIENT_ID", "End the older of a client's two secrets", "has one secret left, the newer",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.EndOldSecret(ctx, actor, t.tenant, id)
			}),
		a.change(t, "disable CLIENT_ID", "End a client's tokens and refuse new logins", "is disabled, and every token of the client has ended",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.SetClientDisabled(ctx, actor, t.tenant, id, true)
			}),
		a.change(t, "enable CLIENT_ID", "Let a disabled client log in again", "is enabled; tokens from before stay ended",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.SetClientDisabled(ctx, actor, t.tenant, id, false)
			}),
		a.change(t, "remove CLIENT_ID", "Remove a client and end its tokens", "is removed",
			func(ctx context.Context, d *directory.Directory, id string) error {
				return d.RemoveClient(ctx, actor, t.tenant, id)
			}))
	t.flags(a, c)
	return c
}

// A clientView is a client as the command line shows one. Secret is there only
// when it was just made: nobody can show it again.
type clientView struct {
	ID        string       `json:"client_id"`
	Secret    string       `json:"client_secret,omitempty"`
	Name      string       `json:"name"`
	Tenant    string       `json:"tenant,omitempty"`
	Scope     string       `json:"scope"`
	Resources []string     `json:"resources,omitempty"`
	Disabled  bool         `json:"disabled"`
	Created   time.Time    `json:"created"`
	Secrets   []secretView `json:"secrets"`
}

// A secretView tells two secrets of a client apart.
type secretView struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
}

func viewSecrets(secrets []directory.SecretInfo) []secretView {
	views := make([]secretView, 0, len(secrets))
	for _, s := range secrets {
		views = append(views, secretView{s.ID, s.Created.UTC()})
	}
	return views
}

// secretText shows secrets by what tells them apart.
func secretText(secrets []directory.SecretInfo) string {
	var texts []string
	for _, s := range secrets {
		texts = append(texts, "..."+s.ID+" of "+stamp(s.Created))
	}
	return strings.Join(texts, ", ")
}

func viewClient(c directory.Client, secret jeton.Secret) clientView {
	return clientView{c.ID, secret.Reveal(), c.Name, c.Tenant, c.Scope.String(), c.Resources, c.Disabled,
		c.Created.UTC(), viewSecrets(c.Secrets)}
}

// writeClient shows a client, with the secret that was just made if there is
// one.
func (a *app) writeClient(c directory.Client, secret jeton.Secret) error {
	if !secret.IsZero() {
		a.sayf("The secret is shown this once only.")
	}
	if a.json {
		return a.writeJSON(viewClient(c, secret))
	}
	return a.writeFields([]field{{"client_id", c.ID}, {"client_secret", secret.Reveal()}, {"name", c.Name},
		{"tenant", c.Tenant}, {"scope", c.Scope.String()}, {"resources", strings.Join(c.Resources, " ")},
		{"state", enabled(c.Disabled)}, {"created", stamp(c.Created)}, {"secrets", secretText(c.Secrets)}})
}

func (a *app) clientAdd(t *target) *cobra.Command {
	var id, scope, file string
	var resources []string
	c := a.jsonFlag(&cobra.Command{
		Use:   "add NAME [VARIABLE=VALUE...]",
		Short: "Add a client application and print its id and its secret",
		Long: `Adds a client application. Its secret is generated and printed this once, unless
--secret-file names one.

In a realm whose dialect logs in with something else, such as keys, signatures or
several secrets, the client is given what its logins present instead, as VARIABLE=VALUE;
what is secret as VARIABLE=env:NAME or VARIABLE=file:PATH. Of a pair of keys the public
one is enough.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var chosen jeton.Secret
			if file != "" {
				var err error
				if chosen, err = a.readSecretFlag(c.Context(), file); err != nil {
					return err
				}
			}
			return a.withRealm(c.Context(), t, func(realm *issuer.Realm) error {
				account, err := a.account(c.Context(), realm, args[1:])
				if err != nil {
					return err
				}
				d := realm.Directory()
				client, secret, err := d.AddClient(c.Context(), actor, directory.Client{
					ID: id, Tenant: t.tenant, Name: args[0], Scope: jeton.ParseScope(scope), Resources: resources,
				}, chosen)
				if err == nil && account != nil {
					err = d.SetAccount(c.Context(), actor, t.tenant, client.ID, account)
				}
				if err != nil {
					return err
				}
				if file != "" || account != nil {
					secret = jeton.Secret{} // whoever chose it knows it
				}
				return a.writeClient(client, secret)
			})
		},
	})
	c.Flags().StringVar(&id, "id", "", "client `id`; default: a random one")
	c.Flags().StringVar(&scope, "scope", "", "`scopes` that it may ask for, separated by spaces")
	c.Flags().StringArrayVar(&resources, "resource", nil, "another audience (RFC 8707) that it may ask for, a `URL`; may be repeated")
	secretFlags(c, "secret", &file)
	return c
}

// account reads what the logins of a client present. It is nil in a realm where
// clients have an ID and a secret.
func (a *app) account(ctx context.Context, realm *issuer.Realm, args []string) (jeton.Vars, error) {
	if !realm.Accounts() {
		if len(args) > 0 {
			return nil, usagef("the clients of this realm log in with an ID and a secret; %s is too much", printable(args[0]))
		}
		return nil, nil
	}
	d := realm.Dialect()
	vars, err := a.variables(ctx, d, args, true)
	if err != nil {
		return nil, err
	}
	for name, value := range d.Defaults() {
		if vars[name] == "" && !slices.Contains(d.CallVars(), name) && name != "scope" {
			vars[name] = value
		}
	}
	return vars, nil
}

func (a *app) clientAccount(t *target) *cobra.Command {
	return &cobra.Command{
		Use:   "account CLIENT_ID VARIABLE=VALUE...",
		Short: "Give a client other things to log in with, and end its tokens",
		Long:  "Replaces what the logins of a client present, in a realm whose dialect logs in with more\nthan an ID and a secret. All of it is given again; every token of the client ends.",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withRealm(c.Context(), t, func(realm *issuer.Realm) error {
				vars, err := a.account(c.Context(), realm, args[1:])
				if err == nil {
					err = realm.Directory().SetAccount(c.Context(), actor, t.tenant, args[0], vars)
				}
				if err == nil {
					a.sayf("%s logs in with %s now", printable(args[0]), strings.Join(slices.Sorted(maps.Keys(vars)), ", "))
				}
				return err
			})
		},
	}
}

func (a *app) clientRotate(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "rotate CLIENT_ID",
		Short: "Give a client a new secret and print it",
		Long:  "Gives a client a new secret. The one before stays valid until `client end-old-secret`, or\nuntil the next rotation: two are valid at most.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				client, secret, err := d.RotateClient(c.Context(), actor, t.tenant, args[0])
				if err != nil {
					return err
				}
				return a.writeClient(client, secret)
			})
		},
	})
}

func (a *app) clientList(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "list",
		Short: "List the client applications",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				clients, err := list(c.Context(), t, d, func(c directory.Client) string { return c.ID },
					func(tenant, after string) ([]directory.Client, error) {
						return d.Clients(c.Context(), tenant, after, page)
					})
				if err != nil {
					return err
				}
				views := make([]clientView, 0, len(clients))
				rows := [][]string{{"CLIENT_ID", "NAME", "TENANT", "SCOPE", "STATE"}}
				for _, c := range clients {
					views = append(views, viewClient(c, jeton.Secret{}))
					rows = append(rows, []string{c.ID, c.Name, c.Tenant, c.Scope.String(), enabled(c.Disabled)})
				}
				if a.json {
					return a.writeJSON(views)
				}
				return a.writeTable(rows)
			})
		},
	})
}

func (a *app) clientShow(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "show CLIENT_ID",
		Short: "Show a client application, without its secret",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				client, err := d.Client(c.Context(), t.tenant, args[0])
				if err != nil {
					return err
				}
				return a.writeClient(client, jeton.Secret{})
			})
		},
	})
}
