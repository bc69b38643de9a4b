package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/oauth2"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// A Source hands out the tokens of one account: to Go code as a
// [jeton.Source], to libraries by [Source.OAuth2], and to an [http.Client] as
// its transport.
type Source struct {
	b       *Broker
	account string
	base    http.RoundTripper
	vars    jeton.Vars // chosen per call; nil: the account's
	own     bool       // the headers of the requests are nobody else's
}

var (
	_ jeton.Source      = (*Source)(nil)
	_ http.RoundTripper = (*Source)(nil)
)

// Source returns the source of an account. As a transport it sends by base;
// nil means the broker's own.
func (b *Broker) Source(account string, base http.RoundTripper) *Source {
	b.init()
	if base == nil {
		base = b.HTTP
	}
	return &Source{b: b, account: account, base: base}
}

// Token returns a token that is valid now. See [Broker.Token].
func (s *Source) Token(ctx context.Context) (*jeton.Token, error) {
	return s.b.Token(ctx, s.account, 0)
}

// OAuth2 returns the source as golang.org/x/oauth2 has it. Do not wrap it in
// ReuseTokenSource: that would hold a token which the broker has replaced.
func (s *Source) OAuth2() oauth2.TokenSource { return oauth2Source{s} }

type oauth2Source struct{ s *Source }

// Token returns a token that is valid now; it waits for a first login at most
// as long as [Broker.Wait].
func (o oauth2Source) Token() (*oauth2.Token, error) {
	t, err := o.s.Token(context.Background())
	if err != nil {
		return nil, err
	}
	return &oauth2.Token{AccessToken: t.AccessToken.Reveal(), TokenType: t.Type, Expiry: t.Expiry}, nil
}

// maxReplay bounds the body of a call that can be sent again.
const maxReplay = 1 << 20

// RoundTrip sends a call with the token worn as the dialect says. If the
// vendor answers that the token is not good, it reports that and sends the
// call once more with the next token, provided that the body can be sent again
// (GetBody). Where a vendor ends the old token with the new one, the call waits
// while the token is being swapped.
//
// The token goes to the account's API and nowhere else: where a client follows
// a redirect to another host, the call is sent without it, and any other call
// to another host is an error.
func (s *Source) RoundTrip(r *http.Request) (*http.Response, error) {
	k, err := s.b.keeper(r.Context(), s.account)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	way, err := k.way(r.Context(), s.account)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	if way, err = s.led(r.Context(), way.with(s.vars)); err != nil {
		closeBody(r)
		return nil, err
	}
	if way.d.Tokenless() {
		return s.bare(way, r)
	}
	if err = way.bad; err == nil && (r.URL.Scheme != way.to.Scheme || !strings.EqualFold(r.URL.Host, way.to.Host)) {
		if r.Response != nil {
			return s.base.RoundTrip(r)
		}
		err = errors.New("the call is for another host than the account's API")
	}
	if err != nil {
		err = fmt.Errorf("broker: %w", err)
		closeBody(r)
		return nil, err
	}
	t, leave, err := k.enter(r.Context(), s.account)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	answer, err := s.send(k, r, t, r.Body)
	if err != nil {
		leave()
		return nil, err
	}
	if !rejected(way.d, answer) {
		answer.Body = &leaving{ReadCloser: answer.Body, leave: leave}
		return answer, nil
	}
	leave() // a report may swap the token, and that waits for running calls
	next, err := s.b.Report(r.Context(), s.account, t.Generation)
	if err != nil || next.Generation == t.Generation || !replayable(r) {
		return answer, nil
	}
	body, err := again(r)
	if err != nil {
		return answer, nil
	}
	if t, leave, err = k.enter(r.Context(), s.account); err != nil {
		_ = body.Close()
		return answer, nil
	}
	discard(answer)
	if answer, err = s.send(k, r, t, body); err != nil {
		leave()
		return nil, err
	}
	answer.Body = &leaving{ReadCloser: answer.Body, leave: leave}
	return answer, nil
}

// maxRefusal bounds what is read of an answer to see whether it is a refusal.
const maxRefusal = 64 << 10

// rejected reports whether an answer says that the token is not good. It reads
// the body only where nothing else tells, and puts it back.
func rejected(d *dialect.Dialect, answer *http.Response) bool {
	if d.Rejected(answer.StatusCode, answer.Header) {
		return true
	}
	if !d.InBody(answer.StatusCode, answer.Header) || answer.ContentLength > maxRefusal || answer.Header.Get("Content-Encoding") != "" {
		return false
	}
	begin, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
	rest := answer.Body
	again := io.MultiReader(bytes.NewReader(begin), rest)
	if err != nil {
		again = io.MultiReader(bytes.NewReader(begin), failing{err})
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{again, rest}
	return err == nil && d.RejectedBy(begin)
}

// failing is a body that broke where somebody looked into it.
type failing struct{ err error }

// Read fails as the body did.
func (f failing) Read([]byte) (int, error) { return 0, f.err }

// send sends a copy of r that wears the token.
func (s *Source) send(k *keeper, r *http.Request, t *jeton.Token, body io.ReadCloser) (*http.Response, error) {
	way, err := k.way(r.Context(), s.account) // the one that brought this token
	if err != nil {
		closeBody(r)
		return nil, err
	}
	worn, err := way.with(s.vars).wear(t)
	if err != nil {
		closeBody(r)
		return nil, fmt.Errorf("broker: %w", err)
	}
	var call *http.Request
	if s.own {
		call = r.WithContext(r.Context())
		u := *r.URL
		call.URL = &u
	} else {
		call = r.Clone(r.Context())
	}
	call.Body = body
	worn.Write(call)
	by, err := s.b.certifiedBy(way, s.base)
	if err != nil {
		closeBody(call)
		return nil, err
	}
	return by.RoundTrip(call)
}

// led returns the way with what the vendor's answer to the login says about
// where its API stands, if it is that which says so.
func (s *Source) led(ctx context.Context, w *way) (*way, error) {
	if w.bad == nil || !w.d.Led() {
		return w, nil
	}
	t, err := s.Token(ctx)
	if err != nil {
		return nil, err
	}
	found := jeton.Vars{}
	for name, text := range t.Vars {
		if w.vars[name] == "" {
			found[name] = text
		}
	}
	return w.with(found), nil
}

// bare sends a call that wears no token, but the account's credentials, or is
// signed. To be signed its body is to be at hand.
func (s *Source) bare(w *way, r *http.Request) (*http.Response, error) {
	fail := func(err error) (*http.Response, error) {
		closeBody(r)
		return nil, fmt.Errorf("broker: %w", err)
	}
	if w.bad != nil {
		return fail(w.bad)
	}
	if r.URL.Scheme != w.to.Scheme || !strings.EqualFold(r.URL.Host, w.to.Host) {
		return fail(errors.New("the call is for another host than the account's API"))
	}
	d, call := w.d, r.Clone(r.Context())
	call.Host = call.URL.Host
	if err := d.WriteCall(call, w.vars); err != nil {
		return fail(err)
	}
	if d.Signs() {
		body, err := whole(r)
		if err == nil {
			call.Body, call.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			err = d.SignCall(call, body, w.vars, s.b.now())
		}
		closeBody(r)
		if err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
	}
	by, err := s.b.certifiedBy(w, s.base)
	if err != nil {
		return fail(err)
	}
	return by.RoundTrip(call)
}

// whole returns the body of a call that can be sent again.
func whole(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.GetBody == nil {
		return nil, errors.New("a call that is signed is to have a body of a known length, of at most 1 MiB")
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func replayable(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}

func again(r *http.Request) (io.ReadCloser, error) {
	if r.GetBody == nil {
		return http.NoBody, nil
	}
	return r.GetBody()
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

func discard(answer *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	_ = answer.Body.Close()
}

// leaving is the body of an answer; when it is closed, the call has ended.
type leaving struct {
	io.ReadCloser
	leave func()
}

// Close ends the call.
func (l *leaving) Close() error {
	defer l.leave()
	return l.ReadCloser.Close()
}

// Write passes on to bodies that are writable: those of upgraded connections.
func (l *leaving) Write(b []byte) (int, error) {
	if w, ok := l.ReadCloser.(io.Writer); ok {
		return w.Write(b)
	}
	return 0, http.ErrNotSupported
}

// buffered makes a request's body replayable if it is small and its length is
// known; others pass through untouched.
func buffered(r *http.Request) error {
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxReplay {
		return nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return err
	}
	_ = r.Body.Close()
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return nil
}
