package aws

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/sink"
)

const patience = 5 * time.Second // for one search of credentials

// An Environment is what credentials are found by.
type Environment struct {
	Getenv   func(name string) string
	ReadFile func(path string) ([]byte, error)
	Region   string            // whose STS is asked
	HTTP     http.RoundTripper // nil: http.DefaultTransport
}

// near returns how this machine's own services are reached. No proxy may see
// what they say.
func (e Environment) near() http.RoundTripper {
	if e.HTTP != nil {
		return e.HTTP
	}
	return &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, DisableKeepAlives: true}
}

// Credentials returns the credentials of a machine, found as AWS's SDKs do, in
// this order: AWS_ACCESS_KEY_ID with its secret; the web identity of a Kubernetes
// service account (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN); those of a
// container (AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI, as in ECS and
// EKS Pod Identity); the role of an EC2 instance. The ways of people at a
// terminal (profiles, SSO, a command) are not among them.
//
// They are kept until five minutes before they expire. Whoever is asked for them
// has five seconds to answer.
func (e Environment) Credentials() aws.CredentialsProvider {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(e.retrieve), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
}

// retrieve finds them. The cache has all who ask wait for one search, whose
// context never ends, so that it ends here.
func (e Environment) retrieve(ctx context.Context) (aws.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if id, secret := e.Getenv("AWS_ACCESS_KEY_ID"), e.Getenv("AWS_SECRET_ACCESS_KEY"); id != "" && secret != "" {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: e.Getenv("AWS_SESSION_TOKEN")}, nil
	}
	if file, role := e.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), e.Getenv("AWS_ROLE_ARN"); file != "" && role != "" {
		return e.webIdentity(ctx, file, role)
	}
	if path := e.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
		return e.container(ctx, "http://169.254.170.2"+path)
	}
	if full := e.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"); full != "" {
		return e.container(ctx, full)
	}
	if strings.EqualFold(e.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		return aws.Credentials{}, errors.New("there are none in the environment, and AWS_EC2_METADATA_DISABLED is set")
	}
	return e.instance(ctx)
}

// webIdentity exchanges the token of a service account for credentials.
func (e Environment) webIdentity(ctx context.Context, file, role string) (c aws.Credentials, err error) {
	token, err := e.ReadFile(file)
	if err != nil {
		return c, errors.New("the file of AWS_WEB_IDENTITY_TOKEN_FILE cannot be read")
	}
	session := e.Getenv("AWS_ROLE_SESSION_NAME")
	if session == "" {
		session = "jeton"
	}
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"},
		"RoleArn": {role}, "RoleSessionName": {session}, "WebIdentityToken": {strings.TrimSpace(string(token))}}
	at := e.Getenv("AWS_ENDPOINT_URL_STS")
	if at == "" {
		at = strings.Replace(Endpoint(e.Region).String(), "secretsmanager.", "sts.", 1)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil || !keepsSecrets(r.URL) {
		return c, errors.New("AWS_ENDPOINT_URL_STS is to be https://, or http:// at an address of this machine")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	body, err := ask("STS", e.HTTP, r)
	if err != nil {
		return c, err
	}
	var answer struct {
		Credentials struct {
			AccessKeyId, SecretAccessKey, SessionToken string
			Expiration                                 time.Time
		} `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if xml.Unmarshal(body, &answer) != nil {
		return c, errors.New("the answer of STS cannot be read")
	}
	got := answer.Credentials
	return good("STS", got.AccessKeyId, got.SecretAccessKey, got.SessionToken, got.Expiration)
}

// container asks what runs beside a container.
func (e Environment) container(ctx context.Context, at string) (c aws.Credentials, err error) {
	u, err := url.Parse(at)
	if err != nil || !keepsSecrets(u) {
		return c, errors.New("AWS_CONTAINER_CREDENTIALS_FULL_URI is to be https://, or http:// at an address of this machine")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return c, errors.New("the URL of the container's credentials is not good")
	}
	authorization := e.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if file := e.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); file != "" {
		text, err := e.ReadFile(file)
		if err != nil {
			return c, errors.New("the file of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE cannot be read")
		}
		authorization = strings.TrimSpace(string(text))
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return document("the container's agent", e.near(), r)
}

// keepsSecrets reports whether nobody can read what is sent to a URL on its way.
// Plain HTTP is for addresses that do not leave the machine.
func keepsSecrets(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && besideUs(u.Hostname())
}

// besideUs reports whether a host is this machine, or what ECS and EKS have at
// its side.
func besideUs(host string) bool {
	ip, err := netip.ParseAddr(host)
	return jeton.IsLoopback(host) || err == nil && (ip == netip.MustParseAddr("169.254.170.2") ||
		ip == netip.MustParseAddr("169.254.170.23") || ip == netip.MustParseAddr("fd00:ec2::23"))
}

// instance asks the metadata service of an EC2 instance, in its second version.
func (e Environment) instance(ctx context.Context) (c aws.Credentials, err error) {
	const service = "the instance's metadata service"
	base := strings.TrimSuffix(e.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "/")
	if base == "" {
		base = "http://169.254.169.254"
	}
	session := ""
	request := func(method, path string) (*http.Request, error) {
		r, err := http.NewRequestWithContext(ctx, method, base+path, nil)
		if err != nil {
			return nil, errors.New("AWS_EC2_METADATA_SERVICE_ENDPOINT is no URL")
		}
		if method == http.MethodPut {
			r.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
		} else {
			r.Header.Set("X-Aws-Ec2-Metadata-Token", session)
		}
		return r, nil
	}
	r, err := request(http.MethodPut, "/latest/api/token")
	if err != nil {
		return c, err
	}
	near := e.near()
	body, err := ask(service, near, r)
	if err != nil {
		return c, err
	}
	session = string(body)
	const roles = "/latest/meta-data/iam/security-credentials/"
	if r, err = request(http.MethodGet, roles); err != nil {
		return c, err
	}
	if body, err = ask(service, near, r); err != nil {
		return c, err
	}
	role, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if r, err = request(http.MethodGet, roles+url.PathEscape(role)); err != nil {
		return c, err
	}
	return document(service, near, r)
}

// document reads credentials as ECS and EC2 write them.
func document(who string, by http.RoundTripper, r *http.Request) (c aws.Credentials, err error) {
	body, err := ask(who, by, r)
	if err != nil {
		return c, err
	}
	var answer struct {
		AccessKeyId, SecretAccessKey, Token string
		Expiration                          time.Time
	}
	if json.Unmarshal(body, &answer) != nil {
		return c, fmt.Errorf("the answer of %s cannot be read", who)
	}
	return good(who, answer.AccessKeyId, answer.SecretAccessKey, answer.Token, answer.Expiration)
}

func good(who, id, secret, token string, expires time.Time) (aws.Credentials, error) {
	if id == "" || secret == "" {
		return aws.Credentials{}, fmt.Errorf("the answer of %s has no credentials", who)
	}
	return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token, CanExpire: !expires.IsZero(), Expires: expires}, nil
}

// ask sends a request whose answer is good if it is 200.
func ask(who string, by http.RoundTripper, r *http.Request) ([]byte, error) {
	answer, body, err := sink.Send(by, r)
	if err != nil {
		return nil, fmt.Errorf("reach %s: %w", who, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, sink.NewStatusError(who, answer.StatusCode, "")
	}
	return body, nil
}
