package revocation

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// What is said on a stream: server-sent events (HTML Living Standard, section
// 9.2.5) whose data is JSON.
//
//	event: hello                      once, at the beginning
//	data: {"v":1,"instance":"…","challenge":"…"}
//
//	event: ended                      everything, or what came after Last-Event-ID
//	data: {"c":"user/5f2c…","n":4,"u":"2026-11-21T17:00:00Z"}
//
//	event: beat                       from then on twice a second, with more events between
//	id: 4XQ….17
//	data: {"elapsed":1523,"age":12}
const (
	eventHello = "hello"
	eventEnded = "ended"
	eventBeat  = "beat"

	streamVersion = 1

	challengeHeader = "Jeton-Challenge"
)

// A hello says who speaks. It repeats the challenge of the request, so that
// nobody between the two, a cache for example, can answer in the issuer's place.
type hello struct {
	Version   int    `json:"v"`
	Instance  string `json:"instance"`
	Challenge string `json:"challenge"`
}

// A beat says that the follower now has everything that had ended Age before the
// beat was written, and that this was Elapsed after the request came. A follower
// knows when it sent the request, and that the request did not come before that:
// so it knows, on its own clock, an instant by which it has everything, however
// long the beat was on its way. No two clocks are compared; only how fast they
// go is.
type beat struct {
	Elapsed int64 `json:"elapsed"`       // milliseconds, rounded down
	Age     int64 `json:"age,omitempty"` // milliseconds, rounded up; 0: nobody knows
}

func newBeat(elapsed, age time.Duration, fresh bool) beat {
	b := beat{Elapsed: elapsed.Milliseconds()}
	if fresh {
		b.Age = age.Milliseconds() + 1
	}
	return b
}

// drift is how far two clocks may go apart: a thousandth, which is twice what
// keeping a clock right by the network allows, for either of them.
const drift = 1000

// complete returns the instant by which whoever sent a request at sent, and now
// got this beat, has everything. It reports false if the beat does not say.
func (b beat) complete(sent, now time.Time) (at time.Time, ok bool) {
	at = b.written(sent, now).Add(-time.Duration(b.Age) * time.Millisecond)
	return at, b.Age > 0
}

// written returns the earliest instant at which the beat can have been written.
func (b beat) written(sent, now time.Time) time.Time {
	elapsed := time.Duration(b.Elapsed) * time.Millisecond
	if at := sent.Add(elapsed - elapsed/drift); at.Before(now) {
		return at
	}
	return now
}

// frame returns a message as it is sent.
func frame(event, id string, data any) string {
	b, _ := json.Marshal(data) // nothing that cannot be written comes here
	var s strings.Builder
	s.WriteString("event: " + event + "\n")
	if id != "" {
		s.WriteString("id: " + id + "\n")
	}
	s.WriteString("data: ")
	s.Write(b) // on one line: JSON escapes line ends
	s.WriteString("\n\n")
	return s.String()
}

// A message is one server-sent event.
type message struct{ event, id, data string }

const (
	maxMessage = 16 << 10 // bytes
	maxID      = 512      // bytes of what has ended, or of a place

	maxBeat = int64(365 * 24 * time.Hour / time.Millisecond) // of either number
)

var errTooLarge = errors.New("revocation: a message is too large")

// A reader reads messages and takes none that is larger than 16 KiB.
type reader struct{ lines *bufio.Reader }

func newReader(r io.Reader) *reader { return &reader{bufio.NewReaderSize(r, maxMessage)} }

// waiting reports whether more was received than was read.
func (r *reader) waiting() bool { return r.lines.Buffered() > 0 }

// next returns the next message that came whole and has data. The error at the
// end is io.EOF, also if it is in the middle of a message.
func (r *reader) next() (message, error) {
	var m message
	data := false
	for size := 0; ; {
		line, err := r.lines.ReadSlice('\n')
		size += len(line)
		switch {
		case err == bufio.ErrBufferFull || size > maxMessage:
			return m, errTooLarge
		case err != nil:
			return m, err
		case !utf8.Valid(line):
			return m, errors.New("revocation: a message is not UTF-8")
		}
		line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
		if len(line) == 0 {
			if data {
				return m, nil
			}
			m, size = message{}, 0
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		text := string(bytes.TrimPrefix(value, []byte(" ")))
		switch string(field) {
		case "event":
			m.event = text
		case "id":
			m.id = text
		case "data":
			if data {
				text = m.data + "\n" + text
			}
			m.data, data = text, true
		case "": // a comment
			if !data && m == (message{}) {
				size = 0
			}
		}
	}
}

// into reads the data of a message.
func (m message) into(v any) error {
	if err := json.Unmarshal([]byte(m.data), v); err != nil {
		return fmt.Errorf("revocation: a message of kind %q has no form that is known", m.event)
	}
	return nil
}

// check refuses an event that says less or more than one thing, or too much.
func (e Event) check() error {
	said := 0
	for _, id := range []string{e.Counter, e.Token, e.Family} {
		if id != "" {
			said++
		}
		if len(id) > maxID {
			said = 2
		}
	}
	if said != 1 || (e.Counter != "") != (e.Number > 0) || e.Until.IsZero() {
		return errors.New("revocation: an event does not say what ended")
	}
	return nil
}

func (b beat) check() error {
	if b.Elapsed < 0 || b.Elapsed > maxBeat || b.Age < 0 || b.Age > maxBeat {
		return errors.New("revocation: a beat says what cannot be")
	}
	return nil
}
