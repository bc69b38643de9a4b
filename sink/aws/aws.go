// Package aws copies a token to AWS Secrets Manager.
//
// It makes the two calls that it takes by itself, and has AWS's own code sign
// them: the SDK's client and chain of credentials are eight times the weight.
package aws

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
)

// Sink is a [sink.Sink] that is a secret. Each token becomes its version
// AWSCURRENT, and the one before AWSPREVIOUS. AWS removes old versions by
// itself, but keeps those of the last 24 hours, and no more than about a
// hundred: a token that is replaced every ten minutes is too much for it.
type Sink struct {
	Region string
	Secret string // its name or ARN
	Create bool   // make the secret if there is none; needs a name

	Format      sink.Format
	Endpoint    *url.URL                // nil: the region's
	Credentials aws.CredentialsProvider // see [Environment.Credentials]
	HTTP        http.RoundTripper       // nil: http.DefaultTransport

	// A token keeps its version until it was put, so that an answer that was
	// lost makes no second one.
	pending jeton.Secret // what was put
	version string

	ahead time.Duration // AWS's clock, if it refuses what this machine's dates
}

// Endpoint returns where Secrets Manager is in a region.
func Endpoint(region string) *url.URL {
	host := "secretsmanager." + region + ".amazonaws.com"
	if strings.HasPrefix(region, "cn-") {
		host += ".cn"
	}
	return &url.URL{Scheme: "https", Host: host, Path: "/"}
}

// Put implements [sink.Sink].
func (s *Sink) Put(ctx context.Context, t *jeton.Token) error {
	text := s.Format.Text(t)
	if s.version == "" || !s.pending.Equal(jeton.NewSecret(text)) {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // it never fails
		s.pending, s.version = jeton.NewSecret(text), hex.EncodeToString(id)
	}
	err := s.call(ctx, "PutSecretValue", map[string]any{"SecretId": s.Secret, "SecretString": text, "ClientRequestToken": s.version})
	if e, ok := errors.AsType[*sink.StatusError](err); ok && e.Code == notFound && s.Create {
		err = s.call(ctx, "CreateSecret", map[string]any{"Name": s.Secret, "SecretString": text, "ClientRequestToken": s.version})
	}
	if err == nil {
		s.pending, s.version = jeton.Secret{}, ""
	}
	return err
}

const notFound = "ResourceNotFoundException"

// call makes one call of Secrets Manager, whose answer is of no interest if it
// is good.
func (s *Sink) call(ctx context.Context, name string, in map[string]any) error {
	credentials, err := s.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("aws: credentials: %w", err)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return errors.New("aws: the request cannot be written")
	}
	to := s.Endpoint
	if to == nil {
		to = Endpoint(s.Region)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return errors.New("aws: the endpoint is not good")
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "secretsmanager."+name)
	digest := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, credentials, r, hex.EncodeToString(digest[:]), "secretsmanager", s.Region, time.Now().Add(s.ahead)); err != nil {
		return errors.New("aws: the request cannot be signed")
	}
	answer, body, err := sink.Send(s.HTTP, r)
	if err != nil {
		return fmt.Errorf("aws: reach Secrets Manager: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		s.setClock(answer.Header)
		return sink.NewStatusError("aws", answer.StatusCode, code(answer.Header, body))
	}
	return nil
}

// mostSkew is how far the date of a signature may be off; AWS takes five minutes.
const mostSkew = 4 * time.Minute

// setClock has the next request dated by AWS's clock, where this machine's is
// too far off for it.
func (s *Sink) setClock(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	if s.ahead = time.Until(date); s.ahead.Abs() < mostSkew {
		s.ahead = 0
	}
}

// code returns the name of an error: in a header or in the body, where a
// namespace may stand before it and a URL behind.
func code(h http.Header, body []byte) string {
	var e struct {
		Type string `json:"__type"`
	}
	text := h.Get("X-Amzn-Errortype")
	if text == "" && json.Unmarshal(body, &e) == nil {
		text = e.Type
	}
	text, _, _ = strings.Cut(text, ":")
	return text[strings.LastIndex(text, "#")+1:]
}
