// Command vault is a Vault server for tests: the real core, unsealed, with its
// data in memory, the key-value engine and the login method AppRole. It prints
// its address, the key that unseals it, and its root token, and runs until its
// standard input ends. See ../README.md.
package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/credential/approle"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// builtin knows of no plugins: what there is stands in the configuration.
type builtin struct{}

func (builtin) Contains(string, consts.PluginType) bool                   { return false }
func (builtin) Get(string, consts.PluginType) (func() (any, error), bool) { return nil, false }
func (builtin) Keys(consts.PluginType) []string                           { return nil }
func (builtin) IsBuiltinEntPlugin(string, consts.PluginType) bool         { return false }
func (builtin) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}

func main() {
	log.SetFlags(0)
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr})
	data, err := inmem.NewInmem(nil, logger)
	if err != nil {
		log.Fatal(err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: data, DisableMlock: true, Logger: logger, BuiltinRegistry: builtin{},
		AuditBackends:      map[string]audit.Factory{},
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
	})
	if err != nil {
		log.Fatal(err)
	}
	one := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	ready, err := core.Initialize(context.Background(), &vault.InitParams{BarrierConfig: one, RecoveryConfig: &vault.SealConfig{}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := core.Unseal(vault.TestKeyCopy(ready.SecretShares[0])); err != nil {
		log.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		log.Fatal(http.Serve(l, vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}})))
	}()
	fmt.Println(l.Addr(), hex.EncodeToString(ready.SecretShares[0]), ready.RootToken)
	_, _ = io.Copy(io.Discard, os.Stdin)
}
