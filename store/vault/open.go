package vault

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/vaultkv"
)

const format = "1" // of what is kept; see Store

// Check reports what Open would refuse about an address without asking a
// server. The URL is
//
//	vault://[ROLE@]HOST[:8200]/MOUNT[/PREFIX][?namespace=NS&auth=approle&at=PATH]
//
// or vault+http:// without TLS. The prefix is jeton if there is none; a mount
// with slashes in its name has the prefix behind it as ?prefix=. Without a role
// the password is a token. With one it is the secret_id of an AppRole or, by
// auth, a JWT for kubernetes or jwt; at is where that method is mounted.
func Check(a store.Address) error {
	c, _, err := Config(a)
	if err != nil {
		return err
	}
	kv, err := vaultkv.New(c)
	if err == nil {
		kv.Close()
	}
	return err
}

var validPrefix = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*$`)

// Config returns how the server of an address is reached, and what stands in its
// path behind the mount.
func Config(a store.Address) (c vaultkv.Config, prefix string, err error) {
	if err := a.Only("at", "auth", "namespace", "prefix"); err != nil {
		return c, "", err
	}
	c = vaultkv.Config{Namespace: a.Query.Get("namespace"), Method: a.Query.Get("auth"), At: a.Query.Get("at"), Role: a.User, TLS: a.TLS}
	if prefix = a.Query.Get("prefix"); a.Query.Has("prefix") {
		c.Mount = strings.Trim(a.Path, "/")
	} else if c.Mount, prefix, _ = strings.Cut(strings.Trim(a.Path, "/"), "/"); prefix == "" {
		prefix = "jeton"
	}
	if !validPrefix.MatchString(prefix) || len(prefix) > 100 {
		return c, "", errors.New("the prefix is to be letters, digits, dashes, underscores and slashes, 100 at most")
	}
	switch {
	case c.Mount == "":
		return c, "", errors.New("the URL is to name the mount of the key-value engine: vault://HOST/secret/jeton")
	case len(a.Hosts) != 1:
		return c, "", errors.New("the URL has one host: the active server, or what balances between them")
	case c.Role != "" && c.Method == "":
		c.Method = "approle"
	case c.Role == "" && (c.Method != "" || c.At != ""):
		return c, "", errors.New("auth and at are for a login by a role: vault://ROLE@HOST/secret/jeton")
	}
	switch a.Scheme {
	case "vault":
		c.Server = "https://" + a.HostPorts("8200")[0]
	case "vault+http":
		if a.TLS != nil {
			return c, "", errors.New("certificates are for a URL with TLS, which begins with vault://")
		}
		c.Server = "http://" + a.HostPorts("8200")[0]
	default:
		return c, "", errors.New("the URL is to begin with vault:// or vault+http://")
	}
	if c.Secret = a.Reread; c.Secret == nil && !a.Password.IsZero() {
		c.Secret = func() (jeton.Secret, error) { return a.Password, nil }
	}
	return c, prefix, nil
}

// Open connects to the server. An error names its address, never the token.
func Open(ctx context.Context, a store.Address) (*Store, error) {
	c, prefix, err := Config(a)
	if err != nil {
		return nil, fmt.Errorf("vault: %s: %w", strings.Join(a.HostPorts("8200"), ","), err)
	}
	kv, err := vaultkv.New(c)
	if err != nil {
		return nil, err
	}
	s := &Store{kv: kv, names: names{record: prefix + "/~records", format: prefix + "/~format"}}
	if err := s.identify(ctx); err != nil {
		kv.Close()
		return nil, err
	}
	return s, nil
}

// identify marks what is kept with its format and refuses what this program
// does not know. The write also finds an engine without versions.
func (s *Store) identify(ctx context.Context) error {
	for {
		found, n, err := s.kv.Read(ctx, s.names.format)
		switch {
		case err != nil:
			return err
		case found == nil:
			_, err := s.kv.Write(ctx, s.names.format, map[string]string{"format": format}, n)
			if errors.Is(err, vaultkv.ErrConflict) {
				continue // another process marked it
			}
			return err
		case found["format"] != format:
			return fmt.Errorf("vault: %s: written by a newer jeton: its format is %q, this one knows %s", s.kv.Server(), found["format"], format)
		}
		return nil
	}
}

// Close ends the connections, and renewing the token.
func (s *Store) Close() error {
	s.kv.Close()
	return nil
}
