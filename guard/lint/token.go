package lint

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
)

// An echo is what the API saw, if it says so: [Echo] does.
type echo struct {
	Method string      `json:"method"`
	URI    string      `json:"uri"`
	Header http.Header `json:"header"`
}

// echoed is a header of an answer of Echo.
const echoed = "X-Jeton-Echo"

// Echo is an API that answers each request with what it saw. Behind the chain
// that is to be tried it shows what a real API would not.
func Echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set(echoed, "1")
		h := r.Header.Clone()
		for name := range h {
			if strings.Contains(strings.ToLower(name), "authorization") {
				h[name] = []string{"(there)"}
			}
		}
		_ = json.NewEncoder(w).Encode(echo{r.Method, r.RequestURI, h}) // the client is gone
	})
}

// seen returns what the API saw, nil if it does not say.
func (a *answer) seen() *echo {
	var e echo
	if a.header.Get(echoed) == "" || json.Unmarshal([]byte(a.body), &e) != nil {
		return nil
	}
	return &e
}

// withToken judges requests that wear the token.
func (s *session) withToken() error {
	allowed, err := s.must(request{target: s.Allow, token: true})
	if err != nil {
		return err
	}
	if !allowed.good() {
		return fmt.Errorf("lint: %s answers %s with the token, which is to be allowed there", s.Allow, allowed)
	}
	denied, err := s.must(request{target: s.Deny, token: true})
	if err != nil {
		return err
	}
	if denied.good() {
		return fmt.Errorf("lint: %s answers %s with the token, which is to be denied there", s.Deny, denied)
	}
	for _, p := range s.overreach() {
		s.denied(p, allowed)
	}
	s.identities(allowed)
	return nil
}

// overreach are requests by which a token that may have one path tries to get
// another.
func (s *session) overreach() []probe {
	var all []probe
	add := func(name string, r request) {
		r.token = true
		all = append(all, probe{group: "permission", name: name, request: r})
	}
	paths := spellings(s.Deny)
	up := strings.Repeat("/..", strings.Count(s.Allow, "/"))
	outs := map[string]string{
		"out of the allowed path": up, "the same, encoded": strings.ReplaceAll(up, "..", "%2e%2e"), "the same, slashes encoded": strings.ReplaceAll(up, "/", "%2f"),
		"the same, encoded twice": strings.ReplaceAll(up, "..", "%252e%252e"), "the same, backslashes": strings.ReplaceAll(up, "/", `\`), "the same, parameters": strings.ReplaceAll(up, "..", "..;"),
	}
	for name, dots := range outs {
		paths[name] = s.Allow + dots + s.Deny
	}
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		add(name, request{target: paths[name]})
	}
	for _, name := range []string{"X-Forwarded-Uri", "X-Original-URI", "X-Original-URL", "X-Rewrite-URL", "X_Forwarded_Uri", "X_Original_URI", "X-Forwarded-Path", "X-Envoy-Original-Path"} {
		add(name, request{target: s.Deny, lines: name + ": " + s.Allow + "\r\n"})
		add(name+" the other way", request{target: s.Allow, lines: name + ": " + s.Deny + "\r\n"})
	}
	add("Connection", request{target: s.Deny, lines: "Connection: X-Forwarded-Uri, X-Original-URI, X-Forwarded-Method\r\n"})
	return all
}

// denied judges a request that tries to get what its token may not.
func (s *session) denied(p probe, allowed *answer) {
	got := s.send(p.request)
	r := Result{Group: p.group, Name: p.name, Request: p.String(), Answer: got.String(), Verdict: Refused}
	saw := got.seen()
	switch {
	case !got.good():
	case saw != nil && s.harmless(saw, p):
		r.Why = "the API saw what was allowed"
	case saw != nil:
		r.Verdict, r.Why = Slip, "the API saw "+saw.Method+" "+saw.URI
	case got.same(allowed):
		r.Why = "the same as what is allowed"
	case got.same(s.missing):
		r.Why = "the same as for a path that is not there"
	default:
		r.Verdict, r.Why = Slip, "answered, though the token may not"
	}
	s.report(r)
}

// harmless reports whether an API that saw this could not take it for the denied
// path.
func (s *session) harmless(saw *echo, p probe) bool {
	if resolve(saw.URI) == resolve(s.Deny) {
		return false
	}
	for name, values := range saw.Header {
		for _, value := range values {
			if value == s.Deny && strings.Contains(strings.ToLower(p.lines), strings.ToLower(name)) && !strings.Contains(strings.ToLower(name), "forwarded") {
				return false // by which frameworks take another path
			}
		}
	}
	return true
}

// resolve reads a target as the most obliging server would.
func resolve(target string) string {
	target, _, _ = strings.Cut(target, "?")
	for range 3 {
		target = unescape(target)
	}
	target, _, _ = strings.Cut(target, "\x00")
	target, _, _ = strings.Cut(target, "#")
	target, _, _ = strings.Cut(target, "?")
	segments := strings.Split(strings.ReplaceAll(target, `\`, "/"), "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.ToLower(strings.TrimRight(path.Clean("/"+strings.Join(segments, "/")), ". "))
}

// unescape decodes what can be decoded.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		var c byte
		if i+2 < len(s) && s[i] == '%' {
			if n, _ := fmt.Sscanf(s[i+1:i+3], "%02x", &c); n == 1 {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// identities looks for what a client says about who it is in what the API saw.
// An API that does not show what it sees tells nothing here.
func (s *session) identities(allowed *answer) {
	benign := marker()
	probe := s.send(request{target: s.Allow, token: true, lines: "X-Jeton-Lint: " + benign + "\r\n"})
	if !strings.Contains(probe.body, benign) {
		s.report(Result{Group: "identity", Name: "echo", Request: "GET " + s.Allow, Answer: probe.String(), Verdict: Odd,
			Why: "the API does not show what it sees, so it stays unknown whether a client can say who it is; put `jeton guard lint --echo` behind one route"})
		return
	}
	for _, name := range s.identity() {
		for _, spelling := range aliases(name) {
			s.spoofed(name, spelling, "")
		}
		s.spoofed(name, name, "Connection: "+name+"\r\n")
		s.stripped(allowed, name)
	}
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL", "SCRIPT_NAME", "PATH_INFO", "X-Script-Name", "Proxy"} {
		s.spoofed(name, name, "")
	}
}

// spoofed sends an identity header of the client's own.
func (s *session) spoofed(name, spelling, more string) {
	word := marker()
	r := request{target: s.Allow, token: true, lines: spelling + ": " + word + "\r\n" + more}
	got := s.send(r)
	result := Result{Group: "identity", Name: name, Request: r.String(), Answer: got.String(), Verdict: Refused}
	if strings.Contains(got.body, word) {
		result.Verdict, result.Why = Slip, "the API saw what the client says"
	}
	s.report(result)
}

// stripped tells the proxy to drop the identity header.
func (s *session) stripped(allowed *answer, name string) {
	before := allowed.seen()
	if before == nil || before.Header.Get(name) == "" {
		return // it is not told
	}
	r := request{target: s.Allow, token: true, lines: "Connection: close, " + name + "\r\n"}
	got := s.send(r)
	result := Result{Group: "identity", Name: name, Request: r.String(), Answer: got.String(), Verdict: Refused}
	if saw := got.seen(); saw != nil && saw.Header.Get(name) != before.Header.Get(name) {
		result.Verdict, result.Why = Slip, "the API was not told who calls"
	}
	s.report(result)
}
