package guard

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// An exchange is one call on its way through the proxy. It is the writer of the
// answer, so that it can end an answer which the client does not take.
type exchange struct {
	http.ResponseWriter
	guard  *Guard
	expiry time.Time // of the token
	ctx    context.Context
	end    context.CancelCauseFunc
	last   bool     // the connection is to be closed after this answer
	age    []string // HeaderAge of the answer
	left   int64    // of an answer whose length is known: what is still to come

	unread atomic.Bool // the body of the request could not be read to its end

	moved atomic.Int64 // when something was last seen of the upstream, in nanoseconds since started

	started time.Time
	uncut   func() bool // stops what cutWithContext started

	mu     sync.Mutex    // guards what follows and is held while a deadline is set
	over   bool          // the connection may be at the next call
	begun  bool          // the answer has begun
	conn   net.Conn      // after a switch of protocols
	timers []*time.Timer // of CallTimeout and of the token
	idle   *time.Timer   // of IdleTimeout
}

// newExchange returns the exchange of a call whose request is the guard's own.
func (g *Guard) newExchange(w http.ResponseWriter, r *http.Request) *exchange {
	call := callOf(r.Context())
	x := &exchange{ResponseWriter: w, guard: g, expiry: call.claims.Expiry, ctx: call.ctx, end: call.end, age: w.Header()[HeaderAge], started: time.Now()}
	call.exchange = x
	// The length of a chunked request is what the chunks say, and the connection
	// ends with it: if a Content-Length stood there too, which net/http does not
	// tell, a proxy in front may have taken what follows for a part of this
	// request (RFC 9112 section 6.3).
	x.last = r.ProtoMajor == 1 && len(r.TransferEncoding) > 0
	if g.CallTimeout > 0 {
		x.after(g.CallTimeout, func() { x.end(errSlow) })
	}
	if r.ContentLength != 0 {
		r.Body = &clientBody{r.Body, x}
		x.cutWithContext()
	}
	return x
}

// exchangeOf returns the exchange that a request of the proxy belongs to.
func exchangeOf(r *http.Request) *exchange { return callOf(r.Context()).exchange }

// after calls f some time later, if the exchange is not over by then.
func (x *exchange) after(d time.Duration, f func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.timers = append(x.timers, time.AfterFunc(d, f))
	}
}

// close ends what waits for the exchange.
func (x *exchange) close() {
	if x.uncut != nil {
		x.uncut()
	}
	x.mu.Lock()
	x.over = true
	for _, t := range x.timers {
		t.Stop()
	}
	if x.idle != nil {
		x.idle.Stop()
	}
	x.mu.Unlock()
	x.end(nil)
}

// errTooLong ends an answer that has more than MaxResponse bytes.
var errTooLong = errors.New("guard: the answer is too long")

// answered prepares an answer of the upstream to be passed on.
func (x *exchange) answered(answer *http.Response) error {
	dropForeign(answer.Header)
	dropForeign(answer.Trailer)
	upgraded := answer.StatusCode == http.StatusSwitchingProtocols
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	endless := upgraded || strings.EqualFold(strings.TrimSpace(kind), "text/event-stream")
	limit := x.guard.MaxResponse
	if endless || limit == 0 {
		limit = -1
	}
	hasBody := answer.Request.Method != http.MethodHead && answer.StatusCode != http.StatusNotModified
	if limit >= 0 && hasBody && answer.ContentLength > limit {
		return errTooLong
	}
	if endless && !x.expiry.IsZero() {
		x.after(time.Until(x.expiry), func() { x.end(errExpired) })
	}
	x.left = answer.ContentLength
	idle := x.guard.IdleTimeout
	if idle > 0 {
		x.touch()
		x.watchIdle(idle)
	}
	if len(answer.Trailer) > 0 { // HTTP/2 has them beside a length, HTTP/1.1 not
		answer.Header.Del("Content-Length")
		answer.ContentLength = -1
	}
	if idle == 0 && !upgraded && answer.ProtoMajor == 1 && answer.ContentLength >= 0 && answer.ContentLength <= 64<<10 {
		return nil // is through at once, and no longer than it says
	}
	x.cutWithContext()
	body := &answerBody{answer.Body, x, answer, limit}
	answer.Body = body
	if back, ok := body.ReadCloser.(io.ReadWriteCloser); ok && upgraded {
		answer.Body = &upgradedBody{body, back}
	}
	return nil
}

// touch notes that the upstream lives.
func (x *exchange) touch() { x.moved.Store(int64(time.Since(x.started))) }

func (x *exchange) watchIdle(d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.idle = time.AfterFunc(d, x.checkIdle)
}

// checkIdle ends the exchange if nothing moved for IdleTimeout, and else comes
// again when that could be.
func (x *exchange) checkIdle() {
	still := time.Since(x.started) - time.Duration(x.moved.Load())
	if still >= x.guard.IdleTimeout {
		x.end(errSlow)
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.over {
		x.idle.Reset(x.guard.IdleTimeout - still)
	}
}

// cutWithContext is for exchanges that may wait for the client: neither a reader
// nor a writer hears of a context.
func (x *exchange) cutWithContext() {
	if x.uncut == nil {
		x.uncut = context.AfterFunc(x.ctx, x.cut)
	}
}

// cut ends what waits for the client, unless the exchange is over.
func (x *exchange) cut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.over:
	case x.conn != nil:
		_ = x.conn.Close()
	default:
		c := http.NewResponseController(x.ResponseWriter)
		_ = c.SetReadDeadline(time.Now())
		if x.begun {
			_ = c.SetWriteDeadline(time.Now())
		}
	}
}

// Unwrap is for [http.ResponseController].
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader begins the answer. What stood in the header before is gone if the
// upstream sent an interim answer.
func (x *exchange) WriteHeader(status int) {
	if x.last && status >= 200 {
		x.Header().Set("Connection", "close")
	}
	if x.age != nil {
		x.Header()[HeaderAge] = x.age
	}
	x.mu.Lock()
	x.begun = x.begun || status >= 200
	x.mu.Unlock()
	x.ResponseWriter.WriteHeader(status)
}

// Write passes a part of the answer on. What ReverseProxy does not flush, since
// it knows how long the answer is, is flushed unless it is the end.
func (x *exchange) Write(p []byte) (int, error) {
	n, err := x.ResponseWriter.Write(p)
	if x.left > 0 {
		if x.left -= int64(n); x.left > 0 && err == nil {
			err = http.NewResponseController(x.ResponseWriter).Flush()
		}
	}
	return n, err
}

// Hijack gives the connection away, as a switch of protocols does.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	x.mu.Lock()
	x.conn = conn
	x.mu.Unlock()
	if x.ctx.Err() != nil {
		_ = conn.Close() // cut came too early to know of it
	}
	return conn, rw, nil
}

// A clientBody is read from the client and sent to the upstream.
type clientBody struct {
	io.ReadCloser
	x *exchange
}

// Read reads from the client.
func (b *clientBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.x.unread.Store(true)
	}
	return n, err
}

// An answerBody is read by the proxy and written to the client.
type answerBody struct {
	io.ReadCloser
	x      *exchange
	answer *http.Response
	left   int64 // that may still come; negative: whatever comes
}

// Read reads from the upstream.
func (b *answerBody) Read(p []byte) (int, error) {
	if b.left >= 0 && int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.x.guard.IdleTimeout > 0 {
		b.x.touch()
	}
	if b.left >= 0 {
		if b.left -= int64(n); b.left < 0 {
			b.left = 0
			b.x.guard.log("guard: an answer was cut off", b.answer.Request, errTooLong)
			return 0, context.Canceled // of which ReverseProxy makes no second line in the log
		}
	}
	if err != nil && err != io.EOF && b.x.ctx.Err() != nil {
		err = context.Canceled
	}
	return n, err
}

// Close ends the answer; its trailers are known now.
func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	dropForeign(b.answer.Trailer)
	return err
}

// An upgradedBody is the connection to an upstream that took another protocol.
type upgradedBody struct {
	*answerBody
	to io.Writer
}

// Write sends to the upstream.
func (b *upgradedBody) Write(p []byte) (int, error) {
	if b.x.guard.IdleTimeout > 0 {
		b.x.touch()
	}
	return b.to.Write(p)
}
