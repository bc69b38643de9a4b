package graphql

import "errors"

// The codes in extensions.code of a GraphQL error. They are Apollo's, whose
// clients know them.
const (
	BadRequest          = "BAD_REQUEST"
	BadUserInput        = "BAD_USER_INPUT"
	ParseFailed         = "GRAPHQL_PARSE_FAILED"
	ValidationFailed    = "GRAPHQL_VALIDATION_FAILED"
	OperationUnresolved = "OPERATION_RESOLUTION_FAILURE"
	NotPersisted        = "PERSISTED_QUERY_NOT_FOUND" // the call named a document by a hash that nobody knows
)

// An Error says what is wrong with a call, whoever makes it. It may be shown: of
// the call it has nothing but names of fields.
type Error struct {
	Code    string // one of those above
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func invalid(message string) *Error { return &Error{Code: ValidationFailed, Message: message} }

func badRequest(message string) *Error { return &Error{Code: BadRequest, Message: message} }

func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return badRequest(err.Error())
}

// A BatchError says what is wrong with each document of a batch. None of them is
// to be executed.
type BatchError []error // :: nil where nothing is

// Error returns what is wrong with the first that something is wrong with.
func (e BatchError) Error() string { return e.first().Error() }

// Unwrap returns the first error.
func (e BatchError) Unwrap() error { return e.first() }

func (e BatchError) first() error {
	for _, err := range e {
		if err != nil {
			return err
		}
	}
	return errors.New("graphql: a batch without an error")
}
