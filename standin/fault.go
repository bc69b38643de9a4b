package standin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A Fault is what goes wrong with requests of one kind. Delay may stand with one
// of the others; of those there is one.
type Fault struct {
	On         string   `json:"on,omitempty"`          // "login", "refresh", "introspect", "revoke" or "call"; empty: every request
	Times      int      `json:"times,omitempty"`       // how many requests it strikes; zero: all, until it is taken away
	Delay      Duration `json:"delay,omitempty"`       // how long the answer takes, such as "3s"
	Status     int      `json:"status,omitempty"`      // answered in place of doing anything: 429, 503, ...
	RetryAfter Duration `json:"retry_after,omitempty"` // of that answer
	Lose       bool     `json:"lose,omitempty"`        // it is done, and the connection ends before the answer
	Expire     Duration `json:"expire,omitempty"`      // of calls: a token that says that it is older is not good, whatever its answer said
}

// kinds are the requests that a fault may be for. A login has all its steps, and a
// call that asks whether its token is good is a call.
var kinds = []string{"login", "refresh", "introspect", "revoke", "call"}

// A Duration is written as in Go: "3s".
type Duration time.Duration

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads a duration of at most a day.
func (d *Duration) UnmarshalText(b []byte) error {
	t, err := time.ParseDuration(string(b))
	if err != nil || t < 0 || t > 24*time.Hour {
		return fmt.Errorf("a duration is to be like 3s, and a day at most")
	}
	*d = Duration(t)
	return nil
}

// Check reports what is wrong with a fault.
func (f Fault) Check() error {
	wrongs := 0
	for _, is := range []bool{f.Status != 0, f.Lose, f.Expire != 0} {
		if is {
			wrongs++
		}
	}
	switch {
	case f.On != "" && !slices.Contains(kinds, f.On):
		return fmt.Errorf("on is to be %s or %s, or left out for every request", strings.Join(kinds[:len(kinds)-1], ", "), kinds[len(kinds)-1])
	case wrongs > 1:
		return fmt.Errorf("a fault has one of status, lose and expire")
	case wrongs == 0 && f.Delay == 0:
		return fmt.Errorf("a fault has one of status, lose, expire and delay")
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status is to be from 400 to 599")
	case f.RetryAfter != 0 && f.Status == 0:
		return fmt.Errorf("retry_after goes with a status")
	case f.Expire != 0 && f.On != "call":
		return fmt.Errorf("expire is for calls: add on: call")
	case f.Times < 0:
		return fmt.Errorf("times is to be a number of requests")
	}
	return nil
}

// maxFaults bounds how many are switched on at once.
const maxFaults = 100

// ReadFaults reads a fault or a list of them as JSON.
func ReadFaults(r io.Reader) ([]Fault, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("the faults could not be read")
	}
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '{' {
		b = append(append([]byte{'['}, b...), ']')
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var faults []Fault
	if err := d.Decode(&faults); err != nil {
		return nil, fmt.Errorf("faults are a JSON object, or a list of them: %w", err)
	}
	if len(faults) > maxFaults {
		return nil, fmt.Errorf("there are more than %d faults", maxFaults)
	}
	for i, f := range faults {
		if err := f.Check(); err != nil {
			return nil, fmt.Errorf("fault %d: %w", i+1, err)
		}
	}
	return faults, nil
}

// SetFaults switches these faults on, and all others off.
func (s *Server) SetFaults(faults []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append([]Fault(nil), faults...)
}

// Faults returns what is switched on, with how often each is still to strike.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Fault{}, s.faults...)
}

// strike returns the first fault that a request meets. One that makes tokens
// expire early is looked for later, when the token is known.
func (s *Server) strike(kind string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Expire == 0 && (f.On == "" || f.On == kind) {
			s.spend(i)
			return f, true
		}
	}
	return Fault{}, false
}

// spend counts that a fault struck. The caller holds mu.
func (s *Server) spend(i int) {
	s.counts.Faults++
	if s.faults[i].Times == 0 {
		return
	}
	if s.faults[i].Times--; s.faults[i].Times == 0 {
		s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
	}
}

// wait takes the fault's time, and reports false if the client is gone by then.
func (f Fault) wait(ctx context.Context) bool {
	if f.Delay == 0 {
		return true
	}
	t := time.NewTimer(time.Duration(f.Delay))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuse answers with the fault's status and the words that the vendor has for it.
func (s *Server) refuse(w http.ResponseWriter, f Fault, kind string) {
	e := jeton.Refuse(f.code(s.dialect, kind), "a fault is switched on")
	e.RetryAfter = time.Duration(f.RetryAfter)
	forced := &forcedStatus{w, f.Status}
	if kind == "call" {
		s.dialect.WriteCallError(forced, s.realm.Name(), e)
		return
	}
	s.dialect.WriteTokenError(forced, s.realm.Name(), e)
}

// code is what the fault's status stands for at this vendor.
func (f Fault) code(d *dialect.Dialect, kind string) jeton.Code {
	of := map[int]jeton.Code{http.StatusTooManyRequests: jeton.SlowDown, http.StatusInternalServerError: jeton.ServerError}
	if kind == "call" {
		of[http.StatusUnauthorized], of[http.StatusForbidden] = jeton.InvalidToken, jeton.InsufficientScope
		of[d.Errors[jeton.InvalidToken].Status] = jeton.InvalidToken
	} else {
		of[http.StatusUnauthorized] = jeton.InvalidClient
		of[d.Errors[jeton.SlowDown].Status] = jeton.SlowDown
	}
	code, ok := of[f.Status]
	switch {
	case ok:
		return code
	case f.Status >= 500:
		return jeton.Unavailable
	}
	return jeton.InvalidRequest
}

// A forcedStatus writes an answer with another status.
type forcedStatus struct {
	http.ResponseWriter
	status int
}

// WriteHeader writes the status, and no challenge where that is none.
func (w *forcedStatus) WriteHeader(int) {
	if w.status != http.StatusUnauthorized && w.status != http.StatusForbidden {
		w.Header().Del("WWW-Authenticate")
	}
	w.ResponseWriter.WriteHeader(w.status)
}

// expiring refuses tokens before their time while a fault says so.
func (s *Server) expiring(d *dialect.Dialect, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.tooOld(d, r) {
			s.decided(jeton.InvalidToken)
			d.WriteCallError(w, s.realm.Name(), jeton.Refuse(jeton.InvalidToken, "the access token has expired"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) tooOld(d *dialect.Dialect, r *http.Request) bool {
	if !slices.ContainsFunc(s.Faults(), func(f Fault) bool { return f.Expire > 0 }) {
		return false
	}
	vars, err := d.ReadCall(r)
	if err != nil {
		return false
	}
	claims, err := s.realm.Verify(r.Context(), jeton.NewSecret(vars["access_token"]))
	if err != nil || claims.IssuedAt.IsZero() { // nobody knows how old it is
		return false
	}
	age := time.Since(claims.IssuedAt)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if f.Expire > 0 && age > time.Duration(f.Expire) {
			s.spend(i)
			return true
		}
	}
	return false
}

// nowhere takes an answer that is lost.
type nowhere struct{ header http.Header }

// Header returns what nobody sees.
func (n *nowhere) Header() http.Header { return n.header }

// Write forgets.
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader forgets.
func (n *nowhere) WriteHeader(int) {}

// readAgain reads a body that somebody else is going to read.
func readAgain(r *http.Request) ([]byte, io.ReadCloser, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	rest := io.MultiReader(bytes.NewReader(body), r.Body)
	return body, io.NopCloser(rest), err
}
