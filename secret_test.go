package jeton_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"pgregory.net/rapid"
)

const canary = "c4nary s3cret"

// leaks reports whether out holds the canary in one of the forms in which fmt
// writes a string: plain, quoted, hexadecimal, or as a list of bytes.
func leaks(out string) bool {
	lower := strings.ToLower(out)
	for _, form := range []string{
		canary,
		fmt.Sprintf("%x", canary),
		fmt.Sprintf("% x", canary),
		strings.Trim(fmt.Sprint([]byte(canary)), "[]"),
	} {
		if strings.Contains(lower, form) {
			return true
		}
	}
	return false
}

// TestLeaksCanFail guards the guard: with a leaks that sees nothing every test
// below would pass.
func TestLeaksCanFail(t *testing.T) {
	for format, value := range map[string]any{
		"%v": canary, "%q": canary, "%x": canary, "% X": canary, "%d": []byte(canary), "%s": struct{ hidden string }{canary},
	} {
		if out := fmt.Sprintf(format, value); !leaks(out) {
			t.Errorf("leaks does not see the secret in %q", out)
		}
	}
}

// A holder keeps a secret in every way in which a struct of the system might.
type holder struct {
	Exported jeton.Secret
	hidden   jeton.Secret // fmt reads it by reflection, past every method
	inner    struct{ deep jeton.Secret }
	pointer  *jeton.Secret
	list     []jeton.Secret
	byName   map[string]jeton.Secret
	boxed    any
}

func newHolder() *holder {
	s := jeton.NewSecret(canary)
	h := &holder{
		Exported: s, hidden: s, pointer: &s, boxed: s,
		list: []jeton.Secret{s, s}, byName: map[string]jeton.Secret{"name": s},
	}
	h.inner.deep = s
	return h
}

func TestSecretIsRedactedByEveryVerb(t *testing.T) {
	s, worn := jeton.NewSecret(canary), "Bearer "+canary
	values := map[string]any{
		"secret":         s,
		"part of a text": jeton.SecretIn(&worn, 7),
		"pointer":        &s,
		"struct":         *newHolder(),
		"struct pointer": newHolder(),
		"slice":          []jeton.Secret{s},
		"array":          [1]jeton.Secret{s},
		"map value":      map[string]jeton.Secret{"k": s},
		"map key":        map[jeton.Secret]int{s: 1},
		"any":            []any{s},
		"token":          jeton.Token{AccessToken: s, RefreshToken: s},
	}
	flags := []string{"", "+", "#", "-", "0", " ", "40", "-40", ".3", "+#", "# ", "+.200"}
	for name, value := range values {
		for verb := 'A'; verb <= 'z'; verb++ {
			if 'Z' < verb && verb < 'a' {
				continue
			}
			for _, flag := range flags {
				format := "%" + flag + string(verb)
				if out := fmt.Sprintf(format, value); leaks(out) {
					t.Errorf("%s with %q: %q", name, format, out)
				}
			}
		}
	}
	if got := fmt.Sprintf("%s|%v|%x|%d", s, s, s, s); got != strings.Repeat("[redacted]|", 3)+"[redacted]" {
		t.Errorf("a secret prints as %q", got)
	}
}

func TestSecretIsRedactedByLogs(t *testing.T) {
	s := jeton.NewSecret(canary)
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(h).With("with", s).WithGroup("g")
		log.Error("message", "secret", s, "pointer", &s, "holder", newHolder(), "list", []jeton.Secret{s},
			"error", fmt.Errorf("wrapped %v", s), "token", &jeton.Token{AccessToken: s})
	}
	if leaks(out.String()) {
		t.Errorf("a log shows the secret: %s", out.String())
	}
	if !strings.Contains(out.String(), "secret=[redacted]") {
		t.Errorf("a log does not say that something was redacted: %s", out.String())
	}
}

type pair struct{ S, P any } // XML wants a name

func TestSecretIsRedactedByEncoders(t *testing.T) {
	s := jeton.NewSecret(canary)
	asJSON, err := json.Marshal(map[string]any{"s": s, "p": &s, "h": newHolder(), "m": map[string]jeton.Secret{"k": s}})
	if err != nil || leaks(string(asJSON)) || !strings.Contains(string(asJSON), `"s":"[redacted]"`) {
		t.Errorf("JSON: %s, %v", asJSON, err)
	}
	asXML, err := xml.Marshal(pair{s, &s})
	if err != nil || leaks(string(asXML)) {
		t.Errorf("XML: %s, %v", asXML, err)
	}
	text, err := s.MarshalText()
	if err != nil || string(text) != "[redacted]" {
		t.Errorf("MarshalText: %s, %v", text, err)
	}
}

func TestSecretZero(t *testing.T) {
	var zero jeton.Secret
	for name, s := range map[string]jeton.Secret{"zero": zero, "empty": jeton.NewSecret("")} {
		if !s.IsZero() || s.Reveal() != "" || s.String() != "" || fmt.Sprint(s) != "" {
			t.Errorf("%s: IsZero %v, Reveal %q, String %q, Sprint %q", name, s.IsZero(), s.Reveal(), s, fmt.Sprint(s))
		}
		if !s.Equal(zero) || !zero.Equal(s) || s.Equal(jeton.NewSecret("x")) {
			t.Errorf("%s: Equal is wrong", name)
		}
	}
}

func TestSecretKeepsAndComparesText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		if rapid.Bool().Draw(t, "same") {
			b = a
		}
		x, y := jeton.NewSecret(a), jeton.NewSecret(b)
		if x.Reveal() != a {
			t.Fatalf("Reveal gives %q for %q", x.Reveal(), a)
		}
		if x.Equal(y) != (a == b) || y.Equal(x) != (a == b) {
			t.Fatalf("Equal(%q, %q) = %v", a, b, x.Equal(y))
		}
	})
}

func TestFingerprint(t *testing.T) {
	key := jeton.NewSecret(canary)
	a := jeton.Fingerprint("jti-1", key)
	switch {
	case a != jeton.Fingerprint("jti-1", jeton.NewSecret(canary)):
		t.Error("the same credential has two fingerprints")
	case a == jeton.Fingerprint("jti-2", key):
		t.Error("two tokens show that they are bound to one credential")
	case a == jeton.Fingerprint("jti-1", jeton.NewSecret(canary+"x")):
		t.Error("two credentials have one fingerprint")
	case leaks(a):
		t.Error("the fingerprint holds the credential")
	}
}
