package revocation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/jetonhq/jeton"
)

// A Stream follows the [Log] of an issuer over HTTP and keeps a table as the
// issuer's is. When the connection breaks it comes again and goes on where it
// was. Meanwhile the table grows older, and whoever decides by it refuses to
// once it is too old.
//
// URL, Key and Table must be there; of every other field the zero value is the
// default.
type Stream struct {
	URL   string       // of the issuer's endpoint, its revocations_endpoint: https, or http to this machine
	Key   jeton.Secret // a guard's key at the issuer
	Table *Table       // nobody else fills, confirms or sweeps it

	// Transport sends the requests; nil: one of HTTP/1.1 by itself. Redirects are
	// not followed. One of HTTP/2 may keep a dead connection and use it again.
	Transport http.RoundTripper

	Silence time.Duration // after so long without a word the connection is dead, and after so long on the way a beat is late; zero: 3 s
	Most    int           // the largest number of events that the table may hold; zero: 4,000,000
	Logger  *slog.Logger  // nil: slog.Default
}

const (
	defaultSilence = 3 * time.Second
	defaultMost    = 4_000_000

	// A connection is renewed after so long, half as long again at most, since
	// the clocks of both sides go apart meanwhile: by 0.6 to 0.9 s at most.
	renewAfter = 10 * time.Minute

	// What a connection tells looks older by as long as it took to come about. One
	// that took long is renewed soon, and less and less soon if that does not help.
	slowHello = 500 * time.Millisecond
	renewSoon = 2 * time.Second

	firstWait = 20 * time.Millisecond // before coming again, and half as long again at most
	maxWait   = 5 * time.Second
	slowWait  = 30 * time.Second // where coming again can hardly help

	sweepEvery = time.Minute
)

// Why a connection was left.
var (
	errSilent  = errors.New("revocation: the issuer said nothing for too long")
	errLate    = errors.New("revocation: what the issuer says arrives too late")
	errRenew   = errors.New("revocation: the connection is old")
	errTooMany = errors.New("revocation: the issuer tells of more than the table may hold")
)

// A statusError is an answer that is no stream.
type statusError struct {
	status int
	after  time.Duration // as Retry-After says; zero: it does not
}

func (e *statusError) Error() string {
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("revocation: the issuer does not take the guard's key (status %d)", e.status)
	case http.StatusOK:
		return "revocation: the answer is no event stream"
	}
	return fmt.Sprintf("revocation: the issuer answered with status %d", e.status)
}

// slow reports whether coming again soon can hardly help.
func (e *statusError) slow() bool {
	return e.status >= 200 && e.status < 500 && e.status != http.StatusRequestTimeout && e.status != http.StatusTooManyRequests
}

// Run follows until ctx ends, and then returns nil. It returns an error at once
// if the fields are wrong. Run it once.
func (s *Stream) Run(ctx context.Context) error {
	if _, err := endpoint(s.URL, s.Key); err != nil {
		return err
	}
	f := &following{Stream: s, transport: s.Transport, logger: s.Logger, silence: s.Silence, most: s.Most}
	if f.transport == nil {
		t := newTransport()
		defer t.CloseIdleConnections()
		f.transport = t
	}
	if f.logger == nil {
		f.logger = slog.Default()
	}
	if f.silence <= 0 {
		f.silence = defaultSilence
	}
	if f.most <= 0 {
		f.most = defaultMost
	}
	f.retry = &backoff.ExponentialBackOff{InitialInterval: firstWait, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: maxWait}
	f.retry.Reset()
	for ctx.Err() == nil {
		err := f.connect(ctx)
		if ctx.Err() != nil {
			break
		}
		select {
		case <-time.After(f.after(err)):
		case <-ctx.Done():
		}
	}
	return nil
}

// newTransport returns a transport of HTTP/1.1: it leaves a dead connection with
// the request that found it.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// endpoint reads the address of an issuer's endpoint.
func endpoint(text string, key jeton.Secret) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("revocation: the URL of the issuer is none, or has a user, a query or a fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !jeton.IsLoopback(u.Hostname())) {
		return nil, errors.New("revocation: the URL of the issuer must be https, or http to this machine: the guard's key goes there")
	}
	if key.IsZero() {
		return nil, errors.New("revocation: the guard's key is missing")
	}
	return u, nil
}

// A following is a Stream that runs.
type following struct {
	*Stream
	transport http.RoundTripper
	logger    *slog.Logger
	silence   time.Duration
	most      int
	retry     *backoff.ExponentialBackOff

	place    string        // up to which the table has everything; empty: nowhere
	instance *string       // of the issuer; nil: not met yet
	pending  []Event       // read and not yet in the table
	brief    time.Duration // how long the last connection was kept, since it came about slowly; zero: it did not
	swept    time.Time
	told     string // the kind of the last error that was logged; empty: all is well
}

// after logs how a connection ended, once, and returns how long to wait.
func (f *following) after(err error) time.Duration {
	if err == errRenew {
		return 0
	}
	wait, level, kind := f.retry.NextBackOff(), slog.LevelWarn, "broken"
	if status, ok := errors.AsType[*statusError](err); ok {
		wait, kind = max(wait, min(status.after, slowWait)), status.Error()
		if status.slow() {
			wait, level = slowWait/2+mathrand.N(slowWait), slog.LevelError
		}
	} else if err == errTooMany {
		wait, level, kind = slowWait/2+mathrand.N(slowWait), slog.LevelError, err.Error()
	}
	if f.told != kind {
		f.told = kind
		f.logger.Log(context.Background(), level, "revocations are not followed", "err", err)
	}
	return wait
}

// well is called when the table has everything. It returns errRenew if that may
// not be so any more.
func (f *following) well(now time.Time) error {
	f.retry.Reset()
	if f.told != "" || f.swept.IsZero() {
		f.told = ""
		f.logger.Info("revocations are followed", "events", f.Table.Len())
	}
	if f.swept.Round(0).Sub(now.Round(0)) > sweepEvery {
		// The clock was put back: the table was swept at a time that has yet to
		// come, and has lost what concerns tokens that are good again.
		f.place, f.swept = "", now
		return errRenew
	}
	if now.Sub(f.swept) > sweepEvery {
		f.swept = now
		f.Table.Sweep(now)
	}
	return nil
}

// connect follows over one connection until it ends.
func (f *following) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(f.silence, func() { cancel(errSilent) })
	defer watchdog.Stop()
	challenge, sent := rand.Text(), time.Now()
	answer, err := f.ask(ctx, challenge)
	if err == nil {
		defer func() { _ = answer.Body.Close() }()
		heard := func() { watchdog.Reset(f.silence) }
		err = f.read(newReader(answer.Body), challenge, sent, heard)
	}
	f.pending = f.pending[:0]
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// ask sends the request and returns an answer that is a stream.
func (f *following) ask(ctx context.Context, challenge string) (*http.Response, error) {
	u, err := endpoint(f.URL, f.Key)
	if err != nil {
		return nil, err
	}
	r := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{
		"Accept":          {"text/event-stream"},
		"Accept-Encoding": {"identity"}, // what compresses waits for more
		"Authorization":   {"Bearer " + f.Key.Reveal()},
		"Cache-Control":   {"no-store"},
		challengeHeader:   {challenge},
		"User-Agent":      {"jeton"},
	}}).WithContext(ctx)
	if f.place != "" {
		r.Header.Set("Last-Event-ID", f.place)
	}
	answer, err := f.transport.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("revocation: reach the issuer: %w", jeton.WithoutURL(err))
	}
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if answer.StatusCode != http.StatusOK || kind != "text/event-stream" {
		_ = answer.Body.Close()
		return nil, &statusError{answer.StatusCode, retryAfter(answer.Header)}
	}
	return answer, nil
}

func retryAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}

// read takes in what the issuer says until the connection ends.
func (f *following) read(r *reader, challenge string, sent time.Time, heard func()) error {
	m, err := r.next()
	if err == nil {
		err = f.greet(m, challenge)
	}
	if err != nil {
		return ended(err)
	}
	renew := sent.Add(f.keep(time.Since(sent)))
	for {
		m, err := r.next()
		if err != nil {
			return ended(err)
		}
		heard()
		switch m.event {
		case eventEnded:
			err = f.end(m, r.waiting())
		case eventBeat:
			if err = f.beat(m, sent); err == nil && time.Now().After(renew) {
				err = errRenew
			}
		}
		if err != nil {
			return err
		}
	}
}

// keep returns how long to keep a connection that came about in some time.
func (f *following) keep(cameIn time.Duration) time.Duration {
	keep := renewAfter
	if cameIn <= slowHello {
		f.brief = 0
	} else {
		f.brief = min(max(renewSoon, 2*f.brief), renewAfter)
		keep = f.brief
	}
	return keep + mathrand.N(keep/2)
}

// ended says in plain words that a connection ended.
func ended(err error) error {
	if err == io.EOF {
		return errors.New("revocation: the issuer ended the connection")
	}
	return fmt.Errorf("revocation: read from the issuer: %w", jeton.WithoutURL(err))
}

// greet reads who speaks.
func (f *following) greet(m message, challenge string) error {
	var h hello
	if m.event != eventHello {
		return errors.New("revocation: the issuer does not say hello")
	}
	if err := m.into(&h); err != nil {
		return err
	}
	if h.Version != streamVersion || h.Challenge != challenge {
		return errors.New("revocation: the answer is of another version, or to another request")
	}
	if f.instance != nil && *f.instance != h.Instance {
		f.logger.Warn("the issuer is another instance; what was known of the old one is forgotten")
		f.Table.Reset()
		f.place = ""
	}
	f.instance = &h.Instance
	return nil
}

// end takes in an event: at once, or with those that were received already.
func (f *following) end(m message, more bool) error {
	var e Event
	if err := m.into(&e); err != nil {
		return err
	}
	if err := e.check(); err != nil {
		return err
	}
	f.pending = append(f.pending, e)
	if more && len(f.pending) < batch && m.id == "" {
		return nil
	}
	return f.settle(m.id)
}

// settle puts what was read into the table, which then has everything up to a
// place, if that is not empty.
func (f *following) settle(place string) error {
	if f.Table.Len()+len(f.pending) > f.most {
		return errTooMany
	}
	f.Table.Add(f.pending...)
	f.pending = f.pending[:0]
	if len(place) > maxID {
		return errTooLarge
	}
	if place != "" {
		f.place = place
	}
	return nil
}

// beat takes in that the table has everything by some instant.
func (f *following) beat(m message, sent time.Time) error {
	var b beat
	err := m.into(&b)
	if err == nil {
		err = b.check()
	}
	if err == nil {
		err = f.settle(m.id)
	}
	if err != nil {
		return err
	}
	now := time.Now()
	if at, ok := b.complete(sent, now); ok {
		f.Table.Confirm(at)
	}
	if now.Sub(b.written(sent, now)) > f.silence {
		return errLate
	}
	return f.well(now)
}
