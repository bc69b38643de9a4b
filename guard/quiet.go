package guard

import (
	"sync"
	"time"
)

// quiet bounds how often one message is logged: an outage is one thing, however
// many calls meet it. The zero value is ready.
type quiet struct {
	mu   sync.Mutex
	said map[string]*saying // :: message -> when it was said
}

type saying struct {
	at      time.Time
	unsaid  int // since then
	started bool
}

const (
	sayEvery = time.Second // how often a message is logged at most
	mostSaid = 100         // how many messages are remembered
)

// say reports whether a message is to be logged now, and how many were left out
// since it last was.
func (q *quiet) say(message string) (unsaid int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.said[message]
	if s == nil {
		if len(q.said) >= mostSaid || q.said == nil {
			q.said = map[string]*saying{}
		}
		s = new(saying)
		q.said[message] = s
	}
	now := time.Now()
	if s.started && now.Sub(s.at) < sayEvery {
		s.unsaid++
		return 0, false
	}
	unsaid = s.unsaid
	*s = saying{at: now, started: true}
	return unsaid, true
}
