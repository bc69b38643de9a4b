package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/jetonhq/jeton/strictjson"
)

// Metadata are what an issuer says about itself (RFC 8414 section 2, OpenID
// Connect Discovery section 3). What it does not say is empty.
type Metadata struct {
	Issuer                string
	JWKSURI               string
	IntrospectionEndpoint string
	RevocationsEndpoint   string // of a Jeton issuer: the stream of what ended
}

// Discover fetches the metadata of an issuer, at the places that RFC 8414
// section 3.1 and OpenID Connect have for them. The document must name exactly
// this issuer, and the endpoints in it must be https, or http to this machine
// if the issuer is. A nil client is one that reads no environment. Redirects are
// not followed.
func Discover(ctx context.Context, client *http.Client, issuer string) (*Metadata, error) {
	u, err := url.Parse(issuer)
	if err != nil || checkURL(issuer) != nil || u.RawQuery != "" {
		return nil, errors.New("verify: the issuer is to be an https:// URL without a query, or http:// to a loopback address")
	}
	if client == nil {
		client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	var failed error
	for _, place := range places(path) {
		body, _, err := get(ctx, client, origin+place)
		if err == nil {
			var m *Metadata
			if m, err = parseMetadata(body, issuer); err == nil {
				return m, nil
			}
		}
		if e, ok := errors.AsType[*errStatus](err); failed == nil || !ok || e.status != http.StatusNotFound {
			failed = err // what says more than that there is nothing
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("verify: discover the issuer: %w", failed)
}

// places returns where the metadata of an issuer with such a path may be.
func places(path string) []string {
	const oauth, openid = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	if path == "" {
		return []string{oauth, openid}
	}
	return []string{oauth + path, path + openid, openid + path, path + oauth}
}

func parseMetadata(body []byte, issuer string) (*Metadata, error) {
	document, err := strictjson.Object(body)
	if err != nil {
		return nil, fmt.Errorf("the metadata are %w", err)
	}
	if document["issuer"] != issuer {
		return nil, errors.New("the metadata are of another issuer: its URL is to be the same as there, also as to a slash at the end")
	}
	m := &Metadata{Issuer: issuer}
	for name, field := range map[string]*string{
		"jwks_uri": &m.JWKSURI, "introspection_endpoint": &m.IntrospectionEndpoint, "revocations_endpoint": &m.RevocationsEndpoint,
	} {
		value, there := document[name]
		if !there {
			continue
		}
		*field, _ = value.(string)
		if checkURL(*field) != nil || strings.HasPrefix(issuer, "https:") && !strings.HasPrefix(*field, "https:") {
			return nil, fmt.Errorf("the metadata have a %s that is not to be called", name)
		}
	}
	return m, nil
}
