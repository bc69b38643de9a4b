// Package standin is any vendor on this machine: an issuer that speaks the
// vendor's dialect, an API behind it that answers whoever has a good token, what
// went on in numbers, and faults to switch on, so that those who call the vendor
// can try their clients where nothing is at stake.
//
//	client -> fault? -> count -> issuer: login, refresh
//	                          -> guard  -> API: 200 and what was asked
//
// Everything is in memory. A stand-in is not an issuer to use for real: its
// secrets are shown to whoever starts it.
package standin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/audit"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/issuer"
	"github.com/jetonhq/jeton/store"
)

// A Config says whom to stand in for. Dialect and URL are required.
type Config struct {
	Dialect *dialect.Dialect
	URL     string        // where the stand-in is reached: http://127.0.0.1:1234
	Vars    jeton.Vars    // of the account that may log in; what is missing is made up
	Life    time.Duration // of access tokens; zero: the dialect's, or an hour
	Logger  *slog.Logger  // nil: nobody hears
}

// Control is where the stand-in's own endpoints are: {Control}/counters and
// {Control}/faults. No vendor has such a path.
const Control = "/.standin"

// A Server stands in for a vendor. It is safe for concurrent use.
type Server struct {
	dialect *dialect.Dialect
	realm   *issuer.Realm
	server  http.Handler
	vars    jeton.Vars

	mu     sync.Mutex // guards what follows
	faults []Fault
	counts Counters
}

// New starts a stand-in, with one account.
func New(ctx context.Context, c Config) (*Server, error) {
	s := &Server{dialect: c.Dialect, counts: Counters{
		Logins: newTally(), Refreshes: newTally(), Calls: newTally(), Introspections: newTally(), Revocations: newTally(),
	}}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	st := store.NewMemory()
	realm, err := issuer.OpenRealm(ctx, issuer.Config{
		Name: c.Dialect.Name, Dialect: c.Dialect, Store: st, Audit: counting{audit.NewMemory(), s}, URL: c.URL, Password: true,
		Lifetime: c.Life, Logger: c.Logger, InsecureCertificates: strings.HasPrefix(c.URL, "http://"),
	})
	if err != nil {
		return nil, fmt.Errorf("standin: %w", err)
	}
	s.realm = realm
	if s.vars, err = enroll(ctx, realm, c.Vars); err != nil {
		return nil, fmt.Errorf("standin: make the account: %w", err)
	}
	g := &guard.Guard{Dialect: c.Dialect, Verifier: realm, Logger: c.Logger, Decided: s.decided}
	if err := g.Check(); err != nil {
		return nil, fmt.Errorf("standin: %w", err)
	}
	front := issuer.NewServer(st, c.Logger)
	if err := front.Mount("", realm, s.expiring(c.Dialect, g.Handler(http.HandlerFunc(serveAPI)))); err != nil {
		return nil, fmt.Errorf("standin: %w", err)
	}
	s.server = front
	return s, nil
}

// Vars returns what the account's logins take: what was given, and what was made
// up.
func (s *Server) Vars() jeton.Vars { return s.vars.Clone() }

// Realm returns the issuer behind the stand-in.
func (s *Server) Realm() *issuer.Realm { return s.realm }

// Run keeps what has ended in memory until ctx ends; see [issuer.Realm.Run].
func (s *Server) Run(ctx context.Context) { s.realm.Run(ctx) }

// ServeHTTP answers as the vendor does, unless a fault is switched on.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if rest, ok := strings.CutPrefix(r.URL.Path, Control); ok {
		s.control(w, r, rest)
		return
	}
	kind := s.kind(r)
	f, ok := s.strike(kind)
	if !ok {
		s.serve(w, r, kind)
		return
	}
	if !f.wait(r.Context()) {
		return
	}
	switch {
	case f.Lose:
		s.serve(&nowhere{header: http.Header{}}, r, kind)
		panic(http.ErrAbortHandler) // the connection ends where the answer should be
	case f.Status != 0:
		s.refuse(w, f, kind)
	default:
		s.serve(w, r, kind)
	}
}

// serve answers, and counts what the issuer does not write down each time.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, kind string) {
	tally := map[string]*Tally{"introspect": &s.counts.Introspections, "revoke": &s.counts.Revocations}[kind]
	if tally == nil {
		s.server.ServeHTTP(w, r)
		return
	}
	seen := &statusOf{ResponseWriter: w, status: http.StatusOK}
	s.server.ServeHTTP(seen, r)
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	s.mu.Lock()
	defer s.mu.Unlock()
	tally.add(seen.status < 300, "", ip)
}

// statusOf remembers the status of an answer.
type statusOf struct {
	http.ResponseWriter
	status int
}

// WriteHeader writes the status.
func (w *statusOf) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// kind says what a request is, in the words of [Fault.On]; empty: something else.
func (s *Server) kind(r *http.Request) string {
	if !s.realm.Answers(r) {
		return "call"
	}
	var body []byte
	if r.Body != nil && r.ContentLength != 0 { // what tells a refresh from a login is in the body
		var err error
		if body, r.Body, err = readAgain(r); err != nil {
			return "login"
		}
	}
	switch kind := s.realm.Kind(r, body); kind {
	case dialect.KindVerify: // a call that only asks whether its token is good
		return "call"
	case dialect.KindStep:
		return "login"
	default:
		return string(kind)
	}
}

// serveAPI answers a call that the guard let through with what arrived, but for
// the credentials.
func serveAPI(w http.ResponseWriter, r *http.Request) {
	answer := map[string]any{"ok": true, "method": r.Method, "path": r.URL.Path}
	if c, ok := guard.ClaimsFrom(r.Context()); ok {
		answer["subject"], answer["scope"] = c.Subject, c.Scope.String()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

// counting counts what the issuer writes down.
type counting struct {
	audit.Log
	s *Server
}

// Append counts and keeps the entry.
func (c counting) Append(ctx context.Context, e audit.Entry) error {
	c.s.mu.Lock()
	tally := map[string]*Tally{"login": &c.s.counts.Logins, "refresh": &c.s.counts.Refreshes}[e.Action]
	if tally != nil {
		tally.add(e.Outcome == "ok", e.Actor, e.IP)
	}
	c.s.mu.Unlock()
	return c.Log.Append(ctx, e)
}

// decided counts calls.
func (s *Server) decided(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Calls.add(err == nil, "", "")
}

// Counters are what a stand-in has seen since it started.
type Counters struct {
	Logins         Tally `json:"logins"`
	Refreshes      Tally `json:"refreshes"`
	Calls          Tally `json:"calls"`
	Introspections Tally `json:"introspections"`   // questions what a token is, OK if they are answered
	Revocations    Tally `json:"revocations"`      // OK also where nothing was to end
	Families       int   `json:"families_revoked"` // refresh families that ended before their time
	Faults         int   `json:"faults"`           // requests that a fault struck
}

// A Tally counts requests of one kind.
type Tally struct {
	OK      int            `json:"ok"`
	Refused int            `json:"refused"`
	By      map[string]int `json:"by,omitempty"`    // :: who asked, as the request says -> how often
	ByIP    map[string]int `json:"by_ip,omitempty"` // :: address -> how often
}

func newTally() Tally { return Tally{By: map[string]int{}, ByIP: map[string]int{}} }

// maxTally bounds how many names one tally has.
const maxTally = 10_000

func (t *Tally) add(ok bool, by, ip string) {
	if ok {
		t.OK++
	} else {
		t.Refused++
	}
	for name, to := range map[string]map[string]int{by: t.By, ip: t.ByIP} {
		if _, known := to[name]; name != "" && (known || len(to) < maxTally) {
			to[name]++
		}
	}
}

// Counters returns what the stand-in has seen so far.
func (s *Server) Counters() Counters {
	families := 0
	for e := range s.realm.Revocations().All() {
		if e.Family != "" {
			families++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.Families = families
	for _, t := range []*Tally{&c.Logins, &c.Refreshes, &c.Calls, &c.Introspections, &c.Revocations} {
		*t = t.clone()
	}
	return c
}

func (t Tally) clone() Tally {
	out := newTally()
	out.OK, out.Refused = t.OK, t.Refused
	for name, n := range t.By {
		out.By[name] = n
	}
	for name, n := range t.ByIP {
		out.ByIP[name] = n
	}
	return out
}

// control serves the stand-in's own endpoints. They are for programs on this
// machine: a page in a browser, which sends an Origin or asks for a name that was
// made to lead here, is refused.
func (s *Server) control(w http.ResponseWriter, r *http.Request, path string) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	asked := (&url.URL{Host: r.Host}).Hostname()
	if err != nil || !jeton.IsLoopback(host) || !jeton.IsLoopback(asked) || r.Header.Get("Origin") != "" {
		http.Error(w, "only programs on this machine may ask", http.StatusForbidden)
		return
	}
	switch {
	case path == "/counters" && r.Method == http.MethodGet:
		reply(w, s.Counters())
	case path == "/faults" && r.Method == http.MethodGet:
		reply(w, s.Faults())
	case path == "/faults" && r.Method == http.MethodPut:
		faults, err := ReadFaults(http.MaxBytesReader(w, r.Body, 1<<16))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.SetFaults(faults)
		reply(w, s.Faults())
	case path == "/faults" && r.Method == http.MethodDelete:
		s.SetFaults(nil)
		reply(w, s.Faults())
	case path == "/counters" || path == "/faults":
		w.Header().Set("Allow", "GET, PUT, DELETE")
		http.Error(w, "no such method here", http.StatusMethodNotAllowed)
	default:
		http.Error(w, "there are "+Control+"/counters and "+Control+"/faults", http.StatusNotFound)
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client may be gone
}
