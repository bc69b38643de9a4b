package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/etcd"
	"github.com/jetonhq/jeton/store/kubernetes"
	"github.com/jetonhq/jeton/store/postgres"
	"github.com/jetonhq/jeton/store/redis"
	"github.com/jetonhq/jeton/store/vault"
	"github.com/jetonhq/jeton/yamlnode"
)

// A storeURL says where state is kept.
type storeURL struct {
	kind string // "memory", "sqlite", or what the last column of remotes says
	text string // what stands behind memory: or sqlite: in the file
	path string // of the SQLite file, from the working directory
	node yamlnode.Node

	remote        store.Address // of the other kinds; without password and TLS
	password, key reference     // the zero reference: none
	ca, cert      string        // paths as written; empty: none
	dir           string        // where they start
}

// remotes are the stores of a fleet, by the scheme of their URLs.
var remotes = map[string]struct {
	kind  string
	check func(store.Address) error
}{
	"etcd":            {"etcd", etcd.Check},
	"etcds":           {"etcd", etcd.Check},
	"kubernetes":      {"kubernetes", kubernetes.Check},
	"kubernetes+http": {"kubernetes", kubernetes.Check},
	"postgres":        {"postgres", postgres.Check},
	"postgresql":      {"postgres", postgres.Check},
	"redis":           {"redis", redis.Check},
	"rediss":          {"redis", redis.Check},
	"vault":           {"vault", vault.Check},
	"vault+http":      {"vault", vault.Check},
}

// String returns the URL. It holds no secret.
func (u storeURL) String() string {
	if u.remote.Scheme != "" {
		return u.remote.String()
	}
	return u.kind + ":" + u.text
}

// brokersOnly reports whether the store is no place for an issuer.
func (u storeURL) brokersOnly() bool {
	return slices.Contains([]string{"etcd", "kubernetes", "redis", "vault"}, u.kind)
}

// tree returns the store in the shape in which the file says it.
func (u storeURL) tree() any {
	t := yaml.MapSlice{{Key: "url", Value: u.String()}}
	for _, item := range []yaml.MapItem{{Key: "password", Value: u.password.text()}, {Key: "ca", Value: u.ca},
		{Key: "cert", Value: u.cert}, {Key: "key", Value: u.key.text()}} {
		if item.Value != "" {
			t = append(t, item)
		}
	}
	if len(t) == 1 {
		return u.String()
	}
	return t
}

// references lists the secrets that the store needs.
func (u storeURL) references() []reference {
	return slices.DeleteFunc([]reference{u.password, u.key}, reference.isZero)
}

// address returns where a store of a fleet is, with everything that it takes
// to get in.
func (u storeURL) address() (a store.Address, err error) {
	a = u.remote
	if !u.password.isZero() {
		if a.Password, err = u.password.read(); err != nil {
			return a, err
		}
		a.Reread = u.password.read
	}
	if u.ca == "" && u.cert == "" {
		return a, nil
	}
	a.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if u.ca != "" {
		text, err := u.file(u.ca)
		if err != nil {
			return a, err
		}
		a.TLS.RootCAs = x509.NewCertPool()
		if !a.TLS.RootCAs.AppendCertsFromPEM(text) {
			return a, u.node.Errorf("%s holds no certificate in PEM", u.ca)
		}
	}
	if u.cert != "" {
		text, err := u.file(u.cert)
		if err != nil {
			return a, err
		}
		key, err := u.key.read()
		if err != nil {
			return a, err
		}
		pair, err := tls.X509KeyPair(text, []byte(key.Reveal()))
		if err != nil {
			return a, u.node.Errorf("the certificate %s and its key: %v", u.cert, err)
		}
		a.TLS.Certificates = []tls.Certificate{pair}
	}
	return a, nil
}

func (u storeURL) file(path string) ([]byte, error) {
	text, err := os.ReadFile((&parser{dir: u.dir}).path(path))
	if err != nil {
		return nil, u.node.Errorf("the file %s cannot be read: %v", path, reason(err))
	}
	return text, nil
}

// store reads a URL, or a mapping with one and what stands beside it.
func (p *parser) store(n yamlnode.Node) storeURL {
	if !p.want(n, "store", yamlnode.Text, yamlnode.Map) {
		return storeURL{}
	}
	u := storeURL{node: n, dir: p.dir}
	if n.Kind == yamlnode.Text {
		p.storeURL(&u, n)
		u.inPod()
		p.storeSides(n, u)
		return u
	}
	if !p.mapping(n, "store", storeKeys.names()...) {
		return u
	}
	at, ok := n.Get("url")
	if !ok {
		p.fail(n, "store: `url` is missing")
		return u
	}
	if p.want(at, "url", yamlnode.Text) {
		p.storeURL(&u, at)
	}
	for name, to := range map[string]*reference{"password": &u.password, "key": &u.key} {
		if v, ok := n.Get(name); ok && p.want(v, name, yamlnode.Text) {
			*to = p.reference(v)
		}
	}
	for name, to := range map[string]*string{"ca": &u.ca, "cert": &u.cert} {
		if v, ok := n.Get(name); ok && p.want(v, name, yamlnode.Text) {
			*to = v.Text
		}
	}
	u.inPod()
	p.storeSides(n, u)
	return u
}

// podFiles is where a pod of Kubernetes has what its service account needs.
const podFiles = "/var/run/secrets/kubernetes.io/serviceaccount/"

// inPod fills in what a pod has for the cluster that it runs in.
func (u *storeURL) inPod() {
	if u.remote.Scheme != "kubernetes" || strings.TrimSuffix(u.remote.Hosts[0], ":443") != "kubernetes.default.svc" {
		return
	}
	if u.ca == "" {
		u.ca = podFiles + "ca.crt"
	}
	if u.password.isZero() && u.cert == "" {
		u.password = reference{kind: "file", name: podFiles + "token", path: podFiles + "token", node: u.node}
	}
}

// storeSides checks the URL and what stands beside it. A store that could not
// be read has no kind.
func (p *parser) storeSides(n yamlnode.Node, u storeURL) {
	withTLS := u.ca != "" || u.cert != "" || !u.key.isZero()
	if u.remote.Scheme == "" {
		if u.kind != "" && (withTLS || !u.password.isZero()) {
			p.fail(n, "store: only a store behind a network has a password and certificates")
		}
		return
	}
	if (u.cert == "") != u.key.isZero() {
		p.fail(n, "store: cert and key go together")
	}
	a := u.remote // the files are read later
	if withTLS {
		a.TLS = new(tls.Config)
	}
	if !u.password.isZero() {
		a.Reread = u.password.read
	}
	if err := remotes[a.Scheme].check(a); err != nil {
		p.fail(n, "store: %v", err)
		return
	}
	plain := a.Scheme == "vault+http" || a.Scheme == "kubernetes+http" && !u.password.isZero()
	if host, _, _ := net.SplitHostPort(a.HostPorts("1")[0]); plain && !jeton.IsLoopback(host) {
		p.fail(n, "store: %s:// shows the token to the network; it is for this machine only", a.Scheme)
	}
}

// storeURL reads the URL itself. What stands there may hold a password, so
// errors show no more of it than its kind.
func (p *parser) storeURL(u *storeURL, n yamlnode.Node) {
	kind, path, _ := strings.Cut(n.Text, ":")
	remote, known := remotes[kind]
	switch {
	case kind == "memory" && path == "":
		u.kind = kind
	case kind == "sqlite" && path != "":
		u.kind, u.text, u.path = kind, path, p.path(path)
	case kind == "sqlite":
		p.fail(n, "sqlite: wants a path: sqlite:jeton.db")
	case !known:
		p.fail(n, "unknown store %s; this jeton has %s", yamlnode.Quote(kind+":"), storeKinds())
	default:
		a, err := store.ParseAddress(n.Text)
		switch {
		case errors.Is(err, store.ErrPassword):
			p.fail(n, "store: the password does not belong in the URL; write store: {url: %s://USER@HOST, password: env:NAME}", kind)
		case err != nil:
			p.fail(n, "store: %v", err)
		default:
			u.kind, u.remote = remote.kind, a
		}
	}
}

// storeKinds lists the stores that there are.
func storeKinds() string {
	kinds := []string{}
	for scheme := range remotes {
		kinds = append(kinds, scheme+"://")
	}
	slices.Sort(kinds)
	return fmt.Sprintf("memory:, sqlite:PATH, %s", strings.Join(kinds, ", "))
}
