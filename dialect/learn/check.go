package learn

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton/dialect"
)

// Check tries a draft: its file is a dialect, the login that it writes with the
// pasted values is the pasted one, and it finds the token in the pasted answer.
// The error says what differs, not how: both sides could show a secret.
func (d *Draft) Check() error {
	parsed, err := dialect.Parse(d.Name+".yaml", d.file)
	if err != nil {
		return fmt.Errorf("learn: what was learned is no dialect: %w", err)
	}
	exchanges := append(slices.Clone(parsed.Steps), parsed.Login)
	if len(exchanges) != len(d.steps) {
		return errors.New("learn: the dialect has another number of steps than the paste")
	}
	for i, try := range d.steps {
		if err := d.try(parsed, exchanges[i], try); err != nil {
			return fmt.Errorf("learn: %w", err)
		}
	}
	return nil
}

func (d *Draft) try(parsed *dialect.Dialect, x *dialect.Exchange, try tried) error {
	var origin *url.URL
	if try.sample.host == "origin.example" {
		origin = &url.URL{Scheme: "https", Host: try.sample.host}
	}
	r, err := parsed.WriteRequest(context.Background(), x, origin, d.vars)
	if err != nil {
		return fmt.Errorf("the login cannot be written: %w", err)
	}
	if part, err := try.sample.differs(r); err != nil || part != "" {
		return fmt.Errorf("the login that the dialect writes is not the pasted one: %s is another", part)
	}
	if try.answer == nil {
		return nil
	}
	status := try.answer.status
	if status == 0 {
		status = http.StatusOK
	}
	header, body := try.answer.wire()
	got, err := parsed.ReadResponse(x, status, header, body, time.Now())
	if err != nil {
		return fmt.Errorf("the pasted answer is not understood: %w", err)
	}
	if try.token != "" && got["access_token"] != try.token {
		return errors.New("the dialect finds another token in the pasted answer")
	}
	return nil
}

// differs names the part of a request that is not as in the sample.
func (s *request) differs(r *http.Request) (string, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return "the body", err
		}
	}
	path := r.URL.EscapedPath()
	switch {
	case r.Method != s.method:
		return "the method", nil
	case r.URL.Scheme != s.scheme || r.URL.Host != s.host:
		return "the host", nil
	case strings.TrimSuffix(path, "/") != strings.TrimSuffix(s.path, "/"):
		return "the path", nil
	case !sameFields(r.URL.RawQuery, s.query):
		return "the query", nil
	}
	for _, h := range s.headers {
		if !slices.Contains(r.Header.Values(h.name), h.text) {
			return "the header " + shown(h.name, "of a long name"), nil
		}
	}
	for _, c := range s.cookies {
		if got, err := r.Cookie(c.name); err != nil || got.Value != c.text {
			return "a cookie", nil
		}
	}
	authorization := r.Header.Get("Authorization")
	switch {
	case s.basic != nil && authorization != "Basic "+base64.StdEncoding.EncodeToString([]byte(s.basic.name+":"+s.basic.text)):
		return "the Basic pair", nil
	case s.bearer != "" && authorization != "Bearer "+s.bearer:
		return "the bearer", nil
	case s.basic == nil && s.bearer == "" && authorization != "" && s.header("Authorization") == "":
		return "the Authorization header", nil
	}
	return s.bodyDiffers(body), nil
}

func (s *request) bodyDiffers(body []byte) string {
	same := true
	switch s.body {
	case bodyNone:
		same = len(body) == 0
	case bodyForm:
		same = sameFields(string(body), s.form)
	case bodyJSON:
		var got, want any
		same = json.Unmarshal(body, &got) == nil && json.Unmarshal(s.doc.appendJSON(nil), &want) == nil && reflect.DeepEqual(got, want)
	case bodyXML:
		d, err := parseXML(string(body))
		same = err == nil && string(d.appendJSON(nil)) == string(s.doc.appendJSON(nil))
	case bodyText:
		same = string(body) == s.text
	}
	if !same {
		return "the body"
	}
	return ""
}

func sameFields(encoded string, want []pair) bool {
	got, err := url.ParseQuery(encoded)
	if err != nil {
		return false
	}
	expected := url.Values{}
	for _, p := range want {
		expected.Add(p.name, p.text)
	}
	return reflect.DeepEqual(got, expected)
}
