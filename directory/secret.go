package directory

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"time"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/store"
)

// A generated secret is
//
//	jeton_cs_<id>_<random>_<crc>     of a client; its ID is the secret's own
//	jeton_ak_<id>_<random>_<crc>     an API key; its ID is that of the key
//
// with 32 random bytes and a CRC-32 of everything before it, in hex. Scanners
// find it by its prefix, and what was cut or mistyped is refused without asking
// the store. No secret that a person chooses may begin like one.
const (
	GeneratedPrefix    = "jeton_"
	clientSecretPrefix = GeneratedPrefix + "cs_"
	apiKeyPrefix       = GeneratedPrefix + "ak_"
)

// IsAPIKey reports whether a bearer claims to be an API key. It looks at the
// prefix only.
func IsAPIKey(bearer jeton.Secret) bool { return strings.HasPrefix(bearer.Reveal(), apiKeyPrefix) }

// Generate makes a secret of the form above, with 256 random bits. The ID may
// hold no underscore.
func Generate(prefix, id string) jeton.Secret {
	body := prefix + id + "_" + randomHex(32)
	return jeton.NewSecret(body + "_" + checksum(body))
}

// ParseGenerated returns the ID in a generated secret, or false for what never
// was one.
func ParseGenerated(prefix string, secret jeton.Secret) (id string, ok bool) {
	body, sum, ok := cutLast(secret.Reveal(), "_")
	if !ok || len(body) > maxName || subtle.ConstantTimeCompare([]byte(sum), []byte(checksum(body))) == 0 {
		return "", false
	}
	rest, ours := strings.CutPrefix(body, prefix)
	id, random, found := cutLast(rest, "_")
	return id, ours && found && len(random) == 64
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func checksum(s string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(s))) }

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

func isGenerated(secret jeton.Secret) bool {
	return strings.HasPrefix(secret.Reveal(), GeneratedPrefix)
}

// A SecretInfo tells the secrets of a client or API key apart without showing
// them.
type SecretInfo struct {
	ID      string    `json:"id"` // how a generated secret ends: its checksum; of a chosen one, random
	Chosen  bool      `json:"chosen,omitempty"`
	Created time.Time `json:"created"`
}

// A storedSecret is what is kept of a secret.
type storedSecret struct {
	SecretInfo
	Digest string `json:"digest,omitempty"` // of a generated one: HMAC-SHA-256 under the pepper
	Hash   string `json:"hash,omitempty"`   // of a chosen one: argon2id
}

// maxSecrets is how many may be good at once, so that whoever rotates has time.
const maxSecrets = 2

// infos returns what may be shown of secrets.
func infos(secrets []storedSecret) []SecretInfo {
	list := make([]SecretInfo, len(secrets))
	for i, s := range secrets {
		list[i] = s.SecretInfo
	}
	return list
}

// newSecret returns what to keep of a secret: the chosen one if there is one,
// else one that it generates.
func (d *Directory) newSecret(ctx context.Context, what, prefix, id string, chosen jeton.Secret) (storedSecret, jeton.Secret, error) {
	s := storedSecret{SecretInfo: SecretInfo{Created: created()}}
	if chosen.IsZero() {
		secret := Generate(prefix, id)
		_, s.ID, _ = cutLast(secret.Reveal(), "_")
		s.Digest = d.digest(secret)
		return s, secret, nil
	}
	if err := checkPassword(what, chosen); err != nil {
		return s, chosen, err
	}
	if isGenerated(chosen) {
		return s, chosen, invalid("the %s begins with %s as only generated ones do; choose another, or none to have one generated", what, GeneratedPrefix)
	}
	var err error
	s.ID, s.Chosen = randomHex(4), true
	s.Hash, err = d.Passwords.Hash(ctx, chosen)
	return s, chosen, err
}

// rotated puts a secret in front of the others. The one before it stays good,
// and what was good before that ends.
func rotated(secrets []storedSecret, s storedSecret) []storedSecret {
	secrets = append([]storedSecret{s}, secrets...)
	return secrets[:min(len(secrets), maxSecrets)]
}

// digest is how a generated secret is kept. Having 256 random bits it cannot be
// tried out, so a fast digest suffices.
func (d *Directory) digest(secret jeton.Secret) string {
	return mac(d.pepper, "jeton generated secret", secret.Reveal())
}

func mac(key []byte, parts ...string) string {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(strings.Join(parts, "\x00"))) // never fails
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// match returns the ID of that secret of a record which was presented, or
// nothing. What it costs depends on the form of what was presented, and not on
// whether there is a record, what it holds or whether it is usable; the
// exception is a chosen secret that was right before, and only for entries that
// are usable: whoever has that knows that it is right.
func (d *Directory) match(ctx context.Context, r store.Record, secrets []storedSecret, presented jeton.Secret, usable bool) (string, error) {
	found := ""
	if isGenerated(presented) {
		digest := d.digest(presented)
		for _, s := range secrets {
			if subtle.ConstantTimeCompare([]byte(s.Digest), []byte(digest)) == 1 {
				found = s.ID
			}
		}
		return found, nil
	}
	if id, ok := d.proven.find(r, presented); ok && usable {
		return id, nil
	}
	computed := false
	for _, s := range secrets {
		if s.Hash == "" {
			continue
		}
		good, err := d.Passwords.Verify(ctx, s.Hash, presented)
		if err != nil {
			return "", err
		}
		if computed = true; good {
			found = s.ID
		}
	}
	if !computed {
		if _, err := d.Passwords.Verify(ctx, "", presented); err != nil {
			return "", err
		}
	}
	if found != "" && usable {
		d.proven.add(r, presented, found)
	}
	return found, nil
}

// proven remembers chosen secrets that were right, so that a program that
// presents one with each call costs argon2 once. It holds digests under a key
// that never leaves the process, over the secret, the record and the version of
// the record: whatever changes the record ends what was proven about it. The
// zero value is ready.
type proven struct {
	mu    sync.Mutex
	key   []byte
	young map[string]string // :: digest -> secret ID; added since the last turn
	old   map[string]string // found or added before that; forgotten with the next turn
}

// maxProven is after how many additions those go that nobody asked for.
const maxProven = 4096

func (p *proven) digest(r store.Record, secret jeton.Secret) string {
	if p.key == nil {
		p.key = make([]byte, 32)
		_, _ = rand.Read(p.key) // never fails
	}
	return mac(p.key, r.Key, r.Version, secret.Reveal())
}

func (p *proven) find(r store.Record, secret jeton.Secret) (id string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// Looking up a digest shows by its timing nothing that can be used: nobody
	// outside can tell what the digest of a guess is.
	digest := p.digest(r, secret)
	if id, ok = p.young[digest]; ok {
		return id, true
	}
	if id, ok = p.old[digest]; ok {
		p.put(digest, id)
	}
	return id, ok
}

func (p *proven) add(r store.Record, secret jeton.Secret, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.put(p.digest(r, secret), id)
}

func (p *proven) put(digest, id string) {
	if p.young == nil || len(p.young) >= maxProven {
		p.old, p.young = p.young, map[string]string{}
	}
	p.young[digest] = id
}
