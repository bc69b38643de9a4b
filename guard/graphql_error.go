package guard

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// The codes in extensions.code of a GraphQL error. They are Apollo's, whose
// clients know them, and one of our own.
const (
	codeUnauthenticated = "UNAUTHENTICATED"
	codeForbidden       = "FORBIDDEN"
	codeBadRequest      = "BAD_REQUEST"
	codeUserInput       = "BAD_USER_INPUT"
	codeParse           = "GRAPHQL_PARSE_FAILED"
	codeInvalid         = "GRAPHQL_VALIDATION_FAILED"
	codeOperation       = "OPERATION_RESOLUTION_FAILURE"
	codeNotPersisted    = "PERSISTED_QUERY_NOT_FOUND"
	codeInternal        = "INTERNAL_SERVER_ERROR"
	codeBatch           = "BATCH_REFUSED" // another document of the batch was
)

// A documentError says what is wrong with a GraphQL call whose token is good.
type documentError struct {
	code    string
	message string // shows nothing of the call but names of fields
	status  int    // zero: 400
	allow   string // with 405
}

// Error returns the message.
func (e *documentError) Error() string { return e.message }

func invalid(message string) *documentError {
	return &documentError{code: codeInvalid, message: message}
}

func badRequest(message string) *documentError {
	return &documentError{code: codeBadRequest, message: message}
}

// ofDocument returns the error of a call whose token is good, and nil for one
// that is the dialect's to write.
func ofDocument(err error) *documentError {
	if _, ok := errors.AsType[*jeton.Error](err); ok {
		return nil
	}
	e, _ := errors.AsType[*documentError](err)
	return e
}

func asDocumentError(err error) *documentError {
	if e, ok := errors.AsType[*documentError](err); ok {
		return e
	}
	return badRequest(err.Error())
}

// A batchError says what is wrong with each document of a batch.
type batchError []error // :: nil where nothing is

// Error returns what is wrong with the first that something is wrong with.
func (e batchError) Error() string { return e.first().Error() }

// Unwrap returns the first error.
func (e batchError) Unwrap() error { return e.first() }

func (e batchError) first() error {
	for _, err := range e {
		if err != nil {
			return err
		}
	}
	return errors.New("guard: graphql: a batch without an error")
}

// refuseGraphQL answers a call to the GraphQL endpoint with GraphQL errors. What
// is wrong with its token has the status and the challenge of the dialect.
func (g *Guard) refuseGraphQL(w http.ResponseWriter, r *http.Request, err error) {
	probe := &statusOnly{header: w.Header(), status: http.StatusBadRequest}
	if e := ofDocument(err); e == nil {
		g.Dialect.WriteCallError(probe, g.realm(), err)
	} else {
		if e.status != 0 {
			probe.status = e.status
		}
		if e.allow != "" {
			w.Header().Set("Allow", e.allow)
		}
	}
	var answer any = g.graphQLErrors(err)
	if batch, ok := errors.AsType[batchError](err); ok {
		list := make([]any, len(batch))
		for i, e := range batch {
			if e == nil {
				e = &documentError{code: codeBatch, message: "not executed: another operation of the batch was refused"}
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
		out.Message, out.Extensions.Code = e.message, e.code
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
			out.Extensions.Code = codeBadRequest
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
