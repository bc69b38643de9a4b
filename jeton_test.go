package jeton_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jetonhq/jeton"
	"pgregory.net/rapid"
)

func TestTokenValid(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	access := jeton.NewSecret("token")
	tests := []struct {
		name   string
		token  *jeton.Token
		margin time.Duration
		want   bool
	}{
		{"no token", nil, 0, false},
		{"empty token", &jeton.Token{Expiry: now.Add(time.Hour)}, 0, false},
		{"unknown expiry", &jeton.Token{AccessToken: access}, time.Hour, true},
		{"before expiry", &jeton.Token{AccessToken: access, Expiry: now.Add(1)}, 0, true},
		{"at expiry", &jeton.Token{AccessToken: access, Expiry: now}, 0, false},
		{"after expiry", &jeton.Token{AccessToken: access, Expiry: now.Add(-1)}, 0, false},
		{"margin reaches expiry", &jeton.Token{AccessToken: access, Expiry: now.Add(time.Minute)}, time.Minute, false},
		{"margin ends before", &jeton.Token{AccessToken: access, Expiry: now.Add(time.Minute + 1)}, time.Minute, true},
	}
	for _, tt := range tests {
		if got := tt.token.Valid(now, tt.margin); got != tt.want {
			t.Errorf("%s: Valid = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestVarsShowNamesAndNoValue(t *testing.T) {
	vars := jeton.Vars{"username": "u", "password": canary, "api_key": canary}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		for name, value := range map[string]any{
			"vars": vars, "exported field": struct{ V jeton.Vars }{vars}, "request": jeton.Request{Vars: vars},
			"token": jeton.Token{Vars: vars}, "slice": []jeton.Vars{vars},
		} {
			if out := fmt.Sprintf(format, value); leaks(out) {
				t.Errorf("%s with %s shows a value: %s", name, format, out)
			}
		}
	}
	if got, want := vars.String(), "vars[api_key password username]"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
}

func TestVarsClone(t *testing.T) {
	if c := jeton.Vars(nil).Clone(); c == nil || len(c) != 0 {
		t.Errorf("a clone of nothing is %#v, want one that can be written to", c)
	}
	vars := jeton.Vars{"a": "1"}
	c := vars.Clone()
	c["a"], c["b"] = "2", "3"
	if !cmp.Equal(map[string]string(vars), map[string]string{"a": "1"}) {
		t.Error("a change of the clone shows in the original")
	}
}

// scopes draws scope tokens from few enough that repeats and subsets happen.
func scopes(t *rapid.T, label string) jeton.Scope {
	return rapid.SliceOf(rapid.SampledFrom([]string{"guest", "agent", "bot", "admin", "a:b", "é"})).Draw(t, label)
}

func TestScopeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := scopes(t, "a"), scopes(t, "b"), scopes(t, "c")
		parsed := jeton.ParseScope(a.String())

		if again := jeton.ParseScope(parsed.String()); !cmp.Equal(parsed, again) {
			t.Fatalf("parse of its own text: %q, then %q", parsed, again)
		}
		if !parsed.Within(a) || !a.Within(parsed) {
			t.Fatalf("%q and its parse %q are not the same set", a, parsed)
		}
		seen := map[string]bool{}
		for _, token := range parsed {
			if seen[token] {
				t.Fatalf("%q holds %q twice", parsed, token)
			}
			seen[token] = true
		}
		if !a.Within(a) || !jeton.Scope(nil).Within(a) {
			t.Fatalf("%q: every scope is within itself, and none is within every scope", a)
		}
		if a.Within(b) && b.Within(c) && !a.Within(c) {
			t.Fatalf("within is not transitive: %q %q %q", a, b, c)
		}
		for _, token := range a {
			if !a.Has(token) || a.Within(b) && !b.Has(token) {
				t.Fatalf("Has(%q) contradicts %q within %q", token, a, b)
			}
		}
	})
}

func TestParseScope(t *testing.T) {
	tests := []struct {
		text string
		want jeton.Scope
	}{
		{"", nil},
		{" \t ", nil},
		{"admin", jeton.Scope{"admin"}},
		{"  b   a b ", jeton.Scope{"b", "a"}},
		{"A a", jeton.Scope{"A", "a"}}, // RFC 6749 section 3.3: case-sensitive
	}
	for _, tt := range tests {
		if got := jeton.ParseScope(tt.text); !cmp.Equal(got, tt.want) {
			t.Errorf("ParseScope(%q) = %q, want %q", tt.text, got, tt.want)
		}
	}
	if (jeton.Scope{"administrator"}).Has("admin") || (jeton.Scope{"admin"}).Has("ADMIN") {
		t.Error("Has matches by part or in another case")
	}
}
