package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
)

// A demoUser is a user that jeton dev knows, and the API key that goes with the
// user, if any.
type demoUser struct {
	realm, name, scope string
	password, key      string
	own                string // the file that the password stands in: the user is the broker's
}

// A demoClient is a client that jeton dev knows.
type demoClient struct {
	realm, tenant string
	id, secret    string
	own           string // as above
	scope         string
	resources     []string
}

// seed puts the demo data in where it is missing. What somebody changed since
// stays as it is. The broker has users and clients of its own, so that it never
// ends a token of the demo user.
func (d *dev) seed(ctx context.Context, s *server) error {
	for _, tenant := range []string{"acme", "globex"} {
		_, err := s.realms["alvys"].Directory().AddTenant(ctx, "dev", directory.Tenant{ID: tenant, Name: tenant})
		if err != nil && !errors.Is(err, directory.ErrExists) {
			return fmt.Errorf("demo data: tenant %s: %w", tenant, err)
		}
	}
	users := []demoUser{
		{realm: "iadvize", name: "demo@example.com", password: "demo-password"},
		{realm: "altrata", name: "demo", password: "demo-password", key: "demo-api-key"},
		{realm: "web1on1", name: "guest@example.org", password: "t0pZ3kR3t", scope: "guest"},
		{realm: "web1on1", name: "agent@example.org", password: "t0pZ3kR3t", scope: "agent"},
		{realm: "web1on1", name: "bot@example.org", password: "t0pZ3kR3t", scope: "bot"},
		{realm: "web1on1", name: "admin@example.org", password: "t0pZ3kR3t", scope: "admin"},
		{realm: "oauth2", name: "demo@example.com", password: "demo-password", scope: "read write"},
		{realm: "iadvize", name: "broker@example.com", own: "secrets/iadvize-password"},
		{realm: "altrata", name: "broker", own: "secrets/altrata-password", key: d.secrets["secrets/altrata-api-key"]},
		{realm: "web1on1", name: "broker@example.org", own: "secrets/web1on1-password", scope: "admin"},
	}
	for _, u := range users {
		if err := d.seedUser(ctx, s.realms[u.realm].Directory(), u); err != nil {
			return fmt.Errorf("demo data: %s: user %s: %w", u.realm, u.name, err)
		}
	}
	clients := []demoClient{
		{realm: "alvys", tenant: "acme", id: "demo-client", secret: "demo-secret"},
		{realm: "alvys", tenant: "acme", id: "broker-client", own: "secrets/alvys-client-secret"},
		{realm: "oauth2", id: "demo-client", secret: "demo-secret", scope: "read write", resources: []string{"https://api.example.com"}},
	}
	for _, c := range clients {
		if err := d.seedClient(ctx, s.realms[c.realm].Directory(), c); err != nil {
			return fmt.Errorf("demo data: %s: client %s: %w", c.realm, c.id, err)
		}
	}
	return nil
}

func (d *dev) seedUser(ctx context.Context, people *directory.Directory, u demoUser) error {
	if u.own != "" {
		u.password = d.secrets[u.own]
		// A secret that was made anew is of no use to a user from before.
		if d.fresh[u.own] {
			if err := people.RemoveUser(ctx, "dev", "", u.name); err != nil && !errors.Is(err, directory.ErrNotFound) {
				return err
			}
		}
	}
	user, err := people.AddUser(ctx, "dev", directory.User{Name: u.name, Scope: jeton.ParseScope(u.scope)}, jeton.NewSecret(u.password))
	if errors.Is(err, directory.ErrExists) {
		user, err = people.User(ctx, "", u.name)
	}
	if err != nil || u.key == "" {
		return err
	}
	keys, err := people.APIKeys(ctx, "", "", page)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.Owner == user.ID && k.Name == "demo" {
			if u.own == "" || !d.fresh["secrets/altrata-api-key"] {
				return nil
			}
			if err := people.RemoveAPIKey(ctx, "dev", "", k.ID); err != nil {
				return err
			}
		}
	}
	_, _, err = people.AddAPIKey(ctx, "dev", directory.APIKey{Name: "demo", Owner: user.ID}, jeton.NewSecret(u.key))
	return err
}

func (d *dev) seedClient(ctx context.Context, people *directory.Directory, c demoClient) error {
	if c.own != "" {
		c.secret = d.secrets[c.own]
		if d.fresh[c.own] {
			if err := people.RemoveClient(ctx, "dev", c.tenant, c.id); err != nil && !errors.Is(err, directory.ErrNotFound) {
				return err
			}
		}
	}
	_, _, err := people.AddClient(ctx, "dev", directory.Client{
		ID: c.id, Tenant: c.tenant, Name: c.id, Scope: jeton.ParseScope(c.scope), Resources: c.resources,
	}, jeton.NewSecret(c.secret))
	if errors.Is(err, directory.ErrExists) {
		return nil
	}
	return err
}
