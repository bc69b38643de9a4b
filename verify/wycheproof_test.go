package verify

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/c2sp/wycheproof"
	"github.com/google/go-cmp/cmp"

	"github.com/jetonhq/jeton/jws"
)

// TestWycheproof: each group's key is published as it is, and the
// signature of each vector checked by what is read of it. No invalid vector is
// accepted.
func TestWycheproof(t *testing.T) {
	// Valid ones that are refused.
	refused := map[string]int{
		"HMAC: keys that are fetched are public": 10, "the payload is empty": 6, "the key names another algorithm, or none": 4,
	}
	b, err := fs.ReadFile(wycheproof.TestVectors, "json_web_signature_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			Public, Private map[string]any
			Tests           []struct {
				ID     int             `json:"tcId"`
				JWS    json.RawMessage // a string, or an object: the JSON serialisation
				Result string
			}
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	got, n, taken := map[string]int{}, 0, 0
	for _, g := range file.TestGroups {
		jwk := g.Public
		if jwk == nil {
			jwk = g.Private
		}
		set, _ := json.Marshal(map[string]any{"keys": []any{jwk}})
		keys, _, _ := parseKeys(set)
		k := &JWKS{due: time.Now().Add(time.Hour)} // nothing is fetched
		k.set.Store(&keySet{keys, time.Now()})
		for _, test := range g.Tests {
			var text string
			if json.Unmarshal(test.JWS, &text) != nil {
				text = string(test.JWS)
			}
			n++
			ok := false
			token, parsed := jws.Parse(text)
			if v := (&JWT{Types: []string{""}, Keys: k}); parsed && v.takes(token.Header) {
				key, known := v.key(token.Header)
				ok = known && token.SignedBy(token.Alg, key)
			}
			switch {
			case ok && test.Result != "valid":
				t.Errorf("%d is invalid and accepted", test.ID)
			case ok:
				taken++
			case test.Result == "valid" && jwk["kty"] == "oct":
				got["HMAC: keys that are fetched are public"]++
			case test.Result == "valid" && !parsed:
				got["the payload is empty"]++
			case test.Result == "valid":
				got["the key names another algorithm, or none"]++
			}
		}
	}
	if diff := cmp.Diff(refused, got); diff != "" || n != 401 || taken != 26 {
		t.Error(fmt.Sprintf("of %d vectors %d are taken: ", n, taken), diff)
	}
}
