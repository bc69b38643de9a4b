package sign

import (
	"cmp"
	stdhmac "crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"hash"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// OAuth1 signs and checks requests by RFC 5849 in the Authorization header, as
// NetSuite's token-based authentication does. ConsumerKey and ConsumerSecret
// are needed; without Token the request is signed for the client alone.
//
// The signature covers method, URL and the parameters of the query and of a
// form. It does not cover other headers and no other kind of body (section
// 3.4): for these TLS has to do.
type OAuth1 struct {
	ConsumerKey, ConsumerSecret string
	Token, TokenSecret          string
	Realm                       string // sent in front, not signed; empty: none
	Method                      string // HMAC-SHA256, which empty means, or HMAC-SHA1
}

// oauth1Skew is how far NetSuite lets clocks be apart.
const oauth1Skew = 5 * time.Minute

// Sign sets Authorization. Body is the whole body; it counts if Content-Type
// says that it is a form.
func (s OAuth1) Sign(r *http.Request, body []byte, now time.Time) error {
	return s.sign(r, body, now, rand.Text())
}

func (s OAuth1) sign(r *http.Request, body []byte, now time.Time, nonce string) error {
	if err := s.complete(); err != nil {
		return err
	}
	params := [][2]string{{"oauth_consumer_key", s.ConsumerKey}}
	if s.Token != "" {
		params = append(params, [2]string{"oauth_token", s.Token})
	}
	params = append(params,
		[2]string{"oauth_signature_method", s.method()},
		[2]string{"oauth_timestamp", strconv.FormatInt(now.Unix(), 10)},
		[2]string{"oauth_nonce", nonce},
		[2]string{"oauth_version", "1.0"})
	signature, err := s.signature(r, body, params)
	if err != nil {
		return err
	}
	params = append(params, [2]string{"oauth_signature", base64.StdEncoding.EncodeToString(signature)})
	var list []string
	if s.Realm != "" {
		list = append(list, `realm="`+s.Realm+`"`)
	}
	for _, p := range params {
		list = append(list, percent(p[0])+`="`+percent(p[1])+`"`)
	}
	r.Header.Set("Authorization", "OAuth "+strings.Join(list, ", "))
	return nil
}

// Check reports whether the request, as a server reads it, was signed with
// these credentials by a clock within five minutes of now. Behind a proxy that
// ends TLS the caller sets r.URL.Scheme to what the client used. A request that
// was seen before is not recognized: within the five minutes the caller
// remembers Authorization headers if that matters.
func (s OAuth1) Check(r *http.Request, body []byte, now time.Time) error {
	if err := s.complete(); err != nil {
		return err
	}
	params, ok := parseOAuth1(r)
	if !ok {
		return errors.New("sign: oauth1: Authorization does not have the form of OAuth")
	}
	named := map[string]string{}
	var signed [][2]string
	for _, p := range params {
		named[p[0]] = p[1]
		if p[0] != "realm" && p[0] != "oauth_signature" {
			signed = append(signed, p)
		}
	}
	if named["oauth_consumer_key"] != s.ConsumerKey || named["realm"] != s.Realm ||
		subtle.ConstantTimeCompare([]byte(named["oauth_token"]), []byte(s.Token)) != 1 {
		return errors.New("sign: oauth1: not of this consumer key, token and realm")
	}
	if named["oauth_signature_method"] != s.method() || cmp.Or(named["oauth_version"], "1.0") != "1.0" || named["oauth_nonce"] == "" {
		return errors.New("sign: oauth1: wants oauth_signature_method " + s.method() + ", oauth_version 1.0 and oauth_nonce")
	}
	seconds, err := strconv.ParseUint(named["oauth_timestamp"], 10, 40)
	if err != nil {
		return errors.New("sign: oauth1: oauth_timestamp is not a number of seconds")
	}
	if t := time.Unix(int64(seconds), 0); t.Before(now.Add(-oauth1Skew)) || t.After(now.Add(oauth1Skew)) {
		return errors.New("sign: oauth1: oauth_timestamp is more than 5 minutes away")
	}
	want, err := s.signature(r, body, signed)
	if err != nil {
		return err
	}
	got, err := base64.StdEncoding.Strict().DecodeString(named["oauth_signature"])
	if err != nil || !stdhmac.Equal(got, want) {
		return errors.New("sign: oauth1: the signature is not that of the request")
	}
	return nil
}

// OAuth1Identity returns who a request claims to be from, so that an account
// can be looked up. Nothing of it is proven before [OAuth1.Check]; ok says that
// Authorization has the right form.
func OAuth1Identity(r *http.Request) (consumerKey, token, realm string, ok bool) {
	params, ok := parseOAuth1(r)
	for _, p := range params {
		switch p[0] {
		case "oauth_consumer_key":
			consumerKey = p[1]
		case "oauth_token":
			token = p[1]
		case "realm":
			realm = p[1]
		}
	}
	return consumerKey, token, realm, ok && consumerKey != ""
}

// complete refuses credentials that are not there: anybody can sign with an
// empty secret.
func (s OAuth1) complete() error {
	if s.ConsumerKey == "" || s.ConsumerSecret == "" {
		return errors.New("sign: oauth1: consumer_key and consumer_secret are needed")
	}
	if s.method() != "HMAC-SHA256" && s.method() != "HMAC-SHA1" {
		return errors.New("sign: oauth1: method is to be HMAC-SHA256 or HMAC-SHA1")
	}
	if !quotable(s.Realm) {
		return errors.New("sign: oauth1: realm is to be printable ASCII without a quote or a backslash")
	}
	return nil
}

func (s OAuth1) method() string { return cmp.Or(s.Method, "HMAC-SHA256") }

// signature signs the request with the protocol parameters (section 3.4.2).
func (s OAuth1) signature(r *http.Request, body []byte, protocol [][2]string) ([]byte, error) {
	base, err := baseString(r, body, protocol)
	if err != nil {
		return nil, err
	}
	var algorithm func() hash.Hash = sha256.New
	if s.method() == "HMAC-SHA1" {
		algorithm = sha1.New
	}
	h := stdhmac.New(algorithm, []byte(percent(s.ConsumerSecret)+"&"+percent(s.TokenSecret)))
	h.Write([]byte(base))
	return h.Sum(nil), nil
}

// baseString writes what is signed (section 3.4.1).
func baseString(r *http.Request, body []byte, protocol [][2]string) (string, error) {
	pairs, err := encodedPairs(r.URL.RawQuery)
	if err != nil {
		return "", err
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && media == "application/x-www-form-urlencoded" {
		form, err := encodedPairs(string(body))
		if err != nil {
			return "", errors.New("sign: oauth1: the body is not the form that Content-Type says")
		}
		pairs = append(pairs, form...)
	}
	for _, p := range pairs {
		if strings.HasPrefix(p[0], "oauth_") { // section 3.1: each once, and here they are in the header
			return "", errors.New("sign: oauth1: a parameter oauth_* stands outside the Authorization header")
		}
	}
	for _, p := range protocol {
		pairs = append(pairs, [2]string{percent(p[0]), percent(p[1])})
	}
	return percent(cmp.Or(r.Method, http.MethodGet)) + "&" + percent(baseURI(r)) + "&" + percent(joinPairs(pairs)), nil
}

// baseURI is the URL without query and default port (section 3.4.1.2).
func baseURI(r *http.Request) string {
	scheme := strings.ToLower(r.URL.Scheme)
	if scheme == "" { // a request as a server has it
		scheme = "http"
		if r.TLS != nil {
			scheme = "https"
		}
	}
	host := strings.ToLower(cmp.Or(r.Host, r.URL.Host))
	if scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	} else {
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host + cmp.Or(r.URL.EscapedPath(), "/")
}

// parseOAuth1 reads the parameters of Authorization (section 3.5.1), each once.
// The realm is quoted text, the others are percent-encoded in quotes.
func parseOAuth1(r *http.Request) (params [][2]string, ok bool) {
	headers := r.Header["Authorization"]
	if len(headers) != 1 {
		return nil, false
	}
	scheme, rest, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "OAuth") {
		return nil, false
	}
	seen := map[string]bool{}
	for more := true; more; {
		var p [2]string
		if p, rest, ok = oauth1Param(strings.TrimLeft(rest, " \t")); !ok || seen[p[0]] {
			return nil, false
		}
		seen[p[0]] = true
		params = append(params, p)
		rest, more = strings.CutPrefix(strings.TrimLeft(rest, " \t"), ",")
	}
	return params, rest == ""
}

// oauth1Param reads one name="value" from the front of a list.
func oauth1Param(list string) (p [2]string, rest string, ok bool) {
	name, rest, ok := strings.Cut(list, `="`)
	if !ok {
		return p, "", false
	}
	value, rest, ok := strings.Cut(rest, `"`)
	if !ok || !quotable(value) {
		return p, "", false
	}
	if name == "realm" {
		return [2]string{name, value}, rest, true
	}
	name, err1 := url.PathUnescape(name)
	value, err2 := url.PathUnescape(value)
	return [2]string{name, value}, rest, err1 == nil && err2 == nil && name != "" && name != "realm"
}

// quotable reports whether text stands between quotes as it is.
func quotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' })
}
