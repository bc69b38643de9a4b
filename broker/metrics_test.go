package broker

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestMetrics: every documented metric is there with the value that the story
// gives it, and no secret is.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, c := newVendor(t, "altrata"), newCredentials()
		b := v.broker(slowStore(), c)
		api, egress := b.TokenAPI(), b.Egress()
		ask(egress, "GET", "/to/a/x", "")
		v.set(func() { v.forbid = true })
		ask(egress, "GET", "/to/a/x", "") // reported, one login, refused again
		time.Sleep(24 * time.Hour)
		v.set(func() { v.password = "changed" })
		ask(api, "GET", "/v1/tokens/a", "")
		w := ask(api, "GET", "/metrics", "")
		if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
		for _, line := range []string{
			`jeton_broker_exchanges_total{account="a",kind="login",outcome="ok"} 2`,
			`jeton_broker_exchanges_total{account="a",kind="login",outcome="invalid_client"} 1`,
			`jeton_broker_egress_calls_total{account="a",class="2xx"} 1`,
			`jeton_broker_egress_calls_total{account="a",class="4xx"} 1`,
			`jeton_broker_handover_seconds_count{account="a"} 3`,
			`jeton_broker_token_generation{account="a"} 2`,
			`jeton_broker_token_good{account="a"} 0`,
			`jeton_broker_latched{account="a"} 1`,
			`jeton_broker_permission_problem{account="a"} 0`,
			`jeton_broker_readers_waiting 0`,
		} {
			if !strings.Contains(w.Body.String(), line+"\n") {
				t.Errorf("%s is missing", line)
			}
		}
		for _, name := range []string{"jeton_broker_token_obtained_timestamp_seconds", "jeton_broker_token_expiry_timestamp_seconds", "jeton_broker_followers"} {
			if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(w.Body.String()) {
				t.Errorf("%s is missing", name)
			}
		}
		if strings.Contains(w.Body.String(), "token-") || strings.Contains(w.Body.String(), rightPassword) {
			t.Error("the metrics show a secret")
		}
		for _, header := range [][]string{{"Origin", "http://x"}, {"Host", "evil.example"}} {
			if w := ask(api, "GET", "/metrics", "", header...); w.Code != 403 {
				t.Errorf("%v: %d", header, w.Code)
			}
		}
		closeBroker(t, b)
	})
}

// TestMetricsAreDocumented: the page names every metric and no other, and the
// dashboard asks for none that is not there.
func TestMetricsAreDocumented(t *testing.T) {
	b := new(Broker)
	b.init()
	b.metrics.exchanges.WithLabelValues("a", "login", "ok")
	b.metrics.called("a", 200)
	b.metrics.handover.WithLabelValues("a")
	b.metrics.store.WithLabelValues("read")
	var there []string
	for _, d := range []string{waitingDesc.String(), followersDesc.String(), obtainedDesc.String(), expiryDesc.String(),
		generationDesc.String(), goodDesc.String(), latchedDesc.String(), permissionDesc.String(), lagDesc.String(), writesDesc.String()} {
		there = append(there, regexp.MustCompile(`jeton_broker_\w+`).FindString(d))
	}
	families, err := b.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		there = append(there, f.GetName())
	}
	slices.Sort(there)
	there = slices.Compact(there)
	page, err := os.ReadFile("../docs/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	dashboard, err := os.ReadFile("../docs/grafana-broker.json")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(jeton_broker_\\w+)`").FindAllSubmatch(page, -1) {
		documented = append(documented, string(m[1]))
	}
	slices.Sort(documented)
	if !slices.Equal(documented, there) {
		t.Errorf("documented: %v\nthere are:  %v", documented, there)
	}
	for _, name := range regexp.MustCompile(`jeton_broker_\w+`).FindAllString(string(dashboard), -1) {
		if !slices.Contains(there, strings.TrimSuffix(name, "_bucket")) {
			t.Errorf("the dashboard asks for %s", name)
		}
	}
}
