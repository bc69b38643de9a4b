package standin

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
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
	pair := map[string]string{} // made once: a certificate and its key belong together
	names := append(d.LoginVars(), d.CallVars()...)
	for _, name := range names {
		if vars[name] != "" || kinds[name] == signingCertificate {
			continue
		}
		text, err := invent(name, kinds[name], pair)
		if err != nil {
			return nil, fmt.Errorf("make up %s: %w", name, err)
		}
		vars[name] = text
	}
	for _, name := range names {
		if vars[name] == "" && kinds[name] == signingCertificate {
			if err := certify(vars, name, kinds); err != nil {
				return nil, fmt.Errorf("make up %s: %w", name, err)
			}
		}
	}
	return vars, nil
}

// signingCertificate is the kind of a certificate that belongs to the key which
// signs.
const signingCertificate = "signing certificate"

// certify makes up the certificate of the key that signs.
func certify(vars jeton.Vars, certificate string, kinds map[string]string) error {
	for name, kind := range kinds {
		block, _ := pem.Decode([]byte(vars[name]))
		if !strings.HasPrefix(kind, "RS") || block == nil {
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if private, ok := key.(*rsa.PrivateKey); err == nil && ok {
			vars[certificate], err = certificateOf(private)
			return err
		}
	}
	return errors.New("there is no RSA key in PKCS #8 that it could be of; give it too")
}

func invent(name, kind string, pair map[string]string) (string, error) {
	switch {
	case kind == "certificate" || kind == "key":
		if len(pair) == 0 {
			if err := makePair(pair); err != nil {
				return "", err
			}
		}
		return pair[kind], nil
	case strings.HasPrefix(kind, "RS"), strings.HasPrefix(kind, "PS"):
		return encodeKey(rsa.GenerateKey(rand.Reader, 2048))
	case strings.HasPrefix(kind, "ES"):
		curve := map[string]elliptic.Curve{"ES384": elliptic.P384(), "ES512": elliptic.P521()}[kind]
		if curve == nil {
			curve = elliptic.P256()
		}
		return encodeKey(ecdsa.GenerateKey(curve, rand.Reader))
	case kind == "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return encodeKey(key, err)
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

func encodeKey(key any, err error) (string, error) {
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

func makePair(into map[string]string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	if into["certificate"], err = certificateOf(key); err != nil {
		return err
	}
	into["key"], err = encodeKey(key, nil)
	return err
}

func certificateOf(key *rsa.PrivateKey) (string, error) {
	like := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "demo client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, like, like, key.Public(), key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), err
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
