package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton/console"
	"github.com/jetonhq/jeton/issuer"
)

func (a *app) consoleCommand() *cobra.Command {
	return group(&cobra.Command{Use: "console", Short: "Make a sign-in link for the admin page"},
		&cobra.Command{
			Use:   "link",
			Short: "Print a link that signs in to the running console once",
			Args:  cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) (err error) {
				config, err := a.config()
				if err != nil {
					return err
				}
				if config.console == nil {
					return fmt.Errorf("%s declares no console; add `console: {}`", config.file)
				}
				s, err := openShared(c.Context(), config)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.close()) }()
				pages, err := newConsole(config, s, nil, slog.New(slog.DiscardHandler))
				if err != nil {
					return err
				}
				link, err := pages.NewLink(c.Context())
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.out, link)
				return err
			},
		})
}

// newConsole builds the admin pages of a configuration's realms.
func newConsole(c *config, s *state, realms map[string]*issuer.Realm, logger *slog.Logger) (*console.Console, error) {
	settings := console.Config{Store: s.store, Audit: s.log, URL: c.console.url, Logger: logger}
	for _, realm := range realms {
		settings.Realms = append(settings.Realms, realm)
	}
	return console.New(settings)
}
