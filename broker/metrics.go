package broker

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// metrics are what a broker counts, in a registry of its own. What is known of
// an account anyway is read when somebody asks for the metrics. No label has a
// value that comes from outside: accounts are those of the configuration.
type metrics struct {
	named     bool // accounts have series of their own
	registry  *prometheus.Registry
	exchanges *prometheus.CounterVec   // :: account, kind, outcome
	egress    *prometheus.CounterVec   // :: account, class
	handover  *prometheus.HistogramVec // :: account
	store     *prometheus.CounterVec   // :: operation
}

func newMetrics(b *Broker) *metrics {
	m := &metrics{
		named:    len(b.Accounts) <= maxSeries,
		registry: prometheus.NewRegistry(),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jeton_broker_exchanges_total", Help: "Logins and refreshes sent to vendors, by outcome."}, []string{"account", "kind", "outcome"}),
		egress: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jeton_broker_egress_calls_total", Help: "Calls through the egress proxy, by class of the answer's status."}, []string{"account", "class"}),
		handover: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "jeton_broker_handover_seconds", Help: "How long calls were held while a token that ends the one before it was fetched.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"account"}),
		store: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jeton_broker_store_errors_total", Help: "Reads and writes of the store that failed."}, []string{"operation"}),
	}
	m.registry.MustRegister(m.exchanges, m.egress, m.handover, m.store, gauges{b})
	return m
}

// maxSeries bounds the accounts that have series of their own: six each, and
// more as things happen. With more accounts the label account is empty, which
// Prometheus takes for absent, and what is told of one account is left out.
const maxSeries = 5000

// label is the account as a label.
func (m *metrics) label(account string) string {
	if m.named {
		return account
	}
	return ""
}

// exchanged counts one exchange with a vendor.
func (m *metrics) exchanged(account string, x *dialect.Exchange, err error) {
	kind := "login"
	if x.Kind == dialect.KindRefresh {
		kind = "refresh"
	}
	m.exchanges.WithLabelValues(m.label(account), kind, outcomeOf(err)).Inc()
}

// outcomeOf says in a word how an exchange ended.
func outcomeOf(err error) string {
	if refusal, ok := errors.AsType[*jeton.Error](err); ok {
		return string(refusal.Code)
	}
	if _, ok := errors.AsType[notSent](err); ok {
		return "not_sent"
	}
	if err != nil {
		return "unknown"
	}
	return "ok"
}

var classes = [...]string{1: "1xx", "2xx", "3xx", "4xx", "5xx"}

// called counts one call through the egress proxy; a status of 0 is no answer.
func (m *metrics) called(account string, status int) {
	class := "none"
	if status >= 100 && status < 600 {
		class = classes[status/100]
	}
	m.egress.WithLabelValues(m.label(account), class).Inc()
}

// gauges collects what the broker knows of its accounts.
type gauges struct{ b *Broker }

var (
	waitingDesc    = prometheus.NewDesc("jeton_broker_readers_waiting", "Readers that wait for a login now.", nil, nil)
	accountsDesc   = prometheus.NewDesc("jeton_broker_accounts", "Accounts by how they are doing.", []string{"state"}, nil)
	followersDesc  = prometheus.NewDesc("jeton_broker_followers", "Long polls and streams that are open now.", nil, nil)
	obtainedDesc   = prometheus.NewDesc("jeton_broker_token_obtained_timestamp_seconds", "When the token came.", []string{"account"}, nil)
	expiryDesc     = prometheus.NewDesc("jeton_broker_token_expiry_timestamp_seconds", "When the token expires.", []string{"account"}, nil)
	generationDesc = prometheus.NewDesc("jeton_broker_token_generation", "Logins and refreshes that brought a token.", []string{"account"}, nil)
	goodDesc       = prometheus.NewDesc("jeton_broker_token_good", "1 if there is a token that may be given out.", []string{"account"}, nil)
	latchedDesc    = prometheus.NewDesc("jeton_broker_latched", "1 if the vendor refused the credentials and no login is tried.", []string{"account"}, nil)
	permissionDesc = prometheus.NewDesc("jeton_broker_permission_problem", "1 if the vendor's API rejects fresh tokens.", []string{"account"}, nil)
	lagDesc        = prometheus.NewDesc("jeton_broker_sink_lag_seconds", "For how long a sink has lacked a token that is good.", []string{"account", "sink"}, nil)
	writesDesc     = prometheus.NewDesc("jeton_broker_sink_writes_total", "Tokens written to a sink, by outcome.", []string{"account", "sink", "outcome"}, nil)
)

// Describe sends the descriptions.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{waitingDesc, followersDesc, accountsDesc, obtainedDesc, expiryDesc, generationDesc, goodDesc, latchedDesc, permissionDesc, lagDesc, writesDesc} {
		ch <- d
	}
}

// Collect sends the values. It reads memory only.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	truth := func(d *prometheus.Desc, is bool, account string) {
		v := 0.0
		if is {
			v = 1
		}
		gauge(d, v, account)
	}
	gauge(waitingDesc, float64(g.b.waiting.Load()))
	gauge(followersDesc, float64(g.b.followers.Load()))
	now := g.b.now()
	count := map[string]int{}
	defer func() {
		for _, state := range states {
			gauge(accountsDesc, float64(count[state]), state)
		}
	}()
	for _, a := range g.b.Accounts {
		for _, c := range a.Sinks {
			if !g.b.metrics.named {
				break
			}
			gauge(lagDesc, c.Lag(time.Now()).Seconds(), a.Name, c.Name)
			n := c.Counts()
			for outcome, n := range map[string]uint64{"ok": n.OK, "failed": n.Failed} {
				ch <- prometheus.MustNewConstMetric(writesDesc, prometheus.CounterValue, float64(n), a.Name, c.Name, outcome)
			}
		}
		k := g.b.known(a.Name)
		if k == nil {
			count["unresolved"]++
			continue // its variables were never resolved, so nothing is known
		}
		v := k.view.Load()
		count[v.state(now)]++
		if !g.b.metrics.named {
			continue
		}
		if v.Token != nil {
			gauge(obtainedDesc, float64(g.b.here(v.Obtained).Unix()), a.Name)
			if !v.expiry().IsZero() {
				gauge(expiryDesc, float64(v.parsed.Expiry.Unix()), a.Name)
			}
		}
		gauge(generationDesc, float64(v.Generation), a.Name)
		truth(goodDesc, v.good(now), a.Name)
		truth(latchedDesc, v.Latch != nil, a.Name)
		truth(permissionDesc, v.Permission != 0 && v.Permission == v.Generation, a.Name)
	}
}

// handler answers GET /metrics.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
