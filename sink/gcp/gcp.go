// Package gcp copies a token to Google Cloud's Secret Manager, by its REST
// interface.
package gcp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
)

// Sink is a [sink.Sink] that is a secret. Each token becomes its newest version,
// which readers know as "latest".
type Sink struct {
	Project, Secret string
	Create          bool // make the secret if there is none, replicated as Google likes

	// Keep is how many enabled versions stay; older ones are destroyed, whoever made
	// them. Zero: all stay, and are paid for.
	Keep int

	Format      sink.Format
	Endpoint    *url.URL           // nil: https://secretmanager.googleapis.com
	Credentials oauth2.TokenSource // nil: the Application Default Credentials, as Google's libraries find them
	HTTP        http.RoundTripper  // nil: http.DefaultTransport
	Logger      *slog.Logger       // nil: no log

	found oauth2.TokenSource // where Credentials is nil; nil: to be found
}

const scope = "https://www.googleapis.com/auth/cloud-platform"

// Put implements [sink.Sink].
func (s *Sink) Put(ctx context.Context, t *jeton.Token) error {
	err := s.add(ctx, t)
	if e, ok := errors.AsType[*sink.StatusError](err); ok && e.Status == http.StatusNotFound && s.Create {
		if err = s.create(ctx); err == nil {
			err = s.add(ctx, t)
		}
	}
	if err != nil || s.Keep == 0 {
		return err
	}
	if err := s.destroyOld(ctx); err != nil && s.Logger != nil {
		// The token is there; to put it again would make one version more.
		s.Logger.Warn("old versions of a secret were not destroyed", "project", s.Project, "secret", s.Secret, "error", err)
	}
	return nil
}

func (s *Sink) parent() string { return "/v1/projects/" + s.Project + "/secrets/" + s.Secret }

func (s *Sink) add(ctx context.Context, t *jeton.Token) error {
	text := []byte(s.Format.Text(t))
	sum := crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)) // Google refuses what was damaged on the way
	return s.call(ctx, http.MethodPost, s.parent()+":addVersion", nil, map[string]any{"payload": map[string]string{
		"data": base64.StdEncoding.EncodeToString(text), "dataCrc32c": strconv.FormatUint(uint64(sum), 10)}}, nil)
}

// create makes the secret. That another broker did so is good too.
func (s *Sink) create(ctx context.Context) error {
	err := s.call(ctx, http.MethodPost, "/v1/projects/"+s.Project+"/secrets", url.Values{"secretId": {s.Secret}},
		map[string]any{"replication": map[string]any{"automatic": struct{}{}}}, nil)
	if e, ok := errors.AsType[*sink.StatusError](err); ok && e.Status == http.StatusConflict {
		return nil
	}
	return err
}

// destroyOld destroys all versions but the newest.
func (s *Sink) destroyOld(ctx context.Context) error {
	var list struct {
		Versions []struct {
			Name  string `json:"name"`
			State string `json:"state"`
		} `json:"versions"`
	}
	// The newest come first. What does not fit is seen the next time.
	if err := s.call(ctx, http.MethodGet, s.parent()+"/versions", url.Values{"pageSize": {"100"}, "filter": {"state:ENABLED"}}, nil, &list); err != nil {
		return err
	}
	kept := 0
	for _, v := range list.Versions {
		if v.State == "DESTROYED" {
			continue
		}
		if kept++; kept <= s.Keep {
			continue
		}
		if err := s.call(ctx, http.MethodPost, s.parent()+"/versions/"+path.Base(v.Name)+":destroy", nil, struct{}{}, nil); err != nil {
			return err
		}
	}
	return nil
}

// call makes one call of Secret Manager.
func (s *Sink) call(ctx context.Context, method, at string, query url.Values, in, out any) error {
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	to := url.URL{Scheme: "https", Host: "secretmanager.googleapis.com"}
	if s.Endpoint != nil {
		to = *s.Endpoint
	}
	to.Path, to.RawQuery = strings.TrimRight(to.Path, "/")+at, query.Encode()
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return errors.New("gcp: the request cannot be written")
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, to.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("gcp: the endpoint is not good")
	}
	token.SetAuthHeader(r)
	r.Header.Set("Content-Type", "application/json")
	answer, body, err := sink.Send(s.HTTP, r)
	if err != nil {
		return fmt.Errorf("gcp: reach Secret Manager: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var e struct {
			Error struct {
				Status string `json:"status"`
			} `json:"error"`
		}
		_ = json.Unmarshal(body, &e) // what cannot be read has no code
		return sink.NewStatusError("gcp", answer.StatusCode, e.Error.Status)
	}
	if out != nil && json.Unmarshal(body, out) != nil {
		return errors.New("gcp: the answer of Secret Manager cannot be read")
	}
	return nil
}

// token returns what the call is made with. Credentials that were found and do
// not work are found anew by the next call: they may have been replaced.
func (s *Sink) token(ctx context.Context) (*oauth2.Token, error) {
	from := s.Credentials
	if from == nil {
		if s.found == nil {
			found, err := google.FindDefaultCredentials(context.WithValue(context.Background(), oauth2.HTTPClient, s.exchange()), scope)
			if err != nil {
				return nil, errors.New("gcp: there are no Application Default Credentials: GOOGLE_APPLICATION_CREDENTIALS names no good file, and this machine has no service account")
			}
			s.found = found.TokenSource
		}
		from = s.found
	}
	token, err := from.Token()
	if err != nil {
		s.found = nil
	}
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok { // it holds the answer's body
		status := 0
		if refused.Response != nil {
			status = refused.Response.StatusCode
		}
		return nil, sink.NewStatusError("gcp: the token endpoint", status, refused.ErrorCode)
	}
	if err != nil {
		return nil, errors.New("gcp: no access token could be had with the credentials")
	}
	return token, ctx.Err()
}

// exchange returns what credentials are exchanged for a token by. The library
// knows no context there, so it has a time-out; a redirect would take the
// credentials to whomever it names.
func (s *Sink) exchange() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: s.HTTP,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
