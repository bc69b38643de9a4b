package revocation

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
)

// Whatever comes is taken for what it is. After all of it the table is as it
// was, and not fresh.
func TestStreamBadAnswers(t *testing.T) {
	sse := func(body func(challenge string) string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, body(r.Header.Get(challengeHeader)))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
	}
	after := func(text string) http.Handler {
		return sse(func(c string) string { return frame(eventHello, "", hello{1, "", c}) + text })
	}
	for name, h := range map[string]http.Handler{
		"redirect": http.RedirectHandler("http://elsewhere.test/", http.StatusTemporaryRedirect),
		"status":   http.NotFoundHandler(),
		"type":     http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }),
		"nothing":  sse(func(string) string { return "" }),
		"no hello": sse(func(string) string { return frame(eventBeat, "", beat{1, 1}) }),
		"other challenge": sse(func(string) string {
			return frame(eventHello, "", hello{1, "", "x"}) + frame(eventBeat, "", beat{1, 1})
		}),
		"other version": sse(func(c string) string {
			return frame(eventHello, "", hello{2, "", c}) + frame(eventBeat, "", beat{1, 1})
		}),
		"long line":     after("data: " + strings.Repeat("x", maxMessage) + "\n\n" + frame(eventBeat, "", beat{1, 1})),
		"long message":  after(strings.Repeat("data: x\n", maxMessage/8+1) + "\n" + frame(eventBeat, "", beat{1, 1})),
		"no JSON":       after("event: ended\ndata: {\n\n" + frame(eventBeat, "", beat{1, 1})),
		"no UTF-8":      after("event: ended\ndata: {\"t\":\"\xff\",\"u\":\"2030-01-01T00:00:00Z\"}\n\n" + frame(eventBeat, "", beat{1, 1})),
		"empty event":   after(frame(eventEnded, "", Event{Until: start}) + frame(eventBeat, "", beat{1, 1})),
		"double event":  after(frame(eventEnded, "", Event{Token: "a", Family: "b", Until: start}) + frame(eventBeat, "", beat{1, 1})),
		"no number":     after(frame(eventEnded, "", Event{Counter: "user/u", Until: start}) + frame(eventBeat, "", beat{1, 1})),
		"no until":      after("event: ended\ndata: {\"t\":\"a\"}\n\n" + frame(eventBeat, "", beat{1, 1})),
		"long name":     after(frame(eventEnded, "", Event{Token: strings.Repeat("x", maxID+1), Until: start}) + frame(eventBeat, "", beat{1, 1})),
		"long place":    after(frame(eventBeat, strings.Repeat("x", maxID+1), beat{1, 1})),
		"negative beat": after(frame(eventBeat, "", beat{-1, 1})),
		"endless beat":  after(frame(eventBeat, "", beat{1 << 62, 1})),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.handler.set(h)
				w.run()
				time.Sleep(time.Minute)
				if _, fresh := w.table.Age(time.Now()); fresh || w.table.Len() > 0 {
					t.Error("something of it is believed")
				}
				if n := len(w.network.dialled()); n < 2 || n > 60 {
					t.Errorf("%d connections in a minute", n)
				}
				lines := w.lines.String()
				if strings.Count(lines, "revocations are not followed") != 1 || strings.Contains(lines, "http") || strings.Contains(lines, guardKey) {
					t.Errorf("logged: %s", lines)
				}
				// It is followed as soon as there is something to follow.
				w.handler.set(w.log)
				w.log.Table().Confirm(time.Now())
				time.Sleep(time.Minute)
				if w.age() > 2*time.Minute {
					t.Error("it is not followed afterwards")
				}
			})
		})
	}
}

// A key that is not taken is said once, and tried again slowly.
func TestStreamWrongKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var mu sync.Mutex
		asked, good := 0, false
		w.handler.set(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			mu.Lock()
			ok := good
			asked++
			mu.Unlock()
			if r.Header.Get("Authorization") != "Bearer "+guardKey {
				t.Error("the key is not sent")
			}
			if !ok {
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.log.ServeHTTP(rw, r)
		}))
		w.run()
		time.Sleep(10 * time.Minute)
		mu.Lock()
		if asked < 10 || asked > 40 {
			t.Errorf("asked %d times in ten minutes", asked)
		}
		good = true
		mu.Unlock()
		time.Sleep(time.Minute)
		lines := w.lines.String()
		if strings.Count(lines, "does not take the guard's key") != 1 || strings.Count(lines, "revocations are followed") != 1 || strings.Contains(lines, guardKey) {
			t.Error(lines)
		}
	})
}

func TestStreamFields(t *testing.T) {
	key := jeton.NewSecret(guardKey)
	for _, s := range []*Stream{
		{Key: key}, {URL: "issuer", Key: key}, {URL: "ftp://issuer/", Key: key}, {URL: "https:///", Key: key}, {URL: "http://issuer/", Key: key},
		{URL: "https://u:geheim@issuer/", Key: key}, {URL: "https://issuer/?geheim", Key: key}, {URL: "https://issuer/\x00geheim", Key: key}, {URL: "https://issuer/"},
	} {
		s.Table = new(Table)
		if err := s.Run(t.Context()); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", s.URL, err)
		}
		c := &Canary{URL: s.URL, Key: s.Key, Table: s.Table}
		if err := c.Run(t.Context()); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", s.URL, err)
		}
	}
}

// The table is bounded, whatever the issuer says.
func TestStreamTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stream.Most = 1000
		w.log.Add(numbered(1, 5000)...)
		w.log.Table().Confirm(time.Now())
		w.run()
		time.Sleep(time.Minute)
		if _, fresh := w.table.Age(time.Now()); fresh || w.table.Len() > 1000 {
			t.Errorf("%d events, fresh %v", w.table.Len(), fresh)
		}
	})
}
