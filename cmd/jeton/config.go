package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/seal"
	"github.com/jetonhq/jeton/yamlnode"
)

// A config is one configuration file with its defaults filled in. A part that
// the file does not declare is nil. Relative paths in the file start at the
// file's own folder, so that it means the same wherever jeton is started.
type config struct {
	file    string
	store   storeURL
	seal    []reference // the first one seals, all open; none: only memory: starts
	issuer  *issuerConfig
	guard   *guardConfig
	broker  *brokerConfig
	console *consoleConfig
	traces  *tracesConfig

	dialects  string     // folder of the user's dialects, as written; empty: none
	catalogue *catalogue // of the dialects that the file refers to
	src       []byte     // the text of the file, as long as the dialects that it names may change; nil: they ship
}

type issuerConfig struct {
	listen  address
	url     string // without a slash at the end
	trusted []netip.Prefix
	guards  []guardKeyConfig
	realms  []realmConfig // in the order of the file
}

type realmConfig struct {
	name            string
	dialect         dialectRef
	at              string // prefix, such as /support; empty: the whole path space
	password        bool
	alg             string // empty: the dialect's, or ES256
	lifetime        time.Duration
	refreshLifetime time.Duration
	rate            map[string]dialect.Rate // nil: the dialect's
	node            yamlnode.Node
}

type brokerConfig struct {
	listen   address
	socket   socketConfig
	callers  []callerConfig // none: every local program
	accounts []accountConfig
}

type accountConfig struct {
	name    string
	dialect dialectRef
	origin  *url.URL     // nil: the dialect's own
	vars    []accountVar // in the order of the file
	sinks   []sinkConfig
	node    yamlnode.Node
}

// An accountVar is a value of an account: a reference or, for what may be
// shown, the value itself.
type accountVar struct {
	name  string
	value string    // if from is zero
	from  reference // to a secret

	others []reference // to further ones, tried in this order when those before were refused
}

type consoleConfig struct {
	listen address
	url    string // where browsers find it
}

// defaultURL returns the URL of the console that only says where it listens.
func (c *consoleConfig) defaultURL(listen string) string {
	return "http://" + listen + consolePath + "/"
}

// consolePath is where the console stands on its listener.
const consolePath = "/console"

// An address is where a part listens: host:port, or unix:PATH.
type address struct {
	text string
	key  string // the configuration key that says it, for errors
}

// unix reports whether the address is a Unix socket.
func (a address) unix() bool { return strings.HasPrefix(a.text, "unix:") }

// realm returns the realm with a name.
func (c *config) realm(name string) (realmConfig, bool) {
	if c.issuer == nil {
		return realmConfig{}, false
	}
	for _, r := range c.issuer.realms {
		if r.name == name {
			return r, true
		}
	}
	return realmConfig{}, false
}

// account returns the account with a name.
func (c *config) account(name string) (accountConfig, error) {
	var names []string
	if c.broker != nil {
		for _, a := range c.broker.accounts {
			if a.name == name {
				return a, nil
			}
			names = append(names, a.name)
		}
	}
	if len(names) == 0 {
		return accountConfig{}, fmt.Errorf("%s declares no accounts under broker", c.file)
	}
	return accountConfig{}, fmt.Errorf("unknown account %s%s", yamlnode.Quote(name), yamlnode.Suggest(name, names))
}

// credentials returns how many credentials the account has: as many as its
// longest list of secrets.
func (a accountConfig) credentials() int {
	n := 1
	for _, v := range a.vars {
		n = max(n, 1+len(v.others))
	}
	return n
}

// resolve returns the values of an account's variables with the credential of
// a number, from 0; a list that is shorter goes on with its last secret.
// References are read anew each time, so that a secret that changed is seen.
func (a accountConfig) resolve(credential int) (jeton.Vars, error) {
	vars := jeton.Vars{}
	for _, v := range a.vars {
		if v.from.isZero() {
			vars[v.name] = v.value
			continue
		}
		from := v.from
		if n := min(credential, len(v.others)); n > 0 {
			from = v.others[n-1]
		}
		secret, err := from.read()
		if err != nil {
			return nil, err
		}
		vars[v.name] = secret.Reveal()
	}
	return vars, nil
}

// sealKeys reads the sealing keys.
func (c *config) sealKeys() ([]seal.Key, error) {
	var keys []seal.Key
	for _, from := range c.seal {
		text, err := from.read()
		if err != nil {
			return nil, err
		}
		key, err := seal.ParseKey(text.Reveal())
		if err != nil {
			return nil, from.node.Errorf("%s: %v; `jeton config new-key` prints a new one", from.text(), err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// checkSecrets reads every reference once, so that a missing one is told before
// anything starts.
func (c *config) checkSecrets() error {
	_, err := c.sealKeys()
	_, storeErr := c.store.address()
	errs := []error{err, storeErr}
	for _, from := range c.guardReferences() {
		_, err := from.read()
		errs = append(errs, err)
	}
	if c.guard != nil && c.guard.tls.cert != "" {
		_, err := c.guard.tls.load()
		errs = append(errs, err)
	}
	if c.traces != nil {
		for _, h := range c.traces.headers {
			_, err := h.from.read()
			errs = append(errs, err)
		}
	}
	if c.broker != nil {
		for _, a := range c.broker.accounts {
			for n := range a.credentials() {
				_, err := a.resolve(n)
				errs = append(errs, err)
			}
			for _, c := range a.sinks {
				_, err := c.server.address()
				errs = append(errs, err)
			}
		}
		for _, caller := range c.broker.callers {
			_, err := caller.read()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// references lists all references.
func (c *config) references() []reference {
	list := append(c.store.references(), c.seal...)
	list = append(list, c.guardReferences()...)
	if c.traces != nil {
		for _, h := range c.traces.headers {
			list = append(list, h.from)
		}
	}
	if c.broker != nil {
		for _, a := range c.broker.accounts {
			for _, v := range a.vars {
				if !v.from.isZero() {
					list = append(append(list, v.from), v.others...)
				}
			}
			list = append(list, a.sinkReferences()...)
		}
		for _, caller := range c.broker.callers {
			list = append(list, caller.keys...)
		}
	}
	return list
}

// A reference says where a secret is: in an environment variable or in a file.
type reference struct {
	kind string // "env" or "file"; empty in the zero reference
	name string // of the variable, or the path as written
	path string // of the file, from the working directory
	node yamlnode.Node
}

const maxSecret = 64 << 10 // bytes

func (r reference) isZero() bool { return r.kind == "" }

// text returns the reference as it was written, or nothing. It is not secret.
func (r reference) text() string {
	if r.isZero() {
		return ""
	}
	return r.kind + ":" + r.name
}

// read returns the secret. One line end at the end of a file does not belong to
// it. Errors name the reference and its place in the configuration.
func (r reference) read() (jeton.Secret, error) {
	if r.kind == "env" {
		value := os.Getenv(r.name)
		if value == "" {
			return jeton.Secret{}, r.node.Errorf("the environment variable %s is not set", r.name)
		}
		return jeton.NewSecret(value), nil
	}
	secret, err := readSecretFile(r.path)
	if err != nil {
		return jeton.Secret{}, r.node.Errorf("%v", err)
	}
	return secret, nil
}

// gone reports whether the secret was in a file that is not there any more.
func (r reference) gone() bool {
	if r.kind == "env" {
		return false
	}
	_, err := os.Stat(r.path)
	return errors.Is(err, os.ErrNotExist)
}

// readSecretFile reads a file that holds one secret.
func readSecretFile(path string) (jeton.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return jeton.Secret{}, fmt.Errorf("the secret file %s cannot be read: %w", path, reason(err))
	}
	defer func() { _ = f.Close() }()
	secret, err := readSecret(f)
	if err != nil {
		return jeton.Secret{}, fmt.Errorf("the secret file %s %w", path, err)
	}
	return secret, nil
}

// reason returns what stands behind the path in a file error.
func reason(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// loadConfig reads the file at path and checks it. The error lists everything
// that is wrong with it.
func loadConfig(path string) (*config, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration file %s; name one with -c or JETON_CONFIG", path)
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration file %s cannot be read: %w", path, reason(err))
	}
	return parseConfig(path, filepath.Dir(path), src)
}
