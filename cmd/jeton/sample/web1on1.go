package sample

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// How much a Web1on1 sample takes in, so that it cannot fill the memory.
const (
	maxRows = 1000     // of one resource
	maxRow  = 16 << 10 // bytes of JSON
)

// Web1on1 returns the API of a Web1on1 realm: a store of JSON objects for each
// resource.
//
//	GET, POST          /v2/{resource}        list, create
//	GET, PUT, PATCH    /v2/{resource}/{id}   fetch, replace, change some fields
//	DELETE             /v2/{resource}/{id}
//
// PATCH sets the fields that it names and removes those that it names as null.
// The id, in the field _id, cannot be changed. users/me is the caller, who
// exists also if nothing was ever stored about them.
func Web1on1() http.Handler {
	w := &web1on1{rows: map[string][]row{}}
	for resource, names := range map[string][]string{
		"organizations":      {"Acme Motors", "Globex Retail"},
		"organizationgroups": {"Dealers", "Shops"},
		"users":              {"Robin", "Sam"},
		"conversations":      {"A test drive", "A late parcel", "Opening hours"},
		"messages":           {"Good morning", "How can I help?", "Is the shop open on Sunday?"},
		"contacts":           {"Ada", "Grace"},
		"knowledge-items":    {"How to return a parcel", "Warranty"},
		"forms":              {"Book a test drive", "Feedback"},
		"services":           {"Web chat", "E-mail"},
	} {
		for i, name := range names {
			w.rows[resource] = append(w.rows[resource], row{"_id": quote(strconv.Itoa(i + 1)), "name": quote(name)})
		}
		w.last += len(names)
	}
	return w
}

// A row is one stored object. It is never changed, only replaced, so that it
// can be read without the lock.
type row map[string]json.RawMessage

// size is about how many bytes of JSON the row is.
func (r row) size() (n int) {
	for name, value := range r {
		n += len(name) + len(value)
	}
	return n
}

type web1on1 struct {
	mu   sync.Mutex       // guards what follows
	rows map[string][]row // :: resource -> rows, the oldest first
	last int              // last number given as an id, never given again
}

var (
	errBadRow = errors.New("the body is not a JSON object")
	errNoRow  = errors.New("there is no such object")
	errFull   = errors.New("the sample is full; delete something first")
	errLarge  = errors.New("the object is too large")
)

// ServeHTTP finds the route.
func (s *web1on1) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	resource, id, isItem := strings.Cut(route, "/")
	if !ok || s.list(resource) == nil || isItem && (id == "" || strings.Contains(id, "/")) {
		problem(w, http.StatusNotFound, "there is no such route")
		return
	}
	if isItem {
		s.serveItem(w, r, resource, id)
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		writeJSON(w, http.StatusOK, s.list(resource))
	case http.MethodPost:
		fields, err := readRow(w, r)
		if err == nil {
			fields, err = s.create(resource, fields)
		}
		if err != nil {
			refuseRow(w, err)
			return
		}
		id := strings.Trim(string(fields["_id"]), `"`) // a number
		w.Header().Set("Location", resource+"/"+id)    // relative to where the request went
		writeJSON(w, http.StatusCreated, fields)
	default:
		notAllowed(w, "GET", "HEAD", "POST")
	}
}

func (s *web1on1) serveItem(w http.ResponseWriter, r *http.Request, resource, id string) {
	// The caller is there whether stored or not.
	c := callerOf(r)
	self := resource == "users" && c.Subject != "" && (id == "me" || id == c.Subject)
	if self {
		id = c.Subject
	}
	var answer row
	var err error
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		answer, err = s.fetch(resource, id)
		if self && errors.Is(err, errNoRow) {
			answer, err = row{"_id": quote(id), "scope": quote(c.Scope)}, nil
		}
	case http.MethodPut, http.MethodPatch:
		var fields row
		if fields, err = readRow(w, r); err != nil {
			break
		}
		answer, err = s.update(resource, id, fields, r.Method == http.MethodPatch, self)
	case http.MethodDelete:
		if err = s.remove(resource, id); err == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
	default:
		notAllowed(w, "GET", "HEAD", "PUT", "PATCH", "DELETE")
		return
	}
	if err != nil {
		refuseRow(w, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func refuseRow(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, errNoRow):
		status = http.StatusNotFound
	case errors.Is(err, errFull):
		status = http.StatusInsufficientStorage
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || errors.Is(err, errLarge) {
		status = http.StatusRequestEntityTooLarge
	}
	problem(w, status, err.Error())
}

// readRow reads the object in a body; no body is an empty object.
func readRow(w http.ResponseWriter, r *http.Request) (row, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRow))
	if err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return row{}, nil
	}
	var fields row
	if json.Unmarshal(body, &fields) != nil || fields == nil || !utf8.Valid(body) {
		return nil, errBadRow
	}
	return fields, nil
}

// list returns the rows of a resource, nil if there is no such resource.
func (s *web1on1) list(resource string) []row {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rows[resource])
}

// find is called with the lock held. It returns -1 if there is no such row.
func (s *web1on1) find(resource, id string) int {
	want := quote(id)
	return slices.IndexFunc(s.rows[resource], func(r row) bool { return bytes.Equal(r["_id"], want) })
}

func (s *web1on1) fetch(resource, id string) (row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.find(resource, id); i >= 0 {
		return s.rows[resource][i], nil
	}
	return nil, errNoRow
}

// create adds a row under a new id.
func (s *web1on1) create(resource string, fields row) (row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rows[resource]) >= maxRows {
		return nil, errFull
	}
	s.last++
	fields["_id"] = quote(strconv.Itoa(s.last))
	s.rows[resource] = append(s.rows[resource], fields)
	return fields, nil
}

// update replaces a row, or only the fields that are given. A row that is not
// there is made if orMake says so.
func (s *web1on1) update(resource, id string, fields row, merge, orMake bool) (row, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(resource, id)
	switch {
	case i >= 0 && merge:
		merged := maps.Clone(s.rows[resource][i])
		maps.Copy(merged, fields)
		fields = merged
	case i < 0 && !orMake:
		return nil, errNoRow
	case i < 0 && len(s.rows[resource]) >= maxRows:
		return nil, errFull
	}
	if merge {
		maps.DeleteFunc(fields, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	}
	fields["_id"] = quote(id)
	if fields.size() > maxRow {
		return nil, errLarge
	}
	if i < 0 {
		s.rows[resource] = append(s.rows[resource], fields)
	} else {
		s.rows[resource][i] = fields
	}
	return fields, nil
}

func (s *web1on1) remove(resource, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.find(resource, id)
	if i < 0 {
		return errNoRow
	}
	s.rows[resource] = slices.Delete(s.rows[resource], i, i+1)
	return nil
}

func quote(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string can always be written
	}
	return b
}
