package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jetonhq/jeton/cmd/jeton/sample"
	"github.com/jetonhq/jeton/seal"
)

func (a *app) devCommand() *cobra.Command {
	d := new(dev)
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine with demo data",
		Long: `Runs issuer, guard, broker and console on loopback with demo data for every dialect, and
prints how to use them: addresses, credentials and lines to paste. What it prints is a
shell script.

The folder of --data gets a jeton.yaml with which every other command works on what
runs here, for example: jeton user list --realm web1on1 -c DIR/jeton.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.dev(c.Context(), d) },
	}
	c.Flags().StringVar(&d.listen, "listen", "127.0.0.1:8080", "loopback `address` of issuer, guard and console; port 0 takes a free one")
	c.Flags().StringVar(&d.brokerListen, "broker-listen", "127.0.0.1:8081", "loopback `address` of the broker")
	c.Flags().StringVar(&d.data, "data", "", "`folder` to keep state in, made if missing; default: a temporary one")
	return c
}

// dev is one run of jeton dev.
type dev struct {
	listen, brokerListen string
	data                 string          // folder
	temporary            bool            // the folder goes when the run ends
	fresh                map[string]bool // :: secret file -> it was made by this run
	secrets              map[string]string
}

func (a *app) dev(ctx context.Context, d *dev) (err error) {
	if err := d.checkAddresses(); err != nil {
		return err
	}
	if err := d.makeFolder(); err != nil {
		return err
	}
	if d.temporary {
		defer func() { err = errors.Join(err, os.RemoveAll(d.data)) }()
	}
	// The lock comes before any file is written: another jeton may run here.
	l, err := lockState(storeURL{kind: "sqlite", path: filepath.Join(d.data, "jeton.db")})
	if err != nil {
		return err
	}
	s := &server{
		logger: slog.New(slog.NewTextHandler(a.talk, &slog.HandlerOptions{Level: slog.LevelWarn})),
		lock:   l,
		bound:  map[string]net.Listener{},
		samples: map[string]http.Handler{
			"iadvize": sample.IAdvize(), "altrata": sample.Altrata(), "alvys": sample.Alvys(), "web1on1": sample.Web1on1(),
		},
	}
	if err := d.open(ctx, s); err != nil {
		return errors.Join(err, s.close())
	}
	s.start()
	if err := a.writeTour(ctx, d, s); err != nil {
		s.logger.Error("the addresses could not be printed", "err", err)
	}
	return s.wait(ctx)
}

// checkAddresses refuses what others could reach: the credentials are public.
func (d *dev) checkAddresses() error {
	for flag, text := range map[string]string{"--listen": d.listen, "--broker-listen": d.brokerListen} {
		if err := checkAddress(text); err != nil {
			return usagef("%s: %v", flag, err)
		}
		if !isLoopback(text) {
			return usagef("%s: dev listens on loopback only, since everybody knows its passwords; write 127.0.0.1:PORT, or use jeton serve", flag)
		}
	}
	if d.listen == d.brokerListen && !strings.HasSuffix(d.listen, ":0") {
		return usagef("--listen and --broker-listen are to be two addresses")
	}
	return nil
}

func (d *dev) makeFolder() (err error) {
	if d.data == "" {
		d.temporary = true
		d.data, err = os.MkdirTemp("", "jeton-dev-")
		return err
	}
	if d.data, err = filepath.Abs(d.data); err != nil {
		return err
	}
	if err := os.MkdirAll(d.data, 0o700); err != nil {
		return fmt.Errorf("make the folder %s: %w", d.data, reason(err))
	}
	head, _, _ := strings.Cut(devYAML, "\n")
	switch src, err := os.ReadFile(d.configFile()); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", d.configFile(), reason(err))
	case !strings.HasPrefix(string(src), head):
		return fmt.Errorf("%s is not from jeton dev, which would write over it; name another folder with --data", d.configFile())
	}
	return nil
}

// open listens, writes the configuration of this run, opens it and puts the
// demo data in.
func (d *dev) open(ctx context.Context, s *server) error {
	for key, text := range map[string]*string{"--listen": &d.listen, "--broker-listen": &d.brokerListen} {
		l, err := bind(address{*text, key}, socketConfig{})
		if err != nil {
			return err
		}
		if strings.HasSuffix(*text, ":0") {
			*text = l.Addr().String()
		}
		s.bound[*text] = l
	}
	if err := d.writeSecrets(); err != nil {
		return err
	}
	if err := d.writeFile("jeton.yaml", d.yaml()); err != nil {
		return err
	}
	var err error
	if s.config, err = loadConfig(d.configFile()); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return err
	}
	return d.seed(ctx, s)
}

func (d *dev) configFile() string { return filepath.Join(d.data, "jeton.yaml") }

func (d *dev) writeFile(name, text string) error {
	path := filepath.Join(d.data, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, reason(err))
	}
	return nil
}

// writeSecrets makes the sealing key and the broker's own credentials where
// they are missing.
func (d *dev) writeSecrets() error {
	if err := os.MkdirAll(filepath.Join(d.data, "secrets"), 0o700); err != nil {
		return err
	}
	d.fresh, d.secrets = map[string]bool{}, map[string]string{}
	for _, name := range []string{"seal.key", "secrets/iadvize-password", "secrets/altrata-password",
		"secrets/altrata-api-key", "secrets/alvys-client-secret", "secrets/web1on1-password"} {
		secret, err := readSecretFile(filepath.Join(d.data, name))
		if err == nil {
			d.secrets[name] = secret.Reveal()
			continue
		}
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		d.fresh[name], d.secrets[name] = true, rand.Text()
		if name == "seal.key" {
			d.secrets[name] = seal.NewKey().Reveal()
		}
		if err := d.writeFile(name, d.secrets[name]+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// yaml returns the configuration of this run.
func (d *dev) yaml() string {
	return strings.NewReplacer("{listen}", d.listen, "{broker}", d.brokerListen).Replace(devYAML)
}

const devYAML = `# Written by jeton dev at each start; copy it to change it.
store: sqlite:jeton.db
seal: file:seal.key
issuer:
  listen: "{listen}"
  realms:
    iadvize: {dialect: iadvize}
    altrata: {dialect: altrata}
    alvys: {dialect: alvys}
    web1on1: {dialect: web1on1}
    oauth2: {dialect: oauth2, password: true}
broker:
  listen: "{broker}"
  accounts:
    iadvize:
      dialect: iadvize
      origin: http://{listen}/iadvize
      username: broker@example.com
      password: file:secrets/iadvize-password
    altrata:
      dialect: altrata
      origin: http://{listen}/altrata
      username: broker
      password: file:secrets/altrata-password
      api_key: file:secrets/altrata-api-key
    alvys:
      dialect: alvys
      origin: http://{listen}/alvys
      tenant_id: acme
      client_id: broker-client
      client_secret: file:secrets/alvys-client-secret
    web1on1:
      dialect: web1on1
      origin: http://{listen}/web1on1
      username: broker@example.org
      password: file:secrets/web1on1-password
console: {listen: "{listen}"}
`
