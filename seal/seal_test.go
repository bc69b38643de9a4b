package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jetonhq/jeton/store"
	"github.com/jetonhq/jeton/store/sqlite"
	"github.com/jetonhq/jeton/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return Wrap(store.NewMemory(), NewKey(), NewKey()) })
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "jeton.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return Wrap(s, NewKey())
	})
}

// What the database writes to disk holds no value.
func TestNothingInClearOnDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), filepath.Join(dir, "jeton.db"))
	if err != nil {
		t.Fatal(err)
	}
	w := Wrap(s, NewKey())
	if _, err := w.Put(t.Context(), store.Record{Key: "visible-key", Value: []byte("canary-value")}); err != nil {
		t.Fatal(err)
	}
	look := func() (all []byte) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return all
	}
	all := look()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all = append(all, look()...)
	if bytes.Contains(all, []byte("canary-value")) || !bytes.Contains(all, []byte("visible-key")) {
		t.Error("the files hold the value, or not the key")
	}
}

func put(t *testing.T, s store.Store, r store.Record) store.Record {
	t.Helper()
	r, err := s.Put(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t *testing.T, s store.Store, key string) store.Record {
	t.Helper()
	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantAll fails unless all that reads the record "a" fails with want.
func wantAll(t *testing.T, s store.Store, what string, want error) {
	t.Helper()
	_, get := s.Get(t.Context(), "a")
	_, list := s.List(t.Context(), "", "", 10)
	_, due := s.Due(t.Context(), "", time.Now(), 10)
	for op, err := range map[string]error{"Get": get, "List": list, "Due": due} {
		if !errors.Is(err, want) || !strings.Contains(err.Error(), `"a"`) || strings.Contains(err.Error(), "value") && want != ErrTampered {
			t.Errorf("%s: %s: %v, want %v", what, op, err, want)
		}
	}
}

func TestTampered(t *testing.T) {
	inner, at := store.NewMemory(), time.Unix(1, 0)
	w := Wrap(inner, NewKey())
	sealed := get(t, inner, put(t, w, store.Record{Key: "a", Value: []byte("value"), Due: at}).Key)
	original := sealed.Value
	write := func(value []byte) {
		sealed.Value = value
		sealed = put(t, inner, sealed)
	}
	for i := range original {
		changed := bytes.Clone(original)
		changed[i] ^= 0x10
		write(changed)
		switch {
		case i == 0:
			wantAll(t, w, "version", ErrNotSealed)
		case i < headerSize:
			wantAll(t, w, "key id", ErrWrongKey)
		default:
			wantAll(t, w, fmt.Sprint("byte ", i), ErrTampered)
		}
	}
	for n := range len(original) {
		want := ErrTampered
		if n < minSize {
			want = ErrNotSealed
		}
		write(original[:n])
		wantAll(t, w, fmt.Sprint("cut at ", n), want)
	}
	write(append(bytes.Clone(original), 0))
	wantAll(t, w, "longer", ErrTampered)

	put(t, w, store.Record{Key: "other", Value: []byte("other's value")})
	write(get(t, inner, "other").Value)
	wantAll(t, w, "moved", ErrTampered)

	for _, plain := range []string{"", `{"version":1,"in":"clear, and long enough to be a sealed value"}`} {
		write([]byte(plain))
		wantAll(t, w, "clear", ErrNotSealed)
	}
	write(original)
	if got := get(t, w, "a"); string(got.Value) != "value" {
		t.Errorf("the original reads %q", got.Value)
	}
}

func TestRotation(t *testing.T) {
	inner, old, young := store.NewMemory(), NewKey(), NewKey()
	r := put(t, Wrap(inner, old), store.Record{Key: "a", Value: []byte("value"), Due: time.Unix(1, 0)})
	wantAll(t, Wrap(inner, young), "new key alone", ErrWrongKey)
	_, err := Wrap(inner, young).Get(t.Context(), "a")
	if !strings.Contains(err.Error(), old.ID()) {
		t.Errorf("%v does not name the key %s", err, old.ID())
	}
	both := Wrap(inner, young, old)
	if got := get(t, both, "a"); string(got.Value) != "value" {
		t.Errorf("both keys read %q", got.Value)
	}
	put(t, both, r)
	if got := get(t, Wrap(inner, young), "a"); string(got.Value) != "value" {
		t.Errorf("after a write the new key reads %q", got.Value)
	}
	wantAll(t, Wrap(inner, old), "old key alone", ErrWrongKey)
}

func TestSealsDifferEachTime(t *testing.T) {
	inner := store.NewMemory()
	w := Wrap(inner, NewKey())
	r := put(t, w, store.Record{Key: "a", Value: []byte("value")})
	first := get(t, inner, "a").Value
	put(t, w, r)
	if bytes.Equal(first, get(t, inner, "a").Value) {
		t.Error("the same value was sealed to the same bytes")
	}
}

func TestWatchPassesThrough(t *testing.T) {
	if _, ok := Wrap(store.NewMemory(), NewKey()).(store.Watcher); !ok {
		t.Error("a Watcher is none any more")
	}
	if _, ok := Wrap(struct{ store.Store }{store.NewMemory()}, NewKey()).(store.Watcher); ok {
		t.Error("what is no Watcher became one")
	}
	if _, ok := Wrap(storetest.Timed(store.NewMemory(), time.Now), NewKey()).(store.Clock); !ok {
		t.Error("a Clock is none any more")
	}
	if _, ok := Wrap(store.NewMemory(), NewKey()).(store.Clock); ok {
		t.Error("what is no Clock became one")
	}
}

func TestWrapNeedsAKey(t *testing.T) {
	for _, keys := range [][]Key{nil, {{}}, {NewKey(), {}}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Wrap took %d keys", len(keys))
				}
			}()
			Wrap(store.NewMemory(), keys...)
		}()
	}
}

// What the first release wrote must open for ever, and its keys must derive
// the same for ever.
func TestFormatStays(t *testing.T) {
	k, err := ParseKey(goldenKey)
	if err != nil {
		t.Fatal(err)
	}
	value, err := base64.StdEncoding.DecodeString(goldenValue)
	if err != nil {
		t.Fatal(err)
	}
	inner := store.NewMemory()
	put(t, inner, store.Record{Key: "account/acme", Value: value})
	if got := get(t, Wrap(inner, k), "account/acme"); string(got.Value) != "value" {
		t.Errorf("opened %q", got.Value)
	}
	if k.ID() != goldenID || k.Reveal() != goldenKey {
		t.Errorf("id %s, text %s", k.ID(), k.Reveal())
	}
}

func TestParseKey(t *testing.T) {
	k := NewKey()
	text := k.Reveal()
	if len(text) != len(textPrefix)+48 {
		t.Errorf("the text has %d signs", len(text))
	}
	for _, text := range []string{text, text + "\n", "  " + text + "\r\n"} {
		got, err := ParseKey(text)
		if err != nil || got.Reveal() != k.Reveal() || got.ID() != k.ID() {
			t.Errorf("read back as another key, %v", err)
		}
	}
	bad := []string{"", "jeton-seal-", text[:len(text)-1], text + "A", text[1:], strings.ToUpper(text), text + text,
		text[:20] + "\n" + text[20:], text[:20] + "+" + text[21:], text + "=", strings.TrimPrefix(text, textPrefix)}
	for i := len(textPrefix); i < len(text); i++ {
		other := byte('A')
		if text[i] == other {
			other = 'B'
		}
		bad = append(bad, text[:i]+string(other)+text[i+1:])
	}
	for _, text := range bad {
		got, err := ParseKey(text)
		if err == nil || !got.IsZero() {
			t.Errorf("%q was taken", text)
		} else if strings.Contains(err.Error(), k.Reveal()[30:38]) {
			t.Errorf("the error shows the text: %v", err)
		}
	}
}

func TestKeyIsNotPrinted(t *testing.T) {
	k := NewKey()
	raw := k.secret.Reveal()
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "key", k, "in", struct{ K Key }{k})
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", k, "in", struct{ k Key }{k})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", k, &k, struct{ k Key }{k})
	}
	b, err := json.Marshal(map[string]any{"key": k})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	for _, form := range []string{raw, k.Reveal()[20:40], fmt.Sprintf("%x", raw), fmt.Sprintf("%X", raw), fmt.Sprint([]byte(raw))[1:30]} {
		if strings.Contains(out.String(), form) {
			t.Fatal("the key was printed")
		}
	}
	if k.String() != "[redacted]" || (Key{}).String() != "" || (Key{}).Reveal() != "" {
		t.Errorf("%q, %q", k.String(), Key{}.String())
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(goldenKey)
	f.Add(textPrefix)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := ParseKey(text)
		if err == nil && k.Reveal() != strings.TrimSpace(text) {
			t.Errorf("%q has a second text form", text)
		}
	})
}
