package jws_test

import (
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton/jws"
)

// A group of Wycheproof's JWS vectors, all for one key.
type group struct {
	Public, Private json.RawMessage
	Tests           []struct {
		ID     int             `json:"tcId"`
		JWS    json.RawMessage // a string, or an object: the JSON serialisation
		Result string
	}
}

// TestWycheproof: it goes by the key and the algorithm that the key
// says it is for; what else a key says of its use is not looked at here.
func TestWycheproof(t *testing.T) {
	// These are not as Wycheproof has them, and why.
	odd := map[int]string{
		353: "use of the key is the caller's", 354: "use of the key is the caller's",
		355: "use of the key is the caller's", 356: "use of the key is the caller's",
		367: "the same text as 357, which is valid", 370: "the same text as 357, which is valid",
		259: "an empty payload", 264: "an empty payload", 268: "an empty payload", 272: "an empty payload", 320: "an empty payload", 325: "an empty payload",
		346: "PS384 by a key for PS256", 350: "PS384 by a key for PS256", 347: "a key for ES521, which there is not", 351: "a key for ES521, which there is not",
		372: "a character that is not base64", 373: "a character that is not base64",
	}
	got := map[int]string{}
	n := 0
	for _, g := range groups(t) {
		raw := g.Public
		if raw == nil {
			raw = g.Private
		}
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err != nil {
			t.Fatal(err)
		}
		if public := k.Public(); public.Key != nil {
			k = public
		}
		for _, test := range g.Tests {
			var text string
			if json.Unmarshal(test.JWS, &text) != nil {
				text = string(test.JWS)
			}
			token, ok := jws.Parse(text)
			if ok {
				alg := k.Algorithm
				if alg == "" {
					alg = token.Alg
				}
				ok = token.SignedBy(alg, k.Key)
			}
			n++
			if ok != (test.Result == "valid") {
				got[test.ID] = odd[test.ID]
			}
		}
	}
	if diff := cmp.Diff(odd, got); diff != "" || n != 401 {
		t.Errorf("of %d vectors: %s", n, diff)
	}
}

func groups(t *testing.T) []group {
	t.Helper()
	b, err := fs.ReadFile(wycheproof.TestVectors, "json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ TestGroups []group }
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	return file.TestGroups
}
