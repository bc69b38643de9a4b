// Package sample has small APIs to stand behind the guard of each vendor's
// realm, so that a fresh token has something to open: GraphQL for iAdvize and
// Altrata, REST for Web1on1, one route for Alvys. Their data is made up, the
// same at every start, and lives in memory.
//
// They check no token. Who calls is what the guard's identity headers say, so
// they are to be reached through a guard only. Paths are relative to the realm.
package sample

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/jetonhq/jeton/guard"
)

// Alvys returns the API of an Alvys realm: GET /v1/me says which client of
// which tenant calls.
func Alvys() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/v1/me":
			problem(w, http.StatusNotFound, "the sample has /v1/me only")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			notAllowed(w, http.MethodGet, http.MethodHead)
		default:
			c := callerOf(r)
			writeJSON(w, http.StatusOK, struct {
				Tenant   string `json:"tenant"`
				ClientID string `json:"client_id"`
			}{c.Tenant, c.ClientID})
		}
	})
}

// A caller is who calls, as the guard found out.
type caller struct{ Subject, ClientID, Tenant, Scope string }

func callerOf(r *http.Request) caller {
	return caller{
		Subject:  r.Header.Get(guard.HeaderSubject),
		ClientID: r.Header.Get(guard.HeaderClient),
		Tenant:   r.Header.Get(guard.HeaderTenant),
		Scope:    r.Header.Get(guard.HeaderScope),
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		problem(w, http.StatusInternalServerError, "the answer cannot be written")
		return
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// problem writes an error in the form of RFC 9457.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	writeJSON(w, status, struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{http.StatusText(status), status, detail})
}

func notAllowed(w http.ResponseWriter, methods ...string) {
	w.Header().Set("Allow", strings.Join(methods, ", "))
	problem(w, http.StatusMethodNotAllowed, "the route takes "+strings.Join(methods, ", "))
}
