package directory

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/argon2"

	"github.com/jetonhq/jeton"
)

// A PasswordHasher turns secrets that people chose into hashes that are slow to
// try (argon2id, RFC 9106). Its zero value is what OWASP advises, and its
// fields are set before it is used first. It is safe for concurrent use.
//
// The cost is stored with each hash: changing it here makes new hashes so, and
// leaves old ones as they are until the password is set again.
type PasswordHasher struct {
	Memory uint32 // KiB; zero: 19456, which is 19 MiB
	Time   uint32 // passes over the memory; zero: 2

	// MaxConcurrent bounds how many are computed at once, and so how much
	// memory a flood of logins takes; the others wait. Zero: one per CPU.
	MaxConcurrent int

	once   sync.Once
	slots  chan struct{}
	work   atomic.Int64 // how often argon2 was computed
	passed atomic.Int64 // KiB that it passed over in all, which is what takes time
}

const (
	maxPassword = 1024 // bytes
	hashSize    = 32
	saltSize    = 16
)

func (h *PasswordHasher) cost() (memory, time uint32) {
	memory, time = h.Memory, h.Time
	if memory == 0 {
		memory = 19 * 1024
	}
	if time == 0 {
		time = 2
	}
	return memory, time
}

// Hash returns the hash of a password with a salt of its own, in the PHC form:
//
//	$argon2id$v=19$m=<KiB>,t=<passes>,p=1$<salt>$<hash>
//
// The error is that of ctx, if it ends while the call waits.
func (h *PasswordHasher) Hash(ctx context.Context, password jeton.Secret) (string, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	memory, time := h.cost()
	sum, err := h.compute(ctx, password, salt, memory, time)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, memory, time,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(sum)), nil
}

// Verify reports whether the hash is that of the password. With an empty hash
// it does the work of one and reports false: that is for names that do not
// exist. An error means that it could not be decided.
func (h *PasswordHasher) Verify(ctx context.Context, hash string, password jeton.Secret) (bool, error) {
	memory, time := h.cost()
	salt, want := make([]byte, saltSize), make([]byte, hashSize)
	good := hash != ""
	if good {
		var err error
		if memory, time, salt, want, err = parseHash(hash); err != nil {
			return false, err
		}
	}
	sum, err := h.compute(ctx, password, salt, memory, time)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(sum, want) == 1 && good && len(password.Reveal()) <= maxPassword, nil
}

func parseHash(hash string) (memory, time uint32, salt, sum []byte, err error) {
	damaged := errors.New("a stored password hash is damaged") // and is not shown
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return 0, 0, nil, nil, damaged
	}
	var version int
	_, err1 := fmt.Sscanf(parts[2], "v=%d", &version)
	_, err2 := fmt.Sscanf(parts[3], "m=%d,t=%d,p=1", &memory, &time)
	salt, err3 := base64.RawStdEncoding.DecodeString(parts[4])
	sum, err4 := base64.RawStdEncoding.DecodeString(parts[5])
	if errors.Join(err1, err2, err3, err4) != nil || version != argon2.Version || time == 0 || len(sum) != hashSize {
		return 0, 0, nil, nil, damaged
	}
	return memory, time, salt, sum, nil
}

func (h *PasswordHasher) compute(ctx context.Context, password jeton.Secret, salt []byte, memory, time uint32) ([]byte, error) {
	h.once.Do(func() {
		n := h.MaxConcurrent
		if n < 1 {
			n = runtime.GOMAXPROCS(0)
		}
		h.slots = make(chan struct{}, n)
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.work.Add(1)
	h.passed.Add(int64(memory) * int64(time))
	text := password.Reveal()
	// Nobody has a longer password, and hashing one would take longer.
	return argon2.IDKey([]byte(text[:min(len(text), maxPassword)]), salt, time, memory, 1, hashSize), nil
}

func checkPassword(what string, password jeton.Secret) error {
	switch n := len(password.Reveal()); {
	case n == 0:
		return invalid("the %s is empty; give one", what)
	case n > maxPassword:
		return invalid("the %s has %d bytes; %d are allowed", what, n, maxPassword)
	}
	return nil
}
