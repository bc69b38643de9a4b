package dialect_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
	"github.com/jetonhq/jeton/dialect/law"
	"github.com/jetonhq/jeton/dialects"
)

// TestLaws: what is written over a real wire is read back, what could not be
// read back is refused, and what was changed on the way is not believed, for
// every message of every dialect that ships.
func TestLaws(t *testing.T) {
	for _, name := range dialects.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := dialects.Load(name)
			if err != nil {
				t.Fatal(err)
			}
			const rounds = 50
			r := law.Check(d, rounds, 1)
			if err := r.Err(); err != nil {
				t.Fatal(err)
			}
			for message, tally := range r.Messages {
				if tally.Written < rounds/4 {
					t.Errorf("%s: only %d of %d could be written", message, tally.Written, rounds)
				}
			}
		})
	}
}

// TestLawsCanFail: a dialect whose two sides differ, and one that believes what
// it should not, do not pass.
func TestLawsCanFail(t *testing.T) {
	const src = `
dialect: d
let: {digest: "$base64($hmac_sha256($secret, $key_id))"}
token:
  POST: https://a.test/login
  headers: {x-key: $base64($api_key), x-tenant: $hex($tenant)}
  form: {grant_type: client_credentials, id: $key_id, digest: $digest}
  returns: {token: $access_token, ms: $ms($expires_in)}
call: https://a.test
`
	parse := func() *dialect.Dialect {
		d, err := dialect.Parse("d.yaml", []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if err := law.Check(parse(), 60, 1).Err(); err != nil {
		t.Fatalf("the dialect that is whole: %v", err)
	}
	for way, want := range map[string]string{
		"a codec loses a character":          "login: inverse, round 0: $api_key was read with another value",
		"a codec ignores case":               "$tenant was read with another value",
		"a codec shows what it cannot write": "silence",
		"a codec cannot write":               "none of 60 messages could be written",
		"a time codec is off by one":         "answer to login: inverse, round 0: $expires_in was read with another value",
		"a digest ignores its key":           "an account with another $secret is believed",
		"a digest is always the same":        "an account with another $secret is believed",
		"a fixed text is not demanded":       "a change of form grant_type is not seen",
	} {
		err := law.Check(dialect.Broken(parse(), way), 60, 1).Err()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", way, err)
		}
	}
}

// TestWornTokenReplacesAnother: what a call carried before is gone, also where
// another header would be read as the same.
func TestWornTokenReplacesAnother(t *testing.T) {
	for _, name := range dialects.Names() {
		d, err := dialects.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		shape := d.CallShape()
		if d.Signs() {
			continue
		}
		vars := d.Defaults()
		for _, need := range shape.Needs {
			vars[need] = "own-" + need
		}
		r := httptest.NewRequest("GET", "/x", nil)
		for _, header := range d.Call.Headers() {
			r.Header[strings.ReplaceAll(strings.ToLower(header), "-", "_")] = []string{"Bearer somebody-else"}
		}
		if err := d.WriteCall(r, vars); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for header, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), "somebody-else") {
				t.Errorf("%s: the header %s still has another's token", name, header)
			}
		}
	}
}

// TestLawClaims: the vendor's claims give back what they were made of.
func TestLawClaims(t *testing.T) {
	d, err := dialects.Load("web1on1")
	if err != nil {
		t.Fatal(err)
	}
	hostile := rapid.OneOf(rapid.SampledFrom([]string{"a&b=c", `"quoted"`, `back\slash`, "é", "${x}", "null", "nul\x00"}), rapid.StringN(1, 200, -1))
	rapid.Check(t, func(t *rapid.T) {
		vars := jeton.Vars{"user_id": hostile.Draw(t, "user_id"), "scope": "admin"}
		if diff := cmp.Diff(vars, d.ReadClaims(d.Claims(vars))); diff != "" {
			t.Fatal(diff)
		}
	})
}
