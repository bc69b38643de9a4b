package kubernetes

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A fake is a stand-in for an API server: it answers about Secrets as the
// documents of Kubernetes say, from memory. It is no API server; what it claims
// of one is checked with a real one in e2e/realstores.
type fake struct {
	mu       sync.Mutex
	revision int
	kept     map[string]object // :: namespace/name -> Secret
	past     []event           // the oldest first
	gone     int               // revisions up to it are forgotten
	lists    map[string][]object
	news     chan struct{} // closed at the next event
	tokens   map[string]bool
	requests []string // METHOD and query of each
	watches  int      // open now
	cuts     int      // ends those that are open

	fault func(w http.ResponseWriter, r *http.Request) bool // reports that it did all there is to do; nil: none
}

type event struct {
	Type   string `json:"type"`
	Object object `json:"object"`
	space  string
}

const token = "hunter2.token"

// serve starts a server with the namespaces a and b and returns the URL of a
// store in a.
func serve(t testing.TB) (*fake, string) {
	t.Helper()
	f := &fake{kept: map[string]object{}, lists: map[string][]object{}, news: make(chan struct{}), tokens: map[string]bool{token: true}, revision: 100}
	here := httptest.NewServer(f)
	t.Cleanup(here.Close)
	t.Cleanup(here.CloseClientConnections)
	return f, "kubernetes+http://" + here.Listener.Addr().String() + "/a"
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(mathrand.IntN(500)) * time.Microsecond) // a network
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.URL.RawQuery)
	fault := f.fault
	f.mu.Unlock()
	if fault == nil || !fault(w, r) {
		f.handle(w, r)
	}
}

func (f *fake) handle(w http.ResponseWriter, r *http.Request) {
	var in object
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client went away
	}
	_ = json.Unmarshal(body, &in)
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/"), "/")
	space, name := part[0], strings.Join(part[2:], "/")
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]:
		refuse(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
	case space != "a" && space != "b" && r.Method == http.MethodPost:
		refuse(w, http.StatusNotFound, "NotFound", fmt.Sprintf("namespaces %q not found", space))
	case r.Method == http.MethodPost:
		f.create(w, space, in)
	case r.Method == http.MethodPut:
		f.update(w, space, name, in)
	case r.Method == http.MethodDelete:
		f.remove(w, space+"/"+name, body)
	case name != "":
		if o, ok := f.kept[space+"/"+name]; ok {
			answer(w, http.StatusOK, o)
		} else {
			refuse(w, http.StatusNotFound, "NotFound", fmt.Sprintf("secrets %q not found", name))
		}
	case r.URL.Query().Get("watch") != "":
		f.watch(w, r, space)
	default:
		f.list(w, r, space)
	}
}

// happened notes an event and gives it the next revision.
func (f *fake) happened(kind, space string, o object) object {
	f.revision++
	o.Metadata.ResourceVersion = strconv.Itoa(f.revision)
	f.past = append(f.past, event{kind, o, space})
	close(f.news)
	f.news = make(chan struct{})
	return o
}

// tooLarge is what validation says about a Secret.
func tooLarge(w http.ResponseWriter, o object) bool {
	size := 0
	for _, v := range o.Data {
		size += len(v)
	}
	if size > 1<<20 {
		refuse(w, http.StatusUnprocessableEntity, "Invalid", "data: Too long: may not be more than 1048576 bytes")
	}
	return size > 1<<20
}

func (f *fake) create(w http.ResponseWriter, space string, o object) {
	id := space + "/" + o.Metadata.Name
	if _, ok := f.kept[id]; ok {
		refuse(w, http.StatusConflict, "AlreadyExists", fmt.Sprintf("secrets %q already exists", o.Metadata.Name))
		return
	}
	if tooLarge(w, o) {
		return
	}
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	o.Metadata.UID = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	f.kept[id] = f.happened("ADDED", space, o)
	answer(w, http.StatusCreated, f.kept[id])
}

func (f *fake) update(w http.ResponseWriter, space, name string, o object) {
	id := space + "/" + name
	now, ok := f.kept[id]
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "NotFound", fmt.Sprintf("secrets %q not found", name))
		return
	case o.Metadata.UID != "" && o.Metadata.UID != now.Metadata.UID,
		o.Metadata.ResourceVersion != "" && o.Metadata.ResourceVersion != "0" && o.Metadata.ResourceVersion != now.Metadata.ResourceVersion:
		refuse(w, http.StatusConflict, "Conflict", "the object has been modified; please apply your changes to the latest version")
		return
	case tooLarge(w, o):
		return
	}
	o.Metadata.UID, o.Metadata.ResourceVersion = now.Metadata.UID, now.Metadata.ResourceVersion
	if before, after := encode(now), encode(o); before != after { // else nothing is written
		f.kept[id] = f.happened("MODIFIED", space, o)
	}
	answer(w, http.StatusOK, f.kept[id])
}

func (f *fake) remove(w http.ResponseWriter, id string, body []byte) {
	var ask struct {
		Preconditions struct{ UID, ResourceVersion *string }
	}
	_ = json.Unmarshal(body, &ask)
	now, ok := f.kept[id]
	switch p := ask.Preconditions; {
	case !ok:
		refuse(w, http.StatusNotFound, "NotFound", "not found")
		return
	case p.UID != nil && *p.UID != now.Metadata.UID, p.ResourceVersion != nil && *p.ResourceVersion != now.Metadata.ResourceVersion:
		refuse(w, http.StatusConflict, "Conflict", "Precondition failed")
		return
	}
	space, _, _ := strings.Cut(id, "/")
	delete(f.kept, id)
	f.happened("DELETED", space, now)
	answer(w, http.StatusOK, map[string]string{"kind": "Status", "status": "Success"})
}

func selected(o object, selector string) bool {
	for one := range strings.SplitSeq(selector, ",") {
		if name, value, ok := strings.Cut(one, "="); ok && o.Metadata.Labels[name] != value {
			return false
		}
	}
	return true
}

// list answers with a page. What follows is as of the first one, for as long as
// its revision is not forgotten.
func (f *fake) list(w http.ResponseWriter, r *http.Request, space string) {
	query := r.URL.Query()
	limit, _ := strconv.Atoi(query.Get("limit"))
	revision, left := strconv.Itoa(f.revision), []object(nil)
	if next := query.Get("continue"); next != "" {
		left = f.lists[next]
		revision, _, _ = strings.Cut(next, ".")
		if n, _ := strconv.Atoi(revision); n < f.gone {
			refuse(w, http.StatusGone, "Expired", "The provided continue parameter is too old")
			return
		}
	} else {
		for _, id := range slices.Sorted(maps.Keys(f.kept)) {
			if o := f.kept[id]; strings.HasPrefix(id, space+"/") && selected(o, query.Get("labelSelector")) {
				left = append(left, o)
			}
		}
	}
	next := ""
	if limit > 0 && len(left) > limit {
		next = revision + "." + rand.Text()
		f.lists[next], left = left[limit:], left[:limit]
	}
	answer(w, http.StatusOK, map[string]any{"kind": "SecretList", "metadata": metadata{ResourceVersion: revision, Continue: next}, "items": left})
}

// watch sends what happened since a revision and goes on.
func (f *fake) watch(w http.ResponseWriter, r *http.Request, space string) {
	since, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	out := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	if since < f.gone {
		_ = out.Encode(map[string]any{"type": "ERROR", "object": map[string]any{"kind": "Status", "code": http.StatusGone, "reason": "Expired"}})
		return
	}
	f.watches++
	defer func() { f.watches-- }()
	for sent, cuts := 0, f.cuts; ; {
		for ; sent < len(f.past); sent++ {
			e := f.past[sent]
			n, _ := strconv.Atoi(e.Object.Metadata.ResourceVersion)
			switch {
			case n <= since:
			case e.space == space && selected(e.Object, r.URL.Query().Get("labelSelector")):
				_ = out.Encode(e)
			default: // a bookmark says how far the watch is
				_ = out.Encode(event{Type: "BOOKMARK", Object: object{Metadata: metadata{ResourceVersion: e.Object.Metadata.ResourceVersion}}})
			}
		}
		_ = http.NewResponseController(w).Flush()
		news := f.news
		f.mu.Unlock()
		select {
		case <-r.Context().Done():
		case <-news:
		}
		f.mu.Lock()
		if r.Context().Err() != nil || f.cuts != cuts {
			return
		}
	}
}

// cut ends the watches that are open, as a server does after a while.
func (f *fake) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts++
	close(f.news)
	f.news = make(chan struct{})
}

// forget has the server know nothing of what happened until now.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revision++ // whatever else the cluster writes
	f.gone = f.revision
}

// breaks sets what befalls requests from now on.
func (f *fake) breaks(fault func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// accept makes these the tokens that are good.
func (f *fake) accept(tokens ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.tokens)
	for _, t := range tokens {
		f.tokens[t] = true
	}
}

func refuse(w http.ResponseWriter, code int, reason, message string) {
	answer(w, code, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, encode(body))
}

func encode(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
