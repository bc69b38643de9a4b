package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/limit"
	"github.com/jetonhq/jeton/yamlnode"
)

// openRealm opens one realm of a configuration over its state, for these guards.
func openRealm(ctx context.Context, c *config, r realmConfig, s *state, guards []issuer.Guard, limiter *limit.Limiter, logger *slog.Logger) (*issuer.Realm, error) {
	realm, err := issuer.OpenRealm(ctx, issuer.Config{
		Name: r.name, Dialect: r.dialect.Dialect, Store: s.store, Audit: s.log, URL: c.issuer.url + r.at,
		Password: r.password, Trusted: c.issuer.trusted,
		Lifetime: r.lifetime, RefreshLifetime: r.refreshLifetime, Rate: r.rate, Alg: r.alg,
		Guards: guards, Logger: logger, Limiter: limiter,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.node.Position(), err)
	}
	return realm, nil
}

// actor is who the audit log says did what a command does.
const actor = "cli"

// A target is where an administrative command does its work.
type target struct{ realm, tenant string }

// flags gives a command --realm and --tenant.
func (t *target) flags(a *app, c *cobra.Command) {
	c.PersistentFlags().StringVar(&t.realm, "realm", "", "`realm` of the configuration; may be left out if there is one")
	c.PersistentFlags().StringVar(&t.tenant, "tenant", "", "`tenant`, in a realm that has them")
	_ = c.RegisterFlagCompletionFunc("realm", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		config, err := a.config()
		if err != nil || config.issuer == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return config.issuer.names(), cobra.ShellCompDirectiveNoFileComp
	})
}

func (c *issuerConfig) names() []string {
	var names []string
	for _, r := range c.realms {
		names = append(names, r.name)
	}
	return names
}

// choose returns the realm that a command is about.
func (c *config) choose(name string) (realmConfig, error) {
	if c.issuer == nil {
		return realmConfig{}, fmt.Errorf("%s declares no realms", c.file)
	}
	if r, ok := c.realm(name); ok {
		return r, nil
	}
	names := c.issuer.names()
	if name == "" && len(names) == 1 {
		return c.issuer.realms[0], nil
	}
	if name == "" {
		return realmConfig{}, usagef("which realm? Add --realm with one of %s", strings.Join(names, ", "))
	}
	return realmConfig{}, fmt.Errorf("unknown realm %s%s", yamlnode.Quote(name), yamlnode.Suggest(name, names))
}

// withDirectory opens the directory of a command's realm, which a running
// server may have open too, and closes it when do returns.
func (a *app) withDirectory(ctx context.Context, t *target, do func(*directory.Directory) error) error {
	return a.withRealm(ctx, t, func(realm *issuer.Realm) error { return do(realm.Directory()) })
}

// withRealm is withDirectory for commands that need to know what the realm speaks.
func (a *app) withRealm(ctx context.Context, t *target, do func(*issuer.Realm) error) (err error) {
	c, err := a.config()
	if err != nil {
		return err
	}
	r, err := c.choose(t.realm)
	if err != nil {
		return err
	}
	s, err := openShared(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	realm, err := openRealm(ctx, c, r, s, nil, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	err = do(realm)
	if refusal, ok := errors.AsType[*jeton.Error](err); ok && refusal.Description != "" {
		return errors.New(refusal.Description) // its code is for programs
	}
	return err
}
