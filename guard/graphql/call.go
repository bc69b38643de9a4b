package graphql

import (
	"maps"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A Call is what somebody asks for, in one document or a batch of them, with
// which nothing is wrong whoever asks. Whether this caller may is for
// [Call.Permit] to say: no call goes on before. It is safe for concurrent use.
type Call struct {
	policy    *Policy
	batch     bool
	documents []judged // one at least
}

// A judged is an envelope and what there is to say of the document in it.
type judged struct {
	said envelope
	*judgement
}

// ReadBody reads a call in JSON. The error is an [*Error], for a batch perhaps a
// [BatchError], or that of [Policy.Check]. Of the call nothing but names of
// fields is in it.
func (p *Policy) ReadBody(body string) (*Call, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if !utf8.ValidString(body) {
		return nil, badRequest("the body is not UTF-8")
	}
	documents, batch, err := p.envelopes(body)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	c := &Call{policy: p, batch: batch, documents: documents}
	var errs BatchError
	for i := range documents {
		d := &documents[i]
		if d.judgement, err = p.document(&d.said); err != nil {
			errs = c.wrong(errs, i, err)
		}
	}
	if errs != nil {
		return nil, c.err(errs)
	}
	return c, nil
}

// Parameters takes the parameters that are GraphQL's out of the query of a URL.
// A query with a name that some server may take for one of them is refused:
// QUERY, query[], and names of persisted documents; so is one that cannot be
// read. The error is an [*Error].
func Parameters(query string) (own, rest url.Values, err error) {
	if query == "" {
		return nil, nil, nil
	}
	if rest, err = url.ParseQuery(query); err != nil {
		return nil, nil, badRequest("the query of the URL cannot be read")
	}
	own = url.Values{}
	for name, values := range rest {
		base, _, _ := strings.Cut(strings.ToLower(name), "[")
		base, _, _ = strings.Cut(base, ".")
		base = strings.NewReplacer("_", "", "-", "").Replace(strings.TrimSpace(base))
		switch base {
		case "query", "operationname", "variables", "extensions":
			if name != map[string]string{"operationname": "operationName"}[base] && name != base || len(values) > 1 {
				return nil, nil, badRequest("a parameter of the URL stands twice, or could be taken for another one")
			}
			own[name] = values
			delete(rest, name)
		case "id", "docid", "documentid", "queryid", "hash", "persistedquery", "sha256hash":
			return nil, nil, badRequest("the URL names a document that is not in it")
		}
		if !utf8.ValidString(name) || !utf8.ValidString(strings.Join(values, "")) {
			return nil, nil, badRequest("the query of the URL is not UTF-8")
		}
	}
	return own, rest, nil
}

// ReadParameters reads a call in what [Parameters] took out of a URL. The error
// is an [*Error] or that of [Policy.Check].
func (p *Policy) ReadParameters(own url.Values) (*Call, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	var e envelope
	if text := own.Get("query"); text != "" {
		e.query = string(appendJSON(nil, text))
	}
	e.operation = own.Get("operationName")
	for _, value := range []struct {
		name string
		to   *string
	}{{"variables", &e.variables}, {"extensions", &e.extensions}} {
		reader := jsonReader{s: own.Get(value.name)}
		if reader.s == "" {
			continue
		}
		var err error
		if *value.to, err = reader.value(1); err == nil {
			err = reader.end()
		}
		if err != nil {
			return nil, badRequest("the parameter " + value.name + " is not good JSON")
		}
	}
	j, err := p.document(&e)
	if err != nil {
		return nil, err
	}
	return &Call{policy: p, documents: []judged{{e, j}}}, nil
}

// Kind returns what the operation of a call is: query, mutation or subscription.
// Of a batch it is the first one's.
func (c *Call) Kind() string { return c.documents[0].kind }

// Permit holds all documents of a call against the limits and the scope of a
// token, as rule compares scopes. One that may not be executed keeps the others
// from it. The error is an [*Error], or an insufficient_scope with what the
// scope lacks ([*jeton.Error]), or of a batch a [BatchError] of such.
func (c *Call) Permit(scope jeton.Scope, rule dialect.ScopeRule) error {
	var sum cost
	for _, d := range c.documents {
		sum.add(d.cost)
	}
	over := sum.over(c.policy.max)
	var errs BatchError
	for i, d := range c.documents {
		if over != nil {
			errs = c.wrong(errs, i, over)
		} else if refusal := d.permitted(scope, rule); refusal != nil {
			errs = c.wrong(errs, i, refusal)
		}
	}
	if errs != nil {
		return c.err(errs)
	}
	return nil
}

// wrong notes what is wrong with a document.
func (c *Call) wrong(errs BatchError, i int, err error) BatchError {
	if errs == nil {
		errs = make(BatchError, len(c.documents))
	}
	errs[i] = err
	return errs
}

// err returns errs as whoever made the call expects it.
func (c *Call) err(errs BatchError) error {
	if c.batch {
		return errs
	}
	return errs[0]
}

// Body returns a call that was permitted as it goes on, in JSON.
func (c *Call) Body() []byte {
	size := 2
	for _, d := range c.documents {
		size += 64 + len(d.query) + len(d.said.operation) + len(d.said.variables) + len(d.said.extensions)
	}
	out := make([]byte, 0, size)
	for i, d := range c.documents {
		if c.batch {
			out = append(out, "[,"[min(i, 1)])
		}
		out = d.said.append(out, d.judgement)
	}
	if c.batch {
		out = append(out, ']')
	}
	return out
}

// Query returns a call that was permitted, and is no batch, as it goes on in the
// query of a URL, with the rest that [Parameters] returned.
func (c *Call) Query(rest url.Values) string {
	d := c.documents[0]
	text, _ := unquote(string(d.query)) // was made by quoting
	all := url.Values{}
	maps.Copy(all, rest)
	all.Set("query", text)
	for name, value := range map[string]string{"operationName": d.said.operation, "variables": d.said.variables, "extensions": d.said.extensions} {
		if value != "" {
			all.Set(name, value)
		}
	}
	return all.Encode()
}

// A documentKey is what a judgement by one Policy follows from.
type documentKey struct{ query, operation string }

// document returns the judgement of what an envelope asks for.
func (p *Policy) document(e *envelope) (*judgement, error) {
	switch {
	case e.variables != "" && e.variables[0] != '{':
		return nil, &Error{Code: BadUserInput, Message: "variables are not an object"}
	case e.operation != "" && !isName(e.operation):
		return nil, badRequest("operationName is not a name")
	}
	if err := e.takeHash(); err != nil {
		return nil, err
	}
	if err := p.persisted(e); err != nil {
		return nil, err
	}
	j, ok := p.known.get(documentKey{e.query, e.operation}, maxKnown)
	if !ok {
		source, good := unquote(e.query)
		if !good {
			return nil, badRequest(errJSON.Error())
		}
		j = p.judge(source, e.operation)
		key := documentKey{strings.Clone(e.query), strings.Clone(e.operation)}
		p.known.put(key, j, 512+len(e.query)+len(e.operation)+len(j.query), maxKnown)
	}
	if j.err != nil {
		return nil, j.err
	}
	if e.hash != "" {
		p.named.put(strings.Clone(e.hash), strings.Clone(e.query), 256+len(e.query), maxNamed)
	}
	return j, nil
}
