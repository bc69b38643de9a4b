package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
)

// page is how many entries are read from the store at once.
const page = 200

// everything reads a list that comes in pages.
func everything[T any](read func(after string) ([]T, error), id func(T) string) ([]T, error) {
	var all []T
	after := ""
	for {
		list, err := read(after)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		if len(list) < page {
			return all, nil
		}
		after = id(list[len(list)-1])
	}
}

// tenants returns those whose entries a command lists: the one that was named,
// or all. A realm without tenants keeps its entries under the empty one.
func (t *target) tenants(ctx context.Context, d *directory.Directory) ([]string, error) {
	if t.tenant != "" {
		return []string{t.tenant}, nil
	}
	all, err := everything(func(after string) ([]directory.Tenant, error) { return d.Tenants(ctx, after, page) },
		func(t directory.Tenant) string { return t.ID })
	ids := []string{""}
	for _, tenant := range all {
		ids = append(ids, tenant.ID)
	}
	return ids, err
}

// list reads the entries of the tenants that a command is about.
func list[T any](ctx context.Context, t *target, d *directory.Directory, id func(T) string,
	read func(tenant, after string) ([]T, error)) ([]T, error) {
	tenants, err := t.tenants(ctx, d)
	if err != nil {
		return nil, err
	}
	var all []T
	for _, tenant := range tenants {
		entries, err := everything(func(after string) ([]T, error) { return read(tenant, after) }, id)
		if err != nil {
			return nil, err
		}
		all = append(all, entries...)
	}
	return all, nil
}

// change makes a command that does one thing to the entry that its argument
// names, and says so.
func (a *app) change(t *target, use, short, said string, do func(ctx context.Context, d *directory.Directory, name string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			err := a.withDirectory(c.Context(), t, func(d *directory.Directory) error { return do(c.Context(), d, args[0]) })
			if err == nil {
				a.sayf("%s %s", printable(args[0]), said)
			}
			return err
		},
	}
}

func (a *app) userCommand() *cobra.Command {
	t := new(target)
	c := group(&cobra.Command{
		Use:   "user",
		Short: "Add, list, show, disable and remove users of a realm",
		Long:  "Works on the realm's store. A running server sees each change at once.",
	},
		a.userAdd(t), a.userList(t), a.userShow(t), a.userPassword(t),
		a.change(t, "disable NAME", "End a user's tokens and refuse new logins", "is disabled, and every token of the user has ended",
			func(ctx context.Context, d *directory.Directory, name string) error {
				return d.SetUserDisabled(ctx, actor, t.tenant, name, true)
			}),
		a.change(t, "enable NAME", "Let a disabled user log in again", "is enabled; tokens from before stay ended",
			func(ctx context.Context, d *directory.Directory, name string) error {
				return d.SetUserDisabled(ctx, actor, t.tenant, name, false)
			}),
		a.change(t, "remove NAME", "Remove a user and end the user's tokens", "is removed",
			func(ctx context.Context, d *directory.Directory, name string) error {
				return d.RemoveUser(ctx, actor, t.tenant, name)
			}))
	t.flags(a, c)
	return c
}

// A userView is a user as the command line shows one.
type userView struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Tenant   string    `json:"tenant,omitempty"`
	Scope    string    `json:"scope"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

func viewUser(u directory.User) userView {
	return userView{u.ID, u.Name, u.Tenant, u.Scope.String(), u.Disabled, u.Created.UTC()}
}

func (a *app) writeUser(u directory.User) error {
	if a.json {
		return a.writeJSON(viewUser(u))
	}
	return a.writeFields([]field{{"id", u.ID}, {"name", u.Name}, {"tenant", u.Tenant}, {"scope", u.Scope.String()},
		{"state", enabled(u.Disabled)}, {"created", stamp(u.Created)}})
}

func (a *app) userAdd(t *target) *cobra.Command {
	var scope, file string
	c := a.jsonFlag(&cobra.Command{
		Use:   "add NAME",
		Short: "Add a user",
		Long:  "Adds a user. The password is asked for at the terminal, or read from standard input or\nfrom --password-file.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			password, err := a.askPassword(c.Context(), file, args[0])
			if err != nil {
				return err
			}
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				u, err := d.AddUser(c.Context(), actor, directory.User{Tenant: t.tenant, Name: args[0], Scope: jeton.ParseScope(scope)}, password)
				if err != nil {
					return err
				}
				return a.writeUser(u)
			})
		},
	})
	c.Flags().StringVar(&scope, "scope", "", "`scopes` that the user's tokens have, separated by spaces")
	secretFlags(c, "password", &file)
	return c
}

func (a *app) userPassword(t *target) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "password NAME",
		Short: "Change a user's password and end the user's tokens",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			password, err := a.askPassword(c.Context(), file, args[0])
			if err != nil {
				return err
			}
			err = a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				return d.SetPassword(c.Context(), actor, t.tenant, args[0], password)
			})
			if err == nil {
				a.sayf("%s has a new password, and every token of the user has ended", printable(args[0]))
			}
			return err
		},
	}
	secretFlags(c, "password", &file)
	return c
}

func (a *app) userList(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "list",
		Short: "List the users",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				users, err := list(c.Context(), t, d, func(u directory.User) string { return u.Name },
					func(tenant, after string) ([]directory.User, error) { return d.Users(c.Context(), tenant, after, page) })
				if err != nil {
					return err
				}
				views := make([]userView, 0, len(users))
				rows := [][]string{{"NAME", "TENANT", "SCOPE", "STATE", "ID"}}
				for _, u := range users {
					views = append(views, viewUser(u))
					rows = append(rows, []string{u.Name, u.Tenant, u.Scope.String(), enabled(u.Disabled), u.ID})
				}
				if a.json {
					return a.writeJSON(views)
				}
				return a.writeTable(rows)
			})
		},
	})
}

func (a *app) userShow(t *target) *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "show NAME",
		Short: "Show a user",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withDirectory(c.Context(), t, func(d *directory.Directory) error {
				u, err := d.User(c.Context(), t.tenant, args[0])
				if err != nil {
					return fmt.Errorf("user %s: %w", printable(args[0]), err)
				}
				return a.writeUser(u)
			})
		},
	})
}
