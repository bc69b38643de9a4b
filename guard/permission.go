package guard

import (
	"net/http"
	"strings"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// What a method does, to a collection and to one of its items. The order of
// the methods is that of the Allow header.
var (
	collectionVerbs = []methodVerb{
		{http.MethodGet, "list"}, {http.MethodHead, "list"}, {http.MethodPost, "create"},
	}
	itemVerbs = []methodVerb{
		{http.MethodGet, "fetch"}, {http.MethodHead, "fetch"},
		{http.MethodPut, "update"}, {http.MethodPatch, "update"}, {http.MethodDelete, "delete"},
	}
)

type methodVerb struct{ method, verb string }

// permit looks the route up in the dialect's permission table. A route is
// /{resource} or /{resource}/{id} under the path of the dialect's call. The id
// "me", and the caller's own subject, are judged by fetch_self and update_self
// where the table has them.
//
// What the table does not name is refused with insufficient_scope, also where
// the API would say 404: no scope suffices for it, so none is named. A method
// that has no verb is a [*dialect.MethodError].
func (g *Guard) permit(method, path string, claims *jeton.Claims) error {
	table := g.Dialect.Permissions
	switch {
	case g.GraphQL.at(path): // its document decides
		return nil
	case table == nil && !g.GraphQL.closed() && !g.GraphQL.near(path):
		return nil
	}
	unnamed := jeton.Refuse(jeton.InsufficientScope, "no permission is defined for this route")
	route, ok := strings.CutPrefix(path, g.Dialect.Call.Path()+"/")
	resource, id, isItem := strings.Cut(route, "/")
	row := table[resource]
	if !ok || row == nil || isItem && (id == "" || strings.Contains(id, "/")) {
		return unnamed
	}
	verbs := collectionVerbs
	if isItem {
		verbs = itemVerbs
	}
	verb, allow := "", []string(nil)
	for _, v := range verbs {
		allow = append(allow, v.method)
		if v.method == method {
			verb = v.verb
		}
	}
	if verb == "" {
		return &dialect.MethodError{Allow: allow}
	}
	if isItem && (id == "me" || id == claims.Subject) && row[verb+"_self"] != "" {
		verb += "_self"
	}
	least := row[verb]
	if least == "" {
		return unnamed
	}
	if !g.Dialect.Scope.Grants(claims.Scope, least) {
		return &jeton.Error{
			Code:        jeton.InsufficientScope,
			Description: "the access token lacks the permission: " + verb + " " + resource,
			Scope:       jeton.Scope{least},
		}
	}
	return nil
}
