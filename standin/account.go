package standin

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/sign"
	"github.com/jetonhq/jeton/directory"
	"github.com/jetonhq/jeton/issuer"
)

// Invent returns variables for an account at a vendor: those that are given, and
// made-up ones for what else logins and calls take. Keys and certificates are
// made anew.
func Invent(d *dialect.Dialect, given jeton.Vars) (jeton.Vars, error) {
	vars := d.Defaults()
	for name, text := range given {
		vars[name] = text
	}
	kinds := d.Kinds()
	names := append(d.LoginVars(), d.CallVars()...)
	for _, name := range names {
		if vars[name] != "" || certifies[kinds[name]] != nil {
			continue
		}
		text, err := invent(name, kinds[name])
		if err != nil {
			return nil, fmt.Errorf("make up %s: %w", name, err)
		}
		vars[name] = text
	}
	for _, name := range names {
		if vars[name] != "" || certifies[kinds[name]] == nil {
			continue
		}
		text, err := certify(vars, names, kinds, kinds[name])
		if err != nil {
			return nil, fmt.Errorf("make up %s: %w", name, err)
		}
		vars[name] = text
	}
	return vars, nil
}

// certifies says which keys a certificate may be of :: its kind -> how the kinds
// of the keys begin, the likeliest first.
var certifies = map[string][]string{
	"certificate":         {"key", "PS", "RS", "ES", "EdDSA"},
	"signing certificate": {"RS"},
}

// certify makes up the certificate of one of the account's keys, whoever gave
// that; if it has none, that of a key which nobody has.
func certify(vars jeton.Vars, names []string, kinds map[string]string, certificate string) (string, error) {
	var key string
	for _, begins := range certifies[certificate] {
		for _, name := range names {
			if key == "" && strings.HasPrefix(kinds[name], begins) {
				key = vars[name]
			}
		}
	}
	if key == "" {
		var err error
		if key, err = sign.NewKey("ES256"); err != nil {
			return "", err
		}
	}
	return sign.NewCertificate(key, "demo client")
}

func invent(name, kind string) (string, error) {
	switch {
	case kind == "key":
		return sign.NewKey("ES256")
	case dialect.PEM(kind):
		return sign.NewKey(kind)
	case kind == "instant":
		return time.Now().UTC().Add(24 * time.Hour).Truncate(time.Second).Format(time.RFC3339), nil
	case kind == "seconds":
		return "3600", nil
	case kind == "hex":
		return hex.EncodeToString([]byte(rand.Text())), nil
	case kind == "base64":
		return base64.StdEncoding.EncodeToString([]byte(rand.Text())), nil
	}
	switch name {
	case "username":
		return "demo@example.com", nil
	case "tenant_id":
		return "acme", nil
	}
	// Long enough for a password or an HMAC key, and safe in a host and a path.
	return "demo-" + strings.ReplaceAll(name, "_", "-") + "-" + strings.ToLower(rand.Text()[:16]), nil
}

// enroll puts the account into the realm's directory.
func enroll(ctx context.Context, realm *issuer.Realm, given jeton.Vars) (jeton.Vars, error) {
	d, people := realm.Dialect(), realm.Directory()
	vars, err := Invent(d, given)
	if err != nil {
		return nil, err
	}
	if realm.Accounts() {
		client, _, err := people.AddClient(ctx, "standin", directory.Client{Name: "demo", Scope: grants(d, vars)}, jeton.Secret{})
		if err == nil {
			err = people.SetAccount(ctx, "standin", "", client.ID, vars)
		}
		return vars, err
	}
	tenant := vars["tenant_id"]
	if tenant != "" && d.Login.Has("tenant_id") {
		if _, err := people.AddTenant(ctx, "standin", directory.Tenant{ID: tenant, Name: tenant}); err != nil {
			return nil, err
		}
	} else {
		tenant = ""
	}
	scope := grants(d, vars)
	if vars["client_id"] != "" && vars["client_secret"] != "" {
		client := directory.Client{ID: vars["client_id"], Tenant: tenant, Name: vars["client_id"], Scope: scope}
		if _, _, err := people.AddClient(ctx, "standin", client, jeton.NewSecret(vars["client_secret"])); err != nil {
			return nil, err
		}
	}
	if vars["username"] == "" {
		return vars, nil
	}
	user, err := people.AddUser(ctx, "standin", directory.User{Tenant: tenant, Name: vars["username"], Scope: scope}, jeton.NewSecret(vars["password"]))
	if err == nil && vars["api_key"] != "" {
		_, _, err = people.AddAPIKey(ctx, "standin", directory.APIKey{Tenant: tenant, Name: "standin", Owner: user.ID}, jeton.NewSecret(vars["api_key"]))
	}
	return vars, err
}

// grants returns what the account may do: what its logins ask for, else all that
// the dialect knows.
func grants(d *dialect.Dialect, vars jeton.Vars) jeton.Scope {
	if scope := jeton.ParseScope(vars["scope"]); len(scope) > 0 {
		return scope
	}
	if n := len(d.Scope.Order); n > 0 {
		return jeton.Scope{d.Scope.Order[n-1]}
	}
	return nil
}
