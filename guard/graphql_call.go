package guard

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A rewritten call is what goes on instead of a GraphQL call that was let
// through.
type rewritten struct {
	query string // of the URL
	body  []byte // nil: none
}

// errDocument says why [Guard.Decide] alone lets no GraphQL call through.
var errDocument = errors.New("guard: a GraphQL call cannot be decided without its body, which has to be written anew")

// readDocument judges the document of a call whose token is good, and returns
// the call that goes on instead, but for its headers: r itself, and nil, if it is
// not to the GraphQL endpoint.
func (g *Guard) readDocument(r *http.Request, claims *jeton.Claims) (*http.Request, *rewritten, error) {
	if !g.GraphQL.at(r.URL.Path) {
		return r, nil, nil
	}
	c, err := g.GraphQL.decide(r, grant{claims.Scope, g.Dialect.Scope, g.MaxBody})
	if err != nil {
		return r, nil, err
	}
	in := new(http.Request)
	*in = *r
	if c.query != r.URL.RawQuery || r.URL.ForceQuery {
		u := *r.URL
		u.RawQuery, u.ForceQuery = c.query, false
		in.URL, in.RequestURI = &u, u.RequestURI()
	}
	in.Form, in.PostForm, in.MultipartForm, in.TransferEncoding, in.GetBody = nil, nil, nil, nil, nil
	in.Body, in.ContentLength = http.NoBody, 0
	if c.body != nil {
		in.Body, in.ContentLength = io.NopCloser(bytes.NewReader(c.body)), int64(len(c.body))
	}
	return in, c, nil
}

// write makes the headers those of the rewritten call. c may be nil.
func (c *rewritten) write(h http.Header) {
	if c == nil {
		return
	}
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest", "Expect"} {
		delete(h, name)
	}
	if c.body != nil {
		h["Content-Type"] = []string{"application/json"} // of a GET it stays: it tells that no web page sent it unasked
		h["Content-Length"] = []string{strconv.Itoa(len(c.body))}
	}
}

// A grant says what a call with a token of a scope may do.
type grant struct {
	scope   jeton.Scope
	rule    dialect.ScopeRule
	maxBody int64 // zero: that of the GraphQL
}

// decide judges a call to the endpoint whose token is good. It reads the body,
// once and no further than the limit.
func (q *GraphQL) decide(r *http.Request, may grant) (*rewritten, error) {
	if err := q.Check(); err != nil {
		return nil, undecided(err)
	}
	params, rest, err := q.parameters(r.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case len(r.Header["Upgrade"]) > 0:
		return nil, badRequest("operations over a WebSocket are not taken: nobody would judge them")
	case r.Method == http.MethodPost:
		return q.post(r, may, params, rest)
	case q.GET && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		return q.get(r, may, params, rest)
	}
	allow := "POST"
	if q.GET {
		allow = "GET, HEAD, POST"
	}
	return nil, &documentError{code: codeBadRequest, status: http.StatusMethodNotAllowed, allow: allow, message: "the GraphQL endpoint has no such method"}
}

// parameters takes those that are GraphQL's out of the query of a URL, and
// writes the rest anew. A name that some server may take for one of them is
// refused: QUERY, query[], and names of persisted documents.
func (q *GraphQL) parameters(u *url.URL) (params, rest url.Values, err error) {
	if u.RawQuery == "" {
		return nil, nil, nil
	}
	rest, err = url.ParseQuery(u.RawQuery)
	if err != nil || len(u.RawQuery) > q.max.bytes {
		return nil, nil, badRequest("the query of the URL cannot be read")
	}
	params = url.Values{}
	for name, values := range rest {
		base, _, _ := strings.Cut(strings.ToLower(name), "[")
		base, _, _ = strings.Cut(base, ".")
		base = strings.NewReplacer("_", "", "-", "").Replace(strings.TrimSpace(base))
		switch base {
		case "query", "operationname", "variables", "extensions":
			if name != map[string]string{"operationname": "operationName"}[base] && name != base || len(values) > 1 {
				return nil, nil, badRequest("a parameter of the URL stands twice, or could be taken for another one")
			}
			params[name] = values
			delete(rest, name)
		case "id", "docid", "documentid", "queryid", "hash", "persistedquery", "sha256hash":
			return nil, nil, badRequest("the URL names a document that is not in it")
		}
		if !utf8.ValidString(name) || !utf8.ValidString(strings.Join(values, "")) {
			return nil, nil, badRequest("the query of the URL is not UTF-8")
		}
	}
	return params, rest, nil
}

// get judges a document in the URL.
func (q *GraphQL) get(r *http.Request, may grant, params, rest url.Values) (*rewritten, error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media != "application/json" && r.Header.Get("Apollo-Require-Preflight") == "" && r.Header.Get("X-Apollo-Operation-Name") == "" {
		return nil, badRequest("a GET needs the header Apollo-Require-Preflight or X-Apollo-Operation-Name, which no web page sends unasked")
	}
	if r.Body != nil && r.Body != http.NoBody {
		return nil, badRequest("a GET has no body")
	}
	var e envelope
	if text := params.Get("query"); text != "" {
		e.query = string(appendJSON(nil, text))
	}
	e.operation = params.Get("operationName")
	for _, p := range []struct {
		name string
		to   *string
	}{{"variables", &e.variables}, {"extensions", &e.extensions}} {
		reader := jsonReader{s: params.Get(p.name)}
		if reader.s == "" {
			continue
		}
		var err error
		if *p.to, err = reader.value(1); err == nil {
			err = reader.end()
		}
		if err != nil {
			return nil, badRequest("the parameter " + p.name + " is not good JSON")
		}
	}
	j, err := q.document(&e)
	if err != nil {
		return nil, err
	}
	if j.kind != "query" {
		return nil, &documentError{code: codeBadRequest, status: http.StatusMethodNotAllowed, allow: "POST", message: "a GET can only execute a query, not a " + j.kind}
	}
	if errs := q.permit(may, []*judgement{j}); errs != nil {
		return nil, errs[0]
	}
	text, _ := unquote(string(j.query)) // was made by quoting
	if rest == nil {
		rest = url.Values{}
	}
	rest.Set("query", text)
	for name, value := range map[string]string{"operationName": e.operation, "variables": e.variables, "extensions": e.extensions} {
		if value != "" {
			rest.Set(name, value)
		}
	}
	return &rewritten{query: rest.Encode()}, nil
}

// post judges the documents of a body.
func (q *GraphQL) post(r *http.Request, may grant, params, rest url.Values) (*rewritten, error) {
	if len(params) > 0 {
		return nil, badRequest("the call has GraphQL parameters in its URL and a body")
	}
	if err := isJSON(r.Header); err != nil {
		return nil, err
	}
	limit := int64(q.max.bytes)
	if may.maxBody > 0 {
		limit = min(limit, may.maxBody)
	}
	body, err := readBody(r, limit)
	if err != nil {
		return nil, err
	}
	envelopes, batch, err := q.envelopes(body)
	if err != nil {
		return nil, badRequest(err.Error())
	}
	judgements, errs := make([]*judgement, len(envelopes)), make(batchError, len(envelopes))
	size, good := 2, true
	for i := range envelopes {
		e := &envelopes[i]
		j, err := q.document(e)
		if err != nil {
			errs[i], good = err, false
			continue
		}
		judgements[i] = j
		size += 64 + len(j.query) + len(e.operation) + len(e.variables) + len(e.extensions)
	}
	if good {
		errs = q.permit(may, judgements)
	}
	switch {
	case errs == nil:
	case batch:
		return nil, errs
	default:
		return nil, errs[0]
	}
	out := make([]byte, 0, size)
	for i := range envelopes {
		if batch {
			out = append(out, "[,"[min(i, 1)])
		}
		out = envelopes[i].append(out, judgements[i])
	}
	if batch {
		out = append(out, ']')
	}
	return &rewritten{query: rest.Encode(), body: out}, nil
}

// isJSON demands the one media type that no web page can send without asking
// first, and a body that is what it seems to be.
func isJSON(h http.Header) error {
	if types := h["Content-Type"]; len(types) == 1 && types[0] == "application/json" && len(h["Content-Encoding"]) == 0 {
		return nil
	}
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, hasCharset := params["charset"]
	if err != nil || len(h["Content-Type"]) > 1 || media != "application/json" || hasCharset && !strings.EqualFold(charset, "utf-8") {
		return &documentError{code: codeBadRequest, status: http.StatusUnsupportedMediaType, message: "a POST has to be application/json"}
	}
	for _, value := range h["Content-Encoding"] {
		if value != "" && !strings.EqualFold(value, "identity") {
			return &documentError{code: codeBadRequest, status: http.StatusUnsupportedMediaType, message: "the body is compressed"}
		}
	}
	return nil
}

// readBody reads a body of at most so many bytes. It ends when the server's
// deadline for the client does.
func readBody(r *http.Request, limit int64) (string, error) {
	tooLarge := &documentError{code: codeBadRequest, status: http.StatusRequestEntityTooLarge, message: "the body is too large"}
	if r.ContentLength > limit {
		return "", tooLarge
	}
	if r.Body == nil {
		return "", errJSON
	}
	b := bodies.Get().(*bytes.Buffer)
	defer func() {
		if b.Cap() <= 64<<10 {
			bodies.Put(b)
		}
	}()
	b.Reset()
	_, err := b.ReadFrom(io.LimitReader(r.Body, limit+1))
	if _, cut := errors.AsType[*http.MaxBytesError](err); cut || int64(b.Len()) > limit {
		return "", tooLarge
	}
	if err != nil {
		return "", badRequest("the body ended early")
	}
	if !utf8.Valid(b.Bytes()) {
		return "", badRequest("the body is not UTF-8")
	}
	return b.String(), nil
}

// bodies are buffers that they are read into.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// A documentKey is what a judgement follows from. The policy is the same as long
// as a GraphQL lives.
type documentKey struct{ query, operation string }

// document returns the judgement of what an envelope asks for.
func (q *GraphQL) document(e *envelope) (*judgement, error) {
	switch {
	case e.variables != "" && e.variables[0] != '{':
		return nil, &documentError{code: codeUserInput, message: "variables are not an object"}
	case e.operation != "" && !isName(e.operation):
		return nil, badRequest("operationName is not a name")
	}
	if err := e.takeHash(); err != nil {
		return nil, err
	}
	if err := q.persisted(e); err != nil {
		return nil, err
	}
	j, ok := q.known.get(documentKey{e.query, e.operation}, maxKnown)
	if !ok {
		source, good := unquote(e.query)
		if !good {
			return nil, badRequest(errJSON.Error())
		}
		j = q.judge(source, e.operation)
		key := documentKey{strings.Clone(e.query), strings.Clone(e.operation)}
		q.known.put(key, j, 512+len(e.query)+len(e.operation)+len(j.query), maxKnown)
	}
	if j.err != nil {
		return nil, j.err
	}
	if e.hash != "" {
		q.named.put(strings.Clone(e.hash), strings.Clone(e.query), 256+len(e.query), maxNamed)
	}
	return j, nil
}

// permit holds all documents of a call against the limits and the token. One
// that may not be executed keeps the others from it. Nil: all may.
func (q *GraphQL) permit(may grant, documents []*judgement) batchError {
	var sum cost
	for _, j := range documents {
		sum.add(j.cost)
	}
	over := sum.over(q.max)
	var errs batchError
	for i, j := range documents {
		err := error(over)
		if over == nil {
			refusal := j.permitted(may)
			if refusal == nil {
				continue
			}
			err = refusal
		}
		if errs == nil {
			errs = make(batchError, len(documents))
		}
		errs[i] = err
	}
	return errs
}
