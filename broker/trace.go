package broker

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// A trail makes the spans of one attempt: one named login or refresh for each
// lease that it takes, and one named follow if it only watched another broker
// log in. An attempt is shared by all who wait for it, so their spans are
// linked and none is its parent. Nothing that the vendor or a caller wrote is
// in a span, but for a status, the code of a refusal, and which span a caller
// names as its own. The nil trail makes none.
type trail struct {
	k     *keeper
	want  want
	began time.Time // of the attempt; later of its next lease

	followed time.Time // since when it follows another broker; zero: it does not
	holder   string    // that broker

	mu      sync.Mutex
	readers []trace.Link // who waits, also for spans that are yet to begin
	running trace.Span   // nil: none yet
}

// maxLinks bounds the readers that a span names.
const maxLinks = 32

func newTrail(k *keeper, w want) *trail {
	if k.b.tracer == nil {
		return nil
	}
	return &trail{k: k, want: w, began: time.Now()}
}

// join links whoever waits for the attempt.
func (t *trail) join(ctx context.Context) {
	if t == nil {
		return
	}
	link := trace.LinkFromContext(ctx)
	same := func(l trace.Link) bool { return l.SpanContext.Equal(link.SpanContext) }
	t.mu.Lock()
	defer t.mu.Unlock()
	if !link.SpanContext.IsValid() || len(t.readers) == maxLinks || slices.ContainsFunc(t.readers, same) {
		return
	}
	t.readers = append(t.readers, link)
	if t.running != nil {
		t.running.AddLink(link)
	}
}

// follow notes that another broker has the lease.
func (t *trail) follow(other *lease) {
	if t != nil && t.followed.IsZero() {
		t.followed, t.holder = time.Now(), other.Holder
	}
}

// lead begins the span of a login that has the lease. A lease that was there
// before is one whose holder did not renew it.
func (t *trail) lead(l *login, before *lease) *span {
	if t == nil {
		return nil
	}
	s := t.start(l.kind, attribute.Int64("jeton.lease_wait_ms", time.Since(t.began).Milliseconds()))
	if !t.followed.IsZero() {
		s.AddEvent("followed another broker", trace.WithTimestamp(t.followed), trace.WithAttributes(attribute.String("jeton.holder", t.holder)))
	}
	if before != nil {
		s.event("lease taken over", attribute.String("jeton.holder", before.Holder))
	}
	t.began, t.followed = time.Now(), time.Time{}
	return s
}

// end ends the attempt; what it led has spans of its own.
func (t *trail) end(err error) {
	if t == nil || t.followed.IsZero() {
		return
	}
	s := t.start("follow", attribute.String("jeton.holder", t.holder))
	s.SetAttributes(attribute.Int64("jeton.generation", int64(t.k.view.Load().Generation)))
	s.outcome(followOutcome(err), "")
	s.end()
}

func followOutcome(err error) string {
	if out := outcome(err); out != "budget" {
		return out
	}
	return "backing_off" // what an UnavailableError means before there is a lease
}

func (t *trail) start(name string, more ...attribute.KeyValue) *span {
	a := t.k.account
	kind := trace.SpanKindClient
	if name == "follow" {
		kind = trace.SpanKindInternal
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	_, s := t.k.b.tracer.Start(context.Background(), name, trace.WithSpanKind(kind), trace.WithTimestamp(t.began), trace.WithLinks(t.readers...),
		trace.WithAttributes(append(more,
			attribute.String("jeton.account", a.Name),
			attribute.String("jeton.dialect", a.dialect().Name),
			attribute.String("jeton.asked", t.want.asked),
			attribute.String("jeton.broker", t.k.b.id))...))
	t.running = s
	return &span{s}
}

// A span is one of the broker's in a trace. The nil span is none.
type span struct{ trace.Span }

func (s *span) event(name string, attributes ...attribute.KeyValue) {
	if s != nil {
		s.AddEvent(name, trace.WithAttributes(attributes...))
	}
}

// spent notes under a name how long a part of it took.
func (s *span) spent(name string, since time.Time) {
	if s != nil {
		s.SetAttributes(attribute.Int64(name, time.Since(since).Milliseconds()))
	}
}

// sent notes a request by its method and host; the rest of a URL can hold
// secrets.
func (s *span) sent(method string, to *url.URL) {
	if s == nil {
		return
	}
	if !slices.Contains(methods, method) {
		method = "_OTHER"
	}
	s.SetAttributes(attribute.String("http.request.method", method), attribute.String("server.address", to.Hostname()))
	if port, err := strconv.Atoi(to.Port()); err == nil {
		s.SetAttributes(attribute.Int("server.port", port))
	}
}

// methods are those that are called by their names; others are a caller's text.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// answered notes the status of an answer.
func (s *span) answered(status int) {
	if s != nil {
		s.SetAttributes(attribute.Int("http.response.status_code", status))
	}
}

// brought notes what came of a login, as the record has it with its history.
func (s *span) brought(l *login, r *record, failure error) {
	if s == nil {
		return
	}
	s.SetName(l.kind) // login too where a refresh was refused
	s.SetAttributes(attribute.Int64("jeton.replaces", int64(l.rec.Generation)))
	if failure == nil {
		s.SetAttributes(attribute.Int64("jeton.generation", int64(r.Generation)))
	} else if wait := r.NotBefore.Sub(l.k.b.now()); wait > 0 {
		s.SetAttributes(attribute.Int64("jeton.retry_after_ms", wait.Milliseconds()))
	}
	s.outcome(outcome(failure), r.History[len(r.History)-1].Outcome)
}

// called notes the answer to a call through the egress proxy; a status of 0 is
// none.
func (s *span) called(status int) {
	switch {
	case s == nil:
	case status == 0:
		s.outcome("no_answer", "")
	default:
		s.answered(status)
		if status >= http.StatusBadRequest {
			s.SetStatus(codes.Error, "")
		}
	}
}

// outcome sets the outcome, and the status with what people are told of it.
func (s *span) outcome(out, text string) {
	s.SetAttributes(attribute.String("jeton.outcome", out))
	if out != "ok" {
		s.SetAttributes(attribute.String("error.type", out))
		s.SetStatus(codes.Error, text)
	}
}

func (s *span) end() {
	if s != nil {
		s.End()
	}
}

// outcome is that of the metrics, and two for logins that were not sent.
func outcome(failure error) string {
	if _, ok := errors.AsType[*UnavailableError](failure); ok {
		return "budget"
	}
	if latched, ok := errors.AsType[*LatchedError](failure); ok {
		return string(latched.Code)
	}
	if errors.Is(failure, errStopping) || errors.Is(failure, context.Canceled) {
		return "stopping"
	}
	return outcomeOf(failure)
}

// traced returns the request with the caller's span in its context, if it
// names one and somebody wants to know.
func (b *Broker) traced(r *http.Request) *http.Request {
	if b.tracer == nil || r.Header["Traceparent"] == nil {
		return r
	}
	return r.WithContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
}

// traceCall begins the span of a call through the egress proxy. Unlike a
// login, a call belongs to one caller, so the span is a part of the caller's
// trace; where there is no such trace there is no span.
func (b *Broker) traceCall(r *http.Request, account string, to *url.URL) (*http.Request, *span) {
	traced := b.traced(r)
	if !trace.SpanContextFromContext(traced.Context()).IsValid() || b.tracer == nil {
		return r, nil
	}
	ctx, s := b.tracer.Start(traced.Context(), "call", trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("jeton.account", account), attribute.String("jeton.broker", b.id)))
	call := &span{s}
	call.sent(r.Method, to)
	return traced.WithContext(ctx), call
}

// propagate sets what a vendor learns of traces: nothing, unless the broker is
// to tell. A trace's headers are for those who share its back end, and baggage
// is whatever a caller wrote.
func (b *Broker) propagate(ctx context.Context, h http.Header) {
	if b.Propagate && b.tracer == nil {
		return // the caller's own
	}
	for _, name := range (propagation.TraceContext{}).Fields() {
		h.Del(name)
	}
	h.Del("baggage")
	if b.Propagate {
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
	}
}
