package dialect_test

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/jetonhq/jeton"
	"github.com/jetonhq/jeton/dialect"
)

// TestWriteCallReplaces: no credential of the caller's own goes along with the
// account's, in whatever spelling a server may take for the same name.
func TestWriteCallReplaces(t *testing.T) {
	d, err := dialect.Parse("f.yaml", []byte(`dialect: x
token: https://x.example/oauth/token
call:
  base: https://api.x.example/v1
  query: {key: $access_token}
  headers: {X-Api-Key: $client_id}
`))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/x?a=1&key=mine&%6bey=mine&b=%20;key=mine&c;d=2&keys=kept", nil)
	for _, name := range []string{"Authorization", "X_Api_Key", "x.api.key", "X-Api-Key"} {
		r.Header[name] = []string{"mine"}
	}
	r.Header.Set("X-Api-Keys", "kept")
	if err := d.WriteCall(r, jeton.Vars{"access_token": "token", "client_id": "id"}); err != nil {
		t.Fatal(err)
	}
	if got, want := r.URL.RawQuery, "a=1&c;d=2&keys=kept&key=token"; got != want {
		t.Errorf("the query is %s, not %s", got, want)
	}
	for name, values := range r.Header {
		if text := strings.Join(values, ","); strings.Contains(text, "mine") {
			t.Errorf("%s: %s went along", name, text)
		}
	}
	if r.Header.Get("X-Api-Key") != "id" || r.Header.Get("X-Api-Keys") != "kept" {
		t.Errorf("the headers are %v", r.Header)
	}
}

// TestWorn: what is worked out once is written into each call anew, and shows
// no token.
func TestWorn(t *testing.T) {
	d, err := dialect.Parse("f.yaml", []byte(`dialect: x
token: https://x.example/oauth/token
call:
  base: https://api.x.example/v1
  query: {key: $access_token}
  headers: {X-Api-Key: $client_id}
`))
	if err != nil {
		t.Fatal(err)
	}
	w, err := d.Wear(jeton.Vars{"access_token": "token", "client_id": "id"})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/x?a=1", nil)
	for range 3 {
		for _, name := range []string{"x-api_key", "X-Äpi-Key", "X-Api-Ke", "AUTHORIZATION"} {
			r.Header[name] = []string{"mine"}
		}
		w.Write(r)
		var names []string
		for name := range r.Header {
			names = append(names, name)
		}
		slices.Sort(names)
		if r.URL.RawQuery != "a=1&key=token" || r.Header.Get("X-Api-Key") != "id" || strings.Join(names, " ") != "X-Api-Ke X-Api-Key X-Äpi-Key" {
			t.Fatalf("%s %v", r.URL.RawQuery, r.Header)
		}
		r.Header["X-Api-Key"][0] = "changed" // of this call only
	}
	for _, text := range []string{fmt.Sprint(w), fmt.Sprintf("%v %+v %#v %s", w, w, w, w)} {
		if strings.Contains(text, "token") {
			t.Errorf("shows the token: %s", text)
		}
	}
}
