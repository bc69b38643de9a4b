package guard

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard/graphql"
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
	if len(r.URL.RawQuery) > q.maxBytes() {
		return nil, badRequest("the query of the URL cannot be read")
	}
	own, rest, err := graphql.Parameters(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	switch {
	case len(r.Header["Upgrade"]) > 0:
		return nil, badRequest("operations over a WebSocket are not taken: nobody would judge them")
	case !slices.Contains(q.methods(), r.Method):
		return nil, q.noMethod()
	case r.Method == http.MethodPost:
		return q.post(r, may, own, rest)
	}
	return q.get(r, may, own, rest)
}

// methods are those of the endpoint.
func (q *GraphQL) methods() []string {
	if q.GET {
		return []string{http.MethodGet, http.MethodHead, http.MethodPost}
	}
	return []string{http.MethodPost}
}

func (q *GraphQL) noMethod() error {
	return &statusError{badRequest("the GraphQL endpoint has no such method"), http.StatusMethodNotAllowed, strings.Join(q.methods(), ", ")}
}

// get judges a document in the URL.
func (q *GraphQL) get(r *http.Request, may grant, own, rest url.Values) (*rewritten, error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media != "application/json" && r.Header.Get("Apollo-Require-Preflight") == "" && r.Header.Get("X-Apollo-Operation-Name") == "" {
		return nil, badRequest("a GET needs the header Apollo-Require-Preflight or X-Apollo-Operation-Name, which no web page sends unasked")
	}
	if r.Body != nil && r.Body != http.NoBody {
		return nil, badRequest("a GET has no body")
	}
	call, err := q.ReadParameters(own)
	if err != nil {
		return nil, err
	}
	if call.Kind() != "query" {
		return nil, &statusError{badRequest("a GET can only execute a query, not a " + call.Kind()), http.StatusMethodNotAllowed, "POST"}
	}
	if err := call.Permit(may.scope, may.rule); err != nil {
		return nil, err
	}
	return &rewritten{query: call.Query(rest)}, nil
}

// post judges the documents of a body.
func (q *GraphQL) post(r *http.Request, may grant, own, rest url.Values) (*rewritten, error) {
	if len(own) > 0 {
		return nil, badRequest("the call has GraphQL parameters in its URL and a body")
	}
	if err := isJSON(r.Header); err != nil {
		return nil, err
	}
	limit := int64(q.maxBytes())
	if may.maxBody > 0 {
		limit = min(limit, may.maxBody)
	}
	body, err := readBody(r, limit)
	if err != nil {
		return nil, err
	}
	call, err := q.ReadBody(body)
	if err != nil {
		return nil, err
	}
	if err := call.Permit(may.scope, may.rule); err != nil {
		return nil, err
	}
	return &rewritten{query: rest.Encode(), body: call.Body()}, nil
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
		return &statusError{error: badRequest("a POST has to be application/json"), status: http.StatusUnsupportedMediaType}
	}
	for _, value := range h["Content-Encoding"] {
		if value != "" && !strings.EqualFold(value, "identity") {
			return &statusError{error: badRequest("the body is compressed"), status: http.StatusUnsupportedMediaType}
		}
	}
	return nil
}

// readBody reads a body of at most so many bytes. It ends when the server's
// deadline for the client does.
func readBody(r *http.Request, limit int64) (string, error) {
	tooLarge := &statusError{error: badRequest("the body is too large"), status: http.StatusRequestEntityTooLarge}
	if r.ContentLength > limit {
		return "", tooLarge
	}
	if r.Body == nil {
		return "", nil
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
	return b.String(), nil
}

// bodies are buffers that they are read into.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}
