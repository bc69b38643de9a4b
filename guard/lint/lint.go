// Package lint sends confusing requests to a deployed API and says which of them
// get past what guards it: paths that two programs read in two ways, headers by
// which a proxy or a framework is talked into another path, method or caller,
// and messages whose end is doubtful. It knows nothing of what is deployed, so
// it works before any guard.
//
// It looks for the difference that a guard has to make: a path that a plain
// request does not get without a token (or with one that may not) must not be
// got by any other spelling of the request either.
package lint

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
)

// A Linter is a deployed API and what is known of it.
type Linter struct {
	// URL is where the API is reached: its scheme and host. Required.
	URL *url.URL

	// Path is a path that needs a token, such as /v2/users. Required.
	Path string

	// Token is a good token, and Allow and Deny are paths that a GET with it may
	// and may not have. All or none; more is found with them.
	Token       jeton.Secret
	Allow, Deny string

	// Identity are the headers in which the API is told who calls. Nil: those
	// of a Jeton guard.
	Identity []string

	// Pause is the time between two requests. Zero: 20 ms.
	Pause time.Duration

	// Timeout is how long an answer may take. Zero: 5 seconds.
	Timeout time.Duration

	// TLS is for https. Nil: the system's.
	TLS *tls.Config
}

// A Verdict says what became of a confusing request.
type Verdict string

// The verdicts.
const (
	Refused Verdict = "refused" // as it should be, or it made no difference
	Slip    Verdict = "slip"    // it got where it must not get
	Odd     Verdict = "odd"     // neither: somebody should look at it
)

// A Result is one request and what became of it.
type Result struct {
	Group   string  `json:"group"` // what it tries: path, header, credential, framing, permission, identity
	Name    string  `json:"name"`
	Request string  `json:"request"` // its first line and what is special about it; never the token
	Answer  string  `json:"answer"`  // the status, or that there was none
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`
}

// An answer is what came back for a request; status 0 is none.
type answer struct {
	status int
	body   string
	header http.Header
	second bool // another answer came behind it
}

func (a *answer) good() bool { return a.status >= 200 && a.status < 300 || a.status == 101 }

func (a *answer) String() string {
	if a.status == 0 {
		return "no answer"
	}
	return fmt.Sprint(a.status)
}

// same reports whether two answers are the same to who sees them.
func (a *answer) same(b *answer) bool { return a.status == b.status && a.body == b.body }

// Run sends all requests, one after the other, and hands each result to report.
// The error is that it could not be done: nobody answers, or the paths are not
// what they are said to be.
func (l *Linter) Run(ctx context.Context, report func(Result)) error {
	if l.Path == "" || l.Path[0] != '/' {
		return errors.New("lint: the path must begin with a slash")
	}
	s := &session{Linter: l, ctx: ctx, report: report}
	plain, err := s.must(request{target: l.Path})
	if err != nil {
		return err
	}
	switch {
	case plain.good():
		return fmt.Errorf("lint: %s answers %s without a token; name a path that needs one", l.Path, plain)
	case plain.status >= 500:
		return fmt.Errorf("lint: %s answers %s without a token: nobody judges the call, so nothing would slip past him", l.Path, plain)
	case plain.status == http.StatusNotFound && l.Token.IsZero():
		return fmt.Errorf("lint: %s answers %s without a token, as one that is not there; name a path that needs a token, or give one that may have it", l.Path, plain)
	}
	if s.missing, err = s.must(request{target: "/jeton-lint-" + marker()}); err != nil {
		return err
	}
	for _, p := range nobody(l) {
		s.withoutToken(p)
	}
	if !l.Token.IsZero() {
		if err := s.withToken(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// A session is one run of a linter.
type session struct {
	*Linter
	ctx     context.Context
	report  func(Result)
	sent    bool
	missing *answer // for a path that is not there
}

// withoutToken judges a request that wears no good token.
func (s *session) withoutToken(p probe) {
	got := s.send(p.request)
	r := Result{Group: p.group, Name: p.name, Request: p.String(), Answer: got.String(), Verdict: Refused}
	switch {
	case got.second:
		r.Verdict, r.Why = Slip, "a request that was hidden in this one was answered"
	case got.good() && (p.base != nil && s.send(*p.base).same(got) || got.same(s.missing)):
		r.Why = "the same as without the trick"
	case got.good() && p.harmless:
		r.Verdict, r.Why = Odd, "answered without a token"
	case got.good():
		r.Verdict, r.Why = Slip, "answered without a token"
	case got.status >= 500 && got.status != 501 && got.status != 505 || got.status >= 300 && got.status < 400:
		r.Verdict, r.Why = Odd, "neither answered nor refused"
	case got.status == http.StatusNotFound && got.status != s.missing.status:
		r.Verdict, r.Why = Odd, "not found, where a path that is not there is "+s.missing.String()
	}
	s.report(r)
}

// must sends a request that has to be answered.
func (s *session) must(r request) (*answer, error) {
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	_ = conn.Close()
	a := s.send(r)
	if a.status == 0 && s.ctx.Err() == nil {
		return nil, fmt.Errorf("lint: %s does not answer a plain request for %s", s.URL.Host, r.target)
	}
	return a, s.ctx.Err()
}

func (s *session) dial() (net.Conn, error) {
	address := s.URL.Host
	if s.URL.Port() == "" {
		address = net.JoinHostPort(s.URL.Hostname(), map[string]string{"http": "80", "https": "443"}[s.URL.Scheme])
	}
	d := &net.Dialer{Timeout: s.timeout()}
	conn, err := d.DialContext(s.ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("lint: connect to %s: %w", address, err)
	}
	_ = conn.SetDeadline(time.Now().Add(s.timeout()))
	if s.URL.Scheme != "https" {
		return conn, nil
	}
	config := s.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	config.NextProtos = []string{"http/1.1"}
	if config.ServerName == "" {
		config.ServerName = s.URL.Hostname()
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(s.ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("lint: connect to %s: %w", address, err)
	}
	return secure, nil
}

func (s *session) timeout() time.Duration {
	if s.Timeout == 0 {
		return 5 * time.Second
	}
	return s.Timeout
}

// maxBody is how much of an answer is compared.
const maxBody = 64 << 10

// send sends a request over a connection of its own, after a pause.
func (s *session) send(r request) *answer {
	if s.sent {
		pause := s.Pause
		if pause == 0 {
			pause = 20 * time.Millisecond
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return &answer{}
		}
	}
	s.sent = true
	conn, err := s.dial()
	if err != nil {
		return &answer{}
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
	defer stop()
	_, _ = io.WriteString(conn, r.text(s.URL.Host, s.Token)) // who refuses early need not read all
	reader := bufio.NewReader(conn)
	a := read(reader, r.verb())
	if a.status != 0 && r.hidden {
		_ = conn.SetReadDeadline(time.Now().Add(s.timeout() / 10))
		a.second = read(reader, http.MethodGet).good()
	}
	return a
}

// read reads one answer that is not an interim one.
func read(reader *bufio.Reader, method string) *answer {
	for {
		response, err := http.ReadResponse(reader, &http.Request{Method: method})
		if err != nil {
			return &answer{}
		}
		if response.StatusCode < 200 && response.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		a := &answer{status: response.StatusCode, header: response.Header}
		if response.StatusCode != http.StatusSwitchingProtocols {
			body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
			a.body = strings.ToValidUTF8(string(body), "?")
		}
		return a
	}
}
