package guard

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/jetonhq/jeton/guard/graphql"
)

// TokenSuffices is the permission of a field that any good token may ask for,
// and of a [Route].
const TokenSuffices = graphql.TokenSuffices

// A GraphQL is what a guard knows about the GraphQL endpoint of an API. Its
// fields are not changed once it is in use; it is then safe for concurrent use,
// and not to be copied.
type GraphQL struct {
	// At is the path of the endpoint, relative to the realm, in its canonical
	// form. Required. Paths below it, and the same in other letters, are refused.
	At string

	// GET lets queries through that stand in the URL, if the call has a header
	// that no web page can send without asking first: Apollo-Require-Preflight,
	// X-Apollo-Operation-Name or Content-Type: application/json. False: POST only.
	GET bool

	// MaxBytes is how long the body may be, or the URL's query. Zero: 1 MiB.
	MaxBytes int

	// Policy says what documents may ask for. With a table of Fields, also an
	// empty one, routes beside At that no other table names are refused too.
	graphql.Policy
}

// Check reports what is wrong with the settings.
func (q *GraphQL) Check() error {
	switch {
	case !strings.HasPrefix(q.At, "/") || !canonical(&url.URL{Path: q.At}):
		return errors.New("guard: graphql: the path is not in its canonical form")
	case q.MaxBytes < 0:
		return errors.New("guard: graphql: a limit is negative")
	}
	if err := q.Policy.Check(); err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	return nil
}

// maxBytes is MaxBytes with its default.
func (q *GraphQL) maxBytes() int { return cmp.Or(q.MaxBytes, 1<<20) }

// within demands that the table knows no scope but those that there are. Nil:
// the dialect does not say which.
func (q *GraphQL) within(scopes []string) error {
	for _, row := range q.Rows() {
		if row.Needs != TokenSuffices && scopes != nil && !slices.Contains(scopes, row.Needs) {
			return fmt.Errorf("guard: graphql: fields: %s: there is no scope %q", row.Field, row.Needs)
		}
	}
	return nil
}

// at reports whether a path is that of the endpoint. q may be nil.
func (q *GraphQL) at(path string) bool { return q != nil && path == q.At }

// near reports whether some server may take a path for that of the endpoint,
// though it is another: frameworks ignore case, a slash at the end, and what
// follows.
func (q *GraphQL) near(path string) bool {
	if q == nil || path == q.At {
		return false
	}
	base := strings.TrimSuffix(q.At, "/")
	if len(path) < len(base) || !strings.EqualFold(path[:len(base)], base) {
		return false
	}
	return len(path) == len(base) || path[len(base)] == '/'
}

// closed reports whether there is a permission table, so that what nothing
// names is refused. q may be nil.
func (q *GraphQL) closed() bool { return q != nil && q.Fields != nil }
