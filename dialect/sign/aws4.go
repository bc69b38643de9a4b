package sign

import (
	"cmp"
	"context"
	stdhmac "crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// AWS4 signs and checks requests by AWS Signature Version 4 in the
// Authorization header (AWS Identity and Access Management User Guide, "Create
// a signed AWS API request"). All fields but Session are needed.
type AWS4 struct {
	KeyID, Secret   string
	Session         string // of temporary credentials; empty: none
	Region, Service string // eu-central-1, execute-api
}

const (
	aws4Algorithm = "AWS4-HMAC-SHA256"
	aws4Time      = "20060102T150405Z"
	aws4Skew      = 15 * time.Minute
)

// Sign sets Authorization and X-Amz-Date, X-Amz-Security-Token if there is a
// session, and X-Amz-Content-Sha256 for the services that need it; it takes a
// default port off r.Host. It covers the method, the URL, the body and the
// headers that r has by then. Body is the whole body; it does not touch r.Body.
func (s AWS4) Sign(r *http.Request, body []byte, now time.Time) error {
	if err := s.complete(); err != nil {
		return err
	}
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return errQuery
	}
	sum := hashed(body)
	r.Header.Del("X-Amz-Security-Token")
	r.Header.Del("X-Amz-Content-Sha256")
	if wantsBodyHash(s.Service) {
		r.Header.Set("X-Amz-Content-Sha256", sum)
	}
	signed := r.Clone(r.Context())
	// The signer rewrites the query, and knows of a path only how it is
	// escaped. The length is left out: the hash of the body covers it, and a
	// transport may send it in another way.
	signed.URL.Opaque = "//" + r.URL.Host + canonicalPath(s.Service, r.URL)
	signed.ContentLength = -1
	signed.Header.Del("Content-Length")
	credentials := aws.Credentials{AccessKeyID: s.KeyID, SecretAccessKey: s.Secret, SessionToken: s.Session}
	err := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).
		SignHTTP(context.WithoutCancel(r.Context()), credentials, signed, sum, s.Service, s.Region, now)
	if err != nil {
		return errors.New("sign: aws4: the request could not be signed")
	}
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		if v := signed.Header.Values(name); len(v) > 0 {
			r.Header[name] = v
		}
	}
	r.Host = signed.Host
	return nil
}

// Check reports whether the request, as a server reads it, was signed with
// these credentials, for this region and service, by a clock within 15 minutes
// of now. Of the headers only those count that the client named as signed;
// host and every x-amz-* header have to be among them. The body has to be
// covered too: UNSIGNED-PAYLOAD and streaming signatures are refused.
func (s AWS4) Check(r *http.Request, body []byte, now time.Time) error {
	if err := s.complete(); err != nil {
		return err
	}
	a, ok := parseAWS4(r)
	if !ok {
		return errors.New("sign: aws4: Authorization does not have the form of AWS4-HMAC-SHA256")
	}
	if a.keyID != s.KeyID || a.region != s.Region || a.service != s.Service {
		return errors.New("sign: aws4: Credential is not of this key, region and service")
	}
	date := r.Header.Get("X-Amz-Date")
	t, err := time.Parse(aws4Time, date)
	if err != nil || a.date != date[:8] {
		return errors.New("sign: aws4: X-Amz-Date is not a time on the day of Credential")
	}
	if t.Before(now.Add(-aws4Skew)) || t.After(now.Add(aws4Skew)) {
		return errors.New("sign: aws4: X-Amz-Date is more than 15 minutes away")
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Amz-Security-Token")), []byte(s.Session)) != 1 {
		return errors.New("sign: aws4: X-Amz-Security-Token is not that of the session")
	}
	sum := hashed(body)
	if given := r.Header.Get("X-Amz-Content-Sha256"); given != "" && given != sum {
		return errors.New("sign: aws4: X-Amz-Content-Sha256 is not that of the body")
	}
	request, err := canonicalRequest(a, r, sum)
	if err != nil {
		return err
	}
	if !stdhmac.Equal(a.signature, s.signature(date, request)) {
		return errors.New("sign: aws4: the signature is not that of the request")
	}
	return nil
}

// AWS4KeyID returns which credentials a request claims to be signed with, so
// that an account can be looked up. Nothing of it is proven before
// [AWS4.Check]; ok says that Authorization has the right form.
func AWS4KeyID(r *http.Request) (keyID, region, service string, ok bool) {
	a, ok := parseAWS4(r)
	return a.keyID, a.region, a.service, ok
}

// complete refuses credentials that are not there, because anybody can sign with
// an empty secret, and those that could not be read back from the headers.
func (s AWS4) complete() error {
	if s.KeyID == "" || s.Secret == "" || s.Region == "" || s.Service == "" {
		return errors.New("sign: aws4: key_id, secret, region and service are all needed")
	}
	if strings.ContainsFunc(s.KeyID+s.Region+s.Service, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ',' }) {
		return errors.New("sign: aws4: key_id, region and service are to be printable ASCII without a blank, a slash or a comma")
	}
	if strings.ContainsFunc(s.Session, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("sign: aws4: session is to be printable ASCII without a blank")
	}
	return nil
}

var errQuery = errors.New("sign: the query is not made of name=value in percent-encoding")

// signature signs a canonical request at a time as X-Amz-Date has it.
func (s AWS4) signature(date, request string) []byte {
	key := []byte("AWS4" + s.Secret)
	scope := []string{date[:8], s.Region, s.Service, "aws4_request"}
	for _, part := range scope {
		key = keyed(key, part)
	}
	return keyed(key, strings.Join([]string{aws4Algorithm, date, strings.Join(scope, "/"), hashed([]byte(request))}, "\n"))
}

func keyed(key []byte, text string) []byte {
	h := stdhmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func hashed(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// isS3 tells the services apart that take a path as it is: keys of objects may
// hold empty and dotted segments.
func isS3(service string) bool {
	return service == "s3" || strings.HasPrefix(service, "s3-") || service == "s3express"
}

// wantsBodyHash tells the services that refuse a request without
// X-Amz-Content-Sha256.
func wantsBodyHash(service string) bool {
	return isS3(service) || service == "glacier" || service == "aoss"
}

// An aws4Header is the Authorization header taken apart.
type aws4Header struct {
	keyID, date, region, service string
	signed                       []string // names of headers, lower case, ascending
	signature                    []byte
}

func parseAWS4(r *http.Request) (a aws4Header, ok bool) {
	fields, ok := aws4Fields(r.Header["Authorization"])
	if !ok {
		return aws4Header{}, false
	}
	scope := strings.Split(fields["Credential"], "/")
	if len(scope) != 5 || slices.Contains(scope, "") || scope[4] != "aws4_request" {
		return aws4Header{}, false
	}
	a = aws4Header{keyID: scope[0], date: scope[1], region: scope[2], service: scope[3]}
	a.signed = strings.Split(fields["SignedHeaders"], ";")
	if !slices.IsSorted(a.signed) || len(slices.Compact(slices.Clone(a.signed))) < len(a.signed) ||
		!slices.Contains(a.signed, "host") || !slices.Contains(a.signed, "x-amz-date") {
		return aws4Header{}, false
	}
	var err error
	a.signature, err = hex.DecodeString(fields["Signature"])
	if err != nil || len(a.signature) != sha256.Size || hex.EncodeToString(a.signature) != fields["Signature"] {
		return aws4Header{}, false
	}
	return a, true
}

// aws4Fields reads Credential, SignedHeaders and Signature, each once.
func aws4Fields(authorization []string) (map[string]string, bool) {
	if len(authorization) != 1 {
		return nil, false
	}
	list, ok := strings.CutPrefix(authorization[0], aws4Algorithm+" ")
	parts := strings.SplitN(list, ",", 4)
	if !ok || len(parts) != 3 {
		return nil, false
	}
	fields := map[string]string{}
	for _, part := range parts {
		name, value, _ := strings.Cut(strings.Trim(part, " "), "=")
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return nil, false
		}
	}
	return fields, true
}

// canonicalRequest is the first step of the signature: what of the request is
// signed, in the one way in which both sides write it.
func canonicalRequest(a aws4Header, r *http.Request, sum string) (string, error) {
	query, err := canonicalQuery(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "x-amz-") && !slices.Contains(a.signed, lower) {
			return "", errors.New("sign: aws4: a header x-amz-* is not signed")
		}
	}
	var b strings.Builder
	b.WriteString(cmp.Or(r.Method, http.MethodGet) + "\n" + canonicalPath(a.service, r.URL) + "\n" + query + "\n")
	for _, name := range a.signed {
		values := r.Header[textproto.CanonicalMIMEHeaderKey(name)]
		if name == "host" {
			values = []string{cmp.Or(r.Host, r.URL.Host)}
		}
		if len(values) == 0 {
			return "", errors.New("sign: aws4: a header that SignedHeaders names is not there")
		}
		b.WriteString(name + ":")
		for i, v := range values {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ' ' }), " "))
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n" + strings.Join(a.signed, ";") + "\n" + sum)
	return b.String(), nil
}

// canonicalPath is the path as it is signed: for S3 every segment encoded once,
// for the others normalized and then encoded on top of how it is sent.
func canonicalPath(service string, u *url.URL) string {
	if isS3(service) {
		return encodePath(cmp.Or(u.Path, "/"))
	}
	sent := cmp.Or(u.EscapedPath(), "/")
	clean := path.Clean(sent)
	if strings.HasSuffix(sent, "/") && clean != "/" {
		clean += "/"
	}
	return encodePath(clean)
}

func encodePath(p string) string { return strings.ReplaceAll(percent(p), "%2F", "/") }

// canonicalQuery sorts the parameters by name and value after encoding.
func canonicalQuery(raw string) (string, error) {
	pairs, err := encodedPairs(raw)
	if err != nil {
		return "", err
	}
	return joinPairs(pairs), nil
}

// encodedPairs reads name=value pairs of a query or a form and writes each
// name and value in percent-encoding.
func encodedPairs(raw string) ([][2]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errQuery
	}
	var pairs [][2]string
	for name, list := range values {
		for _, v := range list {
			pairs = append(pairs, [2]string{percent(name), percent(v)})
		}
	}
	return pairs, nil
}

// joinPairs sorts encoded pairs by name, then by value, and joins them.
func joinPairs(pairs [][2]string) string {
	slices.SortFunc(pairs, func(a, b [2]string) int {
		return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1]))
	})
	list := make([]string, len(pairs))
	for i, p := range pairs {
		list[i] = p[0] + "=" + p[1]
	}
	return strings.Join(list, "&")
}

// percent encodes all but the unreserved characters of RFC 3986 section 2.3,
// as both kinds of signature want it (RFC 5849 section 3.6).
func percent(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
