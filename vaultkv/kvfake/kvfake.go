// Package kvfake is a stand-in for tests: it answers as a Vault would to the
// few requests that package vaultkv makes, from memory. It is no Vault; that the
// two agree is shown by the tests in e2e/realstores, which run with both.
package kvfake

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Server is an [http.Handler] with one key-value engine, version 2, at
// secret/, and the methods approle, kubernetes and jwt to log in. Make it with
// [New]. It is safe for concurrent use.
type Server struct {
	mu     sync.Mutex
	tokens map[string]*token  // :: token -> what it may
	roles  map[string]Role    // :: method, role, secret in one -> role
	kept   map[string]*secret // :: path -> secret
	sealed bool
	asked  map[string]int // :: first segments of a path -> requests
}

// A Role is what a login brings.
type Role struct {
	Life time.Duration // of a token, and of each renewal
	Most time.Duration // how long renewals can make it live; 0: without end
}

type token struct {
	role       Role
	began, end time.Time // end is zero for one that lives for ever
}

type secret struct {
	version int
	data    json.RawMessage // nil: deleted
}

// New returns a server that knows the token root, which does not expire.
func New() *Server {
	return &Server{tokens: map[string]*token{"root": {}}, roles: map[string]Role{}, kept: map[string]*secret{}, asked: map[string]int{}}
}

// AddToken makes a token good for as long as role says.
func (s *Server) AddToken(text string, role Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.tokens[text] = &token{role, now, now.Add(role.Life)}
}

// Revoke ends a token.
func (s *Server) Revoke(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, text)
}

// AddRole lets a name and a secret log in by a method.
func (s *Server) AddRole(method, name, secret string, role Role) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[method+"\x00"+name+"\x00"+secret] = role
}

// Seal seals or unseals the server.
func (s *Server) Seal(sealed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = sealed
}

// Asked returns how many requests there were whose path, behind /v1/, begins
// with these segments.
func (s *Server) Asked(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// Forget deletes a secret with all that is known of it, so that its versions
// begin again.
func (s *Server) Forget(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, path)
}

// Paths returns the paths of all secrets, also of those that were deleted.
func (s *Server) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.kept))
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range path + "/" {
		if i == len(path) || path[i] == '/' {
			s.asked[path[:i]]++
		}
	}
	if s.sealed {
		refuse(w, http.StatusServiceUnavailable, "Vault is sealed")
		return
	}
	if method, ok := strings.CutSuffix(strings.TrimPrefix(path, "auth/"), "/login"); ok && r.Method == http.MethodPost {
		s.login(w, method, body)
		return
	}
	t := s.tokens[r.Header.Get("X-Vault-Token")]
	if t == nil || !t.end.IsZero() && !time.Now().Before(t.end) {
		refuse(w, http.StatusForbidden, "permission denied")
		return
	}
	data, isData := strings.CutPrefix(path, "secret/data/")
	list, isList := strings.CutPrefix(path, "secret/metadata/")
	switch {
	case path == "auth/token/lookup-self" && r.Method == http.MethodGet:
		life := int64(0)
		if !t.end.IsZero() {
			life = int64(time.Until(t.end).Seconds())
		}
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"ttl": life, "renewable": !t.end.IsZero()}})
	case path == "auth/token/renew-self" && r.Method == http.MethodPost:
		t.renew(w)
	case isData && r.Method == http.MethodGet:
		s.read(w, data)
	case isData && r.Method == http.MethodPost:
		s.write(w, data, body)
	case isData && r.Method == http.MethodDelete:
		if kept := s.kept[data]; kept != nil {
			kept.data = nil
		}
		w.WriteHeader(http.StatusNoContent)
	case isList && r.Method == http.MethodGet && r.URL.Query().Get("list") == "true":
		s.list(w, list)
	default:
		refuse(w, http.StatusNotFound, "no handler for route "+`"`+path+`". route entry not found.`)
	}
}

func (s *Server) login(w http.ResponseWriter, method string, body []byte) {
	var ask map[string]string
	_ = json.Unmarshal(body, &ask)
	role, ok := s.roles[method+"\x00"+ask["role"]+ask["role_id"]+"\x00"+ask["jwt"]+ask["secret_id"]]
	if !ok {
		refuse(w, http.StatusBadRequest, "invalid role or secret ID")
		return
	}
	text, now := "s."+rand.Text(), time.Now()
	s.tokens[text] = &token{role, now, now.Add(role.Life)}
	answer(w, http.StatusOK, map[string]any{"auth": map[string]any{
		"client_token": text, "lease_duration": int64(role.Life.Seconds()), "renewable": true}})
}

// renew makes a token live on, though not beyond its role's Most.
func (t *token) renew(w http.ResponseWriter) {
	if t.end.IsZero() {
		refuse(w, http.StatusBadRequest, "lease is not renewable")
		return
	}
	now := time.Now()
	end := now.Add(t.role.Life)
	if last := t.began.Add(t.role.Most); t.role.Most > 0 && end.After(last) {
		end = last
	}
	t.end = end
	answer(w, http.StatusOK, map[string]any{"auth": map[string]any{"lease_duration": int64(end.Sub(now).Seconds()), "renewable": true}})
}

func (s *Server) read(w http.ResponseWriter, path string) {
	kept := s.kept[path]
	switch {
	case kept == nil:
		refuse(w, http.StatusNotFound)
	case kept.data == nil:
		answer(w, http.StatusNotFound, map[string]any{"data": map[string]any{"data": nil,
			"metadata": map[string]any{"version": kept.version, "deletion_time": "2026-01-02T03:04:05Z", "destroyed": false}}})
	default:
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"data": kept.data,
			"metadata": map[string]any{"version": kept.version, "deletion_time": "", "destroyed": false}}})
	}
}

func (s *Server) write(w http.ResponseWriter, path string, body []byte) {
	var ask struct {
		Options struct{ CAS *int }
		Data    json.RawMessage
	}
	if json.Unmarshal(body, &ask) != nil || ask.Data == nil {
		refuse(w, http.StatusBadRequest, "no data provided")
		return
	}
	kept := s.kept[path]
	if kept == nil {
		kept = &secret{}
	}
	if ask.Options.CAS != nil && *ask.Options.CAS != kept.version {
		refuse(w, http.StatusBadRequest, "check-and-set parameter did not match the current version")
		return
	}
	kept.version++
	kept.data, s.kept[path] = ask.Data, kept
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"version": kept.version, "deletion_time": "", "destroyed": false}})
}

func (s *Server) list(w http.ResponseWriter, folder string) {
	if folder != "" && !strings.HasSuffix(folder, "/") {
		folder += "/"
	}
	names := map[string]bool{}
	for path := range s.kept {
		if rest, ok := strings.CutPrefix(path, folder); ok {
			name, _, more := strings.Cut(rest, "/")
			if more {
				name += "/"
			}
			names[name] = true
		}
	}
	if len(names) == 0 {
		refuse(w, http.StatusNotFound)
		return
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"keys": slices.Sorted(maps.Keys(names))}})
}

func refuse(w http.ResponseWriter, status int, errors ...string) {
	answer(w, status, map[string]any{"errors": append([]string{}, errors...)})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
