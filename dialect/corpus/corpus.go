// Package corpus holds the dialect language against a collection of facts about
// real logins: it translates each entry mechanically into a dialect, runs the
// inverse laws on it and compares what the dialect does with a request, an
// answer and a call that are built by hand from the facts.
//
// It is a measure of the language, not a source of dialects: nothing in it
// knows a vendor, and a fact that it cannot say makes its entry fail.
package corpus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// An Entry is what is known of one login. A text in braces is a hole:
// {client_id}, {step1.access_token}, {base64({a}:{b})}.
type Entry struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"` // exchange, mint or sign
	ClientAuth string `json:"client_auth"`

	Steps     []Step     `json:"steps"`
	Response  *Response  `json:"response"` // of the last step
	Expiry    Expiry     `json:"expiry"`
	Refresh   Refresh    `json:"refresh"`
	Assertion *Assertion `json:"assertion"` // what a step's credential is made of
	Mint      *Assertion `json:"mint"`      // what the token itself is made of

	Attach      []Attach `json:"attach"` // how a call wears the token
	AttachExtra []Extra  `json:"attach_extra"`
	BaseURL     string   `json:"base_url"`

	Inputs         []string          `json:"inputs"`
	OptionalInputs []string          `json:"optional_inputs"`
	DefaultInputs  map[string]string `json:"default_inputs"`
	DefaultScopes  []string          `json:"default_scopes"`
	ScopeSeparator string            `json:"scope_separator"`

	Verify             *Verify  `json:"verify"`
	Introspection      string   `json:"introspection"` // method and URL
	DocumentedLifetime int      `json:"documented_lifetime_s"`
	Quirks             []string `json:"quirks"`

	// What follows repeats the above, or says where an entry is from.
	Mode         json.RawMessage `json:"mode"`
	Alias        json.RawMessage `json:"alias_of"`
	TokenURL     json.RawMessage `json:"token_url"`
	Method       json.RawMessage `json:"method"`
	ContentType  json.RawMessage `json:"content_type"`
	GrantType    json.RawMessage `json:"grant_type"`
	NSteps       json.RawMessage `json:"n_steps"`
	Placeholders json.RawMessage `json:"placeholders"`
	Family       json.RawMessage `json:"family"`
	Split        json.RawMessage `json:"split"`
	Constructs   json.RawMessage `json:"constructs"`
}

// A Step is one request of a login.
type Step struct {
	Method      string          `json:"method"`
	URL         string          `json:"url"`
	Fallback    []string        `json:"url_fallback"` // the same endpoint, where the account gives other inputs
	ContentType string          `json:"content_type"` // form, json, xml, query or none
	Credentials []Credential    `json:"credentials"`
	Static      []Static        `json:"static"`
	Computed    []Computed      `json:"computed"`
	Optional    []Credential    `json:"optional"`
	GrantType   json.RawMessage `json:"grant_type"` // stands among Static too
}

// A Credential is a value that an account gives, or that a step before bound.
type Credential struct {
	Var      string `json:"var"`
	In       string `json:"in"` // body, query, header, header:authorization or xml
	Name     string `json:"name"`
	Scheme   string `json:"scheme"`
	Template string `json:"template"` // empty: the variable alone
	Computed string `json:"computed"` // jwt: it is the assertion
	From     string `json:"from"`
	Secret   bool   `json:"secret"`
}

// A Static is a value that is the same for everybody.
type Static struct {
	In    string `json:"in"`
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// A Computed is a value that the client makes anew each time.
type Computed struct {
	In        string   `json:"in"`
	Name      string   `json:"name"`
	Template  string   `json:"template"`
	Functions []string `json:"functions"`
	Vars      []string `json:"vars"`
}

// A Response says where in the answer things stand.
type Response struct {
	Format       string   `json:"format"` // json or xml
	AccessToken  string   `json:"access_token"`
	RefreshToken string   `json:"refresh_token"`
	Metadata     []string `json:"metadata"`
	Headers      []string `json:"headers"`
}

// An Expiry says how long a token is good, and where that is said.
type Expiry struct {
	Form    string `json:"form"`
	Path    string `json:"path"`
	Value   string `json:"value"`
	Seconds int    `json:"seconds"`
	Note    string `json:"note"`
	Source  string `json:"source"`
}

// A Refresh says how the next token is had.
type Refresh struct {
	Kind    string `json:"kind"`
	Note    string `json:"note"`
	Request *Step  `json:"request"`
}

// An Assertion is a JWT, or another text, that the client makes.
type Assertion struct {
	Type        string         `json:"type"`
	Alg         string         `json:"alg"`
	Header      map[string]any `json:"header"`
	Claims      map[string]any `json:"claims"`
	Lifetime    int            `json:"lifetime_s"`
	Key         string         `json:"key"`
	KeyEncoding string         `json:"key_encoding"`
	Template    string         `json:"template"`
}

// An Attach says where a call wears the token.
type Attach struct {
	In       string `json:"in"`
	Name     string `json:"name"`
	Scheme   string `json:"scheme"`
	Template string `json:"template"`
}

// An Extra is what a call wears beside the token.
type Extra struct {
	In    string `json:"in"`
	Name  string `json:"name"`
	Value string `json:"value"`
	Kind  string `json:"kind"`
}

// A Verify names calls by which a token can be tried.
type Verify struct {
	Method    string   `json:"method"`
	Endpoints []string `json:"endpoints"`
}

// Read reads a corpus: a JSON list of entries. A fact of a kind that is not
// known here is an error, so that none is passed over.
func Read(r io.Reader) ([]Entry, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	d.UseNumber()
	var entries []Entry
	if err := d.Decode(&entries); err != nil {
		return nil, fmt.Errorf("corpus: entry %d: %w", len(entries), err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("corpus: there is something after the list")
	}
	for i, e := range entries {
		if e.Name == "" || e.Kind == "" {
			return nil, fmt.Errorf("corpus: entry %d has no name or no kind", i+1)
		}
	}
	return entries, nil
}
