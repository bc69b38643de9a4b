package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/jetonhq/jeton"
)

const (
	maxBody = 1 << 20         // of an answer; what is longer is not read
	timeout = 5 * time.Second // of a call, with its answer
)

// newClient returns what calls an issuer if nobody says what does. It reads no
// environment.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: timeout,
	}}
}

// errStatus is an answer other than 200.
type errStatus struct {
	status int
	header http.Header
}

func (e *errStatus) Error() string { return fmt.Sprintf("the answer is %d", e.status) }

// call sends a request and returns the body of a good answer. It follows no
// redirect: a key or an answer is where the issuer said, or it is not. The error
// shows neither URL nor body.
func call(ctx context.Context, client *http.Client, req *http.Request) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	straight := *client
	straight.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	straight.Jar = nil
	resp, err := straight.Do(req.WithContext(ctx))
	if err != nil {
		return nil, nil, jeton.WithoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, &errStatus{resp.StatusCode, resp.Header}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxBody {
		return nil, nil, fmt.Errorf("the answer has more than %d bytes", maxBody)
	}
	return body, resp.Header, nil
}

// get fetches a document.
func get(ctx context.Context, client *http.Client, address string) ([]byte, http.Header, error) {
	if err := checkURL(address); err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, errors.New("not a URL")
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	return call(ctx, client, req)
}

// checkURL takes https, and plain http to this machine only.
func checkURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "":
		return errors.New("not a URL of an issuer")
	case u.Scheme == "https", u.Scheme == "http" && jeton.IsLoopback(u.Hostname()):
		return nil
	}
	return errors.New("the URL is neither https:// nor http:// to a loopback address")
}
