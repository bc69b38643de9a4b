package sample

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/graph-gophers/graphql-go"
)

// What a client may ask of the GraphQL samples at once. The introspection query
// of the usual tools is within it.
const (
	maxBody       = 1 << 20
	maxQuery      = 64 << 10
	maxDepth      = 16
	maxSelections = 2000
)

// A graph serves one GraphQL schema at some paths.
type graph struct {
	paths []string
	all   *graphql.Schema // for POST
	read  *graphql.Schema // the same without mutations, for GET
}

// newGraph panics if the schema and the resolver, both part of the program, do
// not fit.
func newGraph(schema string, resolver any, paths ...string) *graph {
	options := []graphql.SchemaOpt{
		graphql.UseFieldResolvers(),
		graphql.UseStringDescriptions(),
		graphql.MaxDepth(maxDepth),
		graphql.MaxQueryLength(maxQuery),
		graphql.MaxSelections(maxSelections),
	}
	return &graph{
		paths: paths,
		all:   graphql.MustParseSchema(schema, resolver, options...),
		read:  graphql.MustParseSchema(strings.Replace(schema, "mutation: Mutation", "", 1), resolver, options...),
	}
}

// A question is a GraphQL request (GraphQL over HTTP, section 5).
type question struct {
	Query         string         `json:"query"`
	OperationName string         `json:"operationName"`
	Variables     map[string]any `json:"variables"`
}

var (
	errEmpty    = errors.New(`the request has no body; send {"query": "{ ... }"} as JSON, or the query itself`)
	errNoQuery  = errors.New("the request has no query")
	errTwice    = errors.New("the query stands in the URL and in the body")
	errBadVars  = errors.New("variables are not a JSON object")
	errBadBody  = errors.New(`the body is neither {"query", "operationName", "variables"} nor a query`)
	errEncoding = errors.New("the body is not UTF-8")
)

// ServeHTTP answers a GET with ?query= and a POST with JSON or with the text of
// a query. A request that cannot be executed is 400, with GraphQL errors.
func (g *graph) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(g.paths, r.URL.Path) {
		problem(w, http.StatusNotFound, "the sample has "+strings.Join(g.paths, " and ")+" only")
		return
	}
	schema, ask := g.all, readBody
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		schema, ask = g.read, readQuery
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	default:
		notAllowed(w, http.MethodGet, http.MethodHead, http.MethodPost)
		return
	}
	q, err := ask(r)
	if err != nil {
		refuse(w, err)
		return
	}
	ctx := context.WithValue(r.Context(), callerKey{}, callerOf(r))
	answer := schema.Exec(ctx, q.Query, q.OperationName, q.Variables)
	status := http.StatusOK
	if answer.Data == nil {
		status = http.StatusBadRequest
	}
	writeJSON(w, status, answer)
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, errEmpty) {
		status = http.StatusOK // the documented sample call posts nothing and gets a 200
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		status = http.StatusRequestEntityTooLarge
	}
	type message struct {
		Message string `json:"message"`
	}
	writeJSON(w, status, map[string][]message{"errors": {{err.Error()}}})
}

func readQuery(r *http.Request) (question, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return question{}, errNoQuery
	}
	q := question{Query: query.Get("query"), OperationName: query.Get("operationName")}
	if q.Query == "" {
		return q, errNoQuery
	}
	if v := query.Get("variables"); v != "" && json.Unmarshal([]byte(v), &q.Variables) != nil {
		return q, errBadVars
	}
	return q, nil
}

// brokenJSON is how an object begins and a query cannot.
var brokenJSON = regexp.MustCompile(`^\{\s*"`)

// readBody looks at what the body is and not at its Content-Type: clients that
// post a query as a string label it in many ways, or make a JSON string of it.
func readBody(r *http.Request) (question, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return question{}, err
	}
	body = bytes.TrimSpace(body)
	switch {
	case r.URL.Query().Has("query"):
		return question{}, errTwice
	case len(body) == 0:
		return question{}, errEmpty
	case !utf8.Valid(body):
		return question{}, errEncoding
	case !json.Valid(body) && (body[0] == '"' || brokenJSON.Match(body)):
		return question{}, errBadBody
	case !json.Valid(body):
		return question{Query: string(body)}, nil
	}
	var q question
	if body[0] == '"' {
		err = json.Unmarshal(body, &q.Query)
	} else {
		err = json.Unmarshal(body, &q)
	}
	if err != nil {
		return q, errBadBody
	}
	if strings.TrimSpace(q.Query) == "" {
		return q, errNoQuery
	}
	return q, nil
}

type callerKey struct{}

func callerFrom(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}
