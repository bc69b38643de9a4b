package revocation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jetonhq/jeton"
)

// canaryPrefix stands before what a guard asks to be ended, so that this is
// never the jti of a token: those have no hyphen.
const canaryPrefix = "canary-"

// CanaryToken returns the token ID that ends for a canary, and false if the name
// is none: 16 to 64 letters and digits.
func CanaryToken(name string) (jti string, ok bool) {
	if len(name) < 16 || len(name) > 64 {
		return "", false
	}
	for i := range len(name) {
		c := name[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return "", false
		}
	}
	return canaryPrefix + name, true
}

// A Canary measures all the time how long a revocation takes to arrive: it asks
// the issuer to end a token that does not exist, and waits until the table knows
// of it. What it measures goes the way of a real revocation, through the
// issuer's store, and begins before the request is sent: it is rather too much
// than too little. Only one clock is read, its own.
//
// URL, Key, Table and Observe must be there.
type Canary struct {
	URL   string       // the endpoint of the Stream that fills the table
	Key   jeton.Secret // as of the Stream
	Table *Table

	// Observe is called after each measurement. Those that did not arrive within
	// MaxStale are lost; their delay is at least what is given.
	Observe func(delay time.Duration, lost bool)

	Every     time.Duration     // zero: 10 s
	MaxStale  time.Duration     // zero: 30 s
	Transport http.RoundTripper // nil: one of its own
	Logger    *slog.Logger      // nil: slog.Default
}

// Run measures until ctx ends, and then returns nil. It returns an error at once
// if the fields are wrong.
func (c *Canary) Run(ctx context.Context) error {
	if _, err := endpoint(c.URL, c.Key); err != nil {
		return err
	}
	f := flight{Canary: c, transport: c.Transport, maxStale: c.MaxStale}
	if f.transport == nil {
		t := newTransport()
		defer t.CloseIdleConnections()
		f.transport = t
	}
	if f.maxStale <= 0 {
		f.maxStale = 30 * time.Second
	}
	logger, every := c.Logger, c.Every
	if logger == nil {
		logger = slog.Default()
	}
	if every <= 0 {
		every = 10 * time.Second
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	failed := false
	for ctx.Err() == nil {
		err := f.measure(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			logger.Warn("the delay of revocations is not measured", "err", err)
		}
		failed = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// A flight is a Canary that runs.
type flight struct {
	*Canary
	transport http.RoundTripper
	maxStale  time.Duration
}

// measure sends one canary and waits for it. The error says why it cannot be
// known to have been sent. One whose answer was lost may arrive all the same; it
// is lost if it does not.
func (f flight) measure(ctx context.Context) error {
	name := rand.Text()
	jti, _ := CanaryToken(name)
	claims := &jeton.Claims{ID: jti}
	ctx, cancel := context.WithTimeout(ctx, f.maxStale)
	defer cancel()
	start := time.Now()
	asked := make(chan error, 1)
	go func() { asked <- f.ask(ctx, name) }()
	defer func() {
		if asked != nil {
			<-asked // the canary may be faster than the answer
		}
	}()
	var failed error
	for {
		changed := f.Table.Changed()
		if f.Table.Ended(claims) != nil {
			f.Observe(time.Since(start), false)
			return nil
		}
		select {
		case <-changed:
		case failed = <-asked:
			asked = nil
			if refused, ok := errors.AsType[*statusError](failed); ok && refused.status < 500 {
				return failed // it was never sent
			}
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				f.Observe(time.Since(start), true)
			}
			return failed
		}
	}
}

// ask has the issuer end the canary.
func (f flight) ask(ctx context.Context, name string) error {
	u, err := endpoint(f.URL, f.Key)
	if err != nil {
		return err
	}
	body := url.Values{"canary": {name}}.Encode()
	r := (&http.Request{Method: http.MethodPost, URL: u, Host: u.Host, Header: http.Header{
		"Accept":        {"application/json"},
		"Authorization": {"Bearer " + f.Key.Reveal()},
		"Content-Type":  {"application/x-www-form-urlencoded"},
		"User-Agent":    {"jeton"},
	}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}).WithContext(ctx)
	answer, err := f.transport.RoundTrip(r)
	if err != nil {
		return fmt.Errorf("revocation: reach the issuer: %w", jeton.WithoutURL(err))
	}
	_, _ = io.CopyN(io.Discard, answer.Body, maxMessage) // so that the connection is used again
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		return &statusError{answer.StatusCode, retryAfter(answer.Header)}
	}
	return nil
}
