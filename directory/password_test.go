package directory

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
)

func TestPasswordHasher(t *testing.T) {
	ctx := t.Context()
	h := &PasswordHasher{Memory: 8, Time: 1}
	hash, err := h.Hash(ctx, secretOf("password"))
	must(t, err)
	if again, err := h.Hash(ctx, secretOf("password")); err != nil || again == hash || !strings.HasPrefix(again, "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Errorf("%s, then %s, %v", hash, again, err)
	}
	// The cost stands in the hash.
	other := &PasswordHasher{Memory: 16, Time: 2}
	for text, want := range map[string]bool{"password": true, "Password": false, "password ": false, "": false} {
		if good, err := other.Verify(ctx, hash, secretOf(text)); err != nil || good != want {
			t.Errorf("%q: %v, %v", text, good, err)
		}
	}
	if good, err := h.Verify(ctx, "", secretOf("")); good || err != nil {
		t.Errorf("no hash: %v, %v", good, err)
	}
	long, err := h.Hash(ctx, secretOf(strings.Repeat("x", maxPassword)))
	must(t, err)
	if good, err := h.Verify(ctx, long, secretOf(strings.Repeat("x", maxPassword+1))); good || err != nil {
		t.Errorf("with a tail: %v, %v", good, err)
	}
	for _, damaged := range []string{"x", "$", "$argon2id$v=19$m=8,t=1,p=1$$", strings.Replace(hash, "=19", "=16", 1),
		strings.Replace(hash, "argon2id", "argon2i", 1), strings.Replace(hash, "t=1", "t=0", 1), hash[:len(hash)-2], hash + "$"} {
		if good, err := h.Verify(ctx, damaged, secretOf("password")); good || err == nil || jeton.Refused(err) || strings.Contains(err.Error(), "$") {
			t.Errorf("%q: %v, %v", damaged, good, err)
		}
	}
	if m, p := new(PasswordHasher).cost(); m != 19456 || p != 2 {
		t.Errorf("the cost of the zero value is %d KiB, %d passes", m, p)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringN(1, -1, 100).Draw(t, "a"), rapid.StringN(1, -1, 100).Draw(t, "b")
		hash, err := h.Hash(ctx, secretOf(a))
		if err != nil {
			t.Fatal(err)
		}
		good, err1 := h.Verify(ctx, hash, secretOf(a))
		same, err2 := h.Verify(ctx, hash, secretOf(b))
		if err := errors.Join(err1, err2); err != nil || !good || same != (a == b) {
			t.Fatalf("%q: %v, %q: %v, %v", a, good, b, same, err)
		}
	})
}

// At most MaxConcurrent are computed at once; who waits can give up.
func TestPasswordsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &PasswordHasher{Memory: 8, Time: 1, MaxConcurrent: 2}
		hash, err := h.Hash(t.Context(), secretOf("password"))
		must(t, err)
		h.slots <- struct{}{}
		h.slots <- struct{}{} // two are being computed
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		for range 3 {
			go func() { _, err := h.Verify(ctx, hash, secretOf("password")); done <- err }()
		}
		synctest.Wait()
		if n := h.work.Load(); n != 1 {
			t.Errorf("%d were computed, want the one from before", n)
		}
		<-h.slots
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.slots <- struct{}{}
		cancel()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}
