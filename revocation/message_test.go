package revocation

import (
	"io"
	"strings"
	"testing"
	"time"
)

// What a log writes a stream reads, up to wherever it was cut.
func TestMessages(t *testing.T) {
	events := []Event{
		{Token: "a\nb\u2028\"", Until: start.UTC()}, {Family: "f", Until: start.UTC()}, {Counter: "user/ü", Number: 1 << 63, Until: start.UTC()},
	}
	var text string
	var ends []int
	for i, e := range events {
		text += frame(eventEnded, strings.Repeat("x", i), e)
		ends = append(ends, len(text))
	}
	for _, text := range []string{text, ": comment\n\n" + text, "\n\nretry: 5\n\n" + text, strings.ReplaceAll(text, "\n", "\r\n")} {
		for cut := range len(text) + 1 {
			r := newReader(strings.NewReader(text[:cut]))
			n := 0
			for ; ; n++ {
				m, err := r.next()
				if err == io.EOF {
					break
				}
				var e Event
				if err != nil || m.into(&e) != nil || e != events[n] || m.event != eventEnded || len(m.id) != n {
					t.Fatalf("%q: %+v %v", text[:cut], m, err)
				}
			}
			if cut == len(text) && n != len(events) {
				t.Errorf("%d messages of %q", n, text)
			}
		}
	}
	if len(ends) != len(events) {
		t.Fatal(ends)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(frame(eventHello, "", hello{1, "one", "c"}) + frame(eventEnded, "x.1", Event{Token: "t", Until: start}) + frame(eventBeat, "x.1", beat{1, 1}))
	f.Add("data\ndata:\n\n:\n\nid\r\ndata: {\"t\":\"a\"}\r\n\r\n")
	f.Add("event: ended\ndata: {\"c\":\"user/u\",\"n\":1,\n\ndata:\"u\":\"2030-01-01T00:00:00Z\"}\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := newReader(strings.NewReader(text))
		var table Table
		following := &following{Stream: &Stream{Table: &table}, most: 100}
		sent := time.Now()
		for {
			m, err := r.next()
			if err != nil {
				break
			}
			if len(m.data)+len(m.event)+len(m.id) > maxMessage || strings.Contains(m.id+m.event, "\n") {
				t.Fatalf("%+v", m)
			}
			// What was read is read again from what a log would write.
			if !strings.ContainsAny(m.data, "\r\n") && !strings.ContainsAny(m.event+m.id, "\r") {
				again, err := newReader(strings.NewReader("event: " + m.event + "\nid: " + m.id + "\ndata: " + m.data + "\n\n")).next()
				if err != nil || again != m {
					t.Fatalf("%+v, again %+v: %v", m, again, err)
				}
			}
			_ = following.end(m, false)
			_ = following.settle("")
			var b beat
			if m.into(&b) == nil && b.check() == nil {
				now := sent.Add(time.Second)
				if at, ok := b.complete(sent, now); ok && at.After(now) {
					t.Fatalf("%+v is complete in the future", b)
				}
			}
		}
		if table.Len() > 100 {
			t.Fatal(table.Len())
		}
		for e := range table.All() {
			if e.check() != nil {
				t.Fatalf("%+v was taken in", e)
			}
		}
	})
}
