package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/jetonhq/jeton/store"
)

const format = "1" // of what is kept; see Store

// Check reports what Open would refuse about an address without asking a
// server. The URL is
//
//	kubernetes://HOST[:443]/NAMESPACE[?prefix=jeton]
//
// where a pod finds its own cluster at kubernetes.default.svc, or
// kubernetes+http://HOST[:8001]/NAMESPACE without TLS, for kubectl proxy. The
// password is a token; a certificate may stand in its place.
func Check(a store.Address) error {
	_, err := configure(a)
	return err
}

var (
	validNamespace = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	validPrefix    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
)

// configure returns a store that has asked nobody.
func configure(a store.Address) (*Store, error) {
	prefix, err := a.Prefix()
	if err != nil {
		return nil, err
	}
	if err := a.Only("prefix"); err != nil {
		return nil, err
	}
	switch {
	case !validPrefix.MatchString(prefix):
		return nil, errors.New("the prefix is to be small letters, digits and dashes, as it begins the names of Secrets")
	case a.User != "":
		return nil, errors.New("the URL has no user; a token says who asks, or a certificate")
	case len(a.Hosts) != 1:
		return nil, errors.New("the URL has one host, that of the API server")
	case !validNamespace.MatchString(a.Path):
		return nil, errors.New("the URL is to name the namespace: kubernetes://kubernetes.default.svc/NAMESPACE")
	}
	transport := transport()
	host, base := "", ""
	switch a.Scheme {
	case "kubernetes":
		host = a.HostPorts("443")[0]
		base, transport.TLSClientConfig = "https://"+host, a.TLS.Clone()
	case "kubernetes+http":
		if a.TLS != nil {
			return nil, errors.New("certificates are for a URL with TLS, which begins with kubernetes://")
		}
		host = a.HostPorts("8001")[0]
		base = "http://" + host
	default:
		return nil, errors.New("the URL is to begin with kubernetes:// or kubernetes+http://")
	}
	s := &Store{prefix: prefix, api: &api{
		base: base + "/api/v1/namespaces/" + a.Path + "/secrets", name: host + "/" + a.Path,
		reread: a.Reread, token: a.Password,
		http: &http.Client{Transport: transport,
			// A redirect could take the token to somebody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}}
	s.feed.Listen = s.listen
	return s, nil
}

// Open connects to the server. An error names its address, never the token.
func Open(ctx context.Context, a store.Address) (*Store, error) {
	s, err := configure(a)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %s: %w", strings.Join(a.Hosts, ","), err)
	}
	if err := s.identify(ctx); err != nil {
		s.api.http.CloseIdleConnections()
		return nil, s.wrap(err)
	}
	return s, nil
}

// identify marks what is kept with its format and refuses what this program
// does not know.
func (s *Store) identify(ctx context.Context) error {
	mark := object{APIVersion: "v1", Kind: "Secret", Metadata: metadata{Name: s.prefix + "-format"}, Data: map[string][]byte{"format": []byte(format)}}
	var found object
	err := s.api.do(ctx, http.MethodGet, mark.Metadata.Name, nil, nil, &found)
	if e, ok := errors.AsType[*refusal](err); ok && e.status == http.StatusNotFound {
		err = s.api.do(ctx, http.MethodPost, "", nil, mark, &found)
		if e, ok := errors.AsType[*refusal](err); ok && e.status == http.StatusConflict {
			return s.identify(ctx) // another process marked it
		}
	}
	if err == nil && string(found.Data["format"]) != format {
		err = fmt.Errorf("written by a newer jeton: its format is %q, this one knows %s", found.Data["format"], format)
	}
	return err
}

// Close ends watching and the connections. Operations fail from then on.
func (s *Store) Close() error {
	s.feed.Close()
	s.api.closed.Store(true)
	s.api.http.CloseIdleConnections()
	return nil
}
