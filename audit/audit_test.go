package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestMemory(t *testing.T) { testLog(t, NewMemory()) }

func testLog(t *testing.T, l Log) {
	ctx := t.Context()
	full := Entry{
		Time:  time.Date(2030, 6, 1, 14, 0, 0, 1234567, time.FixedZone("", 7200)),
		Realm: "support", Actor: "demo@example.com", Action: "token.issue", Target: "demo", Outcome: "ok",
		IP: "127.0.0.1", TokenID: "id", Detail: "password",
	}
	start := time.Now().Add(-time.Second)
	for _, e := range []Entry{
		full,
		{Realm: "support", Action: "token.issue", Target: "other", Outcome: "invalid_grant"},
		{Realm: "wire", Action: "token.issue", Target: "demo"},
		{Realm: "support", Action: "user.add", Target: "line\nend", Detail: strings.Repeat("x", 2000)},
	} {
		if err := l.Append(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	all := list(t, l, Query{Limit: 100})
	if len(all) != 4 || !slices.IsSortedFunc(all, func(a, b Entry) int { return int(b.ID - a.ID) }) {
		t.Fatalf("got %+v, want four entries, the newest first", all)
	}
	full.ID, full.Time = all[3].ID, time.Date(2030, 6, 1, 12, 0, 0, 1234000, time.UTC)
	if diff := cmp.Diff(full, all[3]); diff != "" {
		t.Errorf("the first entry (-want +got):\n%s", diff)
	}
	if got := all[0]; got.Time.Before(start) || got.Time.After(time.Now()) {
		t.Errorf("an entry without a time got %v", got.Time)
	}
	if got := all[0]; got.Target != `line\nend` || len(got.Detail) > maxDetail || len(got.Detail) < maxField {
		t.Errorf("kept as %+v", got)
	}
	for _, c := range []struct {
		q    Query
		want []Entry
	}{
		{Query{Limit: 2}, all[:2]},
		{Query{Limit: 2, Before: all[1].ID}, all[2:]},
		{Query{Limit: 2, Before: all[3].ID}, nil},
		{Query{Limit: 2, Before: all[0].ID + 100}, all[:2]},
		{Query{Limit: 0}, nil},
		{Query{Limit: -1}, nil},
		{Query{Limit: 9, Realm: "wire"}, all[1:2]},
		{Query{Limit: 9, Realm: "support", Action: "token.issue"}, all[2:]},
		{Query{Limit: 9, Target: "demo", Before: all[1].ID}, all[3:]},
		{Query{Limit: 9, Target: "line\nend"}, all[:1]},
		{Query{Limit: 9, Target: "' OR 1=1 --"}, nil},
	} {
		if diff := cmp.Diff(c.want, list(t, l, c.q)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.q, diff)
		}
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.Append(canceled, full); !errors.Is(err, context.Canceled) {
		t.Errorf("Append: %v, want context.Canceled", err)
	}
	if _, err := l.List(canceled, Query{Limit: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("List: %v, want context.Canceled", err)
	}
}

func list(t *testing.T, l Log, q Query) []Entry {
	t.Helper()
	list, err := l.List(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestMemoryIsBounded(t *testing.T) {
	l := NewMemory()
	for i := range memorySize + 10 {
		if err := l.Append(t.Context(), Entry{Target: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	all := list(t, l, Query{Limit: 2 * memorySize})
	if len(all) != memorySize || all[0].Target != fmt.Sprint(memorySize+9) || all[memorySize-1].Target != "10" {
		t.Errorf("kept %d, from %s to %s", len(all), all[0].Target, all[len(all)-1].Target)
	}
	if got := list(t, l, Query{Limit: 1, Before: all[memorySize-1].ID}); got != nil {
		t.Errorf("before the oldest: %v", got)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                                  "",
		"demo@example.com":                  "demo@example.com",
		"日本 é":                              "日本 é",
		"a\r\nb\x00\x1b[2J":                 `a\r\nb\x00\x1b[2J`,
		"\u202egpj":                         `\u202egpj`,
		"\xff'":                             `\xff'`,
		`\n`:                                `\n`,
		strings.Repeat("é", 128):            strings.Repeat("é", 128),
		strings.Repeat("é", 129):            strings.Repeat("é", 126) + "…",
		strings.Repeat("x", 300):            strings.Repeat("x", 253) + "…",
		strings.Repeat("x", 252) + "\n\n\n": strings.Repeat("x", 252) + "…",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.String(), rapid.StringN(0, 400, -1), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 300), func(b []byte) string { return string(b) })).Draw(t, "in")
		once := Clean(in)
		if len(once) > maxField || strings.ContainsFunc(once, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("Clean gave %q", once)
		}
		if twice := Clean(once); twice != once {
			t.Fatalf("Clean gave %q, then %q", once, twice)
		}
	})
}
