package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/yamlnode"
)

// A tracesConfig says where the broker's traces go.
type tracesConfig struct {
	otlp      *url.URL // base of the collector; spans go to /v1/traces below it
	headers   []headerConfig
	sample    float64 // the part of logins that are traced, from 0 to 1
	propagate bool    // traceparent goes on to vendors
}

// A headerConfig is a header for the collector.
type headerConfig struct {
	name string
	from reference
}

var validHeader = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

func (p *parser) traces(n yamlnode.Node) *tracesConfig {
	c := &tracesConfig{sample: 1}
	if !p.mapping(n, "traces", tracesKeys.names()...) {
		return c
	}
	if v, ok := n.Get("otlp"); ok {
		c.otlp = p.url(v, "traces.otlp")
	} else {
		p.fail(n, "traces.otlp is missing: the URL of the collector, such as http://127.0.0.1:4318")
	}
	if v, ok := n.Get("headers"); ok && p.mapping(v, "traces.headers") {
		for _, pair := range v.Pairs {
			name := pair.Key.Text
			if !validHeader.MatchString(name) {
				p.fail(pair.Key, "traces.headers: %s is no name of a header", yamlnode.Quote(name))
			} else if refs := p.references(pair.Value, "traces.headers."+name); len(refs) > 1 {
				p.fail(pair.Value, "traces.headers.%s is to be one reference", name)
			} else if len(refs) == 1 {
				c.headers = append(c.headers, headerConfig{name, refs[0]})
			}
		}
	}
	if c.otlp != nil && c.otlp.Scheme != "https" && len(c.headers) > 0 && !jeton.IsLoopback(c.otlp.Hostname()) {
		v, _ := n.Get("otlp")
		p.fail(v, "traces.otlp: http:// shows the headers to the network; write https://, or have the collector on this machine")
	}
	if v, ok := n.Get("sample"); ok && p.want(v, "traces.sample", yamlnode.Number) {
		sample, err := strconv.ParseFloat(v.Text, 64)
		if c.sample = sample; err != nil || !(sample >= 0 && sample <= 1) {
			p.fail(v, "traces.sample is to be a part of all logins, from 0 to 1")
		}
	}
	if v, ok := n.Get("propagate"); ok && p.want(v, "traces.propagate", yamlnode.Bool) {
		c.propagate = v.Text == "true"
	}
	return c
}

func (c *tracesConfig) tree() yaml.MapSlice {
	t := yaml.MapSlice{{Key: "otlp", Value: c.otlp.String()}}
	headers := yaml.MapSlice{}
	for _, h := range c.headers {
		headers = append(headers, yaml.MapItem{Key: h.name, Value: h.from.text()})
	}
	if len(headers) > 0 {
		t = append(t, yaml.MapItem{Key: "headers", Value: headers})
	}
	return append(t, yaml.MapItem{Key: "sample", Value: c.sample}, yaml.MapItem{Key: "propagate", Value: c.propagate})
}

// newTraces returns what makes spans and sends them to the collector that the
// configuration names. Spans wait in memory, and those for which there is no
// room are dropped: who makes them never waits. Where they go and what with is
// up to the configuration alone, so every option is given that the exporter
// would else take from the environment.
func newTraces(c *tracesConfig, instance string, logger *slog.Logger) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptracehttp.New(context.Background(),
		otlptracehttp.WithEndpointURL(c.otlp.JoinPath("v1/traces").String()),
		otlptracehttp.WithHeaders(nil), // the transport sets them
		otlptracehttp.WithHTTPClient(newCollector(c)),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: time.Second, MaxInterval: 5 * time.Second, MaxElapsedTime: exportTimeout}),
	)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&patientExporter{SpanExporter: exporter, logger: logger},
			sdktrace.WithBatchTimeout(2*time.Second), sdktrace.WithExportTimeout(2*exportTimeout),
			sdktrace.WithMaxQueueSize(2048), sdktrace.WithMaxExportBatchSize(512)),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.sample))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "jeton"),
			attribute.String("service.version", buildVersion()),
			attribute.String("service.instance.id", instance))),
	), nil
}

// exportTimeout bounds one request to the collector.
const exportTimeout = 10 * time.Second

// A collector is the way to an OTLP collector. It reads the headers anew for
// each request, so that a secret may change, and keeps the text of refusals
// out of errors: it could repeat them. They follow no redirect.
type collector struct {
	http.RoundTripper
	headers []headerConfig
}

func newCollector(c *tracesConfig) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // would be that of the environment
	return &http.Client{
		Transport:     collector{transport, c.headers},
		Timeout:       exportTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RoundTrip sends one batch of spans.
func (c collector) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for _, h := range c.headers {
		secret, err := h.from.read()
		if err != nil {
			_ = r.Body.Close()
			return nil, err
		}
		r.Header.Set(h.name, secret.Reveal())
	}
	answer, err := c.RoundTripper.RoundTrip(r)
	if err == nil && answer.StatusCode >= http.StatusMultipleChoices {
		_ = answer.Body.Close()
		answer.Body = http.NoBody
	}
	return answer, err
}

// A patientExporter says once that spans do not arrive, and once that they do
// again. It is called by one goroutine at a time.
type patientExporter struct {
	sdktrace.SpanExporter
	logger *slog.Logger
	lost   int // spans since it last worked
}

// ExportSpans sends spans, and drops what cannot be sent.
func (e *patientExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && e.lost == 0:
		e.logger.Warn("traces could not be sent; nothing else is affected", "error", jeton.WithoutURL(err))
	case err == nil && e.lost > 0:
		e.logger.Info("traces are sent again", "lost", e.lost)
	}
	if e.lost += len(spans); err == nil {
		e.lost = 0
	}
	return nil
}
