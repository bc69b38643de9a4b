// Package vault copies a token to a key-value engine, version 2, of HashiCorp
// Vault or OpenBao.
package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
	"github.com/jetonhq/jeton/store"
	storevault "github.com/jetonhq/jeton/store/vault"
	"github.com/jetonhq/jeton/vaultkv"
)

// Sink is a [sink.Sink] that is a secret with the fields of [sink.Fields], each
// as text. How many of its versions stay is for the engine to say. It needs the
// right to create, update and read: a write names the version that it replaces.
type Sink struct {
	// Address says where the secret is; see [Check]. It is called for the first
	// token.
	Address func() (store.Address, error)

	kv   *vaultkv.Client // nil: not opened
	path string
}

// Check reports what a Sink would refuse about an address. The URL is
//
//	vault://[ROLE@]HOST[:8200]/MOUNT/PATH[?namespace=NS&auth=approle&at=PATH]
//
// with the same meaning as that of a store.
func Check(a store.Address) error {
	_, _, err := config(a)
	return err
}

func config(a store.Address) (vaultkv.Config, string, error) {
	c, path, err := storevault.Config(a)
	if err == nil && !a.Query.Has("prefix") && !strings.Contains(strings.Trim(a.Path, "/"), "/") {
		err = errors.New("the URL is to name a secret behind the mount: vault://HOST/secret/apps/support")
	}
	return c, path, err
}

// Put implements [sink.Sink]. A secret that somebody else wrote meanwhile is an
// error: the next try sees what is there then.
func (s *Sink) Put(ctx context.Context, t *jeton.Token) error {
	if err := s.open(); err != nil {
		return err
	}
	_, version, err := s.kv.Read(ctx, s.path)
	if err != nil {
		return err
	}
	fields := map[string]string{}
	for name, value := range sink.Fields(t) {
		fields[name] = fmt.Sprint(value)
	}
	_, err = s.kv.Write(ctx, s.path, fields, version)
	return err
}

func (s *Sink) open() error {
	if s.kv != nil {
		return nil
	}
	a, err := s.Address()
	if err != nil {
		return err
	}
	c, path, err := config(a)
	if err != nil {
		return fmt.Errorf("vault: %w", err)
	}
	s.path = path
	s.kv, err = vaultkv.New(c)
	return err
}

// Close ends the connections, and renewing the token.
func (s *Sink) Close() error {
	if s.kv != nil {
		s.kv.Close()
	}
	return nil
}
