package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/seal"
)

func (a *app) configCommand() *cobra.Command {
	return group(&cobra.Command{Use: "config", Short: "Check and print the configuration, make and rotate sealing keys"},
		&cobra.Command{
			Use:   "check",
			Short: "Say what is wrong with the configuration, if anything",
			Long:  "Reads the configuration and every dialect and secret that it names, and lists all\nthat is wrong. Nothing is opened and nobody is called.",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return a.checkConfig() },
		},
		a.jsonFlag(&cobra.Command{
			Use:   "print",
			Short: "Print the configuration with its defaults filled in",
			Long:  "Prints the configuration with its defaults filled in. Secrets stay references.",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return a.printConfig() },
		}),
		&cobra.Command{
			Use:   "new-key",
			Short: "Print a new sealing key",
			Long:  "Prints a new sealing key. Keep it in a file that only jeton reads, apart from backups\nof the store:\n\n  (umask 077; jeton config new-key > seal.key)",
			Args:  cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := fmt.Fprintln(a.out, seal.NewKey().Reveal())
				return err
			},
		},
		a.resealCommand())
}

func (a *app) checkConfig() error {
	c, err := a.config()
	if err != nil {
		return err
	}
	if err := c.checkSecrets(); err != nil {
		return err
	}
	a.sayf("%s is good: %s", c.file, c.summary())
	if c.issuer != nil && strings.HasPrefix(c.issuer.url, "http://") && !isLoopback(c.issuer.listen.text) {
		a.sayf("%s: note: issuer.url is http://; put a proxy with TLS in front and write its https:// URL", c.file)
	}
	for _, from := range c.references() {
		if info, err := os.Stat(from.path); err == nil && info.Mode().Perm()&0o077 != 0 {
			a.sayf("%s: note: others on this machine can read %s; chmod 600", from.node.Position(), from.path)
		}
	}
	return nil
}

// summary counts what the configuration declares.
func (c *config) summary() string {
	realms, upstreams, accounts := 0, 0, 0
	if c.issuer != nil {
		realms = len(c.issuer.realms)
	}
	if c.guard != nil {
		upstreams = len(c.guard.upstreams)
	}
	if c.broker != nil {
		accounts = len(c.broker.accounts)
	}
	return fmt.Sprintf("realms %d, upstreams %d, accounts %d", realms, upstreams, accounts)
}

func (a *app) printConfig() error {
	c, err := a.config()
	if err != nil {
		return err
	}
	var options []yaml.EncodeOption
	if a.json {
		options = append(options, yaml.JSON())
	}
	b, err := yaml.MarshalWithOptions(c.tree(), options...)
	if err != nil {
		return errors.New("the configuration cannot be written as YAML") // the cause may quote it
	}
	_, err = a.out.Write(b)
	return err
}

// tree returns the configuration in the shape and the order of the file.
func (c *config) tree() yaml.MapSlice {
	t := yaml.MapSlice{{Key: "store", Value: c.store.tree()}}
	if len(c.seal) > 0 {
		t = append(t, yaml.MapItem{Key: "seal", Value: referenceTree(c.seal)})
	}
	if c.dialects != "" {
		t = append(t, yaml.MapItem{Key: "dialects", Value: c.dialects})
	}
	if c.issuer != nil {
		t = append(t, yaml.MapItem{Key: "issuer", Value: c.issuer.tree()})
	}
	if c.guard != nil {
		t = append(t, yaml.MapItem{Key: "guard", Value: c.guard.tree()})
	}
	if c.broker != nil {
		t = append(t, yaml.MapItem{Key: "broker", Value: c.broker.tree()})
	}
	if c.console != nil {
		t = append(t, yaml.MapItem{Key: "console", Value: yaml.MapSlice{
			{Key: "listen", Value: c.console.listen.text}, {Key: "url", Value: c.console.url}}})
	}
	if c.traces != nil {
		t = append(t, yaml.MapItem{Key: "traces", Value: c.traces.tree()})
	}
	return t
}

func (c *issuerConfig) tree() yaml.MapSlice {
	t := yaml.MapSlice{{Key: "listen", Value: c.listen.text}, {Key: "url", Value: c.url}}
	if len(c.trusted) > 0 {
		t = append(t, yaml.MapItem{Key: "trusted_proxies", Value: prefixTexts(c.trusted)})
	}
	if len(c.guards) > 0 {
		t = append(t, yaml.MapItem{Key: "guards", Value: guardKeysTree(c.guards)})
	}
	realms := yaml.MapSlice{}
	for _, r := range c.realms {
		realms = append(realms, yaml.MapItem{Key: r.name, Value: r.tree()})
	}
	return append(t, yaml.MapItem{Key: "realms", Value: realms})
}

func (r realmConfig) tree() yaml.MapSlice {
	t := yaml.MapSlice{{Key: "dialect", Value: r.dialect.text}, {Key: "at", Value: firstOf(r.at, "/")}}
	if r.dialect.Standard {
		t = append(t, yaml.MapItem{Key: "password", Value: r.password})
	}
	rate := r.rate
	if rate == nil {
		rate = r.dialect.Rate
	}
	t = append(t,
		yaml.MapItem{Key: "alg", Value: firstOf(r.alg, r.dialect.Alg, "ES256")},
		yaml.MapItem{Key: "lifetime", Value: durationText(firstOf(r.lifetime, r.dialect.Lifetime, time.Hour))},
	)
	if r.refreshLifetime > 0 {
		t = append(t, yaml.MapItem{Key: "refresh_lifetime", Value: durationText(r.refreshLifetime)})
	}
	rates := yaml.MapSlice{}
	for _, kind := range []string{"username", "client_id", "ip"} {
		if r, ok := rate[kind]; ok {
			rates = append(rates, yaml.MapItem{Key: kind, Value: rateText(r)})
		}
	}
	return append(t, yaml.MapItem{Key: "rate", Value: rates})
}

func (c *brokerConfig) tree() yaml.MapSlice {
	accounts := yaml.MapSlice{}
	for _, account := range c.accounts {
		t := yaml.MapSlice{{Key: "dialect", Value: account.dialect.text}}
		if account.origin != nil {
			t = append(t, yaml.MapItem{Key: "origin", Value: account.origin.String()})
		}
		for _, v := range account.vars {
			var value any = v.value
			if !v.from.isZero() {
				value = referenceTree(append([]reference{v.from}, v.others...))
			}
			t = append(t, yaml.MapItem{Key: v.name, Value: value})
		}
		if len(account.sinks) > 0 {
			sinks := []yaml.MapSlice{}
			for _, c := range account.sinks {
				sinks = append(sinks, c.tree())
			}
			t = append(t, yaml.MapItem{Key: "sinks", Value: sinks})
		}
		accounts = append(accounts, yaml.MapItem{Key: account.name, Value: t})
	}
	t := append(yaml.MapSlice{{Key: "listen", Value: c.listen.text}}, c.accessTree()...)
	return append(t, yaml.MapItem{Key: "accounts", Value: accounts})
}

// rateText writes a rate as the file has it.
func rateText(r dialect.Rate) string {
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "min", time.Hour: "h", 24 * time.Hour: "day"}[r.Per]
	return fmt.Sprintf("%d/%s", r.Count, unit)
}

// durationText writes a duration without the zeroes at its end.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// firstOf returns the first value that is not zero.
func firstOf[T comparable](values ...T) T {
	var zero T
	for _, v := range values {
		if v != zero {
			return v
		}
	}
	return zero
}
