package store

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/jetonhq/jeton"
)

// An Address says where the store of a fleet is. Its URL holds no secret and
// may be shown: the password stands beside it.
type Address struct {
	Scheme string     // such as redis
	User   string     // empty: none
	Hosts  []string   // HOST:PORT; HOST alone if the URL has no port
	Path   string     // without the slash that it begins with
	Query  url.Values // each name once

	Password jeton.Secret                 // zero: none
	Reread   func() (jeton.Secret, error) // reads the password again, which may have been replaced; nil: it never is
	TLS      *tls.Config                  // for a scheme with TLS; nil: the roots of the system

	text string
}

// ErrPassword says that a URL has a password in it, or where one would be.
var ErrPassword = errors.New("a password does not belong in a URL")

var (
	errNotURL   = errors.New("not a URL such as redis://USER@HOST:PORT")
	validScheme = regexp.MustCompile(`^[a-z]+(\+http)?$`)
	validHost   = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)
)

// ParseAddress reads SCHEME://[USER@]HOST[:PORT][,HOST[:PORT]...][/PATH][?QUERY].
// It refuses a password with [ErrPassword]. Errors show no part of the text.
func ParseAddress(text string) (Address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if strings.Contains(tail, "@") { // of user:pass/word@host
		return Address{}, ErrPassword
	}
	if !ok || !validScheme.MatchString(scheme) {
		return Address{}, errNotURL
	}
	at := strings.LastIndex(authority, "@") + 1
	a := Address{Scheme: scheme, text: text}
	for host := range strings.SplitSeq(authority[at:], ",") {
		u, err := url.Parse(scheme + "://" + authority[:at] + host + tail) // knows one host only
		if err != nil || u.Fragment != "" {
			return Address{}, errNotURL
		}
		if _, has := u.User.Password(); has {
			return Address{}, ErrPassword
		}
		if !validHost.MatchString(host) {
			return Address{}, errNotURL
		}
		if a.Query, err = url.ParseQuery(u.RawQuery); err != nil {
			return Address{}, errors.New("what stands behind the ? is no list of NAME=VALUE")
		}
		a.User, a.Path, a.Hosts = u.User.Username(), strings.TrimPrefix(u.Path, "/"), append(a.Hosts, host)
	}
	for name, values := range a.Query {
		if name := strings.ToLower(name); strings.Contains(name, "pass") || strings.Contains(name, "secret") {
			return Address{}, ErrPassword
		}
		if len(values) != 1 {
			return Address{}, fmt.Errorf("%q stands in the URL %d times", name, len(values))
		}
	}
	return a, nil
}

// String returns the URL as it was written.
func (a Address) String() string { return a.text }

// HostPorts returns the hosts, each with the port that it has by default.
func (a Address) HostPorts(port string) []string {
	list := make([]string, len(a.Hosts))
	for i, host := range a.Hosts {
		if strings.LastIndex(host, ":") <= strings.LastIndex(host, "]") { // of an IPv6 address
			host += ":" + port
		}
		list[i] = host
	}
	return list
}

// Only reports a name in the query that is none of those given.
func (a Address) Only(names ...string) error {
	for name := range a.Query {
		if !slices.Contains(names, name) {
			return fmt.Errorf("unknown name %q in the URL; it knows %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

var validPrefix = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,39}$`)

// Prefix returns what the names of everything in the store begin with, so that
// several may share a server: the value of prefix, or jeton.
func (a Address) Prefix() (string, error) {
	if !a.Query.Has("prefix") {
		return "jeton", nil
	}
	prefix := a.Query.Get("prefix")
	if !validPrefix.MatchString(prefix) {
		return "", errors.New("the prefix is to be letters, digits, dots, dashes, slashes and underscores, 40 at most")
	}
	return prefix, nil
}
