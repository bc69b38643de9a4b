package guard

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard/graphql"
)

// The codes in extensions.code of a GraphQL error that package graphql does not
// know: Apollo's, and one of our own.
const (
	codeUnauthenticated = "UNAUTHENTICATED"
	codeForbidden       = "FORBIDDEN"
	codeInternal        = "INTERNAL_SERVER_ERROR"
	codeBatch           = "BATCH_REFUSED" // another document of the batch was
)

// A statusError is an error of a GraphQL call whose answer has a status of its
// own.
type statusError struct {
	error  // a *graphql.Error
	status int
	allow  string // with 405
}

// Unwrap returns the error.
func (e *statusError) Unwrap() error { return e.error }

func badRequest(message string) error {
	return &graphql.Error{Code: graphql.BadRequest, Message: message}
}

// ofDocument returns the error of a call whose token is good, and nil for one
// that is the dialect's to write.
func ofDocument(err error) *graphql.Error {
	if _, ok := errors.AsType[*jeton.Error](err); ok {
		return nil
	}
	e, _ := errors.AsType[*graphql.Error](err)
	return e
}

// refuseGraphQL answers a call to the GraphQL endpoint with GraphQL errors. What
// is wrong with its token has the status and the challenge of the dialect.
func (g *Guard) refuseGraphQL(w http.ResponseWriter, r *http.Request, err error) {
	probe := &statusOnly{header: w.Header(), status: http.StatusBadRequest}
	own, hasOwn := errors.AsType[*statusError](err)
	switch e := ofDocument(err); {
	case e == nil:
		g.Dialect.WriteCallError(probe, g.realm(), err)
	case hasOwn:
		probe.status = own.status
		if own.allow != "" {
			w.Header().Set("Allow", own.allow)
		}
	case e.Code == graphql.NotPersisted:
		probe.status = http.StatusOK // Apollo's clients expect it before they send the document
	}
	var answer any = g.graphQLErrors(err)
	if batch, ok := errors.AsType[graphql.BatchError](err); ok {
		list := make([]any, len(batch))
		for i, e := range batch {
			if e == nil {
				e = &graphql.Error{Code: codeBatch, Message: "not executed: another operation of the batch was refused"}
			}
			list[i] = g.graphQLErrors(e)
		}
		answer = list
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // strings
	}
	h := w.Header()
	h.Set("Content-Type", answerType(r))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(probe.status)
	_, _ = w.Write(body)
}

// answerType is the media type of a GraphQL answer that a caller can read.
func answerType(r *http.Request) string {
	const modern = "application/graphql-response+json"
	if strings.Contains(strings.ToLower(strings.Join(r.Header.Values("Accept"), ",")), modern) {
		return modern + "; charset=utf-8"
	}
	return "application/json; charset=utf-8"
}

type graphQLError struct {
	Message    string `json:"message"`
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

// graphQLErrors returns the answer to one document.
func (g *Guard) graphQLErrors(err error) map[string][]graphQLError {
	var out graphQLError
	e := ofDocument(err)
	refusal, isRefusal := errors.AsType[*jeton.Error](err)
	switch {
	case e != nil:
		out.Message, out.Extensions.Code = e.Message, e.Code
	case errors.Is(err, dialect.ErrNoCredentials):
		out.Message, out.Extensions.Code = "the call carries no access token", codeUnauthenticated
	case isRefusal:
		out.Message, out.Extensions.Code = refusal.Description, codeInternal
		if own := g.Dialect.Errors[refusal.Code].Description; own != "" {
			out.Message = own
		}
		switch refusal.Code {
		case jeton.InvalidToken:
			out.Extensions.Code = codeUnauthenticated
		case jeton.InsufficientScope:
			out.Extensions.Code = codeForbidden
		case jeton.InvalidRequest, jeton.SlowDown:
			out.Extensions.Code = graphql.BadRequest
		}
	default:
		out.Message, out.Extensions.Code = "the call could not be decided; try again later", codeInternal
	}
	return map[string][]graphQLError{"errors": {out}}
}

// statusOnly is an answer of which status and headers are of interest.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
