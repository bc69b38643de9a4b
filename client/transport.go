package client

import (
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/jetonhq/jeton"
)

// RoundTrip sends a call to the vendor's API with the token worn as a bearer
// token. If the API says that the token is not good, it reports that and sends
// the call once more with the next one, provided that the body can be sent
// again (GetBody).
//
// The token goes where the program calls: where a client follows a redirect to
// another place, the call is sent without it. For vendors whose calls need more
// than a bearer token, use the broker's egress proxy.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) {
	if elsewhere(r) {
		return c.config.Base.RoundTrip(r)
	}
	t, err := c.Token(r.Context())
	if err != nil {
		closeBody(r)
		return nil, err
	}
	answer, err := c.config.Base.RoundTrip(wear(r, t, r.Body))
	if err != nil || !c.config.Rejected(answer) {
		return answer, err
	}
	next, err := c.Report(context.WithoutCancel(r.Context()), t.Generation)
	if err != nil || next.Generation == t.Generation {
		return answer, nil
	}
	var body io.ReadCloser = http.NoBody
	switch {
	case r.GetBody != nil:
		if body, err = r.GetBody(); err != nil {
			return answer, nil
		}
	case r.Body != nil && r.Body != http.NoBody:
		return answer, nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection is used again
	_ = answer.Body.Close()
	return c.config.Base.RoundTrip(wear(r, next, body))
}

// elsewhere reports whether a redirect led away from where the program called.
func elsewhere(r *http.Request) bool {
	first := r
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	return first.URL.Scheme != r.URL.Scheme || !strings.EqualFold(first.URL.Host, r.URL.Host)
}

// wear returns a copy of r that wears the token.
func wear(r *http.Request, t *jeton.Token, body io.ReadCloser) *http.Request {
	out := r.Clone(r.Context())
	out.Body = body
	kind := t.Type
	if kind == "" || strings.EqualFold(kind, "bearer") {
		kind = "Bearer" // some servers tell cases apart, against RFC 6750
	}
	out.Header.Set("Authorization", kind+" "+t.AccessToken.Reveal())
	return out
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
