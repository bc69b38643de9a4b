package sink

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// How brokers take turns, and what befalls them, is tested in package broker,
// with brokers. Here is what those cannot bring about.

func newToken(generation uint64) *jeton.Token {
	return &jeton.Token{AccessToken: jeton.NewSecret("canary"), Generation: generation, Expiry: time.Now().Add(time.Hour)}
}

type putFunc func(context.Context, *jeton.Token) error

func (f putFunc) Put(ctx context.Context, t *jeton.Token) error { return f(ctx, t) }

// account is one whose broker learns of the first token and no other, while its
// store has the newest.
func account(st store.Store, newest *jeton.Token) Account {
	return Account{
		Name: "a", Broker: "me", Store: st, Logger: slog.New(slog.DiscardHandler),
		Newest: func(context.Context) (*jeton.Token, time.Time, error) { return newest, time.Now(), nil },
		Newer: func(ctx context.Context, generation uint64) (*jeton.Token, error) {
			if generation == 0 {
				return newToken(1), nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}
}

// run runs a copy until there is nothing left to do.
func run(t *testing.T, c *Copy, a Account) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	c.Run(ctx, a)
}

// TestMemoryIsNotTrusted: what is put is the token that the store has after the
// copy's record was read, also where the broker's memory is behind.
func TestMemoryIsNotTrusted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []uint64
		c := &Copy{Name: "p", Place: "p", Sink: putFunc(func(_ context.Context, t *jeton.Token) error {
			got = append(got, t.Generation)
			return nil
		})}
		run(t, c, account(store.NewMemory(), newToken(2)))
		if !slices.Equal(got, []uint64{2}) {
			t.Errorf("put %v", got)
		}
	})
}

// TestOvertaken: a process that was suspended under its lease, so that another
// broker wrote meanwhile, puts the newest token once more: its own may have
// arrived last.
func TestOvertaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, newest := store.NewMemory(), newToken(1)
		a := account(st, newest)
		a.Newest = func(context.Context) (*jeton.Token, time.Time, error) { return newest, time.Now(), nil }
		var got []uint64
		c := &Copy{Name: "p", Place: "p"}
		c.Sink = putFunc(func(ctx context.Context, token *jeton.Token) error {
			if got = append(got, token.Generation); len(got) > 1 {
				return nil
			}
			w := newWriter(c, a) // the other broker
			r, at, err := w.load(ctx)
			if err != nil {
				t.Error(err)
			}
			newest = newToken(2)
			r.Fence++
			r.Holder, r.Generation, r.Digest = "", 2, r.digest(newest)
			if _, err := w.save(ctx, r, at); err != nil {
				t.Error(err)
			}
			return nil
		})
		run(t, c, a)
		if !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("put %v", got)
		}
	})
}

// TestStatusOfCopyThatDoesNotRun: a copy is looked up in the store, by a process
// that writes nothing.
func TestStatusOfCopyThatDoesNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMemory()
		sink := putFunc(func(context.Context, *jeton.Token) error { return nil })
		run(t, &Copy{Name: "p", Place: "p", Sink: sink}, account(st, newToken(1)))
		s, ok := (&Copy{Name: "p", Place: "p"}).Status(t.Context(), account(st, newToken(3)), time.Now().Add(time.Minute))
		if !ok || s.Name != "p" || s.Generation != 1 || s.Behind != 2 || s.LagSeconds != 60 || s.WrittenAt == nil {
			t.Errorf("%v %+v", ok, s)
		}
		if s, ok := (&Copy{Name: "other", Place: "other"}).Status(t.Context(), account(st, newToken(3)), time.Now()); !ok || s.Generation != 0 || s.Behind != 3 {
			t.Errorf("%v %+v", ok, s)
		}
		if _, ok := (&Copy{Name: "file"}).Status(t.Context(), account(st, newToken(3)), time.Now()); ok {
			t.Error("a file of another process was reported on")
		}
	})
}

// TestDamagedRecord: what stands in a record that cannot be read is not shown,
// and a newer form is left alone.
func TestDamagedRecord(t *testing.T) {
	for _, value := range []string{`{"v":1,"salt":"canary`, `{"v":2}`} {
		synctest.Test(t, func(t *testing.T) {
			st, put := store.NewMemory(), 0
			c := &Copy{Name: "p", Place: "p", Sink: putFunc(func(context.Context, *jeton.Token) error { put++; return nil })}
			a := account(st, newToken(1))
			if _, err := st.Put(t.Context(), store.Record{Key: newWriter(c, a).key(), Value: []byte(value)}); err != nil {
				t.Fatal(err)
			}
			run(t, c, a)
			if s, _ := c.Status(t.Context(), a, time.Now()); put != 0 || s.LastError == "" || strings.Contains(s.LastError, "canary") || s.LagSeconds == 0 {
				t.Errorf("%d puts, %+v", put, s)
			}
		})
	}
}

// TestText: both formats, with all that is known and with nothing but a token.
func TestText(t *testing.T) {
	token := &jeton.Token{AccessToken: jeton.NewSecret("a<b"), Type: "bearer", Scope: jeton.Scope{"x", "y"}, Generation: 7,
		Expiry: time.Date(2026, 11, 22, 10, 0, 0, 5, time.FixedZone("", 3600))}
	if got := Bare.Text(token); got != "a<b" {
		t.Error(got)
	}
	var got struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresAt   time.Time `json:"expires_at"`
		Scope       string    `json:"scope"`
		Generation  uint64    `json:"generation"`
	}
	if err := json.Unmarshal([]byte(JSON.Text(token)), &got); err != nil || got.AccessToken != "a<b" || got.TokenType != "bearer" || got.Scope != "x y" ||
		got.Generation != 7 || !got.ExpiresAt.Equal(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", got, err)
	}
	if got := JSON.Text(&jeton.Token{AccessToken: jeton.NewSecret("a"), Generation: 1}); got != `{"access_token":"a","generation":1,"token_type":"Bearer"}` {
		t.Error(got)
	}
}

// TestWords: an error is short and on one line, and shows no token, be it cut or
// escaped.
func TestWords(t *testing.T) {
	secret := &jeton.Token{AccessToken: jeton.NewSecret("a-token-with-a-long-beginning&and-an-end")}
	for _, text := range []string{"a-token-with-a-long-beginning&and-an-end", "a-token-with-a-long-begin...", `a-token-with-a-long-beginning\u0026and-an-end`} {
		if got := words(errors.New("what is '"+text+"'?"), secret); strings.Contains(got, "a-token") {
			t.Error(got)
		}
	}
	for _, other := range []string{"", "x"} {
		if got := words(errors.New("refused"), &jeton.Token{AccessToken: jeton.NewSecret(other)}); got != "refused" {
			t.Error(got)
		}
	}
	if got := words(errors.New("a\nb\x1b"+strings.Repeat("c", 1000)), newToken(1)); len(got) > 310 || strings.ContainsAny(got, "\n\x1b") {
		t.Error(got)
	}
}
