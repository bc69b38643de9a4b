package bench_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/guard"
	"github.com/jetonhq/jeton/guard/graphql"
)

// A GraphQL document of 2 kB as a web page's dashboard sends it, in which the
// number makes the first field another one.
func dashboard(n int) string {
	return `query Dashboard($project: ID!, $first: Int = 20, $filter: VisitorFilter) {
  viewer` + strconv.Itoa(n) + `: me {
    id
    name
    scope
  }
  project(id: $project) {
    ...ProjectCard
    owner {
      ...PersonName
      organization { id name country }
    }
  }
  visitors(first: $first, filter: $filter) {
    pageInfo { hasNextPage endCursor }
    nodes {
      id
      name
      lastSeen
      device { kind browser language }
      conversations(last: 5, status: [OPEN, WAITING]) {
        id
        status
        openedAt
        subject
        assignee { ...PersonName }
        messages(last: 1) {
          id
          author { ...PersonName }
          text
          attachments { name url size }
          createdAt
        }
      }
    }
  }
  statistics(project: $project, period: {unit: DAY, count: 30, zone: "Europe/Paris"}) {
    conversations { total open closed abandoned }
    responseTime { median percentile90 percentile99 }
    satisfaction { average count distribution }
    byAgent {
      agent { ...PersonName }
      conversations
      responseTime { median percentile90 }
      satisfaction { average }
    }
  }
  announcements: news(first: 3, kinds: [RELEASE, INCIDENT, MAINTENANCE]) {
    id
    title
    body(format: MARKDOWN, maxLength: 280)
    publishedAt
    ... on Incident @include(if: true) {
      severity
      resolvedAt
      affectedServices { name status }
    }
  }
}

fragment ProjectCard on Project {
  routing { strategy rules { position condition { field operator values } target { kind id } } fallback }
  integrations(enabled: true) { id kind vendor connectedAt lastError { code message at } }
  limits { seats conversationsPerMonth storageBytes }
  billing { currency nextInvoice { number amount dueAt } }
  id
  name
  language
  createdAt
  plan { name seats renewsAt }
  channels { kind enabled settings { openingHours greeting color } }
}

fragment PersonName on Person {
  id
  firstName
  lastName
  avatar(size: 48)
  ... on Agent { team { id name } online }
}
`
}

// oneToken knows one token.
type oneToken jeton.Claims

// Verify returns what the token grants.
func (c *oneToken) Verify(context.Context, jeton.Secret) (*jeton.Claims, error) {
	return (*jeton.Claims)(c), nil
}

// BenchmarkGraphQL lets calls with a document of 2 kB through: one that was
// judged before, and ones that were not. Beside it goes the least that could do
// so: a guard that does not look at documents, and a handler that reads the body
// and gives it to the next. The difference is what a decision takes.
func BenchmarkGraphQL(b *testing.B) {
	if n := len(dashboard(1)); n < 1950 || n > 2050 {
		b.Fatalf("the document has %d bytes", n)
	}
	token := &oneToken{Subject: "s", Scope: jeton.Scope{"read", "news"}}
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	judging := func() http.Handler {
		return (&guard.Guard{Dialect: load(b), Verifier: token, GraphQL: &guard.GraphQL{At: "/graphql", Policy: graphql.Policy{Fields: map[string]string{
			"Query.*": "read", "Query.me": guard.TokenSuffices, "Query.news": "news"}}}}).Handler(next)
	}
	plain := (&guard.Guard{Dialect: load(b), Verifier: token}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			b.Error(err)
		}
		in := *r
		in.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, &in)
	}))
	b.Run("known", func(b *testing.B) { compareDecisions(b, judging(), plain, func() int { return 0 }) })
	n := 0
	b.Run("first", func(b *testing.B) { compareDecisions(b, judging(), plain, func() int { n++; return n }) })
}

func compareDecisions(b *testing.B, judging, plain http.Handler, document func() int) {
	const rounds, calls = 400, 50
	var with, without, more []float64
	for b.Loop() {
		for range rounds {
			bodies := make([]string, calls)
			for i := range bodies {
				bodies[i] = `{"operationName":"Dashboard","variables":{"project":"7"},"extensions":{},"query":` + strconv.Quote(dashboard(document())) + `}`
			}
			o, p := callTime(b, judging, bodies), callTime(b, plain, bodies)
			with, without, more = append(with, o), append(without, p), append(more, o-p)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(more), "decision-ns")
	b.ReportMetric(median(with), "ours-ns")
	b.ReportMetric(median(without), "peer-ns")
}

// callTime returns the nanoseconds of one call.
func callTime(b *testing.B, h http.Handler, bodies []string) float64 {
	calls := make([]*http.Request, len(bodies))
	for i, body := range bodies {
		calls[i] = httptest.NewRequest("POST", "/graphql", strings.NewReader(body))
		calls[i].Header = http.Header{"Authorization": {"Bearer t"}, "Content-Type": {"application/json"}}
	}
	w := httptest.NewRecorder()
	began := time.Now()
	for _, r := range calls {
		h.ServeHTTP(w, r)
	}
	took := time.Since(began)
	if w.Code != http.StatusOK || w.Body.Len() > 0 {
		b.Fatalf("%d %s", w.Code, w.Body)
	}
	return float64(took) / float64(len(calls))
}
