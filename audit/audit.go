// Package audit keeps the log of who did what, and of what was refused.
//
// Whoever is about to act appends the entry first and acts only if that went
// well: what cannot be written down is not done. Entries never hold secrets; a
// token appears by its id.
package audit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// An Entry says that Actor did Action to Target, or tried to. Text that is
// longer than the log keeps is cut, and what cannot be printed is escaped; see
// [Clean].
type Entry struct {
	ID      int64     // given by the log, ascending, never used again; List fills it in
	Time    time.Time // zero in Append: now. Kept to the microsecond, in UTC
	Realm   string
	Actor   string // user, client, "cli" or "console": whoever asked
	Action  string // noun and verb, for example token.issue
	Target  string // what it was done to
	Outcome string // "ok", or the RFC code of the refusal
	IP      string
	TokenID string // jti
	Detail  string // for people; no program reads it
}

// A Query selects entries. A field that is empty selects all.
type Query struct {
	Realm, Action, Target string

	Before int64 // ID of the last entry of the page before; 0: start at the newest
	Limit  int   // at most so many entries; below 1: none
}

// A Log keeps entries. Logs are safe for concurrent use.
type Log interface {
	// Append writes the entry so that it outlives a crash of the process. An
	// error does not say that the entry is absent; the caller must not act.
	Append(ctx context.Context, e Entry) error

	// List returns the entries that q selects, the newest first.
	List(ctx context.Context, q Query) ([]Entry, error)
}

const (
	maxField  = 256  // bytes of every text but Detail
	maxDetail = 1024 // bytes
)

// Clean returns text as the log keeps it: at most 256 bytes, with what does not
// print, such as line ends and marks that change the direction of writing,
// escaped as Go does, and a text that was cut ending in "…". Cleaning twice
// changes nothing more.
func Clean(text string) string { return clean(text, maxField) }

func clean(text string, limit int) string {
	const ellipsis = "…"
	var b strings.Builder
	cut := 0 // so much can stay if the text must be cut
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		sign := text[:size]
		switch {
		case r == utf8.RuneError && size == 1:
			sign = fmt.Sprintf(`\x%02x`, text[0])
		case !strconv.IsPrint(r):
			sign = strings.Trim(strconv.QuoteRune(r), "'")
		}
		if b.Len()+len(sign) > limit {
			return b.String()[:cut] + ellipsis
		}
		b.WriteString(sign)
		if b.Len() <= limit-len(ellipsis) {
			cut = b.Len()
		}
		text = text[size:]
	}
	return b.String()
}

// cleaned returns the entry as the log keeps it.
func (e Entry) cleaned() Entry {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Time = time.UnixMicro(e.Time.UnixMicro()).UTC()
	for _, field := range []*string{&e.Realm, &e.Actor, &e.Action, &e.Target, &e.Outcome, &e.IP, &e.TokenID} {
		*field = clean(*field, maxField)
	}
	e.Detail = clean(e.Detail, maxDetail)
	return e
}

// cleaned returns the query in the words in which entries are kept.
func (q Query) cleaned() Query {
	q.Realm, q.Action, q.Target = Clean(q.Realm), Clean(q.Action), Clean(q.Target)
	return q
}
