package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/jetonhq/jeton/store/storetest"
)

// A fakeCollector takes OTLP over HTTP, as a collector does.
type fakeCollector struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []*tracepb.Span
	resource map[string]string
	raw      []byte // all bodies
	headers  []http.Header
	problems []string
}

func newFakeCollector(t *testing.T) *fakeCollector {
	c := &fakeCollector{resource: map[string]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(c.Close)
	return c
}

func (c *fakeCollector) take(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	body, err := gzip.NewReader(r.Body)
	if err != nil {
		c.problems = append(c.problems, err.Error())
		return
	}
	raw, _ := io.ReadAll(body)
	var request collectorpb.ExportTraceServiceRequest
	if err := proto.Unmarshal(raw, &request); err != nil || r.Method != "POST" || r.URL.String() != "/base/v1/traces" {
		c.problems = append(c.problems, r.Method+" "+r.URL.String())
	}
	c.raw, c.headers = append(c.raw, raw...), append(c.headers, r.Header)
	for _, of := range request.ResourceSpans {
		for _, a := range of.Resource.Attributes {
			c.resource[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range of.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// count returns how many requests came.
func (c *fakeCollector) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.headers) + len(c.problems)
}

// serveTraced starts a server whose account a logs in to a vendor, asks it for
// a token, interrupts it, and returns what it said.
func serveTraced(t *testing.T, traces string, env ...string) (said string, took time.Duration) {
	vendor := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"canary-token","expires_in":86400,"token_type":"Bearer","refresh_token":"none"}`)
	}))
	defer vendor.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"password": "canary-password", "otlp": "Bearer canary-header",
		"jeton.yaml": "broker:\n  listen: unix:broker.sock\n  accounts: {a: {dialect: iadvize, origin: \"" + vendor.URL +
			"\", username: ann, password: file:password}}\ntraces: " + traces + "\n",
	} {
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "jeton", "serve", "-c", dir+"/jeton.yaml")
	cmd.Env = append(os.Environ(), env...)
	var talk bytes.Buffer
	cmd.Stderr = &talk
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client, base := address{text: "unix:" + dir + "/broker.sock"}.client()
	for {
		answer, err := client.Get(base + "/v1/tokens/a")
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("status %d", answer.StatusCode)
		}
		break
	}
	took = end(t, cmd)
	return talk.String(), took
}

// TestTracesReachTheCollector: what a server did just before it was
// interrupted is with the collector that its file names, and with no other;
// no secret is.
func TestTracesReachTheCollector(t *testing.T) {
	var collector, other *fakeCollector
	var said string
	if !sometime(func() bool { // the server has less than a second to send them
		collector, other = newFakeCollector(t), newFakeCollector(t)
		said, _ = serveTraced(t, `{otlp: "`+collector.URL+`/base", headers: {authorization: file:otlp}}`,
			"OTEL_EXPORTER_OTLP_ENDPOINT="+other.URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+other.URL,
			"OTEL_EXPORTER_OTLP_HEADERS=x-from=environment", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json",
			"OTEL_TRACES_SAMPLER=always_off", "OTEL_SERVICE_NAME=other", "OTEL_RESOURCE_ATTRIBUTES=k8s.pod.name=pod-1")
		return collector.count() > 0
	}) {
		t.Fatalf("no span came\n%s", said)
	}
	collector.mu.Lock()
	defer collector.mu.Unlock()
	if len(collector.spans) != 1 || len(collector.problems) > 0 || other.count() > 0 {
		t.Fatalf("%d spans, %v; %d requests elsewhere\n%s", len(collector.spans), collector.problems, other.count(), said)
	}
	s := collector.spans[0]
	got := map[string]*commonpb.AnyValue{}
	for _, a := range s.Attributes {
		got[a.Key] = a.Value
	}
	if s.Name != "login" || s.Kind != tracepb.Span_SPAN_KIND_CLIENT || got["jeton.account"].GetStringValue() != "a" ||
		got["jeton.outcome"].GetStringValue() != "ok" || got["jeton.generation"].GetIntValue() != 1 || got["http.response.status_code"].GetIntValue() != 200 {
		t.Errorf("span %v", s)
	}
	if r := collector.resource; r["service.name"] != "jeton" || r["service.version"] == "" || r["service.instance.id"] == "" || r["k8s.pod.name"] != "pod-1" {
		t.Errorf("resource %v", r)
	}
	if h := collector.headers[0]; h.Get("Authorization") != "Bearer canary-header" || h.Get("X-From") != "" {
		t.Errorf("headers %v", h)
	}
	for _, text := range []string{string(collector.raw), said} {
		if strings.Contains(text, "canary") {
			t.Errorf("a secret is in %q", text)
		}
	}
}

// TestNoProxy: spans, and what goes with them, take no way that is not in the
// file. A proxy of the environment is for other programs, or for vendors.
func TestNoProxy(t *testing.T) {
	proxy := newFakeCollector(t)
	serveTraced(t, `{otlp: "http://192.0.2.1:4318/base"}`, // an address of nobody; a local one would have no proxy
		"HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if n := proxy.count(); n > 0 {
		t.Errorf("%d batches went to a proxy of the environment", n)
	}
}

// TestNoCollector: a server whose collector is away, deaf or unwilling gives
// out tokens and says once that traces do not arrive.
func TestNoCollector(t *testing.T) {
	unwilling := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "canary: "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	}))
	defer unwilling.Close()
	away, err := storetest.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{unwilling.URL, "http://" + away} {
		if !sometime(func() bool { // the collector has less than a second to answer
			said, _ := serveTraced(t, `{otlp: "`+to+`", headers: {authorization: file:otlp}}`)
			n := strings.Count(said, "traces could not be sent")
			if n > 1 {
				t.Errorf("it said so %d times: %s", n, said)
			}
			if strings.Contains(said, "canary") {
				t.Errorf("a secret, or the collector's text, is in the log: %s", said)
			}
			return n == 1 || to != unwilling.URL
		}) {
			t.Errorf("%s: nothing was said", to)
		}
	}
}

// TestEndsWithDeafCollector: a collector that takes connections and never
// answers does not keep a server from ending.
func TestEndsWithDeafCollector(t *testing.T) {
	deaf := deafListener(t)
	withinASecond(t, func(t *testing.T) time.Duration {
		_, took := serveTraced(t, `{otlp: "http://`+deaf+`"}`)
		return took
	})
}

func deafListener(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// TestSpansDoNotWait: whoever ends a span goes on at once, however many there
// are and though the collector never answers.
func TestSpansDoNotWait(t *testing.T) {
	to, _ := url.Parse("http://" + deafListener(t))
	p, err := newTraces(&tracesConfig{otlp: to, sample: 1}, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		for range 20_000 { // ten times the room that there is
			_, s := p.Tracer("test").Start(context.Background(), "login")
			s.End()
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute): // were one to wait, it would be for longer
		t.Error("spans wait for the collector")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = p.Shutdown(ended)
}

// failingExporter fails as long as it is told to.
type failingExporter struct {
	sdktrace.SpanExporter
	err error
}

func (f *failingExporter) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return f.err }

// TestTracesAreMissedOnce: an outage is two lines in the log, however long.
func TestTracesAreMissedOnce(t *testing.T) {
	var log bytes.Buffer
	f := &failingExporter{err: &url.Error{Op: "Post", URL: "http://collector/canary", Err: errors.New("connection refused")}}
	e := &patientExporter{SpanExporter: f, logger: slog.New(slog.NewTextHandler(&log, nil))}
	spans := tracetest.SpanStubs{{Name: "login"}, {Name: "login"}}.Snapshots()
	for range 100 {
		if err := e.ExportSpans(t.Context(), spans); err != nil {
			t.Error(err)
		}
	}
	f.err = nil
	for range 2 {
		_ = e.ExportSpans(t.Context(), spans)
	}
	text := log.String()
	if strings.Count(text, "\n") != 2 || !strings.Contains(text, "connection refused") || !strings.Contains(text, "lost=200") || strings.Contains(text, "canary") {
		t.Errorf("the log: %s", text)
	}
}
