package main

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/guard/graphql"
	"github.com/jetonhq/jeton/revocation"
)

// guardMetrics are what the guards of a process count, in a registry of their
// own. Labels name upstreams of the configuration and codes of RFC 6750, never
// what a client sent.
type guardMetrics struct {
	registry  *prometheus.Registry
	decisions *prometheus.CounterVec
	delay     *prometheus.HistogramVec
	lost      *prometheus.CounterVec
}

// delays are the buckets of the revocation delay, in seconds.
var delays = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func newGuardMetrics() *guardMetrics {
	m := &guardMetrics{
		registry: prometheus.NewRegistry(),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jeton_guard_decisions_total",
			Help: "Calls that were decided, by upstream and outcome: ok, no_token, method, too_large, not_persisted, or the code of the refusal.",
		}, []string{"upstream", "outcome"}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "jeton_guard_revocation_delay_seconds",
			Help:    "Time from asking the issuer to end a made-up token until this guard had heard of it.",
			Buckets: delays,
		}, []string{"upstream"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jeton_guard_revocations_lost_total",
			Help: "Made-up tokens of whose end this guard did not hear in time.",
		}, []string{"upstream"}),
	}
	m.registry.MustRegister(m.decisions, m.delay, m.lost)
	return m
}

// age exports how old a table is when somebody asks.
func (m *guardMetrics) age(upstream string, table *revocation.Table) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "jeton_guard_revocations_age_seconds",
		Help:        "How old the knowledge of what ended is; -1: there is none.",
		ConstLabels: prometheus.Labels{"upstream": upstream},
	}, func() float64 {
		if age, ok := table.Age(time.Now()); ok {
			return age.Seconds()
		}
		return -1
	}))
}

// decided returns what counts the decisions about an upstream. It is called
// for every call, so the counters are looked up once.
func (m *guardMetrics) decided(upstream string) func(error) {
	ok := m.decisions.WithLabelValues(upstream, "ok")
	return func(err error) {
		if err == nil {
			ok.Inc()
			return
		}
		m.decisions.WithLabelValues(upstream, outcome(err)).Inc()
	}
}

// outcome names a refusal.
func outcome(err error) string {
	if errors.Is(err, dialect.ErrNoCredentials) {
		return "no_token"
	}
	if _, ok := errors.AsType[*dialect.MethodError](err); ok {
		return "method"
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return "too_large"
	}
	if e, ok := errors.AsType[*jeton.Error](err); ok {
		return string(e.Code)
	}
	if e, ok := errors.AsType[*graphql.Error](err); ok {
		if e.Code == graphql.NotPersisted {
			return "not_persisted" // and the client sends the document
		}
		return string(jeton.InvalidRequest)
	}
	return string(jeton.Unavailable)
}

// heard returns what counts how long a made-up revocation took.
func (m *guardMetrics) heard(upstream string) func(delay time.Duration, missed bool) {
	delay, lost := m.delay.WithLabelValues(upstream), m.lost.WithLabelValues(upstream)
	return func(took time.Duration, missed bool) {
		if missed {
			lost.Inc()
		}
		delay.Observe(took.Seconds())
	}
}

// handler answers at /metrics.
func (m *guardMetrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
